//! The driver: carries out what the engine decides, and tells it what happened.
//!
//! One task, one inbox. It never runs user code (the coordinator of a stop excepted) and never waits for anything but its
//! inbox and the engine's next moment, so it always answers. In a program it has a thread of its own; in a test and in
//! the simulation it shares the runtime, and with it a simulated clock.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use evenkeel_events::{Event, Receipt};
use evenkeel_plan::{
    cause::{Cause, Outcome},
    engine::{Command, Engine, Input, Moment},
    lifecycle::{Component, Service, Step},
    limit::seconds,
    spec::{Activity, Id, Role},
};
use tokio::{
    runtime,
    sync::{
        mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
        oneshot, watch,
    },
    task::AbortHandle,
    time::Instant,
};

use crate::{
    app::Built,
    dice::Dice,
    error::Failure,
    heartbeat::Heartbeats,
    holding::Holding,
    lease::lock,
    life::{Life, Report, What},
    part::{Incarnation, Orders, Part, Watchpoint},
    polls::{self, Busy},
    record::{COORDINATOR, Recorder},
    sampler::Sampler,
    scope::Scope,
    status::Status,
    stop::{Gate, Stop},
};

/// What reaches the driver. Senders never wait: each incarnation sends at most five reports, and requests come from
/// connections that are limited in number.
#[derive(Debug)]
pub(crate) enum Message {
    Report(Report),
    Stop(Cause),
    Force(Cause),
    Pause(oneshot::Sender<Step<Service>>),
    Resume(oneshot::Sender<Step<Service>>),
    Status(oneshot::Sender<Status>),
    Warn { text: String, hint: Option<String> },
}

/// What others may see of the run without asking.
pub(crate) struct Shared {
    pub(crate) service: watch::Sender<Service>,
    pub(crate) readiness: watch::Sender<bool>,
    /// Whether the service ever ran; who looks at its state may have been too slow to see it.
    pub(crate) ran: AtomicBool,
    pub(crate) recorder: Mutex<Recorder>,
    /// Where the admin listener answers, if there is one.
    pub(crate) admin: OnceLock<String>,
}

/// Told when a stop begins and when its forced stage does: the guardian's side of the driver.
pub(crate) trait Hooks: Send {
    /// The stop has begun and has to end within `budget`.
    fn stop_began(&mut self, _budget: Duration) {}

    /// The service runs for the first time: it takes traffic now.
    fn running(&mut self) {}
}

/// For a run that nobody guards.
pub(crate) struct NoHooks;
impl Hooks for NoHooks {}

/// Looks on: sees every step and may put an input of its own after it. For the simulation.
pub type Observer = Box<dyn FnMut(Moment, &[Command]) -> Option<Input> + Send>;

/// See the module documentation.
pub(crate) struct Driver {
    engine: Engine,
    parts: Vec<Arc<Part>>,
    lives: Vec<Option<AbortHandle>>,
    notes: Vec<Option<String>>,
    began: Vec<Moment>,
    heartbeats: Heartbeats,
    runtime: runtime::Handle,
    inbox: UnboundedReceiver<Message>,
    outbox: UnboundedSender<Message>,
    epoch: Instant,
    dice: Dice,
    gate: Arc<Gate>,
    shared: Arc<Shared>,
    sampler: Option<Sampler>,
    hooks: Box<dyn Hooks>,
    observer: Option<Observer>,
    outcome: Option<Outcome>,
    /// Failed by themselves, as the log has said, and not over yet.
    broke_off: BTreeSet<Id>,
    /// What held the runtime's threads when a component was cut off.
    busy: BTreeMap<Id, Vec<Busy>>,
}

