//! What is left when nobody is there: to be compared with what was there before.
#![allow(dead_code, reason = "each test file uses its part")]
// The one way to see allocations is to be the allocator; it hands everything on to the system's.
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicI64, Ordering},
    time::{Duration, Instant},
};

use evenkeel_http::Serving;

use super::until;

/// Counts the bytes that are allocated.
pub(crate) struct Counting;

static LIVE: AtomicI64 = AtomicI64::new(0);

// SAFETY: each call is handed to the system's allocator unchanged, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE.fetch_add(layout.size().cast_signed() as i64, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size().cast_signed() as i64, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `dealloc`, and the pointer came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// What is there when nobody is.
#[derive(Debug)]
pub(crate) struct Rest {
    pub(crate) bytes: i64,
    pub(crate) files: usize,
    pub(crate) tasks: usize,
}

impl Rest {
    pub(crate) async fn of(server: &Serving) -> Self {
        until("nobody is there", || server.connections() == 0 && server.counts().in_flight == 0).await;
        let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
        // Tasks end a moment after what they counted.
        let mut least = tasks();
        let began = Instant::now();
        while began.elapsed() < Duration::from_millis(300) {
            least = least.min(tasks());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let files = std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
        Self { bytes: LIVE.load(Ordering::Relaxed), files, tasks: least }
    }
}
