//! Signals over self-pipes: one pipe per kind, one byte per delivered signal, nothing merged.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use super::interrupt::Interrupt;
use super::poll::poll_until;
use crate::signals::StopSignal;
use crate::threads::spawn_named;

const ALWAYS: [StopSignal; 2] =
    [StopSignal { name: "SIGTERM", number: SIGTERM }, StopSignal { name: "SIGINT", number: SIGINT }];
const HANG_UP: StopSignal = StopSignal { name: "SIGHUP", number: SIGHUP };

/// Calls `on_signal` for every signal that asks for a stop, from a thread of its own, until the [`Watch`] is dropped.
///
/// `on_signal` runs in normal context (not in a signal handler), one call at a time, so it may lock, allocate and call
/// [`crate::exit::exit_now`]. While it runs, later signals queue. A panic in it costs that one call only.
///
/// # Errors
/// No file descriptor or no thread is left.
pub fn watch(on_signal: impl FnMut(StopSignal) + Send + 'static) -> io::Result<Watch> {
    let signals = wanted();
    let claim = Claim::new(&signals)?;
    let end = Interrupt::new()?;
    let mut sources = Vec::new();
    let mut registrations = Registrations(Vec::new());
    for signal in signals {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        registrations.0.push(signal_hook::low_level::pipe::register(signal.number, write)?);
        sources.push(Source { signal, read });
    }
    let until = end.clone();
    let thread = spawn_named("evenkeel-signals", move || {
        deliver(&sources, &until, on_signal);
    })?;
    Ok(Watch { registrations, claim, end, thread: Some(thread) })
}

/// Keeps signals coming. Dropping it ends the thread and gives the signals their default action back, which is to end
/// the process: keep it until the very end of the program.
///
/// The drop returns when the last call of `on_signal` has returned; what arrived before the drop is still delivered. A
/// drop from within `on_signal` does not wait.
#[derive(Debug)]
#[must_use = "signals are delivered only while this is kept"]
pub struct Watch {
    registrations: Registrations,
    claim: Claim,
    end: Interrupt,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.registrations.withdraw();
        self.end.interrupt();
        self.claim.release();
        let Some(thread) = self.thread.take() else {
            return;
        };
        if thread.thread().id() != thread::current().id() {
            let _ = thread.join(); // it catches panics of the callback itself
        }
    }
}

/// The signals to watch: `SIGHUP` only when the program was not started with it ignored (`nohup`).
fn wanted() -> Vec<StopSignal> {
    let mut signals = ALWAYS.to_vec();
    if !is_ignored(HANG_UP.number) {
        signals.push(HANG_UP);
    }
    signals
}

/// Whether the process ignores this signal now. "No" where the kernel does not say.
fn is_ignored(signal: i32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let mask = mask.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (signal - 1) & 1 == 1)
}

/// One kind of signal and the reading end of its pipe.
#[derive(Debug)]
struct Source {
    signal: StopSignal,
    read: OwnedFd,
}

impl Source {
    /// How many signals have arrived since the last look; 0 when none, or when the pipe is at its end.
    fn take(&self) -> usize {
        let mut bytes = [0; 64];
        loop {
            match rustix::io::read(&self.read, &mut bytes) {
                Err(Errno::INTR) => {}
                result => return result.unwrap_or(0),
            }
        }
    }
}

/// The thread's body: wait, deliver, and after the end deliver what had arrived.
fn deliver(sources: &[Source], end: &Interrupt, mut on_signal: impl FnMut(StopSignal)) {
    while !end.is_interrupted() {
        let ends = sources.iter().map(|source| PollFd::new(&source.read, PollFlags::IN));
        let mut fds: Vec<_> = ends.chain([end.poll_fd()]).collect();
        // A refused poll (no memory) is tried again: without this thread nobody could stop the program.
        if poll_until(&mut fds, None).is_err() {
            thread::yield_now();
        }
        deliver_arrived(sources, &mut on_signal);
    }
    deliver_arrived(sources, &mut on_signal);
}

fn deliver_arrived(sources: &[Source], on_signal: &mut impl FnMut(StopSignal)) {
    for source in sources {
        loop {
            let count = source.take();
            if count == 0 {
                break;
            }
            for _ in 0..count {
                // The panic hook has reported it; the next signal must still be heard.
                let _ = catch_unwind(AssertUnwindSafe(|| on_signal(source.signal)));
            }
        }
    }
}

/// Registered actions, withdrawn when dropped.
#[derive(Debug)]
struct Registrations(Vec<SigId>);

impl Registrations {
    fn withdraw(&mut self) {
        for id in self.0.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}

impl Drop for Registrations {
    fn drop(&mut self) {
        self.withdraw();
    }
}

/// Signal handlers stay installed once they were; so without a watch this process would be deaf to Ctrl-C. The first
/// watch therefore registers "act as the default does" behind a flag, which is on whenever no watch is alive.
struct Unwatched {
    watches: usize,
    registered: Vec<i32>,
    act_as_default: Option<Arc<AtomicBool>>,
}

static UNWATCHED: Mutex<Unwatched> = Mutex::new(Unwatched { watches: 0, registered: Vec::new(), act_as_default: None });

/// One live watch's share in [`UNWATCHED`].
#[derive(Debug)]
struct Claim {
    held: bool,
}

impl Claim {
    fn new(signals: &[StopSignal]) -> io::Result<Self> {
        let mut state = UNWATCHED.lock().unwrap_or_else(PoisonError::into_inner);
        let flag = Arc::clone(state.act_as_default.get_or_insert_default());
        flag.store(false, Ordering::Release);
        state.watches += 1;
        let claim = Self { held: true };
        let missing = signals.iter().map(|signal| signal.number).filter(|number| !state.registered.contains(number));
        let result = missing.collect::<Vec<_>>().into_iter().try_for_each(|number| {
            signal_hook::flag::register_conditional_default(number, Arc::clone(&flag))?;
            state.registered.push(number);
            Ok(())
        });
        drop(state); // before a failing `claim` takes the lock again
        result.map(|()| claim)
    }

    fn release(&mut self) {
        if !std::mem::take(&mut self.held) {
            return;
        }
        let mut state = UNWATCHED.lock().unwrap_or_else(PoisonError::into_inner);
        state.watches -= 1;
        if let (0, Some(flag)) = (state.watches, &state.act_as_default) {
            flag.store(true, Ordering::Release);
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.release();
    }
}
