//! The components of a scenario, played through the public API: their closures commit the faults that the scenario says,
//! and write down what they see from inside.
//!
//! Planned panics are raised without the panic hook, so that a sweep prints nothing for them.

use std::{
    future::Future,
    panic::resume_unwind,
    pin::pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    task::{Context, Waker},
    time::Duration,
};

use evenkeel::{App, Handle, Lease, Needs, Ready, Result, Stop, Watch};
use evenkeel_plan::limit::Limit;
use tokio::time::sleep;

use crate::{
    scenario::{Act, BadDrop, Component, Keep, Kind, Run, Scenario, Task, name},
    shapes::{Declare, Declared, Given, Pour, Wanted, declare},
    trace::{How, Life, Log, Stage, What, lock},
};

/// Declares the whole scenario.
pub(crate) fn declare_all(app: &App, scenario: &Scenario, stage: &Arc<Backstage>) {
    let mut declared: Vec<Declared> = Vec::with_capacity(scenario.components.len());
    for (id, part) in scenario.components.iter().enumerate() {
        let actor = Arc::new(Actor { id, part: part.clone(), stage: stage.clone() });
        let handle = declare(&wanted(part, &declared), Role { app, actor });
        declared.push(handle);
    }
}

fn wanted<'a>(part: &Component, declared: &'a [Declared]) -> Wanted<'a> {
    let mut wanted = Wanted::default();
    for &on in &part.hard {
        match &declared[on] {
            Declared::Value(handle) => wanted.values.push(handle),
            Declared::Unit(handle) => wanted.unit = Some(handle),
            Declared::OptionalValue(_) | Declared::OptionalUnit => {}
        }
    }
    for &on in &part.soft {
        match &declared[on] {
            Declared::Value(handle) => wanted.soft = Some(handle),
            Declared::OptionalValue(handle) => wanted.optional = Some(handle),
            Declared::Unit(_) | Declared::OptionalUnit => {}
        }
    }
    wanted.after = part.after.iter().map(|&on| &declared[on]).collect();
    wanted
}

/// What all components of a run share.
pub(crate) struct Backstage {
    pub(crate) log: Arc<Log>,
    /// How often each has been started.
    turns: Vec<AtomicU32>,
    /// Who lends a value that can be looked at.
    lends: Vec<bool>,
    /// Leases that are never given back.
    kept: Mutex<Vec<Arc<Grip>>>,
}

impl Backstage {
    pub(crate) fn new(log: Arc<Log>, components: &[Component]) -> Arc<Self> {
        let turns = components.iter().map(|_| AtomicU32::new(0)).collect();
        let lends = components.iter().map(Component::lends).collect();
        Arc::new(Self { log, turns, lends, kept: Mutex::default() })
    }

    /// Gives back what was never to be given back, once nobody looks any more.
    pub(crate) fn clear(&self) {
        let kept = std::mem::take(&mut *lock(&self.kept));
        drop(kept);
    }
}

/// What a component lends: it knows whose it is, and notes its end.
pub(crate) struct Value {
    life: Life,
    bad: bool,
    log: Arc<Log>,
    _held: Vec<Arc<Grip>>,
}

impl Drop for Value {
    fn drop(&mut self) {
        self.log.note(What::Gone(self.life));
        if self.bad {
            bad_drop(self.life, &self.log);
        }
    }
}

/// A panic in a drop; never while another is under way, which would end the process.
fn bad_drop(life: Life, log: &Log) {
    if !std::thread::panicking() && !log.is_over() {
        log.note(What::BadDrop(life));
        planned_panic();
    }
}

fn planned_panic() -> ! {
    resume_unwind(Box::new("planned"))
}

/// A lease, noted when it is taken and when it is given back.
pub(crate) struct Grip {
    holder: Life,
    owner: Life,
    log: Arc<Log>,
    _lease: Lent,
}

