//! Decides what a service does next: in which order it starts and stops, how long everything may take, what is started
//! again.
//!
//! Nothing here reads a clock, throws dice, waits or writes: time and dice are arguments, decisions are return values.
//! So the same run can be driven by an operating system or by a simulation, and every rule is tested by calling it.
//!
//! ```
//! use evenkeel_plan::{
//!     graph::Graph,
//!     spec::{Edge, Id, Spec},
//! };
//!
//! let (db, jobs) = (Id(0), Id(1));
//! let graph = Graph::new(vec![
//!     Spec::new("db"),
//!     Spec::new("jobs").needing(db, Edge::Hard),
//!     Spec::new("api").needing(db, Edge::Hard).needing(jobs, Edge::Hard),
//! ])?;
//!
//! let names = |wave: &Vec<Id>| wave.iter().map(|id| graph.spec(*id).name.as_str()).collect::<Vec<_>>().join(" ");
//! let start: Vec<String> = graph.start_waves().iter().map(names).collect();
//! let stop: Vec<String> = graph.stop_waves().iter().map(names).collect();
//! println!("start: {start:?}, stop: {stop:?}");
//! assert_eq!(start, ["db", "jobs", "api"]);
//! assert_eq!(stop, ["api", "jobs", "db"]);
//! # Ok::<(), evenkeel_plan::graph::GraphError>(())
//! ```
//!
//! In the order in which they explain each other: [`spec`] is what was declared, [`graph`] checks and orders it,
//! [`lifecycle`] holds the two tables of states, [`limit`] and [`restart`] are the two policies of a component,
//! [`budget`] is the sum of a stop, [`cause`] says why it happened and how it ended, [`policy`] who is told to stop
//! next, [`engine`] takes in what happens and answers what to do, and [`draw`] shows the plan.

pub mod spec;

pub mod graph;

pub mod lifecycle;

pub mod limit;

pub mod restart;

pub mod budget;

pub mod cause;

pub mod policy;

pub mod engine;

pub mod draw;
