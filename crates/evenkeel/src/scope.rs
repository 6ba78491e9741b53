//! The tasks of one component.
//!
//! A component's tasks are spawned here and nowhere else. When it stops, the engine waits until the last of them has
//! ended; those that do not end are aborted, and those that cannot be aborted are counted and named by the line that
//! spawned them. A task that fails fails its component. What is no task and cannot be aborted, such as a thread, holds a
//! [`Ticket`] for as long as it is there, and is waited for and named like a task.

use std::{
    future::{Future, poll_fn},
    panic::Location,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use atomic_waker::AtomicWaker;
use slab::Slab;
use tokio::{runtime, task::AbortHandle};

use crate::{
    error::{Failure, Result},
    lease::{lock, short},
    polls::{self, Mark},
};

/// How a task may end: nothing to say, or an error that fails its component.
#[diagnostic::on_unimplemented(
    message = "a task cannot end with `{Self}`",
    label = "nobody would look at this value",
    note = "a task ends with `()`, or with `evenkeel::Result`: its error fails the component"
)]
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

/// Books on pieces of work that are neither tasks nor [`Work`]: a server's requests, which it counts by itself.
#[cfg(feature = "http")]
pub(crate) trait Books: Send + Sync {
    /// What is in flight is about to be cut off.
    fn cut(&self);

    /// Work that ended by itself after the stop, and work that was cut off.
    fn counts(&self) -> (u64, u64);

    /// The connections that are open.
    fn connections(&self) -> Vec<evenkeel_events::CutConnection>;

    /// What was lost since the stop, if anything was.
    fn lost(&self) -> Option<Box<evenkeel_events::Lost>>;
}

/// Set in [`Scope::work`] when the work was cut off: what was in flight then is counted, and does not count again.
const CUT: u64 = 1 << 63;

