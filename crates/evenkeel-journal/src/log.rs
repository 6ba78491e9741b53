//! The log: segments that are appended to. Blocking, on one thread, without a queue.
//!
//! Policy: [`Log::commit`] gives back only what is durable. A sync that failed, and a write that failed otherwise than by
//! a full disk, poisons the log: it is never tried again, because the system may have marked the pages clean. A write
//! that met a full disk is cut off again; then nothing more is appended, and a checkpoint still works.

use std::{
    any::Any,
    io,
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest, Sha256};

use crate::{
    disk::{Disk, DiskFile, write_all},
    error::Error,
    format::{
        Chain, Kind, Manifest, RECORD_HEADER, RecordHeader, SEAL, SEGMENT_HEADER, Seal, SegmentHeader, finish,
        frame_len, segment_name, spare_name,
    },
    options::Options,
    sabotage::Sabotage,
};

pub(crate) const SEGMENT_TMP: &str = "segment.tmp";
pub(crate) const SPARE_TMP: &str = "spare.tmp";

/// Records on their way to the disk: frames without their headers.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    /// Lengths of the bodies.
    bodies: Vec<u32>,
}

impl Batch {
    /// Adds a record; the caller has checked its length.
    pub(crate) fn push(&mut self, body: &[u8]) {
        let begin = self.bytes.len();
        self.bodies.push(u32::try_from(body.len()).expect("a record is at most 1 GiB"));
        self.bytes.resize(begin + RECORD_HEADER, 0);
        self.bytes.extend_from_slice(body);
        self.bytes.resize(begin + frame_len(body.len()), 0);
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.bodies.clear();
    }

    /// How many records from `first` on fit into `room`, and their bytes.
    fn fitting(&self, first: usize, room: u64) -> (usize, usize) {
        let mut bytes = 0;
        let mut count = 0;
        for body in &self.bodies[first..] {
            let more = bytes + frame_len(*body as usize);
            if more as u64 > room {
                break;
            }
            bytes = more;
            count += 1;
        }
        (count, bytes)
    }
}

/// A segment as readers need it.
#[derive(Clone)]
pub(crate) struct Segment {
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<dyn DiskFile>,
}

/// The segments from the oldest that is kept to the active one.
pub(crate) type Segments = Arc<Mutex<Vec<Segment>>>;

/// The segment that is appended to.
pub(crate) struct Active {
    file: Arc<dyn DiskFile>,
    header: SegmentHeader,
    salt: u32,
    end: u64,
    /// Up to here the file has been written once, with records or zeros.
    filled: u64,
    records: u64,
    hasher: Sha256,
}

/// A segment to come: its header is durable, its name is not there yet.
struct Next {
    file: Arc<dyn DiskFile>,
    header: SegmentHeader,
    name: String,
    filled: u64,
}

impl Active {
    pub(crate) fn number(&self) -> u64 {
        self.header.number
    }
}

/// The log of one journal, open for writing.
pub(crate) struct Log {
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) options: Options,
    pub(crate) manifest: Manifest,
    pub(crate) segments: Segments,
    /// None once it was sealed for good.
    pub(crate) active: Option<Active>,
    pub(crate) spares: Arc<Spares>,
    pub(crate) durable: u64,
    pub(crate) poison: Option<Error>,
    /// Keeps other processes out until all else is dropped.
    pub(crate) _lock: Box<dyn Any + Send + Sync>,
}

impl Log {
    /// All up to here is durable.
    pub(crate) fn durable(&self) -> u64 {
        self.durable
    }

    /// Makes the batch durable, as the records after [`durable`](Self::durable), with one sync per segment it touches.
    /// After an error the part up to `durable` is durable all the same.
    pub(crate) fn commit(&mut self, batch: &mut Batch) -> Result<(), Error> {
        self.check()?;
        let (mut record, mut at) = (0, 0);
        while record < batch.bodies.len() {
            let room = self.room()?;
            let (count, bytes) = batch.fitting(record, room);
            if count == 0 {
                self.rotate()?;
                continue;
            }
            self.write(&batch.bodies[record..record + count], &mut batch.bytes[at..at + bytes])?;
            record += count;
            at += bytes;
        }
        Ok(())
    }

