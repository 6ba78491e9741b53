//! A restart with both servers alive: the new one proves itself before the old one leaves.
//!
//! Policy: whatever goes wrong with the new server (an error, no answer in time), the old one goes on
//! as if nothing had been tried. It stops accepting only after the proof, so nobody waits for a server that never comes.

use std::{fmt, future::Future, time::Duration};

use crate::{Drain, Listening, Report, Serving};

/// Why a hand-over did not happen; the old server is inside, and serves.
pub struct NotHandedOver<E> {
    /// The server that goes on.
    pub server: Serving,
    /// Why the new one did not prove itself.
    pub why: Why<E>,
}

/// Why a new server did not prove itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Why<E> {
    /// It said so.
    Failed(E),
    /// It said nothing within this time.
    Late(Duration),
}

impl<E: fmt::Display> fmt::Display for NotHandedOver<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.why {
            Why::Failed(error) => write!(f, "the new server did not prove itself, the old one goes on: {error}"),
            Why::Late(limit) => write!(f, "the new server was not ready within {limit:?}, the old one goes on"),
        }
    }
}

impl<E: fmt::Debug> fmt::Debug for NotHandedOver<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotHandedOver").field("why", &self.why).finish_non_exhaustive()
    }
}

impl<E: fmt::Debug + fmt::Display> std::error::Error for NotHandedOver<E> {}

impl Serving {
    /// Leaves the socket to another server, which has it too (see [`Listener::try_clone`](crate::Listener::try_clone)),
    /// once that one has proved itself: `proof` ends well when it has answered a request that came through this very
    /// socket. Then this server stops accepting and is [drained](Self::drain), as [`Listening::Shared`] says.
    ///
    /// Until then it serves as if nothing happened. Because a server is consumed, there are no two hand-overs at a time.
    /// Dropping the future is a hard stop, as dropping the server is.
    ///
    /// # Errors
    /// `proof` failed, or took longer than `limit`: gives back the server, which serves on.
    pub async fn hand_over<E>(
        self,
        proof: impl Future<Output = Result<(), E>>,
        limit: Duration,
        drain: Drain,
    ) -> Result<Report, NotHandedOver<E>> {
        match tokio::time::timeout(limit, proof).await {
            Ok(Ok(())) => Ok(self.drain(Drain { listening: Listening::Shared, ..drain }).await),
            Ok(Err(error)) => Err(NotHandedOver { server: self, why: Why::Failed(error) }),
            Err(_) => Err(NotHandedOver { server: self, why: Why::Late(limit) }),
        }
    }
}
