//! Looking at a journal that nobody has open, and cutting it off where it is damaged.
//!
//! Policy: [`verify`] and [`dump`] change nothing. [`repair`] takes nothing away for good: what it cuts off is kept beside
//! the journal in files called `damaged-*`, which nothing reads. All three hold the journal's lock.

use sha2::{Digest, Sha256};

use crate::{
    disk::{Disk, read_all, write_all},
    error::Error,
    format::{Chain, MANIFEST, Manifest, SLOT_DISTANCE, segment_name, snapshot_body, snapshot_name},
    recovery::{numbers, read_manifest},
    scan::{Ending, Scan, scan, walk},
};

/// What [`verify`] found, where nothing is damaged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    /// Whether it was closed in order.
    pub clean: bool,
    /// The checkpoint holds all up to this record; 0: there is none.
    pub checkpoint: u64,
    /// The last record.
    pub last_seq: u64,
    /// How many records there are beside the checkpoint, those that it holds too included.
    pub records: u64,
    /// How many segments there are.
    pub segments: usize,
    /// Where the last segment is torn: the next start cuts it off there.
    pub torn: Option<(String, u64)>,
}

/// A record as [`dump`] shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dumped<'a> {
    /// Its place.
    pub seq: u64,
    /// The number of its segment.
    pub segment: u64,
    /// Its content.
    pub body: &'a [u8],
}

/// One thing that [`repair`] does, or would do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Repair {
    /// A segment is cut off there; the whole of it is kept as `damaged-*`.
    Cut {
        /// The file.
        file: String,
        /// Its new length, in bytes.
        offset: u64,
        /// The last record that is left in it.
        last_seq: u64,
    },
    /// A file is set aside as `damaged-*`, with all records in it.
    SetAside {
        /// The file.
        file: String,
    },
}

/// Reads everything and recomputes every checksum, and the digests that chain the sealed segments.
///
/// # Errors
/// [`Error::Rot`] and [`Error::Newer`]: the first damage, with file and offset. [`Error::Held`]: it is in use.
pub fn verify(disk: &dyn Disk) -> Result<Verified, Error> {
    let lock = disk.lock()?;
    let manifest = read_manifest(disk)?;
    check_snapshot(disk, &manifest)?;
    let mut found = Verified {
        clean: manifest.clean,
        checkpoint: manifest.checkpoint,
        last_seq: manifest.checkpoint,
        records: 0,
        segments: 0,
        torn: None,
    };
    let numbers = segments(disk, &manifest)?;
    let mut chain = manifest.chain;
    for number in &numbers {
        let name = segment_name(*number);
        let bytes = read_all(disk, &name)?;
        let seen = scan(*number, &bytes, None, |_, _| Ok(()))?;
        chain = follow(&name, &bytes, &seen, chain, Some(number) == numbers.last())?;
        found.records += seen.records;
        found.last_seq = found.last_seq.max(seen.last_seq);
        found.segments += 1;
        if seen.ending == Ending::Torn {
            found.torn = Some((name, seen.end as u64));
        }
    }
    drop(lock);
    if found.last_seq < manifest.last_seq {
        return Err(missing(&manifest, found.last_seq));
    }
    Ok(found)
}

