//! Who is told to stop, and when: the middle of a stop (R4.4a).
//!
//! A policy chooses whom to *tell* next. It never chooses when a value is *released*: that waits until all who may hold
//! it are over, under every policy, and the limits and the total deadline hold all the same.

use crate::{
    graph::Graph,
    lifecycle::Component,
    spec::{Edge, Id},
};

/// How components are told to stop.
pub enum Policy {
    /// All at once, as soon as the intakes are closed.
    Broadcast,
    /// Each as soon as all that depend on it are over. The default.
    Reverse,
    /// As user code says, for topologies that know better.
    Coordinator(Box<dyn Coordinator>),
}

impl std::fmt::Debug for Policy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.word())
    }
}

impl Policy {
    /// The policy in the words of logs and receipts.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Broadcast => "broadcast",
            Self::Reverse => "reverse",
            Self::Coordinator(_) => "coordinator",
        }
    }
}

/// User code that decides whom to tell next.
///
/// It is asked when the intakes have been told, and again each time a component has drained or is over: that is how
/// each component confirms. It must answer at once.
pub trait Coordinator: Send {
    /// Whom to tell now.
    fn next(&mut self, view: &StopView<'_>) -> Choice;

    /// Why its last answer was not given on purpose, such as a panic; asked after each answer. A stop whose coordinator
    /// failed is not clean.
    fn failure(&mut self) -> Option<String> {
        None
    }
}

/// What a [`Coordinator`] answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Tell these. Empty: wait for the next confirmation. Naming nobody while nobody is stopping would wait for ever,
    /// so the engine then goes on in reverse order and says so.
    Stop(Vec<Id>),
    /// The coordinator is done: whatever is left stops in reverse order.
    Rest,
}

/// What a [`Coordinator`] sees.
#[derive(Clone, Copy)]
pub struct StopView<'a> {
    pub(crate) graph: &'a Graph,
    pub(crate) state: &'a dyn Fn(Id) -> Component,
}

impl<'a> StopView<'a> {
    /// Components that are up and have not been told to stop, in declaration order.
    pub fn waiting(&self) -> impl Iterator<Item = Id> + use<'a> {
        let state = self.state;
        self.graph.ids().filter(move |&id| matches!(state(id), Component::Ready | Component::Ended))
    }

    /// The state of a component.
    #[must_use]
    pub fn state(&self, id: Id) -> Component {
        (self.state)(id)
    }

    /// The name of a component.
    #[must_use]
    pub fn name(&self, id: Id) -> &'a str {
        &self.graph.spec(id).name
    }

    /// The component of this name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<Id> {
        self.graph.find(name)
    }

    /// Whether all that may hold this component's value are over.
    #[must_use]
    pub fn dependents_are_over(&self, id: Id) -> bool {
        self.graph.dependents(id).iter().all(|need| need.edge == Edge::StartOnly || self.state(need.on).is_over())
    }
}
