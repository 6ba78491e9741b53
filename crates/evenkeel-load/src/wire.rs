//! What is seen at the socket: bytes sent and received, closes, and in HTTP/2 the frames' heads.
//!
//! Policy: an HTTP library tells that a request failed, and hides what a loss table needs to know. So the socket is
//! wrapped, and the wrapper takes note. It also looks before it writes a request to an HTTP/1 connection that was used
//! before: if the other side has closed (or sent something unasked, as a server does that gives a client up), no byte is
//! written. What lies between that look and the write is the one race that is left; a second look right after the write
//! shows when it was lost.

use std::{
    cell::{Cell, RefCell},
    io,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
};

use rustix::{
    io::Errno,
    net::{RecvFlags, recv},
};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};

use crate::ending::Seen;

/// What one connection has shown; shared between its wrapper and its client, which are on one thread.
#[derive(Default)]
pub(crate) struct Notes {
    /// Of the HTTP/1 request that is under way.
    seen: Cell<Seen>,
    /// Look before the next write.
    is_guarded: Cell<bool>,
    frames: Option<RefCell<Frames>>,
}

impl Notes {
    pub(crate) fn of_http2() -> Self {
        Self { frames: Some(RefCell::new(Frames::new())), ..Self::default() }
    }

    /// A request begins on an HTTP/1 connection.
    pub(crate) fn begin(&self, is_reused: bool) {
        self.seen.set(Seen { is_reused, ..Seen::default() });
        self.is_guarded.set(true);
    }

    /// What was seen of the HTTP/1 request that began last.
    pub(crate) fn seen(&self) -> Seen {
        self.seen.get()
    }

    /// What was seen of an HTTP/2 request.
    pub(crate) fn of_stream(&self, id: u32) -> Seen {
        let Some(frames) = &self.frames else { return Seen::default() };
        let frames = frames.borrow();
        let was_sent = id <= frames.highest_sent;
        Seen {
            is_reused: id > FIRST_STREAM,
            was_sent,
            had_closed: id >= frames.sent_after_close,
            is_unprocessed: was_sent && id > frames.last_processed,
            ..Seen::default()
        }
    }

    fn wrote(&self, bytes: &[u8], had_closed: bool) {
        if let Some(frames) = &self.frames {
            return frames.borrow_mut().wrote(bytes, had_closed);
        }
        let seen = self.seen.get();
        self.seen.set(Seen { was_sent: true, had_closed: seen.had_closed || (had_closed && !seen.has_begun), ..seen });
    }

    fn read(&self, bytes: &[u8]) {
        if let Some(frames) = &self.frames {
            return frames.borrow_mut().read(bytes);
        }
        let seen = self.seen.get();
        self.seen.set(Seen { has_begun: seen.has_begun || !bytes.is_empty(), ..seen });
    }
}

/// A socket that takes notes.
pub(crate) struct Wire {
    stream: TcpStream,
    notes: Rc<Notes>,
}

impl Wire {
    pub(crate) fn new(stream: TcpStream, notes: Rc<Notes>) -> Self {
        Self { stream, notes }
    }

    /// Looks without taking anything out: how much there is to read, 0 for a close.
    fn look(&self) -> Result<usize, Errno> {
        recv(&self.stream, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT).map(|(_, count)| count)
    }
}

