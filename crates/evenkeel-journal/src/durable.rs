//! State that survives: the user writes what an event does, and nothing else.

use std::{future::Future, sync::Arc};

use serde::{Serialize, de::DeserializeOwned};
use tokio::sync::{RwLock, oneshot};

use crate::{
    checkpoint::Checkpoint,
    disk::Disk,
    error::Error,
    journal::{Journal, Recovered, Seq, beside},
    options::Options,
    record::{Record, codec},
    recovery::Recovery,
    tail::Subscription,
    writer::Job,
};

/// A state that is the effect of events, and what one event does to it.
pub trait State: Default + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What can happen to it.
    type Event: Record + Sync;

    /// Does to the state what the event says. It must depend on nothing but its arguments (no clock, no chance), because
    /// each recovery does it again; it decides nothing and refuses nothing: the event has happened.
    fn apply(&mut self, event: &Self::Event);
}

/// A state in memory whose every change is on the disk before it is acknowledged. Cheap to clone; all clones are the same.
pub struct Durable<S: State> {
    journal: Journal<S::Event>,
    kept: Arc<RwLock<Kept<S>>>,
}

impl<S: State> Clone for Durable<S> {
    fn clone(&self) -> Self {
        Self { journal: self.journal.clone(), kept: self.kept.clone() }
    }
}

struct Kept<S> {
    state: S,
    /// The last event that it is the effect of.
    seq: Seq,
    /// `apply` is at work, or panicked there.
    applying: bool,
}

impl<S: State> Kept<S> {
    fn apply(&mut self, seq: Seq, event: &S::Event) {
        self.applying = true;
        self.state.apply(event);
        self.seq = seq;
        self.applying = false;
    }

    fn whole(&self) -> Result<&S, Error> {
        if self.applying { Err(Error::Panicked) } else { Ok(&self.state) }
    }

    fn snapshot(&self) -> Result<(Seq, Vec<u8>), Error> {
        let state = serde_json::to_vec(self.whole()?);
        Ok((self.seq, state.map_err(|error| codec("the state cannot be written as JSON", &error))?))
    }
}

impl<S: State> Durable<S> {
    /// Recovers the state: the checkpoint, then every event after it. Blocking: for a thread; tasks use
    /// [`open`](Self::open).
    ///
    /// # Errors
    /// As [`Journal::recover`].
    pub fn recover(disk: Arc<dyn Disk>, options: Options) -> Result<(Self, Recovery), Error> {
        let mut kept = Kept { state: S::default(), seq: 0, applying: false };
        let (journal, recovery) = Journal::recover(disk, options, |recovered| {
            match recovered {
                Recovered::Checkpoint(seq, state) => {
                    let state = serde_json::from_slice(state);
                    let state = state.map_err(|error| codec("the checkpoint's state cannot be read", &error))?;
                    kept = Kept { state, seq, applying: false };
                }
                Recovered::Record(seq, event) => kept.apply(seq, &event),
            }
            Ok(())
        })?;
        Ok((Self { journal, kept: Arc::new(RwLock::new(kept)) }, recovery))
    }

    /// [`recover`](Self::recover) on a thread of its own.
    ///
    /// # Errors
    /// As [`Journal::recover`].
    pub async fn open(disk: Arc<dyn Disk>, options: Options) -> Result<(Self, Recovery), Error> {
        beside(move || Self::recover(disk, options)).await
    }

    /// Makes an event happen: it is admitted to the journal and applied, and this waits until it is durable. Dropping the
    /// future before it is admitted does nothing; dropping it later undoes nothing.
    ///
    /// # Errors
    /// As [`Journal::append`]. After [`Error::Poisoned`] and [`Error::Full`] the state in memory may be ahead of the disk:
    /// stop, and recover.
    pub fn record(&self, event: S::Event) -> impl Future<Output = Result<Seq, Error>> + Send + use<S> {
        let this = self.clone();
        async move {
            let body = this.journal.encode(&event)?;
            let room = this.journal.shared.intake.room(body.len()).await?;
            let mut kept = this.kept.write().await;
            kept.whole()?;
            let (answer, durable) = oneshot::channel();
            let seq = this.journal.shared.intake.admit(room, &body, Some(answer))?;
            kept.apply(seq, &event);
            drop(kept);
            this.checkpoint_if_due();
            durable.await.unwrap_or(Err(Error::Closed))
        }
    }

