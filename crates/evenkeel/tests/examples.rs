//! Each example as a real process: it runs, shows its state, and ends as its first lines say. (`14_testing` has tests of
//! its own and is run by them.)

#![allow(clippy::unwrap_used, reason = "a failed helper fails its test")]
#![cfg(unix)] // the control socket is found through a path

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Output, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use evenkeel::Status;
use tempfile::TempDir;

/// Nothing here takes longer, not even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);

/// One example, in directories of its own. Killed when a test fails half-way.
struct Example {
    program: PathBuf,
    dir: TempDir,
    child: Child,
}

impl Example {
    fn start(name: &str) -> Self {
        let program = program(name);
        let dir = tempfile::tempdir().unwrap();
        let log = File::create(dir.path().join("log")).unwrap();
        let child = command(&program, dir.path()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { program, dir, child }
    }

    fn run(&self, args: &[&str]) -> Output {
        command(&self.program, self.dir.path()).args(args).output().unwrap()
    }

    /// Waits until its state satisfies this.
    fn until(&mut self, wanted: impl Fn(&Status) -> bool) -> Status {
        let begun = Instant::now();
        loop {
            let status: Option<Status> = serde_json::from_slice(&self.run(&["status", "--json"]).stdout).ok();
            if let Some(status) = status.filter(&wanted) {
                return status;
            }
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "not so ({ended:?}): {}", self.said());
            sleep(Duration::from_millis(20));
        }
    }

    fn running(&mut self) -> Status {
        self.until(Status::is_up)
    }

    fn ended(&mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end: {}", self.said());
            sleep(Duration::from_millis(10));
        }
    }

    /// What it wrote.
    fn said(&self) -> String {
        fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Stops it with its own command, and holds both exit codes to this.
    fn stop(&mut self, code: i32) -> String {
        let stop = self.run(&["stop"]);
        let table = String::from_utf8_lossy(&stop.stdout).into_owned();
        assert_eq!(stop.status.code(), Some(code), "{table}{}", String::from_utf8_lossy(&stop.stderr));
        assert_eq!(self.ended().code(), Some(code), "{}", self.said());
        table
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Examples are built beside the tests, but Cargo tells a test only where *binaries* are.
fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.ancestors().nth(2).expect("a test is in `deps` of its profile's directory");
    let program = profile.join("examples").join(name);
    assert!(program.is_file(), "{} is not built; run `cargo build --examples` first", program.display());
    program
}

fn command(program: &Path, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env("EVENKEEL_RUNTIME_DIR", dir.join("run"))
        .env("EVENKEEL_STATE_DIR", dir.join("state"))
        .stdin(Stdio::null());
    command
}

/// It runs, and stops cleanly when it is told to.
fn runs_and_stops(name: &str) {
    let mut example = Example::start(name);
    example.running();
    let table = example.stop(0);
    assert!(table.contains("stopped cleanly"), "{table}");
    assert!(!example.said().contains("ERROR"), "{}", example.said());
}

#[test]
fn every_example_is_in_the_course_and_has_its_number() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples");
    let course = fs::read_to_string(dir.join("README.md")).unwrap();
    let mut names: Vec<String> = fs::read_dir(&dir)
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_str()?.strip_suffix(".rs")?.to_owned()))
        .collect();
    names.sort();
    for (number, name) in (1..).zip(&names) {
        assert!(name.starts_with(&format!("{number:02}_")), "{name} is number {number}");
        assert!(course.contains(&format!("| [{name}]({name}.rs) |")), "{name} is not in README.md");
    }
}

#[test]
fn e01_hello_runs_and_stops() {
    runs_and_stops("01_hello");
}

#[test]
fn e02_http_answers_a_request_that_is_in_flight_when_it_stops() {
    use std::io::{Read as _, Write as _};
    let mut example = Example::start("02_http");
    let status = example.running();
    let url = status.component("api").and_then(|api| api.note.clone()).unwrap();
    let mut stream = std::net::TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    let mut first = [0; 12];
    stream.read_exact(&mut first).unwrap(); // the server has this connection now
    stream.write_all(b"GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").unwrap();
    sleep(Duration::from_millis(300));
    let table = example.stop(0);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.ends_with("done\n"), "{answer}\n{table}");
}

#[test]
fn e03_needs_draws_its_graph_and_runs_and_stops() {
    let example = command(&program("03_needs"), Path::new("unused")).arg("graph").output().unwrap();
    let graph = String::from_utf8_lossy(&example.stdout);
    assert!(graph.contains("1  config, secrets") && graph.contains("4  reports"), "{graph}");
    runs_and_stops("03_needs");
}

#[test]
fn e04_ready_later_runs_and_stops() {
    runs_and_stops("04_ready_later");
}

