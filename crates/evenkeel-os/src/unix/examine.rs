//! What is at a path: `stat`, `access`, `statvfs`.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use crate::examine::{Kind, Left, Seen};

/// The bits of a mode that say who may do what.
const PERMISSIONS: u32 = 0o7777;

/// Looks at `path`, or at the nearest place above it that exists.
///
/// # Errors
/// The path is empty, or relative while there is no current directory.
pub fn examine(path: &Path) -> io::Result<Seen> {
    let path = std::path::absolute(path)?;
    let found = path.ancestors().find_map(|at| Some((at.to_path_buf(), fs::symlink_metadata(at).ok()?)));
    let (at, own) = found.ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
    let (kind, end) = match fs::metadata(&at) {
        Ok(end) => (kind(&end), end),
        Err(_) => (Kind::DeadLink, own.clone()),
    };
    Ok(Seen {
        kind,
        is_link: own.is_symlink(),
        owner: end.uid(),
        mode: end.mode() & PERMISSIONS,
        unwritable: unwritable(&at, kind),
        left: left(&at),
        at,
        path,
    })
}

fn kind(found: &Metadata) -> Kind {
    match found.file_type() {
        kind if kind.is_dir() => Kind::Directory,
        kind if kind.is_file() => Kind::File,
        _ => Kind::Special,
    }
}

fn unwritable(at: &PathBuf, kind: Kind) -> Option<String> {
    let wanted = match kind {
        Kind::Directory => Access::WRITE_OK | Access::EXEC_OK,
        Kind::File | Kind::Special | Kind::DeadLink => Access::WRITE_OK,
    };
    rustix::fs::access(at, wanted).err().map(|error| io::Error::from(error).to_string())
}

fn left(at: &PathBuf) -> Option<Left> {
    let found = rustix::fs::statvfs(at).ok()?;
    // Some file systems (btrfs) make files as they need them and count none.
    let files = (found.f_files > 0).then_some(found.f_favail);
    Some(Left { bytes: found.f_bavail.saturating_mul(found.f_frsize), files })
}
