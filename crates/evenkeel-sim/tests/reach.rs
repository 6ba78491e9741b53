//! The sweep reaches what it is to check: every command, every state, every exit code, every way for code to end.

use std::collections::BTreeMap;

use evenkeel_plan::lifecycle::{Component, Service};
use evenkeel_sim::{
    Scenario, Stopping, Trace, run,
    trace::{Ending, What},
};

/// Enough for everything to have happened.
const SCENARIOS: u64 = 600;
/// Each is stopped at this many of its steps.
const STOPS: usize = 8;

/// How often each thing happened, by its name.
#[derive(Default)]
struct Seen(BTreeMap<String, usize>);

impl Seen {
    fn note(&mut self, what: String) {
        *self.0.entry(what).or_default() += 1;
    }

    fn trace(&mut self, trace: &Trace) {
        for entry in &trace.entries {
            match &entry.what {
                What::Step(commands) => {
                    commands.iter().for_each(|command| self.note(word(&format!("{command:?}"))));
                    for command in commands {
                        use evenkeel::simulation::Command;
                        match command {
                            Command::Component { to, .. } => self.note(format!("component {}", to.word())),
                            Command::Service { to, .. } => self.note(format!("service {}", to.word())),
                            Command::Cut { all: true, .. } => self.note("cut all".to_owned()),
                            _ => {}
                        }
                    }
                }
                What::Ended(_, stage, how) => self.note(format!("{} {how:?}", word(&format!("{stage:?}")))),
                other => self.note(word(&format!("{other:?}"))),
            }
        }
        if let Ending::Receipt(receipt) = &trace.ending {
            self.note(format!("exit {}", receipt.exit_code));
            for row in &receipt.components {
                if !row.leaked_leases.is_empty() {
                    self.note("leases leaked".to_owned());
                }
                if row.restarts > 0 {
                    self.note("restarted".to_owned());
                }
            }
        }
    }
}

/// The name of a variant: what its `Debug` form begins with.
fn word(debug: &str) -> String {
    debug.split(|c: char| !c.is_ascii_alphanumeric()).next().unwrap_or_default().to_owned()
}

#[test]
fn everything_happens() {
    let mut seen = Seen::default();
    for seed in 1..=SCENARIOS {
        let scenario = Scenario::generate(seed);
        let base = run(&scenario, Stopping::Never, None);
        seen.trace(&base);
        for step in (0..base.steps).step_by(base.steps.div_ceil(STOPS).max(1)) {
            seen.trace(&run(&scenario, Stopping::AtStep(step), None));
        }
    }
    println!("{:#?}", seen.0);
    let commands = "Service Component Readiness Gate Start Stop Release Cut Abandon Restarting GaveUp StopBegan ForcedStage \
                    CoordinatorStuck CoordinatorFailed Finish";
    let things = "Given Began Told Took Made Gone BadDrop Lent Back Blocked restarted";
    let mut wanted: Vec<String> = commands.split_whitespace().chain(things.split_whitespace()).map(word).collect();
    wanted.extend(
        Component::ALL.iter().filter(|it| **it != Component::Declared).map(|it| format!("component {}", it.word())),
    );
    // A pause is asked of the driver, not of the engine, and is no part of a scenario.
    let pauses = [Service::Pausing, Service::Paused, Service::Resuming, Service::Initialized];
    wanted.extend(Service::ALL.iter().filter(|it| !pauses.contains(it)).map(|it| format!("service {}", it.word())));
    for stage in ["Open", "Run", "Task", "Close", "CloseRef"] {
        wanted.extend(["Ok", "Error", "Panic", "Dropped"].map(|how| format!("{stage} {how}")));
    }
    wanted.extend(["cut all", "leases leaked"].map(str::to_owned));
    wanted.extend([0, 10, 11, 12, 128 + 2].map(|code| format!("exit {code}")));
    let missing: Vec<&String> = wanted.iter().filter(|want| !seen.0.contains_key(*want)).collect();
    assert!(missing.is_empty(), "never happened: {missing:?}");
}
