//! The two threads of a journal: one writes, one does what is slow beside it.
//!
//! Policy: the writer alone touches the log and the manifest. The aid prepares segments and writes snapshots, so that
//! neither holds an append; it hands a snapshot that is durable to the writer, which publishes it.

use std::{
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread::JoinHandle,
};

use evenkeel_os::threads::spawn_named;
use tokio::sync::oneshot;

use crate::{
    checkpoint::{Checkpoint, keep_ballast, write_snapshot},
    disk::Disk,
    error::Error,
    format::Manifest,
    intake::{Answer, Command, Intake, Work},
    log::{Log, Spares, prepare_spare},
    options::Options,
};

/// Gives the state, and the record that it is as of; called on the aid's thread.
pub(crate) type Snap = Box<dyn FnOnce() -> Result<(u64, Vec<u8>), Error> + Send>;

pub(crate) enum Job {
    Checkpoint(Snap, Option<Answer<Checkpoint>>),
    /// A segment was begun, or may be needed soon.
    Prepare,
    /// Nothing more.
    End,
}

/// The aid's end of a journal.
pub(crate) struct Aid {
    pub(crate) jobs: Sender<Job>,
    /// Why the last checkpoint that nobody waited for, or the last spare segment, failed.
    pub(crate) failure: Arc<Mutex<Option<Error>>>,
}

/// Starts both threads.
pub(crate) fn start(log: Log, intake: &Arc<Intake>) -> Result<Aid, Error> {
    let (jobs, todo) = channel();
    let failure = Arc::new(Mutex::new(None));
    let helper = Helper {
        disk: log.disk.clone(),
        spares: log.spares.clone(),
        options: log.options.clone(),
        in_force: log.manifest,
        intake: intake.clone(),
        failure: failure.clone(),
    };
    let thread = spawned(spawn_named("evenkeel-log-aid", move || helper.run(&todo)))?;
    let aid = AidThread { jobs: jobs.clone(), thread };
    let _ = jobs.send(Job::Prepare); // it has just been started, and waits
    let intake = intake.clone();
    spawned(spawn_named("evenkeel-log", move || write(log, &intake, aid)))?;
    Ok(Aid { jobs, failure })
}

fn spawned<T>(thread: io::Result<T>) -> Result<T, Error> {
    thread.map_err(|error| Error::io("start a thread", error))
}

/// The writer's thread: a batch, its sync, its acknowledgements. The lock is given back last, when nobody is left who
/// could touch the directory.
fn write(mut log: Log, intake: &Intake, aid: AidThread) {
    let closed = serve(&mut log, intake, &aid.jobs);
    intake.end(&Error::Closed);
    log.spares.stop();
    aid.end();
    drop(log);
    if let Some((outcome, answer)) = closed {
        let _ = answer.send(outcome); // who does not wait any more needs no answer
    }
}

/// Until the journal is closed, which is answered later, or nobody is left.
fn serve(
    log: &mut Log,
    intake: &Intake,
    prepare: &Sender<Job>,
) -> Option<(Result<Checkpoint, Error>, Answer<Checkpoint>)> {
    let mut work = Work::default();
    loop {
        intake.take(&mut work);
        let spares = log.spares.count();
        let failure = log.commit(&mut work.batch).err();
        intake.settle(&mut work, log.durable(), failure.as_ref());
        if log.spares.count() < spares {
            let _ = prepare.send(Job::Prepare); // without the aid segments are made when they are needed
        }
        match work.command.take() {
            Some(Command::Publish(snapshot, answer)) => {
                let published = log.publish(snapshot);
                tell(intake, &mut work, log, &published);
                let _ = answer.send(published); // who does not wait any more needs no answer
            }
            Some(Command::Close(state, answer)) => {
                let closed = log.close(state.as_ref().map(|(seq, state)| (*seq, state.as_slice())));
                tell(intake, &mut work, log, &closed);
                return Some((closed, answer));
            }
            None if work.is_last => return None,
            None => {}
        }
    }
}

/// The aid as the writer knows it.
struct AidThread {
    jobs: Sender<Job>,
    thread: JoinHandle<()>,
}

impl AidThread {
    /// Waits until it has done what it is at; what waits behind that is dropped.
    fn end(self) {
        let _ = self.jobs.send(Job::End); // it may have ended already
        let _ = self.thread.join(); // its panic has told of itself
    }
}

/// A failure that poisoned the log is everybody's.
fn tell(intake: &Intake, work: &mut Work, log: &Log, outcome: &Result<Checkpoint, Error>) {
    if let Err(error @ Error::Poisoned(_)) = outcome {
        intake.settle(work, log.durable(), Some(error));
    }
}

struct Helper {
    disk: Arc<dyn Disk>,
    spares: Arc<Spares>,
    options: Options,
    /// The checkpoint in force; its file must not be touched.
    in_force: Manifest,
    intake: Arc<Intake>,
    failure: Arc<Mutex<Option<Error>>>,
}

impl Helper {
    fn run(mut self, todo: &Receiver<Job>) {
        while let Ok(job) = todo.recv() {
            match job {
                Job::End => return,
                Job::Prepare => {
                    let prepared = prepare_spare(&*self.disk, &self.spares, &self.options);
                    self.note(prepared.err());
                }
                Job::Checkpoint(snap, answer) => {
                    let done = self.checkpoint(snap);
                    match answer {
                        Some(answer) => drop(answer.send(done)),
                        None => self.note(done.err()),
                    }
                }
            }
        }
    }

    fn note(&self, failure: Option<Error>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    fn checkpoint(&mut self, snap: Snap) -> Result<Checkpoint, Error> {
        if let Some(poison) = self.intake.poison() {
            return Err(poison);
        }
        let (seq, state) = snap()?;
        self.intake.check_checkpoint(seq)?;
        let (answer, durable) = oneshot::channel();
        self.intake.barrier(Some(seq), answer);
        durable.blocking_recv().map_err(|_| Error::Closed)??;
        if self.in_force.has_snapshot && self.in_force.checkpoint >= seq {
            return Ok(Checkpoint { seq: self.in_force.checkpoint, untrimmed: None });
        }
        let snapshot = write_snapshot(&*self.disk, &self.spares, &self.options, &self.in_force, seq, &state)?;
        let (answer, published) = oneshot::channel();
        self.intake.command(Command::Publish(snapshot, answer));
        let published = published.blocking_recv().map_err(|_| Error::Closed)??;
        self.in_force = Manifest { has_snapshot: true, checkpoint: seq, ..self.in_force };
        // Without it the checkpoint stands all the same.
        let kept = keep_ballast(&*self.disk, &self.options, state.len() as u64);
        self.note(kept.err());
        Ok(published)
    }
}
