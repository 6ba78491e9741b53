//! Both life cycle tables, whole.

use std::{collections::BTreeSet, fmt::Debug, fmt::Write as _};

use evenkeel_plan::lifecycle::{Component, ComponentEvent, Service, ServiceEvent, Step};

/// A table, whatever its states and events.
struct Table<S: 'static, E: 'static> {
    states: &'static [S],
    events: &'static [E],
    on: fn(S, E) -> Step<S>,
    is_over: fn(S) -> bool,
}

const SERVICE: Table<Service, ServiceEvent> =
    Table { states: &Service::ALL, events: &ServiceEvent::ALL, on: Service::on, is_over: Service::is_over };

const COMPONENT: Table<Component, ComponentEvent> =
    Table { states: &Component::ALL, events: &ComponentEvent::ALL, on: Component::on, is_over: Component::is_over };

impl<S: Copy + Debug + Ord, E: Copy + Debug> Table<S, E> {
    /// Every move to another state.
    fn moves(&self) -> Vec<(S, E, S)> {
        let pairs = self.states.iter().flat_map(|s| self.events.iter().map(move |e| (*s, *e)));
        let to = |(state, event)| match (self.on)(state, event) {
            Step::To(next) => Some((state, event, next)),
            Step::AlreadySo | Step::NotAllowed => None,
        };
        pairs.filter_map(to).collect()
    }

    /// Where `from` can lead, itself included.
    fn reachable(&self, from: S) -> BTreeSet<S> {
        let mut found = BTreeSet::from([from]);
        let mut open = vec![from];
        while let Some(state) = open.pop() {
            for (_, _, next) in self.moves().into_iter().filter(|(s, ..)| *s == state) {
                if found.insert(next) {
                    open.push(next);
                }
            }
        }
        found
    }

