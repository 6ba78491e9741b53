//! The recorder: turns what the engine decided and what components reported into the stop receipt.
//!
//! It is behind a lock of its own because two may ask for the receipt: the driver at the end of a stop, and the guardian
//! when the driver did not get there in time. Nobody holds that lock while waiting for anything.

use std::{cmp::Reverse, collections::BTreeSet, sync::Arc, time::Duration};

use evenkeel_events::{Lost, Receipt, Row};
use evenkeel_plan::{
    cause::{Cause, Outcome},
    engine::Moment,
    lifecycle::Component,
    spec::{Edge, Id},
};
use jiff::Timestamp;

use crate::{error::Failure, part::Part};

/// Who is named when the code that decides over the stop fails.
pub(crate) const COORDINATOR: &str = "stop coordinator";

/// See the module documentation.
pub(crate) struct Recorder {
    receipt: Receipt,
    parts: Vec<Arc<Part>>,
    /// By [`Id::index`], like the parts.
    rows: Vec<Notes>,
    stop_began: Option<Moment>,
    forced: bool,
    budget: Duration,
    cause: Option<Cause>,
    later: Vec<Cause>,
    /// Who kept leases that never came back.
    lease_holders: BTreeSet<String>,
    /// Culprits that are no components.
    outsiders: BTreeSet<String>,
}

/// What is known of one component. Small, because each has one for as long as the service runs.
#[derive(Clone, Default)]
struct Notes {
    state: Option<Component>,
    /// It was over when the stop began.
    over_before: bool,
    /// It could not answer because others held every thread.
    held_up: bool,
    restarts: u32,
    failure: Option<Failure>,
    /// What the incarnation before it failed of, until this one is up: shown, but nobody's fault any more.
    earlier: Option<Failure>,
    ending: Option<Box<Ending>>,
}

/// How it ended, or is about to.
#[derive(Clone, Default)]
struct Ending {
    times: Times,
    drained: u64,
    aborted: u64,
    leaked_tasks: u64,
    ignored_interrupts: u64,
    leaked_leases: Vec<String>,
    doing: Option<String>,
    http: Option<Box<Lost>>,
}

/// When an incarnation was told what, and answered.
#[derive(Clone, Copy, Default)]
struct Times {
    stop: Option<Moment>,
    drained: Option<Moment>,
    release: Option<Moment>,
    end: Option<Moment>,
    allowed: Option<Duration>,
    used: Duration,
    /// It had been told to stop when the forced stage began.
    had_its_turn: bool,
}

impl Recorder {
    pub(crate) fn new(app: &str, budget: Duration, policy: &str, parts: Vec<Arc<Part>>) -> Self {
        let receipt = Receipt {
            schema: Receipt::SCHEMA,
            app: app.to_owned(),
            pid: std::process::id(),
            started_at: Timestamp::now().to_string(),
            policy: policy.to_owned(),
            budget_ms: millis(budget),
            ..Receipt::default()
        };
        Self {
            receipt,
            rows: vec![Notes::default(); parts.len()],
            parts,
            stop_began: None,
            forced: false,
            budget,
            cause: None,
            later: Vec::new(),
            lease_holders: BTreeSet::new(),
            outsiders: BTreeSet::new(),
        }
    }

    pub(crate) fn stop_began(&mut self, now: Moment, cause: Cause, propagation: Duration) {
        self.stop_began = Some(now);
        self.cause = Some(cause);
        self.receipt.stop_began_at = Timestamp::now().to_string();
        for notes in &mut self.rows {
            notes.over_before = notes.state.is_some_and(Component::is_over);
        }
        self.receipt.propagation_delay_ms = millis(propagation);
    }

    /// Called before the forced stage tells anybody anything.
    pub(crate) fn forced(&mut self) {
        self.forced = true;
        for ending in self.rows.iter_mut().filter_map(|notes| notes.ending.as_mut()) {
            ending.times.had_its_turn = ending.times.stop.is_some();
        }
    }

