//! A component as the engine drives it: its value, its orders, and the closures behind it, all types erased.
//!
//! A [`Part`] lives as long as the run. Each start of it is an [`Incarnation`] with a stop, a scope and orders of its own,
//! so that nothing of an earlier life can be mistaken for the present one.

use std::{
    any::Any,
    future::Future,
    panic::Location,
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use evenkeel_plan::spec::{Id, Spec};
use tokio::sync::Notify;

use crate::{
    error::{Error, Result},
    lease::{Holder, Slot, lock},
    needs::{Form, Lender},
    polls::Mark,
    scope::Scope,
    stop::Stop,
};

pub(crate) type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;
pub(crate) type AnyValue = Arc<dyn Any + Send + Sync>;

/// One component of a running app.
pub(crate) struct Part {
    pub(crate) id: Id,
    pub(crate) spec: Arc<Spec>,
    pub(crate) kind: &'static str,
    pub(crate) site: &'static Location<'static>,
    pub(crate) mark: Mark,
    pub(crate) holder: Arc<Holder>,
    pub(crate) needs: Vec<Arc<Self>>,
    pub(crate) behaviour: Arc<dyn Behaviour>,
    pub(crate) close_ref: Option<Arc<dyn CloseRef>>,
    pub(crate) current: Mutex<Current>,
    /// Somebody may want to look at the slot again.
    pub(crate) changed: Notify,
}

#[derive(Default)]
pub(crate) struct Current {
    pub(crate) slot: Option<Arc<Slot>>,
    pub(crate) incarnation: Option<Arc<Incarnation>>,
    /// Nothing is lent any more, not even what is opened after this was said.
    closed: bool,
}

impl Part {
    pub(crate) fn name(&self) -> &str {
        &self.spec.name
    }

    /// The value that is lent at present.
    pub(crate) fn slot(&self) -> Option<Arc<Slot>> {
        lock(&self.current).slot.clone()
    }

    pub(crate) fn incarnation(&self) -> Option<Arc<Incarnation>> {
        lock(&self.current).incarnation.clone()
    }

    /// Begins a life, which may lend a value again.
    pub(crate) fn begin(&self, incarnation: Arc<Incarnation>) {
        let mut current = lock(&self.current);
        current.incarnation = Some(incarnation);
        current.closed = false;
    }

    /// Lends a value from now on, unless the life that opened it was told to end in the meantime (L12).
    pub(crate) fn lend(&self, slot: Arc<Slot>) {
        let mut current = lock(&self.current);
        if current.closed {
            slot.close();
        }
        current.slot = Some(slot);
        drop(current);
        self.changed.notify_waiters();
    }

    /// No new leases from here on; gives back the value's slot if there is one.
    pub(crate) fn stop_lending(&self) -> Option<Arc<Slot>> {
        let mut current = lock(&self.current);
        current.closed = true;
        let slot = current.slot.clone();
        drop(current);
        slot.inspect(|slot| slot.close())
    }

    /// The slot, which nobody looks at any more.
    pub(crate) fn take_slot(&self) -> Option<Arc<Slot>> {
        lock(&self.current).slot.take()
    }

    /// Hands over what the component needs; `None` if something of it has ended in the meantime.
    pub(crate) fn give<N: Form>(&self) -> Result<N::Given> {
        let mut lender = Lender { parts: self.needs.iter(), holder: &self.holder, site: self.site };
        N::give(&mut lender).ok_or_else(|| Error::from("a component that it needs has ended"))
    }
}

/// The code behind a component.
pub(crate) trait Behaviour: Send + Sync {
    /// Opens it. The future runs on the user's runtime; no user code runs before it is polled.
    fn open(self: Arc<Self>, cx: OpenContext) -> BoxFuture<Result<Opened>>;

    /// The address that it will listen at, if it is one that does.
    fn listens_at(&self) -> Option<String> {
        None
    }

    /// What can be set of it, if it is a server.
    #[cfg(feature = "http")]
    fn http(&self) -> Option<&Mutex<crate::http::Settings>> {
        None
    }
}

/// What a component's opening may use.
pub(crate) struct OpenContext {
    pub(crate) part: Arc<Part>,
    pub(crate) incarnation: Arc<Incarnation>,
    pub(crate) stop: Stop,
}

/// What an opening leads to.
pub(crate) struct Opened {
    /// What is lent.
    pub(crate) value: AnyValue,
    /// What goes on until the stop, and drains after it; `None`: it only lends.
    pub(crate) run: Option<BoxFuture<Result>>,
    /// Closes the value when every lease is back.
    pub(crate) close: Option<Close>,
    /// What the component wants known, such as a URL.
    pub(crate) note: Option<String>,
}

/// Closes a value, given back whole, in the time that is left for it.
pub(crate) type Close = Box<dyn FnOnce(AnyValue, Duration) -> BoxFuture<Result> + Send>;

/// Closes a value by reference: more than once if need be, and even while leases are out.
pub(crate) trait CloseRef: Send + Sync {
    fn close(&self, slot: &Arc<Slot>, holder: &Arc<Holder>, allowed: Duration) -> BoxFuture<Result>;
}

/// A closure that makes a component's code, once or any number of times.
pub(crate) struct Recipe<F> {
    closure: Mutex<Option<F>>,
    copy: Option<fn(&F) -> F>,
}

impl<F> Recipe<F> {
    pub(crate) fn once(closure: F) -> Self {
        Self { closure: Mutex::new(Some(closure)), copy: None }
    }

    pub(crate) fn many(closure: F) -> Self
    where
        F: Clone,
    {
        Self { closure: Mutex::new(Some(closure)), copy: Some(F::clone) }
    }

    pub(crate) fn get(&self) -> Result<F> {
        let mut closure = lock(&self.closure);
        let made = match self.copy {
            Some(copy) => closure.as_ref().map(copy),
            None => closure.take(),
        };
        made.ok_or_else(|| Error::from("it can be started only once, and was"))
    }
}

/// One life of a component.
pub(crate) struct Incarnation {
    pub(crate) attempt: u32,
    pub(crate) scope: Arc<Scope>,
    pub(crate) stop: Stop,
    pub(crate) orders: Orders,
    pub(crate) watch: Watchpoint,
}

impl Incarnation {
    /// Gives an order, and wakes the life that it is for.
    pub(crate) fn tell(&self, order: u8) {
        self.orders.tell(order);
        self.scope.ring();
    }

    /// The order to release, with the time for it.
    pub(crate) fn tell_release(&self, allowed: Duration) {
        self.orders.tell_release(allowed);
        self.scope.ring();
    }

    /// Waits until one of these has been told. Cancel-safe.
    pub(crate) fn until_told(&self, any: u8) -> impl Future<Output = ()> {
        self.scope.until(move || self.orders.told(any).then_some(()))
    }
}

/// What an incarnation is doing, for those who look at it from outside.
#[derive(Default)]
pub(crate) struct Watchpoint {
    stage: AtomicU8,
    /// The thread of a blocking component, as the operating system numbers it.
    pub(crate) os_thread: AtomicU64,
    /// Interrupts that blocking work has not answered.
    pub(crate) unanswered: AtomicU64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    Opening,
    Running,
    Joining,
    AwaitingRelease,
    AwaitingLeases,
    Closing,
    Over,
}

impl Watchpoint {
    pub(crate) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::Relaxed);
    }

    /// The stage in words that finish the sentence "it was ...".
    pub(crate) fn doing(&self) -> &'static str {
        const WORDS: [&str; 7] = [
            "waiting in its opening",
            "waiting in its run",
            "waiting for its own tasks",
            "waiting for its dependents",
            "waiting for leases to come back",
            "waiting in its close",
            "ending",
        ];
        WORDS[usize::from(self.stage.load(Ordering::Relaxed)).min(WORDS.len() - 1)]
    }
}

