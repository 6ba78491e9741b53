//! The arithmetic of a stop (L9).
//!
//! A budget is held as a deadline. What remains of it is split along the longest chain of releases that still lie
//! ahead: a component whose own limit and the chain below it fit gets its whole limit, otherwise its proportional
//! [`share`]. So nobody can use up the time of those below, and a late start is never charged to who waited.
//!
//! Before anything starts, [`Plan`] does the same sum on paper. When the longest chain does not fit, defaults give way
//! before what the user chose, down to a tenth of their length; only then does everything shrink in proportion. The
//! plan's *promises* come out of that: how long each component has even if all others take as long as they may. While
//! stopping, [`Plan::below`] and [`Plan::share`] work with the promises and with the time that is really left, and give
//! what was saved on the way back to whoever comes next. If everything takes as long as it may, they give exactly what
//! the plan says.

use std::time::Duration;

use crate::{
    graph::Graph,
    limit::seconds,
    spec::{DEFAULT_BUDGET, Id, Role, Spec},
};

/// What is kept back at the end of a stop for the last flush of receipt and logs, unless the budget is tiny.
pub const RESERVE: Duration = Duration::from_millis(200);
/// Defaults shrink to one part in this many before anything that the user chose gives way.
pub const DEFAULT_SHRINKS_TO: u32 = 10;

/// More rounds of shrinking defaults than this are not worth it; each finds a chain that no earlier one found.
const ROUNDS: usize = 64;
/// A longer chain or list is explained with its middle or end left out.
const EXPLAINED: usize = 10;

/// How long a whole stop may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// From the order to stop to the end of the process.
    pub total: Duration,
    /// How long to keep serving after readiness is off, so that routers notice.
    pub propagation_delay: Duration,
    /// Kept back at the end for the last flush.
    pub reserve: Duration,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(DEFAULT_BUDGET)
    }
}

impl Budget {
    /// A budget without a propagation delay; [`RESERVE`] of it is kept back, or a tenth if that is less.
    #[must_use]
    pub fn new(total: Duration) -> Self {
        Self { total, propagation_delay: Duration::ZERO, reserve: RESERVE.min(total / 10) }
    }

    /// The same, serving for `delay` after readiness is off.
    #[must_use]
    pub fn with_propagation_delay(mut self, delay: Duration) -> Self {
        self.propagation_delay = delay;
        self
    }

    /// What is left for components.
    #[must_use]
    pub fn room(&self) -> Duration {
        self.for_components().saturating_sub(self.propagation_delay)
    }

    /// Whether the budget makes sense.
    ///
    /// # Errors
    /// What is wrong with it, as a sentence.
    pub fn check(&self) -> Result<(), String> {
        if self.total.is_zero() {
            return Err("the budget of a stop is zero".into());
        }
        if self.room().is_zero() {
            return Err(format!(
                "a propagation delay of {} and {} for the last flush leave nothing of a budget of {}",
                seconds(self.propagation_delay),
                seconds(self.reserve),
                seconds(self.total)
            ));
        }
        Ok(())
    }

    /// When components have to be over, counted from the order to stop.
    fn for_components(&self) -> Duration {
        self.total.saturating_sub(self.reserve)
    }
}

/// For each component the longest chain of limits over what can only be released after it: its hard and soft needs, as
/// far as they are still there, and theirs. What is already over holds nobody up and ends a chain.
#[must_use]
pub fn below(graph: &Graph, still_there: impl Fn(Id) -> bool) -> Vec<Duration> {
    chains(graph, |id| still_there(id).then(|| graph.spec(id).stop_within.total()))
}

/// What a component with this limit may take: all of it if the chain below it still fits into what remains, otherwise
/// its part of what remains. Never more than `limit`, never more than `remaining`.
#[must_use]
pub fn share(limit: Duration, below: Duration, remaining: Duration) -> Duration {
    let wanted = limit.saturating_add(below);
    if wanted <= remaining { limit } else { part(limit, remaining, wanted) }
}

