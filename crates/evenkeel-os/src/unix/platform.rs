//! User, limits and container marks.

use std::path::Path;

use rustix::process::{Resource, geteuid, getrlimit};

/// The user this process acts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct User {
    /// The effective user id.
    pub id: u32,
    /// Whether it may do everything. Means the same as "administrator" on other platforms.
    pub is_root: bool,
}

/// The user this process acts as.
pub fn user() -> User {
    let id = geteuid();
    User { id: id.as_raw(), is_root: id.is_root() }
}

/// How many files and sockets this process may have open; `None` when there is no limit.
pub fn open_file_limit() -> Option<u64> {
    getrlimit(Resource::Nofile).current
}

/// Whether Docker or Podman left its mark in the file system.
pub(crate) fn container_mark() -> bool {
    ["/.dockerenv", "/run/.containerenv"].into_iter().any(|mark| Path::new(mark).exists())
}

/// Which open file standard error is: its device and inode.
pub(crate) fn stderr_stream() -> Option<(u64, u64)> {
    let found = rustix::fs::fstat(std::io::stderr()).ok()?;
    Some((found.st_dev, found.st_ino))
}
