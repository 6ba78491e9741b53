//! Requests that are no requests: the right status, no handler, nothing left behind. The smuggling shapes are those that
//! two parties read in two ways.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails loudly; the loss table is for its reader")]

mod common;

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use axum::{Router, body::Bytes, routing::any};
use common::{Raw, until};
use evenkeel_http::{Listener, Outcome, serve};

/// What is sent, the status that answers it, and whether the handler may have seen the request.
const TABLE: &[(&str, &str, &str)] = &[
    (
        "length and coding",
        "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400",
    ),
    (
        "coding and length",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        "400",
    ),
    ("two lengths", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab", "400"),
    ("two equal lengths", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\na", "400"),
    ("a list of lengths", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1, 1\r\n\r\na", "400"),
    ("a signed length", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: +1\r\n\r\na", "400"),
    ("a negative length", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: -1\r\n\r\na", "400"),
    ("a huge length", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999999999999999\r\n\r\n", "400"),
    ("an unknown coding", "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip\r\n\r\n", "501"),
    ("two codings", "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "501"),
    (
        "chunked twice",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "501",
    ),
    ("a coding in disguise", "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", "501"),
    ("a coding in 1.0", "POST / HTTP/1.0\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "400"),
    ("space before a colon", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length : 1\r\n\r\na", "400"),
    ("a folded line", "GET / HTTP/1.1\r\nHost: t\r\nA: b\r\n c\r\n\r\n", "400"),
    ("a first line that is folded", "GET / HTTP/1.1\r\n Host: t\r\n\r\n", "400"),
    ("bare LF", "GET / HTTP/1.1\nHost: t\n\n", "400"),
    ("bare LF in a field", "GET / HTTP/1.1\r\nHost: t\r\nA: b\nC: d\r\n\r\n", "400"),
    ("bare CR in a field", "GET / HTTP/1.1\r\nHost: t\r\nA: b\rC: d\r\n\r\n", "400"),
    ("NUL in a field", "GET / HTTP/1.1\r\nHost: t\r\nA: b\0\r\n\r\n", "400"),
    ("no colon", "GET / HTTP/1.1\r\nHost: t\r\nAbc\r\n\r\n", "400"),
    ("no name", "GET / HTTP/1.1\r\nHost: t\r\n: b\r\n\r\n", "400"),
    ("no host", "GET / HTTP/1.1\r\n\r\n", "400"),
    ("two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400"),
    ("an unknown version", "GET / HTTP/3.0\r\nHost: t\r\n\r\n", "400"),
    ("no version", "GET /\r\nHost: t\r\n\r\n", "400"),
    ("no target", "GET HTTP/1.1\r\nHost: t\r\n\r\n", "400"),
    ("a control character in the target", "GET /\x01 HTTP/1.1\r\nHost: t\r\n\r\n", "400"),
    ("not HTTP at all", "\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", "400"),
    ("half an HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "400"),
    ("CONNECT", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "501"),
    ("an announced body over the limit", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999999\r\n\r\n", "413"),
];

/// Faults within a body: the handler has the request already, and answers what its extractor says.
const BODIES: &[(&str, &str)] = &[
    ("a chunk extension", "5;a=b\r\nhello\r\n0\r\n\r\n"),
    ("a chunk size in disguise", "0x5\r\nhello\r\n0\r\n\r\n"),
    ("a signed chunk size", "+5\r\nhello\r\n0\r\n\r\n"),
    ("a huge chunk size", "fffffffffffffffff\r\nhello\r\n0\r\n\r\n"),
    ("a chunk that is too long", "5\r\nhelloGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"),
    ("bare LF after a size", "5\nhello\r\n0\r\n\r\n"),
    ("a length in the trailers", "0\r\nContent-Length: 3\r\n\r\n"),
];

fn counting_router(seen: Arc<AtomicU64>) -> Router {
    let count = move |body: Result<Bytes, axum::extract::rejection::BytesRejection>| {
        let seen = seen.clone();
        async move {
            let body = body?;
            seen.fetch_add(1, Ordering::Relaxed);
            Ok::<_, axum::extract::rejection::BytesRejection>(format!("{}", body.len()))
        }
    };
    Router::new().fallback(any(count))
}

#[tokio::test]
async fn malformed_requests_get_the_right_status_and_reach_no_handler() {
    let seen = Arc::<AtomicU64>::default();
    let server = serve(Listener::bind("127.0.0.1:0").unwrap(), counting_router(seen.clone())).unwrap();
    for (name, bytes, status) in TABLE {
        // Followed by a request that must not be taken for one.
        let mut client = Raw::connect(server.addr()).await;
        client.send(format!("{bytes}GET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n")).await;
        let answer = client.rest().await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{name}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{name}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "{name}: {answer}");
        assert_eq!(seen.load(Ordering::Relaxed), 0, "{name}");
    }
    until("all ended", || server.connections() == 0).await;
    let counts = server.counts();
    assert_eq!(counts.of(Outcome::Refused), TABLE.len() as u64, "{counts:?}");
    assert_eq!((counts.total().sum(), counts.in_flight), (TABLE.len() as u64, 0));
}

#[tokio::test]
async fn a_malformed_body_never_becomes_a_second_request() {
    let seen = Arc::<AtomicU64>::default();
    let server = serve(Listener::bind("127.0.0.1:0").unwrap(), counting_router(seen.clone())).unwrap();
    for (name, body) in BODIES {
        let mut client = Raw::connect(server.addr()).await;
        client.send(format!("POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n{body}")).await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 400 "), "{name}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{name}: {answer}");
        assert_eq!(seen.load(Ordering::Relaxed), 0, "{name}");
    }
    until("all ended", || server.connections() == 0).await;
    let counts = server.counts();
    assert_eq!((counts.total().sum(), counts.in_flight), (BODIES.len() as u64, 0), "{counts:?}");
}

#[tokio::test]
async fn heads_over_the_limits_are_answered_with_431() {
    let server = serve(Listener::bind("127.0.0.1:0").unwrap(), counting_router(Arc::default())).unwrap();
    for fields in [format!("A: {}\r\n", "b".repeat(70_000)), "A: b\r\n".repeat(101)] {
        let mut client = Raw::connect(server.addr()).await;
        client.send(format!("GET / HTTP/1.1\r\nHost: t\r\n{fields}\r\n")).await;
        let answer = client.rest().await;
        assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    }
}

#[tokio::test]
async fn good_requests_before_a_malformed_one_are_answered_in_order() {
    let server = serve(Listener::bind("127.0.0.1:0").unwrap(), counting_router(Arc::default())).unwrap();
    let mut client = Raw::connect(server.addr()).await;
    let good = "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc";
    client.send(format!("{good}{good}GET / HTTP/1.1\nHost: t\n\n")).await;
    let answer = client.rest().await;
    let statuses: Vec<_> = answer.match_indices("HTTP/1.1 ").map(|(at, _)| &answer[at + 9..at + 12]).collect();
    assert_eq!(statuses, ["200", "200", "400"], "{answer}");
}

/// Every prefix of a request, cut off by the client: nothing stays.
#[tokio::test]
async fn a_client_that_leaves_at_any_byte_leaves_nothing_behind() {
    let server = serve(Listener::bind("127.0.0.1:0").unwrap(), counting_router(Arc::default())).unwrap();
    let request = "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for end in 0..=request.len() {
        Raw::connect(server.addr()).await.send(&request[..end]).await;
    }
    until("all ended", || server.connections() == 0).await;
    assert_eq!(server.counts().in_flight, 0);
}
