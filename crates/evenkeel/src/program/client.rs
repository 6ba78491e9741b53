//! The commands that look at a service or talk to a running one.

use std::{
    fmt::Write as _,
    path::PathBuf,
    time::{Duration, Instant},
};

use evenkeel_events::{Receipt, store, table, timeline};
use evenkeel_os::{
    control::{AskError, ask, ask_stream},
    dirs::{runtime_dir_candidates, state_dir},
    env::process_env,
    handover::is_there,
};
use evenkeel_plan::{cause::exit, draw, limit::seconds};

use super::{
    Exit, WIDTH, complain,
    control::{Answer, Ask},
    line::{How, Place, Shape},
    print, refuse,
};
use crate::{App, Status};

/// A running service answers at once; this long says that it does not.
const PATIENCE: Duration = Duration::from_secs(5);

pub(super) fn status(name: &str, place: &Place, json: bool) -> Exit {
    match question(name, place, Ask::Status) {
        Ok(Answer::Status(status)) if json => {
            print(&serde_json::to_string_pretty(&status).expect("a status is plain data with text keys"));
            Exit::new(0)
        }
        Ok(Answer::Status(status)) => {
            print(&picture(name, &status));
            Exit::new(0)
        }
        Ok(other) => unexpected(name, &other),
        Err(exit) => exit,
    }
}

pub(super) fn pause(name: &str, place: &Place, pause: bool) -> Exit {
    match question(name, place, if pause { Ask::Pause } else { Ask::Continue }) {
        Ok(Answer::Now(state)) => {
            print(&format!("{name} is {state}"));
            Exit::new(0)
        }
        Ok(Answer::NotAllowed(why)) => {
            complain(&format!("{name}: {why}"), Some(&format!("see what it is doing with `{name} status`")));
            Exit::new(1)
        }
        Ok(other) => unexpected(name, &other),
        Err(exit) => exit,
    }
}

pub(super) fn stop(name: &str, place: &Place, no_wait: bool) -> Exit {
    if no_wait {
        return match question(name, place, Ask::Stop) {
            Ok(Answer::Stopping { budget_ms }) => {
                let budget = seconds(Duration::from_millis(budget_ms));
                print(&format!("{name} is stopping; it ends within {budget}"));
                Exit::new(0)
            }
            Ok(other) => unexpected(name, &other),
            Err(exit) => exit,
        };
    }
    let mut last = None;
    let mut keep = |line: &str| last = serde_json::from_str::<Answer>(line).ok();
    for dir in places(name, place) {
        match ask_stream(&dir, &line(Ask::Stop), Duration::MAX, &mut keep) {
            Ok(()) => break,
            Err(AskError::NotRunning { .. }) => {}
            // A service that was forced ends without a last word; that it was told to stop is what was asked.
            Err(AskError::Cut) if last.is_some() => break,
            Err(error) => return failed(name, &error),
        }
    }
    match last {
        None => not_running(name),
        Some(Answer::Stopped(receipt)) => {
            print(&table(&receipt, WIDTH));
            Exit::new(if receipt.is_clean() { 0 } else { exit::NOT_CLEAN })
        }
        Some(_) => {
            complain(
                &format!("{name} was told to stop and ended without a receipt"),
                Some(&format!("look at what it wrote last, or at `{name} receipt`")),
            );
            Exit::new(exit::NOT_CLEAN)
        }
    }
}

pub(super) fn restart(name: &str, place: &Place, how: &How) -> Exit {
    let within_ms = u64::try_from(how.within.as_millis()).unwrap_or(u64::MAX);
    let question = line(Ask::Restart { stop_first: how.stop_first, within_ms, wait: how.wait });
    let mut heard = Restarting { name, how: *how, last: None, anew: None };
    for dir in places(name, place) {
        match ask_stream(&dir, &question, Duration::MAX, |line| heard.take_in(line)) {
            Ok(()) => return heard.end(place),
            Err(AskError::NotRunning { .. }) => {}
            // The process that answers ends with the restart.
            Err(AskError::Cut) if heard.last.is_some() => return heard.end(place),
            Err(error) => return failed(name, &error),
        }
    }
    not_running(name)
}

