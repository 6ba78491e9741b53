//! The arithmetic of a stop (L9).

mod any;

use std::time::Duration;

use evenkeel_plan::{
    budget::{self, Budget, Plan, RESERVE, share},
    graph::Graph,
    limit::Limit,
    spec::{Edge, Id, Role, Spec},
};
use proptest::prelude::*;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A component with this limit; `chosen`: the user wrote it.
fn spec(name: &str, limit: Duration, chosen: bool) -> Spec {
    let mut spec = Spec::new(name);
    spec.stop_within = Limit::fixed(limit);
    spec.stop_within_chosen = chosen;
    spec
}

/// Components that hold on to each other in a row, first to stop first.
fn chain(specs: Vec<Spec>) -> Graph {
    let last = specs.len() - 1;
    let link = |(place, spec): (u32, Spec)| {
        if place as usize == last { spec } else { spec.needing(Id(place + 1), Edge::Hard) }
    };
    Graph::new((0..).zip(specs).map(link).collect()).expect("a chain makes sense")
}

fn allowed(plan: &Plan) -> Vec<Duration> {
    plan.rows.iter().map(|row| row.allowed).collect()
}

#[test]
fn a_budget_keeps_a_little_back_for_the_last_flush() {
    assert_eq!(Budget::new(s(30)).reserve, RESERVE);
    assert_eq!(Budget::new(s(1)).reserve, ms(100));
    assert_eq!(Budget::new(s(30)).with_propagation_delay(s(5)).room(), ms(24_800));
    assert_eq!(Budget::default().total, s(30));
}

#[test]
fn a_budget_without_room_is_refused_with_the_sum() {
    assert_eq!(Budget::new(Duration::ZERO).check(), Err("the budget of a stop is zero".into()));
    assert_eq!(
        Budget::new(s(5)).with_propagation_delay(s(5)).check(),
        Err("a propagation delay of 5.0 s and 200 ms for the last flush leave nothing of a budget of 5.0 s".into())
    );
    assert_eq!(Budget::new(s(5)).with_propagation_delay(s(4)).check(), Ok(()));
}

#[test]
fn what_fits_gets_its_whole_limit() {
    let graph = chain(vec![spec("api", s(10), true), spec("jobs", s(5), false), spec("db", s(5), false)]);
    let plan = Plan::new(&graph, &Budget::new(s(30)).with_propagation_delay(s(2)));
    assert_eq!(allowed(&plan), [s(10), s(5), s(5)]);
    assert_eq!(plan.rows.iter().map(|row| row.earliest).collect::<Vec<_>>(), [s(2), s(12), s(17)]);
    // 7.8 s of 30 s are nobody's, so everybody may begin that much later.
    assert_eq!(plan.rows.iter().map(|row| row.latest).collect::<Vec<_>>(), [ms(9800), ms(19_800), ms(24_800)]);
    assert_eq!((plan.worst_case, plan.needed()), (ms(22_200), ms(22_200)));
    assert!(!plan.shrunk);
    assert_eq!(
        plan.arithmetic(),
        [
            "30.0 s budget - 2.0 s propagation delay - 200 ms last flush = 27.8 s for components",
            "api 10.0 s + jobs 5.0 s + db 5.0 s = 20.0 s <= 27.8 s: fits",
        ]
    );
}

#[test]
fn defaults_give_way_before_what_the_user_chose() {
    let graph = chain(vec![spec("api", s(28), true), spec("jobs", s(5), false), spec("db", s(5), false)]);
    let plan = Plan::new(&graph, &Budget::new(s(30)));
    assert_eq!(allowed(&plan), [s(28), ms(900), ms(900)]);
    assert_eq!((plan.worst_case, plan.needed(), plan.shrunk), (s(30), ms(38_200), true));
    assert_eq!(
        plan.arithmetic(),
        [
            "30.0 s budget - 200 ms last flush = 29.8 s for components",
            "api 28.0 s + jobs 5.0 s + db 5.0 s = 38.0 s > 29.8 s: 8.2 s too long",
            "jobs gets 900 ms of its 5.0 s (default)",
            "db gets 900 ms of its 5.0 s (default)",
        ]
    );
}

#[test]
fn when_defaults_cannot_give_more_everything_shrinks_in_proportion() {
    let graph = chain(vec![spec("api", s(30), true), spec("db", s(5), false)]);
    let plan = Plan::new(&graph, &Budget::new(s(30)));
    // db keeps a tenth of its 5 s, and the 30.5 s of both share 29.8 s.
    assert_eq!(allowed(&plan).iter().map(Duration::as_millis).collect::<Vec<_>>(), [29_311, 488]);
    assert!(plan.worst_case <= s(30));
}

