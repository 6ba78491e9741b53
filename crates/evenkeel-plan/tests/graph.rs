//! Who needs whom: what is refused, and in which order the rest starts and stops.

mod any;

use std::{collections::BTreeSet, time::Duration};

use evenkeel_plan::{
    graph::{Graph, GraphError, MAX_COMPONENTS, MAX_NAME},
    limit::Limit,
    restart::Restart,
    spec::{Edge, Id, Need, Role, Spec, Weight},
};
use proptest::prelude::*;

fn spec(name: &str, line: u32) -> Spec {
    let mut spec = Spec::new(name);
    spec.declared_at = format!("main.rs:{line}");
    spec
}

fn id(number: usize) -> Id {
    Id(u32::try_from(number).expect("few components"))
}

/// The refusal of these specs, as a user reads it.
fn refusal(specs: Vec<Spec>) -> String {
    let error = Graph::new(specs).expect_err("these specs make no sense");
    format!("{error}\n{}", error.hint())
}

fn names(graph: &Graph, waves: &[Vec<Id>]) -> Vec<String> {
    let wave = |ids: &Vec<Id>| ids.iter().map(|id| graph.spec(*id).name.as_str()).collect::<Vec<_>>().join(" ");
    waves.iter().map(wave).collect()
}

// Refusals.

#[test]
fn two_components_of_one_name_are_refused() {
    assert_eq!(
        refusal(vec![spec("db", 1), spec("api", 2), spec("db", 3)]),
        "`db` (main.rs:3) has the name of `db` (main.rs:1)\n\
         give `db` (main.rs:3) a name of its own"
    );
}

#[test]
fn a_name_that_has_no_place_in_a_file_name_is_refused() {
    for name in ["", "a b", "a/b", "\u{e4}", "a\n", &"x".repeat(MAX_NAME + 1)] {
        let error = Graph::new(vec![spec(name, 1)]).expect_err("not a name");
        assert!(matches!(error, GraphError::Name { .. }), "{name:?}: {error}");
    }
    assert_eq!(
        refusal(vec![spec("a\nb", 1)]),
        "`a\\nb` (main.rs:1) is not a name for a component\n\
         use 1 to 64 of the characters a-z A-Z 0-9 _ . -"
    );
    assert!(Graph::new(vec![spec(&"x".repeat(MAX_NAME), 1), spec("aZ09_.-", 2)]).is_ok());
}

#[test]
fn a_need_of_something_that_is_not_there_is_refused() {
    assert_eq!(
        refusal(vec![spec("api", 1).needing(Id(7), Edge::Soft)]),
        "`api` (main.rs:1) needs component number 7 of 1\n\
         declare the component that is needed, in the same app"
    );
}

#[test]
fn a_component_that_needs_itself_is_refused() {
    assert_eq!(
        refusal(vec![Spec::new("api").needing(Id(0), Edge::StartOnly)]),
        "`api` needs itself\n\
         take `api` out of its own needs"
    );
}

#[test]
fn the_shortest_cycle_is_printed_with_its_declarations() {
    // a -> b -> c -> d -> a is a cycle, and so is the shorter c -> d -> c.
    let specs = vec![
        spec("a", 1).needing(Id(1), Edge::Hard),
        spec("b", 2).needing(Id(2), Edge::Hard),
        spec("c", 3).needing(Id(3), Edge::Soft),
        spec("d", 4).needing(Id(0), Edge::Hard).needing(Id(2), Edge::StartOnly),
    ];
    assert_eq!(
        refusal(specs),
        "`c` (main.rs:3) needs `d` (main.rs:4), which needs `c` again: a cycle has no place to start\n\
         take out one of these needs: move what both use into a component that both need"
    );
}

#[test]
fn a_long_cycle_is_printed_without_its_middle() {
    let ring = |number: usize| spec(&format!("c{number}"), 1).needing(id((number + 1) % 5000), Edge::Hard);
    let error = Graph::new((0..5000).map(ring).collect()).expect_err("a ring");
    let text = error.to_string();
    assert!(text.starts_with("`c0` (main.rs:1) needs `c1` (main.rs:1), which needs `c2`"), "{text}");
    assert!(
        text.ends_with(
            "`c10` (main.rs:1), and 4988 components later `c4999` (main.rs:1), \
             which needs `c0` again: a cycle has no place to start"
        ),
        "{text}"
    );
}

