//! What happened, worded once.
//!
//! The engine reports everything that happens to a service as one closed enum, [`Event`]; when it stops, it fills in
//! one [`Receipt`]. This crate turns both into what people and machines read: log lines that can never hold a thread of
//! the program, a table and a timeline for the terminal, a picture for the ticket, a file for the next start.
//!
//! ```
//! use evenkeel_events::{Receipt, Row, table};
//!
//! let receipt = Receipt {
//!     schema: Receipt::SCHEMA,
//!     app: "orders".into(),
//!     cause: "SIGTERM".into(),
//!     outcome: "clean".into(),
//!     used_ms: 12.3,
//!     components: vec![Row { name: "api".into(), state: "released".into(), ..Row::default() }],
//!     ..Receipt::default()
//! };
//! let text = table(&receipt, 80);
//! assert!(text.starts_with("orders stopped cleanly in 12 ms (SIGTERM), exit code 0"));
//! assert_eq!(Receipt::from_json(&receipt.to_json()), Ok(receipt));
//! ```
//!
//! The nouns: an *event* is something that happened, worded or counted and never kept; a *receipt* is the report of one
//! stop, with one [`Row`] per component; a [`Sink`] is where log lines go.
//!
//! Invariants: nothing else words an event; one event is one record, whatever its values contain; no line is dropped
//! without being counted; everything drawn of a stop is drawn from its receipt. Deliberately absent: reading the
//! environment, choosing a file, colours that were not asked for.

pub mod event;
pub mod log;

pub mod format;
pub mod sink;

pub mod receipt;
pub mod store;
pub mod table;
pub mod timeline;

mod picture;
mod text;

pub use event::Event;
pub use format::{BadLevel, Format, LogOptions, layer, subscriber};
pub use receipt::{CutConnection, Lost, LostOfRoute, Receipt, Row, Unreadable};
pub use sink::{Flushed, Options as SinkOptions, Sink};
pub use table::table;
