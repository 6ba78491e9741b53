//! What the kernel says about real threads.
#![allow(clippy::unwrap_used, reason = "a failed helper fails its test")]

use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use evenkeel_os::threads::{current_thread_id, describe, spawn_named};

/// Far beyond any delay that is not a hang.
const HANG: Duration = Duration::from_secs(20);

fn started<T: Send + 'static>(body: impl FnOnce() -> T + Send + 'static) -> (u64, JoinHandle<T>) {
    let (send, receive) = channel();
    let thread = spawn_named("a thread) R (b", move || {
        send.send(current_thread_id()).unwrap();
        body()
    });
    (receive.recv().unwrap(), thread.unwrap())
}

/// Waits until the description of `thread` has all of `words`, and returns it.
fn seen(thread: u64, words: &[&str]) -> String {
    let start = Instant::now();
    loop {
        let text = describe(thread).expect("the thread lives");
        if words.iter().all(|word| text.contains(word)) {
            return text;
        }
        assert!(start.elapsed() < HANG, "never seen with {words:?}: {text}");
        std::thread::yield_now();
    }
}

#[test]
fn the_calling_thread_is_running() {
    assert_eq!(describe(current_thread_id()).unwrap(), "running on a CPU");
}

#[test]
fn a_thread_in_a_busy_loop_is_running_l5() {
    let stop = Arc::new(AtomicBool::new(false));
    let seen_stop = Arc::clone(&stop);
    let (id, thread) = started(move || {
        while !seen_stop.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
    });
    seen(id, &["running on a CPU"]);
    stop.store(true, Ordering::Relaxed);
    thread.join().unwrap();
}

#[test]
fn a_thread_that_waits_for_a_lock_is_shown_so_l5() {
    let lock = Arc::new(Mutex::new(()));
    let held = lock.lock().unwrap();
    let wanted = Arc::clone(&lock);
    let (id, thread) = started(move || drop(wanted.lock()));
    seen(id, &["sleeping in system call futex (waits for a lock or another thread)"]);
    drop(held);
    thread.join().unwrap();
}

#[test]
fn a_thread_that_reads_a_pipe_is_shown_with_its_file_l5() {
    let (mut reader, writer) = std::io::pipe().unwrap();
    let (id, thread) = started(move || reader.read(&mut [0; 1]).unwrap());
    seen(id, &["sleeping in system call read on fd ", "(pipe:["]);
    drop(writer);
    thread.join().unwrap();
}

#[test]
fn a_thread_that_sleeps_is_shown_so_l5() {
    let (id, thread) = started(|| std::thread::park_timeout(Duration::from_secs(3600)));
    let parked = thread.thread().clone();
    seen(id, &["sleeping in system call"]);
    parked.unpark();
    thread.join().unwrap();
    let (id, _detached) = started(|| std::thread::sleep(Duration::from_secs(3600)));
    seen(id, &["sleep (waits for time to pass)"]);
}

#[test]
fn a_thread_that_is_no_more_has_no_description() {
    assert_eq!(describe(0), None);
    assert_eq!(describe(u64::MAX), None);
    let (id, thread) = started(|| ());
    thread.join().unwrap();
    // The kernel forgets it a moment after it let the joiner go.
    let start = Instant::now();
    while describe(id).is_some() {
        assert!(start.elapsed() < HANG);
        std::thread::yield_now();
    }
}

#[test]
fn every_thread_has_an_id_of_its_own() {
    let (id, thread) = started(current_thread_id);
    assert_eq!(thread.join().unwrap(), id);
    assert_ne!(id, current_thread_id());
}