#[test]
fn holding_on_to_an_optional_component_is_refused_r2_3d() {
    let mut cache = spec("cache", 1);
    cache.weight = Weight::Optional;
    let api = |edge| vec![cache.clone(), spec("api", 2).needing(Id(0), edge)];
    assert_eq!(
        refusal(api(Edge::Hard)),
        "`api` (main.rs:2) holds on to `cache` (main.rs:1), which is optional and may not be there\n\
         need it softly or only for the start, or make `cache` essential"
    );
    assert!(Graph::new(api(Edge::Soft)).is_ok());
    assert!(Graph::new(api(Edge::StartOnly)).is_ok());
}

#[test]
fn needing_a_registrar_is_refused_but_for_another_registrar_that_waits_r2_3b() {
    let registrar = |name: &str, line| Spec { role: Role::Registrar, ..spec(name, line) };
    assert_eq!(
        refusal(vec![registrar("consul", 1), spec("api", 2).needing(Id(0), Edge::StartOnly)]),
        "`api` (main.rs:2) needs `consul` (main.rs:1), a registrar, which starts last and goes first\n\
         take `consul` out of its needs: only another registrar may wait for its start"
    );
    let second = |edge| vec![registrar("consul", 1), registrar("balancer", 2).needing(Id(0), edge)];
    assert!(Graph::new(second(Edge::StartOnly)).is_ok());
    assert!(Graph::new(second(Edge::Hard)).is_err());
}

#[test]
fn what_can_start_only_once_must_not_be_taken_along_by_a_restart() {
    let restarting = |mut spec: Spec| {
        spec.restart = Some(Restart::default());
        spec
    };
    let once = |mut spec: Spec| {
        spec.once = true;
        spec
    };
    let chain = |edge| {
        vec![
            restarting(spec("db", 1)),
            spec("repo", 2).needing(Id(0), Edge::Hard),
            once(spec("import", 3).needing(Id(1), edge)),
        ]
    };
    assert_eq!(
        refusal(chain(Edge::Hard)),
        "`import` (main.rs:3) can be started only once, but would restart with `db` (main.rs:1), which it needs\n\
         take the restart policy of `db` away, let `import` be started more than once, or need it softly"
    );
    assert!(Graph::new(chain(Edge::Soft)).is_ok());
    assert_eq!(
        refusal(vec![restarting(once(spec("import", 1)))]),
        "`import` (main.rs:1) can be started only once, but has a restart policy\n\
         take away its restart policy, or let it be started more than once"
    );
}

#[test]
fn limits_that_make_no_sense_are_refused_r3_2c() {
    let with = |change: &dyn Fn(&mut Spec)| {
        let mut spec = spec("db", 1);
        change(&mut spec);
        refusal(vec![spec])
    };
    assert_eq!(
        with(&|spec| spec.stop_within = Limit::fixed(Duration::ZERO)),
        "`db` (main.rs:1): the limit of its release is zero\n\
         choose a limit above zero, or leave it out to get the default"
    );
    assert!(
        with(&|spec| spec.start_within = Duration::ZERO)
            .starts_with("`db` (main.rs:1): the limit of its start is zero\n")
    );
    assert!(
        with(&|spec| spec.restart = Some(Restart::new().at_most(1, Duration::ZERO)))
            .starts_with("`db` (main.rs:1): its restart policy counts failures within no time at all\n")
    );
}

#[test]
fn more_components_than_an_app_may_have_are_refused() {
    let many = |count: usize| (0..count).map(|number| Spec::new(format!("c{number}"))).collect::<Vec<_>>();
    assert_eq!(
        refusal(many(MAX_COMPONENTS + 1)),
        "10001 components are more than the 10000 of one app\n\
         make the parts that are alike tasks of one component: a component may have any number of tasks"
    );
    assert!(Graph::new(many(MAX_COMPONENTS)).is_ok());
}

// Orders.

#[test]
fn hard_and_start_only_edges_order_the_start_hard_and_soft_ones_the_stop_r3_2a() {
    let graph = Graph::new(vec![
        Spec::new("base"),
        Spec::new("hard").needing(Id(0), Edge::Hard),
        Spec::new("soft").needing(Id(0), Edge::Soft),
        Spec::new("start-only").needing(Id(0), Edge::StartOnly),
    ])
    .unwrap();
    assert_eq!(names(&graph, &graph.start_waves()), ["base soft", "hard start-only"]);
    assert_eq!(names(&graph, &graph.stop_waves()), ["hard soft start-only", "base"]);
}

