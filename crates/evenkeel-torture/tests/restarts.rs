//! Restarts of a real process behind a socket that stays open: no request is lost, and nobody is refused (R4.1b).
//!
//! The test holds the listening socket, as systemd does, and passes it on to each process in turn. A request is lost if
//! its connection is refused or reset, or closed before the first byte of an answer after the whole request was sent. A
//! kept-alive connection that was closed before the next request was sent is opened anew.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::{
    collections::BTreeMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use evenkeel_os::sockets::pass_on;
use evenkeel_torture::{process::Process, table::End};
use rustix::process::Signal;
use tempfile::TempDir;

/// Nothing here takes longer, not even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);
const CLIENTS_OF_A_KIND: usize = 4;

/// `EVENKEEL_RESTARTS` changes it.
fn restarts() -> usize {
    match std::env::var("EVENKEEL_RESTARTS") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("EVENKEEL_RESTARTS is no number: {text:?}")),
        Err(_) => 20,
    }
}

/// What all clients share.
#[derive(Default)]
struct Load {
    over: AtomicBool,
    answered: AtomicU64,
    lost: Mutex<BTreeMap<String, u64>>,
}

#[derive(Clone, Copy)]
struct Kind {
    method: &'static str,
    keeps_alive: bool,
}

const KINDS: [Kind; 4] = [
    Kind { method: "GET", keeps_alive: true },
    Kind { method: "GET", keeps_alive: false },
    Kind { method: "POST", keeps_alive: true },
    Kind { method: "POST", keeps_alive: false },
];

/// An open connection that was told nothing yet about its end.
struct Connection {
    stream: BufReader<TcpStream>,
}

/// How a request went that is not answered.
enum Failed {
    /// It may be sent again: the connection was closed before it.
    Unsent,
    Lost(String),
}

impl Connection {
    fn open(addr: SocketAddr) -> Result<Self, Failed> {
        let stream = TcpStream::connect(addr).map_err(|error| Failed::Lost(format!("connect: {}", error.kind())))?;
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Ok(Self { stream: BufReader::new(stream) })
    }

    /// Whether the other side has closed it by now.
    fn is_closed(&self) -> bool {
        let stream = self.stream.get_ref();
        stream.set_nonblocking(true).unwrap();
        let peeked = stream.peek(&mut [0]);
        stream.set_nonblocking(false).unwrap();
        !matches!(peeked, Err(error) if error.kind() == std::io::ErrorKind::WouldBlock)
    }

    /// Sends a request and reads its answer; whether the connection may be used again.
    fn ask(&mut self, kind: Kind, is_fresh: bool) -> Result<bool, Failed> {
        if !is_fresh && self.is_closed() {
            return Err(Failed::Unsent);
        }
        let wish = if kind.keeps_alive { "" } else { "Connection: close\r\n" };
        let body = if kind.method == "POST" { "Content-Length: 3\r\n\r\ntea" } else { "\r\n" };
        let request = format!("{} / HTTP/1.1\r\nHost: test\r\n{wish}{body}", kind.method);
        let sent = self.stream.get_mut().write_all(request.as_bytes());
        sent.map_err(|error| Failed::Lost(format!("send: {}", error.kind())))?;
        self.answer().map_err(Failed::Lost)
    }

    fn answer(&mut self) -> Result<bool, String> {
        let (mut length, mut stays, mut first) = (0, true, true);
        loop {
            let mut line = String::new();
            let read = self.stream.read_line(&mut line).map_err(|error| format!("answer: {}", error.kind()))?;
            if read == 0 {
                return Err("closed without an answer".to_owned());
            }
            let line = line.trim_end().to_ascii_lowercase();
            if first && !line.starts_with("http/1.1 200") {
                return Err(format!("answer: {line}"));
            }
            first = false;
            match line.split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap(),
                Some(("connection", "close")) => stays = false,
                _ if line.is_empty() => break,
                _ => {}
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body).map_err(|error| format!("body: {}", error.kind()))?;
        Ok(stays)
    }
}

impl Load {
    fn client(&self, addr: SocketAddr, kind: Kind) {
        let mut open: Option<Connection> = None;
        while !self.over.load(Ordering::Relaxed) {
            match self.one(addr, kind, &mut open) {
                Ok(()) => {
                    self.answered.fetch_add(1, Ordering::Relaxed);
                }
                Err(Failed::Unsent) => open = None,
                Err(Failed::Lost(how)) => {
                    open = None;
                    *self.lost.lock().unwrap().entry(format!("{} {how}", kind.method)).or_default() += 1;
                }
            }
        }
    }

