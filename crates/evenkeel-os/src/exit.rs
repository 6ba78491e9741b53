//! The end of the process when nothing else may be relied on.
//!
//! Policy: this is the only address at which an Evenkeel program ends without unwinding. Who calls it has flushed what
//! must be flushed.

pub use crate::sys::exit::exit_now;
