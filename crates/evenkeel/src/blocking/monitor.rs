//! A lock with a condition that an interrupt can end the wait for.

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard},
};

use super::interrupt::{Bell, Interrupt, Interrupted};
use crate::lease::lock;

/// Some state behind a lock, and a wait for it to change: a mutex with its condition variable. Share it in an `Arc`.
///
/// It is not poisoned: a thread that panics while it holds the lock leaves the state as it is.
#[derive(Default)]
pub struct Monitor<T> {
    state: Mutex<T>,
    changed: Arc<Bell>,
}

impl<T> Monitor<T> {
    /// A monitor of this state.
    pub fn new(state: T) -> Self {
        Self { state: Mutex::new(state), changed: Arc::default() }
    }

    /// Locks the state. After a change that others wait for, call [`notify_one`](Self::notify_one) or
    /// [`notify_all`](Self::notify_all); the lock may be held or not then.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        lock(&self.state)
    }

    /// Waits while `waiting` says so of the state, and locks it. The state comes first: if there is nothing to wait for,
    /// this succeeds although the interrupt has fired.
    ///
    /// # Errors
    /// The interrupt has fired.
    pub fn wait_while(
        &self,
        interrupt: &Interrupt,
        mut waiting: impl FnMut(&mut T) -> bool,
    ) -> Result<MutexGuard<'_, T>, Interrupted> {
        loop {
            let mut state = self.lock();
            if !waiting(&mut state) {
                return Ok(state);
            }
            // Before the lock is given up: whatever changes the state afterwards rings after this turn.
            let turn = self.changed.turn();
            drop(state);
            interrupt.check()?;
            interrupt.wait(&self.changed, turn);
        }
    }

    /// Wakes one of those who wait, to look at the state again; perhaps others as well.
    pub fn notify_one(&self) {
        self.changed.ring_one();
    }

    /// Wakes all who wait, to look at the state again.
    pub fn notify_all(&self) {
        self.changed.ring();
    }
}

impl<T: fmt::Debug> fmt::Debug for Monitor<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.state.fmt(f)
    }
}
