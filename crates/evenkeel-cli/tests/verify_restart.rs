//! `evenkeel verify-restart` on programs that lose nothing, programs that do, and programs that are in trouble (R4.1b).

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails loudly; the loss tables are for its reader")]

mod programs;

use std::{path::Path, process::Command};

use programs::{Ends, HaProxy, SERVES, lost, verify};
use serde_json::Value;

/// This test binary once more, as a program that serves.
fn child(test: &str) -> Vec<String> {
    let own = std::env::current_exe().unwrap().display().to_string();
    [own.as_str(), test, "--exact", "--ignored", "--nocapture"].map(str::to_owned).into()
}

#[test]
#[ignore = "serves until SIGTERM: runs as a child of the tests below"]
fn a_program_of_evenkeel() {
    programs::serve_with_evenkeel();
}

#[test]
#[ignore = "serves until SIGTERM: runs as a child of the tests below"]
fn a_program_with_axum_serve() {
    programs::serve_with_axum(Ends::Gracefully);
}

#[test]
#[ignore = "serves until it is killed: runs as a child of the tests below"]
fn a_program_that_never_ends() {
    programs::serve_with_axum(Ends::Never);
}

#[test]
#[ignore = "serves for a while: runs as a child of the tests below"]
fn a_program_that_ends_by_itself() {
    programs::serve_with_axum(Ends::At(100));
}

