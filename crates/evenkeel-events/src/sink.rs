//! The log writer: whoever reads the log can never hold a thread of the program.
//!
//! Called by the log layer, once per line, from any thread. A full pipe that nobody reads, a hung disk or a panicking
//! writer holds exactly one thread, `evenkeel-log`, which has nothing else to do. Everybody else pays one short lock.
//! - The queue is bounded in bytes and in lines. What does not fit is dropped and counted, newest first to go.
//! - The count is itself a line of the log, in the place where the lines are missing, as soon as there is room.
//! - A line that was accepted and could not be written is lost and counted; a broken pipe loses all later ones at once.
//! - [`Sink::flush`] waits no longer than it is told to. Dropping the last `Sink` waits for nothing.

use std::{
    collections::VecDeque,
    fmt,
    io::{self, ErrorKind, Write},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// How much may wait in a [`Sink`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// Bytes that may wait, counting what is being written. A longer line is always dropped.
    pub max_bytes: usize,
    /// Lines that may wait, counting what is being written.
    pub max_lines: usize,
}

impl Default for Options {
    /// 1 MiB and 65 536 lines.
    fn default() -> Self {
        Self { max_bytes: 1 << 20, max_lines: 1 << 16 }
    }
}

/// What a flush achieved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flushed {
    /// Every line accepted until the flush began, and since the flush before it, has been written. Lines that were
    /// dropped at the door do not count here, only in `lost`.
    pub written: bool,
    /// Lines that no reader gets to see, since the sink was made. When the time ran out, lines still waiting count too:
    /// who flushes is about to exit.
    pub lost: u64,
}

/// A handle on the log writer; clones write into the same queue. When the last one is dropped, the thread writes what
/// is left and ends by itself.
#[derive(Clone)]
pub struct Sink {
    owner: Arc<Owner>,
}

/// Ends the thread when the last handle goes.
struct Owner {
    shared: Arc<Shared>,
}

/// Words the line that reports `count` missing lines and why they are missing.
type Notice = Box<dyn Fn(u64, &str) -> Vec<u8> + Send>;

struct Shared {
    options: Options,
    state: Mutex<State>,
    /// Wakes the thread: there is something to write, or nobody is left.
    work: Condvar,
    /// Wakes those who flush: something was written or lost.
    progress: Condvar,
}

struct State {
    queue: VecDeque<Line>,
    /// Bytes and lines that wait or are being written.
    bytes: usize,
    lines: usize,
    /// Lines accepted, and of these how many are done with. They only grow, so that a flush knows what it waits for.
    accepted: u64,
    done: u64,
    /// Accepted lines that could not be written, now and when the last flush ended.
    failed: u64,
    failed_flushed: u64,
    /// All that no reader gets to see.
    lost: u64,
    /// How many of them no notice has told of yet, and why they are missing.
    untold: u64,
    reason: String,
    /// The last write failed: a notice waits for the next line instead of hammering on a full disk.
    failing: bool,
    /// Nothing can be written any more.
    broken: bool,
    /// Nobody can write a line any more.
    abandoned: bool,
    notice: Notice,
}

struct Line {
    bytes: Vec<u8>,
    /// 0 for a line; a notice stands for as many lost ones.
    tells_of: u64,
}

/// The most that one write takes. More would only delay the moment at which room is noticed.
const BATCH_BYTES: usize = 64 * 1024;
/// The pause before a descriptor that is not ready (`EAGAIN`) is tried again.
const RETRY: Duration = Duration::from_millis(5);
const TOO_SLOW: &str = "the reader is too slow";

impl Sink {
    /// Starts the thread that writes into `writer`. If the system gives no thread, every line is counted as lost.
    #[must_use]
    pub fn new(writer: Box<dyn Write + Send>, options: Options) -> Self {
        let shared = Arc::new(Shared {
            options,
            state: Mutex::new(State::new()),
            work: Condvar::new(),
            progress: Condvar::new(),
        });
        let its = Arc::clone(&shared);
        let thread = thread::Builder::new().name("evenkeel-log".to_owned()).spawn(move || its.run(writer));
        if thread.is_err() {
            shared.lock().broken = true;
        }
        Self { owner: Arc::new(Owner { shared }) }
    }

    /// A sink that writes to standard error, with default limits.
    #[must_use]
    pub fn stderr() -> Self {
        Self::new(Box::new(io::stderr()), Options::default())
    }

