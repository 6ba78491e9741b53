//! A short run of the fuzzer; `cargo xtask soak http` has a long one.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails loudly")]

mod common;
#[path = "fuzz/sessions.rs"]
mod sessions;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[global_allocator]
static COUNTING: common::rest::Counting = common::rest::Counting;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_session_panics_hangs_or_leaves_anything_r4_1a() {
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    if let Some(session) = number("EVENKEEL_FUZZ_SESSION") {
        return sessions::again(session).await;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    // Other sessions each time, far from those of the run before.
    let seed = number("EVENKEEL_FUZZ_SEED").unwrap_or(now << 20);
    println!("{}", sessions::run(seed, Duration::from_secs(20)).await);
}
