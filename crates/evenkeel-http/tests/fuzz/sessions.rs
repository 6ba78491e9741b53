//! Sessions that nobody would have thought of: made from whole requests and frames, then broken.
//!
//! A session is all that one client does: what it sends, in which pieces, and how it leaves. It comes from its number
//! alone, so that one that fails can be had again: `EVENKEEL_FUZZ_SESSION=NUMBER` runs that one and nothing else.
//!
//! What is held, whatever is sent: no task of the server panics; no session hangs; a good request on another connection is
//! answered; each accepted request ends once; a drain in the middle of it all ends in time; and nothing stays.

use std::{
    collections::BTreeSet,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    routing::any,
};
use evenkeel_http::{Drain, Limits, Listener, Server, Serving};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::common::{
    PATIENCE,
    frames::{ACK, END_HEADERS, END_STREAM, GET, POST, PREFACE, field, frame},
    rest::Rest,
};

/// Dice that fall the same for the same number (splitmix64).
struct Dice(u64);

impl Dice {
    fn roll(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end.max(1) as u64).unwrap()
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    fn of<'a, T>(&mut self, all: &'a [T]) -> &'a T {
        &all[self.below(all.len())]
    }
}

/// All that one client does.
struct Session {
    bytes: Vec<u8>,
    /// Where it pauses.
    cuts: Vec<usize>,
    leaves: Leaves,
}

#[derive(Clone, Copy, Debug)]
enum Leaves {
    /// As soon as all is sent.
    AtOnce,
    /// At once, by a reset.
    ByReset,
    /// It says that it has sent all, and reads to the end.
    AfterTheEnd,
    /// It reads for a while.
    Later,
}

impl Session {
    fn of(number: u64) -> Self {
        let mut dice = Dice(number);
        let mut bytes = if dice.one_in(2) { http1(&mut dice) } else { http2(&mut dice) };
        for _ in 0..*dice.of(&[0, 0, 1, 1, 2, 5]) {
            mutate(&mut bytes, &mut dice);
        }
        let pieces = *dice.of(&[0, 0, 1, 3, 20]);
        let mut cuts: Vec<usize> = (0..pieces).map(|_| dice.below(bytes.len() + 1)).collect();
        cuts.sort_unstable();
        let leaves =
            *dice.of(&[Leaves::AtOnce, Leaves::ByReset, Leaves::AfterTheEnd, Leaves::AfterTheEnd, Leaves::Later]);
        Self { bytes, cuts, leaves }
    }

    async fn go(self, addr: SocketAddr) {
        // In a drain there may be nobody any more.
        let Ok(mut stream) = TcpStream::connect(addr).await else { return };
        let _ = stream.set_nodelay(true);
        let (mut from, mut scrap) = (0, [0; 4096]);
        for cut in self.cuts.iter().copied().chain([self.bytes.len()]) {
            if stream.write_all(&self.bytes[from..cut]).await.is_err() {
                break;
            }
            from = cut;
            tokio::task::yield_now().await;
            let _ = stream.try_read(&mut scrap);
        }
        match self.leaves {
            Leaves::AtOnce => {}
            Leaves::ByReset => drop(stream.set_zero_linger()),
            Leaves::AfterTheEnd => {
                let _ = stream.shutdown().await;
                while let Ok(1..) = stream.read(&mut scrap).await {}
            }
            Leaves::Later => {
                let a_while = async { while let Ok(1..) = stream.read(&mut scrap).await {} };
                let _ = tokio::time::timeout(Duration::from_millis(20), a_while).await;
            }
        }
    }
}

const METHODS: &[&str] = &["GET", "POST", "PUT", "HEAD", "OPTIONS", "DELETE", "CONNECT", "BREW", "get"];
const PATHS: &[&str] =
    &["/", "/echo", "/echo", "/wait", "/panic", "/stream", "/late", "*", "http://t/", "//", "/%00", "/a?b=c"];
