//! Stopping: order, causes, limits, budget and policies.

use std::{sync::Arc, time::Duration};

use evenkeel::{App, Choice, Component, Lease, Result, Stop, StopPolicy};
use tokio::{sync::oneshot, time::Instant};

use crate::common::*;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn a_second_stop_joins_the_first_and_the_first_cause_stands_l3() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let _jobs = worker(&app, "jobs", &db, &diary);
    let running = started(app).await;
    running.request_stop("first");
    running.request_stop("second");
    let receipt = running.stop("third").await;
    assert_clean(&receipt);
    assert_eq!(
        (receipt.cause.as_str(), receipt.later_causes.as_slice()),
        ("first", &["second", "third"].map(str::to_owned)[..])
    );
    assert_eq!((diary.count("end jobs"), diary.count("close db")), (1, 1));
}

#[tokio::test]
async fn a_stop_from_inside_a_component_is_a_stop_like_any_other_l3() {
    let app = App::new("shop");
    let (hand_in, handed_in) = oneshot::channel::<Arc<evenkeel::Running>>();
    let _jobs = app.once().worker("jobs", (), async move |(), stop| {
        let running = handed_in.await?;
        running.request_stop("the job said so");
        drop(running);
        stop.requested().await;
        Ok(())
    });
    let running = Arc::new(started(app).await);
    assert!(hand_in.send(running.clone()).is_ok());
    while Arc::strong_count(&running) > 1 {
        tokio::task::yield_now().await;
    }
    let receipt = Arc::into_inner(running).expect("given back").ended().await;
    assert_clean(&receipt);
    assert_eq!(receipt.cause, "the job said so");
}

#[tokio::test]
async fn everybody_who_waits_for_the_end_gets_the_same_receipt_l3() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let _jobs = worker(&app, "jobs", (), &diary);
    let mut running = started(app).await;
    running.request_stop("test");
    let first = running.ended().await;
    assert_eq!(first, running.ended().await);
    assert_eq!(first, running.stop("late").await, "after the end there is nothing left to stop");
}

#[tokio::test]
async fn dropping_the_running_app_stops_it() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let _db = resource(&app, "db", (), &diary);
    drop(started(app).await);
    diary.until("close db").await;
}

#[tokio::test]
async fn an_intake_is_told_at_once_and_the_rest_after_its_dependents_l11_r3_1b() {
    let (app, diary) = (App::new("shop"), Diary::new());
    // A request goes api -> jobs -> db. It is in flight when the stop comes, and completes.
    let db = resource(&app, "db", (), &diary);
    let (ask, mut asked) = tokio::sync::mpsc::channel::<oneshot::Sender<&str>>(8);
    let book = diary.clone();
    let jobs = app.once().worker("jobs", &db, async move |db, stop| {
        while let Some(Some(reply)) = stop.or(asked.recv()).await {
            book.note("jobs answers");
            let _ = reply.send(*db);
        }
        book.note("end jobs");
        Ok(())
    });
    let book = diary.clone();
    let _api = app
        .once()
        .worker("api", &jobs, async move |_jobs, stop| {
            book.note("request accepted");
            stop.requested().await;
            book.note("api told");
            let (reply, answer) = oneshot::channel();
            ask.send(reply).await?;
            book.note(format!("request answered with {}", answer.await?));
            Ok(())
        })
        .intake();
    let running = started(app).await;
    diary.until("request accepted").await;
    assert_clean(&running.stop("test").await);
    diary.assert_order(&[
        "request accepted",
        "api told",
        "jobs answers",
        "request answered with db",
        "end jobs",
        "close db",
    ]);
}

#[tokio::test]
async fn all_intakes_are_told_before_anything_else_drains_l11() {
    let app = App::new("shop");
    let (told, low_told) = oneshot::channel();
    let tell = async move |(), stop: Stop| {
        stop.requested().await;
        let _ = told.send(());
        Ok(())
    };
    let low = app.once().worker("low", (), tell).intake();
    // `high` drains only when `low`, which it needs, was told: with plain reverse order this would wait for ever.
    let _high = app.once().worker("high", &low, async move |_low, stop| {
        stop.requested().await;
        low_told.await?;
        Ok(())
    });
    let running = started(app).await;
    assert_clean(&running.stop("test").await);
}

