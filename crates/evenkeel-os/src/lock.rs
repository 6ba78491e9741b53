//! One instance of a program at a time, by a lock on the file `lock` in its runtime directory.
//!
//! Policy: the *lock* decides, never the file's presence or content. The kernel drops the lock when the process ends in
//! whatever way, so a file that a crash left behind is no obstacle. The file's content, the holder's process id, is for
//! messages only. The file is never removed: removing it while another process opens it would let two hold "the" lock.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use crate::sys::files;

/// The lock's file name within the runtime directory.
pub const LOCK_FILE: &str = "lock";

/// How often a file that was swapped under us is opened again before that is an error.
const ATTEMPTS: u32 = 8;

/// Proof that this process is the only instance. Dropping it lets the next one in.
#[derive(Debug)]
pub struct InstanceLock {
    file: File,
    path: PathBuf,
}

/// Another process holds the lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The holder's process id, if it had written it yet. For messages: it may be out of date by the time it is read.
    pub pid: Option<u32>,
}

/// Takes the lock on `dir`, which must exist, or says who has it. Does not wait.
///
/// # Errors
/// The file cannot be opened or locked (missing directory, no permission, a file system without locks). That somebody
/// holds the lock is not an error but the inner [`Held`].
pub fn lock_instance(dir: &Path) -> io::Result<Result<InstanceLock, Held>> {
    let path = dir.join(LOCK_FILE);
    for _ in 0..ATTEMPTS {
        let file = files::open_private(&path)?;
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                return Ok(Err(Held { pid: read_pid(&file) }));
            }
            Err(TryLockError::Error(error)) => return Err(error),
            // Somebody may have removed the file between our open and our lock; then we hold nothing that others see.
            Ok(()) if !files::is_file_at(&file, &path)? => {}
            Ok(()) => return Ok(Ok(InstanceLock::new(file, path))),
        }
    }
    Err(io::Error::other(format!("{} is replaced again and again", path.display())))
}

/// Who holds the lock on `dir`, for somebody who does not want it. `None`: nobody. Creates nothing.
///
/// The kernel answers this question only to those who try: for a moment a *shared* lock is held, which does not disturb
/// others who ask, but turns away an instance that starts at that very moment.
///
/// # Errors
/// The file is there and cannot be opened or locked.
pub fn holder(dir: &Path) -> io::Result<Option<Held>> {
    let Some(file) = files::open_existing(&dir.join(LOCK_FILE))? else { return Ok(None) };
    match file.try_lock_shared() {
        Err(TryLockError::WouldBlock) => Ok(Some(Held { pid: read_pid(&file) })),
        Err(TryLockError::Error(error)) => Err(error),
        Ok(()) => file.unlock().map(|()| None),
    }
}

impl InstanceLock {
    fn new(mut file: File, path: PathBuf) -> Self {
        // A full disk must not keep a program from starting: the lock counts, the process id is for messages.
        let _ = write_pid(&mut file);
        Self { file, path }
    }

    /// The lock file.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for InstanceLock {
    fn drop(&mut self) {
        let _ = self.file.set_len(0); // no later reader takes our process id for the next holder's
        // Explicit, because closing alone keeps the lock while a forked child has not reached its exec.
        let _ = self.file.unlock();
    }
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

fn read_pid(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(32).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_file_left_by_a_crash_does_not_keep_the_next_instance_out() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(LOCK_FILE), "4294967294\n").unwrap();
        let lock = lock_instance(dir.path()).unwrap().expect("nobody holds it");
        let content = std::fs::read_to_string(lock.path()).unwrap();
        assert_eq!(content.trim(), std::process::id().to_string());
    }

    #[test]
    fn a_second_lock_in_this_process_is_refused_until_the_first_is_dropped() {
        let dir = tempfile::tempdir().unwrap();
        let first = lock_instance(dir.path()).unwrap().expect("free");
        let held = lock_instance(dir.path()).unwrap().expect_err("held");
        assert_eq!(held, Held { pid: Some(std::process::id()) });
        drop(first);
        lock_instance(dir.path()).unwrap().expect("free again");
    }

    #[test]
    fn asking_for_the_holder_takes_and_creates_nothing() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(holder(dir.path()).unwrap(), None);
        assert_eq!(holder(&dir.path().join("absent")).unwrap(), None);
        assert!(!dir.path().join(LOCK_FILE).exists());
        let lock = lock_instance(dir.path()).unwrap().expect("free");
        assert_eq!(holder(dir.path()).unwrap(), Some(Held { pid: Some(std::process::id()) }));
        drop(lock);
        assert_eq!(holder(dir.path()).unwrap(), None);
        lock_instance(dir.path()).unwrap().expect("still free");
    }

    #[test]
    fn a_missing_directory_is_an_error_and_not_held() {
        let dir = tempfile::tempdir().unwrap();
        lock_instance(&dir.path().join("absent")).expect_err("no directory");
    }
}
