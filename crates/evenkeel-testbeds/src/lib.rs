//! Real servers for tests: each in a directory and on a port of its own, started in seconds and gone with the test.
//!
//! ```no_run
//! use evenkeel_testbeds::Postgres;
//!
//! # fn main() {
//! let Some(mut server) = Postgres::start() else { return }; // left out aloud where it is not installed
//! let url = server.url();
//! server.kill(); // as `kill -9`, with all its processes
//! server.start_again(); // in the same directory, on the same port
//! # let _ = url;
//! # }
//! ```
//!
//! [`Postgres`], [`MariaDb`] and [`Redis`] start what the system has installed (`PATH`, and where Debian keeps it). Where it
//! is not installed, `start` prints `SKIPPED: reason`, which the test run counts, and gives `None`; a server that is
//! installed and does not come up fails the test, with the end of its log.
//!
//! [`Systemd`] is a service manager with units of the test's own, in namespaces of its own.
//!
//! Servers that refuse to run as root run as `nobody` then. Whatever happens to the test, its server does not outlive it:
//! a guard process kills it when the test's process is gone.

#![cfg(unix)]
#![allow(clippy::print_stdout, reason = "a test that leaves itself out says so on standard output")]

mod find;
mod mariadb;
mod postgres;
mod process;
mod redis;
mod systemd;

pub use find::free_port;
pub use mariadb::MariaDb;
pub use postgres::Postgres;
pub use redis::Redis;
pub use systemd::Systemd;

/// The user of every server, where it has users.
pub const USER: &str = "keel";

/// Its password. It must be found in no log line and no error.
pub const PASSWORD: &str = "s3cret-of-the-tests";

/// The database that is there from the start.
pub const DATABASE: &str = "keel";
