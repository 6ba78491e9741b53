//! The engine: what happens next, given what has happened.
//!
//! A driver feeds it [`Input`]s with the current time and carries out the [`Command`]s that it returns; [`Engine::wake_at`]
//! says when it wants to be asked again. It owns both life cycle tables: no state changes anywhere else, and each change
//! is announced as a command, so that logs, status and the receipt cannot know more or less than the engine does.
//!
//! What its driver may rely on:
//! - A component is told to start at most once per incarnation, to stop exactly once per incarnation that was started,
//!   and to release only after its stop and after all that may hold its value are over.
//! - Every cause of a stop takes the same path. The first cause stands; later ones are kept beside it.
//! - When [`Command::Finish`] is returned, every component is over; nothing is returned afterwards.
//! - A stop ends at the latest when its budget does, whatever the components do: the last part of the budget is
//!   reserved, and when it begins everything left is cut off, then abandoned.

use std::{cmp::Reverse, collections::BinaryHeap, time::Duration};

use crate::{
    budget::{Budget, Plan},
    cause::{Cause, Outcome},
    graph::Graph,
    lifecycle::{Component, ComponentEvent, Service, ServiceEvent, Step},
    policy::{Choice, Policy, StopView},
    restart::{History, Restart, Verdict},
    spec::{Activity, Edge, Id, Role, Weight},
};

/// A point in time: the time since the run began, on a clock that never goes back.
pub type Moment = Duration;

/// How long a component that was cut off has to end before it is abandoned.
pub const CUT_GRACE: Duration = Duration::from_millis(100);
/// The same in the forced stage, where everything is cut off at once; less if the budget is tiny.
pub const FORCED_GRACE: Duration = Duration::from_millis(15);
/// The least time a release gets after a drain that used up everything.
pub const LAST_CHANCE: Duration = Duration::from_millis(250);
/// Causes kept beside the first one.
pub const LATER_CAUSES_MAX: usize = 64;

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The service is to start.
    Begin,
    /// A component became ready.
    Opened(Id),
    /// A component could not become ready, and holds nothing.
    StartFailed(Id),
    /// A component's activity ended though nobody told it to; `ok`: without an error.
    RunEnded {
        /// Which.
        id: Id,
        /// Whether it ended without an error.
        ok: bool,
    },
    /// After its stop, a component's work has ended; `ok`: without an error.
    Drained {
        /// Which.
        id: Id,
        /// Whether it ended without an error.
        ok: bool,
    },
    /// An incarnation of a component is over and holds nothing.
    Closed {
        /// Which.
        id: Id,
        /// How it went.
        end: End,
    },
    /// Somebody wants the service to stop.
    Stop(Cause),
    /// Somebody wants it gone at once.
    Force(Cause),
    /// The time that [`Engine::wake_at`] named has come, and nothing that happened before it is still to be put in.
    Tick,
}

/// How an incarnation of a component ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Closed in order.
    Clean,
    /// Closed, but with an error.
    Failed,
    /// Not closed in order: leases on its value never came back.
    Leaked,
    /// Cut off.
    Cut,
}

/// Something the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// The service changed its state. Publish it.
    Service {
        /// The state it left.
        from: Service,
        /// The state it is in.
        to: Service,
    },
    /// A component changed its state. Publish it.
    Component {
        /// Which.
        id: Id,
        /// The state it is in.
        to: Component,
    },
    /// Say whether the service is ready for traffic.
    Readiness(bool),
    /// Open or close the gate that all intakes obey.
    Gate(bool),
    /// Open a component.
    Start {
        /// Which.
        id: Id,
        /// 1 for the first time.
        attempt: u32,
    },
    /// Tell a component to stop; if it is still starting, to give up.
    Stop {
        /// Which.
        id: Id,
        /// The time it has before it is cut off.
        allowed: Duration,
    },
    /// All that may hold a component's value are over: it may close.
    Release {
        /// Which.
        id: Id,
        /// The time it has before it is cut off.
        allowed: Duration,
    },
    /// Drop what a component is doing now. In the forced stage (`all`), drop everything of it.
    Cut {
        /// Which.
        id: Id,
        /// Whether nothing of it may go on.
        all: bool,
    },
    /// Go on without a component that did not answer the cut.
    Abandon(Id),
    /// A component that failed will be started again, with all that hold on to it.
    Restarting {
        /// Which failed.
        id: Id,
        /// Who restarts with it.
        with: Vec<Id>,
        /// The wait before its next start.
        wait: Duration,
    },
    /// A component failed too often to be started again.
    GaveUp {
        /// Which.
        id: Id,
        /// Failures within the policy's period.
        failures: u32,
    },
    /// A stop began.
    StopBegan {
        /// How long traffic is still served.
        propagation: Duration,
    },
    /// The forced stage began.
    ForcedStage,
    /// The coordinator named nobody while nobody was stopping; the rest stops in reverse order.
    CoordinatorStuck,
    /// The coordinator failed in its own code, as it says; its answer counts all the same.
    CoordinatorFailed(String),
    /// The run is over.
    Finish(Outcome),
}

