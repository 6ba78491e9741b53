//! Serves an [`axum::Router`] over HTTP/1.1 and HTTP/2, and stops without losing a request.
//!
//! ```
//! use axum::{Router, routing::get};
//! use evenkeel_http::{Drain, Listener, Outcome, serve};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> std::io::Result<()> {
//! let router = Router::new().route("/", get(async || "hello"));
//! let server = serve(Listener::bind("127.0.0.1:0")?, router)?;
//! println!("{}", server.url());
//! // .. until somebody asks for a stop; then:
//! # let drain = Drain { linger: std::time::Duration::ZERO, ..Drain::default() };
//! # /*
//! let drain = Drain::default();
//! # */
//! let report = server.drain(drain).await;
//! println!("{report}");
//! assert_eq!(report.during.of(Outcome::Cut), 0);
//! # Ok(())
//! # }
//! ```
//!
//! **Invariant:** every accepted request ends in exactly one counted [`Outcome`]. A request is accepted when its head has
//! been read whole.
//!
//! The three nouns, each made from the one before:
//! - [`Server`] listens and does not serve yet: set its [`Limits`] and its [`Gate`].
//! - [`Serving`] serves. Handlers learn of a drain by [`Draining`]; [`on_drain`] says what becomes of a route's requests.
//! - [`Report`] says what became of a drain: how requests ended by route, and which connections had to be cut off.
//!
//! The usual graceful stop loses requests in three ways, and each has its own remedy here:
//! - *The queue of the listener dies with it.* The queue is emptied before the listener closes; for a restart, keep the
//!   socket: [`Listener::try_clone`], [`Listening`], [`Serving::hand_over`].
//! - *A connection that was accepted and has not spoken yet is closed.* It has a [grace](Drain::fresh_grace), and a
//!   request that has begun to arrive is always served.
//! - *A kept-alive connection is closed while the next request is on its way.* Clients are told to leave first
//!   (`Connection: close`, GOAWAY); what is at rest is closed only after a [linger](Drain::linger).
//!
//! Modules in reading order: [`phase`] (what follows what), `decide` (what becomes of a connection), `server`,
//! `connection`, `stream`, `framing` (where a request ends), `goaway` (how HTTP/2 leaves), `answer`, `exchange`, `outcome`,
//! `proof` (a server asks itself).

mod answer;
mod conn;
mod connection;
mod decide;
mod exchange;
mod framing;
mod gate;
mod goaway;
mod handover;
mod limits;
mod listener;
mod outcome;
pub mod phase;
mod proof;
mod route;
mod server;
mod stream;

use std::io;

pub use crate::{
    exchange::{Draining, OnDrain},
    gate::Gate,
    handover::{NotHandedOver, Why},
    limits::{Drain, Limits, Listening},
    listener::Listener,
    outcome::{Counts, Doing, Held, NO_ROUTE, Outcome, Outcomes, Report},
    phase::Phase,
    proof::NotProved,
    route::{SetOnDrain, WithOnDrain, on_drain},
    server::{Live, Server, Serving},
};

/// Serves a router on a socket that listens, with all defaults; [`Server`] has the settings.
///
/// # Errors
/// The runtime cannot watch the socket: no descriptor is left.
///
/// # Panics
/// Outside of a tokio runtime with time and input/output.
pub fn serve(listener: impl Into<Listener>, router: axum::Router) -> io::Result<Serving> {
    Server::new(listener).serve(router)
}
