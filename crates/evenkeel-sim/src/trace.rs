//! What happened in a run: every decision of the engine, and everything that the components saw from inside.
//!
//! One list, in the order in which it happened. It prints as one line each, so that a failing run can be read.

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use evenkeel::{
    Receipt,
    simulation::{Command, Input},
};
use tokio::time::Instant;

/// One incarnation of one component, counted from one by the component itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Life {
    /// Which component.
    pub id: usize,
    /// Which start of it.
    pub turn: u32,
}

/// How something of a component ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// Without an error.
    Ok,
    /// In an error.
    Error,
    /// In a panic.
    Panic,
    /// Dropped before its end.
    Dropped,
}

/// Which code of a component runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Its opening.
    Open,
    /// Its run.
    Run,
    /// One of its tasks.
    Task(usize),
    /// Its close.
    Close,
    /// Its close by reference.
    CloseRef,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The engine took something in and decided this.
    Step(Vec<Command>),
    /// The simulation put this in.
    Given(Input),
    /// Code of a component began.
    Began(Life, Stage),
    /// Code of a component ended.
    Ended(Life, Stage, How),
    /// A component saw that it is to stop.
    Told(Life),
    /// An intake took something in.
    Took(Life),
    /// A value came to be.
    Made(Life),
    /// A value is no more.
    Gone(Life),
    /// Something panicked while it was dropped.
    BadDrop(Life),
    /// The first life was lent the value of the second.
    Lent(Life, Life),
    /// It gave it back.
    Back(Life, Life),
    /// A component held its thread.
    Blocked(usize, Duration),
}

/// A thing that happened, and when.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Since the run began.
    pub at: Duration,
    /// What it was.
    pub what: What,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ending {
    /// With a receipt.
    Receipt(Box<Receipt>),
    /// It was watched for as long as was wanted, and nobody had asked for a stop.
    Watched,
    /// It did not end, though nothing but its end was left to happen.
    Stuck,
    /// The app was refused.
    Refused(String),
    /// The driver panicked.
    Panicked(String),
}

/// See the module documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Trace {
    /// Everything that happened, in order.
    pub entries: Vec<Entry>,
    /// How it ended.
    pub ending: Ending,
    /// How many steps the engine made.
    pub steps: usize,
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut step = 0;
        for entry in &self.entries {
            let at = entry.at.as_secs_f64() * 1e3;
            match &entry.what {
                What::Step(commands) => {
                    writeln!(f, "{at:>10.1} #{step} {}", Decided(commands))?;
                    step += 1;
                }
                what => writeln!(f, "{at:>10.1}      {what:?}")?,
            }
        }
        match &self.ending {
            Ending::Receipt(receipt) => write!(f, "{}", summary(receipt)),
            other => write!(f, "{other:?}"),
        }
    }
}

struct Decided<'a>(&'a [Command]);

impl fmt::Display for Decided<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let texts: Vec<String> = self.0.iter().map(|command| format!("{command:?}")).collect();
        f.write_str(&texts.join("; "))
    }
}

/// What of a receipt does not differ between two equal runs.
#[must_use]
pub fn summary(receipt: &Receipt) -> String {
    let mut text = format!(
        "receipt: {} ({}), cause {:?}, later {:?}, root cause {:?}, culprits {:?}, {} ms\n",
        receipt.outcome,
        receipt.exit_code,
        receipt.cause,
        receipt.later_causes,
        receipt.root_cause,
        receipt.culprits,
        receipt.used_ms
    );
    for row in &receipt.components {
        text.push_str(&format!(
            "  {} {} stop {:?} drained {:?} release {:?} end {:?} restarts {} leases {:?} tasks {} error {:?}\n",
            row.name,
            row.state,
            row.stop_ms,
            row.drained_ms,
            row.release_ms,
            row.end_ms,
            row.restarts,
            row.leaked_leases,
            row.leaked_tasks,
            row.error
        ));
    }
    text
}

/// Where everybody in a run writes down what happens.
pub(crate) struct Log {
    epoch: Instant,
    entries: Mutex<Vec<Entry>>,
    over: AtomicBool,
}

impl Log {
    pub(crate) fn begin() -> Arc<Self> {
        Arc::new(Self { epoch: Instant::now(), entries: Mutex::default(), over: AtomicBool::new(false) })
    }

    pub(crate) fn note(&self, what: What) {
        self.note_at(self.epoch.elapsed(), what);
    }

    pub(crate) fn note_at(&self, at: Duration, what: What) {
        if !self.is_over() {
            lock(&self.entries).push(Entry { at, what });
        }
    }

    /// From here on nothing is written down, and nothing panics.
    pub(crate) fn end(&self) -> Vec<Entry> {
        self.over.store(true, Ordering::Relaxed);
        std::mem::take(&mut lock(&self.entries))
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
