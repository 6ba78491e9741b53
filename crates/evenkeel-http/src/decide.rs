//! What becomes of a connection, from what it does and for how long.
//!
//! Policy: decided here, done elsewhere: no clock, no socket, one pure function. A connection at rest is never closed before
//! its client had the chance to be told; a connection at work is only cut by a limit.

use std::time::Duration;

use crate::{
    limits::{Drain, Limits},
    outcome::Doing,
    phase::Phase,
};

/// What is known about a connection at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct View {
    pub(crate) doing: Doing,
    /// How long it has been doing so.
    pub(crate) doing_for: Duration,
    /// How long ago it was accepted.
    pub(crate) age: Duration,
    /// How long its client has not taken a byte that waits for it.
    pub(crate) blocked_for: Duration,
    /// Whether all that is on it belongs to routes that are cut in a drain.
    pub(crate) to_cut: bool,
}

/// How far a drain has come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Progress {
    pub(crate) drain: Drain,
    pub(crate) elapsed: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing to do.
    Keep,
    /// Close it, unless a request has just begun to arrive.
    Retire,
    /// Cut it off, whatever it does, and name it.
    Cut,
}

/// The verdict on one connection. `progress` is there from the beginning of a drain.
pub(crate) fn decide(phase: Phase, view: &View, limits: &Limits, progress: Option<&Progress>) -> Verdict {
    if phase >= Phase::Forcing || view.blocked_for > limits.unread_time {
        return Verdict::Cut;
    }
    if let (Phase::Closing, Some(progress)) = (phase, progress) {
        return in_closing(view, limits, progress);
    }
    in_serving(view, limits)
}

fn in_serving(view: &View, limits: &Limits) -> Verdict {
    match view.doing {
        Doing::Silent if view.age > limits.head_time => Verdict::Retire,
        Doing::Idle if view.doing_for > limits.idle_time => Verdict::Retire,
        Doing::PartialHead if view.doing_for > limits.head_time => Verdict::Cut,
        _ => Verdict::Keep,
    }
}

fn in_closing(view: &View, limits: &Limits, progress: &Progress) -> Verdict {
    let lingered = progress.elapsed >= progress.drain.linger;
    match view.doing {
        Doing::Silent if view.age >= progress.drain.fresh_grace && lingered => Verdict::Retire,
        Doing::Idle if lingered => Verdict::Retire,
        Doing::PartialHead if view.doing_for.min(progress.elapsed) > progress.drain.head_time => Verdict::Cut,
        // Answers that are still being made see to it themselves, so that an event stream can end properly.
        Doing::Upgraded if view.to_cut => Verdict::Cut,
        _ => in_serving(view, limits),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOINGS: [Doing; 8] = [
        Doing::Silent,
        Doing::PartialHead,
        Doing::Handler,
        Doing::SlowBody,
        Doing::UnreadAnswer,
        Doing::Streaming,
        Doing::Upgraded,
        Doing::Idle,
    ];

    /// Every phase x everything a connection can do x early or late, as a table.
    #[test]
    fn r4_1a_every_phase_says_what_becomes_of_every_connection() {
        let limits = Limits::default();
        let mut table = String::new();
        for phase in Phase::ALL {
            for doing in DOINGS {
                let row: Vec<_> = [Duration::from_millis(100), Duration::from_secs(600)]
                    .into_iter()
                    .map(|time| {
                        let progress = Progress { drain: Drain::default(), elapsed: time };
                        let view =
                            |to_cut| View { doing, doing_for: time, age: time, blocked_for: Duration::ZERO, to_cut };
                        let verdict = |to_cut| decide(phase, &view(to_cut), &limits, Some(&progress));
                        format!("{:?}, to be cut {:?}", verdict(false), verdict(true)).to_lowercase()
                    })
                    .collect();
                table += &format!("{phase}, {doing}: early {}; late {}\n", row[0], row[1]);
            }
        }
        insta::assert_snapshot!("verdicts", table);
    }
}
