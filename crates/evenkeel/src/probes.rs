//! Probes: what a service says of itself over HTTP, to whoever decides over its traffic and its life.
//!
//! Three questions, three answers; 200 means yes and 503 means no, and the body says why:
//!
//! | probe | path | yes | who asks |
//! |---|---|---|---|
//! | startup | `/health/startup` | it has run once | whoever waits before asking the other two |
//! | readiness | `/health/ready` | it wants traffic now | load balancers, Kubernetes services |
//! | liveness | `/health/live` | it is worth keeping | whoever would restart it |
//!
//! Policy: readiness is the engine's own word and is never late: it goes off before anything closes. Liveness says no
//! only for what a restart cures: an engine that does not answer, code that holds every runtime thread, look after look, or
//! a component that breaks its promise to say that it is alive; never for a dependency that is down, which a restart would only make worse. A service that stops is alive.
//!
//! Pure: the listener is `program/admin.rs`.

use std::time::Duration;

use evenkeel_plan::lifecycle::Component;
use serde::Serialize;

use crate::{
    app::Problem,
    status::{ComponentStatus, Status},
};

/// Where the probes are, and how patient liveness is. See [`App::probes`](crate::App::probes).
///
/// ```
/// use std::time::Duration;
/// use evenkeel::{App, Probes};
///
/// let probes = Probes::new().startup("/health-startup").liveness_period(Duration::from_secs(5));
/// let app = App::new("orders").admin("0.0.0.0:9100").probes(probes);
/// # let _ = app;
/// ```
///
/// In a pod, with a port that is fixed:
///
/// ```yaml
/// startupProbe:   { httpGet: { path: /health-startup, port: 9100 }, periodSeconds: 1, failureThreshold: 60 }
/// readinessProbe: { httpGet: { path: /health/ready, port: 9100 }, periodSeconds: 1, failureThreshold: 1 }
/// livenessProbe:  { httpGet: { path: /health/live, port: 9100 }, periodSeconds: 10, failureThreshold: 3 }
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probes {
    pub(crate) startup: String,
    pub(crate) readiness: String,
    pub(crate) liveness: String,
    pub(crate) period: Duration,
    pub(crate) failure_threshold: u32,
}

impl Default for Probes {
    fn default() -> Self {
        Self {
            startup: "/health/startup".to_owned(),
            readiness: "/health/ready".to_owned(),
            liveness: "/health/live".to_owned(),
            period: Duration::from_secs(10),
            failure_threshold: 3,
        }
    }
}

impl Probes {
    /// The paths of the table above; liveness looks every 10 seconds, and says no after 3 looks in a row that found it
    /// stuck: the defaults of Kubernetes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Where the startup probe is.
    #[must_use]
    pub fn startup(mut self, path: impl Into<String>) -> Self {
        self.startup = path.into();
        self
    }

    /// Where the readiness probe is.
    #[must_use]
    pub fn readiness(mut self, path: impl Into<String>) -> Self {
        self.readiness = path.into();
        self
    }

    /// Where the liveness probe is.
    #[must_use]
    pub fn liveness(mut self, path: impl Into<String>) -> Self {
        self.liveness = path.into();
        self
    }

    /// How often liveness looks whether the service is stuck: 100 milliseconds to 1 hour.
    #[must_use]
    pub fn liveness_period(mut self, period: Duration) -> Self {
        self.period = period;
        self
    }

    /// After how many looks in a row that found it stuck liveness says no; at least 1.
    #[must_use]
    pub fn liveness_failure_threshold(mut self, looks: u32) -> Self {
        self.failure_threshold = looks;
        self
    }

    /// Why this cannot be served.
    pub(crate) fn problems(&self) -> Vec<Problem> {
        let paths = [&self.startup, &self.readiness, &self.liveness];
        let bad_path = paths.iter().find(|path| !is_path(path)).map(|path| Problem {
            text: format!("the probe path {path:?} is none"),
            hint: "begin it with `/`, and use letters, digits, `/`, `-`, `_` and `.` only".to_owned(),
        });
        let twice = (0..3).find(|i| paths[..*i].contains(&paths[*i]) || OWN_PATHS.contains(&paths[*i].as_str()));
        let twice = twice.map(|i| Problem {
            text: format!("the path {} is asked for twice", paths[i]),
            hint: format!("give each probe a path of its own; {} are taken", OWN_PATHS.join(" and ")),
        });
        let patience = Duration::from_millis(100)..=Duration::from_secs(3600);
        let bad_patience = !patience.contains(&self.period) || self.failure_threshold == 0;
        let patience = bad_patience.then(|| Problem {
            text: "liveness cannot look that often".to_owned(),
            hint: "give it a period of 100 ms to 1 h, and a failure threshold of at least 1".to_owned(),
        });
        bad_path.into_iter().chain(twice).chain(patience).collect()
    }
}

/// Paths of the admin listener that are no probes.
pub(crate) const OWN_PATHS: [&str; 2] = ["/", "/status"];

fn is_path(path: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '-' | '_' | '.');
    path.starts_with('/') && path.len() <= 256 && !path.contains("//") && path.chars().all(good)
}

/// What a probe says.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Answer {
    pub(crate) probe: &'static str,
    pub(crate) passes: bool,
    /// The service's state.
    pub(crate) state: String,
    pub(crate) up_ms: u64,
    /// What has to be up before it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) waiting_for: Vec<String>,
    /// Why it is not worth keeping.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) stuck: Option<String>,
    /// Key resources and the rest, with their states.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) components: Vec<ComponentStatus>,
}