/// A stop on paper: who stops when and for how long if everything takes as long as it may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The budget that it keeps.
    pub budget: Budget,
    /// One row for each component, by [`Id::index`].
    pub rows: Vec<PlanRow>,
    /// The longest chain of releases by their full limits, first to stop first. What a registrar does while the service
    /// is still serving does not count.
    pub critical_path: Vec<Id>,
    /// From the order to stop to the end of the process, last flush included. Never more than the budget's total.
    pub worst_case: Duration,
    /// Whether somebody gets less than its limit.
    pub shrunk: bool,
    /// See [`Plan::promised`]; by [`Id::index`].
    promised: Vec<Duration>,
}

/// A component's line in a [`Plan`]. Offsets count from the order to stop.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanRow {
    /// Which component.
    pub id: Id,
    /// Its name.
    pub name: String,
    /// When its stop begins if all that hold on to it take as long as they may.
    pub earliest: Duration,
    /// When its stop has to begin at the latest, so that it and the chain below it still fit.
    pub latest: Duration,
    /// Its full limit.
    pub limit: Duration,
    /// What of that passes while the service is still serving: only a registrar is told before.
    pub while_serving: Duration,
    /// What it gets of that.
    pub allowed: Duration,
    /// Whether the user chose the limit.
    pub chosen: bool,
}

impl Plan {
    /// Plans the stop of everything in `graph`. The budget should have passed [`Budget::check`].
    ///
    /// Registrars are told to stop at once, everybody else when the propagation delay is over.
    #[must_use]
    pub fn new(graph: &Graph, budget: &Budget) -> Self {
        let rows = rows(graph, budget);
        let charged: Vec<Duration> = rows.iter().map(PlanRow::charged).collect();
        let promises = promises(graph, &charged, budget.room());
        let mut plan = Self {
            budget: *budget,
            promised: promises.iter().zip(&rows).map(|(promise, row)| *promise + row.while_serving).collect(),
            rows,
            critical_path: longest(graph, &charged).1,
            worst_case: Duration::ZERO,
            shrunk: false,
        };
        let last_end = plan.pass_forward(graph);
        plan.pass_backward(graph);
        plan.worst_case = last_end.max(budget.propagation_delay).saturating_add(budget.reserve);
        plan.shrunk = plan.cut().count() > 0;
        plan
    }

    /// How long a component has for its stop even if all others take as long as they may.
    #[must_use]
    pub fn promised(&self, id: Id) -> Duration {
        self.promised[id.index()]
    }

    /// The free [`below`], over what this plan promises instead of full limits.
    #[must_use]
    pub fn below(&self, graph: &Graph, still_there: impl Fn(Id) -> bool) -> Vec<Duration> {
        chains(graph, |id| still_there(id).then(|| self.promised[id.index()]))
    }

    /// What `id` may take from now on, having `used` some time already, with this entry of [`Plan::below`] and with
    /// `remaining` until components have to be over. Its promise, and what nobody below it was promised, up to its
    /// limit; less than its promise only if what remains is short. Never more than `remaining`.
    #[must_use]
    pub fn share(&self, id: Id, used: Duration, below: Duration, remaining: Duration) -> Duration {
        let promised = self.promised[id.index()].saturating_sub(used);
        if promised.saturating_add(below) > remaining {
            return share(promised, below, remaining);
        }
        let limit = self.rows[id.index()].limit.saturating_sub(used);
        limit.min(remaining.saturating_sub(below))
    }

    /// The rows that get less than their limit.
    pub fn cut(&self) -> impl Iterator<Item = &PlanRow> {
        self.rows.iter().filter(|row| row.allowed < row.limit)
    }

    /// How long a stop would take with nobody cut short: what a platform has to allow.
    #[must_use]
    pub fn needed(&self) -> Duration {
        self.critical_length().saturating_add(self.budget.propagation_delay).saturating_add(self.budget.reserve)
    }

