//! HTTP/2, frame by frame.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails loudly")]

mod common;

use axum::{Router, routing::get};
use common::frames::{END_HEADERS, END_STREAM, Frames, GET, HEADERS, RST_STREAM, frame};
use evenkeel_http::{Listener, Outcome, serve};

/// However the bytes are cut, and however full the buffer is into which they are read.
#[tokio::test]
async fn requests_are_answered_wherever_their_frames_are_cut_r4_1a() {
    const REQUESTS: u32 = 20_000;
    let server =
        serve(Listener::bind("127.0.0.1:0").unwrap(), Router::new().route("/", get(async || "hello"))).unwrap();
    let mut client = Frames::open(server.addr()).await;
    // Enough window for all answers.
    client.send(frame(8, 0, 0, &0x7000_0000_u32.to_be_bytes())).await;
    let (mut sent, mut answered) = (0, 0);
    while answered < REQUESTS {
        // Frames of every length, so that one of them ends wherever a buffer may end.
        let mut burst = Vec::new();
        for _ in 0..sent % 90 + 5 {
            let head = [&GET[..4], &vec![b't'; sent as usize % 97 + 1][..]].concat();
            let head = [&head[..4], &[u8::try_from(head.len() - 4).unwrap()], &head[4..]].concat();
            burst.extend(frame(HEADERS, END_STREAM | END_HEADERS, sent * 2 + 1, &head));
            sent += 1;
        }
        client.send(&burst).await;
        while answered < sent {
            let answer = client.until(|frame| frame.ends_stream() || frame.kind == RST_STREAM).await;
            let answer = answer.unwrap_or_else(|| panic!("closed after {answered} answers"));
            assert!(answer.ends_stream(), "{answer:?}");
            answered += 1;
        }
    }
    assert_eq!(server.counts().of(Outcome::Answered), u64::from(sent));
}
