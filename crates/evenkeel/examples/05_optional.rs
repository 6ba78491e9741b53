//! What the service can do without: it starts in the background, does not hold readiness, and is tried again when it
//! fails. Whoever needs it looks whether it is there, and has something to fall back on.
//!
//! `cargo run --example 05_optional`: the first attempts fail, the shop runs all the same.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use evenkeel::{App, Error, Exit, Explain};

fn main() -> Exit {
    let app = App::new("optional");

    let advice = app.resource("advice", (), |()| connect(), async |_| Ok(())).optional();

    // Needing what is optional gives a `Watch` in place of a lease.
    let _shop = app.worker("shop", &advice, async |advice, stop| {
        while stop.or(tokio::time::sleep(Duration::from_millis(300))).await.is_some() {
            // Ask each time, and hold the lease for one piece of work only: it may come, and it may go.
            match advice.get() {
                Some(advice) => tracing::info!("with tea goes {}", *advice),
                None => tracing::info!("with tea goes a gift card (nothing better is known)"),
            }
        }
        Ok(())
    });

    app.run()
}

/// A server that comes up later than we do.
async fn connect() -> evenkeel::Result<&'static str> {
    static ATTEMPTS: AtomicU32 = AtomicU32::new(0);
    if ATTEMPTS.fetch_add(1, Ordering::Relaxed) < 3 {
        return Err(Error::from("connection refused")).context("the advice server is not there");
    }
    Ok("a scone")
}
