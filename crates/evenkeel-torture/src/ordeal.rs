//! Puts one fixture through its scenario and writes down what came out.

use std::{
    io::{self, Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use evenkeel::{Receipt, Status};
use evenkeel_os::control::{AskError, ask};
use rustix::process::Signal;

use crate::{
    process::Process,
    room::{Far, Room, mounts_are_missing},
    table::{Ask, BUDGET, End, Scenario, Step},
};

/// Between two questions on the control socket.
const ASK_AGAIN: Duration = Duration::from_millis(5);
/// How long a state is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

/// What came out.
#[derive(Debug)]
pub struct Finding {
    /// From the moment that counts until the process was gone.
    pub took: Duration,
    /// How it ended.
    pub end: End,
    /// What it left, or why it left nothing.
    pub receipt: Result<Receipt, String>,
    /// Whether the places of the receipt agree.
    pub places: Result<(), String>,
    /// What commands beside it ended with that should have ended otherwise.
    pub commands: Vec<String>,
    /// What was read of its log.
    pub log: String,
}

/// Why there is no finding.
#[derive(Debug)]
pub enum Missing {
    /// This machine does not have what the scenario needs.
    Skipped(String),
    /// It got stuck; with its log.
    Stuck(String),
}

/// Runs it.
///
/// # Errors
/// [`Missing`].
pub fn ordeal(scenario: &Scenario, fixture: &Path) -> Result<Finding, Missing> {
    if let Some(reason) = mounts_are_missing(scenario.disk) {
        return Err(Missing::Skipped(reason));
    }
    let stuck = |error: io::Error| Missing::Stuck(error.to_string());
    let room = Room::new(scenario.disk).map_err(stuck)?;
    let (mut command, far) = room.command(fixture, scenario).map_err(stuck)?;
    let process = Process::start(&mut command).map_err(Missing::Stuck)?;
    drop(command); // with it our end of its standard error
    let mut ordeal = Ordeal {
        room,
        fixture,
        process,
        _far: far,
        clock: None,
        signals: 0,
        commands: Vec::new(),
        clients: Vec::new(),
    };
    ordeal.go(scenario).map_err(|why| Missing::Stuck(format!("{why}\n{}", ordeal.process.log())))
}

/// Does what it is told, and is answered where it waits for that.
fn client(addr: &str, ask: Ask) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let get = |path| format!("GET {path} HTTP/1.1\r\nHost: torture\r\n");
    let bytes = match ask {
        Ask::Nothing => String::new(),
        Ask::HalfHead => "GET / HTTP/1.1\r\nHo".to_owned(),
        Ask::Get(path) | Ask::Answered(path, _) => get(path) + "\r\n",
        Ask::HalfBody(path) => {
            format!("POST {path} HTTP/1.1\r\nHost: torture\r\nContent-Length: 10\r\n\r\nhello")
        }
        Ask::Upgrade(path) => get(path) + "Connection: upgrade\r\nUpgrade: websocket\r\n\r\n",
    };
    stream.write_all(bytes.as_bytes())?;
    if let Ask::Answered(_, status) = ask {
        let mut begin = [0; 12];
        stream.read_exact(&mut begin)?;
        let wanted = format!("HTTP/1.1 {status}");
        if begin != wanted.as_bytes() {
            return Err(io::Error::other(format!("`{}` instead of `{wanted}`", begin.escape_ascii())));
        }
    }
    Ok(stream)
}

struct Ordeal<'a> {
    room: Room,
    fixture: &'a Path,
    process: Process,
    _far: Far,
    clock: Option<Instant>,
    signals: u32,
    commands: Vec<(Child, u8)>,
    /// Connections that are kept to the end.
    clients: Vec<TcpStream>,
}

