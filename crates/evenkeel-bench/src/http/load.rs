//! Clients that cost little, so that the server is what is measured.
//!
//! They know what they will be answered: the first answer on a connection is parsed, and after that bytes are counted
//! (HTTP/1) or ends of streams (HTTP/2). An answer of another length would hang the slice, which has a limit.

use std::{
    cell::Cell,
    fmt, io,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    rc::Rc,
    time::{Duration, Instant},
};

use clap::ValueEnum;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::{JoinSet, LocalSet},
};

/// What is asked, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Case {
    /// Small GETs on 64 connections that stay.
    KeepAlive,
    /// Small GETs, each on a connection of its own, 32 at a time.
    New,
    /// POSTs of 1 KiB on 64 connections that stay.
    Post,
    /// Small GETs over HTTP/2: 8 connections of 16 streams.
    Http2,
    /// Memory of connections at rest.
    Idle,
}

impl Case {
    pub(crate) const ALL: [Self; 5] = [Self::KeepAlive, Self::New, Self::Post, Self::Http2, Self::Idle];

    const fn connections(self) -> usize {
        match self {
            Self::KeepAlive | Self::Post => 64,
            Self::New => 32,
            Self::Http2 => 8,
            Self::Idle => 1,
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KeepAlive => "GET, 64 kept connections",
            Self::New => "GET, a new connection each, 32 at a time",
            Self::Post => "POST of 1 KiB, 64 kept connections",
            Self::Http2 => "GET over HTTP/2, 8 connections x 16 streams",
            Self::Idle => "memory per connection at rest",
        })
    }
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n";
const GET_ONCE: &[u8] =
    b"GET / HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\nAccept: */*\r\nConnection: close\r\n\r\n";
const STREAMS: u32 = 16;
/// No slice waits longer for an answer.
const PATIENCE: Duration = Duration::from_secs(60);

fn post() -> Vec<u8> {
    let mut request = b"POST /orders HTTP/1.1\r\nHost: bench\r\nUser-Agent: bench\r\nAccept: */*\r\n".to_vec();
    request.extend_from_slice(b"Content-Type: application/octet-stream\r\nContent-Length: 1024\r\n\r\n");
    request.resize(request.len() + 1024, b'x');
    request
}

/// What a slice came to.
pub(crate) struct Slice {
    pub(crate) requests: u64,
    pub(crate) took: Duration,
    /// Of each request, in no order.
    pub(crate) latencies: Vec<Duration>,
}

impl Slice {
    pub(crate) fn p99(mut self) -> Duration {
        let index = self.latencies.len() * 99 / 100;
        if self.latencies.is_empty() { Duration::ZERO } else { *self.latencies.select_nth_unstable(index).1 }
    }
}

/// When clients go on: until a moment, or while there are requests left.
#[derive(Clone)]
enum Goes {
    Until(Instant),
    Requests(Rc<Cell<u64>>),
}

impl Goes {
    fn on(&self) -> bool {
        match self {
            Self::Until(end) => Instant::now() < *end,
            Self::Requests(left) => left.replace(left.get().saturating_sub(1)) > 0,
        }
    }
}

/// Asks for so long. `begin` is called when every client has had one answer, and `end` at the end.
pub(crate) fn timed(case: Case, addr: SocketAddr, length: Duration, begin: impl FnOnce(), end: impl FnOnce()) -> Slice {
    run(case, addr, || Goes::Until(Instant::now() + length), begin, end)
}

/// Asks so often.
pub(crate) fn fixed(case: Case, addr: SocketAddr, requests: u64) -> Slice {
    run(case, addr, || Goes::Requests(Rc::new(Cell::new(requests))), || (), || ())
}

fn run(case: Case, addr: SocketAddr, goes: impl FnOnce() -> Goes, begin: impl FnOnce(), end: impl FnOnce()) -> Slice {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime of one thread");
    let slice = async {
        let mut clients = Vec::new();
        for number in 0..case.connections() {
            clients.push(Client::ready(case, addr, number).await.expect("the server answers"));
        }
        begin();
        let (goes, began) = (goes(), Instant::now());
        let mut running = JoinSet::new();
        for client in clients {
            running.spawn_local(client.go(goes.clone()));
        }
        let mut latencies = Vec::new();
        while let Some(ended) = running.join_next().await {
            latencies.extend(ended.expect("no client panics").expect("the server answers"));
        }
        let took = began.elapsed();
        end();
        Slice { requests: latencies.len() as u64, took, latencies }
    };
    let tasks = LocalSet::new();
    let bounded = tasks.run_until(async { tokio::time::timeout(PATIENCE, slice).await });
    runtime.block_on(bounded).expect("every answer is the one that is expected")
}

/// Opens connections, each with one request behind it, and keeps them.
pub(crate) fn idle(addr: SocketAddr, count: u32) -> io::Result<(tokio::runtime::Runtime, Vec<TcpStream>)> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let connections = runtime.block_on(async {
        let mut connections = Vec::new();
        for number in 0..count as usize {
            let mut stream = connect(addr, number).await?;
            whole_answer(&mut stream, GET).await?;
            connections.push(stream);
        }
        io::Result::Ok(connections)
    })?;
    Ok((runtime, connections))
}

enum Client {
    Kept { stream: TcpStream, request: Vec<u8>, answer: usize },
    New { addr: SocketAddr, number: usize },
    Http2(Box<Http2>),
}

