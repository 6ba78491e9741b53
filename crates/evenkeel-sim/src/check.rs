//! What must never happen, and naive code that looks for it in a trace.
//!
//! Nothing here asks the engine or its plan how something ought to be: the graph comes from the scenario, what
//! components did comes from the components. Only the two tables of states are shared, since they *are* what is promised.
//! One pass over the trace, then one look at the receipt; the first thing that is wrong is the answer.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    time::Duration,
};

use evenkeel::{
    Receipt,
    simulation::{Command, Input},
};
use evenkeel_plan::{
    cause::{Cause, Outcome},
    lifecycle::{Component, ComponentEvent, Service, ServiceEvent, Step},
    spec::Id,
};

use crate::{
    scenario::{Policy, Scenario, name},
    trace::{Ending, How, Life, Stage, Trace, What},
};

/// The clock of the runtime counts whole milliseconds; two of them may round up.
const ROUNDING: Duration = Duration::from_millis(3);
/// From a second signal to the end.
const FORCED_WITHIN: Duration = Duration::from_millis(30);

/// What must hold in every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Invariant {
    /// No value is closed or gone before all that hold on to its owner are over.
    ReleasedAfterDependents,
    /// Each incarnation that started is told to stop exactly once, is closed at most once, and never runs beside another
    /// of the same component.
    StoppedOnce,
    /// A stop ends within its budget, a forced one at once.
    Deadline,
    /// The first cause stands; later ones are kept.
    FirstCause,
    /// Nothing starts once a stop has begun.
    NoStartAfterStop,
    /// Nothing starts before what it needs is there.
    StartOrder,
    /// Exit code, culprits, leases and rows of the receipt are what the components saw.
    ReceiptIsTrue,
    /// States move by the tables alone, and every component ends in a last state.
    Table,
    /// What is optional never ends the service.
    Optional,
    /// Readiness, the gate and the stop policy are kept.
    Traffic,
    /// The driver lives.
    Alive,
}

/// Something that happened and must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What does not hold.
    pub invariant: Invariant,
    /// How it shows.
    pub text: String,
    /// When, since the run began.
    pub at: Duration,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} at {} ms: {}", self.invariant, self.at.as_secs_f64() * 1e3, self.text)
    }
}

/// Looks for a violation in a run of this scenario.
///
/// # Errors
/// The first one.
pub fn check(scenario: &Scenario, trace: &Trace) -> Result<(), Violation> {
    let mut check = Check::new(scenario);
    for entry in &trace.entries {
        check.now = entry.at;
        check.entry(&entry.what)?;
    }
    check.ending(&trace.ending)
}

/// What is known of one incarnation.
#[derive(Debug)]
struct Seen {
    attempt: u32,
    /// Pieces of its code that are under way.
    active: i32,
    made: bool,
    closed: u32,
    run_ok: bool,
    /// Leases on its value, by holder.
    out: BTreeMap<Life, i32>,
    /// What went wrong in it.
    faults: Vec<String>,
    abandoned: bool,
    was_cut: bool,
}

/// What is known of one component.
#[derive(Debug)]
struct Known {
    state: Component,
    attempt: u32,
    stops: u32,
    ready_in_attempt: bool,
    ever_ready: bool,
    ever_succeeded: bool,
    /// Its start took too long, perhaps before any code of its own ran.
    timed_out: bool,
    /// In the order of their beginning.
    lives: Vec<Seen>,
    /// Leases of the last incarnation that left some behind.
    leaked: BTreeSet<Life>,
}

#[derive(Debug)]
struct Stop {
    began: Duration,
    blocked: Duration,
    forced_at: Option<Duration>,
    /// The forced stage, by whatever it began.
    forced_stage: bool,
    /// Cut off by the forced stage, perhaps before their turn: victims, not culprits.
    victims: BTreeSet<usize>,
    unclean: BTreeMap<usize, String>,
}

/// The name under which receipts blame the code that decides over the stop.
const COORDINATOR: &str = "stop coordinator";

struct Check<'a> {
    scenario: &'a Scenario,
    hard_users: Vec<Vec<usize>>,
    soft_users: Vec<Vec<usize>>,
    known: Vec<Known>,
    service: Service,
    gate: bool,
    ready: bool,
    now: Duration,
    stop: Option<Stop>,
    given: Vec<String>,
    first_given: bool,
    leaks: BTreeMap<usize, String>,
    coordinator_failed: bool,
    finished: Option<Outcome>,
}

