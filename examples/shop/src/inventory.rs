//! The inventory: what is on hand, and for whom it is held.
//!
//! It hears of orders, holds stock for them, and says whether there was enough. When an order is rejected, what was
//! held for it goes back. A row for each order that was ever asked for is how it knows a repetition.

use std::collections::{BTreeMap, BTreeSet};

use evenkeel::{Lease, Result, Stop};
use serde::Serialize;

use crate::{
    bus::Bus,
    events::{Event, Fact, Stream, keys},
    store::{Columns, Failed, Fields, Kind, Refused, Row, Store, Tx, Value},
};

/// An item that is not on the list yet costs this much, if nobody says otherwise.
pub(crate) const PRICE: i64 = 100;

const STOCK: Fields = Fields {
    table: "inventory_stock",
    columns: &[("item", Kind::Text), ("price", Kind::Int), ("received", Kind::Int), ("on_hand", Kind::Int)],
};
const ON_HAND: Fields = Fields { table: "inventory_stock", columns: &[("item", Kind::Text), ("on_hand", Kind::Int)] };
const RESERVATIONS: Fields = Fields {
    table: "inventory_reservations",
    columns: &[("order_id", Kind::Int), ("item", Kind::Text), ("quantity", Kind::Int), ("state", Kind::Text)],
};
const STATE: Fields =
    Fields { table: "inventory_reservations", columns: &[("order_id", Kind::Int), ("state", Kind::Text)] };

/// What there is of an item.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Stock {
    pub(crate) item: String,
    /// In cents, for one.
    pub(crate) price: i64,
    /// As many ever came in.
    pub(crate) received: i64,
    /// As many can be ordered.
    pub(crate) on_hand: i64,
}

#[derive(Debug, PartialEq, Eq)]
struct Reservation {
    order: i64,
    item: String,
    quantity: i64,
    state: Held,
}

/// What became of the stock for an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    Kept,
    Released,
    /// There was not enough.
    Refused,
}

impl Held {
    fn name(self) -> &'static str {
        match self {
            Self::Kept => "held",
            Self::Released => "released",
            Self::Refused => "refused",
        }
    }
}

/// Hears of orders until there is a stop.
pub(crate) async fn run(store: Store, bus: Lease<Bus>, stop: Stop) -> Result {
    let mut orders = bus.subscribe(Stream::Orders, "inventory")?;
    while let Some(events) = orders.batch(&stop).await {
        let batch = events.clone();
        if store.change_surely(&stop, move |tx| handle(tx, &batch)).await.is_none() {
            break; // given up because of the stop
        }
        bus.ring(Stream::Inventory);
        orders.handled(&events, &stop);
    }
    Ok(())
}

/// What is on the shelves while a batch is handled, and what is to be written of it.
#[derive(Default)]
struct Shelves {
    stock: BTreeMap<String, Stock>,
    reservations: BTreeMap<i64, Reservation>,
    touched: BTreeSet<String>,
    new: Vec<i64>,
    released: Vec<i64>,
    facts: Vec<(i64, Fact)>,
}

fn handle(tx: &mut dyn Tx, events: &[Event]) -> Result<(), Failed> {
    let mine = |event: &&Event| matches!(event.fact, Fact::OrderPlaced { .. } | Fact::OrderRejected);
    let orders: BTreeSet<i64> = events.iter().filter(mine).map(|event| event.order).collect();
    if orders.is_empty() {
        return Ok(());
    }
    let mut shelves = Shelves::default();
    for row in tx.find(&RESERVATIONS, keys(orders))? {
        let reservation = reservation(row);
        shelves.reservations.insert(reservation.order, reservation);
    }
    let asked = events.iter().filter_map(|event| match &event.fact {
        Fact::OrderPlaced { item, .. } => Some(item.clone()),
        _ => None,
    });
    let held = shelves.reservations.values().map(|reservation| reservation.item.clone());
    let items: BTreeSet<String> = asked.chain(held).collect();
    for row in tx.find(&STOCK, items.into_iter().map(Value::Text).collect())? {
        let stock = stock(row);
        shelves.stock.insert(stock.item.clone(), stock);
    }
    events.iter().for_each(|event| shelves.hear(event));
    shelves.write(tx)
}

impl Shelves {
    fn hear(&mut self, event: &Event) {
        let order = event.order;
        match &event.fact {
            // It was heard of before.
            Fact::OrderPlaced { .. } if self.reservations.contains_key(&order) => {}
            Fact::OrderPlaced { item, quantity } => self.reserve(order, item, i64::from(*quantity)),
            Fact::OrderRejected => self.release(order),
            _ => {} // not for the inventory
        }
    }

    fn reserve(&mut self, order: i64, item: &str, quantity: i64) {
        let (state, fact) = match self.stock.get_mut(item) {
            None => (Held::Refused, Fact::StockRefused { reason: format!("there is no `{item}` in this shop") }),
            Some(stock) if stock.on_hand < quantity => {
                let reason = format!("out of stock: {} of `{item}` are left", stock.on_hand);
                (Held::Refused, Fact::StockRefused { reason })
            }
            Some(stock) => {
                stock.on_hand -= quantity;
                self.touched.insert(item.to_owned());
                (Held::Kept, Fact::StockReserved { amount: stock.price * quantity })
            }
        };
        self.reservations.insert(order, Reservation { order, item: item.to_owned(), quantity, state });
        self.new.push(order);
        self.facts.push((order, fact));
    }

