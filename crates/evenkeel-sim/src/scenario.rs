//! What is simulated: a graph of components, the part each plays, the faults each commits.
//!
//! A scenario is data and comes out of its seed alone. Sizes are skewed: most graphs are small, since small ones show
//! most bugs and leave time for a stop at every step; a few have up to [`MOST`] components. Times come from a short list
//! of round numbers on purpose: things that happen at the same instant are where order goes wrong.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    time::Duration,
};

use evenkeel_plan::restart::{Backoff, Restart};

use crate::dice::Dice;

/// Components of the largest graph.
pub const MOST: usize = 200;

/// See the module documentation.
#[derive(Clone, Debug, PartialEq)]
pub struct Scenario {
    /// Names the scenario.
    pub seed: u64,
    /// Time for the whole stop.
    pub budget: Duration,
    /// Part of it that is spent serving on.
    pub propagation_delay: Duration,
    /// Whom to tell to stop, and when.
    pub policy: Policy,
    /// In declaration order; each needs only earlier ones.
    pub components: Vec<Component>,
    /// Whether the stop is asked for by a signal.
    pub by_signal: bool,
    /// What is asked for after the first stop, so many steps later.
    pub later: Vec<(usize, Later)>,
}

/// A stop policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// Each as soon as all that depend on it are over.
    Reverse,
    /// All at once.
    Broadcast,
    /// User code; it answers at random from this seed.
    Coordinator {
        /// Where its answers come from.
        seed: u64,
        /// From this question on it names nobody.
        stuck_at: u32,
        /// At this question it panics.
        panics_at: u32,
    },
}

/// What is asked for once a stop is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Later {
    /// Another stop.
    Stop,
    /// The end at once, as a second signal asks for it.
    ForceBySignal,
    /// The end at once, as a program asks for it.
    ForceByRequest,
}

/// One component.
#[derive(Clone, Debug, PartialEq)]
pub struct Component {
    /// By which method it is declared.
    pub kind: Kind,
    /// Whom it needs by a hard edge.
    pub hard: Vec<usize>,
    /// Whom it needs by a soft edge.
    pub soft: Vec<usize>,
    /// After whom it starts, without holding on.
    pub after: Vec<usize>,
    /// It lets work in from outside.
    pub intake: bool,
    /// The service can do without it.
    pub optional: bool,
    /// It is a job.
    pub finite: bool,
    /// What happens when it fails.
    pub restart: Option<Restart>,
    /// Its time to become ready, if it is said.
    pub start_within: Option<Duration>,
    /// Its time to stop, if it is said.
    pub stop_within: Option<Duration>,
    /// It can be closed by reference.
    pub close_ref: bool,
    /// Its close is tried again, each time for longer; takes the place of `stop_within`.
    pub retries: bool,
    /// How it opens, in its first `bad_opens` lives; later ones are quick.
    pub open: Act,
    /// See `open`.
    pub bad_opens: u32,
    /// How it runs, in its first `bad_runs` lives; later ones run until they are told to stop.
    pub run: Run,
    /// See `run`.
    pub bad_runs: u32,
    /// How it closes.
    pub close: Act,
    /// Tasks that it spawns into its scope.
    pub tasks: Vec<Task>,
    /// What it does with the leases that it is given.
    pub keeps: Keep,
    /// What panics when it is dropped.
    pub bad_drop: BadDrop,
    /// It cannot be cut off: its thread stands still until the grace of a cut is over.
    pub frozen: bool,
}

/// Which method of `App` declares a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `App::resource`
    Resource,
    /// `App::worker`
    Worker,
    /// `App::late_worker`
    LateWorker,
    /// `App::component`
    Typed,
}

/// How an opening or a close goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Act {
    /// At once.
    Quick,
    /// After a while.
    After(Duration),
    /// Never.
    Hang,
    /// An error, after a while.
    Error(Duration),
    /// A panic, after a while.
    Panic(Duration),
    /// A panic of the closure itself, before there is a future.
    PanicAtOnce,
    /// It holds its thread for so long, then is done.
    Block(Duration),
    /// A late worker drops its readiness unspent; anybody else fails.
    GiveUp,
}

