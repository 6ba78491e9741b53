//! The desk: where work on the database is handed in, and the two threads behind it.
//!
//! Whatever waits at the desk goes into one transaction, so that many share one write to the disk; each is answered
//! only when that has been committed. When the disk is slow the groups get larger, not the wait longer. What is only
//! read goes to a thread of its own and does not wait for the disk.

use std::time::Duration;

use evenkeel::{
    Backoff, Error, Explain, Interrupt, Result, Stop,
    blocking::{self, Receiver, Sender, Why},
};
use tokio::sync::oneshot;

use super::{Database, Failed, Mode, Tx};

/// As many may wait at the desk; whoever comes then waits outside, or is sent away and told to come back.
const DESK: usize = 1024;
/// As many share one commit.
const GROUP: usize = 64;

/// Done inside a transaction. What it returns gives the answer, and is called when that has been committed.
type Job = Box<dyn FnOnce(&mut dyn Tx) -> Result<Answer, Failed> + Send>;
type Answer = Box<dyn FnOnce() + Send>;

/// Why something was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// Too many wait already.
    Busy,
    /// It was not confirmed: the database could not, or is closed, or went away over it. The log says why.
    NotKept,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Busy => "the shop has more to do than it can; come back in a moment",
            Self::NotKept => "the database has not confirmed this; send it again, with the same `Idempotency-Key`",
        })
    }
}

impl std::error::Error for Refused {}

/// The two sides of the desk.
pub(crate) fn desk() -> (Store, Inbox) {
    let ((writes, to_write), (reads, to_read)) = (blocking::channel(DESK), blocking::channel(DESK));
    (Store { writes, reads }, Inbox { to_write, to_read })
}

/// The side where the threads sit.
#[derive(Clone)]
pub(crate) struct Inbox {
    to_write: Receiver<Job>,
    to_read: Receiver<Job>,
}

impl Inbox {
    /// Writes until it is interrupted: by then all who could ask have their answers.
    pub(crate) fn write(&self, database: &Database, interrupt: &Interrupt) -> Result {
        serve(&self.to_write, &database.writer, Mode::Write, interrupt)
    }

    /// Reads until it is interrupted.
    pub(crate) fn read(&self, database: &Database, interrupt: &Interrupt) -> Result {
        serve(&self.to_read, &database.reader, Mode::Read, interrupt)
    }
}

fn serve(
    jobs: &Receiver<Job>,
    connection: &std::sync::Mutex<Box<dyn super::Connection>>,
    mode: Mode,
    interrupt: &Interrupt,
) -> Result {
    // A thread that panicked has left its transaction behind, which the database undid.
    let mut connection = connection.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // What is at the desk comes out before the interrupt is reported, so this drains it and then ends.
    while let Some(first) = jobs.recv(interrupt)? {
        // All of them are here before the transaction begins: who asks sees all that was committed before he asked.
        let mut group = vec![first];
        while group.len() < GROUP
            && let Some(next) = jobs.try_recv()
        {
            group.push(next);
        }
        let mut answers = Vec::with_capacity(group.len());
        let done = connection.transact(mode, &mut |tx| {
            group.drain(..).try_for_each(|job| {
                answers.push(job(tx)?);
                Ok(())
            })
        });
        match done {
            Ok(()) => answers.into_iter().for_each(|answer| answer()),
            // The answers are dropped: nobody is told that something is kept which is not.
            Err(failed) if failed.passing => {
                tracing::warn!("the database is not there for now: {failed}");
                interrupt.sleep(Duration::from_millis(50))?;
            }
            Err(failed) if mode == Mode::Write => {
                return Err(Error::from(failed)).context("cannot commit").hint("is the disk full?");
            }
            Err(failed) => tracing::error!("the database could not be read: {failed}"),
        }
    }
    Ok(())
}

/// The side where others ask.
#[derive(Clone)]
pub(crate) struct Store {
    writes: Sender<Job>,
    reads: Sender<Job>,
}

impl Store {
    /// Does this in a transaction. When this returns `Ok`, it is on disk. Waits for room at the desk.
    ///
    /// Dropping the future does not undo what was handed in.
    pub(crate) async fn change<T, W>(&self, work: W) -> Result<T, Refused>
    where
        T: Send + 'static,
        W: FnOnce(&mut dyn Tx) -> Result<T, Failed> + Send + 'static,
    {
        patiently(&self.writes, work).await
    }

