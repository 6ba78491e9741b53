//! How a component learns that it must wind down, and what it can do about it.
//!
//! [`Stop`] is the one thing that running code is given beside what it needs. It interrupts *waiting for* work, not the
//! work: a loop over [`Stop::or`] or [`Stop::take`] finishes what it has in hand and then ends. Stops form a tree: a
//! [`Branch`] can be stopped alone, and is stopped with the component.

use std::{
    future::{Future, poll_fn},
    panic::Location,
    pin::{Pin, pin},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::Poll,
    time::Duration,
};

use evenkeel_plan::cause::Cause;
use tokio::sync::{Notify, mpsc::UnboundedSender};
use tokio_util::sync::CancellationToken;

use crate::{
    driver::Message,
    scope::{Scope, TaskOutput, Work},
};

/// Told when this component must wind down. Cheap to clone; clones are one and the same stop.
#[derive(Clone)]
pub struct Stop {
    inner: Arc<Inner>,
}

struct Inner {
    token: CancellationToken,
    /// The token's state without its lock, for hot loops.
    asked: AtomicBool,
    scope: Arc<Scope>,
    gate: Option<Arc<Gate>>,
    /// Where a wish for the service as a whole goes.
    service: UnboundedSender<Message>,
    critical: AtomicUsize,
    /// The last critical section was left.
    left: Notify,
}

impl Stop {
    pub(crate) fn new(scope: Arc<Scope>, gate: Option<Arc<Gate>>, service: UnboundedSender<Message>) -> Self {
        Self::over(CancellationToken::new(), scope, gate, service)
    }

    fn over(
        token: CancellationToken,
        scope: Arc<Scope>,
        gate: Option<Arc<Gate>>,
        service: UnboundedSender<Message>,
    ) -> Self {
        let (asked, critical, left) = (AtomicBool::new(false), AtomicUsize::new(0), Notify::new());
        let inner = Inner { token, asked, scope, gate, service, critical, left };
        Self { inner: Arc::new(inner) }
    }

    /// Runs `work` to its end, or gives `None` once a stop is asked for, dropping `work`.
    ///
    /// `work` should be *waiting for* something to do, and must be cancel-safe: dropped half-way it must lose nothing.
    /// For a source that is not, use [`take`](Self::take). If both are there, the stop wins.
    ///
    /// In an intake, `work` is not polled while the service does not take traffic (before it runs, and while paused).
    ///
    /// Cancel-safe as far as `work` is.
    pub async fn or<F: Future>(&self, work: F) -> Option<F::Output> {
        let mut work = pin!(work);
        loop {
            self.gate_opened().await?;
            tokio::select! {
                biased;
                () = self.requested() => return None,
                () = self.gate_shut() => {}
                output = work.as_mut() => return Some(output),
            }
        }
    }

    /// Takes the next item from a source that is not cancel-safe; `None` once a stop is asked for. An item that the
    /// source has taken is never dropped.
    ///
    /// The source marks the time between taking an item and handing it over with [`critical`](Self::critical). On a
    /// stop, a source outside such a section is asked once more (what is there already is taken) and dropped; one inside
    /// is waited for. In an intake, no new item is asked for while the service does not take traffic.
    ///
    /// Not cancel-safe: dropping this future drops the source.
    pub async fn take<F: Future>(&self, source: F) -> Option<F::Output> {
        self.take_settling(Duration::ZERO, source).await
    }

    /// Like [`take`](Self::take), for a source that cannot mark what it does: after a stop it has this long to hand
    /// over an item that it may have taken. An idle source makes the stop this much longer.
    ///
    /// Not cancel-safe: dropping this future drops the source.
    pub async fn take_settling<F: Future>(&self, settle: Duration, source: F) -> Option<F::Output> {
        self.gate_opened().await?;
        if self.is_requested() {
            return None;
        }
        let mut source = pin!(source);
        {
            let asked = pin!(self.requested());
            tokio::select! {
                biased;
                output = source.as_mut() => return Some(output),
                () = asked => {}
            }
        }
        if let Poll::Ready(output) = poll_once(source.as_mut()).await {
            return Some(output);
        }
        if !settle.is_zero()
            && let Ok(output) = tokio::time::timeout(settle, source.as_mut()).await
        {
            return Some(output);
        }
        // Inside a critical section the source is polled on; it leaves the section by handing the item over, or by
        // waiting for another, and only then may it be dropped. The section may also be another task's: then its end,
        // and not this source, is what wakes.
        loop {
            let left = self.inner.left.notified();
            if let Poll::Ready(output) = poll_once(source.as_mut()).await {
                return Some(output);
            }
            if self.inner.critical.load(Ordering::Acquire) == 0 {
                return None;
            }
            tokio::select! {
                biased;
                output = source.as_mut() => return Some(output),
                () = left => {}
            }
        }
    }

