//! Where appending tasks and the writer thread meet: one lock, under which records are admitted and acknowledged.
//!
//! Policy: what refuses (a failed disk, a full one, a close) is set under the lock that hands out acknowledgements, and in
//! the same moment everybody who waits is answered. No order of events acknowledges a record after a failure.

use std::{
    collections::VecDeque,
    mem,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
};

use tokio::sync::{Semaphore, SemaphorePermit, oneshot, watch};

use crate::{
    checkpoint::{Checkpoint, Snapshot},
    error::Error,
    format::frame_len,
    log::Batch,
    options::Options,
};

pub(crate) type Answer<T> = oneshot::Sender<Result<T, Error>>;

/// What subscribers follow.
#[derive(Debug, Clone, Default)]
pub(crate) struct Tail {
    pub(crate) durable: u64,
    /// Nothing more will come, and why.
    pub(crate) end: Option<Error>,
}

/// Who wants to know when all up to `seq` is durable.
struct Waiter {
    seq: u64,
    answer: Answer<u64>,
}

/// Beside records, what the writer thread is asked to do.
pub(crate) enum Command {
    Publish(Snapshot, Answer<Checkpoint>),
    /// The state as of a record, if there is one.
    Close(Option<(u64, Vec<u8>)>, Answer<Checkpoint>),
}

impl Command {
    fn refuse(self, why: &Error) {
        let (Self::Publish(_, answer) | Self::Close(_, answer)) = self;
        let _ = answer.send(Err(why.clone())); // who does not wait any more needs no answer
    }
}

/// What the writer thread takes at once.
#[derive(Default)]
pub(crate) struct Work {
    pub(crate) batch: Batch,
    pub(crate) command: Option<Command>,
    /// Nobody is left who could append.
    pub(crate) is_last: bool,
    waiters: Vec<Waiter>,
    permits: usize,
}

pub(crate) struct Intake {
    state: Mutex<State>,
    work: Condvar,
    room: Semaphore,
    least: usize,
    tail: watch::Sender<Tail>,
}

#[derive(Default)]
struct State {
    batch: Batch,
    waiters: Vec<Waiter>,
    permits: usize,
    commands: VecDeque<Command>,
    assigned: u64,
    durable: u64,
    /// Bytes admitted since the last checkpoint was begun.
    since_checkpoint: u64,
    refusal: Option<Error>,
    abandoned: bool,
    /// The writer is gone: nobody would answer.
    ended: bool,
}

/// Room in the queue for one record.
pub(crate) struct Room<'a> {
    permit: SemaphorePermit<'a>,
    cost: usize,
}

impl Room<'_> {
    /// Whether a record of this size fits.
    pub(crate) fn is_enough(&self, body: usize) -> bool {
        frame_len(body) <= self.cost
    }
}

impl Intake {
    pub(crate) fn new(options: &Options, durable: u64) -> Self {
        Self {
            state: Mutex::new(State { assigned: durable, durable, ..State::default() }),
            work: Condvar::new(),
            room: Semaphore::new(options.queue_bytes),
            // So the bound in bytes is one in records as well.
            least: (options.queue_bytes / options.queue_records).max(1),
            tail: watch::Sender::new(Tail { durable, end: None }),
        }
    }

    pub(crate) fn tail(&self) -> watch::Receiver<Tail> {
        self.tail.subscribe()
    }

    fn locked(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusal(&self) -> Error {
        self.locked().refusal.clone().unwrap_or(Error::Closed)
    }

    /// Why nothing more is acknowledged, if that is so.
    pub(crate) fn poison(&self) -> Option<Error> {
        self.locked().refusal.clone().filter(|refusal| matches!(refusal, Error::Poisoned(_)))
    }

    /// A state cannot be the effect of records that are still to come: they would be taken for replayed.
    pub(crate) fn check_checkpoint(&self, seq: u64) -> Result<(), Error> {
        if seq > self.locked().assigned {
            return Err(Error::Option("a checkpoint cannot be as of a record that was not appended yet"));
        }
        Ok(())
    }

    fn cost(&self, body: usize) -> usize {
        frame_len(body).max(self.least)
    }

    /// Waits for room; first come, first served.
    pub(crate) async fn room(&self, body: usize) -> Result<Room<'_>, Error> {
        let cost = self.cost(body);
        let permits = u32::try_from(cost).expect("a record is at most 1 GiB");
        let permit = self.room.acquire_many(permits).await.map_err(|_| self.refusal())?;
        Ok(Room { permit, cost })
    }

