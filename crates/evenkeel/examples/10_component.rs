//! A component with a type of its own: it lends a value, runs, and closes, all three.
//!
//! `cargo run --example 10_component`

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use evenkeel::{App, Component, Exit, Lease, Result, Stop};

/// Counts, and saves the count from time to time and at the end. Its fields are its settings.
struct Counter {
    save_every: Duration,
}

// `()` is what it is given: it needs nothing. A component that needs `&db` implements `Component<Lease<Db>>`.
impl Component for Counter {
    type Value = AtomicU64;

    async fn open(&self, (): (), _stop: &Stop) -> Result<AtomicU64> {
        Ok(AtomicU64::new(41))
    }

    async fn run(&self, count: Lease<AtomicU64>, stop: Stop) -> Result {
        while stop.or(tokio::time::sleep(self.save_every)).await.is_some() {
            tracing::info!("saved {}", count.load(Ordering::Relaxed));
        }
        Ok(())
    }

    /// Called when everybody has given it back: nobody counts any more.
    async fn close(&self, count: AtomicU64) -> Result {
        tracing::info!("saved {} for good", count.into_inner());
        Ok(())
    }
}

fn main() -> Exit {
    let app = App::new("counting");
    let counter = app.component("counter", (), Counter { save_every: Duration::from_secs(1) });
    let _visitor = app.worker("visitor", &counter, async |counter, stop| {
        while stop.or(tokio::time::sleep(Duration::from_millis(300))).await.is_some() {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    });
    app.run()
}