/// A planted bug, to prove that the simulation would notice a real one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// Releases without asking whether dependents are over.
    ReleaseEarly,
    /// Tells the last component to stop twice.
    StopTwice,
    /// Never tells one component to stop.
    ForgetOne,
    /// Lets the deadline pass.
    IgnoreDeadline,
    /// Lets a later cause replace the first.
    LoseFirstCause,
    /// Starts what was to be skipped by the stop.
    StartWhileStopping,
    /// Starts without asking whether what is needed is there.
    StartEarly,
    /// Calls every stop clean.
    CallItClean,
    /// Moves a component past a state.
    LeapState,
    /// Ends the service for an optional component.
    OptionalIsEssential,
    /// Stays ready when a stop begins.
    StayReady,
}

/// The state of a run. See the module documentation.
#[derive(Debug)]
pub struct Engine {
    graph: Graph,
    plan: Plan,
    policy: Policy,
    service: Service,
    cells: Vec<Cell>,
    timers: BinaryHeap<Reverse<(Moment, u32, u32)>>,
    essentials_missing: usize,
    registrars_missing: usize,
    essentials_down: usize,
    not_over: usize,
    starting: usize,
    ready: bool,
    /// A value was lent for ever, in whatever life of its owner, or a component was left behind.
    leaked: bool,
    stop: Option<Stopping>,
    finished: bool,
    sabotage: Option<Sabotage>,
    out: Vec<Command>,
}

/// What is known once a stop has begun.
#[derive(Debug)]
struct Stopping {
    cause: Cause,
    later: Vec<Cause>,
    forced_by: Option<Cause>,
    phase: Phase,
    /// When components have to be over: the deadline less the reserve for the last flush.
    components_until: Moment,
    below: Vec<Duration>,
    coordinator_done: bool,
    unclean: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Not ready any more, still serving, until this moment.
    Propagating(Moment),
    Draining,
    Forced,
}

/// What is known of one component.
#[derive(Debug)]
struct Cell {
    state: Component,
    attempt: u32,
    ready_at: Option<Moment>,
    counted_ready: bool,
    /// A job that has succeeded once.
    succeeded: bool,
    /// A job that has succeeded in its present incarnation.
    done: bool,
    /// Its present incarnation ended though nobody told it to.
    failed: bool,
    /// It is not started again, whatever restarts.
    gave_up: bool,
    down: bool,
    release_told: bool,
    recycle: bool,
    not_before: Moment,
    allowed: Duration,
    charged: Duration,
    charging_since: Option<Moment>,
    timer: Option<Timer>,
    timer_turn: u32,
    history: History,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Timer {
    Start,
    Limit,
    Cut,
    Retry,
}

impl Cell {
    fn new() -> Self {
        Self {
            state: Component::Declared,
            attempt: 0,
            ready_at: None,
            counted_ready: false,
            succeeded: false,
            done: false,
            failed: false,
            gave_up: false,
            down: false,
            release_told: false,
            recycle: false,
            not_before: Moment::ZERO,
            allowed: Duration::ZERO,
            charged: Duration::ZERO,
            charging_since: None,
            timer: None,
            timer_turn: 0,
            history: History::default(),
        }
    }

    fn charge(&mut self, now: Moment) {
        if let Some(since) = self.charging_since.take() {
            self.charged += now.saturating_sub(since);
        }
    }

    /// Up, in the sense that somebody may hold its value or it may still do something.
    fn is_alive(&self) -> bool {
        !(self.state.is_over() || matches!(self.state, Component::Declared | Component::Retrying))
    }
}

/// The public face: inputs in, commands out, questions answered.
impl Engine {
    /// An engine for this graph, with nothing started.
    #[must_use]
    pub fn new(graph: Graph, plan: Plan, policy: Policy) -> Self {
        let count = |want: &dyn Fn(&crate::spec::Spec) -> bool| graph.specs().iter().filter(|s| want(s)).count();
        let essentials = count(&|s| s.weight == Weight::Essential && s.role != Role::Registrar);
        let registrars = count(&|s| s.weight == Weight::Essential && s.role == Role::Registrar);
        let components = graph.len();
        Self {
            cells: (0..components).map(|_| Cell::new()).collect(),
            graph,
            plan,
            policy,
            service: Service::Initialized,
            timers: BinaryHeap::new(),
            essentials_missing: essentials,
            registrars_missing: registrars,
            essentials_down: 0,
            not_over: components,
            starting: 0,
            ready: false,
            leaked: false,
            stop: None,
            finished: false,
            sabotage: None,
            out: Vec::new(),
        }
    }

    /// Plants a bug. For the simulation's own tests.
    #[cfg(feature = "sabotage")]
    pub fn plant(&mut self, bug: Sabotage) {
        self.sabotage = Some(bug);
    }

    /// Takes in what happened at `now` and returns what is to be done, in this order. `dice` gives uniformly
    /// distributed numbers for the jitter of restarts.
    pub fn handle(&mut self, input: Input, now: Moment, dice: &mut dyn FnMut() -> u64) -> Vec<Command> {
        if !self.finished {
            self.take_in(input, now, dice);
            self.settle(now);
        }
        std::mem::take(&mut self.out)
    }

