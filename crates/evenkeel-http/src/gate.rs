//! When connections may be accepted.

use std::sync::Arc;

use tokio::sync::watch;

/// Lets connections in, or leaves them waiting in the kernel's queue. Clones are one and the same gate.
///
/// A server with a shut gate listens (its port is taken, clients can connect) but accepts nobody: bind early, serve late.
/// Shutting the gate is a pause: connections that were accepted before stay open and are served.
#[derive(Clone, Debug)]
pub struct Gate {
    open: Arc<watch::Sender<bool>>,
}

impl Gate {
    /// A gate that is open.
    #[must_use]
    pub fn open() -> Self {
        Self { open: Arc::new(watch::Sender::new(true)) }
    }

    /// A gate that is shut until somebody [sets](Self::set) it open.
    #[must_use]
    pub fn shut() -> Self {
        Self { open: Arc::new(watch::Sender::new(false)) }
    }

    /// Opens (`true`) or shuts the gate. Takes effect before the next connection is accepted.
    pub fn set(&self, open: bool) {
        self.open.send_replace(open);
    }

    /// Whether connections are let in.
    #[must_use]
    pub fn is_open(&self) -> bool {
        *self.open.borrow()
    }

    /// Waits until the gate is open (`true`) or shut. Cancel-safe.
    pub async fn until(&self, open: bool) {
        if self.is_open() == open {
            return;
        }
        let mut state = self.open.subscribe();
        // The sender lives as long as `self`.
        let _ = state.wait_for(|is_open| *is_open == open).await;
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::open()
    }
}
