//! What can be chosen, with its defaults and limits.

use std::{fmt, sync::Arc};

use crate::{
    error::Error,
    format::{SEAL, SEGMENT_HEADER, frame_len},
    sabotage::Sabotage,
};

/// How far a recovery is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the log that were read.
    pub bytes: u64,
    /// Bytes there are to read.
    pub of: u64,
    /// Records that were replayed.
    pub records: u64,
}

/// Options of a journal.
#[derive(Clone)]
pub struct Options {
    pub(crate) segment_bytes: u64,
    pub(crate) max_record: usize,
    pub(crate) queue_records: usize,
    pub(crate) queue_bytes: usize,
    pub(crate) window: u64,
    pub(crate) ballast: u64,
    pub(crate) spares: usize,
    pub(crate) checkpoint_bytes: u64,
    pub(crate) progress: Option<Arc<dyn Fn(Progress) + Send + Sync>>,
    pub(crate) sabotage: Option<Sabotage>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            segment_bytes: 16 << 20,
            max_record: 1 << 20,
            queue_records: 16_384,
            queue_bytes: 8 << 20,
            window: 256 << 10,
            ballast: 1 << 20,
            spares: 2,
            checkpoint_bytes: 64 << 20,
            progress: None,
            sabotage: None,
        }
    }
}

impl Options {
    /// The size of a segment: 16 MiB. Space comes back, and is used again, by whole segments.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// The largest record, in bytes as written: 1 MiB.
    #[must_use]
    pub fn max_record(mut self, bytes: usize) -> Self {
        self.max_record = bytes;
        self
    }

    /// How many records may wait for the disk: 16,384. Who comes after them waits to be admitted.
    #[must_use]
    pub fn queue_records(mut self, records: usize) -> Self {
        self.queue_records = records;
        self
    }

    /// How many bytes of records may wait for the disk: 8 MiB.
    #[must_use]
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes;
        self
    }

    /// How much is written with zeros ahead of the records, so that a sync has no new length to write: 256 KiB.
    #[must_use]
    pub fn window(mut self, bytes: u64) -> Self {
        self.window = bytes;
        self
    }

    /// Space kept for a checkpoint on a full disk, in bytes: 1 MiB, or 1.2 times the last snapshot where that is more.
    #[must_use]
    pub fn ballast(mut self, bytes: u64) -> Self {
        self.ballast = bytes;
        self
    }

    /// How many segments are kept ready: 2. With 0 each segment is created when it is needed.
    #[must_use]
    pub fn spares(mut self, segments: usize) -> Self {
        self.spares = segments;
        self
    }

    /// After how many bytes of events a [`Durable`](crate::Durable) makes a checkpoint by itself: 64 MiB; 0: never. It bounds
    /// the time of a recovery.
    #[must_use]
    pub fn checkpoint_bytes(mut self, bytes: u64) -> Self {
        self.checkpoint_bytes = bytes;
        self
    }

    /// Is told how far a recovery is, from the thread that recovers: after each segment.
    #[must_use]
    pub fn progress(mut self, told: impl Fn(Progress) + Send + Sync + 'static) -> Self {
        self.progress = Some(Arc::new(told));
        self
    }

    /// Plants a bug.
    #[cfg(feature = "sabotage")]
    #[must_use]
    pub fn sabotage(mut self, bug: Sabotage) -> Self {
        self.sabotage = Some(bug);
        self
    }

    pub(crate) fn check(&self) -> Result<(), Error> {
        let needed = SEGMENT_HEADER + frame_len(self.max_record) + SEAL;
        if self.segment_bytes < needed as u64 {
            return Err(Error::Option(
                "`segment_bytes` is too small for a record of `max_record`, its header and a seal",
            ));
        }
        if self.max_record > 1 << 30 || self.segment_bytes > 1 << 32 {
            return Err(Error::Option("`max_record` is at most 1 GiB, and `segment_bytes` at most 4 GiB"));
        }
        if self.queue_records == 0 || self.queue_bytes < frame_len(self.max_record) {
            return Err(Error::Option("the queue must have room for one record of `max_record` at least"));
        }
        if self.queue_bytes > 1 << 31 {
            return Err(Error::Option("`queue_bytes` is at most 2 GiB"));
        }
        Ok(())
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("segment_bytes", &self.segment_bytes)
            .field("max_record", &self.max_record)
            .field("queue_records", &self.queue_records)
            .field("queue_bytes", &self.queue_bytes)
            .field("window", &self.window)
            .field("ballast", &self.ballast)
            .field("spares", &self.spares)
            .field("checkpoint_bytes", &self.checkpoint_bytes)
            .finish_non_exhaustive()
    }
}