const FIELDS: &[&str] = &[
    "Accept: */*",
    "Connection: close",
    "Connection: keep-alive",
    "Connection: upgrade",
    "Upgrade: websocket",
    "Expect: 100-continue",
    "TE: trailers",
    "Host: other",
    "Content-Length: 5",
    "Transfer-Encoding: chunked",
    "A : b",
    " folded",
    "Cookie: a=b",
];

/// Requests one behind the other, most of them proper.
fn http1(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..=dice.below(5) {
        let version = if dice.one_in(8) { "HTTP/1.0" } else { "HTTP/1.1" };
        bytes.extend(format!("{} {} {version}\r\nHost: t\r\n", dice.of(METHODS), dice.of(PATHS)).bytes());
        for _ in 0..dice.below(4) {
            bytes.extend(format!("{}\r\n", dice.of(FIELDS)).bytes());
        }
        body(&mut bytes, dice);
    }
    bytes
}

fn body(bytes: &mut Vec<u8>, dice: &mut Dice) {
    let length = *dice.of(&[0, 1, 5, 100, 5_000]);
    match dice.below(4) {
        0 => {
            bytes.extend(format!("Content-Length: {length}\r\n\r\n").bytes());
            bytes.resize(bytes.len() + length, b'x');
        }
        1 => {
            bytes.extend(b"Transfer-Encoding: chunked\r\n\r\n");
            for _ in 0..dice.below(4) {
                bytes.extend(format!("{:x}\r\n{}\r\n", length.max(1), "x".repeat(length.max(1))).bytes());
            }
            bytes.extend(if dice.one_in(4) { &b"0\r\nA: b\r\n\r\n"[..] } else { b"0\r\n\r\n" });
        }
        _ => bytes.extend(b"\r\n"),
    }
}

/// Frames one behind the other, most of them proper.
fn http2(dice: &mut Dice) -> Vec<u8> {
    let mut bytes = [PREFACE, &frame(4, 0, 0, &[]), &frame(4, ACK, 0, &[])].concat();
    let (mut next, mut last) = (1, 1);
    for _ in 0..dice.below(24) {
        match dice.below(12) {
            0..=4 => {
                last = next;
                next += 2;
                bytes.extend(request(last, dice));
            }
            5 => bytes.extend(frame(0, u8::from(dice.one_in(2)), last, &vec![b'x'; *dice.of(&[0, 1, 100, 16_384])])),
            6 => bytes.extend(frame(3, 0, last, &u32::try_from(dice.below(15)).unwrap().to_be_bytes())),
            7 => bytes.extend(frame(
                8,
                0,
                *dice.of(&[0, last]),
                &dice.of(&[0, 1, 65_535, 0x7fff_ffff_u32]).to_be_bytes(),
            )),
            8 => bytes.extend(frame(6, u8::from(dice.one_in(4)), 0, &dice.roll().to_be_bytes())),
            9 => {
                let id = u16::try_from(dice.below(8)).unwrap().to_be_bytes();
                let value = dice.of(&[0, 1, 100, 16_384, 0x7fff_ffff_u32]).to_be_bytes();
                bytes.extend(frame(4, 0, 0, &[&id[..], &value].concat()));
            }
            10 => bytes.extend(frame(1, END_STREAM | END_HEADERS, last, &field(b"x-sum", b"1"))),
            _ => {
                let kind = u8::try_from(dice.below(12)).unwrap();
                let flags = u8::try_from(dice.below(64)).unwrap();
                let payload: Vec<u8> = (0..dice.below(20)).map(|_| dice.roll().to_le_bytes()[0]).collect();
                bytes.extend(frame(kind, flags, *dice.of(&[0, last, next]), &payload));
            }
        }
    }
    bytes
}

