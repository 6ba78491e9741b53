//! What running code does with its stop: interrupting the wait and not the work, taking without losing, tasks, branches,
//! early ends and jobs.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use evenkeel::{App, Stop};
use tokio::sync::{Notify, Semaphore, mpsc, oneshot};

use crate::common::*;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test]
async fn or_interrupts_the_wait_and_not_the_work_r3_3b() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let (send, mut queue) = mpsc::channel(8);
    let finish = Arc::new(Notify::new());
    let (book, finished) = (diary.clone(), finish.clone());
    let _jobs = app.once().worker("jobs", (), async move |(), stop| {
        while let Some(Some(item)) = stop.or(queue.recv()).await {
            book.note(format!("begun {item}"));
            finished.notified().await; // busy while the stop comes: it is not lost
            book.note(format!("done {item}"));
        }
        book.note(format!("left {}", queue.len()));
        Ok(())
    });
    let running = started(app).await;
    send.send("one").await.unwrap();
    send.send("two").await.unwrap();
    diary.until("begun one").await;
    running.request_stop("test");
    running.readiness(false).await;
    finish.notify_one();
    assert_clean(&running.stop("test").await);
    assert_eq!(diary.entries(), ["begun one", "done one", "left 1"], "the stop wins over further work");
}

/// A queue that is not cancel-safe: it takes an item out and then needs two more turns to hand it over.
struct Broker {
    items: Mutex<VecDeque<u32>>,
    there: Semaphore,
    handed_over: AtomicUsize,
}

impl Broker {
    fn with(items: u32) -> Arc<Self> {
        let there = Semaphore::new(items as usize);
        Arc::new(Self { items: Mutex::new((0..items).collect()), there, handed_over: AtomicUsize::new(0) })
    }

    /// Marks the time between taking and handing over.
    async fn next(&self, stop: &Stop) -> u32 {
        self.there.acquire().await.expect("never closed").forget();
        stop.critical(self.hand_over()).await
    }

    /// Does not.
    async fn next_unmarked(&self) -> u32 {
        self.there.acquire().await.expect("never closed").forget();
        self.hand_over().await
    }

    async fn hand_over(&self) -> u32 {
        let item = self.items.lock().expect("nobody panics").pop_front().expect("there is a permit for it");
        tokio::task::yield_now().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
        item
    }

    fn left(&self) -> usize {
        self.items.lock().expect("nobody panics").len()
    }
}

/// Stops while items are being taken, again and again; counts what arrived and what is left.
async fn nothing_is_lost<F>(take: impl Fn(Stop, Arc<Broker>) -> F + Copy + Send + Sync + 'static)
where
    F: Future<Output = Option<u32>> + Send,
{
    for stop_after in 0..40 {
        let broker = Broker::with(100);
        let app = App::new("shop");
        let (theirs, (reached, at)) = (broker.clone(), oneshot::channel());
        let _jobs = app
            .once()
            .worker("jobs", (), async move |(), stop: Stop| {
                let mut reached = Some(reached);
                while let Some(_item) = take(stop.clone(), theirs.clone()).await {
                    let taken = theirs.handed_over.fetch_add(1, Ordering::Relaxed) + 1;
                    if taken >= stop_after
                        && let Some(reached) = reached.take()
                    {
                        let _ = reached.send(());
                    }
                }
                Ok(())
            })
            .intake();
        let running = started(app).await;
        at.await.expect("so many are taken");
        let receipt = running.stop("test").await;
        assert_clean(&receipt);
        assert_eq!(broker.handed_over.load(Ordering::Relaxed) + broker.left(), 100, "stopped after {stop_after}");
    }
}

#[tokio::test(start_paused = true)]
async fn take_loses_no_item_of_a_queue_that_is_not_cancel_safe_l18_r3_1b() {
    nothing_is_lost(async |stop: Stop, broker: Arc<Broker>| stop.take(broker.next(&stop)).await).await;
}

#[tokio::test(start_paused = true)]
async fn take_settling_loses_no_item_of_a_source_that_marks_nothing_l18() {
    const SETTLE: Duration = Duration::from_millis(50);
    nothing_is_lost(async |stop: Stop, broker: Arc<Broker>| stop.take_settling(SETTLE, broker.next_unmarked()).await)
        .await;
}

#[tokio::test(start_paused = true)]
async fn an_idle_take_does_not_hold_the_stop_up_l18() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let book = diary.clone();
    let _jobs = app.worker("jobs", (), async move |(), stop| {
        book.note("idle");
        assert!(stop.take(std::future::pending::<()>()).await.is_none());
        Ok(())
    });
    let running = started(app).await;
    diary.until("idle").await;
    let receipt = running.stop("test").await;
    assert_clean(&receipt);
    assert!(receipt.used_ms < 100.0, "{}", receipt.used_ms);
}

