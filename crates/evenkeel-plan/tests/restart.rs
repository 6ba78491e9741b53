//! Whether a failed component is started again, and when.

use std::time::Duration;

use evenkeel_plan::restart::{Backoff, History, MAX_FAILURES, Restart, UNLIMITED, Verdict};
use proptest::prelude::*;

const NEVER_READY: Duration = Duration::ZERO;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn the_defaults_are_five_in_a_minute_from_200_ms_to_30_s() {
    let policy = Restart::default();
    assert_eq!((policy.max, policy.within, policy.stable_after), (5, s(60), s(60)));
    assert_eq!((policy.backoff.first, policy.backoff.factor, policy.backoff.max), (ms(200), 2, s(30)));
    assert_eq!(policy.check(), Ok(()));
}

#[test]
fn the_longest_wait_doubles_up_to_the_cap() {
    let longest: Vec<u128> = (1..=10).map(|n| Backoff::default().wait(n, u64::MAX).as_millis() + 1).collect();
    assert_eq!(longest, [200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000]);
}

#[test]
fn the_shortest_wait_is_half_of_the_first_whatever_the_attempt() {
    for attempt in [0, 1, 2, 31, 32, 33, u32::MAX] {
        assert_eq!(Backoff::default().wait(attempt, 0), ms(100), "attempt {attempt}");
    }
}

#[test]
fn jitter_spreads_a_crowd_over_the_whole_wait() {
    let crowd = (0..8_u64).map(|n| Backoff::default().wait(8, n << 61).as_millis());
    assert_eq!(crowd.collect::<Vec<_>>(), [100, 3287, 6475, 9662, 12_850, 16_037, 19_225, 22_412]);
}

#[test]
fn one_failure_more_than_allowed_gives_up() {
    let policy = Restart::new().at_most(2, s(10));
    let mut history = History::default();
    assert!(matches!(history.failed(s(1), NEVER_READY, &policy, 0), Verdict::Again { attempt: 1, .. }));
    assert!(matches!(history.failed(s(2), NEVER_READY, &policy, 0), Verdict::Again { attempt: 2, .. }));
    assert_eq!(history.failed(s(3), NEVER_READY, &policy, 0), Verdict::GiveUp { failures: 3 });
}

#[test]
fn a_policy_that_forgives_nothing_gives_up_at_once() {
    let policy = Restart::new().at_most(0, s(10));
    assert_eq!(History::default().failed(s(1), NEVER_READY, &policy, 0), Verdict::GiveUp { failures: 1 });
}

#[test]
fn failures_that_lie_apart_are_forgiven_for_ever() {
    let policy = Restart::new().at_most(1, s(10));
    let mut history = History::default();
    for n in 0..1000_u64 {
        let verdict = history.failed(ms(n * 10_001), NEVER_READY, &policy, 0);
        assert!(matches!(verdict, Verdict::Again { .. }), "failure {n}: {verdict:?}");
    }
}

#[test]
fn a_stable_time_starts_the_backoff_again() {
    let policy = Restart::new().at_most(100, s(10)).stable_after(s(5));
    let mut history = History::default();
    let attempts = [ms(0), ms(4999), ms(5000), ms(0)].map(|ready| match history.failed(s(1), ready, &policy, 0) {
        Verdict::Again { attempt, .. } => attempt,
        Verdict::GiveUp { .. } => 0,
    });
    assert_eq!(attempts, [1, 2, 1, 2]);
}

#[test]
fn a_stable_time_does_not_hide_a_restart_storm() {
    let policy = Restart::new().at_most(2, s(60)).stable_after(ms(1));
    let mut history = History::default();
    let last = (0..3).map(|n| history.failed(s(n), s(1), &policy, 0)).last();
    assert_eq!(last, Some(Verdict::GiveUp { failures: 3 }));
}

#[test]
fn what_the_service_can_do_without_is_tried_for_ever_r2_3d() {
    let mut history = History::default();
    for n in 1..=10_000 {
        let verdict = history.failed(ms(n), NEVER_READY, &Restart::unlimited(), u64::MAX);
        assert!(matches!(verdict, Verdict::Again { wait, .. } if wait < s(30)));
    }
    assert_eq!(history.remembered(), 0);
}

#[test]
fn a_policy_that_makes_no_sense_is_refused_with_its_reason() {
    let waits = |first, factor, max| Restart::new().backoff(Backoff { first, factor, max });
    let refused = [
        (Restart::new().at_most(MAX_FAILURES + 1, s(1)), "forgives 1001 failures, more than 1000"),
        (Restart::new().at_most(1, s(0)), "counts failures within no time at all"),
        (waits(s(1), 0, s(1)), "multiplies its wait by zero"),
        (waits(s(0), 2, s(1)), "does not wait between starts"),
        (waits(s(1), 2, s(0)), "does not wait between starts"),
    ];
    for (policy, reason) in refused {
        assert_eq!(policy.check(), Err(reason.into()));
    }
    assert_eq!(Restart::unlimited().check(), Ok(()));
    assert_eq!(Restart::unlimited().max, UNLIMITED);
}

proptest! {
    #[test]
    fn a_wait_lies_between_its_floor_and_its_cap(
        first in 1..10_000_u64, factor in 1..10_u32, max in 1..100_000_u64, attempt in 0..100_u32, dice: u64,
    ) {
        let backoff = Backoff { first: ms(first), factor, max: ms(max) };
        let cap = (1..attempt).fold(ms(first), |cap, _| cap.saturating_mul(factor)).min(ms(max));
        let wait = backoff.wait(attempt, dice);
        prop_assert!(wait <= cap, "{:?} is over {:?}", wait, cap);
        prop_assert!(wait >= (ms(first) / 2).min(cap), "{:?} is under the floor", wait);
        prop_assert_eq!(wait, backoff.wait(attempt, dice));
    }

    /// Against a model that remembers everything and counts again each time.
    #[test]
    fn giving_up_agrees_with_a_model_that_forgets_nothing(
        max in 0..6_u32, within in 1..50_u64, gaps in prop::collection::vec(0..20_u64, 1..60),
    ) {
        let policy = Restart::new().at_most(max, s(within));
        let (mut history, mut all, mut now) = (History::default(), Vec::new(), 0);
        for gap in gaps {
            now += gap;
            all.push(now);
            let failures = all.iter().filter(|then| now - **then <= within).count();
            let gave_up = matches!(history.failed(s(now), NEVER_READY, &policy, 0), Verdict::GiveUp { .. });
            prop_assert_eq!(gave_up, failures > max as usize);
            prop_assert!(history.remembered() <= max as usize + 1);
        }
    }
}
