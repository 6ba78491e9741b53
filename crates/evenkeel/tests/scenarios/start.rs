//! Starting: order, failure, limits, and a stop that comes before the end of it.

use std::{sync::Arc, time::Duration};

use evenkeel::{App, Error, Explain};
use evenkeel_plan::cause::Cause;
use tokio::sync::Barrier;

use crate::common::*;

/// A resource that begins to open and never gets there. Notes `opening NAME` and, when given up, `dropped NAME`.
fn stuck(app: &App, name: &'static str, needs: impl evenkeel::Needs, diary: &Diary) -> evenkeel::Handle<()> {
    let diary = diary.clone();
    app.resource(
        name,
        needs,
        async move |_held| {
            let _given_up = diary.on_drop(format!("dropped {name}"));
            diary.note(format!("opening {name}"));
            std::future::pending().await
        },
        async |()| DONE,
    )
}

/// A resource that fails to open once `after` is in the diary.
fn broken(app: &App, name: &'static str, needs: impl evenkeel::Needs, diary: &Diary, after: &'static str) {
    let diary = diary.clone();
    let open = async move |_| {
        diary.until(after).await;
        Err::<(), _>(Error::from("connection refused")).context("cannot reach the broker").hint("is it running?")
    };
    let _ = app.resource(name, needs, open, async |()| DONE);
}

#[tokio::test]
async fn what_does_not_depend_on_each_other_opens_at_the_same_time() {
    let app = App::new("shop");
    let both = Arc::new(Barrier::new(2));
    let open = |both: Arc<Barrier>| {
        async move |()| {
            both.wait().await; // one alone would never get past this
            Ok(())
        }
    };
    let left = app.resource("left", (), open(both.clone()), async |()| DONE);
    let right = app.resource("right", (), open(both), async |()| DONE);
    let diary = Diary::new();
    let _top = resource(&app, "top", (&left, &right), &diary);

    let running = started(app).await;
    assert_eq!(diary.entries(), ["open top"]);
    assert_clean(&running.stop("test").await);
}

#[tokio::test]
async fn components_start_after_what_they_need_and_stop_before_it_r3_2a() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let cache = resource(&app, "cache", &db, &diary);
    let jobs = worker(&app, "jobs", (&db, &cache), &diary);
    let _api = worker(&app, "api", &jobs, &diary);

    let running = started(app).await;
    diary.until("run api").await;
    diary.until("run jobs").await;
    diary.assert_order(&["open db", "open cache", "run jobs"]);
    assert_clean(&running.stop("test").await);
    diary.assert_order(&["end api", "end jobs", "close cache", "close db"]);
}

#[tokio::test]
async fn a_failed_start_releases_what_had_started_in_reverse_l1_r3_2a() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let a = resource(&app, "a", (), &diary);
    let b = resource(&app, "b", &a, &diary);
    let waits = stuck(&app, "waits", &b, &diary);
    broken(&app, "broken", &a, &diary, "opening waits");
    let _never = worker(&app, "never", &waits, &diary);

    let receipt = failed_start(app).await;
    diary.assert_order(&["open a", "open b", "opening waits", "dropped waits", "close b", "close a"]);
    assert!(!diary.has("run never"));
    assert_outcome(&receipt, "start failed", 10);
    assert_eq!(receipt.cause, "`broken` could not start");
    assert_eq!(receipt.root_cause, ["cannot reach the broker", "connection refused"]);
    assert_eq!(receipt.hint.as_deref(), Some("is it running?"));
    assert_eq!(receipt.culprits, ["broken"], "what follows from the cause is nobody's fault");
    assert_eq!(
        states(&receipt),
        [("a", "released"), ("b", "released"), ("waits", "released"), ("broken", "failed"), ("never", "skipped")]
    );
    assert_eq!(row(&receipt, "never").error, None);
}

#[tokio::test]
async fn a_second_failure_of_a_start_is_recorded_beside_the_first_l1() {
    let (app, diary) = (App::new("shop"), Diary::new());
    broken(&app, "first", (), &diary, "go");
    let late = diary.clone();
    let open = async move |()| {
        let _cancelled = late.on_drop("second given up");
        std::future::pending::<()>().await;
        Ok(())
    };
    let _second = app.resource("second", (), open, async |()| DONE);
    diary.note("go");
    let receipt = failed_start(app).await;
    assert_eq!(receipt.cause, "`first` could not start");
    assert!(diary.has("second given up"));
}

