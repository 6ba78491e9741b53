//! The ledger: one thread that holds the connection, and the desk at which others hand in what they want done.
//!
//! Whatever waits at the desk goes into one transaction, so that many orders share one write to the disk; each is
//! answered only when that has been committed. When the disk is slow the groups get larger, not the wait longer.

use evenkeel::{
    Explain, Interrupt, Result,
    blocking::{self, Receiver, Sender, Why},
};
use rusqlite::{Connection, OptionalExtension, Row};
use serde::Serialize;
use tokio::sync::{oneshot, watch};

use crate::database::Database;

/// As many may wait at the desk; whoever comes then is sent away and told to come back.
const DESK: usize = 1024;
/// As many share one commit.
const GROUP: usize = 256;

/// Done inside a transaction. What it returns gives the answer, and is called when that has been committed.
type Job = Box<dyn FnOnce(&Connection) -> Answer + Send>;
type Answer = Box<dyn FnOnce() + Send>;

/// An order as it is kept.
#[derive(Debug, Serialize)]
pub(crate) struct Order {
    pub(crate) id: i64,
    pub(crate) item: String,
    pub(crate) quantity: u32,
    pub(crate) packed: bool,
}

/// Why the ledger did not do what it was asked.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Too many wait already.
    Busy,
    /// It has ended, or could not commit.
    Ended,
    /// The database said no.
    Failed(rusqlite::Error),
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Busy => f.write_str("too many wait at the ledger"),
            Self::Ended => f.write_str("the ledger has ended without committing this"),
            Self::Failed(error) => write!(f, "the database refused it: {error}"),
        }
    }
}

impl std::error::Error for Refused {}

/// The two sides of the desk.
pub(crate) fn desk() -> (Orders, Inbox) {
    let (jobs, waiting) = blocking::channel(DESK);
    let (newest, see_newest) = watch::channel(0);
    (Orders { jobs, newest: see_newest }, Inbox { waiting, newest })
}

/// The side where the ledger sits.
#[derive(Clone)]
pub(crate) struct Inbox {
    waiting: Receiver<Job>,
    newest: watch::Sender<i64>,
}

impl Inbox {
    /// Keeps the ledger until it is interrupted: by then all who could ask have their answers.
    pub(crate) fn keep(&self, database: &Database, interrupt: &Interrupt) -> Result {
        let mut connection = database.connection();
        let newest = connection.query_row("SELECT coalesce(max(id), 0) FROM orders", (), |row| row.get(0))?;
        self.newest.send_replace(newest);

        // What is at the desk comes out before the interrupt is reported, so this drains it and then ends.
        while let Some(first) = self.waiting.recv(interrupt)? {
            let transaction = connection.transaction().context("cannot begin a transaction")?;
            let mut answers = vec![first(&transaction)];
            while answers.len() < GROUP
                && let Some(next) = self.waiting.try_recv()
            {
                answers.push(next(&transaction));
            }
            // If this fails, the answers are dropped: nobody is told that an order is kept which is not.
            transaction.commit().context("cannot commit").hint("is the disk full?")?;
            answers.into_iter().for_each(|answer| answer());
            let newest = connection.last_insert_rowid();
            self.newest.send_if_modified(|known| newest > std::mem::replace(known, newest.max(*known)));
        }
        Ok(())
    }
}

/// The side where others ask.
#[derive(Clone)]
pub(crate) struct Orders {
    jobs: Sender<Job>,
    newest: watch::Receiver<i64>,
}

impl Orders {
    /// Keeps an order. When this returns `Ok` it is on disk.
    pub(crate) async fn place(&self, item: String, quantity: u32) -> Result<i64, Refused> {
        self.ask(move |connection| {
            let mut insert = connection.prepare_cached("INSERT INTO orders (item, quantity) VALUES (?1, ?2)")?;
            insert.insert((item, quantity))
        })
        .await
    }

    pub(crate) async fn find(&self, id: i64) -> Result<Option<Order>, Refused> {
        self.ask(move |connection| {
            let mut find = connection.prepare_cached("SELECT id, item, quantity, packed FROM orders WHERE id = ?1")?;
            find.query_row([id], order).optional()
        })
        .await
    }

    /// How many there are, and the latest of them.
    pub(crate) async fn latest(&self, limit: u32) -> Result<(i64, Vec<Order>), Refused> {
        self.ask(move |connection| {
            let count = connection.query_row("SELECT count(*) FROM orders", (), |row| row.get(0))?;
            let mut latest =
                connection.prepare_cached("SELECT id, item, quantity, packed FROM orders ORDER BY id DESC LIMIT ?1")?;
            let latest = latest.query_map([limit], order)?.collect::<Result<_, _>>()?;
            Ok((count, latest))
        })
        .await
    }

    /// The items that sold best.
    pub(crate) async fn best_sellers(&self, limit: u32) -> Result<Vec<String>, Refused> {
        self.ask(move |connection| {
            let mut best = connection
                .prepare_cached("SELECT item FROM orders GROUP BY item ORDER BY sum(quantity) DESC, item LIMIT ?1")?;
            best.query_map([limit], |row| row.get(0))?.collect()
        })
        .await
    }