    /// A panic is about to abort the process: it is the failure of this component, or of nobody that is known.
    pub(crate) fn aborted(&mut self, id: Option<Id>, now: Moment, what: &str, failure: impl FnOnce() -> Failure) {
        if let Some(id) = id {
            self.failed(id, failure());
        } else {
            self.warn(format!("{what}: {}", failure().line()));
        }
        if self.stop_began.is_none() {
            let request = || Cause::Request { by: what.to_owned() };
            let cause = id.map_or_else(request, |component| Cause::ComponentFailed { component });
            self.stop_began(now, cause, Duration::ZERO);
        }
    }

    /// How a stop went that did not get to its end.
    pub(crate) fn overdue(&self) -> Outcome {
        match self.cause {
            Some(Cause::StartFailed { .. }) => Outcome::StartFailed,
            Some(Cause::ComponentFailed { .. }) => Outcome::ComponentFailed,
            _ => Outcome::NotClean,
        }
    }

    pub(crate) fn causes(&mut self, first: &Cause, later: &[Cause]) {
        self.cause = Some(first.clone());
        self.later = later.to_vec();
    }

    pub(crate) fn moved(&mut self, id: Id, to: Component, now: Moment, used: Duration) {
        let notes = &mut self.rows[id.index()];
        notes.state = Some(to);
        if to == Component::Starting {
            notes.begin_again();
        }
        // Nothing is charged before the stop, and nothing kept for it until then.
        if !used.is_zero() || notes.ending.is_some() {
            notes.times_mut().used = used;
        }
        match to {
            Component::Drained => notes.times_mut().drained = Some(now),
            to if to.is_over() => notes.times_mut().end = Some(now),
            _ => {}
        }
    }

    /// It is up again: what it failed of before is history.
    pub(crate) fn recovered(&mut self, id: Id) {
        self.rows[id.index()].failure = None;
        self.rows[id.index()].earlier = None;
    }

    pub(crate) fn told_to_stop(&mut self, id: Id, now: Moment, allowed: Duration) {
        let times = self.rows[id.index()].times_mut();
        times.stop = Some(now);
        times.allowed = Some(allowed);
    }

    pub(crate) fn told_to_release(&mut self, id: Id, now: Moment, allowed: Duration) {
        let times = self.rows[id.index()].times_mut();
        times.release = Some(now);
        times.allowed = Some(times.used.saturating_add(allowed));
    }

    /// How long a component that was told to stop has until it is cut off.
    pub(crate) fn left(&self, id: Id, now: Moment) -> Option<Duration> {
        let times = self.rows[id.index()].times();
        let (since, used) = match times.release {
            Some(release) => (release, times.used),
            None => (times.stop?, Duration::ZERO),
        };
        Some((since + times.allowed?.saturating_sub(used)).saturating_sub(now))
    }

    /// Whether it was told to stop only because the forced stage began.
    pub(crate) fn was_told_by_force(&self, id: Id) -> bool {
        let times = self.rows[id.index()].times();
        self.forced && !times.had_its_turn && times.stop.is_some()
    }

    /// The first failure of an incarnation is its error; what follows from it is not.
    pub(crate) fn failed(&mut self, id: Id, failure: Failure) {
        self.rows[id.index()].failure.get_or_insert(failure);
    }

    pub(crate) fn doing(&mut self, id: Id, doing: String) {
        self.rows[id.index()].ending_mut().doing = Some(doing);
    }

    /// Leases on this component's value that never came back, and who holds them: theirs is the fault.
    pub(crate) fn leases(&mut self, id: Id, leases: Vec<String>, holders: Vec<String>) {
        self.rows[id.index()].ending_mut().leaked_leases = leases;
        self.lease_holders.extend(holders);
    }

    /// It was left behind only because others held every thread: theirs is the fault.
    pub(crate) fn held_up(&mut self, id: Id) {
        self.rows[id.index()].held_up = true;
    }

    pub(crate) fn counts(&mut self, id: Id, drained: u64, aborted: u64) {
        let ending = self.rows[id.index()].ending_mut();
        ending.drained = drained;
        ending.aborted = aborted;
    }

