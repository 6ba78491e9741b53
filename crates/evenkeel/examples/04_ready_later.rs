//! A worker that is ready only later, and lends a value then: a cache that has to be warm before anybody asks it.
//!
//! `cargo run --example 04_ready_later`

use std::time::Duration;

use evenkeel::{App, Exit};
use tokio::sync::watch;

fn main() -> Exit {
    let app = App::new("prices");

    let prices = app.late_worker("prices", (), async |(), ready, stop| {
        // Nothing that needs the prices starts before this is done.
        let (publish, prices) = watch::channel(fetch(0).await);

        // Readiness is spent, once. If this function ended without spending it, the start would have failed.
        ready.with(prices);

        let mut round = 0;
        while stop.or(tokio::time::sleep(Duration::from_secs(1))).await.is_some() {
            round += 1;
            publish.send_replace(fetch(round).await);
        }
        Ok(())
    });

    let _shop = app.worker("shop", &prices, async |prices, stop| {
        // `prices.clone()` would be another lease; this is another receiver.
        let mut prices = watch::Receiver::clone(&prices);
        while let Some(Ok(())) = stop.or(prices.changed()).await {
            tracing::info!("tea costs {}", *prices.borrow_and_update());
        }
        Ok(())
    });

    app.run()
}

async fn fetch(round: u32) -> u32 {
    tokio::time::sleep(Duration::from_millis(200)).await;
    100 + round
}