    /// Waits until there is an order with a higher id than this. Cancel-safe.
    pub(crate) async fn after(&self, id: i64) {
        // An error means that the ledger has ended, and the next question will say so.
        let _ = self.newest.clone().wait_for(|newest| *newest > id).await;
    }

    /// The highest id so far.
    pub(crate) fn newest(&self) -> i64 {
        *self.newest.borrow()
    }

    /// The first orders that are not packed, in the order in which they came.
    pub(crate) async fn to_pack(&self, limit: u32) -> Result<Vec<i64>, Refused> {
        self.ask_patiently(move |connection| {
            let mut ids = connection.prepare_cached("SELECT id FROM orders WHERE packed = 0 ORDER BY id LIMIT ?1")?;
            ids.query_map([limit], |row| row.get(0))?.collect()
        })
        .await
    }

    pub(crate) async fn set_packed(&self, ids: Vec<i64>) -> Result<(), Refused> {
        self.ask_patiently(move |connection| {
            let mut pack = connection.prepare_cached("UPDATE orders SET packed = 1 WHERE id = ?1")?;
            ids.into_iter().try_for_each(|id| pack.execute([id]).map(drop))
        })
        .await
    }

    /// For requests: a full desk sends them away at once, because a client can come back and a queue without end cannot
    /// be served.
    async fn ask<T, W>(&self, work: W) -> Result<T, Refused>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (job, answer) = job(work);
        self.jobs.try_send(job).map_err(|unsent| match unsent.why {
            Why::Full => Refused::Busy,
            Why::Closed | Why::Interrupted => Refused::Ended,
        })?;
        answer.await.map_err(|_| Refused::Ended)?.map_err(Refused::Failed)
    }

    /// For workers: they have nothing better to do than to wait for their turn.
    async fn ask_patiently<T, W>(&self, work: W) -> Result<T, Refused>
    where
        T: Send + 'static,
        W: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    {
        let (job, answer) = job(work);
        self.jobs.send_async(job).await.map_err(|_| Refused::Ended)?;
        answer.await.map_err(|_| Refused::Ended)?.map_err(Refused::Failed)
    }
}

fn job<T, W>(work: W) -> (Job, oneshot::Receiver<rusqlite::Result<T>>)
where
    T: Send + 'static,
    W: FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let job: Job = Box::new(move |connection| {
        let result = work(connection);
        // Nobody waits if the client went away in the meantime; the order is kept all the same.
        Box::new(move || drop(reply.send(result)))
    });
    (job, answer)
}

fn order(row: &Row<'_>) -> rusqlite::Result<Order> {
    Ok(Order { id: row.get(0)?, item: row.get(1)?, quantity: row.get(2)?, packed: row.get(3)? })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use evenkeel::App;

    use super::*;
    use crate::database;

    #[tokio::test]
    async fn a_full_desk_sends_requests_away_at_once() {
        let (orders, _inbox) = desk();
        for _ in 0..DESK {
            orders.jobs.try_send(Box::new(|_| Box::new(|| {}))).expect("there is room");
        }
        let refused = tokio::time::timeout(Duration::from_secs(60), orders.place("tea".into(), 1)).await;
        assert!(matches!(refused, Ok(Err(Refused::Busy))), "{refused:?}");
    }

    #[tokio::test]
    async fn what_is_left_at_the_desk_when_the_ledger_ends_is_not_acknowledged() {
        let (orders, inbox) = desk();
        let asked = tokio::spawn({
            let orders = orders.clone();
            async move { orders.place("tea".into(), 1).await }
        });
        tokio::task::yield_now().await;
        drop(inbox);
        assert!(matches!(asked.await, Ok(Err(Refused::Ended))));
    }

    #[tokio::test]
    async fn an_order_whose_commit_fails_is_not_acknowledged_and_the_service_ends() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("shop.db");
        let app = App::new("shop");
        let open = async move |()| {
            let database = database::open(file).await?;
            // Each order leaves something behind that only the commit objects to.
            database.connection().execute_batch(
                "PRAGMA foreign_keys = ON;
                 CREATE TABLE rot (id INTEGER REFERENCES orders (id) DEFERRABLE INITIALLY DEFERRED);
                 CREATE TRIGGER rots AFTER INSERT ON orders BEGIN INSERT INTO rot VALUES (-1); END;",
            )?;
            Ok(database)
        };
        let database = app.resource("database", (), open, Database::close);
        let (orders, inbox) = desk();
        let _ledger = app.blocking("ledger", &database, move |database, interrupt| inbox.keep(&database, &interrupt));

        let mut running = app.start().await.expect("it starts");
        let refused = orders.place("tea".into(), 1).await;
        assert!(matches!(refused, Err(Refused::Ended)), "{refused:?}");
        let receipt = running.ended().await;
        assert_eq!((receipt.exit_code, receipt.culprits), (11, vec!["ledger".to_owned()]));
        assert_eq!(receipt.root_cause[0], "cannot commit");
    }
}
