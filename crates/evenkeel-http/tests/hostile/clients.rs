//! Clients that mean harm, or have none: each kind so many times, beside clients that just want an answer.
//!
//! What is held: whoever behaves is answered; each accepted request ends in exactly one outcome, the right one where the
//! client can know it; and nothing stays: no connection, no task, no descriptor, no memory.

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    routing::{any, get as get_},
};
use evenkeel_http::{Counts, Limits, Listener, Outcome, Server, Serving};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

use crate::common::{
    PATIENCE,
    frames::{
        CONTINUATION, DATA, END_HEADERS, END_STREAM, Frames, GET, HEADERS, PING, RST_STREAM, SETTINGS, field, frame,
    },
    rest::Rest,
    until,
};

/// What one of them does, from its connection to its end.
type Deed = fn(SocketAddr, u64) -> Pin<Box<dyn Future<Output = ()> + Send>>;

struct Kind {
    name: &'static str,
    deed: Deed,
    /// How many requests each one is for, and how each ends; where the client can know.
    ends: Option<(u64, Outcome)>,
}

const fn kind(name: &'static str, ends: Option<(u64, Outcome)>, deed: Deed) -> Kind {
    Kind { name, deed, ends }
}

const KINDS: &[Kind] = &[
    kind("cancelled within a head", None, |addr, id| Box::pin(leaves(addr, id, "GET / HTTP/1.1\r\nHo"))),
    kind("cancelled while the handler works", Some((1, Outcome::Aborted)), |addr, id| {
        Box::pin(leaves(addr, id, "GET /wait HTTP/1.1\r\nHost: t\r\n\r\n"))
    }),
    kind("cancelled within a body", None, |addr, id| {
        Box::pin(leaves(addr, id, "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nhello"))
    }),
    kind("cancelled within an answer", Some((1, Outcome::Aborted)), |addr, id| Box::pin(leaves_an_answer(addr, id))),
    kind("handlers that panic", Some((1, Outcome::Panicked)), |addr, id| {
        Box::pin(answered(addr, id, "GET /panic HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n".into(), "500"))
    }),
    kind("answers that panic", Some((1, Outcome::Panicked)), |addr, id| {
        Box::pin(answered(addr, id, "GET /panics-late HTTP/1.1\r\nHost: t\r\n\r\n".into(), ""))
    }),
    kind("heads over the limit", Some((1, Outcome::Refused)), |addr, id| {
        Box::pin(answered(addr, id, format!("GET / HTTP/1.1\r\nHost: t\r\nA: {}\r\n\r\n", "b".repeat(5_000)), "431"))
    }),
    kind("fields over the limit", Some((1, Outcome::Refused)), |addr, id| {
        Box::pin(answered(addr, id, format!("GET / HTTP/1.1\r\nHost: t\r\n{}\r\n", "A: b\r\n".repeat(120)), "431"))
    }),
    kind("targets over the limit", Some((1, Outcome::Refused)), |addr, id| {
        Box::pin(answered(addr, id, format!("GET /{} HTTP/1.1\r\nHost: t\r\n\r\n", "a".repeat(2_000)), "414"))
    }),
    kind("bodies over the limit", Some((1, Outcome::Refused)), |addr, id| {
        Box::pin(answered(addr, id, "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999\r\n\r\n".into(), "413"))
    }),
    kind("malformed requests", Some((1, Outcome::Refused)), |addr, id| {
        const SHAPES: [&str; 8] = [
            "GET / HTTP/1.1\nHost: t\n\n",
            "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: t\r\nContent-Length: +1\r\n\r\na",
            "GET / HTTP/1.1\r\nHost: t\r\nA : b\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/9.9\r\nHost: t\r\n\r\n",
            "\x16\x03\x01\x02\x00\x01\r\n\r\n",
            "GET /\0 HTTP/1.1\r\nHost: t\r\n\r\n",
        ];
        let shape = SHAPES[usize::try_from(id).unwrap() % SHAPES.len()];
        Box::pin(answered(addr, id, shape.into(), "400"))
    }),
    kind("malformed bodies", None, |addr, id| {
        let bytes = "POST / HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n5;a\r\nhello\r\n0\r\n\r\n";
        Box::pin(answered(addr, id, bytes.into(), "400"))
    }),
    kind("HTTP/2: requests that are reset at once", None, |addr, id| {
        Box::pin(frames(addr, id, |_| {
            (0..20).flat_map(|number| [get(number * 2 + 1), reset(number * 2 + 1)].concat()).collect()
        }))
    }),
    kind("HTTP/2: streams that the server has to reset", None, |addr, id| {
        Box::pin(frames(addr, id, |_| {
            (0..8).flat_map(|number| [waits(number * 2 + 1), frame(8, 0, number * 2 + 1, &[0; 4])].concat()).collect()
        }))
    }),
    kind("HTTP/2: cancelled while the handler works", None, |addr, id| {
        Box::pin(frames(addr, id, |_| (0..8).flat_map(|number| waits(number * 2 + 1)).collect()))
    }),
    kind("HTTP/2: blocks without end", None, |addr, id| {
        Box::pin(frames(addr, id, |_| {
            let more = (0..50).flat_map(|_| frame(CONTINUATION, 0, 1, &field(b"a", &[b'b'; 200])));
            frame(HEADERS, END_STREAM, 1, GET).into_iter().chain(more).collect()
        }))
    }),
    kind("HTTP/2: settings and pings without end", None, |addr, id| {
        Box::pin(frames(addr, id, |_| {
            (0..100).flat_map(|_| [frame(SETTINGS, 0, 0, &[]), frame(PING, 0, 0, &[7; 8])].concat()).collect()
        }))
    }),
    kind("HTTP/2: fields over the limit", None, |addr, id| {
        Box::pin(frames(addr, id, |_| {
            frame(HEADERS, END_STREAM | END_HEADERS, 1, &[GET, &field(b"a", &[b'b'; 12_000])].concat())
        }))
    }),
    kind("HTTP/2: a window that is shut", None, |addr, id| {
        Box::pin(frames(addr, id, |_| {
            [frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]), get(1), get(3), frame(8, 0, 1, &[0, 0, 0, 1])].concat()
        }))
    }),
    kind("HTTP/2: frames that are forbidden", None, |addr, id| {
        Box::pin(frames(addr, id, |id| match id % 4 {
            0 => frame(DATA, 0, 1, b"x"),
            1 => frame(PING, 0, 0, b"x"),
            2 => frame(HEADERS, END_STREAM | END_HEADERS, 1, b"\x80"),
            _ => frame(HEADERS, END_STREAM | END_HEADERS, 2, GET),
        }))
    }),
];

fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, GET)
}

fn waits(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &[&b"\x82\x86\x01\x01t"[..], b"\x04\x05/wait"].concat())
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes())
}

/// The third number of their addresses, and of those of good clients; who are good have numbers from here on.
const HOSTILE_NET: u8 = 3;
const GOOD_NET: u8 = 4;
const GOOD: u64 = 1 << 40;

/// Each from an address of its own, so that ports in TIME-WAIT do not run out.
async fn connect(addr: SocketAddr, id: u64) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let net = if id < GOOD { HOSTILE_NET } else { GOOD_NET };
    let last = u8::try_from(id % 250).unwrap() + 1;
    socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, net, last)), 0)).unwrap();
    socket.connect(addr).await.unwrap()
}

/// Every other one says goodbye with a reset.
fn leave(stream: &TcpStream, id: u64) {
    if id.is_multiple_of(2) {
        let _ = stream.set_zero_linger();
    }
}

async fn leaves(addr: SocketAddr, id: u64, bytes: &str) {
    let mut stream = connect(addr, id).await;
    stream.write_all(bytes.as_bytes()).await.unwrap();
    // Taken in by the server, so that a reset does not take it out of its hands.
    if bytes.contains("/wait") {
        let mut said = [0; 12];
        stream.read_exact(&mut said).await.unwrap();
    }
    leave(&stream, id);
}