/// What a run is driven with.
pub(crate) struct Harness {
    /// Where components run.
    pub(crate) runtime: runtime::Handle,
    pub(crate) hooks: Box<dyn Hooks>,
    pub(crate) observer: Option<Observer>,
    pub(crate) dice: Dice,
    /// Whether to look for code that blocks threads: needs a real clock and a thread of the driver's own.
    pub(crate) samples: bool,
    #[cfg(feature = "sabotage")]
    pub(crate) plant: Option<evenkeel_plan::engine::Sabotage>,
}

impl Harness {
    pub(crate) fn on(runtime: runtime::Handle) -> Self {
        Self {
            runtime,
            hooks: Box::new(NoHooks),
            observer: None,
            dice: Dice::loaded(),
            samples: true,
            #[cfg(feature = "sabotage")]
            plant: None,
        }
    }
}

impl Driver {
    pub(crate) fn new(built: Built, harness: Harness) -> Self {
        let (outbox, inbox) = unbounded_channel();
        let Built { name, parts, graph, plan, settings, heartbeats } = built;
        let budget = plan.budget;
        let recorder = Recorder::new(&name, budget.total, settings.policy.word(), parts.clone());
        let engine = Engine::new(graph, plan, settings.policy);
        #[cfg(feature = "sabotage")]
        let engine = {
            let mut engine = engine;
            if let Some(bug) = harness.plant {
                engine.plant(bug);
            }
            engine
        };
        let shared = Shared {
            service: watch::Sender::new(engine.service()),
            readiness: watch::Sender::new(false),
            ran: AtomicBool::new(false),
            recorder: Mutex::new(recorder),
            admin: OnceLock::new(),
        };
        Self {
            lives: parts.iter().map(|_| None).collect(),
            notes: parts.iter().map(|_| None).collect(),
            began: vec![Moment::ZERO; parts.len()],
            heartbeats: Heartbeats::new(heartbeats),
            broke_off: BTreeSet::new(),
            busy: BTreeMap::new(),
            parts,
            engine,
            runtime: harness.runtime,
            inbox,
            outbox,
            epoch: Instant::now(),
            dice: harness.dice,
            gate: Gate::shut(),
            shared: Arc::new(shared),
            sampler: harness.samples.then(Sampler::default),
            hooks: harness.hooks,
            observer: harness.observer,
            outcome: None,
        }
    }

    pub(crate) fn outbox(&self) -> UnboundedSender<Message> {
        self.outbox.clone()
    }

    pub(crate) fn gate(&self) -> Arc<Gate> {
        self.gate.clone()
    }

    pub(crate) fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    pub(crate) fn parts(&self) -> Vec<Arc<Part>> {
        self.parts.clone()
    }

    /// Runs the app from its start to its end and returns the receipt.
    pub(crate) async fn drive(mut self) -> Receipt {
        self.feed(Input::Begin);
        while self.outcome.is_none() {
            let wake = self.engine.wake_at().map(|at| self.epoch + at);
            let sample = self.sampler.as_ref().filter(|_| self.engine.is_starting()).map(Sampler::next);
            tokio::select! {
                biased;
                message = self.inbox.recv() => self.take_in(message.expect("the driver holds a sender itself")),
                () = until(wake) => {}
                () = until(sample) => self.sample(),
            }
            // What is there already came before whatever timer is due: whoever has answered is not cut off for it. Few
            // messages can be there, see `Message`.
            while self.outcome.is_none()
                && let Ok(message) = self.inbox.try_recv()
            {
                self.take_in(message);
            }
            if self.outcome.is_none() && self.engine.wake_at().is_some_and(|at| at <= self.now()) {
                self.feed(Input::Tick);
            }
        }
        let outcome = self.outcome.expect("the loop ends with it");
        let receipt = lock(&self.shared.recorder).receipt(outcome, self.now());
        self.leave_to_the_runtime();
        receipt
    }

