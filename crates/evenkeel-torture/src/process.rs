//! One fixture process: its log as it comes, its signals, its end.

use std::{
    io::{self, BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, ExitStatus},
    sync::{Arc, Condvar, Mutex, MutexGuard, mpsc},
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
    read: Mutex<Read>,
    more: Condvar,
}

/// What was read so far.
#[derive(Default)]
struct Read {
    lines: Vec<String>,
    /// There is no more.
    ended: bool,
}

/// What the program said last may come a little later than its end.
const TRAIL: Duration = Duration::from_secs(5);

impl Process {
    /// Starts it.
    ///
    /// # Errors
    /// It cannot be run.
    pub fn start(command: &mut Command) -> Result<Self, String> {
        let mut child = spawn(command).map_err(|error| format!("cannot run the fixture: {error}"))?;
        let log = Arc::new(Log::default());
        match child.stderr.take() {
            Some(stderr) => {
                let log = log.clone();
                thread::spawn(move || log.follow(stderr));
            }
            None => log.follow(io::empty()),
        }
        let pid = Pid::from_child(&child);
        Ok(Self { pid, log, ended: watch(child) })
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> Pid {
        self.pid
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
            self.log.until_end(TRAIL);
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
        self.log.read().lines.join("\n")
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

/// A file that was written a moment ago may still be open for writing in a process that another thread is just starting, and
/// cannot be run until that one has become its program.
fn spawn(command: &mut Command) -> io::Result<Child> {
    let until = Instant::now() + PATIENCE;
    loop {
        match command.spawn() {
            Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy && Instant::now() < until => {
                thread::yield_now();
            }
            other => return other,
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
    fn read(&self) -> MutexGuard<'_, Read> {
        self.read.lock().expect("no thread panics with it")
    }

    fn follow(&self, stderr: impl io::Read) {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            self.read().lines.push(line);
            self.more.notify_all();
        }
        self.read().ended = true;
        self.more.notify_all();
    }

    /// Whether it says this in time; not when it has ended without saying it.
    fn until(&self, text: &str, patience: Duration) -> bool {
        let (mut searched, mut found) = (0, false);
        self.wait(patience, |read| {
            found = read.lines[searched..].iter().any(|line| line.contains(text));
            searched = read.lines.len();
            found || read.ended
        });
        found
    }

    fn until_end(&self, patience: Duration) {
        self.wait(patience, |read| read.ended);
    }

    fn wait(&self, patience: Duration, mut is_over: impl FnMut(&Read) -> bool) {
        let waited = self.more.wait_timeout_while(self.read(), patience, |read| !is_over(read));
        drop(waited.expect("no thread panics with it"));
    }
}
