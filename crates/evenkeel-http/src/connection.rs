//! The life of one connection: which protocol, serve it, hang up politely.
//!
//! Policy: the protocol is known before anything is served, so that a drain can treat each as it needs. A connection ends
//! in one of four ways (its client or hyper ended it, it retired, it was cut off, it was handed to another protocol), and
//! each closes the socket so that the client sees the last answer, not a reset.

use std::{
    future::{Future, poll_fn},
    io,
    net::Shutdown,
    pin::{Pin, pin},
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
    time::Duration,
};

use axum::Router;
use bytes::{Bytes, BytesMut};
use hyper::{
    rt::Executor,
    server::conn::{http1, http2},
};
use hyper_util::rt::TokioIo;

use crate::{
    answer::Answerer,
    conn::{At, Conn, Order, Protocol},
    outcome::Outcome,
    phase::Phase,
    server::{Registered, Shared},
    stream::Stream,
};

/// What an HTTP/2 client sends first (RFC 9113, 3.4). No HTTP/1 request begins like it for longer than `PRI`.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The first read takes this much at most; a larger head is read on by hyper.
const FIRST_READ: usize = 2048;

/// How long a client that still sends may take to see the answer that ends its connection.
const PARTING: Duration = Duration::from_secs(1);

/// How long the last bytes of a retired connection are waited for, to tell whether a request raced with the close.
const RACE: Duration = Duration::from_millis(25);

/// How long an HTTP/2 client at rest may take to answer the PING that comes with the first GOAWAY.
const UNANSWERED: Duration = Duration::from_millis(500);

/// How serving ended.
enum End {
    /// hyper has ended it: the client left, or a close was announced.
    Done(Option<hyper::Error>),
    /// It was at rest and is closed as unused.
    Retired,
    /// It was ordered to end now.
    Cut,
}

/// Serves a connection from its first byte to its last.
pub(crate) async fn run(registered: Registered, router: Router) {
    let conn = &registered.conn;
    // Without this a small answer may wait for the client's acknowledgement of the one before. It only costs time.
    let _ = conn.stream.set_nodelay(true);
    let end = match first_bytes(conn).await {
        Ok(Some(first)) if conn.protocol() == Protocol::Http2 => http2(conn, router, first).await,
        Ok(Some(first)) => http1(conn, router, first).await,
        Ok(None) => End::Done(None),
        Err(end) => end,
    };
    // What has not been answered now never will be; the order of these two keeps an unfinished one from counting twice.
    let doing = conn.at();
    conn.end_requests();
    part(conn, end, doing).await;
    if Arc::strong_count(conn) > Registered::HANDLES {
        // Somebody still holds on to a request of it; the client must not be held as well.
        conn.shutdown(Shutdown::Both);
    }
}

/// Reads until the protocol is known. `None` if the client has gone.
async fn first_bytes(conn: &Conn) -> Result<Option<Bytes>, End> {
    let mut first = BytesMut::new();
    loop {
        let ready = poll_fn(|cx| {
            conn.waker.register(cx.waker());
            match conn.order() {
                Order::Cut => return Poll::Ready(Err(End::Cut)),
                Order::Retire if first.is_empty() && !conn.has_unread() => return Poll::Ready(Err(End::Retired)),
                Order::Retire => conn.go_on(),
                Order::Serve => {}
            }
            conn.stream.poll_read_ready(cx).map(Ok)
        });
        if ready.await?.is_err() {
            return Ok(None);
        }
        first.reserve(FIRST_READ - first.len());
        match conn.stream.try_read_buf(&mut first) {
            Ok(0) => return Ok(None),
            Ok(read) => conn.bytes_in.fetch_add(read as u64, Ordering::Relaxed),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(_) => return Ok(None),
        };
        if let Some(protocol) = tell(&first) {
            conn.set_protocol(protocol);
            if protocol == Protocol::Http2 {
                conn.set_at(At::Idle);
            }
            return Ok(Some(first.freeze()));
        }
        conn.set_at(At::Head);
    }
}

