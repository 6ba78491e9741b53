//! One fixture process: its log as it comes, its signals, its end.

use std::{
    io::{BufRead, BufReader, Read},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus},
    sync::{Arc, Condvar, Mutex, mpsc},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::table::End;

/// Nothing takes that long before a stop, not even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);

/// See the module documentation.
pub struct Process {
    pid: Pid,
    log: Arc<Log>,
    ended: mpsc::Receiver<(ExitStatus, Instant)>,
}

#[derive(Default)]
struct Log {
    lines: Mutex<Vec<String>>,
    more: Condvar,
}

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn start(command: &mut Command) -> Result<Self, String> {
        let mut child = command.spawn().map_err(|error| format!("cannot run the fixture: {error}"))?;
        let log = Arc::new(Log::default());
        if let Some(stderr) = child.stderr.take() {
            let log = log.clone();
            thread::spawn(move || log.follow(stderr));
        }
        let pid = Pid::from_child(&child);
        Ok(Self { pid, log, ended: watch(child) })
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It is gone.
    pub fn signal(&self, signal: Signal) -> Result<(), String> {
        kill_process(self.pid, signal).map_err(|error| format!("cannot signal it: {error}"))
    }

    /// Waits until the log has said this.
    ///
    /// # Errors
    /// It never did.
    pub fn until_log(&self, text: &str) -> Result<(), String> {
        if self.log.until(text, PATIENCE) { Ok(()) } else { Err(format!("its log never said `{text}`")) }
    }

    /// Waits until the process is gone, or kills it.
    ///
    /// # Errors
    /// It had to be killed.
    pub fn end(&self, patience: Duration) -> Result<(End, Instant), String> {
        if let Ok((status, at)) = self.ended.recv_timeout(patience) {
            return Ok((end(status), at));
        }
        // It may have ended in this very moment; either way it is gone afterwards.
        let _ = self.signal(Signal::KILL);
        Err(format!("still there after {} s", patience.as_secs()))
    }

    /// Whether it has ended already.
    #[must_use]
    pub fn is_gone(&self) -> bool {
        rustix::process::test_kill_process(self.pid).is_err()
    }

    /// All that was read of its log.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lines.lock().expect("no thread panics with it").join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A scenario that was given up must not leave its fixture behind. One that ended has been waited for, and its
        // number may be another's by now.
        if matches!(self.ended.try_recv(), Err(mpsc::TryRecvError::Empty)) {
            let _ = self.signal(Signal::KILL);
        }
    }
}

fn watch(mut child: Child) -> mpsc::Receiver<(ExitStatus, Instant)> {
    let (tell, ended) = mpsc::channel();
    thread::spawn(move || {
        if let Ok(status) = child.wait() {
            // Nobody may be waiting any more.
            let _ = tell.send((status, Instant::now()));
        }
    });
    ended
}

fn end(status: ExitStatus) -> End {
    match status.code() {
        Some(code) => End::Code(code),
        None => End::Signal(status.signal().unwrap_or(0)),
    }
}

impl Log {
    fn follow(&self, stderr: impl Read) {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            self.lines.lock().expect("no thread panics with it").push(line);
            self.more.notify_all();
        }
    }

    fn until(&self, text: &str, patience: Duration) -> bool {
        let mut searched = 0;
        let lines = self.lines.lock().expect("no thread panics with it");
        let missing = |lines: &mut Vec<String>| {
            let found = lines[searched..].iter().any(|line| line.contains(text));
            searched = lines.len();
            !found
        };
        !self.more.wait_timeout_while(lines, patience, missing).expect("no thread panics with it").1.timed_out()
    }
}
