//! Process 1 of a container.
//!
//! Policy: the kernel gives process 1 duties that no program expects. It is the parent of every orphan and has to reap them;
//! signals that it has no handler for are ignored; when it ends, everything ends. So the program itself does not run as
//! process 1: it is started once more as a child, and what stays as process 1 does nothing but this: it passes signals on to
//! the program, reaps whatever ends, and ends as the program did. It runs no other code, so it takes no exit status that
//! somebody else waits for.
//!
//! It is the program's service manager in one respect: it hears by the notification protocol that another process is the
//! main one from now on, so that a program can hand over to itself in a container as well. It believes that of a process
//! which the main one has launched, and of no other.

use crate::env::{Env, non_empty};

pub use crate::sys::init::run;

/// Set to `off`, the program runs as process 1 itself. Set to `1` or `deaf` for the program that process 1 has started.
pub const SWITCH: &str = "EVENKEEL_INIT";

/// What [`SWITCH`] says to a program whose process 1 does not hear which process is the main one.
pub(crate) const DEAF: &str = "deaf";

/// Whether this process should call [`run`] before anything else.
#[must_use]
pub fn is_due(env: Env<'_>, pid: u32) -> bool {
    pid == 1 && non_empty(env, SWITCH).is_none_or(|switch| switch != "off")
}

/// The main process that a message names, if it names one.
pub(crate) fn main_process(message: &[u8]) -> Option<u32> {
    let line = message.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"MAINPID="))?;
    std::str::from_utf8(line).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_process_1_is_due_and_it_can_be_told_not_to() {
        let off = |name: &str| (name == SWITCH).then(|| "off".into());
        assert!(is_due(&|_| None, 1) && !is_due(&|_| None, 7) && !is_due(&off, 1));
    }

    #[test]
    fn the_main_process_is_named_by_a_line_of_its_own() {
        assert_eq!(main_process(b"STATUS=MAINPID=3\nMAINPID=42\n"), Some(42));
        assert_eq!(main_process(b"READY=1\n"), None);
        assert_eq!(main_process(b"MAINPID=x"), None);
    }
}
