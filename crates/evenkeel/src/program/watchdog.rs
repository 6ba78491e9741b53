//! A deadline that several threads may set and one waits for.
//!
//! It only ever gets stricter: an earlier deadline replaces a later one, a dismissal ends it, and nothing undoes either.
//! `tests/interleavings.rs` compiles this same file against shuttle's locks and drives it through its interleavings.

use std::{
    sync::PoisonError,
    time::{Duration, Instant},
};

use super::sync::{Condvar, Mutex};

/// See the module documentation.
#[derive(Default)]
pub(crate) struct Watchdog {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default)]
struct State {
    deadline: Option<Instant>,
    code: u8,
    dismissed: bool,
}

/// How the wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The deadline passed.
    Passed {
        /// The exit code that was set with it.
        code: u8,
    },
    /// Nobody needs to be watched any more.
    Dismissed,
}

impl Watchdog {
    /// Sets the deadline, unless there is one.
    pub(crate) fn arm(&self, deadline: Instant, code: u8) {
        self.change(|state| {
            if state.deadline.is_none() {
                *state = State { deadline: Some(deadline), code, ..*state };
            }
        });
    }

    /// Brings the deadline forward.
    pub(crate) fn hurry(&self, deadline: Instant, code: u8) {
        self.change(|state| {
            let earlier = state.deadline.map_or(deadline, |known| known.min(deadline));
            *state = State { deadline: Some(earlier), code, ..*state };
        });
    }

    pub(crate) fn dismiss(&self) {
        self.change(|state| state.dismissed = true);
    }

    /// Waits until the deadline passes or the watchdog is dismissed.
    pub(crate) fn wait(&self) -> Verdict {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if state.dismissed {
                return Verdict::Dismissed;
            }
            let left = state.deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            state = match left {
                Some(Duration::ZERO) => return Verdict::Passed { code: state.code },
                Some(left) => self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner));
        self.changed.notify_all();
    }
}