#[tokio::test(start_paused = true)]
async fn an_idle_take_is_not_held_up_by_another_tasks_critical_section_l18() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let book = diary.clone();
    let _jobs = app
        .worker("jobs", (), async move |(), stop: Stop| {
            let (busy, busy_book) = (stop.clone(), book.clone());
            stop.spawn(async move {
                let handing_over = busy.critical(async {
                    busy_book.note("critical");
                    busy.requested().await;
                    tokio::time::sleep(SECOND).await;
                    7
                });
                assert_eq!(busy.take(handing_over).await, Some(7));
            });
            book.until("critical").await;
            assert!(stop.take(std::future::pending::<()>()).await.is_none());
            Ok(())
        })
        .stop_within(10 * SECOND);
    let running = started(app).await;
    diary.until("critical").await;
    let receipt = running.stop("test").await;
    assert_clean(&receipt);
    assert!(receipt.used_ms < 1100.0, "{}", receipt.used_ms);
}

#[tokio::test(start_paused = true)]
async fn a_critical_section_is_bounded_by_the_limit_all_the_same_l18_r3_3c() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let book = diary.clone();
    let _jobs = app
        .worker("jobs", (), async move |(), stop| {
            book.note("critical");
            let _never = stop.take(stop.critical(std::future::pending::<()>())).await;
            Ok(())
        })
        .stop_within(SECOND);
    let running = started(app).await;
    diary.until("critical").await;
    let receipt = running.stop("test").await;
    assert_outcome(&receipt, "not clean", 12);
    assert_eq!(receipt.culprits, ["jobs"]);
}

#[tokio::test]
async fn a_stop_is_seen_by_every_task_and_none_is_left_r3_1a_l8() {
    const TASKS: usize = 1000;
    let (app, diary) = (App::new("shop"), Diary::new());
    let (alive, book) = (Arc::new(()), diary.clone());
    let held = alive.clone();
    let _jobs = app.worker("jobs", (), async move |(), stop| {
        for _ in 0..TASKS {
            let (held, asked) = (held.clone(), stop.clone());
            stop.spawn(async move {
                asked.requested().await;
                drop(held);
            });
        }
        book.note("spawned");
        stop.requested().await;
        Ok(())
    });
    let running = started(app).await;
    diary.until("spawned").await;
    let receipt = running.stop("test").await;
    assert_clean(&receipt);
    assert_eq!((row(&receipt, "jobs").drained, row(&receipt, "jobs").aborted), (TASKS as u64, 0));
    // What is left of it is in the closure that could start the worker again, and here.
    assert!(Arc::strong_count(&alive) <= 2, "{} are held", Arc::strong_count(&alive));
}

