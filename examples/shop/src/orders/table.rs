//! The table of orders: what is read from it and written to it.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::state::{State, Step, step};
use crate::{
    events::{Event, Fact, Stream, keys},
    store::{Columns, Failed, Fields, Kind, Row, Tx, Value, number},
};

use Kind::{Int, Text};

const PLACE: Fields = Fields {
    table: "orders",
    columns: &[
        ("id", Int),
        ("item", Text),
        ("quantity", Int),
        ("state", Text),
        ("client_key", Text),
        ("placed_at", Int),
    ],
};
const BY_KEY: Fields = Fields {
    table: "orders",
    columns: &[("client_key", Text), ("id", Int), ("item", Text), ("quantity", Int), ("state", Text)],
};
const STATE: Fields = Fields { table: "orders", columns: &[("id", Int), ("state", Text)] };
const RESERVE: Fields =
    Fields { table: "orders", columns: &[("id", Int), ("state", Text), ("amount", Int), ("reserved_at", Int)] };
const PAY: Fields = Fields { table: "orders", columns: &[("id", Int), ("state", Text), ("paid_at", Int)] };
const PACK: Fields = Fields { table: "orders", columns: &[("id", Int), ("state", Text), ("packed_at", Int)] };
const REJECT: Fields =
    Fields { table: "orders", columns: &[("id", Int), ("state", Text), ("reason", Text), ("rejected_at", Int)] };
const RELEASE: Fields = Fields { table: "orders", columns: &[("id", Int), ("released_at", Int)] };
const WHOLE: &str = "id, item, quantity, state, reason, amount, \
                     placed_at, reserved_at, paid_at, packed_at, rejected_at, released_at";

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wish {
    pub(crate) item: String,
    pub(crate) quantity: u32,
    /// Chosen by the client: the same wish with the same key is the same order.
    pub(crate) key: Option<String>,
}

/// What became of a wish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Placed {
    New(i64),
    /// It was placed before, with the same key.
    Known(i64, State),
    /// The key belongs to an order with another content.
    TakenKey,
}

/// An order as others see it.
#[derive(Debug, Serialize)]
pub(crate) struct Order {
    pub(crate) id: i64,
    pub(crate) item: String,
    pub(crate) quantity: i64,
    pub(crate) state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    /// In cents; known when stock is held for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) amount: Option<i64>,
    pub(crate) history: Vec<Moment>,
}

/// When an order came into a state.
#[derive(Debug, Serialize)]
pub(crate) struct Moment {
    state: &'static str,
    at: String,
}

/// Keeps new orders, and tells of them. One answer to each wish, in order.
pub(super) fn place(tx: &mut dyn Tx, wishes: Vec<Wish>, now: i64) -> Result<Vec<Placed>, Failed> {
    let client_keys: Vec<Value> = wishes.iter().filter_map(|wish| wish.key.clone().map(Value::Text)).collect();
    let mut known = HashMap::new();
    if !client_keys.is_empty() {
        for row in tx.find(&BY_KEY, client_keys)? {
            let mut row = Columns::of(row);
            let key = row.text();
            let (id, item, quantity) = (row.int(), row.text(), row.int());
            known.insert(key, (id, item, quantity, State::named(&row.text()).unwrap_or(State::Placed)));
        }
    }
    // Nobody else writes meanwhile, and orders are never removed: the next number is free.
    let mut next = number(tx.query("SELECT coalesce(max(id), 0) FROM orders", &[])?);
    let (mut rows, mut facts, mut answers): (Vec<Row>, _, _) = (Vec::new(), Vec::new(), Vec::new());
    for wish in wishes {
        let quantity = i64::from(wish.quantity);
        if let Some((id, item, ordered, state)) = wish.key.as_ref().and_then(|key| known.get(key)) {
            let same = *item == wish.item && *ordered == quantity;
            answers.push(if same { Placed::Known(*id, *state) } else { Placed::TakenKey });
            continue;
        }
        next += 1;
        if let Some(key) = &wish.key {
            known.insert(key.clone(), (next, wish.item.clone(), quantity, State::Placed));
        }
        rows.push(vec![
            next.into(),
            wish.item.as_str().into(),
            quantity.into(),
            State::Placed.name().into(),
            wish.key.into(),
            now.into(),
        ]);
        facts.push((next, Fact::OrderPlaced { item: wish.item, quantity: wish.quantity }));
        answers.push(Placed::New(next));
    }
    tx.insert(&PLACE, rows)?;
    Stream::Orders.tell(tx, facts)?;
    Ok(answers)
}

/// What changed.
#[derive(Default)]
pub(super) struct Changed {
    /// Orders that are final now.
    pub(super) settled: Vec<i64>,
    /// Whether there is something to pack.
    pub(super) paid: bool,
}