    fn release(&mut self, order: i64) {
        let Some(reservation) = self.reservations.get_mut(&order).filter(|known| known.state == Held::Kept) else {
            return; // released before, or nothing was held
        };
        reservation.state = Held::Released;
        if let Some(stock) = self.stock.get_mut(&reservation.item) {
            stock.on_hand += reservation.quantity;
            self.touched.insert(reservation.item.clone());
        }
        self.released.push(order);
        self.facts.push((order, Fact::StockReleased));
    }

    fn write(self, tx: &mut dyn Tx) -> Result<(), Failed> {
        let on_hand = self.touched.iter().filter_map(|item| self.stock.get(item));
        let on_hand: Vec<Row> = on_hand.map(|stock| vec![stock.item.as_str().into(), stock.on_hand.into()]).collect();
        let new = self.new.iter().filter_map(|order| self.reservations.get(order));
        let new: Vec<Row> = new
            .map(|new| vec![new.order.into(), new.item.as_str().into(), new.quantity.into(), new.state.name().into()])
            .collect();
        let released = self.released.iter().map(|order| vec![(*order).into(), Held::Released.name().into()]).collect();
        tx.update(&ON_HAND, on_hand)?;
        tx.insert(&RESERVATIONS, new)?;
        tx.update(&STATE, released)?;
        Stream::Inventory.tell(tx, self.facts)
    }
}

/// All items, by name.
pub(crate) async fn list(store: &Store) -> Result<Vec<Stock>, Refused> {
    store
        .read_now(|tx| {
            let rows =
                tx.query("SELECT item, price, received, on_hand FROM inventory_stock ORDER BY item LIMIT 1000", &[])?;
            Ok(rows.into_iter().map(stock).collect())
        })
        .await
}

pub(crate) async fn find(store: &Store, item: String) -> Result<Option<Stock>, Refused> {
    store.read_now(move |tx| Ok(tx.find(&STOCK, vec![item.into()])?.into_iter().next().map(stock))).await
}

/// Puts more of an item on the shelf; of a new one, too. Gives what there is then.
pub(crate) async fn receive(store: &Store, item: String, quantity: u32, price: Option<i64>) -> Result<Stock, Refused> {
    store
        .change(move |tx| {
            let known = tx.find(&STOCK, vec![item.as_str().into()])?.into_iter().next().map(stock);
            let is_new = known.is_none();
            let mut stock = known.unwrap_or(Stock { item, price: PRICE, received: 0, on_hand: 0 });
            stock.price = price.unwrap_or(stock.price);
            stock.received += i64::from(quantity);
            stock.on_hand += i64::from(quantity);
            let row: Row =
                vec![stock.item.as_str().into(), stock.price.into(), stock.received.into(), stock.on_hand.into()];
            if is_new {
                tx.insert(&STOCK, vec![row])?;
            } else {
                tx.update(&STOCK, vec![row])?;
            }
            Ok(stock)
        })
        .await
}

fn stock(row: Row) -> Stock {
    let mut row = Columns::of(row);
    Stock { item: row.text(), price: row.int(), received: row.int(), on_hand: row.int() }
}

fn reservation(row: Row) -> Reservation {
    let mut row = Columns::of(row);
    let (order, item, quantity) = (row.int(), row.text(), row.int());
    let state = match row.text().as_str() {
        "held" => Held::Kept,
        "released" => Held::Released,
        _ => Held::Refused,
    };
    Reservation { order, item, quantity, state }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shelves(on_hand: i64) -> Shelves {
        let stock = Stock { item: "tea".into(), price: 350, received: 10, on_hand };
        Shelves { stock: BTreeMap::from([("tea".to_owned(), stock)]), ..Shelves::default() }
    }

    fn placed(order: i64, quantity: u32) -> Event {
        Event { place: order, order, fact: Fact::OrderPlaced { item: "tea".into(), quantity } }
    }

    fn rejected(order: i64) -> Event {
        Event { place: order, order, fact: Fact::OrderRejected }
    }

    #[test]
    fn an_event_that_comes_twice_takes_stock_once_r5_1a() {
        let mut shelves = shelves(10);
        for event in [placed(1, 3), placed(1, 3), placed(2, 3)] {
            shelves.hear(&event);
        }
        assert_eq!(shelves.stock["tea"].on_hand, 4);
        let reserved = Fact::StockReserved { amount: 1050 };
        assert_eq!(shelves.facts, [(1, reserved.clone()), (2, reserved)]);
    }

    #[test]
    fn what_is_not_there_is_refused_and_takes_nothing_r5_1a() {
        let mut shelves = shelves(2);
        shelves.hear(&placed(1, 3));
        shelves.hear(&Event { place: 2, order: 2, fact: Fact::OrderPlaced { item: "moon".to_owned(), quantity: 1 } });
        assert_eq!(shelves.stock["tea"].on_hand, 2);
        assert!(shelves.facts.iter().all(|(_, fact)| matches!(fact, Fact::StockRefused { .. })), "{:?}", shelves.facts);
        assert_eq!(shelves.facts.len(), 2);
    }

    #[test]
    fn stock_of_a_rejected_order_goes_back_once_r5_1a() {
        let mut shelves = shelves(10);
        for event in [placed(1, 3), rejected(1), rejected(1), rejected(7)] {
            shelves.hear(&event);
        }
        assert_eq!(shelves.stock["tea"].on_hand, 10);
        assert_eq!(shelves.facts.last(), Some(&(1, Fact::StockReleased)));
        assert_eq!(shelves.facts.len(), 2);
    }
}
