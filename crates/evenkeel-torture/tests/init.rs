//! Process 1 of a container, as a process namespace has it: what it reaps, what it passes on, how it ends.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::{
    io::{BufRead as _, BufReader},
    os::{
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    path::Path,
    process::{Command, Output, Stdio},
    time::{Duration, Instant},
};

use evenkeel_torture::{process::Process, table::End};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Nothing here takes longer, not even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);
const ORDERS: &str = env!("CARGO_BIN_EXE_orders");

/// A namespace with the program as its process 1.
struct Container {
    dir: TempDir,
    unshare: Process,
    init: Pid,
}

impl Container {
    /// `None`, said aloud, where this machine does not allow it.
    fn start(arguments: &[&str]) -> Option<Self> {
        let allowed = namespace(&["true"]).stderr(Stdio::null()).status();
        if !allowed.is_ok_and(|status| status.success()) {
            println!("SKIPPED: a process namespace: this machine does not allow it; process 1 was not tested");
            return None;
        }
        let dir = tempfile::tempdir().unwrap();
        let mut command = namespace(&[&[ORDERS], arguments].concat());
        environment(&mut command, dir.path());
        let unshare = Process::start(command.stdout(Stdio::null()).stderr(Stdio::piped())).unwrap();
        unshare.until_log("running; stop with").unwrap();
        let init = children(unshare.pid())[0];
        Some(Self { dir, unshare, init })
    }

    /// Runs a command inside.
    fn inside(&self, program: &str, arguments: &[&str]) -> Output {
        let mut command = Command::new("nsenter");
        command
            .args(["--target", &self.init.as_raw_nonzero().to_string(), "--mount", "--pid", program])
            .args(arguments);
        environment(&mut command, self.dir.path());
        command.output().unwrap()
    }

    /// How many processes there are inside that have ended and were not reaped.
    fn zombies(&self) -> usize {
        let output = self.inside("sh", &["-c", "cat /proc/[0-9]*/stat 2>/dev/null"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().filter(|line| line.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z'))).count()
    }

    fn main_process(&self) -> i64 {
        let status = self.inside(ORDERS, &["status", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        status["pid"].as_i64().unwrap()
    }

    fn ends_with(&self, code: i32) {
        let (end, _) = self.unshare.end(PATIENCE).unwrap();
        assert!(matches!(end, End::Code(ended) if ended == code), "{end:?}\n{}", self.unshare.log());
    }
}

/// `unshare` as a container engine would: `program` is process 1, and is gone with `unshare`.
fn namespace(program: &[&str]) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--pid", "--mount", "--fork", "--kill-child", "--mount-proc"]).args(program).stdin(Stdio::null());
    command
}

fn environment(command: &mut Command, dir: &Path) {
    command.env_remove("NOTIFY_SOCKET").env_remove("EVENKEEL_INIT");
    command.env("EVENKEEL_RUNTIME_DIR", dir.join("run")).env("EVENKEEL_STATE_DIR", dir.join("state"));
    command.env("ORDERS_TROUBLE", dir.join("trouble"));
}

fn children(pid: Pid) -> Vec<Pid> {
    let pid = pid.as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    children.split_whitespace().filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

#[test]
fn orphans_are_reaped_and_signals_reach_the_program_r1c() {
    let Some(container) = Container::start(&[]) else { return };
    assert_ne!(container.main_process(), 1, "process 1 does nothing else");
    // Each of the ten thousand leaves a child behind that ends later, and is nobody's by then.
    let orphans = "i=0; while [ $i -lt 10000 ]; do (: & ) ; i=$((i+1)); done";
    assert!(container.inside("sh", &["-c", orphans]).status.success());
    let until = Instant::now() + PATIENCE;
    while container.zombies() > 0 {
        assert!(Instant::now() < until, "{} were not reaped", container.zombies());
    }
    kill_process(container.init, Signal::TERM).unwrap();
    container.unshare.until_log("stopping: SIGTERM").unwrap();
    container.ends_with(0);
}

#[test]
fn it_ends_as_the_program_does_r1c() {
    let Some(container) = Container::start(&[]) else { return };
    let program = children(container.init)[0];
    kill_process(program, Signal::KILL).unwrap();
    container.ends_with(128 + 9);
}

/// Whoever has inherited the address may say what it likes.
#[test]
fn only_a_process_that_the_main_one_has_launched_becomes_the_main_one_r4_1b() {
    let Some(container) = Container::start(&[]) else { return };
    let program = children(container.init)[0];
    let environment = std::fs::read(format!("/proc/{}/environ", program.as_raw_nonzero())).unwrap();
    let address = String::from_utf8_lossy(&environment).into_owned();
    let address = address.split('\0').find_map(|variable| variable.strip_prefix("NOTIFY_SOCKET=@")).unwrap().to_owned();
    let address = SocketAddr::from_abstract_name(&address).unwrap();
    let stranger = UnixDatagram::unbound().unwrap();
    stranger.send_to_addr(b"MAINPID=1\n", &address).unwrap();
    stranger.send_to_addr(b"MAINPID=4194304\n", &address).unwrap();
    // It still knows whose end is the end.
    kill_process(container.init, Signal::TERM).unwrap();
    container.unshare.until_log("stopping: SIGTERM").unwrap();
    container.ends_with(0);
}

/// Process 1 took somebody for the main process whose end it never sees. When nothing is left, there is nothing to wait for.
#[test]
fn it_ends_when_nothing_is_left_whoever_was_the_main_process_r1c() {
    let Some(container) = Container::start(&[]) else { return };
    let program = children(container.init)[0];
    let environment = std::fs::read(format!("/proc/{}/environ", program.as_raw_nonzero())).unwrap();
    let environment = String::from_utf8_lossy(&environment).into_owned();
    let address = environment.split('\0').find_map(|variable| variable.strip_prefix("NOTIFY_SOCKET=@")).unwrap();
    // Not a child of process 1, but with the word of the main one that it has launched it.
    let mut command = Command::new("nsenter");
    command.args(["--target", &container.init.as_raw_nonzero().to_string(), "--mount", "--pid", "sh", "-c"]);
    // Nobody but this one minds the signal.
    command
        .arg("trap 'exit 0' WINCH; echo $$; while :; do sleep 0.05; done")
        .env("EVENKEEL_LISTEN_PPID", container.main_process().to_string());
    let mut claimed = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut pid = String::new();
    BufReader::new(claimed.stdout.take().unwrap()).read_line(&mut pid).unwrap();
    let says = UnixDatagram::unbound().unwrap();
    says.send_to_addr(format!("MAINPID={pid}").as_bytes(), &SocketAddr::from_abstract_name(address).unwrap()).unwrap();
    // A signal that arrives where it was told to shows that it has been heard.
    let until = Instant::now() + PATIENCE;
    while claimed.try_wait().unwrap().is_none() {
        assert!(Instant::now() < until, "process 1 has not heard of it");
        kill_process(container.init, Signal::WINCH).unwrap();
    }
    kill_process(program, Signal::KILL).unwrap();
    container.ends_with(1);
}

#[test]
fn a_program_hands_over_to_itself_in_a_container_r4_1b() {
    let Some(container) = Container::start(&[]) else { return };
    let before = container.main_process();
    let output = container.inside(ORDERS, &["restart"]);
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert_eq!(output.status.code(), Some(0), "{said}\n{}", container.unshare.log());
    assert_ne!(container.main_process(), before);
    // The old one is gone, and the container is not; signals go to the new one.
    kill_process(container.init, Signal::TERM).unwrap();
    container.unshare.until_log("stopping: SIGTERM").unwrap();
    container.ends_with(0);
}