/// Which protocol these first bytes speak, if they are enough to tell.
fn tell(first: &[u8]) -> Option<Protocol> {
    let compared = first.len().min(PREFACE.len());
    if first[..compared] != PREFACE[..compared] {
        Some(Protocol::Http1)
    } else if compared == PREFACE.len() {
        Some(Protocol::Http2)
    } else {
        None
    }
}

async fn http1(conn: &Arc<Conn>, router: Router, first: Bytes) -> End {
    let limits = &conn.shared.limits;
    let mut builder = http1::Builder::new();
    // Deadlines are kept by the server's own watch, which also knows what the drain allows.
    builder.header_read_timeout(None).max_header_size(limits.head_bytes);
    if limits.head_fields > 100 {
        builder.max_headers(limits.head_fields);
    }
    let io = TokioIo::new(Stream::new(conn.clone(), first));
    let service = Answerer::new(conn.clone(), router);
    let end = {
        let mut serving = pin!(builder.serve_connection(io, service).with_upgrades());
        poll_fn(|cx| poll_http1(conn, serving.as_mut(), cx)).await
    };
    if matches!(end, End::Done(_)) && conn.stream_held.load(Ordering::Acquire) {
        return tunnel(conn).await;
    }
    end
}

fn poll_http1<F>(conn: &Conn, serving: Pin<&mut F>, cx: &mut Context<'_>) -> Poll<End>
where
    F: Future<Output = hyper::Result<()>>,
{
    conn.waker.register(cx.waker());
    if conn.is_cut() {
        return Poll::Ready(End::Cut);
    }
    if let Poll::Ready(done) = serving.poll(cx) {
        return Poll::Ready(End::Done(done.err()));
    }
    poll_retire(conn)
}

/// Retires a connection that was ordered to, unless a request has begun to arrive: then it is served first.
fn poll_retire(conn: &Conn) -> Poll<End> {
    if conn.order() == Order::Retire {
        if conn.is_at_rest() && !conn.has_unread() {
            return Poll::Ready(End::Retired);
        }
        conn.go_on();
    }
    Poll::Pending
}

/// Waits for an upgraded connection to end, which its handler decides.
async fn tunnel(conn: &Conn) -> End {
    poll_fn(|cx| {
        conn.waker.register(cx.waker());
        if conn.is_cut() {
            // Its handler may not be listening, but the client must learn of it.
            conn.shutdown(Shutdown::Both);
            return Poll::Ready(End::Cut);
        }
        if conn.stream_held.load(Ordering::Acquire) { Poll::Pending } else { Poll::Ready(End::Done(None)) }
    })
    .await
}

async fn http2(conn: &Arc<Conn>, router: Router, first: Bytes) -> End {
    let limits = &conn.shared.limits;
    let mut builder = http2::Builder::new(Spawn { shared: conn.shared.clone() });
    let head_bytes = u32::try_from(limits.head_bytes).unwrap_or(u32::MAX);
    builder.max_concurrent_streams(limits.streams).max_header_list_size(head_bytes);
    let io = TokioIo::new(Stream::new(conn.clone(), first));
    let mut serving = pin!(builder.serve_connection(io, Answerer::new(conn.clone(), router)));
    let (mut told, mut waited) = (false, false);
    poll_fn(|cx| {
        conn.waker.register(cx.waker());
        if conn.is_cut() {
            return Poll::Ready(End::Cut);
        }
        // Answers are made by other tasks, and each one wakes this. To let those go first that are about to run makes one
        // write of many.
        waited = !waited && conn.in_flight() > 1;
        if waited {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        // The first GOAWAY takes no stream away; the second follows the client's answer to a PING (RFC 9113, 6.8).
        if !told && (conn.shared.phase() >= Phase::Discouraging || conn.order() == Order::Retire) {
            serving.as_mut().graceful_shutdown();
            told = true;
        }
        if conn.order() == Order::Retire {
            conn.may_say_last.store(true, Ordering::Release);
        }
        if let Poll::Ready(done) = serving.as_mut().poll(cx) {
            return Poll::Ready(End::Done(done.err()));
        }
        // It ends by itself after the second GOAWAY; only a client that does not answer is left without one. Answers are
        // made by other tasks, so that being at rest for a moment does not mean that all was written.
        if conn.at_for() > UNANSWERED { poll_retire(conn) } else { Poll::Pending }
    })
    .await
}

/// Puts the tasks that HTTP/2 makes for its streams where the server's own tasks are.
#[derive(Clone)]
struct Spawn {
    shared: Arc<Shared>,
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for Spawn {
    fn execute(&self, future: F) {
        self.shared.spawn(async move {
            future.await;
        });
    }
}

/// Closes the socket, so that nobody loses what is still on the way.
async fn part(conn: &Conn, end: End, was: At) {
    match end {
        End::Retired => {
            if hang_up(conn, RACE).await > 0 {
                conn.shared.tally.unread(Outcome::Raced);
            }
        }
        End::Cut => {
            if was == At::Head && conn.protocol() != Protocol::Http2 {
                say(conn, "408 Request Timeout");
            }
        }
        End::Done(error) => {
            if conn.fault().is_some() || error.as_ref().is_some_and(hyper::Error::is_parse) {
                return refuse(conn).await;
            }
            if let Some(error) = error {
                // A client that goes away in the middle is every day's business.
                tracing::debug!(target: "evenkeel", peer = %conn.peer, error = %error, "a connection ended in an error");
                return;
            }
            // More is coming than was read. Closing now would reset the connection, and the answer with it.
            // An HTTP/2 client nearly always has an acknowledgement on its way.
            if conn.protocol() == Protocol::Http2 || is_still_sending(conn).await {
                hang_up(conn, PARTING).await;
            }
        }
    }
}

/// What came is no request. hyper has answered what it found itself.
async fn refuse(conn: &Conn) {
    conn.shared.tally.unread(Outcome::Refused);
    if let Some(fault) = conn.fault() {
        say(conn, fault.status());
    }
    hang_up(conn, PARTING).await;
}

/// The kernel itself is asked only in a drain, where clients did not know that this answer was the last.
async fn is_still_sending(conn: &Conn) -> bool {
    if conn.tunnel.load(Ordering::Acquire) {
        return false;
    }
    let known = poll_fn(|cx| Poll::Ready(conn.stream.poll_read_ready(cx).is_ready())).await;
    !conn.at_boundary.load(Ordering::Acquire) || ((known || conn.shared.phase() > Phase::Serving) && conn.has_unread())
}

/// An answer without hyper, to what never became a request. Tried once: who does not read does not get one.
fn say(conn: &Conn, status: &str) {
    let answer = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    let _ = conn.stream.try_write(answer.as_bytes());
}

/// Says goodbye and discards what still comes, until the client has gone or `patience` is over. Gives back how many bytes
/// came.
async fn hang_up(conn: &Conn, patience: Duration) -> u64 {
    conn.shutdown(Shutdown::Write);
    let mut discarded = 0;
    let _ = tokio::time::timeout(patience, discard(conn, &mut discarded)).await;
    discarded
}

async fn discard(conn: &Conn, discarded: &mut u64) {
    let mut scrap = BytesMut::with_capacity(FIRST_READ);
    loop {
        scrap.clear();
        let ready = poll_fn(|cx| {
            conn.waker.register(cx.waker());
            if conn.is_cut() { Poll::Ready(false) } else { conn.stream.poll_read_ready(cx).map(|ready| ready.is_ok()) }
        });
        if !ready.await {
            return;
        }
        match conn.stream.try_read_buf(&mut scrap) {
            Ok(1..) => *discarded += scrap.len() as u64,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(0) | Err(_) => return,
        }
    }
}
