//! Probes of real processes: while they start, run, stop and are stuck.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::{
    io::{Read, Write},
    net::TcpStream,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use evenkeel_torture::process::Process;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// Nothing here takes longer, not even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);
const TOLD: &str = "probes and status: http://";

/// A process with places of its own, and the address of its admin listener.
struct Service {
    process: Process,
    addr: String,
    _dir: TempDir,
}

impl Service {
    fn start(program: &str, arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut command = Command::new(program);
        command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command.env("STATE_DIRECTORY", dir.path().join("state")).env("RUNTIME_DIRECTORY", dir.path().join("run"));
        let process = Process::start(&mut command).unwrap();
        process.until_log(TOLD).unwrap();
        let addr = process.log().split(TOLD).nth(1).unwrap().lines().next().unwrap().to_owned();
        Self { process, addr, _dir: dir }
    }

    fn get(&self, path: &str) -> (u16, Value) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.addr))
    }

    fn ask(&self, request: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(&self.addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let code = head.split(' ').nth(1).unwrap().parse().unwrap();
        (code, serde_json::from_str(body).unwrap_or(Value::Null))
    }

    /// Asks until the answer is this one.
    fn until(&self, path: &str, code: u16) -> Value {
        let begun = Instant::now();
        loop {
            let (now, body) = self.get(path);
            if now == code {
                return body;
            }
            assert!(begun.elapsed() < PATIENCE, "{path} is {now}: {body}");
            sleep(Duration::from_millis(10));
        }
    }

    /// Ends it; twice, because some of these never would.
    fn end(&self) {
        self.process.signal(Signal::TERM).unwrap();
        let _ = self.process.signal(Signal::TERM);
        self.process.end(PATIENCE).unwrap();
    }
}

fn orders(arguments: &[&str]) -> Service {
    Service::start(env!("CARGO_BIN_EXE_orders"), arguments)
}

fn fixture(scenario: &str) -> Service {
    Service::start(env!("CARGO_BIN_EXE_torture-fixture"), &[scenario])
}

#[test]
fn all_three_pass_while_it_runs_and_tell_of_its_key_resources_r2_3c() {
    let service = orders(&[]);
    let startup = service.until("/health/startup", 200);
    assert_eq!((&startup["probe"], &startup["passes"]), (&"startup".into(), &true.into()));
    assert_eq!(startup["components"][0]["name"], "db");
    assert_eq!(startup["components"][0]["state"], "ready");
    assert_eq!(service.get("/health/ready").0, 200);
    assert_eq!(service.get("/health/live").0, 200);
    let (code, status) = service.get("/status");
    assert_eq!((code, status["admin"].as_str()), (200, Some(&*format!("http://{}", service.addr))));
    let (code, index) = service.get("/");
    assert_eq!((code, &index["startup"]), (200, &"/health/startup".into()));
    service.end();
}

#[test]
fn startup_names_what_is_still_starting_r2_3c() {
    let service = fixture("start-hangs");
    let body = service.until("/health/startup", 503);
    assert_eq!(body["passes"], false);
    // The others come up by themselves; what hangs stays.
    let begun = Instant::now();
    while service.get("/health/startup").1["waiting_for"] != serde_json::json!(["bad"]) {
        assert!(begun.elapsed() < PATIENCE, "{:?}", service.get("/health/startup"));
        sleep(Duration::from_millis(10));
    }
    assert_eq!(service.get("/health/ready").0, 503);
    assert_eq!(service.get("/health/live").0, 200, "a slow start is no reason to restart it");
    service.end();
}

#[test]
fn a_stop_turns_readiness_off_alone_and_is_answered_to_its_end_r2_3b() {
    let service = orders(&["--stuck", "db"]);
    service.until("/health/ready", 200);
    service.process.signal(Signal::TERM).unwrap();
    service.process.until_log("waiting for the last transaction").unwrap();
    let (code, ready) = service.get("/health/ready");
    assert_eq!((code, &ready["state"]), (503, &"stopping".into()));
    assert_eq!(service.get("/health/startup").0, 200);
    assert_eq!(service.get("/health/live").0, 200, "who stops is not to be killed for it");
    service.process.signal(Signal::TERM).unwrap();
    service.process.end(PATIENCE).unwrap();
}

#[test]
fn liveness_fails_while_code_holds_every_thread_and_readiness_is_still_answered_r2_3c() {
    let service = fixture("spins-everywhere");
    service.until("/health/startup", 200);
    let body = service.until("/health/live", 503);
    let stuck = body["stuck"].as_str().unwrap();
    assert!(stuck.starts_with("code that does not yield holds every runtime thread: "), "{stuck}");
    assert_eq!(service.get("/health/ready").0, 200);
    service.end();
}

#[test]
fn only_get_and_only_by_address() {
    let service = orders(&[]);
    service.until("/health/ready", 200);
    let of = |method: &str, host: &str| {
        service
            .ask(&format!(
                "{method} /health/ready HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            ))
            .0
    };
    assert_eq!(of("POST", "127.0.0.1"), 405);
    assert_eq!(of("DELETE", "127.0.0.1"), 405);
    assert_eq!(of("GET", "rebound.example"), 421);
    assert_eq!(of("GET", "localhost:1"), 200);
    assert_eq!(service.get("/nothing").0, 404);
    service.end();
}

#[test]
fn off_means_that_nothing_answers() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
    command.args(["--admin", "off"]).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.env("STATE_DIRECTORY", dir.path().join("state")).env("RUNTIME_DIRECTORY", dir.path().join("run"));
    let process = Process::start(&mut command).unwrap();
    process.until_log("running; stop with").unwrap();
    assert!(!process.log().contains(TOLD), "{}", process.log());
    process.signal(Signal::TERM).unwrap();
    process.end(PATIENCE).unwrap();
}

#[test]
fn an_address_that_is_taken_refuses_the_start() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let dir = tempfile::tempdir().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_orders"))
        .args(["--admin", &taken.local_addr().unwrap().to_string()])
        .env_clear()
        .env("STATE_DIRECTORY", dir.path().join("state"))
        .env("RUNTIME_DIRECTORY", dir.path().join("run"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(78), "{said}");
    assert!(said.contains("the admin listener cannot be at 127.0.0.1:") && said.contains("hint: "), "{said}");
}
