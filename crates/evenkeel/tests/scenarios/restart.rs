//! Starting again what failed, along the graph (L15, L16).

use std::{sync::Arc, time::Duration};

use evenkeel::{App, Backoff, Error, Handle, Needs, Restart};
use tokio::sync::Notify;

use crate::common::*;

const SECOND: Duration = Duration::from_secs(1);

/// A worker that lends its attempt's number and fails when told to. Notes `open NAME N`, `end NAME N`.
fn fragile<N: Needs>(app: &App, name: &'static str, needs: N, breaks: &Arc<Notify>, diary: &Diary) -> Handle<usize> {
    let (breaks, diary) = (breaks.clone(), diary.clone());
    app.late_worker(name, needs, async move |held, ready, stop| {
        diary.note(format!("opening {name}"));
        let n = diary.count(&format!("opening {name}"));
        diary.note(format!("open {name} {n}"));
        ready.with(n);
        let broke = stop.or(breaks.notified()).await;
        diary.note(format!("end {name} {n}"));
        drop(held);
        match broke {
            Some(()) => Err(Error::from("connection reset")),
            None => Ok(()),
        }
    })
}

#[tokio::test(start_paused = true)]
async fn hard_dependents_restart_with_it_and_soft_ones_only_see_none_l15() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let (breaks, never) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let disk = resource(&app, "disk", (), &diary);
    let db = fragile(&app, "db", &disk, &breaks, &diary).restart(Restart::new());
    let hard = fragile(&app, "hard", &db, &never, &diary);
    let book = diary.clone();
    let _soft = app.worker("soft", db.soft(), async move |db, stop| {
        book.note("run soft");
        for n in 1..=2 {
            let Some(lease) = stop.or(db.ready()).await else { return Ok(()) };
            book.note(format!("soft sees db {}", *lease));
            drop(lease);
            if n == 1 {
                while db.get().is_some() {
                    tokio::task::yield_now().await;
                }
                book.note("soft sees none");
            }
        }
        stop.requested().await;
        Ok(())
    });
    let running = started(app).await;
    diary.until("soft sees db 1").await;
    breaks.notify_one();
    diary.until("soft sees db 2").await;
    diary.until("open hard 2").await;
    assert_eq!(running.get(&hard).as_deref(), Some(&2));
    let receipt = running.stop("test").await;
    assert_clean(&receipt);
    diary.assert_order(&[
        "open disk",
        "open db 1",
        "open hard 1",
        "end hard 1",
        "open db 2",
        "open hard 2",
        "end hard 2",
    ]);
    diary.assert_order(&["soft sees db 1", "soft sees none", "soft sees db 2"]);
    assert_eq!((diary.count("run soft"), diary.count("open disk")), (1, 1), "neither restarts");
    assert_eq!((row(&receipt, "db").restarts, row(&receipt, "hard").restarts), (1, 1));
    assert_eq!(row(&receipt, "db").error, None);
}

#[tokio::test(start_paused = true)]
async fn readiness_is_off_while_something_essential_restarts_l13() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let breaks = Arc::new(Notify::new());
    let _db = fragile(&app, "db", (), &breaks, &diary).restart(Restart::new());
    let running = started(app).await;
    running.readiness(true).await;
    breaks.notify_one();
    running.readiness(false).await;
    running.readiness(true).await;
    assert_eq!(diary.count("opening db"), 2);
    assert_clean(&running.stop("test").await);
}

#[tokio::test(start_paused = true)]
async fn a_resource_restarts_with_its_value_closed_in_between_l15() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let breaks = Arc::new(Notify::new());
    let base = fragile(&app, "base", (), &breaks, &diary).restart(Restart::new());
    let _pool = resource(&app, "pool", &base, &diary);
    let running = started(app).await;
    breaks.notify_one();
    diary.until_times("open pool", 2).await;
    diary.assert_order(&["open base 1", "open pool", "end base 1", "close pool", "open base 2", "open pool"]);
    assert_clean(&running.stop("test").await);
    assert_eq!((diary.count("open pool"), diary.count("close pool")), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn a_lease_kept_across_a_restart_counts_as_leaked_l15() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let breaks = Arc::new(Notify::new());
    let db = fragile(&app, "db", (), &breaks, &diary).restart(Restart::new()).stop_within(SECOND);
    let running = started(app).await;
    let (kept, line) = (running.get(&db).expect("it is up"), line!());
    breaks.notify_one();
    diary.until("open db 2").await;
    assert_eq!(*kept, 1, "a lease on the old value");
    let receipt = running.stop("test").await;
    let place = format!("{}:{line}", file!());
    assert_eq!(row(&receipt, "db").leaked_leases, [format!("1 lease of `the caller of start` taken at {place}")]);
    assert_eq!(receipt.culprits, ["the caller of start"], "who holds it, not who lends it");
    assert_outcome(&receipt, "not clean", 12);
}

