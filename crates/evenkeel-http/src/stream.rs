//! The bytes of a connection, on their way to and from hyper.
//!
//! Policy: every byte that comes in over HTTP/1 passes the strict reading of [`framing`](crate::framing) first. The socket
//! itself stays with [`Conn`], so that it can be looked into, and closed, while hyper or an upgraded protocol has the
//! stream.

use std::{
    io,
    net::Shutdown,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

use crate::{
    conn::{At, Conn, Protocol},
    framing::{Broken, Framing},
    goaway::GoAway,
};

pub(crate) struct Stream {
    conn: Arc<Conn>,
    /// What was read to tell the protocol.
    first: Bytes,
    reading: Reading,
    broken: Option<Broken>,
}

/// What follows the bytes that come in.
enum Reading {
    Http1(Framing),
    Http2(GoAway),
}

impl Stream {
    pub(crate) fn new(conn: Arc<Conn>, first: Bytes) -> Self {
        let limits = &conn.shared.limits;
        let reading = match conn.protocol() {
            Protocol::Http2 => Reading::Http2(GoAway::new()),
            _ => Reading::Http1(Framing::new(limits.head_bytes, limits.head_fields)),
        };
        conn.stream_held.store(true, Ordering::Release);
        Self { conn, first, reading, broken: None }
    }

    /// Reads as it comes. Gives back how much there was; 0 at the end.
    fn poll_raw(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
        if self.first.is_empty() {
            let read = ready!(poll_read(&self.conn.stream, cx, buf))?;
            self.conn.bytes_in.fetch_add(read as u64, Ordering::Relaxed);
            return Poll::Ready(Ok(read));
        }
        let taken = self.first.len().min(buf.remaining());
        buf.put_slice(&self.first[..taken]);
        self.first.advance(taken);
        Poll::Ready(Ok(taken))
    }

    fn poll_http1(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.broken.is_none() {
            let before = buf.filled().len();
            ready!(self.poll_raw(cx, buf))?;
            let Reading::Http1(framing) = &mut self.reading else { return Poll::Ready(Ok(())) };
            self.broken = check(&self.conn, framing, buf, before).err();
            if self.broken.is_none() || buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_broken()
    }

    /// The end of what can be read safely. Good requests before it are answered first; hyper asks again after each.
    fn poll_broken(&self) -> Poll<io::Result<()>> {
        match self.broken {
            Some(broken) if broken.in_head => {
                if self.conn.in_flight() > 0 {
                    return Poll::Pending;
                }
                self.conn.break_off(broken.fault);
            }
            _ => {}
        }
        Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, "the end of the request cannot be told safely")))
    }

    fn poll_http2(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        // To hand on nothing would mean the end.
        while buf.filled().len() == before {
            let Reading::Http2(goaway) = &mut self.reading else { break };
            if self.conn.may_say_last.load(Ordering::Acquire) {
                goaway.hand_on();
            }
            if goaway.is_wrong() {
                let what = "the first frame is not that of the client's settings";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, what)));
            }
            if goaway.put(buf) > 0 {
                break;
            }
            let wanted = goaway.wants();
            let read = if wanted > 0 { self.poll_few(cx, wanted) } else { self.poll_raw(cx, buf) };
            if ready!(read)? == 0 {
                break;
            }
            if wanted == 0
                && let Reading::Http2(goaway) = &mut self.reading
            {
                let passed = goaway.pass(&mut buf.filled_mut()[before..]);
                buf.set_filled(before + passed);
                if goaway.is_wrong() {
                    buf.set_filled(before);
                }
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Reads what it takes to tell a frame, past hyper's buffer: that may have no room for it.
    fn poll_few(&mut self, cx: &mut Context<'_>, wanted: usize) -> Poll<io::Result<usize>> {
        let mut few = [0; GoAway::MOST_WANTED];
        let mut few = ReadBuf::new(&mut few[..wanted]);
        let read = ready!(self.poll_raw(cx, &mut few))?;
        if let Reading::Http2(goaway) = &mut self.reading {
            goaway.tell(few.filled());
        }
        Poll::Ready(Ok(read))
    }
}

