//! Sockets, where the systems differ; and listening sockets that one process passes on to the next.
//!
//! Policy: what is passed on is the *same* open socket, with the queue of those who are connecting, so that a restart
//! refuses nobody. The form is systemd's: the sockets are the descriptors from 3 on, `LISTEN_FDS` says how many,
//! `LISTEN_FDNAMES` their names. systemd names the receiver with `LISTEN_PID`; a process that passes sockets on cannot know
//! that number before, so it names itself with [`PASSED_BY`], and a grandchild takes nothing that was not meant for it.
//! What a process inherits and does not use is its own to report: nothing is closed silently here.

use std::{io, net::TcpListener, process::Command};

pub use crate::sys::sockets::{SHORT_READ_MEANS_EMPTY, try_bind};
use crate::{
    env::{Env, non_empty},
    handover,
    sys::sockets,
};

/// The variable in which a process that passes sockets on says its process id.
pub const PASSED_BY: &str = "EVENKEEL_LISTEN_PPID";

/// A listening socket with the name that it was passed on with.
#[derive(Debug)]
pub struct Inherited {
    /// Its name; systemd's default is `unknown`.
    pub name: String,
    /// The socket, closed on exec like any other.
    pub listener: TcpListener,
}

/// A process that has a listening socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Its id.
    pub pid: u32,
    /// The name of its program.
    pub name: String,
}

/// Who listens at a TCP port of this machine, as far as this process may know: another user's processes are seen by root
/// only. Looks through all processes, which blocks for some milliseconds.
#[must_use]
pub fn owner_of(port: u16) -> Option<Owner> {
    let process = listeners::get_process_by_port(port, listeners::Protocol::TCP).ok()?;
    Some(Owner { pid: process.pid, name: process.name })
}

/// Takes the listening sockets that this process was started with, from systemd or from [`pass_on`]. Empty if there are
/// none, or if they were meant for another process. Sockets can be taken once: the second call gives none.
///
/// # Errors
/// The variables are there but wrong: not a number, or a descriptor that is no listening TCP socket.
pub fn inherited(env: Env<'_>) -> io::Result<Vec<Inherited>> {
    let text = |name| non_empty(env, name).and_then(|value| value.into_string().ok());
    let Some(count) = text("LISTEN_FDS") else { return Ok(Vec::new()) };
    let meant = |name, id: u32| text(name).is_some_and(|value| value == id.to_string());
    let passed = meant(PASSED_BY, sockets::parent_id()) || handover::is_launched(env);
    if !passed && !meant("LISTEN_PID", std::process::id()) {
        return Ok(Vec::new());
    }
    let count: u16 = count.parse().map_err(|_| io::Error::other(format!("`LISTEN_FDS={count}` is not a number")))?;
    let names = text("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':').filter(|name| !name.is_empty());
    let listeners = sockets::take(count)?.into_iter();
    Ok(listeners.map(|listener| Inherited { name: names.next().unwrap_or("unknown").to_owned(), listener }).collect())
}

/// Passes listening sockets on to the process that `command` will start. This process keeps its own.
///
/// # Errors
/// No descriptor is left, or a name is empty or has a colon in it.
pub fn pass_on(command: &mut Command, sockets: &[(&str, &TcpListener)]) -> io::Result<()> {
    let listeners: Vec<_> = sockets.iter().map(|(_, listener)| *listener).collect();
    sockets::pass_on(command, &listeners)?;
    name_passed(command, sockets.iter().map(|(name, _)| *name))?;
    command.env(PASSED_BY, std::process::id().to_string()).env_remove("LISTEN_PID");
    Ok(())
}

/// Says how many sockets are passed on, and their names.
pub(crate) fn name_passed<'a>(command: &mut Command, names: impl Iterator<Item = &'a str>) -> io::Result<()> {
    let names: Vec<_> = names.collect();
    if let Some(name) = names.iter().find(|name| name.is_empty() || name.contains(':')) {
        return Err(io::Error::other(format!("`{name}` cannot name a socket: it is empty or has a colon in it")));
    }
    command.env("LISTEN_FDS", names.len().to_string()).env("LISTEN_FDNAMES", names.join(":"));
    Ok(())
}
