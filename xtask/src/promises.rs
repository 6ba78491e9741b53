//! The promises in numbers, as a table.
//!
//! SPECIFICATION.md tells them to people; this table measures them. Each is named there as `promise ID` in code style, and
//! a test below holds the two together. What measures a promise is a command of cargo: it fails where the promise is not
//! kept, and tells its figure in a line `figure: ...`; without such a line the figure is the number of tests.

use std::process::ExitCode;

use crate::{
    cargo::{self, Outcome},
    report::folded,
    unknown,
};

/// One promise.
pub(crate) struct Promise {
    pub(crate) id: &'static str,
    pub(crate) sentence: &'static str,
    /// The number to reach.
    bar: &'static str,
    /// What it stands for, by the numbers of the requirements.
    requirement: &'static str,
    /// The package that measures; while there is none the promise is pending.
    package: &'static str,
    /// Arguments for cargo.
    measure: &'static [&'static str],
}

/// All promises, in the order of SPECIFICATION.md.
pub(crate) const PROMISES: &[Promise] = &[
    Promise {
        id: "torture",
        sentence: "A component may hang, block, loop or panic: the process ends in time all the same, and says who it was.",
        bar: "every row: <= budget + 50 ms; after a second signal: <= 50 ms",
        requirement: "R3.2e, R3.3c",
        package: "evenkeel-torture",
        measure: &[
            "run",
            "--release",
            "--package",
            "evenkeel-torture",
            "--bin",
            "torture-measure",
            "--",
            "--runs",
            "3",
        ],
    },
    Promise {
        id: "simulation",
        sentence: "Whatever goes wrong at whatever step, nothing is released before all that depend on it have ended.",
        bar: "0 broken invariants in the whole sweep",
        requirement: "R2.3a, R3.1a, R3.2a, R4.4a",
        package: "evenkeel-sim",
        measure: &["test", "--release", "--package", "evenkeel-sim"],
    },
    Promise {
        id: "journal",
        sentence: "Whatever a crash leaves on the disk, all records that were acknowledged are there, and no others.",
        bar: "0 lost, 0 invented, 0 replayed twice in >= 100,000 crash points over >= 1,000 workloads; each planted bug found",
        requirement: "R4.3b, R4.3c",
        package: "evenkeel-journal",
        measure: &[
            "test",
            "--release",
            "--package",
            "evenkeel-journal",
            "--features",
            "sabotage",
            "--test",
            "crash",
            "--",
            "--show-output",
        ],
    },
    Promise {
        id: "engine-floor",
        sentence: "A task in a component's scope costs little more than a bare one, and a clean stop wastes no time.",
        bar: "tasks <= 1.25 x TaskTracker; stop >= 5 x faster and bytes >= 5 x fewer than the peer; waste <= 5 ms",
        requirement: "R3.1a, R3.1b",
        package: "evenkeel-bench",
        measure: &["run", "--release", "--package", "evenkeel-bench", "--bin", "engine", "--", "--check"],
    },
    Promise {
        id: "restarts",
        sentence: "A restart under load loses no request and refuses nobody, whatever kind the client is.",
        bar: "0 lost in 100 restarts each by hand-over, side by side and by stop-then-start, over new, kept and HTTP/2 \
              connections, GET and POST, at >= 5,000 requests/s; axum::serve loses, HAProxy with idle-close-on-response not",
        requirement: "R4.1b",
        package: "evenkeel-cli",
        measure: &["bench", "--package", "evenkeel-cli", "--bench", "restarts"],
    },
    Promise {
        id: "http-cost",
        sentence: "Serving HTTP without losing a request costs no more than serving it with hyper or axum::serve.",
        bar: "requests/s >= 0.97 of each; p99, CPU time per request and bytes per idle connection <= 1.03 of each",
        requirement: "R4.1a",
        package: "evenkeel-bench",
        measure: &["run", "--release", "--package", "evenkeel-bench", "--bin", "http", "--", "--check"],
    },
    Promise {
        id: "http-hostile",
        sentence: "Clients that leave, flood, break the rules or reach panics harm no other client, and leave nothing behind.",
        bar: "100,000 of each of 20 kinds: right status or close, each accepted request ended once, all others answered; \
              no connection, task, descriptor or memory more than before",
        requirement: "R4.1a",
        package: "evenkeel-http",
        measure: &["bench", "--package", "evenkeel-http", "--bench", "hostile"],
    },
    Promise {
        id: "drain",
        sentence: "A drain keeps its deadlines: what rests is closed with the linger, what is stuck is cut off and named.",
        bar: "connections at rest: linger + 50 ms; each stuck kind: its deadline + 100 ms at most, never before it",
        requirement: "R4.1a",
        package: "evenkeel-http",
        measure: &["bench", "--package", "evenkeel-http", "--bench", "drain"],
    },
    Promise {
        id: "shop",
        sentence: "An order that the shop has acknowledged is there, is charged once and comes to its end, however often \
                   the shop is stopped or killed.",
        bar: "0 of the acknowledged orders missing after 50 stops at full load over kept, new and HTTP/2 connections; \
              after 50 more and 10 kills on PostgreSQL, and 16 kills on SQLite: orders, stock and payments agree",
        requirement: "R4.1a, R4.2b, R4.4b, R5.1a",
        package: "shop",
        measure: &[
            "test",
            "--release",
            "--config",
            "env.EVENKEEL_RESTARTS='50'",
            "--package",
            "shop",
            "--test",
            "shop",
            "--",
            "--nocapture",
            "--test-threads=1",
            "restarts::",
        ],
    },
    Promise {
        id: "misuse",
        sentence: "A cycle, a missing part and a use after close do not compile, and the compiler's message says why.",
        bar: "every misuse is refused with the message on record",
        requirement: "R3.2a",
        package: "evenkeel",
        measure: &["test", "--package", "evenkeel", "--test", "misuse", "--", "--show-output"],
    },
];

