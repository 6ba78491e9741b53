//! Counts the bytes that are allocated and not freed, while somebody wants to know.
//!
//! The count is of what was asked for, without the allocator's own rounding, so that it says the same on every machine.
//! Switched off it costs one relaxed load per allocation, alike for all contenders.

// The one way to see allocations is to be the allocator; it hands everything on to the system's.
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicIsize, Ordering::Relaxed},
};

struct Counting;

#[global_allocator]
static COUNTING: Counting = Counting;

static ON: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicIsize = AtomicIsize::new(0);

/// Counts from here on, or no longer.
pub(crate) fn switch(on: bool) {
    ON.store(on, Relaxed);
}

/// Bytes allocated and not freed since counting was first switched on.
pub(crate) fn live() -> isize {
    LIVE.load(Relaxed)
}

fn note(bytes: usize, sign: isize) {
    if ON.load(Relaxed) {
        LIVE.fetch_add(sign * bytes.cast_signed(), Relaxed);
    }
}

// SAFETY: each call is handed to the system's allocator unchanged, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size(), 1);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        note(layout.size(), -1);
        // SAFETY: the caller keeps the contract of `dealloc`, and the pointer came from `System`.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(layout.size(), -1);
        note(size, 1);
        // SAFETY: the caller keeps the contract of `realloc`, and the pointer came from `System`.
        unsafe { System.realloc(pointer, layout, size) }
    }
}
