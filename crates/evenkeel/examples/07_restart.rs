//! A component that is started again when it fails, instead of ending the service.
//!
//! `cargo run --example 07_restart`; `status` then says how often it was started again.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use evenkeel::{App, Backoff, Exit, Restart};

fn main() -> Exit {
    let app = App::new("stubborn");

    // Waits longer after each failure, so that it does not hammer at what is broken; five failures within a minute are
    // forgiven, one more ends the service with exit code 11.
    let backoff = Backoff { first: Duration::from_millis(50), factor: 2, max: Duration::from_secs(5) };
    let policy = Restart::new().at_most(5, Duration::from_secs(60)).backoff(backoff);

    let _feed = app
        .worker("feed", (), async |(), stop| {
            static STARTS: AtomicU32 = AtomicU32::new(0);
            let start = STARTS.fetch_add(1, Ordering::Relaxed) + 1;
            if start <= 3 {
                return Err(format!("the feed broke off (start {start})").into());
            }
            // A panic would be handled in the same way: it fails the component, not the process.
            tracing::info!("the feed runs at start {start}");
            stop.requested().await;
            Ok(())
        })
        .restart(policy);

    app.run()
}
