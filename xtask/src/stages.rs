//! The stages of the whole test run, as a table.
//!
//! Cheap ones come first, so that a slip is seen at once; each runs whatever became of the one before. A stage gives
//! back a [`Tally`]: it never prints a verdict of its own and never ends the program.

use std::{process::ExitCode, time::Instant};

use crate::{cargo, deny, report, tally::Tally, unknown};

/// One stage of the test run.
pub(crate) struct Stage {
    pub(crate) name: &'static str,
    /// One line, for `--list`.
    pub(crate) why: &'static str,
    run: fn() -> Tally,
}

/// All stages in the order in which they run.
pub(crate) const STAGES: &[Stage] = &[
    Stage { name: "fmt", why: "the tree is formatted", run: fmt },
    Stage { name: "clippy", why: "no lint fires, in any target", run: clippy },
    Stage { name: "doc", why: "the documentation builds without a warning", run: doc },
    Stage { name: "build", why: "everything builds", run: build },
    Stage { name: "test", why: "unit and integration tests, the numbered examples among them", run: test },
    Stage { name: "doctest", why: "every example in the documentation runs", run: doctest },
    Stage { name: "sim", why: "simulated runs: random graphs, faults, signals at every step", run: sim },
    Stage { name: "journal", why: "crashes of the journal at every step, on a disk that fails", run: journal },
    Stage { name: "torture", why: "real processes: components that hang, block and panic end in time", run: torture },
    Stage { name: "transcripts", why: "what the documentation shows of a terminal is what it shows", run: transcripts },
    Stage { name: "deny", why: "licences, duplicates, sources and advisories of dependencies", run: deny::check },
];

/// Packages whose tests have a stage of their own.
const LONG: &[&str] = &["evenkeel-sim", "evenkeel-torture"];

fn fmt() -> Tally {
    if !cargo::has("fmt") {
        return Tally::skip("rustfmt is not installed (rustup component add rustfmt)");
    }
    Tally::one(cargo::run(&["fmt", "--all", "--check"]))
}

fn clippy() -> Tally {
    if !cargo::has("clippy") {
        return Tally::skip("clippy is not installed (rustup component add clippy)");
    }
    // What these features add is compiled nowhere else but in the stage `journal`.
    let features = "evenkeel-journal/sabotage,evenkeel-journal/tool";
    Tally::one(cargo::run(&["clippy", "--workspace", "--all-targets", "--features", features, "--", "-D", "warnings"]))
}

fn doc() -> Tally {
    // Nothing of these parts is on by default.
    let mut doc = cargo::with(&["doc", "--no-deps", "--workspace", "--features", "evenkeel-parts/all"]);
    Tally::one(doc.env("RUSTDOCFLAGS", "-D warnings").status().is_ok_and(|status| status.success()))
}

fn build() -> Tally {
    Tally::one(cargo::run(&without_long(&["build", "--workspace", "--all-targets"])))
}

/// With what tests print, because a test that leaves itself out says so there. The tests of the numbered examples run
/// the examples themselves, so those are built first.
fn test() -> Tally {
    if !cargo::run(&without_long(&["build", "--workspace", "--examples"])) {
        return Tally::one(false);
    }
    let mut arguments = without_long(&["test", "--workspace", "--tests", "--no-fail-fast"]);
    arguments.extend(["--", "--show-output"]);
    tests(&arguments)
}

/// The long ones build their own way: some of them switch planted bugs on, which no other test may see.
fn without_long<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    let there = LONG.iter().filter(|package| cargo::has_package(package));
    arguments.iter().copied().chain(there.flat_map(|package| ["--exclude", package])).collect()
}

fn doctest() -> Tally {
    tests(&without_long(&["test", "--workspace", "--doc", "--no-fail-fast"]))
}

fn sim() -> Tally {
    long("evenkeel-sim", &[])
}

/// Its planted bugs are switched on for this stage alone; its other tests run with everybody's.
fn journal() -> Tally {
    let features = ["--features", "sabotage,tool", "--test", "crash", "--test", "faults", "--test", "tool"];
    let arguments = ["test", "--release", "--no-fail-fast", "--package", "evenkeel-journal"];
    tests(&[&arguments[..], &features[..], &["--", "--show-output"]].concat())
}

fn torture() -> Tally {
    long("evenkeel-torture", &["torture", "probes", "restarts", "handover", "manager", "systemd", "init", "doctor"])
}

fn transcripts() -> Tally {
    long("evenkeel-torture", &["transcripts"])
}

/// The tests of a long package that are in these files of its `tests/`, or all; skipped while they are not there.
fn long(package: &'static str, files: &[&'static str]) -> Tally {
    if !cargo::has_package(package) {
        return Tally::skip(format!("there is no package `{package}` yet"));
    }
    if let Some(file) = files.iter().find(|file| !cargo::has_test(package, file)) {
        return Tally::skip(format!("`{package}` has no tests called `{file}` yet"));
    }
    let mut arguments = vec!["test", "--release", "--no-fail-fast", "--package", package];
    files.iter().for_each(|file| arguments.extend(["--test", file]));
    tests(&arguments)
}

/// Runs tests. Where cargo fails and no test says so, something did not build or a test binary died: that is a failure.
fn tests(arguments: &[&str]) -> Tally {
    let outcome = cargo::tested(cargo::with(arguments));
    let mut tally = outcome.tally;
    if !outcome.succeeded && tally.failed == 0 {
        tally.failed = 1;
    }
    tally
}

/// Names the stages.
pub(crate) fn list() -> ExitCode {
    STAGES.iter().for_each(|stage| println!("{:<12} {}", stage.name, stage.why));
    ExitCode::SUCCESS
}

/// Runs all stages, or those named, and reports.
pub(crate) fn run(only: &[String]) -> ExitCode {
    if let Some(name) = only.iter().find(|name| STAGES.iter().all(|stage| stage.name != **name)) {
        return unknown("stage", name, STAGES.iter().map(|stage| stage.name));
    }
    let wanted: Vec<&Stage> =
        STAGES.iter().filter(|stage| only.is_empty() || only.iter().any(|name| name == stage.name)).collect();
    let rows: Vec<report::Row> = wanted.iter().enumerate().map(|(at, stage)| timed(stage, at, wanted.len())).collect();
    print!("{}", report::text(&rows));
    cargo::exit_code(rows.iter().all(|row| row.tally.failed == 0))
}

fn timed(stage: &Stage, at: usize, of: usize) -> report::Row {
    println!("\n=== {} of {of}: {} - {}", at + 1, stage.name, stage.why);
    let began = Instant::now();
    let tally = (stage.run)();
    let took = began.elapsed();
    let verdict = verdict(&tally);
    println!("=== {}: {verdict} in {:.1} s", stage.name, took.as_secs_f64());
    tally.skipped.iter().for_each(|reason| println!("=== {}: SKIPPED: {reason}", stage.name));
    report::Row { name: stage.name, took, tally }
}

fn verdict(tally: &Tally) -> &'static str {
    match tally {
        tally if tally.failed > 0 => "FAILED",
        tally if tally.passed == 0 && !tally.skipped.is_empty() => "skipped",
        tally if tally.is_empty() => "nothing to do",
        _ => "passed",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_stage_has_a_name_of_its_own_and_a_reason() {
        for (index, stage) in STAGES.iter().enumerate() {
            assert!(STAGES[..index].iter().all(|earlier| earlier.name != stage.name), "{} is there twice", stage.name);
            assert!(stage.name.len() < 12 && stage.why.len() <= 67, "{} does not fit 80 columns", stage.name);
        }
    }
}