impl Ordeal<'_> {
    fn go(&mut self, scenario: &Scenario) -> Result<Finding, String> {
        let second = scenario.bar == crate::table::Bar::SecondSignal;
        for step in &scenario.steps {
            self.step(*step, second)?;
        }
        let (end, at) = self.process.end(BUDGET + Duration::from_secs(25))?;
        let clock = self.clock.ok_or("the scenario has no moment from which its time counts")?;
        Ok(Finding {
            took: at.saturating_duration_since(clock),
            end,
            receipt: self.room.receipt(),
            places: self.room.places_agree(),
            commands: self.commands()?,
            log: self.process.log(),
        })
    }

    fn step(&mut self, step: Step, second: bool) -> Result<(), String> {
        match step {
            Step::Mark(text) => return self.process.until_log(text),
            Step::Running => return self.until("running", |status| status.state == "running"),
            Step::State(state) => return self.until(state, |status| status.state == state),
            Step::Over(name) => return self.until(&format!("without `{name}`"), |status| status.is_over(name)),
            Step::Ask(ask) => return self.ask(ask),
            Step::Term => self.signal(Signal::TERM, second)?,
            Step::Int => self.signal(Signal::INT, second)?,
            Step::StopCommand(code) => self.stop_command(code, second)?,
            Step::Moment(time) => thread::sleep(time),
            Step::RuinStateDir => self.ruin_state_dir()?,
            Step::Clock => self.clock = Some(Instant::now()),
        }
        Ok(())
    }

    /// The time counts from the first signal, or from the second if that is what the bar is about.
    fn signal(&mut self, signal: Signal, second: bool) -> Result<(), String> {
        self.signals += 1;
        if self.signals == if second { 2 } else { 1 } {
            self.clock = Some(Instant::now());
        }
        match self.process.signal(signal) {
            // A third signal may come too late.
            Err(_) if self.signals > 2 => Ok(()),
            done => done,
        }
    }

    fn ask(&mut self, ask: Ask) -> Result<(), String> {
        let status = self.status()?;
        let url = status.component("web").and_then(|web| web.note.clone()).ok_or("there is no server called `web`")?;
        let client = client(url.trim_start_matches("http://"), ask).map_err(|error| format!("{ask:?}: {error}"))?;
        self.clients.push(client);
        Ok(())
    }

    fn stop_command(&mut self, code: u8, second: bool) -> Result<(), String> {
        if !second {
            self.clock = Some(Instant::now());
        }
        let mut command = Command::new(self.fixture);
        command.arg("stop").arg("--runtime-dir").arg(self.room.runtime());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|error| format!("cannot run `stop`: {error}"))?;
        self.commands.push((child, code));
        Ok(())
    }

    fn ruin_state_dir(&self) -> Result<(), String> {
        let state = self.room.state();
        std::fs::remove_dir_all(&state).map_err(|error| error.to_string())?;
        std::fs::write(&state, "a file").map_err(|error| error.to_string())
    }

    fn until(&self, what: &str, is_so: impl Fn(&Status) -> bool) -> Result<(), String> {
        let until = Instant::now() + PATIENCE;
        let mut last = "nothing".to_owned();
        while Instant::now() < until {
            match self.status() {
                Ok(status) if is_so(&status) => return Ok(()),
                Ok(status) => last = status.state,
                Err(_) if self.process.is_gone() => return Err(format!("it ended before it was {what}")),
                Err(error) => last = error,
            }
            thread::sleep(ASK_AGAIN);
        }
        Err(format!("it never was {what}; last answer: {last}"))
    }

    fn status(&self) -> Result<Status, String> {
        let answer = match ask(&self.room.runtime(), "\"status\"", Duration::from_secs(5)) {
            Ok(answer) => answer,
            Err(AskError::NotRunning { .. }) => return Err("not running".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        let answer: serde_json::Value = serde_json::from_str(&answer).map_err(|error| error.to_string())?;
        serde_json::from_value(answer["status"].clone()).map_err(|error| error.to_string())
    }

    fn commands(&mut self) -> Result<Vec<String>, String> {
        let mut wrong = Vec::new();
        for (child, expected) in &mut self.commands {
            let status = child.wait().map_err(|error| error.to_string())?;
            if status.code() != Some(i32::from(*expected)) {
                wrong.push(format!("`stop` ended with {status} instead of {expected}"));
            }
        }
        Ok(wrong)
    }
}