async fn leaves_an_answer(addr: SocketAddr, id: u64) {
    let mut stream = connect(addr, id).await;
    stream.write_all(b"GET /endless HTTP/1.1\r\nHost: t\r\n\r\n").await.unwrap();
    let mut some = [0; 1024];
    assert!(stream.read(&mut some).await.unwrap() > 0);
    leave(&stream, id);
}

/// The right status, and the end; without a status, an end before the answer's, which shows that it is not whole.
async fn answered(addr: SocketAddr, id: u64, bytes: String, status: &str) {
    let mut stream = connect(addr, id).await;
    // The server may have answered, and closed, before it was all sent.
    let _ = stream.write_all(bytes.as_bytes()).await;
    let mut answer = Vec::new();
    let mut buf = [0; 1024];
    while let Ok(read @ 1..) = stream.read(&mut buf).await {
        answer.extend_from_slice(&buf[..read]);
    }
    let answer = String::from_utf8_lossy(&answer);
    if status.is_empty() {
        return assert!(!answer.ends_with("0\r\n\r\n"), "`{bytes}`: `{answer}`");
    }
    assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "`{}`: `{answer}`", bytes.get(..60).unwrap_or(&bytes));
}

/// Sends frames, and sees a PING answered or the connection closed; then leaves.
async fn frames(addr: SocketAddr, id: u64, bytes: fn(u64) -> Vec<u8>) {
    let mut client = Frames::on(connect(addr, id).await).await;
    client.send(bytes(id)).await;
    client.send(frame(PING, 0, 0, b"goodbye!")).await;
    client.until(|frame| frame.kind == PING && frame.payload == b"goodbye!").await;
    leave(&client.stream, id);
}

/// A body that ends in a panic, or never.
struct Ill(Option<u32>);

impl http_body::Body for Ill {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
        if let Some(left) = &mut self.0 {
            *left = left.checked_sub(1).unwrap_or_else(|| std::panic::resume_unwind(Box::new("quiet")));
        }
        Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(&[b'x'; 16_384])))))
    }
}

/// Says that the request was taken in, and never more.
async fn wait() -> Body {
    struct Said(bool);
    impl http_body::Body for Said {
        type Data = Bytes;
        type Error = std::convert::Infallible;
        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<http_body::Frame<Bytes>, Self::Error>>> {
            if std::mem::replace(&mut self.0, true) {
                return Poll::Pending;
            }
            Poll::Ready(Some(Ok(http_body::Frame::data(Bytes::from_static(b"I work")))))
        }
    }
    Body::new(Said(false))
}

