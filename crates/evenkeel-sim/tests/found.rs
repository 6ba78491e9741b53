//! What the sweep has found, each at its smallest: failed before it was mended, and is swept at every step since.

use std::time::Duration;

use evenkeel_plan::restart::{Backoff, Restart};
use evenkeel_sim::{
    Scenario, Stopping, Trace, run,
    scenario::{Act, BadDrop, Component, Kind, Later, Policy, Run, Task},
    sweep::{Hunt, Swept, all_steps},
    trace::{Ending, What},
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn of(components: Vec<Component>) -> Scenario {
    Scenario { components, ..Scenario::new(Duration::from_secs(30)) }
}

fn a(kind: Kind) -> Component {
    Component::new(kind)
}

fn restarts() -> Option<Restart> {
    let backoff = Backoff { first: ms(10), factor: 1, max: ms(10) };
    Some(Restart::new().at_most(10, Duration::from_secs(10)).backoff(backoff))
}

/// Stops the scenario at each of its steps.
fn sweeps(scenario: &Scenario) {
    let mut swept = Swept::default();
    if let Err(failure) = all_steps(scenario, Hunt::default(), &mut swept) {
        panic!("{failure}");
    }
    assert!(swept.stops > 0);
}

fn exit_code(trace: &Trace) -> u8 {
    let Ending::Receipt(receipt) = &trace.ending else { panic!("{trace}") };
    receipt.exit_code
}

fn starts_of(trace: &Trace, id: usize) -> usize {
    let began = |what: &What| matches!(what, What::Made(life) if life.id == id);
    trace.entries.iter().filter(|entry| began(&entry.what)).count()
}

/// A dependent of what had failed was started at once, on the value of the life that had failed; neither came back.
#[test]
fn a_restart_whose_dependents_did_not_wait_for_it() {
    let feed = Component { restart: restarts(), run: Run::Error(ms(100)), bad_runs: 1, ..a(Kind::LateWorker) };
    let user = Component { hard: vec![0], ..a(Kind::Resource) };
    let scenario = of(vec![feed, user]);
    sweeps(&scenario);
    let trace = run(&scenario, Stopping::Never, None);
    assert_eq!((starts_of(&trace, 0), starts_of(&trace, 1)), (2, 2), "{trace}");
}

/// The panic of a value that was dropped unclosed ended the life of its component, which was then waited for in vain.
#[test]
fn a_value_that_panics_when_it_is_dropped() {
    let scenario = of(vec![Component { bad_drop: BadDrop::Value, ..a(Kind::LateWorker) }]);
    sweeps(&scenario);
    let trace = run(&scenario, Stopping::AtStep(1), None);
    assert_eq!(trace.entries.last().unwrap().at, Duration::ZERO, "{trace}");
}

/// A value that has no other close was dropped, and the stop called clean.
#[test]
fn a_close_by_reference_that_is_the_only_one() {
    sweeps(&of(vec![Component { close_ref: true, ..a(Kind::LateWorker) }]));
}

/// A job counted as done, and started what waited for it, while its tasks went on and could still fail.
#[test]
fn a_job_whose_tasks_are_not_done() {
    let job = Component { finite: true, run: Run::Ok(ms(10)), bad_runs: u32::MAX, ..a(Kind::Worker) };
    let job = Component { tasks: vec![Task::Error(ms(50))], ..job };
    let user = Component { hard: vec![0], ..a(Kind::Resource) };
    let scenario = of(vec![job, user]);
    sweeps(&scenario);
    let trace = run(&scenario, Stopping::Never, None);
    assert_eq!(starts_of(&trace, 1), 0, "{trace}");
}

/// A job that restarted with what it needs was counted as done twice, which overflowed.
#[test]
fn a_job_that_is_done_twice() {
    let feed = Component { restart: restarts(), run: Run::Error(ms(100)), bad_runs: 2, ..a(Kind::LateWorker) };
    let job = Component { finite: true, hard: vec![0], run: Run::Ok(ms(10)), bad_runs: u32::MAX, ..a(Kind::Worker) };
    sweeps(&of(vec![feed, job]));
}

/// A late worker that had spent its readiness in one poll was dropped by a stop before the next, instead of drained.
#[test]
fn a_stop_in_the_instant_of_readiness() {
    sweeps(&of(vec![a(Kind::LateWorker), a(Kind::LateWorker), a(Kind::Resource)]));
}

/// A failure from before a restart was held against the incarnation after it.
#[test]
fn a_failed_start_that_was_followed_by_a_stop() {
    let feed = Component { restart: restarts(), open: Act::GiveUp, bad_opens: 1, ..a(Kind::LateWorker) };
    let scenario = of(vec![feed]);
    sweeps(&scenario);
    assert_eq!(exit_code(&run(&scenario, Stopping::AtStep(2), None)), 0);
}

/// Whoever ended in the instant in which it was told to stop was said to have ended too early.
#[test]
fn an_end_while_the_order_to_stop_is_on_its_way() {
    let feed = Component { restart: restarts(), run: Run::Ok(ms(5)), bad_runs: 1, ..a(Kind::Worker) };
    let user = Component { hard: vec![0], run: Run::Ok(ms(5)), bad_runs: 1, ..a(Kind::LateWorker) };
    sweeps(&of(vec![feed, user]));
}

/// A stop took longer than a budget that is smaller than the grace of its forced stage.
#[test]
fn a_budget_that_is_tiny() {
    for budget in [10, 50, 100, 149] {
        let deaf = Component { run: Run::Deaf, bad_runs: u32::MAX, bad_drop: BadDrop::Value, ..a(Kind::LateWorker) };
        sweeps(&Scenario { budget: ms(budget), ..of(vec![deaf]) });
    }
}

/// Who had failed before the forced stage was not named if that stage began in the same instant.
#[test]
fn a_failure_in_the_instant_of_force() {
    let bad = Component { run: Run::PanicInDrain, bad_runs: u32::MAX, ..a(Kind::Typed) };
    for steps in 1..12 {
        let scenario = of(vec![a(Kind::Worker), bad.clone(), a(Kind::Resource)]);
        sweeps(&Scenario { later: vec![(steps, Later::ForceByRequest)], ..scenario });
    }
}

/// A task that ended in the instant of the cut was said not to have ended: "0 of its tasks did not end in time".
#[test]
fn a_task_that_ends_as_it_is_cut_off() {
    let part = Component { tasks: vec![Task::UntilStop(ms(100))], stop_within: Some(ms(100)), ..a(Kind::Worker) };
    sweeps(&of(vec![part]));
}

/// A component that was cut off because another held the only thread had never begun.
#[test]
fn a_start_that_took_too_long_before_it_began() {
    let holds = Component { open: Act::Block(ms(500)), bad_opens: u32::MAX, ..a(Kind::Resource) };
    sweeps(&of(vec![holds, Component { start_within: Some(ms(100)), ..a(Kind::Resource) }]));
}

/// It had nothing to drain, was told so late because another held the only thread, and was said to be cut off at its limit.
#[test]
fn a_drain_of_nothing_that_is_heard_of_late() {
    let holds = Component { run: Run::BlockInDrain(ms(500)), bad_runs: u32::MAX, ..a(Kind::LateWorker) };
    let short = Component { stop_within: Some(ms(20)), ..a(Kind::Resource) };
    // So many that the driver gets a turn before the last of them does.
    let all = std::iter::once(holds).chain(std::iter::repeat_n(short, 70)).collect();
    sweeps(&Scenario { policy: Policy::Broadcast, ..of(all) });
}

/// The value of a component that was left behind went with the driver, and its panic took the receipt along.
#[test]
fn a_value_that_was_left_behind_and_panics() {
    let db = Component { bad_drop: BadDrop::Value, ..a(Kind::Resource) };
    let stuck = Component { hard: vec![0], frozen: true, run: Run::Deaf, bad_runs: u32::MAX, ..a(Kind::Typed) };
    sweeps(&Scenario { budget: ms(300), ..of(vec![db, stuck]) });
}
