//! `doctor` on a real machine, from outside: what it says, how it ends, and that it leaves nothing behind.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use evenkeel_torture::process::Process;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// Nothing here takes longer, not even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program with places of its own.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
        command.args(arguments).env_clear().stdin(Stdio::null());
        command.env("STATE_DIRECTORY", self.path("state")).env("RUNTIME_DIRECTORY", self.path("run"));
        // Where instances without a place of their own are looked for.
        command.env("TMPDIR", self.dir.path());
        command
    }

    /// The exit code of `doctor` with these arguments, and its report.
    fn doctor(&self, arguments: &[&str]) -> (i32, Value) {
        let (code, out) = self.said(&[&["doctor", "--json"], arguments].concat());
        (code, serde_json::from_str(&out).unwrap())
    }

    /// The exit code, and what was written to standard output.
    fn said(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.command(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.is_empty(), "{said}");
        (output.status.code().unwrap(), String::from_utf8(output.stdout).unwrap())
    }

    fn is_empty(&self) -> bool {
        fs::read_dir(self.dir.path()).unwrap().next().is_none()
    }
}

/// The verdict on one thing, with its finding and its hint in one text.
fn on(report: &Value, what: &str) -> (String, String) {
    let checks = report["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["what"] == what).unwrap_or_else(|| panic!("no {what}: {report:#}"));
    let said = format!("{} {}", check["finding"], check["hint"]);
    (check["verdict"].as_str().unwrap().to_owned(), said)
}

#[track_caller]
fn fails(report: &Value, what: &str, words: &str) {
    let (verdict, said) = on(report, what);
    assert!(verdict == "fail" && said.contains(words), "{report:#}");
    assert!(!said.ends_with("null"), "without a hint: {report:#}");
}

#[test]
fn r2_5a_where_all_is_well_it_ends_with_0_and_leaves_nothing_behind() {
    let place = Place::new();
    let (code, report) = place.doctor(&[]);
    assert_eq!((code, &report["failures"]), (0, &0.into()), "{report:#}");
    for what in ["configuration", "instance", "runtime directory", "state directory", "api", "admin listener"] {
        assert_eq!(on(&report, what).0, "ok", "{report:#}");
    }
    let sum = ["ok", "warnings", "failures"].iter().map(|verdict| report[verdict].as_u64().unwrap()).sum::<u64>();
    assert_eq!(sum, report["checks"].as_array().unwrap().len() as u64);
    assert!(place.is_empty(), "it starts nothing");
}

#[test]
fn r2_5a_a_port_in_use_is_a_failure_with_its_address() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let (code, report) = place.doctor(&["--listen", &addr]);
    assert_eq!(code, 78, "{report:#}");
    fails(&report, "api", &format!("{addr} is in use"));
    let (code, report) = place.doctor(&["--admin", &addr]);
    assert_eq!(code, 78, "{report:#}");
    fails(&report, "admin listener", &format!("{addr} is in use"));
    assert_eq!(on(&report, "api").0, "ok", "{report:#}");
}

#[test]
fn r2_5a_a_directory_that_is_a_file_is_a_failure() {
    let place = Place::new();
    fs::write(place.path("state"), "").unwrap();
    let (code, report) = place.doctor(&[]);
    assert_eq!(code, 78, "{report:#}");
    fails(&report, "state directory", "is not a directory");
    let below = place.path("state").join("below");
    let (code, report) = place.doctor(&["--runtime-dir", below.to_str().unwrap()]);
    assert_eq!(code, 78, "{report:#}");
    fails(&report, "runtime directory", "cannot be made");
}

#[test]
fn r2_5b_a_runtime_directory_that_others_can_write_is_a_failure() {
    use std::os::unix::fs::PermissionsExt;
    let place = Place::new();
    fs::create_dir(place.path("run")).unwrap();
    fs::set_permissions(place.path("run"), PermissionsExt::from_mode(0o777)).unwrap();
    let (code, report) = place.doctor(&[]);
    assert_eq!(code, 78, "{report:#}");
    fails(&report, "runtime directory", "chmod go-w");
}

#[test]
fn r2_5a_a_receipt_that_cannot_be_written_is_a_failure() {
    let place = Place::new();
    let (code, report) = place.doctor(&["--receipt", place.path("missing/receipt.json").to_str().unwrap()]);
    assert_eq!(code, 78, "{report:#}");
    fails(&report, "receipt file", "mkdir -p");
    let (code, report) = place.doctor(&["--receipt", place.path("receipt.json").to_str().unwrap()]);
    assert_eq!(code, 0, "{report:#}");
    assert!(place.is_empty());
}

#[test]
fn r2_5a_a_configuration_that_a_start_refuses_is_a_failure() {
    let (code, report) = Place::new().doctor(&["--listen", "nowhere"]);
    assert_eq!(code, 78, "{report:#}");
    fails(&report, "configuration", "`nowhere` is not an address");
    let (code, report) = Place::new().doctor(&["--log-level", "loud=="]);
    assert_eq!(code, 78, "{report:#}");
    fails(&report, "configuration", "filter");
}

#[test]
fn r2_5a_an_instance_that_runs_is_named_by_its_pid_and_goes_on() {
    let place = Place::new();
    let mut command = place.command(&[]);
    let service = Process::start(command.stdout(Stdio::null()).stderr(Stdio::piped())).unwrap();
    service.until_log("running; stop with").unwrap();
    let (_, status) = place.said(&["status", "--json"]);
    let pid = serde_json::from_str::<Value>(&status).unwrap()["pid"].to_string();
    let (code, report) = place.doctor(&[]);
    assert_eq!(code, 78, "{report:#}");
    fails(&report, "instance", &format!("already running (pid {pid})"));
    assert_eq!(place.said(&["status"]).0, 0, "it still runs");
    service.signal(Signal::TERM).unwrap();
    service.end(PATIENCE).unwrap();
    let (code, report) = place.doctor(&[]);
    assert_eq!((code, &*on(&report, "instance").0), (0, "ok"), "{report:#}");
}

#[test]
fn r2_5a_an_instance_with_another_runtime_directory_is_a_warning() {
    let place = Place::new();
    let mut command = place.command(&[]);
    command.env_remove("RUNTIME_DIRECTORY").stdout(Stdio::null()).stderr(Stdio::piped());
    let service = Process::start(&mut command).unwrap();
    service.until_log("running; stop with").unwrap();
    let (code, report) = place.doctor(&[]);
    let (verdict, said) = on(&report, "instance");
    assert_eq!((code, &*verdict), (0, "warn"), "{report:#}");
    assert!(said.contains("already running (pid ") && said.contains("evenkeel-"), "{said}");
    service.signal(Signal::TERM).unwrap();
    service.end(PATIENCE).unwrap();
}

#[test]
fn r2_5a_the_table_fits_a_terminal_and_ends_with_the_sum() {
    let place = Place::new();
    let deep = place.path(&"a-directory-with-a-long-name/".repeat(8));
    let (code, table) = place.said(&["doctor", "--state-dir", deep.to_str().unwrap()]);
    assert_eq!(code, 0, "{table}");
    assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
    let verdicts = |line: &str| ["ok ", "warn", "FAIL"].iter().any(|verdict| line.starts_with(verdict));
    let checks = table.lines().filter(|line| verdicts(line)).count();
    let last = table.lines().last().unwrap();
    assert!(last.starts_with(&format!("{checks} checks: ")) && last.ends_with(", 0 failures"), "{table}");
    assert!(!Path::new(&deep).exists());
}

#[test]
fn a_check_of_the_programs_own_is_shown_and_refuses_a_start_r2_5a() {
    let place = Place::new();
    let (_, report) = place.doctor(&[]);
    assert_eq!(on(&report, "price list").0, "ok");
    let output = place.command(&["run"]).env("ORDERS_PRICES", place.path("prices.txt")).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(78), "{said}");
    let said = said.split_whitespace().collect::<Vec<_>>().join(" ");
    let complaint = "error: orders: the check `price list` failed: cannot be read: No such file or directory (os error 2) \
                     hint: name another with ORDERS_PRICES";
    assert!(said.contains(complaint) && !said.contains("starting"), "{said}");
    let output = place.command(&["doctor", "--json"]).env("ORDERS_PRICES", place.path("prices.txt")).output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(on(&report, "price list").0, "fail");
}
