//! The payment: charges orders when they are due, and says how it went.
//!
//! The money is with another company, whose service may be slow, fail, or do what it was asked and fail to say so. So
//! each charge has a key, the id of the event that asked for it, and is asked for again with the same key until there
//! is an answer; the provider knows a repetition by it. Only then are the answer and the event that tells of it kept,
//! in one transaction, and what asked for it confirmed.

mod provider;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use evenkeel::{Backoff, Lease, Result, Stop};
use futures_util::{FutureExt, StreamExt, stream::FuturesUnordered};
use serde_json::{Value as Json, json};

pub(crate) use self::provider::{Manners, Provider, Verdict, provide};
use crate::{
    bus::{BATCH, Bus, Subscription},
    events::{Event, Fact, Stream, keys},
    orders::now,
    store::{Columns, Failed, Fields, Kind, Refused, Row, Store, Tx, dice},
};

/// As many charges are under way at one time.
const TOGETHER: usize = 256;
/// A provider that says nothing for this long is asked again.
const PATIENCE: Duration = Duration::from_secs(5);
/// The waits between attempts. It never gives up: a charge of which nobody knows whether it was made cannot be called
/// off, and the order waits in `reserved` for as long as the provider is away.
const RETRY: Backoff = Backoff { first: Duration::from_millis(20), factor: 2, max: Duration::from_secs(5) };

const CHARGES: Fields = Fields {
    table: "payment_charges",
    columns: &[("order_id", Kind::Int), ("amount", Kind::Int), ("declined", Kind::Text), ("at", Kind::Int)],
};

/// A charge that was answered.
#[derive(Clone)]
struct Charged {
    place: i64,
    order: i64,
    amount: i64,
    verdict: Verdict,
}

/// Charges until there is a stop; then it finishes the calls that are under way.
pub(crate) async fn run(store: Store, bus: Lease<Bus>, provider: Lease<Provider>, stop: Stop) -> Result {
    let mut orders = bus.subscribe(Stream::Orders, "payment")?;
    let (mut calls, mut open) = (FuturesUnordered::new(), Open::default());
    loop {
        let stopping = stop.is_requested();
        if stopping && calls.is_empty() {
            return Ok(());
        }
        let has_room = calls.len() < TOGETHER && !stopping;
        tokio::select! {
            Some(first) = calls.next(), if !calls.is_empty() => {
                let mut answered: Vec<Option<Charged>> = vec![first];
                while answered.len() < BATCH && let Some(Some(next)) = calls.next().now_or_never() {
                    answered.push(next);
                }
                // `None`: given up because of the stop. It stays in the outbox of the orders.
                keep(&store, &bus, &stop, answered.into_iter().flatten().collect(), &mut open).await;
            }
            events = orders.next(BATCH), if has_room => {
                for event in events {
                    open.begin(event.place, matches!(event.fact, Fact::PaymentDue { .. }));
                    if let Fact::PaymentDue { amount } = event.fact {
                        calls.push(charge(&provider, &stop, event, amount));
                    }
                }
            }
            () = stop.requested(), if !stopping => {}
        }
        open.confirm(&orders);
    }
}

/// Which events are under way, and up to where none is.
#[derive(Default)]
struct Open {
    places: BTreeSet<i64>,
    last: i64,
    confirmed: i64,
}

impl Open {
    fn begin(&mut self, place: i64, takes_time: bool) {
        self.last = place;
        if takes_time {
            self.places.insert(place);
        }
    }

    fn done_up_to(&self) -> i64 {
        self.places.first().map_or(self.last, |open| open - 1)
    }

    fn confirm(&mut self, subscription: &Subscription) {
        let done = self.done_up_to();
        if done > self.confirmed {
            self.confirmed = done;
            subscription.confirm(done);
        }
    }
}

/// Asks until there is an answer; `None` if there is a stop before.
async fn charge(provider: &Provider, stop: &Stop, event: Event, amount: i64) -> Option<Charged> {
    let (key, mut attempt) = (event.id(), 0);
    loop {
        let call = provider.charge(&key, event.order, amount);
        if let Ok(Ok(verdict)) = tokio::time::timeout(PATIENCE, call).await {
            return Some(Charged { place: event.place, order: event.order, amount, verdict });
        }
        attempt += 1;
        stop.or(tokio::time::sleep(RETRY.wait(attempt, dice()))).await?;
    }
}

async fn keep(store: &Store, bus: &Bus, stop: &Stop, answered: Vec<Charged>, open: &mut Open) {
    let charged = answered.clone();
    if store.change_surely(stop, move |tx| write(tx, &charged)).await.is_none() {
        return; // not kept because of the stop: it is asked for again after the next start, with the same key
    }
    bus.ring(Stream::Payment);
    for charged in answered {
        open.places.remove(&charged.place);
        drop(stop.work()); // during a stop, each counts as drained
    }
}

fn write(tx: &mut dyn Tx, answered: &[Charged]) -> Result<(), Failed> {
    let known = tx.find(&CHARGES, keys(answered.iter().map(|charged| charged.order)))?;
    let mut known: BTreeSet<i64> = known.into_iter().map(|row| Columns::of(row).int()).collect();
    // An order that was charged already has been told of, too.
    let new = answered.iter().filter(|charged| known.insert(charged.order));
    let (rows, facts): (Vec<Row>, Vec<(i64, Fact)>) = new
        .map(|Charged { order, amount, verdict, .. }| {
            let (declined, fact) = match verdict {
                Verdict::Accepted => (None, Fact::PaymentMade),
                Verdict::Declined(reason) => (Some(reason.clone()), Fact::PaymentDeclined { reason: reason.clone() }),
            };
            (vec![(*order).into(), (*amount).into(), declined.into(), now().into()], (*order, fact))
        })
        .unzip();
    tx.insert(&CHARGES, rows)?;
    Stream::Payment.tell(tx, facts)
}

/// The charge of an order, if it was answered.
pub(crate) async fn find(store: &Store, order: i64) -> Result<Option<Json>, Refused> {
    let row = store.read_now(move |tx| Ok(tx.find(&CHARGES, keys([order]))?.into_iter().next())).await?;
    Ok(row.map(|row| {
        let mut row = Columns::of(row);
        let (order, amount, declined) = (row.int(), row.int(), row.maybe_text());
        let answer = if declined.is_some() { "declined" } else { "accepted" };
        let at = jiff::Timestamp::from_millisecond(row.int()).map(|at| at.to_string()).unwrap_or_default();
        let mut charge = BTreeMap::from([
            ("order", json!(order)),
            ("amount", json!(amount)),
            ("answer", json!(answer)),
            ("at", json!(at)),
        ]);
        charge.extend(declined.map(|reason| ("reason", json!(reason))));
        json!(charge)
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_nothing_before_waits_for_is_confirmed_r5_1a() {
        let mut open = Open::default();
        (1..=3).for_each(|place| open.begin(place, true));
        open.begin(4, false);
        assert_eq!(open.done_up_to(), 0);
        open.places.remove(&2);
        assert_eq!(open.done_up_to(), 0, "the first is under way");
        open.places.remove(&1);
        assert_eq!(open.done_up_to(), 2);
        open.places.remove(&3);
        assert_eq!(open.done_up_to(), 4);
    }
}
