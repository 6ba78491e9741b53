//! The pool for SQLite, against database files.

#![allow(clippy::unwrap_used, reason = "a failed helper fails its test")]

mod common;

use std::{
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use common::{assert_clean, assert_not_cut, blamed, failed_start, refused, row, started, until};
use evenkeel::App;
use evenkeel_parts::{Parts, Sqlite, SqlitePool};
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

async fn pragma(db: &SqlitePool, name: &'static str) -> String {
    let mut connection = db.acquire().await.unwrap();
    let question = sqlx::AssertSqlSafe(format!("SELECT CAST({name} AS TEXT) FROM pragma_{name}"));
    sqlx::query_scalar(question).fetch_one(&mut *connection).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_on_a_file_ends_through_cancellation_and_leaves_one_whole_file_r4_2a_r4_2b() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("orders.db");
    let app = App::new("orders");
    let db = app.sqlite("db", (), Sqlite::file(&file));
    let committed = Arc::new(AtomicI64::new(0));
    let count = committed.clone();
    let _writer = app.worker("writer", &db, async move |db, stop| {
        sqlx::query("CREATE TABLE entries (id INTEGER)").execute(&mut *db.acquire().await?).await?;
        while stop.or(tokio::task::yield_now()).await.is_some() {
            let mut entry = db.begin_with("BEGIN IMMEDIATE").await?;
            let next = count.load(Ordering::Relaxed) + 1;
            sqlx::query("INSERT INTO entries VALUES (?)").bind(next).execute(&mut *entry).await?;
            entry.commit().await?;
            count.store(next, Ordering::Relaxed);
        }
        Ok(())
    });
    let running = started(app).await;
    let lease = running.get(&db).unwrap();
    let set = [pragma(&lease, "journal_mode").await, pragma(&lease, "synchronous").await];
    assert_eq!(set, ["wal", "2"], "committed is on the disk");
    assert_eq!(pragma(&lease, "foreign_keys").await, "1");
    assert!(lease.version().starts_with("SQLite 3."));
    drop(lease);
    until("it works", async || committed.load(Ordering::Relaxed) > 20).await;

    // Another process has the database open, so SQLite alone would leave the log behind.
    let mut other = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(&file)).await.unwrap();
    let count = "SELECT COUNT(*) FROM entries";
    let _: i64 = sqlx::query_scalar(count).fetch_one(&mut other).await.unwrap();
    let receipt = running.stop("test").await;
    assert_clean(&receipt);
    assert!(row(&receipt, "writer").end_ms.unwrap() <= row(&receipt, "db").release_ms.unwrap());
    let log = directory.path().join("orders.db-wal").metadata().unwrap();
    assert_eq!(log.len(), 0, "the write-ahead log is empty");
    let entries: i64 = sqlx::query_scalar(count).fetch_one(&mut other).await.unwrap();
    assert_eq!(entries, committed.load(Ordering::Relaxed));
    other.close().await.unwrap();
    assert!(!directory.path().join("orders.db-wal").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_does_not_come_back_is_named_with_its_line_r3_2b() {
    let directory = tempfile::tempdir().unwrap();
    let app = App::new("orders");
    let options = Sqlite::file(directory.path().join("orders.db"));
    let db = app.sqlite("db", (), options).stop_within(Duration::from_secs(1));
    let running = started(app).await;
    let lease = running.get(&db).unwrap();
    let kept = lease.begin().await.unwrap();
    drop(lease);
    let receipt = running.stop("test").await;
    let error = blamed(&receipt, "db");
    assert!(error.contains("1 taken at crates/evenkeel-parts/tests/sqlite.rs:"), "{error}");
    assert_not_cut(&receipt, "db");
    drop(kept);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_in_memory_stays_as_long_as_its_pool() {
    let app = App::new("orders");
    let db = app.sqlite("db", (), Sqlite::in_memory());
    let running = started(app).await;
    let lease = running.get(&db).unwrap();
    sqlx::query("CREATE TABLE entries (id INTEGER)").execute(&mut *lease.acquire().await.unwrap()).await.unwrap();
    for id in 0..10 {
        let mut connection = lease.acquire().await.unwrap();
        sqlx::query("INSERT INTO entries VALUES (?)").bind(id).execute(&mut *connection).await.unwrap();
    }
    let mut connection = lease.acquire().await.unwrap();
    let entries: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM entries").fetch_one(&mut *connection).await.unwrap();
    assert_eq!((entries, lease.size()), (10, 1));
    drop((connection, lease));
    assert_clean(&running.stop("test").await);
}

#[tokio::test]
async fn a_database_in_memory_with_several_connections_is_refused_r4_2c() {
    let several = [
        Sqlite::in_memory().max_connections(2),
        Sqlite::in_memory().idle_timeout(Duration::from_secs(600)),
        Sqlite::new("sqlite::memory:"),
        Sqlite::new("sqlite://orders?mode=memory"),
        Sqlite::file(":memory:"),
    ];
    for options in several {
        let app = App::new("orders");
        let _db = app.sqlite("db", (), options);
        let told = refused(app).await;
        assert!(told.contains("a database in memory goes away with its connection"), "{told}");
        assert!(told.contains("\nhint: use `Sqlite::in_memory()`"), "{told}");
    }
}

#[tokio::test]
async fn files_that_cannot_be_used_are_named_with_what_to_do_r2_5a() {
    let directory = tempfile::tempdir().unwrap();
    let text = directory.path().join("notes.txt");
    std::fs::write(&text, "these are notes and no database, however long one may look at them\n".repeat(30)).unwrap();
    let told = async |options: Sqlite| {
        let app = App::new("orders");
        let _db = app.sqlite("db", (), options);
        failed_start(app).await.hint.unwrap_or_default()
    };
    let hint = told(Sqlite::file(&text)).await;
    assert!(hint.ends_with("notes.txt is another kind of file; name another one"), "{hint}");
    let hint = told(Sqlite::file(directory.path().join("nowhere/orders.db"))).await;
    assert!(hint.ends_with("nowhere/orders.db is there and may be written"), "{hint}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_can_be_opened_for_reading_only() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("orders.db");
    let app = App::new("orders");
    let writable = app.sqlite("db", (), Sqlite::file(&file));
    let running = started(app).await;
    let lease = running.get(&writable).unwrap();
    sqlx::query("CREATE TABLE entries (id INTEGER)").execute(&mut *lease.acquire().await.unwrap()).await.unwrap();
    drop(lease);
    assert_clean(&running.stop("test").await);

    let app = App::new("orders");
    let url = format!("sqlite://{}?mode=ro", file.display());
    let read_only = app.sqlite("db", (), Sqlite::new(url));
    let running = started(app).await;
    let lease = running.get(&read_only).unwrap();
    let mut connection = lease.acquire().await.unwrap();
    let entries: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM entries").fetch_one(&mut *connection).await.unwrap();
    assert_eq!(entries, 0);
    assert!(sqlx::query("INSERT INTO entries VALUES (1)").execute(&mut *connection).await.is_err());
    drop((connection, lease));
    assert_clean(&running.stop("test").await);
}