fn request(stream: u32, dice: &mut Dice) -> Vec<u8> {
    let ends = dice.one_in(2);
    let path = dice.of(PATHS);
    let method: &[u8] = if ends { &GET[..2] } else { &POST[..2] };
    let mut head = [method, b"\x01\x01t\x04", &[u8::try_from(path.len()).unwrap()], path.as_bytes()].concat();
    if dice.one_in(4) {
        head.extend(field(b"content-length", dice.of(&["0", "5", "100", "x"]).as_bytes()));
    }
    if dice.one_in(6) {
        head.extend(field(dice.of(&["te", "connection", ":path", "X", "host"]).as_bytes(), b"trailers"));
    }
    frame(1, END_HEADERS | u8::from(ends), stream, &head)
}

/// What may stand anywhere, and seldom should.
const ODD: &[&[u8]] =
    &[b"\r\n", b"\n", b"\r", b"\0", b"0\r\n\r\n", b"Content-Length: 3\r\n", b"\xff\xff\xff\xff", PREFACE];

/// Breaks something, in one of the ways in which things break.
fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) {
    if bytes.is_empty() {
        return;
    }
    let at = dice.below(bytes.len());
    let end = (at + dice.below(40)).min(bytes.len());
    match dice.below(8) {
        0 => bytes[at] ^= 1 << dice.below(8),
        1 => bytes[at] = *dice.of(b"\0\r\n \t:;,0159af\x7f\x80\xff"),
        2 => drop(bytes.drain(at..end)),
        3 => {
            let again = bytes[at..end].to_vec();
            bytes.splice(at..at, again);
        }
        4 => bytes.truncate(at),
        5 => {
            let odd = dice.of(ODD);
            bytes.splice(at..at, odd.iter().copied());
        }
        6 => bytes[at] = bytes[at].wrapping_add(1),
        _ => {
            let other = dice.below(bytes.len());
            bytes.swap(at, other);
        }
    }
}

fn serve() -> Serving {
    let echo = async |body: Result<Bytes, axum::extract::rejection::BytesRejection>| body;
    let wait = async || {
        tokio::time::sleep(Duration::from_millis(3)).await;
        "waited"
    };
    let late = async |body: Body| {
        tokio::time::sleep(Duration::from_millis(1)).await;
        drop(body);
        "not read"
    };
    let router = Router::new()
        .route("/", any(async || "hello"))
        .route("/echo", any(echo))
        .route("/wait", any(wait))
        .route("/late", any(late))
        .route("/panic", any(async || -> &'static str { std::panic::resume_unwind(Box::new("quiet")) }))
        .route("/stream", any(async |body: Body| body));
    let ms = Duration::from_millis;
    let limits = Limits {
        head_bytes: 4_096,
        body_bytes: 100_000,
        head_time: ms(1_000),
        idle_time: ms(1_000),
        body_grace: ms(500),
        unread_time: ms(1_000),
        ..Limits::default()
    };
    Server::new(Listener::bind("127.0.0.1:0").unwrap()).limits(limits).serve(router).unwrap()
}

/// What must not be, and when it was.
#[derive(Default)]
struct Watch {
    /// Sessions that are on.
    running: Mutex<BTreeSet<u64>>,
    panics: AtomicU64,
}

impl Watch {
    fn begin(&self, number: u64) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
    }

    fn end(&self, number: u64) {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).remove(&number);
    }

    /// Panics that a handler makes on purpose do not come here.
    fn listen(self: &Arc<Self>) {
        let (watch, before) = (self.clone(), std::panic::take_hook());
        std::panic::set_hook(Box::new(move |info| {
            watch.panics.fetch_add(1, Ordering::Relaxed);
            let running = watch.running.lock().unwrap_or_else(PoisonError::into_inner).clone();
            println!("a panic, while these sessions were on: {running:?}");
            before(info);
        }));
    }
}

/// Sessions at one time, and between two looks at what is left.
const AT_ONCE: u64 = 24;
const BATCH: u64 = 1_000;