    /// Values of what was left behind: dropping them is user code, which may block or panic, and has no place here.
    fn leave_to_the_runtime(&self) {
        for part in &self.parts {
            let (mark, Some(value)) = (part.mark, part.take_slot()) else { continue };
            let drops = async move { drop(polls::guarded(mark, || drop(value))) };
            // A runtime that is gone drops it at once.
            drop(polls::guarded(mark, || drop(self.runtime.spawn(drops))));
        }
    }

    fn now(&self) -> Moment {
        self.epoch.elapsed()
    }

    fn feed(&mut self, input: Input) {
        let mut next = Some(input);
        // An observer puts in one input for each step at most, and the engine ignores what changes nothing.
        while let Some(input) = next.take() {
            let now = self.now();
            let dice = &mut self.dice;
            let commands = self.engine.handle(input, now, &mut || dice.roll());
            self.carry_out(&commands, now);
            next = self.observer.as_mut().and_then(|observer| observer(now, &commands));
        }
    }

    fn take_in(&mut self, message: Message) {
        match message {
            Message::Report(report) => self.report(report),
            Message::Stop(cause) => {
                self.note_later_cause(&cause);
                self.feed(Input::Stop(cause));
            }
            Message::Force(cause) => {
                self.note_later_cause(&cause);
                self.feed(Input::Force(cause));
            }
            // Who asked may be gone by now; the pause stands all the same.
            Message::Pause(reply) => drop(reply.send(self.pause(Engine::pause))),
            Message::Resume(reply) => drop(reply.send(self.pause(Engine::resume))),
            Message::Status(reply) => drop(reply.send(self.status())),
            Message::Warn { text, hint } => {
                Event::Warning { text: &text, hint: hint.as_deref() }.log();
                lock(&self.shared.recorder).warn(text);
            }
        }
    }

    fn pause(&mut self, change: fn(&mut Engine) -> (Step<Service>, Vec<Command>)) -> Step<Service> {
        let (answer, commands) = change(&mut self.engine);
        let now = self.now();
        self.carry_out(&commands, now);
        answer
    }

    fn note_later_cause(&self, cause: &Cause) {
        if self.engine.causes().is_some() {
            let word = lock(&self.shared.recorder).word(cause);
            Event::LaterCause { cause: &word }.log();
        }
    }

    fn status(&mut self) -> Status {
        let ready = *self.shared.readiness.borrow();
        let admin = self.shared.admin.get().cloned();
        let mut status = Status { admin, ..Status::of(&self.engine, &self.parts, &self.notes, ready, self.now()) };
        for (component, part) in status.components.iter_mut().zip(&self.parts) {
            component.holding = self.holding(part).map(Box::new);
        }
        let (now, engine, parts) = (self.now(), &self.engine, &self.parts);
        let beats = |id: Id| {
            let is_ready = engine.state(id) == Component::Ready;
            parts[id.index()].incarnation().filter(|_| is_ready).map(|it| (engine.attempts(id), it.scope.beats()))
        };
        for (id, silent, limit) in self.heartbeats.look(now, beats) {
            let text = format!("no heartbeat for {} (limit {})", seconds(silent), seconds(limit));
            status.components[id.index()].stuck = Some(text);
        }
        status
    }

    /// What holds the stop of a component that is being stopped.
    fn holding(&self, part: &Part) -> Option<Holding> {
        let is_stopping = matches!(self.engine.state(part.id), Component::Draining | Component::Releasing);
        let left = lock(&self.shared.recorder).left(part.id, self.now()).filter(|_| is_stopping)?;
        Some(Holding::of(part, self.doing(part.id), left))
    }
}

