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
    ("a coding that is none", "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: identity\r\n\r\n", "501"),
    ("an empty coding", "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding:\r\n\r\n", "501"),
    ("chunked in quotes", "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", "501"),
    ("chunked before another", "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked, x\r\n\r\n0\r\n\r\n", "501"),
    (
        "a coding with a parameter",
        "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n",
        "501",
    ),
    (
        "length and coding in 1.0",
        "POST / HTTP/1.0\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400",
    ),
    ("a length in hexadecimal", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 0x1\r\n\r\na", "400"),
    ("a length with a space in it", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1 1\r\n\r\na", "400"),
    ("a length with an underscore", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1_0\r\n\r\na", "400"),
    ("a length with a fraction", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1.0\r\n\r\na", "400"),
    ("an empty length", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length:\r\n\r\na", "400"),
    ("a length in other digits", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: \u{661}\r\n\r\na", "400"),
    ("a length that wraps", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 18446744073709551617\r\n\r\na", "400"),
    ("a length with a vertical tab", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: \x0b1\r\n\r\na", "400"),
    ("a tab before a colon", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length\t: 1\r\n\r\na", "400"),
    ("a folded length", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length:\r\n 1\r\n\r\na", "400"),
    ("a line folded by a tab", "GET / HTTP/1.1\r\nHost: t\r\nA: b\r\n\tc\r\n\r\n", "400"),
    ("CR CR LF", "GET / HTTP/1.1\r\nHost: t\r\r\n\r\n", "400"),
    ("LF at the end of a head", "GET / HTTP/1.1\r\nHost: t\r\n\n", "400"),
    ("bare CR in the first line", "GET /\r HTTP/1.1\r\nHost: t\r\n\r\n", "400"),
    ("a control character in a field", "GET / HTTP/1.1\r\nHost: t\r\nA: \x01\r\n\r\n", "400"),
    ("DEL in a field", "GET / HTTP/1.1\r\nHost: t\r\nA: \x7f\r\n\r\n", "400"),
    ("NUL in a name", "GET / HTTP/1.1\r\nHost: t\r\nA\0: b\r\n\r\n", "400"),
    ("a bracket in a name", "GET / HTTP/1.1\r\nHost: t\r\nA(b): c\r\n\r\n", "400"),
    ("a host with a space", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "400"),
    ("a list of hosts", "GET / HTTP/1.1\r\nHost: a,b\r\n\r\n", "400"),
    ("a host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", "400"),
    ("a host with a user", "GET / HTTP/1.1\r\nHost: me@a\r\n\r\n", "400"),
    ("two hosts in 1.0", "GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n", "400"),
    ("another authority than the host", "GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", "400"),
    ("an authority with a user", "GET http://me@a/ HTTP/1.1\r\nHost: me@a\r\n\r\n", "400"),
    ("an authority as target", "GET a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", "400"),
    ("everything, by GET", "GET * HTTP/1.1\r\nHost: t\r\n\r\n", "400"),
    ("a fragment", "GET /#a HTTP/1.1\r\nHost: t\r\n\r\n", "400"),
    ("a target without a slash", "GET orders HTTP/1.1\r\nHost: t\r\n\r\n", "400"),
    ("a space in the target", "GET /a b HTTP/1.1\r\nHost: t\r\n\r\n", "400"),
    ("DEL in the target", "GET /\x7f HTTP/1.1\r\nHost: t\r\n\r\n", "400"),
    ("NUL in the target", "GET /\0 HTTP/1.1\r\nHost: t\r\n\r\n", "400"),
    ("two spaces before the target", "GET  / HTTP/1.1\r\nHost: t\r\n\r\n", "400"),
    ("two spaces before the version", "GET /  HTTP/1.1\r\nHost: t\r\n\r\n", "400"),
    ("tabs in the first line", "GET\t/\tHTTP/1.1\r\nHost: t\r\n\r\n", "400"),
    ("a space before the method", " GET / HTTP/1.1\r\nHost: t\r\n\r\n", "400"),
    ("a space behind the version", "GET / HTTP/1.1 \r\nHost: t\r\n\r\n", "400"),
    ("a bracket in the method", "G(T / HTTP/1.1\r\nHost: t\r\n\r\n", "400"),
    ("NUL in the method", "G\0T / HTTP/1.1\r\nHost: t\r\n\r\n", "400"),
    ("HTTP/1.2", "GET / HTTP/1.2\r\nHost: t\r\n\r\n", "400"),
    ("HTTP/2.0 in a line of HTTP/1", "GET / HTTP/2.0\r\nHost: t\r\n\r\n", "400"),
    ("a version in lower case", "GET / http/1.1\r\nHost: t\r\n\r\n", "400"),
    ("a version with a zero", "GET / HTTP/01.1\r\nHost: t\r\n\r\n", "400"),
    ("HTTP/0.9", "GET /\r\n\r\n", "400"),
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
    ("a coding in the trailers", "0\r\nTransfer-Encoding: chunked\r\n\r\n"),
    ("a host in the trailers", "0\r\nHost: evil\r\n\r\n"),
    ("a folded trailer", "0\r\nA: b\r\n c\r\n\r\n"),
    ("bare LF in a trailer", "0\r\nA: b\n\r\n\r\n"),
    ("a request in place of trailers", "0\r\nGET /smuggled HTTP/1.1\r\nHost: t\r\n\r\n"),
    ("space before a size", " 5\r\nhello\r\n0\r\n\r\n"),
    ("space behind a size", "5 \r\nhello\r\n0\r\n\r\n"),
    ("CR CR LF behind a size", "5\r\r\nhello\r\n0\r\n\r\n"),
    ("no size", "\r\nhello\r\n0\r\n\r\n"),
    ("a size that is no number", "g\r\nhello\r\n0\r\n\r\n"),
    ("a size that wraps", "10000000000000005\r\nhello\r\n0\r\n\r\n"),
    ("a size with an underscore", "0_5\r\nhello\r\n0\r\n\r\n"),
    ("a chunk that is too short", "7\r\nhello\r\n0\r\n\r\n"),
    ("LF behind a chunk", "5\r\nhello\n0\r\n\r\n"),
    ("a size without end", "00000000000000000000000005\r\nhello\r\n0\r\n\r\n"),
];

/// What looks odd and is none: read in one way only, answered, and the connection goes on.
const GOOD: &[(&str, &str)] = &[
    ("empty lines before a request", "\r\n\r\nGET / HTTP/1.1\r\nHost: t\r\n\r\n"),
    ("a field without space", "GET / HTTP/1.1\r\nHost:t\r\nA:b\r\n\r\n"),
    ("a field with much space", "GET / HTTP/1.1\r\nHost: \t t \t\r\nA: \r\n\r\n"),
    ("an empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n"),
    ("a host that is an address", "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"),
    ("the host as authority", "GET http://t/ HTTP/1.1\r\nHost: t\r\n\r\n"),
    ("everything, by OPTIONS", "OPTIONS * HTTP/1.1\r\nHost: t\r\n\r\n"),
    ("an unknown method", "BREW / HTTP/1.1\r\nHost: t\r\n\r\n"),
    ("a length with zeros before it", "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 0005\r\n\r\nhello"),
    ("a GET with a body", "GET / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello"),
    ("a coding in capitals", "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: CHUNKED\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
    ("trailers", "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nA: b\r\n\r\n"),
    ("an upgrade that nobody takes", "GET / HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
    (
        "an upgrade to h2c",
        "GET / HTTP/1.1\r\nHost: t\r\nConnection: upgrade, http2-settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n",
    ),
    ("an unknown expectation", "GET / HTTP/1.1\r\nHost: t\r\nExpect: miracles\r\n\r\n"),
    ("bytes beyond ASCII in a field", "GET / HTTP/1.1\r\nHost: t\r\nA: \u{e4}\r\n\r\n"),
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
async fn what_is_only_odd_is_served_and_so_is_what_follows_r4_1a() {
    let server = serve(Listener::bind("127.0.0.1:0").unwrap(), counting_router(Arc::default())).unwrap();
    for (name, bytes) in GOOD {
        let mut client = Raw::connect(server.addr()).await;
        client.send(format!("{bytes}GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")).await;
        let answer = client.rest().await;
        assert_eq!(answer.matches("HTTP/1.1 200 ").count(), 2, "{name}: {answer}");
    }
    let counts = server.counts();
    assert_eq!((counts.total().sum(), counts.in_flight), (2 * GOOD.len() as u64, 0), "{counts:?}");
}

/// RFC 9110, 10.1.1: the client waits for the word to go on, or does not.
#[tokio::test]
async fn who_expects_to_be_told_to_continue_is_told_once_r4_1a() {
    let server = serve(Listener::bind("127.0.0.1:0").unwrap(), counting_router(Arc::default())).unwrap();
    let head = "POST / HTTP/1.1\r\nHost: t\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
    let mut waits = Raw::connect(server.addr()).await;
    waits.send(head).await;
    waits.until("HTTP/1.1 100 Continue\r\n\r\n").await;
    waits.send("helloGET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").await;
    let answers = waits.rest().await;
    assert_eq!(
        (answers.matches("HTTP/1.1 200 ").count(), answers.matches("100 Continue").count()),
        (2, 0),
        "{answers}"
    );
    let mut over = Raw::connect(server.addr()).await;
    over.send(head.replace(": 5", ": 99999999999")).await;
    let answer = over.rest().await;
    assert!(answer.starts_with("HTTP/1.1 413 ") && !answer.contains("100 Continue"), "{answer}");
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order_and_none_after_the_last_r4_1a() {
    let router = Router::new().route(
        "/{number}",
        any(async |axum::extract::Path(number): axum::extract::Path<u32>| {
            // The earlier, the longer.
            tokio::time::sleep(std::time::Duration::from_millis(u64::from(20 - number))).await;
            format!("number {number};")
        }),
    );
    let server = serve(Listener::bind("127.0.0.1:0").unwrap(), router).unwrap();
    let mut client = Raw::connect(server.addr()).await;
    let requests: String = (0..20).map(|number| format!("GET /{number} HTTP/1.1\r\nHost: t\r\n\r\n")).collect();
    let last = "GET /20 HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\nGET /7 HTTP/1.1\r\nHost: t\r\n\r\n";
    client.send(format!("{requests}{last}")).await;
    let answers = client.rest().await;
    let numbers: Vec<u32> =
        answers.split("number ").skip(1).filter_map(|rest| rest.split(';').next()?.parse().ok()).collect();
    assert_eq!(numbers, (0..=20).collect::<Vec<_>>(), "{answers}");
}

#[tokio::test]
async fn targets_and_bodies_over_the_limits_are_answered_with_414_and_413_r4_1a() {
    let limits = evenkeel_http::Limits { body_bytes: 1_000, ..Default::default() };
    let server = evenkeel_http::Server::new(Listener::bind("127.0.0.1:0").unwrap()).limits(limits);
    let server = server.serve(counting_router(Arc::default())).unwrap();
    let chunked = "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
    let cases = [
        (format!("GET /{} HTTP/1.1\r\nHost: t\r\n\r\n", "a".repeat(9_000)), "414"),
        ("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1001\r\n\r\n".to_owned(), "413"),
        (format!("{chunked}{}", format!("1f4\r\n{}\r\n", "a".repeat(500)).repeat(3)), "413"),
    ];
    for (bytes, status) in cases {
        let mut client = Raw::connect(server.addr()).await;
        client.send(bytes).await;
        let answer = client.until("\r\n\r\n").await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{answer}");
    }
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
