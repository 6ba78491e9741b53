//! What the services say to each other: all that they share.
//!
//! An event is a fact: what happened, and to which order. A fact happens to an order once, so the two together are the
//! event's id, and whoever gets it again knows it again.

use serde::{Deserialize, Serialize};

use crate::store::{Columns, Failed, Fields, Kind, Row, Tx, Value};

/// A service's facts, in the order in which they happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Orders,
    Inventory,
    Payment,
}

/// What happened. Amounts are in cents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub(crate) enum Fact {
    // of the orders
    OrderPlaced { item: String, quantity: u32 },
    PaymentDue { amount: i64 },
    OrderRejected,
    // of the inventory
    StockReserved { amount: i64 },
    StockRefused { reason: String },
    StockReleased,
    // of the payment
    PaymentMade,
    PaymentDeclined { reason: String },
}

/// A fact on its way from one service to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    /// Its place in the stream.
    pub(crate) place: i64,
    pub(crate) order: i64,
    pub(crate) fact: Fact,
}

impl Stream {
    pub(crate) const ALL: [Self; 3] = [Self::Orders, Self::Inventory, Self::Payment];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Inventory => "inventory",
            Self::Payment => "payment",
        }
    }

    fn outbox(self) -> &'static Fields {
        const COLUMNS: &[(&str, Kind)] = &[("order_id", Kind::Int), ("body", Kind::Text)];
        match self {
            Self::Orders => &Fields { table: "orders_outbox", columns: COLUMNS },
            Self::Inventory => &Fields { table: "inventory_outbox", columns: COLUMNS },
            Self::Payment => &Fields { table: "payment_outbox", columns: COLUMNS },
        }
    }

    /// Puts facts into the outbox, in the transaction of what they tell of: both are kept, or neither.
    pub(crate) fn tell(self, tx: &mut dyn Tx, facts: Vec<(i64, Fact)>) -> Result<(), Failed> {
        let rows = facts.into_iter().map(|(order, fact)| Ok(vec![order.into(), body(&fact)?.into()]));
        let rows = rows.collect::<Result<Vec<Row>, Failed>>()?;
        if rows.is_empty() { Ok(()) } else { tx.insert(self.outbox(), rows) }
    }

    /// What is in the outbox behind this place, the first so many.
    pub(crate) fn told(self, tx: &mut dyn Tx, behind: i64, limit: u32) -> Result<Vec<Event>, Failed> {
        let outbox = self.outbox().table;
        let sql = format!("SELECT id, order_id, body FROM {outbox} WHERE id > $1 ORDER BY id LIMIT $2");
        tx.query(&sql, &[behind.into(), limit.into()])?.into_iter().map(event).collect()
    }

    /// Takes out what all have confirmed.
    pub(crate) fn forget(self, tx: &mut dyn Tx, up_to: i64) -> Result<(), Failed> {
        tx.execute(&format!("DELETE FROM {} WHERE id <= $1", self.outbox().table), &[up_to.into()])
    }

    /// How many are in the outbox.
    pub(crate) fn unconfirmed(self, tx: &mut dyn Tx) -> Result<i64, Failed> {
        let rows = tx.query(&format!("SELECT count(*) FROM {}", self.outbox().table), &[])?;
        Ok(crate::store::number(rows))
    }
}

fn body(fact: &Fact) -> Result<String, Failed> {
    serde_json::to_string(fact).map_err(Failed::unreadable)
}

fn event(row: Row) -> Result<Event, Failed> {
    let mut row = Columns::of(row);
    let (place, order, body) = (row.int(), row.int(), row.text());
    Ok(Event { place, order, fact: serde_json::from_str(&body).map_err(Failed::unreadable)? })
}

/// Numbers as the keys of rows.
pub(crate) fn keys(numbers: impl IntoIterator<Item = i64>) -> Vec<Value> {
    numbers.into_iter().map(Value::Int).collect()
}

impl Fact {
    fn name(&self) -> &'static str {
        match self {
            Self::OrderPlaced { .. } => "order-placed",
            Self::PaymentDue { .. } => "payment-due",
            Self::OrderRejected => "order-rejected",
            Self::StockReserved { .. } => "stock-reserved",
            Self::StockRefused { .. } => "stock-refused",
            Self::StockReleased => "stock-released",
            Self::PaymentMade => "payment-made",
            Self::PaymentDeclined { .. } => "payment-declined",
        }
    }
}

impl Event {
    /// Its id, the same each time it is sent: `payment-due-57`. It serves as the key by which a repetition is known.
    pub(crate) fn id(&self) -> String {
        format!("{}-{}", self.fact.name(), self.order)
    }
}
