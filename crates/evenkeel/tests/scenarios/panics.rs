//! A panic anywhere in a component is that component's failure, and never skips the stop of another (L6).

use std::time::Duration;

use evenkeel::{App, StopPolicy};

use crate::common::*;

#[tokio::test]
async fn a_panic_in_open_is_a_failed_start_l6() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let _bad = app.resource("bad", &db, async |_db| -> evenkeel::Result { panic!("no config") }, async |()| DONE);
    let receipt = failed_start(app).await;
    assert!(diary.has("close db"));
    assert_outcome(&receipt, "start failed", 10);
    assert_eq!(receipt.root_cause, ["panicked: no config"]);
}

#[tokio::test]
async fn a_panic_before_the_first_await_of_a_plain_closure_is_a_failed_start_l6() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let open = |_db| {
        assert_eq!(1, 2, "arithmetic");
        std::future::ready(DONE)
    };
    let _bad = app.resource("bad", &db, open, async |()| DONE);
    let receipt = failed_start(app).await;
    assert!(diary.has("close db"));
    assert!(receipt.root_cause[0].starts_with("panicked: "), "{:?}", receipt.root_cause);
}

#[tokio::test]
async fn a_panic_in_run_ends_the_service_and_everything_else_stops_in_order_l6() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let book = diary.clone();
    let bad = app.worker("bad", &db, async move |_db, _stop| {
        book.until("run peer").await;
        panic!("index out of bounds")
    });
    let _peer = worker(&app, "peer", (&db, &bad), &diary);
    let receipt = started(app).await.ended().await;
    diary.assert_order(&["end peer", "close db"]);
    assert_outcome(&receipt, "component failed", 11);
    assert_eq!(receipt.cause, "`bad` failed");
    assert_eq!(receipt.root_cause, ["panicked: index out of bounds"]);
    assert_eq!(receipt.culprits, ["bad"]);
}

#[tokio::test]
async fn a_panic_in_a_spawned_task_fails_its_component_l6_l8() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let _bad = app.worker("bad", &db, async |_db, stop| {
        stop.spawn(async { std::hint::black_box(None::<()>).expect("in a task") });
        stop.requested().await;
        Ok(())
    });
    let receipt = started(app).await.ended().await;
    assert!(diary.has("close db"));
    assert_outcome(&receipt, "component failed", 11);
    assert_eq!(receipt.root_cause, ["panicked: in a task"]);
}

#[tokio::test]
async fn a_panic_in_close_skips_no_other_close_l6() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let _bad = app.resource("bad", &db, async |_db| Ok(()), async |()| panic!("in close"));
    let receipt = started(app).await.stop("test").await;
    assert!(diary.has("close db"));
    assert_outcome(&receipt, "not clean", 12);
    assert_eq!(receipt.culprits, ["bad"]);
    assert_eq!(row(&receipt, "bad").error.as_deref(), Some("panicked: in close"));
}

#[tokio::test(start_paused = true)]
async fn a_panic_as_a_run_is_dropped_skips_nothing_l6() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let bad = app.worker("bad", &db, async |_db, _stop| {
        let _held = PanicsOnDrop;
        std::future::pending().await
    });
    let _bad = bad.stop_within(Duration::from_secs(1));
    let receipt = started(app).await.stop("test").await;
    assert!(diary.has("close db"));
    assert_outcome(&receipt, "not clean", 12);
    assert_eq!(row(&receipt, "bad").error.as_deref(), Some("panicked: its drop panics"));
}

#[tokio::test(start_paused = true)]
async fn a_panic_as_an_opening_is_dropped_skips_nothing_l6() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let open = async |_db| {
        let _held = PanicsOnDrop;
        std::future::pending::<evenkeel::Result>().await
    };
    let _bad = app.resource("bad", &db, open, async |()| DONE).start_within(Duration::from_secs(1));
    let receipt = failed_start(app).await;
    assert!(diary.has("close db"));
    assert_outcome(&receipt, "start failed", 10);
}

#[tokio::test(start_paused = true)]
async fn a_panic_as_an_aborted_task_is_dropped_skips_nothing_l6() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let bad = app.worker("bad", &db, async |_db, stop| {
        stop.spawn(async {
            let _held = PanicsOnDrop;
            std::future::pending::<()>().await;
        });
        stop.requested().await;
        Ok(())
    });
    let _bad = bad.stop_within(Duration::from_secs(1));
    let receipt = started(app).await.stop("test").await;
    assert!(diary.has("close db"));
    assert_outcome(&receipt, "not clean", 12);
    assert_eq!(row(&receipt, "bad").state, "failed", "{}", receipt.to_json());
}

#[tokio::test]
async fn a_panic_as_a_value_is_dropped_skips_nothing_l6() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let _bad = app.resource(
        "bad",
        &db,
        async |_db| Ok(PanicsOnDrop),
        async |value| {
            drop(value);
            Ok(())
        },
    );
    let receipt = started(app).await.stop("test").await;
    assert!(diary.has("close db"));
    assert_outcome(&receipt, "not clean", 12);
    assert_eq!(row(&receipt, "bad").error.as_deref(), Some("panicked: its drop panics"));
}

#[tokio::test]
async fn a_panic_in_the_coordinator_stops_the_rest_in_reverse_l6() {
    let (app, diary) = (App::new("shop").stop_policy(StopPolicy::coordinator(|_| panic!("undecided"))), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let _jobs = worker(&app, "jobs", &db, &diary);
    let running = started(app).await;
    diary.until("run jobs").await;
    let receipt = running.stop("test").await;
    diary.assert_order(&["end jobs", "close db"]);
    assert_eq!(states(&receipt), [("db", "released"), ("jobs", "released")]);
}

#[tokio::test]
async fn a_panic_in_close_by_reference_is_the_resources_failure_l6() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let limit = evenkeel::Limit::exponential(Duration::from_millis(50), 2, 2);
    let bad = app.resource("bad", &db, async |_db| Ok(()), async |()| DONE);
    let _bad = bad.close_ref(async |_value| panic!("by reference")).stop_limit(limit);
    let receipt = started(app).await.stop("test").await;
    assert!(diary.has("close db"));
    assert_eq!(row(&receipt, "bad").error.as_deref(), Some("panicked: by reference"));
    assert_outcome(&receipt, "not clean", 12);
}
