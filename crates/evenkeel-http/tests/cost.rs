//! What a request costs in counts, which are the same on every machine: allocations and polls, held to those of hyper
//! and axum in the same test. Times are measured by `cargo xtask bench http`.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails loudly, and its figures are for its reader")]
// The one way to see allocations is to be the allocator; it hands everything on to the system's.
#![allow(unsafe_code)]

mod common;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    future::Future,
    net::SocketAddr,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use axum::{
    Router,
    routing::{get, post},
};
use common::frames::{Frames, HEADERS, RST_STREAM};
use evenkeel_http::{Listener, Server};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

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

/// A task that counts how often it is polled.
struct Polled<F>(Pin<Box<F>>, Arc<AtomicU64>);

impl<F: Future> Future for Polled<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.as_mut().poll(cx)
    }
}

fn router() -> Router {
    Router::new().route("/", get(async || "hello")).route("/take", post(async |body: String| body))
}

/// Serves with Evenkeel; counts the polls of all its tasks.
fn evenkeel(polls: &Arc<AtomicU64>) -> (evenkeel_http::Serving, SocketAddr) {
    let polls = polls.clone();
    let server = Server::new(Listener::bind("127.0.0.1:0").unwrap());
    let server = server.spawn_on(move |task| drop(tokio::spawn(Polled(Box::pin(task), polls.clone()))));
    let serving = server.serve(router()).unwrap();
    let addr = serving.addr();
    (serving, addr)
}

async fn axum() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, router()).await });
    addr
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: t\r\nAccept: */*\r\n\r\n";
const POST: &[u8] = b"POST /take HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello";
const ROUNDS: u64 = 1_000;

/// Allocations for one request on a kept connection, those of the client among them: it makes none.
async fn allocations(addr: SocketAddr, request: &[u8]) -> f64 {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let mut buf = [0; 1024];
    let mut before = 0;
    for round in 0..2 * ROUNDS {
        if round == ROUNDS {
            before = MADE.load(Ordering::Relaxed);
        }
        stream.write_all(request).await.unwrap();
        let read = stream.read(&mut buf).await.unwrap();
        assert!(buf[..read].ends_with(b"hello"), "whole in one piece");
    }
    (MADE.load(Ordering::Relaxed) - before) as f64 / ROUNDS as f64
}

/// One runtime of one thread and one test, since allocations are those of the whole process.
#[tokio::test]
async fn a_request_costs_few_more_allocations_and_polls_than_with_axum_and_hyper() {
    let polls = Arc::default();
    let (serving, ours) = evenkeel(&polls);
    let theirs = axum().await;
    // The request itself, what `Draining` and `ConnectInfo` take in its extensions, and the layer that names its route.
    for (name, request, more) in [("GET", GET, 6.0), ("POST", POST, 8.0)] {
        let (own, peer) = (allocations(ours, request).await, allocations(theirs, request).await);
        println!("{name}: {own:.1} allocations a request, axum::serve {peer:.1}");
        assert!(own <= peer + more, "{name}: {own:.2} allocations, axum::serve {peer:.2}");
    }
    let before = polls.load(Ordering::Relaxed);
    let _ = allocations(ours, GET).await;
    let each = (polls.load(Ordering::Relaxed) - before) as f64 / (2 * ROUNDS) as f64;
    println!("GET: {each:.2} polls a request");
    assert!(each <= 1.1, "{each} polls: one is what it takes to read, answer and write");

    let (streams, writes) = answers_at_once(ours).await;
    println!("HTTP/2: {streams} answers in {writes} pieces");
    assert!(writes <= streams / 3, "{streams} answers in {writes} writes");
    drop(serving);
}

/// Sixteen HTTP/2 requests at a time: in how many pieces their answers come.
async fn answers_at_once(addr: SocketAddr) -> (u64, u64) {
    let mut client = Frames::open(addr).await;
    let (mut answers, mut pieces, mut id) = (0, 0, 1);
    for _ in 0..100 {
        let mut burst = Vec::new();
        for _ in 0..16 {
            burst.extend(common::frames::frame(HEADERS, 5, id, common::frames::GET));
            id += 2;
        }
        client.send(&burst).await;
        let goal = answers + 16;
        while answers < goal {
            if !client.has_whole() {
                pieces += 1;
            }
            let frame = client.next().await.expect("the connection stays");
            assert_ne!(frame.kind, RST_STREAM);
            answers += u64::from(frame.ends_stream());
        }
    }
    (answers, pieces)
}
