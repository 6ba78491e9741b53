//! The fuzzer for so many minutes: `cargo xtask soak http --minutes 10`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "it fails loudly, and its output is what it is for"
)]

#[path = "../tests/common/mod.rs"]
mod common;
#[path = "../tests/fuzz/sessions.rs"]
mod sessions;

use std::time::{Duration, SystemTime, UNIX_EPOCH};

#[global_allocator]
static COUNTING: common::rest::Counting = common::rest::Counting;

#[tokio::main]
async fn main() {
    let minutes = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(10);
    let number = |name| std::env::var(name).ok().and_then(|text| text.parse().ok());
    if let Some(session) = number("EVENKEEL_FUZZ_SESSION") {
        return sessions::again(session).await;
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let seed = number("EVENKEEL_FUZZ_SEED").unwrap_or(now << 20);
    println!("figure: {}", sessions::run(seed, Duration::from_secs(60 * minutes)).await);
}
