//! The client against a real Redis.

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
use evenkeel_parts::{Parts, Redis};
use evenkeel_testbeds::{self as testbeds, PASSWORD};
use redis::AsyncCommands as _;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loop_on_redis_ends_through_cancellation_and_the_client_closes_after_it_r4_2a_r4_2b() {
    let Some(server) = testbeds::Redis::start() else { return };
    let app = App::new("orders");
    let cache = app.redis("cache", (), Redis::new(server.url()));
    let counted = Arc::new(AtomicI64::new(0));
    let count = counted.clone();
    let _counter = app.worker("counter", &cache, async move |cache, stop| {
        let mut shared = cache.connection();
        while stop.or(tokio::task::yield_now()).await.is_some() {
            let now: i64 = shared.incr("count", 1).await?;
            count.store(now, Ordering::Relaxed);
        }
        Ok(())
    });
    // It waits for what never comes, on a connection of its own, which holds nobody else up.
    let _taker = app.worker("taker", &cache, async |cache, stop| {
        let mut own = cache.dedicated().await?;
        let nothing: Option<redis::RedisResult<Option<(String, String)>>> = stop.or(own.blpop("queue", 0.0)).await;
        assert!(nothing.is_none());
        Ok(())
    });
    let running = started(app).await;

    let status = running.status().await.unwrap();
    let shown = status.component("cache").unwrap();
    let note = shown.note.clone().unwrap();
    assert_eq!((shown.kind.as_str(), shown.state.as_str()), ("redis", "ready"));
    assert!(note.contains(&format!(" at 127.0.0.1:{}/0, one connection shared", server.port())), "{note}");
    assert_discreet(&note);
    until("it works", async || counted.load(Ordering::Relaxed) > 20).await;

    let receipt = running.stop("test").await;
    assert_clean(&receipt);
    assert!(row(&receipt, "counter").end_ms.unwrap() <= row(&receipt, "cache").release_ms.unwrap());
    let client = redis::Client::open(server.url()).unwrap();
    let mut other = client.get_multiplexed_async_connection().await.unwrap();
    let count: i64 = other.get("count").await.unwrap();
    assert_eq!(count, counted.load(Ordering::Relaxed));
    until("the server has no connection of the client left", async || {
        let list: String = redis::cmd("CLIENT").arg("LIST").query_async(&mut other.clone()).await.unwrap();
        list.lines().count() == 1
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn redis_killed_and_there_again_is_used_again_r4_2b() {
    let Some(mut server) = testbeds::Redis::prepare() else { return };
    let app = App::new("orders");
    let options = Redis::new(server.url()).response_timeout(Duration::from_millis(500));
    let cache = app.redis("cache", (), options);
    let start = tokio::spawn(started(app));
    let server_up = tokio::task::spawn_blocking(move || {
        server.start_again();
        server
    });
    let (running, mut server) = (start.await.unwrap(), server_up.await.unwrap());
    let lease = running.get(&cache).unwrap();
    let works = async || redis::cmd("PING").query_async::<()>(&mut *lease.connection()).await.is_ok();
    assert!(works().await);
    server.kill();
    until("the client sees that it is gone", async || !works().await).await;
    server.start_again();
    until("the client works again", works).await;
    drop(lease);
    assert_clean(&running.stop("test").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_hangs_holds_no_stop_and_is_named_r3_2b() {
    let Some(server) = testbeds::Redis::start() else { return };
    let app = App::new("orders");
    let _cache = app.redis("cache", (), Redis::new(server.url())).stop_within(Duration::from_secs(1));
    let running = started(app).await;
    server.freeze();
    let receipt = running.stop("test").await;
    let error = blamed(&receipt, "cache");
    assert!(error.contains("does not answer"), "{error}");
    assert_not_cut(&receipt, "cache");
    server.thaw();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connection_that_does_not_come_back_is_named_with_its_line_r3_2b() {
    let Some(server) = testbeds::Redis::start() else { return };
    let app = App::new("orders");
    let cache = app.redis("cache", (), Redis::new(server.url())).stop_within(Duration::from_secs(1));
    let running = started(app).await;
    let lease = running.get(&cache).unwrap();
    let shared = lease.connection();
    let own = lease.dedicated().await.unwrap();
    assert_eq!(lease.in_use(), 2);
    drop(lease);
    let receipt = running.stop("test").await;
    let error = blamed(&receipt, "cache");
    assert_eq!(error.matches("1 taken at crates/evenkeel-parts/tests/redis.rs:").count(), 2, "{error}");
    assert_not_cut(&receipt, "cache");
    drop((shared, own));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_password_fails_at_once_with_what_to_do_r2_5a() {
    let Some(server) = testbeds::Redis::start() else { return };
    for url in [server.url().replace(PASSWORD, "wrong"), server.url().replace(&format!(":{PASSWORD}@"), "")] {
        let app = App::new("orders");
        let _cache = app.redis("cache", (), Redis::new(url));
        let receipt = failed_start(app).await;
        assert_eq!(receipt.hint.as_deref(), Some("check user and password of the URL"), "{receipt:?}");
        assert_discreet(&receipt.to_json());
    }
}

#[tokio::test]
async fn settings_that_cannot_work_refuse_the_app_and_show_no_password() {
    let told = async |options: Redis| {
        assert_discreet(&format!("{options:?}"));
        let app = App::new("orders");
        let _cache = app.redis("cache", (), options);
        let told = refused(app).await;
        assert_discreet(&told);
        told
    };
    let bad = told(Redis::new(format!("rodis://:{PASSWORD}@127.0.0.1:6379/0"))).await;
    assert!(bad.contains("the URL is not understood: ") && bad.contains("\nhint: write it like `redis://"), "{bad}");
    let good = Redis::new(format!("redis://:{PASSWORD}@127.0.0.1:6379/0"));
    assert!(told(good.response_timeout(Duration::ZERO)).await.contains("in so little time"));
}