    /// Does this again and again until it is on disk; `None` if there is a stop before. For who has nothing better to
    /// do while the database is away.
    pub(crate) async fn change_surely<T, W>(&self, stop: &Stop, work: W) -> Option<T>
    where
        T: Send + 'static,
        W: FnOnce(&mut dyn Tx) -> Result<T, Failed> + Clone + Send + 'static,
    {
        let mut attempt = 0;
        loop {
            if let Ok(done) = self.change(work.clone()).await {
                return Some(done);
            }
            attempt += 1;
            stop.or(tokio::time::sleep(AWAY.wait(attempt, dice()))).await?;
        }
    }

    /// Reads. Waits for room at the desk.
    pub(crate) async fn read<T, W>(&self, work: W) -> Result<T, Refused>
    where
        T: Send + 'static,
        W: FnOnce(&mut dyn Tx) -> Result<T, Failed> + Send + 'static,
    {
        patiently(&self.reads, work).await
    }

    /// Reads for a request: a full desk sends it away at once, because a client can come back and a queue without end
    /// cannot be served.
    pub(crate) async fn read_now<T, W>(&self, work: W) -> Result<T, Refused>
    where
        T: Send + 'static,
        W: FnOnce(&mut dyn Tx) -> Result<T, Failed> + Send + 'static,
    {
        let (job, answer) = job(work);
        self.reads.try_send(job).map_err(|unsent| match unsent.why {
            Why::Full => Refused::Busy,
            Why::Closed | Why::Interrupted => Refused::NotKept,
        })?;
        answer.await.map_err(|_| Refused::NotKept)
    }
}

/// The waits between attempts while the database is away.
const AWAY: Backoff = Backoff { first: Duration::from_millis(50), factor: 2, max: Duration::from_secs(2) };

/// A number that nobody can foresee.
pub(crate) fn dice() -> u64 {
    use std::hash::{BuildHasher, Hasher, RandomState};
    RandomState::new().build_hasher().finish()
}

async fn patiently<T, W>(desk: &Sender<Job>, work: W) -> Result<T, Refused>
where
    T: Send + 'static,
    W: FnOnce(&mut dyn Tx) -> Result<T, Failed> + Send + 'static,
{
    let (job, answer) = job(work);
    desk.send_async(job).await.map_err(|_| Refused::NotKept)?;
    answer.await.map_err(|_| Refused::NotKept)
}

fn job<T, W>(work: W) -> (Job, oneshot::Receiver<T>)
where
    T: Send + 'static,
    W: FnOnce(&mut dyn Tx) -> Result<T, Failed> + Send + 'static,
{
    let (reply, answer) = oneshot::channel();
    let job: Job = Box::new(move |tx| {
        let result = work(tx)?;
        // Nobody waits if the client went away in the meantime; what was done is kept all the same.
        Ok(Box::new(move || drop(reply.send(result))))
    });
    (job, answer)
}

#[cfg(test)]
mod tests {
    use evenkeel::App;

    use super::*;
    use crate::{
        events::{Fact, Stream},
        store::{Fields, Kind, Row, number},
    };

    const STOCK: Fields = Fields {
        table: "inventory_stock",
        columns: &[("item", Kind::Text), ("price", Kind::Int), ("received", Kind::Int), ("on_hand", Kind::Int)],
    };

    fn cake() -> Row {
        vec!["cake".into(), 1_i64.into(), 5_i64.into(), 5_i64.into()]
    }

    #[tokio::test]
    async fn a_full_desk_sends_requests_away_at_once() {
        let (store, _inbox) = desk();
        for _ in 0..DESK {
            store.reads.try_send(Box::new(|_| Ok(Box::new(|| {})))).expect("there is room");
        }
        let refused = tokio::time::timeout(Duration::from_secs(60), store.read_now(|_| Ok(()))).await;
        assert!(matches!(refused, Ok(Err(Refused::Busy))), "{refused:?}");
    }

