//! Needs draw the graph: nobody declares an order, and a cycle cannot be written.
//!
//! `cargo run --example 03_needs -- graph` shows the order of start and stop without starting anything.

use evenkeel::{App, Exit};

fn main() -> Exit {
    let app = App::new("needs");

    // These two need nothing: they open at the same time.
    let config = app.resource("config", (), async |()| Ok(8), async |_| Ok(()));
    let secrets = app.resource("secrets", (), async |()| Ok("hunter2".to_owned()), async |_| Ok(()));

    // The second argument says what is needed, and the closure is given exactly that, as leases.
    let pool = app.resource(
        "pool",
        (&config, &secrets),
        async |(config, secrets)| Ok(format!("{} connections with {} letters", *config, secrets.len())),
        async |_pool| Ok(()), // the pool is closed by value: nobody can still be using it
    );

    // A handle exists only after its declaration, so what is needed comes first. It also stops last.
    let jobs = app.worker("jobs", &pool, async |pool, stop| {
        tracing::info!("working with {}", *pool);
        stop.requested().await;
        Ok(())
    });

    // It needs only that the jobs run; what is given for a worker is a lease of nothing.
    let _reports = app.worker("reports", (&pool, &jobs), async |(_pool, _jobs), stop| {
        stop.requested().await;
        Ok(())
    });

    app.run()
}
