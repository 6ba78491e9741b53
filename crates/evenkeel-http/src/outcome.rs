//! How requests end, counted by route; and what a drain reports.
//!
//! Policy: a request is accepted when its head has been read whole. From then on it ends in exactly one [`Outcome`], held
//! by the one [`Ticket`](crate::exchange::Ticket) that it has. What never became a request (a half head, a line that is
//! not HTTP) is counted with its connection instead.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::phase::Phase;

/// The one way in which a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// The whole answer was handed to the kernel (HTTP/1), or to the connection's flow control (HTTP/2).
    Answered = 0,
    /// This server answered by itself, with an error: the request broke one of its limits, or could be read in two ways.
    Refused = 1,
    /// The client went away first.
    Aborted = 2,
    /// This server ended it: at a deadline, by its route's [`OnDrain::Cut`](crate::OnDrain::Cut), or because the body came
    /// too slowly.
    Cut = 3,
    /// The handler panicked; the client got a 500, unless the answer was already under way.
    Panicked = 4,
    /// The body of the answer ended in an error.
    Failed = 5,
    /// It was sent just when this server closed the connection as unused, and was never read.
    Raced = 6,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 7] =
        [Self::Answered, Self::Refused, Self::Aborted, Self::Cut, Self::Panicked, Self::Failed, Self::Raced];

    /// The word for it in logs and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused => "refused",
            Self::Aborted => "aborted",
            Self::Cut => "cut",
            Self::Panicked => "panicked",
            Self::Failed => "failed",
            Self::Raced => "raced",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Requests by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outcomes([u64; Outcome::ALL.len()]);

impl Outcomes {
    /// How many ended this way.
    #[must_use]
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.0[outcome as usize]
    }

    /// How many ended at all.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.0.iter().sum()
    }

    fn minus(&self, earlier: &Self) -> Self {
        let mut difference = *self;
        for (now, then) in difference.0.iter_mut().zip(earlier.0) {
            *now -= then;
        }
        difference
    }

    fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }
}

/// How many requests ended in what way, by route.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// By route, as the router was given it (`/orders/{id}`). Requests that met no route are at [`NO_ROUTE`].
    pub routes: BTreeMap<String, Outcomes>,
    /// Requests that were accepted and have not ended.
    pub in_flight: u64,
}

/// The name under which requests are counted that met no route: refused before, or not found.
pub const NO_ROUTE: &str = "(no route)";

impl Counts {
    /// Over all routes.
    #[must_use]
    pub fn total(&self) -> Outcomes {
        let mut total = Outcomes::default();
        self.routes.values().for_each(|outcomes| total.add(outcomes));
        total
    }

    /// How many ended this way, over all routes.
    #[must_use]
    pub fn of(&self, outcome: Outcome) -> u64 {
        self.total().of(outcome)
    }

    /// What was counted since `earlier`, a count of the same server. Routes without anything new are left out.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let none = Outcomes::default();
        let routes = self.routes.iter().map(|(route, now)| {
            let then = earlier.routes.get(route).unwrap_or(&none);
            (route.clone(), now.minus(then))
        });
        Self { routes: routes.filter(|(_, outcomes)| outcomes.sum() > 0).collect(), in_flight: self.in_flight }
    }
}

/// The counter of one route.
#[derive(Debug)]
pub(crate) struct Route {
    name: Box<str>,
    ended: [AtomicU64; Outcome::ALL.len()],
}

impl Route {
    fn new(name: &str) -> Arc<Self> {
        Arc::new(Self { name: name.into(), ended: Default::default() })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    fn outcomes(&self) -> Outcomes {
        Outcomes(std::array::from_fn(|index| self.ended[index].load(Ordering::Acquire)))
    }
}

/// The counters of a server.
#[derive(Debug)]
pub(crate) struct Tally {
    begun: AtomicU64,
    unrouted: Arc<Route>,
    routes: Mutex<BTreeMap<Box<str>, Arc<Route>>>,
}

impl Tally {
    pub(crate) fn new() -> Self {
        Self { begun: AtomicU64::new(0), unrouted: Route::new(NO_ROUTE), routes: Mutex::default() }
    }

    pub(crate) fn unrouted(&self) -> &Arc<Route> {
        &self.unrouted
    }

    /// The counter of a route; routers have a bounded number of them.
    pub(crate) fn route(&self, name: &str) -> Arc<Route> {
        let mut routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        match routes.get(name) {
            Some(route) => route.clone(),
            None => routes.entry(name.into()).or_insert_with(|| Route::new(name)).clone(),
        }
    }

