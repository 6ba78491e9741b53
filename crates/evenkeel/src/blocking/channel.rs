//! A bounded channel between threads, and from tasks to threads, whose waits an interrupt ends.

use std::{
    collections::VecDeque,
    error::Error as StdError,
    fmt,
    sync::{Arc, Mutex},
};

use tokio::sync::Notify;

use super::interrupt::{Bell, Interrupt, Interrupted};
use crate::lease::lock;

/// A channel that holds up to `capacity` items (at least one). Both ends can be cloned; each item reaches one receiver.
#[must_use]
pub fn channel<T>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    let state = State { queue: VecDeque::new(), capacity: capacity.max(1), senders: 1, receivers: 1 };
    let shared = Arc::new(Shared {
        state: Mutex::new(state),
        items: Arc::default(),
        room: Arc::default(),
        room_for_tasks: Notify::new(),
    });
    (Sender { shared: shared.clone() }, Receiver { shared })
}

struct Shared<T> {
    state: Mutex<State<T>>,
    /// Rings when an item came, and when the last sender went.
    items: Arc<Bell>,
    /// Rings when an item was taken, and when the last receiver went.
    room: Arc<Bell>,
    room_for_tasks: Notify,
}

struct State<T> {
    queue: VecDeque<T>,
    capacity: usize,
    senders: usize,
    receivers: usize,
}

/// The end that items go into.
pub struct Sender<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Sender<T> {
    /// Puts an item in; waits while the channel is full.
    ///
    /// # Errors
    /// The item comes back in [`Unsent`] if the interrupt fired while the channel was full, or if no receiver is left.
    pub fn send(&self, interrupt: &Interrupt, mut item: T) -> Result<(), Unsent<T>> {
        loop {
            let turn = self.shared.room.turn();
            match self.try_send(item) {
                Err(Unsent { item: back, why: Why::Full }) => item = back,
                done => return done,
            }
            if interrupt.is_requested() {
                return Err(Unsent { item, why: Why::Interrupted });
            }
            interrupt.wait(&self.shared.room, turn);
        }
    }

    /// The same for a task, such as a request handler: waits without blocking its thread.
    ///
    /// Dropping the future drops the item, unless it is in the channel already.
    ///
    /// # Errors
    /// The item comes back in [`Unsent`] if no receiver is left.
    pub async fn send_async(&self, mut item: T) -> Result<(), Unsent<T>> {
        loop {
            let room = self.shared.room_for_tasks.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            match self.try_send(item) {
                Err(Unsent { item: back, why: Why::Full }) => item = back,
                done => return done,
            }
            room.await;
        }
    }

    /// Puts an item in if there is room now.
    ///
    /// # Errors
    /// The item comes back in [`Unsent`] if the channel is full, or if no receiver is left.
    pub fn try_send(&self, item: T) -> Result<(), Unsent<T>> {
        let mut state = lock(&self.shared.state);
        if state.receivers == 0 {
            return Err(Unsent { item, why: Why::Closed });
        }
        if state.queue.len() >= state.capacity {
            return Err(Unsent { item, why: Why::Full });
        }
        state.queue.push_back(item);
        drop(state);
        self.shared.items.ring_one();
        Ok(())
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        lock(&self.shared.state).senders += 1;
        Self { shared: self.shared.clone() }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.senders -= 1;
        let last = state.senders == 0;
        drop(state);
        if last {
            self.shared.items.ring();
        }
    }
}

/// The end that items come out of.
pub struct Receiver<T> {
    shared: Arc<Shared<T>>,
}

impl<T> Receiver<T> {
    /// Takes the next item; waits while there is none. `None`: no sender is left, and no item.
    ///
    /// Items that are in the channel come out before an interrupt is reported: a loop over this drains the channel and
    /// then ends. Work that would rather leave them looks at [`Interrupt::is_requested`] first.
    ///
    /// # Errors
    /// The interrupt fired while the channel was empty.
    pub fn recv(&self, interrupt: &Interrupt) -> Result<Option<T>, Interrupted> {
        loop {
            let turn = self.shared.items.turn();
            match self.take() {
                Taken::Item(item) => return Ok(Some(item)),
                Taken::Over => return Ok(None),
                Taken::Empty => {}
            }
            interrupt.check()?;
            interrupt.wait(&self.shared.items, turn);
        }
    }

    /// Takes the next item if one is there now: for work that handles what has come in one go.
    #[must_use]
    pub fn try_recv(&self) -> Option<T> {
        match self.take() {
            Taken::Item(item) => Some(item),
            Taken::Over | Taken::Empty => None,
        }
    }

    fn take(&self) -> Taken<T> {
        let mut state = lock(&self.shared.state);
        let Some(item) = state.queue.pop_front() else {
            return if state.senders == 0 { Taken::Over } else { Taken::Empty };
        };
        drop(state);
        self.shared.room.ring_one();
        self.shared.room_for_tasks.notify_one();
        Taken::Item(item)
    }
}

enum Taken<T> {
    Item(T),
    Empty,
    Over,
}

impl<T> Clone for Receiver<T> {
    fn clone(&self) -> Self {
        lock(&self.shared.state).receivers += 1;
        Self { shared: self.shared.clone() }
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut state = lock(&self.shared.state);
        state.receivers -= 1;
        if state.receivers > 0 {
            return;
        }
        let unread = std::mem::take(&mut state.queue);
        drop(state);
        self.shared.room.ring();
        self.shared.room_for_tasks.notify_waiters();
        drop(unread); // user code: not under the lock
    }
}

/// An item that was not sent, and why.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Unsent<T> {
    /// The item.
    pub item: T,
    /// Why.
    pub why: Why,
}

/// Why an item was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// The channel is full.
    Full,
    /// No receiver is left.
    Closed,
    /// The interrupt fired while the channel was full.
    Interrupted,
}

impl<T> fmt::Debug for Unsent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Unsent").field("why", &self.why).finish_non_exhaustive()
    }
}

impl<T> fmt::Display for Unsent<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.why {
            Why::Full => "the channel is full",
            Why::Closed => "nobody receives from the channel any more",
            Why::Interrupted => "an item could not be sent",
        })
    }
}

impl<T> StdError for Unsent<T> {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        (self.why == Why::Interrupted).then_some(&Interrupted)
    }
}
