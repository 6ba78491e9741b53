//! The side of a service that faces the network, as far as a restart of the process has to know of it. Without the `http`
//! feature there is none, and nothing to do.

use std::{io, net::TcpListener, time::Duration};

#[cfg(feature = "http")]
use crate::http::{Doors, Leaving};

/// The listening sockets and who serves them.
#[derive(Clone, Default)]
pub(super) struct Front {
    #[cfg(feature = "http")]
    pub(super) doors: std::sync::Arc<Doors>,
}

#[cfg(feature = "http")]
impl Front {
    /// Takes the listening sockets that this process was given.
    pub(super) fn inherit(&self) -> io::Result<()> {
        self.doors.fill(evenkeel_os::sockets::inherited(&evenkeel_os::env::process_env)?);
        Ok(())
    }

    /// Handles of all sockets with their names, to pass them on.
    pub(super) fn copies(&self) -> io::Result<Vec<(String, TcpListener)>> {
        self.doors.copies()
    }

    /// The same of those that this program opened itself, under names that tell so to the next process.
    pub(super) fn own_copies(&self) -> io::Result<Vec<(String, TcpListener)>> {
        let copies = self.doors.copies()?;
        Ok(copies.into_iter().filter(|(name, _)| Doors::is_own(name)).collect())
    }

    /// Another process has the sockets from now on.
    pub(super) fn leave_to_successor(&self) {
        self.doors.leave(Leaving::ToSuccessor);
    }

    /// This process keeps the sockets for its next life, or no longer does.
    pub(super) fn leave_anew(&self, anew: bool) {
        self.doors.leave(if anew { Leaving::Anew } else { Leaving::ForGood });
    }

    /// Every server asks itself through its own socket.
    pub(super) async fn prove(&self, within: Duration) -> Result<(), String> {
        for (name, live) in self.doors.servers() {
            live.prove(within).await.map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(())
    }

    /// The sockets that nobody serves, in words.
    pub(super) fn unused(&self) -> Vec<String> {
        self.doors.unused()
    }
}

#[cfg(not(feature = "http"))]
#[allow(
    clippy::unused_self,
    clippy::unused_async,
    clippy::unnecessary_wraps,
    reason = "the twin of what there is with it"
)]
impl Front {
    pub(super) fn inherit(&self) -> io::Result<()> {
        Ok(())
    }

    pub(super) fn copies(&self) -> io::Result<Vec<(String, TcpListener)>> {
        Ok(Vec::new())
    }

    pub(super) fn own_copies(&self) -> io::Result<Vec<(String, TcpListener)>> {
        Ok(Vec::new())
    }

    pub(super) fn leave_to_successor(&self) {}

    pub(super) fn leave_anew(&self, _anew: bool) {}

    pub(super) async fn prove(&self, _within: Duration) -> Result<(), String> {
        Ok(())
    }

    pub(super) fn unused(&self) -> Vec<String> {
        Vec::new()
    }
}
