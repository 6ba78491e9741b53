//! What an append costs in counts, which are the same on every machine. Times are measured by `cargo xtask bench journal`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails loudly, and its figures are for its reader")]
// The one way to see allocations is to be the allocator; it hands everything on to the system's.
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use evenkeel_journal::{Bytes, Journal, Options, disk::OsDisk};

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

static MADE: AtomicU64 = AtomicU64::new(0);

// SAFETY: each call is handed to the system's allocator unchanged, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        MADE.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`, and the pointer came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        MADE.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `realloc`, and the pointer came from `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// The record's bytes and its answer; batches and their buffers are used again.
#[tokio::test]
async fn an_append_costs_two_allocations_and_one_without_an_answer() {
    let dir = tempfile::tempdir().unwrap();
    let disk = Arc::new(OsDisk::new(dir.path()).unwrap());
    let options = Options::default().spares(0).window(16 << 20); // the file is written once, by the first append
    let (journal, _) = Journal::recover(disk, options, |_| Ok(())).unwrap();
    let record = Bytes(vec![7; 256]);
    for _ in 0..200 {
        journal.append(&record).await.unwrap();
    }
    for _ in 0..1000 {
        journal.append_nowait(&record).unwrap();
    }
    journal.barrier().await.unwrap();

    let before = MADE.load(Ordering::Relaxed);
    for _ in 0..1000 {
        journal.append(&record).await.unwrap();
    }
    let waited = MADE.load(Ordering::Relaxed) - before;
    let before = MADE.load(Ordering::Relaxed);
    for _ in 0..1000 {
        journal.append_nowait(&record).unwrap();
    }
    journal.barrier().await.unwrap();
    let unwaited = MADE.load(Ordering::Relaxed) - before;
    println!("figure: {waited} allocations for 1000 appends, {unwaited} for 1000 that do not wait");
    assert!(waited <= 2_200 && unwaited <= 1_100, "{waited} and {unwaited}");
}