    /// The sum, in lines for a log: what there is, what the longest chain wants, and who gets less than its limit.
    #[must_use]
    pub fn arithmetic(&self) -> Vec<String> {
        let mut lines = vec![self.explain_room()];
        if !self.critical_path.is_empty() {
            lines.push(self.explain_path());
        }
        let explain = |row: &PlanRow| {
            let whose = if row.chosen { "chosen" } else { "default" };
            format!("{} gets {} of its {} ({whose})", row.name, seconds(row.allowed), seconds(row.limit))
        };
        lines.extend(self.cut().take(EXPLAINED).map(explain));
        let left_out = self.cut().skip(EXPLAINED).count();
        if left_out > 0 {
            lines.push(format!("and so do {left_out} more"));
        }
        lines
    }

    fn explain_room(&self) -> String {
        let Budget { total, propagation_delay: delay, reserve } = self.budget;
        let delay = if delay.is_zero() { String::new() } else { format!(" - {} propagation delay", seconds(delay)) };
        format!(
            "{} budget{delay} - {} last flush = {} for components",
            seconds(total),
            seconds(reserve),
            seconds(self.budget.room())
        )
    }

    fn explain_path(&self) -> String {
        let term = |&id: &Id| {
            let row = &self.rows[id.index()];
            let charged = format!("{} {}", row.name, seconds(row.charged()));
            if row.while_serving.is_zero() {
                return charged;
            }
            format!("{charged} (and {} while serving)", seconds(row.while_serving))
        };
        let (head, tail) = self.critical_path.split_at(self.critical_path.len().min(EXPLAINED));
        let mut terms: Vec<String> = head.iter().map(term).collect();
        if !tail.is_empty() {
            let rest =
                tail.iter().map(|id| self.rows[id.index()].charged()).fold(Duration::ZERO, Duration::saturating_add);
            terms.push(format!("{} more {}", tail.len(), seconds(rest)));
        }
        let (sum, room) = (self.critical_length(), self.budget.room());
        let verdict = match sum.checked_sub(room) {
            None | Some(Duration::ZERO) => format!("<= {}: fits", seconds(room)),
            Some(over) => format!("> {}: {} too long", seconds(room), seconds(over)),
        };
        let terms = terms.join(" + ");
        match self.critical_path.len() {
            1 => format!("{terms} {verdict}"),
            _ => format!("{terms} = {} {verdict}", seconds(sum)),
        }
    }

    fn critical_length(&self) -> Duration {
        let charged = self.critical_path.iter().map(|id| self.rows[id.index()].charged());
        charged.fold(Duration::ZERO, Duration::saturating_add)
    }

    /// Sets when each stop begins and what it gets, dependents first; answers when the last one ends.
    fn pass_forward(&mut self, graph: &Graph) -> Duration {
        let below = self.below(graph, |_| true);
        let mut last_end = Duration::ZERO;
        for &id in graph.topological().iter().rev() {
            let users = graph.dependents(id).iter().filter(|user| user.edge.orders_stop());
            let begin = users
                .map(|user| self.rows[user.on.index()].end())
                .fold(told(graph.spec(id), &self.budget), Duration::max);
            let remaining = self.budget.for_components().saturating_sub(begin);
            let allowed = self.share(id, Duration::ZERO, below[id.index()], remaining);
            let row = &mut self.rows[id.index()];
            row.earliest = begin;
            row.allowed = allowed;
            last_end = last_end.max(row.end());
        }
        last_end
    }

    /// Sets when each stop has to begin at the latest.
    fn pass_backward(&mut self, graph: &Graph) {
        let below = chains(graph, |id| Some(self.rows[id.index()].allowed));
        for (row, below) in self.rows.iter_mut().zip(below) {
            let wanted = row.allowed.saturating_add(below);
            row.latest = self.budget.for_components().saturating_sub(wanted);
        }
    }
}

impl PlanRow {
    /// The part of its limit that the room for components has to pay for.
    #[must_use]
    pub fn charged(&self) -> Duration {
        self.limit.saturating_sub(self.while_serving)
    }

    /// When its stop ends if it takes as long as it may.
    #[must_use]
    pub fn end(&self) -> Duration {
        self.earliest.saturating_add(self.allowed)
    }
}