/// Lets pass what may pass, and keeps the books.
fn check(conn: &Conn, framing: &mut Framing, buf: &mut ReadBuf<'_>, before: usize) -> Result<(), Broken> {
    let bytes = &buf.filled()[before..];
    if bytes.is_empty() {
        return Ok(());
    }
    if conn.tunnel.load(Ordering::Acquire) {
        framing.tunnel();
    }
    let fed = framing.feed(bytes);
    conn.at_boundary.store(framing.is_at_boundary(), Ordering::Release);
    // A head that has come whole is a request at once, which says so itself.
    if !framing.is_past_head() && matches!(conn.at(), At::Silent | At::Idle) && !is_blank(bytes) {
        conn.set_at(At::Head);
    }
    fed.inspect_err(|broken| buf.set_filled(before + broken.good))
}

/// Empty lines between requests are no request.
fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'\r' | b'\n'))
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match this.reading {
            Reading::Http1(_) => this.poll_http1(cx, buf),
            Reading::Http2(_) => this.poll_http2(cx, buf),
        }
    }
}

fn poll_read(stream: &TcpStream, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_read_ready(cx))?;
        match read_some(stream, buf) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            done => return Poll::Ready(done),
        }
    }
}

/// One read. Where a short one shows that the socket is empty, the runtime is told so, which saves asking again.
fn read_some(stream: &TcpStream, buf: &mut ReadBuf<'_>) -> io::Result<usize> {
    let (room, mut short) = (buf.remaining(), 0);
    let done = stream.try_io(Interest::READABLE, || {
        let read = stream.try_read_buf(buf)?;
        if evenkeel_os::sockets::SHORT_READ_MEANS_EMPTY && 0 < read && read < room {
            short = read;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(read)
    });
    if short > 0 { Ok(short) } else { done }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        poll_write(&self.conn, cx, |stream| stream.try_write(buf))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // One short piece is cheaper for the kernel than two, by more than it takes to copy them.
        let mut whole = [0; SMALL];
        match join(bufs, &mut whole) {
            Some(joined) => poll_write(&self.conn, cx, |stream| stream.try_write(joined)),
            None => poll_write(&self.conn, cx, |stream| stream.try_write_vectored(bufs)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Called by hyper when nothing that it wanted to write is left.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A fault that could not be told to hyper before, for the sake of these answers, can be told now.
        if self.conn.flushed() && self.broken.is_some() {
            self.conn.waker.wake();
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.conn.flushed();
        // What is no request gets its answer yet, from the connection's own task.
        if self.conn.fault().is_none() {
            self.conn.shutdown(Shutdown::Write);
        }
        Poll::Ready(Ok(()))
    }
}

/// Pieces that are no longer than this together are written as one.
const SMALL: usize = 512;

fn join<'a>(bufs: &[io::IoSlice<'_>], whole: &'a mut [u8; SMALL]) -> Option<&'a [u8]> {
    let mut at = 0;
    for buf in bufs {
        whole.get_mut(at..at + buf.len())?.copy_from_slice(buf);
        at += buf.len();
    }
    Some(&whole[..at])
}

fn poll_write(
    conn: &Conn,
    cx: &mut Context<'_>,
    mut write: impl FnMut(&TcpStream) -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        if conn.stream.poll_write_ready(cx)?.is_pending() {
            conn.set_blocked(true);
            return Poll::Pending;
        }
        match write(&conn.stream) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Poll::Ready(Err(error)),
            Ok(written) => {
                conn.set_blocked(false);
                conn.bytes_out.fetch_add(written as u64, Ordering::Relaxed);
                return Poll::Ready(Ok(written));
            }
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.conn.stream_held.store(false, Ordering::Release);
        self.conn.waker.wake();
    }
}
