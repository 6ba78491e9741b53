//! Evenkeel gives a program a correct life: it starts in order, says when it is ready, keeps running, and stops without
//! losing anything.
//!
//! A program declares its components and what each *needs*. Needing is the only way to get another component's value,
//! and it is what draws the graph: start order and stop order follow from who holds what.
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use evenkeel::{App, Exit};
//! # use evenkeel::Result;
//! # struct Pool;
//! # impl Pool {
//! #     async fn connect(_: &str) -> Result<Pool> { Ok(Pool) }
//! #     async fn next_job(&self) -> Result<u32> { Ok(7) }
//! #     async fn finish(&self, _: u32) -> Result { Ok(()) }
//! #     async fn count(&self) -> String { "3".into() }
//! #     async fn close(self) -> Result { Ok(()) }
//! # }
//!
//! fn main() -> Exit {
//!     let app = App::new("orders");
//!
//!     let db = app.resource("db", (), |()| Pool::connect("postgres://localhost/orders"), Pool::close);
//!
//!     let jobs = app.worker("jobs", &db, async |db, stop| {
//!         while let Some(job) = stop.or(db.next_job()).await {
//!             db.finish(job?).await?;
//!         }
//!         Ok(())
//!     });
//!
//!     let _api = app.http("api", (&db, &jobs), "127.0.0.1:8080", |(db, _)| {
//!         Router::new().route("/orders", get(async move || db.count().await))
//!     });
//!
//!     app.run()
//! }
//! ```
//!
//! On a stop (a signal, the control socket, a failure), the listener closes first, requests in flight complete, then
//! the worker finishes its job, then the pool is closed, by value. Whatever does not end in its time is cut off and
//! named; the [`Receipt`] says what happened and the exit code is 0 only if every stage was clean.
//!
//! The three nouns: an [`App`] holds components; a [`Handle`] is the right to need one; a [`Lease`] is its value, lent.
//! Running code is given a [`Stop`], which interrupts *waiting for* work, not the work.
//!
//! Where to go next:
//! - [`App`]: resources, workers, HTTP, blocking work; budget, policy, threads
//! - [`Handle`]: limits, restarts, optional parts, jobs, intakes
//! - [`Needs`]: what can be needed, and what is given for it
//! - [`Component`]: the trait form
//! - [`App::start`]: for tests, with simulated time; [`App::replace`] puts a fake in place
//! - [`CommandLine`]: a program's own arguments beside those that every program gets
//! - [`Exit`]: the exit codes

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct Readme;

mod app;
mod component;
mod error;
mod handle;
mod heartbeat;
mod holding;
mod lease;
mod needs;
mod program;
mod running;
mod status;
mod stop;

pub mod blocking;
#[cfg(feature = "http")]
mod http;
#[cfg(feature = "http")]
mod probes;

mod kinds;
mod scope;

mod dice;
mod driver;
mod life;
mod part;
mod polls;
mod record;
mod sampler;
#[doc(hidden)]
pub mod simulation;

pub use app::{App, Declare, Problem, StopPolicy};
pub use blocking::{Interrupt, Interrupted};
pub use component::Component;
pub use error::{Error, Explain, Result};
pub use evenkeel_events::{CutConnection, Lost, LostOfRoute, Receipt, Row};
#[cfg(feature = "http")]
pub use evenkeel_http::{Draining, Limits as HttpLimits, OnDrain, on_drain};
pub use evenkeel_plan::{
    limit::Limit,
    policy::{Choice, Coordinator, StopView},
    restart::{Backoff, Restart},
    spec::Id,
};
pub use handle::{Handle, Many, Once, OptionalHandle, Soft, StartOnly, StartsAgain};
pub use holding::Holding;
#[cfg(feature = "http")]
pub use http::{Http, Listen};
pub use kinds::Ready;
pub use lease::{Lease, Watch};
pub use needs::Needs;
#[cfg(feature = "http")]
pub use probes::Probes;
pub use program::{CommandLine, Exit};
pub use running::{Running, StartError};
pub use scope::{TaskOutput, Work};
pub use status::{ComponentStatus, Status};
pub use stop::{Branch, Stop};