    /// Closes the intakes; everything else stays up.
    pub fn pause(&mut self) -> (Step<Service>, Vec<Command>) {
        let answer = self.service.on(ServiceEvent::Pause);
        if let Step::To(_) = answer {
            self.service_event(ServiceEvent::Pause);
            self.out.push(Command::Gate(false));
            self.service_event(ServiceEvent::IntakesClosed);
            self.publish_readiness();
        }
        (answer, std::mem::take(&mut self.out))
    }

    /// Opens the intakes again.
    pub fn resume(&mut self) -> (Step<Service>, Vec<Command>) {
        let answer = self.service.on(ServiceEvent::Continue);
        if let Step::To(_) = answer {
            self.service_event(ServiceEvent::Continue);
            self.out.push(Command::Gate(true));
            self.service_event(ServiceEvent::IntakesOpen);
            self.publish_readiness();
        }
        (answer, std::mem::take(&mut self.out))
    }

    /// When the engine wants an [`Input::Tick`]; `None`: only an input can change anything.
    #[must_use]
    pub fn wake_at(&self) -> Option<Moment> {
        let component = self.timers.peek().map(|Reverse((at, ..))| *at);
        let stage = self.stop.as_ref().and_then(|stop| match stop.phase {
            Phase::Propagating(until) => Some(until.min(stop.components_until)),
            Phase::Draining if self.sabotage != Some(Sabotage::IgnoreDeadline) => Some(stop.components_until),
            Phase::Draining | Phase::Forced => None,
        });
        component.into_iter().chain(stage).min().filter(|_| !self.finished)
    }

    /// The service's state.
    #[must_use]
    pub fn service(&self) -> Service {
        self.service
    }

    /// A component's state.
    #[must_use]
    pub fn state(&self, id: Id) -> Component {
        self.cells[id.index()].state
    }

    /// Time charged to a component's stop so far: its drain and release, never its wait for others.
    #[must_use]
    pub fn charged(&self, id: Id) -> Duration {
        self.cells[id.index()].charged
    }

    /// How often a component has been started.
    #[must_use]
    pub fn attempts(&self, id: Id) -> u32 {
        self.cells[id.index()].attempt
    }

    /// The graph it works on.
    #[must_use]
    pub fn graph(&self) -> &Graph {
        &self.graph
    }

    /// The budget it holds.
    #[must_use]
    pub fn budget(&self) -> &Budget {
        &self.plan.budget
    }

    /// The stop policy's word.
    #[must_use]
    pub fn policy(&self) -> &'static str {
        self.policy.word()
    }

    /// The first cause of the stop, and those that came later.
    #[must_use]
    pub fn causes(&self) -> Option<(&Cause, &[Cause])> {
        self.stop.as_ref().map(|stop| (&stop.cause, &stop.later[..]))
    }

    /// The time a component was given: for its start, or for its stop once that was told.
    #[must_use]
    pub fn allowed(&self, id: Id) -> Duration {
        match self.state(id) {
            Component::Starting => self.graph.spec(id).start_within,
            _ => self.cells[id.index()].allowed,
        }
    }

    /// Whether a component is still being opened.
    #[must_use]
    pub fn is_starting(&self) -> bool {
        self.starting > 0
    }
}

/// Inputs.
impl Engine {
    fn take_in(&mut self, input: Input, now: Moment, dice: &mut dyn FnMut() -> u64) {
        match input {
            Input::Begin => self.begin(now),
            Input::Opened(id) => self.opened(id, now),
            Input::StartFailed(id) => self.start_failed(id, now, dice),
            Input::RunEnded { id, ok } => self.run_ended(id, ok, now, dice),
            Input::Drained { id, ok } => self.drained(id, ok, now),
            Input::Closed { id, end } => self.closed(id, end, now),
            Input::Stop(cause) => self.begin_stop(cause, now),
            Input::Force(cause) => self.force(cause, now),
            // Nothing else fires a timer: what was answered in time may still be on its way behind another answer.
            Input::Tick => self.fire_timers(now),
        }
    }

    fn begin(&mut self, now: Moment) {
        if self.service_event(ServiceEvent::Start) {
            for id in self.graph.ids() {
                self.start_if_possible(id, now);
            }
        }
    }

    fn opened(&mut self, id: Id, now: Moment) {
        let cell = &mut self.cells[id.index()];
        cell.ready_at = Some(now);
        if cell.state != Component::Starting {
            return; // it became ready while the order to stop was on its way
        }
        cell.timer = None;
        self.component_event(id, ComponentEvent::Opened);
        self.set_down(id, false);
        self.count_ready(id);
        if self.graph.spec(id).activity != Activity::Finite {
            self.start_dependents(id, now);
        }
    }

    fn start_failed(&mut self, id: Id, now: Moment, dice: &mut dyn FnMut() -> u64) {
        self.cells[id.index()].timer = None;
        if self.state(id) == Component::Starting {
            self.component_event(id, ComponentEvent::OpenFailed);
            self.failed(id, now, dice);
        } else {
            // It failed while the order to stop was on its way: nothing is left to release.
            self.mark_unclean();
            self.over(id, ComponentEvent::ClosedByFailure, now);
        }
    }