#[tokio::test(start_paused = true)]
async fn what_hangs_is_cut_at_its_limit_named_and_the_rest_goes_on_r3_2b() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let deaf = deaf_worker(&app, "deaf", &db, &diary).stop_within(2 * SECOND);
    let _api = worker(&app, "api", &deaf, &diary);
    let running = started(app).await;
    diary.until("run deaf").await;
    let began = Instant::now();
    let receipt = running.stop("test").await;
    assert_eq!(began.elapsed().as_secs(), 2);
    assert_outcome(&receipt, "not clean", 12);
    assert_eq!(receipt.culprits, ["deaf"]);
    diary.assert_order(&["end api", "close db"]);
    let deaf = row(&receipt, "deaf");
    assert_eq!(deaf.error.as_deref(), Some("cut off at its limit"));
    assert_eq!(deaf.doing.as_deref(), Some("waiting in its run"));
    assert_eq!(deaf.allowed_ms.map(|ms| ms >= 2000.0), Some(true));
    assert_eq!(row(&receipt, "db").state, "released");
}

#[tokio::test(start_paused = true)]
async fn a_close_that_hangs_is_cut_at_its_limit_and_those_below_are_closed_r3_2b() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let book = diary.clone();
    let _pool = app
        .resource(
            "pool",
            &db,
            async |_db| Ok(()),
            async move |()| {
                let _cut = book.on_drop("close of pool dropped");
                std::future::pending().await
            },
        )
        .stop_within(SECOND);
    let running = started(app).await;
    let receipt = running.stop("test").await;
    diary.assert_order(&["close of pool dropped", "close db"]);
    assert_outcome(&receipt, "not clean", 12);
    assert_eq!(receipt.culprits, ["pool"]);
    assert_eq!(row(&receipt, "pool").state, "aborted");
    assert_eq!(row(&receipt, "pool").doing.as_deref(), Some("waiting in its close"));
}

#[tokio::test]
async fn a_close_that_fails_does_not_keep_the_others_from_closing_l6() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let _pool = app.resource("pool", &db, async |_db| Ok(()), async |()| Err("the disk is full".into()));
    let receipt = started(app).await.stop("test").await;
    assert!(diary.has("close db"));
    assert_outcome(&receipt, "not clean", 12);
    assert_eq!(receipt.culprits, ["pool"]);
    assert_eq!(row(&receipt, "pool").error.as_deref(), Some("the disk is full"));
}

#[tokio::test]
async fn an_error_while_draining_makes_the_stop_unclean_but_not_shorter() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let _jobs = app.worker("jobs", &db, async |_db, stop| {
        stop.requested().await;
        Err("the last batch was refused".into())
    });
    let receipt = started(app).await.stop("test").await;
    assert!(diary.has("close db"));
    assert_outcome(&receipt, "not clean", 12);
    assert_eq!(row(&receipt, "jobs").error.as_deref(), Some("the last batch was refused"));
}

#[tokio::test(start_paused = true)]
async fn time_spent_waiting_for_others_is_not_charged_l9() {
    let (app, diary) = (App::new("shop").budget(20 * SECOND), Diary::new());
    let db = resource(&app, "db", (), &diary).stop_within(SECOND);
    let _slow = app
        .worker("slow", &db, async |_db, stop| {
            stop.requested().await;
            tokio::time::sleep(5 * SECOND).await; // the work in flight
            Ok(())
        })
        .stop_within(6 * SECOND);
    let receipt = started(app).await.stop("test").await;
    assert_clean(&receipt);
    let (slow, db) = (row(&receipt, "slow"), row(&receipt, "db"));
    assert!((5000.0..5010.0).contains(&slow.used_ms), "{}", receipt.to_json());
    assert!(db.used_ms < 10.0 && db.stop_ms >= Some(5000.0) && db.allowed_ms == Some(1000.0), "{}", receipt.to_json());
    assert_eq!(receipt.critical_path, ["slow", "db"]);
}

#[tokio::test(start_paused = true)]
async fn under_broadcast_the_wait_for_dependents_is_not_charged_either_l9() {
    let app = App::new("shop").budget(20 * SECOND).stop_policy(StopPolicy::Broadcast);
    let diary = Diary::new();
    let db = resource(&app, "db", (), &diary).stop_within(SECOND);
    let _slow = app
        .worker("slow", &db, async |_db, stop| {
            stop.requested().await;
            tokio::time::sleep(5 * SECOND).await;
            Ok(())
        })
        .stop_within(6 * SECOND);
    let receipt = started(app).await.stop("test").await;
    assert_clean(&receipt);
    let db = row(&receipt, "db");
    assert!(db.stop_ms < Some(10.0) && db.used_ms < 10.0 && db.end_ms >= Some(5000.0), "{}", receipt.to_json());
}

