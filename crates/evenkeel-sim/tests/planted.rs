//! Each bug that can be planted in the engine is found, by the invariant that it breaks and within few runs.

#![allow(clippy::print_stdout, reason = "a test says what it found")]

use evenkeel_sim::{Invariant, Sabotage, shrink::shrink, sweep::*};

/// Sweeps with the bug planted until this invariant breaks, and makes what was found small.
fn finds(plant: Sabotage, only: Invariant) {
    let hunt = Hunt { plant: Some(plant), only: Some(only) };
    // One thread: the first failure is then the same in every run.
    let swept = sweep(Sweep { seed: 1, runs: 5_000, graphs: 0, hunt, threads: 1 });
    let Some(failure) = swept.failure.clone() else { panic!("{plant:?} does not break {only:?}: {swept}") };
    let runs = swept.runs;
    println!("{plant:?}: found after {runs} runs; at its smallest: {}", shrink(failure, Some(plant)));
}

#[test]
fn a_release_that_does_not_wait_for_dependents() {
    finds(Sabotage::ReleaseEarly, Invariant::ReleasedAfterDependents);
}

#[test]
fn a_component_that_is_told_to_stop_twice() {
    finds(Sabotage::StopTwice, Invariant::StoppedOnce);
}

#[test]
fn a_component_that_is_forgotten() {
    finds(Sabotage::ForgetOne, Invariant::StoppedOnce);
}

#[test]
fn a_deadline_that_passes() {
    finds(Sabotage::IgnoreDeadline, Invariant::Deadline);
}

#[test]
fn a_first_cause_that_is_lost() {
    finds(Sabotage::LoseFirstCause, Invariant::FirstCause);
}

#[test]
fn a_start_during_a_stop() {
    finds(Sabotage::StartWhileStopping, Invariant::NoStartAfterStop);
}

#[test]
fn a_start_that_does_not_wait() {
    finds(Sabotage::StartEarly, Invariant::StartOrder);
}

#[test]
fn a_stop_that_is_called_clean_and_is_not() {
    finds(Sabotage::CallItClean, Invariant::ReceiptIsTrue);
}

#[test]
fn a_state_that_is_passed_over() {
    finds(Sabotage::LeapState, Invariant::Table);
}

#[test]
fn an_optional_component_that_ends_the_service() {
    finds(Sabotage::OptionalIsEssential, Invariant::Optional);
}

#[test]
fn a_service_that_stays_ready() {
    finds(Sabotage::StayReady, Invariant::Traffic);
}
