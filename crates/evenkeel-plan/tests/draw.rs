//! The plan as people see it.

use std::time::Duration;

use evenkeel_plan::{
    budget::{Budget, Plan},
    draw,
    graph::Graph,
    limit::Limit,
    spec::{Activity, Edge, Id, Role, Spec, Weight},
};

/// A shop: every role, weight, activity and edge, in a budget that is too short.
fn shop() -> (Graph, Plan) {
    let chosen = |name: &str, seconds| Spec {
        stop_within: Limit::fixed(Duration::from_secs(seconds)),
        stop_within_chosen: true,
        ..Spec::new(name)
    };
    let specs = vec![
        Spec { activity: Activity::Passive, ..Spec::new("db") },
        Spec { weight: Weight::Optional, ..Spec::new("cache") },
        Spec { activity: Activity::Finite, ..Spec::new("migrate").needing(Id(0), Edge::Hard) },
        chosen("orders", 10).needing(Id(0), Edge::Hard).needing(Id(2), Edge::StartOnly),
        chosen("payments", 8).needing(Id(0), Edge::Hard).needing(Id(1), Edge::Soft),
        Spec { role: Role::Intake, ..chosen("api", 12) }
            .needing(Id(3), Edge::Hard)
            .needing(Id(4), Edge::Hard)
            .needing(Id(1), Edge::Soft),
        Spec { role: Role::Intake, ..Spec::new("events-from-the-warehouse-in-the-other-building") }
            .needing(Id(3), Edge::Hard),
        Spec { role: Role::Registrar, ..Spec::new("consul").needing(Id(5), Edge::Hard) },
    ];
    let graph = Graph::new(specs).expect("the shop makes sense");
    let plan = Plan::new(&graph, &Budget::new(Duration::from_secs(30)).with_propagation_delay(Duration::from_secs(3)));
    (graph, plan)
}

#[test]
fn the_text_fits_80_columns() {
    let (graph, plan) = shop();
    let text = draw::text(&graph, &plan, 80);
    assert!(text.lines().all(|line| line.len() <= 80), "{text}");
    insta::assert_snapshot!(text);
}

#[test]
fn the_text_fits_the_narrowest_terminal() {
    let (graph, plan) = shop();
    let text = draw::text(&graph, &plan, 0);
    assert!(text.lines().all(|line| line.len() <= draw::MIN_WIDTH), "{text}");
}

#[test]
fn a_plan_that_fits_is_drawn_without_complaint() {
    let graph = Graph::new(vec![Spec::new("db"), Spec::new("api").needing(Id(0), Edge::Hard)]).unwrap();
    insta::assert_snapshot!(draw::text(&graph, &Plan::new(&graph, &Budget::default()), 80));
}

#[test]
fn the_graphviz_form_is_this() {
    let (graph, plan) = shop();
    insta::assert_snapshot!(draw::dot(&graph, &plan));
}

#[test]
fn the_drawing_is_this() {
    let (graph, plan) = shop();
    insta::assert_snapshot!(draw::svg(&graph, &plan));
}

#[test]
fn the_drawing_has_a_box_for_each_component_and_an_arrow_for_each_need() {
    let (graph, plan) = shop();
    let svg = draw::svg(&graph, &plan);
    let needs: usize = graph.ids().map(|id| graph.needs(id).len()).sum();
    let samples = 3;
    assert_eq!(svg.matches("<title>").count(), graph.len());
    assert_eq!(svg.matches("marker-end").count(), needs + samples);
}

#[test]
fn an_empty_app_can_be_drawn() {
    let graph = Graph::new(Vec::new()).unwrap();
    let plan = Plan::new(&graph, &Budget::default());
    assert!(draw::svg(&graph, &plan).ends_with("</svg>\n"));
    assert!(draw::dot(&graph, &plan).ends_with("}\n"));
    assert!(draw::text(&graph, &plan, 80).starts_with("start order\n"));
}

#[test]
fn a_thousand_components_are_drawn_in_no_time() {
    let spec = |number: u32| {
        let spec = Spec::new(format!("c{number}"));
        if number < 10 { spec } else { spec.needing(Id(number / 2), Edge::Hard).needing(Id(number % 10), Edge::Soft) }
    };
    let graph = Graph::new((0..1000).map(spec).collect()).unwrap();
    let plan = Plan::new(&graph, &Budget::default());
    assert_eq!(draw::svg(&graph, &plan).matches("<title>").count(), 1000);
}