type Verdict = Result<(), Violation>;

impl<'a> Check<'a> {
    fn new(scenario: &'a Scenario) -> Self {
        let users = |needs: &dyn Fn(usize) -> Vec<usize>| {
            let mut users = vec![Vec::new(); scenario.components.len()];
            for id in 0..scenario.components.len() {
                for on in needs(id) {
                    users[on].push(id);
                }
            }
            users
        };
        let known = || Known {
            state: Component::Declared,
            attempt: 0,
            stops: 0,
            ready_in_attempt: false,
            ever_ready: false,
            ever_succeeded: false,
            timed_out: false,
            lives: Vec::new(),
            leaked: BTreeSet::new(),
        };
        Self {
            scenario,
            hard_users: users(&|id| scenario.components[id].hard.clone()),
            soft_users: users(&|id| scenario.components[id].soft.clone()),
            known: scenario.components.iter().map(|_| known()).collect(),
            service: Service::Initialized,
            gate: false,
            ready: false,
            now: Duration::ZERO,
            stop: None,
            given: Vec::new(),
            first_given: false,
            leaks: BTreeMap::new(),
            coordinator_failed: false,
            finished: None,
        }
    }

    fn wrong(&self, invariant: Invariant, text: impl Into<String>) -> Verdict {
        Err(Violation { invariant, text: text.into(), at: self.now })
    }

    fn entry(&mut self, what: &What) -> Verdict {
        match what {
            What::Step(commands) => commands.iter().try_for_each(|command| self.command(command)),
            What::Given(input) => self.given(input),
            What::Began(life, stage) => self.began(*life, *stage),
            What::Ended(life, stage, how) => self.ended(*life, *stage, *how),
            What::Told(_) => Ok(()),
            What::Took(life) => self.took(*life),
            What::Made(life) => {
                self.seen(*life).made = true;
                Ok(())
            }
            What::Gone(life) => self.released(*life, "gone"),
            What::BadDrop(life) => {
                self.seen(*life).faults.push("it panicked while it was dropped".to_owned());
                Ok(())
            }
            What::Lent(holder, owner) => self.lent(*holder, *owner),
            What::Back(holder, owner) => {
                *self.seen(*owner).out.entry(*holder).or_default() -= 1;
                Ok(())
            }
            What::Blocked(_, time) => {
                if let Some(stop) = &mut self.stop {
                    stop.blocked += *time;
                }
                Ok(())
            }
        }
    }

    fn seen(&mut self, life: Life) -> &mut Seen {
        &mut self.known[life.id].lives[life.turn as usize - 1]
    }
}

