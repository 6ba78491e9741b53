//! What was counted: the loss table, for people at 80 columns and as data.

use std::{fmt, sync::Arc, time::Duration};

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::{
    ending::Ending,
    plan::{Kind, Method},
    tally::{Book, Counted, Tally},
};

/// All rows of a load.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// A row for each kind with each method.
    pub rows: Vec<Row>,
    /// How many restarts there were.
    pub restarts: u64,
    /// How long the load was on, in seconds.
    pub seconds: f64,
    /// The first requests that were not answered, 3 for each kind and way of ending.
    pub losses: Vec<Loss>,
}

/// What became of the requests of one kind with one method.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    /// How connections were used.
    pub kind: Kind,
    /// What was asked.
    pub method: Method,
    /// Requests that were begun; the sum of the nine below.
    pub requests: u64,
    /// See [`Ending::Answered`].
    pub answered: u64,
    /// See [`Ending::Refused`].
    pub refused: u64,
    /// See [`Ending::Reset`].
    pub reset: u64,
    /// See [`Ending::Unanswered`].
    pub unanswered: u64,
    /// See [`Ending::Raced`].
    pub raced: u64,
    /// See [`Ending::CutShort`].
    pub cut_short: u64,
    /// See [`Ending::TimedOut`].
    pub timed_out: u64,
    /// See [`Ending::Bad`].
    pub bad: u64,
    /// See [`Ending::Hindered`].
    pub hindered: u64,
    /// How often HTTP/2 said that a request was not looked at, and it was sent again. No loss.
    pub resent: u64,
    /// How often a kept connection had been closed, announced or not, before the next request was sent, so that another
    /// was opened. No loss.
    pub reopened: u64,
    /// How long answers took apart from any restart.
    pub calm: Latency,
    /// How long answers took around restarts.
    pub around: Latency,
}

/// How long answers took, in milliseconds, from the beginning of the request to the last byte; 0 if there were none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Latency {
    /// Half of them took no longer.
    pub p50_ms: f64,
    /// 99 of 100 took no longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

/// One request that was not answered.
#[derive(Clone, Debug, Serialize)]
pub struct Loss {
    /// How its connection was used.
    pub kind: Kind,
    /// What was asked.
    pub method: Method,
    /// How it ended.
    pub ending: Ending,
    /// What the client was told.
    pub why: String,
    /// When it ended, from the beginning of the load.
    #[serde(serialize_with = "seconds", rename = "at_s")]
    pub at: Duration,
    /// How long it took.
    #[serde(serialize_with = "seconds", rename = "took_s")]
    pub took: Duration,
    /// Around which restart, counted from 1.
    pub restart: Option<u64>,
}

fn seconds<S: serde::Serializer>(time: &Duration, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_f64(time.as_secs_f64())
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, method, ending, why, .. } = self;
        write!(f, "{kind} {method} {} after {:.1} ms", ending.name(), self.took.as_secs_f64() * 1e3)?;
        match self.restart {
            Some(restart) => write!(f, ", around restart {restart}")?,
            None => write!(f, ", {:.3} s after the beginning", self.at.as_secs_f64())?,
        }
        if why.is_empty() { Ok(()) } else { write!(f, ": {why}") }
    }
}

impl Table {
    pub(crate) fn of(rows: &[(Kind, Method)], tallies: &[Arc<Tally>], book: &Book) -> Self {
        let row = |(kind, method): &(Kind, Method)| {
            let mut sum = Counted::new();
            let mine = tallies.iter().filter(|tally| tally.kind == *kind && tally.method == *method);
            mine.for_each(|tally| sum.add(&tally.counted()));
            Row::of(*kind, *method, &sum)
        };
        Self {
            rows: rows.iter().map(row).collect(),
            restarts: book.restarts(),
            seconds: book.elapsed().as_secs_f64(),
            losses: book.losses(),
        }
    }

    /// Requests that were begun.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.rows.iter().map(|row| row.requests).sum()
    }

    /// Requests that were lost, in whatever way.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.rows.iter().map(Row::lost).sum()
    }

    /// Requests that the clients themselves could not send.
    #[must_use]
    pub fn hindered(&self) -> u64 {
        self.rows.iter().map(|row| row.hindered).sum()
    }

    /// Requests in a second, on average.
    #[must_use]
    pub fn rate(&self) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let requests = self.requests() as f64;
        requests / self.seconds.max(1e-6)
    }

    /// The longest time that an answer took around a restart, in milliseconds.
    #[must_use]
    pub fn longest_around_ms(&self) -> f64 {
        self.rows.iter().map(|row| row.around.max_ms).fold(0.0, f64::max)
    }
}

impl Row {
    fn of(kind: Kind, method: Method, counted: &Counted) -> Self {
        let of = |ending: Ending| counted.endings[ending as usize];
        Self {
            kind,
            method,
            requests: counted.endings.iter().sum(),
            answered: of(Ending::Answered),
            refused: of(Ending::Refused),
            reset: of(Ending::Reset),
            unanswered: of(Ending::Unanswered),
            raced: of(Ending::Raced),
            cut_short: of(Ending::CutShort),
            timed_out: of(Ending::TimedOut),
            bad: of(Ending::Bad),
            hindered: of(Ending::Hindered),
            resent: counted.resent,
            reopened: counted.reopened,
            calm: Latency::of(&counted.calm),
            around: Latency::of(&counted.around),
        }
    }

    /// Requests that were lost, in whatever way.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.requests - self.answered - self.hindered
    }
}

impl Latency {
    fn of(histogram: &Histogram<u64>) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "two digits are kept")]
        let ms = |microseconds: u64| microseconds as f64 / 1e3;
        Self {
            p50_ms: ms(histogram.value_at_quantile(0.5)),
            p99_ms: ms(histogram.value_at_quantile(0.99)),
            max_ms: ms(histogram.max()),
        }
    }
}

/// Two tables of 80 columns: what was lost, and how long answers took.
impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<10} {:<4} {:>8} {:>7} {:>5} {:>6} {:>5} {:>5} {:>4} {:>3} {:>6} {:>6}",
            "kind", "", "requests", "refused", "reset", "closed", "raced", "short", "late", "bad", "resent", "reopen"
        )?;
        for row in &self.rows {
            let Row { kind, method, requests, refused, reset, unanswered, raced, cut_short, .. } = row;
            let Row { timed_out, bad, resent, reopened, .. } = row;
            writeln!(
                f,
                "{kind:<10} {method:<4} {requests:>8} {refused:>7} {reset:>5} {unanswered:>6} {raced:>5} \
                 {cut_short:>5} {timed_out:>4} {bad:>3} {resent:>6} {reopened:>6}"
            )?;
        }
        writeln!(f)?;
        writeln!(f, "{:<15} {:>32} {:>31}", "milliseconds", "calm: half / 99 % / longest", "around restarts")?;
        for Row { kind, method, calm, around, .. } in &self.rows {
            writeln!(f, "{kind:<10} {method:<4} {:>32} {:>31}", calm.to_string(), around.to_string())?;
        }
        Ok(())
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { p50_ms, p99_ms, max_ms } = self;
        if *max_ms == 0.0 {
            return f.write_str("-");
        }
        write!(f, "{p50_ms:.1} / {p99_ms:.1} / {max_ms:.1}")
    }
}
