//! A job that has to be done before the rest starts: a migration.
//!
//! `cargo run --example 06_job_first`

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use evenkeel::{App, Exit};

fn main() -> Exit {
    let app = App::new("migrated");

    // Stands for a database: the version of its tables.
    let database = app.resource("database", (), async |()| Ok(AtomicU32::new(1)), async |_| Ok(()));

    // `finite`: it is expected to end. An error fails the start, and nothing that waits for it begins.
    let migration = app
        .worker("migration", &database, async |database, _stop| {
            tokio::time::sleep(Duration::from_millis(100)).await;
            database.store(2, Ordering::Relaxed);
            Ok(())
        })
        .finite();

    // `start_only` needs that the job has succeeded, and no value of it.
    let _api = app.worker("api", (&database, migration.start_only()), async |(database, ()), stop| {
        tracing::info!("serving from tables of version {}", database.load(Ordering::Relaxed));
        stop.requested().await;
        Ok(())
    });

    // An app of nothing but jobs ends by itself when they are done, with exit code 0.
    app.run()
}
