//! The receiving end of `NOTIFY_SOCKET`: how a program tells whoever started it that it is ready.
//!
//! Policy: one socket for each program that is started, in a directory that is nobody else's, so that a message can only be
//! that program's. The form is systemd's (`sd_notify`): a datagram of lines `NAME=VALUE`; `READY=1` is the one that counts
//! here, and what else is said is passed over.

pub use crate::sys::notify::Notifications;

/// The variable that names the socket.
pub const SOCKET: &str = "NOTIFY_SOCKET";

/// Whether a message says that the program is ready.
#[must_use]
pub fn says_ready(message: &[u8]) -> bool {
    message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixDatagram, time::Duration};

    use super::*;

    #[test]
    fn readiness_is_one_line_among_others() {
        assert!(says_ready(b"READY=1") && says_ready(b"STATUS=serving\nREADY=1\n"));
        assert!(!says_ready(b"STATUS=READY=1") && !says_ready(b"READY=0") && !says_ready(b""));
    }

    #[test]
    fn a_message_is_received_and_none_is_waited_for_no_longer_than_said() {
        let dir = tempfile::tempdir().unwrap();
        let notifications = Notifications::bind(&dir.path().join("notify")).unwrap();
        assert_eq!(notifications.next(Duration::from_millis(1)).unwrap(), None);
        let sender = UnixDatagram::unbound().unwrap();
        sender.send_to(b"READY=1", notifications.path()).unwrap();
        let message = notifications.next(Duration::from_secs(60)).unwrap();
        assert_eq!(message.as_deref(), Some(&b"READY=1"[..]));
    }
}
