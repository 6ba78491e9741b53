//! The two life cycles, each written once as a table.
//!
//! A transition answers one of three things: *to* a new state, *already so* (asking again changes nothing), or *not
//! allowed* (somebody is out of step, and must hear it). Everything that a platform shows of the service (readiness,
//! later the states of Windows and systemd) is a total function of [`Service`]. The whole of both tables, state by
//! event, is held by snapshots in `tests/lifecycle.rs`.

/// What a table answers to an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step<S> {
    /// The event leads to this state.
    To(S),
    /// The state is what the event asks for.
    AlreadySo,
    /// The event has no meaning in this state.
    NotAllowed,
}

use Step::{AlreadySo, NotAllowed, To};

/// The service as a whole (R2.3a).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Service {
    /// Declared; nothing has been opened.
    Initialized,
    /// Components are being opened.
    Starting,
    /// All essential components are ready; the service makes itself known.
    Ready,
    /// Known and taking traffic.
    Running,
    /// Intakes are closing for a pause.
    Pausing,
    /// Intakes are closed, everything else is up.
    Paused,
    /// Intakes are opening again.
    Resuming,
    /// Quiesce, drain, release.
    Stopping,
    /// Ended as asked.
    Terminated,
    /// Ended by a failure.
    Failed,
}

/// What can happen to the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ServiceEvent {
    /// Somebody starts it.
    Start,
    /// Every essential component is ready.
    EssentialsReady,
    /// Every registrar has made it known.
    Registered,
    /// Somebody asks for a pause.
    Pause,
    /// Every intake is closed.
    IntakesClosed,
    /// Somebody ends the pause.
    Continue,
    /// Every intake is open.
    IntakesOpen,
    /// Somebody asks it to stop, or something failed and what was started must be released.
    Stop,
    /// The start failed and nothing is left to release.
    StartFailed,
    /// Everything is released, and the stop was asked for.
    Ended,
    /// Everything is released, and a failure was the reason.
    EndedByFailure,
}

impl Service {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 10] = [
        Self::Initialized,
        Self::Starting,
        Self::Ready,
        Self::Running,
        Self::Pausing,
        Self::Paused,
        Self::Resuming,
        Self::Stopping,
        Self::Terminated,
        Self::Failed,
    ];

    /// The table.
    #[must_use]
    pub fn on(self, event: ServiceEvent) -> Step<Self> {
        use ServiceEvent as E;
        match (self, event) {
            (Self::Initialized, E::Start) => To(Self::Starting),
            (Self::Starting | Self::Ready | Self::Running, E::Start) => AlreadySo,

            (Self::Starting, E::EssentialsReady) => To(Self::Ready),
            (Self::Ready, E::EssentialsReady) => AlreadySo,
            (Self::Ready, E::Registered) => To(Self::Running),
            (Self::Running, E::Registered) => AlreadySo,

            (Self::Running, E::Pause) => To(Self::Pausing),
            (Self::Pausing | Self::Paused, E::Pause) => AlreadySo,
            (Self::Pausing, E::IntakesClosed) => To(Self::Paused),
            (Self::Paused, E::IntakesClosed) => AlreadySo,
            (Self::Paused, E::Continue) => To(Self::Resuming),
            (Self::Running | Self::Resuming, E::Continue) => AlreadySo,
            (Self::Resuming, E::IntakesOpen) => To(Self::Running),
            (Self::Running, E::IntakesOpen) => AlreadySo,

            (Self::Initialized, E::Stop) => To(Self::Terminated),
            (Self::Starting | Self::Ready | Self::Running | Self::Pausing | Self::Paused | Self::Resuming, E::Stop) => {
                To(Self::Stopping)
            }
            (Self::Stopping | Self::Terminated | Self::Failed, E::Stop) => AlreadySo,

            (Self::Starting, E::StartFailed) => To(Self::Failed),
            (Self::Failed, E::StartFailed) => AlreadySo,
            (Self::Stopping, E::Ended) => To(Self::Terminated),
            (Self::Terminated, E::Ended) => AlreadySo,
            (Self::Stopping, E::EndedByFailure) => To(Self::Failed),
            (Self::Failed, E::EndedByFailure) => AlreadySo,

            _ => NotAllowed,
        }
    }

    /// Whether the service is over.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Terminated | Self::Failed)
    }

    /// Whether intakes may let work in.
    #[must_use]
    pub fn takes_traffic(self) -> bool {
        self == Self::Running
    }

    /// The state in the words of logs, status and receipts.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Initialized => "initialized",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Running => "running",
            Self::Pausing => "pausing",
            Self::Paused => "paused",
            Self::Resuming => "resuming",
            Self::Stopping => "stopping",
            Self::Terminated => "terminated",
            Self::Failed => "failed",
        }
    }
}

