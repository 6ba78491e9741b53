//! The smallest service: it starts in order, runs until it is told to stop, and stops in reverse order.
//!
//! `cargo run --example 01_hello`, then Ctrl-C. Or from another terminal: `cargo run --example 01_hello -- stop`.

use std::time::Duration;

use evenkeel::{App, Exit};

fn main() -> Exit {
    let app = App::new("hello");

    // A resource is a value that is opened, lent and closed. This one is a text; think of a pool of connections.
    let greeting = app.resource("greeting", (), async |()| Ok("hello".to_owned()), async |_text| Ok(()));

    // A worker runs until it is told to stop. It needs the greeting, so it starts after it and stops before it.
    let _greeter = app.worker("greeter", &greeting, async |greeting, stop| {
        // `stop.or` interrupts the waiting, not the work: what has begun is finished.
        while stop.or(tokio::time::sleep(Duration::from_secs(1))).await.is_some() {
            tracing::info!("{}", *greeting);
        }
        Ok(())
    });

    app.run()
}