/// Reports of components.
impl Driver {
    fn report(&mut self, report: Report) {
        let Report { id, attempt, what } = report;
        if attempt != self.engine.attempts(id) {
            return; // an incarnation that was abandoned has ended after all
        }
        let input = match what {
            What::Opened { note } => {
                self.notes[id.index()] = note;
                Input::Opened(id)
            }
            What::StartFailed(failure) => {
                self.failed(id, failure);
                Input::StartFailed(id)
            }
            What::RunEnded(result) => {
                let ok = result.is_ok();
                self.note_end(id, result);
                Input::RunEnded { id, ok }
            }
            What::Drained(result) => {
                let ok = result.is_ok();
                result.map_err(|failure| self.failed(id, failure)).ok();
                Input::Drained { id, ok }
            }
            What::Closed { end, failure, leases } => {
                if let Some(failure) = failure {
                    self.failed(id, failure);
                }
                self.note_leases(id, leases);
                self.note_counts(id);
                Input::Closed { id, end }
            }
        };
        self.feed(input);
    }

    fn failed(&self, id: Id, failure: Failure) {
        lock(&self.shared.recorder).failed(id, failure);
    }

    fn note_end(&self, id: Id, result: Result<(), Failure>) {
        match result {
            Err(failure) => self.failed(id, failure),
            Ok(()) if self.parts[id.index()].spec.activity == Activity::Finite => {}
            // It ended while the order to stop was on its way, or in a stop that had not come to it yet.
            Ok(()) if self.engine.causes().is_some() || self.engine.state(id) != Component::Ready => {}
            Ok(()) => self.failed(id, early_end()),
        }
    }

    fn note_leases(&self, id: Id, leases: Vec<String>) {
        if !leases.is_empty() {
            Event::LeasesLeaked { component: self.name(id), holders: &leases.join("; ") }.log();
            let slot = self.parts[id.index()].slot();
            let holders = slot.map(|slot| slot.outstanding()).unwrap_or_default();
            let holders = holders.iter().map(|holder| holder.holder.to_string()).collect();
            lock(&self.shared.recorder).leases(id, leases, holders);
        }
    }

    fn note_counts(&self, id: Id) {
        if let Some(incarnation) = self.parts[id.index()].incarnation() {
            let (drained, aborted) = incarnation.scope.counts();
            lock(&self.shared.recorder).counts(id, drained, aborted);
            #[cfg(feature = "http")]
            let lost = incarnation.scope.lost();
            #[cfg(feature = "http")]
            lock(&self.shared.recorder).lost(id, lost);
        }
    }

    fn name(&self, id: Id) -> &str {
        self.parts[id.index()].name()
    }
}

/// When a component that has just failed alone is tried again.
fn retry_in(id: Id, commands: &[Command]) -> Option<Duration> {
    commands.iter().find_map(|command| match command {
        Command::Restarting { id: other, with, wait } if *other == id && with.is_empty() => Some(*wait),
        _ => None,
    })
}

fn early_end() -> Failure {
    Failure::text("it returned `Ok` though nobody told it to stop")
        .with_hint("let it run until `stop.requested()`, or declare it `.finite()` if it is a job")
}