#[tokio::test(start_paused = true)]
async fn what_keeps_failing_is_given_up_and_ends_the_service_l16() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let disk = resource(&app, "disk", (), &diary);
    let book = diary.clone();
    let backoff = Backoff { first: Duration::from_millis(100), factor: 2, max: SECOND };
    let _db = app
        .late_worker("db", &disk, async move |_disk, ready, _stop| {
            book.note("opening db");
            ready.now();
            tokio::time::sleep(Duration::from_millis(10)).await;
            Err("connection reset".into())
        })
        .restart(Restart::new().at_most(3, 60 * SECOND).backoff(backoff));
    let receipt = started(app).await.ended().await;
    assert_eq!(diary.count("opening db"), 4, "three failures are forgiven");
    assert_outcome(&receipt, "component failed", 11);
    assert_eq!(receipt.cause, "`db` failed");
    assert_eq!(receipt.root_cause, ["connection reset"]);
    assert!(diary.has("close disk"));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_fails_at_first_is_tried_again_within_its_policy_l16() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let book = diary.clone();
    let open = async move |()| {
        book.note("tried");
        if book.count("tried") < 3 { Err(Error::from("not yet")) } else { Ok("db") }
    };
    let db = app.resource("db", (), open, async |_| DONE).restart(Restart::new());
    let _api = worker(&app, "api", &db, &diary);
    let running = started(app).await;
    assert_eq!(diary.count("tried"), 3);
    diary.until("run api").await;
    assert_clean(&running.stop("test").await);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_started_again_while_stopping_l12() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let book = diary.clone();
    let _db = app
        .worker("db", (), async move |(), stop| {
            book.note("run db");
            stop.requested().await;
            Err("it fails as it goes".into())
        })
        .restart(Restart::new());
    let running = started(app).await;
    diary.until("run db").await;
    let receipt = running.stop("test").await;
    assert_eq!(diary.count("run db"), 1);
    assert_outcome(&receipt, "not clean", 12);
    assert_eq!(row(&receipt, "db").error.as_deref(), Some("it fails as it goes"), "late failures are recorded");
}

#[tokio::test(start_paused = true)]
async fn a_stop_in_the_middle_of_a_restart_waits_for_nobody_l2_l12() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let (breaks, never) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let slow = Backoff { first: 100 * SECOND, factor: 1, max: 100 * SECOND };
    let db = fragile(&app, "db", (), &breaks, &diary).restart(Restart::new().backoff(slow));
    let _api = fragile(&app, "api", &db, &never, &diary);
    let running = started(app).await;
    breaks.notify_one();
    status_until(&running, |status| status.component("db").is_some_and(|db| db.state == "retrying")).await;
    let receipt = running.stop("test").await;
    assert_outcome(&receipt, "clean", 0);
    assert!(receipt.used_ms < 100.0);
    assert_eq!(states(&receipt), [("db", "skipped"), ("api", "skipped")]);
}

/// The optional one blocks its thread and is left behind; what it held on to restarts without it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_dependent_that_is_left_behind_does_not_keep_a_restart_from_going_on_l5_l15() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let (breaks, (free, blocked)) = (Arc::new(Notify::new()), std::sync::mpsc::channel::<()>());
    let db = fragile(&app, "db", (), &breaks, &diary).restart(Restart::new()).stop_within(SECOND / 2);
    let (book, blocked) = (diary.clone(), Arc::new(std::sync::Mutex::new(blocked)));
    let _extra = app
        .worker("extra", &db, async move |_db, _stop| {
            // In a turn of its own: whoever this turn has woken sits on the thread that is about to be blocked.
            tokio::task::yield_now().await;
            book.note("blocking");
            let _ = blocked.lock().unwrap().recv();
            Ok(())
        })
        .stop_within(SECOND / 5)
        .optional();
    let running = started(app).await;
    diary.until("blocking").await;
    breaks.notify_one();
    diary.until("open db 2").await;
    let receipt = running.stop("test").await;
    assert_eq!(row(&receipt, "extra").state, "abandoned");
    assert_outcome(&receipt, "not clean", 12);
    drop(free);
}