impl Client {
    /// A client that has had its first answer.
    async fn ready(case: Case, addr: SocketAddr, number: usize) -> io::Result<Self> {
        match case {
            Case::KeepAlive | Case::Post | Case::Idle => {
                let mut stream = connect(addr, number).await?;
                let request = if case == Case::Post { post() } else { GET.to_vec() };
                let answer = whole_answer(&mut stream, &request).await?;
                Ok(Self::Kept { stream, request, answer })
            }
            Case::New => Ok(Self::New { addr, number }),
            Case::Http2 => Ok(Self::Http2(Box::new(Http2::open(connect(addr, number).await?).await?))),
        }
    }

    async fn go(self, goes: Goes) -> io::Result<Vec<Duration>> {
        match self {
            Self::Kept { stream, request, answer } => kept(stream, &request, answer, &goes).await,
            Self::New { addr, number } => anew(addr, number, &goes).await,
            Self::Http2(client) => client.go(&goes).await,
        }
    }
}

/// From ever other source addresses, so that ports in TIME-WAIT do not run out.
async fn connect(addr: SocketAddr, number: usize) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    let last = u8::try_from(number % 250).expect("less than 250") + 1;
    socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 2, last)), 0))?;
    let stream = socket.connect(addr).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// One request, and its answer parsed: how long it is.
async fn whole_answer(stream: &mut TcpStream, request: &[u8]) -> io::Result<usize> {
    stream.write_all(request).await?;
    let (mut bytes, mut wanted) = (Vec::new(), usize::MAX);
    while bytes.len() < wanted {
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
            if !head.starts_with("http/1.1 200") {
                return Err(io::Error::other(head));
            }
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            wanted = end + 4 + length.and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);
        }
    }
    Ok(wanted)
}

async fn kept(mut stream: TcpStream, request: &[u8], answer: usize, goes: &Goes) -> io::Result<Vec<Duration>> {
    let (mut latencies, mut buf) = (Vec::new(), [0; 4096]);
    while goes.on() {
        let began = Instant::now();
        stream.write_all(request).await?;
        let mut read = 0;
        while read < answer {
            match stream.read(&mut buf).await? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => read += more,
            }
        }
        latencies.push(began.elapsed());
    }
    Ok(latencies)
}

async fn anew(addr: SocketAddr, mut number: usize, goes: &Goes) -> io::Result<Vec<Duration>> {
    let (mut latencies, mut buf) = (Vec::new(), [0; 4096]);
    while goes.on() {
        let began = Instant::now();
        number += 32;
        let mut stream = connect(addr, number).await?;
        stream.write_all(GET_ONCE).await?;
        let mut read = 0;
        loop {
            match stream.read(&mut buf).await? {
                0 => break,
                more => read += more,
            }
        }
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        latencies.push(began.elapsed());
    }
    Ok(latencies)
}

/// Frames by hand: the same head for every request, and only the ends of streams are looked for.
struct Http2 {
    stream: TcpStream,
    unread: Vec<u8>,
    unsent: Vec<u8>,
    next: u32,
    /// When each stream began, by its number modulo as many as there are at most.
    began: [Option<Instant>; Self::KNOWN],
    ended: Vec<u32>,
}

impl Http2 {
    const KNOWN: usize = 256;

    async fn open(mut stream: TcpStream) -> io::Result<Self> {
        let mut first = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
        first.extend_from_slice(&frame(4, 0, 0, &[]));
        first.extend_from_slice(&frame(8, 0, 0, &(0x7fff_ffff_u32 - 65_535).to_be_bytes()));
        stream.write_all(&first).await?;
        let began = [None; Self::KNOWN];
        let mut client = Self { stream, unread: Vec::new(), unsent: Vec::new(), next: 1, began, ended: Vec::new() };
        client.ask();
        while client.ended.is_empty() {
            client.turn().await?;
        }
        client.ended.clear();
        Ok(client)
    }

    async fn go(mut self, goes: &Goes) -> io::Result<Vec<Duration>> {
        let (mut latencies, mut open) = (Vec::new(), 0);
        while open < STREAMS && goes.on() {
            self.ask();
            open += 1;
        }
        while open > 0 {
            self.turn().await?;
            for id in std::mem::take(&mut self.ended) {
                latencies.extend(self.began[id as usize / 2 % Self::KNOWN].take().map(|began| began.elapsed()));
                if goes.on() { self.ask() } else { open -= 1 }
            }
        }
        Ok(latencies)
    }

    /// A GET without anything that the two sides would have to remember.
    fn ask(&mut self) {
        // :method GET, :scheme http, :path /, :authority as a literal that is not indexed.
        const HEAD: &[u8] = b"\x82\x86\x84\x01\x05bench";
        self.unsent.extend_from_slice(&frame(1, 0x5, self.next, HEAD));
        self.began[self.next as usize / 2 % Self::KNOWN] = Some(Instant::now());
        self.next += 2;
    }

    /// Sends what there is, and reads once.
    async fn turn(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.unsent).await?;
        self.unsent.clear();
        if self.stream.read_buf(&mut self.unread).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let mut at = 0;
        while let Some(head) = self.unread[at..].first_chunk::<9>() {
            let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
            let (kind, flags) = (head[3], head[4]);
            let id = u32::from_be_bytes([head[5], head[6], head[7], head[8]]) & 0x7fff_ffff;
            let Some(payload) = self.unread.get(at + 9..at + 9 + length) else { break };
            match kind {
                0 | 1 if flags & 1 != 0 => self.ended.push(id),
                4 if flags & 1 == 0 => self.unsent.extend_from_slice(&frame(4, 1, 0, &[])),
                6 if flags & 1 == 0 => self.unsent.extend_from_slice(&frame(6, 1, 0, payload)),
                3 | 7 => return Err(io::Error::other("the server gives the connection or a stream up")),
                _ => {}
            }
            at += 9 + length;
        }
        self.unread.drain(..at);
        Ok(())
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a small frame").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend_from_slice(&stream.to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}
