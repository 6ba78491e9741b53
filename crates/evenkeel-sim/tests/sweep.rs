//! The sweep that CI runs: random services, random faults, a stop at every step.

#![allow(clippy::print_stdout, reason = "a test says what it found")]

use evenkeel_sim::{Scenario, Stopping, check, run, sweep::*};

fn from_env(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text:?}")),
        Err(_) => otherwise,
    }
}

/// At least 100,000 runs over at least 1,000 different graphs. `EVENKEEL_SIM_RUNS` and `EVENKEEL_SIM_SEED` change it.
#[test]
fn nothing_that_must_never_happen_happens() {
    let runs = from_env("EVENKEEL_SIM_RUNS", 100_000);
    let graphs = usize::try_from(runs / 100).unwrap_or(usize::MAX);
    let seed = from_env("EVENKEEL_SIM_SEED", 1);
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    let swept = sweep(Sweep { seed, runs, graphs, hunt: Hunt::default(), threads });
    println!("seeds from {seed}: {swept}");
    if let Some(failure) = &swept.failure {
        panic!("{failure}");
    }
    assert!(swept.runs >= runs && swept.graphs >= graphs, "{swept}");
}

/// Prints one run: `EVENKEEL_SIM_SEED` says which, `EVENKEEL_SIM_STEP` when it is stopped.
#[test]
fn one() {
    let Ok(step) = std::env::var("EVENKEEL_SIM_STEP") else { return };
    let stopping = step.parse().map_or(Stopping::Never, Stopping::AtStep);
    let scenario = Scenario::generate(from_env("EVENKEEL_SIM_SEED", 1));
    let trace = run(&scenario, stopping, None);
    println!("{scenario:#?}\n{trace}");
    if let Err(violation) = check(&scenario, &trace) {
        panic!("{violation}");
    }
}
