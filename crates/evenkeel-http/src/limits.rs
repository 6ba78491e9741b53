//! How much a client may ask for, and how long it may take.
//!
//! Policy: there is a limit on everything, each with its unit in its name or type, each with a default that suits a server
//! that faces strangers.

use std::time::Duration;

/// The limits of a server. Change single ones: `Limits { connections: 500, ..Limits::default() }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at one time (10,000). At the limit nothing more is accepted: further clients wait in the kernel's
    /// queue until a connection ends.
    pub connections: usize,
    /// The head of a request, in bytes: its first line and all fields (64 KiB). More is answered with 431.
    pub head_bytes: usize,
    /// Fields in the head of a request (100). More is answered with 431.
    pub head_fields: usize,
    /// The target of a request, in bytes (8 KiB). More is answered with 414.
    pub uri_bytes: usize,
    /// The body of a request, in bytes (64 MiB). A body that announces more is answered with 413 before any of it is
    /// read; one that turns out longer ends in an error for its handler (413 from axum's extractors).
    pub body_bytes: u64,
    /// From the first byte of a head to its last (10 s); also, how long a new connection may be silent. Late heads are
    /// answered with 408.
    pub head_time: Duration,
    /// How long a connection may rest between two requests (75 s).
    pub idle_time: Duration,
    /// A body that is waited for longer than this in sum must arrive at [`body_rate`](Self::body_rate) (5 s).
    pub body_grace: Duration,
    /// The least rate at which a body must arrive, in bytes a second (1,000). Slower ones are answered with 408.
    pub body_rate: u64,
    /// How long a client may leave an answer unread, without taking a single byte (30 s).
    pub unread_time: Duration,
    /// Requests at one time on one HTTP/2 connection (200).
    pub streams: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            head_bytes: 64 << 10,
            head_fields: 100,
            uri_bytes: 8 << 10,
            body_bytes: 64 << 20,
            head_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(75),
            body_grace: Duration::from_secs(5),
            body_rate: 1_000,
            unread_time: Duration::from_secs(30),
            streams: 200,
        }
    }
}

impl Limits {
    /// How often connections are looked at while the server serves: often enough that a limit is late by an eighth of
    /// itself at most, and rarely enough to cost nothing.
    pub(crate) fn tick(&self) -> Duration {
        let shortest = [self.head_time, self.idle_time, self.body_grace, self.unread_time].into_iter().min();
        (shortest.unwrap_or_default() / 8).clamp(Duration::from_millis(5), Duration::from_millis(500))
    }
}

/// How a server is drained. Change single values: `Drain { limit, ..Drain::default() }`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    /// How long connections are still accepted (0): the time that load balancers and probes need to learn that this
    /// server leaves. Whoever drains turns readiness off first.
    pub propagation: Duration,
    /// How long a connection at rest stays open from the beginning of the drain (1 s), so that its client learns with its
    /// next answer that it has to leave. Set it to more than the time between two requests of a busy client.
    pub linger: Duration,
    /// How long a connection that has not sent anything yet stays open from when it was accepted (500 ms).
    pub fresh_grace: Duration,
    /// How long a client has for the rest of a request's head, if the server closes (10 s); [`Limits::head_time`] holds as
    /// well. Late heads are answered with 408.
    pub head_time: Duration,
    /// How long the whole drain may take (30 s). What is left then is cut off.
    pub limit: Duration,
    /// What becomes of the listening socket.
    pub listening: Listening,
}

impl Default for Drain {
    fn default() -> Self {
        Self {
            propagation: Duration::ZERO,
            linger: Duration::from_secs(1),
            fresh_grace: Duration::from_millis(500),
            head_time: Duration::from_secs(10),
            limit: Duration::from_secs(30),
            listening: Listening::Closes,
        }
    }
}

/// What becomes of the listening socket when a server is drained.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Listening {
    /// It closes for good. Connections are accepted while the server discourages; then the queue is emptied, and closed.
    /// Who connects after that is refused by the kernel.
    #[default]
    Closes,
    /// Somebody holds the same socket open for a server that starts later. Connections are accepted while this one
    /// discourages; then whoever connects waits in the kernel's queue, and nobody is refused.
    Held,
    /// Another server accepts from the same socket already: this one stops at once.
    Shared,
}
