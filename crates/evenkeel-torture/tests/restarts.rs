//! Restarts of a real process behind a socket that stays open: no request is lost, and nobody is refused (R4.1b).
//!
//! The test holds the listening socket, as systemd does, and passes it on to each process in turn. The clients are those
//! of `evenkeel-load`: a new connection for each request, kept-alive connections, HTTP/2; GET and POST.
//! `EVENKEEL_RESTARTS` says how many restarts, 20 if it is not there.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::{
    net::TcpListener,
    process::{Command, Stdio},
    time::Duration,
};

use evenkeel_load::{Load, Plan, Table, Target};
use evenkeel_os::sockets::pass_on;
use evenkeel_torture::{process::Process, table::End};
use rustix::process::Signal;
use tempfile::TempDir;

/// Nothing here takes longer, not even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);

/// Each restart comes only when the process has answered so many: it must not be idle.
const ANSWERS: u64 = 200;

fn restarts() -> u64 {
    match std::env::var("EVENKEEL_RESTARTS") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("EVENKEEL_RESTARTS is no number: {text:?}")),
        Err(_) => 20,
    }
}

/// The program with directories of its own, and these sockets.
fn orders(dir: &TempDir, sockets: &[(&str, &TcpListener)]) -> Process {
    let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
    command.env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.env("STATE_DIRECTORY", dir.path().join("state")).env("RUNTIME_DIRECTORY", dir.path().join("run"));
    pass_on(&mut command, sockets).unwrap();
    Process::start(&mut command).unwrap()
}

/// One process that serves the socket.
struct Server {
    process: Process,
    _dir: TempDir,
}

impl Server {
    fn start(listener: &TcpListener) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let process = orders(&dir, &[("api", listener)]);
        process.until_log("running; stop with").unwrap();
        Self { process, _dir: dir }
    }

    fn stop(&self) {
        self.process.signal(Signal::TERM).unwrap();
        let (end, _) = self.process.end(PATIENCE).unwrap();
        assert!(matches!(end, End::Code(0)), "{end:?}\n{}", self.process.log());
    }
}

/// Restarts under load: what became of the requests.
fn restarted(restart: impl Fn(Server, &TcpListener) -> Server) -> Table {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut server = Server::start(&listener);
    let target = Target::new(listener.local_addr().unwrap(), "/");
    let load = Load::start(Plan { timeout: PATIENCE, ..Plan::new(target) }).unwrap();
    for _ in 0..restarts() {
        load.until_answered(ANSWERS, PATIENCE).unwrap();
        load.restart_begins();
        server = restart(server, &listener);
        load.restart_ends();
    }
    let table = load.end();
    server.stop();
    println!("{} restarts, {:.0} requests/s\n{table}", table.restarts, table.rate());
    table
}

fn loses_nothing(table: &Table) {
    let losses: String = table.losses.iter().map(|loss| format!("{loss}\n")).collect();
    assert_eq!((table.lost(), table.hindered()), (0, 0), "{table}\n{losses}");
    assert_eq!(table.restarts, restarts());
    assert!(table.rows.iter().all(|row| row.answered > 0), "{table}");
}

#[test]
fn stop_then_start_behind_a_held_socket_loses_nothing_r4_1b() {
    loses_nothing(&restarted(|old, listener| {
        old.stop();
        Server::start(listener)
    }));
}

#[test]
fn a_new_process_beside_the_old_one_loses_nothing_r4_1b() {
    loses_nothing(&restarted(|old, listener| {
        let new = Server::start(listener);
        old.stop();
        new
    }));
}

/// A tester that never sees a loss is broken.
#[test]
fn the_same_load_sees_what_a_killed_process_loses() {
    let table = restarted(|old, listener| {
        old.process.signal(Signal::KILL).unwrap();
        old.process.end(PATIENCE).unwrap();
        Server::start(listener)
    });
    assert!(table.lost() > 0, "{table}");
}

#[test]
fn a_socket_that_nothing_serves_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let process = orders(&dir, &[("api", &listener), ("metrics", &listener)]);
    process.until_log("the listening socket `metrics` at 127.0.0.1:").unwrap();
    process.signal(Signal::TERM).unwrap();
    process.end(PATIENCE).unwrap();
}
