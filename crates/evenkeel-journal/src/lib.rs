//! State that survives any crash: a write-ahead journal with group commit, checkpoints in two phases, and recovery.
//!
//! Write what an event does to your state; the rest is done. What [`record`](Durable::record) has acknowledged is on the
//! disk, and the next start has it, whatever became of the process or the machine:
//!
//! ```
//! use std::sync::Arc;
//! use evenkeel_journal::{Durable, Options, State, disk::OsDisk};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Default, Serialize, Deserialize)]
//! struct Stock { left: i64 }
//!
//! #[derive(Serialize, Deserialize)]
//! enum Happened { Delivered(i64), Sold }
//!
//! impl State for Stock {
//!     type Event = Happened;
//!     fn apply(&mut self, event: &Happened) {
//!         match event {
//!             Happened::Delivered(count) => self.left += count,
//!             Happened::Sold => self.left -= 1,
//!         }
//!     }
//! }
//!
//! # let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?;
//! # let scratch = tempfile::tempdir()?;
//! # let directory = scratch.path().to_owned();
//! # runtime.block_on(async move {
//! let disk = Arc::new(OsDisk::new(&directory)?);
//! let (stock, _) = Durable::<Stock>::open(disk.clone(), Options::default()).await?;
//! stock.record(Happened::Delivered(3)).await?; // durable when it returns
//! let sale = stock.decide(|stock| if stock.left > 0 { Ok(Happened::Sold) } else { Err("sold out") });
//! assert_eq!(sale.await?, Ok(2)); // the second event
//! stock.close().await?; // flushed, closed, committed: nothing to replay
//!
//! let (stock, recovery) = Durable::<Stock>::open(disk, Options::default()).await?;
//! assert_eq!(stock.read(|stock| stock.left).await?, 2);
//! assert_eq!(recovery.replayed, 0);
//! # Ok::<(), evenkeel_journal::Error>(())
//! # })?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Invariant:** after a crash at any byte, recovery gives a prefix of what was written and all of what was acknowledged.
//! Damage to what was durable is refused with its place, never skipped. `tests/crash` holds this against a disk that
//! reorders, tears, forgets names, fails and is full.
//!
//! | type | for |
//! |---|---|
//! | [`Durable`] | a state in memory, its events on the disk, checkpoints by themselves |
//! | [`Journal`] | the records alone: append, barrier, subscribe, checkpoint |
//! | [`Store`] | the same without threads and tasks, driven by its caller |
//! | [`tools`] | verify, dump and repair, as calls; the binary `evenkeel-journal` (feature `tool`) has them as commands |
//! | [`disk`] | the one door to the disk; `sim::SimDisk` (a feature) is a disk that fails on request |
//!
//! # What a failure means
//!
//! | what failed | what happens |
//! |---|---|
//! | a sync | [`Error::Poisoned`] for everybody who waits and all who come; it is never tried again. Recover anew |
//! | a write, for want of room | [`Error::Full`]: intake is refused; reading goes on, and a checkpoint finds room in the ballast |
//! | a checkpoint | the one before stays in force, and the journal goes on |
//! | the process, the machine | recovery replays what is behind the last checkpoint |
//!
//! An acknowledgement that was lost says nothing: after an error, or when the future was dropped, the record may be there.
//! What cannot be seen: damage to the very last batch looks like one that was never finished, unless the journal was closed
//! in order.
//!
//! # Features
//!
//! `tool`: the binary `evenkeel-journal`. `sim`: `sim::SimDisk`, for tests of programs that keep their state here. `sabotage`: planted bugs, for this crate's own.

mod checkpoint;
pub mod disk;
mod durable;
mod error;
mod format;
mod intake;
mod journal;
mod log;
mod options;
mod record;
mod recovery;
mod sabotage;
mod scan;
#[cfg(feature = "sim")]
pub mod sim;
mod store;
mod tail;
pub mod tools;
mod writer;

pub use checkpoint::Checkpoint;
pub use durable::{Durable, State};
pub use error::Error;
pub use format::VERSION;
pub use journal::{Journal, Recovered, Seq};
pub use options::{Options, Progress};
pub use record::{Bytes, Record};
pub use recovery::{Cut, Recovery};
#[cfg(feature = "sabotage")]
pub use sabotage::Sabotage;
pub use store::{Replayed, Store};
pub use tail::Subscription;