#[test]
fn chosen_limits_that_do_not_fit_by_themselves_shrink_in_proportion() {
    let graph = chain(vec![spec("api", s(40), true), spec("db", s(20), true)]);
    let budget = Budget { reserve: Duration::ZERO, ..Budget::new(s(30)) };
    assert_eq!(allowed(&Plan::new(&graph, &budget)), [s(20), s(10)]);
}

#[test]
fn a_default_beside_the_longest_chain_keeps_its_limit() {
    let graph = Graph::new(vec![
        spec("api", s(25), true).needing(Id(1), Edge::Hard),
        spec("db", s(10), false),
        spec("log", s(5), false),
    ])
    .unwrap();
    let plan = Plan::new(&graph, &Budget::new(s(30)));
    assert_eq!(allowed(&plan), [s(25), ms(4800), s(5)]);
    assert_eq!(plan.critical_path, [Id(0), Id(1)]);
}

#[test]
fn all_attempts_of_a_release_that_backs_off_are_in_the_sum_r3_2c() {
    let mut db = Spec::new("db");
    db.stop_within = Limit::exponential(s(1), 2, 3);
    let plan = Plan::new(&Graph::new(vec![db]).unwrap(), &Budget::new(s(30)));
    assert_eq!(plan.rows[0].limit, s(7));
}

#[test]
fn a_registrar_is_told_at_once_and_all_others_after_the_propagation_delay() {
    let mut registrar = spec("consul", s(7), false);
    registrar.role = Role::Registrar;
    let graph =
        Graph::new(vec![registrar.needing(Id(1), Edge::Hard), spec("api", s(3), false), spec("log", s(4), false)])
            .unwrap();
    let plan = Plan::new(&graph, &Budget::new(s(30)).with_propagation_delay(s(5)));
    assert_eq!(plan.rows.iter().map(|row| row.earliest).collect::<Vec<_>>(), [s(0), s(7), s(5)]);
    assert_eq!((plan.needed(), plan.worst_case), (ms(10_200), ms(10_200)));
    assert_eq!(plan.arithmetic()[1], "consul 2.0 s (and 5.0 s while serving) + api 3.0 s = 5.0 s <= 24.8 s: fits");
}

#[test]
fn an_app_without_components_still_waits_and_flushes() {
    let graph = Graph::new(Vec::new()).unwrap();
    let plan = Plan::new(&graph, &Budget::new(s(30)).with_propagation_delay(s(5)));
    assert_eq!((plan.worst_case, plan.critical_path.len()), (ms(5200), 0));
    assert_eq!(plan.arithmetic().len(), 1);
}

#[test]
fn a_long_chain_is_explained_without_its_middle() {
    let specs = (0..40).map(|n| spec(&format!("c{n}"), s(1), false)).collect();
    let lines = Plan::new(&chain(specs), &Budget::new(s(30))).arithmetic();
    assert!(lines[1].ends_with("c9 1.0 s + 30 more 30.0 s = 40.0 s > 29.8 s: 10.2 s too long"), "{}", lines[1]);
    assert_eq!(lines.last().map(String::as_str), Some("and so do 30 more"));
}

#[test]
fn what_is_over_already_takes_nobody_s_time() {
    let graph = chain(vec![spec("api", s(10), false), spec("jobs", s(5), false), spec("db", s(5), false)]);
    assert_eq!(budget::below(&graph, |_| true), [s(10), s(5), s(0)]);
    assert_eq!(budget::below(&graph, |id| id != Id(2)), [s(5), s(0), s(0)]);
    // Without jobs nothing ties db to the end of api.
    assert_eq!(budget::below(&graph, |id| id != Id(1)), [s(0), s(5), s(0)]);
}

#[test]
fn time_that_was_saved_goes_to_whoever_comes_next() {
    let graph = chain(vec![spec("api", s(28), true), spec("db", s(5), false)]);
    let plan = Plan::new(&graph, &Budget::new(s(30)));
    let below = plan.below(&graph, |_| true);
    // On paper db has 1.8 s. When api was quick it has its whole limit; having used 2 s of it, the rest.
    assert_eq!(plan.share(Id(1), s(0), below[1], ms(1800)), ms(1800));
    assert_eq!(plan.share(Id(1), s(0), below[1], s(20)), s(5));
    assert_eq!(plan.share(Id(1), s(2), below[1], s(18)), s(3));
}

