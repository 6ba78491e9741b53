//! How to know that a process is ready.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use evenkeel_load::{Ending, Kind, Method, Target, once};
use evenkeel_os::notify::{Notifications, SOCKET, says_ready};
use tempfile::TempDir;

use super::{endpoint, program::Program};
use crate::fault::{Fault, NOT_READY};

/// Between two questions to a probe that says no.
const AGAIN: Duration = Duration::from_millis(20);

/// How long one question may take, so that an end of the process is noticed.
const QUESTION: Duration = Duration::from_secs(1);

/// What tells that a process is ready.
pub(crate) enum Sign {
    /// This URL answers with a status below 400.
    Probe(String),
    /// It has said what it was expected to.
    Said,
    /// It says `READY=1`.
    Notified { notifications: Notifications, _dir: TempDir },
    /// It answers; only where there is no other process that could.
    Answers(Target),
}

impl Sign {
    /// A socket of its own to say `READY=1` on.
    pub(crate) fn notified() -> Result<Self, Fault> {
        let fault = |error| Fault::new(NOT_READY, format!("cannot make a NOTIFY_SOCKET: {error}"));
        let dir = tempfile::Builder::new().prefix("evenkeel-").tempdir().map_err(fault)?;
        let notifications = Notifications::bind(&dir.path().join("notify")).map_err(fault)?;
        Ok(Self::Notified { notifications, _dir: dir })
    }

    /// What the process must find in its environment.
    pub(crate) fn variable(&self) -> Option<(&'static str, &Path)> {
        match self {
            Self::Notified { notifications, .. } => Some((SOCKET, notifications.path())),
            _ => None,
        }
    }

    /// Waits for it.
    pub(crate) fn wait(&self, program: &Program, patience: Duration) -> Result<(), Fault> {
        let deadline = Instant::now() + patience;
        let left = || deadline.saturating_duration_since(Instant::now());
        if matches!(self, Self::Said) && program.until_said(patience) {
            return Ok(());
        }
        let mut why = String::new();
        while !left().is_zero() {
            program.check()?;
            match self.ask(left().min(QUESTION))? {
                Ok(()) => return Ok(()),
                Err(no) => why = no,
            }
        }
        program.check()?;
        let what = format!("it was not ready within {patience:?}{why}");
        Err(Fault::new(NOT_READY, what).said(program.last_words()).hint(self.hint()))
    }

    /// Asks once: yes, or no and why.
    fn ask(&self, patience: Duration) -> Result<Result<(), String>, Fault> {
        match self {
            Self::Said => Ok(Err(String::new())),
            Self::Probe(url) => {
                let (ending, why) = question(&endpoint::target(url)?, patience)?;
                Ok(if ending == Ending::Answered { Ok(()) } else { Err(format!(": {url}: {}: {why}", ending.name())) })
            }
            Self::Answers(target) => {
                let (ending, why) = question(target, patience)?;
                // Any answer shows that it serves; whether it is a proper one is asked later.
                let answers = matches!(ending, Ending::Answered | Ending::Bad);
                Ok(if answers { Ok(()) } else { Err(format!(": http://{}: {}: {why}", target.addr, ending.name())) })
            }
            Self::Notified { notifications, .. } => {
                let message = notifications.next(patience.min(AGAIN));
                let message = message.map_err(|error| Fault::new(NOT_READY, format!("NOTIFY_SOCKET: {error}")))?;
                Ok(if message.is_some_and(|message| says_ready(&message)) { Ok(()) } else { Err(String::new()) })
            }
        }
    }

    fn hint(&self) -> &'static str {
        match self {
            Self::Probe(_) => "is that the probe of this process? give it more time: --ready-within",
            Self::Said => "does it print that, and at once? give it more time: --ready-within",
            Self::Notified { .. } => {
                "say how to know that it is ready: --ready-log TEXT or --ready-url URL, or let it send READY=1 to NOTIFY_SOCKET"
            }
            Self::Answers(_) => {
                "does it serve the listening socket that it is given (LISTEN_FDS=1, descriptor 3)? if it opens its own: \
                 --how bind --url URL"
            }
        }
    }
}

fn question(target: &Target, patience: Duration) -> Result<(Ending, String), Fault> {
    let answer = once(target, Kind::New, Method::Get, patience);
    let answer = answer.map_err(|error| Fault::new(NOT_READY, error.to_string()))?;
    if answer.0 != Ending::Answered {
        thread::sleep(AGAIN.min(patience));
    }
    Ok(answer)
}
