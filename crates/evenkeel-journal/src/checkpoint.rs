//! Checkpoints, in two phases: the snapshot becomes durable, then the manifest that names it, and only then is anything
//! trimmed. Whatever fails before the manifest leaves the checkpoint before in force.

use crate::{
    disk::{Disk, write_all},
    error::Error,
    format::{
        BALLAST, Chain, MANIFEST, Manifest, SLOT_DISTANCE, SNAPSHOT_TMP, segment_name, snapshot_header, snapshot_name,
    },
    log::{Log, Spares},
    options::Options,
    sabotage::Sabotage,
};

/// A snapshot whose file is durable.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Snapshot {
    pub(crate) seq: u64,
    len: u64,
    crc: u32,
}

/// What a checkpoint did.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// It holds all records up to this one.
    pub seq: u64,
    /// Why old segments or the old snapshot are still there, if they are. The next recovery removes them.
    pub untrimmed: Option<Error>,
}

/// Phase one: writes the state as of `seq` and makes it durable. On a full disk the ballast and the spares make room.
pub(crate) fn write_snapshot(
    disk: &dyn Disk,
    spares: &Spares,
    options: &Options,
    manifest: &Manifest,
    seq: u64,
    state: &[u8],
) -> Result<Snapshot, Error> {
    let snapshot = Snapshot { seq, len: state.len() as u64, crc: crc32c::crc32c(state) };
    match write_file(disk, options, manifest, &snapshot, state) {
        Err(error) if error.is_full() => {
            release_ballast(disk, spares)?;
            write_file(disk, options, manifest, &snapshot, state)?;
        }
        other => other?,
    }
    Ok(snapshot)
}

fn write_file(
    disk: &dyn Disk,
    options: &Options,
    manifest: &Manifest,
    snapshot: &Snapshot,
    state: &[u8],
) -> Result<(), Error> {
    let name = snapshot_name(snapshot.seq);
    let written = (|| {
        let file = disk.create(SNAPSHOT_TMP)?;
        let header = snapshot_header(manifest.journal, snapshot.seq, snapshot.len, snapshot.crc);
        write_all(&*file, &header, 0)?;
        write_all(&*file, state, header.len() as u64)?;
        if options.sabotage != Some(Sabotage::PublishEarly) {
            file.sync()?;
        }
        disk.rename(SNAPSHOT_TMP, &name)?;
        disk.sync_names()
    })();
    written.map_err(|error| Error::io(format!("write {name}"), error))
}

/// Gives the space that was kept back to the file system.
pub(crate) fn release_ballast(disk: &dyn Disk, spares: &Spares) -> Result<(), Error> {
    for name in spares.take_all().iter().map(String::as_str).chain([BALLAST]) {
        match disk.remove(name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(Error::io(format!("remove {name}"), error));
            }
            _ => {}
        }
    }
    disk.sync_names().map_err(|error| Error::io("sync the directory", error))
}

/// Makes the ballast as large as it should be.
pub(crate) fn keep_ballast(disk: &dyn Disk, options: &Options, snapshot_len: u64) -> Result<(), Error> {
    let wanted = options.ballast.max(if options.ballast == 0 { 0 } else { snapshot_len + snapshot_len / 5 });
    if wanted == 0 {
        return Ok(());
    }
    let kept = (|| {
        let file = match disk.open(BALLAST) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => disk.create(BALLAST)?,
            other => other?,
        };
        let zeros = vec![0; usize::try_from(wanted.min(1 << 20)).expect("at most 1 MiB")];
        let mut at = file.len()?;
        if at >= wanted {
            return Ok(());
        }
        while at < wanted {
            let more = (wanted - at).min(zeros.len() as u64);
            write_all(&*file, &zeros[..usize::try_from(more).expect("at most 1 MiB")], at)?;
            at += more;
        }
        file.sync()
    })();
    kept.map_err(|error| Error::io("keep the ballast", error))
}

