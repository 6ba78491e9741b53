//! From what a crash left to a log that can be appended to.
//!
//! Policy:
//! - Only the last segment may end without a seal. Its tail is cut off where it is torn, and the cut is durable before
//!   anything is written. All else that does not verify is refused with its place.
//! - What the last sync before the end was to make durable is written again before it is synced: after a sync that
//!   failed, the system shows pages that are not on the disk, and syncing them once more would prove nothing.
//! - Each recovery begins a new epoch in a new segment, so nothing is ever written beside what a crash left.
//! - Each step may be cut off by the next crash; recovering then gives the same records.

use std::{
    io,
    sync::{Arc, Mutex},
};

use sha2::{Digest, Sha256};

use crate::{
    checkpoint::keep_ballast,
    disk::{Disk, DiskFile, read_all, read_up_to, write_all},
    error::Error,
    format::{
        BALLAST, Chain, MANIFEST, MANIFEST_TMP, Manifest, SECTOR, SLOT_DISTANCE, Seal, SegmentHeader, number_in,
        segment_name, snapshot_body, snapshot_name,
    },
    log::{Log, Segment, Spares, salt},
    options::{Options, Progress},
    sabotage::Sabotage,
    scan::{Ending, Scan, scan, seal_end},
};

/// What recovery found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The checkpoint that was loaded holds all up to this record; 0: there was none.
    pub checkpoint: u64,
    /// How many records after it were replayed. 0 after an end in order with a checkpoint.
    pub replayed: u64,
    /// The last record.
    pub last_seq: u64,
    /// Whether the journal was closed in order.
    pub clean: bool,
    /// What was cut off, where the end was torn. None of it was ever acknowledged.
    pub cut: Option<Cut>,
}

/// A torn tail that was cut off.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cut {
    /// The file.
    pub file: String,
    /// Where it ends now, in bytes.
    pub offset: u64,
}

/// What is done with the recovered.
pub(crate) trait Replay {
    /// The checkpoint; first, and once at most.
    fn snapshot(&mut self, seq: u64, state: &[u8]) -> Result<(), Error>;
    /// A record after the checkpoint, in order.
    fn record(&mut self, seq: u64, body: &[u8]) -> Result<(), Error>;
}

/// Recovers the journal on this disk, or begins one.
pub(crate) fn recover(
    disk: Arc<dyn Disk>,
    options: Options,
    replay: &mut dyn Replay,
) -> Result<(Log, Recovery), Error> {
    options.check()?;
    let lock = disk.lock()?;
    let names = tidy(&*disk)?;
    let manifest = load_manifest(&*disk, &names)?;
    load_snapshot(&*disk, &manifest, replay)?;
    let found = read_segments(&*disk, &options, &manifest, &names, replay)?;
    if found.last_seq < manifest.last_seq {
        let why = format!("it speaks of record {}, and record {} is the last", manifest.last_seq, found.last_seq);
        return Err(Error::rot(MANIFEST, 32, &why));
    }
    let recovery = Recovery {
        checkpoint: manifest.checkpoint,
        replayed: found.replayed,
        last_seq: found.last_seq,
        clean: manifest.clean,
        cut: found.cut.clone(),
    };
    let epoch = 1 + found.epoch.max(manifest.epoch);
    let segments = Arc::new(Mutex::new(found.segments));
    let durable = found.last_seq;
    let spares = Arc::default();
    let mut log = Log { disk, options, manifest, segments, active: None, spares, durable, poison: None, _lock: lock };
    // The slot that was read may be one that a failed sync left in memory alone. While it is written again, the other
    // one is what a crash falls back to; only then is that one written over.
    log.put_manifest(manifest)?;
    let generation = manifest.generation + 1;
    log.put_manifest(Manifest { generation, epoch, clean: false, last_seq: durable, ..manifest })?;
    // Not before: what an older manifest spoke of was still needed.
    log.spares = spares_of(&*log.disk, &log.options, &manifest, &names)?;
    let first_seq = durable + 1;
    let header = SegmentHeader { journal: manifest.journal, number: found.next, epoch, first_seq, chain: found.chain };
    log.begin_with(header)?;
    match keep_ballast(&*log.disk, &log.options, manifest.snapshot_len) {
        Err(error) if !error.is_full() => return Err(error),
        _ => {} // a full disk has none; the first append that does not fit will say so
    }
    Ok((log, recovery))
}

/// Removes what was not finished; makes the names durable, because a failed sync may have left them in doubt.
fn tidy(disk: &dyn Disk) -> Result<Vec<String>, Error> {
    let names = disk.list().map_err(|error| Error::io("read the directory", error))?;
    let (unfinished, names): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name.ends_with(".tmp"));
    for name in unfinished {
        disk.remove(&name).map_err(|error| Error::io(format!("remove {name}"), error))?;
    }
    disk.sync_names().map_err(|error| Error::io("sync the directory", error))?;
    Ok(names)
}