#[test]
fn shares_of_absurd_lengths_do_not_overflow() {
    assert_eq!(share(Duration::MAX, Duration::MAX, Duration::MAX), Duration::MAX);
    assert!(share(Duration::MAX, Duration::MAX, s(10)) <= s(10));
    assert_eq!(share(Duration::MAX, s(0), Duration::MAX), Duration::MAX);
    assert_eq!(share(Duration::MAX, s(0), s(0)), s(0));
    assert_eq!(share(s(0), s(0), s(0)), s(0));
}

/// A stop in which each component takes `use_of` (in 256ths) of what `allow` gives it, dependents first. Answers what
/// each was allowed, and when the last was over.
fn simulate(
    graph: &Graph,
    budget: &Budget,
    use_of: &dyn Fn(Id) -> u32,
    allow: &dyn Fn(Id, Duration) -> Duration,
) -> (Vec<Duration>, Duration) {
    let until = budget.total - budget.reserve;
    let mut ends = vec![Duration::ZERO; graph.len()];
    let mut allowed = vec![Duration::ZERO; graph.len()];
    for wave in graph.stop_waves() {
        for id in wave {
            let told = if graph.spec(id).role == Role::Registrar { Duration::ZERO } else { budget.propagation_delay };
            let users = graph.dependents(id).iter().filter(|user| user.edge != Edge::StartOnly);
            let begin = users.map(|user| ends[user.on.index()]).fold(told, Duration::max);
            allowed[id.index()] = allow(id, until.saturating_sub(begin));
            ends[id.index()] = begin + allowed[id.index()] * use_of(id) / 256;
        }
    }
    (allowed, ends.into_iter().max().unwrap_or(Duration::ZERO))
}

/// The part of a component's limit that does not pass while the service is still serving.
fn charged(graph: &Graph, budget: &Budget, id: Id) -> Duration {
    let limit = graph.spec(id).stop_within.total();
    match graph.spec(id).role {
        Role::Registrar => limit.saturating_sub(budget.propagation_delay),
        _ => limit,
    }
}

/// The longest chain by trying all of them.
fn longest_by_trying(graph: &Graph, id: Id, length: &dyn Fn(Id) -> Duration) -> Duration {
    let needs = graph.needs(id).iter().filter(|need| need.edge != Edge::StartOnly);
    let below = needs.map(|need| longest_by_trying(graph, need.on, length)).max();
    length(id) + below.unwrap_or(Duration::ZERO)
}

fn any_budget() -> impl Strategy<Value = Budget> {
    (10..60_000_u64, 0..90_u32).prop_map(|(total, delay)| {
        let budget = Budget::new(ms(total));
        budget.with_propagation_delay((budget.total - budget.reserve) * delay / 100)
    })
}

