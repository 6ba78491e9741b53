//! One run of a scenario through the shipped driver, on one thread, with a paused clock.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use evenkeel::{
    App, Receipt, StopPolicy,
    simulation::{Command, Input, Sabotage, Simulation},
};
use evenkeel_plan::{
    cause::Cause,
    engine::CUT_GRACE,
    policy::{Choice, StopView},
    spec::Id,
};

use crate::{
    dice::Dice,
    perform::{Backstage, declare_all, stand_still},
    scenario::{Later, Policy, Scenario},
    trace::{Ending, Log, Trace, What},
};

/// How long a run is watched in which nobody asks for a stop.
pub const WATCHED: Duration = Duration::from_secs(20);
/// Nothing in a scenario takes this long, stop included: who has not ended by now never will.
const FOREVER: Duration = Duration::from_secs(3_600);

/// When the stop is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopping {
    /// Not at all; the run is watched for a while.
    Never,
    /// After this step of the engine, counted from zero.
    AtStep(usize),
}

/// Runs the scenario once.
///
/// # Panics
/// Without a tokio runtime to be had.
#[must_use]
pub fn run(scenario: &Scenario, stopping: Stopping, plant: Option<Sabotage>) -> Trace {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime without I/O needs nothing of the machine");
    let steps = Arc::new(AtomicUsize::new(0));
    let (log, stage) = {
        let _inside = runtime.enter();
        let log = Log::begin();
        (log.clone(), Backstage::new(log, &scenario.components))
    };
    let app = app(scenario, &stage);
    let inputs = Inputs::new(scenario, stopping);
    let observer = observer(inputs, log.clone(), steps.clone());
    let simulation = Simulation { seed: scenario.seed, observer, plant };
    let ended = catch_unwind(AssertUnwindSafe(|| runtime.block_on(watch(app, simulation, stopping))));
    let entries = log.end();
    drop(runtime);
    stage.clear();
    let ending = ended.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        Ending::Panicked(text.unwrap_or_else(|| "a panic".to_owned()))
    });
    Trace { entries, ending, steps: steps.load(Ordering::Relaxed) }
}

async fn watch(app: App, simulation: Simulation, stopping: Stopping) -> Ending {
    let (patience, otherwise) = match stopping {
        Stopping::Never => (WATCHED, Ending::Watched),
        Stopping::AtStep(_) => (FOREVER, Ending::Stuck),
    };
    tokio::select! {
        biased;
        receipt = app.simulate(simulation) => match receipt {
            Ok(receipt) => Ending::Receipt(Box::new(without_machine(receipt))),
            Err(problems) => Ending::Refused(format!("{problems:?}")),
        },
        () = tokio::time::sleep(patience) => otherwise,
    }
}

/// What depends on the machine and the hour says nothing about the run.
fn without_machine(mut receipt: Receipt) -> Receipt {
    receipt.pid = 0;
    receipt.started_at.clear();
    receipt.stop_began_at.clear();
    receipt.stop_ended_at.clear();
    receipt
}

fn app(scenario: &Scenario, stage: &Arc<Backstage>) -> App {
    let app = App::new("simulated")
        .budget(scenario.budget)
        .propagation_delay(scenario.propagation_delay)
        .stop_policy(policy(scenario.policy));
    declare_all(&app, scenario, stage);
    app
}

fn policy(policy: Policy) -> StopPolicy {
    match policy {
        Policy::Reverse => StopPolicy::Reverse,
        Policy::Broadcast => StopPolicy::Broadcast,
        Policy::Coordinator { seed, stuck_at, panics_at } => {
            let (mut dice, mut asked) = (Dice::new(seed), 0);
            StopPolicy::coordinator(move |view| {
                asked += 1;
                if asked > panics_at {
                    std::panic::resume_unwind(Box::new("planned"));
                }
                if asked > stuck_at { Choice::Stop(Vec::new()) } else { choose(view, &mut dice) }
            })
        }
    }
}

fn choose(view: &StopView<'_>, dice: &mut Dice) -> Choice {
    if dice.one_in(12) {
        return Choice::Rest;
    }
    let mut named: Vec<Id> = view.waiting().filter(|_| dice.one_in(2)).collect();
    if dice.one_in(8) {
        named.push(Id(u32::MAX)); // somebody who is not there
    }
    Choice::Stop(named)
}

/// What the simulation puts in, and when.
struct Inputs {
    stop_at: Option<usize>,
    cause: Cause,
    stop_began: Option<usize>,
    later: Vec<(usize, Later)>,
    frozen: Vec<bool>,
}

impl Inputs {
    fn new(scenario: &Scenario, stopping: Stopping) -> Self {
        let signal = Cause::Signal { name: "SIGTERM", number: 15 };
        let request = Cause::Request { by: "the simulation".to_owned() };
        Self {
            stop_at: match stopping {
                Stopping::Never => None,
                Stopping::AtStep(step) => Some(step),
            },
            cause: if scenario.by_signal { signal } else { request },
            stop_began: None,
            later: scenario.later.iter().rev().copied().collect(),
            frozen: scenario.components.iter().map(|part| part.frozen).collect(),
        }
    }

    /// Lets time pass over a cut that is not answered. Components stand still meanwhile; the driver does not, as it has a
    /// thread of its own in a program.
    fn freeze(&self, commands: &[Command], log: &Log) -> bool {
        let frozen = |command: &Command| match command {
            Command::Cut { id, .. } => self.frozen[id.index()].then_some(id.index()),
            _ => None,
        };
        let found = commands.iter().find_map(frozen);
        if let Some(id) = found {
            stand_still(log, id, CUT_GRACE);
        }
        found.is_some()
    }

    fn after(&mut self, step: usize, commands: &[Command]) -> Option<Input> {
        if commands.iter().any(|command| matches!(command, Command::StopBegan { .. })) {
            self.stop_began.get_or_insert(step);
        }
        if self.stop_at == Some(step) {
            self.stop_began.get_or_insert(step);
            return Some(Input::Stop(self.cause.clone()));
        }
        let due = step - self.stop_began?;
        let (_, later) = self.later.pop_if(|(steps, _)| *steps <= due)?;
        Some(match later {
            Later::Stop => Input::Stop(Cause::Request { by: format!("again at step {step}") }),
            Later::ForceBySignal => Input::Force(Cause::Signal { name: "SIGINT", number: 2 }),
            Later::ForceByRequest => Input::Force(Cause::Request { by: format!("forced at step {step}") }),
        })
    }
}

type Observer = Box<dyn FnMut(Duration, &[Command]) -> Option<Input> + Send>;

fn observer(mut inputs: Inputs, log: Arc<Log>, steps: Arc<AtomicUsize>) -> Observer {
    Box::new(move |now, commands| {
        let step = steps.fetch_add(1, Ordering::Relaxed);
        log.note_at(now, What::Step(commands.to_vec()));
        let frozen = inputs.freeze(commands, &log);
        match inputs.after(step, commands) {
            Some(input) => {
                log.note_at(now, What::Given(input.clone()));
                Some(input)
            }
            None => frozen.then_some(Input::Tick),
        }
    })
}
