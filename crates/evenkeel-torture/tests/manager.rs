//! What a service manager hears: the protocol of systemd, with this test as the manager.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::{
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use evenkeel_os::notify::{Notifications, SOCKET};
use evenkeel_torture::{process::Process, table::End};
use rustix::process::Signal;
use tempfile::TempDir;

/// Nothing here takes longer, not even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);

/// A manager and the directories of what it manages.
struct Manager {
    dir: TempDir,
    notifications: Notifications,
}

impl Manager {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let notifications = Notifications::bind(&dir.path().join("notify")).unwrap();
        Self { dir, notifications }
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
            .env("EVENKEEL_RUNTIME_DIR", self.path().join("run"))
            .env("EVENKEEL_STATE_DIR", self.path().join("state"));
        command.env("ORDERS_TROUBLE", self.path().join("trouble")).env(SOCKET, self.notifications.path());
        command
    }

    fn start(&self, program: &str, arguments: &[&str]) -> Process {
        Process::start(&mut self.command(program, arguments)).unwrap()
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The next message.
    fn hears(&self) -> String {
        let message = self.notifications.next(PATIENCE).unwrap().expect("it says something");
        String::from_utf8(message).unwrap()
    }

    /// All messages up to one that says this.
    fn hears_until(&self, line: &str) -> Vec<String> {
        let until = Instant::now() + PATIENCE;
        let mut heard = Vec::new();
        while Instant::now() < until {
            heard.push(self.hears());
            if says(heard.last().unwrap(), line) {
                return heard;
            }
        }
        panic!("{line} was never said: {heard:#?}");
    }
}

fn says(message: &str, line: &str) -> bool {
    message.lines().any(|said| said == line)
}

const ORDERS: &str = env!("CARGO_BIN_EXE_orders");
const FIXTURE: &str = env!("CARGO_BIN_EXE_torture-fixture");

fn ended(process: &Process) {
    let (end, _) = process.end(PATIENCE).unwrap();
    assert!(matches!(end, End::Code(0)), "{end:?}\n{}", process.log());
}

#[test]
fn ready_is_said_when_the_service_runs_and_stopping_with_an_extension_r1e_r2_3b() {
    let manager = Manager::new();
    let process = manager.start(ORDERS, &[]);
    let start = manager.hears_until("READY=1");
    assert!(says(start.last().unwrap(), "STATUS=running"), "{start:#?}");
    assert_eq!(manager.hears(), "FDSTORE=1\nFDNAME==api\n");
    process.until_log("running; stop with").unwrap();
    process.signal(Signal::TERM).unwrap();
    let stop = manager.hears_until("STOPPING=1");
    assert!(says(stop.last().unwrap(), "EXTEND_TIMEOUT_USEC=5000000"), "{stop:#?}");
    ended(&process);
}

#[test]
fn what_a_start_waits_for_is_said_and_ready_is_not_r2_3c() {
    let manager = Manager::new();
    std::fs::write(manager.path().join("trouble"), "hangs").unwrap();
    let process = manager.start(ORDERS, &[]);
    let start = manager.hears_until("STATUS=starting: waiting for db");
    assert!(says(start.last().unwrap(), "EXTEND_TIMEOUT_USEC=5000000"), "{start:#?}");
    process.signal(Signal::TERM).unwrap();
    let all = [start, manager.hears_until("STOPPING=1")].concat();
    assert!(!all.iter().any(|message| says(message, "READY=1")), "{all:#?}");
    ended(&process);
}

#[test]
fn the_manager_learns_of_a_new_main_process_before_the_old_one_leaves_r4_1b() {
    let manager = Manager::new();
    let process = manager.start(ORDERS, &[]);
    manager.hears_until("READY=1");
    process.until_log("running; stop with").unwrap();
    let restart = manager.command(ORDERS, &["restart"]).stdout(Stdio::piped()).spawn().unwrap();
    let handed = manager.hears_until("BARRIER=1");
    let main =
        handed.iter().find_map(|message| message.strip_prefix("MAINPID=")).expect("it is named").trim().to_owned();
    // The new one speaks for the service from now on; the old one says nothing of its own end.
    let new = manager.hears_until("READY=1");
    let output = restart.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains(&format!("process {main} serves")), "{said}");
    assert!(!new.iter().any(|message| says(message, "STOPPING=1")), "{new:#?}");
    let stop = manager.command(ORDERS, &["stop"]).output().unwrap();
    assert!(stop.status.success(), "{}", String::from_utf8_lossy(&stop.stderr));
}