    pub(crate) fn begin(&self) {
        self.begun.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts the end of a request; its [`Ticket`](crate::exchange::Ticket) sees to it that there is one.
    pub(crate) fn end(&self, route: &Route, outcome: Outcome) {
        route.ended[outcome as usize].fetch_add(1, Ordering::AcqRel);
    }

    /// Counts a request that nobody could read.
    pub(crate) fn unread(&self, outcome: Outcome) {
        self.begin();
        self.end(&self.unrouted, outcome);
    }

    /// Requests that were accepted and have not ended.
    pub(crate) fn in_flight(&self) -> u64 {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let ended: u64 = routes.values().chain([&self.unrouted]).map(|route| route.outcomes().sum()).sum();
        self.begun.load(Ordering::Acquire) - ended
    }

    pub(crate) fn counts(&self) -> Counts {
        let routes = self.routes.lock().unwrap_or_else(PoisonError::into_inner);
        let all = routes.values().chain([&self.unrouted]);
        let routes: BTreeMap<_, _> = all
            .map(|route| (route.name().to_owned(), route.outcomes()))
            .filter(|(_, outcomes)| outcomes.sum() > 0)
            .collect();
        // Read after the ends: whatever ended had begun before.
        let begun = self.begun.load(Ordering::Acquire);
        let ended: u64 = routes.values().map(Outcomes::sum).sum();
        Counts { routes, in_flight: begun - ended }
    }
}

/// What a connection was doing when it held up a drain, or when it was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Doing {
    /// It has not sent anything.
    Silent = 1,
    /// It has sent a part of the head of a request.
    PartialHead = 2,
    /// A handler is at work on its request.
    Handler = 3,
    /// It sends the body of its request, slowly or not at all.
    SlowBody = 4,
    /// It does not read its answer.
    UnreadAnswer = 5,
    /// Its answer is still being made, and it reads what there is: an event stream, a long download.
    Streaming = 6,
    /// It was upgraded: a WebSocket or another protocol.
    Upgraded = 7,
    /// It rests between two requests.
    Idle = 8,
}

impl Doing {
    /// The words for it in logs and reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Silent => "silent",
            Self::PartialHead => "partial head",
            Self::Handler => "handler at work",
            Self::SlowBody => "slow body",
            Self::UnreadAnswer => "unread answer",
            Self::Streaming => "streaming",
            Self::Upgraded => "upgraded",
            Self::Idle => "idle",
        }
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A connection that holds up a drain, or that was cut off by one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Held {
    /// Its other end.
    pub peer: SocketAddr,
    /// What it is doing.
    pub doing: Doing,
    /// The routes of the requests on it, if any.
    pub routes: Vec<String>,
    /// How long it has been doing so.
    pub since: Duration,
    /// Bytes that came in over it.
    pub bytes_in: u64,
    /// Bytes that went out over it.
    pub bytes_out: u64,
}

/// What became of a drain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// How long it took.
    pub took: Duration,
    /// How long each phase lasted, in order; phases that were not reached are left out.
    pub phases: Vec<(Phase, Duration)>,
    /// How requests ended during the drain, by route.
    pub during: Counts,
    /// How requests ended over the server's whole life, by route.
    pub total: Counts,
    /// The connections that were cut off during the drain, the first [`Report::MAX_CUT`] of them.
    pub cut: Vec<Held>,
    /// How many connections were cut off.
    pub cut_count: u64,
    /// Connections that did not end although they were cut off: a handler keeps a thread.
    pub abandoned: u64,
}

impl Report {
    /// Connections that are listed one by one.
    pub const MAX_CUT: usize = 64;

    /// Whether nothing was cut off, raced, or left behind.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.cut_count == 0 && self.abandoned == 0 && self.during.of(Outcome::Raced) == 0 && self.total.in_flight == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let total = self.during.total();
        write!(f, "drained in {:.3} s", self.took.as_secs_f64())?;
        for outcome in Outcome::ALL {
            if total.of(outcome) > 0 {
                write!(f, ", {} {outcome}", total.of(outcome))?;
            }
        }
        for held in &self.cut {
            write!(f, "\n  cut: {} ({})", held.peer, held.doing)?;
            if !held.routes.is_empty() {
                write!(f, " {}", held.routes.join(", "))?;
            }
        }
        Ok(())
    }
}
