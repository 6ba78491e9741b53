//! From one process to the next of the same program: the new one is started with the old one's listening sockets, and a
//! line between the two on which they agree who serves.
//!
//! Policy: the line is a pair of connected sockets that nobody else has, so no name has to be found or guarded, and its
//! end is the surest news that the other side is gone. What is said on it is the caller's business; one message is one
//! line of text. The program is started as this process was: the same file *as it is there now*, the same arguments, the
//! same directory and environment.

use std::{
    ffi::OsString,
    io,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command},
    time::{Duration, Instant},
};

pub use crate::sys::handover::{Line, is_there};
use crate::{
    env::{Env, non_empty},
    sockets::{PASSED_BY, name_passed},
    sys::handover,
};

/// The variable that says which descriptor is the line to the process before.
pub const LINE: &str = "EVENKEEL_HANDOVER";

/// The longest message on a line, in bytes, with its end.
pub const MESSAGE_LIMIT: usize = 4096;

/// How this process was started, as far as that is needed to start the program again.
#[derive(Clone, Debug)]
pub struct Origin {
    program: PathBuf,
    arguments: Vec<OsString>,
    dir: Option<PathBuf>,
}

/// What came over a [`Line`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// A message, without its end.
    Said(String),
    /// Nothing, until the time was over.
    Nothing,
    /// The other side is gone, or has closed the line.
    Gone,
}

/// A process that was started to take over. Dropping it neither ends it nor waits for it.
#[derive(Debug)]
pub struct Successor {
    pid: u32,
    /// Where it is a child of this process, and not of the service manager.
    child: Option<Child>,
    /// The line to it.
    pub line: Line,
}

impl Successor {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// How it ended; `None` if it has not within this time.
    pub fn ended(&mut self, within: Duration) -> Option<String> {
        match &mut self.child {
            Some(child) => handover::end_of(child, within).ok().flatten().map(|status| status.to_string()),
            None => handover::is_gone(self.pid, within).then(|| "ended".to_owned()),
        }
    }

    /// Ends it at once.
    pub fn kill(mut self) {
        match &mut self.child {
            Some(child) => {
                // Gone already is as good.
                let _ = child.kill();
                let _ = child.wait();
            }
            None => handover::kill(self.pid),
        }
    }
}

/// How a successor is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parent {
    /// This process is its parent, and learns how it ends.
    Here,
    /// It is an orphan from the beginning, so that process 1, or whoever adopts orphans, is its parent. A service manager can
    /// then watch over it; of another's child it would not notice the end.
    Manager,
}

/// How long a process may take from its start to its first word.
const FIRST_WORD: Duration = Duration::from_secs(10);
/// What a successor says first, before its process id.
const HERE: &str = "here ";

impl Origin {
    /// Of this process. Ask early: the current directory may change.
    ///
    /// The program is the path that it was started by, so that a link which points to another release by now leads there;
    /// where that is no path (a shell's `-sh`), the running file.
    #[must_use]
    pub fn here() -> Self {
        let mut arguments = std::env::args_os();
        let dir = std::env::current_dir().ok();
        let first = arguments.next().map(PathBuf::from).unwrap_or_default();
        let is_path = first.components().count() > 1;
        let by_path = dir.as_ref().filter(|_| is_path).map(|dir| dir.join(&first)).filter(|path| path.exists());
        let program = by_path.or_else(|| std::env::current_exe().ok()).unwrap_or(first);
        Self { program, arguments: arguments.collect(), dir }
    }

    /// The file that would be started.
    #[must_use]
    pub fn program(&self) -> &std::path::Path {
        &self.program
    }

    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments);
        if let Some(dir) = &self.dir {
            command.current_dir(dir);
        }
        command
    }
}

/// Starts the program anew beside this process, with these listening sockets and a line to it. Standard input, output and
/// error are this process's.
///
/// # Errors
/// The program cannot be started, or no descriptor is left.
pub fn launch(origin: &Origin, listeners: &[(String, TcpListener)], parent: Parent) -> io::Result<Successor> {
    let mut command = origin.command();
    let (ours, theirs) = Line::pair()?;
    let number = handover::pass_on(&mut command, listeners.iter().map(|(_, listener)| listener), Some(&theirs))?;
    name_passed(&mut command, listeners.iter().map(|(name, _)| name.as_str()))?;
    command.env(PASSED_BY, std::process::id().to_string()).env_remove("LISTEN_PID").env(LINE, number.to_string());
    // It was meant for this process; without it, the watchdog is for whoever is the main process.
    command.env_remove("WATCHDOG_PID");
    if parent == Parent::Here {
        let child = command.spawn()?;
        return introduced(Successor { pid: child.id(), child: Some(child), line: ours });
    }
    handover::orphan(&mut command);
    // What was spawned has only made the orphan, and is gone.
    command.spawn()?.wait()?;
    introduced(Successor { pid: 0, child: None, line: ours })
}

