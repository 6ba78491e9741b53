//! Probes: what a load balancer or Kubernetes asks a service, answered from the first moment to the last.
//!
//! `cargo run --example 17_probes` prints where they are ("probes and status: http://127.0.0.1:.."); then
//!
//! ```text
//! curl -i http://127.0.0.1:PORT/health-startup    503 while the prices are loaded, naming them; then 200
//! curl -i http://127.0.0.1:PORT/health/ready      200 while it wants traffic: not in a pause, not in a stop
//! curl -i http://127.0.0.1:PORT/health/live       200 as long as a restart would not help
//! curl http://127.0.0.1:PORT/status               every component; in a stop also what holds it
//! ```
//!
//! In a pod the port has to be known: `--admin 0.0.0.0:9100`, or `EVENKEEL_ADMIN` in its environment.

use std::time::Duration;

use axum::{Router, routing::get};
use evenkeel::{App, Exit, HttpLimits, Probes};

fn main() -> Exit {
    let app = App::new("prices").probes(Probes::new().startup("/health-startup"));

    // Until this is ready, the startup probe says that it is waited for.
    let prices = app.resource("prices", (), async |()| load().await, async |_| Ok(()));

    let api = app.http("api", &prices, "127.0.0.1:0", |prices| {
        Router::new().route("/", get(async move || format!("tea costs {} EUR\n", *prices)))
    });

    // A server says by itself how much its clients may ask for, and how long a connection at rest stays open in a stop.
    let limits = HttpLimits { connections: 500, body_bytes: 64 << 10, ..HttpLimits::default() };
    let _api = api.limits(limits).linger(Duration::from_millis(200));

    app.run()
}

/// As slow as a real one.
async fn load() -> evenkeel::Result<u32> {
    tokio::time::sleep(Duration::from_millis(500)).await;
    Ok(3)
}