    fn run_ended(&mut self, id: Id, ok: bool, now: Moment, dice: &mut dyn FnMut() -> u64) {
        if self.state(id) != Component::Ready {
            return; // it ended while the order to stop was on its way; the answer to that order follows
        }
        self.component_event(id, ComponentEvent::RunEnded);
        if ok && self.graph.spec(id).activity == Activity::Finite {
            let cell = &mut self.cells[id.index()];
            (cell.succeeded, cell.done) = (true, true);
            self.start_dependents(id, now);
            self.stop_if_all_jobs_are_done(now);
        } else if self.stop.is_none() {
            self.cells[id.index()].failed = true;
            self.failed(id, now, dice);
        } else if !ok {
            self.later_cause(Cause::ComponentFailed { component: id });
            self.mark_unclean();
        }
    }

    fn drained(&mut self, id: Id, ok: bool, now: Moment) {
        if self.state(id) != Component::Draining {
            return;
        }
        if !ok {
            self.mark_unclean();
        }
        let cell = &mut self.cells[id.index()];
        cell.charge(now);
        cell.timer = None;
        self.component_event(id, ComponentEvent::Drained);
        if self.cells[id.index()].release_told {
            self.begin_release(id, now);
        } else {
            self.release_if_possible(id, now);
        }
        self.ask_coordinator(now);
    }

    fn closed(&mut self, id: Id, end: End, now: Moment) {
        let event = match end {
            End::Clean => ComponentEvent::Closed,
            End::Failed | End::Leaked => ComponentEvent::ClosedByFailure,
            End::Cut => ComponentEvent::Cut,
        };
        self.leaked |= end == End::Leaked;
        if end != End::Clean || self.cells[id.index()].failed {
            self.mark_unclean();
        }
        self.over(id, event, now);
    }

    fn fire_timers(&mut self, now: Moment) {
        while let Some(&Reverse((at, id, turn))) = self.timers.peek() {
            if at > now {
                break;
            }
            self.timers.pop();
            let cell = &mut self.cells[id as usize];
            if cell.timer_turn == turn
                && let Some(timer) = cell.timer.take()
            {
                self.fire(Id(id), timer, now);
            }
        }
        let Some(stop) = &self.stop else { return };
        if stop.phase != Phase::Forced
            && now >= stop.components_until
            && self.sabotage != Some(Sabotage::IgnoreDeadline)
        {
            self.force_stage(now);
        } else if let Phase::Propagating(until) = stop.phase
            && now >= until
        {
            self.quiesce(now);
        }
    }

    fn fire(&mut self, id: Id, timer: Timer, now: Moment) {
        match timer {
            Timer::Retry => self.start_if_possible(id, now),
            // Whether anything had to be cut off, and was not just ending, its answer says.
            Timer::Start | Timer::Limit => self.cut(id, false, CUT_GRACE, now),
            Timer::Cut => self.abandon(id, now),
        }
    }
}

/// Starting.
impl Engine {
    /// Starts a component if all that it waits for is there.
    fn start_if_possible(&mut self, id: Id, now: Moment) {
        let cell = &self.cells[id.index()];
        let waiting = matches!(cell.state, Component::Declared | Component::Retrying);
        if !waiting || self.stop.is_some() || self.service == Service::Initialized {
            return;
        }
        if self.graph.spec(id).role == Role::Registrar && self.essentials_missing > 0 {
            return;
        }
        let needs_are_up = self.graph.needs(id).iter().all(|need| match need.edge {
            Edge::Soft => true,
            Edge::Hard => self.is_satisfied(need.on) && self.lends(need.on),
            Edge::StartOnly => self.is_satisfied(need.on),
        });
        let users_are_down = self
            .graph
            .dependents(id)
            .iter()
            .all(|user| user.edge != Edge::Hard || !self.cells[user.on.index()].is_alive());
        let needs_are_up = needs_are_up || self.sabotage == Some(Sabotage::StartEarly);
        if !needs_are_up || !users_are_down {
            return;
        }
        if cell.not_before > now {
            let at = cell.not_before;
            self.set_timer(id, Timer::Retry, at);
            return;
        }
        self.start(id, now);
    }

    fn start(&mut self, id: Id, now: Moment) {
        let limit = self.graph.spec(id).start_within;
        self.component_event(id, ComponentEvent::Start);
        let cell = &mut self.cells[id.index()];
        cell.attempt += 1;
        cell.ready_at = None;
        cell.recycle = false;
        cell.failed = false;
        cell.done = false;
        cell.release_told = false;
        cell.charged = Duration::ZERO;
        cell.charging_since = None;
        let attempt = cell.attempt;
        self.set_timer(id, Timer::Start, now.saturating_add(limit));
        self.out.push(Command::Start { id, attempt });
    }

    fn start_dependents(&mut self, id: Id, now: Moment) {
        for i in 0..self.graph.dependents(id).len() {
            let user = self.graph.dependents(id)[i].on;
            self.start_if_possible(user, now);
        }
    }

    /// Whether those who need this component may start: it has become ready, or, if it is a job, has succeeded.
    fn is_satisfied(&self, id: Id) -> bool {
        let cell = &self.cells[id.index()];
        match self.graph.spec(id).activity {
            Activity::Finite => cell.succeeded,
            Activity::Passive | Activity::Running => cell.counted_ready,
        }
    }

    /// Whether its value may be held on to anew. What is about to restart is still up, and must not be before it has;
    /// nor a job that runs once more, before it has succeeded once more.
    fn lends(&self, id: Id) -> bool {
        let cell = &self.cells[id.index()];
        let done = cell.done || self.graph.spec(id).activity != Activity::Finite;
        self.is_up(id) && !cell.recycle && done
    }

