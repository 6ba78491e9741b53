//! A whole program: its command line, its process, its end.
//!
//! [`App::run`] is the only place where Evenkeel reads arguments and environment, writes to the terminal, handles signals
//! or ends the process. Everything below gets what it needs handed in.

#[cfg(feature = "http")]
mod admin;
mod client;
mod control;
mod doctor;
mod front;
mod guardian;
mod herald;
mod install;
mod last_flush;
mod last_words;
mod line;
mod logs;
mod restart;
mod seat;
mod service;
mod take_over;
mod vital;
mod watchdog;

/// The locks of [`watchdog`]; a test puts others in their place.
mod sync {
    pub(super) use std::sync::{Condvar, Mutex};
}

pub use line::CommandLine;

use std::process::{ExitCode, Termination};

use crate::{
    App,
    app::Problem,
    error::{Failure, Result},
};

/// What a command says is made for a terminal of this width.
const WIDTH: usize = 80;

/// How a program ended; what `main` returns.
///
/// | code | meaning |
/// |---|---|
/// | 0 | every stage was clean |
/// | 1 | a command could not do what it was told: there was no `restart`, `diff` found a difference |
/// | 2 | the command line makes no sense |
/// | 3 | the command was for a running instance, and there is none |
/// | 4 | another instance of the same name runs |
/// | 10 | an essential component could not start |
/// | 11 | an essential component failed |
/// | 12 | the stop was not clean: something was cut off, left behind, leaked, or failed while closing |
/// | 78 | the configuration was refused before anything started, or `doctor` found a failure |
/// | 128 + n | a second signal, number n, forced the end |
///
/// In a build whose panics abort, a panic ends the process by `SIGABRT`, after its receipt has been written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "return it from `main`"]
pub struct Exit {
    code: u8,
}

impl Exit {
    pub(crate) fn new(code: u8) -> Self {
        Self { code }
    }

    /// The exit of a program's own command: 0, or 1 after its error and the hint have been said on standard error. See
    /// [`CommandLine::own_command`].
    pub fn of(result: Result) -> Self {
        match result {
            Ok(()) => Self::new(0),
            Err(error) => {
                let failure = Failure::from(&error);
                complain(&failure.line(), failure.hint.as_deref());
                Self::new(1)
            }
        }
    }

    /// The process's exit code.
    #[must_use]
    pub fn code(self) -> u8 {
        self.code
    }
}

impl Termination for Exit {
    fn report(self) -> ExitCode {
        ExitCode::from(self.code)
    }
}

impl App {
    /// Runs the program's command line: `run` (the default), `status`, `stop`, `restart`, `pause`, `continue`, `doctor`,
    /// `install`, `uninstall`, `diff`, `graph`, `receipt`, `completions`.
    ///
    /// `run` blocks until the service has ended. A stop that had to leave something running ends the process here,
    /// without unwinding: what is left cannot be trusted to end.
    pub fn run(self) -> Exit {
        let own = clap::Command::new(self.name.clone());
        match CommandLine::of(own).parse() {
            Ok(line) => self.run_line(line),
            Err(exit) => exit,
        }
    }

    /// Like [`run`](Self::run), for a program that has arguments and commands of its own: see [`CommandLine`].
    pub fn run_line(self, line: CommandLine) -> Exit {
        line.carry_out(self)
    }

    /// Runs the service with the given arguments in place of the process's; the first is the program's name.
    pub fn run_with<I, T>(self, arguments: I) -> Exit
    where
        I: IntoIterator<Item = T>,
        T: Into<std::ffi::OsString> + Clone,
    {
        let own = clap::Command::new(self.name.clone());
        match CommandLine::of(own).parse_from(arguments) {
            Ok(line) => self.run_line(line),
            Err(exit) => exit,
        }
    }
}

/// Where the admin listener is: an address, or nowhere. The error says how to write it.
#[cfg(feature = "http")]
pub(crate) fn admin_addr(text: &str) -> std::result::Result<Option<std::net::SocketAddr>, String> {
    match text {
        "off" => Ok(None),
        addr => addr.parse().map(Some).map_err(|_| "write it like `127.0.0.1:9100`, or `off`".to_owned()),
    }
}

/// Says why an app is refused, on standard error.
fn refuse(name: &str, problems: &[Problem]) -> Exit {
    for problem in problems {
        complain(&format!("{name}: {}", problem.text), Some(&problem.hint));
    }
    Exit::new(evenkeel_plan::cause::exit::CONFIG)
}

/// One complaint of a command on standard error, in the form of every message: a sentence, then what to do.
fn complain(text: &str, hint: Option<&str>) {
    use std::io::Write as _;
    let hint = hint.map(|hint| wrapped("hint: ", hint)).unwrap_or_default();
    // Nobody may be reading; a command has nobody else to tell.
    let _ = write!(std::io::stderr(), "{}{hint}", wrapped("error: ", text));
}

/// The text behind its label, broken at spaces where a terminal is full. Words, paths among them, stay whole.
fn wrapped(label: &str, text: &str) -> String {
    let mut lines = String::new();
    for line in text.lines() {
        let mut used = 0;
        for word in line.split(' ') {
            let width = word.chars().count();
            if used > 0 && used + 1 + width > WIDTH {
                lines.push('\n');
                used = 0;
            }
            let before = match used {
                0 if lines.is_empty() => label.to_owned(),
                0 => " ".repeat(label.len()),
                _ => " ".to_owned(),
            };
            used += before.len() + width;
            lines.push_str(&before);
            lines.push_str(word);
        }
        lines.push('\n');
    }
    lines
}

/// A command's answer on standard output. A reader that went away (`| head`) is not an error.
fn print(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes());
    if !text.ends_with('\n') {
        let _ = out.write_all(b"\n");
    }
    let _ = out.flush();
}
