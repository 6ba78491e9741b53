//! A component type that only lends, as those of `evenkeel-parts` do: its note, what it says while it opens, and the
//! time that is left for its close.

use std::time::Duration;

use evenkeel::{App, Component, Problem, Result, Stop};

use crate::common::*;

const SECOND: Duration = Duration::from_secs(1);

/// Lends nothing, and notes the time that it is given for its close, in milliseconds.
struct Client {
    diary: Diary,
}

impl Component for Client {
    type Value = ();

    const KIND: &'static str = "client";
    const LENDS_ONLY: bool = true;

    async fn open(&self, (): (), _: &Stop) -> Result {
        DONE
    }

    fn note(&self, (): &()) -> Option<String> {
        Some("Server 1.0 at home".to_owned())
    }

    async fn close_within(&self, (): (), allowed: Duration) -> Result {
        self.diary.note(format!("close {}", allowed.as_millis()));
        DONE
    }
}

#[tokio::test]
async fn a_component_that_only_lends_keeps_no_service_going_and_shows_its_note_r2_3c() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let client = app.component("client", (), Client { diary: diary.clone() });
    let job = job(&app, "job", (&client, &resource(&app, "db", (), &diary)), &diary);
    let _after = job.start_only();
    // The job may be over before anybody asks.
    match app.start().await {
        Ok(mut running) => {
            if let Some(status) = running.status().await {
                let client = status.component("client").expect("it is declared");
                assert_eq!(client.kind, "client");
                assert!(client.state != "ready" || client.note.as_deref() == Some("Server 1.0 at home"));
            }
            assert_clean(&running.ended().await);
        }
        Err(failed) => panic!("{failed}"),
    }
    assert!(!diary.rest_of("close ").is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_close_is_told_what_is_left_of_its_time_r3_2b() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let client = app.component("client", (), Client { diary: diary.clone() }).stop_within(3 * SECOND);
    let running = started(app).await;
    let lease = running.get(&client).expect("it is up");
    running.request_stop("test");
    // The lease comes back when a third of the time is over.
    tokio::time::sleep(SECOND).await;
    drop(lease);
    let receipt = running.stop("test").await;
    assert_clean(&receipt);
    let left: u64 = diary.rest_of("close ").parse().expect("a number");
    assert!((1_900..=2_000).contains(&left), "{left}");
}

#[tokio::test(start_paused = true)]
async fn a_close_by_reference_is_told_what_is_left_of_its_time_r3_2b() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let book = diary.clone();
    let db = resource(&app, "db", (), &diary).stop_within(4 * SECOND).close_ref_within(move |_, allowed| {
        book.note(format!("by reference {}", allowed.as_millis()));
        async { DONE }
    });
    let running = started(app).await;
    let _leaked = running.get(&db).expect("it is up");
    assert!(!running.stop("test").await.is_clean());
    let left: u64 = diary.rest_of("by reference ").parse().expect("a number");
    assert!((1..=1_000).contains(&left), "a quarter is kept for it: {left}");
}

#[tokio::test(start_paused = true)]
async fn a_start_that_takes_too_long_says_what_it_was_doing_r2_3c() {
    struct Late;
    impl Component for Late {
        type Value = ();
        async fn open(&self, (): (), stop: &Stop) -> Result {
            stop.doing("waiting for a server at home");
            std::future::pending().await
        }
    }
    let app = App::new("shop");
    let _late = app.component("late", (), Late).start_within(SECOND);
    let receipt = failed_start(app).await;
    assert!(receipt.to_json().contains("not ready within 1.0 s: it was waiting for a server at home"), "{receipt:?}");

    let app = App::new("shop");
    let _late = app.component("late", (), Late).optional();
    let running = started(app).await;
    let says = |status: &evenkeel::Status| {
        status.component("late").and_then(|late| late.note.clone()).as_deref() == Some("waiting for a server at home")
    };
    status_until(&running, says).await;
    assert_clean(&running.stop("test").await);
}

#[tokio::test]
async fn whoever_declares_in_an_app_can_refuse_it() {
    let app = App::new("shop");
    app.refuse(Problem { text: "it cannot work".to_owned(), hint: "change it".to_owned() });
    assert_eq!(refused(app).await, "it cannot work\nhint: change it");
}