impl AsyncRead for Wire {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        self.notes.read(&buf.filled()[before..]);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.notes.is_guarded.take() && self.look() != Err(Errno::AGAIN) {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        let written = ready!(Pin::new(&mut self.stream).poll_write(cx, bytes))?;
        let had_closed = !matches!(self.look(), Ok(1..) | Err(Errno::AGAIN));
        self.notes.wrote(&bytes[..written], had_closed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// The first stream that a client opens.
const FIRST_STREAM: u32 = 1;
/// What a client sends before its first frame, and the length of a frame's head (RFC 9113, 3.4 and 4.1).
const PREFACE: usize = 24;
const HEAD: usize = 9;
const HEADERS: u8 = 1;
const GOAWAY: u8 = 7;

/// What the frames of both directions have said.
struct Frames {
    sent: Follower,
    received: Follower,
    /// The highest stream whose request was sent, in part at least.
    highest_sent: u32,
    /// The lowest stream that was sent when the other side had closed already.
    sent_after_close: u32,
    /// What GOAWAY said last.
    last_processed: u32,
}

impl Frames {
    fn new() -> Self {
        Self {
            sent: Follower { skip: PREFACE, ..Follower::default() },
            received: Follower::default(),
            highest_sent: 0,
            sent_after_close: u32::MAX,
            last_processed: u32::MAX,
        }
    }

    fn wrote(&mut self, bytes: &[u8], had_closed: bool) {
        let Self { sent, highest_sent, sent_after_close, .. } = self;
        sent.follow(bytes, |frame| {
            if frame.kind == HEADERS {
                *highest_sent = frame.stream.max(*highest_sent);
                if had_closed {
                    *sent_after_close = frame.stream.min(*sent_after_close);
                }
            }
        });
    }

    fn read(&mut self, bytes: &[u8]) {
        let Self { received, last_processed, .. } = self;
        received.follow(bytes, |frame| {
            if frame.kind == GOAWAY {
                *last_processed = frame.first.min(*last_processed);
            }
        });
    }
}

/// A frame: its kind, its stream, and in a GOAWAY the number that it begins with.
struct Frame {
    kind: u8,
    stream: u32,
    first: u32,
}

/// Follows the frames of one direction, however their bytes are cut.
#[derive(Default)]
struct Follower {
    /// So many bytes say nothing.
    skip: usize,
    /// What has come of the next head.
    head: [u8; HEAD + 4],
    have: usize,
}

impl Follower {
    fn follow(&mut self, mut bytes: &[u8], mut tell: impl FnMut(&Frame)) {
        while !bytes.is_empty() {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            bytes = &bytes[skipped..];
            let taken = (self.wanted() - self.have).min(bytes.len());
            self.head[self.have..self.have + taken].copy_from_slice(&bytes[..taken]);
            self.have += taken;
            bytes = &bytes[taken..];
            if self.skip == 0 && self.have >= HEAD && self.have == self.wanted() {
                tell(&self.frame());
                self.skip = (self.length() + HEAD).saturating_sub(self.have);
                self.have = 0;
            }
        }
    }

    /// How much of a frame must be seen to know what it says.
    fn wanted(&self) -> usize {
        if self.have >= HEAD && self.head[3] == GOAWAY { HEAD + 4 } else { HEAD }
    }

    fn length(&self) -> usize {
        usize::from(self.head[0]) << 16 | usize::from(self.head[1]) << 8 | usize::from(self.head[2])
    }

    fn frame(&self) -> Frame {
        let number = |at: usize| {
            let bytes: [u8; 4] = [self.head[at], self.head[at + 1], self.head[at + 2], self.head[at + 3]];
            u32::from_be_bytes(bytes) & 0x7fff_ffff
        };
        Frame { kind: self.head[3], stream: number(5), first: number(HEAD) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0, 0, u8::try_from(payload.len()).unwrap(), kind, 0];
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        frame
    }

    #[test]
    fn what_frames_say_is_seen_however_their_bytes_are_cut_r4_1b() {
        let sent = [vec![b'P'; PREFACE], frame(4, 0, &[]), frame(HEADERS, 1, b"get"), frame(HEADERS, 3, &[])].concat();
        let goaway = [0, 0, 0, 1, 0, 0, 0, 0, b'b', b'y', b'e'];
        let received = [frame(HEADERS, 1, b"ok"), frame(GOAWAY, 0, &goaway), frame(6, 0, &[7; 8])].concat();
        for cut in 0..sent.len().max(received.len()) {
            let notes = Notes::of_http2();
            let (first, second) = sent.split_at(cut.min(sent.len()));
            notes.wrote(first, false);
            notes.wrote(second, false);
            assert!(notes.of_stream(3).was_sent && !notes.of_stream(5).was_sent, "cut at {cut}");
            let (first, second) = received.split_at(cut.min(received.len()));
            notes.read(first);
            notes.read(second);
            assert!(notes.of_stream(3).is_unprocessed && !notes.of_stream(1).is_unprocessed, "cut at {cut}");
            assert!(!notes.of_stream(5).is_unprocessed, "it was never sent");
        }
    }

    #[test]
    fn only_streams_sent_after_the_close_have_raced_with_it_r4_1b() {
        let notes = Notes::of_http2();
        notes.wrote(&[vec![b'P'; PREFACE], frame(HEADERS, 1, &[]), frame(HEADERS, 3, &[])].concat(), false);
        notes.wrote(&frame(HEADERS, 5, &[]), true);
        assert_eq!([1, 3, 5].map(|id| notes.of_stream(id).had_closed), [false, false, true]);
    }
}
