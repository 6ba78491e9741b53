//! The guardian: holds the deadline of a stop from an OS thread outside every runtime.
//!
//! Whatever blocks (every worker thread, the driver, a full pipe, a hung disk), the process is gone when the deadline
//! passes. Three parties share what is here: the thread of the signals, the driver, and the guardian's own thread. They
//! meet in one small state behind one lock, [`Watchdog`], which only ever gets stricter until it is dismissed.
//!
//! - first stop, whatever the cause: the deadline is set; the driver does the rest
//! - second signal: the deadline moves to [`FORCED`] from now, and the exit code is the signal's
//! - third signal: the process ends in the signal thread, at once

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use evenkeel_plan::cause::exit;

use super::watchdog::{Verdict, Watchdog};

/// After the second signal the process has this long.
pub(super) const FORCED: Duration = Duration::from_millis(44);
/// Time for the last words of a process whose driver did not end it.
pub(super) const LAST_WORDS: Duration = Duration::from_millis(40);
/// The same after the second signal.
const LAST_WORDS_FORCED: Duration = Duration::from_millis(16);

/// A deadline that is being watched.
pub(super) struct Guardian {
    watchdog: Arc<Watchdog>,
}

impl Guardian {
    /// Starts the thread. When a deadline passes, `last_words` is called on a thread of its own with the exit code that
    /// was set, and the process ends shortly after: with the code that it returned, or the one that was set if it has
    /// not returned.
    pub(super) fn spawn(last_words: impl FnOnce(u8) -> u8 + Send + 'static) -> std::io::Result<Self> {
        let watchdog = Arc::new(Watchdog::default());
        let watched = watchdog.clone();
        evenkeel_os::threads::spawn_named("evenkeel-guard", move || {
            let Verdict::Passed { code } = watched.wait() else { return };
            let (said, heard) = std::sync::mpsc::channel();
            let speaker = evenkeel_os::threads::spawn_named("evenkeel-last-words", move || {
                let _ = said.send(last_words(code));
            });
            let time = if code > exit::SIGNAL { LAST_WORDS_FORCED } else { LAST_WORDS };
            let heard = speaker.ok().and_then(|_| heard.recv_timeout(time).ok());
            evenkeel_os::exit::exit_now(heard.unwrap_or(code))
        })?;
        Ok(Self { watchdog })
    }

    /// The stop has begun: everything has to be over within `budget`. Only the first call sets the deadline.
    pub(super) fn arm(&self, budget: Duration, code: u8) {
        self.watchdog.arm(Instant::now() + budget.saturating_sub(LAST_WORDS.min(budget / 10)), code);
    }

    /// The forced stage: the process has to be gone within [`FORCED`].
    pub(super) fn hurry(&self, code: u8) {
        self.watchdog.hurry(Instant::now() + FORCED.saturating_sub(LAST_WORDS_FORCED), code);
    }

    /// The service is over and the process will end by itself.
    pub(super) fn dismiss(&self) {
        self.watchdog.dismiss();
    }
}

impl Clone for Guardian {
    fn clone(&self) -> Self {
        Self { watchdog: self.watchdog.clone() }
    }
}
