//! The control socket: how a command talks to the running service.
//!
//! One line of JSON is asked, one or more lines of JSON are answered. The handler runs on threads of its own and only
//! passes messages to the driver, so it answers while every runtime thread is blocked. Each wait in it is bounded.

use std::{
    io,
    path::Path,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

use evenkeel_events::Receipt;
use evenkeel_os::control::{Listener, Server};
use evenkeel_plan::{
    cause::Cause,
    lifecycle::{Service, Step},
};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc::UnboundedSender, oneshot};

use super::restart::{NotRestarted, Restart};
use crate::{driver::Message, status::Status};

/// What a command asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Ask {
    Status,
    /// Answered at once, and again with the receipt when the stop has ended.
    Stop,
    Pause,
    Continue,
    /// Answered step by step.
    Restart {
        stop_first: bool,
        within_ms: u64,
        /// Whether the receipt of the stop is waited for.
        wait: bool,
    },
}

/// What it is answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    Status(Status),
    /// The stop has begun; it ends within this many milliseconds.
    Stopping {
        budget_ms: u64,
    },
    Stopped(Box<Receipt>),
    /// A new process is starting; it is given up after this many milliseconds.
    Started {
        pid: u32,
        within_ms: u64,
    },
    /// When it has stopped, this process becomes the program anew.
    Anew {
        pid: u32,
        budget_ms: u64,
    },
    /// The new process serves; the one that answers is stopping.
    HandedOver {
        pid: u32,
    },
    /// There was no restart, and the service goes on.
    NotRestarted {
        why: String,
        hint: String,
    },
    /// The state the service is in now.
    Now(String),
    /// The state it is in does not allow it.
    NotAllowed(String),
    /// The service ended before it could answer.
    Gone,
    /// The line was not understood.
    Unknown(String),
}

/// The receipt of this run, once there is one.
#[derive(Default)]
pub(super) struct Ended {
    receipt: Mutex<Option<Receipt>>,
    changed: Condvar,
}

impl Ended {
    pub(super) fn set(&self, receipt: &Receipt) {
        *self.receipt.lock().unwrap_or_else(PoisonError::into_inner) = Some(receipt.clone());
        self.changed.notify_all();
    }

    fn wait(&self, until: Instant) -> Option<Receipt> {
        let mut receipt = self.receipt.lock().unwrap_or_else(PoisonError::into_inner);
        while receipt.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            receipt = self.changed.wait_timeout(receipt, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        receipt.clone()
    }
}

/// Serves the control socket in this directory. The caller holds the instance lock there.
pub(super) fn serve(
    dir: &Path,
    outbox: UnboundedSender<Message>,
    ended: Arc<Ended>,
    budget: Duration,
    restart: Arc<Restart>,
) -> io::Result<Server> {
    let handler = Handler { outbox, ended, budget, restart };
    // A client that went away does not need its answer; what it asked for stands.
    Listener::bind(dir)?.serve(move |line, answer| drop(handler.answer(line, answer)))
}

struct Handler {
    outbox: UnboundedSender<Message>,
    ended: Arc<Ended>,
    budget: Duration,
    restart: Arc<Restart>,
}

impl Handler {
    fn answer(&self, line: &str, answer: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        let ask: Ask = match serde_json::from_str(line) {
            Ok(ask) => ask,
            Err(error) => return answer(&text(&Answer::Unknown(error.to_string()))),
        };
        match ask {
            Ask::Status => {
                let status = self.ask(Message::Status);
                answer(&text(&status.map_or(Answer::Gone, Answer::Status)))
            }
            Ask::Pause => answer(&text(&self.step(Message::Pause, "pause"))),
            Ask::Continue => answer(&text(&self.step(Message::Resume, "continue"))),
            Ask::Stop => self.stop(answer),
            Ask::Restart { stop_first: true, wait, .. } => self.restart_anew(wait, answer),
            Ask::Restart { within_ms, wait, .. } => self.hand_over(Duration::from_millis(within_ms), wait, answer),
        }
    }

    fn stop(&self, answer: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        let cause = Cause::Request { by: "`stop` on the control socket".to_owned() };
        self.restart.stay_down();
        if self.outbox.send(Message::Stop(cause)).is_err() {
            return answer(&text(&Answer::Gone));
        }
        answer(&text(&Answer::Stopping { budget_ms: self.budget_ms() }))?;
        self.until_stopped(answer)
    }

    fn restart_anew(&self, wait: bool, answer: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        match self.restart.anew() {
            Ok(()) => {
                answer(&text(&Answer::Anew { pid: std::process::id(), budget_ms: self.budget_ms() }))?;
                if wait { self.until_stopped(answer) } else { Ok(()) }
            }
            Err(NotRestarted { why, hint }) => answer(&text(&Answer::NotRestarted { why, hint })),
        }
    }

    /// Whoever asked for it may be gone; it goes its way all the same.
    fn hand_over(
        &self,
        within: Duration,
        wait: bool,
        answer: &mut dyn FnMut(&str) -> io::Result<()>,
    ) -> io::Result<()> {
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        let handed = self.restart.hand_over(within, |pid| {
            let _ = answer(&text(&Answer::Started { pid, within_ms }));
        });
        match handed {
            Ok(pid) => {
                answer(&text(&Answer::HandedOver { pid }))?;
                if wait { self.until_stopped(answer) } else { Ok(()) }
            }
            Err(NotRestarted { why, hint }) => answer(&text(&Answer::NotRestarted { why, hint })),
        }
    }

    fn until_stopped(&self, answer: &mut dyn FnMut(&str) -> io::Result<()>) -> io::Result<()> {
        let receipt = self.ended.wait(Instant::now() + self.budget);
        answer(&text(&receipt.map_or(Answer::Gone, |receipt| Answer::Stopped(Box::new(receipt)))))
    }

    fn budget_ms(&self) -> u64 {
        u64::try_from(self.budget.as_millis()).unwrap_or(u64::MAX)
    }

    fn step(&self, message: fn(oneshot::Sender<Step<Service>>) -> Message, verb: &str) -> Answer {
        if self.restart.is_under_way() {
            return Answer::NotAllowed(format!("cannot {verb} during a restart"));
        }
        match self.ask(message) {
            None => Answer::Gone,
            Some(Step::NotAllowed) => {
                let state = self.ask(Message::Status).map_or_else(|| "ending".to_owned(), |status| status.state);
                Answer::NotAllowed(format!("cannot {verb} while {state}"))
            }
            Some(Step::To(_) | Step::AlreadySo) => {
                Answer::Now(self.ask(Message::Status).map_or_else(|| "ending".to_owned(), |status| status.state))
            }
        }
    }

    /// The driver always answers, or is gone; the client's own time limit covers the rest.
    fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.outbox.send(message(reply)).ok()?;
        answer.blocking_recv().ok()
    }
}

fn text(answer: &Answer) -> String {
    serde_json::to_string(answer).expect("an answer is plain data with text keys")
}