/// What the engine decided.
impl Check<'_> {
    fn command(&mut self, command: &Command) -> Verdict {
        if self.finished.is_some() {
            return self.wrong(Invariant::Alive, format!("{command:?} after the end"));
        }
        match command {
            Command::Service { from, to } => self.service_moved(*from, *to),
            Command::Component { id, to } => self.moved(id.index(), *to),
            Command::Readiness(ready) => self.readiness(*ready),
            Command::Gate(open) => {
                self.gate = *open;
                Ok(())
            }
            Command::Start { id, attempt } => self.start(id.index(), *attempt),
            Command::Stop { id, .. } => self.told(id.index()),
            Command::Release { id, .. } => self.told_to_release(id.index()),
            Command::Cut { id, all } => self.cut(id.index(), *all),
            Command::Abandon(id) => self.abandon(*id),
            Command::StopBegan { .. } => self.stop_began(),
            Command::ForcedStage => {
                if let Some(stop) = self.stop.as_mut() {
                    stop.forced_stage = true;
                }
                Ok(())
            }
            Command::CoordinatorFailed(_) => {
                self.coordinator_failed = true;
                Ok(())
            }
            Command::Finish(outcome) => self.finish(*outcome),
            _ => Ok(()), // said for people
        }
    }

    fn service_moved(&mut self, from: Service, to: Service) -> Verdict {
        if from != self.service || !ServiceEvent::ALL.iter().any(|event| from.on(*event) == Step::To(to)) {
            return self.wrong(Invariant::Table, format!("the service went from {from:?} to {to:?}"));
        }
        self.service = to;
        Ok(())
    }

    fn moved(&mut self, id: usize, to: Component) -> Verdict {
        let from = self.known[id].state;
        if !ComponentEvent::ALL.iter().any(|event| from.on(*event) == Step::To(to)) {
            return self.wrong(Invariant::Table, format!("c{id} went from {from:?} to {to:?}"));
        }
        let known = &mut self.known[id];
        known.state = to;
        known.ready_in_attempt |= to == Component::Ready;
        known.ever_ready |= to == Component::Ready;
        if to == Component::Ended {
            self.ended_early(id);
        }
        // What is skipped had no incarnation, or one that was over before.
        if to.is_over() && to != Component::Skipped { self.over(id) } else { Ok(()) }
    }

    /// The engine took note that a component ended by itself.
    fn ended_early(&mut self, id: usize) {
        let job = self.scenario.components[id].finite;
        if let Some(life) = self.known[id].lives.last_mut()
            && life.run_ok
            && !job
            && self.stop.is_none()
        {
            life.faults.push("it ended too early".to_owned());
        }
    }

    /// An incarnation is over: what it left behind, and whether it was told to stop.
    fn over(&mut self, id: usize) -> Verdict {
        let known = &mut self.known[id];
        if known.ready_in_attempt && known.stops != 1 {
            let text = format!("c{id} is {:?} and was told to stop {} times", known.state, known.stops);
            return self.wrong(Invariant::StoppedOnce, text);
        }
        if let (Component::Failed, true, false, Some(stop)) =
            (known.state, known.timed_out, known.ready_in_attempt, &mut self.stop)
        {
            // Its start was cut off before the stop began, and its answer came after.
            stop.unclean.entry(id).or_insert_with(|| "its start took too long".to_owned());
        }
        let (attempt, was_ready) = (known.attempt, known.ready_in_attempt);
        let Some(life) = known.lives.last_mut().filter(|life| life.attempt == attempt) else { return Ok(()) };
        let out: BTreeSet<Life> = life.out.iter().filter(|(_, n)| **n > 0).map(|(holder, _)| *holder).collect();
        let part = &self.scenario.components[id];
        let is_to_close = life.made && (part.closes() || part.close_ref);
        let never_closed = is_to_close && life.closed == 0 && !life.abandoned && out.is_empty();
        if never_closed && was_ready && !life.was_cut {
            return self.wrong(Invariant::StoppedOnce, format!("c{id} was never closed, and neither cut nor held"));
        }
        // It may have been cut off before its close had a turn: that is not its own fault, and not in order either.
        let never_closed = (never_closed && life.was_cut).then(|| "it was never closed".to_owned());
        if let (Some(fault), Some(stop)) = (life.faults.first().cloned().or(never_closed), &mut self.stop) {
            stop.unclean.entry(id).or_insert(fault);
        }
        // In the forced stage those who hold leases are cut off as well: nobody can say who would have given them back.
        if self.stop.as_ref().is_none_or(|stop| !stop.victims.contains(&id)) {
            for holder in &out {
                self.leaks.insert(holder.id, format!("its lease on c{id}")); // whose lease it is, not whose value
            }
        }
        self.known[id].leaked = out;
        Ok(())
    }

    fn readiness(&mut self, ready: bool) -> Verdict {
        self.ready = ready;
        let down = (0..self.known.len()).find(|&id| {
            let up = matches!(self.known[id].state, Component::Ready | Component::Ended);
            !self.scenario.components[id].optional && !up
        });
        match down {
            Some(id) if ready => self.wrong(Invariant::Traffic, format!("ready although c{id} is not")),
            _ => Ok(()),
        }
    }

    fn start(&mut self, id: usize, attempt: u32) -> Verdict {
        if self.stop.is_some() {
            return self.wrong(Invariant::NoStartAfterStop, format!("c{id} is told to start during a stop"));
        }
        self.needs_are_there(id)?;
        let known = &mut self.known[id];
        known.attempt = attempt;
        known.stops = 0;
        known.timed_out = false;
        known.ready_in_attempt = false;
        Ok(())
    }

    fn told(&mut self, id: usize) -> Verdict {
        let known = &mut self.known[id];
        known.stops += 1;
        if known.stops != 1 || known.attempt == 0 {
            let text = format!("c{id} is told to stop {} times in its start {}", known.stops, known.attempt);
            return self.wrong(Invariant::StoppedOnce, text);
        }
        let Some(stop) = &self.stop else { return Ok(()) };
        let goes_early = self.scenario.components[id].intake || !known.ready_in_attempt || stop.forced_stage;
        if goes_early || self.scenario.policy != Policy::Reverse {
            return Ok(());
        }
        match self.users(id).find(|user| self.is_alive(*user)) {
            Some(user) => self.wrong(Invariant::Traffic, format!("c{id} is told to stop before its dependent c{user}")),
            None => Ok(()),
        }
    }

    fn told_to_release(&self, id: usize) -> Verdict {
        match self.hard_users[id].iter().find(|user| self.is_alive(**user)) {
            Some(user) => {
                let text = format!("c{id} is told to release, and its dependent c{user} is not over");
                self.wrong(Invariant::ReleasedAfterDependents, text)
            }
            None => Ok(()),
        }
    }

    fn users(&self, id: usize) -> impl Iterator<Item = usize> + use<'_> {
        self.hard_users[id].iter().chain(&self.soft_users[id]).copied()
    }

    fn is_alive(&self, id: usize) -> bool {
        let state = self.known[id].state;
        !state.is_over() && !matches!(state, Component::Declared | Component::Retrying)
    }

    fn cut(&mut self, id: usize, all: bool) -> Verdict {
        let known = &mut self.known[id];
        known.timed_out |= known.stops == 0;
        if let Some(life) = known.lives.last_mut() {
            life.was_cut = true;
        }
        if let (true, Some(stop)) = (all, &mut self.stop) {
            stop.victims.insert(id);
        }
        Ok(())
    }

    fn abandon(&mut self, id: Id) -> Verdict {
        let known = &mut self.known[id.index()];
        if let Some(life) = known.lives.last_mut().filter(|life| life.attempt == known.attempt) {
            life.abandoned = true;
            life.faults.push("it was abandoned".to_owned());
        }
        Ok(())
    }

    fn stop_began(&mut self) -> Verdict {
        if self.stop.is_some() {
            return self.wrong(Invariant::FirstCause, "a second stop began");
        }
        if self.ready {
            return self.wrong(Invariant::Traffic, "a stop began and the service is still ready");
        }
        self.stop = Some(Stop {
            began: self.now,
            blocked: Duration::ZERO,
            forced_at: None,
            forced_stage: false,
            victims: BTreeSet::new(),
            unclean: BTreeMap::new(),
        });
        Ok(())
    }

    fn given(&mut self, input: &Input) -> Verdict {
        if self.finished.is_some() {
            return Ok(());
        }
        let (Input::Stop(cause) | Input::Force(cause)) = input else { return Ok(()) };
        if self.given.is_empty() {
            self.first_given = self.stop.is_none();
        }
        if let (Input::Force(_), Some(stop)) = (input, &mut self.stop) {
            stop.forced_at.get_or_insert(self.now);
        }
        self.given.push(match cause {
            Cause::Signal { name, .. } => (*name).to_owned(),
            Cause::Request { by } => by.clone(),
            other => format!("{other:?}"),
        });
        Ok(())
    }

    fn finish(&mut self, outcome: Outcome) -> Verdict {
        self.finished = Some(outcome);
        let Some(stop) = &self.stop else { return self.wrong(Invariant::Deadline, "an end without a stop") };
        let late = stop.began + self.scenario.budget + stop.blocked + ROUNDING;
        if self.now > late {
            return self.wrong(Invariant::Deadline, format!("the stop was to end by {late:?}"));
        }
        if let Some(forced) = stop.forced_at
            && self.now > forced + FORCED_WITHIN + stop.blocked
        {
            return self.wrong(Invariant::Deadline, format!("it was forced at {forced:?}"));
        }
        let open = |known: &Known| !known.state.is_over();
        match self.known.iter().position(open) {
            Some(id) => {
                let text = format!("c{id} is {:?} at the end", self.known[id].state);
                self.wrong(Invariant::StoppedOnce, text)
            }
            None => Ok(()),
        }
    }
}