    fn one(&self, addr: SocketAddr, kind: Kind, open: &mut Option<Connection>) -> Result<(), Failed> {
        let is_fresh = open.is_none();
        let connection = match open {
            Some(connection) => connection,
            None => open.insert(Connection::open(addr)?),
        };
        if !(connection.ask(kind, is_fresh)? && kind.keeps_alive) {
            *open = None;
        }
        Ok(())
    }
}

/// One process that serves the socket.
struct Server {
    process: Process,
    _dir: TempDir,
}

impl Server {
    fn start(listener: &TcpListener) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.env("STATE_DIRECTORY", dir.path().join("state")).env("RUNTIME_DIRECTORY", dir.path().join("run"));
        pass_on(&mut command, &[("api", listener)]).unwrap();
        let process = Process::start(&mut command).unwrap();
        process.until_log("running; stop with").unwrap();
        Self { process, _dir: dir }
    }

    fn stop(&self) {
        self.process.signal(Signal::TERM).unwrap();
        let (end, _) = self.process.end(PATIENCE).unwrap();
        assert!(matches!(end, End::Code(0)), "{end:?}\n{}", self.process.log());
    }
}

/// Ends the load when it is dropped.
struct Over<'a>(&'a Load);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::Relaxed);
    }
}

/// Restarts under load, and asserts that nothing was lost.
fn loses_nothing(restart: impl Fn(Server, &TcpListener) -> Server) {
    let began = Instant::now();
    let (answered, lost, log) = losses(restart);
    let (lost_count, seconds) = (lost.values().sum::<u64>(), began.elapsed().as_secs_f64());
    println!("{answered} answered in {seconds:.1} s over {} restarts, {lost_count} lost", restarts());
    assert!(lost.is_empty(), "{answered} answered, lost: {lost:?}\n{log}");
}

/// Restarts under load: how many requests were answered, which were lost how, and the last log.
fn losses(restart: impl Fn(Server, &TcpListener) -> Server) -> (u64, BTreeMap<String, u64>, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let load = Load::default();
    let server = thread::scope(|scope| {
        // Whatever happens here, the clients come to an end.
        let _over = Over(&load);
        let mut server = Server::start(&listener);
        for kind in KINDS.into_iter().cycle().take(KINDS.len() * CLIENTS_OF_A_KIND) {
            let load = &load;
            scope.spawn(move || load.client(addr, kind));
        }
        for _ in 0..restarts() {
            let before = load.answered.load(Ordering::Relaxed);
            server = restart(server, &listener);
            // Not idle: each of them has served.
            while load.answered.load(Ordering::Relaxed) < before + 100 && load.lost.lock().unwrap().is_empty() {
                thread::yield_now();
            }
        }
        server
    });
    server.stop();
    (load.answered.into_inner(), load.lost.into_inner().unwrap(), server.process.log())
}

#[test]
fn stop_then_start_behind_a_held_socket_loses_nothing_r4_1b() {
    loses_nothing(|old, listener| {
        old.stop();
        Server::start(listener)
    });
}

#[test]
fn a_new_process_beside_the_old_one_loses_nothing_r4_1b() {
    loses_nothing(|old, listener| {
        let new = Server::start(listener);
        old.stop();
        new
    });
}

/// A tester that never sees a loss is broken.
#[test]
fn the_same_load_sees_what_a_killed_process_loses() {
    let (_, lost, _) = losses(|old, listener| {
        old.process.signal(Signal::KILL).unwrap();
        old.process.end(PATIENCE).unwrap();
        Server::start(listener)
    });
    assert!(lost.values().sum::<u64>() > 0);
}

#[test]
fn a_socket_that_nothing_serves_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.env("STATE_DIRECTORY", dir.path().join("state")).env("RUNTIME_DIRECTORY", dir.path().join("run"));
    pass_on(&mut command, &[("metrics", &listener)]).unwrap();
    let process = Process::start(&mut command).unwrap();
    process.until_log("the listening socket `metrics` at 127.0.0.1:").unwrap();
    process.signal(Signal::TERM).unwrap();
    process.end(PATIENCE).unwrap();
}
