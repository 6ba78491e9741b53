//! 100,000 of each kind of hostile client: `cargo xtask promise http-hostile`. An argument says how many instead.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "it fails loudly, and its output is what it is for"
)]

#[path = "../tests/hostile/clients.rs"]
mod clients;
#[path = "../tests/common/mod.rs"]
mod common;

#[global_allocator]
static COUNTING: common::rest::Counting = common::rest::Counting;

#[tokio::main]
async fn main() {
    let each = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(100_000);
    println!("figure: {}", clients::run(each).await);
}