    /// Whether its value is lent right now.
    fn is_up(&self, id: Id) -> bool {
        matches!(self.state(id), Component::Ready | Component::Ended)
    }

    /// Counts the first time that a component becomes ready towards the state of the service.
    fn count_ready(&mut self, id: Id) {
        let first = !std::mem::replace(&mut self.cells[id.index()].counted_ready, true);
        let spec = self.graph.spec(id);
        if first && spec.weight == Weight::Essential {
            match spec.role {
                Role::Registrar => self.registrars_missing -= 1,
                Role::Inner | Role::Intake => self.essentials_missing -= 1,
            }
        }
    }

    /// Moves the service on where the components allow it; ends the run when all are over.
    fn settle(&mut self, now: Moment) {
        if self.stop.is_none() {
            self.settle_start(now);
        }
        self.publish_readiness();
        self.finish_if_all_are_over();
    }

    fn settle_start(&mut self, now: Moment) {
        if self.service == Service::Starting && self.essentials_missing == 0 {
            self.service_event(ServiceEvent::EssentialsReady);
            for id in self.graph.ids() {
                if self.graph.spec(id).role == Role::Registrar {
                    self.start_if_possible(id, now);
                }
            }
        }
        if self.service == Service::Ready && self.registrars_missing == 0 {
            self.service_event(ServiceEvent::Registered);
            self.out.push(Command::Gate(true));
            self.stop_if_all_jobs_are_done(now);
        }
    }

    fn publish_readiness(&mut self) {
        let ready = self.service.takes_traffic() && self.essentials_down == 0;
        let ready = ready || (self.ready && self.sabotage == Some(Sabotage::StayReady));
        if ready != self.ready {
            self.ready = ready;
            self.out.push(Command::Readiness(ready));
        }
    }

    /// Keeps count of essential components that were ready once and are not now.
    fn set_down(&mut self, id: Id, down: bool) {
        let cell = &mut self.cells[id.index()];
        if cell.down != down && self.graph.spec(id).weight == Weight::Essential {
            cell.down = down;
            if down {
                self.essentials_down += 1;
            } else {
                self.essentials_down -= 1;
            }
        }
    }

    fn stop_if_all_jobs_are_done(&mut self, now: Moment) {
        let specs = self.graph.specs();
        let has_jobs = specs.iter().any(|s| s.activity == Activity::Finite);
        let nothing_else = !specs.iter().any(|s| s.activity == Activity::Running && s.weight == Weight::Essential);
        let settled = specs
            .iter()
            .zip(&self.cells)
            .all(|(spec, cell)| spec.activity != Activity::Finite || cell.done || cell.gave_up);
        if has_jobs && nothing_else && settled && self.service == Service::Running {
            self.begin_stop(Cause::Finished, now);
        }
    }
}

/// Failing and starting again.
impl Engine {
    /// A component failed and nobody has asked for a stop: its weight and its restart policy decide.
    fn failed(&mut self, id: Id, now: Moment, dice: &mut dyn FnMut() -> u64) {
        if self.stop.is_some() {
            self.later_cause(Cause::ComponentFailed { component: id });
            self.mark_unclean();
            return;
        }
        let spec = self.graph.spec(id);
        let policy = match (spec.restart, spec.weight) {
            (Some(policy), _) => Some(policy),
            (None, Weight::Optional) => Some(Restart::unlimited()),
            (None, Weight::Essential) => None,
        };
        let was_ready_for = self.cells[id.index()].ready_at.map_or(Duration::ZERO, |at| now.saturating_sub(at));
        let verdict = policy.map(|policy| self.cells[id.index()].history.failed(now, was_ready_for, &policy, dice()));
        match verdict {
            Some(Verdict::Again { wait, .. }) => self.recycle(id, wait, now),
            Some(Verdict::GiveUp { failures }) => {
                self.out.push(Command::GaveUp { id, failures });
                self.give_up(id, now);
            }
            None => self.give_up(id, now),
        }
    }

    fn give_up(&mut self, id: Id, now: Moment) {
        let spec = self.graph.spec(id);
        if spec.weight == Weight::Optional && self.sabotage != Some(Sabotage::OptionalIsEssential) {
            let cell = &mut self.cells[id.index()];
            (cell.gave_up, cell.recycle) = (true, false);
            if self.state(id) == Component::Ended {
                self.tell_to_stop(id, now);
            }
            self.stop_if_all_jobs_are_done(now);
            return;
        }
        let cause = if matches!(self.service, Service::Starting | Service::Ready)
            && self.cells[id.index()].ready_at.is_none()
        {
            Cause::StartFailed { component: id }
        } else {
            Cause::ComponentFailed { component: id }
        };
        self.begin_stop(cause, now);
    }

