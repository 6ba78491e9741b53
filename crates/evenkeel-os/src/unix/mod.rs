//! The Linux side. Each module offers what its namesake in `src/` re-exports; a twin for another platform offers the
//! same names. `files`, `peer` and `poll` serve the others.

pub(crate) mod children;
pub(crate) mod control;
pub(crate) mod dirs;
pub(crate) mod disk;
pub(crate) mod examine;
pub(crate) mod exit;
pub(crate) mod files;
pub(crate) mod handover;
pub(crate) mod init;
pub(crate) mod interrupt;
pub(crate) mod notifications;
pub(crate) mod notify;
mod peer;
pub(crate) mod platform;
mod poll;
pub(crate) mod signals;
pub(crate) mod sockets;
pub(crate) mod threads;
