//! The recorder: turns what the engine decided and what components reported into the stop receipt.
//!
//! It is behind a lock of its own because two may ask for the receipt: the driver at the end of a stop, and the guardian
//! when the driver did not get there in time. Nobody holds that lock while waiting for anything.

use std::{collections::BTreeSet, time::Duration};

use evenkeel_events::{Receipt, Row};
use evenkeel_plan::{
    cause::{Cause, Outcome},
    engine::Moment,
    lifecycle::Component,
    spec::{Edge, Id},
};
use jiff::Timestamp;

use crate::{error::Failure, part::Part};

/// See the module documentation.
pub(crate) struct Recorder {
    receipt: Receipt,
    rows: Vec<Notes>,
    stop_began: Option<Moment>,
    budget: Duration,
    cause: Option<Cause>,
    later: Vec<Cause>,
}

/// What is known of one component beside its row.
#[derive(Clone, Default)]
struct Notes {
    row: Row,
    state: Option<Component>,
    failure: Option<Failure>,
    stop: Option<Moment>,
    drained: Option<Moment>,
    release: Option<Moment>,
    end: Option<Moment>,
    allowed: Option<Duration>,
    used: Duration,
    hard_or_soft: Vec<Id>,
}

impl Recorder {
    pub(crate) fn new<'a>(app: &str, budget: Duration, policy: &str, parts: impl Iterator<Item = &'a Part>) -> Self {
        let parts: Vec<&Part> = parts.collect();
        let rows = parts.iter().map(|part| notes(part, &parts)).collect();
        let receipt = Receipt {
            schema: Receipt::SCHEMA,
            app: app.to_owned(),
            pid: std::process::id(),
            started_at: Timestamp::now().to_string(),
            policy: policy.to_owned(),
            budget_ms: millis(budget),
            ..Receipt::default()
        };
        Self { receipt, rows, stop_began: None, budget, cause: None, later: Vec::new() }
    }

    pub(crate) fn stop_began(&mut self, now: Moment, cause: Cause, propagation: Duration) {
        self.stop_began = Some(now);
        self.cause = Some(cause);
        self.receipt.stop_began_at = Timestamp::now().to_string();
        self.receipt.propagation_delay_ms = millis(propagation);
    }

    pub(crate) fn causes(&mut self, first: &Cause, later: &[Cause]) {
        self.cause = Some(first.clone());
        self.later = later.to_vec();
    }

    pub(crate) fn moved(&mut self, id: Id, to: Component, now: Moment, used: Duration) {
        let notes = &mut self.rows[id.index()];
        notes.state = Some(to);
        notes.used = used;
        match to {
            Component::Starting => {
                let (row, hard_or_soft) = (notes.row.clone(), std::mem::take(&mut notes.hard_or_soft));
                let restarts = if notes.end.is_some() { row.restarts + 1 } else { row.restarts };
                let failure = notes.failure.take();
                *notes =
                    Notes { row: Row { restarts, ..row }, state: Some(to), failure, hard_or_soft, ..Notes::default() };
            }
            Component::Drained => notes.drained = Some(now),
            to if to.is_over() => notes.end = Some(now),
            _ => {}
        }
    }

    /// It is up again: what it failed of before is history.
    pub(crate) fn recovered(&mut self, id: Id) {
        self.rows[id.index()].failure = None;
    }

    pub(crate) fn told_to_stop(&mut self, id: Id, now: Moment, allowed: Duration) {
        let notes = &mut self.rows[id.index()];
        notes.stop = Some(now);
        notes.allowed = Some(allowed);
    }

    pub(crate) fn told_to_release(&mut self, id: Id, now: Moment, allowed: Duration) {
        let notes = &mut self.rows[id.index()];
        notes.release = Some(now);
        notes.allowed = Some(notes.used.saturating_add(allowed));
    }

    /// The first failure of an incarnation is its error; what follows from it is not.
    pub(crate) fn failed(&mut self, id: Id, failure: Failure) {
        self.rows[id.index()].failure.get_or_insert(failure);
    }

    pub(crate) fn doing(&mut self, id: Id, doing: String) {
        self.rows[id.index()].row.doing = Some(doing);
    }

    pub(crate) fn leases(&mut self, id: Id, leases: Vec<String>) {
        self.rows[id.index()].row.leaked_leases = leases;
    }

    pub(crate) fn counts(&mut self, id: Id, drained: u64, aborted: u64) {
        let row = &mut self.rows[id.index()].row;
        row.drained = drained;
        row.aborted = aborted;
    }

    pub(crate) fn leaked_tasks(&mut self, id: Id, tasks: u64, ignored_interrupts: u64) {
        let row = &mut self.rows[id.index()].row;
        row.leaked_tasks = tasks;
        row.ignored_interrupts = ignored_interrupts;
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
        receipt.components = self.rows.iter().map(|notes| notes.row(&since)).collect();
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
        let name = |id: &Id| &self.rows[id.index()].row.name;
        match cause {
            Cause::Signal { name, .. } => (*name).to_owned(),
            Cause::Request { by } => by.clone(),
            Cause::StartFailed { component } => format!("`{}` could not start", name(component)),
            Cause::ComponentFailed { component } => format!("`{}` failed", name(component)),
            Cause::Finished => "all jobs are done".to_owned(),
        }
    }

    /// Who kept the stop from being clean: the failed one that began it, and everything that did not end in order.
    fn culprits(&self) -> Vec<String> {
        let began_it = match &self.cause {
            Some(Cause::StartFailed { component } | Cause::ComponentFailed { component }) => Some(component.index()),
            _ => None,
        };
        let guilty = |(i, notes): &(usize, &Notes)| {
            let forced = matches!(notes.state, Some(Component::Aborted | Component::Abandoned));
            let stopped = notes.stop >= self.stop_began && notes.stop.is_some();
            let failed = stopped && notes.failure.is_some() && notes.state != Some(Component::Skipped);
            began_it == Some(*i)
                || forced
                || failed
                || !notes.row.leaked_leases.is_empty()
                || notes.row.leaked_tasks > 0
        };
        self.rows.iter().enumerate().filter(guilty).map(|(_, notes)| notes.row.name.clone()).collect()
    }

    /// From the component that ended last, back over the dependent it waited for, to the first of the chain.
    fn critical_path(&self) -> Vec<String> {
        let ended = |i: &usize| self.rows[*i].stop.and(self.rows[*i].end);
        let mut path = Vec::new();
        let mut seen = BTreeSet::new();
        let mut next = (0..self.rows.len()).filter(|i| ended(i).is_some()).max_by_key(ended);
        while let Some(i) = next {
            if !seen.insert(i) {
                break;
            }
            path.push(self.rows[i].row.name.clone());
            let waited_for = |j: &usize| self.rows[*j].hard_or_soft.iter().any(|on| on.index() == i);
            next = (0..self.rows.len()).filter(|j| ended(j).is_some() && waited_for(j)).max_by_key(ended);
        }
        path.reverse();
        path
    }
}

