//! Crashes at every step, on a disk that reorders, tears, forgets names and fails, under the shipped code.

#![allow(clippy::print_stdout, reason = "a test says what it found")]

mod rot;
mod workload;

use std::{thread, time::Instant};

use evenkeel_journal::Sabotage;
use workload::{Invariant, Tally, Violation, run};

fn from_env(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text:?}")),
        Err(_) => otherwise,
    }
}

fn sweep(from: u64, to: u64) -> Result<Tally, Violation> {
    let mut all = Tally::default();
    for seed in from..to {
        let one = run(seed, None)?;
        all.workloads += one.workloads;
        all.crashes += one.crashes;
        all.in_recovery += one.in_recovery;
        all.failed_syncs += one.failed_syncs;
        all.full += one.full;
    }
    Ok(all)
}

/// At least 100,000 crash points over at least 1,000 workloads. `EVENKEEL_JOURNAL_WORKLOADS`, `EVENKEEL_SIM_SEED`.
#[test]
fn whatever_a_crash_leaves_all_that_was_acknowledged_is_there_and_nothing_else_r4_3() {
    let (seed, workloads) = (from_env("EVENKEEL_SIM_SEED", 1), from_env("EVENKEEL_JOURNAL_WORKLOADS", 1_200));
    let began = Instant::now();
    let half = seed + workloads / 2;
    let other = thread::spawn(move || sweep(half, seed + workloads));
    let tallies = [sweep(seed, half), other.join().expect("it does not panic")];
    let sum = |count: fn(&Tally) -> u64| -> u64 { tallies.iter().map(|tally| tally.as_ref().map_or(0, count)).sum() };
    let (crashes, in_recovery) = (sum(|tally| tally.crashes), sum(|tally| tally.in_recovery));
    println!(
        "figure: {} crash points over {} workloads from seed {seed}, {in_recovery} of them in a recovery; {} ended by a \
         failed sync, {} met a full disk; {:.1} s",
        crashes + in_recovery,
        sum(|tally| tally.workloads),
        sum(|tally| tally.failed_syncs),
        sum(|tally| tally.full),
        began.elapsed().as_secs_f64()
    );
    for tally in &tallies {
        assert!(tally.is_ok(), "{tally:?}");
    }
    assert!(workloads < 1_000 || crashes >= 100_000, "too few crash points: {crashes}");
}

/// The bug is found, and by this invariant.
fn finds(bug: Sabotage, invariants: &[Invariant]) {
    let found = (1..2_000).find_map(|seed| run(seed, Some(bug)).err());
    let Some(violation) = found else { panic!("{bug:?} is not found") };
    println!("{bug:?}: {violation:?}");
    assert!(invariants.contains(&violation.invariant), "{bug:?} broke another: {violation:?}");
}

#[test]
fn planted_an_acknowledgement_before_the_sync() {
    finds(Sabotage::AckBeforeSync, &[Invariant::Lost, Invariant::Refused]);
}

#[test]
fn planted_a_segment_whose_name_is_not_durable() {
    finds(Sabotage::ForgetNames, &[Invariant::Lost, Invariant::Refused]);
}

#[test]
fn planted_a_trim_before_the_checkpoint() {
    finds(Sabotage::TrimFirst, &[Invariant::Refused]);
}

#[test]
fn planted_a_checkpoint_that_is_published_early() {
    finds(Sabotage::PublishEarly, &[Invariant::Refused]);
}

#[test]
fn planted_a_sync_that_is_tried_again() {
    finds(Sabotage::RetrySync, &[Invariant::FalseAck, Invariant::Lost, Invariant::Refused]);
}

#[test]
fn planted_stale_bytes_that_are_taken_for_records() {
    finds(Sabotage::TrustStale, &[Invariant::Invented]);
}

#[test]
fn planted_a_torn_tail_that_is_left() {
    finds(Sabotage::LeaveTail, &[Invariant::Refused]);
}

#[test]
fn planted_a_replay_of_what_the_checkpoint_holds() {
    finds(Sabotage::ReplayAll, &[Invariant::Doubled]);
}

#[test]
fn planted_records_whose_sums_are_not_looked_at() {
    finds(Sabotage::IgnoreSums, &[Invariant::Invented]);
}

#[test]
fn a_flipped_bit_anywhere_is_refused_or_hurts_no_record_before_the_last_batch_r4_3c() {
    let outcome = rot::flip_all(None).unwrap_or_else(|what| panic!("{what}"));
    println!("{outcome:?}");
    assert!(outcome.refused > 500, "{outcome:?}");
}

#[test]
fn planted_damage_that_is_cut_off_like_a_torn_tail() {
    let found = rot::flip_all(Some(Sabotage::CutRot)).expect_err("it is found");
    println!("CutRot: {found}");
    assert!(found.contains("records are there"), "{found}");
}