    /// Runs a section that a stop must not cut: see [`take`](Self::take). The component's limit still holds.
    ///
    /// Dropping the future leaves the section.
    pub async fn critical<F: Future>(&self, section: F) -> F::Output {
        struct Leave<'a>(&'a Inner);
        impl Drop for Leave<'_> {
            fn drop(&mut self) {
                if self.0.critical.fetch_sub(1, Ordering::AcqRel) == 1 {
                    self.0.left.notify_waiters();
                }
            }
        }
        self.inner.critical.fetch_add(1, Ordering::AcqRel);
        let _leave = Leave(&self.inner);
        section.await
    }

    /// Waits until a stop is asked for. Cancel-safe.
    pub async fn requested(&self) {
        self.inner.token.cancelled().await;
    }

    /// Whether a stop has been asked for. Cheap enough for a hot loop.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.inner.asked.load(Ordering::Acquire) || self.inner.token.is_cancelled()
    }

    /// Spawns a task that belongs to the component: it is waited for when the component stops, aborted at its limit,
    /// and named if it cannot be ended. A task that returns an error or panics fails the component.
    ///
    /// Once the component has been cut off, nothing is spawned any more and the future is dropped.
    #[track_caller]
    pub fn spawn<F>(&self, task: F)
    where
        F: Future<Output: TaskOutput> + Send + 'static,
    {
        self.inner.scope.spawn(task, Location::caller());
    }

    /// Counts a piece of work until the guard is dropped, so that the receipt can say what was drained and what was cut.
    pub fn work(&self) -> Work {
        self.inner.scope.work()
    }

    /// Says what a component is doing while it opens, in words that finish the sentence "it was ...": `status` and the
    /// startup probe show it, and a start that takes too long names it. No secrets: everybody may read it.
    pub fn doing(&self, what: &str) {
        self.inner.scope.is_doing(what);
    }

    /// Says that the component is alive and gets on: for one that has promised to, with
    /// [`heartbeat_within`](crate::Handle::heartbeat_within). Cheap enough for each turn of a loop.
    pub fn heartbeat(&self) {
        self.inner.scope.beat();
    }

    /// Asks the whole service to stop, from inside a component; `why` goes into the receipt. It takes the same path as
    /// every other cause, and returns at once: this component is told in its turn.
    pub fn stop_service(&self, why: impl Into<String>) {
        // A service that has ended needs no stop.
        let _ = self.inner.service.send(Message::Stop(Cause::Request { by: why.into() }));
    }

    /// A stop below this one: it can be asked for alone, and is asked for with this one.
    #[must_use]
    pub fn branch(&self) -> Branch {
        let token = self.inner.token.child_token();
        let inner = &self.inner;
        Branch { stop: Self::over(token, inner.scope.clone(), inner.gate.clone(), inner.service.clone()) }
    }

    pub(crate) fn ask(&self) {
        self.inner.asked.store(true, Ordering::Release);
        self.inner.token.cancel();
    }

    /// Whether work may be let in. Always for what is not an intake.
    pub(crate) fn gate_is_open(&self) -> bool {
        self.inner.gate.as_ref().is_none_or(|gate| gate.open.load(Ordering::Acquire))
    }

    /// Waits until work may be let in; `None` if a stop is asked for first. At once for what is not an intake.
    pub(crate) async fn gate_opened(&self) -> Option<()> {
        let Some(gate) = &self.inner.gate else { return Some(()) };
        tokio::select! {
            biased;
            () = self.requested() => None,
            () = gate.until(true) => Some(()),
        }
    }

    /// The gate of a server, which follows the one of the service.
    #[cfg(feature = "http")]
    pub(crate) fn servers_gate(&self) -> evenkeel_http::Gate {
        self.inner.gate.as_ref().map_or_else(evenkeel_http::Gate::open, |gate| gate.servers.clone())
    }

    /// Waits until no work may be let in. For ever for what is not an intake.
    pub(crate) async fn gate_shut(&self) {
        match &self.inner.gate {
            Some(gate) => gate.until(false).await,
            None => std::future::pending().await,
        }
    }
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}

/// A part of a component's work that can be stopped alone.
pub struct Branch {
    stop: Stop,
}

impl Branch {
    /// The stop to hand to the work below.
    #[must_use]
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Asks this branch, and all branches below it, to stop.
    pub fn ask(&self) {
        self.stop.ask();
    }
}

/// The servers' side of a gate, shut for a moment. Dropping it puts it back to what it was.
pub(crate) struct ServersHeld {
    #[cfg(feature = "http")]
    was_open: bool,
    #[cfg(feature = "http")]
    gate: Arc<Gate>,
}

#[cfg(feature = "http")]
impl Drop for ServersHeld {
    fn drop(&mut self) {
        self.gate.servers.set(self.was_open);
    }
}

/// Whether intakes may let work in. One for each app.
pub(crate) struct Gate {
    open: AtomicBool,
    changed: Notify,
    /// The same for servers, which accept connections by themselves.
    #[cfg(feature = "http")]
    servers: evenkeel_http::Gate,
}

impl Gate {
    pub(crate) fn shut() -> Arc<Self> {
        Arc::new(Self {
            open: AtomicBool::new(false),
            changed: Notify::new(),
            #[cfg(feature = "http")]
            servers: evenkeel_http::Gate::shut(),
        })
    }

    pub(crate) fn set(&self, open: bool) {
        #[cfg(feature = "http")]
        self.servers.set(open);
        self.tell(open);
    }

    /// Shuts the servers' side until what this gives back is dropped. For the whole of that time the service must not be
    /// paused or continued by others.
    pub(crate) fn hold_servers(self: &Arc<Self>) -> ServersHeld {
        ServersHeld {
            #[cfg(feature = "http")]
            was_open: {
                let was_open = self.servers.is_open();
                self.servers.set(false);
                was_open
            },
            #[cfg(feature = "http")]
            gate: self.clone(),
        }
    }

    /// Shuts it for a stop. Servers take in what waits at their door before they close it, unless they are paused or
    /// never served; so their side of the gate stays as it is.
    pub(crate) fn shut_for_good(&self) {
        self.tell(false);
    }

    fn tell(&self, open: bool) {
        self.open.store(open, Ordering::Release);
        self.changed.notify_waiters();
    }

    pub(crate) async fn until(&self, open: bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.open.load(Ordering::Acquire) == open {
                return;
            }
            changed.await;
        }
    }
}