/// What an incarnation has been told. Orders only ever add up.
#[derive(Default)]
pub(crate) struct Orders {
    told: AtomicU8,
    release_nanos: AtomicU64,
}

impl Orders {
    /// Wind down.
    pub(crate) const STOP: u8 = 1;
    /// Nobody may hold the value any more.
    pub(crate) const RELEASE: u8 = 2;
    /// Drop the opening. Each stage has a cut of its own: one that comes as its stage ends must not hit the next.
    pub(crate) const CUT_OPEN: u8 = 4;
    /// Drop the run and its tasks, and go on with the release.
    pub(crate) const CUT_DRAIN: u8 = 8;
    /// Wait no longer for leases; once more: drop the close.
    pub(crate) const CUT_CLOSE: u8 = 16;
    /// Drop everything.
    pub(crate) const CUT_ALL: u8 = 32;

    fn tell(&self, order: u8) {
        self.told.fetch_or(order, Ordering::AcqRel);
    }

    fn tell_release(&self, allowed: Duration) {
        let nanos = u64::try_from(allowed.as_nanos()).unwrap_or(u64::MAX);
        self.release_nanos.store(nanos, Ordering::Relaxed);
        self.tell(Self::RELEASE);
    }

    /// The time for the release, known once it has been told.
    pub(crate) fn release_allowed(&self) -> Duration {
        Duration::from_nanos(self.release_nanos.load(Ordering::Relaxed))
    }

    pub(crate) fn told(&self, any: u8) -> bool {
        self.told.load(Ordering::Acquire) & any != 0
    }

    /// A cut is spent by what it ends; what comes after can be cut again.
    pub(crate) fn spend(&self, cut: u8) {
        self.told.fetch_and(!cut, Ordering::AcqRel);
    }
}
