//! What Evenkeel asks of the operating system, with the same functions on each side.
//!
//! **Invariant:** this is the only crate with `unsafe` code and with `cfg(unix)` / `cfg(windows)`. Everything above it
//! calls one set of functions and contains no `cfg`. No function here knows an async runtime: all of it is blocking,
//! runs on plain OS threads, and therefore works while every thread of a runtime is stuck.
//!
//! Modules in reading order:
//!
//! | module | question it answers |
//! |---|---|
//! | [`env`](mod@env) | where do environment variables come from? (they are passed in, never read below) |
//! | [`platform`] | who runs us, under which host, with which limits? |
//! | [`dirs`] | where do the lock, the control socket and the state live? |
//! | [`disk`] | how is a file written in place, and a name made durable? |
//! | [`examine`] | what is at a path, before anybody uses it? |
//! | [`lock`] | is another instance of this program running? |
//! | [`control`] | how does `status` or `stop` reach a running program? |
//! | [`signals`] | who asked us to stop? |
//! | [`interrupt`] | how does blocking work end early? |
//! | [`sockets`] | where do sockets differ between systems? |
//! | [`handover`] | how does one process leave its place to the next? |
//! | [`children`] | how is a program started in this one's place, stopped, waited for? |
//! | [`notify`] | what is said to a service manager, and by a program to us? |
//! | [`init`](mod@init) | what does process 1 of a container have to do? |
//! | [`threads`] | what is that thread doing? |
//! | [`exit`] | how does the process end when nothing else works? |
//!
//! One running instance that answers, in full:
//!
//! ```
//! use std::time::Duration;
//! use evenkeel_os::{control, lock};
//!
//! # let scratch = tempfile::tempdir()?;
//! # let dir = scratch.path();
//! let _alone = lock::lock_instance(dir)?.expect("no other instance");
//! let server = control::Listener::bind(dir)?.serve(|request, reply| {
//!     let _ = reply(&format!("you said {request}")); // an error: the asker has gone away
//! })?;
//!
//! let answer = control::ask(dir, "status", Duration::from_secs(5))?;
//! assert_eq!(answer, "you said status");
//! server.shut_down(Duration::ZERO);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Layout: `src/*.rs` holds what is the same everywhere (types, policies) and re-exports the rest from `sys`, which is
//! `src/unix/` today. A `src/windows/` twin offers the same names.

#[cfg(not(target_os = "linux"))]
compile_error!(
    "evenkeel-os has its Linux side only: the Windows side comes with the Windows service work, \
     and another Unix needs its own peer credentials and thread states in src/unix"
);

#[cfg(target_os = "linux")]
#[path = "unix/mod.rs"]
mod sys;

pub mod children;
pub mod control;
pub mod dirs;
pub mod disk;
pub mod env;
pub mod examine;
pub mod exit;
pub mod handover;
pub mod init;
pub mod interrupt;
pub mod lock;
pub mod notify;
pub mod platform;
pub mod signals;
pub mod sockets;
pub mod threads;