/// Whoever does other things for a while is not stuck: the watchdog is answered until no thread is left to do anything.
#[test]
fn the_watchdog_is_answered_until_code_holds_every_thread_r2_3e() {
    const EVERY: Duration = Duration::from_millis(1_500);
    let manager = Manager::new();
    let watched = |arguments: &[&str]| {
        let mut command = manager.command(FIXTURE, arguments);
        command.env("WATCHDOG_USEC", EVERY.as_micros().to_string());
        Process::start(&mut command).unwrap()
    };
    let healthy = watched(&[]);
    for _ in 0..5 {
        manager.hears_until("WATCHDOG=1");
    }
    healthy.signal(Signal::TERM).unwrap();
    ended(&healthy);
    while manager.notifications.next(Duration::from_millis(1)).unwrap().is_some() {}

    let stuck = watched(&["spins", "--threads", "1"]);
    stuck.until_log("the watchdog is not answered: code that does not yield holds every runtime thread").unwrap();
    // What was said before is heard; then there is silence for as long as a manager would wait.
    while let Some(message) = manager.notifications.next(Duration::from_millis(1)).unwrap() {
        drop(message);
    }
    let silence =
        manager.notifications.next(EVERY).unwrap().map(|message| String::from_utf8_lossy(&message).into_owned());
    assert!(!silence.is_some_and(|message| says(&message, "WATCHDOG=1")));
    stuck.signal(Signal::KILL).unwrap();
}

/// A component that waits for ever holds no thread; that it has fallen silent is all that can be seen of it.
#[test]
fn a_component_that_breaks_its_promise_to_be_alive_is_named_and_the_watchdog_not_answered_r2_3c() {
    let manager = Manager::new();
    let mut command = manager.command(FIXTURE, &["falls-silent"]);
    let silent = Process::start(command.env("WATCHDOG_USEC", "300000")).unwrap();
    manager.hears_until("WATCHDOG=1");
    silent.until_log("mark: silent").unwrap();
    silent.until_log("the watchdog is not answered: `bad`: no heartbeat for ").unwrap();
    let status = manager.command(FIXTURE, &["status"]).stdout(Stdio::piped()).output().unwrap();
    let status = String::from_utf8_lossy(&status.stdout).into_owned();
    assert!(status.contains("no heartbeat for "), "{status}");
    silent.signal(Signal::TERM).unwrap();
    ended(&silent);
}

/// journald says which stream it reads; a program whose standard error has been sent elsewhere is not read by it.
#[test]
fn lines_for_journald_have_priorities_and_no_times_r1e() {
    use std::os::unix::fs::MetadataExt as _;
    let manager = Manager::new();
    let log = |named: &str| {
        let path = manager.path().join(format!("log-{}", named.is_empty()));
        let file = std::fs::File::create(&path).unwrap();
        let found = file.metadata().unwrap();
        let stream = if named.is_empty() { format!("{}:{}", found.dev(), found.ino()) } else { named.to_owned() };
        let mut command = manager.command(ORDERS, &["--database", "postgres://missing"]);
        assert_eq!(command.env("JOURNAL_STREAM", stream).stderr(file).status().unwrap().code(), Some(10));
        std::fs::read_to_string(path).unwrap()
    };
    let read = log("");
    let error = "<3>db         could not start: cannot open database postgres://missing: connection refused\n\
                 <3>           hint: start the database";
    assert!(read.starts_with("<6>evenkeel") && read.contains(error), "{read}");
    let elsewhere = log("1:1");
    assert!(!elsewhere.contains("<6>") && elsewhere.contains(" INFO evenkeel"), "{elsewhere}");
}
