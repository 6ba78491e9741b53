//! The program in its place: the socket that is held for it, its processes, its restarts.

use std::{
    env,
    ffi::{OsStr, OsString},
    net::TcpListener,
    path::Path,
    process::{Command, ExitStatus, Stdio},
};

use evenkeel_load::Target;
use evenkeel_os::{
    handover::LINE,
    notify::SOCKET,
    sockets::{PASSED_BY, pass_on},
};

use super::{endpoint, program::Program, ready::Sign};
use crate::{
    arguments::{How, VerifyRestart},
    fault::{Fault, NOT_READY, NOT_RESTARTED, USAGE},
};

/// What whoever started this program may have meant for it, and not for the program that it starts.
const OF_OTHERS: [&str; 8] =
    ["LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PID", PASSED_BY, LINE, SOCKET, "WATCHDOG_USEC", "WATCHDOG_PID"];

/// See the module documentation.
pub(crate) struct Rig<'a> {
    options: &'a VerifyRestart,
    held: Option<TcpListener>,
    target: Target,
    running: Option<Program>,
    /// How many processes were started.
    turns: u64,
    unclean: Vec<String>,
}

impl<'a> Rig<'a> {
    /// Opens the socket, if one is to be held.
    pub(crate) fn new(options: &'a VerifyRestart) -> Result<Self, Fault> {
        let holds = options.restart_command.is_none() && options.how.holds_socket();
        let held = holds.then(|| listen(options)).transpose()?;
        let mut target = match (&options.service.url, &held) {
            (Some(url), None) => endpoint::target(url)?,
            (Some(_), Some(_)) => {
                let hint = "leave it out (see --listen), or let the program open its socket: --how bind";
                return Err(Fault::new(USAGE, "--url is for a socket that is not held here").hint(hint));
            }
            (None, Some(held)) => Target::new(addr(held)?, "/"),
            (None, None) => return Err(Fault::new(USAGE, "--url is missing")),
        };
        let asked = &options.asked;
        if let Some(path) = &asked.path {
            target.path.clone_from(path);
        }
        target.events.clone_from(&asked.events);
        target.body.clone_from(&asked.body);
        target.content_type.clone_from(&asked.content_type);
        target.status = asked.status;
        Ok(Self { options, held, target, running: None, turns: 0, unclean: Vec::new() })
    }

    pub(crate) fn target(&self) -> &Target {
        &self.target
    }

    /// The first process, if there is a program.
    pub(crate) fn start(&mut self) -> Result<(), Fault> {
        if !self.options.program.is_empty() {
            self.running = Some(self.another()?);
        }
        Ok(())
    }

    /// One restart, done when the new process is ready and the old one has ended.
    pub(crate) fn restart(&mut self) -> Result<(), Fault> {
        if let Some(command) = &self.options.restart_command {
            return self.shell(command);
        }
        if self.options.how == How::Overlap {
            let new = self.another()?;
            self.stop()?;
            self.running = Some(new);
        } else {
            self.stop()?;
            self.running = Some(self.another()?);
        }
        Ok(())
    }

    /// Leaves nothing behind after a run that came to nothing.
    pub(crate) fn abandon(&mut self) {
        if let Some(command) = &self.options.service.stop_command {
            // The fault that ended the run is what is told.
            let _ = self.shell(command);
        }
    }

    /// Stops what runs. Gives back what ended in an error, in words.
    pub(crate) fn finish(&mut self) -> Result<Vec<String>, Fault> {
        if let Some(command) = &self.options.service.stop_command {
            self.shell(command)?;
            self.see_off()?;
        } else if self.options.restart_command.is_none() || self.running.as_ref().is_some_and(|old| !old.has_ended()) {
            // A process that has handed over to another has ended long ago.
            self.stop()?;
        }
        Ok(std::mem::take(&mut self.unclean))
    }

    /// Waits for the end of a process that was asked to stop by somebody else.
    fn see_off(&mut self) -> Result<(), Fault> {
        let Some(old) = self.running.take() else { return Ok(()) };
        let patience = self.options.service.stop_within;
        let ended = old.until_ended(patience).ok_or_else(|| {
            Fault::new(NOT_RESTARTED, format!("the program did not end within {patience:?} after --stop-command"))
        })?;
        self.note(ended);
        Ok(())
    }

    fn note(&mut self, ended: ExitStatus) {
        if !ended.success() {
            self.unclean.push(ended.to_string());
        }
    }