    /// Looks at the state and decides what happens, as one step: no other event comes between. `decide` gives the event, or
    /// why there is none; it may be called more than once before one is admitted.
    ///
    /// # Errors
    /// As [`record`](Self::record); what `decide` refuses is the inner result.
    pub async fn decide<R>(&self, mut decide: impl FnMut(&S) -> Result<S::Event, R>) -> Result<Result<Seq, R>, Error> {
        let mut expected = 0;
        loop {
            // Room first, because nobody may wait for it while the state is locked.
            let room = self.journal.shared.intake.room(expected).await?;
            let mut kept = self.kept.write().await;
            let event = match decide(kept.whole()?) {
                Ok(event) => event,
                Err(refusal) => return Ok(Err(refusal)),
            };
            let body = self.journal.encode(&event)?;
            if !room.is_enough(body.len()) {
                expected = body.len();
                continue;
            }
            let (answer, durable) = oneshot::channel();
            let seq = self.journal.shared.intake.admit(room, &body, Some(answer))?;
            kept.apply(seq, &event);
            drop(kept);
            self.checkpoint_if_due();
            return durable.await.unwrap_or(Err(Error::Closed)).map(Ok);
        }
    }

    /// Reads the state, with events that are admitted and not durable yet. Who tells others of what it sees waits for
    /// [`barrier`](Self::barrier) first.
    ///
    /// # Errors
    /// [`Error::Panicked`]: `apply` panicked, and the state is not to be trusted.
    pub async fn read<T>(&self, read: impl FnOnce(&S) -> T) -> Result<T, Error> {
        self.kept.read().await.whole().map(read)
    }

    /// Waits until all events so far are durable.
    ///
    /// # Errors
    /// As [`Journal::barrier`].
    pub async fn barrier(&self) -> Result<Seq, Error> {
        self.journal.barrier().await
    }

    /// Follows the events from `seq` on, each when it is durable.
    pub fn subscribe_from(&self, seq: Seq) -> Subscription<S::Event> {
        self.journal.subscribe_from(seq)
    }

    /// Keeps the state in place of the events so far; see [`Journal::checkpoint`]. Reading goes on meanwhile; events wait
    /// while the state is being turned into bytes, and no longer.
    ///
    /// # Errors
    /// As [`Journal::checkpoint`].
    pub async fn checkpoint(&self) -> Result<Checkpoint, Error> {
        let kept = self.kept.clone();
        self.journal.checkpoint_with(Box::new(move || kept.blocking_read().snapshot())).await
    }

    /// Ends in order: all events become durable, the log is closed, and that is committed with the state, so that the next
    /// start replays nothing. See [`Journal::close`].
    ///
    /// # Errors
    /// What was acknowledged is safe, and the last checkpoint that was published is in force.
    pub async fn close(&self) -> Result<Checkpoint, Error> {
        self.journal.shared.intake.refuse_more();
        let kept = self.kept.clone();
        let state = beside(move || kept.blocking_read().snapshot()).await?;
        self.journal.close(Some(state)).await
    }

    /// The journal under it.
    pub fn journal(&self) -> &Journal<S::Event> {
        &self.journal
    }

    fn checkpoint_if_due(&self) {
        let shared = &self.journal.shared;
        if shared.intake.checkpoint_is_due(shared.options.checkpoint_bytes) {
            let kept = self.kept.clone();
            let snap = Box::new(move || kept.blocking_read().snapshot());
            let _ = shared.aid.jobs.send(Job::Checkpoint(snap, None)); // a journal that has ended needs none
        }
    }
}
