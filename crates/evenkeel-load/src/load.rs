//! A load that is on: clients on threads of their own.

use std::{
    fmt, io,
    rc::Rc,
    sync::{Arc, atomic::AtomicU64},
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    runtime,
    sync::watch,
    task::{JoinSet, LocalSet},
    time::Instant,
};

use crate::{
    client::{Asked, Client, Pace, ask_once},
    ending::Ending,
    http2::Http2,
    plan::{Kind, Method, Plan, Target},
    table::Table,
    tally::{Book, Tally},
};

/// A load that is on. [End](Self::end) it for its table; dropping it abandons what is under way, and nothing is counted.
#[must_use = "dropping it abandons the load"]
pub struct Load {
    book: Arc<Book>,
    rows: Vec<(Kind, Method)>,
    tallies: Vec<Arc<Tally>>,
    stop: watch::Sender<Stop>,
    threads: Vec<JoinHandle<()>>,
}

/// Too few requests were answered in time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotAnswered {
    /// How many were wanted.
    pub wanted: u64,
    /// How many there were.
    pub answered: u64,
    /// In this time.
    pub within: Duration,
    /// What became of those that were lost, the first of them.
    pub first_loss: Option<String>,
}

impl fmt::Display for NotAnswered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { wanted, answered, within, first_loss } = self;
        write!(f, "{answered} of {wanted} requests were answered in {within:?}")?;
        first_loss.as_ref().map_or(Ok(()), |loss| write!(f, "; first loss: {loss}"))
    }
}

impl std::error::Error for NotAnswered {}

impl Load {
    /// Starts all clients.
    ///
    /// # Errors
    /// The plan makes no sense ([`io::ErrorKind::InvalidInput`]), or no thread or no runtime could be had.
    pub fn start(plan: Plan) -> io::Result<Self> {
        let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidInput, why);
        if let Some(fault) = plan.fault() {
            return Err(invalid(fault));
        }
        let (rows, book) = (plan.rows(), Arc::new(Book::new()));
        let mut load =
            Self { book, rows, tallies: Vec::new(), stop: watch::Sender::new(Stop::No), threads: Vec::new() };
        let (plan, ids) = (Arc::new(plan), Arc::<AtomicU64>::default());
        let threads = plan.threads.clamp(1, plan.clients);
        for number in 0..threads {
            let tallies: Vec<_> = load
                .rows
                .iter()
                .map(|(kind, method)| Arc::new(Tally::new(*kind, *method, load.book.clone())))
                .collect();
            load.tallies.extend(tallies.iter().cloned());
            let crew =
                Crew { plan: plan.clone(), number, threads, tallies, ids: ids.clone(), stop: load.stop.subscribe() };
            let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
            let work = move || LocalSet::new().block_on(&runtime, crew.run());
            load.threads.push(thread::Builder::new().name(format!("load-{number}")).spawn(work)?);
        }
        Ok(load)
    }

    /// How many requests were answered so far.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.book.answered()
    }

    /// How many were lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.book.lost()
    }

    /// Waits until this many more were answered than at the call.
    ///
    /// # Errors
    /// They were not in time.
    pub fn until_answered(&self, more: u64, patience: Duration) -> Result<(), NotAnswered> {
        let before = self.book.answered();
        if self.book.until_answered(before + more, patience) {
            return Ok(());
        }
        Err(NotAnswered {
            wanted: more,
            answered: self.book.answered() - before,
            within: patience,
            first_loss: self.book.losses().first().map(ToString::to_string),
        })
    }

    /// From here on a restart is on: what is asked now, or under way, is around it. Latencies are told apart by that.
    pub fn restart_begins(&self) {
        self.book.restart(true);
    }

    /// The restart is over.
    pub fn restart_ends(&self) {
        self.book.restart(false);
    }

    /// What was counted so far.
    #[must_use]
    pub fn table(&self) -> Table {
        Table::of(&self.rows, &self.tallies, &self.book)
    }

    /// Lets every request that has begun come to its end, and gives the table. Takes the plan's time-out at most.
    #[must_use]
    pub fn end(mut self) -> Table {
        self.halt(Stop::End);
        self.table()
    }

    fn halt(&mut self, how: Stop) {
        self.stop.send_replace(how);
        for thread in self.threads.drain(..) {
            // Its panic is a fault of this crate, and a table without its requests would be a lie.
            if thread.join().is_err() && !thread::panicking() {
                panic!("a thread of the load panicked");
            }
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.halt(Stop::Abandon);
    }
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Load").field("answered", &self.answered()).field("lost", &self.lost()).finish_non_exhaustive()
    }
}

/// Asks once, over a connection of its own, and says how that ended. Blocks for as long as `timeout` at most.
///
/// # Errors
/// The target makes no sense ([`io::ErrorKind::InvalidInput`]), or no runtime could be had.
pub fn once(target: &Target, kind: Kind, method: Method, timeout: Duration) -> io::Result<(Ending, String)> {
    let plan = Plan { kinds: vec![kind], methods: vec![method], clients: 1, timeout, ..Plan::new(target.clone()) };
    if let Some(fault) = plan.fault() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, fault));
    }
    let asked = Asked::new(target, kind, method).map_err(io::Error::other)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    Ok(LocalSet::new().block_on(&runtime, ask_once(&asked, timeout)))
}

/// How clients are told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    No,
    /// What is under way comes to its end.
    End,
    /// At once.
    Abandon,
}

async fn ended(clients: &mut JoinSet<()>) {
    while let Some(ended) = clients.join_next().await {
        ended.expect("no client panics");
    }
}

/// The clients of one thread.
struct Crew {
    plan: Arc<Plan>,
    number: usize,
    threads: usize,
    tallies: Vec<Arc<Tally>>,
    ids: Arc<AtomicU64>,
    stop: watch::Receiver<Stop>,
}

impl Crew {
    async fn run(self) {
        let began = Instant::now();
        let every = self.plan.interval();
        let mut clients = JoinSet::new();
        for (at, tally) in self.tallies.iter().enumerate() {
            let asked = Asked::new(&self.plan.target, tally.kind, tally.method);
            let asked = Rc::new(asked.expect("`Plan::fault` has looked at each part"));
            let mut shared = Http2::default();
            let mine = (0..self.plan.clients).filter(|client| client % self.threads == self.number);
            for (place, client) in mine.enumerate() {
                if place % self.plan.streams.max(1) == 0 {
                    shared = Http2::default();
                }
                // Turns are spread over the interval, and no two clients share one.
                let all = u32::try_from(self.tallies.len() * self.plan.clients).unwrap_or(u32::MAX);
                let turn = u32::try_from(client * self.tallies.len() + at).unwrap_or(u32::MAX);
                let next = began + every.map_or(Duration::ZERO, |every| every * turn / all);
                let client = Client {
                    asked: asked.clone(),
                    tally: tally.clone(),
                    ids: self.ids.clone(),
                    timeout: self.plan.timeout,
                    pace: Pace { every, next },
                };
                clients.spawn_local(client.run(shared.clone(), self.stop.clone()));
            }
        }
        let mut stop = self.stop.clone();
        tokio::select! {
            () = ended(&mut clients) => {}
            // An error: whoever could tell has gone.
            _ = stop.wait_for(|stop| *stop == Stop::Abandon) => {}
        }
    }
}