    /// Stops a component and all that hold on to it, to start them again (L15).
    fn recycle(&mut self, id: Id, wait: Duration, now: Moment) {
        let with: Vec<Id> = self
            .graph
            .hard_dependents_closure(id)
            .into_iter()
            .filter(|user| self.cells[user.index()].is_alive() && !self.cells[user.index()].gave_up)
            .collect();
        self.cells[id.index()].not_before = now.saturating_add(wait);
        for &member in with.iter().chain([&id]) {
            let cell = &mut self.cells[member.index()];
            (cell.recycle, cell.done) = (true, false);
        }
        self.out.push(Command::Restarting { id, with: with.clone(), wait });
        for &member in with.iter().chain([&id]) {
            self.recycle_step(member, now);
        }
    }

    /// Takes a component that is to be started again one step further, if those who hold its value are gone.
    fn recycle_step(&mut self, id: Id, now: Moment) {
        match self.state(id) {
            Component::Starting | Component::Ready | Component::Ended if self.users_are_gone(id) => {
                self.tell_to_stop(id, now);
            }
            Component::Drained => self.release_if_possible(id, now),
            Component::Released | Component::Failed | Component::Aborted => {
                self.component_event(id, ComponentEvent::Retry);
                self.start_if_possible(id, now);
            }
            _ => {}
        }
    }
}

/// Stopping.
impl Engine {
    fn begin_stop(&mut self, cause: Cause, now: Moment) {
        if self.stop.is_some() {
            self.later_cause(cause);
            return;
        }
        let served = self.service == Service::Running;
        let propagation = self.propagation(served);
        self.stop = Some(Stopping {
            cause,
            later: Vec::new(),
            forced_by: None,
            phase: Phase::Propagating(now.saturating_add(propagation)),
            components_until: now.saturating_add(self.plan.budget.total.saturating_sub(self.plan.budget.reserve)),
            below: self.plan.below(&self.graph, |id| self.cells[id.index()].is_alive()),
            coordinator_done: false,
            unclean: false,
        });
        if !self.service_event(ServiceEvent::Stop) {
            return;
        }
        self.publish_readiness();
        self.out.push(Command::StopBegan { propagation });
        self.drop_what_is_not_up(now);
        if propagation.is_zero() {
            self.quiesce(now);
        }
    }

    fn propagation(&self, served: bool) -> Duration {
        let intakes = self.graph.specs().iter().any(|s| s.role == Role::Intake);
        if served && intakes { self.plan.budget.propagation_delay } else { Duration::ZERO }
    }

    /// What has not started is skipped, what is starting gives up, and registrars go first.
    fn drop_what_is_not_up(&mut self, now: Moment) {
        for id in self.graph.ids() {
            let cell = &mut self.cells[id.index()];
            cell.recycle = false;
            match cell.state {
                Component::Declared if self.sabotage == Some(Sabotage::StartWhileStopping) => self.start(id, now),
                Component::Declared | Component::Retrying => {
                    cell.timer = None;
                    self.over(id, ComponentEvent::Skip, now);
                }
                Component::Starting => self.tell_to_stop(id, now),
                Component::Ready if self.graph.spec(id).role == Role::Registrar => self.tell_to_stop(id, now),
                _ => {}
            }
        }
    }

    /// External intakes close at once; then the policy says who is next.
    fn quiesce(&mut self, now: Moment) {
        self.stop_mut().phase = Phase::Draining;
        self.out.push(Command::Gate(false));
        for id in self.graph.ids() {
            if self.graph.spec(id).role == Role::Intake && self.is_up(id) {
                self.tell_to_stop(id, now);
            }
        }
        if matches!(self.policy, Policy::Broadcast) {
            for id in self.graph.ids() {
                if self.is_up(id) {
                    self.tell_to_stop(id, now);
                }
            }
        }
        for id in self.graph.ids() {
            self.stop_step(id, now);
        }
        self.ask_coordinator(now);
    }

    /// Takes a component one step further in the stop, if its turn has come.
    fn stop_step(&mut self, id: Id, now: Moment) {
        let Some(stop) = &self.stop else { return };
        if stop.phase != Phase::Draining {
            return;
        }
        match self.state(id) {
            Component::Ready | Component::Ended if self.reverse_order() && self.users_are_gone(id) => {
                self.tell_to_stop(id, now);
            }
            Component::Drained => self.release_if_possible(id, now),
            Component::Draining => self.allow_release(id),
            _ => {}
        }
    }

    fn reverse_order(&self) -> bool {
        match self.policy {
            Policy::Broadcast => false,
            Policy::Reverse => true,
            Policy::Coordinator(_) => self.stop.as_ref().is_some_and(|stop| stop.coordinator_done),
        }
    }

    fn ask_coordinator(&mut self, now: Moment) {
        let asks = |stop: &Stopping| stop.phase == Phase::Draining && !stop.coordinator_done;
        if !self.stop.as_ref().is_some_and(asks) {
            return;
        }
        let Policy::Coordinator(coordinator) = &mut self.policy else { return };
        let cells = &self.cells;
        let state = |id: Id| cells[id.index()].state;
        let view = StopView { graph: &self.graph, state: &state };
        if view.waiting().next().is_none() {
            return;
        }
        let choice = coordinator.next(&view);
        if let Some(text) = coordinator.failure() {
            self.out.push(Command::CoordinatorFailed(text));
            self.mark_unclean();
        }
        match choice {
            Choice::Stop(next) => {
                for id in next {
                    if self.graph.ids().any(|known| known == id) && self.is_up(id) {
                        self.tell_to_stop(id, now);
                    }
                }
                let moving = |cell: &Cell| matches!(cell.state, Component::Draining | Component::Releasing);
                if !self.cells.iter().any(moving) {
                    self.out.push(Command::CoordinatorStuck);
                    self.go_on_in_reverse(now);
                }
            }
            Choice::Rest => self.go_on_in_reverse(now),
        }
    }