    /// What a server lost.
    #[cfg(feature = "http")]
    pub(crate) fn lost(&mut self, id: Id, lost: Option<Box<Lost>>) {
        self.rows[id.index()].ending_mut().http = lost;
    }

    pub(crate) fn leaked_tasks(&mut self, id: Id, tasks: u64, ignored_interrupts: u64) {
        let ending = self.rows[id.index()].ending_mut();
        ending.leaked_tasks = tasks;
        ending.ignored_interrupts = ignored_interrupts;
    }

    /// Names somebody who is no component.
    pub(crate) fn blame(&mut self, culprit: &str, warning: impl Into<String>) {
        self.outsiders.insert(culprit.to_owned());
        self.warn(warning);
    }

    pub(crate) fn warn(&mut self, text: impl Into<String>) {
        self.receipt.warnings.push(text.into());
    }

    pub(crate) fn failure(&self, id: Id) -> Option<&Failure> {
        self.rows[id.index()].failure.as_ref()
    }

    /// The receipt as of now.
    pub(crate) fn receipt(&self, outcome: Outcome, now: Moment) -> Receipt {
        let began = self.stop_began.unwrap_or(now);
        let since = |at: Option<Moment>| at.map(|at| millis(at.saturating_sub(began)));
        let mut receipt = self.receipt.clone();
        receipt.stop_ended_at = Timestamp::now().to_string();
        receipt.used_ms = millis(now.saturating_sub(began));
        receipt.budget_ms = millis(self.budget);
        receipt.outcome = outcome.word().to_owned();
        receipt.exit_code = outcome.exit_code();
        receipt.components = (0..self.rows.len()).map(|i| self.row(i, &since)).collect();
        receipt.critical_path = self.critical_path();
        receipt.culprits = self.culprits();
        self.word_causes(&mut receipt);
        receipt
    }

    fn word_causes(&self, receipt: &mut Receipt) {
        let Some(cause) = &self.cause else { return };
        receipt.cause = self.word(cause);
        receipt.later_causes = self.later.iter().map(|cause| self.word(cause)).collect();
        if let Cause::StartFailed { component } | Cause::ComponentFailed { component } = cause
            && let Some(failure) = self.failure(*component)
        {
            receipt.root_cause.clone_from(&failure.chain);
            receipt.hint.clone_from(&failure.hint);
        }
    }

    /// A cause in the words of logs and receipts.
    pub(crate) fn word(&self, cause: &Cause) -> String {
        let name = |id: &Id| self.parts[id.index()].name();
        match cause {
            Cause::Signal { name, .. } => (*name).to_owned(),
            Cause::Request { by } => by.clone(),
            Cause::StartFailed { component } => format!("`{}` could not start", name(component)),
            Cause::ComponentFailed { component } => format!("`{}` failed", name(component)),
            Cause::Finished => "all jobs are done".to_owned(),
        }
    }

    /// Who kept the stop from being clean: the failed one that began it, everything that did not end in order, and who
    /// kept a lease (not whose value it was). What the forced stage cut off before its turn had come, and what was held up
    /// by others, is a victim, and named only if there is nobody else to name.
    fn culprits(&self) -> Vec<String> {
        let named = |is_named: &dyn Fn(usize) -> bool| -> Vec<String> {
            (0..self.parts.len()).filter(|i| is_named(*i)).map(|i| self.parts[i].name().to_owned()).collect()
        };
        let mut guilty = named(&|i| self.is_guilty(i));
        let is_outside = |holder: &&String| self.parts.iter().all(|part| part.name() != **holder);
        guilty.extend(self.lease_holders.iter().filter(is_outside).chain(&self.outsiders).cloned());
        if guilty.is_empty() { named(&|i| self.rows[i].was_forced()) } else { guilty }
    }

