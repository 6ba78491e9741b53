//! The front door, word for word, with a pool that is not there.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::{Router, routing::get};
use evenkeel::{App, Exit, Result};

use crate::common::*;

/// A database of three jobs.
struct Pool {
    finished: AtomicU64,
}

struct Job;

impl Pool {
    async fn connect(_url: &str) -> Result<Self> {
        Ok(Self { finished: AtomicU64::new(0) })
    }

    async fn next_job(&self) -> Result<Job> {
        if self.finished.load(Ordering::Relaxed) == 3 {
            std::future::pending::<()>().await;
        }
        Ok(Job)
    }

    async fn finish(&self, _job: Job) -> Result {
        self.finished.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    async fn count(&self) -> String {
        self.finished.load(Ordering::Relaxed).to_string()
    }

    async fn close(self) -> Result {
        Ok(())
    }
}

#[allow(dead_code, reason = "it is compiled, as it stands in the design; the test below runs the same declarations")]
fn main() -> Exit {
    let app = App::new("orders");
    let db = app.resource("db", (), |()| Pool::connect("postgres://localhost/orders"), Pool::close);
    let jobs = app.worker("jobs", &db, async |db, stop| {
        while let Some(job) = stop.or(db.next_job()).await {
            db.finish(job?).await?;
        }
        Ok(())
    });
    let _ = app.http("api", (&db, &jobs), "127.0.0.1:8080", |(db, _)| {
        Router::new().route("/orders", get(async move || db.count().await))
    });
    app.run()
}

#[tokio::test]
async fn the_front_door_opens_works_and_closes() {
    let app = App::new("orders");
    let db = app.resource("db", (), |()| Pool::connect("postgres://localhost/orders"), Pool::close);
    let jobs = app.worker("jobs", &db, async |db, stop| {
        while let Some(job) = stop.or(db.next_job()).await {
            db.finish(job?).await?;
        }
        Ok(())
    });
    let _ = app.http("api", (&db, &jobs), "127.0.0.1:0", |(db, _)| {
        Router::new().route("/orders", get(async move || db.count().await))
    });
    let running = started(app).await;
    let pool = running.get(&db).expect("it is up");
    while pool.count().await != "3" {
        tokio::task::yield_now().await;
    }
    drop(pool);
    let receipt = running.stop("test").await;
    assert_clean(&receipt);
    assert_eq!(row(&receipt, "api").needs, ["db", "jobs"]);
}