#[test]
fn a_registrar_starts_after_all_essential_parts_and_stops_in_the_first_wave_r2_3b() {
    let mut specs = vec![
        Spec::new("consul"),
        Spec::new("db"),
        Spec::new("api").needing(Id(1), Edge::Hard),
        Spec::new("cache").needing(Id(2), Edge::StartOnly),
    ];
    specs[0].role = Role::Registrar;
    specs[3].weight = Weight::Optional;
    let graph = Graph::new(specs).unwrap();
    // The optional cache comes later than the last essential part and still holds no registrar up.
    assert_eq!(names(&graph, &graph.start_waves()), ["db", "api", "consul cache"]);
    assert_eq!(names(&graph, &graph.stop_waves()), ["consul api cache", "db"]);
    assert_eq!(graph.topological().last(), Some(&Id(0)));
}

#[test]
fn an_intake_may_be_a_job() {
    let mut spec = Spec::new("import");
    spec.role = Role::Intake;
    spec.activity = evenkeel_plan::spec::Activity::Finite;
    assert!(Graph::new(vec![spec]).is_ok());
}

#[test]
fn needs_that_say_the_same_twice_count_once() {
    use Edge::{Hard, Soft, StartOnly};
    let needing = |edges: &[Edge]| {
        let api = edges.iter().fold(Spec::new("api"), |api, edge| api.needing(Id(0), *edge));
        let graph = Graph::new(vec![Spec::new("db"), api]).unwrap();
        let seen: Vec<Edge> = graph.dependents(Id(0)).iter().map(|need| need.edge).collect();
        assert_eq!(graph.needs(Id(1)).iter().map(|need| need.edge).collect::<Vec<_>>(), seen);
        seen
    };
    assert_eq!(needing(&[Hard, Hard]), [Hard]);
    assert_eq!(needing(&[Soft, StartOnly, Hard]), [Hard]);
    assert_eq!(needing(&[Soft, StartOnly, Soft]), [Soft, StartOnly]);
}

#[test]
fn an_app_without_components_is_a_graph() {
    let graph = Graph::new(Vec::new()).unwrap();
    assert!(graph.is_empty());
    assert_eq!((graph.start_waves().len(), graph.stop_waves().len()), (0, 0));
}

#[test]
fn ten_thousand_components_in_one_chain_are_ordered_without_running_out_of_stack() {
    // Each needs the next, so that the order is the declaration turned round.
    let link = |number: usize| {
        let spec = Spec::new(format!("c{number}"));
        if number + 1 < MAX_COMPONENTS { spec.needing(id(number + 1), Edge::Hard) } else { spec }
    };
    let graph = Graph::new((0..MAX_COMPONENTS).map(link).collect()).unwrap();
    assert!(graph.topological().iter().copied().eq(graph.ids().rev()));
    assert_eq!(graph.start_waves().len(), MAX_COMPONENTS);
    assert_eq!(graph.hard_dependents_closure(id(MAX_COMPONENTS - 1)).len(), MAX_COMPONENTS - 1);
}

/// Waves by peeling: again and again take everybody who waits for nobody left.
fn peel(graph: &Graph, waits_for: impl Fn(Id, Id) -> bool) -> Vec<Vec<Id>> {
    let mut left: BTreeSet<Id> = graph.ids().collect();
    let mut waves = Vec::new();
    while !left.is_empty() {
        let free = left.iter().filter(|id| !left.iter().any(|other| waits_for(**id, *other)));
        let wave: Vec<Id> = free.copied().collect();
        left.retain(|id| !wave.contains(id));
        waves.push(wave);
    }
    waves
}

fn has_edge(graph: &Graph, from: Id, to: Id, kinds: [Edge; 2]) -> bool {
    graph.needs(from).iter().any(|need| need.on == to && kinds.contains(&need.edge))
}

/// Length of the shortest way along needs between any two, by Floyd and Warshall.
fn distances(specs: &[Spec]) -> Vec<Vec<usize>> {
    let far = usize::MAX / 4;
    let mut ways = vec![vec![far; specs.len()]; specs.len()];
    for (from, spec) in specs.iter().enumerate() {
        for need in &spec.needs {
            ways[from][need.on.index()] = 1;
        }
    }
    for via in 0..specs.len() {
        for from in 0..specs.len() {
            for to in 0..specs.len() {
                ways[from][to] = ways[from][to].min(ways[from][via] + ways[via][to]);
            }
        }
    }
    ways
}