#[test]
fn e05_optional_runs_without_what_is_optional_and_then_with_it() {
    let mut example = Example::start("05_optional");
    example.running();
    example.until(|status| status.component("advice").is_some_and(|advice| advice.state == "ready"));
    let begun = Instant::now();
    while !example.said().contains("goes a scone") {
        assert!(begun.elapsed() < PATIENCE, "{}", example.said());
        sleep(Duration::from_millis(20));
    }
    let said = example.said();
    assert!(said.contains("goes a gift card"), "{said}");
    // What is tried again is a warning, in one line.
    assert!(said.contains(" WARN advice     could not start, next try in "), "{said}");
    assert!(!said.contains("ERROR") && !said.contains("restarts in"), "{said}");
    example.stop(0);
}

#[test]
fn e06_job_first_serves_after_the_migration() {
    let mut example = Example::start("06_job_first");
    example.running();
    example.stop(0);
    assert!(example.said().contains("tables of version 2"), "{}", example.said());
}

#[test]
fn e07_restart_is_started_again_until_it_runs() {
    let mut example = Example::start("07_restart");
    example.until(|status| status.component("feed").is_some_and(|feed| feed.restarts == 3 && feed.state == "ready"));
    example.stop(0);
    assert_eq!(example.said().matches("the feed broke off (start 1)").count(), 1, "{}", example.said());
}

#[test]
fn e08_intake_is_paused_and_continues_and_stops() {
    let mut example = Example::start("08_intake");
    example.running();
    assert!(example.run(&["pause"]).status.success());
    example.until(|status| status.state == "paused" && !status.ready);
    assert!(example.run(&["continue"]).status.success());
    example.until(|status| status.state == "running" && status.ready);
    example.stop(0);
}

#[test]
fn e09_blocking_runs_and_stops() {
    runs_and_stops("09_blocking");
}

#[test]
fn e10_component_saves_when_it_closes() {
    let mut example = Example::start("10_component");
    example.running();
    example.stop(0);
    assert!(example.said().contains("for good"), "{}", example.said());
}

#[test]
fn e11_limits_cuts_off_a_close_that_hangs_and_names_it() {
    let mut example = Example::start("11_limits");
    example.running();
    let begun = Instant::now();
    let table = example.stop(12);
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert!(table.contains("broker"), "{table}");
}

#[test]
fn e12_coordinator_stops_consumers_one_by_one() {
    let mut example = Example::start("12_coordinator");
    example.running();
    example.stop(0);
    let said = example.said();
    let ends: Vec<_> = (1..=3).map(|n| said.find(&format!("consumer-{n} ends"))).collect();
    assert!(ends.is_sorted() && ends.iter().all(Option::is_some), "{said}");
}

#[test]
fn e13_own_arguments_has_a_command_of_its_own_and_runs_and_stops() {
    let greet = command(&program("13_own_arguments"), Path::new("unused")).arg("greet").output();
    assert_eq!(greet.unwrap().stdout, b"hello\n");
    runs_and_stops("13_own_arguments");
}

#[test]
fn e15_tasks_runs_and_stops() {
    runs_and_stops("15_tasks");
}

/// `GET` over a connection of its own; status line, fields and body.
fn get(url: &str, path: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    stream
        .write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn e17_probes_say_what_is_waited_for_and_then_yes_r2_3c() {
    let mut example = Example::start("17_probes");
    let admin = example.until(|status| status.admin.is_some()).admin.unwrap();
    let waiting = get(&admin, "/health-startup");
    let started = waiting.starts_with("HTTP/1.1 200"); // on a machine that was slow to ask
    assert!(started || (waiting.starts_with("HTTP/1.1 503") && waiting.contains("\"prices\"")), "{waiting}");
    let status = example.running();
    assert!(get(&admin, "/health-startup").starts_with("HTTP/1.1 200"));
    assert!(get(&admin, "/health/ready").starts_with("HTTP/1.1 200"));
    let api = status.component("api").and_then(|api| api.note.clone()).unwrap();
    assert!(get(&api, "/").ends_with("tea costs 3 EUR\n"));
    example.stop(0);
}

#[test]
fn e18_streams_say_goodbye_when_the_service_stops_or_restarts_r4_1a() {
    use std::io::{Read as _, Write as _};
    let mut example = Example::start("18_streams");
    let status = example.running();
    let url = status.component("api").and_then(|api| api.note.clone()).unwrap();
    let read = |path: &str| {
        let mut stream = std::net::TcpStream::connect(url.trim_start_matches("http://")).unwrap();
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n").as_bytes()).unwrap();
        stream
    };
    let mut news = read("/news");
    let (mut first, mut rest) = (vec![0; 200], String::new());
    assert!(news.read(&mut first).unwrap() > 0); // it is in flight
    let table = example.stop(0);
    news.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("data: goodbye") && rest.ends_with("0\r\n\r\n"), "{rest}\n{table}");
}

#[test]
fn e16_failing_start_says_what_to_do() {
    let mut example = Example::start("16_failing_start");
    assert_eq!(example.ended().code(), Some(10));
    let said = example.said();
    for part in
        ["cannot read the prices from /nowhere/prices.txt", "No such file", "hint: copy prices.example.txt there"]
    {
        assert!(said.contains(part), "{part:?} is not in: {said}");
    }
}
