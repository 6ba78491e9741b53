//! Positioned file access and durable directory entries.

use std::fs::{DirBuilder, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt};
use std::path::Path;

/// Reads into `buffer` from `offset`; how much was read, 0 at the end of the file.
///
/// # Errors
/// Those of `pread`.
pub fn read_at(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    file.read_at(buffer, offset)
}

/// Writes from `bytes` at `offset`; how much was written may be less.
///
/// # Errors
/// Those of `pwrite`.
pub fn write_at(file: &File, bytes: &[u8], offset: u64) -> io::Result<usize> {
    file.write_at(bytes, offset)
}

/// Makes the names in `dir` durable: what was created, renamed and removed there stays so after a loss of power.
///
/// # Errors
/// The directory cannot be opened, or the disk failed.
pub fn sync_directory(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Creates one directory that only this user can enter (mode 0700); its parent must be there.
///
/// # Errors
/// Those of `mkdir`, that it is there already among them.
pub fn create_private_directory(dir: &Path) -> io::Result<()> {
    DirBuilder::new().mode(0o700).create(dir)
}
