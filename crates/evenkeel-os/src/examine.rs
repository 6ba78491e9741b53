//! What is at a path, before anybody uses it.
//!
//! Policy: nothing is created, opened or changed. Of a path that does not exist the nearest place above it that does is
//! described: whatever is to be made has to be made there. Whether it can be written is the kernel's answer, so that
//! lists of access rights and read-only mounts count, not only the mode.

use std::path::PathBuf;

pub use crate::sys::examine::examine;

/// What [`examine`] saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// The path that was asked about, made absolute.
    pub path: PathBuf,
    /// What is described below: the path itself, or the nearest place above it that exists.
    pub at: PathBuf,
    /// What is there, at the end of all links.
    pub kind: Kind,
    /// Whether it is reached through a symbolic link of that name.
    pub is_link: bool,
    /// The user it belongs to.
    pub owner: u32,
    /// Its permission bits.
    pub mode: u32,
    /// Why this process may not write there; `None`: it may.
    pub unwritable: Option<String>,
    /// What is left on its file system; `None` where that is not known.
    pub left: Option<Left>,
}

/// What is at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A plain file.
    File,
    /// A pipe, a device, a socket.
    Special,
    /// A symbolic link that leads nowhere.
    DeadLink,
}

/// What a file system still takes from a user without privileges.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Left {
    /// Bytes.
    pub bytes: u64,
    /// Files; `None` where they are not counted.
    pub files: Option<u64>,
}

impl Seen {
    /// Whether there is something at the path itself.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.at == self.path
    }
}
