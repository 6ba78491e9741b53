//! The guardian's watchdog through its interleavings: the very file that ships, against shuttle's locks.
//!
//! Time is the real clock, so deadlines here have passed already or never do: what is explored is who comes first, not
//! when. A wait that nobody ends would be a deadlock, which shuttle reports.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::time::{Duration, Instant};

use shuttle::{
    check_pct, check_random,
    sync::{Arc, Mutex as Shelf},
    thread,
};

#[path = "../src/program/watchdog.rs"]
mod watchdog;

/// What the watchdog is built on here.
mod sync {
    pub(crate) use shuttle::sync::{Condvar, Mutex};
}

use watchdog::{Verdict, Watchdog};

const SCHEDULES: usize = 1_000;
const DEPTH: usize = 3;

fn explore(test: impl Fn() + Send + Sync + Clone + 'static) {
    check_random(test.clone(), SCHEDULES);
    check_pct(test, SCHEDULES, DEPTH);
}

fn past() -> Instant {
    Instant::now().checked_sub(Duration::from_secs(1)).unwrap_or_else(Instant::now)
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(3600)
}

fn waiter(dog: &Arc<Watchdog>) -> thread::JoinHandle<Verdict> {
    let dog = dog.clone();
    thread::spawn(move || dog.wait())
}

fn doing(dog: &Arc<Watchdog>, act: impl FnOnce(&Watchdog) + Send + 'static) -> thread::JoinHandle<()> {
    let dog = dog.clone();
    thread::spawn(move || act(&dog))
}

#[test]
fn no_wake_up_is_lost_between_the_look_and_the_wait() {
    explore(|| {
        let dog = Arc::new(Watchdog::default());
        let waits = waiter(&dog);
        let arms = doing(&dog, |dog| dog.arm(past(), 12));
        assert_eq!(waits.join().unwrap(), Verdict::Passed { code: 12 });
        arms.join().unwrap();
    });
}

#[test]
fn a_dismissal_ends_the_wait_and_so_does_one_that_came_before_it() {
    explore(|| {
        let dog = Arc::new(Watchdog::default());
        let waits = waiter(&dog);
        let dismisses = doing(&dog, Watchdog::dismiss);
        assert_eq!(waits.join().unwrap(), Verdict::Dismissed);
        dismisses.join().unwrap();
        assert_eq!(dog.wait(), Verdict::Dismissed, "it stays dismissed");
    });
}

#[test]
fn only_the_first_arming_sets_the_deadline_and_its_code() {
    explore(|| {
        let dog = Arc::new(Watchdog::default());
        let first = Arc::new(Shelf::new(None));
        let arm = |code: u8| {
            let first = first.clone();
            doing(&dog, move |dog| {
                // The lock makes "first" well-defined; the watchdog is called inside of it.
                let mut first = first.lock().unwrap();
                first.get_or_insert(code);
                dog.arm(past(), code);
            })
        };
        let arms = [arm(10), arm(11), arm(12)];
        let verdict = waiter(&dog).join().unwrap();
        for arm in arms {
            arm.join().unwrap();
        }
        let first = first.lock().unwrap().expect("all three have armed");
        assert_eq!(verdict, Verdict::Passed { code: first });
    });
}

#[test]
fn a_hurry_wakes_who_waits_for_a_far_deadline_and_its_code_wins() {
    explore(|| {
        let dog = Arc::new(Watchdog::default());
        dog.arm(far(), 12);
        let waits = waiter(&dog);
        let hurries = doing(&dog, |dog| dog.hurry(past(), 130));
        assert_eq!(waits.join().unwrap(), Verdict::Passed { code: 130 });
        hurries.join().unwrap();
    });
}

#[test]
fn a_hurry_never_makes_a_deadline_later() {
    explore(|| {
        let dog = Arc::new(Watchdog::default());
        let hurries = doing(&dog, |dog| dog.hurry(far(), 143));
        let again = doing(&dog, |dog| dog.hurry(past(), 143));
        let arms = doing(&dog, |dog| dog.arm(far(), 12));
        assert_eq!(waiter(&dog).join().unwrap(), Verdict::Passed { code: 143 });
        for thread in [hurries, again, arms] {
            thread.join().unwrap();
        }
    });
}

#[test]
fn the_arming_of_a_stop_that_was_hurried_already_changes_nothing() {
    explore(|| {
        let dog = Arc::new(Watchdog::default());
        dog.hurry(past(), 130);
        let arms = doing(&dog, |dog| dog.arm(past(), 12));
        assert_eq!(waiter(&dog).join().unwrap(), Verdict::Passed { code: 130 });
        arms.join().unwrap();
    });
}

#[test]
fn the_wait_always_returns_whoever_comes_first() {
    explore(|| {
        let dog = Arc::new(Watchdog::default());
        let waits = waiter(&dog);
        let others = [
            doing(&dog, |dog| dog.arm(far(), 12)),
            doing(&dog, |dog| dog.hurry(past(), 130)),
            doing(&dog, Watchdog::dismiss),
        ];
        assert!(matches!(waits.join().unwrap(), Verdict::Dismissed | Verdict::Passed { code: 130 }));
        for thread in others {
            thread.join().unwrap();
        }
    });
}