    fn write(&mut self, bodies: &[u32], frames: &mut [u8]) -> Result<(), Error> {
        let durable = self.durable;
        let active = self.active.as_mut().ok_or(Error::Closed)?;
        let mut at = 0;
        let mut header = RecordHeader { kind: Kind::Data, epoch: active.header.epoch, seq: durable, durable };
        for body in bodies {
            let len = frame_len(*body as usize);
            header.seq += 1;
            header.finish(active.salt, *body, &mut frames[at..at + len]);
            at += len;
        }
        if let Err(error) = write_all(&*active.file, frames, active.end) {
            return Err(self.write_failed(error));
        }
        let end = active.end + frames.len() as u64;
        fill_ahead(active, end, &self.options);
        if self.options.sabotage != Some(Sabotage::AckBeforeSync) {
            self.sync_active()?;
        }
        let active = self.active.as_mut().expect("it was there above");
        active.end = end;
        active.records += bodies.len() as u64;
        active.hasher.update(&*frames);
        self.durable = header.seq;
        Ok(())
    }

    fn room(&self) -> Result<u64, Error> {
        let active = self.active.as_ref().ok_or(Error::Closed)?;
        Ok((self.options.segment_bytes - SEAL as u64).saturating_sub(active.end))
    }

    fn sync_active(&mut self) -> Result<(), Error> {
        let active = self.active.as_ref().ok_or(Error::Closed)?;
        let mut synced = active.file.sync();
        if synced.is_err() && self.options.sabotage == Some(Sabotage::RetrySync) {
            synced = active.file.sync();
        }
        let doing = || format!("sync {}", segment_name(active.header.number));
        synced.map_err(|error| Error::io(doing(), error)).map_err(|error| self.poisoned(error))
    }

    /// What was written of a failed batch must never be found: it is cut off, or the log is poisoned.
    fn write_failed(&mut self, error: io::Error) -> Error {
        let Some(active) = &mut self.active else { return Error::Closed };
        let error = Error::io(format!("write {}", segment_name(active.header.number)), error);
        if !error.is_full() {
            return self.poisoned(error);
        }
        let cut = active.file.set_len(active.end).and_then(|()| active.file.sync());
        active.filled = active.end;
        let doing = || format!("cut {} after the disk was full", segment_name(active.header.number));
        match cut.map_err(|error| Error::io(doing(), error)) {
            Ok(()) => Error::Full,
            Err(error) => self.poisoned(error),
        }
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        self.poison.clone().map_or(Ok(()), Err)
    }

    /// Nothing is acknowledged from here on.
    pub(crate) fn poisoned(&mut self, cause: Error) -> Error {
        self.poison.get_or_insert_with(|| cause.poisoned()).clone()
    }

    /// Goes on in a new segment. A full disk is met before anything is changed.
    fn rotate(&mut self) -> Result<(), Error> {
        let active = self.active.as_ref().ok_or(Error::Closed)?;
        let header = SegmentHeader {
            number: active.header.number + 1,
            first_seq: self.durable + 1,
            chain: finish(&active.hasher),
            ..active.header
        };
        let next = match self.prepare(header) {
            Ok(next) => next,
            Err(error) if error.is_full() => return Err(Error::Full),
            Err(error) => return Err(self.poisoned(error)),
        };
        self.seal()?;
        self.begin(next)
    }

    /// Writes the seal: the segment is complete. Gives back what the next one's header holds.
    pub(crate) fn seal(&mut self) -> Result<Chain, Error> {
        let active = self.active.as_ref().ok_or(Error::Closed)?;
        let chain = finish(&active.hasher);
        let seal = Seal { records: active.records, last_seq: self.durable, chain };
        let frame = seal.encode(active.salt, active.header.epoch);
        if let Err(error) = write_all(&*active.file, &frame, active.end) {
            return Err(self.write_failed(error));
        }
        self.sync_active()?;
        self.active = None;
        Ok(chain)
    }

    /// Makes the first segment after a recovery.
    pub(crate) fn begin_with(&mut self, header: SegmentHeader) -> Result<(), Error> {
        let next = self.prepare(header)?;
        self.begin(next)
    }

    fn prepare(&self, header: SegmentHeader) -> Result<Next, Error> {
        let spare = self.spares.take();
        let name = spare.clone().unwrap_or_else(|| SEGMENT_TMP.to_owned());
        let written = match &spare {
            Some(name) => self.disk.open(name),
            None => self.disk.create(SEGMENT_TMP),
        };
        let written = written.and_then(|file| {
            write_all(&*file, &header.encode(), 0)?;
            file.sync()?;
            let filled = file.len()?;
            Ok(Next { file, header, name: name.clone(), filled })
        });
        written.map_err(|error| Error::io(format!("prepare {name}"), error))
    }

