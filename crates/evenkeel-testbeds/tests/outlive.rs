//! Servers of tests end with them, and the servers here can be killed, frozen and started again.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a helper that speaks to its parent through a pipe")]
#![cfg(unix)]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpStream},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use evenkeel_testbeds::{MariaDb, Postgres, Redis};

/// Nothing here takes longer, not even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);

fn listens(port: u16) -> bool {
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok()
}

/// Whether Redis answers something, be it that it wants a password.
fn answers(port: u16, patience: Duration) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    stream.set_read_timeout(Some(patience)).unwrap();
    stream.write_all(b"PING\r\n").is_ok() && stream.read(&mut [0; 16]).is_ok_and(|read| read > 0)
}

fn until(what: &str, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "it never was so: {what}");
        sleep(Duration::from_millis(20));
    }
}

#[test]
#[ignore = "runs as a child of the test below"]
fn a_test_that_is_killed() {
    let (postgres, mariadb, redis) = (Postgres::start(), MariaDb::start(), Redis::start());
    let ports = [postgres.map(held), mariadb.map(held), redis.map(held)];
    println!("PORTS {}", ports.into_iter().flatten().map(|port| port.to_string()).collect::<Vec<_>>().join(" "));
    sleep(PATIENCE);
}

/// The port of a server that nobody will drop.
fn held<S: Server>(server: S) -> u16 {
    let port = server.port();
    // As a test that is killed: no drop runs.
    Box::leak(Box::new(server));
    port
}

trait Server {
    fn port(&self) -> u16;
}
impl Server for Postgres {
    fn port(&self) -> u16 {
        self.port()
    }
}
impl Server for MariaDb {
    fn port(&self) -> u16 {
        self.port()
    }
}
impl Server for Redis {
    fn port(&self) -> u16 {
        self.port()
    }
}

#[test]
fn a_server_does_not_outlive_a_test_that_is_killed() {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_test_that_is_killed", "--ignored", "--nocapture"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let ports = lines.into_iter().find_map(|line| line.split_once("PORTS ").map(|(_, ports)| ports.to_owned()));
    let ports: Vec<u16> = ports.unwrap().split_whitespace().map(|port| port.parse().unwrap()).collect();
    assert!(ports.iter().all(|port| listens(*port)), "{ports:?}");
    child.kill().unwrap();
    child.wait().unwrap();
    until("all of them are gone", || ports.iter().all(|port| !listens(*port)));
}

#[test]
fn a_server_can_be_frozen_killed_and_started_again() {
    let Some(mut server) = Redis::start() else { return };
    assert!(answers(server.port(), PATIENCE));
    server.freeze();
    assert!(!answers(server.port(), Duration::from_millis(200)), "it is frozen");
    server.thaw();
    assert!(answers(server.port(), PATIENCE));
    server.kill();
    assert!(!listens(server.port()));
    server.start_again();
    assert!(answers(server.port(), PATIENCE));
}