/// What components saw.
impl Check<'_> {
    fn began(&mut self, life: Life, stage: Stage) -> Verdict {
        if self.known[life.id].lives.len() < life.turn as usize {
            self.life_begins(life)?;
        }
        self.seen(life).active += 1;
        match stage {
            Stage::Close => {
                let seen = self.seen(life);
                seen.closed += 1;
                if seen.closed > 1 {
                    return self.wrong(Invariant::StoppedOnce, format!("{life:?} is closed twice"));
                }
                self.released(life, "closed")
            }
            Stage::CloseRef => {
                self.seen(life).closed += 1;
                Ok(())
            }
            Stage::Open | Stage::Run | Stage::Task(_) => Ok(()),
        }
    }

    fn life_begins(&mut self, life: Life) -> Verdict {
        let id = life.id;
        if self.stop.is_some() {
            return self.wrong(Invariant::NoStartAfterStop, format!("c{id} begins during a stop"));
        }
        if let Some(old) = self.known[id].lives.iter().position(|old| old.active > 0 && !old.abandoned) {
            return self.wrong(Invariant::StoppedOnce, format!("{life:?} begins while life {} goes on", old + 1));
        }
        self.needs_are_there(id)?;
        let attempt = self.known[id].attempt;
        self.known[id].lives.push(Seen {
            attempt,
            active: 0,
            made: false,
            closed: 0,
            run_ok: false,
            out: BTreeMap::new(),
            faults: Vec::new(),
            abandoned: false,
            was_cut: false,
        });
        Ok(())
    }

    fn needs_are_there(&self, id: usize) -> Verdict {
        let part = &self.scenario.components[id];
        for &on in &part.hard {
            self.is_there(id, on)?;
        }
        for &on in &part.after {
            let known = &self.known[on];
            let satisfied = if self.scenario.components[on].finite { known.ever_succeeded } else { known.ever_ready };
            if !satisfied {
                return self.wrong(Invariant::StartOrder, format!("c{id} starts before c{on}"));
            }
        }
        Ok(())
    }

    /// Whether a value that is needed is lent, by an incarnation that goes on.
    fn is_there(&self, id: usize, on: usize) -> Verdict {
        let known = &self.known[on];
        let up = matches!(known.state, Component::Ready | Component::Ended) && known.stops == 0;
        let current = known.lives.last();
        let done = current.is_some_and(|life| life.run_ok);
        if !up || (self.scenario.components[on].finite && !done) {
            return self.wrong(Invariant::StartOrder, format!("c{id} starts although c{on} is {:?}", known.state));
        }
        // Its own failure counts from when the engine has heard of it.
        if known.state == Component::Ended && !self.scenario.components[on].finite {
            return self.wrong(Invariant::StartOrder, format!("c{id} starts although c{on} has ended"));
        }
        Ok(())
    }

    fn lent(&mut self, holder: Life, owner: Life) -> Verdict {
        let current = self.known[owner.id].lives.len();
        *self.seen(owner).out.entry(holder).or_default() += 1;
        if owner.turn as usize == current {
            return Ok(());
        }
        // Clones of an old lease are noted as well; what is handed over anew must be of the present.
        match self.seen(owner).out.get(&holder) {
            Some(1) => self.wrong(Invariant::StartOrder, format!("{holder:?} is lent an old value of {owner:?}")),
            _ => Ok(()),
        }
    }

    fn ended(&mut self, life: Life, stage: Stage, how: How) -> Verdict {
        let part = &self.scenario.components[life.id];
        let known = &mut self.known[life.id];
        let told = known.stops > 0;
        let fault = match (stage, how) {
            (Stage::Open, How::Dropped) => !told,
            (_, How::Ok) => false,
            (_, How::Error | How::Panic | How::Dropped) => true,
        };
        let succeeded = (stage, how) == (Stage::Run, How::Ok);
        known.ever_succeeded |= succeeded && part.finite;
        let seen = self.seen(life);
        seen.active -= 1;
        seen.run_ok |= succeeded;
        if (stage, how) == (Stage::CloseRef, How::Ok) {
            // It was tried again, and went well in the end.
            seen.faults.retain(|fault| !fault.starts_with("CloseRef"));
        }
        if fault {
            seen.faults.push(format!("{stage:?} {how:?}"));
        }
        Ok(())
    }

    fn took(&self, life: Life) -> Verdict {
        if self.gate {
            return Ok(());
        }
        self.wrong(Invariant::Traffic, format!("{life:?} takes work in while the gate is shut"))
    }

    /// A value is closed, or gone: nobody may go on who holds on to its owner.
    fn released(&mut self, life: Life, how: &str) -> Verdict {
        if self.stop.as_ref().is_some_and(|stop| stop.forced_stage) || self.seen(life).abandoned {
            return Ok(());
        }
        // Soft users hold nobody up but by their leases.
        for &user in &self.hard_users[life.id] {
            let going_on = |seen: &Seen| seen.active > 0 && !seen.abandoned;
            if let Some(turn) = self.known[user].lives.iter().position(going_on) {
                let text = format!("{life:?} is {how} while life {} of its dependent c{user} goes on", turn + 1);
                return self.wrong(Invariant::ReleasedAfterDependents, text);
            }
        }
        let seen = self.seen(life);
        let holder = seen.out.iter().find(|(holder, n)| **n > 0 && **holder != life).map(|(holder, _)| *holder);
        match holder {
            Some(holder) => {
                let text = format!("{life:?} is {how} while {holder:?} holds a lease on it");
                self.wrong(Invariant::ReleasedAfterDependents, text)
            }
            None => Ok(()),
        }
    }
}