/// Shows every record that is there, in order.
///
/// # Errors
/// As [`verify`], after the records before the damage were shown; and what `show` answers.
pub fn dump(disk: &dyn Disk, mut show: impl FnMut(Dumped<'_>) -> Result<(), Error>) -> Result<(), Error> {
    let lock = disk.lock()?;
    let manifest = read_manifest(disk)?;
    for number in segments(disk, &manifest)? {
        let bytes = read_all(disk, &segment_name(number))?;
        scan(number, &bytes, None, |seq, body| show(Dumped { seq, segment: number, body }))?;
    }
    drop(lock);
    Ok(())
}

/// Cuts the log off at its first damage, so that it can be recovered up to there. Records after it are lost to the journal.
/// With `dry_run` nothing is changed; the answer says what would be.
///
/// # Errors
/// [`Error::Rot`]: the manifest or the checkpoint is damaged, which only a backup can cure. [`Error::Io`], [`Error::Held`].
pub fn repair(disk: &dyn Disk, dry_run: bool) -> Result<Vec<Repair>, Error> {
    let lock = disk.lock()?;
    let manifest = read_manifest(disk)?;
    check_snapshot(disk, &manifest)?;
    let plan = plan(disk, &manifest)?;
    if !dry_run && !plan.steps.is_empty() {
        carry_out(disk, &manifest, &plan)?;
    }
    drop(lock);
    Ok(plan.steps)
}

struct Plan {
    steps: Vec<Repair>,
    last_seq: u64,
}

fn plan(disk: &dyn Disk, manifest: &Manifest) -> Result<Plan, Error> {
    let mut plan = Plan { steps: Vec::new(), last_seq: manifest.checkpoint };
    let mut chain = manifest.chain;
    let mut numbers: Vec<u64> = disk
        .list()
        .map_err(|error| Error::io("read the directory", error))?
        .iter()
        .filter_map(|name| crate::format::number_in(name, "segment-"))
        .filter(|number| *number >= manifest.first_segment)
        .collect();
    numbers.sort_unstable();
    for (number, wanted) in numbers.iter().zip(manifest.first_segment..) {
        let file = segment_name(*number);
        if !plan.steps.is_empty() || *number != wanted {
            plan.steps.push(Repair::SetAside { file });
            continue;
        }
        let bytes = read_all(disk, &file)?;
        let is_last = Some(number) == numbers.last();
        match walk(*number, &bytes, None, |_, _| Ok(())) {
            Err(newer @ Error::Newer { .. }) => return Err(newer),
            Err(_) => plan.steps.push(Repair::SetAside { file }),
            Ok((seen, _)) if seen.header.chain != chain => plan.steps.push(Repair::SetAside { file }),
            Ok((seen, damage)) => {
                let linked = follow(&file, &bytes, &seen, chain, is_last);
                let is_whole = damage.is_none() && linked.is_ok();
                chain = linked.unwrap_or(chain);
                if is_whole {
                    plan.last_seq = plan.last_seq.max(seen.last_seq);
                } else if seen.last_seq < manifest.checkpoint || seen.records == 0 {
                    plan.steps.push(Repair::SetAside { file });
                } else {
                    plan.last_seq = seen.last_seq;
                    plan.steps.push(Repair::Cut { file, offset: seen.end as u64, last_seq: seen.last_seq });
                }
            }
        }
    }
    Ok(plan)
}

/// First copies and names, then the cut, then the manifest: cut off half-way it can be done again.
fn carry_out(disk: &dyn Disk, manifest: &Manifest, plan: &Plan) -> Result<(), Error> {
    let done = (|| {
        for step in &plan.steps {
            match step {
                Repair::SetAside { file } => disk.rename(file, &format!("damaged-{file}"))?,
                Repair::Cut { file, offset, .. } => {
                    let whole = disk.open(file)?;
                    let bytes = crate::disk::read_up_to(&*whole, usize::MAX, 0)?;
                    let copy = disk.create(&format!("damaged-{file}"))?;
                    write_all(&*copy, &bytes, 0)?;
                    copy.sync()?;
                    whole.set_len(*offset)?;
                    whole.sync()?;
                }
            }
        }
        disk.sync_names()?;
        let generation = manifest.generation + 1;
        let next = Manifest { generation, clean: false, last_seq: plan.last_seq, ..*manifest };
        let file = disk.open(MANIFEST)?;
        write_all(&*file, &next.encode(), generation % 2 * SLOT_DISTANCE)?;
        file.sync()
    })();
    done.map_err(|error| Error::io("repair", error))
}

fn segments(disk: &dyn Disk, manifest: &Manifest) -> Result<Vec<u64>, Error> {
    let names = disk.list().map_err(|error| Error::io("read the directory", error))?;
    numbers(manifest, &names)
}

fn check_snapshot(disk: &dyn Disk, manifest: &Manifest) -> Result<(), Error> {
    if !manifest.has_snapshot {
        return Ok(());
    }
    let name = snapshot_name(manifest.checkpoint);
    snapshot_body(&read_all(disk, &name)?, manifest, &name).map(|_| ())
}

fn missing(manifest: &Manifest, last_seq: u64) -> Error {
    let why = format!("it speaks of record {}, and record {last_seq} is the last", manifest.last_seq);
    Error::rot(MANIFEST, 32, &why)
}

/// Holds a segment against the one before it and against its own digest; gives back its digest.
fn follow(name: &str, bytes: &[u8], seen: &Scan, chain: Chain, is_last: bool) -> Result<Chain, Error> {
    if seen.header.chain != chain {
        return Err(Error::rot(name, 40, "it does not follow what is before it"));
    }
    match seen.ending {
        Ending::Sealed(seal) => {
            let digest: Chain = Sha256::digest(&bytes[..seen.end]).into();
            if digest == seal.chain {
                Ok(digest)
            } else {
                Err(Error::rot(name, 0, "its content is not what was sealed"))
            }
        }
        Ending::Open | Ending::Torn if is_last => Ok(chain),
        Ending::Open | Ending::Torn => {
            Err(Error::rot(name, seen.end as u64, "its end is missing, and later segments are there"))
        }
    }
}
