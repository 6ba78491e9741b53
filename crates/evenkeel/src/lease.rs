//! Values that are lent, and who holds them.
//!
//! A component's value lives in a slot. Others hold [`Lease`]s on it; the owner closes it only when all are back. Each
//! lease knows where it was taken, so that one which does not come back can be named with file and line. A slot belongs
//! to one incarnation of its owner: a lease kept across a restart is a lease on the old value, and counts as leaked.

use std::{
    any::Any,
    fmt,
    future::Future,
    ops::Deref,
    panic::Location,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use tokio::sync::Notify;

use crate::part::Part;

/// A value lent by the component that owns it. It derefs to the value.
///
/// Clone it freely: into tasks, into handlers. The owner closes the value only when every clone is gone; a clone that
/// never goes is found at the owner's limit and named in the receipt with the line that took it.
pub struct Lease<T> {
    // The order matters: the value goes back before the slot hears of it.
    value: Arc<T>,
    hold: Hold,
}

impl<T> Clone for Lease<T> {
    #[track_caller]
    fn clone(&self) -> Self {
        Self { value: self.value.clone(), hold: self.hold.again(Location::caller()) }
    }
}

impl<T> Deref for Lease<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T: fmt::Debug> fmt::Debug for Lease<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.value.fmt(f)
    }
}

/// The value of a component that may be absent: one that is optional, or is needed softly.
pub struct Watch<T> {
    owner: Arc<Part>,
    holder: Arc<Holder>,
    _value: std::marker::PhantomData<fn() -> T>,
}

impl<T> Clone for Watch<T> {
    fn clone(&self) -> Self {
        Self::new(self.owner.clone(), self.holder.clone())
    }
}

impl<T> Watch<T> {
    pub(crate) fn new(owner: Arc<Part>, holder: Arc<Holder>) -> Self {
        Self { owner, holder, _value: std::marker::PhantomData }
    }
}

impl<T: Send + Sync + 'static> Watch<T> {
    /// The value, if its owner is ready now. Hold the lease for one piece of work, not for ever: the owner waits for it
    /// when it stops or restarts.
    #[track_caller]
    #[must_use]
    pub fn get(&self) -> Option<Lease<T>> {
        self.owner.slot()?.lease(&self.holder, Location::caller())
    }

    /// Waits until the owner is ready and lends its value.
    ///
    /// Cancel-safe: dropping the future leaves nothing behind.
    #[track_caller]
    pub fn ready(&self) -> impl Future<Output = Lease<T>> + Send {
        let site = Location::caller();
        async move {
            loop {
                let changed = self.owner.changed.notified();
                if let Some(lease) = self.owner.slot().and_then(|slot| slot.lease(&self.holder, site)) {
                    return lease;
                }
                changed.await;
            }
        }
    }
}

/// The value of one incarnation of a component, and its leases.
pub(crate) struct Slot {
    state: Mutex<SlotState>,
    out: AtomicUsize,
    returned: Notify,
}

struct SlotState {
    value: Option<Arc<dyn Any + Send + Sync>>,
    open: bool,
    holdings: Vec<Arc<Holding>>,
}

/// Somebody who may hold leases: a component, or the code that runs the app.
pub(crate) struct Holder {
    pub(crate) name: Arc<str>,
    /// It was abandoned: what it holds does not come back.
    pub(crate) gone: AtomicBool,
}

impl Holder {
    pub(crate) fn new(name: &str) -> Arc<Self> {
        Arc::new(Self { name: name.into(), gone: AtomicBool::new(false) })
    }
}

/// All leases that one holder has on one slot.
struct Holding {
    holder: Arc<Holder>,
    sites: Mutex<Vec<(&'static Location<'static>, usize)>>,
}

struct Hold {
    slot: Arc<Slot>,
    holding: Arc<Holding>,
    site: &'static Location<'static>,
}

/// Leases of one holder that are still out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Outstanding {
    pub(crate) holder: Arc<str>,
    pub(crate) count: usize,
    pub(crate) sites: Vec<String>,
}

impl fmt::Display for Outstanding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let leases = if self.count == 1 { "lease" } else { "leases" };
        write!(f, "{} {leases} of `{}` taken at {}", self.count, self.holder, self.sites.join(", "))
    }
}