#[tokio::test(start_paused = true)]
async fn tasks_that_do_not_answer_are_aborted_at_the_limit_and_counted_l8() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let book = diary.clone();
    let _jobs = app
        .worker("jobs", &db, async move |_db, stop| {
            for _ in 0..3 {
                let aborted = book.on_drop("aborted");
                stop.spawn(async move {
                    let _aborted = aborted;
                    std::future::pending::<()>().await;
                });
            }
            stop.requested().await;
            Ok(())
        })
        .stop_within(SECOND);
    let receipt = started(app).await.stop("test").await;
    diary.assert_order(&["aborted", "aborted", "aborted", "close db"]);
    assert_outcome(&receipt, "not clean", 12);
    let jobs = row(&receipt, "jobs");
    assert_eq!((jobs.aborted, jobs.leaked_tasks), (3, 0));
    let error = jobs.error.as_deref().unwrap_or_default();
    assert!(
        error.starts_with("3 of its tasks did not end in time, spawned at ") && error.contains("work.rs:"),
        "{error}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_task_that_cannot_be_aborted_is_left_behind_and_named_with_its_line_l5_l8() {
    let (app, diary) = (App::new("shop").budget(5 * SECOND), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let book = diary.clone();
    let (free, blocked) = std::sync::mpsc::channel::<()>();
    let _jobs = app
        .once()
        .worker("jobs", &db, async move |_db, stop| {
            let line = line!() + 1;
            stop.spawn(async move {
                book.note(format!("line {line}"));
                book.note("blocking");
                let _ = blocked.recv(); // not an await: nothing can end it from outside
            });
            stop.requested().await;
            Ok(())
        })
        .stop_within(SECOND / 5);
    let running = started(app).await;
    diary.until("blocking").await;
    let receipt = running.stop("test").await;
    assert_outcome(&receipt, "not clean", 12);
    let jobs = row(&receipt, "jobs");
    assert_eq!((jobs.state.as_str(), jobs.leaked_tasks), ("abandoned", 1));
    assert!(diary.has("close db"), "its lease came back: the run had ended");
    let line = diary.rest_of("line ");
    let told = format!("{} {}", jobs.error.as_deref().unwrap_or(""), jobs.doing.as_deref().unwrap_or(""));
    assert!(receipt.to_json().contains(&format!("work.rs:{line}")), "no line {line} in {told}: {}", receipt.to_json());
    drop(free);
}

#[tokio::test]
async fn a_task_that_returns_an_error_fails_its_component_l8() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let _jobs = app.worker("jobs", &db, async |_db, stop| {
        stop.spawn(async { evenkeel::Result::Err("the socket broke".into()) });
        stop.requested().await;
        Ok(())
    });
    let receipt = started(app).await.ended().await;
    assert!(diary.has("close db"));
    assert_outcome(&receipt, "component failed", 11);
    assert_eq!(receipt.root_cause, ["the socket broke"]);
}

#[tokio::test(start_paused = true)]
async fn work_in_flight_is_counted_as_drained_or_as_cut_and_never_as_both() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let book = diary.clone();
    let _jobs = app
        .worker("jobs", (), async move |(), stop| {
            let (first, _second, _third) = (stop.work(), stop.work(), stop.work());
            book.note("in flight");
            stop.requested().await;
            drop(first);
            std::future::pending().await
        })
        .stop_within(SECOND);
    let running = started(app).await;
    diary.until("in flight").await;
    let receipt = running.stop("test").await;
    assert_eq!((row(&receipt, "jobs").drained, row(&receipt, "jobs").aborted), (1, 2));
}

#[tokio::test]
async fn a_branch_can_be_stopped_alone_and_stops_with_its_tree_r3_1a() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let book = diary.clone();
    let _jobs = app.worker("jobs", (), async move |(), stop| {
        let (left, right) = (stop.branch(), stop.branch());
        let leaf = left.stop().branch();
        for (name, stop) in [("left", left.stop()), ("leaf", leaf.stop()), ("right", right.stop())] {
            let (book, asked) = (book.clone(), stop.clone());
            stop.spawn(async move {
                asked.requested().await;
                book.note(format!("end {name}"));
            });
        }
        left.ask();
        book.until("end left").await;
        book.until("end leaf").await;
        assert!(leaf.stop().is_requested() && !right.stop().is_requested() && !stop.is_requested());
        book.note("left is gone");
        stop.requested().await;
        assert!(right.stop().is_requested());
        Ok(())
    });
    let running = started(app).await;
    diary.until("left is gone").await;
    assert!(!diary.has("end right"));
    assert_clean(&running.stop("test").await);
    assert!(diary.has("end right"));
}

#[tokio::test]
async fn a_worker_that_returns_ok_too_early_has_failed_l7() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let _jobs = app.worker("jobs", &db, async |_db, _stop| Ok(()));
    let receipt = started(app).await.ended().await;
    assert!(diary.has("close db"));
    assert_outcome(&receipt, "component failed", 11);
    assert_eq!(receipt.root_cause, ["it returned `Ok` though nobody told it to stop"]);
    assert!(receipt.hint.as_deref().is_some_and(|hint| hint.contains(".finite()")));
}