/// The end, and the receipt.
impl Check<'_> {
    fn ending(&self, ending: &Ending) -> Verdict {
        match ending {
            Ending::Receipt(receipt) => self.receipt(receipt),
            Ending::Watched => match &self.stop {
                Some(stop) if self.now > stop.began + self.scenario.budget + stop.blocked + ROUNDING => {
                    self.wrong(Invariant::Deadline, "a stop began and did not end")
                }
                _ => Ok(()),
            },
            Ending::Stuck if self.stop.is_none() => Ok(()),
            Ending::Stuck => self.wrong(Invariant::Deadline, "the stop never ended"),
            Ending::Refused(why) => self.wrong(Invariant::Alive, format!("the app was refused: {why}")),
            Ending::Panicked(how) => self.wrong(Invariant::Alive, format!("the driver panicked: {how}")),
        }
    }

    fn receipt(&self, receipt: &Receipt) -> Verdict {
        let Some(stop) = &self.stop else { return self.wrong(Invariant::ReceiptIsTrue, "a receipt without a stop") };
        self.cause(receipt)?;
        self.rows(receipt)?;
        self.exit_code(stop, receipt)?;
        self.culprits(stop, receipt)?;
        self.leases(receipt)
    }

    fn cause(&self, receipt: &Receipt) -> Verdict {
        let later: Vec<&String> = if self.first_given {
            if Some(&receipt.cause) != self.given.first() {
                let text = format!("the first cause is {:?}, the receipt says {:?}", self.given[0], receipt.cause);
                return self.wrong(Invariant::FirstCause, text);
            }
            self.given.iter().skip(1).collect()
        } else {
            self.own_cause(receipt)?;
            self.given.iter().collect()
        };
        let mut kept = receipt.later_causes.iter();
        match later.into_iter().find(|cause| !kept.any(|kept| kept == *cause)) {
            Some(cause) if receipt.later_causes.len() < 64 => {
                self.wrong(Invariant::FirstCause, format!("the later cause {cause:?} is lost"))
            }
            _ => Ok(()),
        }
    }

    /// A stop that nobody asked for: an essential component failed, or all jobs are done.
    fn own_cause(&self, receipt: &Receipt) -> Verdict {
        let Some(id) = self.failed_one(receipt) else {
            let jobs = self.scenario.components.iter().zip(&self.known).filter(|(part, _)| part.finite);
            let mut open = jobs.filter(|(part, known)| !known.ever_succeeded && !part.optional);
            return match open.next() {
                None if receipt.cause == "all jobs are done" => Ok(()),
                _ => self.wrong(Invariant::FirstCause, format!("{:?} is not what happened", receipt.cause)),
            };
        };
        if self.scenario.components[id].optional {
            return self.wrong(Invariant::Optional, format!("{}: it is optional", receipt.cause));
        }
        let known = &self.known[id];
        if !known.timed_out && known.lives.iter().all(|life| life.faults.is_empty()) {
            return self.wrong(Invariant::FirstCause, format!("{}: it did not", receipt.cause));
        }
        if receipt.root_cause.is_empty() {
            return self.wrong(Invariant::ReceiptIsTrue, format!("{}: no root cause is given", receipt.cause));
        }
        Ok(())
    }

    fn failed_one(&self, receipt: &Receipt) -> Option<usize> {
        let ids = 0..self.scenario.components.len();
        let said = |id: &usize| {
            let name = name(*id);
            receipt.cause == format!("`{name}` could not start") || receipt.cause == format!("`{name}` failed")
        };
        ids.into_iter().find(said)
    }

    fn rows(&self, receipt: &Receipt) -> Verdict {
        if receipt.components.len() != self.known.len() {
            return self.wrong(Invariant::ReceiptIsTrue, "rows are missing");
        }
        for (id, (row, known)) in receipt.components.iter().zip(&self.known).enumerate() {
            let restarts = known.attempt.saturating_sub(1);
            if row.name != name(id) || row.state != known.state.word() || row.restarts != restarts {
                let text = format!("the row of c{id} says {:?}, restarts {}", row.state, row.restarts);
                return self.wrong(Invariant::ReceiptIsTrue, text);
            }
        }
        Ok(())
    }

    fn exit_code(&self, stop: &Stop, receipt: &Receipt) -> Verdict {
        let failed = !self.first_given && self.failed_one(receipt).is_some();
        let forced = stop.forced_at.is_some() || stop.forced_stage;
        let reason = stop.unclean.iter().chain(&self.leaks).next();
        let left_behind = self.known.iter().any(|known| known.state == Component::Abandoned);
        let own_fault = failed || forced || left_behind || self.coordinator_failed;
        let clean = !own_fault && reason.is_none();
        if clean != (receipt.exit_code == 0) {
            let text = format!(
                "exit code {} although: failed {failed}, forced {forced}, left behind {left_behind}, unclean {reason:?}",
                receipt.exit_code
            );
            return self.wrong(Invariant::ReceiptIsTrue, text);
        }
        Ok(())
    }

    /// Who did not end in order, and who kept a lease, is named; nobody else is.
    fn culprits(&self, stop: &Stop, receipt: &Receipt) -> Verdict {
        let is_named = |id: usize| receipt.culprits.contains(&name(id));
        let guilty: BTreeSet<usize> = stop.unclean.keys().chain(self.leaks.keys()).copied().collect();
        let must = guilty.iter().filter(|id| !stop.victims.contains(id) || receipt.culprits.is_empty());
        if let Some(id) = must.copied().find(|id| !is_named(*id)) {
            let why = stop.unclean.get(&id).or_else(|| self.leaks.get(&id));
            return self.wrong(Invariant::ReceiptIsTrue, format!("c{id} is not named as a culprit: {why:?}"));
        }
        let kept: BTreeSet<usize> = self.known.iter().flat_map(|known| &known.leaked).map(|life| life.id).collect();
        let left_behind = |id: usize| self.known[id].state == Component::Abandoned;
        let own =
            |id: usize| guilty.contains(&id) || stop.victims.contains(&id) || kept.contains(&id) || left_behind(id);
        let may = |id: usize| own(id) || self.failed_one(receipt) == Some(id);
        if let Some(id) = (0..self.known.len()).find(|id| is_named(*id) && !may(*id)) {
            return self.wrong(Invariant::ReceiptIsTrue, format!("c{id} is named as a culprit for nothing"));
        }
        if receipt.culprits.iter().any(|culprit| culprit == COORDINATOR) != self.coordinator_failed {
            return self.wrong(Invariant::ReceiptIsTrue, "the stop coordinator is not named as it should be");
        }
        Ok(())
    }

    fn leases(&self, receipt: &Receipt) -> Verdict {
        for (id, (row, known)) in receipt.components.iter().zip(&self.known).enumerate() {
            let is_victim = self.stop.as_ref().is_some_and(|stop| stop.victims.contains(&id));
            for holder in known.leaked.iter().filter(|_| !is_victim) {
                let named = format!("`{}`", name(holder.id));
                if !row.leaked_leases.iter().any(|lease| lease.contains(&named)) {
                    let text = format!("the lease of {named} on c{id} is not named");
                    return self.wrong(Invariant::ReceiptIsTrue, text);
                }
            }
        }
        Ok(())
    }
}
