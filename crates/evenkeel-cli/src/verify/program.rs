//! One process of the program: started, listened to, stopped.

use std::{
    collections::VecDeque,
    ffi::OsStr,
    io::{BufRead, BufReader, Read},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use evenkeel_os::children;

use crate::{
    arguments::CANNOT_RUN,
    fault::{Fault, NOT_READY, NOT_RESTARTED},
};

/// How many lines are kept of what it says, and how much of one.
const KEPT: usize = 12;
const LINE: u64 = 4096;

/// See the module documentation. Killed if it is dropped.
pub(crate) struct Program {
    name: String,
    seen: Arc<Seen>,
}

/// What was seen of it, by those who listen to it.
struct Seen {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    child: Child,
    ended: Option<ExitStatus>,
    said: VecDeque<String>,
    /// What it says when it is ready, until it has said so.
    awaited: Option<String>,
    /// Streams that are still being read.
    reading: usize,
}

impl Program {
    /// Starts it. `awaited` is what it will say when it is ready.
    pub(crate) fn start(name: &OsStr, mut command: Command, awaited: Option<&str>) -> Result<Self, Fault> {
        let name = name.to_string_lossy().into_owned();
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child =
            command.spawn().map_err(|error| Fault::new(NOT_READY, format!("cannot run {name}: {error}")))?;
        let (out, err, id) = (child.stdout.take(), child.stderr.take(), child.id());
        let awaited = awaited.map(str::to_owned);
        let state = State { child, ended: None, said: VecDeque::new(), awaited, reading: 2 };
        let seen = Arc::new(Seen { state: Mutex::new(state), changed: Condvar::new() });
        let (of_out, of_err, of_end) = (seen.clone(), seen.clone(), seen.clone());
        thread::spawn(move || of_out.listen(out));
        thread::spawn(move || of_err.listen(err));
        thread::spawn(move || of_end.until_ended(id));
        Ok(Self { name, seen })
    }

    /// Waits until it has said what it says when it is ready. Whether it has in time; not when it has ended.
    pub(crate) fn until_said(&self, patience: Duration) -> bool {
        self.seen.until(patience, |state| state.awaited.is_none() || state.ended.is_some()).awaited.is_none()
    }

    /// Why it is not ready, if it has ended.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let Some(ended) = self.seen.lock().ended else { return Ok(()) };
        let fault = match ended.code() {
            Some(code) if code == i32::from(CANNOT_RUN) => Fault::new(NOT_READY, format!("cannot run {}", self.name)),
            _ => Fault::new(NOT_READY, format!("{} ended before it was ready: {ended}", self.name)),
        };
        Err(fault.said(self.last_words()))
    }

    /// What it said last, when there is nothing more to come or a moment has passed.
    pub(crate) fn last_words(&self) -> Vec<String> {
        let state = self.seen.until(Duration::from_millis(200), |state| state.reading == 0);
        state.said.iter().cloned().collect()
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.seen.lock().ended.is_some()
    }

    /// Waits for its end. `None` if it did not come in time.
    pub(crate) fn until_ended(&self, patience: Duration) -> Option<ExitStatus> {
        self.seen.until(patience, |state| state.ended.is_some()).ended
    }

    /// Asks it to stop and waits for its end.
    pub(crate) fn stop(self, patience: Duration) -> Result<ExitStatus, Fault> {
        let state = self.seen.lock();
        if let Some(ended) = state.ended {
            drop(state);
            let fault = Fault::new(NOT_RESTARTED, format!("{} ended by itself: {ended}", self.name));
            return Err(fault.said(self.last_words()));
        }
        let asked = children::ask_to_stop(&state.child);
        drop(state);
        asked.map_err(|error| Fault::new(NOT_RESTARTED, format!("cannot signal {}: {error}", self.name)))?;
        self.until_ended(patience).ok_or_else(|| {
            let what = format!("{} did not end within {patience:?} after SIGTERM, and was killed", self.name);
            let hint = "let it end on SIGTERM, or give it more time: --stop-within";
            Fault::new(NOT_RESTARTED, what).said(self.last_words()).hint(hint)
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let mut state = self.seen.lock();
        if state.ended.is_none() {
            // It may have ended in this very moment; either way it is gone afterwards.
            let _ = state.child.kill();
        }
    }
}

impl Seen {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until this is so, or the time is over.
    fn until(&self, patience: Duration, mut is_so: impl FnMut(&State) -> bool) -> MutexGuard<'_, State> {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        while !is_so(&state) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state
    }

    /// Reads what it says to the end, so that it never waits for a reader.
    fn listen(&self, stream: Option<impl Read>) {
        if let Some(stream) = stream {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.by_ref().take(LINE).read_until(b'\n', &mut line).is_ok_and(|read| read > 0) {
                self.lock().hear(String::from_utf8_lossy(&line).trim_end().to_owned());
                self.changed.notify_all();
                line.clear();
            }
        }
        self.lock().reading -= 1;
        self.changed.notify_all();
    }

    fn until_ended(&self, id: u32) {
        // It is waited for only under the lock, so that nobody signals a number that is another's.
        if children::until_ended(id).is_ok() {
            let mut state = self.lock();
            state.ended = state.child.wait().ok();
        }
        self.changed.notify_all();
    }
}

impl State {
    fn hear(&mut self, line: String) {
        if self.awaited.as_ref().is_some_and(|awaited| line.contains(awaited)) {
            self.awaited = None;
        }
        if self.said.len() == KEPT {
            self.said.pop_front();
        }
        self.said.push_back(line);
    }
}
