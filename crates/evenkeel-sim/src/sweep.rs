//! Many scenarios, a stop at each step of each of them, on all threads that there are.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{
    Invariant, Sabotage, Scenario, Stopping, Violation, check,
    dice::Dice,
    run,
    trace::{Trace, lock},
};

/// In a run with more steps than this, the steps at which it is stopped are drawn.
pub const EVERY_STEP_UP_TO: usize = 64;

/// What a sweep covers.
#[derive(Clone, Copy, Debug)]
pub struct Sweep {
    /// The first seed; the others follow it.
    pub seed: u64,
    /// The sweep ends with the scenario that makes this many runs or more,
    pub runs: u64,
    /// and this many different graphs.
    pub graphs: usize,
    /// What is looked for.
    pub hunt: Hunt,
    /// How many threads share the work.
    pub threads: usize,
}

/// What is looked for in each run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Hunt {
    /// The bug that is planted, if one is.
    pub plant: Option<Sabotage>,
    /// The one invariant that counts; without it, all do.
    pub only: Option<Invariant>,
}

/// What a sweep did.
#[derive(Clone, Debug, Default)]
pub struct Swept {
    /// One past the last seed.
    pub end: u64,
    /// Runs.
    pub runs: u64,
    /// Different graphs.
    pub graphs: usize,
    /// Components of the largest.
    pub largest: usize,
    /// Steps of the engine, all runs together.
    pub steps: u64,
    /// Runs in which the stop came at a step of its own choice: every step of a scenario counts once.
    pub stops: u64,
    /// How long it took.
    pub took: Duration,
    /// The first failure by seed, if there is one.
    pub failure: Option<Box<Failure>>,
}

/// A run that broke an invariant.
#[derive(Clone, Debug)]
pub struct Failure {
    /// What was run.
    pub scenario: Scenario,
    /// When it was stopped.
    pub stopping: Stopping,
    /// What is wrong.
    pub violation: Violation,
    /// What happened.
    pub trace: Trace,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, stopping, violation, trace } = self;
        writeln!(f, "{violation}\nin scenario {}, stopped {stopping:?}", scenario.seed)?;
        for (id, part) in scenario.components.iter().enumerate() {
            writeln!(f, "c{id}: {part:?}")?;
        }
        writeln!(
            f,
            "budget {:?}, propagation delay {:?}, {:?}, later {:?}",
            scenario.budget, scenario.propagation_delay, scenario.policy, scenario.later
        )?;
        writeln!(f, "{trace}")?;
        if *scenario != Scenario::generate(scenario.seed) {
            return write!(f, "made small from seed {}", scenario.seed);
        }
        write!(f, "again: EVENKEEL_SIM_SEED={} EVENKEEL_SIM_STEP={}", scenario.seed, step(*stopping))?;
        write!(f, " cargo test -p evenkeel-sim --test sweep -- one --nocapture")
    }
}

fn step(stopping: Stopping) -> String {
    match stopping {
        Stopping::Never => "never".to_owned(),
        Stopping::AtStep(step) => step.to_string(),
    }
}

impl fmt::Display for Swept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { end, runs, graphs, largest, steps, stops, took, .. } = self;
        write!(f, "{runs} runs ({stops} stops) of {graphs} graphs of up to {largest} components, ")?;
        write!(f, "{steps} steps, seeds up to {end}, {:.1} s", took.as_secs_f64())
    }
}

/// Runs one scenario without a stop, then with a stop at each step.
///
/// # Errors
/// The first run that broke an invariant.
pub fn all_steps(scenario: &Scenario, hunt: Hunt, swept: &mut Swept) -> Result<(), Box<Failure>> {
    let base = once(scenario, Stopping::Never, hunt, swept)?;
    let mut dice = Dice::new(scenario.seed);
    for step in 0..base.steps {
        if base.steps > EVERY_STEP_UP_TO && dice.below(base.steps) >= EVERY_STEP_UP_TO {
            continue;
        }
        once(scenario, Stopping::AtStep(step), hunt, swept)?;
        swept.stops += 1;
    }
    Ok(())
}

fn once(scenario: &Scenario, stopping: Stopping, hunt: Hunt, swept: &mut Swept) -> Result<Trace, Box<Failure>> {
    let trace = run(scenario, stopping, hunt.plant);
    swept.runs += 1;
    swept.steps += trace.steps as u64;
    match check(scenario, &trace) {
        Ok(()) => Ok(trace),
        Err(violation) if hunt.only.is_some_and(|only| only != violation.invariant) => Ok(trace),
        Err(violation) => Err(Box::new(Failure { scenario: scenario.clone(), stopping, violation, trace })),
    }
}

/// Sweeps. Stops early at a failure.
///
/// # Panics
/// If a thread of the sweep does.
#[must_use]
pub fn sweep(what: Sweep) -> Swept {
    let began = Instant::now();
    let next = AtomicU64::new(what.seed);
    let total = Mutex::new((Swept::default(), HashSet::new()));
    std::thread::scope(|scope| {
        for _ in 0..what.threads.max(1) {
            scope.spawn(|| work(what, &next, &total));
        }
    });
    let (mut swept, graphs) = total.into_inner().expect("no thread of the sweep panics while it counts");
    swept.graphs = graphs.len();
    swept.end = next.into_inner();
    swept.took = began.elapsed();
    swept
}

fn work(what: Sweep, next: &AtomicU64, total: &Mutex<(Swept, HashSet<u64>)>) {
    loop {
        let scenario = Scenario::generate(next.fetch_add(1, Ordering::Relaxed));
        let mut one = Swept::default();
        let failed = all_steps(&scenario, what.hunt, &mut one).err();
        let mut total = lock(total);
        let (swept, graphs) = &mut *total;
        graphs.insert(scenario.structure());
        swept.runs += one.runs;
        swept.steps += one.steps;
        swept.stops += one.stops;
        swept.largest = swept.largest.max(scenario.components.len());
        let is_first = match (&swept.failure, &failed) {
            (Some(old), Some(new)) => new.scenario.seed <= old.scenario.seed,
            (known, _) => known.is_none(),
        };
        if is_first {
            swept.failure = failed;
        }
        if swept.failure.is_some() || (swept.runs >= what.runs && graphs.len() >= what.graphs) {
            return;
        }
    }
}