    /// Events down, states across: `=` is "already so", `.` is "not allowed".
    fn text(&self) -> String {
        let cell = |state, event| match (self.on)(state, event) {
            Step::To(next) => format!("{next:?}"),
            Step::AlreadySo => "=".into(),
            Step::NotAllowed => ".".into(),
        };
        let head = std::iter::once(String::new()).chain(self.states.iter().map(|s| format!("{s:?}")));
        let mut lines: Vec<Vec<String>> = vec![head.collect()];
        for event in self.events {
            let cells = self.states.iter().map(|state| cell(*state, *event));
            lines.push(std::iter::once(format!("{event:?}")).chain(cells).collect());
        }
        let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..=self.states.len()).map(width).collect();
        let mut out = String::new();
        for line in &lines {
            let cells = line.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
            let _ = writeln!(out, "{}", cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        out
    }

    fn dot(&self) -> String {
        let mut out = String::from("digraph {\n");
        for state in self.states.iter().filter(|state| (self.is_over)(**state)) {
            let _ = writeln!(out, "  {state:?} [peripheries=2];");
        }
        for (from, event, to) in self.moves() {
            let _ = writeln!(out, "  {from:?} -> {to:?} [label={event:?}];");
        }
        out + "}\n"
    }
}

#[test]
fn the_whole_service_table_is_this_r2_3a() {
    insta::assert_snapshot!(SERVICE.text());
}

#[test]
fn the_graph_of_the_service_is_this_r2_3a() {
    insta::assert_snapshot!(SERVICE.dot());
}

#[test]
fn the_whole_component_table_is_this() {
    insta::assert_snapshot!(COMPONENT.text());
}

#[test]
fn the_graph_of_a_component_is_this() {
    insta::assert_snapshot!(COMPONENT.dot());
}

#[test]
fn a_service_that_is_over_has_no_way_out_r2_3a() {
    for (from, event, to) in SERVICE.moves() {
        assert!(!from.is_over(), "{from:?} on {event:?} goes to {to:?}");
    }
}

#[test]
fn a_component_that_is_over_can_only_be_tried_again() {
    for (from, event, to) in COMPONENT.moves().into_iter().filter(|(from, ..)| from.is_over()) {
        assert_eq!((event, to), (ComponentEvent::Retry, Component::Retrying), "{from:?}");
    }
}

#[test]
fn every_state_is_reached_from_the_first() {
    assert_eq!(SERVICE.reachable(Service::Initialized), Service::ALL.into());
    assert_eq!(COMPONENT.reachable(Component::Declared), Component::ALL.into());
}

#[test]
fn every_state_has_a_way_to_an_end_r3_2e() {
    for state in Service::ALL {
        assert!(SERVICE.reachable(state).into_iter().any(Service::is_over), "{state:?}");
    }
    for state in Component::ALL {
        assert!(COMPONENT.reachable(state).into_iter().any(Component::is_over), "{state:?}");
    }
}

#[test]
fn no_move_leads_to_the_state_it_began_in() {
    // "Already so" is an answer of its own: a move always changes the state.
    assert!(SERVICE.moves().into_iter().all(|(from, _, to)| from != to));
    assert!(COMPONENT.moves().into_iter().all(|(from, _, to)| from != to));
}

#[test]
fn asking_for_the_same_again_is_already_so_r2_4b() {
    // Whatever brought the service where it is can be said again without harm.
    for (_, event, to) in SERVICE.moves() {
        assert_eq!(to.on(event), Step::AlreadySo, "{to:?} on {event:?}");
    }
}

#[test]
fn the_service_passes_its_states_strictly_in_order_r2_2b_r2_3a() {
    use ServiceEvent as E;
    let life = [
        (E::Start, Service::Starting),
        (E::EssentialsReady, Service::Ready),
        (E::Registered, Service::Running),
        (E::Stop, Service::Stopping),
        (E::Ended, Service::Terminated),
    ];
    let mut state = Service::Initialized;
    for (place, (event, next)) in life.into_iter().enumerate() {
        // No later step can be taken early; only a stop can come at any time, and then leads to the stop.
        for (early, _) in &life[place + 1..] {
            let allowed = state.on(*early);
            let is_stop = *early == E::Stop && matches!(allowed, Step::To(Service::Stopping | Service::Terminated));
            assert!(is_stop || allowed == Step::NotAllowed, "{state:?} on {early:?}: {allowed:?}");
        }
        assert_eq!(state.on(event), Step::To(next));
        state = next;
    }
}

#[test]
fn a_stop_is_accepted_in_every_state_r2_4a() {
    for state in Service::ALL {
        assert_ne!(state.on(ServiceEvent::Stop), Step::NotAllowed, "{state:?}");
    }
}

#[test]
fn traffic_is_taken_only_while_running_r2_3b() {
    let taking: Vec<Service> = Service::ALL.into_iter().filter(|state| state.takes_traffic()).collect();
    assert_eq!(taking, [Service::Running]);
}

#[test]
fn a_component_is_released_only_after_it_drained_r3_2a() {
    let into_release = COMPONENT.moves().into_iter().filter(|(.., to)| *to == Component::Releasing);
    assert_eq!(into_release.collect::<Vec<_>>(), [(Component::Drained, ComponentEvent::Release, Component::Releasing)]);
}

#[test]
fn what_never_became_ready_is_skipped_r3_2d() {
    let into_skip: Vec<Component> =
        COMPONENT.moves().into_iter().filter(|(.., to)| *to == Component::Skipped).map(|(from, ..)| from).collect();
    assert_eq!(into_skip, [Component::Declared, Component::Retrying]);
}

#[test]
fn every_state_has_a_word_of_its_own_r1e() {
    let service: BTreeSet<&str> = Service::ALL.into_iter().map(Service::word).collect();
    let component: BTreeSet<&str> = Component::ALL.into_iter().map(Component::word).collect();
    assert_eq!((service.len(), component.len()), (Service::ALL.len(), Component::ALL.len()));
}