/// Commands of the engine.
impl Driver {
    fn carry_out(&mut self, commands: &[Command], now: Moment) {
        let mut said = None;
        for command in commands {
            match command {
                Command::Service { from, to } => {
                    Event::Service { from: *from, to: *to }.log();
                    self.shared.ran.fetch_or(*to == Service::Running, Ordering::Release);
                    self.shared.service.send_replace(*to);
                    if (*from, *to) == (Service::Ready, Service::Running) {
                        self.hooks.running();
                    }
                }
                Command::Component { id, to } => {
                    let retry_in = retry_in(*id, commands);
                    said = self.component_moved(*id, *to, now, retry_in).then_some(*id).or(said);
                }
                Command::Readiness(ready) => drop(self.shared.readiness.send_replace(*ready)),
                Command::Gate(false) if self.engine.causes().is_some() => self.gate.shut_for_good(),
                Command::Gate(open) => self.gate.set(*open),
                Command::Start { id, attempt } => self.start(*id, *attempt, now),
                Command::Stop { id, allowed } => self.stop(*id, *allowed, now),
                Command::Release { id, allowed } => {
                    lock(&self.shared.recorder).told_to_release(*id, now, *allowed);
                    self.incarnation(*id, |it| it.tell_release(*allowed));
                }
                Command::Cut { id, all } => self.cut(*id, *all),
                Command::Abandon(id) => self.abandon(*id),
                Command::Restarting { id, with, wait } => {
                    if said != Some(*id) {
                        let with: Vec<String> = with.iter().map(|id| self.name(*id).to_owned()).collect();
                        Event::Restarting { component: self.name(*id), with: &with, wait: *wait }.log();
                    }
                }
                Command::GaveUp { id, failures } => self.gave_up(*id, *failures),
                Command::StopBegan { propagation } => self.stop_began(*propagation, now),
                Command::ForcedStage => self.forced_stage(),
                Command::CoordinatorStuck => {
                    let text =
                        "the stop coordinator named nobody while nobody was stopping; the rest stops in reverse order";
                    Event::Warning { text, hint: None }.log();
                    lock(&self.shared.recorder).warn(text);
                }
                Command::CoordinatorFailed(how) => {
                    let text = format!("the stop coordinator {how}");
                    Event::Warning { text: &text, hint: None }.log();
                    lock(&self.shared.recorder).blame(COORDINATOR, text);
                }
                Command::Finish(outcome) => self.finish(*outcome),
            }
        }
    }

    /// Whether what it logged says when the component is tried again.
    fn component_moved(&mut self, id: Id, to: Component, now: Moment, retry_in: Option<Duration>) -> bool {
        let mut recorder = lock(&self.shared.recorder);
        recorder.moved(id, to, now, self.engine.charged(id));
        let component = self.name(id);
        let failure = recorder.failure(id).cloned();
        let error = failure.as_ref().map(Failure::line);
        let hint = failure.as_ref().and_then(|failure| failure.hint.as_deref());
        let took = now.saturating_sub(self.began[id.index()]);
        match to {
            Component::Ready => {
                recorder.recovered(id);
                Event::Ready { component, took, note: self.notes[id.index()].as_deref() }.log();
            }
            Component::Ended if error.is_none() => Event::Finished { component, took }.log(),
            Component::Ended => {
                Event::EndedEarly { component, error: error.as_deref(), hint }.log();
                self.broke_off.insert(id);
            }
            Component::Failed if self.engine.charged(id).is_zero() => {
                let error = error.as_deref().unwrap_or("no reason was given");
                Event::StartFailed { component, error, hint, retry_in }.log();
                return retry_in.is_some();
            }
            Component::Drained => Event::Drained { component, took: self.engine.charged(id) }.log(),
            Component::Released | Component::Failed => {
                // What it broke off with has been said.
                let error = error.as_deref().filter(|_| !self.broke_off.contains(&id));
                Event::Released { component, took: self.engine.charged(id), error }.log();
                self.broke_off.remove(&id);
            }
            Component::Skipped => Event::Skipped { component }.log(),
            _ => {}
        }
        false
    }

    fn start(&mut self, id: Id, attempt: u32, now: Moment) {
        Event::Starting { component: self.name(id), attempt }.log();
        self.began[id.index()] = now;
        self.broke_off.remove(&id);
        let part = &self.parts[id.index()];
        let scope = Scope::new(part.mark, self.runtime.clone());
        let gate = (part.spec.role == Role::Intake).then(|| self.gate.clone());
        let incarnation = Arc::new(Incarnation {
            attempt,
            stop: Stop::new(scope.clone(), gate, self.outbox.clone()),
            scope,
            orders: Orders::default(),
            watch: Watchpoint::default(),
        });
        part.begin(incarnation.clone());
        let life = Life { part: part.clone(), incarnation, reports: self.outbox.clone() };
        self.lives[id.index()] = Some(self.runtime.spawn(life.live()).abort_handle());
    }

