//! Random graphs: every kind of component and edge, targets before and behind, nothing that is refused.

use std::time::Duration;

use evenkeel_plan::{
    graph::Graph,
    limit::Limit,
    spec::{Activity, Edge, Id, Need, Role, Spec, Weight},
};
use proptest::{prelude::*, sample::Index};

/// A graph of up to `most` components with at most three needs each.
pub(crate) fn graph(most: usize) -> impl Strategy<Value = Graph> {
    prop::collection::vec(component(), 0..=most)
        .prop_flat_map(|parts| {
            let places: Vec<usize> = (0..parts.len()).collect();
            (Just(parts), Just(places).prop_shuffle())
        })
        .prop_map(|(parts, places)| Graph::new(build(parts, &places)).expect("nothing that is refused was generated"))
}

/// The raw material of a component: its spec without needs, and its needs as edges to some earlier component.
type Part = (Spec, Vec<(Index, Edge)>);

fn component() -> impl Strategy<Value = Part> {
    let role = prop_oneof![6 => Just(Role::Inner), 2 => Just(Role::Intake), 1 => Just(Role::Registrar)];
    let weight = prop_oneof![4 => Just(Weight::Essential), 1 => Just(Weight::Optional)];
    let activity = prop_oneof![Just(Activity::Passive), Just(Activity::Running), Just(Activity::Finite)];
    let limit = (1..20_000_u64).prop_map(|millis| Limit::fixed(Duration::from_millis(millis)));
    let needs = prop::collection::vec((any::<Index>(), edge()), 0..=3);
    (role, weight, activity, limit, any::<bool>(), needs).prop_map(|(role, weight, activity, limit, chosen, needs)| {
        let mut spec = Spec::new("");
        spec.role = role;
        spec.weight = weight;
        spec.activity = activity;
        spec.stop_within = limit;
        spec.stop_within_chosen = chosen;
        (spec, needs)
    })
}

pub(crate) fn edge() -> impl Strategy<Value = Edge> {
    prop_oneof![3 => Just(Edge::Hard), 1 => Just(Edge::Soft), 1 => Just(Edge::StartOnly)]
}

/// Puts the parts at their places; each need goes to a part that comes earlier in `parts`, wherever that is put.
fn build(parts: Vec<Part>, places: &[usize]) -> Vec<Spec> {
    let mut specs = vec![Spec::new(""); parts.len()];
    let id = |place: usize| Id(u32::try_from(place).expect("few components"));
    for (number, (mut spec, needs)) in parts.into_iter().enumerate() {
        spec.name = format!("c{}", places[number]);
        for (target, edge) in needs {
            if number == 0 {
                break;
            }
            let place = places[target.index(number)];
            let target: &Spec = &specs[place];
            if target.role == Role::Registrar && (spec.role != Role::Registrar || edge != Edge::StartOnly) {
                continue;
            }
            let edge = match (edge, target.weight) {
                (Edge::Hard, Weight::Optional) => Edge::Soft,
                _ => edge,
            };
            spec.needs.push(Need { on: id(place), edge });
        }
        specs[places[number]] = spec;
    }
    specs
}