fn load_manifest(disk: &dyn Disk, names: &[String]) -> Result<Manifest, Error> {
    if names.iter().any(|name| name == MANIFEST) {
        return read_manifest(disk);
    }
    let left = |prefix| names.iter().find(|name| number_in(name, prefix).is_some());
    if let Some(name) = left("segment-").or_else(|| left("snapshot-")) {
        return Err(Error::rot(MANIFEST, 0, &format!("it is missing, and {name} is there")));
    }
    let manifest = Manifest { journal: disk.nonce(), generation: 1, first_segment: 1, ..Manifest::default() };
    let written = (|| {
        let file = disk.create(MANIFEST_TMP)?;
        write_all(&*file, &[0; SECTOR], 0)?;
        write_all(&*file, &manifest.encode(), SLOT_DISTANCE)?;
        file.sync()?;
        disk.rename(MANIFEST_TMP, MANIFEST)?;
        disk.sync_names()
    })();
    written.map_err(|error| Error::io("create the manifest", error))?;
    Ok(manifest)
}

/// The manifest that is in force.
pub(crate) fn read_manifest(disk: &dyn Disk) -> Result<Manifest, Error> {
    let bytes = read_all(disk, MANIFEST)?;
    let slot = |at: usize| Manifest::decode(bytes.get(at..).unwrap_or(&[]));
    let second = slot(usize::try_from(SLOT_DISTANCE).expect("4096"));
    match (slot(0), second) {
        (Ok(a), Ok(b)) => Ok(if a.generation > b.generation { a } else { b }),
        // A slot of a newer version is not a torn one: what it says may be in force.
        (Err(newer @ Error::Newer { .. }), _) | (_, Err(newer @ Error::Newer { .. })) => Err(newer),
        (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one),
        (Err(_), Err(error)) => Err(error),
    }
}

/// Hands the checkpoint over, if there is one.
pub(crate) fn load_snapshot(disk: &dyn Disk, manifest: &Manifest, replay: &mut dyn Replay) -> Result<(), Error> {
    if !manifest.has_snapshot {
        return Ok(());
    }
    let name = snapshot_name(manifest.checkpoint);
    let bytes = read_all(disk, &name)?;
    replay.snapshot(manifest.checkpoint, snapshot_body(&bytes, manifest, &name)?)
}

struct Found {
    segments: Vec<Segment>,
    last_seq: u64,
    replayed: u64,
    epoch: u32,
    /// The number of the next segment, and what its header holds of the one before.
    next: u64,
    chain: Chain,
    cut: Option<Cut>,
}

/// The numbers of the segments that count, in order and without a gap.
pub(crate) fn numbers(manifest: &Manifest, names: &[String]) -> Result<Vec<u64>, Error> {
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_in(name, "segment-")).collect();
    numbers.retain(|number| *number >= manifest.first_segment);
    numbers.sort_unstable();
    for (number, wanted) in numbers.iter().zip(manifest.first_segment..) {
        if *number != wanted {
            return Err(Error::rot(&segment_name(wanted), 0, "it is missing, and later ones are there"));
        }
    }
    Ok(numbers)
}

fn read_segments(
    disk: &dyn Disk,
    options: &Options,
    manifest: &Manifest,
    names: &[String],
    replay: &mut dyn Replay,
) -> Result<Found, Error> {
    let numbers = numbers(manifest, names)?;
    let files = numbers.iter().map(|number| {
        let name = segment_name(*number);
        disk.open(&name).map_err(|error| Error::io(format!("open {name}"), error))
    });
    let files: Vec<Arc<dyn DiskFile>> = files.collect::<Result<_, _>>()?;
    let sizes = files.iter().zip(&numbers).map(|(file, number)| {
        file.len().map_err(|error| Error::io(format!("measure {}", segment_name(*number)), error))
    });
    let of = sizes.sum::<Result<u64, Error>>()?;
    let mut progress = Progress { bytes: 0, of, records: 0 };
    let mut found = Found {
        segments: Vec::new(),
        last_seq: manifest.checkpoint,
        replayed: 0,
        epoch: 0,
        next: manifest.first_segment,
        chain: manifest.chain,
        cut: None,
    };
    for (index, (number, file)) in numbers.iter().zip(files).enumerate() {
        let bytes = read_up_to(&*file, usize::MAX, 0);
        let bytes = bytes.map_err(|error| Error::io(format!("read {}", segment_name(*number)), error))?;
        let seen = scan(*number, &bytes, options.sabotage, |seq, body| {
            if seq <= manifest.checkpoint && options.sabotage != Some(Sabotage::ReplayAll) {
                return Ok(());
            }
            found.replayed += 1;
            replay.record(seq, body)
        })?;
        found.link(manifest, &seen, index == 0)?;
        let is_last = index + 1 == numbers.len();
        if is_last {
            if seen.last_seq < manifest.last_seq {
                let why = format!("record {} was durable and is missing", manifest.last_seq);
                return Err(Error::rot(&segment_name(*number), seen.end as u64, &why));
            }
            found.end(disk, options, &file, &bytes, &seen)?;
        } else {
            found.pass(&seen)?;
        }
        if !is_last || seen.records > 0 {
            found.segments.push(Segment { header: seen.header, file });
        }
        progress.bytes += bytes.len() as u64;
        progress.records = found.replayed;
        options.progress.iter().for_each(|told| told(progress));
    }
    Ok(found)
}

