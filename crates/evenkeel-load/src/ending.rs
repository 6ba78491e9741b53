//! How a request ends, and the one place that decides it.
//!
//! Policy: strict. A request is lost whenever a client that did nothing wrong has no proper answer. It may be sent again
//! only where that is safe for *any* request, a POST included: no byte of it was sent, or HTTP/2 says that it was not
//! looked at.

use serde::Serialize;

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// The whole answer came, with an expected status.
    Answered,
    /// No connection: nothing listened, or nothing could be reached. In HTTP/2 also: refused again and again.
    Refused,
    /// A new connection was reset or closed before the request could be sent.
    Reset,
    /// The connection, or the HTTP/2 stream, was closed or reset after the request was sent and before its answer began.
    Unanswered,
    /// As unanswered, on a connection that was used before, with the close already there when the request had been
    /// written: the two crossed on the way. No HTTP/1 client can avoid it; a server can. It is a loss like any other.
    Raced,
    /// The answer began and did not end.
    CutShort,
    /// There was no whole answer in time.
    TimedOut,
    /// The whole answer came, and its status is not an expected one; or it was no HTTP.
    Bad,
    /// The client itself could not send it: no port or no descriptor was left on its side. Says nothing about the server,
    /// and makes the run worthless.
    Hindered,
}

impl Ending {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Answered,
        Self::Refused,
        Self::Reset,
        Self::Unanswered,
        Self::Raced,
        Self::CutShort,
        Self::TimedOut,
        Self::Bad,
        Self::Hindered,
    ];

    /// Whether the request was lost.
    #[must_use]
    pub fn is_loss(self) -> bool {
        !matches!(self, Self::Answered | Self::Hindered)
    }

    /// In words.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Reset => "closed before it was sent",
            Self::Unanswered => "closed unanswered",
            Self::Raced => "raced",
            Self::CutShort => "cut short",
            Self::TimedOut => "timed out",
            Self::Bad => "bad answer",
            Self::Hindered => "not sent by the tester",
        }
    }
}

/// What one attempt to get an answer came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Attempt {
    Ended(Ending, String),
    /// No byte of the request was sent: the connection had been closed before. Open another.
    Unsent,
    /// HTTP/2: the server says that it did not look at the request. Send it again on another connection.
    Unprocessed,
}

impl Attempt {
    pub(crate) const fn answered() -> Self {
        Self::Ended(Ending::Answered, String::new())
    }
}

/// What was seen of a request that has no answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The connection had carried a request before.
    pub(crate) is_reused: bool,
    /// A byte of the request was sent.
    pub(crate) was_sent: bool,
    /// The other side's close was there as soon as the request was written.
    pub(crate) had_closed: bool,
    /// A byte of the answer came.
    pub(crate) has_begun: bool,
    /// What came was no HTTP.
    pub(crate) is_malformed: bool,
    /// HTTP/2: `REFUSED_STREAM`, or a stream beyond the last one of a GOAWAY.
    pub(crate) is_unprocessed: bool,
}

impl Seen {
    /// The decision.
    pub(crate) fn judge(self, error: &impl ToString) -> Attempt {
        let ending = match self {
            Self { is_unprocessed: true, .. } => return Attempt::Unprocessed,
            Self { was_sent: false, is_reused: true, .. } => return Attempt::Unsent,
            Self { was_sent: false, .. } => Ending::Reset,
            Self { is_malformed: true, .. } => Ending::Bad,
            Self { has_begun: true, .. } => Ending::CutShort,
            Self { had_closed: true, is_reused: true, .. } => Ending::Raced,
            _ => Ending::Unanswered,
        };
        Attempt::Ended(ending, error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(seen: Seen) -> Option<Ending> {
        match seen.judge(&"it broke") {
            Attempt::Ended(ending, _) => Some(ending),
            _ => None,
        }
    }

    #[test]
    fn a_request_without_an_answer_ends_in_exactly_one_kind_r4_1b() {
        let fresh = Seen::default();
        let sent = Seen { was_sent: true, ..fresh };
        let reused = Seen { is_reused: true, ..sent };
        assert_eq!(ended(fresh), Some(Ending::Reset));
        assert_eq!(ended(sent), Some(Ending::Unanswered));
        assert_eq!(ended(Seen { had_closed: true, ..sent }), Some(Ending::Unanswered), "nothing to race with");
        assert_eq!(ended(reused), Some(Ending::Unanswered));
        assert_eq!(ended(Seen { had_closed: true, ..reused }), Some(Ending::Raced));
        assert_eq!(ended(Seen { has_begun: true, had_closed: true, ..reused }), Some(Ending::CutShort));
        assert_eq!(ended(Seen { has_begun: true, is_malformed: true, ..sent }), Some(Ending::Bad));
    }

    #[test]
    fn only_what_is_safe_for_any_request_is_done_again_r4_1b() {
        let unsent = Seen { is_reused: true, ..Seen::default() };
        assert_eq!(unsent.judge(&""), Attempt::Unsent);
        let unprocessed = Seen { was_sent: true, is_unprocessed: true, ..Seen::default() };
        assert_eq!(unprocessed.judge(&""), Attempt::Unprocessed);
    }

    #[test]
    fn a_race_is_a_loss_and_a_hindrance_is_none() {
        assert!(Ending::Raced.is_loss() && !Ending::Hindered.is_loss() && !Ending::Answered.is_loss());
        assert_eq!(Ending::ALL.iter().filter(|ending| ending.is_loss()).count(), 7);
    }
}
