//! Which component holds which runtime thread right now.
//!
//! Every future of a component is polled through [`Watched`], which notes the component in a slot of the thread for as
//! long as the poll lasts: a few relaxed stores, no clock. A sampler outside the runtime compares two looks at the
//! slots: the same poll in both has held its thread for at least the time between them. That is how code that blocks
//! a thread is named although no code of the engine can run on it.
//!
//! `Watched` is also the one place where panics of user code are caught, when a future is polled and when it is dropped.

use std::{
    any::Any,
    cell::OnceCell,
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
};

use evenkeel_os::threads;

use crate::lease::lock;

/// Identifies a component over all apps of the process.
pub(crate) type Mark = u64;
/// The mark of a stop coordinator: user code that belongs to no component.
pub(crate) const COORDINATOR: Mark = Mark::MAX;

/// What one thread polls; written by it alone.
struct ThreadSlot {
    mark: AtomicU64,
    turn: AtomicU64,
    thread: String,
    os_id: u64,
    of_runtime: bool,
}

static THREADS: Mutex<Vec<Weak<ThreadSlot>>> = Mutex::new(Vec::new());

thread_local! {
    static SLOT: OnceCell<Arc<ThreadSlot>> = const { OnceCell::new() };
}

fn register() -> Arc<ThreadSlot> {
    let current = std::thread::current();
    let slot = Arc::new(ThreadSlot {
        mark: AtomicU64::new(0),
        turn: AtomicU64::new(0),
        thread: current.name().unwrap_or("unnamed").to_owned(),
        os_id: threads::current_thread_id(),
        of_runtime: tokio::task::try_id().is_some(),
    });
    let mut all = lock(&THREADS);
    all.retain(|known| known.strong_count() > 0);
    all.push(Arc::downgrade(&slot));
    slot
}

/// Notes the component for as long as `work` runs. Nested calls give the outer one back.
fn marked<R>(mark: Mark, work: impl FnOnce() -> R) -> R {
    let mut work = Some(work);
    let mut run = || work.take().map(|work| work());
    let noted = SLOT.try_with(|slot| {
        let slot = slot.get_or_init(register);
        let outer = slot.mark.swap(mark, Ordering::Relaxed);
        slot.turn.fetch_add(1, Ordering::Relaxed);
        let result = run();
        slot.mark.store(outer, Ordering::Relaxed);
        result
    });
    // A thread that is ending has no slot any more.
    noted.unwrap_or_else(|_| run()).expect("the work is run once, here or there")
}

/// One poll that a thread is in the middle of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Busy {
    pub(crate) mark: Mark,
    pub(crate) turn: u64,
    pub(crate) thread: String,
    pub(crate) os_id: u64,
    /// Whether it is a thread that runs tasks; a `blocking` component has one of its own.
    pub(crate) of_runtime: bool,
}

/// All polls that are under way at this instant.
pub(crate) fn under_way() -> Vec<Busy> {
    let threads: Vec<_> = lock(&THREADS).iter().filter_map(Weak::upgrade).collect();
    let busy = |slot: &Arc<ThreadSlot>| {
        let mark = slot.mark.load(Ordering::Relaxed);
        let turn = slot.turn.load(Ordering::Relaxed);
        let ThreadSlot { thread, os_id, of_runtime, .. } = slot.as_ref();
        (mark != 0).then(|| Busy { mark, turn, thread: thread.clone(), os_id: *os_id, of_runtime: *of_runtime })
    };
    threads.iter().filter_map(busy).collect()
}

/// The component whose code this thread is running, if any.
pub(crate) fn mine() -> Option<Mark> {
    let mark = SLOT.try_with(|slot| slot.get().map_or(0, |slot| slot.mark.load(Ordering::Relaxed)));
    mark.ok().filter(|mark| *mark != 0)
}

/// What a panic left behind, as text.
pub(crate) fn panic_text(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<&str>().copied().map(str::to_owned);
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
    format!("panicked: {}", text.unwrap_or_else(|| "(the panic carries no text)".to_owned()))
}

/// Runs user code that is not a future, such as a closure or a drop, under the component's name.
pub(crate) fn guarded<R>(mark: Mark, work: impl FnOnce() -> R) -> Result<R, String> {
    marked(mark, || catch_unwind(AssertUnwindSafe(work))).map_err(|payload| panic_text(payload.as_ref()))
}

/// A future of user code: polled and dropped under its component's name, its panics caught.
pub(crate) struct Watched<F: Future + ?Sized> {
    mark: Mark,
    future: Option<Pin<Box<F>>>,
}

impl<F: Future + ?Sized> Watched<F> {
    pub(crate) fn new(mark: Mark, future: Pin<Box<F>>) -> Self {
        Self { mark, future: Some(future) }
    }

    /// Drops the future; says how it panicked if it did.
    pub(crate) fn cut(&mut self) -> Result<(), String> {
        let future = self.future.take();
        guarded(self.mark, || drop(future))
    }
}

impl<F: Future + ?Sized> Future for Watched<F> {
    type Output = Result<F::Output, String>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mark = self.mark;
        let Some(future) = self.future.as_mut() else { return Poll::Pending };
        let polled = guarded(mark, || future.as_mut().poll(cx));
        let done = match polled {
            Ok(Poll::Pending) => return Poll::Pending,
            Ok(Poll::Ready(output)) => Ok(output),
            Err(panic) => Err(panic),
        };
        match self.cut() {
            Ok(()) => Poll::Ready(done),
            Err(panic) => Poll::Ready(done.and(Err(panic))),
        }
    }
}

impl<F: Future + ?Sized> Drop for Watched<F> {
    fn drop(&mut self) {
        let _ = self.cut(); // who wants to know how the drop went calls `cut` itself
    }
}
