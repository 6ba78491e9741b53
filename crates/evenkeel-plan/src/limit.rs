//! How long one stop may take: once, or in attempts that back off.
//!
//! A limit is always finite. A release that is retried gets a longer attempt each time (R3.2c), and the number of
//! attempts is bounded, so the total is known before the first one begins.

use std::time::Duration;

/// More attempts than this are never made.
pub const MAX_ATTEMPTS: u32 = 32;
/// How long one attempt of a backing-off limit may take when nobody said otherwise.
pub const DEFAULT_MAX_ATTEMPT: Duration = Duration::from_secs(30);

/// How long a drain and release together may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// One attempt of this length.
    Fixed(Duration),
    /// Several attempts, each longer than the one before by a factor.
    Exponential {
        /// Length of the first attempt.
        first: Duration,
        /// What each further attempt is multiplied by.
        factor: u32,
        /// How many attempts there are; at most [`MAX_ATTEMPTS`] are made.
        attempts: u32,
        /// No attempt is longer than this.
        max: Duration,
    },
}

impl Limit {
    /// One attempt of this length.
    #[must_use]
    pub const fn fixed(length: Duration) -> Self {
        Self::Fixed(length)
    }

    /// Several attempts: `first`, `first * factor`, ..., none longer than [`DEFAULT_MAX_ATTEMPT`] or than `first`.
    #[must_use]
    pub fn exponential(first: Duration, factor: u32, attempts: u32) -> Self {
        Self::Exponential { first, factor, attempts, max: DEFAULT_MAX_ATTEMPT.max(first) }
    }

    /// All attempts together.
    #[must_use]
    pub fn total(&self) -> Duration {
        self.attempts().fold(Duration::ZERO, Duration::saturating_add)
    }

    /// The length of each attempt, in order.
    pub fn attempts(&self) -> impl Iterator<Item = Duration> + use<> {
        let (first, factor, attempts, max) = match *self {
            Self::Fixed(length) => (length, 1, 1, length),
            Self::Exponential { first, factor, attempts, max } => (first, factor, attempts.min(MAX_ATTEMPTS), max),
        };
        let mut next = first;
        (0..attempts).map(move |_| {
            let length = next.min(max);
            next = next.saturating_mul(factor);
            length
        })
    }

    /// Whether the limit makes sense.
    ///
    /// # Errors
    /// What is wrong with it, as the end of a sentence that begins with whose limit it is.
    pub fn check(&self) -> Result<(), String> {
        match *self {
            Self::Fixed(Duration::ZERO) => Err("is zero".into()),
            Self::Exponential { attempts: 0, .. } => Err("allows no attempt".into()),
            Self::Exponential { attempts, .. } if attempts > MAX_ATTEMPTS => {
                Err(format!("allows {attempts} attempts, more than {MAX_ATTEMPTS}"))
            }
            Self::Exponential { factor: 0, .. } => Err("multiplies by zero".into()),
            Self::Exponential { first: Duration::ZERO, .. } => Err("begins with a zero attempt".into()),
            Self::Exponential { max: Duration::ZERO, .. } => Err("caps every attempt at zero".into()),
            Self::Fixed(_) | Self::Exponential { .. } => Ok(()),
        }
    }
}

/// A length of time as logs and drawings write it: seconds with as many decimals as whole milliseconds need, at least
/// one; milliseconds below a second.
#[must_use]
pub fn seconds(length: Duration) -> String {
    // Rounded once, so that 999.6 ms is a second and not "1000 ms".
    let millis = (length.as_nanos() + 500_000) / 1_000_000;
    match millis {
        0 if length.is_zero() => "0 s".into(),
        0 => "< 1 ms".into(),
        1..1000 => format!("{millis} ms"),
        _ => {
            let decimals = format!("{:03}", millis % 1000);
            let kept = decimals.trim_end_matches('0');
            format!("{}.{} s", millis / 1000, if kept.is_empty() { "0" } else { kept })
        }
    }
}
