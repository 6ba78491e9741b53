//! The log projection: each [`Event`] becomes exactly one line.
//!
//! The message says everything in words, so that it stands alone on a terminal and in a journal; the fields say it
//! again for machines. What a level obliges somebody to do:
//!
//! | level | obligation |
//! |---|---|
//! | ERROR | an operator must act: something is down and stays down, or was lost |
//! | WARN | something degraded or was cut off; it goes on, and somebody should look |
//! | INFO | the life cycle, in the order it happened |
//! | DEBUG | detail, for whoever follows one component |

use std::time::Duration;

use evenkeel_plan::lifecycle::Service;
use tracing::Level;

use crate::{
    Event,
    text::{count, duration, millis},
};

/// The `tracing` target of every event of the engine. Filter with it: `evenkeel=debug`.
pub const TARGET: &str = "evenkeel";

/// The machine-readable side of an event. Times are milliseconds.
#[derive(Default)]
struct Fields<'a> {
    component: Option<&'a str>,
    took_ms: Option<f64>,
    allowed_ms: Option<f64>,
    wait_ms: Option<f64>,
    error: Option<&'a str>,
    cause: Option<&'a str>,
    doing: Option<&'a str>,
    held_by: Option<&'a str>,
    note: Option<&'a str>,
    from: Option<&'static str>,
    to: Option<&'static str>,
    attempt: Option<u32>,
    failures: Option<u32>,
    policy: Option<&'a str>,
}

/// `tracing` wants the level of a call site as a constant; fields that are `None` are not recorded.
macro_rules! emit {
    ($level:ident, $event:expr) => {{
        let event = $event;
        let fields = event.fields();
        tracing::event!(
            target: TARGET,
            Level::$level,
            event = event.name(),
            component = fields.component,
            took_ms = fields.took_ms,
            allowed_ms = fields.allowed_ms,
            wait_ms = fields.wait_ms,
            error = fields.error,
            cause = fields.cause,
            doing = fields.doing,
            held_by = fields.held_by,
            note = fields.note,
            from = fields.from,
            to = fields.to,
            attempt = fields.attempt,
            failures = fields.failures,
            policy = fields.policy,
            hint = event.hint(),
            "{}",
            event.message()
        )
    }};
}

