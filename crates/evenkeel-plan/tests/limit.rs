//! How long a stop may take.

use std::time::Duration;

use evenkeel_plan::limit::{DEFAULT_MAX_ATTEMPT, Limit, MAX_ATTEMPTS, seconds};
use proptest::prelude::*;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[test]
fn a_fixed_limit_is_one_attempt_r3_2c() {
    let limit = Limit::fixed(ms(5000));
    assert_eq!(limit.attempts().collect::<Vec<_>>(), [ms(5000)]);
    assert_eq!(limit.total(), ms(5000));
}

#[test]
fn a_release_backs_off_exponentially_r3_2c() {
    let limit = Limit::exponential(ms(100), 3, 4);
    assert_eq!(limit.attempts().collect::<Vec<_>>(), [ms(100), ms(300), ms(900), ms(2700)]);
    assert_eq!(limit.total(), ms(4000));
}

#[test]
fn no_attempt_is_longer_than_the_cap_r3_2c() {
    let limit = Limit::Exponential { first: ms(100), factor: 10, attempts: 4, max: ms(500) };
    assert_eq!(limit.attempts().collect::<Vec<_>>(), [ms(100), ms(500), ms(500), ms(500)]);
}

#[test]
fn a_first_attempt_longer_than_the_default_cap_raises_the_cap() {
    let first = DEFAULT_MAX_ATTEMPT * 2;
    assert_eq!(Limit::exponential(first, 2, 2).total(), first * 2);
}

#[test]
fn the_number_of_attempts_is_bounded() {
    let limit = Limit::exponential(ms(1), 1, u32::MAX);
    assert_eq!(limit.attempts().count(), MAX_ATTEMPTS as usize);
    assert_eq!(limit.total(), ms(u64::from(MAX_ATTEMPTS)));
}

#[test]
fn a_limit_that_makes_no_sense_is_refused_with_its_reason() {
    let capped = |max| Limit::Exponential { first: ms(1), factor: 2, attempts: 2, max };
    let refused = [
        (Limit::fixed(Duration::ZERO), "is zero"),
        (Limit::exponential(Duration::ZERO, 2, 3), "begins with a zero attempt"),
        (Limit::exponential(ms(1), 0, 3), "multiplies by zero"),
        (Limit::exponential(ms(1), 2, 0), "allows no attempt"),
        (Limit::exponential(ms(1), 2, 33), "allows 33 attempts, more than 32"),
        (capped(Duration::ZERO), "caps every attempt at zero"),
    ];
    for (limit, reason) in refused {
        assert_eq!(limit.check(), Err(reason.into()), "{limit:?}");
    }
    assert_eq!(Limit::fixed(ms(1)).check(), Ok(()));
    assert_eq!(Limit::exponential(ms(1), 1, 32).check(), Ok(()));
}

#[test]
fn lengths_are_written_in_seconds_or_milliseconds() {
    let written = [
        (Duration::ZERO, "0 s"),
        (Duration::from_nanos(1), "< 1 ms"),
        (ms(200), "200 ms"),
        (Duration::from_micros(999_600), "1.0 s"),
        (ms(5000), "5.0 s"),
        (ms(29_800), "29.8 s"),
        (ms(4257), "4.257 s"),
        (Duration::MAX, "18446744073709551616.0 s"),
    ];
    for (length, text) in written {
        assert_eq!(seconds(length), text);
    }
}

proptest! {
    /// R3.2e: whatever is declared, the total is known, and it is what the attempts add up to.
    #[test]
    fn the_total_is_the_sum_of_bounded_attempts_r3_2e(
        first in 0..u64::MAX, factor in any::<u32>(), attempts in any::<u32>(), max in 0..u64::MAX,
    ) {
        let (first, max) = (Duration::from_nanos(first), Duration::from_nanos(max));
        let limit = Limit::Exponential { first, factor, attempts, max };
        let each: Vec<Duration> = limit.attempts().collect();
        prop_assert!(each.len() <= MAX_ATTEMPTS as usize);
        prop_assert!(each.iter().all(|attempt| *attempt <= max));
        prop_assert_eq!(limit.total(), each.iter().sum());
        // Naive: multiply in wide arithmetic.
        let mut wide = first.as_nanos();
        for attempt in each {
            prop_assert_eq!(attempt.as_nanos(), wide.min(max.as_nanos()));
            wide = wide.saturating_mul(u128::from(factor)).min(u128::from(u64::MAX) * 2);
        }
    }
}
