//! Torture: real processes that misbehave in every way we know, and what their stop must look like.
//!
//! [`table::scenarios`] is the whole of it: one row says what is run, what is done to it, and what has to come out: the
//! exit code, who is named in the receipt, in which order things ended, and how soon the process was gone. The test
//! asserts the rows with a second to spare, for machines that are busy; `torture-measure` holds them to the bar.
//!
//! How far a process has come is read off its log or asked on its control socket, never guessed from the time.

pub mod fixtures;
pub mod judge;
pub mod ordeal;
pub mod process;
mod room;
pub mod table;
