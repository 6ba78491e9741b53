//! Receipts on disk: the last few stops of an app, one file each, with a picture beside.
//!
//! Called once at the end of a stop, on the helper thread that may be left behind; and by whoever asks later how the
//! last stop went. A receipt is whole or not there: written beside, synced, renamed. Saving never fails for a reason
//! that lies in *older* receipts, and reading never fails because *one* of them is damaged.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;

use crate::{Event, Receipt, Unreadable, timeline};

/// How many receipts are kept when nobody said otherwise.
pub const KEEP: usize = 10;

const PREFIX: &str = "receipt-";
/// What a crash between writing and renaming left behind is swept up after this long.
const STALE: Duration = Duration::from_secs(24 * 60 * 60);
/// A larger file is no receipt of ours: thousands of components fit many times over.
const LARGEST_BYTES: u64 = 64 << 20;

/// One file that is named like a receipt.
#[derive(Debug)]
pub struct Entry {
    /// Where it is.
    pub path: PathBuf,
    /// What is in it, or why nobody can tell.
    pub receipt: Result<Receipt, Unreadable>,
}

/// Writes `receipt-<end of the stop>-<pid>.json` and its picture (`.svg`) into `dir`, which is created if it is
/// missing, and removes all but the newest `keep` receipts. `keep` counts the new one; 0 is taken as 1. Answers the
/// path of the JSON file.
///
/// # Errors
/// When the directory or a file cannot be written. Trouble with removing old receipts is a warning in the log.
pub fn save(dir: &Path, receipt: &Receipt, keep: usize) -> io::Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let path = dir.join(file_name(receipt));
    // The picture first: whoever finds the JSON finds both.
    write_whole(&path.with_extension("svg"), timeline::svg(receipt).as_bytes(), Sync::Wait)?;
    write_whole(&path, receipt.to_json().as_bytes(), Sync::Wait)?;
    if let Err(error) = prune(dir, &path, keep.max(1)) {
        warn(&format!("old receipts in `{}` could not be removed: {error}", dir.display()));
    }
    Ok(path)
}

/// Writes the receipt's JSON to `file`, replacing what was there. A name that ends in `.svg` gets the picture instead.
/// What exists and is no plain file (a pipe, a device) is written to, never replaced.
///
/// # Errors
/// When the file cannot be written; its directory must exist.
pub fn save_to(file: &Path, receipt: &Receipt) -> io::Result<()> {
    write_to(file, receipt, Sync::Wait)
}

/// Like [`save`] for a process that is about to end: the JSON alone, and no wait for the disk. The file is whole or not
/// there as long as the machine stays up.
///
/// # Errors
/// When the directory or the file cannot be written.
pub fn save_quickly(dir: &Path, receipt: &Receipt) -> io::Result<PathBuf> {
    fs::create_dir_all(dir)?;
    let path = dir.join(file_name(receipt));
    write_whole(&path, receipt.to_json().as_bytes(), Sync::No)?;
    Ok(path)
}

/// Like [`save_to`], without waiting for the disk.
///
/// # Errors
/// As [`save_to`].
pub fn save_to_quickly(file: &Path, receipt: &Receipt) -> io::Result<()> {
    write_to(file, receipt, Sync::No)
}

fn write_to(file: &Path, receipt: &Receipt, sync: Sync) -> io::Result<()> {
    let picture = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("svg"));
    let text = if picture { timeline::svg(receipt) } else { receipt.to_json() };
    match fs::metadata(file) {
        Ok(found) if !found.is_file() => fs::OpenOptions::new().write(true).open(file)?.write_all(text.as_bytes()),
        // Through a link to the file itself, so that the link survives.
        Ok(_) => write_whole(&fs::canonicalize(file)?, text.as_bytes(), sync),
        Err(_) => write_whole(file, text.as_bytes(), sync),
    }
}

/// The newest receipt in `dir` that can be read; `None` when there is none. A damaged one is passed over, with a
/// warning in the log that names it.
///
/// # Errors
/// When `dir` exists but cannot be read, and when the newest readable file was written by a newer evenkeel: an older
/// receipt would be passed off as the last.
pub fn last(dir: &Path) -> io::Result<Option<(PathBuf, Receipt)>> {
    for path in paths(dir)?.into_iter().rev() {
        match read(&path) {
            Ok(receipt) => return Ok(Some((path, receipt))),
            Err(error @ Unreadable::Newer { .. }) => {
                return Err(io::Error::new(ErrorKind::InvalidData, format!("`{}`: {error}", path.display())));
            }
            Err(error) => warn(&format!("passed over `{}`: {error}", path.display())),
        }
    }
    Ok(None)
}

