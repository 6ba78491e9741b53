//! The same work written three times: with Evenkeel, by hand, and with a peer.
//!
//! Everybody does the same: bring all things up, wait until each has run once, ask all to stop, wait until all are gone.

mod floor;
mod own;
mod peer;

use crate::measure::Running;

/// One thing to measure, and who does it. The first contender is Evenkeel, the second its floor.
pub(crate) struct Case {
    pub(crate) title: &'static str,
    pub(crate) thing: &'static str,
    pub(crate) count: usize,
    pub(crate) contenders: &'static [Contender],
}

/// One way to do it.
pub(crate) struct Contender {
    pub(crate) name: &'static str,
    pub(crate) run: fn(usize) -> Running,
}

/// Many small tasks below one component.
pub(crate) const TASKS: Case = Case {
    title: "100,000 tasks in one component's scope",
    thing: "task",
    count: 100_000,
    contenders: &[
        Contender { name: "evenkeel", run: |count| Box::pin(own::tasks(count)) },
        Contender { name: "TaskTracker", run: |count| Box::pin(floor::tasks(count)) },
        Contender { name: "tokio-graceful-shutdown", run: |count| Box::pin(peer::tasks(count)) },
    ],
};

/// Many components, each needing up to three others. The floor and the peer know no graph: theirs stand side by side.
pub(crate) const COMPONENTS: Case = Case {
    title: "1,000 components in a random graph",
    thing: "component",
    count: 1_000,
    contenders: &[
        Contender { name: "evenkeel", run: |count| Box::pin(own::components(count)) },
        Contender { name: "TaskTracker", run: |count| Box::pin(floor::tasks(count)) },
        Contender { name: "tokio-graceful-shutdown", run: |count| Box::pin(peer::components(count)) },
    ],
};