impl Answer {
    fn of(probe: &'static str, passes: bool, status: &Status) -> Self {
        let (state, up_ms) = (status.state.clone(), status.up_ms);
        Self { probe, passes, state, up_ms, waiting_for: Vec::new(), stuck: None, components: Vec::new() }
    }
}

/// Whether it has run once. What is not essential does not hold it up (R2.3d).
pub(crate) fn startup(status: &Status, ran: bool) -> Answer {
    let components = status.components.clone();
    Answer { waiting_for: missing(status, ran), components, ..Answer::of("startup", ran, status) }
}

/// Whether it wants traffic.
pub(crate) fn readiness(status: &Status, ran: bool) -> Answer {
    Answer { waiting_for: missing(status, ran), ..Answer::of("readiness", status.ready, status) }
}

/// Whether it is worth keeping.
pub(crate) fn liveness(status: &Status, pulse: &Pulse) -> Answer {
    Answer { stuck: pulse.stuck().map(str::to_owned), ..Answer::of("liveness", pulse.stuck().is_none(), status) }
}

fn missing(status: &Status, ran: bool) -> Vec<String> {
    let up = [Component::Ready.word(), Component::Ended.word()];
    let is_missing = |it: &&ComponentStatus| !ran && !it.optional && !up.contains(&it.state.as_str());
    status.components.iter().filter(is_missing).map(|it| it.name.clone()).collect()
}

/// What the looks of the liveness probe have found.
#[derive(Clone, Debug)]
pub(crate) struct Pulse {
    threshold: u32,
    in_a_row: u32,
    why: Option<String>,
}

impl Pulse {
    pub(crate) fn new(threshold: u32) -> Self {
        Self { threshold, in_a_row: 0, why: None }
    }

    /// One look; `Some` says how it is stuck.
    pub(crate) fn look(&mut self, why: Option<String>) {
        self.in_a_row = if why.is_some() { self.in_a_row.saturating_add(1) } else { 0 };
        self.why = why;
    }

    /// Why it is not worth keeping, once it has been stuck for long enough.
    pub(crate) fn stuck(&self) -> Option<&str> {
        self.why.as_deref().filter(|_| self.in_a_row >= self.threshold)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn component(name: &str, state: &str, optional: bool) -> ComponentStatus {
        let (name, kind, state) = (name.to_owned(), "resource".to_owned(), state.to_owned());
        ComponentStatus { name, kind, state, optional, restarts: 0, note: None, stuck: None, holding: None }
    }

    fn status(state: &str, ready: bool, components: Vec<ComponentStatus>) -> Status {
        Status { state: state.to_owned(), ready, pid: 1, up_ms: 5, admin: None, components }
    }

    #[test]
    fn startup_names_the_key_resources_it_waits_for_and_none_that_are_optional_r2_3c() {
        let parts = vec![
            component("db", "ready", false),
            component("queue", "starting", false),
            component("advice", "retrying", true),
        ];
        let answer = startup(&status("starting", false, parts), false);
        assert_eq!((answer.passes, answer.waiting_for), (false, vec!["queue".to_owned()]));
        assert_eq!(answer.components.len(), 3);
    }

    #[test]
    fn startup_stays_passed_once_it_ran() {
        let answer = startup(&status("stopping", false, vec![component("db", "draining", false)]), true);
        assert_eq!((answer.passes, answer.waiting_for.len()), (true, 0));
    }

    #[test]
    fn readiness_is_what_the_engine_says() {
        assert!(readiness(&status("running", true, Vec::new()), true).passes);
        assert!(!readiness(&status("paused", false, Vec::new()), true).passes);
    }

    #[test]
    fn liveness_says_no_only_after_so_many_looks_in_a_row_r2_3c() {
        let mut pulse = Pulse::new(3);
        let alive = |pulse: &Pulse| liveness(&status("running", true, Vec::new()), pulse).passes;
        for _ in 0..2 {
            pulse.look(Some("held".to_owned()));
        }
        assert!(alive(&pulse));
        pulse.look(None);
        pulse.look(Some("held".to_owned()));
        pulse.look(Some("held".to_owned()));
        assert!(alive(&pulse), "a look that found it well begins anew");
        pulse.look(Some("held".to_owned()));
        assert!(!alive(&pulse));
        pulse.look(None);
        assert!(alive(&pulse), "it has come back by itself");
    }

    #[test]
    fn paths_that_cannot_be_served_are_refused() {
        let refused = |probes: Probes| probes.problems().first().map(|problem| problem.text.clone());
        assert_eq!(refused(Probes::new()), None);
        assert_eq!(refused(Probes::new().startup("/health-startup")), None);
        assert_eq!(refused(Probes::new().startup("health")).unwrap(), "the probe path \"health\" is none");
        assert_eq!(refused(Probes::new().startup("/{*all}")).unwrap(), "the probe path \"/{*all}\" is none");
        assert_eq!(
            refused(Probes::new().liveness("/health/ready")).unwrap(),
            "the path /health/ready is asked for twice"
        );
        assert_eq!(refused(Probes::new().liveness("/status")).unwrap(), "the path /status is asked for twice");
        assert!(refused(Probes::new().liveness_failure_threshold(0)).is_some());
        assert!(refused(Probes::new().liveness_period(Duration::ZERO)).is_some());
    }
}