impl Slot {
    pub(crate) fn new(value: Arc<dyn Any + Send + Sync>) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(SlotState { value: Some(value), open: true, holdings: Vec::new() }),
            out: AtomicUsize::new(0),
            returned: Notify::new(),
        })
    }

    /// A lease for this holder, unless the slot is closed to new ones.
    pub(crate) fn lease<T: Send + Sync + 'static>(
        self: &Arc<Self>,
        holder: &Arc<Holder>,
        site: &'static Location<'static>,
    ) -> Option<Lease<T>> {
        self.lease_if(|state| state.open, holder, site)
    }

    /// A lease for the owner itself, even when the slot is closed to others.
    pub(crate) fn lease_to_owner<T: Send + Sync + 'static>(
        self: &Arc<Self>,
        holder: &Arc<Holder>,
        site: &'static Location<'static>,
    ) -> Option<Lease<T>> {
        self.lease_if(|_| true, holder, site)
    }

    fn lease_if<T: Send + Sync + 'static>(
        self: &Arc<Self>,
        allowed: impl FnOnce(&SlotState) -> bool,
        holder: &Arc<Holder>,
        site: &'static Location<'static>,
    ) -> Option<Lease<T>> {
        // Asked, taken and counted under one lock: whoever closes the slot sees either no lease or one that is counted.
        let mut state = lock(&self.state);
        if !allowed(&state) {
            return None;
        }
        let value = state.value.clone()?.downcast::<T>().ok()?;
        let known = state.holdings.iter().find(|known| Arc::ptr_eq(&known.holder, holder)).cloned();
        let holding = known.unwrap_or_else(|| {
            let holding = Arc::new(Holding { holder: holder.clone(), sites: Mutex::default() });
            state.holdings.push(holding.clone());
            holding
        });
        Some(Lease { value, hold: Hold::new(self.clone(), holding, site) })
    }

    /// No new leases from here on.
    pub(crate) fn close(&self) {
        lock(&self.state).open = false;
    }

    /// Waits until every lease is back. Cancel-safe.
    pub(crate) async fn all_back(&self) {
        loop {
            let returned = self.returned.notified();
            tokio::pin!(returned);
            returned.as_mut().enable();
            if self.out.load(Ordering::Acquire) == 0 {
                return;
            }
            returned.await;
        }
    }

    /// Whether all who still hold leases are gone for good.
    pub(crate) fn is_hopeless(&self) -> bool {
        let holdings = lock(&self.state).holdings.clone();
        let mut holding = holdings.iter().filter(|holding| holding.outstanding().is_some()).peekable();
        holding.peek().is_some() && holding.all(|holding| holding.holder.gone.load(Ordering::Acquire))
    }

    /// The value; by value inside if no lease is out.
    pub(crate) fn take(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        lock(&self.state).value.take()
    }

    /// Who still holds leases.
    pub(crate) fn outstanding(&self) -> Vec<Outstanding> {
        let holdings = lock(&self.state).holdings.clone();
        holdings.iter().filter_map(|holding| holding.outstanding()).collect()
    }
}

impl Holding {
    fn outstanding(&self) -> Option<Outstanding> {
        let sites = lock(&self.sites);
        let count = sites.iter().map(|(_, n)| n).sum();
        (count > 0).then(|| Outstanding {
            holder: self.holder.name.clone(),
            count,
            sites: sites.iter().filter(|(_, n)| *n > 0).map(|(site, _)| short(site)).collect(),
        })
    }
}

impl Hold {
    fn new(slot: Arc<Slot>, holding: Arc<Holding>, site: &'static Location<'static>) -> Self {
        slot.out.fetch_add(1, Ordering::AcqRel);
        let mut sites = lock(&holding.sites);
        match sites.iter_mut().find(|(known, _)| *known == site) {
            Some((_, count)) => *count += 1,
            None => sites.push((site, 1)),
        }
        drop(sites);
        Self { slot, holding, site }
    }

    fn again(&self, site: &'static Location<'static>) -> Self {
        Self::new(self.slot.clone(), self.holding.clone(), site)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if let Some((_, count)) = lock(&self.holding.sites).iter_mut().find(|(known, _)| *known == self.site) {
            *count -= 1;
        }
        if self.slot.out.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.slot.returned.notify_waiters();
        }
    }
}

/// `src/main.rs:12`, whatever separator the platform uses.
pub(crate) fn short(site: &Location<'_>) -> String {
    format!("{}:{}", site.file().replace('\\', "/"), site.line())
}

/// A lock whose holder panicked is still a lock: what it guards here is counts and lists that are whole at every step.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
