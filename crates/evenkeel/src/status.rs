//! What a running app says of itself: the answer to `status`, for people and as JSON.

use evenkeel_plan::{
    engine::{Engine, Moment},
    lifecycle::{Component, Service},
    spec::Weight,
};
use serde::{Deserialize, Serialize};

use crate::{holding::Holding, part::Part};
use std::sync::Arc;

/// A picture of a running app.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The service's state, a word of its life cycle.
    pub state: String,
    /// Whether it wants traffic.
    pub ready: bool,
    /// The process.
    pub pid: u32,
    /// Time since the start began, in milliseconds.
    pub up_ms: u64,
    /// Where its probes are, as a URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub admin: Option<String>,
    /// Its components, in declaration order.
    pub components: Vec<ComponentStatus>,
}

/// A picture of one component.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ComponentStatus {
    /// Its name.
    pub name: String,
    /// `resource`, `worker`, `http`, ...
    pub kind: String,
    /// Its state, a word of the component life cycle.
    pub state: String,
    /// Whether the service can do without it.
    pub optional: bool,
    /// How often it was started again.
    pub restarts: u32,
    /// What it wants known, such as a URL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// How it has broken its promise to say that it is alive.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stuck: Option<String>,
    /// What holds its stop; only while it is being stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holding: Option<Box<Holding>>,
}

impl Status {
    pub(crate) fn of(engine: &Engine, parts: &[Arc<Part>], notes: &[Option<String>], ready: bool, now: Moment) -> Self {
        let component = |part: &Arc<Part>| ComponentStatus {
            name: part.name().to_owned(),
            kind: part.kind.to_owned(),
            state: engine.state(part.id).word().to_owned(),
            optional: part.spec.weight == Weight::Optional,
            restarts: engine.attempts(part.id).saturating_sub(1),
            note: match engine.state(part.id) {
                Component::Starting => part.incarnation().and_then(|incarnation| incarnation.scope.doing()),
                _ => notes[part.id.index()].clone(),
            },
            stuck: None,
            holding: None,
        };
        Self {
            state: engine.service().word().to_owned(),
            ready,
            pid: std::process::id(),
            up_ms: u64::try_from(now.as_millis()).unwrap_or(u64::MAX),
            admin: None,
            components: parts.iter().map(component).collect(),
        }
    }

    /// Of a service that has not said anything yet.
    pub(crate) fn unknown() -> Self {
        let (state, pid) = (Service::Initialized.word().to_owned(), std::process::id());
        Self { state, ready: false, pid, up_ms: 0, admin: None, components: Vec::new() }
    }

    /// Whether it is running or paused: started, and not on its way out.
    #[must_use]
    pub fn is_up(&self) -> bool {
        let up = [Service::Running, Service::Pausing, Service::Paused, Service::Resuming];
        up.iter().any(|state| state.word() == self.state)
    }

    /// The state of a component, by name.
    #[must_use]
    pub fn component(&self, name: &str) -> Option<&ComponentStatus> {
        self.components.iter().find(|component| component.name == name)
    }

    /// Whether a component is over, by the word of its state.
    #[must_use]
    pub fn is_over(&self, name: &str) -> bool {
        self.component(name)
            .is_some_and(|found| Component::ALL.iter().any(|state| state.word() == found.state && state.is_over()))
    }
}