    fn stop(&mut self, id: Id, allowed: Duration, now: Moment) {
        Event::Stopping { component: self.name(id), allowed }.log();
        lock(&self.shared.recorder).told_to_stop(id, now, allowed);
        let part = &self.parts[id.index()];
        part.stop_lending();
        self.incarnation(id, |it| {
            it.scope.begin_stop(allowed);
            it.stop.ask();
            it.tell(Orders::STOP);
        });
    }

    fn cut(&mut self, id: Id, all: bool) {
        let before_its_turn = lock(&self.shared.recorder).was_told_by_force(id);
        let doing = if before_its_turn { "waiting for its turn".to_owned() } else { self.doing(id) };
        self.busy.insert(id, polls::under_way());
        let allowed = self.engine.allowed(id);
        if !all {
            // The forced stage has been announced as a whole.
            Event::LimitPassed { component: self.name(id), allowed, doing: &doing }.log();
        }
        lock(&self.shared.recorder).doing(id, doing);
        let order = match self.engine.state(id) {
            _ if all => Orders::CUT_ALL,
            Component::Starting => Orders::CUT_OPEN,
            Component::Releasing => Orders::CUT_CLOSE,
            _ => Orders::CUT_DRAIN,
        };
        self.incarnation(id, |it| it.tell(order));
    }

    /// What held the runtime's threads when it was cut off; nothing if it was not.
    fn busy_before(&self, id: Id) -> &[Busy] {
        self.busy.get(&id).map_or(&[], Vec::as_slice)
    }

    /// The component is left behind: what it holds is known not to come back.
    fn abandon(&mut self, id: Id) {
        let held_up = self.held_up(id);
        if held_up.is_some() {
            lock(&self.shared.recorder).held_up(id);
        }
        let doing = held_up.unwrap_or_else(|| self.doing(id));
        Event::Abandoned { component: self.name(id), doing: &doing }.log();
        let part = self.parts[id.index()].clone();
        part.holder.gone.store(true, Ordering::Release);
        if let Some(slot) = part.stop_lending() {
            self.note_leases(id, slot.outstanding().iter().map(ToString::to_string).collect());
        }
        if let Some(incarnation) = part.incarnation() {
            incarnation.scope.abort();
            self.note_leaked_tasks(id, &incarnation, doing);
        }
        if let Some(life) = self.lives[id.index()].take() {
            life.abort();
        }
    }

    fn note_leaked_tasks(&self, id: Id, incarnation: &Incarnation, doing: String) {
        let (tasks, sites) = incarnation.scope.left();
        let mut failure = "left behind: it did not answer the cut".to_owned();
        if tasks > 0 {
            let text = format!("{tasks} spawned at {}", sites.join(", "));
            Event::TasksLeaked { component: self.name(id), tasks: &text }.log();
            failure = format!("{failure}; tasks that did not end: {text}");
        }
        self.note_counts(id);
        let unanswered = incarnation.watch.unanswered.load(Ordering::Relaxed);
        let mut recorder = lock(&self.shared.recorder);
        recorder.leaked_tasks(id, tasks as u64, unanswered);
        recorder.failed(id, Failure::text(failure));
        recorder.doing(id, doing);
    }

    fn gave_up(&self, id: Id, failures: u32) {
        let period = self.parts[id.index()].spec.restart.map_or(Duration::ZERO, |restart| restart.within);
        Event::GaveUp { component: self.name(id), failures, period }.log();
    }

    fn stop_began(&mut self, propagation: Duration, now: Moment) {
        let budget = self.engine.budget().total;
        let Some((cause, _)) = self.engine.causes() else { return };
        let mut recorder = lock(&self.shared.recorder);
        recorder.stop_began(now, cause.clone(), propagation);
        Event::StopRequested { cause: &recorder.word(cause), budget, policy: self.engine.policy() }.log();
        if !propagation.is_zero() {
            Event::Propagating { delay: propagation }.log();
        }
        drop(recorder);
        self.hooks.stop_began(budget);
    }

