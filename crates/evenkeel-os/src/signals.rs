//! Requests to stop that come from outside: signals.
//!
//! Policy:
//! - `SIGTERM` and `SIGINT` ask for a stop. So does `SIGHUP` (the terminal went away), unless the program was started
//!   with it ignored, as `nohup` does. `SIGQUIT` keeps its default: end at once and dump core.
//! - Delivery happens on a thread of its own, `evenkeel-signals`, that does nothing else. It works when every thread of
//!   a runtime is blocked, and so a second or third signal can always force the end.
//! - Every signal that the kernel delivers is one call; two quick `SIGINT`s are two calls. (The kernel itself merges
//!   two of a kind when the second is sent before the first was delivered; no program can tell those apart.)

pub use crate::sys::signals::{Watch, watch};

/// A request to stop that came as a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopSignal {
    /// The signal's usual name, such as `SIGTERM`.
    pub name: &'static str,
    /// Its number on this platform, such as 15.
    pub number: i32,
}
