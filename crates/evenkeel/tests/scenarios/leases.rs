//! Values that are lent: closed by value when all are back, named when one is not.

use std::{sync::Arc, time::Duration};

use evenkeel::{App, Error, Limit, Watch};
use tokio::time::Instant;

use crate::common::*;

const SECOND: Duration = Duration::from_secs(1);

/// Whole in one owner's hands: closing it takes it by value, and cloning it is impossible.
struct Pool(&'static str);

#[tokio::test]
async fn close_is_given_the_value_itself_r4_2b() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let book = diary.clone();
    let db = app.resource(
        "db",
        (),
        async |()| Ok(Pool("orders")),
        async move |pool: Pool| {
            let Pool(name) = pool;
            book.note(format!("closed {name}"));
            Ok(())
        },
    );
    let _jobs = app.worker("jobs", &db, async |db, stop| {
        // Leases go into tasks; every one of them is back before the close.
        for _ in 0..100 {
            let (db, asked) = (db.clone(), stop.clone());
            stop.spawn(async move {
                asked.requested().await;
                assert_eq!(db.0, "orders");
            });
        }
        stop.requested().await;
        Ok(())
    });
    assert_clean(&started(app).await.stop("test").await);
    assert_eq!(diary.entries(), ["closed orders"]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_never_comes_back_is_named_and_the_rest_goes_on_r3_2b() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let disk = resource(&app, "disk", (), &diary);
    let db = resource(&app, "db", &disk, &diary).stop_within(SECOND);
    let running = started(app).await;
    let (leaked, line) = (running.get(&db).expect("it is up"), line!());
    let began = Instant::now();
    let receipt = running.stop("test").await;
    assert_eq!(began.elapsed().as_secs(), 1);
    assert!(!diary.has("close db"), "its value is still held");
    assert!(diary.has("close disk"), "the rest goes on");
    assert_outcome(&receipt, "not clean", 12);
    assert_eq!(receipt.culprits, ["the caller of start"], "who holds it, not who lends it");
    let place = format!("{}:{line}", file!());
    assert_eq!(row(&receipt, "db").leaked_leases, [format!("1 lease of `the caller of start` taken at {place}")]);
    assert_eq!(*leaked, "db", "what was lent stays whole");
}

#[tokio::test(start_paused = true)]
async fn a_lease_hidden_in_a_detached_task_is_named_by_its_component_and_line() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary).stop_within(SECOND);
    let book = diary.clone();
    let _jobs = app.worker("jobs", &db, async move |db, stop| {
        let (hidden, line) = (db.clone(), line!());
        book.note(format!("line {line}"));
        tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(hidden);
        });
        stop.requested().await;
        Ok(())
    });
    let receipt = started(app).await.stop("test").await;
    let line = diary.rest_of("line ");
    assert_eq!(row(&receipt, "db").leaked_leases, [format!("1 lease of `jobs` taken at {}:{line}", file!())]);
    assert_outcome(&receipt, "not clean", 12);
}

#[tokio::test(start_paused = true)]
async fn a_lease_from_watch_ready_is_named_by_the_line_that_took_it() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary).stop_within(SECOND);
    let book = diary.clone();
    let _jobs = app.worker("jobs", db.soft(), async move |db, stop| {
        let (hidden, line) = (db.ready().await, line!());
        book.note(format!("line {line}"));
        book.note("hidden");
        tokio::spawn(async move {
            std::future::pending::<()>().await;
            drop(hidden);
        });
        stop.requested().await;
        Ok(())
    });
    let running = started(app).await;
    diary.until("hidden").await;
    let receipt = running.stop("test").await;
    let line = diary.rest_of("line ");
    assert_eq!(row(&receipt, "db").leaked_leases, [format!("1 lease of `jobs` taken at {}:{line}", file!())]);
}

#[tokio::test(start_paused = true)]
async fn what_is_lent_for_ever_is_closed_by_reference_all_the_same() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let book = diary.clone();
    let db = resource(&app, "db", (), &diary).stop_within(SECOND).close_ref(move |db| {
        let book = book.clone();
        async move {
            book.note(format!("close {} by reference", *db));
            Ok(())
        }
    });
    let running = started(app).await;
    let _leaked = running.get(&db).expect("it is up");
    let receipt = running.stop("test").await;
    assert_eq!(diary.entries(), ["open db", "close db by reference"]);
    assert_outcome(&receipt, "not clean", 12);
    assert_eq!(row(&receipt, "db").leaked_leases.len(), 1);
}

#[tokio::test]
async fn with_every_lease_back_the_value_is_closed_by_value_even_if_a_reference_would_do() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let _db = resource(&app, "db", (), &diary).close_ref(async |_db| panic!("not asked for"));
    assert_clean(&started(app).await.stop("test").await);
    assert_eq!(diary.entries(), ["open db", "close db"]);
}

#[tokio::test(start_paused = true)]
async fn a_release_is_tried_again_and_each_attempt_gets_longer_r3_2c() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let disk = resource(&app, "disk", (), &diary);
    let book = diary.clone();
    let attempts = Limit::exponential(Duration::from_millis(100), 2, 3);
    let _db =
        app.resource("db", &disk, async |_disk| Ok(()), async |()| DONE).stop_limit(attempts).close_ref(move |_db| {
            book.note("attempt");
            let cut = book.clone();
            async move {
                let began = Instant::now();
                let _dropped = Measured(cut, began);
                std::future::pending().await
            }
        });
    let receipt = started(app).await.stop("test").await;
    let lengths: Vec<String> = diary.entries().into_iter().filter(|entry| entry.starts_with("took")).collect();
    assert_eq!(lengths, ["took 100 ms", "took 200 ms", "took 400 ms"]);
    assert!(diary.has("close disk"));
    assert_outcome(&receipt, "not clean", 12);
    assert_eq!(receipt.culprits, ["db"]);
}

