//! What a person sees on a terminal of 80 columns, word for word.
//!
//! Each transcript is a text file beside this one: the commands, what they wrote, and how they ended. What differs from
//! run to run is replaced by placeholders. `UPDATE=1 cargo test -p evenkeel-torture --test transcripts` writes them
//! anew; look at the difference as a user would.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::{
    fs,
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
    time::Duration,
};

use evenkeel_torture::{process::Process, table::End};
use regex::Regex;
use rustix::process::Signal;
use tempfile::TempDir;

const WIDTH: usize = 80;
const PATIENCE: Duration = Duration::from_secs(60);
const RUNNING: &str = "running; stop with";

/// A terminal in a directory of its own, and what was seen on it.
struct Terminal {
    dir: TempDir,
    seen: String,
}

impl Terminal {
    fn new() -> Self {
        // Text is broken to the width of the terminal with the path in it, so that path is equally long everywhere.
        Self { dir: tempfile::tempdir_in("/tmp").unwrap(), seen: String::new() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The command with places of its own, which a person would not have to name.
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_orders"));
        command.args(arguments).stdin(Stdio::null());
        command.env_clear().env("COLUMNS", WIDTH.to_string());
        command.env("STATE_DIRECTORY", self.path("state")).env("RUNTIME_DIRECTORY", self.path("run"));
        command
    }

    fn typed(&mut self, arguments: &[&str]) {
        self.seen.push_str(format!("$ orders {}", arguments.join(" ")).trim_end());
        self.seen.push('\n');
    }

    /// A command that ends by itself.
    fn run(&mut self, arguments: &[&str]) {
        let output = self.command(arguments).output().unwrap();
        self.typed(arguments);
        self.seen.push_str(&String::from_utf8_lossy(&output.stdout));
        self.seen.push_str(&String::from_utf8_lossy(&output.stderr));
        self.seen.push_str(&format!("[exit {}]\n\n", output.status.code().unwrap()));
    }

    /// A service, up to the moment when it runs.
    fn start(&self, arguments: &[&str]) -> Process {
        let mut command = self.command(arguments);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let service = Process::start(&mut command).unwrap();
        service.until_log(RUNNING).unwrap();
        service
    }

    /// Waits for its end and writes down what it said.
    fn end(&mut self, arguments: &[&str], service: &Process) {
        let (end, _) = service.end(PATIENCE).unwrap();
        let End::Code(code) = end else { panic!("it ended by a signal") };
        self.typed(arguments);
        self.seen.push_str(&format!("{}\n[exit {code}]\n\n", service.log()));
    }

    /// Compares with the file, or writes it.
    fn is_as_in(&self, name: &str) {
        let seen = redact(&self.seen, self.dir.path());
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(format!("{name}.txt"));
        if std::env::var_os("UPDATE").is_some() {
            fs::write(&file, &seen).unwrap();
        }
        let wide: Vec<&str> = seen.lines().filter(|line| is_too_wide(line)).collect();
        assert!(wide.is_empty(), "wider than {WIDTH} columns:\n{}", wide.join("\n"));
        let stored = fs::read_to_string(&file).unwrap_or_default();
        assert!(stored == seen, "{name}.txt is different; UPDATE=1 writes it anew. Seen:\n{seen}\nstored:\n{stored}");
    }
}

/// Lines of the log carry errors and hints of users, which nobody can make shorter; everything else fits.
fn is_too_wide(line: &str) -> bool {
    let of_log = line.starts_with("HH:MM:SS.mmm") || line.starts_with("                     hint: ");
    !of_log && line.chars().count() > WIDTH
}

/// A length of time as people read it.
const LENGTH: &str = r"<?\d+(?:\.\d+)? (?:ms|s|µs)";

/// What differs from run to run, in placeholders; columns that depend on it get a fixed width.
fn redact(text: &str, dir: &Path) -> String {
    static RULES: LazyLock<Vec<(Regex, &str)>> = LazyLock::new(|| {
        let rules = [
            (r"\d\d:\d\d:\d\d\.\d{3}".to_owned(), "HH:MM:SS.mmm"),
            (r"receipt-\d{8}T\d{6}(\.\d+)?Z-\d+".to_owned(), "receipt-TIME-PID"),
            (r"pid \d+".to_owned(), "pid PID"),
            (r"127\.0\.0\.1:[34569]\d{4}\b".to_owned(), "127.0.0.1:PORT"),
            (format!(r"(?m)^(.{{13}})[ ▒·█!]*[▒·█!][ ▒·█!]*{LENGTH}$"), "${1}BAR  #.# ms"),
            (format!(r"(?m)^ {{12,}}0 +{LENGTH}$"), "             0  #.# ms"),
            (format!(r"\b(up|in|after|budget:) {LENGTH}"), "$1 #.# ms"),
            (format!(r"{LENGTH} left"), "#.# ms left"),
            (r#""(\w+_ms)": [\d.]+"#.to_owned(), "\"$1\": #.#"),
            (r#""(\w+_at)": "[^"]+""#.to_owned(), "\"$1\": \"TIME\""),
            (r#""pid": \d+"#.to_owned(), "\"pid\": PID"),
        ];
        rules.map(|(pattern, by)| (Regex::new(&pattern).unwrap(), by)).into()
    });
    let text = text.replace(&dir.display().to_string(), "DIR");
    let text = RULES.iter().fold(text, |text, (rule, by)| rule.replace_all(&text, *by).into_owned());
    let lines = text.lines().map(redact_row);
    lines.fold(String::new(), |text, line| text + &line + "\n")
}

/// A row of the receipt's table: `used / allowed` is as wide as its widest cell, which differs.
fn redact_row(line: &str) -> String {
    static ROW: LazyLock<Regex> = LazyLock::new(|| {
        Regex::new(&format!(r"^(  \S+ +\S+) +({LENGTH} / {LENGTH}|used / allowed|-)( +\S+ +\S+ +\S+)$")).unwrap()
    });
    let Some(row) = ROW.captures(line) else { return line.to_owned() };
    let cell = if row[2].starts_with(|c: char| c.is_ascii_digit() || c == '<') { "#.# ms / #.# s" } else { &row[2] };
    format!("{:<24}{cell:>16}{}", &row[1], &row[3])
}

#[test]
fn first_start_and_clean_stop() {
    let mut terminal = Terminal::new();
    let service = terminal.start(&[]);
    service.signal(Signal::INT).unwrap();
    terminal.end(&[], &service);
    terminal.run(&["receipt"]);
    terminal.run(&["receipt", "--all"]);
    terminal.is_as_in("first-start");
}

#[test]
fn a_stop_that_is_not_clean_and_its_receipt() {
    let mut terminal = Terminal::new();
    let run = ["run", "--stuck", "jobs", "--budget", "1s"];
    let service = terminal.start(&run);
    service.signal(Signal::TERM).unwrap();
    terminal.end(&run, &service);
    terminal.run(&["receipt"]);
    terminal.run(&["receipt", "--json"]);
    terminal.is_as_in("not-clean");
}

#[test]
fn a_stop_that_is_forced() {
    let mut terminal = Terminal::new();
    let run = ["--stuck", "db"];
    let service = terminal.start(&run);
    service.signal(Signal::INT).unwrap();
    service.until_log("waiting for the last transaction").unwrap();
    terminal.run(&["status"]);
    service.signal(Signal::INT).unwrap();
    terminal.end(&run, &service);
    terminal.is_as_in("forced");
}

#[test]
fn a_start_that_fails_because_the_database_is_missing() {
    let mut terminal = Terminal::new();
    terminal.run(&["run", "--database", "postgres://missing/orders"]);
    terminal.is_as_in("database-missing");
}

#[test]
fn a_port_that_is_in_use() {
    let mut terminal = Terminal::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    terminal.run(&["--listen", &addr]);
    terminal.is_as_in("port-in-use");
}

#[test]
fn an_address_that_is_none() {
    let mut terminal = Terminal::new();
    terminal.run(&["--listen", "localhost"]);
    terminal.run(&["--listen", "127.0.0.1:80800"]);
    terminal.is_as_in("bad-address");
}

#[test]
fn a_state_directory_that_cannot_be_written() {
    let mut terminal = Terminal::new();
    fs::write(terminal.path("state"), "a file").unwrap();
    let service = terminal.start(&[]);
    service.signal(Signal::TERM).unwrap();
    terminal.end(&[], &service);
    let state = terminal.path("state").display().to_string();
    let run = ["run", "--state-dir", &state];
    let service = terminal.start(&run);
    service.signal(Signal::TERM).unwrap();
    terminal.end(&run, &service);
    terminal.is_as_in("state-directory");
}

#[test]
fn a_second_instance_and_talking_to_the_first() {
    let mut terminal = Terminal::new();
    let service = terminal.start(&[]);
    terminal.run(&[]);
    terminal.run(&["status"]);
    terminal.run(&["pause"]);
    terminal.run(&["pause"]);
    terminal.run(&["continue"]);
    terminal.run(&["stop"]);
    terminal.end(&[], &service);
    terminal.is_as_in("second-instance");
}

#[test]
fn commands_without_an_instance() {
    let mut terminal = Terminal::new();
    for command in ["status", "stop", "pause", "receipt"] {
        terminal.run(&[command]);
    }
    terminal.is_as_in("not-running");
}

#[test]
fn mistakes_on_the_command_line() {
    let mut terminal = Terminal::new();
    terminal.run(&["--bugdet", "3s"]);
    terminal.run(&["stat"]);
    terminal.run(&["--budget", "3"]);
    terminal.run(&["--log-level", "loud"]);
    terminal.run(&["--budget", "0s"]);
    terminal.run(&["--budget", "5s", "--propagation-delay", "10s"]);
    terminal.is_as_in("mistakes");
}

#[test]
fn help() {
    let mut terminal = Terminal::new();
    for command in ["--help", "run --help", "doctor --help", "stop --help", "restart --help", "receipt --help"] {
        terminal.run(&command.split(' ').collect::<Vec<_>>());
    }
    terminal.is_as_in("help");
}

#[test]
fn the_graph() {
    let mut terminal = Terminal::new();
    terminal.run(&["graph"]);
    terminal.run(&["graph", "--budget", "3s"]);
    terminal.is_as_in("graph");
}

#[test]
fn lengths_of_any_size_are_redacted() {
    for length in ["<0.1 ms", "0.4 ms", "17 ms", "1.2 s", "30 s"] {
        assert_eq!(redact(&format!("db released in {length}"), Path::new("elsewhere")), "db released in #.# ms\n");
        let row = format!("  db         released    {length} / 5 s        0        0       0");
        let redacted = "  db         released     #.# ms / #.# s        0        0       0\n";
        assert_eq!(redact(&row, Path::new("elsewhere")), redacted);
    }
}
