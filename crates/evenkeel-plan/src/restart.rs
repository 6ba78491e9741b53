//! Whether a failed component is started again, and how long to wait first.
//!
//! Three rules, in this order. *Intensity*: more than `max` failures within a period and it is given up, however long
//! it was up in between. *Backoff*: each failure in a row waits longer, with jitter, so that a crowd of components does
//! not come back in one instant. *Reset*: after a stable time the next failure is the first again. Clock and dice are
//! arguments: the same history gives the same verdicts.

use std::{collections::VecDeque, time::Duration};

/// A policy that allows more failures than this within its period is refused: every one of them is remembered.
pub const MAX_FAILURES: u32 = 1000;
/// As [`Restart::max`]: never give up, whatever the period holds.
pub const UNLIMITED: u32 = u32::MAX;

/// How the wait before a further start grows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    /// The longest wait before the first further start.
    pub first: Duration,
    /// What the longest wait is multiplied by from one attempt to the next.
    pub factor: u32,
    /// No wait is longer than this.
    pub max: Duration,
}

impl Default for Backoff {
    /// 200 ms, doubling, up to 30 s.
    fn default() -> Self {
        Self { first: Duration::from_millis(200), factor: 2, max: Duration::from_secs(30) }
    }
}

impl Backoff {
    /// The wait before attempt number `attempt`, counted from one. `dice` is uniform over all of `u64`; the wait is
    /// then uniform between half of `first` (never hammer) and `first * factor^(attempt - 1)`, none longer than `max`.
    #[must_use]
    pub fn wait(&self, attempt: u32, dice: u64) -> Duration {
        let cap = self.cap(attempt);
        let floor = (self.first / 2).min(cap);
        floor.saturating_add(fraction(cap - floor, dice))
    }

    /// The longest wait before this attempt.
    fn cap(&self, attempt: u32) -> Duration {
        let factor = self.factor.checked_pow(attempt.saturating_sub(1)).unwrap_or(u32::MAX);
        self.first.saturating_mul(factor).min(self.max)
    }
}

/// `dice / 2^64` of `whole`. Wholes beyond 584 years count as 584 years.
fn fraction(whole: Duration, dice: u64) -> Duration {
    let nanos = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
    let part = (u128::from(nanos) * u128::from(dice)) >> 64;
    Duration::from_nanos(u64::try_from(part).expect("a part is no more than the whole"))
}

/// When a failed component is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// How many failures within the period are forgiven; one more gives up. At most [`MAX_FAILURES`], or [`UNLIMITED`].
    pub max: u32,
    /// The period in which failures are counted.
    pub within: Duration,
    /// How long to wait before each further start.
    pub backoff: Backoff,
    /// Whoever was ready for this long starts the next backoff from the beginning.
    pub stable_after: Duration,
}

impl Default for Restart {
    /// Five failures within 60 s are forgiven; stable after 60 s.
    fn default() -> Self {
        Self {
            max: 5,
            within: Duration::from_secs(60),
            backoff: Backoff::default(),
            stable_after: Duration::from_secs(60),
        }
    }
}

impl Restart {
    /// The default policy.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The default backoff, for ever: for what the service can do without (R2.3d).
    #[must_use]
    pub fn unlimited() -> Self {
        Self { max: UNLIMITED, ..Self::default() }
    }

    /// The same, forgiving `max` failures `within` a period.
    #[must_use]
    pub fn at_most(mut self, max: u32, within: Duration) -> Self {
        self.max = max;
        self.within = within;
        self
    }

    /// The same, waiting by this backoff.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// The same, with another stable time.
    #[must_use]
    pub fn stable_after(mut self, time: Duration) -> Self {
        self.stable_after = time;
        self
    }

    /// Whether the policy makes sense.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that begins with whose policy it is.
    pub fn check(&self) -> Result<(), String> {
        if self.max > MAX_FAILURES && self.max != UNLIMITED {
            return Err(format!("forgives {} failures, more than {MAX_FAILURES}", self.max));
        }
        if self.within.is_zero() {
            return Err("counts failures within no time at all".into());
        }
        if self.backoff.factor == 0 {
            return Err("multiplies its wait by zero".into());
        }
        if self.backoff.first.is_zero() || self.backoff.max.is_zero() {
            return Err("does not wait between starts".into());
        }
        Ok(())
    }
}

/// What a failure leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start it again after a wait.
    Again {
        /// How long to wait.
        wait: Duration,
        /// Which attempt in a row this will be, counted from one.
        attempt: u32,
    },
    /// Do not start it again.
    GiveUp {
        /// How many failures the period holds.
        failures: u32,
    },
}

/// The failures of one component. Its memory is bounded by the policy's `max`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// When it failed, oldest first: at most `max + 1` entries, all within the period.
    failures: VecDeque<Duration>,
    /// Attempts since it was last stable.
    attempts: u32,
}

impl History {
    /// It failed. `now` is the time since the run began, `was_ready_for` how long it had been ready (zero if it never
    /// was), `dice` a uniform `u64`.
    pub fn failed(&mut self, now: Duration, was_ready_for: Duration, policy: &Restart, dice: u64) -> Verdict {
        if was_ready_for >= policy.stable_after {
            self.attempts = 0;
        }
        let failures = self.count(now, policy);
        if failures > policy.max {
            return Verdict::GiveUp { failures };
        }
        self.attempts = self.attempts.saturating_add(1);
        Verdict::Again { wait: policy.backoff.wait(self.attempts, dice), attempt: self.attempts }
    }

    /// How many failures are remembered.
    #[must_use]
    pub fn remembered(&self) -> usize {
        self.failures.len()
    }

    /// Remembers this failure and forgets those before the period; answers how many are left. A policy that never gives
    /// up has nothing to count.
    fn count(&mut self, now: Duration, policy: &Restart) -> u32 {
        if policy.max == UNLIMITED {
            self.failures.clear();
            return 0;
        }
        self.failures.push_back(now);
        let limit = policy.max.min(MAX_FAILURES) as usize + 1;
        while self.failures.len() > limit
            || self.failures.front().is_some_and(|&then| now.saturating_sub(then) > policy.within)
        {
            self.failures.pop_front();
        }
        u32::try_from(self.failures.len()).expect("bounded by MAX_FAILURES")
    }
}
