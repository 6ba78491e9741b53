//! A stop policy of one's own: user code decides whom to tell next. Limits, the deadline and the order of releases hold
//! all the same.
//!
//! `cargo run --example 12_coordinator`

use evenkeel::{App, Choice, Exit, StopPolicy};

fn main() -> Exit {
    // Asked when the stop begins, and again each time a component has drained or ended: that is its confirmation.
    // Here: consumers one by one, in the order of their names; then the rest as usual, in reverse order.
    let one_by_one = StopPolicy::coordinator(|view| {
        let consumer = view.waiting().find(|&id| view.name(id).starts_with("consumer"));
        consumer.map_or(Choice::Rest, |id| Choice::Stop(vec![id]))
    });
    let app = App::new("coordinated").stop_policy(one_by_one);

    let pool = app.resource("pool", (), async |()| Ok(()), async |()| Ok(()));
    for name in ["consumer-1", "consumer-2", "consumer-3"] {
        let _ = app.worker(name, &pool, async move |_pool, stop| {
            stop.requested().await;
            tracing::info!("{name} ends");
            Ok(())
        });
    }

    app.run()
}
