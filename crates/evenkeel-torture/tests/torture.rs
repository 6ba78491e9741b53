//! Every row of the table: order, code, culprit, and a second more than the budget.
//!
//! Scenarios run two at a time at most, those that take the whole machine alone. Arguments select rows by name.

use std::{
    env,
    path::PathBuf,
    process::ExitCode,
    sync::{
        RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use evenkeel_torture::{
    fixtures::Fixtures,
    judge::judge,
    ordeal::{Missing, ordeal},
    table::{BUDGET, End, Scenario, Step, scenarios},
};

/// On a machine that is busy with something else.
const SPARE: Duration = Duration::from_secs(1);
const AT_ONCE: usize = 2;

#[allow(clippy::print_stdout, reason = "a test's report is its output")]
fn main() -> ExitCode {
    let wanted: Vec<String> = env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    let rows: Vec<Scenario> = scenarios()
        .into_iter()
        .filter(|row| wanted.is_empty() || wanted.iter().any(|name| row.name.contains(name.as_str())))
        .collect();
    let began = Instant::now();
    let fixtures = Fixtures::beside(PathBuf::from(env!("CARGO_BIN_EXE_torture-fixture")));
    let (next, failed, machine) = (AtomicUsize::new(0), AtomicUsize::new(0), RwLock::new(()));
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(row) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                    failed.fetch_add(usize::from(!try_row(row, &fixtures, &machine)), Ordering::Relaxed);
                }
            });
        }
    });
    let mut failed = failed.into_inner();
    if wanted.is_empty() {
        failed += usize::from(!signal_at_any_moment(&fixtures));
    }
    println!("{} scenarios, {failed} failed, {:.0} s", rows.len(), began.elapsed().as_secs_f64());
    ExitCode::from(u8::from(failed > 0))
}

/// A signal half a millisecond later each time, from the very beginning of the process: it either comes before anybody
/// watches and does what it always does, or stops the service cleanly. There is nothing in between.
#[allow(clippy::print_stdout, reason = "a test's report is its output")]
fn signal_at_any_moment(fixtures: &Fixtures) -> bool {
    let clean = scenarios().into_iter().find(|row| row.name == "clean").expect("a row of the table");
    let fixture = fixtures.of(&clean).expect("the usual fixture is always there");
    let (mut unwatched, mut wrong) = (0, Vec::new());
    for moment in 0..40 {
        let steps = vec![Step::Moment(moment * Duration::from_micros(500)), Step::Term];
        match ordeal(&Scenario { steps, order: Vec::new(), ..clean.clone() }, fixture) {
            Ok(finding) if finding.end == End::Signal(15) && finding.receipt.is_err() => unwatched += 1,
            Ok(finding) => {
                wrong.extend(judge(&Scenario { order: Vec::new(), ..clean.clone() }, &finding, BUDGET + SPARE));
            }
            Err(why) => wrong.push(format!("{why:?}")),
        }
    }
    let result = if wrong.is_empty() { "ok     " } else { "FAILED " };
    println!("{result} {:<44} {unwatched} of 40 before anybody watched", "signal-at-any-moment");
    wrong.iter().for_each(|wrong| println!("  {wrong}"));
    wrong.is_empty()
}

/// Runs one row and prints its line.
#[allow(clippy::print_stdout, reason = "a test's report is its output")]
fn try_row(row: &Scenario, fixtures: &Fixtures, machine: &RwLock<()>) -> bool {
    let fixture = match fixtures.of(row) {
        Ok(fixture) => fixture,
        Err(why) => {
            println!("FAILED  {:<44} {why}", row.name);
            return false;
        }
    };
    let finding = if row.greedy {
        let _alone = machine.write();
        ordeal(row, fixture)
    } else {
        let _shared = machine.read();
        ordeal(row, fixture)
    };
    let finding = match finding {
        Ok(finding) => finding,
        Err(Missing::Skipped(why)) => {
            println!("SKIPPED {:<44} {why}", row.name);
            return true;
        }
        Err(Missing::Stuck(why)) => {
            println!("FAILED  {:<44} {why}", row.name);
            return false;
        }
    };
    let wrong = judge(row, &finding, BUDGET + SPARE);
    let took = finding.took.as_secs_f64() * 1e3;
    if wrong.is_empty() {
        println!("ok      {:<44} {took:>7.1} ms", row.name);
        return true;
    }
    let receipt = finding.receipt.map_or_else(|why| why, |receipt| receipt.to_json());
    println!("FAILED  {:<44} {took:>7.1} ms\n  {}\n{receipt}\n{}", row.name, wrong.join("\n  "), finding.log);
    false
}