/// Specs with edges in any direction, cycles included.
fn tangle() -> impl Strategy<Value = Vec<Spec>> {
    (1..12_usize).prop_flat_map(|count| {
        let edges = prop::collection::vec((0..count, 0..count, any::edge()), 0..count * 2);
        edges.prop_map(move |edges| {
            let mut specs: Vec<Spec> = (0..count).map(|number| Spec::new(format!("c{number}"))).collect();
            for (from, to, edge) in edges.into_iter().filter(|(from, to, _)| from != to) {
                specs[from].needs.push(Need { on: id(to), edge });
            }
            specs
        })
    })
}

proptest! {
    #[test]
    fn waves_agree_with_peeling_r3_2a(graph in any::graph(24)) {
        let registers_after = |id: Id, other: Id| {
            let (one, two) = (graph.spec(id), graph.spec(other));
            one.role == Role::Registrar && two.role != Role::Registrar && two.weight == Weight::Essential
        };
        let waits = |id, other| has_edge(&graph, id, other, [Edge::Hard, Edge::StartOnly]);
        let start = |id, other| waits(id, other) || registers_after(id, other);
        prop_assert_eq!(graph.start_waves(), peel(&graph, start));
        let stop = |id, other| has_edge(&graph, other, id, [Edge::Hard, Edge::Soft]);
        prop_assert_eq!(graph.stop_waves(), peel(&graph, stop));
    }

    #[test]
    fn a_registrar_never_stops_after_the_first_wave_r2_3b(graph in any::graph(24)) {
        for late in graph.stop_waves().iter().skip(1).flatten() {
            prop_assert!(graph.spec(*late).role != Role::Registrar);
        }
    }

    #[test]
    fn everything_comes_after_what_it_needs(graph in any::graph(24)) {
        let place = |id: Id| graph.topological().iter().position(|other| *other == id);
        prop_assert_eq!(graph.topological().len(), graph.len());
        for from in graph.ids() {
            for need in graph.needs(from) {
                prop_assert!(place(need.on) < place(from));
            }
        }
    }

    #[test]
    fn dependents_are_the_needs_seen_from_the_other_end(graph in any::graph(24)) {
        let order = |need: &(Id, Id, Edge)| *need;
        let mut forth: Vec<_> =
            graph.ids().flat_map(|id| graph.needs(id).iter().map(move |need| (id, need.on, need.edge))).collect();
        let mut back: Vec<_> =
            graph.ids().flat_map(|id| graph.dependents(id).iter().map(move |need| (need.on, id, need.edge))).collect();
        forth.sort_by_key(order);
        back.sort_by_key(order);
        prop_assert_eq!(forth, back);
    }

    #[test]
    fn everybody_who_holds_on_restarts_along_dependents_first_l15(graph in any::graph(24)) {
        for start in graph.ids() {
            let closure = graph.hard_dependents_closure(start);
            // Naive: add whoever holds on to a member until nobody is added any more.
            let mut members = BTreeSet::from([start]);
            while let Some(more) = graph.ids().find(|id| {
                !members.contains(id)
                    && graph.needs(*id).iter().any(|need| need.edge == Edge::Hard && members.contains(&need.on))
            }) {
                members.insert(more);
            }
            members.remove(&start);
            prop_assert_eq!(closure.iter().copied().collect::<BTreeSet<_>>(), members);
            for (place, member) in closure.iter().enumerate() {
                prop_assert!(!graph.needs(*member).iter().any(|need| closure[..place].contains(&need.on)));
            }
        }
    }

    #[test]
    fn every_component_is_found_by_its_name(graph in any::graph(24)) {
        for id in graph.ids() {
            prop_assert_eq!(graph.find(&graph.spec(id).name), Some(id));
        }
        prop_assert_eq!(graph.find("nobody"), None);
    }

    #[test]
    fn a_cycle_is_refused_by_the_shortest_one_and_nothing_else_is_l14(specs in tangle()) {
        let ways = distances(&specs);
        let shortest = (0..specs.len()).map(|id| ways[id][id]).min().filter(|length| *length <= specs.len());
        match (Graph::new(specs.clone()), shortest) {
            (Ok(_), None) => {}
            (Err(GraphError::Cycle { path }), Some(length)) => {
                prop_assert_eq!(path.len(), length);
                let place = |name: &str| specs.iter().position(|spec| spec.name == name).unwrap();
                let next = path.iter().cycle().skip(1);
                for (site, next) in path.iter().zip(next) {
                    prop_assert_eq!(ways[place(&site.name)][place(&next.name)], 1);
                }
            }
            (result, shortest) => prop_assert!(false, "{result:?} against {shortest:?}"),
        }
    }
}
