//! `evenkeel verify-restart`: a program, a load on it, restarts, a verdict.
//!
//! Policy: the load begins when the program is known to give proper answers, and goes on until after the last restart, so
//! that whatever is lost is lost by a restart. Whether the program is ready is known, never guessed. A restart that fails
//! ends the run without a verdict; a program that ends with an error is told of beside it.

mod endpoint;
mod program;
mod ready;
mod report;
mod rig;

use std::{
    io::{self, IsTerminal, Write},
    thread,
    time::{Duration, Instant},
};

use evenkeel_load::{Ending, Kind, Load, Method, Plan, Target, once};
use evenkeel_os::platform::open_file_limit;

pub(crate) use self::report::Verdict;
use self::{report::Report, rig::Rig};
use crate::{
    arguments::VerifyRestart,
    fault::{Fault, NO_LOAD, NOT_READY, NOT_RESTARTED, USAGE},
};

/// Each restart comes only when this many requests for each client were answered since the one before.
const ANSWERS: u64 = 2;

/// Runs it all; prints the report.
pub(crate) fn run(options: &VerifyRestart) -> Result<Verdict, Fault> {
    let mut rig = Rig::new(options)?;
    let report = report(options, &mut rig).inspect_err(|_| rig.abandon())?;
    report.print(options.json);
    Ok(report.verdict())
}

fn report(options: &VerifyRestart, rig: &mut Rig<'_>) -> Result<Report, Fault> {
    rig.start()?;
    let ways = ways(options, rig.target())?;
    let plan = plan(options, rig.target().clone(), &ways);
    descriptors(&plan)?;
    let load = Load::start(plan).map_err(|error| Fault::new(USAGE, format!("the load cannot be: {error}")))?;
    let took = restarts(options, rig, &load)?;
    let table = load.end();
    let unclean = rig.finish()?;
    Ok(Report { how: rig.describe(), table, took, left_out: ways.left_out, unclean })
}

/// All restarts; how long each took.
fn restarts(options: &VerifyRestart, rig: &mut Rig<'_>, load: &Load) -> Result<Vec<Duration>, Fault> {
    let mut took = Vec::new();
    for number in 1..=options.restarts {
        under_load(options, load).map_err(|fault| fault.at(number))?;
        progress(number, options.restarts);
        let began = Instant::now();
        load.restart_begins();
        rig.restart().map_err(|fault| fault.at(number))?;
        load.restart_ends();
        took.push(began.elapsed());
    }
    under_load(options, load)?;
    progress(0, 0);
    Ok(took)
}

/// Time in which the program is left alone and has work.
fn under_load(options: &VerifyRestart, load: &Load) -> Result<(), Fault> {
    let answers = ANSWERS * u64::from(options.asked.clients);
    load.until_answered(answers, options.asked.timeout).map_err(|error| {
        let fault = Fault::new(NOT_RESTARTED, error.to_string());
        fault.hint("the program answers too little to go on; does it serve after a restart? see --ready-url, --timeout")
    })?;
    // The measurement itself: the load goes on meanwhile.
    thread::sleep(options.asked.between);
    Ok(())
}

/// On a terminal, what goes on; for nobody else.
fn progress(number: u64, of: u64) {
    let mut stderr = io::stderr();
    if stderr.is_terminal() {
        let text = if of == 0 { String::new() } else { format!("restart {number} of {of}") };
        // Nobody may be reading; it is not the result.
        let _ = write!(stderr, "\r\x1b[K{text}").and_then(|()| stderr.flush());
    }
}

/// A kind and method that is left out, and why.
type LeftOut = (&'static str, String);

/// In which ways it is asked.
#[derive(Default)]
struct Ways {
    kinds: Vec<Kind>,
    methods: Vec<Method>,
    left_out: Vec<LeftOut>,
}

/// Asks once in each way. What was not wished for by name and gets no proper answer is left out, and that is said.
fn ways(options: &VerifyRestart, target: &Target) -> Result<Ways, Fault> {
    let asked = &options.asked;
    let first = *asked.methods.first().unwrap_or(&Method::Get);
    ask(target, Kind::New, first, options)?;
    let mut ways = Ways::default();
    for method in if asked.methods.is_empty() { &Method::ALL[..] } else { &asked.methods } {
        match ask(target, Kind::New, *method, options) {
            Ok(()) => ways.methods.push(*method),
            Err(fault) if asked.methods.is_empty() => ways.left_out.push((method.name(), fault.to_string())),
            Err(fault) => return Err(fault),
        }
    }
    for kind in if asked.kinds.is_empty() { &Kind::REQUESTS[..] } else { &asked.kinds } {
        match ask(target, *kind, first, options) {
            Ok(()) => ways.kinds.push(*kind),
            Err(fault) if asked.kinds.is_empty() => ways.left_out.push((kind.name(), fault.to_string())),
            Err(fault) => return Err(fault),
        }
    }
    if asked.events.is_some() && !ways.kinds.contains(&Kind::Events) {
        ask(target, Kind::Events, Method::Get, options)?;
        ways.kinds.push(Kind::Events);
    }
    Ok(ways)
}

fn ask(target: &Target, kind: Kind, method: Method, options: &VerifyRestart) -> Result<(), Fault> {
    let answer = once(target, kind, method, options.asked.timeout);
    let (ending, why) = answer.map_err(|error| Fault::new(USAGE, error.to_string()))?;
    if ending == Ending::Answered {
        return Ok(());
    }
    let path = if kind == Kind::Events { target.events.as_deref() } else { None }.unwrap_or(&target.path);
    let what = format!("{method} {path} over {kind}: {}: {why}", ending.name());
    let hint = match (kind, ending) {
        (_, Ending::Hindered) => return Err(Fault::new(NO_LOAD, what)),
        (Kind::Events, _) => "is there an event stream? see --events",
        (Kind::Http2, _) => "it may not speak HTTP/2 without TLS; leave it out: --kinds new,keep-alive",
        (_, Ending::Bad) => "ask for something that it answers: --path, --methods, --body, --content-type, --status",
        _ => "is this where it serves, in the clear? see --url, --path, --how",
    };
    Err(Fault::new(NOT_READY, what).hint(hint))
}

/// Whether this process may have as many connections open as there are clients, and some files beside.
fn descriptors(plan: &Plan) -> Result<(), Fault> {
    let wanted = plan.kinds.len() * plan.methods.len() * plan.clients + 64;
    match open_file_limit() {
        Some(limit) if limit < wanted as u64 => {
            let what = format!("this load needs {wanted} open files, and {limit} are allowed");
            Err(Fault::new(USAGE, what).hint(format!("allow more (ulimit -n {wanted}), or take fewer --clients")))
        }
        _ => Ok(()),
    }
}

fn plan(options: &VerifyRestart, target: Target, ways: &Ways) -> Plan {
    let asked = &options.asked;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    Plan {
        kinds: ways.kinds.clone(),
        methods: ways.methods.clone(),
        clients: usize::from(asked.clients),
        rate: asked.rate,
        timeout: asked.timeout,
        // The program needs cores as well.
        threads: (cores / 2).clamp(1, 8),
        ..Plan::new(target)
    }
}