/// How a run goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Run {
    /// Until it is told to stop; then its work in flight takes so long.
    UntilStop(Duration),
    /// It ends by itself, without an error.
    Ok(Duration),
    /// It ends by itself in an error.
    Error(Duration),
    /// It panics.
    Panic(Duration),
    /// It does not listen at all.
    Deaf,
    /// Once told to stop, it hangs.
    HangInDrain,
    /// Once told to stop, it ends in an error.
    ErrorInDrain(Duration),
    /// Once told to stop, it panics.
    PanicInDrain,
    /// Once told to stop, it holds its thread for so long.
    BlockInDrain(Duration),
}

/// What a spawned task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Task {
    /// Ends so long after the stop.
    UntilStop(Duration),
    /// Ends by itself.
    Ok(Duration),
    /// Ends by itself in an error.
    Error(Duration),
    /// Panics.
    Panic(Duration),
    /// Goes on until it is aborted.
    Deaf,
}

/// What a component does with the leases that it is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Keep {
    /// It gives them back when its run ends.
    No,
    /// A task of its own, which belongs to no scope, keeps one for so long.
    For(Duration),
    /// It never gives one back.
    Forever,
}

/// What panics when it is dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BadDrop {
    /// Nothing.
    Nothing,
    /// The future of its run, when it is cut off.
    Future,
    /// Its value.
    Value,
}

impl Component {
    /// A component that needs nothing and commits no fault.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            hard: Vec::new(),
            soft: Vec::new(),
            after: Vec::new(),
            intake: false,
            optional: false,
            finite: false,
            restart: None,
            start_within: None,
            stop_within: None,
            close_ref: false,
            retries: false,
            open: Act::Quick,
            bad_opens: 0,
            run: Run::UntilStop(Duration::ZERO),
            bad_runs: 0,
            close: Act::Quick,
            tasks: Vec::new(),
            keeps: Keep::No,
            bad_drop: BadDrop::Nothing,
            frozen: false,
        }
    }

    /// Whether it lends a value that can be looked at; the others lend `()`.
    #[must_use]
    pub fn lends(&self) -> bool {
        self.kind != Kind::Worker
    }

    /// Whether it does something of its own.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.kind != Kind::Resource
    }

    /// Whether it has a close of its own.
    #[must_use]
    pub fn closes(&self) -> bool {
        matches!(self.kind, Kind::Resource | Kind::Typed)
    }
}

impl Scenario {
    /// A scenario without components.
    #[must_use]
    pub fn new(budget: Duration) -> Self {
        Self {
            seed: 0,
            budget,
            propagation_delay: Duration::ZERO,
            policy: Policy::Reverse,
            components: Vec::new(),
            by_signal: false,
            later: Vec::new(),
        }
    }

    /// The scenario of this seed.
    #[must_use]
    pub fn generate(seed: u64) -> Self {
        Maker { dice: Dice::new(seed), faulty: 0 }.scenario(seed)
    }

