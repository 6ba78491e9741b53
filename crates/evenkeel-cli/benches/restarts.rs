//! `cargo xtask promise restarts`: 100 restarts each way at 5,000 requests a second or more, and what peers lose.
//!
//! Every row is one run of `evenkeel verify-restart`, the command that users run. Evenkeel's program must lose nothing;
//! `axum::serve` must lose something, or the tester is blind; HAProxy with `idle-close-on-response` must lose nothing over
//! HTTP/1, or the tester sees losses that are none.

#![allow(clippy::unwrap_used, clippy::print_stdout, missing_docs, reason = "a measurement fails loudly, and prints")]

#[path = "../tests/programs/mod.rs"]
mod programs;

use std::{path::Path, process::ExitCode};

use programs::{Ends, HaProxy, SERVES, Successive, lost, verify};
use serde_json::Value;

/// What is promised.
const RESTARTS: &str = "100";
const RATE: f64 = 5_000.0;

/// Of peers, which are not to keep a promise.
const OF_PEERS: &str = "20";

const WAYS: [(&str, &[&str]); 2] = [("held", &[]), ("overlap", &["--how", "overlap", "--ready-log", SERVES])];

/// As fast as they can, and with turns: then connections are at rest when the restart comes.
const PACES: [(&str, &[&str]); 2] = [("as fast as they can", &[]), ("at rest in between", &["--rate", "9000"])];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["serve-with-evenkeel"] => programs::serve_with_evenkeel(),
        ["serve-with-evenkeel-in", dir, addr, command] => {
            return ExitCode::from(programs::evenkeel_in(Path::new(dir), addr, command));
        }
        ["serve-with-axum"] => programs::serve_with_axum(Ends::Gracefully),
        _ => return measure(),
    }
    ExitCode::SUCCESS
}

fn measure() -> ExitCode {
    println!("{RESTARTS} restarts of Evenkeel's program, {OF_PEERS} of a peer's; lost by kind of client");
    println!("{:<40} {:>8} {:>6} {:>5} {:>5} {:>5} {:>4}", "", "requests", "a sec.", "new", "keep", "h2", "ms");
    let (mut kept, mut rates, mut longest) = (true, Vec::new(), Vec::new());
    let mut ours = |name: String, json: &Value| {
        row(&name, json);
        kept &= json["lost"] == 0 && json["table"]["rows"].as_array().is_some_and(|rows| rows.len() == 6);
        rates.push(json["requests_per_second"].as_f64().unwrap_or_default());
        longest.push(around(json));
    };
    for (pace, turns) in PACES {
        for (way, options) in WAYS {
            let json = restarts(RESTARTS, &[options, turns].concat(), &own("serve-with-evenkeel"));
            ours(format!("evenkeel {way}, {pace}"), &json);
        }
        ours(format!("evenkeel hand-over, {pace}"), &handed_over(turns));
    }
    for (way, options) in WAYS {
        let json = restarts(OF_PEERS, options, &own("serve-with-axum"));
        row(&format!("axum::serve {way}"), &json);
        kept &= json["lost"].as_u64() > Some(0);
    }
    kept &= haproxy();
    let slowest = rates.into_iter().fold(f64::INFINITY, f64::min);
    println!(
        "figure: {} restarts each, at {slowest:.0} requests/s or more; longest answer {:.0} ms",
        RESTARTS,
        longest.into_iter().fold(0.0, f64::max)
    );
    if kept && slowest >= RATE { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// By the program's own `restart`, on a socket that it has opened itself.
fn handed_over(turns: &[&str]) -> Value {
    let program = Successive::new(own("").swap_remove(0));
    let (url, restart, stop) = (program.url(), program.command("restart"), program.command("stop"));
    let options = ["--url", &url, "--restart-command", &restart, "--stop-command", &stop];
    restarts(RESTARTS, &[&options, turns].concat(), &program.program("run"))
}

/// Whether the zero reference is one; so it is where it cannot be measured, which is said.
fn haproxy() -> bool {
    if let Some(reason) = HaProxy::missing() {
        println!("SKIPPED: {reason}");
        return true;
    }
    let mut is_zero = true;
    for (name, option) in [("HAProxy reload", ""), ("HAProxy, idle-close-on-response", "option idle-close-on-response")]
    {
        let haproxy = HaProxy::new(option);
        let (url, reload) = (haproxy.url(), haproxy.reload());
        let json = restarts(OF_PEERS, &["--url", &url, "--restart-command", &reload], &haproxy.program());
        row(name, &json);
        is_zero = lost(&json, "new") + lost(&json, "keep-alive") == 0;
    }
    is_zero
}

fn own(serve: &str) -> Vec<String> {
    vec![std::env::current_exe().unwrap().display().to_string(), serve.to_owned()]
}

fn restarts(count: &str, options: &[&str], program: &[String]) -> Value {
    let mut arguments = vec!["--restarts", count, "--between", "400ms", "--clients", "12"];
    arguments.extend(options);
    arguments.push("--");
    arguments.extend(program.iter().map(String::as_str));
    let (output, json) = verify(&arguments);
    assert!(!json.is_null(), "{}", String::from_utf8_lossy(&output.stderr));
    for loss in json["table"]["losses"].as_array().unwrap().iter().take(3) {
        println!("    {} {} {}: {}", loss["kind"], loss["method"], loss["ending"], loss["why"]);
    }
    json
}

fn row(name: &str, json: &Value) {
    let [new, keep_alive, h2] = ["new", "keep-alive", "h2"].map(|kind| lost(json, kind));
    let (requests, rate) = (json["requests"].as_u64().unwrap(), json["requests_per_second"].as_f64().unwrap());
    println!("{name:<40} {requests:>8} {rate:>6.0} {new:>5} {keep_alive:>5} {h2:>5} {:>4.0}", around(json));
}

/// The longest answer around a restart, in milliseconds.
fn around(json: &Value) -> f64 {
    let rows = json["table"]["rows"].as_array().unwrap();
    rows.iter().filter_map(|row| row["around"]["max_ms"].as_f64()).fold(0.0, f64::max)
}
