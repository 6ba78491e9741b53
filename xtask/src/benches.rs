//! Comparisons with peers, as a table.

use std::process::ExitCode;

use crate::{cargo, unknown};

struct Bench {
    name: &'static str,
    why: &'static str,
    package: &'static str,
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "engine",
        why: "start, stop and memory of tasks and components; time wasted in a stop",
        package: "evenkeel-bench",
    },
    Bench {
        name: "http",
        why: "requests/s, p99, CPU time and memory against hyper and axum::serve",
        package: "evenkeel-bench",
    },
    Bench {
        name: "journal",
        why: "durable appends and replay against one sync per record and a bare batching writer",
        package: "evenkeel-journal",
    },
];

pub(crate) fn list() -> ExitCode {
    BENCHES.iter().for_each(|bench| println!("{:<12} {}", bench.name, bench.why));
    ExitCode::SUCCESS
}

pub(crate) fn run(name: &str, arguments: &[String]) -> ExitCode {
    let Some(bench) = BENCHES.iter().find(|bench| bench.name == name) else {
        return unknown("bench", name, BENCHES.iter().map(|bench| bench.name));
    };
    // Those that need no peers of other crates live with what they measure.
    let mut all = match bench.package {
        "evenkeel-bench" => vec!["run", "--release", "--package", bench.package, "--bin", bench.name, "--"],
        package => vec!["bench", "--package", package, "--bench", bench.name, "--"],
    };
    all.extend(arguments.iter().map(String::as_str));
    cargo::exit_code(cargo::run(&all))
}