fn rows(graph: &Graph, budget: &Budget) -> Vec<PlanRow> {
    let row = |id: Id| {
        let spec = graph.spec(id);
        let limit = spec.stop_within.total();
        PlanRow {
            id,
            name: spec.name.clone(),
            earliest: Duration::ZERO,
            latest: Duration::ZERO,
            limit,
            while_serving: budget.propagation_delay.saturating_sub(told(spec, budget)).min(limit),
            allowed: limit,
            chosen: spec.stop_within_chosen,
        }
    };
    graph.ids().map(row).collect()
}

/// When a component that nobody holds on to is told to stop.
fn told(spec: &Spec, budget: &Budget) -> Duration {
    match spec.role {
        Role::Registrar => Duration::ZERO,
        Role::Inner | Role::Intake => budget.propagation_delay,
    }
}

/// For each component the longest chain of lengths below it; `None` for what is not there any more.
fn chains(graph: &Graph, length: impl Fn(Id) -> Option<Duration>) -> Vec<Duration> {
    let mut below = vec![Duration::ZERO; graph.len()];
    for &id in graph.topological() {
        let needs = graph.needs(id).iter().filter(|need| need.edge.orders_stop());
        let longest = needs.filter_map(|need| Some(length(need.on)?.saturating_add(below[need.on.index()]))).max();
        below[id.index()] = longest.unwrap_or(Duration::ZERO);
    }
    below
}

/// The longest chain of these lengths, and who is on it; of several the one that begins with the first declared.
fn longest(graph: &Graph, lengths: &[Duration]) -> (Duration, Vec<Id>) {
    let below = chains(graph, |id| Some(lengths[id.index()]));
    let whole = |id: Id| lengths[id.index()].saturating_add(below[id.index()]);
    let Some(head) = graph.ids().rev().max_by_key(|&id| whole(id)) else {
        return (Duration::ZERO, Vec::new());
    };
    let next = |&id: &Id| {
        let mut needs = graph.needs(id).iter().filter(|need| need.edge.orders_stop());
        needs.find(|need| whole(need.on) == below[id.index()]).map(|need| need.on)
    };
    (whole(head), std::iter::successors(Some(head), next).collect())
}

/// The longest promises up to these limits that fit into `room` together: defaults shrink first, all by one factor.
///
/// Each round takes the longest chain and shrinks the defaults until that one fits. That never lengthens another, so
/// the rounds end with every chain fitting, or with defaults as short as they may get.
fn promises(graph: &Graph, limits: &[Duration], room: Duration) -> Vec<Duration> {
    let is_chosen = |id: Id| graph.spec(id).stop_within_chosen;
    let sum = |path: &[Id], of_chosen: bool| {
        let ids = path.iter().filter(|id| is_chosen(**id) == of_chosen);
        ids.map(|id| limits[id.index()]).fold(Duration::ZERO, Duration::saturating_add)
    };
    let mut promised = limits.to_vec();
    for _ in 0..ROUNDS {
        let (length, path) = longest(graph, &promised);
        if length <= room {
            return promised;
        }
        let defaults = sum(&path, false);
        let left = room.saturating_sub(sum(&path, true));
        let least = defaults / DEFAULT_SHRINKS_TO;
        for id in graph.ids().filter(|id| !is_chosen(*id)) {
            let limit = limits[id.index()];
            promised[id.index()] = if left > least { part(limit, left, defaults) } else { limit / DEFAULT_SHRINKS_TO };
        }
        if left <= least {
            break;
        }
    }
    let (length, _) = longest(graph, &promised);
    if length > room {
        for promise in &mut promised {
            *promise = part(*promise, room, length);
        }
    }
    promised
}

/// `of * share / whole`, rounded down. Spans beyond 584 years count as 584 years. `whole` is not zero.
fn part(of: Duration, share: Duration, whole: Duration) -> Duration {
    let nanos = |length: Duration| u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
    let product = u128::from(nanos(of)) * u128::from(nanos(share));
    Duration::from_nanos(u64::try_from(product / whole.as_nanos()).unwrap_or(u64::MAX))
}
