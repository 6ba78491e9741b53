//! The commands that look at a service or talk to a running one.

use std::{fmt::Write as _, path::PathBuf, time::Duration};

use evenkeel_events::{Receipt, store, table, timeline};
use evenkeel_os::{
    control::{AskError, ask, ask_stream},
    dirs::{runtime_dir_candidates, state_dir},
    env::process_env,
};
use evenkeel_plan::{cause::exit, draw, limit::seconds};

use super::{
    Exit, WIDTH, complain,
    control::{Answer, Ask},
    line::{Place, Shape},
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
        let line =
            format!("  {:<width$}  {:<9} {:<10} {}", component.name, component.kind, component.state, facts.join(", "));
        text.push_str(line.trim_end());
        text.push('\n');
    }
    if let Some(admin) = &status.admin {
        text.push_str(&format!("\n  probes and status: {admin}\n"));
    }
    text
}
