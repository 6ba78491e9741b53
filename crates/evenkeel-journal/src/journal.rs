//! The journal as tasks use it.

use std::{
    future::Future,
    marker::PhantomData,
    sync::{Arc, PoisonError},
};

use evenkeel_os::threads::spawn_named;
use tokio::sync::oneshot;

use crate::{
    checkpoint::Checkpoint,
    disk::Disk,
    error::Error,
    format::SEGMENT_HEADER,
    intake::{Command, Intake},
    log::Segments,
    options::Options,
    record::Record,
    recovery::{Recovery, Replay, recover},
    tail::Subscription,
    writer::{Aid, Job, Snap, start},
};

/// The place of a record: the first is 1, the next one more, for ever.
pub type Seq = u64;

/// What a recovery hands back, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recovered<'a, E> {
    /// The checkpoint: the state as of this record. First, and once at most.
    Checkpoint(Seq, &'a [u8]),
    /// A record after it.
    Record(Seq, E),
}

/// A journal of records of one type. Cheap to clone; all clones are the same journal.
///
/// When the last clone is dropped without [`close`](Self::close), what was admitted is written in the background, and the
/// directory is free for the next user some time after.
pub struct Journal<E> {
    pub(crate) shared: Arc<Shared>,
    kind: PhantomData<fn(E) -> E>,
}

impl<E> Clone for Journal<E> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), kind: PhantomData }
    }
}

pub(crate) struct Shared {
    pub(crate) intake: Arc<Intake>,
    pub(crate) options: Options,
    pub(crate) segments: Segments,
    pub(crate) aid: Aid,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.intake.abandon();
    }
}

