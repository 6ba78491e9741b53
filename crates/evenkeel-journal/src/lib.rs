//! A write-ahead journal: what was acknowledged survives any crash.
//!
//! ```
//! use std::sync::Arc;
//! use evenkeel_journal::{Options, Replayed, Store, disk::OsDisk};
//!
//! # let scratch = tempfile::tempdir()?;
//! # let dir = scratch.path();
//! let mut total = 0;
//! let disk = Arc::new(OsDisk::new(dir)?);
//! let (mut store, _) = Store::recover(disk, Options::default(), |replayed| {
//!     match replayed {
//!         Replayed::Checkpoint(_, state) => total = state.len(),
//!         Replayed::Record(_, body) => total += body.len(),
//!     }
//!     Ok(())
//! })?;
//! assert_eq!(store.append(&[b"first", b"second"])?, 2); // both are on the disk now, by one sync
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod checkpoint;
pub mod disk;
mod error;
mod format;
mod log;
mod options;
mod recovery;
mod sabotage;
mod scan;
#[cfg(feature = "sim")]
pub mod sim;
mod store;

pub use checkpoint::Checkpoint;
pub use error::Error;
pub use format::VERSION;
pub use options::{Options, Progress};
pub use recovery::{Cut, Recovery};
#[cfg(feature = "sabotage")]
pub use sabotage::Sabotage;
pub use store::{Replayed, Store};
