//! Programs that this process starts, and the last step of starting one.
//!
//! Policy: a child is asked to stop before it is killed, and never by a number that may be another's: whoever signals a
//! child has not waited for it yet.

pub use crate::sys::children::{ask_to_stop, become_program, until_ended};
