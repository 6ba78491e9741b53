//! From one process to the next: the Unix side.
#![allow(unsafe_code)] // a descriptor by number, and what is done before exec

use std::{
    io::{self, Read as _, Write as _},
    net::TcpListener,
    os::{
        fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::{net::UnixStream, process::CommandExt},
    },
    process::{Child, Command, ExitStatus},
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{AddressFamily, sockopt::socket_domain},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open, test_kill_process},
};

use super::{
    peer,
    sockets::{FIRST, place},
};
use crate::handover::MESSAGE_LIMIT;

/// One end of a line. What was read and is no whole message yet is kept in it.
#[derive(Debug)]
pub struct Line {
    stream: UnixStream,
    unread: Vec<u8>,
}

impl Line {
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = UnixStream::pair()?;
        Ok((Self::of(ours), theirs.into()))
    }

    fn of(stream: UnixStream) -> Self {
        Self { stream, unread: Vec::new() }
    }

    /// Says something: one line, whose own line ends become spaces. Waits a second at most, for a reader that lags that far.
    ///
    /// # Errors
    /// The other side is gone, or does not read.
    pub fn say(&self, message: &str) -> io::Result<()> {
        let mut line = message.replace(['\n', '\r'], " ");
        let end = (0..=line.len().min(MESSAGE_LIMIT - 1)).rev().find(|end| line.is_char_boundary(*end)).unwrap_or(0);
        line.truncate(end);
        line.push('\n');
        self.stream.set_write_timeout(Some(Duration::from_secs(1)))?;
        (&self.stream).write_all(line.as_bytes())
    }

    /// Waits until the process that made the line is gone whole, with all locks that it held, `within` at most. Its end of
    /// the line may be gone a little earlier.
    #[must_use]
    pub fn maker_gone(&self, within: Duration) -> bool {
        peer::process_of(self.stream.as_fd()).is_ok_and(|maker| is_gone(maker, within))
    }

    /// A second handle of the same end, to speak on from another thread.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self::of(self.stream.try_clone()?))
    }

    pub(crate) fn read(&mut self, patience: Option<Duration>) -> io::Result<usize> {
        self.stream.set_read_timeout(patience)?;
        let mut some = [0; 512];
        let read = (&self.stream).read(&mut some)?;
        self.unread.extend_from_slice(&some[..read]);
        Ok(read)
    }

    /// A message that has come whole.
    pub(crate) fn next_line(&mut self) -> io::Result<Option<String>> {
        let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') else {
            let too_long = self.unread.len() >= MESSAGE_LIMIT;
            return if too_long { Err(io::Error::other("a message without an end")) } else { Ok(None) };
        };
        let line: Vec<u8> = self.unread.drain(..=end).collect();
        Ok(Some(String::from_utf8_lossy(&line[..end]).into_owned()))
    }
}

/// Puts the listeners at the descriptors from [`FIRST`] on, and `line` behind them; gives back the line's number.
pub(crate) fn pass_on<'a>(
    command: &mut Command,
    listeners: impl Iterator<Item = &'a TcpListener>,
    line: Option<&OwnedFd>,
) -> io::Result<RawFd> {
    let mut all: Vec<BorrowedFd<'_>> = listeners.map(AsFd::as_fd).collect();
    let number = FIRST + RawFd::try_from(all.len()).map_err(io::Error::other)?;
    all.extend(line.map(AsFd::as_fd));
    place(command, &all)?;
    Ok(number)
}

/// Whether there is a process with this id, as far as this one may know.
#[must_use]
pub fn is_there(pid: u32) -> bool {
    pid_of(pid).is_some_and(|pid| !matches!(test_kill_process(pid), Err(Errno::SRCH)))
}

/// How a child process ended; `None` if it has not within this time.
pub(crate) fn end_of(child: &mut Child, within: Duration) -> io::Result<Option<ExitStatus>> {
    await_end(&pidfd_open(Pid::from_child(child), PidfdFlags::empty())?, within)?;
    child.try_wait()
}

