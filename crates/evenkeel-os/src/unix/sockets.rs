//! Sockets: the Linux side.
#![allow(unsafe_code)] // descriptors by number, and two calls between fork and exec

use std::{
    io,
    net::{SocketAddr, TcpListener},
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
        unix::process::CommandExt,
    },
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with, sockopt::set_socket_reuseaddr};

/// Whether a read that did not fill its buffer shows that the socket is empty, so that an edge-triggered poller need not
/// be asked again. True for epoll; on Windows a poller must be left to say so itself.
pub const SHORT_READ_MEANS_EMPTY: bool = true;

/// The first descriptor that is passed on, as systemd has it.
pub(super) const FIRST: RawFd = 3;

/// Whether a listener could be at `addr`, by taking the address for a moment. Nothing listens there meanwhile, so that no
/// client is accepted only to be dropped.
///
/// # Errors
/// Why it could not: somebody listens there, it needs a privilege, no interface has it.
pub fn try_bind(addr: SocketAddr) -> io::Result<()> {
    let family = if addr.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    // As listeners do: what a closed connection leaves behind does not count.
    set_socket_reuseaddr(&socket, true)?;
    Ok(bind(&socket, &addr)?)
}

/// The process that started this one.
pub(crate) fn parent_id() -> u32 {
    std::os::unix::process::parent_id()
}

/// Takes the descriptors that this process was started with. They can be taken once.
pub(crate) fn take(count: u16) -> io::Result<Vec<TcpListener>> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(Vec::new());
    }
    (FIRST..FIRST + RawFd::from(count)).map(take_one).collect()
}

fn take_one(number: RawFd) -> io::Result<TcpListener> {
    // SAFETY: only borrowed for the two questions below, which answer with an error if there is no such descriptor.
    let asked = unsafe { BorrowedFd::borrow_raw(number) };
    let listens = rustix::net::sockopt::socket_acceptconn(asked);
    if !listens.is_ok_and(|listens| listens) {
        return Err(io::Error::other(format!("descriptor {number} was passed on and is no listening socket")));
    }
    rustix::io::fcntl_setfd(asked, rustix::io::FdFlags::CLOEXEC)?;
    // SAFETY: it is open (just asked), whoever started this process gave it away, and `take` runs once.
    let owned = unsafe { OwnedFd::from_raw_fd(number) };
    Ok(TcpListener::from(owned))
}

/// Puts the sockets at the descriptors from [`FIRST`] on, in the process that `command` will start.
pub(crate) fn pass_on(command: &mut Command, listeners: &[&TcpListener]) -> io::Result<()> {
    let listeners: Vec<_> = listeners.iter().map(AsFd::as_fd).collect();
    place(command, &listeners)
}

/// Puts these at the descriptors from [`FIRST`] on, in the process that `command` will start, or become.
pub(super) fn place(command: &mut Command, passed: &[BorrowedFd<'_>]) -> io::Result<()> {
    let past = FIRST + RawFd::try_from(passed.len()).map_err(io::Error::other)?;
    // Copies out of the way of the numbers that they will get, kept until `command` is dropped.
    let copies: Vec<OwnedFd> =
        passed.iter().map(|one| rustix::io::fcntl_dupfd_cloexec(one, past)).collect::<Result<_, _>>()?;
    let place = move || {
        for (copy, number) in copies.iter().zip(FIRST..) {
            // SAFETY: dup2 is async-signal-safe and touches no memory; what the number was before is this child's alone,
            // or this process's that is about to become another program.
            if unsafe { libc::dup2(copy.as_raw_fd(), number) } < 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    };
    // SAFETY: between fork and exec it only calls dup2 and reads errno: no allocation, no lock.
    unsafe { command.pre_exec(place) };
    Ok(())
}
