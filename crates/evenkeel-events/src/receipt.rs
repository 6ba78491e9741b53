//! The stop receipt: what stopped, in which order, how long it took, and what was lost.
//!
//! A receipt is plain data with one JSON form (see [`Receipt::SCHEMA`]); the table, the timeline and the picture are
//! drawn from it and from nothing else, so that what a person sees on a terminal is what a machine reads from the file.
//! All times inside are milliseconds since the stop began, so that two receipts can be compared.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The report of one stop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Receipt {
    /// Version of this form.
    pub schema: u32,
    /// The app's name.
    pub app: String,
    /// The process that stopped.
    pub pid: u32,
    /// When the app started, RFC 3339.
    pub started_at: String,
    /// When the stop began, RFC 3339.
    pub stop_began_at: String,
    /// When the stop ended, RFC 3339.
    pub stop_ended_at: String,
    /// The first cause; it stands.
    pub cause: String,
    /// The chain of errors behind the cause, outermost first; empty when nothing failed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub root_cause: Vec<String>,
    /// What to do about the cause.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Causes that came later, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub later_causes: Vec<String>,
    /// `clean`, `start failed`, `component failed`, `not clean` or `forced`.
    pub outcome: String,
    /// The process's exit code.
    pub exit_code: u8,
    /// Time for the whole stop.
    pub budget_ms: f64,
    /// Time the whole stop took.
    pub used_ms: f64,
    /// Time during which traffic was still served although the service was no longer ready.
    pub propagation_delay_ms: f64,
    /// The stop policy's word.
    pub policy: String,
    /// Names of the components that kept the stop from being clean, and a `stop coordinator` that failed. Besides, and
    /// without an effect on the exit code, who hindered the last flush: `standard error`, `state directory`, `receipt
    /// file`.
    #[serde(default)]
    pub culprits: Vec<String>,
    /// The components whose time decided how long the stop took, in the order they ended.
    #[serde(default)]
    pub critical_path: Vec<String>,
    /// One row for each component, in declaration order.
    #[serde(default)]
    pub components: Vec<Row>,
    /// Log lines that could not be written.
    #[serde(default)]
    pub log_lines_lost: u64,
    /// What an operator should know besides.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// What a receipt says of one component.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Its name.
    pub name: String,
    /// `resource`, `worker`, `http`, `blocking`, ...
    pub kind: String,
    /// The state it ended in, a word of the component life cycle.
    pub state: String,
    /// When it was told to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop_ms: Option<f64>,
    /// When its work had ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drained_ms: Option<f64>,
    /// When all that depend on it had ended and its closing began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub release_ms: Option<f64>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub end_ms: Option<f64>,
    /// Time charged to it: drain and release, without the wait for others.
    pub used_ms: f64,
    /// Its limit, as declared.
    pub limit_ms: f64,
    /// The time it got, after the budget was split.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allowed_ms: Option<f64>,
    /// Pieces of work that were in flight at the stop and ended by themselves.
    #[serde(default)]
    pub drained: u64,
    /// Pieces of work that were cut off.
    #[serde(default)]
    pub aborted: u64,
    /// Tasks that could not be ended.
    #[serde(default)]
    pub leaked_tasks: u64,
    /// Leases on its value that never came back: who holds how many, taken where.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leaked_leases: Vec<String>,
    /// Interrupts that its blocking work did not answer.
    #[serde(default)]
    pub ignored_interrupts: u64,
    /// What it was doing when it was cut off or left behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doing: Option<String>,
    /// The error it ended in: the whole chain, outermost first, joined by `: `.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How often it was started again.
    #[serde(default)]
    pub restarts: u32,
    /// Names of the components it needs by a hard edge.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// What an HTTP server lost while it stopped; absent if it lost nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Box<Lost>>,
}

/// Requests that a server did not answer whole while it stopped, and the connections that it cut off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lost {
    /// By route; a route that lost nothing is left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub by_route: Vec<LostOfRoute>,
    /// Connections that were cut off with something on them, the first of them one by one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cut: Vec<CutConnection>,
    /// How many connections were cut off at all.
    #[serde(default)]
    pub cut_connections: u64,
}

