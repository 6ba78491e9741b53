//! Blocking work: it has an OS thread of its own, and an interrupt ends whatever it waits for.
//!
//! `cargo run --example 09_blocking`

use std::time::Duration;

use evenkeel::{App, Exit, blocking};

fn main() -> Exit {
    let app = App::new("pipeline");
    let (lines, inbox) = blocking::channel::<String>(16);

    // Told last, because the reader needs it: what is in the channel then comes out before the interrupt is reported.
    let writer = app.blocking("writer", (), move |(), interrupt| {
        while let Some(line) = inbox.recv(&interrupt)? {
            tracing::info!("wrote {line:?}");
        }
        Ok(())
    });

    let _reader = app.blocking("reader", &writer, move |_writer, interrupt| {
        for number in 1.. {
            lines.send(&interrupt, format!("line {number}"))?; // waits while the channel is full
            interrupt.sleep(Duration::from_millis(400))?; // `?` is the way out: `Interrupted` is a clean end
        }
        Ok(())
    });

    app.run()
}
