//! The orders: taken from clients, told to the other services, and packed when those have done their part.
//!
//! An order is acknowledged when it is on disk, and with it, in the same transaction, the event that tells of it. What
//! then happens to it comes as events from the inventory and the payment; `state.rs` says what follows from what.

mod packing;
mod state;
mod table;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use evenkeel::{Lease, Ready, Result, Stop};
use tokio::sync::{Notify, oneshot};

pub(crate) use self::{
    packing::pack,
    state::State,
    table::{Order, Placed, Wish},
};
use crate::{
    bus::{Bus, Subscription},
    events::Stream,
    store::{Batches, Refused, Store},
};

/// As many requests may wait to be kept; whoever comes then is sent away.
const WAITING: usize = 1024;
/// As many are kept together.
const TOGETHER: usize = 256;
/// As many orders may be under way between the services; whoever comes then is told to come back.
const MAX_OPEN: i64 = 100_000;
/// What another process may have done is looked for this often.
const LOOK: Duration = Duration::from_secs(1);

/// What the service lends to those who ask it.
#[derive(Clone)]
pub(crate) struct Orders {
    store: Store,
    wishes: Batches<Wish, Placed>,
    inner: Arc<Inner>,
}

struct Inner {
    /// How many orders are not final, as this process knows it.
    open: AtomicI64,
    /// There may be something to pack.
    paid: Notify,
    /// Who waits for which order to be final.
    waiting: Mutex<HashMap<i64, Vec<oneshot::Sender<()>>>>,
}

/// Takes orders and hears of them until there is a stop.
pub(crate) async fn run(store: Store, bus: Lease<Bus>, ready: Ready<Orders>, stop: Stop) -> Result {
    let (wishes, served) = Batches::new(WAITING);
    let open = store.read(table::open).await?;
    let inner = Inner { open: AtomicI64::new(open), paid: Notify::new(), waiting: Mutex::default() };
    let orders = Orders { store: store.clone(), wishes, inner: Arc::new(inner) };
    for stream in [Stream::Inventory, Stream::Payment] {
        let hearing = orders.clone().hear(bus.subscribe(stream, "orders")?, bus.clone(), stop.clone());
        stop.spawn(hearing);
    }
    ready.with(orders);
    let place = |tx: &mut dyn crate::store::Tx, wishes| table::place(tx, wishes, now());
    served.serve(&store, TOGETHER, &stop, place, || bus.ring(Stream::Orders)).await
}

impl Orders {
    /// Keeps an order. When this returns `Ok`, it is on disk.
    pub(crate) async fn place(&self, wish: Wish) -> Result<Placed, Refused> {
        if self.inner.open.load(Ordering::Relaxed) >= MAX_OPEN {
            return Err(Refused::Busy);
        }
        let placed = self.wishes.ask_now(wish).await?;
        if matches!(placed, Placed::New(_)) {
            self.inner.open.fetch_add(1, Ordering::Relaxed);
        }
        Ok(placed)
    }

    pub(crate) async fn find(&self, id: i64) -> Result<Option<Order>, Refused> {
        self.store.read_now(move |tx| table::find(tx, id)).await
    }

    /// How many there ever were, and those before this one, the latest first.
    pub(crate) async fn list(
        &self,
        state: Option<State>,
        before: i64,
        limit: u32,
    ) -> Result<(i64, Vec<Order>), Refused> {
        self.store.read_now(move |tx| table::list(tx, state, before, limit)).await
    }

    /// The items that sold best.
    pub(crate) async fn best_sellers(&self, limit: u32) -> Result<Vec<String>, Refused> {
        self.store.read(move |tx| table::best_sellers(tx, limit)).await
    }

    /// Waits until this order is packed or rejected, and gives it. Cancel-safe.
    pub(crate) async fn settled(&self, id: i64) -> Result<Option<Order>, Refused> {
        loop {
            let (tell, told) = oneshot::channel();
            self.waiting().entry(id).or_default().push(tell);
            // It may have been settled before; from here on it is told.
            let order = self.find(id).await?;
            if order.as_ref().and_then(|order| State::named(&order.state)).is_none_or(State::is_final) {
                return Ok(order);
            }
            // Another process may settle it without telling here: the one before, while it drains.
            let _ = tokio::time::timeout(LOOK, told).await;
        }
    }

    async fn hear(self, mut answers: Subscription, bus: Lease<Bus>, stop: Stop) {
        while let Some(events) = answers.batch(&stop).await {
            let batch = events.clone();
            let heard = self.store.change_surely(&stop, move |tx| table::hear(tx, &batch, now())).await;
            let Some(changed) = heard else { return }; // given up because of the stop
            bus.ring(Stream::Orders);
            answers.handled(&events, &stop);
            self.tell_settled(&changed.settled);
            if changed.paid {
                self.inner.paid.notify_one();
            }
        }
    }

    fn tell_settled(&self, ids: &[i64]) {
        self.inner.open.fetch_sub(i64::try_from(ids.len()).unwrap_or(0), Ordering::Relaxed);
        let mut waiting = self.waiting();
        let told = ids.iter().filter_map(|id| waiting.remove(id)).flatten();
        told.for_each(|waits| _ = waits.send(())); // who went away need not know
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, HashMap<i64, Vec<oneshot::Sender<()>>>> {
        let mut waiting = self.inner.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() > WAITING {
            // Who went away before the order was settled leaves a place behind.
            waiting.retain(|_, all| all.iter().any(|one| !one.is_closed()));
        }
        waiting
    }
}

/// Milliseconds since 1970.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