impl Found {
    /// Holds a segment against the one before it.
    fn link(&mut self, manifest: &Manifest, seen: &Scan, first: bool) -> Result<(), Error> {
        let header = &seen.header;
        let rot = |at, why| Err(Error::rot(&segment_name(header.number), at, why));
        if header.journal != manifest.journal {
            return rot(16, "it belongs to another journal");
        }
        if header.chain != self.chain {
            return rot(40, "it does not follow what is before it");
        }
        let follows = if first { header.first_seq <= self.last_seq + 1 } else { header.first_seq == self.last_seq + 1 };
        if !follows {
            return rot(32, "records before it are missing");
        }
        self.epoch = self.epoch.max(header.epoch);
        self.last_seq = seen.last_seq.max(manifest.checkpoint);
        Ok(())
    }

    /// A segment that others follow.
    fn pass(&mut self, seen: &Scan) -> Result<(), Error> {
        let Ending::Sealed(seal) = seen.ending else {
            let name = segment_name(seen.header.number);
            return Err(Error::rot(&name, seen.end as u64, "its end is missing, and later segments are there"));
        };
        self.chain = seal.chain;
        self.next = seen.header.number + 1;
        // Where the first segment begins before the checkpoint, what counts next is its own end.
        self.last_seq = seen.last_seq;
        Ok(())
    }

    /// The last segment: its end becomes durable and sealed. Without records it goes.
    fn end(
        &mut self,
        disk: &dyn Disk,
        options: &Options,
        file: &Arc<dyn DiskFile>,
        bytes: &[u8],
        seen: &Scan,
    ) -> Result<(), Error> {
        let name = segment_name(seen.header.number);
        if seen.ending == Ending::Torn {
            self.cut = Some(Cut { file: name.clone(), offset: seen.end as u64 });
        }
        if seen.records == 0 {
            self.next = seen.header.number;
            let gone = disk.remove(&name).and_then(|()| disk.sync_names());
            return gone.map_err(|error| Error::io(format!("remove {name}"), error));
        }
        self.next = seen.header.number + 1;
        let chain = match seen.ending {
            Ending::Sealed(seal) => seal.chain,
            Ending::Open | Ending::Torn => Sha256::digest(&bytes[..seen.end]).into(),
        };
        self.chain = chain;
        settle(&**file, options, bytes, seen, chain).map_err(|error| Error::io(format!("settle {name}"), error))
    }
}

/// Makes the end of the last segment durable: what the last sync was for is written again, the rest cut off, a seal set.
fn settle(file: &dyn DiskFile, options: &Options, bytes: &[u8], seen: &Scan, chain: Chain) -> io::Result<()> {
    let end = seal_end(seen);
    if options.sabotage != Some(Sabotage::LeaveTail) {
        write_all(file, &bytes[seen.last_batch..end], seen.last_batch as u64)?;
        file.sync()?;
        file.set_len(end as u64)?;
        file.sync()?;
    }
    if end == seen.end && options.sabotage != Some(Sabotage::LeaveTail) {
        let seal = Seal { records: seen.records, last_seq: seen.last_seq, chain };
        write_all(file, &seal.encode(salt(&seen.header, options.sabotage), seen.header.epoch), end as u64)?;
        file.sync()?;
    }
    Ok(())
}

/// What may be written over; all else that no longer counts is removed.
fn spares_of(disk: &dyn Disk, options: &Options, manifest: &Manifest, names: &[String]) -> Result<Arc<Spares>, Error> {
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| number_in(name, "spare-")).collect();
    numbers.sort_unstable();
    let next = numbers.last().copied().unwrap_or(0);
    let excess = numbers.split_off(numbers.len().min(options.spares)).into_iter().map(crate::format::spare_name);
    let old_segments =
        names.iter().filter(|name| number_in(name, "segment-").is_some_and(|number| number < manifest.first_segment));
    let old_snapshots = names.iter().filter(|name| {
        number_in(name, "snapshot-").is_some_and(|seq| !manifest.has_snapshot || seq != manifest.checkpoint)
    });
    let unused = names.iter().filter(|name| *name == BALLAST && options.ballast == 0);
    for name in excess.chain(old_segments.chain(old_snapshots).chain(unused).cloned()) {
        disk.remove(&name).map_err(|error| Error::io(format!("remove {name}"), error))?;
    }
    Ok(Arc::new(Spares::new(numbers.into_iter().map(crate::format::spare_name).collect(), next)))
}