/// The result, with these options and this program.
fn verified(options: &[&str], program: &[String]) -> (i32, Value, String) {
    let program = program.iter().map(String::as_str);
    let arguments: Vec<&str> = options.iter().copied().chain(["--"]).chain(program).collect();
    let (output, json) = verify(&arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    (output.status.code().unwrap(), json, said)
}

fn loses_nothing(options: &[&str]) {
    let (code, json, said) = verified(options, &child("a_program_of_evenkeel"));
    assert_eq!((code, &json["lost"]), (0, &Value::from(0)), "{json:#}\n{said}");
    assert_eq!(json["table"]["rows"].as_array().unwrap().len(), 6, "three kinds, two methods: {json:#}");
    assert!(json["ended_in_error"].as_array().unwrap().is_empty(), "{json:#}");
    println!("{} of {} requests lost", json["lost"], json["requests"]);
}

#[test]
fn a_program_of_evenkeel_loses_nothing_behind_a_held_socket_r4_1b() {
    loses_nothing(&["--restarts", "10", "--between", "100ms"]);
}

/// Readiness by `READY=1`, as Evenkeel's programs say it.
#[test]
fn a_program_of_evenkeel_loses_nothing_side_by_side_r4_1b() {
    loses_nothing(&["--restarts", "10", "--between", "100ms", "--how", "overlap"]);
}

/// With turns of some milliseconds, connections are at rest when the restart comes.
#[test]
fn a_program_of_evenkeel_loses_nothing_when_clients_rest_between_requests_r4_1b() {
    loses_nothing(&["--restarts", "5", "--between", "100ms", "--rate", "2000"]);
}

#[test]
fn a_program_of_evenkeel_breaks_no_event_stream_off_r4_1b() {
    let options = ["--restarts", "3", "--between", "100ms", "--methods", "get", "--events", "/events"];
    for way in [&[][..], &["--how", "overlap", "--ready-log", SERVES]] {
        let (code, json, said) = verified(&[&options, way].concat(), &child("a_program_of_evenkeel"));
        assert_eq!((code, lost(&json, "sse")), (0, 0), "{json:#}\n{said}");
        let streams = json["table"]["rows"].as_array().unwrap().iter().find(|row| row["kind"] == "sse").unwrap();
        assert!(streams["answered"].as_u64().unwrap() > 3 * 8, "each restart ended each stream: {streams:#}");
    }
}

/// The place of the program below, its address, and which of its commands it is.
const PLACE: [&str; 3] = ["PLACE_DIR", "PLACE_ADDR", "PLACE_COMMAND"];

#[test]
#[ignore = "serves until it is stopped: runs as a child of the tests below"]
fn a_program_of_evenkeel_in_a_place() {
    let [dir, addr, command] = PLACE.map(|name| std::env::var(name).unwrap());
    assert_eq!(programs::evenkeel_in(Path::new(&dir), &addr, &command), 0);
}

/// The program opens its socket by itself; its successor is no child of `verify-restart`.
#[test]
fn a_program_of_evenkeel_loses_nothing_when_it_hands_over_to_its_successor_r4_1b() {
    let (dir, addr) = (tempfile::tempdir().unwrap(), format!("127.0.0.1:{}", programs::free_port()));
    let command = |command: &str| {
        let place = [&dir.path().display().to_string(), addr.as_str(), command];
        let place = PLACE.iter().zip(place).map(|(name, value)| format!("{name}={value}"));
        [vec!["env".to_owned()], place.collect(), child("a_program_of_evenkeel_in_a_place")].concat()
    };
    let (url, restart, stop) = (format!("http://{addr}/"), command("restart").join(" "), command("stop").join(" "));
    let options = ["--restarts", "5", "--between", "100ms", "--url", &url];
    let options = [&options[..], &["--restart-command", &restart, "--stop-command", &stop]].concat();
    let (code, json, said) = verified(&options, &command("run"));
    assert_eq!((code, &json["lost"]), (0, &Value::from(0)), "{json:#}\n{said}");
    println!("{} of {} requests lost", json["lost"], json["requests"]);
}

#[test]
fn a_load_that_needs_more_open_files_than_are_allowed_is_refused_r2_5d() {
    let own = env!("CARGO_BIN_EXE_evenkeel");
    let program = child("a_program_with_axum_serve").join(" ");
    let line = format!("ulimit -n 100; exec {own} verify-restart --clients 50 --kinds new -- {program}");
    let output = Command::new("sh").args(["-c", &line]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(said.contains("needs 164 open files, and 100 are allowed\nhint: allow more (ulimit -n 164)"), "{said}");
}

/// The control: a tester that sees no loss here is broken.
fn loses(way: &[&str]) {
    for _ in 0..10 {
        let options: Vec<&str> = ["--restarts", "20", "--between", "50ms"].iter().chain(way).copied().collect();
        let (code, json, said) = verified(&options, &child("a_program_with_axum_serve"));
        println!("axum::serve {way:?}: {} of {} requests lost in 20 restarts", json["lost"], json["requests"]);
        if code == 1 {
            assert!(json["lost"].as_u64().unwrap() > 0 && !json["table"]["losses"][0]["why"].is_null(), "{json:#}");
            return;
        }
        assert_eq!(code, 0, "{said}");
    }
    panic!("the tester is blind: `axum::serve` lost nothing in 200 restarts");
}

#[test]
fn axum_serve_loses_behind_a_held_socket() {
    loses(&[]);
}

/// Readiness by `READY=1`, which the child sends.
#[test]
fn axum_serve_loses_side_by_side() {
    loses(&["--how", "overlap"]);
}

#[test]
fn haproxy_that_closes_connections_at_rest_with_an_answer_loses_nothing_through_its_reloads() {
    if let Some(reason) = HaProxy::missing() {
        println!("SKIPPED: {reason}");
        return;
    }
    let haproxy = HaProxy::new("option idle-close-on-response");
    let (url, reload) = (haproxy.url(), haproxy.reload());
    let options = ["--url", &url, "--restart-command", &reload, "--restarts", "5", "--kinds", "new,keep-alive"];
    let (code, json, said) = verified(&options, &haproxy.program());
    println!("haproxy: {} of {} requests lost in 5 reloads", json["lost"], json["requests"]);
    assert_eq!((code, lost(&json, "new"), lost(&json, "keep-alive")), (0, 0, 0), "{json:#}\n{said}");
}

#[test]
fn a_program_that_opens_its_own_socket_refuses_clients_in_between() {
    if let Some(reason) = HaProxy::missing() {
        println!("SKIPPED: {reason}");
        return;
    }
    let haproxy = HaProxy::new("option idle-close-on-response");
    let url = haproxy.url();
    let options = ["--how", "bind", "--url", &url, "--restarts", "2", "--methods", "get", "--between", "50ms"];
    let mut program = haproxy.program();
    program[1] = "-db".to_owned();
    let (code, json, said) = verified(&options, &program);
    assert_eq!(code, 1, "{json:#}\n{said}");
    assert!(json["table"]["rows"][0]["refused"].as_u64().unwrap() > 0, "{json:#}");
}

#[test]
fn a_program_that_looks_for_its_pid_in_listen_pid_is_given_its_socket() {
    let checks = "[ \"$LISTEN_PID\" = $$ ] && [ \"$LISTEN_FDNAMES\" = web ] || exit 9; exec \"$0\" \"$@\"";
    let program =
        [vec!["sh".to_owned(), "-c".to_owned(), checks.to_owned()], child("a_program_with_axum_serve")].concat();
    let (code, _, said) = verified(&["--restarts", "1", "--socket-name", "web", "--between", "10ms"], &program);
    assert!(code == 0 || code == 1, "{said}");
}

fn shell(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).into()
}

/// What is said of a program in trouble, and the exit code.
fn trouble(options: &[&str], program: &[String]) -> (i32, String) {
    let (code, json, said) = verified(options, program);
    assert_eq!(json, Value::Null, "no verdict");
    // Lines are broken to fit a terminal.
    (code, said.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn a_program_in_trouble_is_told_of_with_what_to_do_r2_5d() {
    let soon = ["--ready-within", "300ms"];
    let (code, said) = trouble(&[], &["/nowhere/at-all".to_owned()]);
    assert!(code == 10 && said.contains("cannot run /nowhere/at-all") && said.contains("No such file"), "{said}");
    let (code, said) = trouble(&[], &shell("echo no configuration >&2; exit 3"));
    assert!(code == 10 && said.contains("ended before it was ready: exit status: 3"), "{said}");
    assert!(said.contains("it said last: no configuration"), "{said}");
    let (code, said) = trouble(&soon, &shell("exec sleep 60"));
    assert!(code == 10 && said.contains("not ready within 300ms") && said.contains("hint: "), "{said}");
    assert!(said.contains("--how bind --url"), "{said}");
    let log = ["--ready-within", "300ms", "--ready-log", "serving"];
    let (code, said) = trouble(&log, &shell("echo starting; exec sleep 60"));
    assert!(code == 10 && said.contains("does it print that") && said.contains("it said last: starting"), "{said}");
    let probe = ["--ready-within", "300ms", "--ready-url", "http://127.0.0.1:1/health/ready"];
    let (code, said) = trouble(&probe, &shell("exec sleep 60"));
    assert!(code == 10 && said.contains("refused"), "{said}");
    let (code, said) = trouble(&["--path", "/nothing"], &child("a_program_with_axum_serve"));
    assert!(
        code == 10 && said.contains("GET /nothing over new: bad answer: status 404") && said.contains("--path"),
        "{said}"
    );
}

#[test]
fn a_second_process_whose_readiness_cannot_be_known_is_told_of_r2_5d() {
    let options = ["--how", "overlap", "--restarts", "1", "--ready-within", "2s"];
    let mute = ["env", "-u", "NOTIFY_SOCKET"].map(str::to_owned).to_vec();
    let (code, said) = trouble(&options, &[mute, child("a_program_with_axum_serve")].concat());
    assert!(code == 10 && said.contains("restart 1:") && said.contains("--ready-log TEXT"), "{said}");
}

#[test]
fn a_program_that_does_not_end_or_ends_by_itself_is_told_of_r2_5d() {
    let stubborn = ["--restarts", "1", "--between", "10ms", "--stop-within", "300ms"];
    let (code, said) = trouble(&stubborn, &child("a_program_that_never_ends"));
    assert!(code == 11 && said.contains("restart 1:") && said.contains("did not end within 300ms"), "{said}");
    // 48 clients ask it a hundred times long before that.
    let (code, said) = trouble(&["--restarts", "1", "--between", "2s"], &child("a_program_that_ends_by_itself"));
    assert!(code == 11 && said.contains("ended by itself: exit status: 3"), "{said}");
}

#[test]
fn a_restart_command_that_fails_is_told_of_r2_5d() {
    let Some(server) = Server::start() else { return };
    let options = ["--url", &server.url, "--restart-command", "echo not today; exit 4", "--restarts", "1"];
    let (output, _) = verify(&options);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(11), "{said}");
    assert!(
        said.contains("restart 1: `echo not today; exit 4`: exit status: 4") && said.contains("  not today"),
        "{said}"
    );
}

#[test]
fn what_a_program_does_not_speak_is_left_out_and_that_is_said_unless_it_was_wished_for_r2_5d() {
    let Some(server) = Server::start() else { return };
    let options = ["--url", &server.url, "--restart-command", "true", "--restarts", "1", "--between", "10ms"];
    let (output, json) = verify(&options);
    assert_eq!(output.status.code(), Some(0), "{json:#}");
    assert_eq!(json["left_out"][0]["what"], "h2", "{json:#}");
    assert!(json["table"]["rows"].as_array().unwrap().iter().all(|row| row["kind"] != "h2"), "{json:#}");
    let (output, _) = verify(&[&options[..], &["--kinds", "h2"]].concat());
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(10) && said.contains("--kinds new,keep-alive"), "{said}");
}

/// A server that is there already, as a service would be.
struct Server {
    url: String,
}

impl Server {
    fn start() -> Option<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").ok()?;
        let url = format!("http://{}/", listener.local_addr().ok()?);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || {
                    use std::io::{BufRead, Write};
                    let lines = std::io::BufReader::new(&stream).lines().map_while(Result::ok);
                    for _ in lines.filter(String::is_empty) {
                        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                        if (&stream).write_all(answer).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Some(Self { url })
    }
}

#[test]
fn what_it_prints_fits_80_columns() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
    let program = child("a_program_of_evenkeel");
    let output = command.args(["verify-restart", "--restarts", "2", "--between", "10ms", "--"]).args(&program);
    let output = output.output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    println!("{text}");
    // The first line names the program, whose path nobody can make shorter.
    assert!(text.lines().skip(1).all(|line| line.chars().count() <= 80), "{text}");
    assert!(text.ends_with("nothing was lost in 2 restarts\n"), "{text}");
}