impl Event<'_> {
    /// Writes the event to the log: one `tracing` event with target [`TARGET`], its level, its sentence, its fields.
    /// Without a subscriber nothing happens.
    pub fn log(&self) {
        match self.level() {
            Level::ERROR => emit!(ERROR, self),
            Level::WARN => emit!(WARN, self),
            Level::INFO => emit!(INFO, self),
            _ => emit!(DEBUG, self),
        }
    }

    /// What the event obliges somebody to do; the table is at the head of [`log`](crate::log).
    #[must_use]
    pub fn level(&self) -> Level {
        match self {
            Self::Service { to: Service::Failed, .. }
            | Self::StartFailed { retry_in: None, .. }
            | Self::EndedEarly { .. }
            | Self::GaveUp { .. }
            | Self::Abandoned { .. }
            | Self::LeasesLeaked { .. } => Level::ERROR,
            Self::StartFailed { .. }
            | Self::Blocking { .. }
            | Self::Restarting { .. }
            | Self::Forced { .. }
            | Self::Released { error: Some(_), .. }
            | Self::LimitPassed { .. }
            | Self::TasksLeaked { .. }
            | Self::Warning { .. } => Level::WARN,
            Self::Service { to: Service::Pausing | Service::Resuming | Service::Stopping, .. }
            | Self::Starting { .. }
            | Self::Stopping { .. }
            | Self::Drained { .. }
            | Self::Skipped { .. } => Level::DEBUG,
            _ => Level::INFO,
        }
    }

    /// The event's name for machines, as in the field `event`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Service { .. } => "service",
            Self::Starting { .. } => "starting",
            Self::Ready { .. } => "ready",
            Self::StartFailed { .. } => "start_failed",
            Self::Blocking { .. } => "blocking",
            Self::EndedEarly { .. } => "ended_early",
            Self::Finished { .. } => "finished",
            Self::Restarting { .. } => "restarting",
            Self::GaveUp { .. } => "gave_up",
            Self::StopRequested { .. } => "stop_requested",
            Self::LaterCause { .. } => "later_cause",
            Self::Forced { .. } => "forced",
            Self::Propagating { .. } => "propagating",
            Self::Stopping { .. } => "stopping",
            Self::Drained { .. } => "drained",
            Self::Released { .. } => "released",
            Self::LimitPassed { .. } => "limit_passed",
            Self::Abandoned { .. } => "abandoned",
            Self::Skipped { .. } => "skipped",
            Self::LeasesLeaked { .. } => "leases_leaked",
            Self::TasksLeaked { .. } => "tasks_leaked",
            Self::Warning { .. } => "warning",
            Self::Note { .. } => "note",
        }
    }

    /// The component it is about.
    #[must_use]
    pub fn component(&self) -> Option<&str> {
        self.fields().component
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> Option<&str> {
        match self {
            Self::StartFailed { hint, .. } | Self::EndedEarly { hint, .. } | Self::Warning { hint, .. } => *hint,
            Self::LeasesLeaked { .. } => Some("drop every lease before the component that holds it ends"),
            Self::Blocking { .. } => Some("move blocking work to a `blocking` component or to `spawn_blocking`"),
            _ => None,
        }
    }

    /// The event as a sentence, without the component's name: log lines and status show that in a column of its own.
    #[must_use]
    pub fn message(&self) -> String {
        self.message_of_life().unwrap_or_else(|| self.message_of_stop())
    }

    /// Everything up to the stop.
    fn message_of_life(&self) -> Option<String> {
        Some(match self {
            Self::Service { to, .. } => service_message(*to).to_owned(),
            Self::Starting { attempt: 0 | 1, .. } => "starting".to_owned(),
            Self::Starting { attempt, .. } => format!("starting, attempt {attempt}"),
            Self::Ready { took, note: None, .. } => format!("ready in {}", duration(*took)),
            Self::Ready { took, note: Some(note), .. } => format!("ready in {}  {note}", duration(*took)),
            Self::StartFailed { error, retry_in: None, .. } => format!("could not start: {error}"),
            Self::StartFailed { error, retry_in: Some(wait), .. } => {
                format!("could not start, next try in {}: {error}", duration(*wait))
            }
            Self::Blocking { thread, held, starting, .. } => {
                let since = if *starting { " while starting" } else { "" };
                format!("has held the runtime thread `{thread}` for {} without yielding{since}", duration(*held))
            }
            Self::EndedEarly { error: None, .. } => "ended though nobody told it to stop".to_owned(),
            Self::EndedEarly { error: Some(error), .. } => format!("failed: {error}"),
            Self::Finished { took, .. } => format!("finished after {}", duration(*took)),
            Self::Restarting { with, wait, .. } => restart_message(with, *wait),
            Self::GaveUp { failures, period, .. } => {
                let failures = count(u64::from(*failures), "failure");
                format!("failed for good: {failures} within {}", duration(*period))
            }
            _ => return None,
        })
    }

    /// The stop, and what belongs to no phase.
    fn message_of_stop(&self) -> String {
        match self {
            Self::StopRequested { cause, budget, policy } => {
                format!("stopping: {cause} (at most {}, policy {policy})", duration(*budget))
            }
            Self::LaterCause { cause } => format!("already stopping; also {cause}"),
            Self::Forced { cause } => format!("forced: {cause}; what has not ended is cut off now"),
            Self::Propagating { delay } => {
                format!("not ready any more; still serving for {}", duration(*delay))
            }
            Self::Stopping { allowed, .. } => format!("told to stop within {}", duration(*allowed)),
            Self::Drained { took, .. } => format!("drained in {}", duration(*took)),
            Self::Released { took, error: None, .. } => format!("released in {}", duration(*took)),
            Self::Released { took, error: Some(error), .. } => {
                format!("released in {}, error: {error}", duration(*took))
            }
            Self::LimitPassed { allowed, doing, .. } => {
                format!("cut off after {}{}", duration(*allowed), while_doing(doing))
            }
            Self::Abandoned { doing, .. } => {
                format!("left behind{}", while_doing(doing))
            }
            Self::Skipped { .. } => "was never started, nothing to release".to_owned(),
            Self::LeasesLeaked { holders, .. } => format!("leases are still out: {holders}"),
            Self::TasksLeaked { tasks, .. } => format!("tasks did not end: {tasks}"),
            Self::Warning { text, .. } | Self::Note { text } => (*text).to_owned(),
            _ => String::new(),
        }
    }

    /// The machine-readable side.
    fn fields(&self) -> Fields<'_> {
        self.fields_of_life().unwrap_or_else(|| self.fields_of_stop())
    }

    fn fields_of_life(&self) -> Option<Fields<'_>> {
        let mut fields = Fields::default();
        match *self {
            Self::Service { from, to } => {
                fields.from = Some(from.word());
                fields.to = Some(to.word());
            }
            Self::Starting { component, attempt } => {
                fields.component = Some(component);
                fields.attempt = Some(attempt);
            }
            Self::Ready { component, took, note } => {
                fields = Fields { note, ..took_by(component, took) };
            }
            Self::StartFailed { component, error, retry_in, .. } => {
                fields.component = Some(component);
                fields.error = Some(error);
                fields.wait_ms = retry_in.map(millis);
            }
            Self::Blocking { component, thread, held, .. } => {
                fields = Fields { held_by: Some(thread), ..took_by(component, held) };
            }
            Self::EndedEarly { component, error, .. } => {
                fields.component = Some(component);
                fields.error = error;
            }
            Self::Finished { component, took } => fields = took_by(component, took),
            Self::Restarting { component, wait, .. } => {
                fields.component = Some(component);
                fields.wait_ms = Some(millis(wait));
            }
            Self::GaveUp { component, failures, .. } => {
                fields.component = Some(component);
                fields.failures = Some(failures);
            }
            _ => return None,
        }
        Some(fields)
    }

    fn fields_of_stop(&self) -> Fields<'_> {
        let mut fields = Fields::default();
        match *self {
            Self::StopRequested { cause, budget, policy } => {
                fields.cause = Some(cause);
                fields.allowed_ms = Some(millis(budget));
                fields.policy = Some(policy);
            }
            Self::LaterCause { cause } | Self::Forced { cause } => fields.cause = Some(cause),
            Self::Propagating { delay } => fields.wait_ms = Some(millis(delay)),
            Self::Stopping { component, allowed } => {
                fields.component = Some(component);
                fields.allowed_ms = Some(millis(allowed));
            }
            Self::Drained { component, took } => fields = took_by(component, took),
            Self::Released { component, took, error } => fields = Fields { error, ..took_by(component, took) },
            Self::LimitPassed { component, allowed, doing } => {
                fields.component = Some(component);
                fields.allowed_ms = Some(millis(allowed));
                fields.doing = known(doing);
            }
            Self::Abandoned { component, doing } => {
                fields.component = Some(component);
                fields.doing = known(doing);
            }
            Self::Skipped { component } => fields.component = Some(component),
            Self::LeasesLeaked { component, holders: held_by } | Self::TasksLeaked { component, tasks: held_by } => {
                fields.component = Some(component);
                fields.held_by = Some(held_by);
            }
            _ => {}
        }
        fields
    }
}

fn took_by(component: &str, took: Duration) -> Fields<'_> {
    Fields { component: Some(component), took_ms: Some(millis(took)), ..Fields::default() }
}

fn service_message(to: Service) -> &'static str {
    match to {
        Service::Initialized => "the service is declared",
        Service::Starting => "the service is starting",
        Service::Ready => "the service is ready",
        Service::Running => "the service is running",
        Service::Pausing => "the service is pausing: its intakes close",
        Service::Paused => "the service is paused",
        Service::Resuming => "the service is resuming: its intakes open",
        Service::Stopping => "the service is stopping",
        Service::Terminated => "the service has terminated",
        Service::Failed => "the service has failed",
    }
}

fn restart_message(with: &[String], wait: Duration) -> String {
    let wait = duration(wait);
    if with.is_empty() {
        format!("restarts in {wait}")
    } else {
        format!("restarts in {wait}, together with {}", with.join(", "))
    }
}

/// The text, unless it is empty.
fn known(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

/// What it was doing, if that is known.
fn while_doing(doing: &str) -> String {
    if doing.is_empty() { String::new() } else { format!(" while {doing}") }
}
