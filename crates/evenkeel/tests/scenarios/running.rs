//! An app inside somebody else's runtime: all kinds of it (L25), and until something is over.

use std::time::Duration;

use evenkeel::{App, Exit};

use crate::common::*;

async fn a_whole_life() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let _jobs = app.worker("jobs", &db, async |db, stop| {
        let asked = stop.clone();
        stop.spawn(async move { asked.requested().await });
        stop.requested().await;
        assert_eq!(*db, "db");
        Ok(())
    });
    assert_clean(&started(app).await.stop("test").await);
    assert_eq!(diary.entries(), ["open db", "close db"]);
}

#[test]
fn a_current_thread_runtime_is_enough_l25() {
    on_current_thread(a_whole_life());
}

#[test]
fn a_runtime_inside_another_ones_thread_works_l25() {
    let outer = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    outer.block_on(async {
        tokio::task::spawn_blocking(|| on_current_thread(a_whole_life())).await.unwrap();
        a_whole_life().await;
    });
}

#[test]
fn a_local_set_works_l25() {
    on_current_thread(async {
        tokio::task::LocalSet::new().run_until(a_whole_life()).await;
    });
}

#[tokio::test]
async fn two_apps_in_one_process_do_not_know_of_each_other_r2_1b() {
    let ((one, ones), (two, twos)) = ((App::new("one"), Diary::new()), (App::new("two"), Diary::new()));
    let _a = resource(&one, "db", (), &ones);
    let _b = resource(&two, "db", (), &twos);
    let (one, two) = (started(one).await, started(two).await);
    assert_clean(&one.stop("test").await);
    assert_eq!(
        (ones.entries(), twos.entries()),
        (vec!["open db".to_owned(), "close db".into()], vec!["open db".to_owned()])
    );
    assert_clean(&two.stop("test").await);
}

#[test]
fn a_runtime_that_goes_away_leaves_a_receipt_that_says_so() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let running = runtime.block_on(async {
        let (app, diary) = (App::new("shop"), Diary::new());
        let _jobs = worker(&app, "jobs", (), &diary);
        started(app).await
    });
    drop(runtime); // waits until everything on it is gone
    let receipt = on_current_thread(running.stop("test"));
    assert_outcome(&receipt, "not clean", 12);
}

#[tokio::test]
async fn run_until_stops_when_its_future_is_over() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let _jobs = worker(&app, "jobs", (), &diary);
    let until = diary.clone();
    let receipt = app.run_until(async move { until.until("run jobs").await }).await.expect("it starts");
    assert_clean(&receipt);
    assert_eq!(receipt.cause, "the caller of run_until");
}

#[tokio::test]
async fn run_until_ends_when_the_app_does() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let _job = job(&app, "import", (), &diary);
    let receipt = app.run_until(std::future::pending()).await.expect("it starts");
    assert_clean(&receipt);
    assert_eq!(receipt.cause, "all jobs are done");
}

#[tokio::test]
async fn run_until_says_when_the_start_failed() {
    let app = App::new("shop");
    let _db = app.resource("db", (), async |()| evenkeel::Result::Err("refused".into()), async |()| DONE);
    let failed = app.run_until(std::future::pending()).await.expect_err("it cannot start");
    assert_eq!(failed.to_string(), "`db` could not start: refused");
}

#[tokio::test]
async fn an_app_with_nothing_in_it_starts_and_stops() {
    assert_clean(&started(App::new("empty")).await.stop("test").await);
}

#[tokio::test]
async fn a_thousand_components_start_and_stop() {
    let (app, diary) = (App::new("wide"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    for n in 0..1000 {
        let _part = app.worker(format!("part-{n}"), &db, async |_db, stop| {
            stop.requested().await;
            Ok(())
        });
    }
    let receipt = started(app).await.stop("test").await;
    assert_clean(&receipt);
    assert_eq!(receipt.components.len(), 1001);
}

#[tokio::test]
async fn a_status_names_what_is_there_r1e() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let _jobs = worker(&app, "jobs", &db, &diary);
    let running = started(app).await;
    let status = running.status().await.expect("it runs");
    let parts: Vec<_> = status.components.iter().map(|part| (&*part.name, &*part.kind, &*part.state)).collect();
    assert_eq!(parts, [("db", "resource", "ready"), ("jobs", "worker", "ready")]);
    assert_eq!((status.state.as_str(), status.ready, status.pid), ("running", true, std::process::id()));
    let mut running = running;
    running.request_stop("test");
    assert_clean(&running.ended().await);
    assert!(running.status().await.is_none());
    let _: fn(App) -> Exit = App::run;
    let _ = Duration::ZERO;
}
