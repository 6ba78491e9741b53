//! A disk that fails as real ones do, for tests: of this crate, and of programs that keep their state with it.
//!
//! [`SimDisk`] holds what a system's page cache holds, and beside it what a crash would leave. Of what was written since a
//! file's last sync, each sector of 512 bytes survives by chance, in any order; of names made since the last sync of the
//! names, each change does. A sync can fail: the pages then count as clean and are not on the disk, as on Linux. Writes may
//! be short, and the disk may be full. The same seed gives the same disk.

use std::{
    any::Any,
    collections::{BTreeMap, BTreeSet},
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use crate::{
    disk::{Disk, DiskFile},
    error::Error,
};

const SECTOR: usize = 512;

/// What is on a disk when the power comes back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Image {
    /// Names and contents.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// What a crash would have left just before an operation.
#[derive(Debug, Clone)]
pub struct CrashPoint {
    /// The operation, as in "sync 3".
    pub before: String,
    /// What was on the disk.
    pub image: Image,
    /// What the test had noted with [`SimDisk::note`].
    pub note: u64,
}

/// Which operations fail.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// The sync of this number fails, counted from 0, and its pages are dropped.
    pub failing_sync: Option<u64>,
    /// One in this many writes is short; 0: none.
    pub short_writes: u64,
    /// How many bytes the disk holds.
    pub capacity: Option<u64>,
    /// How many images of a crash are taken before each operation.
    pub crash_points: usize,
}

/// The disk. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

struct State {
    inodes: Vec<Inode>,
    names: BTreeMap<String, usize>,
    durable_names: BTreeMap<String, usize>,
    /// Since the names were synced last.
    changes: Vec<Change>,
    faults: Faults,
    dice: u64,
    syncs: u64,
    note: u64,
    trace: Vec<String>,
    crashes: Vec<CrashPoint>,
}

#[derive(Default, Clone)]
struct Inode {
    content: Vec<u8>,
    durable: Vec<u8>,
    dirty: BTreeSet<usize>,
}

enum Change {
    Link(String, usize),
    Rename(String, String, usize),
    Remove(String),
}

impl SimDisk {
    /// An empty disk.
    pub fn new(seed: u64, faults: Faults) -> Self {
        Self::from_image(&Image::default(), seed, faults)
    }