    /// Hands a line to the writer; a missing newline at the end is added. Never blocks: a line that finds no room, or
    /// no reader, is dropped and counted.
    pub fn write_line(&self, line: impl Into<Vec<u8>>) {
        let mut line = line.into();
        if line.last() != Some(&b'\n') {
            line.push(b'\n');
        }
        let shared = &self.owner.shared;
        shared.lock().accept(line, shared.options);
        shared.work.notify_one();
    }

    /// Waits until every line handed in so far is written, but never longer than `timeout`.
    #[must_use]
    pub fn flush(&self, timeout: Duration) -> Flushed {
        let shared = &self.owner.shared;
        let deadline = Instant::now().checked_add(timeout);
        let mut state = shared.lock();
        let target = state.accepted;
        while !state.flushed(target) {
            let Some(left) = time_left(deadline) else {
                break;
            };
            state = wait(&shared.progress, state, left);
        }
        // Compared with the last flush, not with the beginning of this one: whether the thread was quicker than the
        // caller must not change the answer.
        let written = state.done >= target && state.failed == state.failed_flushed && !state.broken;
        state.failed_flushed = state.failed;
        let waiting = if state.flushed(target) { 0 } else { state.accepted - state.done };
        Flushed { written, lost: state.lost + waiting }
    }

    /// Lines lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.owner.shared.lock().lost
    }

    /// Gives the report of missing lines the form of the log it appears in.
    pub(crate) fn word_notices(&self, notice: impl Fn(u64, &str) -> Vec<u8> + Send + 'static) {
        self.owner.shared.lock().notice = Box::new(notice);
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.owner.shared.lock();
        f.debug_struct("Sink")
            .field("lines", &state.lines)
            .field("bytes", &state.bytes)
            .field("lost", &state.lost)
            .field("broken", &state.broken)
            .finish_non_exhaustive()
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.shared.lock().abandoned = true;
        self.shared.work.notify_all();
    }
}

impl State {
    fn new() -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            lines: 0,
            accepted: 0,
            done: 0,
            failed: 0,
            failed_flushed: 0,
            lost: 0,
            untold: 0,
            reason: TOO_SLOW.to_owned(),
            failing: false,
            broken: false,
            abandoned: false,
            notice: Box::new(plain_notice),
        }
    }

    /// Takes the line in, or counts it as lost.
    fn accept(&mut self, line: Vec<u8>, options: Options) {
        let room = self.bytes.saturating_add(line.len()) <= options.max_bytes && self.lines < options.max_lines;
        if self.broken || !room {
            self.lost += 1;
            self.untold += 1;
            return;
        }
        self.queue_notice();
        self.push(Line { bytes: line, tells_of: 0 });
        self.accepted += 1;
    }

    /// Puts the report of missing lines where they are missing. It may pass the limit by its own length, and only when
    /// a line was accepted or the queue is empty.
    fn queue_notice(&mut self) {
        let tells_of = mem::take(&mut self.untold);
        if tells_of > 0 {
            let reason = mem::replace(&mut self.reason, TOO_SLOW.to_owned());
            let bytes = (self.notice)(tells_of, &reason);
            self.push(Line { bytes, tells_of });
        }
    }

    fn push(&mut self, line: Line) {
        self.bytes += line.bytes.len();
        self.lines += 1;
        self.queue.push_back(line);
    }

    /// Whether nothing up to `target` is left to wait for, and no report of missing lines is outstanding.
    fn flushed(&self, target: u64) -> bool {
        let told = self.queue.is_empty() && self.lines == 0 && (self.untold == 0 || self.failing);
        self.broken || (self.done >= target && (told || self.accepted > target))
    }

    /// The next lines to write, at most [`BATCH_BYTES`] unless one line alone is longer.
    fn take_batch(&mut self) -> Vec<Line> {
        let mut batch: Vec<Line> = Vec::new();
        let mut size = 0;
        while let Some(line) = self.queue.front() {
            size += line.bytes.len();
            if size > BATCH_BYTES && !batch.is_empty() {
                break;
            }
            batch.extend(self.queue.pop_front());
        }
        batch
    }

    /// Books what became of a batch.
    fn settle(&mut self, batch: &[Line], written: &Written) {
        let mut end = 0;
        for line in batch {
            end += line.bytes.len();
            self.bytes -= line.bytes.len();
            self.lines -= 1;
            self.book(line, end <= written.bytes);
        }
        self.failing = written.failure.is_some();
        if let Some(failure) = &written.failure {
            self.reason = failure.reason.clone();
            if failure.for_good {
                self.break_down();
            }
        }
    }

    fn book(&mut self, line: &Line, written: bool) {
        let is_line = u64::from(line.tells_of == 0);
        self.done += is_line;
        if !written {
            self.failed += is_line;
            self.lost += is_line;
            self.untold += is_line + line.tells_of;
        }
    }

    /// Nothing can be written any more: what waits is lost now, and what comes later when it comes.
    fn break_down(&mut self) {
        self.broken = true;
        for line in mem::take(&mut self.queue) {
            self.bytes -= line.bytes.len();
            self.lines -= 1;
            self.book(&line, false);
        }
    }
}

