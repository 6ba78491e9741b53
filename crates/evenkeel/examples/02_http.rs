//! An HTTP server: on a stop, whoever is connected or connecting gets an answer, and then the rest stops.
//!
//! `cargo run --example 02_http`; the log shows the URL. Stop it during `curl URL/slow`: curl gets its answer.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use axum::{Router, routing::get};
use evenkeel::{App, Exit, Lease};

fn main() -> Exit {
    let app = App::new("counter");

    let visits = app.resource("visits", (), async |()| Ok(AtomicU64::new(0)), async |_| Ok(()));

    // Port 0 takes any free port; `status` and the log show which. A port in use would fail the start, with a hint.
    let _api = app.http("api", &visits, "127.0.0.1:0", |visits| {
        Router::new().route("/", get(count)).route("/slow", get(slow)).with_state(visits)
    });

    app.run()
}

// A lease can move into handlers and be cloned; the value is closed when the last of them is gone.
async fn count(visits: axum::extract::State<Lease<AtomicU64>>) -> String {
    format!("visit number {}\n", visits.fetch_add(1, Ordering::Relaxed) + 1)
}

async fn slow() -> &'static str {
    tokio::time::sleep(Duration::from_secs(3)).await;
    "done\n"
}