    fn is_guilty(&self, i: usize) -> bool {
        let (notes, times) = (&self.rows[i], self.rows[i].times());
        let began_it = matches!(&self.cause,
            Some(Cause::StartFailed { component } | Cause::ComponentFailed { component }) if component.index() == i);
        let stopped = times.stop.is_some() && !notes.over_before;
        let had_its_turn = !self.forced || times.had_its_turn;
        let waited = times.drained.is_some() && times.release.is_none();
        let ended_badly = notes.was_forced() || (notes.failure.is_some() && notes.state != Some(Component::Skipped));
        let left_behind = notes.state == Some(Component::Abandoned);
        let kept_a_lease = self.lease_holders.contains(self.parts[i].name());
        let leaked = notes.ending.as_ref().is_some_and(|ending| ending.leaked_tasks > 0);
        let misbehaved = left_behind || kept_a_lease || (stopped && had_its_turn && !waited && ended_badly);
        began_it || leaked || (misbehaved && !notes.held_up)
    }

    /// From the component that ended last, back over the dependent it waited for, to the first of the chain.
    fn critical_path(&self) -> Vec<String> {
        let ended = |i: &usize| {
            let times = self.rows[*i].times();
            times.stop.and(times.end)
        };
        // Of two that ended in one instant the one declared first waited for the other: needs point to earlier ones.
        let last = |i: &usize| (ended(i), Reverse(*i));
        let mut path = Vec::new();
        let mut seen = BTreeSet::new();
        let mut next = (0..self.rows.len()).filter(|i| ended(i).is_some()).max_by_key(last);
        while let Some(i) = next {
            if !seen.insert(i) {
                break;
            }
            path.push(self.parts[i].name().to_owned());
            let holds = |edge: Edge| matches!(edge, Edge::Hard | Edge::Soft);
            let waited_for =
                |j: &usize| self.parts[*j].spec.needs.iter().any(|need| need.on.index() == i && holds(need.edge));
            next = (0..self.rows.len()).filter(|j| ended(j).is_some() && waited_for(j)).max_by_key(last);
        }
        path.reverse();
        path
    }
}

impl Recorder {
    fn row(&self, i: usize, since: &dyn Fn(Option<Moment>) -> Option<f64>) -> Row {
        let (part, notes, times) = (&self.parts[i], &self.rows[i], self.rows[i].times());
        let hard = part.spec.needs.iter().filter(|need| need.edge == Edge::Hard);
        let ending = notes.ending.as_deref().cloned().unwrap_or_default();
        Row {
            name: part.name().to_owned(),
            kind: part.kind.to_owned(),
            state: notes.state.unwrap_or(Component::Declared).word().to_owned(),
            stop_ms: since(times.stop),
            drained_ms: since(times.drained),
            release_ms: since(times.release),
            end_ms: since(times.end),
            used_ms: millis(times.used),
            limit_ms: millis(part.spec.stop_within.total()),
            allowed_ms: times.allowed.map(millis),
            drained: ending.drained,
            aborted: ending.aborted,
            leaked_tasks: ending.leaked_tasks,
            leaked_leases: ending.leaked_leases,
            ignored_interrupts: ending.ignored_interrupts,
            doing: ending.doing,
            error: notes.failure.as_ref().or(notes.earlier.as_ref()).map(Failure::line),
            restarts: notes.restarts,
            needs: hard.map(|need| self.parts[need.on.index()].name().to_owned()).collect(),
            http: ending.http,
        }
    }
}

impl Notes {
    /// Another incarnation: what the last one left stays on record, its times do not.
    fn begin_again(&mut self) {
        self.restarts += u32::from(self.times().end.is_some());
        self.earlier = self.failure.take().or_else(|| self.earlier.take());
        self.over_before = false;
        self.held_up = false;
        if let Some(ending) = &mut self.ending {
            ending.times = Times::default();
        }
    }

    fn times(&self) -> Times {
        self.ending.as_ref().map(|ending| ending.times).unwrap_or_default()
    }

    fn times_mut(&mut self) -> &mut Times {
        &mut self.ending_mut().times
    }

    fn ending_mut(&mut self) -> &mut Ending {
        self.ending.get_or_insert_default()
    }

    fn was_forced(&self) -> bool {
        matches!(self.state, Some(Component::Aborted | Component::Abandoned))
    }
}

fn millis(time: Duration) -> f64 {
    // Microseconds are as much as anybody reads, and make two equal times print alike.
    (time.as_secs_f64() * 1e6).round() / 1e3
}
