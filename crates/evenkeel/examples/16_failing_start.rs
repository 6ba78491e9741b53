//! A start that fails: what had started is released, and the log says what failed, why, and what to do.
//!
//! `cargo run --example 16_failing_start`; the exit code is 10.

use evenkeel::{App, Exit, Explain, Result};

fn main() -> Exit {
    let app = App::new("failing");

    let database = app.resource("database", (), async |()| Ok(()), async |()| Ok(()));

    let prices = app.resource("prices", &database, |_database| read("/nowhere/prices.txt"), async |_| Ok(()));

    // Never started: what it needs is not there.
    let _shop = app.worker("shop", &prices, async |_prices, stop| {
        stop.requested().await;
        Ok(())
    });

    app.run()
}

async fn read(path: &'static str) -> Result<String> {
    tokio::fs::read_to_string(path)
        .await
        .context(format!("cannot read the prices from {path}")) // what failed here; the error itself says why
        .hint("copy prices.example.txt there") // what to do about it
}
