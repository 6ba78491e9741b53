//! What holds a stop, while it does: what is left in a component that was told to stop.
//!
//! Policy: a picture, taken when it is asked for and kept nowhere. It is taken of what the receipt would name if the limit
//! came now.

use std::time::Duration;

use evenkeel_events::CutConnection;
use serde::{Deserialize, Serialize};

use crate::part::Part;

/// What is left in a component that was told to stop.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Holding {
    /// What it is doing, in words.
    pub doing: String,
    /// How long it has until it is cut off, in milliseconds.
    pub left_ms: u64,
    /// The connections of a server, up to [`Holding::MOST`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<CutConnection>,
    /// How many connections there are at all.
    #[serde(default, skip_serializing_if = "is_none")]
    pub connection_count: usize,
    /// The lines that spawned the tasks which are still there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<String>,
    /// How many tasks those are.
    #[serde(default, skip_serializing_if = "is_none")]
    pub task_count: usize,
    /// Who still holds its value, and since which line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub leases: Vec<String>,
}

fn is_none(count: &usize) -> bool {
    *count == 0
}

impl Holding {
    /// How many connections are listed.
    pub const MOST: usize = 64;

    pub(crate) fn of(part: &Part, doing: String, left: Duration) -> Self {
        let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
        let mut holding = Self { doing, left_ms, ..Self::default() };
        holding.leases =
            part.slot().map(|slot| slot.outstanding()).unwrap_or_default().iter().map(ToString::to_string).collect();
        if let Some(incarnation) = part.incarnation() {
            #[cfg(feature = "http")]
            if let Some(mut connections) = incarnation.scope.connections() {
                holding.connection_count = connections.len();
                connections.sort_by_key(|connection| std::cmp::Reverse(connection.for_ms));
                connections.truncate(Self::MOST);
                holding.connections = connections;
                return holding; // its tasks are those of its connections
            }
            (holding.task_count, holding.tasks) = incarnation.scope.left();
        }
        holding
    }

    /// One line for each thing, for a person.
    pub(crate) fn lines(&self) -> Vec<String> {
        let left = evenkeel_plan::limit::seconds(Duration::from_millis(self.left_ms));
        let mut lines = vec![format!("{}; {left} left", self.doing)];
        lines.extend(self.connections.iter().map(connection));
        let more = self.connection_count.saturating_sub(self.connections.len());
        if more > 0 {
            lines.push(format!("and {more} connections more"));
        }
        if self.task_count > 0 {
            let tasks = if self.task_count == 1 { "task" } else { "tasks" };
            lines.push(format!("{} {tasks}, spawned at {}", self.task_count, self.tasks.join(", ")));
        }
        lines.extend(self.leases.iter().cloned());
        lines
    }
}

/// `127.0.0.1:4711: slow body on /orders for 3.2 s, 17 bytes in`
fn connection(held: &CutConnection) -> String {
    let routes = if held.routes.is_empty() { String::new() } else { format!(" on {}", held.routes.join(", ")) };
    let time = evenkeel_plan::limit::seconds(Duration::from_millis(held.for_ms));
    format!("{}: {}{routes} for {time}, {} bytes in, {} out", held.peer, held.doing, held.bytes_in, held.bytes_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_a_stop_is_said_in_a_line_each_r4_1a() {
        let upload = CutConnection {
            peer: "127.0.0.1:4711".to_owned(),
            doing: "slow body".to_owned(),
            for_ms: 3200,
            routes: vec!["/orders".to_owned()],
            bytes_in: 17,
            bytes_out: 0,
        };
        let holding = Holding {
            doing: "draining".to_owned(),
            left_ms: 6_000,
            connections: vec![upload],
            connection_count: 3,
            tasks: vec!["src/jobs.rs:7".to_owned()],
            task_count: 2,
            leases: vec!["1 lease of `jobs` taken at src/main.rs:9".to_owned()],
        };
        insta::assert_snapshot!(holding.lines().join("\n"), @r"
        draining; 6.0 s left
        127.0.0.1:4711: slow body on /orders for 3.2 s, 17 bytes in, 0 out
        and 2 connections more
        2 tasks, spawned at src/jobs.rs:7
        1 lease of `jobs` taken at src/main.rs:9
        ");
    }
}
