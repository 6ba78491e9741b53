//! Blocking work that ends when it is told to.
//!
//! Policy: two ways, for two kinds of code.
//! - Code that *we or the user write* waits with [`Interrupt::wait_readable`] and its siblings, which return as soon as
//!   [`Interrupt::interrupt`] is called anywhere. An interrupt is sticky: one that came before the wait ends the wait.
//! - *Foreign* code that sits in `accept` or `read` on a socket is broken by [`Breaker::break_off`]: the socket is shut
//!   down both ways, and the call returns.
//!
//! What neither can end: work on regular files, pure computation, and system calls that the kernel does not interrupt.
//! [`crate::threads::describe`] names these.

pub use crate::sys::interrupt::{Breaker, Interrupt, shut_down};

/// Why a wait returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// The awaited operation will not block now. It may still fail: a closed peer counts as ready.
    Ready,
    /// Somebody called [`Interrupt::interrupt`], before or during the wait. Wins over [`Wake::Ready`].
    Interrupted,
    /// The time was up first.
    TimedOut,
}
