//! Makes a failing scenario small: drops components and faults for as long as the same invariant breaks.
//!
//! Greedy: one change after the other, each kept if some run of the changed scenario still fails in the same way.
//! Every candidate is run with a stop at each step, since a smaller graph makes fewer steps.

use std::time::Duration;

use crate::{
    Sabotage, Scenario,
    scenario::{Act, BadDrop, Component, Keep, Policy, Run},
    sweep::{Failure, Hunt, Swept, all_steps},
};

/// Candidates that are tried at most.
const TRIES: usize = 2_000;

/// A smaller scenario that breaks the same invariant, as far as one is found.
#[must_use]
pub fn shrink(failure: Box<Failure>, plant: Option<Sabotage>) -> Box<Failure> {
    let hunt = Hunt { plant, only: Some(failure.violation.invariant) };
    let (mut best, mut tries) = (failure, 0);
    loop {
        let before = tries;
        let found = smaller(&best.scenario).find_map(|candidate| {
            tries += 1;
            if tries > TRIES { None } else { fails(&candidate, hunt) }
        });
        match found {
            Some(failure) => best = failure,
            None => return best,
        }
        debug_assert!(tries > before, "each round tries something");
    }
}

fn fails(scenario: &Scenario, hunt: Hunt) -> Option<Box<Failure>> {
    all_steps(scenario, hunt, &mut Swept::default()).err()
}

/// Every scenario that is this one with one thing less.
fn smaller(scenario: &Scenario) -> impl Iterator<Item = Scenario> + use<'_> {
    let ids = 0..scenario.components.len();
    let without = ids.clone().rev().map(|id| without(scenario, id));
    let plainer = ids.flat_map(move |id| {
        let changes = PLAINER.iter().map(move |change| {
            let mut candidate = scenario.clone();
            change(&mut candidate.components[id]);
            candidate
        });
        let edges = edges_less(&scenario.components[id]).map(move |part| {
            let mut candidate = scenario.clone();
            candidate.components[id] = part;
            candidate
        });
        changes.chain(edges)
    });
    without.chain(simpler_stop(scenario)).chain(plainer).filter(move |candidate| candidate != scenario)
}

fn without(scenario: &Scenario, gone: usize) -> Scenario {
    let mut scenario = scenario.clone();
    scenario.components.remove(gone);
    for part in &mut scenario.components {
        for list in [&mut part.hard, &mut part.soft, &mut part.after] {
            list.retain(|on| *on != gone);
            list.iter_mut().filter(|on| **on > gone).for_each(|on| *on -= 1);
        }
    }
    scenario
}

fn edges_less(part: &Component) -> impl Iterator<Item = Component> + use<'_> {
    let less = |list: fn(&mut Component) -> &mut Vec<usize>, at: usize| {
        let mut part = part.clone();
        list(&mut part).remove(at);
        part
    };
    let hard = (0..part.hard.len()).map(move |at| less(|part| &mut part.hard, at));
    let soft = (0..part.soft.len()).map(move |at| less(|part| &mut part.soft, at));
    let after = (0..part.after.len()).map(move |at| less(|part| &mut part.after, at));
    let tasks = part.tasks.first().map(move |_| Component { tasks: part.tasks[1..].to_vec(), ..part.clone() });
    hard.chain(soft).chain(after).chain(tasks)
}

fn simpler_stop(scenario: &Scenario) -> impl Iterator<Item = Scenario> + use<'_> {
    let later = (0..scenario.later.len()).map(|at| {
        let mut candidate = scenario.clone();
        candidate.later.remove(at);
        candidate
    });
    let plain = [
        Scenario { propagation_delay: Duration::ZERO, ..scenario.clone() },
        Scenario { policy: Policy::Reverse, ..scenario.clone() },
        Scenario { budget: Duration::from_secs(30), ..scenario.clone() },
    ];
    later.chain(plain)
}

const PLAINER: [fn(&mut Component); 14] = [
    |part| part.open = Act::Quick,
    |part| part.close = Act::Quick,
    |part| {
        part.run = if part.finite { Run::Ok(Duration::from_millis(1)) } else { Run::UntilStop(Duration::ZERO) };
    },
    |part| part.keeps = Keep::No,
    |part| part.bad_drop = BadDrop::Nothing,
    |part| part.restart = None,
    |part| part.intake = false,
    |part| part.stop_within = None,
    |part| part.start_within = None,
    |part| part.frozen = false,
    |part| part.retries = false,
    |part| (part.close_ref, part.retries) = (false, false),
    |part| part.bad_runs = u32::MAX,
    |part| part.bad_opens = u32::MAX,
];