/// Notes how long an attempt took, to ten milliseconds: a paused clock steps by one.
struct Measured(Diary, Instant);

impl Drop for Measured {
    fn drop(&mut self) {
        self.0.note(format!("took {} ms", (self.1.elapsed().as_millis() + 5) / 10 * 10));
    }
}

#[tokio::test(start_paused = true)]
async fn a_release_that_succeeds_at_its_second_attempt_is_clean_r3_2c() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let book = diary.clone();
    let _db = app
        .resource("db", (), async |()| Ok(()), async |()| DONE)
        .stop_limit(Limit::exponential(Duration::from_millis(100), 2, 4))
        .close_ref(move |_db| {
            book.note("attempt");
            let first = book.count("attempt") == 1;
            async move { if first { Err(Error::from("busy")) } else { DONE } }
        });
    assert_clean(&started(app).await.stop("test").await);
    assert_eq!(diary.count("attempt"), 2);
}

#[tokio::test]
async fn nothing_is_lent_by_a_component_that_is_stopping_l12() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let (go_on, may_go_on) = tokio::sync::oneshot::channel();
    let db = app.once().late_worker("db", (), async move |(), ready, stop| {
        ready.with("db");
        stop.requested().await;
        may_go_on.await?;
        Ok(())
    });
    let (hand_out, handed_out) = tokio::sync::oneshot::channel::<Watch<&'static str>>();
    let _peer = app.once().worker("peer", db.soft(), async move |db, stop| {
        let _ = hand_out.send(db);
        stop.requested().await;
        Ok(())
    });
    let running = started(app).await;
    let watch = handed_out.await.expect("peer runs");
    assert_eq!(running.get(&db).as_deref(), Some(&"db"));
    running.request_stop("test");
    status_until(&running, |status| status.component("db").is_some_and(|db| db.state == "draining")).await;
    assert!(running.get(&db).is_none());
    assert!(watch.get().is_none());
    let _ = go_on.send(());
    assert_clean(&running.stop("test").await);
    assert!(watch.get().is_none());
    drop(diary);
}

/// Leases are taken from many threads while the value goes away. Each is granted whole or refused; the close gets its
/// value.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn taking_a_lease_never_races_with_the_close_l12_l19() {
    for _ in 0..50 {
        let (app, diary) = (App::new("shop"), Diary::new());
        let db = Arc::new(resource(&app, "db", (), &diary));
        let running = Arc::new(started(app).await);
        let takers: Vec<_> = (0..4)
            .map(|_| {
                let (running, db) = (running.clone(), db.clone());
                tokio::task::spawn_blocking(move || while running.get(&db).is_some() {})
            })
            .collect();
        running.request_stop("test");
        for taker in takers {
            taker.await.expect("no taker panics");
        }
        let receipt = Arc::into_inner(running).expect("given back").ended().await;
        assert_clean(&receipt);
        assert_eq!(diary.entries(), ["open db", "close db"]);
    }
}

#[tokio::test]
async fn a_fake_takes_a_components_place_in_a_test() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let book = diary.clone();
    let _jobs = app.worker("jobs", &db, async move |db, stop| {
        book.note(format!("jobs uses {}", *db));
        stop.requested().await;
        Ok(())
    });
    app.replace(&db, "a fake");
    let running = started(app).await;
    diary.until("jobs uses a fake").await;
    assert_clean(&running.stop("test").await);
    assert_eq!(diary.entries(), ["jobs uses a fake"], "the real one was never opened nor closed");
}

#[tokio::test]
async fn a_replaced_worker_does_not_run() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let jobs = worker(&app, "jobs", (), &diary);
    let _api = worker(&app, "api", &jobs, &diary);
    app.replace(&jobs, ());
    let running = started(app).await;
    diary.until("run api").await;
    assert_clean(&running.stop("test").await);
    assert!(!diary.has("run jobs"));
}

/// Its opening was busy while the order to stop came, and succeeds after it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_is_lent_by_a_component_that_became_ready_after_it_was_told_to_stop_l2_l12() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let (free, blocked) = std::sync::mpsc::channel::<()>();
    let book = diary.clone();
    let open = async move |()| {
        tokio::task::yield_now().await; // whoever this turn has woken is not to be blocked with it
        book.note("blocking");
        let _ = blocked.recv();
        book.note("opened");
        Ok("db")
    };
    let db = app.once().resource("db", (), open, async |_| DONE);
    let (hand_out, handed_out) = tokio::sync::oneshot::channel::<Watch<&'static str>>();
    let (go_on, may_go_on) = tokio::sync::oneshot::channel::<()>();
    let book = diary.clone();
    let _peer = app.once().worker("peer", db.soft(), async move |db, stop| {
        let _ = hand_out.send(db);
        book.note("run peer");
        stop.requested().await;
        book.note("peer told");
        may_go_on.await.ok(); // as long as it is there, `db` is not released
        Ok(())
    });
    let until = diary.clone();
    let whole = app.run_until(async move {
        until.until("run peer").await;
        until.until("blocking").await;
    });
    let script = async {
        let watch = handed_out.await.expect("peer runs");
        diary.until("peer told").await; // by now `db` was told as well: what is starting is told first
        let _ = free.send(());
        diary.until("opened").await;
        for _ in 0..10_000 {
            assert!(watch.get().is_none());
            tokio::task::yield_now().await;
        }
        let _ = go_on.send(());
    };
    // Both on this thread, which nobody blocks.
    let (receipt, ()) = tokio::join!(whole, script);
    assert_outcome(&receipt.expect("asked to stop"), "clean", 0);
}