#[derive(Clone)]
enum Lent {
    Value(#[expect(dead_code, reason = "held, not read")] Lease<Value>),
    Unit(#[expect(dead_code, reason = "held, not read")] Lease<()>),
}

impl Grip {
    fn new(holder: Life, owner: Life, log: &Arc<Log>, lease: Lent) -> Arc<Self> {
        log.note(What::Lent(holder, owner));
        Arc::new(Self { holder, owner, log: log.clone(), _lease: lease })
    }

    fn again(&self) -> Arc<Self> {
        Self::new(self.holder, self.owner, &self.log, self._lease.clone())
    }
}

impl Drop for Grip {
    fn drop(&mut self) {
        self.log.note(What::Back(self.holder, self.owner));
    }
}

/// Code of a component that is under way.
struct Span {
    life: Life,
    stage: Stage,
    log: Arc<Log>,
    how: How,
}

impl Span {
    fn ends(mut self, result: Result) -> Result {
        self.how = if result.is_ok() { How::Ok } else { How::Error };
        result
    }

    fn panics(mut self) -> ! {
        self.how = How::Panic;
        drop(self);
        planned_panic()
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        self.log.note(What::Ended(self.life, self.stage, self.how));
    }
}

/// Panics when it is dropped armed.
struct Booby {
    life: Life,
    log: Arc<Log>,
    armed: bool,
}

impl Drop for Booby {
    fn drop(&mut self) {
        if self.armed {
            bad_drop(self.life, &self.log);
        }
    }
}

/// One component, whatever it was declared as.
pub(crate) struct Actor {
    id: usize,
    part: Component,
    stage: Arc<Backstage>,
}

/// How a planned act ends when it does not end well.
enum Fault {
    Error,
    Panic,
}

impl Actor {
    fn log(&self) -> &Arc<Log> {
        &self.stage.log
    }

    fn begin(&self) -> Life {
        let turn = self.stage.turns[self.id].fetch_add(1, Ordering::Relaxed) + 1;
        Life { id: self.id, turn }
    }

    fn span(&self, life: Life, stage: Stage) -> Span {
        self.log().note(What::Began(life, stage));
        Span { life, stage, log: self.log().clone(), how: How::Dropped }
    }

    fn hold(&self, life: Life, given: &mut Given) -> Vec<Arc<Grip>> {
        let mut held = Vec::new();
        for lease in given.values.drain(..) {
            held.push(Grip::new(life, lease.life, self.log(), Lent::Value(lease)));
        }
        for lease in given.units.drain(..) {
            let id = self.part.hard.iter().copied().find(|&on| !self.stage.lends[on]);
            let id = id.expect("who is given a unit needs a worker");
            let owner = Life { id, turn: self.stage.turns[id].load(Ordering::Relaxed) };
            held.push(Grip::new(life, owner, self.log(), Lent::Unit(lease)));
        }
        self.keep(&held);
        held
    }

    fn keep(&self, held: &[Arc<Grip>]) {
        let Some(grip) = held.first() else { return };
        match self.part.keeps {
            Keep::No => {}
            Keep::Forever => lock(&self.stage.kept).push(grip.again()),
            Keep::For(time) => {
                let grip = grip.again();
                tokio::spawn(async move {
                    sleep(time).await;
                    drop(grip);
                });
            }
        }
    }

    fn value(&self, life: Life, held: Vec<Arc<Grip>>) -> Value {
        self.log().note(What::Made(life));
        Value { life, bad: self.part.bad_drop == BadDrop::Value, log: self.log().clone(), _held: held }
    }

    async fn act(&self, life: Life, act: Act) -> Result<(), Fault> {
        match act {
            Act::Quick => Ok(()),
            Act::After(time) => {
                sleep(time).await;
                Ok(())
            }
            Act::Hang => std::future::pending().await,
            Act::Error(time) => {
                sleep(time).await;
                Err(Fault::Error)
            }
            Act::Panic(time) => {
                sleep(time).await;
                Err(Fault::Panic)
            }
            Act::PanicAtOnce => Err(Fault::Panic),
            Act::Block(time) => {
                self.block(life, time);
                Ok(())
            }
            Act::GiveUp => Err(Fault::Error),
        }
    }

    /// Holds the thread: the clock goes on and nothing else does.
    fn block(&self, life: Life, time: Duration) {
        stand_still(self.log(), life.id, time);
    }

    fn opening(&self, life: Life) -> Act {
        if life.turn <= self.part.bad_opens { self.part.open } else { Act::Quick }
    }

    async fn open(self: Arc<Self>, life: Life, mut given: Given) -> Result<Value> {
        let span = self.span(life, Stage::Open);
        let held = self.hold(life, &mut given);
        match self.act(life, self.opening(life)).await {
            Ok(()) => {
                span.ends(Ok(()))?;
                Ok(self.value(life, held))
            }
            Err(Fault::Error) => span.ends(Err("planned".into())).map(|()| unreachable!("it is an error")),
            Err(Fault::Panic) => span.panics(),
        }
    }

    async fn close(self: Arc<Self>, value: Value) -> Result {
        let life = value.life;
        let span = self.span(life, Stage::Close);
        let result = match self.act(life, self.part.close).await {
            Ok(()) => Ok(()),
            Err(Fault::Error) => Err("planned".into()),
            Err(Fault::Panic) => span.panics(),
        };
        let result = span.ends(result);
        drop(value);
        result
    }

    async fn close_ref(self: Arc<Self>, value: Lease<Value>) -> Result {
        let span = self.span(value.life, Stage::CloseRef);
        match self.act(value.life, self.part.close).await {
            Ok(()) => span.ends(Ok(())),
            Err(Fault::Error) => span.ends(Err("planned".into())),
            Err(Fault::Panic) => span.panics(),
        }
    }

    async fn work(self: Arc<Self>, life: Life, mut given: Given, stop: Stop) -> Result {
        let held = self.hold(life, &mut given);
        self.run(life, &held, &given.watches, &stop).await
    }

    async fn work_late(self: Arc<Self>, life: Life, mut given: Given, ready: Ready<Value>, stop: Stop) -> Result {
        let opening = self.span(life, Stage::Open);
        let held = self.hold(life, &mut given);
        match self.act(life, self.opening(life)).await {
            Ok(()) => {}
            Err(Fault::Error) if self.opening(life) == Act::GiveUp => {
                drop(ready);
                return std::future::pending().await;
            }
            Err(Fault::Error) => return opening.ends(Err("planned".into())),
            Err(Fault::Panic) => opening.panics(),
        }
        opening.ends(Ok(()))?;
        ready.with(self.value(life, Vec::new()));
        self.run(life, &held, &given.watches, &stop).await
    }

    async fn run(&self, life: Life, held: &[Arc<Grip>], watches: &[Watch<Value>], stop: &Stop) -> Result {
        let span = self.span(life, Stage::Run);
        let mut booby = Booby { life, log: self.log().clone(), armed: self.part.bad_drop == BadDrop::Future };
        drop(self.look(life, watches));
        for (number, task) in self.part.tasks.iter().enumerate() {
            let grip = held.first().map(|grip| grip.again());
            stop.spawn(perform_task(self.span(life, Stage::Task(number)), *task, grip, stop.clone()));
        }
        let done = self.play(life, watches, stop).await;
        booby.armed = false;
        match done {
            Ok(()) => span.ends(Ok(())),
            Err(Fault::Error) => span.ends(Err("planned".into())),
            Err(Fault::Panic) => span.panics(),
        }
    }

    /// Takes leases on what is needed softly, as far as it is there.
    fn look(&self, life: Life, watches: &[Watch<Value>]) -> Vec<Arc<Grip>> {
        let leases = watches.iter().filter_map(Watch::get);
        leases.map(|lease| Grip::new(life, lease.life, self.log(), Lent::Value(lease))).collect()
    }

    async fn play(&self, life: Life, watches: &[Watch<Value>], stop: &Stop) -> Result<(), Fault> {
        let fallback =
            if self.part.finite { Run::Ok(Duration::from_millis(1)) } else { Run::UntilStop(Duration::ZERO) };
        let run = if life.turn <= self.part.bad_runs { self.part.run } else { fallback };
        match run {
            Run::Ok(time) => {
                sleep(time).await;
                return Ok(());
            }
            Run::Error(time) => {
                sleep(time).await;
                return Err(Fault::Error);
            }
            Run::Panic(time) => {
                sleep(time).await;
                return Err(Fault::Panic);
            }
            Run::Deaf => std::future::pending().await,
            _ => {}
        }
        self.take_in(life, stop).await;
        stop.requested().await;
        self.log().note(What::Told(life));
        let _looked = self.look(life, watches);
        match run {
            Run::UntilStop(time) => sleep(time).await,
            Run::HangInDrain => std::future::pending().await,
            Run::ErrorInDrain(time) => {
                sleep(time).await;
                return Err(Fault::Error);
            }
            Run::PanicInDrain => return Err(Fault::Panic),
            Run::BlockInDrain(time) => self.block(life, time),
            Run::Ok(_) | Run::Error(_) | Run::Panic(_) | Run::Deaf => {}
        }
        Ok(())
    }

    /// A few pieces of work from outside.
    async fn take_in(&self, life: Life, stop: &Stop) {
        for _ in 0..if self.part.intake { 3 } else { 0 } {
            if stop.or(sleep(Duration::from_millis(250))).await.is_none() {
                return;
            }
            self.log().note(What::Took(life));
        }
    }
}

async fn perform_task(span: Span, task: Task, grip: Option<Arc<Grip>>, stop: Stop) -> Result {
    let _grip = grip;
    match task {
        Task::UntilStop(time) => {
            stop.requested().await;
            sleep(time).await;
        }
        Task::Ok(time) => sleep(time).await,
        Task::Error(time) => {
            sleep(time).await;
            return span.ends(Err("planned".into()));
        }
        Task::Panic(time) => {
            sleep(time).await;
            span.panics();
        }
        Task::Deaf => std::future::pending().await,
    }
    span.ends(Ok(()))
}

/// Moves the clock while nothing else can happen.
pub(crate) fn stand_still(log: &Log, id: usize, time: Duration) {
    log.note(What::Blocked(id, time));
    // The first poll moves the clock; what it would wait for afterwards is only its turn.
    let _ = pin!(tokio::time::advance(time)).poll(&mut Context::from_waker(Waker::noop()));
}

/// A component of the trait form.
struct Typed(Arc<Actor>);

impl<G: Pour + Send + 'static> evenkeel::Component<G> for Typed {
    type Value = Value;

    async fn open(&self, given: G, _: &Stop) -> Result<Value> {
        let life = self.0.begin();
        self.0.clone().open(life, given.given()).await
    }

    async fn run(&self, value: Lease<Value>, stop: Stop) -> Result {
        let life = value.life;
        let own = Grip::new(life, life, self.0.log(), Lent::Value(value));
        self.0.run(life, &[own], &[], &stop).await
    }

    async fn close(&self, value: Value) -> Result {
        self.0.clone().close(value).await
    }
}

/// Declares one component.
struct Role<'a> {
    app: &'a App,
    actor: Arc<Actor>,
}

