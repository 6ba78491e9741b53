//! A few of each kind of hostile client. `cargo xtask promise http-hostile` has 100,000 of each.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails loudly")]

#[path = "hostile/clients.rs"]
mod clients;
mod common;

#[global_allocator]
static COUNTING: common::rest::Counting = common::rest::Counting;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_clients_harm_nobody_and_leave_nothing_r4_1a() {
    println!("{}", clients::run(1_000).await);
}
