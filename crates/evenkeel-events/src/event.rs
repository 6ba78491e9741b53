//! Everything that happens to a service, as one closed enum.
//!
//! The engine says what happened once, here. Log lines are one projection of it ([`Event::log`]), the stop receipt
//! another; later metrics, spans and audit lines. Nothing else words an event.

use std::time::Duration;

use evenkeel_plan::lifecycle::Service;

/// Something that happened. Names are borrowed from the engine; an event is worded or counted, never kept.
#[derive(Clone, Debug, PartialEq)]
pub enum Event<'a> {
    /// The service moved along its life cycle.
    Service {
        /// Where it was.
        from: Service,
        /// Where it is.
        to: Service,
    },
    /// A component is being opened.
    Starting {
        /// Its name.
        component: &'a str,
        /// 1 for the first try.
        attempt: u32,
    },
    /// A component became ready.
    Ready {
        /// Its name.
        component: &'a str,
        /// Since its opening began.
        took: Duration,
        /// What it wants known, such as a URL.
        note: Option<&'a str>,
    },
    /// A component could not be opened.
    StartFailed {
        /// Its name.
        component: &'a str,
        /// The whole chain of the error, outermost first, joined by `: `.
        error: &'a str,
        /// What to do about it.
        hint: Option<&'a str>,
        /// When it is tried again; `None`: it is not.
        retry_in: Option<Duration>,
    },
    /// A component holds a runtime thread without yielding.
    Blocking {
        /// Its name.
        component: &'a str,
        /// The thread it holds.
        thread: &'a str,
        /// For how long by now.
        held: Duration,
        /// Whether it is still being opened.
        starting: bool,
    },
    /// A component's activity ended though nobody told it to.
    EndedEarly {
        /// Its name.
        component: &'a str,
        /// The error; `None`: it returned `Ok`.
        error: Option<&'a str>,
        /// What to do about it.
        hint: Option<&'a str>,
    },
    /// A job ended as expected.
    Finished {
        /// Its name.
        component: &'a str,
        /// Since it became ready.
        took: Duration,
    },
    /// A component and all that hold on to it are stopped and started again.
    Restarting {
        /// The one that failed.
        component: &'a str,
        /// Its hard dependents, which restart with it.
        with: &'a [String],
        /// The wait before its next start.
        wait: Duration,
    },
    /// A component failed more often than its restart policy allows.
    GaveUp {
        /// Its name.
        component: &'a str,
        /// Failures within the period.
        failures: u32,
        /// The period.
        period: Duration,
    },
    /// A stop began.
    StopRequested {
        /// Why, in a sentence part: `SIGTERM`, `component jobs failed`.
        cause: &'a str,
        /// Time for the whole stop.
        budget: Duration,
        /// The stop policy's word.
        policy: &'a str,
    },
    /// Another reason to stop arrived while stopping; the first one stands.
    LaterCause {
        /// Why.
        cause: &'a str,
    },
    /// The forced stage began.
    Forced {
        /// Why.
        cause: &'a str,
    },
    /// Traffic is no longer wanted; what arrives is still served for this long.
    Propagating {
        /// The propagation delay.
        delay: Duration,
    },
    /// A component was told to stop.
    Stopping {
        /// Its name.
        component: &'a str,
        /// Time it may take.
        allowed: Duration,
    },
    /// A component's work in flight has ended.
    Drained {
        /// Its name.
        component: &'a str,
        /// Since it was told to stop.
        took: Duration,
    },
    /// A component is over, closed in order.
    Released {
        /// Its name.
        component: &'a str,
        /// Time used against its limit.
        took: Duration,
        /// An error it ended in.
        error: Option<&'a str>,
    },
    /// A component used up its limit and is cut off.
    LimitPassed {
        /// Its name.
        component: &'a str,
        /// The time it was allowed.
        allowed: Duration,
        /// What it was doing.
        doing: &'a str,
    },
    /// A component did not answer the cut; the stop goes on without it.
    Abandoned {
        /// Its name.
        component: &'a str,
        /// What it was doing.
        doing: &'a str,
    },
    /// A component was never started; there is nothing to release.
    Skipped {
        /// Its name.
        component: &'a str,
    },
    /// Leases on a component's value were still out when it had to close.
    LeasesLeaked {
        /// The owner of the value.
        component: &'a str,
        /// Who holds how many, and where they were taken.
        holders: &'a str,
    },
    /// Tasks of a component's scope had to be cut off or left behind.
    TasksLeaked {
        /// The component.
        component: &'a str,
        /// How many, and where they were spawned.
        tasks: &'a str,
    },
    /// Something an operator should know that belongs to no component.
    Warning {
        /// The sentence.
        text: &'a str,
        /// What to do about it.
        hint: Option<&'a str>,
    },
    /// Something worth knowing that needs no action.
    Note {
        /// The sentence.
        text: &'a str,
    },
}
