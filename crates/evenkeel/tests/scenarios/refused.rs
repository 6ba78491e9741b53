//! What is refused before anything opens, and how the message reads.

use std::time::Duration;

use evenkeel::{App, Limit, Restart};

use crate::common::*;

#[tokio::test]
async fn two_components_of_one_name_are_refused_with_both_places() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let _one = resource(&app, "db", (), &diary);
    let _two = worker(&app, "db", (), &diary);
    let text = refused(app).await;
    assert!(text.matches("tests/scenarios/refused.rs:").count() >= 2, "{text}");
    assert!(text.contains("`db`") && text.contains("hint: "), "{text}");
    assert_eq!(diary.entries(), [""; 0], "nothing was opened");
}

#[tokio::test]
async fn names_that_cannot_be_written_anywhere_are_refused() {
    for name in ["", "two words", "../etc", "ümlaut", "new\nline", &"x".repeat(65)] {
        let app = App::new(name);
        let text = refused(app).await;
        assert!(text.contains("cannot be part of a path"), "{name:?}: {text}");

        let app = App::new("shop");
        let _part = app.worker(name, (), async |(), _stop| DONE);
        let text = refused(app).await;
        assert!(text.contains("is not a name for a component"), "{name:?}: {text}");
    }
}

#[tokio::test]
async fn a_component_of_another_app_cannot_be_needed() {
    let (one, other, diary) = (App::new("one"), App::new("other"), Diary::new());
    let foreign = resource(&other, "db", (), &diary);
    let _jobs = worker(&one, "jobs", &foreign, &diary);
    let text = refused(one).await;
    assert!(text.contains("`jobs`") && text.contains("another app"), "{text}");
    assert_eq!(diary.entries(), [""; 0]);
}

#[tokio::test]
async fn a_component_of_another_app_cannot_be_needed_softly_or_for_its_start_either() {
    let (one, other, diary) = (App::new("one"), App::new("other"), Diary::new());
    let foreign = resource(&other, "db", (), &diary);
    let _jobs = worker(&one, "jobs", (foreign.soft(), foreign.start_only()), &diary);
    assert!(refused(one).await.contains("another app"));
}

#[tokio::test]
#[should_panic(expected = "the handle belongs to another app")]
async fn a_value_cannot_be_asked_for_with_another_apps_handle() {
    let (one, other, diary) = (App::new("one"), App::new("other"), Diary::new());
    let _own = resource(&one, "db", (), &diary);
    let foreign = resource(&other, "db", (), &diary);
    let running = started(one).await;
    let _ = running.get(&foreign);
}

#[tokio::test]
async fn a_component_of_another_app_cannot_be_replaced() {
    let (one, other, diary) = (App::new("one"), App::new("other"), Diary::new());
    let _own = resource(&one, "db", (), &diary);
    let foreign = resource(&other, "db", (), &diary);
    one.replace(&foreign, "fake");
    assert!(refused(one).await.contains("cannot be replaced"));
}

#[tokio::test]
async fn a_run_once_component_below_a_restart_is_refused() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary).restart(Restart::new());
    let moved = String::from("moved in");
    let _jobs = app.once().worker("jobs", &db, move |_db, _stop| {
        drop(moved);
        async { DONE }
    });
    let text = refused(app).await;
    assert!(text.contains("`jobs`") && text.contains("`db`"), "{text}");
}

#[tokio::test]
async fn a_limit_that_retries_needs_a_close_by_reference_r3_2c() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let _db = resource(&app, "db", (), &diary).stop_limit(Limit::exponential(Duration::from_millis(100), 2, 3));
    let text = refused(app).await;
    assert!(text.contains("retries its release") && text.contains(".close_ref(..)"), "{text}");
}

#[tokio::test]
async fn limits_of_zero_are_refused() {
    let (app, diary) = (App::new("shop").budget(Duration::ZERO), Diary::new());
    let _db = resource(&app, "db", (), &diary).stop_within(Duration::ZERO);
    let text = refused(app).await;
    assert!(text.contains("the budget of a stop is zero"), "{text}");
    assert!(text.contains("`db`"), "all problems at once: {text}");
}

#[tokio::test]
async fn a_propagation_delay_that_leaves_nothing_is_refused() {
    let app = App::new("shop").budget(Duration::from_secs(5)).propagation_delay(Duration::from_secs(5));
    assert!(refused(app).await.contains("propagation delay"));
}

#[tokio::test]
async fn a_resource_cannot_be_a_job() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let _jobs = app.resource("setup", (), async |()| Ok(()), async |()| DONE).finite();
    let text = refused(app).await;
    assert!(text.contains("`setup`") && text.contains("never ends by itself") && text.contains("hint: "), "{text}");
    assert_eq!(diary.entries(), [""; 0], "nothing was opened");
}
