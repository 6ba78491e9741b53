//! OS threads: naming them, and saying what one of them is doing.
//!
//! Policy: [`describe`] serves the report on work that had to be abandoned. It takes its answer from the kernel, needs no
//! help from the thread in question, and never fails the report: what cannot be known is left out.

use std::io;
use std::thread::{Builder, JoinHandle};

pub use crate::sys::threads::{current_thread_id, describe};

/// Starts an OS thread with a name. Linux shows its first 15 bytes in `ps -L` and `/proc`.
///
/// # Errors
/// The operating system refused another thread.
pub fn spawn_named<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    Builder::new().name(name.to_owned()).spawn(body)
}
