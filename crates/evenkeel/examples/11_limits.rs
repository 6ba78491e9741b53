//! A close that hangs cannot hold the process: it is cut off at its limit, and named.
//!
//! `cargo run --example 11_limits`, then Ctrl-C: the stop takes a second, and the exit code is 12, because not every
//! stage was clean. `cargo run --example 11_limits -- graph` shows how the budget is divided.

use std::time::Duration;

use evenkeel::{App, Exit};

fn main() -> Exit {
    // The whole stop, from the order to the end of the process. An OS thread outside the runtime holds this deadline.
    let app = App::new("limits").budget(Duration::from_secs(5));

    let database = app.resource("database", (), async |()| Ok(()), async |()| Ok(()));

    let _broker = app
        .resource(
            "broker",
            &database,
            async |_database| Ok(()),
            async |()| {
                // A server that never answers to our goodbye.
                std::future::pending().await
            },
        )
        .stop_within(Duration::from_secs(1)); // then the rest goes on: the database still closes, and in order

    app.run()
}