/// Every file in `dir` that is named like a receipt, newest first, with what is in it. A directory that does not exist
/// holds none.
///
/// # Errors
/// When `dir` exists but cannot be read.
pub fn list(dir: &Path) -> io::Result<Vec<Entry>> {
    let entry = |path: PathBuf| Entry { receipt: read(&path), path };
    Ok(paths(dir)?.into_iter().rev().map(entry).collect())
}

/// Reads one receipt.
///
/// # Errors
/// [`Unreadable`], also for a file that cannot be opened.
pub fn read(path: &Path) -> Result<Receipt, Unreadable> {
    let broken = |why: String| Unreadable::Broken { why };
    let size = fs::metadata(path).map_err(|error| broken(error.to_string()))?.len();
    if size > LARGEST_BYTES {
        return Err(broken(format!("{size} bytes are too many")));
    }
    let json = fs::read_to_string(path).map_err(|error| broken(error.to_string()))?;
    Receipt::from_json(&json)
}

/// `receipt-20260801T120304.123Z-4711.json`: sorted by name is sorted by time.
pub fn file_name(receipt: &Receipt) -> String {
    let end = match receipt.stop_ended_at.parse::<Timestamp>() {
        Ok(end) => format!("{end:.3}"),
        Err(_) => receipt.stop_ended_at.clone(),
    };
    // A time that is none must still not lead out of the directory.
    let compact: String = end.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '.').take(40).collect();
    format!("{PREFIX}{compact}-{}.json", receipt.pid)
}

/// The receipts in `dir`, oldest first.
fn paths(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str);
        if name.is_some_and(|name| name.starts_with(PREFIX) && name.ends_with(".json")) {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Removes all but `new` and the newest others, `keep` pairs in all, and what crashes left behind. A clock that went
/// back must not cost the receipt that was just written.
fn prune(dir: &Path, new: &Path, keep: usize) -> io::Result<()> {
    let mut paths = paths(dir)?;
    paths.retain(|path| path != new);
    let old = paths.len().saturating_sub(keep - 1);
    for path in paths.iter().take(old) {
        remove(path)?;
        remove(&path.with_extension("svg"))?;
    }
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if is_stale(&path) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// A file of ours that was never renamed, and that nobody is writing any more.
fn is_stale(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let ours = name.starts_with(&format!(".{PREFIX}")) && name.ends_with(".tmp");
    let modified = || fs::metadata(path).and_then(|found| found.modified()).ok();
    ours && modified().and_then(|time| time.elapsed().ok()).is_some_and(|age| age > STALE)
}

/// Removes a file; one that is gone already is removed.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Whether a write waits until it is on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sync {
    Wait,
    No,
}

/// Writes a file so that it is whole or not there, with [`Sync::Wait`] even if the machine goes down: beside, sync,
/// rename, sync.
fn write_whole(path: &Path, bytes: &[u8], sync: Sync) -> io::Result<()> {
    let name = path.file_name().ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "a file needs a name"))?;
    let mut beside = std::ffi::OsString::from(".");
    beside.push(name);
    beside.push(format!(".{}.tmp", std::process::id()));
    let beside = path.with_file_name(beside);
    let written = write(&beside, bytes, sync).and_then(|()| fs::rename(&beside, path));
    if written.is_err() {
        let _ = fs::remove_file(&beside);
    }
    written?;
    if sync == Sync::Wait { sync_directory(path) } else { Ok(()) }
}

fn write(path: &Path, bytes: &[u8], sync: Sync) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    if sync == Sync::Wait { file.sync_all() } else { Ok(()) }
}

/// Makes a rename durable. Some platforms cannot open a directory; there the rename is as durable as it gets.
fn sync_directory(path: &Path) -> io::Result<()> {
    let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    match File::open(dir) {
        Ok(dir) => dir.sync_all(),
        Err(_) => Ok(()),
    }
}

fn warn(text: &str) {
    Event::Warning { text, hint: None }.log();
}