    /// Tells graphs apart: who is what and needs whom. Faults and times do not count.
    #[must_use]
    pub fn structure(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        for part in &self.components {
            (part.kind, &part.hard, &part.soft, &part.after, part.intake, part.optional, part.finite).hash(&mut hasher);
            part.restart.is_some().hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// The name of a component.
#[must_use]
pub fn name(id: usize) -> String {
    format!("c{id}")
}

/// The shape of a graph: whom a new component may hold on to.
#[derive(Clone, Copy, Debug)]
enum Shape {
    Chain,
    Star,
    Layers(usize),
    Any,
}

struct Maker {
    dice: Dice,
    /// One component in this many commits a fault.
    faulty: usize,
}

const WHILES: [u64; 8] = [1, 5, 10, 50, 100, 250, 500, 1_000];

impl Maker {
    fn scenario(mut self, seed: u64) -> Scenario {
        let size = self.size();
        let shape = match self.dice.below(6) {
            0 => Shape::Chain,
            1 => Shape::Star,
            2 | 3 => Shape::Layers(2 + self.dice.below(6)),
            _ => Shape::Any,
        };
        // Where everybody is faulty, nobody gets far: half of the graphs have hardly a fault.
        self.faulty = self.dice.of(&[2, 4, 8, 16, 1_000]);
        let budget = self.millis(&[100, 300, 1_000, 3_000, 30_000, 30_000]);
        let mut scenario = Scenario { seed, ..Scenario::new(budget) };
        if self.dice.one_in(4) {
            scenario.propagation_delay = scenario.budget / self.dice.of(&[2, 5, 20]);
        }
        scenario.policy = self.policy();
        scenario.by_signal = self.dice.one_in(2);
        for id in 0..size {
            let component = self.component(id, shape, &scenario.components);
            scenario.components.push(component);
        }
        while scenario.later.len() < 4 && self.dice.one_in(3) {
            let what = self.dice.of(&[Later::Stop, Later::Stop, Later::ForceBySignal, Later::ForceByRequest]);
            scenario.later.push((1 + self.dice.below(2 * size + 2), what));
        }
        scenario.later.sort_by_key(|(steps, _)| *steps);
        scenario
    }

    fn size(&mut self) -> usize {
        match self.dice.below(200) {
            0 => 101 + self.dice.below(MOST - 100),
            1..=4 => 31 + self.dice.below(70),
            5..=60 => 9 + self.dice.below(22),
            _ => 1 + self.dice.below(8),
        }
    }

    fn policy(&mut self) -> Policy {
        match self.dice.below(10) {
            0..=5 => Policy::Reverse,
            6 | 7 => Policy::Broadcast,
            _ => Policy::Coordinator {
                seed: self.dice.roll(),
                stuck_at: self.dice.of(&[0, 1, 3, u32::MAX, u32::MAX, u32::MAX]),
                panics_at: self.dice.of(&[0, 2, u32::MAX, u32::MAX, u32::MAX, u32::MAX]),
            },
        }
    }

    fn component(&mut self, id: usize, shape: Shape, others: &[Component]) -> Component {
        let kind =
            self.dice.of(&[Kind::Resource, Kind::Resource, Kind::Worker, Kind::Worker, Kind::LateWorker, Kind::Typed]);
        let mut part = Component::new(kind);
        self.needs(id, shape, others, &mut part);
        part.optional = self.dice.one_in(8);
        part.finite = kind == Kind::Worker && self.dice.one_in(4);
        part.intake = kind == Kind::Worker && !part.finite && !part.optional && self.dice.one_in(3);
        // What is optional is tried again for ever unless it says otherwise: let most of it say so.
        let says = self.dice.one_in(4) != part.optional;
        part.restart = says.then(|| self.restart());
        if self.dice.one_in(3) {
            part.stop_within = Some(self.millis(&[20, 100, 500, 2_000, 10_000]));
        }
        if self.dice.one_in(4) {
            part.start_within = Some(self.millis(&[50, 100, 1_000]));
        }
        part.close_ref = part.lends() && !part.optional && self.dice.one_in(3);
        part.retries = part.close_ref && self.dice.one_in(2);
        part.open = if self.dice.one_in(3) { Act::After(self.a_while()) } else { Act::Quick };
        part.bad_opens = u32::MAX;
        part.run = Run::UntilStop(if self.dice.one_in(3) { self.a_while() } else { Duration::ZERO });
        if part.finite {
            part.run = Run::Ok(self.a_while());
            part.bad_runs = u32::MAX;
        }
        part.close = if self.dice.one_in(4) { Act::After(self.a_while()) } else { Act::Quick };
        if part.runs() && self.dice.one_in(5) {
            let task = if self.dice.one_in(2) { Task::UntilStop(self.a_while()) } else { Task::Ok(self.a_while()) };
            part.tasks = vec![task; 1 + self.dice.below(3)];
        }
        if self.dice.one_in(self.faulty) {
            self.fault(&mut part);
        }
        part
    }

    /// At most four values, one worker, one soft value, one optional and two to start after: see `shapes`.
    fn needs(&mut self, id: usize, shape: Shape, others: &[Component], part: &mut Component) {
        let most = self.dice.of(&[0, 1, 1, 2, 2, 3, 5]);
        for _ in 0..most {
            let Some(target) = self.target(id, shape) else { return };
            let other = &others[target];
            let is_new = !part.hard.contains(&target) && !part.soft.contains(&target) && !part.after.contains(&target);
            if !is_new {
                continue;
            }
            let count = |list: &[usize], want: &dyn Fn(&Component) -> bool| {
                list.iter().filter(|on| want(&others[**on])).count()
            };
            if other.optional {
                if other.lends() && count(&part.soft, &|o| o.optional) == 0 {
                    part.soft.push(target);
                }
                continue;
            }
            match self.dice.below(6) {
                0 if other.lends() && count(&part.soft, &|o| !o.optional) == 0 => part.soft.push(target),
                1 if part.after.len() < 2 => part.after.push(target),
                _ if other.lends() && count(&part.hard, &Component::lends) < 4 => part.hard.push(target),
                _ if !other.lends() && count(&part.hard, &|o| !o.lends()) == 0 => part.hard.push(target),
                _ => {}
            }
        }
    }

    fn target(&mut self, id: usize, shape: Shape) -> Option<usize> {
        if id == 0 {
            return None;
        }
        Some(match shape {
            Shape::Chain => id - 1 - self.dice.below(id.min(2)),
            Shape::Star => self.dice.below(id.min(2)),
            Shape::Layers(width) => {
                let begin = id - id % width;
                let from = begin.checked_sub(width)?;
                from + self.dice.below(width)
            }
            Shape::Any => self.dice.below(id),
        })
    }

    fn a_while(&mut self) -> Duration {
        self.millis(&WHILES)
    }

    fn millis(&mut self, choices: &[u64]) -> Duration {
        Duration::from_millis(self.dice.of(choices))
    }

    fn restart(&mut self) -> Restart {
        let backoff = Backoff { first: self.a_while(), factor: self.dice.of(&[1, 2]), max: Duration::from_secs(2) };
        let max = self.dice.of(&[0, 1, 3, 10]);
        Restart::new().at_most(max, Duration::from_secs(10)).backoff(backoff).stable_after(Duration::from_secs(1))
    }

    fn fault(&mut self, part: &mut Component) {
        let after = self.a_while();
        match self.dice.below(13) {
            0 | 1 => {
                part.open = self.dice.of(&[
                    Act::Hang,
                    Act::Error(after),
                    Act::Panic(after),
                    Act::PanicAtOnce,
                    Act::GiveUp,
                    Act::Block(after),
                ]);
                part.bad_opens = self.dice.of(&[1, 2, u32::MAX]);
            }
            2..=4 => {
                part.run = self.dice.of(&[Run::Ok(after), Run::Error(after), Run::Panic(after)]);
                part.bad_runs = self.dice.of(&[1, 2, u32::MAX]);
            }
            5 | 6 => {
                part.run = self.dice.of(&[
                    Run::Deaf,
                    Run::HangInDrain,
                    Run::ErrorInDrain(after),
                    Run::PanicInDrain,
                    Run::BlockInDrain(after),
                ]);
                part.bad_runs = u32::MAX;
            }
            7 | 8 => {
                part.close = self.dice.of(&[
                    Act::Hang,
                    Act::Error(after),
                    Act::Panic(after),
                    Act::PanicAtOnce,
                    Act::Block(after),
                ]);
            }
            9 => part.keeps = if self.dice.one_in(2) { Keep::Forever } else { Keep::For(after) },
            10 => {
                let task = self.dice.of(&[Task::Deaf, Task::Error(after), Task::Panic(after)]);
                part.tasks.push(task);
            }
            11 => {
                part.frozen = true;
                match self.dice.below(3) {
                    0 => part.open = Act::Hang,
                    1 => part.close = Act::Hang,
                    _ => (part.run, part.bad_runs) = (Run::Deaf, u32::MAX),
                }
            }
            _ => {
                part.bad_drop = self.dice.of(&[BadDrop::Future, BadDrop::Value]);
                if part.bad_drop == BadDrop::Future {
                    part.run = Run::Deaf;
                    part.bad_runs = u32::MAX;
                }
            }
        }
    }
}
