//! A stop policy of one's own: user code decides whom to tell next. Limits, the deadline and the order of releases hold
//! all the same.
//!
//! `cargo run --example 12_coordinator`

use evenkeel::{App, Choice, Exit, StopPolicy};

const CONSUMERS: [&str; 3] = ["consumer-1", "consumer-2", "consumer-3"];

fn main() -> Exit {
    // Asked when the stop begins, and again each time a component has drained or ended: that is its confirmation.
    // Here: consumers one by one, each when the one before it is over; then the rest as usual, in reverse order.
    let one_by_one = StopPolicy::coordinator(|view| {
        let mut consumers = CONSUMERS.iter().filter_map(|name| view.find(name));
        match consumers.find(|&id| !view.state(id).is_over()) {
            Some(next) if view.waiting().any(|id| id == next) => Choice::Stop(vec![next]),
            Some(_) => Choice::Stop(Vec::new()), // it has been told, and has not confirmed yet
            None => Choice::Rest,
        }
    });
    let app = App::new("coordinated").stop_policy(one_by_one);

    let pool = app.resource("pool", (), async |()| Ok(()), async |()| Ok(()));
    for name in CONSUMERS {
        let _ = app.worker(name, &pool, async move |_pool, stop| {
            stop.requested().await;
            tracing::info!("{name} ends");
            Ok(())
        });
    }

    app.run()
}