impl Declare for Role<'_> {
    fn declare<N: Needs<Given: Pour>>(self, needs: N) -> Declared {
        let Role { app, actor } = self;
        let (name, it) = (name(actor.id), actor.clone());
        match actor.part.kind {
            Kind::Resource => {
                let open = move |given: N::Given| {
                    let life = it.begin();
                    it.open(life, given.given())
                };
                let it = actor.clone();
                valued(app.resource(name, needs, open, move |value| it.close(value)), &actor)
            }
            Kind::LateWorker => {
                let work = move |given: N::Given, ready, stop| {
                    let life = it.begin();
                    it.work_late(life, given.given(), ready, stop)
                };
                valued(app.late_worker(name, needs, work), &actor)
            }
            Kind::Typed => valued(app.component(name, needs, Typed(it)), &actor),
            Kind::Worker => {
                let work = move |given: N::Given, stop| {
                    let life = it.begin();
                    it.work(life, given.given(), stop)
                };
                unit(app.worker(name, needs, work), &actor.part)
            }
        }
    }
}

fn valued(handle: Handle<Value>, actor: &Arc<Actor>) -> Declared {
    let mut handle = limited(handle, &actor.part);
    if actor.part.close_ref {
        let it = actor.clone();
        handle = handle.close_ref(move |value| it.clone().close_ref(value));
    }
    if actor.part.optional { Declared::OptionalValue(handle.optional()) } else { Declared::Value(handle) }
}

fn unit(handle: Handle<()>, part: &Component) -> Declared {
    let mut handle = limited(handle, part);
    if part.finite {
        handle = handle.finite();
    }
    if part.intake {
        handle = handle.intake();
    }
    if part.optional {
        let _ = handle.optional();
        return Declared::OptionalUnit;
    }
    Declared::Unit(handle)
}

fn limited<T>(mut handle: Handle<T>, part: &Component) -> Handle<T> {
    if part.retries {
        handle = handle.stop_limit(Limit::exponential(Duration::from_millis(20), 2, 3));
    } else if let Some(limit) = part.stop_within {
        handle = handle.stop_within(limit);
    }
    if let Some(limit) = part.start_within {
        handle = handle.start_within(limit);
    }
    match part.restart {
        Some(policy) => handle.restart(policy),
        None => handle,
    }
}
