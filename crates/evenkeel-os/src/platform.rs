//! Who runs us: the user, the host, the limits.
//!
//! Policy: gathering ([`HostFacts::gather`]) and deciding ([`host_kind`]) are apart, so every decision has a test that
//! needs no such host.

use std::io::IsTerminal;

pub use crate::sys::platform::{User, open_file_limit, user};

use crate::env::{Env, non_empty};

/// What started this program and will stop it. It decides which stop limit applies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HostKind {
    /// A person at a terminal.
    Terminal,
    /// systemd: a unit with its `TimeoutStopSec`.
    Systemd,
    /// A container outside Kubernetes: 10 s between `SIGTERM` and `SIGKILL` unless told otherwise.
    Container,
    /// A pod in Kubernetes: `terminationGracePeriodSeconds`, 30 s by default.
    Kubernetes,
    /// None of these: a script, cron, another supervisor.
    Other,
}

impl HostKind {
    /// The word for it in logs and messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Terminal => "terminal",
            Self::Systemd => "systemd",
            Self::Container => "container",
            Self::Kubernetes => "kubernetes",
            Self::Other => "other",
        }
    }
}

/// What [`host_kind`] knows beside the environment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HostFacts {
    /// This process's id, in its own pid namespace.
    pub pid: u32,
    /// Standard input or standard error is a terminal.
    pub terminal: bool,
    /// A container engine left its mark in the file system.
    pub container_mark: bool,
}

impl HostFacts {
    /// Reads them from the operating system.
    pub fn gather() -> Self {
        Self {
            pid: process_id(),
            terminal: std::io::stdin().is_terminal() || stderr_is_terminal(),
            container_mark: crate::sys::platform::container_mark(),
        }
    }
}

/// Decides what runs us.
///
/// The most specific sign wins: Kubernetes before systemd before container before terminal. `INVOCATION_ID` without
/// `NOTIFY_SOCKET` counts as systemd only when there is no terminal, because a desktop's terminal program is itself a
/// systemd unit and hands its `INVOCATION_ID` to every shell in it.
pub fn host_kind(env: Env<'_>, facts: &HostFacts) -> HostKind {
    let set = |name| non_empty(env, name).is_some();
    if set("KUBERNETES_SERVICE_HOST") {
        HostKind::Kubernetes
    } else if set("NOTIFY_SOCKET") || (set("INVOCATION_ID") && !facts.terminal) {
        HostKind::Systemd
    } else if facts.container_mark || facts.pid == 1 || set("container") || set(crate::init::SWITCH) {
        HostKind::Container
    } else if facts.terminal {
        HostKind::Terminal
    } else {
        HostKind::Other
    }
}

/// This process's id.
pub fn process_id() -> u32 {
    std::process::id()
}

/// Whether journald reads standard error: it names the stream that it gave (`JOURNAL_STREAM`), and standard error is still
/// that one.
pub fn stderr_is_journal(env: Env<'_>) -> bool {
    let given = non_empty(env, "JOURNAL_STREAM").and_then(|text| text.into_string().ok());
    let named = given.as_deref().and_then(|given| given.split_once(':'));
    let named = named.and_then(|(device, inode)| Some((device.parse().ok()?, inode.parse().ok()?)));
    named.is_some() && named == crate::sys::platform::stderr_stream()
}

/// Whether standard error is a terminal, so that a person reads it.
pub fn stderr_is_terminal() -> bool {
    std::io::stderr().is_terminal()
}