/// The requests of one route that were not answered whole.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LostOfRoute {
    /// The route as the router was given it, such as `/orders/{id}`.
    pub route: String,
    /// Cut off: at a limit, by the route's own wish, or because the body came too slowly.
    #[serde(default)]
    pub cut: u64,
    /// Sent just when the server closed the connection as unused, and never read.
    #[serde(default)]
    pub raced: u64,
    /// Answered by the server itself, with an error, because they broke a limit or could be read in two ways.
    #[serde(default)]
    pub refused: u64,
}

/// A connection that was cut off.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CutConnection {
    /// Its other end.
    pub peer: String,
    /// What it was doing, in the words of the server: `handler at work`, `slow body`, `unread answer`, ...
    pub doing: String,
    /// For how long.
    pub for_ms: u64,
    /// The routes of the requests on it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// Bytes that came in over it.
    #[serde(default)]
    pub bytes_in: u64,
    /// Bytes that went out over it.
    #[serde(default)]
    pub bytes_out: u64,
}

impl Receipt {
    /// The version of the JSON form that this code writes. Readers accept this and every older one.
    pub const SCHEMA: u32 = 1;

    /// Whether every stage was clean.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.outcome == "clean"
    }

    /// The components in the order in which they ended; those that never did come last, in declaration order.
    #[must_use]
    pub fn rows_by_end(&self) -> Vec<&Row> {
        let mut rows: Vec<&Row> = self.components.iter().collect();
        rows.sort_by(|a, b| {
            let end = |row: &Row| row.end_ms.unwrap_or(f64::INFINITY);
            end(a).total_cmp(&end(b))
        });
        rows
    }
}

impl Row {
    /// Whether it was cut off at its limit, or left behind.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.state == "aborted" || self.state == "abandoned"
    }

    /// Tasks and holders of leases that never ended.
    #[must_use]
    pub fn leaked(&self) -> u64 {
        self.leaked_tasks.saturating_add(self.leaked_leases.len() as u64)
    }
}

/// Why a receipt cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It was written by a newer evenkeel.
    Newer {
        /// Its schema.
        schema: u64,
    },
    /// It is no receipt, or a damaged one.
    Broken {
        /// What is wrong, and where.
        why: String,
    },
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Newer { schema } => {
                write!(f, "the receipt has schema {schema}; this program reads schemas up to {}", Receipt::SCHEMA)
            }
            Self::Broken { why } => write!(f, "not a receipt: {why}"),
        }
    }
}

impl std::error::Error for Unreadable {}

/// Only the part of a receipt that every schema shares.
#[derive(Deserialize)]
struct Version {
    schema: u64,
}

impl Receipt {
    /// The JSON form, indented, ending in a newline. Times must be finite: JSON has no other numbers.
    ///
    /// # Panics
    /// Never: a receipt is strings, numbers and lists of them.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = serde_json::to_string_pretty(self).expect("strings, numbers and lists always have a JSON form");
        json.push('\n');
        json
    }

    /// Reads the JSON form. The schema is looked at first, so that a receipt from the future is called that and not
    /// broken; fields this code does not know are passed over.
    ///
    /// # Errors
    /// [`Unreadable::Newer`] for a schema above [`Receipt::SCHEMA`], [`Unreadable::Broken`] for anything else.
    pub fn from_json(json: &str) -> Result<Self, Unreadable> {
        let broken = |error: serde_json::Error| Unreadable::Broken { why: error.to_string() };
        let Version { schema } = serde_json::from_str(json).map_err(broken)?;
        match u32::try_from(schema) {
            Ok(0) => Err(Unreadable::Broken { why: "schema 0 was never written".to_owned() }),
            Ok(known) if known <= Self::SCHEMA => serde_json::from_str(json).map_err(broken),
            _ => Err(Unreadable::Newer { schema }),
        }
    }
}