    #[tokio::test]
    async fn what_is_left_at_the_desk_when_its_threads_end_is_not_acknowledged() {
        let (store, inbox) = desk();
        let asked = tokio::spawn(async move { store.change(|_| Ok(())).await });
        tokio::task::yield_now().await;
        drop(inbox);
        assert_eq!(asked.await.expect("it does not panic"), Err(Refused::NotKept));
    }

    #[tokio::test]
    async fn what_cannot_be_committed_is_not_acknowledged_and_the_service_ends() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("shop.db");
        let app = App::new("shop");
        let rotten = file.clone();
        let open = async move |()| {
            let database = Database::open_file(rotten.clone()).await?;
            // Each new item leaves something behind that only the commit objects to.
            database.writer.lock().expect("nobody panicked").transact(Mode::Write, &mut |tx| {
                tx.execute("PRAGMA defer_foreign_keys = ON", &[])?;
                tx.execute("CREATE TABLE rot (item TEXT REFERENCES inventory_stock (item))", &[])?;
                let rots = "CREATE TRIGGER rots AFTER INSERT ON inventory_stock \
                            BEGIN INSERT INTO rot VALUES ('no such item'); END";
                tx.execute(rots, &[])
            })?;
            Ok(database)
        };
        let database = app.resource("database", (), open, Database::close);
        let (store, inbox) = desk();
        let _writer = app.blocking("writer", &database, move |database, stop| inbox.write(&database, &stop));

        let mut running = app.start().await.expect("it starts");
        let refused = store
            .change(|tx| {
                tx.execute("PRAGMA defer_foreign_keys = ON", &[])?;
                tx.insert(&STOCK, vec![cake()])
            })
            .await;
        assert_eq!(refused, Err(Refused::NotKept));
        let receipt = running.ended().await;
        assert_eq!((receipt.exit_code, receipt.culprits), (11, vec!["writer".to_owned()]));
        assert_eq!(receipt.root_cause[0], "cannot commit");
    }

    /// A store on a new file, while it is used.
    async fn with_store<F: Future<Output = ()>>(use_it: impl FnOnce(Store) -> F) {
        let dir = tempfile::tempdir().expect("a directory");
        let app = App::new("shop");
        let file = dir.path().join("shop.db");
        let database = app.resource("database", (), async move |()| Database::open_file(file).await, Database::close);
        let (store, desk) = desk();
        let (writes, reads) = (desk.clone(), desk);
        let _writer = app.blocking("writer", &database, move |database, stop| writes.write(&database, &stop));
        let _reader = app.blocking("reader", &database, move |database, stop| reads.read(&database, &stop));
        let running = app.start().await.expect("it starts");
        // The desk is there for as long as somebody may come to it.
        use_it(store.clone()).await;
        assert_eq!(running.stop("the test is over").await.exit_code, 0);
        drop(store);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn work_that_fails_leaves_nothing_behind_and_the_file_goes_on() {
        with_store(async |store| {
            let stock = async || store.read(|tx| tx.find(&STOCK, vec!["cake".into()])).await;
            assert_eq!(stock().await, Ok(vec![]));
            assert_eq!(store.change(|tx| tx.insert(&STOCK, vec![cake()])).await, Ok(()));
            assert_eq!(stock().await, Ok(vec![cake()]), "what was committed is seen at once");
        })
        .await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn places_in_an_outbox_are_not_used_again_r5_1a() {
        with_store(async |store| {
            let tell = async |order: i64| {
                store.change(move |tx| Stream::Payment.tell(tx, vec![(order, Fact::PaymentMade)])).await
            };
            let told = async |behind| store.read(move |tx| Stream::Payment.told(tx, behind, 10)).await;
            assert_eq!(tell(1).await, Ok(()));
            let first = told(0).await.expect("it is kept")[0].place;
            assert_eq!(store.change(move |tx| Stream::Payment.forget(tx, first)).await, Ok(()));
            let left = store.read(|tx| Ok(number(tx.query("SELECT count(*) FROM payment_outbox", &[])?))).await;
            assert_eq!(left, Ok(0));
            assert_eq!(tell(2).await, Ok(()));
            // Who has read up to the first place does not miss the second event.
            assert_eq!(told(first).await.expect("it is kept").len(), 1);
        })
        .await;
    }
}