#[tokio::test(start_paused = true)]
async fn a_start_that_takes_too_long_fails_like_any_other_l1() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let a = resource(&app, "a", (), &diary);
    let _slow = stuck(&app, "slow", &a, &diary).start_within(Duration::from_secs(2));

    let began = tokio::time::Instant::now();
    let receipt = failed_start(app).await;
    assert_eq!(began.elapsed().as_secs(), 2);
    diary.assert_order(&["open a", "opening slow", "dropped slow", "close a"]);
    assert_outcome(&receipt, "start failed", 10);
    assert_eq!(receipt.root_cause, ["not ready within 2.0 s"]);
    assert_eq!(receipt.culprits, ["slow"]);
}

#[tokio::test]
async fn a_stop_during_start_takes_the_same_path_l2_r2_3a() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let a = resource(&app, "a", (), &diary);
    let slow = stuck(&app, "slow", &a, &diary);
    let _never = worker(&app, "never", &slow, &diary);

    let stop = diary.clone();
    let receipt = app.run_until(async move { stop.until("opening slow").await }).await.expect("it was asked to stop");
    diary.assert_order(&["open a", "opening slow", "dropped slow", "close a"]);
    assert!(!diary.has("run never"));
    assert_outcome(&receipt, "clean", 0);
    assert_eq!(states(&receipt), [("a", "released"), ("slow", "released"), ("never", "skipped")]);
}

#[tokio::test]
async fn dropping_the_future_of_start_stops_what_has_started_l2() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let a = resource(&app, "a", (), &diary);
    let _slow = stuck(&app, "slow", &a, &diary);

    let starting = tokio::spawn(app.start());
    diary.until("opening slow").await;
    starting.abort();
    diary.until("close a").await;
    diary.assert_order(&["dropped slow", "close a"]);
}

#[tokio::test]
async fn a_late_worker_is_ready_when_it_says_so_and_lends_what_it_says() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let book = diary.clone();
    let feed = app.late_worker("feed", (), async move |(), ready, stop| {
        book.until("caught up").await;
        ready.with(7_u32);
        stop.requested().await;
        Ok(())
    });
    let book = diary.clone();
    let _reader = app.worker("reader", &feed, async move |feed, stop| {
        book.note(format!("feed is {}", *feed));
        stop.requested().await;
        Ok(())
    });
    let starting = tokio::spawn(app.start());
    diary.note("caught up");
    let running = starting.await.unwrap().expect("it starts");
    diary.until("feed is 7").await;
    assert_clean(&running.stop("test").await);
}

#[tokio::test]
async fn readiness_dropped_unspent_is_a_failed_start() {
    let app = App::new("shop");
    let _feed = app.late_worker("feed", (), async |(), ready: evenkeel::Ready, stop: evenkeel::Stop| {
        drop(ready);
        stop.requested().await;
        Ok(())
    });
    let receipt = failed_start(app).await;
    assert_eq!(receipt.root_cause, ["it dropped its readiness without spending it"]);
}

#[tokio::test]
async fn a_late_worker_that_ends_before_it_is_ready_has_failed_to_start() {
    let app = App::new("shop");
    let _feed = app.late_worker("feed", (), async |(), ready: evenkeel::Ready, _stop| {
        let _kept = ready;
        Ok(())
    });
    let receipt = failed_start(app).await;
    assert_outcome(&receipt, "start failed", 10);
}

#[tokio::test]
async fn what_never_became_ready_is_skipped_with_a_warning_r3_2d() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = stuck(&app, "db", (), &diary);
    let api = resource(&app, "api", &db, &diary);
    let _web = resource(&app, "web", &api, &diary);
    let stop = diary.clone();
    let receipt = app.run_until(async move { stop.until("opening db").await }).await.expect("asked to stop");
    assert_eq!(states(&receipt), [("db", "released"), ("api", "skipped"), ("web", "skipped")]);
    assert_eq!(receipt.warnings, ["not up when the stop began, nothing to release: `api`, `web`"]);
    assert_clean(&receipt);
}

