//! What a service says to the manager that started it, in systemd's protocol (`sd_notify(3)`): the speaking end, and the
//! hearing end for who starts programs.
//!
//! Policy of the speaking end: one socket for the life of the process; one message is one datagram, so that what belongs together arrives
//! together (`RELOADING` and its time, `STOPPING` and the extension). Nobody waits for a manager that does not read:
//! sending takes [`SEND_TIME`] at most. Addresses as systemd gives them: a path, `@` for an abstract name, `vsock:` from a
//! virtual machine to its host.
//!
//! Policy of the hearing end: one socket for each program that is started, in a directory that is nobody else's, so that a
//! message can only be that program's.

use std::{fmt::Write as _, io, time::Duration};

use crate::env::{Env, non_empty};
pub use crate::sys::{notifications::Notifications, notify::Notifier};

/// Where the manager listens.
pub const SOCKET: &str = "NOTIFY_SOCKET";

/// How long sending one message may take.
pub const SEND_TIME: Duration = Duration::from_millis(500);

/// One thing to say. Several go into one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note<'a> {
    /// The start, or a reload, is over.
    Ready,
    /// The configuration is being read again. Carries the time by the monotonic clock, as `Type=notify-reload` wants it.
    Reloading,
    /// The stop has begun.
    Stopping,
    /// What it is doing, in a line for people.
    Status(&'a str),
    /// The start, stop or run may take this much longer, from now.
    ExtendTimeout(Duration),
    /// It is alive.
    Watchdog,
    /// Another process is the service's main process from now on.
    MainPid(u32),
    /// The manager keeps the descriptors that come with this message, under this name.
    StoreDescriptors(&'a str),
    /// The manager forgets the descriptors that it keeps under this name.
    RemoveDescriptors(&'a str),
}

/// Where the manager of this process listens, if it said so.
///
/// # Errors
/// The address is none that systemd gives, or the system refuses the socket.
pub fn notifier(env: Env<'_>) -> io::Result<Option<Notifier>> {
    let Some(addr) = non_empty(env, SOCKET) else { return Ok(None) };
    Notifier::to(&addr).map(Some)
}

/// How often the manager wants to hear [`Note::Watchdog`] at least, if it does and means this process.
#[must_use]
pub fn watchdog(env: Env<'_>, pid: u32) -> Option<Duration> {
    let number = |name| non_empty(env, name)?.into_string().ok()?.parse::<u64>().ok();
    let meant = non_empty(env, "WATCHDOG_PID").is_none() || number("WATCHDOG_PID") == Some(pid.into());
    number("WATCHDOG_USEC").filter(|micros| meant && *micros > 0).map(Duration::from_micros)
}

/// Whether a message says that the program is ready.
#[must_use]
pub fn says_ready(message: &[u8]) -> bool {
    message.split(|byte| *byte == b'\n').any(|line| line == b"READY=1")
}

/// The message that says all of these.
pub(crate) fn message(notes: &[Note<'_>], now: Duration) -> String {
    let mut text = String::new();
    for note in notes {
        // Writing to a `String` cannot fail. A line's own ends would begin another assignment.
        let _ = match note {
            Note::Ready => writeln!(text, "READY=1"),
            Note::Reloading => writeln!(text, "RELOADING=1\nMONOTONIC_USEC={}", now.as_micros()),
            Note::Stopping => writeln!(text, "STOPPING=1"),
            Note::Status(status) => writeln!(text, "STATUS={}", status.replace(['\n', '\r'], " ")),
            Note::ExtendTimeout(time) => writeln!(text, "EXTEND_TIMEOUT_USEC={}", time.as_micros()),
            Note::Watchdog => writeln!(text, "WATCHDOG=1"),
            Note::MainPid(pid) => writeln!(text, "MAINPID={pid}"),
            Note::StoreDescriptors(name) => writeln!(text, "FDSTORE=1\nFDNAME={name}"),
            Note::RemoveDescriptors(name) => writeln!(text, "FDSTOREREMOVE=1\nFDNAME={name}"),
        };
    }
    text
}

#[cfg(test)]
mod tests {
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
        Notifier::to(notifications.path().as_os_str()).unwrap().tell(&[Note::Ready]).unwrap();
        let message = notifications.next(Duration::from_secs(60)).unwrap();
        assert_eq!(message.as_deref(), Some(&b"READY=1\n"[..]));
    }

    #[test]
    fn what_belongs_together_is_one_message() {
        let now = Duration::from_micros(1_234_567);
        assert_eq!(message(&[Note::Reloading], now), "RELOADING=1\nMONOTONIC_USEC=1234567\n");
        let stop = [Note::Stopping, Note::ExtendTimeout(Duration::from_secs(5)), Note::Status("stopping:\napi")];
        assert_eq!(message(&stop, now), "STOPPING=1\nEXTEND_TIMEOUT_USEC=5000000\nSTATUS=stopping: api\n");
    }

    #[test]
    fn a_watchdog_for_another_process_is_not_ours() {
        let env = |pid: &'static str| {
            move |name: &str| match name {
                "WATCHDOG_USEC" => Some("3000000".into()),
                "WATCHDOG_PID" if !pid.is_empty() => Some(pid.into()),
                _ => None,
            }
        };
        assert_eq!(watchdog(&env("7"), 7), Some(Duration::from_secs(3)));
        assert_eq!(watchdog(&env("8"), 7), None);
        assert_eq!(watchdog(&env(""), 7), Some(Duration::from_secs(3)), "whoever is the main process");
        assert_eq!(watchdog(&|_| None, 7), None);
    }
}