impl Promise {
    fn is_pending(&self) -> bool {
        let test = self.measure.iter().skip_while(|word| **word != "--test").nth(1);
        !cargo::has_package(self.package) || test.is_some_and(|test| !cargo::has_test(self.package, test))
    }
}

/// Names all promises.
pub(crate) fn list() -> ExitCode {
    for promise in PROMISES {
        let pending = if promise.is_pending() { "  [pending]" } else { "" };
        println!("{}{pending}", promise.id);
        println!("{}", folded(&format!("  {}", promise.sentence), "  "));
        println!("{}", folded(&format!("  bar: {}", promise.bar), "       "));
        println!("  for: {}\n", promise.requirement);
    }
    ExitCode::SUCCESS
}

/// Measures one promise.
pub(crate) fn run(id: &str) -> ExitCode {
    let Some(promise) = PROMISES.iter().find(|promise| promise.id == id) else {
        return unknown("promise", id, PROMISES.iter().map(|promise| promise.id));
    };
    if promise.is_pending() {
        eprintln!("error: the promise `{id}` is pending: nothing measures it yet");
        return ExitCode::FAILURE;
    }
    let outcome = cargo::tested(cargo::with(promise.measure));
    let kept = is_kept(&outcome);
    println!("\n{}", folded(promise.sentence, ""));
    println!("{}", folded(&format!("bar:    {}", promise.bar), "        "));
    println!("{}", folded(&format!("figure: {}", figure(&outcome)), "        "));
    println!("{}", if kept { "kept" } else { "NOT KEPT" });
    cargo::exit_code(kept)
}

/// A measurement that measured nothing keeps no promise.
fn is_kept(outcome: &Outcome) -> bool {
    outcome.succeeded && (outcome.figure.is_some() || outcome.tally.passed > 0)
}

fn figure(outcome: &Outcome) -> String {
    let tally = &outcome.tally;
    let tests = || format!("{} passed, {} failed, {} skipped", tally.passed, tally.failed, tally.skipped.len());
    outcome.figure.clone().unwrap_or_else(tests)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;

    /// The ids that a text names as `promise ID` in code style, with any command before it.
    fn named(text: &str) -> BTreeSet<&str> {
        let code = text.split('`').skip(1).step_by(2);
        let ids = code.filter_map(|code| code.split_once("promise ")).map(|(_, id)| id.trim());
        ids.filter(|id| id.starts_with(|first: char| first.is_ascii_lowercase())).collect()
    }

    #[test]
    fn specification_and_table_name_the_same_promises() {
        let Ok(text) = fs::read_to_string(cargo::root().join("SPECIFICATION.md")) else {
            println!("SPECIFICATION.md is not there yet: nothing to compare");
            return;
        };
        let table: BTreeSet<&str> = PROMISES.iter().map(|promise| promise.id).collect();
        assert_eq!(named(&text), table, "left: SPECIFICATION.md; right: PROMISES in xtask/src/promises.rs");
    }

    #[test]
    fn ids_are_found_in_code_style_alone() {
        let text =
            "Run `./x promise torture` (or `promise misuse`), not promise this; see `promise --list`, `promise ID`.";
        assert_eq!(named(text), BTreeSet::from(["torture", "misuse"]));
    }

    #[test]
    fn nothing_measured_is_not_kept() {
        let silent = Outcome { succeeded: true, ..Outcome::default() };
        assert!(!is_kept(&silent));
        assert!(is_kept(&Outcome { figure: Some("3 ms".to_owned()), ..silent }));
    }
}