impl Log {
    /// Phase two: the checkpoint comes into force, then what it replaces is trimmed.
    pub(crate) fn publish(&mut self, snapshot: Snapshot) -> Result<Checkpoint, Error> {
        self.check()?;
        let kept = self.first_kept(snapshot.seq);
        let (first_segment, chain) = (kept.0, kept.1);
        let next = Manifest {
            generation: self.manifest.generation + 1,
            last_seq: self.durable,
            checkpoint: snapshot.seq,
            snapshot_len: snapshot.len,
            snapshot_crc: snapshot.crc,
            has_snapshot: true,
            first_segment,
            chain,
            ..self.manifest
        };
        if self.options.sabotage == Some(Sabotage::TrimFirst) {
            self.trim(first_segment);
        }
        let before = self.manifest;
        self.put_manifest(next)?;
        Ok(Checkpoint { seq: snapshot.seq, untrimmed: self.retire(&before) })
    }

    /// The end in order, after all is durable: the log is closed, then that is committed, with the state as of a record if
    /// there is one. If the state cannot be kept, the checkpoint before stays in force, and the end is committed with it.
    pub(crate) fn close(&mut self, state: Option<(u64, &[u8])>) -> Result<Checkpoint, Error> {
        self.check()?;
        let number = self.active.as_ref().ok_or(Error::Closed)?.number();
        let chain = match self.seal() {
            Err(error) if error.is_full() => {
                release_ballast(&*self.disk, &self.spares)?;
                self.seal()?
            }
            sealed => sealed?,
        };
        let before = self.manifest;
        let mut next = Manifest { generation: before.generation + 1, clean: true, last_seq: self.durable, ..before };
        let kept = state.filter(|(seq, _)| !before.has_snapshot || *seq > before.checkpoint).map(|(seq, state)| {
            write_snapshot(&*self.disk, &self.spares, &self.options, &before, seq.min(self.durable), state)
        });
        if let Some(Ok(snapshot)) = kept {
            let ends_all = snapshot.seq == self.durable;
            (next.first_segment, next.chain) =
                if ends_all { (number + 1, chain) } else { self.first_kept(snapshot.seq) };
            next.has_snapshot = true;
            (next.checkpoint, next.snapshot_len, next.snapshot_crc) = (snapshot.seq, snapshot.len, snapshot.crc);
        }
        self.put_manifest(next)?;
        kept.transpose()?;
        Ok(Checkpoint { seq: next.checkpoint, untrimmed: self.retire(&before) })
    }

    /// The first segment that has, or will have, a record after `seq`.
    fn first_kept(&self, seq: u64) -> (u64, Chain) {
        let segments = self.locked();
        let kept = segments.iter().rev().find(|segment| segment.header.first_seq <= seq + 1);
        let kept = kept.or_else(|| segments.first()).map(|segment| (segment.header.number, segment.header.chain));
        kept.unwrap_or((self.manifest.first_segment, self.manifest.chain))
    }

    /// Writes the slot that is not in force. After a failure nobody knows which of the two is: the log is poisoned.
    pub(crate) fn put_manifest(&mut self, next: Manifest) -> Result<(), Error> {
        let written = self.disk.open(MANIFEST).and_then(|file| {
            write_all(&*file, &next.encode(), next.generation % 2 * SLOT_DISTANCE)?;
            file.sync()
        });
        written.map_err(|error| Error::io("publish the manifest", error)).map_err(|error| self.poisoned(error))?;
        self.manifest = next;
        Ok(())
    }

    /// Trims what is no longer in force.
    fn retire(&mut self, before: &Manifest) -> Option<Error> {
        let trimmed = self.trim(self.manifest.first_segment);
        if !before.has_snapshot || before.checkpoint == self.manifest.checkpoint {
            return trimmed;
        }
        let name = snapshot_name(before.checkpoint);
        let removed = self.disk.remove(&name).err().map(|error| Error::io(format!("remove {name}"), error));
        trimmed.or(removed)
    }

    /// Lets go of the segments before `first`, some of them as spares.
    fn trim(&mut self, first: u64) -> Option<Error> {
        let old: Vec<u64> = {
            let mut segments = self.locked();
            let old = segments.iter().map(|segment| segment.header.number).filter(|number| *number < first).collect();
            segments.retain(|segment| segment.header.number >= first);
            old
        };
        old.into_iter().filter_map(|number| self.let_go(number).err()).next()
    }

    fn let_go(&self, number: u64) -> Result<(), Error> {
        let name = segment_name(number);
        let gone = if self.spares.count() < self.options.spares {
            let spare = self.spares.new_name();
            self.disk.rename(&name, &spare).map(|()| self.spares.add(spare))
        } else {
            self.disk.remove(&name)
        };
        gone.map_err(|error| Error::io(format!("trim {name}"), error))
    }
}
