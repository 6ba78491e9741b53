//! The pool against a real PostgreSQL.

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
use evenkeel_parts::{Parts, Postgres};
use evenkeel_testbeds::{self as testbeds, PASSWORD};
use sqlx::{Connection as _, PgConnection};

fn options(server: &testbeds::Postgres) -> Postgres {
    Postgres::new(server.url()).configure(|options| options.application_name("under test"))
}

/// Connections that the server sees from the pool, asked for over another one.
async fn seen(server: &testbeds::Postgres) -> i64 {
    let mut other = PgConnection::connect(&server.url()).await.unwrap();
    let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'under test'";
    let count: i64 = sqlx::query_scalar(count).fetch_one(&mut other).await.unwrap();
    other.close().await.unwrap();
    count
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_on_the_database_ends_through_cancellation_and_the_pool_closes_after_it_r4_2a_r4_2b() {
    let Some(server) = testbeds::Postgres::start() else { return };
    let app = App::new("orders");
    let db = app.postgres("db", (), options(&server));
    let (committed, writer_counts) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let count = committed.clone();
    let _writer = app.worker("writer", &db, async move |db, stop| {
        sqlx::query("CREATE TABLE entries (id bigint)").execute(&mut *db.acquire().await?).await?;
        while stop.or(tokio::task::yield_now()).await.is_some() {
            let mut entry = db.begin().await?;
            let next = count.load(Ordering::Relaxed) + 1;
            sqlx::query("INSERT INTO entries VALUES ($1)").bind(next).execute(&mut *entry).await?;
            entry.commit().await?;
            count.store(next, Ordering::Relaxed);
        }
        Ok(())
    });
    let waits = writer_counts.clone();
    // Its query is dropped half-way: nothing would ever come of it.
    let _reader = app.worker("reader", &db, async move |db, stop| {
        waits.store(1, Ordering::Relaxed);
        let mut connection = db.acquire().await?;
        let _ = stop.or(sqlx::query("SELECT pg_sleep(3600)").execute(&mut *connection)).await;
        Ok(())
    });
    let running = started(app).await;

    let status = running.status().await.unwrap();
    let shown = status.component("db").unwrap();
    assert_eq!((shown.kind.as_str(), shown.state.as_str()), ("postgres", "ready"));
    let note = shown.note.clone().unwrap();
    assert!(note.starts_with("PostgreSQL 1") && note.ends_with("5 of 10 connections"), "R2.3c, R4.2c: {note}");
    assert_discreet(&note);
    until("it works", async || committed.load(Ordering::Relaxed) > 20).await;

    let receipt = running.stop("test").await;
    assert_clean(&receipt);
    let (writer, db) = (row(&receipt, "writer"), row(&receipt, "db"));
    assert!(writer.end_ms.unwrap() <= db.release_ms.unwrap(), "{}", receipt.to_json());
    until("the server has no connection of the pool left", async || {
        // The one whose query was dropped is noticed by the server when that query ends.
        let ask = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'under test' AND query NOT LIKE '%pg_sleep%'";
        let mut other = PgConnection::connect(&server.url()).await.unwrap();
        sqlx::query_scalar::<_, i64>(ask).fetch_one(&mut other).await.unwrap() == 0
    })
    .await;
    let mut other = PgConnection::connect(&server.url()).await.unwrap();
    let entries: i64 = sqlx::query_scalar("SELECT count(*) FROM entries").fetch_one(&mut other).await.unwrap();
    assert_eq!(entries, committed.load(Ordering::Relaxed), "no transaction was cut in half");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_does_not_come_back_is_named_with_its_line_and_the_stop_goes_on_r3_2b() {
    let Some(server) = testbeds::Postgres::start() else { return };
    let app = App::new("orders");
    let db = app.postgres("db", (), options(&server)).stop_within(Duration::from_secs(2));
    let _keeper = app.worker("keeper", &db, async |db, stop| {
        let kept = db.acquire().await?;
        // The task belongs to nobody: the worker ends without it.
        tokio::spawn(async move {
            let _kept = kept;
            std::future::pending::<()>().await;
        });
        stop.requested().await;
        Ok(())
    });
    let running = started(app).await;
    until("it is taken", async || running.get(&db).is_some_and(|db| db.in_use() == 1)).await;

    let receipt = running.stop("test").await;
    let error = blamed(&receipt, "db");
    assert!(error.contains("1 taken at crates/evenkeel-parts/tests/postgres.rs:"), "{error}");
    assert!(error.contains("held for "), "{error}");
    assert_not_cut(&receipt, "db");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_hangs_holds_no_stop_and_who_waits_for_it_is_named_r3_2b() {
    let Some(server) = testbeds::Postgres::start() else { return };
    let app = App::new("orders");
    let options = options(&server).acquire_timeout(Duration::from_millis(300));
    let db = app.postgres("db", (), options).stop_within(Duration::from_secs(2));
    let (asks, asked) = tokio::sync::oneshot::channel();
    let asks = Arc::new(std::sync::Mutex::new(Some(asks)));
    let _asker = app.worker("asker", &db, async move |db, stop| {
        let mut connection = db.acquire().await?;
        let mut other = db.acquire().await?;
        if let Some(asks) = asks.lock().unwrap().take() {
            let _ = asks.send(());
        }
        stop.requested().await;
        // One statement is broken off, one goes on in a task of nobody.
        tokio::spawn(async move { sqlx::query("SELECT 1").execute(&mut *other).await });
        let _ =
            tokio::time::timeout(Duration::from_millis(50), sqlx::query("SELECT 1").execute(&mut *connection)).await;
        Ok(())
    });
    let running = started(app).await;
    asked.await.unwrap();
    server.freeze();
    let silent = running.get(&db).unwrap().begin().await.unwrap_err();
    assert!(silent.is_timeout(), "the wait for a transaction is limited as well: {silent}");

    let receipt = running.stop("test").await;
    let error = blamed(&receipt, "db");
    assert!(error.contains("1 taken at crates/evenkeel-parts/tests/postgres.rs:"), "{error}");
    assert_not_cut(&receipt, "db");
    server.thaw();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_that_does_not_come_back_does_not_keep_the_pool_open_r3_2b() {
    let Some(server) = testbeds::Postgres::start() else { return };
    let app = App::new("orders");
    let db = app.postgres("db", (), options(&server)).stop_within(Duration::from_secs(2));
    let running = started(app).await;
    let leaked = running.get(&db).unwrap();

    let receipt = running.stop("test").await;
    assert!(receipt.exit_code != 0, "{}", receipt.to_json());
    assert_eq!(row(&receipt, "db").leaked_leases.len(), 1, "{}", receipt.to_json());
    assert!(leaked.sqlx().is_closed());
    assert!(!leaked.acquire().await.unwrap_err().is_timeout());
    until("the server has no connection of the pool left", async || seen(&server).await == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn waiting_for_a_connection_ends_and_names_who_has_them_r4_2c() {
    let Some(server) = testbeds::Postgres::start() else { return };
    let app = App::new("orders");
    let limits = options(&server).max_connections(2).acquire_timeout(Duration::from_millis(200));
    let db = app.postgres("db", (), limits);
    let running = started(app).await;
    let lease = running.get(&db).unwrap();
    let _one = lease.acquire().await.unwrap();
    let two = lease.begin().await.unwrap();

    let error = lease.acquire().await.unwrap_err();
    let text = error.to_string();
    assert!(error.is_timeout() && text.contains("within 0.2 s: of at most 2 there are in use 1 taken at "), "{text}");
    assert_eq!(text.matches("tests/postgres.rs:").count(), 2, "{text}");
    assert!(matches!(sqlx::Error::from(error), sqlx::Error::PoolTimedOut));

    two.rollback().await.unwrap();
    let three = lease.acquire().await.unwrap();
    assert_eq!(lease.in_use(), 2);
    drop((_one, three, lease));
    assert_clean(&running.stop("test").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_was_killed_and_is_there_again_is_used_again_r4_2b() {
    let Some(mut server) = testbeds::Postgres::start() else { return };
    let app = App::new("orders");
    let db = app.postgres("db", (), options(&server).acquire_timeout(Duration::from_millis(500)));
    let running = started(app).await;
    let lease = running.get(&db).unwrap();
    let works = async || {
        let Ok(mut connection) = lease.acquire().await else { return false };
        sqlx::query("SELECT 1").execute(&mut *connection).await.is_ok()
    };
    assert!(works().await);

    server.kill();
    let down = lease.acquire().await.unwrap_err();
    assert!(down.is_timeout(), "the wait is limited while the server is down as well: {down}");
    assert!(down.to_string().contains("none is in use"), "{down}");
    server.start_again();
    until("the pool works again", works).await;

    drop(lease);
    assert_clean(&running.stop("test").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_program_may_be_started_before_its_database_r2_3a() {
    let Some(mut server) = testbeds::Postgres::prepare() else { return };
    let app = App::new("orders");
    let db = app.postgres("db", (), options(&server)).optional().start_within(Duration::from_secs(60));
    let running = started(app).await;
    until("it says what it waits for", async || {
        let status = running.status().await.unwrap();
        let note = status.component("db").unwrap().note.clone().unwrap_or_default();
        assert_discreet(&note);
        note.starts_with(&format!("waiting for PostgreSQL at 127.0.0.1:{}/keel: ", server.port()))
    })
    .await;
    let server = tokio::task::spawn_blocking(move || {
        server.start_again();
        server
    });
    let _server = server.await.unwrap();
    until("it is there", async || running.get_optional(&db).is_some()).await;
    assert_clean(&running.stop("test").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_does_not_come_within_the_start_limit_is_named_r2_3c() {
    // Nobody listens at a port that was free a moment ago.
    let port = testbeds::free_port();
    let app = App::new("orders");
    let url = format!("postgres://keel:{PASSWORD}@127.0.0.1:{port}/orders");
    let _db = app.postgres("db", (), Postgres::new(url)).start_within(Duration::from_millis(500));
    let receipt = failed_start(app).await;
    let told = receipt.root_cause.join(": ");
    assert!(told.contains(&format!("waiting for PostgreSQL at 127.0.0.1:{port}/orders: ")), "{told}");
    assert_discreet(&receipt.to_json());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_a_person_can_cure_fails_at_once_with_what_to_do_r2_5a() {
    let Some(server) = testbeds::Postgres::start() else { return };
    let wrong_password = server.url().replace(PASSWORD, "wrong");
    let unknown_database = format!("{}nowhere", server.url().strip_suffix("keel").unwrap());
    let told = async |url: String| {
        let app = App::new("orders");
        let _db = app.postgres("db", (), Postgres::new(url));
        let receipt = failed_start(app).await;
        assert_discreet(&receipt.to_json());
        assert!(!receipt.to_json().contains("wrong@"), "{}", receipt.to_json());
        (receipt.root_cause.join(": "), receipt.hint.unwrap_or_default())
    };
    let (error, hint) = told(wrong_password).await;
    assert!(error.contains("password authentication failed"), "{error}");
    assert_eq!(hint, "check user and password of the URL");
    let (error, hint) = told(unknown_database).await;
    assert!(error.contains("cannot use PostgreSQL at ") && error.contains("does not exist"), "{error}");
    assert_eq!(hint, "create it: createdb nowhere");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sizes_and_times_reach_the_real_pool_r4_2c() {
    let Some(server) = testbeds::Postgres::start() else { return };
    let app = App::new("orders");
    let by_default = app.postgres("default", (), options(&server));
    let brief = options(&server).max_connections(3).idle_connections(0);
    let brief = app.postgres("brief", (), brief.max_lifetime(Duration::from_millis(20)).idle_timeout(None));
    let restless = options(&server).max_connections(3).idle_connections(0).idle_timeout(Duration::from_millis(20));
    let restless = app.postgres("restless", (), restless);
    let running = started(app).await;

    let lease = running.get(&by_default).unwrap();
    let set = lease.sqlx().options();
    assert_eq!((set.get_max_connections(), set.get_min_connections()), (10, 5));
    assert_eq!(set.get_max_lifetime(), Some(Duration::from_secs(30 * 60)));
    assert_eq!(set.get_idle_timeout(), Some(Duration::from_secs(10 * 60)));
    assert_eq!(set.get_acquire_timeout(), Duration::from_secs(5));
    assert_eq!(lease.size(), 5, "as many as it keeps are open at the start");

    let brief = running.get(&brief).unwrap();
    let process = async || -> i32 {
        let mut connection = brief.acquire().await.unwrap();
        sqlx::query_scalar("SELECT pg_backend_pid()").fetch_one(&mut *connection).await.unwrap()
    };
    let first = process().await;
    until("an old connection is replaced", async || process().await != first).await;

    let restless = running.get(&restless).unwrap();
    sqlx::query("SELECT 1").execute(&mut *restless.acquire().await.unwrap()).await.unwrap();
    until("connections that rest are closed", async || restless.size() == 0).await;

    drop((lease, brief, restless));
    assert_clean(&running.stop("test").await);
}

#[tokio::test]
async fn options_can_come_from_what_the_pool_needs() {
    let Some(server) = testbeds::Postgres::start() else { return };
    let app = App::new("orders");
    let url = server.url();
    let config = app.resource("config", (), async move |()| Ok(url), async |_| Ok(()));
    let db = app.postgres_from("db", &config, async |url| Ok(Postgres::new(url.as_str()).max_connections(3)));
    let running = started(app).await;
    assert_eq!(running.get(&db).unwrap().sqlx().options().get_max_connections(), 3);
    assert_clean(&running.stop("test").await);

    let app = App::new("orders");
    let _db = app.postgres_from("db", (), async |()| Ok(Postgres::new("postgres://x").max_connections(0)));
    let receipt = failed_start(app).await;
    assert!(receipt.root_cause.join(": ").contains("at most 0 connections"), "{receipt:?}");
    assert!(receipt.hint.is_some_and(|hint| hint.contains("max_connections")));
}

#[tokio::test]
async fn settings_that_cannot_work_refuse_the_app_before_it_starts_r4_2c() {
    let url = format!("postgres://keel:{PASSWORD}@127.0.0.1:5432/keel");
    let told = async |options: Postgres| {
        let app = App::new("orders");
        let _db = app.postgres("db", (), options);
        let told = refused(app).await;
        assert_discreet(&told);
        assert!(told.starts_with("`db` at crates/evenkeel-parts/tests/postgres.rs:"), "{told}");
        assert!(told.contains("\nhint: "), "{told}");
        told
    };
    let good = || Postgres::new(&url);
    assert!(told(good().max_connections(0)).await.contains("at most 0 connections lends none"));
    let told_idle = told(good().max_connections(4).idle_connections(5)).await;
    assert!(told_idle.contains("a pool of at most 4 connections cannot keep 5 idle"), "{told_idle}");
    assert!(told(good().acquire_timeout(Duration::ZERO)).await.contains("in so little time"));
    assert!(told(good().max_lifetime(Duration::ZERO)).await.contains("never used twice"));
    assert!(told(good().idle_timeout(Duration::from_millis(1))).await.contains("never used twice"));
    let bad_url = told(Postgres::new(format!("postgres://keel:{PASSWORD}@127.0.0.1:port/keel"))).await;
    assert!(bad_url.contains("the URL is not understood: "), "{bad_url}");
}

#[test]
fn options_show_no_password_r4_2b() {
    let shown = format!("{:?}", Postgres::new(format!("postgres://keel:{PASSWORD}@localhost/keel")));
    assert_discreet(&shown);
    assert!(shown.contains("PostgreSQL at localhost:5432/keel"), "{shown}");
}