/// What became of a batch.
struct Written {
    /// How many of its bytes the writer took.
    bytes: usize,
    /// The last of them was in the middle of a line.
    torn: bool,
    /// What ended it early.
    failure: Option<Failure>,
}

/// Why a write failed.
struct Failure {
    reason: String,
    for_good: bool,
}

impl Failure {
    fn of(error: &io::Error) -> Self {
        Self {
            reason: format!("writing failed: {error}"),
            for_good: matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::NotConnected),
        }
    }
}

impl Shared {
    /// No line is worth a panic in the program: a poisoned lock is taken as it is.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The thread: takes what waits, writes it without the lock, books it.
    fn run(&self, mut writer: Box<dyn Write + Send>) {
        let mut torn = false;
        while let Some(batch) = self.next_batch() {
            let written = self.write_batch(&mut writer, &batch, torn);
            torn = written.torn;
            let broken = {
                let mut state = self.lock();
                state.settle(&batch, &written);
                state.broken
            };
            self.progress.notify_all();
            if broken {
                return;
            }
        }
    }

    /// Waits for lines; `None` when all is written and nobody can write any more.
    fn next_batch(&self) -> Option<Vec<Line>> {
        let mut state = self.lock();
        loop {
            if state.queue.is_empty() && !state.failing {
                state.queue_notice();
            }
            if !state.queue.is_empty() {
                return Some(state.take_batch());
            }
            if state.abandoned {
                return None;
            }
            state = self.work.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Writes a batch in as few writes as the writer allows. `torn`: the line before it was cut in the middle and must
    /// not swallow the beginning of this one.
    fn write_batch(&self, writer: &mut (impl Write + ?Sized), batch: &[Line], torn: bool) -> Written {
        let head = usize::from(torn);
        let mut bytes = vec![b'\n'; head];
        for line in batch {
            bytes.extend_from_slice(&line.bytes);
        }
        let mut written = 0;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            while written < bytes.len() {
                written += self.write_some(writer, &bytes[written..])?;
            }
            writer.flush()
        }));
        let failure = match outcome {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(Failure::of(&error)),
            Err(_) => Some(Failure { reason: "the writer panicked".to_owned(), for_good: true }),
        };
        let last = written.checked_sub(1).and_then(|last| bytes.get(last));
        Written { bytes: written.saturating_sub(head), torn: last.map_or(torn, |last| *last != b'\n'), failure }
    }

    /// One write. A descriptor that is not ready is tried again for as long as anybody can still wait for it: on this
    /// thread that is the same as a blocking write.
    fn write_some(&self, writer: &mut (impl Write + ?Sized), bytes: &[u8]) -> io::Result<usize> {
        loop {
            match writer.write(bytes) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(count) => return Ok(count.min(bytes.len())),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock && !self.lock().abandoned => {
                    thread::sleep(RETRY);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

/// The notice of a sink that no log format has claimed.
fn plain_notice(count: u64, reason: &str) -> Vec<u8> {
    format!("{}\n", notice_sentence(count, reason)).into_bytes()
}

/// `37 log lines were dropped: the reader is too slow`
pub(crate) fn notice_sentence(count: u64, reason: &str) -> String {
    let were = if count == 1 { "line was" } else { "lines were" };
    format!("{count} log {were} dropped: {reason}")
}

/// What is left until `deadline`; `None` when it has passed. No deadline (the timeout was longer than the clock can
/// say) is an hour at a time.
fn time_left(deadline: Option<Instant>) -> Option<Duration> {
    let Some(deadline) = deadline else {
        return Some(Duration::from_secs(3_600));
    };
    let left = deadline.saturating_duration_since(Instant::now());
    (!left.is_zero()).then_some(left)
}

fn wait<'a>(condvar: &Condvar, state: MutexGuard<'a, State>, left: Duration) -> MutexGuard<'a, State> {
    condvar.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
}