/// What is heard of a restart.
struct Restarting<'a> {
    name: &'a str,
    how: How,
    last: Option<Answer>,
    /// The process that becomes the program anew.
    anew: Option<u32>,
}

impl Restarting<'_> {
    fn take_in(&mut self, line: &str) {
        let Ok(answer) = serde_json::from_str::<Answer>(line) else { return };
        match &answer {
            Answer::Started { pid, within_ms } => {
                let within = seconds(Duration::from_millis(*within_ms));
                print(&format!("process {pid} is starting; it has {within} to be ready"));
            }
            Answer::HandedOver { pid } => print(&format!("process {pid} serves; the one before is stopping")),
            Answer::Anew { pid, budget_ms } => {
                let budget = seconds(Duration::from_millis(*budget_ms));
                print(&format!("process {pid} is stopping; it starts anew within {budget}"));
                self.anew = Some(*pid);
            }
            _ => {}
        }
        self.last = Some(answer);
    }

    fn end(self, place: &Place) -> Exit {
        match self.last {
            None => not_running(self.name),
            Some(Answer::NotRestarted { why, hint }) => {
                complain(&format!("{}: {why}", self.name), Some(&hint));
                Exit::new(1)
            }
            Some(Answer::Anew { .. } | Answer::HandedOver { .. }) if !self.how.wait => Exit::new(0),
            Some(Answer::Stopped(receipt)) => {
                print(&table(&receipt, WIDTH));
                if let Some(pid) = self.anew
                    && let Err(exit) = until_up(self.name, place, pid, self.how.within)
                {
                    return exit;
                }
                Exit::new(if receipt.is_clean() { 0 } else { exit::NOT_CLEAN })
            }
            Some(other) => unexpected(self.name, &other),
        }
    }
}

/// Waits until the process that starts anew runs. Nothing announces that: its control socket is not there before it is.
fn until_up(name: &str, place: &Place, pid: u32, within: Duration) -> Result<(), Exit> {
    const PAUSE: Duration = Duration::from_millis(20);
    let until = Instant::now() + within;
    let asked = || {
        places(name, place).into_iter().find_map(|dir| {
            let answer = ask(&dir, &line(Ask::Status), PATIENCE).ok()?;
            serde_json::from_str::<Answer>(answer.lines().next()?).ok()
        })
    };
    while Instant::now() < until && is_there(pid) {
        if let Some(Answer::Status(status)) = asked()
            && status.is_up()
        {
            print(&format!("process {pid} serves again"));
            return Ok(());
        }
        std::thread::sleep(PAUSE);
    }
    let what = if is_there(pid) { format!("within {}", seconds(within)) } else { format!("(process {pid} is gone)") };
    complain(&format!("{name} did not come up again {what}"), Some("its log says why"));
    Err(Exit::new(1))
}

pub(super) fn graph(app: App, format: &str) -> Exit {
    let name = app.name.clone();
    let built = match app.build() {
        Ok(built) => built,
        Err(problems) => return refuse(&name, &problems),
    };
    let drawn = match format {
        "dot" => draw::dot(&built.graph, &built.plan),
        "svg" => draw::svg(&built.graph, &built.plan),
        _ => draw::text(&built.graph, &built.plan, WIDTH),
    };
    print(&drawn);
    Exit::new(0)
}

pub(super) fn receipt(name: &str, place: &Place, shape: &Shape) -> Exit {
    let dir = match &place.state_dir {
        Some(dir) => dir.clone(),
        None => match state_dir(name, &process_env) {
            Ok(dir) => dir,
            Err(error) => {
                complain(&error.to_string(), Some(&error.hint));
                return Exit::new(1);
            }
        },
    };
    if shape.all {
        return receipts(&dir);
    }
    match store::last(&dir) {
        Ok(Some((_, receipt))) => {
            print(&shown(&receipt, shape));
            Exit::new(0)
        }
        Ok(None) => {
            complain(
                &format!("no receipt in {}", dir.display()),
                Some("a receipt is written when the service has stopped; `--state-dir` names another place"),
            );
            Exit::new(1)
        }
        Err(error) => {
            complain(&format!("cannot read receipts in {}: {error}", dir.display()), None);
            Exit::new(1)
        }
    }
}