#[tokio::test(start_paused = true)]
async fn the_total_limit_holds_and_nobody_uses_up_the_time_of_those_below_l9_r3_2e() {
    let (app, diary) = (App::new("shop").budget(4 * SECOND), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let low = deaf_worker(&app, "low", &db, &diary).stop_within(10 * SECOND);
    let high = deaf_worker(&app, "high", &low, &diary).stop_within(10 * SECOND);
    let _top = deaf_worker(&app, "top", &high, &diary).stop_within(10 * SECOND);
    let running = started(app).await;
    diary.until("run top").await;
    let began = Instant::now();
    let receipt = running.stop("test").await;
    assert!(began.elapsed() <= 4 * SECOND, "{:?}", began.elapsed());
    assert_outcome(&receipt, "not clean", 12);
    assert_eq!(receipt.culprits, ["low", "high", "top"]);
    assert!(diary.has("close db"), "those below got their time: {}", receipt.to_json());
    assert_eq!(receipt.critical_path, ["top", "high", "low", "db"]);
}

#[tokio::test(start_paused = true)]
async fn a_forced_stop_cuts_everything_at_once_and_says_so() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let _deaf = deaf_worker(&app, "deaf", &db, &diary);
    let mut running = started(app).await;
    diary.until("run deaf").await;
    running.request_stop("first");
    let began = Instant::now();
    running.force("enough");
    let receipt = running.ended().await;
    assert!(began.elapsed() < SECOND / 10, "{:?}", began.elapsed());
    assert_ne!(receipt.exit_code, 0);
    assert_eq!((receipt.cause.as_str(), receipt.later_causes.as_slice()), ("first", &["enough".to_owned()][..]));
    assert_eq!(receipt.culprits, ["deaf"], "the database is a victim");
}

#[tokio::test(start_paused = true)]
async fn readiness_goes_first_and_traffic_is_served_on_for_the_propagation_delay_l11() {
    let (app, diary) = (App::new("shop").propagation_delay(3 * SECOND), Diary::new());
    let _api = worker(&app, "api", (), &diary).intake();
    let running = started(app).await;
    running.readiness(true).await;
    let began = Instant::now();
    running.request_stop("test");
    running.readiness(false).await;
    assert!(began.elapsed() < SECOND);
    assert!(!diary.has("end api"));
    let receipt = running.stop("test").await;
    assert!(row(&receipt, "api").stop_ms >= Some(3000.0), "{}", receipt.to_json());
    assert!((receipt.propagation_delay_ms - 3000.0).abs() < f64::EPSILON);
}

