//! Who is at the other end of a Unix socket.
//!
//! Not through `rustix`: its `UCred` holds the peer's process id as a non-zero number, and the kernel reports 0 for a
//! peer in an outer pid namespace, such as an operator on the machine who asks a program in a container.
#![allow(unsafe_code)] // one getsockopt, below

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// The effective user id that the peer had when it connected, as the kernel recorded it.
pub(crate) fn user_of(socket: BorrowedFd<'_>) -> io::Result<u32> {
    credentials_of(socket).map(|found| found.uid)
}

/// The id of the process that connected, or that made the pair; 0 if it is in an outer pid namespace.
pub(crate) fn process_of(socket: BorrowedFd<'_>) -> io::Result<u32> {
    credentials_of(socket).map(|found| found.pid.unsigned_abs())
}

fn credentials_of(socket: BorrowedFd<'_>) -> io::Result<libc::ucred> {
    let mut found = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let size = size_of::<libc::ucred>();
    let mut length = libc::socklen_t::try_from(size).expect("twelve bytes");
    // SAFETY: `found` and `length` are live, exclusively borrowed locals; `length` holds the size of `found`, and the
    // kernel writes at most that many bytes. Every bit pattern is a valid `ucred`.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut found).cast(),
            &raw mut length,
        )
    };
    match result {
        0 if usize::try_from(length) == Ok(size) => Ok(found),
        0 => Err(io::Error::other("the kernel reported the peer's credentials in an unknown form")),
        _ => Err(io::Error::last_os_error()),
    }
}