    /// The disk as a crash left it.
    pub fn from_image(image: &Image, seed: u64, faults: Faults) -> Self {
        let inode =
            |content: &Vec<u8>| Inode { content: content.clone(), durable: content.clone(), dirty: BTreeSet::new() };
        let names: BTreeMap<String, usize> = image.files.keys().cloned().zip(0..).collect();
        let state = State {
            inodes: image.files.values().map(inode).collect(),
            durable_names: names.clone(),
            names,
            changes: Vec::new(),
            faults,
            dice: seed,
            syncs: 0,
            note: 0,
            trace: Vec::new(),
            crashes: Vec::new(),
        };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// What each crash point from here on carries: how far all is acknowledged, for example.
    pub fn note(&self, note: u64) {
        self.locked().note = note;
    }

    /// Other faults from here on.
    pub fn set_faults(&self, faults: Faults) {
        self.locked().faults = faults;
    }

    /// What a crash could leave now. Chance decides.
    pub fn crash(&self) -> Image {
        self.locked().crash()
    }

    /// What programs see now, without a crash.
    pub fn seen(&self) -> Image {
        let state = self.locked();
        let content = |(name, inode): (&String, &usize)| (name.clone(), state.inodes[*inode].content.clone());
        Image { files: state.names.iter().map(content).collect() }
    }

    /// How many syncs of files there were.
    pub fn syncs(&self) -> u64 {
        self.locked().syncs
    }

    /// All operations that changed something, or made it durable.
    pub fn trace(&self) -> Vec<String> {
        self.locked().trace.clone()
    }

    /// Takes the crash points that were gathered.
    pub fn take_crashes(&self) -> Vec<CrashPoint> {
        std::mem::take(&mut self.locked().crashes)
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// SplitMix64.
    fn roll(&mut self) -> u64 {
        self.dice = self.dice.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.dice;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.roll() % end.max(1) as u64).unwrap_or(0)
    }

    /// Before each operation.
    fn step(&mut self, what: String) {
        for _ in 0..self.faults.crash_points {
            let point = CrashPoint { before: what.clone(), image: self.crash(), note: self.note };
            self.crashes.push(point);
        }
        self.trace.push(what);
    }

    fn crash(&mut self) -> Image {
        let names = self.surviving_names();
        // All, nothing, or each by itself.
        let style = self.below(4);
        let mut files = BTreeMap::new();
        for (name, index) in names {
            let inode = self.inodes[index].clone();
            files.insert(name, self.surviving_content(&inode, style));
        }
        Image { files }
    }

    fn surviving_names(&mut self) -> BTreeMap<String, usize> {
        let mut names = self.durable_names.clone();
        let prefix = self.below(2) == 0;
        let cut = self.below(self.changes.len() + 1);
        for at in 0..self.changes.len() {
            let survives = if prefix { at < cut } else { self.below(2) == 0 };
            match &self.changes[at] {
                _ if !survives => {}
                Change::Link(name, inode) => {
                    names.insert(name.clone(), *inode);
                }
                Change::Rename(from, to, inode) => {
                    names.retain(|name, there| name != from || there != inode);
                    names.insert(to.clone(), *inode);
                }
                Change::Remove(name) => {
                    names.remove(name);
                }
            }
        }
        names
    }

    fn surviving_content(&mut self, inode: &Inode, style: usize) -> Vec<u8> {
        let survives = |state: &mut Self| match style {
            0 => false,
            1 => true,
            _ => state.below(2) == 0,
        };
        let mut content = inode.durable.clone();
        let len = if survives(self) { inode.content.len() } else { inode.durable.len() };
        content.resize(inode.durable.len().max(inode.content.len()), 0);
        for sector in &inode.dirty {
            if survives(self) {
                copy_sector(&inode.content, &mut content, *sector);
            }
        }
        content.truncate(len);
        content
    }

    fn find(&self, name: &str) -> io::Result<usize> {
        self.names.get(name).copied().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn sync(&mut self, index: usize) -> io::Result<()> {
        self.step(format!("sync {}", self.name_of(index)));
        let number = self.syncs;
        self.syncs += 1;
        let mut inode = std::mem::take(&mut self.inodes[index]);
        let fails = self.faults.failing_sync == Some(number);
        // Of pages that a failed sync dropped before, even one that succeeds writes nothing.
        inode.durable = self.surviving_content(&inode, if fails { 2 } else { 1 });
        inode.dirty.clear();
        self.inodes[index] = inode;
        if fails { Err(io::Error::other("simulated: the sync failed and its pages were dropped")) } else { Ok(()) }
    }

    fn name_of(&self, index: usize) -> String {
        let found = self.names.iter().find(|(_, inode)| **inode == index);
        found.map_or_else(|| "a removed file".to_owned(), |(name, _)| name.clone())
    }

    fn write(&mut self, index: usize, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.step(format!("write {}", self.name_of(index)));
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
        let mut len = bytes.len();
        if self.faults.short_writes > 0 && self.roll().is_multiple_of(self.faults.short_writes) && len > 1 {
            len = 1 + self.below(len - 1);
        }
        let room = self.room_beyond(index);
        let old = self.inodes[index].content.len();
        len = len.min((old + room).saturating_sub(offset));
        if len == 0 && !bytes.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = &mut self.inodes[index];
        if inode.content.len() < offset + len {
            inode.content.resize(offset + len, 0);
            inode.dirty.extend(old / SECTOR..(offset + len).div_ceil(SECTOR));
        }
        inode.content[offset..offset + len].copy_from_slice(&bytes[..len]);
        inode.dirty.extend(offset / SECTOR..(offset + len).div_ceil(SECTOR));
        Ok(len)
    }

    fn room_beyond(&self, _index: usize) -> usize {
        let used: usize = self.names.values().map(|inode| self.inodes[*inode].content.len()).sum();
        let capacity = self.faults.capacity.unwrap_or(u64::MAX / 4);
        usize::try_from(capacity).unwrap_or(usize::MAX / 4).saturating_sub(used)
    }

    fn set_len(&mut self, index: usize, len: u64) -> io::Result<()> {
        self.step(format!("cut {}", self.name_of(index)));
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        let inode = &mut self.inodes[index];
        let longest = inode.content.len().max(inode.durable.len()).max(len);
        inode.content.resize(len, 0);
        inode.dirty.extend(len / SECTOR..longest.div_ceil(SECTOR));
        Ok(())
    }
}

/// As it is in `from`, with zeros where that ends.
fn copy_sector(from: &[u8], to: &mut [u8], sector: usize) {
    let begin = (sector * SECTOR).min(to.len());
    let end = (begin + SECTOR).min(to.len());
    for (at, byte) in to[begin..end].iter_mut().enumerate() {
        *byte = from.get(begin + at).copied().unwrap_or(0);
    }
}

impl Disk for SimDisk {
    fn lock(&self) -> Result<Box<dyn Any + Send + Sync>, Error> {
        Ok(Box::new(()))
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.locked().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let inode = self.locked().find(name)?;
        Ok(Arc::new(SimFile { disk: self.clone(), inode }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.locked();
        state.step(format!("create {name}"));
        state.inodes.push(Inode::default());
        let inode = state.inodes.len() - 1;
        state.names.insert(name.to_owned(), inode);
        state.changes.push(Change::Link(name.to_owned(), inode));
        Ok(Arc::new(SimFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.locked();
        state.step(format!("rename {from} to {to}"));
        let inode = state.find(from)?;
        state.names.remove(from);
        state.names.insert(to.to_owned(), inode);
        state.changes.push(Change::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.locked();
        state.step(format!("remove {name}"));
        state.find(name)?;
        state.names.remove(name);
        state.changes.push(Change::Remove(name.to_owned()));
        Ok(())
    }

    fn sync_names(&self) -> io::Result<()> {
        let mut state = self.locked();
        state.step("sync names".to_owned());
        state.durable_names = state.names.clone();
        state.changes.clear();
        Ok(())
    }

    fn nonce(&self) -> u64 {
        self.locked().roll()
    }
}

struct SimFile {
    disk: SimDisk,
    inode: usize,
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.locked().inodes[self.inode].content.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.locked();
        let content = &state.inodes[self.inode].content;
        let from = usize::try_from(offset).unwrap_or(usize::MAX).min(content.len());
        let len = buffer.len().min(content.len() - from);
        buffer[..len].copy_from_slice(&content[from..from + len]);
        Ok(len)
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.disk.locked().write(self.inode, bytes, offset)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.disk.locked().set_len(self.inode, len)
    }

    fn sync(&self) -> io::Result<()> {
        self.disk.locked().sync(self.inode)
    }
}
