//! The control channel of a running program: how `status`, `stop`, `pause` and `continue` reach it.
//!
//! Policy:
//! - One request is one line; the answer is any number of lines over any time, and ends when the program closes the
//!   connection. What the lines say is the caller's business.
//! - Only the user the program runs as, and root, are heard. Both the socket's mode (0600) and the peer's credentials,
//!   as the kernel reports them, are checked.
//! - Everything is bounded: the request ([`REQUEST_LIMIT`], [`REQUEST_TIME`]), each write of an answer ([`WRITE_TIME`]),
//!   the connections at once ([`CONNECTION_LIMIT`]), the answer ([`ANSWER_LIMIT`]). Who exceeds a bound is told so.
//! - "Not running" is an answer of its own and never confused with a program that is too slow to answer.

use std::path::PathBuf;
use std::time::Duration;
use std::{fmt, io};

pub use crate::sys::control::{Listener, Server, ask, ask_stream};

/// The socket's file name within the runtime directory.
pub const SOCKET_FILE: &str = "control.sock";

/// The longest request, in bytes, without its line end.
pub const REQUEST_LIMIT: usize = 64 * 1024;

/// The longest answer that [`ask`] collects, and the longest line that [`ask_stream`] accepts, in bytes.
pub const ANSWER_LIMIT: usize = 16 * 1024 * 1024;

/// How long a program waits for the whole request after the connection was made.
pub const REQUEST_TIME: Duration = Duration::from_secs(2);

/// How long one write of an answer may take before the asker counts as gone.
pub const WRITE_TIME: Duration = Duration::from_secs(2);

/// How many requests are answered at once; more are refused.
pub const CONNECTION_LIMIT: usize = 16;

/// First character of a line with which the channel itself refuses a request: U+0015, "negative acknowledge".
pub(crate) const REFUSAL_MARK: char = '\u{15}';

/// Why a question got no answer.
#[derive(Debug)]
pub enum AskError {
    /// No program listens: there is no socket, or one that nobody holds any more.
    NotRunning {
        /// Where it would listen.
        path: PathBuf,
    },
    /// A program listens, and did not answer in time.
    TimedOut {
        /// The time it was given.
        after: Duration,
    },
    /// The program's control channel refused the request.
    Refused {
        /// Why, in words for a person.
        reason: String,
    },
    /// The connection closed before a whole answer came: the program ended, or its handler panicked.
    Cut,
    /// Anything else, such as no permission to connect.
    Io(io::Error),
}

impl fmt::Display for AskError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotRunning { path } => {
                write!(f, "not running (nobody listens at {})", path.display())
            }
            Self::TimedOut { after } => write!(f, "running, but no answer within {after:?}"),
            Self::Refused { reason } => write!(f, "refused: {reason}"),
            Self::Cut => f.write_str("the connection closed before the answer was complete"),
            Self::Io(_) => f.write_str("cannot talk to the running program"),
        }
    }
}

impl std::error::Error for AskError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

impl From<io::Error> for AskError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}
