//! The journal's core for a thread of one's own: blocking, without a queue. [`Journal`](crate::Journal) is this with group
//! commit and an async face.

use std::sync::Arc;

use crate::{
    checkpoint::{Checkpoint, Snapshot, write_snapshot},
    disk::Disk,
    error::Error,
    log::{Batch, Log, prepare_spare},
    options::Options,
    recovery::{Recovery, Replay, recover},
};

/// What a recovery hands back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Replayed<'a> {
    /// The checkpoint: the state as of this record. First, and once at most.
    Checkpoint(u64, &'a [u8]),
    /// A record after it, in order and without a gap.
    Record(u64, &'a [u8]),
}

/// A journal of bytes, driven by its caller's thread.
pub struct Store {
    pub(crate) log: Log,
    batch: Batch,
}

impl Store {
    /// Recovers what is there, or begins anew.
    ///
    /// # Errors
    /// [`Error::Held`], [`Error::Rot`], [`Error::Newer`], [`Error::Io`], and what `replay` answers.
    pub fn recover(
        disk: Arc<dyn Disk>,
        options: Options,
        replay: impl FnMut(Replayed<'_>) -> Result<(), Error>,
    ) -> Result<(Self, Recovery), Error> {
        let (log, recovery) = recover(disk, options, &mut Closure(replay))?;
        Ok((Self { log, batch: Batch::default() }, recovery))
    }

    /// The last record that is durable; 0: none yet.
    pub fn durable(&self) -> u64 {
        self.log.durable()
    }

    /// Makes these records durable, in order, with one sync. Gives back the last one's sequence.
    ///
    /// # Errors
    /// [`Error::TooLarge`]: nothing was written. [`Error::Full`], [`Error::Poisoned`]: what is up to
    /// [`durable`](Self::durable) is durable; of the rest nothing is acknowledged.
    pub fn append(&mut self, records: &[&[u8]]) -> Result<u64, Error> {
        let limit = self.log.options.max_record;
        if let Some(large) = records.iter().find(|body| body.len() > limit) {
            return Err(Error::TooLarge { bytes: large.len(), limit });
        }
        self.batch.clear();
        records.iter().for_each(|body| self.batch.push(body));
        self.log.commit(&mut self.batch)?;
        Ok(self.log.durable())
    }

    /// Keeps `state`, which is the effect of all records so far, in place of them.
    ///
    /// # Errors
    /// The checkpoint before stays in force. [`Error::Poisoned`]: nothing more is acknowledged.
    pub fn checkpoint(&mut self, state: &[u8]) -> Result<Checkpoint, Error> {
        match self.snapshot(state)? {
            Some(snapshot) => self.log.publish(snapshot),
            None => Ok(Checkpoint { seq: self.durable(), untrimmed: None }),
        }
    }

    /// Ends in order: the log is closed, then that and `state`, if there is one, are committed.
    ///
    /// # Errors
    /// What was acknowledged is safe; the last checkpoint that was published is in force.
    pub fn close(mut self, state: Option<&[u8]>) -> Result<Checkpoint, Error> {
        let seq = self.durable();
        self.log.close(state.map(|state| (seq, state)))
    }

    /// Writes one more spare segment, if there are fewer than wanted.
    ///
    /// # Errors
    /// The disk's; the journal goes on without.
    pub fn prepare(&self) -> Result<bool, Error> {
        prepare_spare(&*self.log.disk, &self.log.spares, &self.log.options)
    }

    /// None: there is a checkpoint as of this very record, and its file must not be touched.
    fn snapshot(&self, state: &[u8]) -> Result<Option<Snapshot>, Error> {
        self.log.check()?;
        let (log, seq) = (&self.log, self.log.durable());
        if log.manifest.has_snapshot && log.manifest.checkpoint == seq {
            return Ok(None);
        }
        write_snapshot(&*log.disk, &log.spares, &log.options, &log.manifest, seq, state).map(Some)
    }
}

struct Closure<F>(F);

impl<F: FnMut(Replayed<'_>) -> Result<(), Error>> Replay for Closure<F> {
    fn snapshot(&mut self, seq: u64, state: &[u8]) -> Result<(), Error> {
        (self.0)(Replayed::Checkpoint(seq, state))
    }

    fn record(&mut self, seq: u64, body: &[u8]) -> Result<(), Error> {
        (self.0)(Replayed::Record(seq, body))
    }
}
