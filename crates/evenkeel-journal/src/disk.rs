//! The one door to the disk. All that the journal does to files goes through [`Disk`] and [`DiskFile`].
//!
//! Policy: a name is a plain file name in the journal's one directory. Nothing here retries, buffers or guesses; what a
//! crash may leave of it is told at each function, and `SimDisk` (feature `sim`) makes it so.

use std::{
    any::Any,
    fs::{self, File},
    hash::{BuildHasher, RandomState},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use evenkeel_os::{disk, lock};

use crate::error::Error;

/// A directory that the journal has to itself.
pub trait Disk: Send + Sync + 'static {
    /// Keeps other processes out for as long as the answer lives.
    ///
    /// # Errors
    /// [`Error::Held`]: somebody has it. [`Error::Io`]: the lock cannot be had.
    fn lock(&self) -> Result<Box<dyn Any + Send + Sync>, Error>;
    /// The names in the directory, in any order.
    ///
    /// # Errors
    /// The operating system's.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Opens a file that is there.
    ///
    /// # Errors
    /// The operating system's.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Creates an empty file, or empties the one of that name. Its name is durable after [`sync_names`](Self::sync_names).
    ///
    /// # Errors
    /// The operating system's.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;
    /// Gives a file another name, in one step; durable after [`sync_names`](Self::sync_names).
    ///
    /// # Errors
    /// The operating system's.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file; durable after [`sync_names`](Self::sync_names).
    ///
    /// # Errors
    /// The operating system's.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes all names durable as they are.
    ///
    /// # Errors
    /// The operating system's. What is durable is then unknown.
    fn sync_names(&self) -> io::Result<()>;
    /// A number that no other journal has got.
    fn nonce(&self) -> u64;
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// How long it is, in bytes.
    ///
    /// # Errors
    /// The operating system's.
    fn len(&self) -> io::Result<u64>;
    /// Whether it is empty.
    ///
    /// # Errors
    /// The operating system's.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }
    /// Reads from `offset`; 0: the end.
    ///
    /// # Errors
    /// The operating system's.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes at `offset`, perhaps less than all. Any of its sectors may survive a crash before the next sync, or none.
    ///
    /// # Errors
    /// The operating system's. Some of it may have been written.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Cuts the file off, or lengthens it with zeros.
    ///
    /// # Errors
    /// The operating system's.
    fn set_len(&self, len: u64) -> io::Result<()>;
    /// Makes all content and the length durable.
    ///
    /// # Errors
    /// The operating system's. What is durable is then unknown, and a second sync that succeeds proves nothing.
    fn sync(&self) -> io::Result<()>;
}

/// Writes all of it.
pub(crate) fn write_all(file: &dyn DiskFile, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Reads up to `len` bytes from `offset`; less only at the end of the file.
pub(crate) fn read_up_to(file: &dyn DiskFile, len: usize, offset: u64) -> io::Result<Vec<u8>> {
    let left = file.len()?.saturating_sub(offset);
    let mut bytes = vec![0; len.min(usize::try_from(left).unwrap_or(usize::MAX))];
    let mut read = 0;
    while read < bytes.len() {
        match file.read_at(&mut bytes[read..], offset + read as u64) {
            Ok(0) => break,
            Ok(more) => read += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(read);
    Ok(bytes)
}

/// Reads the whole file.
pub(crate) fn read_all(disk: &dyn Disk, name: &str) -> Result<Vec<u8>, Error> {
    let read = disk.open(name).and_then(|file| read_up_to(&*file, usize::MAX, 0));
    read.map_err(|error| Error::io(format!("read {name}"), error))
}

/// A directory of the operating system.
#[derive(Debug, Clone)]
pub struct OsDisk {
    dir: PathBuf,
}

impl OsDisk {
    /// The journal in `dir`. What is missing of the path is created, for this user alone (mode 0700) and durably.
    ///
    /// # Errors
    /// It cannot be created.
    pub fn new(dir: impl Into<PathBuf>) -> Result<Self, Error> {
        let dir = dir.into();
        create(&dir).map_err(|error| Error::io(format!("create {}", dir.display()), error))?;
        Ok(Self { dir })
    }
}

/// Each level's name has to outlive a crash: without it all below is gone.
fn create(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let here = Path::new(".");
    let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(here);
    create(parent)?;
    match disk::create_private_directory(dir) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && dir.is_dir() => {}
        other => other?,
    }
    disk::sync_directory(parent)
}

impl Disk for OsDisk {
    fn lock(&self) -> Result<Box<dyn Any + Send + Sync>, Error> {
        let locked = lock::lock_instance(&self.dir);
        match locked.map_err(|error| Error::io(format!("lock {}", self.dir.display()), error))? {
            Ok(lock) => Ok(Box::new(lock)),
            Err(held) => Err(Error::Held { pid: held.pid }),
        }
    }

    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.dir)?.map(|entry| Ok(entry?.file_name().into_string().ok()));
        names.filter_map(io::Result::transpose).collect()
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = File::options().read(true).write(true).open(self.dir.join(name))?;
        Ok(Arc::new(OsFile(file)))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let options = File::options().read(true).write(true).create(true).truncate(true).clone();
        Ok(Arc::new(OsFile(options.open(self.dir.join(name))?)))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.dir.join(from), self.dir.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.dir.join(name))
    }

    fn sync_names(&self) -> io::Result<()> {
        disk::sync_directory(&self.dir)
    }

    fn nonce(&self) -> u64 {
        RandomState::new().hash_one(std::process::id())
    }
}

struct OsFile(File);

impl DiskFile for OsFile {
    fn len(&self) -> io::Result<u64> {
        self.0.metadata().map(|seen| seen.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        disk::read_at(&self.0, buffer, offset)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        disk::write_at(&self.0, bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    /// `fdatasync` makes a changed length durable too, as POSIX has it.
    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
