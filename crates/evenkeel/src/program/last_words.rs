//! What a process says that does not get to its end: because the driver is stuck when the deadline passes, or because a
//! panic aborts.
//!
//! Nothing here may wait for the rest of the process: locks are tried, writes are given a bounded time.

use std::{
    sync::{Arc, Mutex, MutexGuard, OnceLock, TryLockError, mpsc},
    thread,
    time::{Duration, Instant},
};

use evenkeel_events::{Event, Format, Receipt, Sink};
use evenkeel_os::threads::spawn_named;
use evenkeel_plan::cause::{Outcome, exit};

use super::{
    guardian,
    last_flush::{Places, show},
    service::is_forced,
};
use crate::{
    driver::{Driver, Shared},
    error::Failure,
    part::Part,
    polls,
    record::{COORDINATOR, Recorder},
};

/// A process that a panic aborts waits this long for its receipt, and for its log, at most.
const ABORTING: Duration = Duration::from_millis(200);
/// The signal with which a panic aborts.
const SIGABRT: u8 = 6;

/// See the module documentation. Clones speak of the same run.
#[derive(Clone)]
pub(super) struct LastWords {
    run: Arc<Run>,
}

struct Run {
    told: OnceLock<Told>,
    finished: OnceLock<Receipt>,
    /// Set when that has been said and written.
    flushed: OnceLock<()>,
    places: Places,
    sink: Sink,
    format: Format,
}

/// What there is to speak of.
pub(super) struct Told {
    shared: Arc<Shared>,
    parts: Vec<Arc<Part>>,
    epoch: Instant,
}

/// A panic, as its hook sees it.
pub(super) struct Panic<'a> {
    pub(super) thread: &'a str,
    pub(super) place: &'a str,
    pub(super) text: &'a str,
}

impl Told {
    pub(super) fn by(driver: &Driver) -> Self {
        Self { shared: driver.shared(), parts: driver.parts(), epoch: Instant::now() }
    }

    /// The recorder, unless whoever holds it does not give it back.
    fn recorder(&self) -> Option<MutexGuard<'_, Recorder>> {
        try_lock(&self.shared.recorder)
    }

    /// The component whose code runs on this thread.
    fn mine(&self) -> Option<&Arc<Part>> {
        let mark = polls::mine()?;
        self.parts.iter().find(|part| part.mark == mark)
    }
}

impl LastWords {
    pub(super) fn new(places: Places, sink: Sink, format: Format) -> Self {
        let run =
            Run { told: OnceLock::new(), finished: OnceLock::new(), flushed: OnceLock::new(), places, sink, format };
        Self { run: Arc::new(run) }
    }

    /// From here on there is something to speak of.
    pub(super) fn told(&self, told: Told) {
        let _ = self.run.told.set(told);
    }

    /// The driver has ended; there is nothing left to say for it.
    pub(super) fn finished(&self, receipt: &Receipt) {
        let _ = self.run.finished.set(receipt.clone());
    }

    /// What the driver left has been said and written.
    pub(super) fn flushed(&self) {
        let _ = self.run.flushed.set(());
    }

    /// The deadline has passed. Writes the receipt that the driver did not get to write and returns the exit code.
    pub(super) fn overdue(&self, code: u8) -> u8 {
        if let Some(receipt) = self.run.finished.get() {
            if is_forced(receipt) {
                // Its last flush may be under way, and has no other time than this. The guardian does not wait longer
                // than it has, and knows the code.
                self.run.flushed.wait();
            }
            return receipt.exit_code; // all has been said; only the way out was too long
        }
        let Some(told) = self.run.told.get() else { return code };
        let Some(mut recorder) = told.recorder() else { return code };
        let outcome = match code.checked_sub(exit::SIGNAL) {
            Some(signal) if signal > 0 => Outcome::Forced(i32::from(signal)),
            _ => recorder.overdue(),
        };
        if let Some(busy) = polls::under_way().into_iter().find(|busy| busy.mark == polls::COORDINATOR) {
            let what = evenkeel_os::threads::describe(busy.os_id).unwrap_or_else(|| "doing something".to_owned());
            self.say(&mut recorder, Some(COORDINATOR), format!("the stop coordinator did not answer: it is {what}"));
        }
        let text = "the engine did not get to the end of the stop in time; the guardian ended the process";
        self.say(&mut recorder, None, text.to_owned());
        let receipt = recorder.receipt(outcome, told.epoch.elapsed());
        drop(recorder);
        // The guardian does not wait for longer than it has, whatever hangs here: the table before the places, of which
        // the one that the user named comes last and may be a pipe that nobody opens.
        show(&receipt, &self.run.sink, self.run.format, None, &self.run.places);
        self.run.places.write_now(&receipt);
        let _ = self.run.sink.flush(guardian::LAST_WORDS / 4);
        receipt.exit_code
    }

    fn say(&self, recorder: &mut Recorder, culprit: Option<&str>, text: String) {
        Event::Warning { text: &text, hint: None }.log();
        match culprit {
            Some(culprit) => recorder.blame(culprit, text),
            None => recorder.warn(text),
        }
    }

    /// The name of the component whose code runs on this thread.
    pub(super) fn component(&self) -> Option<&str> {
        self.run.told.get()?.mine().map(|part| part.name())
    }

    /// This panic is about to abort the process: what is known is written now.
    pub(super) fn aborting(&self, panic: &Panic<'_>) {
        let Some(told) = self.run.told.get() else { return };
        let Some(mut recorder) = told.recorder() else { return };
        let now = told.epoch.elapsed();
        let Panic { thread, place, text } = panic;
        recorder.aborted(
            told.mine().map(|part| part.id),
            now,
            &format!("panic in thread `{thread}` at {place}"),
            || Failure::text(format!("panicked: {text}")),
        );
        let mut receipt = recorder.receipt(recorder.overdue(), now);
        drop(recorder);
        receipt.exit_code = exit::SIGNAL + SIGABRT;
        show(&receipt, &self.run.sink, self.run.format, None, &self.run.places);
        let (speaker, (tell, told)) = (self.clone(), mpsc::channel());
        let writes = spawn_named("evenkeel-last-words", move || {
            speaker.run.places.write_now(&receipt);
            let _ = tell.send(());
        });
        if writes.is_ok() {
            let _ = told.recv_timeout(ABORTING);
        }
        let _ = self.run.sink.flush(ABORTING);
    }
}

/// Whoever panics may hold the very lock that is needed here.
fn try_lock<T>(mutex: &Mutex<T>) -> Option<MutexGuard<'_, T>> {
    for _ in 0..10 {
        match mutex.try_lock() {
            Ok(guard) => return Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => return Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => thread::sleep(Duration::from_micros(200)),
        }
    }
    None
}