#[tokio::test]
async fn a_stop_asked_for_at_each_step_of_a_start_leaves_nothing_open_l2() {
    for step in ["open a", "open b", "open c", "run d"] {
        let (app, diary) = (App::new("shop"), Diary::new());
        let a = resource(&app, "a", (), &diary);
        let b = resource(&app, "b", &a, &diary);
        let c = resource(&app, "c", &b, &diary);
        let _d = worker(&app, "d", &c, &diary);
        let stop = diary.clone();
        let receipt = app.run_until(async move { stop.until(step).await }).await.expect("asked to stop");
        assert_outcome(&receipt, "clean", 0);
        for name in ["a", "b", "c"] {
            let opened = diary.count(&format!("open {name}"));
            let closed = diary.count(&format!("close {name}"));
            assert!(closed == opened, "{name} after {step}: {:?}", diary.entries());
        }
    }
}

/// The same from within the engine: the stop comes right after each of its decisions (L2, L3).
#[tokio::test(start_paused = true)]
async fn a_stop_between_any_two_decisions_of_a_start_ends_cleanly_l2() {
    for step in 0..24 {
        let (app, diary) = (App::new("shop"), Diary::new());
        let a = resource(&app, "a", (), &diary);
        let b = resource(&app, "b", &a, &diary);
        let _c = worker(&app, "c", (&a, &b), &diary);
        let mut seen = 0;
        let observer = Box::new(move |_: Duration, _: &[evenkeel::simulation::Command]| {
            seen += 1;
            let now = seen - 1 == step;
            now.then(|| evenkeel::simulation::Input::Stop(Cause::Request { by: "test".to_owned() }))
        });
        let simulation = evenkeel::simulation::Simulation { seed: 1, observer, plant: None };
        let ending = app.simulate(simulation);
        let Ok(receipt) = tokio::time::timeout(Duration::from_secs(60), ending).await else { continue };
        let receipt = receipt.expect("a sound app");
        assert_outcome(&receipt, "clean", 0);
        for name in ["a", "b"] {
            assert_eq!(diary.count(&format!("open {name}")), diary.count(&format!("close {name}")), "step {step}");
        }
    }
}

/// A service registry: it is told when everything that matters is ready, before traffic is taken, and hears first of the
/// end.
#[tokio::test]
async fn a_registrar_registers_before_the_first_item_and_deregisters_before_all_else_r2_3b() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let book = diary.clone();
    let _queue = app
        .worker("queue", &db, async move |db, stop: evenkeel::Stop| {
            while stop.or(async { book.note("first item") }).await.is_some() {
                stop.requested().await;
            }
            drop(db);
            DONE
        })
        .intake();
    let (registers, deregisters) = (diary.clone(), diary.clone());
    app.registrar(
        "registry",
        (),
        async move |()| {
            registers.note("register");
            Ok(())
        },
        async move |()| {
            deregisters.note("deregister");
            DONE
        },
    );
    let running = started(app).await;
    diary.until("first item").await;
    assert_clean(&running.stop("test").await);
    assert_eq!(diary.entries(), ["open db", "register", "first item", "deregister", "close db"]);
}

/// Code that holds a runtime thread while it opens is found and named, and the others start meanwhile.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn an_opening_that_blocks_a_thread_is_named_while_others_start_r2_3e() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let book = diary.clone();
    let _legacy = app.resource(
        "legacy",
        (),
        async move |()| {
            // In a turn of its own: whoever this turn has woken sits on the thread that is about to be blocked.
            tokio::task::yield_now().await;
            std::thread::sleep(Duration::from_millis(600)); // what is being tested
            book.note("legacy is open");
            Ok(())
        },
        async |()| DONE,
    );
    let _quick = resource(&app, "quick", (), &diary);
    let receipt = started(app).await.stop("test").await;
    assert_clean(&receipt);
    assert_eq!(diary.entries()[..2], ["open quick", "legacy is open"]);
    let named = |warning: &&String| warning.starts_with("`legacy` held the runtime thread `");
    assert_eq!(receipt.warnings.iter().filter(named).count(), 1, "{:?}", receipt.warnings);
}