/// Goes on for so long, from a seed; panics where something is not as it must be.
pub(crate) async fn run(seed: u64, length: Duration) -> String {
    println!("seed {seed}; one session again: EVENKEEL_FUZZ_SESSION=NUMBER");
    let (watch, began) = (Arc::<Watch>::default(), Instant::now());
    watch.listen();
    let (mut number, mut requests, mut drains, mut first, mut grown) = (seed, 0, 0, None, 0);
    while began.elapsed() < length {
        let server = serve();
        for _ in 0..4 {
            batch(&watch, server.addr(), number..number + BATCH).await;
            number += BATCH;
            let rest = Rest::of(&server).await;
            let first = first.get_or_insert((rest.bytes, rest.files, rest.tasks));
            grown = rest.bytes - first.0;
            assert!(grown < 1 << 20, "{grown} bytes more than after the first batch, before session {number}");
            assert_eq!((rest.files, rest.tasks), (first.1, first.2), "{rest:?} before session {number}");
        }
        requests += drained(&watch, server, number..number + 200).await;
        number += 200;
        drains += 1;
        assert_eq!(watch.panics.load(Ordering::Relaxed), 0, "panics, before session {number}");
    }
    let took = began.elapsed().as_secs_f64();
    format!(
        "{} sessions in {took:.0} s, {requests} requests, each ended once; {drains} drains among them; 0 panics, 0 hangs, \
         {grown} bytes more than after the first thousand",
        number - seed
    )
}

async fn batch(watch: &Arc<Watch>, addr: SocketAddr, numbers: std::ops::Range<u64>) {
    let mut sessions = JoinSet::new();
    for number in numbers {
        if sessions.len() as u64 >= AT_ONCE {
            sessions.join_next().await.unwrap().unwrap();
        }
        let watch = watch.clone();
        sessions.spawn(async move {
            watch.begin(number);
            let done = tokio::time::timeout(2 * PATIENCE, Session::of(number).go(addr)).await;
            watch.end(number);
            assert!(done.is_ok(), "session {number} hangs");
        });
        if number % 50 == 0 {
            good(addr).await;
        }
    }
    while let Some(ended) = sessions.join_next().await {
        ended.unwrap();
    }
}

/// Somebody who behaves is answered.
async fn good(addr: SocketAddr) {
    let ask = async {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.ends_with("hello"), "{answer}");
    };
    tokio::time::timeout(2 * PATIENCE, ask).await.expect("a good request is answered");
}

/// A drain while sessions are on. Gives back how many requests there were in the server's life.
async fn drained(watch: &Arc<Watch>, server: Serving, numbers: std::ops::Range<u64>) -> u64 {
    let (addr, live) = (server.addr(), server.view());
    let mut sessions = JoinSet::new();
    for number in numbers {
        let watch = watch.clone();
        sessions.spawn(async move {
            watch.begin(number);
            let _ = tokio::time::timeout(2 * PATIENCE, Session::of(number).go(addr)).await;
            watch.end(number);
        });
    }
    tokio::time::sleep(Duration::from_millis(10)).await;
    let ms = Duration::from_millis;
    let drain = Drain { linger: ms(50), fresh_grace: ms(50), head_time: ms(100), limit: ms(1_000), ..Drain::default() };
    let report = server.drain(drain).await;
    assert_eq!((report.abandoned, live.counts().in_flight), (0, 0), "{report:?}");
    sessions.join_all().await;
    report.total.total().sum()
}

/// One session alone, with what it sends.
pub(crate) async fn again(number: u64) {
    let session = Session::of(number);
    println!("{:?}\n{}", session.leaves, session.bytes.escape_ascii());
    let watch = Arc::<Watch>::default();
    watch.listen();
    let server = serve();
    batch(&watch, server.addr(), number..number + 1).await;
    println!("{:?}", Rest::of(&server).await);
    println!("{:?}", server.counts());
    assert_eq!(watch.panics.load(Ordering::Relaxed), 0, "it panics");
}
