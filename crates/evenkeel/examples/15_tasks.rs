//! Tasks of a component, and a branch of them that can be stopped alone.
//!
//! `cargo run --example 15_tasks`

use std::time::Duration;

use evenkeel::{App, Exit, Stop};

fn main() -> Exit {
    let app = App::new("tasks");

    let _rooms = app.worker("rooms", (), async |(), stop| {
        // A branch is told with the component, and can be told before: one room closes, the others stay.
        let (blue, red) = (stop.branch(), stop.branch());
        open(&stop, "blue", &blue.stop());
        open(&stop, "red", &red.stop());

        stop.or(tokio::time::sleep(Duration::from_secs(2))).await;
        blue.ask();

        // The component is over when its last task is. A task that fails or panics fails the component; one that does
        // not end is named in the receipt with the line that spawned it.
        stop.requested().await;
        Ok(())
    });

    app.run()
}

fn open(stop: &Stop, room: &'static str, told: &Stop) {
    for guest in 1..=3 {
        let told = told.clone();
        // Spawned here and not with `tokio::spawn`, the task belongs to the component: none is left behind.
        stop.spawn(async move {
            while told.or(tokio::time::sleep(Duration::from_millis(700))).await.is_some() {
                tracing::info!("guest {guest} talks in the {room} room");
            }
        });
    }
}
