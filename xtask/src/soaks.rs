//! Fuzzers, as a table. Each has a short run among the tests of its package; here it runs for as long as one likes.

use std::process::ExitCode;

use crate::{cargo, unknown};

struct Soak {
    name: &'static str,
    why: &'static str,
    package: &'static str,
    /// A bench target; its one argument is the number of minutes.
    target: &'static str,
}

const SOAKS: &[Soak] = &[Soak {
    name: "http",
    why: "broken HTTP/1 and HTTP/2 sessions against the real server",
    package: "evenkeel-http",
    target: "fuzz",
}];

pub(crate) fn list() -> ExitCode {
    SOAKS.iter().for_each(|soak| println!("{:<12} {}", soak.name, soak.why));
    ExitCode::SUCCESS
}

pub(crate) fn run(name: &str, minutes: u32) -> ExitCode {
    let Some(soak) = SOAKS.iter().find(|soak| soak.name == name) else {
        return unknown("soak", name, SOAKS.iter().map(|soak| soak.name));
    };
    let minutes = minutes.to_string();
    cargo::exit_code(cargo::run(&["bench", "--package", soak.package, "--bench", soak.target, "--", &minutes]))
}
