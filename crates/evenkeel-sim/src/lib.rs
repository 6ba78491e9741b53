//! Whole lives of random services, with faults, in simulated time.
//!
//! A [`Scenario`] is a random graph of components, each with a part to play and faults to commit; its seed is its name.
//! [`run`](run::run) declares it through the public API of `evenkeel` and lets the shipped driver carry it out on one
//! thread with a paused clock: plan, engine, driver, life tasks, leases and scopes are the ones that ship. Everything the
//! engine decides and everything that the components see from inside goes into one [`Trace`]; [`check`](check::check)
//! holds the trace against what must never happen, by naive code of its own that knows nothing of the engine's.
//!
//! What its neighbours may rely on: the same seed gives the same trace, and each [`Sabotage`] that can be planted in the
//! engine is found by the invariant that is named after it in `tests/planted.rs`.
//!
//! What is not simulated: threads. Code that blocks is a jump of the clock, and races between threads are the matter of
//! `tests/shuttle.rs`.

pub mod check;
mod dice;
mod perform;
pub mod run;
pub mod scenario;
mod shapes;
pub mod shrink;
pub mod sweep;
pub mod trace;

pub use check::{Invariant, Violation, check};

pub use evenkeel::simulation::Sabotage;
pub use run::{Stopping, run};
pub use scenario::Scenario;
pub use trace::Trace;