/// Takes in what others answered.
pub(super) fn hear(tx: &mut dyn Tx, events: &[Event], now: i64) -> Result<Changed, Failed> {
    let mut states = states(tx, events.iter().map(|event| event.order).collect())?;
    let (mut reserve, mut pay, mut reject, mut release) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut facts, mut changed) = (Vec::new(), Changed::default());
    for Event { order, fact, .. } in events {
        let Some(state) = states.get_mut(order) else { continue };
        let Some(step) = step(*state, fact) else { continue };
        facts.extend(step.tells(*state).map(|fact| (*order, fact)));
        *state = step.leads_to();
        let (id, name) = (Value::Int(*order), Value::from(state.name()));
        match step {
            Step::Reserve { amount } => reserve.push(vec![id, name, amount.into(), now.into()]),
            Step::Pay => {
                pay.push(vec![id, name, now.into()]);
                changed.paid = true;
            }
            Step::Reject { reason } => {
                reject.push(vec![id, name, reason.into(), now.into()]);
                changed.settled.push(*order);
            }
            Step::Release => release.push(vec![id, now.into()]),
        }
    }
    tx.update(&RESERVE, reserve)?;
    tx.update(&PAY, pay)?;
    tx.update(&REJECT, reject)?;
    tx.update(&RELEASE, release)?;
    Stream::Orders.tell(tx, facts)?;
    Ok(changed)
}

fn states(tx: &mut dyn Tx, orders: Vec<i64>) -> Result<BTreeMap<i64, State>, Failed> {
    let rows = tx.find(&STATE, keys(orders))?.into_iter().map(|row| {
        let mut row = Columns::of(row);
        (row.int(), State::named(&row.text()).unwrap_or(State::Placed))
    });
    Ok(rows.collect())
}

/// The first orders that are paid and not packed.
pub(super) fn to_pack(tx: &mut dyn Tx, limit: u32) -> Result<Vec<i64>, Failed> {
    let rows = tx.query("SELECT id FROM orders WHERE state = 'paid' ORDER BY id LIMIT $1", &[limit.into()])?;
    Ok(rows.into_iter().map(|row| Columns::of(row).int()).collect())
}

/// Marks as packed what is paid among these.
pub(super) fn pack(tx: &mut dyn Tx, orders: &[i64], now: i64) -> Result<(), Failed> {
    let paid = states(tx, orders.to_vec())?.into_iter().filter(|(_, state)| *state == State::Paid);
    let rows = paid.map(|(id, _)| vec![id.into(), State::Packed.name().into(), now.into()]).collect();
    tx.update(&PACK, rows)
}

/// How many are not final.
pub(super) fn open(tx: &mut dyn Tx) -> Result<i64, Failed> {
    Ok(number(tx.query("SELECT count(*) FROM orders WHERE state NOT IN ('packed', 'rejected')", &[])?))
}

pub(super) fn find(tx: &mut dyn Tx, id: i64) -> Result<Option<Order>, Failed> {
    let rows = tx.query(&format!("SELECT {WHOLE} FROM orders WHERE id = $1"), &[id.into()])?;
    Ok(rows.into_iter().next().map(order))
}

/// How many there ever were, and those before this one, the latest first.
pub(super) fn list(
    tx: &mut dyn Tx,
    state: Option<State>,
    before: i64,
    limit: u32,
) -> Result<(i64, Vec<Order>), Failed> {
    // They are numbered without a gap and never removed.
    let count = number(tx.query("SELECT coalesce(max(id), 0) FROM orders", &[])?);
    let rows = match state {
        None => {
            let sql = format!("SELECT {WHOLE} FROM orders WHERE id < $1 ORDER BY id DESC LIMIT $2");
            tx.query(&sql, &[before.into(), limit.into()])?
        }
        Some(state) => {
            let sql = format!("SELECT {WHOLE} FROM orders WHERE state = $1 AND id < $2 ORDER BY id DESC LIMIT $3");
            tx.query(&sql, &[state.name().into(), before.into(), limit.into()])?
        }
    };
    Ok((count, rows.into_iter().map(order).collect()))
}

/// The items that sold best.
pub(super) fn best_sellers(tx: &mut dyn Tx, limit: u32) -> Result<Vec<String>, Failed> {
    let sql = "SELECT item FROM orders WHERE state <> 'rejected' \
               GROUP BY item ORDER BY sum(quantity) DESC, item LIMIT $1";
    Ok(tx.query(sql, &[limit.into()])?.into_iter().map(|row| Columns::of(row).text()).collect())
}

fn order(row: Row) -> Order {
    let mut row = Columns::of(row);
    let (id, item, quantity, state) = (row.int(), row.text(), row.int(), row.text());
    let (reason, amount) = (row.maybe_text(), row.maybe_int());
    let names = ["placed", "reserved", "paid", "packed", "rejected", "released"];
    let history = names.into_iter().filter_map(|name| {
        let at = jiff::Timestamp::from_millisecond(row.maybe_int()?).ok()?;
        Some(Moment { state: name, at: at.to_string() })
    });
    Order { id, item, quantity, history: history.collect(), state, reason, amount }
}
