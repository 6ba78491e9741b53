//! HTTP/2 as RFC 9113 has it, section by section: what is sent, and what has to come of it. Each case has a connection of
//! its own, and no case may be felt by anybody else.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails loudly; the table is for its reader")]

mod common;
#[path = "conformance/table.rs"]
mod table;

use std::{
    collections::BTreeSet,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use axum::{
    Router,
    body::Bytes,
    routing::{any, get},
};
use common::{
    PATIENCE,
    frames::{
        ACK, END_HEADERS, END_STREAM, FLOW_CONTROL_ERROR, Frame, Frames, GET, GOAWAY, HEADERS, PING, RST_STREAM,
        SETTINGS, frame,
    },
    until,
};
use evenkeel_http::{Limits, Listener, Server, Serving};
use table::{Begins, Case, Expect, cases};

fn server(seen: &Arc<AtomicU64>) -> Serving {
    let seen = seen.clone();
    let hello = move |body: Result<Bytes, axum::extract::rejection::BytesRejection>| {
        let seen = seen.clone();
        async move {
            let _ = body?;
            seen.fetch_add(1, Ordering::Relaxed);
            Ok::<_, axum::extract::rejection::BytesRejection>("hello")
        }
    };
    let wait = async || std::future::pending::<()>().await;
    let router = Router::new().route("/wait", any(wait)).route("/ten", get(async || "0123456789")).fallback(any(hello));
    let limits = Limits { streams: 10, ..Limits::default() };
    Server::new(Listener::bind("127.0.0.1:0").unwrap()).limits(limits).serve(router).unwrap()
}

#[tokio::test]
async fn every_case_of_rfc_9113_ends_as_the_standard_has_it_r4_1a() {
    let seen = Arc::<AtomicU64>::default();
    let server = server(&seen);
    let cases = cases();
    let mut wrong = Vec::new();
    for case in &cases {
        let before = seen.load(Ordering::Relaxed);
        let mut client = match case.begins {
            Begins::Preface => Frames::open(server.addr()).await,
            Begins::Nothing => Frames::connect(server.addr()).await,
        };
        client.send(&case.bytes).await;
        let judged = tokio::time::timeout(PATIENCE / 2, judge(&mut client, case)).await;
        let mut found = judged.unwrap_or_else(|_| Err("nothing came of it".to_owned()));
        drop(client);
        until("it ended", || server.connections() == 0).await;
        let reached = seen.load(Ordering::Relaxed) - before;
        if found.is_ok() && matches!(case.expect, Expect::Malformed) && reached > 0 {
            found = Err(format!("the handler has seen it {reached} times"));
        }
        if let Err(why) = found {
            wrong.push(format!("{} {}: {why}", case.section, case.name));
        }
        assert_eq!(server.counts().in_flight, 0, "{} {}", case.section, case.name);
    }
    let sections: BTreeSet<&str> = cases.iter().map(|case| case.section).collect();
    println!("{} cases in {} sections, {} wrong", cases.len(), sections.len(), wrong.len());
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(cases.len() >= 100, "{} cases", cases.len());
}

/// What came of it, if that is not what has to come.
async fn judge(client: &mut Frames, case: &Case) -> Result<(), String> {
    match case.expect {
        Expect::Served => {
            let answer = client.until(|frame| frame.kind == HEADERS || ends(frame)).await;
            let status = answer.as_ref().filter(|frame| frame.kind == HEADERS).and_then(Frame::status);
            if status == Some(200) { lives(client).await } else { Err(format!("not served: {answer:?}")) }
        }
        Expect::Ignored => lives(client).await,
        Expect::Harmless => lives(client).await.or_else(|why| if why == "closed" { Ok(()) } else { Err(why) }),
        Expect::Stream(codes) => match client.until(|frame| frame.kind == HEADERS || ends(frame)).await {
            Some(frame) if frame.kind == RST_STREAM && codes.contains(&frame.code()) => lives(client).await,
            other => is_error(other, codes, client).await,
        },
        Expect::Malformed => match client.until(|frame| frame.kind == HEADERS || ends(frame)).await {
            Some(frame) if frame.kind == HEADERS && matches!(frame.status(), Some(400..=499 | 501)) => Ok(()),
            Some(frame) if frame.kind == RST_STREAM && frame.code() == 1 => lives(client).await,
            other => is_error(other, &[1], client).await,
        },
        Expect::Connection(codes) => {
            let end = client.until(|frame| frame.kind == GOAWAY && frame.code() != 0 || is_answer(frame)).await;
            is_error(end, codes, client).await
        }
    }
}

fn ends(frame: &Frame) -> bool {
    frame.kind == RST_STREAM || (frame.kind == GOAWAY && frame.code() != 0)
}

fn is_answer(frame: &Frame) -> bool {
    frame.kind == HEADERS
}

/// An error of the whole connection (RFC 9113, 5.4.1): a GOAWAY with the reason, and the end. A stream's error may be
/// treated as one. A GOAWAY is only what a server should send.
async fn is_error(end: Option<Frame>, codes: &[u32], client: &mut Frames) -> Result<(), String> {
    match end {
        Some(frame) if frame.kind == GOAWAY && codes.contains(&frame.code()) => {
            while client.next().await.is_some() {}
            Ok(())
        }
        None => Ok(()),
        Some(frame) => Err(format!("{frame:?} instead of an error among {codes:?}")),
    }
}

/// The connection goes on: a PING and a request are answered, and no error comes.
async fn lives(client: &mut Frames) -> Result<(), String> {
    client.send(frame(PING, 0, 0, b"are you?")).await;
    // A route of its own, so that the handler of the cases does not count it.
    let head = [&b"\x82\x86\x01\x01t"[..], b"\x04\x04/ten"].concat();
    client.send(frame(HEADERS, END_STREAM | END_HEADERS, 1001, &head)).await;
    let (mut pinged, mut served) = (false, false);
    while !(pinged && served) {
        match client.next().await {
            Some(frame) if frame.kind == PING && frame.flags & ACK != 0 && frame.payload == b"are you?" => {
                pinged = true;
            }
            Some(frame) if frame.kind == HEADERS && frame.stream == 1001 => {
                served = frame.status() == Some(200);
                if !served {
                    return Err(format!("a good request after it: {frame:?}"));
                }
            }
            Some(frame) if ends(&frame) && (frame.kind == GOAWAY || frame.stream == 1001) => {
                return Err(format!("{frame:?} after it"));
            }
            Some(_) => {}
            None => return Err("closed".to_owned()),
        }
    }
    Ok(())
}

/// RFC 9113, 6.5.3 and 6.7.
#[tokio::test]
async fn settings_are_acknowledged_and_pings_answered_with_their_own_bytes_r4_1a() {
    let server = server(&Arc::default());
    let mut client = Frames::open(server.addr()).await;
    let first = client.next().await.unwrap();
    assert_eq!((first.kind, first.flags & ACK, first.stream), (SETTINGS, 0, 0), "its settings come first");
    assert!(client.until(|frame| frame.kind == SETTINGS && frame.flags & ACK != 0).await.is_some());
    client.send(frame(PING, 0, 0, b"\0\x01\xff\x7fabcd")).await;
    let pong = client.until(|frame| frame.kind == PING).await.unwrap();
    assert_eq!((pong.flags & ACK, pong.payload.as_slice()), (ACK, &b"\0\x01\xff\x7fabcd"[..]));
}

/// RFC 9113, 6.9.2: a window of one byte, then of none and less than none, then of all.
#[tokio::test]
async fn an_answer_goes_no_further_than_the_window_r4_1a() {
    let server = server(&Arc::default());
    let window = |bytes: u32| [&[0, 4][..], &bytes.to_be_bytes()].concat();
    let mut client = Frames::open_with(server.addr(), &window(3)).await;
    let head = [&b"\x82\x86\x01\x01t"[..], b"\x04\x04/ten"].concat();
    client.send(frame(HEADERS, END_STREAM | END_HEADERS, 1, &head)).await;
    let first = client.until(|frame| frame.kind == 0).await.unwrap();
    assert_eq!(first.payload, b"012");
    // The window of the stream is now two less than nothing.
    client.send(frame(SETTINGS, 0, 0, &window(1))).await;
    client.send(frame(8, 0, 1, &2_u32.to_be_bytes())).await;
    client.send(frame(PING, 0, 0, b"nothing?")).await;
    let next = client.until(|frame| frame.kind == 0 || frame.kind == PING).await.unwrap();
    assert_eq!(next.kind, PING, "{next:?}");
    client.send(frame(8, 0, 1, &4_u32.to_be_bytes())).await;
    let next = client.until(|frame| frame.kind == 0).await.unwrap();
    assert_eq!(next.payload, b"3456");
    client.send(frame(8, 0, 1, &100_u32.to_be_bytes())).await;
    let last = client.until(|frame| frame.kind == 0).await.unwrap();
    assert_eq!((last.payload.as_slice(), last.ends_stream()), (&b"789"[..], true));
}

/// RFC 9113, 6.9.1: who sends more than the window is stopped.
#[tokio::test]
async fn a_client_that_ignores_the_window_is_stopped_r4_1a() {
    let server = server(&Arc::default());
    let mut client = Frames::open(server.addr()).await;
    let head = [&b"\x83\x86\x01\x01t"[..], b"\x04\x05/wait"].concat();
    client.send(frame(HEADERS, END_HEADERS, 1, &head)).await;
    let data = frame(0, 0, 1, &vec![b'x'; 16_384]);
    for _ in 0..200 {
        client.send(&data).await;
    }
    let end = client.until(ends).await;
    assert!(end.is_none_or(|frame| frame.code() == FLOW_CONTROL_ERROR));
}

/// RFC 9113, 5.1.2.
#[tokio::test]
async fn streams_over_the_limit_are_refused_and_the_others_go_on_r4_1a() {
    let server = server(&Arc::default());
    let mut client = Frames::open(server.addr()).await;
    let head = [&b"\x82\x86\x01\x01t"[..], b"\x04\x05/wait"].concat();
    for number in 0..10 {
        client.send(frame(HEADERS, END_STREAM | END_HEADERS, number * 2 + 1, &head)).await;
    }
    until("ten wait", || server.counts().in_flight == 10).await;
    client.send(frame(HEADERS, END_STREAM | END_HEADERS, 21, GET)).await;
    let refused = client.until(ends).await.unwrap();
    assert_eq!((refused.kind, refused.stream, refused.code()), (RST_STREAM, 21, 7), "{refused:?}");
    client.send(frame(RST_STREAM, 0, 1, &8_u32.to_be_bytes())).await;
    until("one has gone", || server.counts().in_flight == 9).await;
    client.get(23).await;
    assert_eq!(client.until(is_answer).await.unwrap().status(), Some(200));
}
