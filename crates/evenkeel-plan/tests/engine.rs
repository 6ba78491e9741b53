//! Lives of small services, step by step: what went in, what the engine answered.
//!
//! Answers are written in words, without the moves of states that go with them: `start db`, `stop jobs`, `release db`.

use std::time::Duration;

use evenkeel_plan::{
    budget::{Budget, Plan},
    cause::{Cause, Outcome},
    engine::{Command, End, Engine, FORCED_GRACE, Input},
    graph::Graph,
    lifecycle::{Component, Service},
    limit::Limit,
    policy::{Choice, Coordinator, Policy, StopView},
    restart::{Backoff, Restart},
    spec::{Activity, Edge, Id, Role, Spec, Weight},
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An engine with a clock that only moves when told to.
struct Life {
    engine: Engine,
    now: Duration,
}

impl Life {
    fn of(specs: Vec<Spec>) -> Self {
        Self::with(specs, Policy::Reverse, Budget::new(s(30)))
    }

    fn with(specs: Vec<Spec>, policy: Policy, budget: Budget) -> Self {
        let graph = Graph::new(specs).expect("the specs make a graph");
        let plan = Plan::new(&graph, &budget);
        Self { engine: Engine::new(graph, plan, policy), now: Duration::ZERO }
    }

    /// The same, with these opened one after the other.
    fn up(mut self, names: &[&str]) -> Self {
        self.begin();
        for name in names {
            self.opened(name);
        }
        self
    }

    fn id(&self, name: &str) -> Id {
        self.engine.graph().find(name).expect("a component of this name")
    }

    fn state(&self, name: &str) -> Component {
        self.engine.state(self.id(name))
    }

    fn feed(&mut self, input: Input) -> Vec<String> {
        let commands = self.engine.handle(input, self.now, &mut || 0);
        commands.iter().filter_map(|command| self.word(command)).collect()
    }

    fn word(&self, command: &Command) -> Option<String> {
        let name = |id: &Id| self.engine.graph().spec(*id).name.clone();
        Some(match command {
            Command::Service { .. } | Command::Component { .. } | Command::CoordinatorFailed(_) => return None,
            Command::Readiness(ready) => if *ready { "ready" } else { "not ready" }.to_owned(),
            Command::Gate(open) => if *open { "open the gate" } else { "shut the gate" }.to_owned(),
            Command::Start { id, attempt: 1 } => format!("start {}", name(id)),
            Command::Start { id, attempt } => format!("start {} again ({attempt})", name(id)),
            Command::Stop { id, .. } => format!("stop {}", name(id)),
            Command::Release { id, .. } => format!("release {}", name(id)),
            Command::Cut { id, all: false } => format!("cut {}", name(id)),
            Command::Cut { id, all: true } => format!("cut all of {}", name(id)),
            Command::Abandon(id) => format!("abandon {}", name(id)),
            Command::Restarting { id, wait, .. } => format!("restart {} in {wait:?}", name(id)),
            Command::GaveUp { id, .. } => format!("give up {}", name(id)),
            Command::StopBegan { .. } => "the stop begins".to_owned(),
            Command::ForcedStage => "the forced stage begins".to_owned(),
            Command::CoordinatorStuck => "the coordinator is stuck".to_owned(),
            Command::Finish(outcome) => format!("finish: {}", outcome.word()),
        })
    }

    fn begin(&mut self) -> Vec<String> {
        self.feed(Input::Begin)
    }

    fn opened(&mut self, name: &str) -> Vec<String> {
        self.feed(Input::Opened(self.id(name)))
    }

    fn start_failed(&mut self, name: &str) -> Vec<String> {
        self.feed(Input::StartFailed(self.id(name)))
    }

    fn ended(&mut self, name: &str, ok: bool) -> Vec<String> {
        self.feed(Input::RunEnded { id: self.id(name), ok })
    }

    fn drained(&mut self, name: &str) -> Vec<String> {
        self.feed(Input::Drained { id: self.id(name), ok: true })
    }

    fn closed(&mut self, name: &str, end: End) -> Vec<String> {
        self.feed(Input::Closed { id: self.id(name), end })
    }

    /// Drains and closes in order, as a component does that has nothing to do.
    fn gone(&mut self, name: &str) -> Vec<String> {
        let mut answers = self.drained(name);
        answers.extend(self.closed(name, End::Clean));
        answers
    }

    fn stop(&mut self, by: &str) -> Vec<String> {
        self.feed(Input::Stop(Cause::Request { by: by.to_owned() }))
    }

    /// Lets time pass, ticking whenever the engine wants to be asked.
    fn pass(&mut self, time: Duration) -> Vec<String> {
        let until = self.now + time;
        let mut answers = Vec::new();
        while let Some(wake) = self.engine.wake_at().filter(|wake| *wake <= until) {
            self.now = self.now.max(wake);
            answers.extend(self.feed(Input::Tick));
        }
        self.now = until;
        answers
    }
}

/// A database, workers on it, and an API on both.
fn shop() -> Vec<Spec> {
    vec![
        passive("db"),
        Spec::new("jobs").needing(Id(0), Edge::Hard),
        Spec::new("api").needing(Id(0), Edge::Hard).needing(Id(1), Edge::Hard),
    ]
}

fn passive(name: &str) -> Spec {
    Spec { activity: Activity::Passive, ..Spec::new(name) }
}

fn job(name: &str) -> Spec {
    Spec { activity: Activity::Finite, ..Spec::new(name) }
}

fn restarting(max: u32) -> Option<Restart> {
    let backoff = Backoff { first: ms(100), factor: 2, max: s(1) };
    Some(Restart::new().at_most(max, s(10)).backoff(backoff))
}

#[test]
fn it_starts_in_waves_and_stops_in_reverse() {
    let mut life = Life::of(shop());
    assert_eq!(life.begin(), ["start db"]);
    assert_eq!(life.opened("db"), ["start jobs"]);
    assert_eq!(life.opened("jobs"), ["start api"]);
    assert_eq!(life.opened("api"), ["open the gate", "ready"]);
    assert_eq!(life.engine.service(), Service::Running);

    assert_eq!(life.stop("a test"), ["not ready", "the stop begins", "shut the gate", "stop api"]);
    assert_eq!(life.drained("api"), ["release api"]);
    assert_eq!(life.closed("api", End::Clean), ["stop jobs"]);
    assert_eq!(life.gone("jobs"), ["release jobs", "stop db"]);
    assert_eq!(life.gone("db"), ["release db", "finish: clean"]);
    assert_eq!(life.engine.service(), Service::Terminated);
    assert_eq!(life.stop("too late"), [""; 0], "nothing is answered after the end");
}

#[test]
fn what_does_not_depend_on_each_other_starts_and_stops_at_once() {
    let mut life = Life::of(vec![passive("a"), passive("b"), passive("c")]);
    assert_eq!(life.begin(), ["start a", "start b", "start c"]);
    for name in ["a", "b", "c"] {
        life.opened(name);
    }
    assert_eq!(life.stop("a test")[3..], ["stop a", "stop b", "stop c"]);
}

/// L1: siblings that are still starting give up, what has started is released, the rest is skipped.
#[test]
fn a_failed_start_rolls_back() {
    let mut life = Life::of(vec![
        passive("db"),
        passive("slow"),
        Spec::new("jobs").needing(Id(0), Edge::Hard),
        Spec::new("api").needing(Id(2), Edge::Hard),
    ]);
    life.begin();
    life.opened("db");
    assert_eq!(life.start_failed("jobs"), ["the stop begins", "stop slow", "shut the gate", "stop db"]);
    assert_eq!(life.state("api"), Component::Skipped);
    assert_eq!(life.closed("slow", End::Clean), [""; 0]);
    assert_eq!(life.gone("db"), ["release db", "finish: start failed"]);
    assert_eq!(life.engine.causes().unwrap().0, &Cause::StartFailed { component: Id(2) });
    assert_eq!(life.engine.service(), Service::Failed);
}

/// L1: a start that takes too long is a start that failed, once its opening has let go.
#[test]
fn a_start_that_takes_too_long_fails() {
    let mut life = Life::of(vec![Spec { start_within: s(2), ..passive("db") }]);
    life.begin();
    assert_eq!(life.pass(s(2)), ["cut db"]);
    assert_eq!(life.start_failed("db"), ["the stop begins", "shut the gate", "finish: start failed"]);
}

/// L2: one path for a stop during the start, never "wait until up, then stop".
#[test]
fn a_stop_during_the_start_takes_the_same_path() {
    let mut life = Life::of(shop());
    life.begin();
    life.opened("db");
    assert_eq!(life.stop("a test"), ["the stop begins", "stop jobs", "shut the gate"]);
    assert_eq!(life.state("api"), Component::Skipped);
    assert_eq!(life.closed("jobs", End::Clean), ["stop db"]);
    assert_eq!(life.gone("db"), ["release db", "finish: clean"]);
}

#[test]
fn what_becomes_ready_while_it_is_told_to_stop_is_drained_and_released() {
    let mut life = Life::of(shop());
    life.begin();
    life.opened("db");
    life.stop("a test");
    assert_eq!(life.opened("jobs"), [""; 0]);
    assert_eq!(life.gone("jobs"), ["release jobs", "stop db"]);
    assert_eq!(life.gone("db"), ["release db", "finish: clean"]);
}

#[test]
fn a_start_that_fails_while_it_is_told_to_stop_is_not_clean() {
    let mut life = Life::of(vec![passive("db")]);
    life.begin();
    life.stop("a test");
    assert_eq!(life.start_failed("db"), ["finish: not clean"]);
    assert_eq!(life.state("db"), Component::Failed);
}

/// L3: the first cause stands, later ones are kept.
#[test]
fn later_causes_are_kept_beside_the_first() {
    let mut life = Life::of(shop()).up(&["db", "jobs", "api"]);
    life.stop("the first");
    assert_eq!(life.stop("the second"), [""; 0]);
    life.ended("jobs", false);
    let (first, later) = life.engine.causes().unwrap();
    assert_eq!(first, &Cause::Request { by: "the first".into() });
    let second = Cause::Request { by: "the second".into() };
    assert_eq!(later, [second, Cause::ComponentFailed { component: Id(1) }]);
}

#[test]
fn an_essential_component_that_ends_ends_the_service() {
    let mut life = Life::of(shop()).up(&["db", "jobs", "api"]);
    assert_eq!(life.ended("jobs", true), ["not ready", "the stop begins", "shut the gate", "stop api"]);
    life.gone("api");
    life.gone("jobs");
    assert_eq!(life.gone("db"), ["release db", "finish: component failed"]);
}

/// L15: who holds on to what failed restarts with it, dependents stopped first and started last.
#[test]
fn a_restart_takes_its_hard_dependents_along() {
    let mut specs = shop();
    specs[1].restart = restarting(3);
    let mut life = Life::of(specs).up(&["db", "jobs", "api"]);
    assert_eq!(life.ended("jobs", false), ["restart jobs in 50ms", "stop api", "not ready"]);
    assert_eq!(life.gone("api"), ["release api", "stop jobs"]);
    assert_eq!(life.state("api"), Component::Retrying, "it waits for what it needs");
    assert_eq!(life.gone("jobs"), ["release jobs"]);
    assert_eq!(life.state("db"), Component::Ready);
    assert_eq!(life.pass(ms(50)), ["start jobs again (2)"]);
    assert_eq!(life.opened("jobs"), ["start api again (2)"]);
    assert_eq!(life.opened("api"), ["ready"]);
}

#[test]
fn soft_and_start_only_dependents_stay_up_in_a_restart() {
    let mut life = Life::of(vec![
        Spec { restart: restarting(3), ..Spec::new("cache") },
        Spec::new("softly").needing(Id(0), Edge::Soft),
        Spec::new("after").needing(Id(0), Edge::StartOnly),
    ])
    .up(&["cache", "softly", "after"]);
    assert_eq!(life.ended("cache", false), ["restart cache in 50ms", "stop cache", "not ready"]);
    assert_eq!((life.state("softly"), life.state("after")), (Component::Ready, Component::Ready));
}

/// Nobody may hold on to what has failed and still waits for its users to go.
#[test]
fn nothing_starts_on_what_is_about_to_restart() {
    let mut specs = vec![
        Spec { restart: restarting(3), ..Spec::new("feed") },
        Spec::new("user").needing(Id(0), Edge::Hard),
        passive("other"),
    ];
    specs.push(Spec::new("late").needing(Id(0), Edge::Hard).needing(Id(2), Edge::Hard));
    let mut life = Life::of(specs).up(&["feed", "user"]);
    assert_eq!(life.ended("feed", false), ["restart feed in 50ms", "stop user"]);
    assert_eq!(life.opened("other"), [""; 0], "`late` must wait for the next life of `feed`");
    life.gone("user");
    life.gone("feed");
    assert_eq!(life.pass(ms(50)), ["start feed again (2)"]);
    assert_eq!(life.opened("feed"), ["start user again (2)", "start late"]);
}

/// L16: intensity, then escalation.
#[test]
fn storms_give_up() {
    let mut life = Life::of(vec![Spec { restart: restarting(1), ..Spec::new("feed") }]).up(&["feed"]);
    assert_eq!(life.ended("feed", false), ["restart feed in 50ms", "stop feed", "not ready"]);
    life.gone("feed");
    life.pass(ms(50));
    life.opened("feed");
    let answers = ["give up feed", "not ready", "the stop begins", "shut the gate", "stop feed"];
    assert_eq!(sorted(life.ended("feed", false)), sorted(answers.map(str::to_owned).to_vec()));
    assert_eq!(life.gone("feed"), ["release feed", "finish: component failed"]);
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list
}

#[test]
fn an_optional_component_is_tried_again_and_holds_nothing_up() {
    let mut life = Life::of(vec![passive("db"), Spec { weight: Weight::Optional, ..passive("cache") }]);
    assert_eq!(life.begin(), ["start db", "start cache"]);
    assert_eq!(life.opened("db"), ["open the gate", "ready"]);
    assert_eq!(life.start_failed("cache"), ["restart cache in 100ms"]);
    assert_eq!(life.pass(ms(100)), ["start cache again (2)"]);
    assert_eq!(life.engine.service(), Service::Running);
}

/// What it was holding on to restarts without it, instead of waiting for ever.
#[test]
fn an_optional_dependent_that_is_left_behind_holds_up_no_restart() {
    let mut life = Life::of(vec![
        Spec { restart: restarting(3), ..Spec::new("feed") },
        Spec { weight: Weight::Optional, ..Spec::new("stuck") }.needing(Id(0), Edge::Hard),
    ])
    .up(&["feed", "stuck"]);
    assert_eq!(life.ended("feed", false), ["restart feed in 50ms", "stop stuck", "not ready"]);
    assert_eq!(life.pass(s(6)), ["cut stuck", "abandon stuck", "stop feed"]);
    assert_eq!(life.gone("feed"), ["release feed", "start feed again (2)"]);
    assert_eq!(life.opened("feed"), ["ready"], "what was abandoned is not started a second time");
    life.stop("a test");
    assert_eq!(life.gone("feed"), ["release feed", "finish: not clean"], "something is still there");
}

#[test]
fn what_was_given_up_is_not_started_by_the_restart_of_another() {
    let mut stubborn = Spec { weight: Weight::Optional, restart: restarting(0), ..Spec::new("stubborn") };
    stubborn = stubborn.needing(Id(0), Edge::Hard);
    let feed = Spec { restart: restarting(3), ..Spec::new("feed") };
    let mut life = Life::of(vec![feed, stubborn]).up(&["feed", "stubborn"]);
    assert_eq!(life.ended("stubborn", false), ["give up stubborn", "stop stubborn"]);
    assert_eq!(life.ended("feed", false), ["restart feed in 50ms", "not ready"]);
    assert_eq!(life.gone("stubborn"), ["release stubborn", "stop feed"]);
    life.gone("feed");
    assert_eq!(life.pass(ms(50)), ["start feed again (2)"]);
    assert_eq!(life.opened("feed"), ["ready"]);
}

#[test]
fn finished_jobs_end_the_app_and_start_what_waited_for_them() {
    let mut life = Life::of(vec![passive("db"), job("migrate").needing(Id(0), Edge::Hard), {
        job("report").needing(Id(0), Edge::Hard).needing(Id(1), Edge::StartOnly)
    }]);
    life.begin();
    assert_eq!(life.opened("db"), ["start migrate"]);
    assert_eq!(life.opened("migrate"), [""; 0], "ready is not yet done");
    assert_eq!(life.ended("migrate", true), ["start report"]);
    assert_eq!(life.opened("report"), ["open the gate", "ready"]);
    let answers = life.ended("report", true);
    assert_eq!(answers, ["not ready", "the stop begins", "shut the gate", "stop migrate", "stop report"]);
    assert_eq!(life.engine.causes().unwrap().0, &Cause::Finished);
    life.gone("migrate");
    life.gone("report");
    assert_eq!(life.gone("db"), ["release db", "finish: clean"]);
}

/// A job that restarts with what it needs counts once, and is not done before it is done again.
#[test]
fn a_job_that_runs_again_is_not_done_twice() {
    let mut life = Life::of(vec![
        Spec { restart: restarting(3), activity: Activity::Running, ..Spec::new("feed") },
        job("load").needing(Id(0), Edge::Hard),
        Spec::new("user").needing(Id(1), Edge::Hard),
    ])
    .up(&["feed", "load"]);
    assert_eq!(life.ended("load", true), ["start user"]);
    life.opened("user");
    life.ended("feed", false);
    assert_eq!(life.gone("user"), ["release user", "stop load"]);
    assert_eq!(life.gone("load"), ["release load", "stop feed"]);
    life.gone("feed");
    assert_eq!(life.pass(ms(50)), ["start feed again (2)"]);
    assert_eq!(life.opened("feed"), ["start load again (2)"]);
    assert_eq!(life.opened("load"), [""; 0], "its user waits until it has succeeded again");
    assert_eq!(life.ended("load", true), ["start user again (2)"]);
}

#[test]
fn intakes_close_first_and_after_the_propagation_delay() {
    let mut specs = shop();
    specs[1].role = Role::Intake;
    let mut life = Life::with(specs, Policy::Reverse, Budget::new(s(30)).with_propagation_delay(s(5)));
    life = life.up(&["db", "jobs", "api"]);
    assert_eq!(life.stop("a test"), ["not ready", "the stop begins"]);
    assert_eq!(life.pass(ms(4_999)), [""; 0], "traffic is still served");
    assert_eq!(life.pass(ms(1)), ["shut the gate", "stop jobs", "stop api"]);
    assert_eq!(life.drained("jobs"), [""; 0], "its value is still lent to `api`");
    assert_eq!(life.gone("api"), ["release api", "release jobs"]);
}

#[test]
fn registrars_start_last_and_go_first() {
    let mut life = Life::with(
        vec![Spec { role: Role::Registrar, ..passive("consul") }, Spec { role: Role::Intake, ..Spec::new("api") }],
        Policy::Reverse,
        Budget::new(s(30)).with_propagation_delay(s(5)),
    );
    assert_eq!(life.begin(), ["start api"]);
    assert_eq!(life.opened("api"), ["start consul"]);
    assert_eq!(life.engine.service(), Service::Ready);
    assert_eq!(life.opened("consul"), ["open the gate", "ready"]);
    assert_eq!(life.stop("a test"), ["not ready", "the stop begins", "stop consul"], "while traffic is still served");
    life.gone("consul");
    assert_eq!(life.pass(s(5)), ["shut the gate", "stop api"]);
    assert_eq!(life.gone("api"), ["release api", "finish: clean"]);
}

/// R4.4: all are told at once, values are still released in order.
#[test]
fn broadcast_tells_everybody_and_releases_in_order() {
    let mut life = Life::with(shop(), Policy::Broadcast, Budget::new(s(30))).up(&["db", "jobs", "api"]);
    let answers = life.stop("a test");
    assert_eq!(answers, ["not ready", "the stop begins", "shut the gate", "stop db", "stop jobs", "stop api"]);
    assert_eq!(life.drained("db"), [""; 0]);
    assert_eq!(life.drained("jobs"), [""; 0]);
    assert_eq!(life.drained("api"), ["release api"]);
    assert_eq!(life.closed("api", End::Clean), ["release jobs"]);
    assert_eq!(life.closed("jobs", End::Clean), ["release db"]);
}

struct Script(Vec<Choice>);

impl Coordinator for Script {
    fn next(&mut self, _: &StopView<'_>) -> Choice {
        if self.0.is_empty() { Choice::Stop(Vec::new()) } else { self.0.remove(0) }
    }
}

fn coordinated(script: Vec<Choice>) -> Life {
    let policy = Policy::Coordinator(Box::new(Script(script)));
    Life::with(shop(), policy, Budget::new(s(30))).up(&["db", "jobs", "api"])
}

/// R4.4: user code says who is next, and is asked again after each confirmation.
#[test]
fn a_coordinator_decides_who_is_told() {
    let mut life = coordinated(vec![Choice::Stop(vec![Id(1)]), Choice::Stop(vec![Id(2)]), Choice::Rest]);
    assert_eq!(life.stop("a test")[3..], ["stop jobs"]);
    assert_eq!(life.drained("jobs"), ["stop api"], "its release waits for `api` all the same");
    assert_eq!(life.drained("api"), ["release api"]);
    assert_eq!(life.closed("api", End::Clean), ["release jobs"]);
    assert_eq!(life.closed("jobs", End::Clean), ["stop db"]);
    assert_eq!(life.gone("db"), ["release db", "finish: clean"]);
}

#[test]
fn a_coordinator_that_names_nobody_does_not_hold_up_the_stop() {
    let mut life = coordinated(vec![Choice::Stop(vec![Id(77)])]);
    assert_eq!(life.stop("a test")[3..], ["the coordinator is stuck", "stop api"]);
    assert_eq!(life.gone("api"), ["release api", "stop jobs"]);
}

/// L9: what remains is split along the chain, and waiting for others is charged to nobody.
#[test]
fn the_budget_is_split_along_the_chain() {
    let mut specs = shop();
    for spec in &mut specs {
        spec.stop_within = Limit::fixed(s(10));
    }
    let mut life = Life::with(specs, Policy::Reverse, Budget::new(ms(3_200))).up(&["db", "jobs", "api"]);
    life.stop("a test");
    assert_eq!(life.engine.allowed(Id(2)), s(1), "a third of three seconds");
    life.pass(ms(500));
    life.gone("api");
    assert_eq!(life.engine.allowed(Id(1)), ms(1_500), "what was saved goes to whoever comes next");
    assert_eq!(life.engine.charged(Id(1)), Duration::ZERO, "waiting was not charged");
    life.pass(ms(200));
    life.gone("jobs");
    assert_eq!(life.engine.charged(Id(1)), ms(200));
}

/// The ladder: limit, cut, abandoned; the next in order has its turn.
#[test]
fn a_component_that_does_not_answer_is_cut_then_abandoned() {
    let mut life = Life::of(shop()).up(&["db", "jobs", "api"]);
    life.stop("a test");
    assert_eq!(life.pass(s(5)), ["cut api"]);
    assert_eq!(life.pass(ms(100)), ["abandon api", "stop jobs"]);
    assert_eq!(life.closed("api", End::Clean), [""; 0], "it ended after all; that changes nothing");
    life.gone("jobs");
    assert_eq!(life.gone("db"), ["release db", "finish: not clean"]);
}

#[test]
fn the_forced_stage_cuts_everybody_and_ends_in_time() {
    let mut life = Life::of(shop()).up(&["db", "jobs", "api"]);
    life.stop("a test");
    let answers = life.feed(Input::Force(Cause::Signal { name: "SIGINT", number: 2 }));
    let stage = ["the forced stage begins", "stop db", "cut all of db", "stop jobs", "cut all of jobs"];
    assert_eq!(answers[..5], stage);
    assert_eq!(life.closed("api", End::Cut), [""; 0]);
    let answers = life.pass(FORCED_GRACE);
    assert_eq!(answers, ["abandon db", "abandon jobs", "finish: forced"]);
}

#[test]
fn the_deadline_holds_whatever_the_budget() {
    for budget in [1, 9, 20, 100, 149, 2_000, 30_000].map(ms) {
        let mut life = Life::with(shop(), Policy::Reverse, Budget::new(budget)).up(&["db", "jobs", "api"]);
        life.stop("a test");
        let answers = life.pass(budget);
        assert_eq!(answers.last().map(String::as_str), Some("finish: not clean"), "{budget:?}: {answers:?}");
    }
}

/// The driver was late: the answer was there before the time was up, behind another one.
#[test]
fn an_answer_that_is_heard_late_is_still_in_time() {
    let mut life = Life::of(vec![passive("a"), passive("b")]).up(&["a", "b"]);
    life.stop("a test");
    life.now = s(20);
    assert_eq!(life.drained("a"), ["release a"]);
    assert_eq!(life.drained("b"), ["release b"], "nobody was cut off in between");
}

#[test]
fn an_end_at_the_very_deadline_is_in_time() {
    let mut life = Life::with(vec![passive("db")], Policy::Reverse, Budget::new(s(1))).up(&["db"]);
    life.stop("a test");
    life.drained("db");
    life.now = ms(900);
    assert_eq!(life.closed("db", End::Clean), ["finish: clean"]);
}

/// A lease that never came back makes the exit code, even if its owner has restarted since.
#[test]
fn a_leak_in_an_earlier_life_is_not_forgotten() {
    let mut life = Life::of(vec![Spec { restart: restarting(3), ..Spec::new("feed") }]).up(&["feed"]);
    life.ended("feed", false);
    life.drained("feed");
    life.closed("feed", End::Leaked);
    life.pass(ms(50));
    life.opened("feed");
    life.stop("a test");
    assert_eq!(life.gone("feed"), ["release feed", "finish: not clean"]);
}

#[test]
fn a_failure_that_restarts_and_recovers_leaves_the_stop_clean() {
    let mut life = Life::of(vec![Spec { restart: restarting(3), ..Spec::new("feed") }]).up(&["feed"]);
    life.ended("feed", false);
    life.drained("feed");
    life.closed("feed", End::Failed);
    life.pass(ms(50));
    life.opened("feed");
    life.stop("a test");
    assert_eq!(life.gone("feed"), ["release feed", "finish: clean"]);
}

#[test]
fn a_stop_in_the_middle_of_a_restart_says_that_something_had_failed() {
    let mut life = Life::of(vec![Spec { restart: restarting(3), ..Spec::new("feed") }]).up(&["feed"]);
    life.ended("feed", true);
    life.stop("a test");
    assert_eq!(life.gone("feed"), ["release feed", "finish: not clean"]);
    assert_eq!(Outcome::NotClean.exit_code(), 12);
}
