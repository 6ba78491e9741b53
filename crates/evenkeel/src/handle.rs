//! Handles: what a declaration gives back.
//!
//! A handle is two things: the right to *need* the component, and the place to say what is special about it. Every
//! method takes the handle and gives it back, so that a declaration reads as one sentence.

use std::{
    future::Future,
    marker::PhantomData,
    panic::Location,
    sync::{Arc, Mutex},
    time::Duration,
};

use evenkeel_plan::{
    limit::Limit,
    restart::Restart,
    spec::{Activity, Id, Role, Spec, Weight},
};

use crate::{
    app::{Declared, Problem},
    error::{Error, Result},
    lease::{Holder, Lease, Slot, lock},
    part::{BoxFuture, CloseRef},
};

/// The component can be started any number of times: its closures are `Clone`.
#[derive(Debug)]
pub enum Many {}

/// The component can be started once: it came from [`App::once`](crate::App::once).
#[derive(Debug)]
pub enum Once {}

/// A declared component that lends a `T`.
#[must_use = "a component that nobody needs still runs; bind the handle to `_` if that is what you want"]
pub struct Handle<T, M = Many> {
    pub(crate) declared: Arc<Mutex<Declared>>,
    pub(crate) id: Id,
    pub(crate) _lends: PhantomData<fn() -> (T, M)>,
}

impl<T, M> Handle<T, M> {
    pub(crate) fn id(&self) -> Id {
        self.id
    }

    /// Tells apart handles of different apps.
    pub(crate) fn app(&self) -> usize {
        Arc::as_ptr(&self.declared) as usize
    }

    fn change(self, change: impl FnOnce(&mut Spec)) -> Self {
        if let Some(entry) = lock(&self.declared).entries.get_mut(self.id.index()) {
            change(&mut entry.spec);
        }
        self
    }

    /// The time its drain and its release together may take; past it the component is cut off and named in the receipt.
    /// Without this: 5 seconds for a release, 30 for an HTTP drain.
    pub fn stop_within(self, limit: Duration) -> Self {
        self.stop_limit(Limit::fixed(limit))
    }

    /// Like [`stop_within`](Self::stop_within), with a limit that may back off exponentially: each attempt of a release
    /// gets longer. More than one attempt needs [`close_ref`](Self::close_ref), because a close by value uses it up.
    pub fn stop_limit(self, limit: Limit) -> Self {
        self.change(|spec| {
            spec.stop_within = limit;
            spec.stop_within_chosen = true;
        })
    }

    /// The time it may take to become ready; past it the start has failed. Without this: 60 seconds.
    pub fn start_within(self, limit: Duration) -> Self {
        self.change(|spec| spec.start_within = limit)
    }

    /// It promises to call [`Stop::heartbeat`](crate::Stop::heartbeat) at least this often while it is ready. If it does not,
    /// it is stuck: the liveness probe and the service manager's watchdog learn of it, and it is named. For work whose hang
    /// nobody else would see: a loop that waits for ever, a thread in a library.
    ///
    /// It is looked at whenever the liveness probe or the watchdog looks, so it is seen that much later.
    pub fn heartbeat_within(self, limit: Duration) -> Self {
        lock(&self.declared).heartbeats.insert(self.id, limit);
        self
    }

    /// It lets work in from outside (a consumer, a schedule): it works only while the service takes traffic, stops
    /// taking in while paused, and is told to stop before anything else drains.
    pub fn intake(self) -> Self {
        self.change(|spec| spec.role = Role::Intake)
    }

    /// Needs this component softly: the user is given a [`Watch`](crate::Watch), and does not restart with it.
    pub fn soft(&self) -> Soft<'_, T> {
        Soft { app: self.app(), id: self.id, _lends: PhantomData }
    }

    /// Needs only that this component has started (or, a job, has succeeded). No value is given.
    pub fn start_only(&self) -> StartOnly<'_> {
        StartOnly { app: self.app(), id: self.id, _handle: PhantomData }
    }
}

impl<T: Send + Sync + 'static, M> Handle<T, M> {
    /// Closes the value by reference: used when leases are still out near the limit (a value lent and not given back
    /// can still be closed), and for each attempt of a limit that backs off. Dropped half-way, it is tried again or
    /// given up; it must be safe to call twice.
    pub fn close_ref<C, F>(self, close: C) -> Self
    where
        C: Fn(Lease<T>) -> F + Send + Sync + 'static,
        F: Future<Output = Result> + Send + 'static,
    {
        self.close_ref_within(move |value, _| close(value))
    }

    /// Like [`close_ref`](Self::close_ref), for a close that can end in order before it is cut off: it is given what is
    /// left of its time.
    pub fn close_ref_within<C, F>(self, close: C) -> Self
    where
        C: Fn(Lease<T>, Duration) -> F + Send + Sync + 'static,
        F: Future<Output = Result> + Send + 'static,
    {
        if let Some(entry) = lock(&self.declared).entries.get_mut(self.id.index()) {
            entry.close_ref = Some(Arc::new(ByReference { close, _lends: PhantomData }));
        }
        self
    }
}