    fn begin(&mut self, next: Next) -> Result<(), Error> {
        let name = segment_name(next.header.number);
        let mut named = self.disk.rename(&next.name, &name);
        if self.options.sabotage != Some(Sabotage::ForgetNames) {
            named = named.and_then(|()| self.disk.sync_names());
        }
        named.map_err(|error| Error::io(format!("create {name}"), error)).map_err(|error| self.poisoned(error))?;
        let salt = salt(&next.header, self.options.sabotage);
        let mut hasher = Sha256::new();
        hasher.update(next.header.encode());
        let end = SEGMENT_HEADER as u64;
        self.locked().push(Segment { header: next.header, file: next.file.clone() });
        self.active =
            Some(Active { file: next.file, header: next.header, salt, end, filled: next.filled, records: 0, hasher });
        Ok(())
    }

    pub(crate) fn locked(&self) -> std::sync::MutexGuard<'_, Vec<Segment>> {
        self.segments.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The salt of a segment's checksums.
pub(crate) fn salt(header: &SegmentHeader, bug: Option<Sabotage>) -> u32 {
    if bug == Some(Sabotage::TrustStale) { 0 } else { header.salt() }
}

/// Zeros after the records, so that the next syncs need not write a new length. Best effort: without them it is slower.
fn fill_ahead(active: &mut Active, end: u64, options: &Options) {
    if end <= active.filled {
        return;
    }
    active.filled = end;
    let window = options.window.max(1);
    let to = end.next_multiple_of(window).min(options.segment_bytes);
    let zeros = vec![0; usize::try_from(to.saturating_sub(end)).unwrap_or(0)];
    if write_all(&*active.file, &zeros, end).is_ok() {
        active.filled = end + zeros.len() as u64;
    }
}

/// Files that were written once and wait to become segments.
#[derive(Default)]
pub(crate) struct Spares {
    state: Mutex<SpareState>,
}

#[derive(Default)]
struct SpareState {
    stopped: bool,
    names: Vec<String>,
    next: u64,
}

impl Spares {
    pub(crate) fn new(names: Vec<String>, next: u64) -> Self {
        Self { state: Mutex::new(SpareState { names, next, stopped: false }) }
    }

    fn locked(&self) -> std::sync::MutexGuard<'_, SpareState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self) -> Option<String> {
        self.locked().names.pop()
    }

    pub(crate) fn count(&self) -> usize {
        self.locked().names.len()
    }

    pub(crate) fn take_all(&self) -> Vec<String> {
        std::mem::take(&mut self.locked().names)
    }

    /// A name for one more.
    pub(crate) fn new_name(&self) -> String {
        let mut state = self.locked();
        state.next += 1;
        spare_name(state.next)
    }

    /// No more are prepared, and one that is being prepared is left.
    pub(crate) fn stop(&self) {
        self.locked().stopped = true;
    }

    fn is_stopped(&self) -> bool {
        self.locked().stopped
    }

    pub(crate) fn add(&self, name: String) {
        self.locked().names.push(name);
    }
}

/// Writes one more spare, if there are fewer than wanted. Blocking and slow; done beside the log.
pub(crate) fn prepare_spare(disk: &dyn Disk, spares: &Spares, options: &Options) -> Result<bool, Error> {
    if spares.count() >= options.spares || spares.is_stopped() {
        return Ok(false);
    }
    let name = spares.new_name();
    let written = (|| {
        let file = disk.create(SPARE_TMP)?;
        let zeros = vec![0; usize::try_from(options.segment_bytes.min(1 << 20)).expect("at most 1 MiB")];
        let mut at = 0;
        while at < options.segment_bytes {
            if spares.is_stopped() {
                return disk.remove(SPARE_TMP).map(|()| false);
            }
            let more = (options.segment_bytes - at).min(zeros.len() as u64);
            write_all(&*file, &zeros[..usize::try_from(more).expect("at most 1 MiB")], at)?;
            at += more;
        }
        file.sync()?;
        disk.rename(SPARE_TMP, &name).map(|()| true)
    })();
    let is_there = written.map_err(|error| Error::io(format!("prepare {name}"), error))?;
    if is_there {
        spares.add(name);
    }
    Ok(is_there)
}