    fn go_on_in_reverse(&mut self, now: Moment) {
        self.stop_mut().coordinator_done = true;
        for id in self.graph.ids() {
            self.stop_step(id, now);
        }
    }

    /// Tells a component to stop, exactly once for each incarnation.
    fn tell_to_stop(&mut self, id: Id, now: Moment) {
        if self.sabotage == Some(Sabotage::ForgetOne) && id.0 == 0 && self.graph.len() > 1 {
            return;
        }
        if !self.component_event(id, ComponentEvent::Stop) {
            return;
        }
        self.set_down(id, true);
        let gone = self.users_are_gone(id);
        let allowed = self.allowance(id, now);
        let cell = &mut self.cells[id.index()];
        cell.allowed = allowed;
        cell.charging_since = Some(now);
        cell.release_told = gone;
        self.set_timer(id, Timer::Limit, now.saturating_add(allowed));
        self.out.push(Command::Stop { id, allowed });
        if self.sabotage == Some(Sabotage::StopTwice) && id.index() + 1 == self.graph.len() {
            self.out.push(Command::Stop { id, allowed });
        }
    }

    /// Notes that a component which is still draining may be released as soon as it has drained.
    fn allow_release(&mut self, id: Id) {
        if self.users_are_gone(id) {
            self.cells[id.index()].release_told = true;
        }
    }

    fn release_if_possible(&mut self, id: Id, now: Moment) {
        if self.state(id) == Component::Drained && self.users_are_gone(id) {
            self.begin_release(id, now);
        }
    }

    fn begin_release(&mut self, id: Id, now: Moment) {
        self.component_event(id, ComponentEvent::Release);
        let used = self.cells[id.index()].charged;
        let allowed = self.release_allowance(id, used, now);
        let cell = &mut self.cells[id.index()];
        cell.release_told = true;
        cell.charging_since = Some(now);
        cell.allowed = used.saturating_add(allowed);
        self.set_timer(id, Timer::Limit, now.saturating_add(allowed));
        self.out.push(Command::Release { id, allowed });
    }

    /// Time for drain and release together: the component's limit, or its share of what remains.
    fn allowance(&self, id: Id, now: Moment) -> Duration {
        let limit = self.graph.spec(id).stop_within.total();
        match &self.stop {
            _ if self.sabotage == Some(Sabotage::IgnoreDeadline) => limit,
            None => limit,
            Some(stop) => {
                let remaining = stop.components_until.saturating_sub(now);
                self.plan.share(id, Duration::ZERO, stop.below[id.index()], remaining)
            }
        }
    }

    /// What is left of it for the release; after a drain that used up everything, a last chance.
    fn release_allowance(&self, id: Id, used: Duration, now: Moment) -> Duration {
        let limit = self.graph.spec(id).stop_within.total();
        let left = limit.saturating_sub(used).max(LAST_CHANCE.min(limit));
        match &self.stop {
            None => left,
            Some(stop) => {
                let remaining = stop.components_until.saturating_sub(now);
                let share = self.plan.share(id, used, stop.below[id.index()], remaining);
                share.max(LAST_CHANCE.min(limit).min(remaining))
            }
        }
    }

    /// Whether nobody may hold this component's value any more.
    fn users_are_gone(&self, id: Id) -> bool {
        if self.sabotage == Some(Sabotage::ReleaseEarly) {
            return true;
        }
        let stopping = self.stop.is_some();
        self.graph.dependents(id).iter().all(|user| {
            let binds = user.edge == Edge::Hard || (stopping && user.edge == Edge::Soft);
            !binds || !self.cells[user.on.index()].is_alive()
        })
    }

    /// A component is over. Those it held on to may have their turn now.
    fn over(&mut self, id: Id, event: ComponentEvent, now: Moment) {
        let cell = &mut self.cells[id.index()];
        if cell.state.is_over() {
            return; // abandoned, and ended after all
        }
        cell.charge(now);
        cell.timer = None;
        if !self.component_event(id, event) {
            return;
        }
        if self.stop.is_none() {
            self.over_while_running(id, now);
            return;
        }
        for i in 0..self.graph.needs(id).len() {
            let on = self.graph.needs(id)[i].on;
            self.stop_step(on, now);
        }
        self.ask_coordinator(now);
    }

    /// One of a restart waits for its next start now; those it held on to may have waited for its end.
    fn over_while_running(&mut self, id: Id, now: Moment) {
        if self.cells[id.index()].recycle && self.state(id) == Component::Abandoned {
            // What cannot be ended is never started again: two of it would run.
            self.cells[id.index()].recycle = false;
            self.give_up(id, now);
        } else if self.cells[id.index()].recycle {
            self.recycle_step(id, now);
        }
        for i in 0..self.graph.needs(id).len() {
            let on = self.graph.needs(id)[i].on;
            if self.cells[on.index()].recycle {
                self.recycle_step(on, now);
            }
            self.start_if_possible(on, now);
        }
    }
}