impl<E: Record> Journal<E> {
    /// Recovers what is on the disk, or begins anew, and hands it to `replay` in order. Blocking: for a thread; tasks use
    /// [`open`](Self::open).
    ///
    /// # Errors
    /// [`Error::Held`]: another process has it. [`Error::Rot`], [`Error::Newer`]: what was durable cannot be read. What
    /// `replay` answers, [`Error::Codec`] for a record that is none of this type, and [`Error::Io`].
    pub fn recover(
        disk: Arc<dyn Disk>,
        options: Options,
        replay: impl FnMut(Recovered<'_, E>) -> Result<(), Error>,
    ) -> Result<(Self, Recovery), Error> {
        let (log, recovery) = recover(disk, options.clone(), &mut Decoding { replay, kind: PhantomData })?;
        let intake = Arc::new(Intake::new(&options, log.durable()));
        let segments = log.segments.clone();
        let aid = start(log, &intake)?;
        let shared = Arc::new(Shared { intake, options, segments, aid });
        Ok((Self { shared, kind: PhantomData }, recovery))
    }

    /// [`recover`](Self::recover) on a thread of its own. Dropping the future leaves that thread to finish; it then closes
    /// what it opened.
    ///
    /// # Errors
    /// As `recover`.
    pub async fn open(
        disk: Arc<dyn Disk>,
        options: Options,
        replay: impl FnMut(Recovered<'_, E>) -> Result<(), Error> + Send + 'static,
    ) -> Result<(Self, Recovery), Error> {
        beside(move || Self::recover(disk, options, replay)).await
    }

    /// Appends a record and waits until it is durable; gives back its place.
    ///
    /// The queue is bounded ([`Options::queue_records`], [`Options::queue_bytes`]): while it is full, this waits to be
    /// admitted, first come, first served. Dropping the future before that appends nothing; **dropping it afterwards does
    /// not undo anything**: the record is written, and only the answer is lost.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Codec`], [`Error::Closed`], [`Error::Full`]: it was not appended.
    /// [`Error::Poisoned`]: the disk failed; it is not acknowledged, and the next recovery tells whether it is there.
    pub fn append(&self, record: &E) -> impl Future<Output = Result<Seq, Error>> + Send + use<E> {
        let body = self.encode(record);
        let shared = self.shared.clone();
        async move {
            let body = body?;
            let room = shared.intake.room(body.len()).await?;
            let (answer, durable) = oneshot::channel();
            shared.intake.admit(room, &body, Some(answer))?;
            durable.await.unwrap_or(Err(Error::Closed))
        }
    }

    /// Appends a record without waiting for anything; [`barrier`](Self::barrier) tells when it is durable.
    ///
    /// # Errors
    /// [`Error::Busy`]: the queue is full. All else as [`append`](Self::append).
    pub fn append_nowait(&self, record: &E) -> Result<Seq, Error> {
        let body = self.encode(record)?;
        let room = self.shared.intake.try_room(body.len())?;
        self.shared.intake.admit(room, &body, None)
    }

    /// Waits until all that was admitted before is durable; gives back the last of it. Dropping the future undoes nothing.
    ///
    /// # Errors
    /// [`Error::Full`], [`Error::Poisoned`], [`Error::Closed`]: some of it is not durable.
    pub async fn barrier(&self) -> Result<Seq, Error> {
        let (answer, durable) = oneshot::channel();
        self.shared.intake.barrier(None, answer);
        durable.await.unwrap_or(Err(Error::Closed))
    }

    /// Follows the journal from record `seq` on: what is there, then what comes, each when it is durable.
    pub fn subscribe_from(&self, seq: Seq) -> Subscription<E> {
        Subscription::new(self, seq.max(1))
    }

    /// The last durable record; 0: there is none.
    pub fn durable(&self) -> Seq {
        self.shared.intake.tail().borrow().durable
    }

    /// Keeps `state` in place of all records up to `seq`, of which it is the effect, and trims those.
    ///
    /// In two phases: the state becomes durable in a file of its own, then the manifest that names it; only then is anything
    /// trimmed. Appends go on meanwhile. Dropping the future does not stop it.
    ///
    /// # Errors
    /// The checkpoint before stays in force. [`Error::Option`]: there is no record `seq` yet. Only [`Error::Poisoned`] ends
    /// the journal.
    pub async fn checkpoint(&self, seq: Seq, state: Vec<u8>) -> Result<Checkpoint, Error> {
        self.checkpoint_with(Box::new(move || Ok((seq, state)))).await
    }

    pub(crate) async fn checkpoint_with(&self, snap: Snap) -> Result<Checkpoint, Error> {
        let (answer, done) = oneshot::channel();
        self.shared.aid.jobs.send(Job::Checkpoint(snap, Some(answer))).map_err(|_| Error::Closed)?;
        done.await.unwrap_or(Err(Error::Closed))
    }

    /// Why the last thing that nobody waits for failed: a checkpoint by itself, a segment made ready, the ballast.
    pub fn background_failure(&self) -> Option<Error> {
        self.shared.aid.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Ends in order, which is: all that was admitted becomes durable; the log is closed; that is committed, with `state` as
    /// of its record if there is one. With the state as of the last record the next start replays nothing. Dropping the
    /// future does not stop it. Another process, or this one, may open the directory when this is done.
    ///
    /// # Errors
    /// What was acknowledged is safe, and the last checkpoint that was published is in force. [`Error::Option`]: there is no
    /// such record yet, and nothing was closed.
    pub async fn close(&self, state: Option<(Seq, Vec<u8>)>) -> Result<Checkpoint, Error> {
        if let Some((seq, _)) = &state {
            self.shared.intake.check_checkpoint(*seq)?;
        }
        let (answer, closed) = oneshot::channel();
        self.shared.intake.command(Command::Close(state, answer));
        closed.await.unwrap_or(Err(Error::Closed))
    }

    pub(crate) fn encode(&self, record: &E) -> Result<Vec<u8>, Error> {
        let mut body = Vec::with_capacity(SEGMENT_HEADER);
        record.encode(&mut body)?;
        let limit = self.shared.options.max_record;
        if body.len() > limit { Err(Error::TooLarge { bytes: body.len(), limit }) } else { Ok(body) }
    }
}

/// Does something blocking on a thread of its own.
pub(crate) async fn beside<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<T, Error> {
    let (answer, done) = oneshot::channel();
    let thread = spawn_named("evenkeel-recover", move || drop(answer.send(work())));
    thread.map_err(|error| Error::io("start a thread", error))?;
    done.await.unwrap_or(Err(Error::Panicked))
}

struct Decoding<E, F> {
    replay: F,
    kind: PhantomData<fn(E)>,
}

impl<E: Record, F: FnMut(Recovered<'_, E>) -> Result<(), Error>> Replay for Decoding<E, F> {
    fn snapshot(&mut self, seq: u64, state: &[u8]) -> Result<(), Error> {
        (self.replay)(Recovered::Checkpoint(seq, state))
    }

    fn record(&mut self, seq: u64, body: &[u8]) -> Result<(), Error> {
        (self.replay)(Recovered::Record(seq, decoded(seq, body)?))
    }
}

/// A record, or which one it is that cannot be read.
pub(crate) fn decoded<E: Record>(seq: u64, body: &[u8]) -> Result<E, Error> {
    E::decode(body).map_err(|error| match error {
        Error::Codec { what, why } => Error::Codec { what: format!("record {seq}: {what}"), why },
        other => other,
    })
}