#[tokio::test]
async fn jobs_run_after_each_other_and_end_the_app_with_zero_l7() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let db = resource(&app, "db", (), &diary);
    let migrate = job(&app, "migrate", &db, &diary);
    let _import = job(&app, "import", migrate.start_only(), &diary);
    let receipt = started(app).await.ended().await;
    assert_clean(&receipt);
    assert_eq!(receipt.cause, "all jobs are done");
    assert_eq!(diary.entries(), ["open db", "run migrate", "end migrate", "run import", "end import", "close db"]);
}

#[tokio::test]
async fn a_job_does_not_end_a_service_and_gates_those_who_need_it_l7() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let book = diary.clone();
    let migrate = app
        .worker("migrate", (), async move |(), _stop| {
            tokio::task::yield_now().await;
            book.note("migrated");
            Ok(())
        })
        .finite();
    let _api = worker(&app, "api", &migrate, &diary);
    let running = started(app).await;
    diary.until("run api").await;
    assert_eq!(diary.entries(), ["migrated", "run api"]);
    assert!(running.status().await.is_some_and(|status| status.is_up()));
    assert_clean(&running.stop("test").await);
}

#[tokio::test]
async fn a_job_that_fails_fails_the_start_of_what_waits_for_it_l7() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let migrate = app.worker("migrate", (), async |(), _stop| Err("column exists".into())).finite();
    let _api = worker(&app, "api", &migrate, &diary);
    let Err(evenkeel::StartError::Failed(receipt)) = app.start().await else { panic!("it started") };
    assert_ne!(receipt.exit_code, 0);
    assert_eq!(receipt.root_cause, ["column exists"]);
    assert_eq!(states(&receipt)[1], ("api", "skipped"));
}

#[tokio::test]
async fn an_intake_takes_in_only_while_the_service_runs_and_is_not_paused_r1b() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let (send, mut queue) = mpsc::unbounded_channel::<u32>();
    let book = diary.clone();
    let _orders = app
        .once()
        .worker("orders", (), async move |(), stop| {
            while let Some(Some(item)) = stop.or(queue.recv()).await {
                book.note(format!("order {item}"));
            }
            Ok(())
        })
        .intake();
    let running = started(app).await;
    send.send(1).unwrap();
    diary.until("order 1").await;
    assert!(running.pause().await);
    assert!(running.pause().await, "already so is no error");
    send.send(2).unwrap();
    running.readiness(false).await;
    for _ in 0..100 {
        tokio::task::yield_now().await; // every chance to take it in
    }
    assert!(!diary.has("order 2"));
    assert_eq!(running.status().await.map(|status| status.state), Some("paused".to_owned()));
    assert!(running.resume().await);
    diary.until("order 2").await;
    assert!(running.pause().await);
    assert_clean(&running.stop("a stop while paused").await);
}

#[tokio::test]
async fn pause_is_refused_once_a_stop_is_under_way_r2_2b() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let (free, held) = oneshot::channel::<()>();
    let _jobs = app.once().worker("jobs", (), async move |(), stop| {
        stop.requested().await;
        held.await.ok();
        Ok(())
    });
    let running = started(app).await;
    running.request_stop("test");
    status_until(&running, |status| status.state == "stopping").await;
    assert!(!running.pause().await);
    assert!(!running.resume().await);
    drop((free, diary));
    assert_clean(&running.stop("test").await);
}

/// The gate shuts while the source is in the middle of something: it is kept, not dropped.
#[tokio::test]
async fn a_pause_does_not_drop_what_or_is_waiting_for() {
    let (app, diary) = (App::new("shop"), Diary::new());
    let book = diary.clone();
    let wake = Arc::new(Notify::new());
    let woken = wake.clone();
    let _orders = app
        .worker("orders", (), async move |(), stop| {
            let mut dropped = Some(book.on_drop("source gone"));
            let mut woken = Box::pin(woken.notified());
            book.note("waiting");
            let source = poll_fn(|cx| {
                if woken.as_mut().poll(cx).is_pending() {
                    return Poll::Pending;
                }
                drop(dropped.take());
                Poll::Ready("whole")
            });
            if let Some(item) = stop.or(source).await {
                book.note(item);
            }
            stop.requested().await;
            Ok(())
        })
        .intake();
    let running = started(app).await;
    diary.until("waiting").await;
    assert!(running.pause().await);
    wake.notify_one();
    assert!(running.resume().await);
    diary.until("whole").await;
    diary.assert_order(&["waiting", "source gone", "whole"]);
    assert_clean(&running.stop("test").await);
}