/// Forcing.
impl Engine {
    fn cut(&mut self, id: Id, all: bool, grace: Duration, now: Moment) {
        self.set_timer(id, Timer::Cut, now.saturating_add(grace));
        self.out.push(Command::Cut { id, all });
    }

    fn abandon(&mut self, id: Id, now: Moment) {
        self.out.push(Command::Abandon(id));
        self.leaked = true;
        let was_starting = self.state(id) == Component::Starting;
        self.mark_unclean();
        self.over(id, ComponentEvent::Leak, now);
        if was_starting && self.stop.is_none() {
            // An opening that cannot be ended is never tried again: two of it would run.
            self.give_up(id, now);
        }
    }

    fn force(&mut self, cause: Cause, now: Moment) {
        if self.stop.is_none() {
            self.begin_stop(cause.clone(), now);
        } else {
            self.later_cause(cause.clone());
        }
        if let Some(stop) = &mut self.stop {
            stop.forced_by.get_or_insert(cause);
            if stop.phase != Phase::Forced {
                self.force_stage(now);
            }
        }
    }

    /// Everything that is left is cut off now.
    fn force_stage(&mut self, now: Moment) {
        if self.service.is_over() || self.all_are_over() {
            return; // the last one ended in this very step
        }
        self.stop_mut().phase = Phase::Forced;
        self.out.push(Command::ForcedStage);
        // Half of the reserve stays for the last flush, however small the budget is.
        let grace = FORCED_GRACE.min(self.plan.budget.reserve / 2);
        for id in self.graph.ids() {
            if self.is_up(id) {
                self.tell_to_stop(id, now);
            }
            if self.cells[id.index()].is_alive() {
                self.mark_unclean();
                self.cut(id, true, grace, now);
            }
        }
    }

    fn finish_if_all_are_over(&mut self) {
        if self.finished {
            return;
        }
        let Some(stop) = &self.stop else { return };
        if !self.all_are_over() {
            return;
        }
        let outcome = match (&stop.forced_by, &stop.cause) {
            (Some(Cause::Signal { number, .. }), _) => Outcome::Forced(*number),
            (_, Cause::StartFailed { .. }) => Outcome::StartFailed,
            (_, Cause::ComponentFailed { .. }) => Outcome::ComponentFailed,
            _ if stop.unclean || self.leaked || stop.forced_by.is_some() => Outcome::NotClean,
            _ => Outcome::Clean,
        };
        let outcome = if self.sabotage == Some(Sabotage::CallItClean) { Outcome::Clean } else { outcome };
        self.finished = true;
        let event = match outcome {
            Outcome::Clean | Outcome::NotClean | Outcome::Forced(_) => ServiceEvent::Ended,
            Outcome::StartFailed | Outcome::ComponentFailed => ServiceEvent::EndedByFailure,
        };
        if self.service == Service::Stopping {
            self.service_event(event);
        }
        self.out.push(Command::Finish(outcome));
    }

    fn all_are_over(&self) -> bool {
        if self.sabotage == Some(Sabotage::ForgetOne) {
            return self.cells.iter().skip(1).all(|cell| !cell.is_alive());
        }
        self.not_over == 0
    }
}

/// Bookkeeping.
impl Engine {
    fn service_event(&mut self, event: ServiceEvent) -> bool {
        let from = self.service;
        match from.on(event) {
            Step::To(to) => {
                self.service = to;
                self.out.push(Command::Service { from, to });
                true
            }
            Step::AlreadySo | Step::NotAllowed => false,
        }
    }

    fn component_event(&mut self, id: Id, event: ComponentEvent) -> bool {
        let from = self.state(id);
        let Step::To(to) = from.on(event) else { return false };
        let leaps = self.sabotage == Some(Sabotage::LeapState) && to == Component::Ready;
        let to = if leaps { Component::Ended } else { to };
        self.cells[id.index()].state = to;
        match (from.is_over(), to.is_over()) {
            (false, true) => self.not_over -= 1,
            (true, false) => self.not_over += 1,
            _ => {}
        }
        self.starting += usize::from(to == Component::Starting);
        self.starting -= usize::from(from == Component::Starting);
        if to == Component::Ended && self.graph.spec(id).activity != Activity::Finite {
            self.set_down(id, true);
        }
        self.out.push(Command::Component { id, to });
        true
    }

    fn set_timer(&mut self, id: Id, timer: Timer, at: Moment) {
        let cell = &mut self.cells[id.index()];
        cell.timer = Some(timer);
        cell.timer_turn = cell.timer_turn.wrapping_add(1);
        self.timers.push(Reverse((at, id.0, cell.timer_turn)));
    }

    fn later_cause(&mut self, cause: Cause) {
        let loses = self.sabotage == Some(Sabotage::LoseFirstCause);
        if let Some(stop) = &mut self.stop {
            if loses {
                stop.cause = cause;
            } else if stop.later.len() < LATER_CAUSES_MAX {
                stop.later.push(cause);
            }
        }
    }

    fn mark_unclean(&mut self) {
        if let Some(stop) = &mut self.stop {
            stop.unclean = true;
        }
    }

    fn stop_mut(&mut self) -> &mut Stopping {
        self.stop.as_mut().expect("called only after begin_stop")
    }
}