fn serve() -> Serving {
    let hello = async |body: Result<Bytes, axum::extract::rejection::BytesRejection>| body.map(|_| "hello");
    let router = Router::new()
        .route("/", any(hello))
        .route("/wait", get_(wait))
        .route("/panic", get_(async || -> &'static str { std::panic::resume_unwind(Box::new("quiet")) }))
        .route("/panics-late", get_(async || Body::new(Ill(Some(2)))))
        .route("/endless", get_(async || Body::new(Ill(None))));
    // Fewer connections than there are clients: some wait at the door all the time.
    let limits =
        Limits { connections: 24, head_bytes: 4_096, uri_bytes: 1_000, body_bytes: 10_000, ..Limits::default() };
    Server::new(Listener::bind("127.0.0.1:0").unwrap()).limits(limits).serve(router).unwrap()
}

/// Clients that behave, of each kind one; every answer is looked at.
struct Good {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    clients: JoinSet<()>,
}

impl Good {
    fn start(addr: SocketAddr) -> Self {
        let mut good = Self { stop: Arc::default(), answered: Arc::default(), clients: JoinSet::new() };
        for number in 0..3 {
            let (stop, answered) = (good.stop.clone(), good.answered.clone());
            good.clients.spawn(async move {
                let mut id = GOOD + 1_000 * number;
                while !stop.load(Ordering::Relaxed) {
                    id += 1;
                    let asked = async {
                        match number {
                            0 => asks(addr, id, 20).await,
                            1 => asks(addr, id, 1).await,
                            _ => asks_http2(addr, id).await,
                        }
                    };
                    let count = tokio::time::timeout(3 * PATIENCE, asked).await.expect("good clients are answered");
                    answered.fetch_add(count, Ordering::Relaxed);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            });
        }
        good
    }

    async fn end(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("good clients are answered");
        }
        self.answered.load(Ordering::Relaxed)
    }
}

async fn asks(addr: SocketAddr, id: u64, times: u64) -> u64 {
    let mut stream = connect(addr, id).await;
    for _ in 0..times {
        stream.write_all(b"POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\n12345").await.expect("it is read");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\nhello") {
            let read = stream.read_buf(&mut answer).await.expect("a good request is answered");
            assert!(read > 0, "a good request was not answered: {}", String::from_utf8_lossy(&answer));
        }
    }
    times
}

async fn asks_http2(addr: SocketAddr, id: u64) -> u64 {
    let mut client = Frames::on(connect(addr, id).await).await;
    client.send((0..10).flat_map(|number| get(number * 2 + 1)).collect::<Vec<_>>()).await;
    for _ in 0..10 {
        client
            .until(|frame| frame.kind == DATA && frame.payload == b"hello")
            .await
            .expect("good requests are answered");
    }
    10
}

/// Lets each kind have so many turns; panics where something is not as it must be.
pub(crate) async fn run(each: u64) -> String {
    let server = serve();
    let warm_up = (each / 20).max(200);
    let _ = round(&server, warm_up).await;
    let before = Rest::of(&server).await;
    let began = Instant::now();
    let good = round(&server, each).await;
    let after = Rest::of(&server).await;
    assert_eq!((after.files, after.tasks), (before.files, before.tasks), "{before:?}, then {after:?}");
    // Lists keep the room that they once needed; nothing grows with the number of requests.
    let grown = after.bytes - before.bytes;
    assert!(grown < 256 << 10, "{before:?}, then {after:?}");
    let total = server.counts().total();
    format!(
        "{} kinds of {each} each in {:.0} s, {good} good requests answered beside them; {} requests, each ended once; \
         {grown} bytes, 0 descriptors, 0 tasks more than after the warm-up",
        KINDS.len(),
        began.elapsed().as_secs_f64(),
        total.sum(),
    )
}

async fn round(server: &Serving, each: u64) -> u64 {
    let good = Good::start(server.addr());
    for kind in KINDS {
        // Who is let in now was at the door after all of the kind before.
        asks(server.addr(), GOOD, 1).await;
        let is_hostile = |peer: IpAddr| matches!(peer, IpAddr::V4(peer) if peer.octets()[2] == HOSTILE_NET);
        let live = server.view();
        until("the kind before is over", || !live.holding().iter().any(|held| is_hostile(held.peer.ip()))).await;
        let before = server.counts();
        all_of(kind, server.addr(), each).await;
        if let Some((requests, outcome)) = kind.ends {
            let ended = || server.counts().since(&before).of(outcome);
            until(kind.name, || ended() >= requests * each).await;
            assert_eq!(ended(), requests * each, "{}: {outcome}", kind.name);
        }
    }
    let answered = good.end().await;
    assert!(answered > 0, "good clients had their turn");
    nothing_else(&server.counts());
    answered
}

async fn all_of(kind: &'static Kind, addr: SocketAddr, each: u64) {
    let next = Arc::new(AtomicU64::new(0));
    let mut clients = JoinSet::new();
    for _ in 0..32 {
        let next = next.clone();
        clients.spawn(async move {
            loop {
                let id = next.fetch_add(1, Ordering::Relaxed);
                if id >= each {
                    return;
                }
                let done = tokio::time::timeout(6 * PATIENCE, (kind.deed)(addr, id)).await;
                done.unwrap_or_else(|_| panic!("{}: {id} hangs", kind.name));
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap_or_else(|error| panic!("{}: {error}", kind.name));
    }
}

/// Nobody was cut off, nobody raced, no body failed.
fn nothing_else(counts: &Counts) {
    let none = [Outcome::Cut, Outcome::Failed, Outcome::Raced].map(|outcome| counts.of(outcome));
    assert_eq!(none, [0; 3], "{counts:?}");
}