proptest! {
    #[test]
    fn a_share_is_never_more_than_the_limit_or_what_remains(limit: u64, below: u64, remaining: u64) {
        let [limit, below, remaining] = [limit, below, remaining].map(Duration::from_nanos);
        let share = share(limit, below, remaining);
        prop_assert!(share <= limit && share <= remaining);
        prop_assert!(share == limit || limit + below > remaining);
    }

    #[test]
    fn below_is_the_longest_chain(graph in any::graph(10)) {
        let limit = |id: Id| graph.spec(id).stop_within.total();
        let below = budget::below(&graph, |_| true);
        for id in graph.ids() {
            prop_assert_eq!(limit(id) + below[id.index()], longest_by_trying(&graph, id, &limit));
        }
    }

    #[test]
    fn the_critical_path_is_a_longest_chain(graph in any::graph(10), budget in any_budget()) {
        let plan = Plan::new(&graph, &budget);
        let limit = |id: Id| charged(&graph, &budget, id);
        let longest = graph.ids().map(|id| longest_by_trying(&graph, id, &limit)).max().unwrap_or_default();
        prop_assert_eq!(plan.critical_path.iter().map(|id| limit(*id)).sum::<Duration>(), longest);
        for pair in plan.critical_path.windows(2) {
            prop_assert!(graph.needs(pair[0]).iter().any(|need| need.on == pair[1] && need.edge != Edge::StartOnly));
        }
    }

    /// R3.2e on paper: whoever takes how much of what it gets, the last is over before the reserve begins.
    #[test]
    fn a_stop_never_takes_longer_than_its_budget_r3_2e(
        graph in any::graph(24), budget in any_budget(), uses in prop::collection::vec(0..=256_u32, 24),
    ) {
        let until = budget.total - budget.reserve;
        let use_of = |id: Id| uses[id.index()];
        let limit = |id: Id| graph.spec(id).stop_within.total();

        let below = budget::below(&graph, |_| true);
        let simple = |id: Id, remaining| share(limit(id), below[id.index()], remaining);
        let (allowed, end) = simulate(&graph, &budget, &use_of, &simple);
        prop_assert!(end <= until);
        prop_assert!(graph.ids().all(|id| allowed[id.index()] <= limit(id)));

        let plan = Plan::new(&graph, &budget);
        let below = plan.below(&graph, |_| true);
        let planned = |id: Id, remaining| plan.share(id, Duration::ZERO, below[id.index()], remaining);
        let (allowed, end) = simulate(&graph, &budget, &use_of, &planned);
        prop_assert!(end <= until);
        prop_assert!(graph.ids().all(|id| allowed[id.index()] <= limit(id)));
    }

    #[test]
    fn a_stop_in_which_everything_takes_its_time_goes_as_planned(graph in any::graph(24), budget in any_budget()) {
        let plan = Plan::new(&graph, &budget);
        let below = plan.below(&graph, |_| true);
        let share = |id: Id, remaining| plan.share(id, Duration::ZERO, below[id.index()], remaining);
        let (allowed, end) = simulate(&graph, &budget, &|_| 256, &share);
        prop_assert_eq!(&allowed, &plan.rows.iter().map(|row| row.allowed).collect::<Vec<_>>());
        prop_assert_eq!(end.max(budget.propagation_delay) + budget.reserve, plan.worst_case);
        prop_assert!(plan.worst_case <= budget.total);
        prop_assert!(plan.rows.iter().all(|row| row.earliest <= row.latest));
        prop_assert_eq!(plan.shrunk, plan.rows.iter().any(|row| row.allowed < row.limit));
    }

    #[test]
    fn the_promises_of_every_chain_fit_into_the_room(graph in any::graph(24), budget in any_budget()) {
        let below = Plan::new(&graph, &budget).below(&graph, |_| true);
        prop_assert!(below.into_iter().all(|below| below <= budget.room()));
    }

    /// A stop that has less time than the plan knew of (it began late, or something overran) splits what there is.
    #[test]
    fn a_stop_that_is_late_starves_nobody(graph in any::graph(24), budget in any_budget(), lost in 1..10_u32) {
        let plan = Plan::new(&graph, &budget);
        let below = plan.below(&graph, |_| true);
        let late = Budget { total: budget.total - budget.room() * lost / 10, ..budget };
        let share = |id: Id, remaining| plan.share(id, Duration::ZERO, below[id.index()], remaining);
        let (allowed, end) = simulate(&graph, &late, &|_| 256, &share);
        prop_assert!(end <= late.total - late.reserve);
        let left = late.room().as_secs_f64() / budget.room().as_secs_f64();
        for id in graph.ids() {
            prop_assert!(allowed[id.index()] + Duration::from_micros(1) >= plan.promised(id).mul_f64(left));
        }
    }

    /// Whatever others take, nobody gets less than its proportional part of the room.
    #[test]
    fn nobody_is_starved_by_those_above(
        graph in any::graph(24), budget in any_budget(), uses in prop::collection::vec(0..=256_u32, 24),
    ) {
        let limit = |id: Id| graph.spec(id).stop_within.total();
        let below = budget::below(&graph, |_| true);
        let longest = graph.ids().map(|id| limit(id) + below[id.index()]).max().unwrap_or_default();
        let share = |id: Id, remaining| share(limit(id), below[id.index()], remaining);
        let (allowed, _) = simulate(&graph, &budget, &|id| uses[id.index()], &share);
        for id in graph.ids() {
            let fair = if longest <= budget.room() {
                limit(id)
            } else {
                limit(id).mul_f64(budget.room().as_secs_f64() / longest.as_secs_f64())
            };
            // Each step of a chain rounds down by less than a nanosecond; the float by a little more.
            prop_assert!(allowed[id.index()] + Duration::from_micros(1) >= fair);
        }
    }

    #[test]
    fn nothing_that_was_chosen_shrinks_while_defaults_can(graph in any::graph(10), budget in any_budget()) {
        let plan = Plan::new(&graph, &budget);
        let least = |id: Id| {
            let chosen = graph.spec(id).stop_within_chosen;
            charged(&graph, &budget, id) / if chosen { 1 } else { budget::DEFAULT_SHRINKS_TO }
        };
        let longest = graph.ids().map(|id| longest_by_trying(&graph, id, &least)).max().unwrap_or_default();
        if longest <= budget.room() {
            prop_assert!(plan.cut().all(|row| !row.chosen));
        }
        if plan.needed() <= budget.total {
            prop_assert!(!plan.shrunk);
        }
    }
}
