//! Whether the service is alive, and what it says of itself: asked of the engine by those who speak for the process.
//!
//! Policy: a component is never asked. What is stuck is an engine that does not answer, or code that holds every thread of
//! the runtime, look after look; or a component that has broken its promise to say that it is alive. A busy service is not.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use evenkeel_plan::lifecycle::Service;
use tokio::{
    runtime::Handle,
    sync::{mpsc::UnboundedSender, oneshot},
};

use crate::{
    driver::{Message, Shared},
    lease::lock,
    polls::{self, Busy},
    status::{ComponentStatus, Status},
};

/// The engine answers within microseconds; without an answer for this long it is stuck.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whom to ask.
pub(super) struct Vital {
    outbox: UnboundedSender<Message>,
    pub(super) shared: Arc<Shared>,
    /// Where components run.
    user: Handle,
    last: Mutex<Status>,
}

/// What the engine said.
pub(super) enum Heard {
    Now(Status),
    /// It has ended; this is what was last known.
    Over(Status),
    /// It does not answer; this is what was last known.
    #[cfg_attr(not(feature = "http"), allow(dead_code, reason = "the admin listener tells it"))]
    Silent(Status),
}

#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "the admin listener asks for it"))]
impl Heard {
    pub(super) fn into_status(self) -> Status {
        match self {
            Self::Now(status) | Self::Over(status) | Self::Silent(status) => status,
        }
    }
}

impl Vital {
    pub(super) fn new(outbox: UnboundedSender<Message>, shared: Arc<Shared>, user: Handle) -> Self {
        Self { outbox, shared, user, last: Mutex::new(Status::unknown()) }
    }

    pub(super) async fn heard(&self) -> Heard {
        let (reply, answer) = oneshot::channel();
        if self.outbox.send(Message::Status(reply)).is_err() {
            return self.over();
        }
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(status)) => {
                lock(&self.last).clone_from(&status);
                Heard::Now(status)
            }
            Ok(Err(_)) => self.over(),
            Err(_) => Heard::Silent(lock(&self.last).clone()),
        }
    }

    fn over(&self) -> Heard {
        let state: Service = *self.shared.service.borrow();
        Heard::Over(Status { state: state.word().to_owned(), ready: false, ..lock(&self.last).clone() })
    }

    /// One look: how it is stuck, given what held the threads a look ago; and what holds them now, for the next.
    pub(super) async fn look(&self, before: &[Busy]) -> (Option<String>, Vec<Busy>) {
        let now = polls::under_way();
        (self.stuck(before, &now).await, now)
    }

    async fn stuck(&self, before: &[Busy], now: &[Busy]) -> Option<String> {
        let status = match self.heard().await {
            Heard::Silent(_) => return Some(format!("the engine has not answered for {} s", PATIENCE.as_secs())),
            Heard::Now(status) | Heard::Over(status) => status,
        };
        let broken = |it: &ComponentStatus| it.stuck.as_ref().map(|how| format!("`{}`: {how}", it.name));
        if let Some(how) = status.components.iter().find_map(broken) {
            return Some(how);
        }
        let held: Vec<&Busy> = now.iter().filter(|busy| busy.of_runtime && before.contains(busy)).collect();
        let all = held.len() >= self.user.metrics().num_workers();
        let threads: Vec<&str> = held.iter().map(|busy| busy.thread.as_str()).collect();
        all.then(|| format!("code that does not yield holds every runtime thread: {}", threads.join(", ")))
    }
}