impl Notes {
    fn row(&self, since: &dyn Fn(Option<Moment>) -> Option<f64>) -> Row {
        let mut row = self.row.clone();
        row.state = self.state.unwrap_or(Component::Declared).word().to_owned();
        row.stop_ms = since(self.stop);
        row.drained_ms = since(self.drained);
        row.release_ms = since(self.release);
        row.end_ms = since(self.end);
        row.used_ms = millis(self.used);
        row.allowed_ms = self.allowed.map(millis);
        row.error = self.failure.as_ref().map(Failure::line);
        row
    }
}

fn notes(part: &Part, all: &[&Part]) -> Notes {
    let needed = |edge: Edge| part.spec.needs.iter().filter(move |need| need.edge == edge).map(|need| need.on);
    let row = Row {
        name: part.name().to_owned(),
        kind: part.kind.to_owned(),
        limit_ms: millis(part.spec.stop_within.total()),
        needs: needed(Edge::Hard).map(|on| all[on.index()].name().to_owned()).collect(),
        ..Row::default()
    };
    Notes { row, hard_or_soft: needed(Edge::Hard).chain(needed(Edge::Soft)).collect(), ..Notes::default() }
}

fn millis(time: Duration) -> f64 {
    // Microseconds are as much as anybody reads, and make two equal times print alike.
    (time.as_secs_f64() * 1e6).round() / 1e3
}