/// Hears who it is.
fn introduced(mut successor: Successor) -> io::Result<Successor> {
    match successor.line.hear(Some(Instant::now() + FIRST_WORD))? {
        Heard::Said(said) if let Some(pid) = said.strip_prefix(HERE).and_then(|pid| pid.parse().ok()) => {
            successor.pid = pid;
            Ok(successor)
        }
        Heard::Gone => {
            let how = successor.ended(Duration::from_secs(1)).map(|how| format!(" ({how})")).unwrap_or_default();
            Err(io::Error::other(format!("it ended before its first word{how}")))
        }
        heard => {
            successor.kill();
            Err(io::Error::other(format!("it does not introduce itself: {heard:?}")))
        }
    }
}

/// Becomes the program anew, in this process and with these listening sockets: the process id stays. Does not return where
/// it succeeds; no destructor runs, and no other thread goes on.
#[must_use]
pub fn become_anew(origin: &Origin, listeners: &[(String, TcpListener)]) -> io::Error {
    let mut command = origin.command();
    let passed = handover::pass_on(&mut command, listeners.iter().map(|(_, listener)| listener), None)
        .and_then(|_| name_passed(&mut command, listeners.iter().map(|(name, _)| name.as_str())));
    if let Err(error) = passed {
        return error;
    }
    command.env("LISTEN_PID", std::process::id().to_string()).env_remove(PASSED_BY).env_remove(LINE);
    handover::exec(&mut command)
}

/// The line to the process before, if this one was started by [`launch`]; that one has heard who this is. It can be taken
/// once.
///
/// # Errors
/// The variable is there but wrong: not a number, or a descriptor that is no such line.
pub fn predecessor(env: Env<'_>) -> io::Result<Option<Line>> {
    let Some(number) = text(env, LINE) else { return Ok(None) };
    let number = number.parse().map_err(|_| io::Error::other(format!("`{LINE}={number}` is not a number")))?;
    // A grandchild inherits the variable, but not the line.
    let Some(line) = (if is_launched(env) { handover::take(number)? } else { None }) else { return Ok(None) };
    // Nobody may be there any more, which is heard later.
    let _ = line.say(&format!("{HERE}{}", std::process::id()));
    Ok(Some(line))
}

/// Whether the descriptors of this process are from the process that names itself in [`PASSED_BY`], even if that one has
/// gone since and this process is an orphan: the kernel remembers who made the line.
pub(crate) fn is_launched(env: Env<'_>) -> bool {
    let line = text(env, LINE).and_then(|number| number.parse().ok());
    line.and_then(handover::maker_of).is_some_and(|maker| text(env, PASSED_BY) == Some(maker.to_string()))
}

fn text(env: Env<'_>, name: &str) -> Option<String> {
    non_empty(env, name).and_then(|value| value.into_string().ok())
}

/// Why this process must keep its id, so that another cannot take its place; `None` if one can. A service manager that
/// listens can be told of the other.
#[must_use]
pub fn keeps_its_id(env: Env<'_>, pid: u32, has_manager: bool) -> Option<String> {
    if pid == 1 {
        return Some("this is process 1: when it ends, so does its container".to_owned());
    }
    if text(env, crate::init::SWITCH).is_some_and(|switch| switch == crate::init::DEAF) {
        let why = "process 1 of this container cannot be told of another: when this one ends, so does the container";
        return Some(why.to_owned());
    }
    let main =
        !has_manager && text(env, "INVOCATION_ID").is_some() && text(env, "SYSTEMD_EXEC_PID") == Some(pid.to_string());
    main.then(|| {
        "this is the main process of a systemd service that is not `Type=notify`: when it ends, so does the service"
            .to_owned()
    })
}

impl Line {
    /// Waits for the next message, until then at most; `None` waits until the other side is gone.
    ///
    /// # Errors
    /// The system fails, or the other side says more than [`MESSAGE_LIMIT`] in one line.
    pub fn hear(&mut self, until: Option<Instant>) -> io::Result<Heard> {
        loop {
            if let Some(message) = self.next_line()? {
                return Ok(Heard::Said(message));
            }
            // Looked at once at least: what is there already is heard, however late it is.
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            match self.read(left.map(|left| left.max(Duration::from_millis(1)))) {
                Ok(0) => return Ok(Heard::Gone),
                Ok(_) => {}
                Err(error) if is_quiet(&error) => {
                    if until.is_some_and(|until| Instant::now() >= until) {
                        return Ok(Heard::Nothing);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(Heard::Gone),
                Err(error) => return Err(error),
            }
        }
    }
}

/// Nothing came in time, or a signal did.
fn is_quiet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn process_1_and_the_main_process_of_a_unit_keep_their_ids() {
        let unit = |name: &str| match name {
            "INVOCATION_ID" => Some("d41d8cd98f00b204e9800998ecf8427e".into()),
            "SYSTEMD_EXEC_PID" => Some("4711".into()),
            _ => None,
        };
        assert!(keeps_its_id(&|_| None, 1, false).is_some());
        assert!(keeps_its_id(&|_| None, 4711, false).is_none());
        assert!(keeps_its_id(&unit, 4711, false).is_some());
        assert!(keeps_its_id(&unit, 4711, true).is_none(), "the manager is told of another main process");
        assert!(keeps_its_id(&unit, 4712, false).is_none(), "a child of it may be replaced");
        let deaf = |name: &str| (name == crate::init::SWITCH).then(|| crate::init::DEAF.into());
        assert!(keeps_its_id(&deaf, 7, true).is_some(), "process 1 would not hear of it");
    }
}
