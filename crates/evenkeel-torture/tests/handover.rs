//! A program that restarts itself, as a user would ask for it: `orders restart`.
//!
//! The new process proves itself before the old one leaves; whatever goes wrong before that leaves the old one serving, and
//! no request is lost by trying (R4.1b).

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::{
    ffi::OsStr,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use evenkeel_load::{Load, Plan, Table, Target};
use evenkeel_torture::{process::Process, table::End};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Nothing here takes longer, not even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);

/// `EVENKEEL_RESTARTS` changes it.
fn restarts() -> usize {
    match std::env::var("EVENKEEL_RESTARTS") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("EVENKEEL_RESTARTS is no number: {text:?}")),
        Err(_) => 20,
    }
}

/// One installation of the program, with a process of it.
struct Orders {
    dir: TempDir,
    program: PathBuf,
    first: Process,
    addr: SocketAddr,
}

impl Orders {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // A copy, so that a test can replace it by another release.
        let program = dir.path().join("orders");
        std::fs::copy(env!("CARGO_BIN_EXE_orders"), &program).unwrap();
        let first = Process::start(&mut command(&program, dir.path(), ["run"])).unwrap();
        first.until_log("running; stop with").unwrap();
        let log = first.log();
        let url = log.split_once("http://127.0.0.1:").and_then(|_| {
            let line = log.lines().find(|line| line.contains(" api "))?;
            Some(line.rsplit_once("http://")?.1.trim().to_owned())
        });
        let addr = url.unwrap().parse().unwrap();
        Self { dir, program, first, addr }
    }

    /// What goes wrong with the next start.
    fn trouble(&self, what: &str) {
        std::fs::write(self.dir.path().join("trouble"), what).unwrap();
    }

    fn ask<const N: usize>(&self, arguments: [&str; N]) -> Output {
        command(&self.program, self.dir.path(), arguments).stdout(Stdio::piped()).output().unwrap()
    }

    /// Asks for a restart that has to go well.
    fn restart<const N: usize>(&self, more: [&str; N]) {
        let mut command = command(&self.program, self.dir.path(), ["restart"]);
        let output = command.args(more).stdout(Stdio::piped()).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(output.status.success(), "{}{}\n{}", text(&output.stdout), text(&output.stderr), self.first.log());
    }

    /// The process that serves.
    fn pid(&self) -> Pid {
        let status = self.ask(["status", "--json"]);
        let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
        assert_eq!(status["state"], "running");
        Pid::from_raw(i32::try_from(status["pid"].as_i64().unwrap()).unwrap()).unwrap()
    }

    fn load(&self) -> Load {
        Load::start(Plan { target: Target::new(self.addr, "/"), ..Plan::new(Target::new(self.addr, "/")) }).unwrap()
    }

    fn stop(&self) {
        let output = self.ask(["stop"]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

impl Drop for Orders {
    /// Whatever a test has left running; that it is the last resort shows in its exit code only.
    fn drop(&mut self) {
        let _ = command(&self.program, self.dir.path(), ["stop", "--no-wait"]).stdout(Stdio::null()).status();
    }
}

fn command<I: IntoIterator<Item: AsRef<OsStr>>>(program: &Path, dir: &Path, arguments: I) -> Command {
    let mut command = Command::new(program);
    command.args(arguments).env_clear().stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command.env("EVENKEEL_RUNTIME_DIR", dir.join("run")).env("EVENKEEL_STATE_DIR", dir.join("state"));
    command.env("ORDERS_TROUBLE", dir.join("trouble"));
    command
}

/// Restarts under load.
fn restarted_under_load<const N: usize>(how: [&str; N]) -> Table {
    let orders = Orders::start();
    let load = orders.load();
    for _ in 0..restarts() {
        // Not idle: each process has served.
        load.until_answered(100, PATIENCE).unwrap();
        load.restart_begins();
        orders.restart(how);
        load.restart_ends();
    }
    load.until_answered(100, PATIENCE).unwrap();
    let table = load.end();
    println!("{table}");
    orders.stop();
    table
}

fn lost(table: &Table) -> u64 {
    table.rows.iter().map(|row| row.requests - row.answered).sum()
}

#[test]
fn a_restart_by_hand_over_loses_nothing_r4_1b() {
    let table = restarted_under_load(["--within", "60s"]);
    assert_eq!(lost(&table), 0, "{table}");
}

#[test]
fn a_restart_that_stops_first_loses_nothing_and_keeps_the_process_id_r4_1b() {
    let orders = Orders::start();
    let pid = orders.pid();
    orders.restart(["--stop-first"]);
    assert_eq!(orders.pid(), pid);
    drop(orders);
    let table = restarted_under_load(["--stop-first"]);
    assert_eq!(lost(&table), 0, "{table}");
}

/// Every way in which a new process can fail before it has taken over.
#[test]
fn whatever_goes_wrong_with_the_new_process_the_old_one_serves_on_r4_1b() {
    let orders = Orders::start();
    let old = orders.pid();
    let load = orders.load();
    for (trouble, within, said) in [
        ("fails", "60s", "it ended: `db` could not start"),
        ("dies", "60s", "it ended (signal: 6"),
        ("hangs", "100ms", "it was not ready within 100 ms"),
        ("silent", "60s", "no request through 127.0.0.1:"),
    ] {
        load.until_answered(100, PATIENCE).unwrap();
        orders.trouble(trouble);
        let output = orders.ask(["restart", "--within", within]);
        let complaint = String::from_utf8_lossy(&output.stderr).replace("\n       ", " ");
        assert_eq!(output.status.code(), Some(1), "{trouble}: {complaint}");
        assert!(complaint.contains(said) && complaint.contains("serves on"), "{trouble}: {complaint}");
        assert_eq!(orders.pid(), old, "{trouble}");
    }
    // One that dies when it serves already loses what it has accepted; the old one serves on all the same.
    let table = load.end();
    assert_eq!(lost(&table), 0, "{table}");
    orders.trouble("dies of request");
    let output = orders.ask(["restart"]);
    let complaint = String::from_utf8_lossy(&output.stderr).replace("\n       ", " ");
    assert!(complaint.contains("it ended (signal: 6"), "{complaint}");
    assert_eq!(orders.pid(), old);

    std::fs::remove_file(&orders.program).unwrap();
    std::fs::write(&orders.program, "no program").unwrap();
    let asking = command(Path::new(env!("CARGO_BIN_EXE_orders")), orders.dir.path(), ["restart"]).output().unwrap();
    let complaint = String::from_utf8_lossy(&asking.stderr).replace("\n       ", " ");
    assert!(complaint.contains("cannot start ") && asking.status.code() == Some(1), "{complaint}");

    // The cure: a good release.
    std::fs::remove_file(&orders.program).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_orders"), &orders.program).unwrap();
    orders.trouble("");
    orders.restart([]);
    assert_ne!(orders.pid(), old);
    orders.stop();
}

#[test]
fn a_second_restart_at_the_same_time_is_refused_and_the_first_goes_its_way_r4_1b() {
    let orders = Orders::start();
    let old = orders.pid();
    orders.trouble("hangs");
    thread::scope(|scope| {
        let mut asking = command(&orders.program, orders.dir.path(), ["restart", "--within", "60s"]);
        let first = scope.spawn(move || asking.output().unwrap());
        orders.first.until_log("is starting beside this one").unwrap();
        let second = orders.ask(["restart"]);
        assert_eq!(second.status.code(), Some(1));
        let complaint = String::from_utf8_lossy(&second.stderr).into_owned();
        assert!(complaint.contains("a restart is under way already"), "{complaint}");
        let paused = orders.ask(["pause"]);
        assert_eq!(paused.status.code(), Some(1), "{}", String::from_utf8_lossy(&paused.stderr));
        assert_eq!(orders.pid(), old);
        // A stop of the service calls it off, and both processes go.
        orders.stop();
        let first = first.join().unwrap();
        assert_ne!(first.status.code(), Some(0));
    });
    let (end, _) = orders.first.end(PATIENCE).unwrap();
    assert!(matches!(end, End::Code(0)), "{end:?}\n{}", orders.first.log());
    assert_eq!(orders.ask(["status"]).status.code(), Some(3), "nobody is left");
}

/// The old process is killed while the new one starts: there is nobody else, so the new one takes the place.
#[test]
fn a_new_process_whose_predecessor_was_killed_takes_its_place_r4_1b() {
    let orders = Orders::start();
    let old = orders.pid();
    orders.trouble("hangs");
    let mut asking = command(&orders.program, orders.dir.path(), ["restart"]).spawn().unwrap();
    orders.first.until_log("is starting beside this one").unwrap();
    let new = orders.first.log();
    let new = new.split_once("restart: process ").unwrap().1.split_whitespace().next().unwrap().parse().unwrap();
    let new = Pid::from_raw(new).unwrap();
    kill_process(old, Signal::KILL).unwrap();
    orders.first.until_log("is gone without a word; this one takes its place").unwrap();
    assert!(!asking.wait().unwrap().success());
    // It starts still, but it is the instance that commands reach.
    let until = Instant::now() + PATIENCE;
    let status = loop {
        let status = orders.ask(["status", "--json"]);
        if status.status.success() {
            break status;
        }
        assert!(Instant::now() < until, "{}", orders.first.log());
    };
    let status: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap();
    assert_eq!(
        (status["pid"].as_i64(), status["state"].as_str()),
        (Some(new.as_raw_nonzero().get().into()), Some("starting"))
    );
    orders.stop();
    orders.first.until_log("the service has terminated").unwrap();
}

#[test]
fn a_signal_during_a_restart_that_stops_first_ends_the_process_for_good_r2_4a() {
    let orders = Orders::start();
    let load = orders.load();
    load.until_answered(100, PATIENCE).unwrap();
    // Clients that keep connections make the stop take its time: the signal is there before its end.
    let mut asking = command(&orders.program, orders.dir.path(), ["restart", "--stop-first"]).spawn().unwrap();
    orders.first.until_log("stopping: `restart --stop-first`").unwrap();
    orders.first.signal(Signal::TERM).unwrap();
    let (end, _) = orders.first.end(PATIENCE).unwrap();
    assert!(matches!(end, End::Code(0)), "{end:?}\n{}", orders.first.log());
    assert!(!asking.wait().unwrap().success());
    drop(load);
}