impl ServiceEvent {
    /// Every event.
    pub const ALL: [Self; 11] = [
        Self::Start,
        Self::EssentialsReady,
        Self::Registered,
        Self::Pause,
        Self::IntakesClosed,
        Self::Continue,
        Self::IntakesOpen,
        Self::Stop,
        Self::StartFailed,
        Self::Ended,
        Self::EndedByFailure,
    ];
}

/// One component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Component {
    /// Known, not started.
    Declared,
    /// Being opened.
    Starting,
    /// Open, lending its value, running if it runs.
    Ready,
    /// Its own activity is over; its value is still lent. A finished job rests here.
    Ended,
    /// Told to stop; work in flight ends.
    Draining,
    /// Work has ended; others still hold its value.
    Drained,
    /// Nobody may hold it any more; it is being closed.
    Releasing,
    /// Over, and will be started again.
    Retrying,
    /// Over: closed in order.
    Released,
    /// Over: it could not start, or ended in an error.
    Failed,
    /// Over: it was never started.
    Skipped,
    /// Over: cut off at its limit.
    Aborted,
    /// Over for everybody else, but something of it still runs.
    Abandoned,
}

/// What can happen to a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ComponentEvent {
    /// All that it waits for is there.
    Start,
    /// It became ready.
    Opened,
    /// It could not become ready, and holds nothing.
    OpenFailed,
    /// Its activity ended though nobody told it to.
    RunEnded,
    /// It is told to stop.
    Stop,
    /// Its work has ended.
    Drained,
    /// All that depend on it have ended.
    Release,
    /// It is closed and holds nothing.
    Closed,
    /// It is closed in order, but had ended in an error.
    ClosedByFailure,
    /// It was cut off, and holds nothing.
    Cut,
    /// It did not answer the cut.
    Leak,
    /// It is to be started again.
    Retry,
    /// It will not be started.
    Skip,
}

impl Component {
    /// Every state, in the order of a life.
    pub const ALL: [Self; 13] = [
        Self::Declared,
        Self::Starting,
        Self::Ready,
        Self::Ended,
        Self::Draining,
        Self::Drained,
        Self::Releasing,
        Self::Retrying,
        Self::Released,
        Self::Failed,
        Self::Skipped,
        Self::Aborted,
        Self::Abandoned,
    ];

    /// The table.
    #[must_use]
    pub fn on(self, event: ComponentEvent) -> Step<Self> {
        use ComponentEvent as E;
        match (self, event) {
            (Self::Declared | Self::Retrying, E::Start) => To(Self::Starting),
            (Self::Starting, E::Start) => AlreadySo,
            (Self::Starting, E::Opened) => To(Self::Ready),
            (Self::Starting, E::OpenFailed) => To(Self::Failed),
            (Self::Ready, E::RunEnded) => To(Self::Ended),

            (Self::Starting | Self::Ready | Self::Ended, E::Stop) => To(Self::Draining),
            (Self::Draining | Self::Drained | Self::Releasing, E::Stop) => AlreadySo,
            (Self::Draining, E::Drained) => To(Self::Drained),
            (Self::Drained, E::Release) => To(Self::Releasing),
            (Self::Releasing, E::Release) => AlreadySo,

            (Self::Draining | Self::Releasing, E::Closed) => To(Self::Released),
            (Self::Draining | Self::Releasing, E::ClosedByFailure) => To(Self::Failed),
            (Self::Draining | Self::Drained | Self::Releasing, E::Cut) => To(Self::Aborted),
            (Self::Starting | Self::Draining | Self::Drained | Self::Releasing, E::Leak) => To(Self::Abandoned),

            (Self::Released | Self::Failed | Self::Aborted, E::Retry) => To(Self::Retrying),
            (Self::Retrying, E::Retry) => AlreadySo,
            (Self::Declared | Self::Retrying, E::Skip) => To(Self::Skipped),
            (Self::Skipped, E::Skip) => AlreadySo,

            _ => NotAllowed,
        }
    }

    /// Whether nobody has to wait for it any more.
    #[must_use]
    pub fn is_over(self) -> bool {
        matches!(self, Self::Released | Self::Failed | Self::Skipped | Self::Aborted | Self::Abandoned)
    }

    /// The state in the words of logs, status and receipts.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Declared => "declared",
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Ended => "ended",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Releasing => "releasing",
            Self::Retrying => "retrying",
            Self::Released => "released",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
            Self::Aborted => "aborted",
            Self::Abandoned => "abandoned",
        }
    }
}

impl ComponentEvent {
    /// Every event.
    pub const ALL: [Self; 13] = [
        Self::Start,
        Self::Opened,
        Self::OpenFailed,
        Self::RunEnded,
        Self::Stop,
        Self::Drained,
        Self::Release,
        Self::Closed,
        Self::ClosedByFailure,
        Self::Cut,
        Self::Leak,
        Self::Retry,
        Self::Skip,
    ];
}
