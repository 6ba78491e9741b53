//! The tasks of one component.
//!
//! A component's tasks are spawned here and nowhere else. When it stops, the engine waits until the last of them has
//! ended; those that do not end are aborted, and those that cannot be aborted are counted and named by the line that
//! spawned them. A task that fails fails its component.

use std::{
    future::Future,
    panic::Location,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use slab::Slab;
use tokio::{runtime, sync::Notify, task::AbortHandle};

use crate::{
    error::{Failure, Result},
    lease::{lock, short},
    polls::{self, Mark},
};

/// How a task may end: nothing to say, or an error that fails its component.
pub trait TaskOutput: Send + 'static {
    #[doc(hidden)]
    fn into_result(self) -> Result;
}

impl TaskOutput for () {
    fn into_result(self) -> Result {
        Ok(())
    }
}

impl TaskOutput for Result {
    fn into_result(self) -> Self {
        self
    }
}

/// Tasks and work of one incarnation of a component.
pub(crate) struct Scope {
    mark: Mark,
    runtime: runtime::Handle,
    tasks: Mutex<Tasks>,
    changed: Notify,
    /// Pieces of work in flight that are not tasks of their own, such as requests.
    work: AtomicU64,
    stopping: AtomicU64,
    drained: AtomicU64,
    aborted: AtomicU64,
}

#[derive(Default)]
struct Tasks {
    running: Slab<Task>,
    turn: u32,
    closed: bool,
    failure: Option<Failure>,
}

struct Task {
    abort: Option<AbortHandle>,
    /// Tells this task from another that had the same key before or after it.
    turn: u32,
    site: &'static Location<'static>,
}

impl Scope {
    pub(crate) fn new(mark: Mark, runtime: runtime::Handle) -> Arc<Self> {
        Arc::new(Self {
            mark,
            runtime,
            tasks: Mutex::default(),
            changed: Notify::new(),
            work: AtomicU64::new(0),
            stopping: AtomicU64::new(0),
            drained: AtomicU64::new(0),
            aborted: AtomicU64::new(0),
        })
    }

    /// Spawns a task; `false` if the scope is closed because its component was cut off or is over.
    pub(crate) fn spawn<F>(self: &Arc<Self>, future: F, site: &'static Location<'static>) -> bool
    where
        F: Future<Output: TaskOutput> + Send + 'static,
    {
        let (key, turn) = {
            let mut tasks = lock(&self.tasks);
            if tasks.closed {
                return false;
            }
            tasks.turn = tasks.turn.wrapping_add(1);
            let turn = tasks.turn;
            (tasks.running.insert(Task { abort: None, turn, site }), turn)
        };
        let ticket = Ticket { scope: self.clone(), key, ended: false };
        // Not under the lock: a runtime that is shutting down drops the task at once, and its drop takes the lock.
        let abort = self.runtime.spawn(Tracked { future: Some(future), ticket }).abort_handle();
        let mut tasks = lock(&self.tasks);
        let closed = tasks.closed;
        match tasks.running.get_mut(key) {
            Some(task) if task.turn == turn && !closed => task.abort = Some(abort),
            Some(task) if task.turn == turn => {
                drop(tasks);
                abort.abort();
            }
            _ => {} // it has ended already
        }
        true
    }

    /// Counts a piece of work until the guard is dropped.
    pub(crate) fn work(self: &Arc<Self>) -> Work {
        self.work.fetch_add(1, Ordering::Relaxed);
        Work { scope: self.clone() }
    }

    /// From here on, what ends counts as drained.
    pub(crate) fn begin_stop(&self) {
        self.stopping.store(1, Ordering::Relaxed);
    }

    /// Waits until no task is left. Cancel-safe.
    pub(crate) async fn joined(&self) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if lock(&self.tasks).running.is_empty() {
                return;
            }
            changed.await;
        }
    }

    /// Waits until a task has failed. Cancel-safe.
    pub(crate) async fn failed(&self) -> Failure {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(failure) = self.failure() {
                return failure;
            }
            changed.await;
        }
    }

    /// The first failure of a task.
    pub(crate) fn failure(&self) -> Option<Failure> {
        lock(&self.tasks).failure.clone()
    }

    /// No further tasks; those that run are aborted at their next await.
    pub(crate) fn abort(&self) {
        let handles: Vec<AbortHandle> = {
            let mut tasks = lock(&self.tasks);
            tasks.closed = true;
            tasks.running.iter().filter_map(|(_, task)| task.abort.clone()).collect()
        };
        // Outside the lock: aborting an idle task drops it here and now, and its drop takes the lock.
        for handle in handles {
            handle.abort();
        }
        self.aborted.fetch_add(self.work.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Work that ended by itself after the stop, and work that was cut off.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.drained.load(Ordering::Relaxed), self.aborted.load(Ordering::Relaxed))
    }

    /// Tasks that are still there, and the lines that spawned them.
    pub(crate) fn left(&self) -> (usize, Vec<String>) {
        let tasks = lock(&self.tasks);
        let mut sites: Vec<String> = tasks.running.iter().map(|(_, task)| short(task.site)).collect();
        let count = sites.len();
        sites.sort();
        sites.dedup();
        (count, sites)
    }

    fn ended(&self, key: usize, failure: Option<Failure>, aborted: bool) {
        let counter = if aborted { &self.aborted } else { &self.drained };
        if aborted || self.stopping.load(Ordering::Relaxed) != 0 {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let mut tasks = lock(&self.tasks);
        let task = tasks.running.try_remove(key);
        let news = failure.is_some() || tasks.running.is_empty();
        if tasks.failure.is_none() {
            tasks.failure = failure;
        }
        drop(tasks);
        drop(task);
        if news {
            self.changed.notify_waiters();
        }
    }
}

/// A piece of work in flight. Dropping it says that the work has ended.
#[must_use = "the work counts as ended when this is dropped"]
pub struct Work {
    scope: Arc<Scope>,
}

impl Drop for Work {
    fn drop(&mut self) {
        self.scope.work.fetch_sub(1, Ordering::Relaxed);
        if self.scope.stopping.load(Ordering::Relaxed) != 0 && !std::thread::panicking() {
            self.scope.drained.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A task's place in the scope. Whatever way the task ends, it is given back exactly once.
struct Ticket {
    scope: Arc<Scope>,
    key: usize,
    ended: bool,
}

impl Ticket {
    fn end(&mut self, failure: Option<Failure>, aborted: bool) {
        if !std::mem::replace(&mut self.ended, true) {
            self.scope.ended(self.key, failure, aborted);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.end(None, true);
    }
}

pin_project_lite::pin_project! {
    struct Tracked<F> {
        #[pin]
        future: Option<F>,
        ticket: Ticket,
    }
}

impl<F: Future<Output: TaskOutput>> Future for Tracked<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        let mark = this.ticket.scope.mark;
        let polled = polls::guarded(mark, || {
            let future = this.future.as_mut().as_pin_mut()?;
            match future.poll(cx) {
                Poll::Pending => None,
                Poll::Ready(output) => Some(output.into_result()),
            }
        });
        let result = match polled {
            Ok(None) => return Poll::Pending,
            Ok(Some(result)) => result.map_err(|error| Failure::from(&error)),
            Err(panic) => Err(Failure::text(panic)),
        };
        // A task counts as ended only when all that it held is gone.
        let dropped = polls::guarded(mark, || this.future.set(None)).map_err(Failure::text);
        this.ticket.end(result.and(dropped).err(), false);
        Poll::Ready(())
    }
}
