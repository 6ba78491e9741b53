//! What the service can do without (R2.3d).

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use evenkeel::{App, Backoff, Error, OptionalHandle, Restart};
use tokio::{sync::Notify, time::Instant};

use crate::common::*;

/// A cache that opens only while `there` is set, and fails as soon as `breaks` is told.
fn cache(app: &App, there: &Arc<AtomicBool>, breaks: &Arc<Notify>, diary: &Diary) -> OptionalHandle<&'static str> {
    let (there, breaks, diary) = (there.clone(), breaks.clone(), diary.clone());
    app.late_worker("cache", (), async move |(), ready, stop| {
        diary.note("cache tried");
        if !there.load(Ordering::Relaxed) {
            return Err(Error::from("connection refused"));
        }
        ready.with("cache");
        diary.note("cache up");
        match stop.or(breaks.notified()).await {
            Some(()) => Err(Error::from("connection reset")),
            None => Ok(()),
        }
    })
    .optional()
}

#[tokio::test(start_paused = true)]
async fn what_is_optional_is_tried_again_in_the_background_and_holds_nothing_up_r2_3d_l13() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let (there, breaks) = (Arc::new(AtomicBool::new(false)), Arc::new(Notify::new()));
    let cache = cache(&app, &there, &breaks, &diary);
    let book = diary.clone();
    let _api = app.worker("api", &cache, async move |cache, stop| {
        assert!(cache.get().is_none());
        book.note("api runs without");
        let Some(lease) = stop.or(cache.ready()).await else { return Ok(()) };
        book.note(format!("api has its {}", *lease));
        drop(lease);
        stop.requested().await;
        Ok(())
    });
    let running = started(app).await;
    running.readiness(true).await;
    diary.until("api runs without").await;
    diary.until_times("cache tried", 4).await;
    assert!(running.get_optional(&cache).is_none());
    there.store(true, Ordering::Relaxed);
    diary.until("api has its cache").await;
    assert_eq!(running.get_optional(&cache).as_deref(), Some(&"cache"));

    // Later it goes away: the service is degraded, and still ready.
    there.store(false, Ordering::Relaxed);
    breaks.notify_one();
    status_until(&running, |status| status.component("cache").is_some_and(|cache| cache.state == "retrying")).await;
    let status = running.status().await.expect("it runs");
    assert!(status.ready && status.is_up());
    assert!(running.get_optional(&cache).is_none());
    there.store(true, Ordering::Relaxed);
    diary.until_times("cache up", 2).await;
    let receipt = running.stop("test").await;
    assert_clean(&receipt);
    assert!(row(&receipt, "cache").restarts >= 5, "{}", receipt.to_json());
    assert_eq!(row(&receipt, "cache").error, None, "what it failed of before is history");
}

#[tokio::test(start_paused = true)]
async fn the_wait_between_tries_grows_r2_3d_l16() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let (book, began) = (diary.clone(), Instant::now());
    let tries = async move |(), _stop| {
        book.note(format!("{}", began.elapsed().as_millis()));
        book.note("tried");
        Err("refused".into())
    };
    let backoff = Backoff { first: Duration::from_millis(100), factor: 10, max: Duration::from_secs(100) };
    let _cache = app.worker("cache", (), tries).optional().restart(Restart::unlimited().backoff(backoff));
    let running = started(app).await;
    diary.until_times("tried", 5).await;
    let at: Vec<u64> = diary.entries().iter().filter_map(|entry| entry.parse().ok()).collect();
    let waits: Vec<u64> = at.windows(2).map(|pair| pair[1] - pair[0]).collect();
    for (wait, cap) in waits.iter().zip([100, 1_000, 10_000, 100_000]) {
        assert!((50..=cap + 30).contains(wait), "{waits:?}");
    }
    let receipt = running.stop("test").await;
    assert_clean(&receipt);
    assert_eq!(states(&receipt), [("cache", "skipped")]);
}

#[tokio::test]
async fn an_optional_components_early_end_does_not_end_the_service_l7() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let once = Restart::new().at_most(0, Duration::from_secs(60));
    let _extra = app.worker("extra", (), async |(), _stop| Ok(())).optional().restart(once);
    let _api = worker(&app, "api", &db, &diary);
    let running = started(app).await;
    status_until(&running, |status| status.is_over("extra")).await;
    assert!(running.status().await.is_some_and(|status| status.ready && status.is_up()));
    let receipt = running.stop("test").await;
    assert_eq!(receipt.cause, "test");
    assert_outcome(&receipt, "clean", 0);
}

#[tokio::test(start_paused = true)]
async fn an_optional_start_that_hangs_is_given_up_and_tried_again() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let book = diary.clone();
    let open = async move |()| {
        let first = !book.has("hangs");
        book.note("hangs");
        if first {
            std::future::pending::<()>().await;
        }
        book.note("opened");
        Ok(())
    };
    let _cache = app.resource("cache", (), open, async |()| DONE).optional().start_within(Duration::from_secs(1));
    let running = started(app).await;
    diary.until("opened").await;
    assert_clean(&running.stop("test").await);
}