/// Whether a process is gone, by then at the latest.
pub(crate) fn is_gone(pid: u32, within: Duration) -> bool {
    let watched = pid_of(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
    match watched {
        Some(Ok(watched)) => await_end(&watched, within).is_ok_and(|ended| ended),
        Some(Err(error)) => error == Errno::SRCH,
        None => true,
    }
}

/// Ends a process at once, if it is there.
pub(crate) fn kill(pid: u32) {
    if let Some(pid) = pid_of(pid) {
        let _ = kill_process(pid, Signal::KILL);
    }
}

fn pid_of(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

fn await_end(watched: &OwnedFd, within: Duration) -> io::Result<bool> {
    let until = Instant::now() + within;
    loop {
        let left = Timespec::try_from(until.saturating_duration_since(Instant::now())).map_err(io::Error::other)?;
        match poll(&mut [PollFd::new(watched, PollFlags::IN)], Some(&left)) {
            Ok(ready) => return Ok(ready > 0),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Makes the process that `command` starts an orphan: between fork and exec it forks again, and what was started first ends.
pub(crate) fn orphan(command: &mut Command) {
    let fork_again = || {
        // SAFETY: this is the only thread of a process that was forked to exec; in it, fork and _exit are
        // async-signal-safe, and neither of the two touches what another thread may have held.
        match unsafe { libc::fork() } {
            -1 => Err(io::Error::last_os_error()),
            0 => Ok(()),
            // SAFETY: as above; nothing is unwound, no buffer is flushed twice.
            _ => unsafe { libc::_exit(0) },
        }
    };
    // SAFETY: between fork and exec it only calls fork, _exit and reads errno: no allocation, no lock.
    unsafe { command.pre_exec(fork_again) };
}

/// Becomes another program. Comes back only with an error.
pub(crate) fn exec(command: &mut Command) -> io::Error {
    part_descriptors();
    command.exec()
}

/// Gives this thread a table of descriptors of its own, as a fork would. The numbers that are passed on belong to others
/// until the program is replaced: what another thread closes by then must not be what was put at its number.
///
/// Where the system forbids both ways, the moment in which that can happen remains; better that than no program at all.
fn part_descriptors() {
    let none = libc::c_uint::MAX;
    // SAFETY: neither call touches memory or closes anything. Other threads keep their table as it is, and this one a copy
    // with the same numbers, so whatever it owns stays open and its own.
    unsafe {
        // Some containers forbid `unshare` altogether because of its namespaces, and allow the other.
        if libc::unshare(libc::CLONE_FILES) != 0 {
            libc::syscall(libc::SYS_close_range, none, none, libc::CLOSE_RANGE_UNSHARE);
        }
    }
}

/// Who made the line with this number: a process that may have gone since.
pub(crate) fn maker_of(number: RawFd) -> Option<u32> {
    if number < FIRST {
        return None;
    }
    // SAFETY: only borrowed for the questions below, which answer with an error if there is no such descriptor.
    let asked = unsafe { BorrowedFd::borrow_raw(number) };
    let is_line = socket_domain(asked).is_ok_and(|domain| domain == AddressFamily::UNIX);
    is_line.then(|| peer::process_of(asked).ok()).flatten()
}

/// Takes the line that this process was started with. It can be taken once.
pub(crate) fn take(number: RawFd) -> io::Result<Option<Line>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if maker_of(number).is_none() {
        return Err(io::Error::other(format!("descriptor {number} was passed on and is no line to another process")));
    }
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(None);
    }
    // SAFETY: it is open (just asked), whoever started this process gave it away, and this runs once.
    let owned = unsafe { OwnedFd::from_raw_fd(number) };
    rustix::io::fcntl_setfd(&owned, rustix::io::FdFlags::CLOEXEC)?;
    Ok(Some(Line::of(UnixStream::from(owned))))
}