    fn forced_stage(&self) {
        lock(&self.shared.recorder).forced();
        let cause = match self.engine.causes() {
            Some((_, [.., last])) => lock(&self.shared.recorder).word(last),
            _ => "the budget is used up".to_owned(),
        };
        Event::Forced { cause: &cause }.log();
    }

    fn finish(&mut self, outcome: Outcome) {
        self.outcome = Some(outcome);
        self.warn_of_skipped();
        if let Some((first, later)) = self.engine.causes() {
            lock(&self.shared.recorder).causes(first, later);
        }
    }

    /// What never became ready is passed over by the stop, but not in silence (R3.2d).
    fn warn_of_skipped(&self) {
        let skipped = self.parts.iter().filter(|part| self.engine.state(part.id) == Component::Skipped);
        let names: Vec<String> = skipped.map(|part| format!("`{}`", part.name())).collect();
        if !names.is_empty() {
            let text = format!("not up when the stop began, nothing to release: {}", names.join(", "));
            Event::Warning { text: &text, hint: None }.log();
            lock(&self.shared.recorder).warn(text);
        }
    }

    fn incarnation(&self, id: Id, tell: impl FnOnce(&Incarnation)) {
        if let Some(incarnation) = self.parts[id.index()].incarnation() {
            tell(&incarnation);
        }
    }

    /// Who kept this component from answering, if it could not: every thread of the runtime has been held by others, in
    /// one and the same poll each, since it was cut off.
    fn held_up(&self, id: Id) -> Option<String> {
        let mark = self.parts[id.index()].mark;
        let (before, now) = (self.busy_before(id), polls::under_way());
        let held: Vec<&Busy> = now.iter().filter(|busy| busy.of_runtime && before.contains(busy)).collect();
        if held.iter().any(|busy| busy.mark == mark) || held.len() < self.runtime.metrics().num_workers() {
            return None;
        }
        let holders = self.parts.iter().filter(|part| held.iter().any(|busy| busy.mark == part.mark));
        let names: Vec<String> = holders.map(|part| format!("`{}`", part.name())).collect();
        (!names.is_empty()).then(|| format!("held up by {}: no runtime thread is free", names.join(", ")))
    }

    /// What a component is doing, as far as it can be seen from outside.
    fn doing(&self, id: Id) -> String {
        let part = &self.parts[id.index()];
        if let Some(busy) = polls::under_way().into_iter().find(|busy| busy.mark == part.mark) {
            let what = evenkeel_os::threads::describe(busy.os_id).unwrap_or_else(|| "doing something".to_owned());
            // One look shows a poll; only the same poll at the look before, when it was cut off, is one that does not end.
            return if self.busy_before(id).contains(&busy) {
                format!("holding the runtime thread `{}` without yielding: {what}", busy.thread)
            } else {
                format!("on the runtime thread `{}`: {what}", busy.thread)
            };
        }
        let Some(incarnation) = part.incarnation() else { return "not started".to_owned() };
        let thread = incarnation.watch.os_thread.load(Ordering::Relaxed);
        match (thread != 0).then(|| evenkeel_os::threads::describe(thread)).flatten() {
            Some(what) => format!("blocking its own thread: {what}"),
            None => incarnation.watch.doing().to_owned(),
        }
    }

    fn sample(&mut self) {
        let Some(sampler) = &mut self.sampler else { return };
        for found in sampler.sample() {
            let Some(part) = self.parts.iter().find(|part| part.mark == found.mark) else { continue };
            let starting = self.engine.state(part.id) == Component::Starting;
            Event::Blocking { component: part.name(), thread: &found.thread, held: found.held, starting }.log();
            lock(&self.shared.recorder).warn(format!(
                "`{}` held the runtime thread `{}` for more than {} ms without yielding",
                part.name(),
                found.thread,
                found.held.as_millis()
            ));
        }
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}