/// What a component that can be started any number of times is, and one from [`App::once`](crate::App::once) is not.
#[diagnostic::on_unimplemented(
    message = "a component declared with `app.once()` cannot be started again",
    label = "it can be started only once",
    note = "declare it on the app itself: its closures are then cloned for each start"
)]
pub trait StartsAgain: sealed::Sealed {}

impl StartsAgain for Many {}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::Many {}
}

impl<T, M> Handle<T, M> {
    /// Starts it again when it fails, together with all that hold its value. Without this, its failure ends the service.
    pub fn restart(self, policy: Restart) -> Self
    where
        M: StartsAgain,
    {
        self.change(|spec| spec.restart = Some(policy))
    }

    /// The service can do without it: it starts in the background, is tried again for ever, and does not hold readiness.
    /// Who needs it is given a [`Watch`](crate::Watch).
    pub fn optional(self) -> OptionalHandle<T>
    where
        M: StartsAgain,
    {
        let Self { declared, id, .. } = self.change(|spec| spec.weight = Weight::Optional);
        OptionalHandle { inner: Handle { declared, id, _lends: PhantomData } }
    }
}

impl<M> Handle<(), M> {
    /// It is a job: it is expected to end by itself. Whoever needs it starts after it succeeded. When all jobs are done
    /// and nothing essential runs besides, the service stops, cleanly.
    pub fn finite(self) -> Self {
        let mut declared = lock(&self.declared);
        let entry = declared.entries.get(self.id.index());
        if let Some(spec) = entry.map(|entry| &entry.spec).filter(|spec| spec.activity == Activity::Passive) {
            let text =
                format!("`{}` at {} only lends a value, so it never ends by itself", spec.name, spec.declared_at);
            let hint = "declare the job with `app.worker(..).finite()`".to_owned();
            declared.problems.push(Problem { text, hint });
        }
        drop(declared);
        self.change(|spec| spec.activity = Activity::Finite)
    }
}

/// A declared component that the service can do without.
#[must_use = "a component that nobody needs still runs; bind the handle to `_` if that is what you want"]
pub struct OptionalHandle<T> {
    inner: Handle<T, Many>,
}

impl<T> OptionalHandle<T> {
    pub(crate) fn id(&self) -> Id {
        self.inner.id
    }

    pub(crate) fn app(&self) -> usize {
        self.inner.app()
    }

    /// How it is tried again when it fails. Without this: for ever, from 200 ms to 30 s apart.
    pub fn restart(self, policy: Restart) -> Self {
        Self { inner: self.inner.restart(policy) }
    }

    /// See [`Handle::stop_within`].
    pub fn stop_within(self, limit: Duration) -> Self {
        Self { inner: self.inner.stop_within(limit) }
    }

    /// See [`Handle::start_within`].
    pub fn start_within(self, limit: Duration) -> Self {
        Self { inner: self.inner.start_within(limit) }
    }
}

/// See [`Handle::soft`].
pub struct Soft<'a, T> {
    pub(crate) app: usize,
    pub(crate) id: Id,
    _lends: PhantomData<&'a fn() -> T>,
}

/// See [`Handle::start_only`].
pub struct StartOnly<'a> {
    pub(crate) app: usize,
    pub(crate) id: Id,
    _handle: PhantomData<&'a ()>,
}

struct ByReference<C, T> {
    close: C,
    _lends: PhantomData<fn(T)>,
}

impl<C, F, T> CloseRef for ByReference<C, T>
where
    C: Fn(Lease<T>, Duration) -> F + Send + Sync + 'static,
    F: Future<Output = Result> + Send + 'static,
    T: Send + Sync + 'static,
{
    fn close(&self, slot: &Arc<Slot>, holder: &Arc<Holder>, allowed: Duration) -> BoxFuture<Result> {
        match slot.lease_to_owner(holder, Location::caller()) {
            Some(lease) => Box::pin((self.close)(lease, allowed)),
            None => Box::pin(async { Err(Error::from("the value is gone")) }),
        }
    }
}
