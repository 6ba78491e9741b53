//! One run of one contender, and many in turn.
//!
//! A run is three values that consume each other: [`Clock`] from nothing to "all are up", [`Up`] from the order to stop
//! to "all are gone", and the [`Measured`] that comes of it.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{runtime, sync::Notify};

use crate::{contenders::Case, count};

/// A contender's run, to be spawned on a fresh runtime.
pub(crate) type Running = Pin<Box<dyn Future<Output = Measured> + Send>>;

/// Threads of the runtime, for all contenders.
pub(crate) const WORKERS: usize = 2;

/// What one run of one contender took.
#[derive(Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) start: Duration,
    pub(crate) stop: Duration,
    bytes: isize,
}

/// Runs from the first declaration to the moment when everything is up.
pub(crate) struct Clock {
    began: Instant,
    live: isize,
}

impl Clock {
    pub(crate) fn begin() -> Self {
        Self { live: count::live(), began: Instant::now() }
    }

    /// Everything is up; from here on it stops.
    pub(crate) fn up(self) -> Up {
        let start = self.began.elapsed();
        Up { start, bytes: count::live() - self.live, began: Instant::now() }
    }
}

/// Runs from the order to stop to the moment when everything is gone.
pub(crate) struct Up {
    start: Duration,
    bytes: isize,
    began: Instant,
}

impl Up {
    pub(crate) fn gone(self) -> Measured {
        Measured { start: self.start, stop: self.began.elapsed(), bytes: self.bytes }
    }
}

/// Opens when everybody has been polled once. A task that is spawned but has not run yet is not up.
#[derive(Clone)]
pub(crate) struct Latch {
    inner: Arc<(AtomicUsize, Notify)>,
}

impl Latch {
    pub(crate) fn of(count: usize) -> Self {
        Self { inner: Arc::new((AtomicUsize::new(count), Notify::new())) }
    }

    pub(crate) fn hit(&self) {
        if self.inner.0.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.inner.1.notify_one();
        }
    }

    pub(crate) async fn opened(&self) {
        self.inner.1.notified().await;
    }
}

/// All that was found in one case, contender by contender in the case's order.
pub(crate) struct Found {
    pub(crate) rows: Vec<Row>,
}

/// What one contender took, and how that compares to the first row's contender.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) start: f64,
    pub(crate) stop: f64,
    pub(crate) bytes: f64,
    /// First row : this row, each the median over the rounds.
    pub(crate) start_ratio: f64,
    pub(crate) stop_ratio: f64,
    pub(crate) bytes_ratio: f64,
}

/// Runs all contenders of a case in turn.
pub(crate) fn rounds(case: &Case, rounds: u16) -> Found {
    let bytes: Vec<f64> = case.contenders.iter().map(|contender| bytes_each(case, contender.run)).collect();
    let mut times: Vec<Vec<Measured>> = case.contenders.iter().map(|_| Vec::new()).collect();
    for round in 0..rounds {
        let mut turns: Vec<usize> = (0..case.contenders.len()).collect();
        if round % 2 == 1 {
            turns.reverse();
        }
        for turn in turns {
            times[turn].push(on_a_fresh_runtime((case.contenders[turn].run)(case.count)));
        }
    }
    let row = |index: usize| Row {
        name: case.contenders[index].name,
        start: median(times[index].iter().map(|run| run.start.as_secs_f64())),
        stop: median(times[index].iter().map(|run| run.stop.as_secs_f64())),
        bytes: bytes[index],
        start_ratio: ratio(&times[0], &times[index], |run| run.start),
        stop_ratio: ratio(&times[0], &times[index], |run| run.stop),
        bytes_ratio: bytes[0] / bytes[index],
    };
    Found { rows: (0..case.contenders.len()).map(row).collect() }
}

/// Runs one contender again and again; for a profiler.
pub(crate) fn alone(case: &Case, name: &str, rounds: u16) -> Option<String> {
    let contender = case.contenders.iter().find(|contender| contender.name == name)?;
    let runs: Vec<Measured> = (0..rounds).map(|_| on_a_fresh_runtime((contender.run)(case.count))).collect();
    let start = median(runs.iter().map(|run| run.start.as_secs_f64()));
    let stop = median(runs.iter().map(|run| run.stop.as_secs_f64()));
    Some(format!("{}: {name}: start {:.2} ms, stop {:.2} ms", case.title, start * 1e3, stop * 1e3))
}

/// Bytes for each of the case's things, from a run of its own.
fn bytes_each(case: &Case, run: fn(usize) -> Running) -> f64 {
    // One run beforehand, so that what is allocated once for the whole process is not charged to anybody.
    on_a_fresh_runtime(run(case.count / 100));
    count::switch(true);
    let measured = on_a_fresh_runtime(run(case.count));
    count::switch(false);
    measured.bytes as f64 / case.count as f64
}

fn on_a_fresh_runtime(running: Running) -> Measured {
    let runtime = runtime::Builder::new_multi_thread().worker_threads(WORKERS).enable_all().build();
    let runtime = runtime.expect("a runtime with two threads can be built");
    // Spawned, so that every contender spawns from a thread of the runtime, as components do.
    let measured = runtime.block_on(runtime.spawn(running));
    measured.expect("a contender does not panic")
}

fn ratio(ours: &[Measured], theirs: &[Measured], time: fn(&Measured) -> Duration) -> f64 {
    median(ours.iter().zip(theirs).map(|(ours, theirs)| time(ours).as_secs_f64() / time(theirs).as_secs_f64()))
}

/// The middle value; of an even number, the lower middle.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut sorted: Vec<f64> = values.collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().saturating_sub(1) / 2).copied().unwrap_or(f64::NAN)
}
