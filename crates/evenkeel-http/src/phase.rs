//! The phases of a drain: which follows which, and why.
//!
//! Policy: this module decides and does nothing else. It has no clock and no socket; what happened comes in as a
//! [`Signal`]. Clients are told to leave (*discouraging*) before anything closes (*closing*), and only the limit ends what
//! is still at work (*forcing*). The whole table is held by a snapshot test in `tests/phases.rs`.

use std::fmt;

/// Where a server is between its first accepted connection and its last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Phase {
    /// Takes requests; nobody is told to leave.
    Serving = 0,
    /// Still takes connections and requests, and tells each client to leave: `Connection: close` with every HTTP/1
    /// answer, a first GOAWAY on HTTP/2. Nothing is closed that a client may be about to use.
    Discouraging = 1,
    /// Takes no more connections. What is at rest is closed once the linger is over; what is at work goes on.
    Closing = 2,
    /// The limit was reached: what is left is cut off, and named.
    Forcing = 3,
    /// No connection is left.
    Closed = 4,
}

impl Phase {
    /// All phases, in their order.
    pub const ALL: [Self; 5] = [Self::Serving, Self::Discouraging, Self::Closing, Self::Forcing, Self::Closed];

    /// The word for it in logs and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Discouraging => "discouraging",
            Self::Closing => "closing",
            Self::Forcing => "forcing",
            Self::Closed => "closed",
        }
    }

    pub(crate) fn from_u8(number: u8) -> Self {
        Self::ALL[usize::from(number)]
    }

    /// What a signal does in this phase.
    #[must_use]
    pub const fn on(self, signal: Signal) -> Step {
        use Phase::{Closed, Closing, Discouraging, Forcing, Serving};
        match (self, signal) {
            (Serving, Signal::Drain) => Step::To(Discouraging),
            // A server that is not draining has neither a propagation time nor a limit that could end.
            (Serving, _) => Step::NotAllowed,
            (Discouraging, Signal::Propagated) => Step::To(Closing),
            (Discouraging | Closing, Signal::Limit) => Step::To(Forcing),
            // Without a connection a server that discourages still takes new ones.
            (Discouraging, Signal::Drain | Signal::Empty) => Step::Already,
            (Closing | Forcing, Signal::Empty) => Step::To(Closed),
            (Forcing, Signal::GivenUp) => Step::To(Closed),
            (Discouraging | Closing, Signal::GivenUp) => Step::NotAllowed,
            (Closing, Signal::Drain | Signal::Propagated) | (Forcing | Closed, _) => Step::Already,
        }
    }
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What moves a server from one phase to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Signal {
    /// The owner asks for a drain.
    Drain,
    /// Everybody who sends clients here has had the time to learn that they should not.
    Propagated,
    /// The last connection has ended.
    Empty,
    /// The drain's limit was reached.
    Limit,
    /// What was cut off did not end within the time that cutting may take.
    GivenUp,
}

impl Signal {
    /// All signals.
    pub const ALL: [Self; 5] = [Self::Drain, Self::Propagated, Self::Empty, Self::Limit, Self::GivenUp];
}

/// The answer of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The phase changes.
    To(Phase),
    /// Nothing changes: it is already so, or the signal came late.
    Already,
    /// The signal makes no sense here; whoever sends it has a mistake.
    NotAllowed,
}
