//! The audit: holds the database against what was sent, and the tables of the services against each other.
//!
//! It is the one place that reads the tables of all services, as an auditor does; it writes nothing, and its questions
//! are all of one moment.

use std::collections::HashMap;

use evenkeel::Result;

use crate::store::{Columns, Connection, Failed, Mode, Tx, number};

/// An order that is final has nothing more to come: what was held for a rejected one has gone back.
const UNSETTLED: &str = "(state NOT IN ('packed', 'rejected') \
                         OR (state = 'rejected' AND amount IS NOT NULL AND released_at IS NULL))";
/// As many rows are read at once.
const PAGE: i64 = 10_000;

/// What does not agree.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Audit {
    pub(super) orders: i64,
    /// Orders that are under way. Right while the shop works, and after a stop.
    pub(super) open: i64,
    /// Items of which `received - on hand` is not what is held for orders.
    pub(super) stock: i64,
    /// Orders without the stock they should have, or with stock they should not.
    pub(super) reservations: i64,
    /// Orders that were charged more than once.
    pub(super) charged_twice: i64,
    /// Orders that count as paid and were not charged that amount, or were charged and rejected.
    pub(super) payments: i64,
}

impl Audit {
    pub(super) fn wrong(&self) -> i64 {
        self.stock + self.reservations + self.charged_twice + self.payments
    }
}

/// An order as it was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) id: i64,
    pub(super) item: String,
    pub(super) quantity: i64,
    pub(super) is_final: bool,
}

pub(super) fn newest(database: &mut dyn Connection) -> Result<i64> {
    look(database, |tx| count(tx, "SELECT coalesce(max(id), 0) FROM orders"))
}

/// How many orders from this one on are not settled, and the first of them.
pub(super) fn unsettled(database: &mut dyn Connection, from: i64) -> Result<(i64, i64)> {
    look(database, |tx| {
        let sql = format!("SELECT count(*), coalesce(min(id), 0) FROM orders WHERE id >= $1 AND {UNSETTLED}");
        let row = tx.query(&sql, &[from.into()])?.into_iter().next().unwrap_or_default();
        let mut row = Columns::of(row);
        Ok((row.int(), row.int()))
    })
}

/// What the database holds of this run, by its keys.
pub(super) fn find(database: &mut dyn Connection, before: i64, run: &str) -> Result<HashMap<String, Vec<Found>>> {
    let sql = format!(
        "SELECT id, client_key, item, quantity, CASE WHEN {UNSETTLED} THEN 0 ELSE 1 END \
         FROM orders WHERE id > $1 ORDER BY id LIMIT $2"
    );
    let prefix = format!("{run}/");
    look(database, |tx| {
        let (mut found, mut last): (HashMap<String, Vec<Found>>, i64) = (HashMap::new(), before);
        loop {
            let rows = tx.query(&sql, &[last.into(), PAGE.into()])?;
            if rows.is_empty() {
                return Ok(found);
            }
            for row in rows {
                let mut row = Columns::of(row);
                let (id, key) = (row.int(), row.text());
                last = id;
                if key.starts_with(&prefix) {
                    let (item, quantity, is_final) = (row.text(), row.int(), row.int() == 1);
                    found.entry(key).or_default().push(Found { id, item, quantity, is_final });
                }
            }
        }
    })
}

/// Holds the tables of the services against each other.
pub(super) fn of(database: &mut dyn Connection) -> Result<Audit> {
    look(database, |tx| {
        Ok(Audit {
            orders: count(tx, "SELECT count(*) FROM orders")?,
            open: count(tx, &format!("SELECT count(*) FROM orders WHERE {UNSETTLED}"))?,
            stock: count(
                tx,
                "SELECT count(*) FROM inventory_stock s LEFT JOIN ( \
                     SELECT item, sum(quantity) AS held FROM inventory_reservations WHERE state = 'held' GROUP BY item \
                 ) r ON r.item = s.item WHERE s.received - s.on_hand <> coalesce(r.held, 0)",
            )?,
            reservations: count(
                tx,
                "SELECT count(*) FROM orders o LEFT JOIN inventory_reservations r ON r.order_id = o.id \
                 WHERE (o.reserved_at IS NOT NULL AND o.state <> 'rejected' AND ( \
                            r.order_id IS NULL OR r.state <> 'held' OR r.item <> o.item OR r.quantity <> o.quantity)) \
                    OR (o.state = 'rejected' AND (o.released_at IS NOT NULL OR o.amount IS NULL) AND r.state = 'held')",
            )?,
            charged_twice: count(
                tx,
                "SELECT count(*) FROM (SELECT order_id FROM provider_book WHERE declined IS NULL \
                     GROUP BY order_id HAVING count(*) > 1) twice",
            )?,
            // Those of before there were payments have no amount.
            payments: count(
                tx,
                "SELECT count(*) FROM orders o \
                 LEFT JOIN provider_book b ON b.request = 'payment-due-' || o.id \
                 LEFT JOIN payment_charges c ON c.order_id = o.id \
                 WHERE (o.state IN ('paid', 'packed') AND o.amount IS NOT NULL AND ( \
                            b.request IS NULL OR b.declined IS NOT NULL OR b.amount <> o.amount \
                            OR c.order_id IS NULL OR c.declined IS NOT NULL OR c.amount <> o.amount)) \
                    OR (o.state = 'rejected' AND b.request IS NOT NULL AND b.declined IS NULL)",
            )?,
        })
    })
}

fn count(tx: &mut dyn Tx, sql: &str) -> Result<i64, Failed> {
    Ok(number(tx.query(sql, &[])?))
}

fn look<T>(database: &mut dyn Connection, mut question: impl FnMut(&mut dyn Tx) -> Result<T, Failed>) -> Result<T> {
    let mut answer = None;
    database.transact(Mode::Read, &mut |tx| {
        answer = Some(question(tx)?);
        Ok(())
    })?;
    answer.ok_or_else(|| "the database was not asked".into())
}
