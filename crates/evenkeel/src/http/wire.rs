//! What one connection is doing, seen at its two ends: the requests that it serves, and the socket that it writes to.

use std::{
    io,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use axum::body::{Body, Bytes};
use hyper::{
    body::{Body as HttpBody, Frame, SizeHint},
    rt::{Read, ReadBufCursor, Write},
};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::{error::Result, scope::Work};

/// What a connection is doing.
#[derive(Default)]
pub(super) struct Traffic {
    requests: AtomicUsize,
    /// Something could not be written so far.
    writing: AtomicBool,
    http2: AtomicBool,
}

impl Traffic {
    /// Whether it has nothing to finish; at most it waits for the rest of a request's head. Never said of HTTP/2, which
    /// ends by itself once its streams have, and may hold back bytes that it has not tried to write.
    pub(super) fn is_at_rest(&self) -> bool {
        let busy = [&self.writing, &self.http2].into_iter().any(|flag| flag.load(Ordering::Relaxed));
        !busy && self.requests.load(Ordering::Relaxed) == 0
    }

    pub(super) fn request(self: &Arc<Self>, http2: bool, work: Work) -> InFlight {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.http2.fetch_or(http2, Ordering::Relaxed);
        InFlight { traffic: self.clone(), _work: work }
    }
}

/// A request in flight.
pub(super) struct InFlight {
    traffic: Arc<Traffic>,
    _work: Work,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.traffic.requests.fetch_sub(1, Ordering::Relaxed);
    }
}

pin_project_lite::pin_project! {
    /// A response body; its request is in flight until the body has been taken to its end, or dropped.
    pub(super) struct Counted {
        #[pin]
        pub(super) body: Body,
        pub(super) in_flight: InFlight,
    }
}

impl HttpBody for Counted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        self.project().body.poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The socket of a connection. Notes whether a write waits for the client.
pub(super) struct Socket {
    io: TokioIo<TcpStream>,
    traffic: Arc<Traffic>,
}

impl Socket {
    pub(super) fn new(stream: TcpStream, traffic: Arc<Traffic>) -> Self {
        Self { io: TokioIo::new(stream), traffic }
    }

    fn io(&mut self) -> Pin<&mut TokioIo<TcpStream>> {
        Pin::new(&mut self.io)
    }

    fn noted(&self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        self.traffic.writing.store(written.is_pending(), Ordering::Relaxed);
        written
    }
}

impl Read for Socket {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        self.io().poll_read(cx, into)
    }
}

impl Write for Socket {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = self.io().poll_write(cx, bytes);
        self.noted(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = self.io().poll_write_vectored(cx, pieces);
        self.noted(written)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_shutdown(cx)
    }
}
