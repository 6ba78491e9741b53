//! The pool for MySQL and MariaDB, against a real MariaDB: MySQL itself is not tested.

#![allow(clippy::unwrap_used, reason = "a failed helper fails its test")]
#![cfg(unix)]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use common::{assert_clean, assert_discreet, assert_not_cut, blamed, failed_start, refused, row, started, until};
use evenkeel::App;
use evenkeel_parts::{MySql, Parts};
use evenkeel_testbeds::{MariaDb, PASSWORD};
use sqlx::{Connection as _, MySqlConnection};

async fn ask(server: &MariaDb, question: &'static str) -> i64 {
    let mut other = MySqlConnection::connect(&server.url()).await.unwrap();
    let answer = sqlx::query_scalar(question).fetch_one(&mut other).await.unwrap();
    other.close().await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_on_mariadb_ends_through_cancellation_and_the_pool_closes_after_it_r4_2a_r4_2b() {
    let Some(server) = MariaDb::start() else { return };
    let app = App::new("orders");
    let db = app.mysql("db", (), MySql::new(server.url()));
    let committed = Arc::new(AtomicI64::new(0));
    let count = committed.clone();
    let _writer = app.worker("writer", &db, async move |db, stop| {
        sqlx::query("CREATE TABLE entries (id BIGINT) ENGINE=InnoDB").execute(&mut *db.acquire().await?).await?;
        while stop.or(tokio::task::yield_now()).await.is_some() {
            let mut entry = db.begin().await?;
            let next = count.load(Ordering::Relaxed) + 1;
            sqlx::query("INSERT INTO entries VALUES (?)").bind(next).execute(&mut *entry).await?;
            entry.commit().await?;
            count.store(next, Ordering::Relaxed);
        }
        Ok(())
    });
    // Its query is dropped half-way: nothing would ever come of it.
    let _reader = app.worker("reader", &db, async |db, stop| {
        let mut connection = db.acquire().await?;
        let _ = stop.or(sqlx::query("SELECT SLEEP(3600)").execute(&mut *connection)).await;
        Ok(())
    });
    let running = started(app).await;

    let status = running.status().await.unwrap();
    let shown = status.component("db").unwrap();
    let note = shown.note.clone().unwrap();
    assert_eq!((shown.kind.as_str(), shown.state.as_str()), ("mysql", "ready"));
    assert!(note.starts_with("MariaDB 1") && note.ends_with("5 of 10 connections"), "R2.3c, R4.2c: {note}");
    until("it works", async || committed.load(Ordering::Relaxed) > 20).await;

    let receipt = running.stop("test").await;
    assert_clean(&receipt);
    let (writer, db) = (row(&receipt, "writer"), row(&receipt, "db"));
    assert!(writer.end_ms.unwrap() <= db.release_ms.unwrap(), "{}", receipt.to_json());
    assert_eq!(ask(&server, "SELECT COUNT(*) FROM entries").await, committed.load(Ordering::Relaxed));
    until("the server has no connection of the pool left", async || {
        // The one whose query was dropped is noticed by the server when that query ends.
        let others = "SELECT COUNT(*) FROM information_schema.processlist \
                      WHERE user = 'keel' AND id <> CONNECTION_ID() AND COALESCE(info, '') NOT LIKE '%SLEEP%'";
        ask(&server, others).await == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mariadb_killed_and_there_again_is_used_again_and_holds_no_stop_when_it_hangs_r4_2b_r3_2b() {
    let Some(mut server) = MariaDb::prepare() else { return };
    let app = App::new("orders");
    let options = MySql::new(server.url()).acquire_timeout(Duration::from_millis(500));
    let db = app.mysql("db", (), options.max_connections(3)).stop_within(Duration::from_secs(2));
    let start = tokio::spawn(started(app));
    let server_up = tokio::task::spawn_blocking(move || {
        server.start_again();
        server
    });
    let (running, mut server) = (start.await.unwrap(), server_up.await.unwrap());
    let lease = running.get(&db).unwrap();
    let works = async || {
        let Ok(mut connection) = lease.acquire().await else { return false };
        sqlx::query("SELECT 1").execute(&mut *connection).await.is_ok()
    };
    assert!(works().await);
    server.kill();
    assert!(lease.acquire().await.unwrap_err().is_timeout());
    server.start_again();
    until("the pool works again", works).await;

    let mut held = lease.acquire().await.unwrap();
    server.freeze();
    let _asking = tokio::spawn(async move { sqlx::query("SELECT 1").execute(&mut *held).await.map(drop) });
    drop(lease);
    let receipt = running.stop("test").await;
    let error = blamed(&receipt, "db");
    assert!(error.contains("1 taken at crates/evenkeel-parts/tests/mariadb.rs:"), "{error}");
    assert_not_cut(&receipt, "db");
    server.thaw();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_mariadb_refuses_fails_at_once_with_what_to_do_r2_5a() {
    let Some(server) = MariaDb::start() else { return };
    let wrong_password = server.url().replace(PASSWORD, "wrong");
    let not_ours = format!("{}nowhere", server.url().strip_suffix("keel").unwrap());
    let told = async |url: String| {
        let app = App::new("orders");
        let _db = app.mysql("db", (), MySql::new(url));
        let receipt = failed_start(app).await;
        assert_discreet(&receipt.to_json());
        receipt.hint.unwrap_or_default()
    };
    assert_eq!(told(wrong_password).await, "check user and password of the URL");
    assert_eq!(told(not_ours).await, "grant this user the database, or name another in the URL");
}

#[tokio::test]
async fn settings_that_cannot_work_refuse_the_app_and_show_no_password_r4_2c() {
    let url = format!("mysql://keel:{PASSWORD}@127.0.0.1:port/keel");
    let app = App::new("orders");
    let _db = app.mysql("db", (), MySql::new(url));
    let told = refused(app).await;
    assert!(told.contains("the URL is not understood: ") && told.contains("\nhint: write it like `mysql://"), "{told}");
    assert_discreet(&told);
    assert_discreet(&format!("{:?}", MySql::new(format!("mysql://keel:{PASSWORD}@localhost/keel"))));
}
