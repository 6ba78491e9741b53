//! The payment provider: it stands for the service of another company, with manners that can be chosen.
//!
//! It keeps a book of its own, and knows a request by its key: who asks again gets the answer of the first time and is
//! charged once. Between the two there is what there is on every network: calls that fail before anything was done, and
//! calls whose answer is lost after it was.

use std::{collections::BTreeMap, time::Duration};

use evenkeel::{Ready, Result, Stop};

use crate::store::{Batches, Columns, Failed, Fields, Kind, Row, Store, Tx, Value, dice};

/// An order for more than this is declined, in cents.
const CARD_LIMIT: i64 = 100_000;
/// As many calls may wait; then a caller waits.
const WAITING: usize = 1024;
/// As many are booked together.
const TOGETHER: usize = 256;

const BOOK: Fields = Fields {
    table: "provider_book",
    columns: &[("request", Kind::Text), ("order_id", Kind::Int), ("amount", Kind::Int), ("declined", Kind::Text)],
};

/// How it behaves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Manners {
    /// Each call takes this long.
    pub(crate) delay: Duration,
    /// So many of a hundred calls fail, half of them after the charge was made.
    pub(crate) failing: u8,
    /// So many of a hundred orders are declined.
    pub(crate) declining: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Accepted,
    Declined(String),
}

/// The call failed. Whether it was done is unknown.
#[derive(Debug)]
pub(crate) struct NoAnswer;

struct Request {
    key: String,
    order: i64,
    amount: i64,
}

pub(crate) struct Provider {
    requests: Batches<Request, Verdict>,
    manners: Manners,
}

/// Answers calls until there is a stop.
pub(crate) async fn provide(store: Store, manners: Manners, ready: Ready<Provider>, stop: Stop) -> Result {
    let (requests, served) = Batches::new(WAITING);
    ready.with(Provider { requests, manners });
    let book = move |tx: &mut dyn Tx, requests| book(tx, requests, manners.declining);
    served.serve(&store, TOGETHER, &stop, book, || {}).await
}

impl Provider {
    /// Charges once for each key, however often it is called.
    pub(crate) async fn charge(&self, key: &str, order: i64, amount: i64) -> Result<Verdict, NoAnswer> {
        let Manners { delay, failing, .. } = self.manners;
        if !delay.is_zero() {
            tokio::time::sleep(delay).await;
        }
        let (fails, before) = (dice() % 100 < u64::from(failing), dice().is_multiple_of(2));
        if fails && before {
            return Err(NoAnswer);
        }
        let verdict = self.requests.ask(Request { key: key.to_owned(), order, amount }).await;
        if fails { Err(NoAnswer) } else { verdict.map_err(|_| NoAnswer) }
    }
}

fn book(tx: &mut dyn Tx, requests: Vec<Request>, declining: u8) -> Result<Vec<Verdict>, Failed> {
    let found = tx.find(&BOOK, requests.iter().map(|request| request.key.as_str().into()).collect())?;
    let mut known: BTreeMap<String, Verdict> = found.into_iter().map(entry).collect();
    let mut rows: Vec<Row> = Vec::new();
    let mut verdicts = Vec::with_capacity(requests.len());
    for Request { key, order, amount } in requests {
        if let Some(verdict) = known.get(&key) {
            verdicts.push(verdict.clone());
            continue;
        }
        let (verdict, declined) = if amount > CARD_LIMIT {
            let reason = format!("{}.{:02} is over the limit of the card", amount / 100, amount % 100);
            (Verdict::Declined(reason.clone()), Some(reason))
        } else if order.rem_euclid(100) < i64::from(declining) {
            let reason = "the bank said no".to_owned();
            (Verdict::Declined(reason.clone()), Some(reason))
        } else {
            (Verdict::Accepted, None)
        };
        rows.push(vec![key.as_str().into(), order.into(), amount.into(), Value::from(declined)]);
        known.insert(key, verdict.clone());
        verdicts.push(verdict);
    }
    tx.insert(&BOOK, rows)?;
    Ok(verdicts)
}

fn entry(row: Row) -> (String, Verdict) {
    let mut row = Columns::of(row);
    let (key, _order, _amount) = (row.text(), row.int(), row.int());
    (key, row.maybe_text().map_or(Verdict::Accepted, Verdict::Declined))
}