#[tokio::test]
async fn broadcast_tells_all_at_once_and_still_releases_in_reverse_r4_4a() {
    let (app, diary) = (App::new("shop").stop_policy(StopPolicy::Broadcast), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let (told, low_told) = oneshot::channel();
    let low = app.once().worker("low", &db, async move |_db, stop| {
        stop.requested().await;
        let _ = told.send(());
        Ok(())
    });
    // It ends only when the one below it was told as well: reverse order would wait for ever.
    let _high = app.once().worker("high", (&db, &low), async move |_held, stop| {
        stop.requested().await;
        low_told.await?;
        Ok(())
    });
    let receipt = started(app).await.stop("test").await;
    assert_clean(&receipt);
    assert_eq!(receipt.policy, "broadcast");
    let end = |name| row(&receipt, name).end_ms.unwrap();
    assert!(row(&receipt, "db").release_ms.unwrap() >= end("high").max(end("low")), "{}", receipt.to_json());
}

#[tokio::test]
async fn a_coordinator_stops_consumers_first_and_pools_after_each_has_confirmed_r4_4b() {
    let diary = Diary::new();
    let book = diary.clone();
    let consumers_first = StopPolicy::coordinator(move |view| {
        let waiting: Vec<_> = view.waiting().collect();
        let names: Vec<_> = waiting.iter().map(|id| view.name(*id)).collect();
        book.note(format!("asked, waiting: {}", names.join(" ")));
        let consumers: Vec<_> = waiting.iter().copied().filter(|id| view.name(*id).starts_with("consumer")).collect();
        let confirmed = ["consumer-a", "consumer-b"].iter().all(|name| {
            let id = view.find(name).expect("it was declared");
            view.state(id).is_over()
        });
        match (consumers.is_empty(), confirmed) {
            (false, _) => Choice::Stop(consumers),
            (true, false) => Choice::Stop(Vec::new()), // wait for the next confirmation
            (true, true) => Choice::Rest,
        }
    });
    let app = App::new("shop").stop_policy(consumers_first);
    // No edge between the consumers and the pools: only the coordinator orders them.
    let pool = resource(&app, "pool", (), &diary);
    let _writer = worker(&app, "writer", &pool, &diary);
    let _a = worker(&app, "consumer-a", (), &diary);
    let _b = worker(&app, "consumer-b", (), &diary);
    let running = started(app).await;
    for name in ["writer", "consumer-a", "consumer-b"] {
        diary.until(&format!("run {name}")).await;
    }
    let receipt = running.stop("test").await;
    assert_clean(&receipt);
    assert_eq!(receipt.policy, "coordinator");
    for consumer in ["end consumer-a", "end consumer-b"] {
        diary.assert_order(&[
            "asked, waiting: pool writer consumer-a consumer-b",
            consumer,
            "end writer",
            "close pool",
        ]);
    }
}

#[tokio::test]
async fn a_coordinator_that_names_nobody_cannot_hold_the_stop_up_r4_4a() {
    let (app, diary) =
        (App::new("shop").stop_policy(StopPolicy::coordinator(|_| Choice::Stop(Vec::new()))), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let _jobs = worker(&app, "jobs", &db, &diary);
    let receipt = started(app).await.stop("test").await;
    assert_clean(&receipt);
    assert!(receipt.warnings[0].contains("the stop coordinator named nobody"), "{:?}", receipt.warnings);
}

/// A component in the trait form: a counter that runs.
struct Counter {
    diary: Diary,
}

impl Component<(Lease<&'static str>,)> for Counter {
    type Value = u32;

    async fn open(&self, (db,): (Lease<&'static str>,), _stop: &Stop) -> Result<u32> {
        self.diary.note(format!("open counter on {}", *db));
        Ok(42)
    }

    async fn run(&self, value: Lease<u32>, stop: Stop) -> Result {
        self.diary.note(format!("run counter at {}", *value));
        stop.requested().await;
        self.diary.note("end counter");
        Ok(())
    }

    async fn close(&self, value: u32) -> Result {
        self.diary.note(format!("close counter at {value}"));
        Ok(())
    }
}

#[tokio::test]
async fn a_component_with_a_type_of_its_own_lives_like_the_others() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let counter = app.component("counter", (&db,), Counter { diary: diary.clone() });
    let _user = worker(&app, "user", &counter, &diary);
    let running = started(app).await;
    diary.until("run counter at 42").await;
    diary.until("run user").await;
    assert_clean(&running.stop("test").await);
    diary.assert_order(&[
        "open db",
        "open counter on db",
        "end user",
        "end counter",
        "close counter at 42",
        "close db",
    ]);
}

/// A component that only lends: every other method is the default.
struct Constant;

impl Component for Constant {
    type Value = u32;

    async fn open(&self, (): (), _stop: &Stop) -> Result<u32> {
        Ok(1)
    }
}

#[tokio::test]
async fn the_defaults_of_the_trait_form_wait_and_drop() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let one = app.component("one", (), Constant);
    let _user = worker(&app, "user", &one, &diary);
    assert_clean(&started(app).await.stop("test").await);
}

#[tokio::test]
async fn the_receipt_has_a_row_for_each_component_with_its_stages_in_order() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let _jobs = worker(&app, "jobs", &db, &diary);
    let receipt = started(app).await.stop("test").await;
    assert_eq!((receipt.app.as_str(), receipt.cause.as_str()), ("shop", "test"));
    assert_eq!(receipt.pid, std::process::id());
    for name in ["jobs", "db"] {
        let row = row(&receipt, name);
        let stages = [row.stop_ms, row.drained_ms, row.release_ms, row.end_ms];
        assert!(stages.iter().all(Option::is_some) && stages.is_sorted(), "{name}: {stages:?}");
    }
    assert_eq!(row(&receipt, "jobs").needs, ["db"]);
    assert_eq!((row(&receipt, "jobs").kind.as_str(), row(&receipt, "db").kind.as_str()), ("worker", "resource"));
    let order: Vec<_> = receipt.rows_by_end().iter().map(|row| row.name.clone()).collect();
    assert_eq!(
        (order, &receipt.critical_path),
        (vec!["jobs".to_owned(), "db".to_owned()], &vec!["jobs".to_owned(), "db".to_owned()])
    );
}

#[tokio::test]
async fn a_component_can_ask_the_whole_service_to_stop_l3() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let _jobs = app.worker("jobs", &db, async |_db, stop| {
        stop.stop_service("the last job said so");
        stop.requested().await;
        DONE
    });
    let mut running = app.start().await.unwrap();
    let receipt = running.ended().await;
    assert_eq!((receipt.cause.as_str(), receipt.exit_code), ("the last job said so", 0));
}