fn shown(receipt: &Receipt, shape: &Shape) -> String {
    if shape.json {
        receipt.to_json()
    } else if shape.svg {
        timeline::svg(receipt)
    } else {
        format!("{}\n{}", table(receipt, WIDTH), timeline::text(receipt, WIDTH))
    }
}

fn receipts(dir: &std::path::Path) -> Exit {
    let entries = match store::list(dir) {
        Ok(entries) => entries,
        Err(error) => {
            complain(&format!("cannot read receipts in {}: {error}", dir.display()), None);
            return Exit::new(1);
        }
    };
    let mut text = String::new();
    for entry in entries {
        let said = match &entry.receipt {
            Ok(receipt) => format!("{:<16} exit {:>3}  {}", receipt.outcome, receipt.exit_code, receipt.cause),
            Err(error) => format!("unreadable: {error}"),
        };
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{}  {said}", entry.path.file_name().unwrap_or_default().to_string_lossy());
    }
    print(&text);
    Exit::new(0)
}

/// Asks the running instance, wherever it is.
fn question(name: &str, place: &Place, what: Ask) -> Result<Answer, Exit> {
    for dir in places(name, place) {
        match ask(&dir, &line(what), PATIENCE) {
            Ok(answer) => {
                // One line is enough for every question but a stop that is waited for.
                let first = answer.lines().next().unwrap_or_default();
                return serde_json::from_str(first).map_err(|error| {
                    complain(
                        &format!("{name} answered something else than this version expects: {error}"),
                        Some("ask with the same version of the program that runs"),
                    );
                    Exit::new(1)
                });
            }
            Err(AskError::NotRunning { .. }) => {}
            Err(error) => return Err(failed(name, &error)),
        }
    }
    Err(not_running(name))
}

fn places(name: &str, place: &Place) -> Vec<PathBuf> {
    match &place.runtime_dir {
        Some(dir) => vec![dir.clone()],
        None => runtime_dir_candidates(name, &process_env),
    }
}

fn line(what: Ask) -> String {
    serde_json::to_string(&what).expect("a question is plain data")
}

fn not_running(name: &str) -> Exit {
    complain(
        &format!("{name} is not running"),
        Some(&format!("start it with `{name} run`; if it runs with `--runtime-dir`, name the same here")),
    );
    Exit::new(exit::NOT_RUNNING)
}

fn failed(name: &str, error: &AskError) -> Exit {
    complain(&format!("{name} did not answer: {error}"), Some("it may be stuck; its log and `receipt` say more"));
    Exit::new(1)
}

fn unexpected(name: &str, answer: &Answer) -> Exit {
    let why = match answer {
        Answer::Gone => "it ended before it could answer".to_owned(),
        Answer::Unknown(why) => format!("it did not understand the question ({why})"),
        other => format!("it answered {other:?}"),
    };
    complain(&format!("{name}: {why}"), None);
    Exit::new(1)
}

fn picture(name: &str, status: &Status) -> String {
    let ready = if status.ready { "ready" } else { "not ready" };
    let up = seconds(Duration::from_millis(status.up_ms));
    let mut text = format!("{name} is {}, {ready}, up {up}, pid {}\n\n", status.state, status.pid);
    let width = status.components.iter().map(|c| c.name.chars().count()).max().unwrap_or(0).max(9);
    for component in &status.components {
        let mut facts = Vec::new();
        if component.optional {
            facts.push("optional".to_owned());
        }
        if component.restarts > 0 {
            facts.push(format!("started again {} times", component.restarts));
        }
        facts.extend(component.note.clone());
        facts.extend(component.stuck.clone());
        let line =
            format!("  {:<width$}  {:<9} {:<10} {}", component.name, component.kind, component.state, facts.join(", "));
        text.push_str(line.trim_end());
        text.push('\n');
        for line in component.holding.iter().flat_map(|holding| holding.lines()) {
            let line = super::wrapped(&format!("  {:<width$}    ", ""), &line);
            text.push_str(&line);
        }
    }
    if let Some(admin) = &status.admin {
        text.push_str(&format!("\n  probes and status: {admin}\n"));
    }
    text
}
