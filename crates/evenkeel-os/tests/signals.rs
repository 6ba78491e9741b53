//! Real signals to this process, and to children of it. Signals belong to the whole process, so these tests run one at
//! a time.
#![allow(clippy::unwrap_used, reason = "a failed helper fails its test")]

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use evenkeel_os::exit::exit_now;
use evenkeel_os::signals::{StopSignal, Watch, watch};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::low_level::raise;

/// Far beyond any delay that is not a hang.
const HANG: Duration = Duration::from_secs(20);

/// Set for the children, so that `--include-ignored` does not run their parts in the parent.
const CHILD: &str = "EVENKEEL_TEST_CHILD";

fn is_child() -> bool {
    std::env::var_os(CHILD).is_some()
}

fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn recorded() -> (Watch, Receiver<StopSignal>) {
    let (send, receive) = channel();
    let watch = watch(move |signal| send.send(signal).unwrap()).unwrap();
    (watch, receive)
}

/// Runs one of the ignored tests below in a process of its own.
fn child(test: &str, shell_prefix: &str) -> ExitStatus {
    let exe = std::env::current_exe().unwrap();
    Command::new("sh")
        .args(["-c", &format!("{shell_prefix} exec \"$0\" --exact {test} --ignored --quiet")])
        .arg(exe)
        .env(CHILD, "1")
        .status()
        .unwrap()
}

#[test]
fn two_quick_interrupts_are_two_calls_l4() {
    let _alone = alone();
    let (_watch, received) = recorded();
    raise(SIGINT).unwrap();
    raise(SIGINT).unwrap();
    for _ in 0..2 {
        assert_eq!(received.recv_timeout(HANG).unwrap().name, "SIGINT");
    }
}

#[test]
fn signals_that_arrive_while_the_callback_is_busy_are_each_delivered_l4() {
    let _alone = alone();
    let (entered, wait_entered) = channel();
    let (go_on, wait_go_on) = channel::<()>();
    let _watch = watch(move |signal| {
        entered.send(signal.number).unwrap();
        let _ = wait_go_on.recv(); // an error: released for good
    })
    .unwrap();
    raise(SIGTERM).unwrap();
    assert_eq!(wait_entered.recv_timeout(HANG).unwrap(), SIGTERM);
    for _ in 0..100 {
        raise(SIGINT).unwrap();
    }
    drop(go_on);
    for _ in 0..100 {
        assert_eq!(wait_entered.recv_timeout(HANG).unwrap(), SIGINT);
    }
}

#[test]
fn a_signal_from_another_process_arrives_by_its_name() {
    let _alone = alone();
    let (_watch, received) = recorded();
    for (flag, name, number) in [("-TERM", "SIGTERM", SIGTERM), ("-HUP", "SIGHUP", SIGHUP)] {
        let own = std::process::id().to_string();
        assert!(Command::new("kill").args([flag, &own]).status().unwrap().success());
        assert_eq!(received.recv_timeout(HANG).unwrap(), StopSignal { name, number });
    }
}

#[test]
fn a_panic_in_the_callback_does_not_cost_the_next_signal() {
    let _alone = alone();
    let (send, received) = channel();
    let mut calls = 0;
    let _watch = watch(move |signal| {
        calls += 1;
        assert!(calls > 1, "the first call fails, as this test means it to");
        send.send(signal.number).unwrap();
    })
    .unwrap();
    raise(SIGINT).unwrap();
    raise(SIGINT).unwrap();
    assert_eq!(received.recv_timeout(HANG).unwrap(), SIGINT);
}

#[test]
fn what_arrived_before_the_watch_was_dropped_is_delivered_before_the_drop_returns() {
    let _alone = alone();
    let (watch, received) = recorded();
    raise(SIGINT).unwrap();
    drop(watch);
    assert_eq!(received.try_recv().unwrap().number, SIGINT);
    received.recv().expect_err("the callback is gone");
}

#[test]
fn after_one_watch_ended_another_one_hears() {
    let _alone = alone();
    drop(recorded());
    let (_watch, received) = recorded();
    raise(SIGTERM).unwrap();
    assert_eq!(received.recv_timeout(HANG).unwrap().number, SIGTERM);
}

#[test]
fn a_callback_may_drop_its_own_watch() {
    let _alone = alone();
    let (give, take) = channel::<Watch>();
    let (send, received) = channel();
    let watch = watch(move |_| {
        drop(take.recv().unwrap());
        send.send(()).unwrap();
    })
    .unwrap();
    raise(SIGTERM).unwrap();
    give.send(watch).unwrap();
    received.recv_timeout(HANG).unwrap();
}

#[test]
fn without_a_watch_a_signal_ends_the_process_again() {
    assert_eq!(child("child_drops_its_watch", "").signal(), Some(SIGTERM));
}

#[test]
#[ignore = "ends its process: runs as a child of the test above"]
fn child_drops_its_watch() {
    if !is_child() {
        return;
    }
    drop(recorded());
    raise(SIGTERM).unwrap();
    unreachable!("SIGTERM has its default action");
}

#[test]
fn a_program_started_by_nohup_keeps_running_when_the_terminal_goes_away() {
    assert!(child("child_is_hung_up", "trap '' HUP;").success());
}

#[test]
#[ignore = "needs SIGHUP ignored from the start: runs as a child of the test above"]
fn child_is_hung_up() {
    if !is_child() {
        return;
    }
    let (_watch, received) = recorded();
    raise(SIGHUP).unwrap();
    raise(SIGTERM).unwrap();
    assert_eq!(received.recv_timeout(HANG).unwrap().number, SIGTERM);
}

#[test]
fn a_third_signal_can_end_the_process_while_its_main_thread_is_stuck_l4() {
    assert_eq!(child("child_is_stuck", "").code(), Some(7));
}

#[test]
#[ignore = "ends its process: runs as a child of the test above"]
fn child_is_stuck() {
    if !is_child() {
        return;
    }
    let mut count = 0;
    let _watch = watch(move |_| {
        count += 1;
        if count == 3 {
            exit_now(7);
        }
    })
    .unwrap();
    for _ in 0..3 {
        raise(SIGINT).unwrap();
    }
    std::sync::Barrier::new(2).wait(); // nobody else comes
}