    /// Room, if there is some now.
    pub(crate) fn try_room(&self, body: usize) -> Result<Room<'_>, Error> {
        let cost = self.cost(body);
        let permits = u32::try_from(cost).expect("a record is at most 1 GiB");
        match self.room.try_acquire_many(permits) {
            Ok(permit) => Ok(Room { permit, cost }),
            Err(_) if self.room.is_closed() => Err(self.refusal()),
            Err(_) => Err(Error::Busy),
        }
    }

    /// Admits a record: from here on it will be written, whatever becomes of who waits for it.
    pub(crate) fn admit(&self, room: Room<'_>, body: &[u8], answer: Option<Answer<u64>>) -> Result<u64, Error> {
        let mut state = self.locked();
        if let Some(refusal) = &state.refusal {
            return Err(refusal.clone());
        }
        state.assigned += 1;
        let seq = state.assigned;
        state.batch.push(body);
        state.permits += room.cost;
        state.since_checkpoint += frame_len(body.len()) as u64;
        room.permit.forget();
        state.waiters.extend(answer.map(|answer| Waiter { seq, answer }));
        drop(state);
        self.work.notify_one();
        Ok(seq)
    }

    /// Answers when all that was admitted up to now, or up to `seq`, is durable.
    pub(crate) fn barrier(&self, seq: Option<u64>, answer: Answer<u64>) {
        let mut state = self.locked();
        let seq = seq.unwrap_or(state.assigned).min(state.assigned);
        if state.durable >= seq {
            let _ = answer.send(Ok(seq)); // who does not wait any more needs no answer
        } else if let Some(refusal) = &state.refusal
            && (state.ended || !matches!(refusal, Error::Closed))
        {
            let _ = answer.send(Err(refusal.clone()));
        } else {
            state.waiters.push(Waiter { seq, answer });
            drop(state);
            self.work.notify_one();
        }
    }

    pub(crate) fn command(&self, command: Command) {
        let mut state = self.locked();
        if state.ended {
            drop(state);
            return command.refuse(&self.refusal());
        }
        if matches!(command, Command::Close(..)) {
            state.refusal.get_or_insert(Error::Closed);
            self.room.close();
        }
        state.commands.push_back(command);
        drop(state);
        self.work.notify_one();
    }

    /// Closes the door. Who is in already is served.
    pub(crate) fn refuse_more(&self) {
        self.locked().refusal.get_or_insert(Error::Closed);
        self.room.close();
    }

    /// Nobody is left who could append: what was admitted is written, then the thread ends.
    pub(crate) fn abandon(&self) {
        self.locked().abandoned = true;
        self.work.notify_one();
    }

    /// Whether a checkpoint is due; asked once for each.
    pub(crate) fn checkpoint_is_due(&self, every: u64) -> bool {
        let mut state = self.locked();
        let is_due = every > 0 && state.since_checkpoint >= every;
        if is_due {
            state.since_checkpoint = 0;
        }
        is_due
    }

    /// Waits for something to do, and takes all records that there are.
    pub(crate) fn take(&self, work: &mut Work) {
        let idle = |state: &mut State| {
            state.waiters.is_empty() && state.permits == 0 && state.commands.is_empty() && !state.abandoned
        };
        let guard = self.locked();
        let mut state = self.work.wait_while(guard, idle).unwrap_or_else(PoisonError::into_inner);
        work.batch.clear();
        mem::swap(&mut work.batch, &mut state.batch);
        mem::swap(&mut work.waiters, &mut state.waiters);
        work.permits = mem::take(&mut state.permits);
        work.command = state.commands.pop_front();
        work.is_last = state.abandoned && state.commands.is_empty();
    }

    /// Hands out acknowledgements up to `durable`. With a failure everybody else is refused, and so is all to come.
    pub(crate) fn settle(&self, work: &mut Work, durable: u64, failure: Option<&Error>) {
        let mut state = self.locked();
        state.durable = durable;
        if let Some(error) = failure {
            // A close is no longer the reason; a first failure stays it.
            if state.refusal.as_ref().is_none_or(|refusal| matches!(refusal, Error::Closed)) {
                state.refusal = Some(error.clone());
            }
            self.room.close();
            state.batch.clear();
            work.permits += mem::take(&mut state.permits);
            let waiting = mem::take(&mut state.waiters);
            work.waiters.extend(waiting);
        }
        for waiter in work.waiters.drain(..) {
            let answer = match failure {
                Some(error) if waiter.seq > durable => Err(error.clone()),
                _ => Ok(waiter.seq),
            };
            let _ = waiter.answer.send(answer); // who does not wait any more needs no answer
        }
        drop(state);
        self.room.add_permits(mem::take(&mut work.permits));
        self.tail.send_modify(|tail| {
            tail.durable = durable;
            if tail.end.is_none() {
                tail.end = failure.cloned();
            }
        });
    }

    /// Nothing more will come: whoever waits still, and whoever asks later, is told.
    pub(crate) fn end(&self, why: &Error) {
        let mut state = self.locked();
        state.refusal.get_or_insert_with(|| why.clone());
        self.room.close();
        let why = state.refusal.clone().unwrap_or(Error::Closed);
        for waiter in mem::take(&mut state.waiters) {
            let _ = waiter.answer.send(Err(why.clone())); // as above
        }
        for command in mem::take(&mut state.commands) {
            command.refuse(&why);
        }
        state.ended = true;
        drop(state);
        self.tail.send_modify(|tail| {
            tail.end.get_or_insert(why);
        });
    }
}