    /// What is done here, in one line.
    pub(crate) fn describe(&self) -> String {
        let restarts = self.options.restarts;
        let program = self.options.program.first().and_then(|name| Path::new(name).file_name());
        let program = program.unwrap_or_default().to_string_lossy();
        let addr = &self.target.addr;
        match (&self.options.restart_command, self.options.how) {
            (Some(command), _) => format!("{restarts} restarts by `{command}`, asked at {addr}"),
            (None, How::Held) => format!("{restarts} restarts of {program}, stopped and started behind {addr}"),
            (None, How::Overlap) => format!("{restarts} restarts of {program}, side by side behind {addr}"),
            (None, How::Bind) => format!("{restarts} restarts of {program}, stopped and started at {addr}"),
        }
    }

    /// Starts a process and waits until it is ready.
    fn another(&mut self) -> Result<Program, Fault> {
        let turn = (self.turns % 2).to_string();
        self.turns += 1;
        let service = &self.options.service;
        let sign = self.sign(&turn)?;
        let mut words = self.options.program.iter().map(|word| in_turn(word, &turn));
        let name = words.next().ok_or_else(|| Fault::new(USAGE, "there is no program"))?;
        let mut command = self.become_program(&name, words)?;
        if let Some((variable, value)) = sign.variable() {
            command.env(variable, value);
        }
        let awaited = if matches!(sign, Sign::Said) { service.ready_log.as_deref() } else { None };
        let program = Program::start(&name, command, awaited)?;
        sign.wait(&program, service.ready_within)?;
        Ok(program)
    }

    /// This very program takes one more step in the new process, as what it then becomes.
    fn become_program(&self, name: &OsStr, words: impl Iterator<Item = OsString>) -> Result<Command, Fault> {
        let own = env::current_exe().map_err(|error| Fault::new(NOT_READY, format!("where am I? {error}")))?;
        let mut command = Command::new(own);
        command.args(["become", "--"]).arg(name).args(words);
        for variable in OF_OTHERS {
            command.env_remove(variable);
        }
        if let Some(held) = &self.held {
            let named = [(self.options.service.socket_name.as_str(), held)];
            pass_on(&mut command, &named).map_err(|error| Fault::new(USAGE, format!("--socket-name: {error}")))?;
        }
        Ok(command)
    }

    fn sign(&self, turn: &str) -> Result<Sign, Fault> {
        let service = &self.options.service;
        if let Some(url) = &service.ready_url {
            return Ok(Sign::Probe(url.replace("{turn}", turn)));
        }
        if service.ready_log.is_some() {
            return Ok(Sign::Said);
        }
        let is_alone = self.options.how != How::Overlap || self.running.is_none();
        if is_alone { Ok(Sign::Answers(self.target.clone())) } else { Sign::notified() }
    }

    fn stop(&mut self) -> Result<(), Fault> {
        let Some(old) = self.running.take() else { return Ok(()) };
        let ended = old.stop(self.options.service.stop_within)?;
        self.note(ended);
        Ok(())
    }

    /// Runs a command of the user's to its end.
    fn shell(&self, command: &str) -> Result<(), Fault> {
        let failed = |how: String| Fault::new(NOT_RESTARTED, format!("`{command}`: {how}"));
        let mut shell = Command::new("sh");
        shell.args(["-c", command]).stdin(Stdio::null());
        let program = Program::start(OsStr::new(command), shell, None)?;
        let patience = self.options.service.stop_within;
        match program.until_ended(patience) {
            Some(ended) if ended.success() => Ok(()),
            Some(ended) => Err(failed(ended.to_string()).said(program.last_words())),
            None => Err(failed(format!("not done within {patience:?}")).hint("give it more time: --stop-within")),
        }
    }
}

fn listen(options: &VerifyRestart) -> Result<TcpListener, Fault> {
    let addr = options.service.listen;
    TcpListener::bind(addr).map_err(|error| {
        let fault = Fault::new(USAGE, format!("cannot listen at {addr}: {error}"));
        fault.hint("name an address that is free: --listen 127.0.0.1:0")
    })
}

fn addr(held: &TcpListener) -> Result<std::net::SocketAddr, Fault> {
    let addr = held.local_addr().map_err(|error| Fault::new(USAGE, error.to_string()))?;
    if addr.ip().is_unspecified() {
        let loopback: std::net::IpAddr =
            if addr.is_ipv4() { std::net::Ipv4Addr::LOCALHOST.into() } else { std::net::Ipv6Addr::LOCALHOST.into() };
        return Ok((loopback, addr.port()).into());
    }
    Ok(addr)
}

/// A word of the command line with the turn in it.
fn in_turn(word: &OsStr, turn: &str) -> OsString {
    word.to_str().map_or_else(|| word.to_owned(), |word| word.replace("{turn}", turn).into())
}
