//! What is known about a component before it starts.
//!
//! A [`Spec`] is data: it can be drawn, compared and simulated. Who builds one (the library from typed handles, later
//! the host from a file) has nothing more to say afterwards; every later decision is made from the spec and from what
//! happened.

use std::time::Duration;

use crate::{limit::Limit, restart::Restart};

/// A component's place in the declaration order, and its name in every table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(pub u32);

impl Id {
    /// The index into the list of specs.
    #[must_use]
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// How long a release may take when nobody said otherwise: the article's five seconds.
pub const DEFAULT_RELEASE: Duration = Duration::from_secs(5);
/// How long a start may take when nobody said otherwise.
pub const DEFAULT_START: Duration = Duration::from_secs(60);
/// How long a whole stop may take when nobody said otherwise: the article's thirty seconds.
pub const DEFAULT_BUDGET: Duration = Duration::from_secs(30);

/// Everything the plan knows about one component.
#[derive(Clone, Debug, PartialEq)]
pub struct Spec {
    /// Unique in its app.
    pub name: String,
    /// What part it plays when traffic is opened and closed.
    pub role: Role,
    /// What its end means for the service.
    pub weight: Weight,
    /// Whether it does something by itself, and for how long.
    pub activity: Activity,
    /// What it holds on to. Each target comes earlier in the list of specs.
    pub needs: Vec<Need>,
    /// How long it may take to become ready.
    pub start_within: Duration,
    /// How long its drain and its release together may take.
    pub stop_within: Limit,
    /// Whether the user wrote `stop_within`; defaults give way first when the budget is short.
    pub stop_within_chosen: bool,
    /// What happens when it fails. `None`: its weight decides alone.
    pub restart: Option<Restart>,
    /// It can be started only once: nothing it depends on may restart.
    pub once: bool,
    /// Where the user declared it, as `file:line`.
    pub declared_at: String,
}

impl Spec {
    /// An essential component that needs nothing, with every default.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            role: Role::Inner,
            weight: Weight::Essential,
            activity: Activity::Running,
            needs: Vec::new(),
            start_within: DEFAULT_START,
            stop_within: Limit::fixed(DEFAULT_RELEASE),
            stop_within_chosen: false,
            restart: None,
            once: false,
            declared_at: String::new(),
        }
    }

    /// The same, needing `on` by `edge` as well.
    #[must_use]
    pub fn needing(mut self, on: Id, edge: Edge) -> Self {
        self.needs.push(Need { on, edge });
        self
    }
}

/// What part a component plays when traffic is opened and closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Serves other components only.
    Inner,
    /// Lets work in from outside: a listener, a consumer, a schedule. It works only while the service takes traffic,
    /// and is told to stop before anything else drains.
    Intake,
    /// Makes the service known to others. It starts once all essential parts are ready and goes first.
    Registrar,
}

/// What a component's end means for the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weight {
    /// The service cannot do without it: a failed start fails the start, its end ends the service.
    Essential,
    /// The service degrades without it: it starts in the background and is tried again.
    Optional,
}

/// Whether a component does something by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activity {
    /// It only lends a value.
    Passive,
    /// It runs until it is told to stop; ending earlier is a failure.
    Running,
    /// A job: it is expected to end by itself. Whoever needs it starts after it succeeded.
    Finite,
}

/// One thing a component needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Need {
    /// The component that is needed.
    pub on: Id,
    /// How strongly.
    pub edge: Edge,
}

/// How strongly one component needs another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Edge {
    /// Holds its value: starts after it, is stopped before it, restarts with it.
    Hard,
    /// Uses its value while there is one: does not wait for it, is stopped before it, does not restart with it.
    Soft,
    /// Only waits until it has started.
    StartOnly,
}