/// Tasks and work of one incarnation of a component.
pub(crate) struct Scope {
    mark: Mark,
    runtime: runtime::Handle,
    tasks: Mutex<Tasks>,
    /// Wakes the component's life, the only one that waits for what changes here or in its orders.
    bell: AtomicWaker,
    /// Pieces of work in flight that are not tasks of their own, such as requests; with [`CUT`] once they were cut off.
    work: AtomicU64,
    /// The time that the stop allows, in nanoseconds; 0 before it.
    stopping: AtomicU64,
    drained: AtomicU64,
    aborted: AtomicU64,
    /// How often the component has said that it is alive.
    beats: AtomicU64,
    /// What the component says that it is doing; set by few.
    doing: Mutex<Option<Box<str>>>,
    #[cfg(feature = "http")]
    books: std::sync::OnceLock<Arc<dyn Books>>,
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
            bell: AtomicWaker::new(),
            work: AtomicU64::new(0),
            stopping: AtomicU64::new(0),
            drained: AtomicU64::new(0),
            aborted: AtomicU64::new(0),
            beats: AtomicU64::new(0),
            doing: Mutex::default(),
            #[cfg(feature = "http")]
            books: std::sync::OnceLock::new(),
        })
    }

    /// Spawns a task; `false` if the scope is closed because its component was cut off or is over.
    pub(crate) fn spawn<F>(self: &Arc<Self>, future: F, site: &'static Location<'static>) -> bool
    where
        F: Future<Output: TaskOutput> + Send + 'static,
    {
        self.enter(site, true).is_some_and(|ticket| self.launch(future, ticket))
    }

    /// Spawns a task that is no piece of work itself, such as a connection: neither drained nor aborted counts it.
    #[cfg(feature = "http")]
    pub(crate) fn spawn_uncounted<F>(self: &Arc<Self>, future: F, site: &'static Location<'static>) -> bool
    where
        F: Future<Output: TaskOutput> + Send + 'static,
    {
        self.enter(site, false).is_some_and(|ticket| self.launch(future, ticket))
    }

    /// A place for what is no task and cannot be aborted, such as a thread. The component is not over before the ticket
    /// is dropped. `None` if the scope is closed.
    pub(crate) fn hold(self: &Arc<Self>, site: &'static Location<'static>) -> Option<Ticket> {
        self.enter(site, false)
    }

    fn enter(self: &Arc<Self>, site: &'static Location<'static>, counts: bool) -> Option<Ticket> {
        let mut tasks = lock(&self.tasks);
        if tasks.closed {
            return None;
        }
        tasks.turn = tasks.turn.wrapping_add(1);
        let turn = tasks.turn;
        let key = tasks.running.insert(Task { abort: None, turn, site });
        Some(Ticket { scope: self.clone(), key, turn, counts, ended: false })
    }

    fn launch<F>(self: &Arc<Self>, future: F, ticket: Ticket) -> bool
    where
        F: Future<Output: TaskOutput> + Send + 'static,
    {
        let (key, turn) = (ticket.key, ticket.turn);
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
        if self.work.fetch_add(1, Ordering::Relaxed) & CUT != 0 {
            self.aborted.fetch_add(1, Ordering::Relaxed); // it began after the cut, and is cut off as well
        }
        Work { scope: self.clone() }
    }

    /// The component says that it is alive.
    pub(crate) fn beat(&self) {
        self.beats.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it has said so.
    pub(crate) fn beats(&self) -> u64 {
        self.beats.load(Ordering::Relaxed)
    }

    /// From here on, what ends counts as drained.
    pub(crate) fn begin_stop(&self, allowed: Duration) {
        let nanos = u64::try_from(allowed.as_nanos()).unwrap_or(u64::MAX);
        self.stopping.store(nanos.max(1), Ordering::Relaxed);
    }

    /// The time that the stop allows, for drain and release together.
    #[cfg(feature = "http")]
    pub(crate) fn stop_allowed(&self) -> Duration {
        Duration::from_nanos(self.stopping.load(Ordering::Relaxed))
    }

    /// What the component said last that it is doing.
    pub(crate) fn doing(&self) -> Option<String> {
        lock(&self.doing).as_deref().map(str::to_owned)
    }

    pub(crate) fn is_doing(&self, what: &str) {
        *lock(&self.doing) = Some(what.into());
    }

    /// Counts what these books count as well. There is one server in a scope at most.
    #[cfg(feature = "http")]
    pub(crate) fn keep(&self, books: Arc<dyn Books>) {
        let _ = self.books.set(books);
    }

    /// Waits until `look` finds something, looking again whenever the bell has rung. Cancel-safe. For the component's
    /// life alone: who waits elsewhere takes its place.
    pub(crate) fn until<T>(&self, mut look: impl FnMut() -> Option<T>) -> impl Future<Output = T> {
        poll_fn(move |cx| {
            // Before the look: what changes after it rings.
            self.bell.register(cx.waker());
            look().map_or(Poll::Pending, Poll::Ready)
        })
    }

    /// Something that the life may be waiting for has changed.
    pub(crate) fn ring(&self) {
        self.bell.wake();
    }

    /// Waits until no task is left. Cancel-safe.
    pub(crate) fn joined(&self) -> impl Future<Output = ()> {
        self.until(|| self.is_empty().then_some(()))
    }

    /// Whether no task is left.
    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.tasks).running.is_empty()
    }

    /// The first failure of a task.
    pub(crate) fn failure(&self) -> Option<Failure> {
        lock(&self.tasks).failure.clone()
    }

    /// No further tasks; those that run are aborted at their next await.
    pub(crate) fn abort(&self) {
        // Before the tasks: what they drop as they are aborted has been cut off, and has not ended by itself.
        #[cfg(feature = "http")]
        if let Some(books) = self.books.get() {
            books.cut();
        }
        let in_flight = self.work.fetch_or(CUT, Ordering::Relaxed);
        if in_flight & CUT == 0 {
            self.aborted.fetch_add(in_flight, Ordering::Relaxed);
        }
        let handles: Vec<AbortHandle> = {
            let mut tasks = lock(&self.tasks);
            tasks.closed = true;
            tasks.running.iter().filter_map(|(_, task)| task.abort.clone()).collect()
        };
        // Outside the lock: aborting an idle task drops it here and now, and its drop takes the lock.
        for handle in handles {
            handle.abort();
        }
    }

    /// Work that ended by itself after the stop, and work that was cut off.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let (drained, aborted) = (self.drained.load(Ordering::Relaxed), self.aborted.load(Ordering::Relaxed));
        #[cfg(feature = "http")]
        let (drained, aborted) = self.books.get().map_or((drained, aborted), |books| {
            let (answered, cut) = books.counts();
            (drained + answered, aborted + cut)
        });
        (drained, aborted)
    }

    /// What a server lost since the stop.
    #[cfg(feature = "http")]
    pub(crate) fn lost(&self) -> Option<Box<evenkeel_events::Lost>> {
        self.books.get()?.lost()
    }

    /// The connections of a server, if there is one in the scope.
    #[cfg(feature = "http")]
    pub(crate) fn connections(&self) -> Option<Vec<evenkeel_events::CutConnection>> {
        self.books.get().map(|books| books.connections())
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

    fn ended(&self, ticket: &Ticket, failure: Option<Failure>, aborted: bool) {
        let counter = if aborted { &self.aborted } else { &self.drained };
        if ticket.counts && (aborted || self.stopping.load(Ordering::Relaxed) != 0) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
        let mut tasks = lock(&self.tasks);
        let task = tasks.running.try_remove(ticket.key);
        let news = failure.is_some() || tasks.running.is_empty();
        if tasks.failure.is_none() {
            tasks.failure = failure;
        }
        drop(tasks);
        drop(task);
        if news {
            self.ring();
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
        let cut = self.scope.work.fetch_sub(1, Ordering::Relaxed) & CUT != 0;
        if !cut && self.scope.stopping.load(Ordering::Relaxed) != 0 && !std::thread::panicking() {
            self.scope.drained.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A place in the scope. Whatever way its task ends, it is given back exactly once.
pub(crate) struct Ticket {
    scope: Arc<Scope>,
    key: usize,
    turn: u32,
    /// Whether its task is a piece of work: drained or aborted.
    counts: bool,
    ended: bool,
}

impl Ticket {
    fn end(&mut self, failure: Option<Failure>, aborted: bool) {
        if !std::mem::replace(&mut self.ended, true) {
            self.scope.ended(self, failure, aborted);
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
        let mut failure = None;
        let polled = polls::guarded(mark, || {
            let output = match this.future.as_mut().as_pin_mut()?.poll(cx) {
                Poll::Pending => return None,
                Poll::Ready(output) => output,
            };
            failure = output.into_result().err().map(|error| Failure::from(&error));
            // A task counts as ended only when all that it held is gone.
            this.future.set(None);
            Some(())
        });
        match polled {
            Ok(None) => return Poll::Pending,
            Ok(Some(())) => {}
            Err(panic) => {
                // What panicked is dropped as well; a second panic has nothing to add.
                let _ = polls::guarded(mark, || this.future.set(None));
                failure.get_or_insert_with(|| Failure::text(panic));
            }
        }
        this.ticket.end(failure, false);
        Poll::Ready(())
    }
}
