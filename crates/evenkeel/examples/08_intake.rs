//! A consumer that lets work in from outside: it takes messages only while the service takes traffic.
//!
//! `cargo run --example 08_intake`, then from another terminal `... -- pause`, `... -- continue`, `... -- stop`.

use std::time::Duration;

use evenkeel::{App, Exit, Result, Stop};

fn main() -> Exit {
    let app = App::new("consumer");

    let broker = app.resource("broker", (), async |()| Ok(Broker), async |_| Ok(()));

    // An intake is told first when the service stops: no new work comes in while the rest drains.
    let _consumer = app
        .worker("consumer", &broker, async |broker, stop| {
            // `take` never drops a message that the broker has handed out. (`or` would drop what it waits for.)
            while let Some(message) = stop.take(broker.receive(&stop)).await {
                tracing::info!("message {}", message?);
            }
            Ok(())
        })
        .intake();

    app.run()
}

/// Stands for a client of a message broker.
struct Broker;

impl Broker {
    async fn receive(&self, stop: &Stop) -> Result<u32> {
        tokio::time::sleep(Duration::from_millis(300)).await; // waiting for a message: may be given up
        // From here on the message is ours, and the broker counts on us: this may not be given up.
        let fetch = async {
            tokio::time::sleep(Duration::from_millis(50)).await;
            Ok(7)
        };
        stop.critical(fetch).await
    }
}
