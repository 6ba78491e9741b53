//! Interrupts over an `eventfd(2)` that is written once and never read: readable for ever means sticky.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd};
use rustix::io::Errno;
use rustix::net::Shutdown;

use super::poll::{deadline, poll_until};
use crate::interrupt::Wake;

/// A switch that ends waits, once and for good. Clones are the same switch. Costs one file descriptor.
///
/// ```
/// use std::time::Duration;
/// use evenkeel_os::interrupt::{Interrupt, Wake};
///
/// let interrupt = Interrupt::new()?;
/// interrupt.clone().interrupt();
/// assert_eq!(interrupt.wait(Some(Duration::from_secs(60)))?, Wake::Interrupted);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Interrupt {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    event: OwnedFd,
    done: AtomicBool,
}

impl Interrupt {
    /// A switch that is off.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn new() -> io::Result<Self> {
        let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
        Ok(Self { inner: Arc::new(Inner { event, done: AtomicBool::new(false) }) })
    }

    /// Ends every wait on this switch, present and future. Never blocks; a second call does nothing.
    pub fn interrupt(&self) {
        if !self.inner.done.swap(true, Ordering::AcqRel) {
            // Cannot fail: the descriptor is ours, and one write is far from the counter's limit.
            let _ = rustix::io::write(&self.inner.event, &1_u64.to_ne_bytes());
        }
    }

    /// Whether [`Interrupt::interrupt`] was called.
    pub fn is_interrupted(&self) -> bool {
        self.inner.done.load(Ordering::Acquire)
    }

    /// Waits for the interrupt alone: a sleep that can be ended. `None` waits without limit. Never returns
    /// [`Wake::Ready`].
    ///
    /// # Errors
    /// The kernel refused the wait (out of memory).
    pub fn wait(&self, timeout: Option<Duration>) -> io::Result<Wake> {
        let mut fds = [self.poll_fd()];
        Ok(match poll_until(&mut fds, deadline(timeout))? {
            0 => Wake::TimedOut,
            _ => Wake::Interrupted,
        })
    }

    /// Waits until a read (or an `accept`) on `fd` will not block. `None` waits without limit.
    ///
    /// A regular file is always ready: reads from disk cannot be interrupted.
    ///
    /// # Errors
    /// The kernel refused the wait (out of memory).
    pub fn wait_readable(&self, fd: impl AsFd, timeout: Option<Duration>) -> io::Result<Wake> {
        self.wait_for(fd.as_fd(), PollFlags::IN, timeout)
    }

    /// Waits until a write to `fd` will not block. `None` waits without limit.
    ///
    /// "Will not block" holds for *some* bytes: set the descriptor non-blocking to write more than a few.
    ///
    /// # Errors
    /// The kernel refused the wait (out of memory).
    pub fn wait_writable(&self, fd: impl AsFd, timeout: Option<Duration>) -> io::Result<Wake> {
        self.wait_for(fd.as_fd(), PollFlags::OUT, timeout)
    }

    fn wait_for(&self, fd: BorrowedFd<'_>, what: PollFlags, timeout: Option<Duration>) -> io::Result<Wake> {
        let mut fds = [self.poll_fd(), PollFd::from_borrowed_fd(fd, what)];
        let events = poll_until(&mut fds, deadline(timeout))?;
        let interrupted = !fds[0].revents().is_empty();
        Ok(match (events, interrupted) {
            (0, _) => Wake::TimedOut,
            (_, true) => Wake::Interrupted,
            (_, false) => Wake::Ready,
        })
    }

    /// The switch as one entry of a larger `poll`: it has an event once interrupted.
    pub(crate) fn poll_fd(&self) -> PollFd<'_> {
        PollFd::from_borrowed_fd(self.inner.event.as_fd(), PollFlags::IN)
    }
}

/// A second handle on somebody else's socket, kept in order to break the calls that block on it.
///
/// It keeps the socket open: drop it when the work is done, or the peer does not see the connection close.
#[derive(Debug)]
pub struct Breaker {
    fd: OwnedFd,
}

impl Breaker {
    /// Keeps a duplicate of `fd`. Costs one file descriptor.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn of(fd: impl AsFd) -> io::Result<Self> {
        Ok(Self { fd: fd.as_fd().try_clone_to_owned()? })
    }

    /// Breaks what blocks on the socket, as [`shut_down`] does.
    ///
    /// # Errors
    /// As [`shut_down`].
    pub fn break_off(&self) -> io::Result<bool> {
        shut_down(self.fd.as_fd())
    }
}

/// Shuts a socket down both ways, which ends every call that blocks on it, in any thread and any code: `accept` fails,
/// `read` returns what has arrived and then the end, `write` fails.
///
/// Returns whether `fd` was a socket. On anything else this does nothing.
///
/// # Errors
/// An error that does not come from the socket's kind or state.
pub fn shut_down(fd: BorrowedFd<'_>) -> io::Result<bool> {
    match rustix::net::shutdown(fd, Shutdown::Both) {
        // Not connected, or not any more: nothing can block on it, or Linux has woken it all the same (datagrams).
        Ok(()) | Err(Errno::NOTCONN) => Ok(true),
        Err(Errno::NOTSOCK | Errno::OPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}
