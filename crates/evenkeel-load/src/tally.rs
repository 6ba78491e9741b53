//! Counting: each request once, by row and ending, with how long it took.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;

use crate::{
    client::Again,
    ending::Ending,
    plan::{Kind, Method},
    table::Loss,
};

/// The longest time that is told from longer ones, in microseconds: 10 minutes.
const LONGEST: u64 = 600_000_000;

/// How many losses of a kind that ended the same way are kept in words. All are counted.
const KEPT: usize = 3;

/// The clock and the restarts, for all rows.
pub(crate) struct Book {
    began: Instant,
    /// Odd while a restart is on.
    restarts: AtomicU64,
    answered: AtomicU64,
    lost: AtomicU64,
    /// Who waits is told when the number of answers gets here, or something is lost.
    goal: AtomicU64,
    moved: (Mutex<()>, Condvar),
    losses: Mutex<Vec<Loss>>,
}

impl Book {
    pub(crate) fn new() -> Self {
        Self {
            began: Instant::now(),
            restarts: AtomicU64::new(0),
            answered: AtomicU64::new(0),
            lost: AtomicU64::new(0),
            goal: AtomicU64::new(u64::MAX),
            moved: Default::default(),
            losses: Mutex::default(),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::SeqCst)
    }

    /// A restart begins or ends; the second beginning in a row changes nothing.
    pub(crate) fn restart(&self, begins: bool) {
        let is_on = self.restarts.load(Ordering::SeqCst) % 2 == 1;
        if is_on != begins {
            self.restarts.fetch_add(1, Ordering::SeqCst);
        }
    }

    /// How many restarts have begun.
    pub(crate) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::SeqCst).div_ceil(2)
    }

    /// Waits until this many were answered in all. Whether it came to that in time.
    pub(crate) fn until_answered(&self, goal: u64, patience: Duration) -> bool {
        let lock = self.moved.0.lock().unwrap_or_else(PoisonError::into_inner);
        self.goal.store(goal, Ordering::SeqCst);
        let waited = self.moved.1.wait_timeout_while(lock, patience, |()| self.answered() < goal);
        drop(waited);
        self.goal.store(u64::MAX, Ordering::SeqCst);
        self.answered() >= goal
    }

    pub(crate) fn losses(&self) -> Vec<Loss> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn count(&self, ending: Ending) {
        if ending.is_loss() {
            self.lost.fetch_add(1, Ordering::SeqCst);
        }
        if ending == Ending::Answered
            && self.answered.fetch_add(1, Ordering::SeqCst) + 1 >= self.goal.load(Ordering::SeqCst)
        {
            drop(self.moved.0.lock().unwrap_or_else(PoisonError::into_inner));
            self.moved.1.notify_all();
        }
    }

    fn keep(&self, loss: Loss) {
        let mut losses = self.losses.lock().unwrap_or_else(PoisonError::into_inner);
        let same = |kept: &&Loss| kept.kind == loss.kind && kept.ending == loss.ending;
        if losses.iter().filter(same).count() < KEPT {
            losses.push(loss);
        }
    }
}

/// One row, on one thread.
pub(crate) struct Tally {
    pub(crate) kind: Kind,
    pub(crate) method: Method,
    pub(crate) book: Arc<Book>,
    counted: Mutex<Counted>,
}

/// What was counted in a row.
#[derive(Clone)]
pub(crate) struct Counted {
    pub(crate) endings: [u64; Ending::ALL.len()],
    pub(crate) resent: u64,
    pub(crate) reopened: u64,
    /// Microseconds of what was answered: apart from any restart, and around one.
    pub(crate) calm: Histogram<u64>,
    pub(crate) around: Histogram<u64>,
}

/// A request that has begun.
pub(crate) struct Begun {
    at: Instant,
    restarts: u64,
}

impl Counted {
    pub(crate) fn new() -> Self {
        let histogram = || Histogram::new_with_bounds(1, LONGEST, 2).expect("these are bounds");
        Self { endings: [0; Ending::ALL.len()], resent: 0, reopened: 0, calm: histogram(), around: histogram() }
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.endings.iter_mut().zip(other.endings).for_each(|(sum, more)| *sum += more);
        self.resent += other.resent;
        self.reopened += other.reopened;
        self.calm.add(&other.calm).expect("both have the same bounds");
        self.around.add(&other.around).expect("both have the same bounds");
    }
}

impl Tally {
    pub(crate) fn new(kind: Kind, method: Method, book: Arc<Book>) -> Self {
        Self { kind, method, book, counted: Mutex::new(Counted::new()) }
    }

    fn lock(&self) -> MutexGuard<'_, Counted> {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn counted(&self) -> Counted {
        self.lock().clone()
    }

    pub(crate) fn begins(&self) -> Begun {
        Begun { at: Instant::now(), restarts: self.book.restarts.load(Ordering::SeqCst) }
    }

    /// A request ends here, and nowhere else.
    pub(crate) fn count(&self, begun: &Begun, again: Again, ending: Ending, why: String) {
        let took = begun.at.elapsed();
        let restarts = self.book.restarts.load(Ordering::SeqCst);
        let is_around = begun.restarts % 2 == 1 || begun.restarts != restarts;
        {
            let mut counted = self.lock();
            counted.endings[ending as usize] += 1;
            counted.resent += again.resent;
            counted.reopened += again.reopened;
            // How long a stream lasts is no latency.
            if ending == Ending::Answered && self.kind != Kind::Events {
                let histogram = if is_around { &mut counted.around } else { &mut counted.calm };
                histogram.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
            }
        }
        if ending != Ending::Answered {
            let restart = is_around.then_some(restarts.div_ceil(2));
            let at = self.book.elapsed();
            self.book.keep(Loss { kind: self.kind, method: self.method, ending, why, at, took, restart });
        }
        self.book.count(ending);
    }
}
