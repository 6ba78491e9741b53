//! An app: its components and how it is to stop.
//!
//! Declaring does nothing yet: no closure runs, nothing is opened. [`App::run`](crate::App::run) and
//! [`App::start`](crate::App::start) check the whole first and refuse what cannot work, with a message that says what,
//! where and what to do.

#![allow(clippy::needless_pass_by_value, reason = "needs are references, or tuples of them")]

use std::{
    collections::BTreeMap,
    future::Future,
    marker::PhantomData,
    panic::Location,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use evenkeel_plan::{
    budget::{Budget, Plan},
    graph::Graph,
    limit::Limit,
    policy::{Choice, Coordinator, Policy, StopView},
    spec::{Activity, DEFAULT_BUDGET, Id, Role, Spec},
};

use crate::{
    component::Component,
    error::Result,
    handle::{Handle, Once},
    kinds::{Fake, LateWorker, Ready, Resource, Site, Typed, Worker},
    lease::{Holder, lock, short},
    needs::{Edges, Needs},
    part::{Behaviour, CloseRef, Current, Part, Recipe},
    polls::{self, Mark},
    stop::Stop,
};

/// A program's components and how it stops. See the [crate documentation](crate) for a whole program.
pub struct App {
    pub(crate) name: String,
    pub(crate) declared: Arc<Mutex<Declared>>,
    pub(crate) settings: Settings,
    pub(crate) checks: Mutex<Vec<Check>>,
    /// Listening sockets that the process was given.
    #[cfg(feature = "http")]
    pub(crate) doors: Arc<crate::http::Doors>,
}

/// A check of the program's own.
pub(crate) struct Check {
    pub(crate) name: String,
    pub(crate) check: Box<dyn FnOnce() -> Result<String> + Send>,
}

/// How an app runs; each can be changed on its command line.
pub(crate) struct Settings {
    pub(crate) budget: Duration,
    pub(crate) propagation_delay: Duration,
    pub(crate) policy: Policy,
    pub(crate) threads: Threads,
    pub(crate) about: Option<String>,
    pub(crate) version: Option<String>,
    /// Where the admin listener is; `None`: nowhere.
    #[cfg(feature = "http")]
    pub(crate) admin: Option<std::net::SocketAddr>,
    #[cfg(feature = "http")]
    pub(crate) probes: crate::probes::Probes,
}

/// The runtime that components run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Threads {
    /// As many as the machine has cores.
    Cores,
    /// This many.
    Fixed(usize),
    /// All components on one thread.
    One,
}

/// Everything declared so far.
#[derive(Default)]
pub(crate) struct Declared {
    pub(crate) entries: Vec<Entry>,
    pub(crate) problems: Vec<Problem>,
    /// How often components have promised to say that they are alive.
    pub(crate) heartbeats: BTreeMap<Id, Duration>,
}

pub(crate) struct Entry {
    pub(crate) spec: Spec,
    pub(crate) kind: &'static str,
    pub(crate) site: Site,
    pub(crate) behaviour: Arc<dyn Behaviour>,
    pub(crate) close_ref: Option<Arc<dyn CloseRef>>,
}

/// Why an app is refused before it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// What is wrong, and where.
    pub text: String,
    /// What to do about it.
    pub hint: String,
}

impl std::fmt::Display for Problem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\nhint: {}", self.text, self.hint)
    }
}

impl std::error::Error for Problem {}

/// How components are told to stop once the intakes are closed.
pub enum StopPolicy {
    /// All at once. Values are still released in reverse order.
    Broadcast,
    /// Each as soon as all that depend on it are over. The default.
    Reverse,
    /// As a closure says; see [`StopPolicy::coordinator`].
    Coordinator(Box<dyn Coordinator>),
}

impl StopPolicy {
    /// User code decides whom to tell next. It is asked when the intakes have been told, and again each time a component
    /// confirms by having drained or ended; limits, deadline and the order of releases hold all the same. It must answer
    /// at once. If it panics, the rest stops in reverse order, and the stop is not clean.
    pub fn coordinator(decide: impl FnMut(&StopView<'_>) -> Choice + Send + 'static) -> Self {
        Self::Coordinator(Box::new(Guarded { decide, panicked: None }))
    }
}

struct Guarded<F> {
    decide: F,
    panicked: Option<String>,
}

impl<F: FnMut(&StopView<'_>) -> Choice + Send> Coordinator for Guarded<F> {
    fn next(&mut self, view: &StopView<'_>) -> Choice {
        polls::guarded(polls::COORDINATOR, || (self.decide)(view)).unwrap_or_else(|panic| {
            self.panicked = Some(panic);
            Choice::Rest
        })
    }

    fn failure(&mut self) -> Option<String> {
        self.panicked.take()
    }
}

impl App {
    /// An app with nothing in it. The name appears in logs, receipts and paths; it may hold letters, digits, `.`, `_`
    /// and `-`.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            declared: Arc::default(),
            checks: Mutex::default(),
            #[cfg(feature = "http")]
            doors: Arc::default(),
            settings: Settings {
                budget: DEFAULT_BUDGET,
                propagation_delay: Duration::ZERO,
                policy: Policy::Reverse,
                threads: Threads::Cores,
                about: None,
                version: None,
                #[cfg(feature = "http")]
                admin: Some(std::net::SocketAddr::from((std::net::Ipv4Addr::LOCALHOST, 0))),
                #[cfg(feature = "http")]
                probes: crate::probes::Probes::default(),
            },
        }
    }

    /// One sentence for `--help`.
    #[must_use]
    pub fn about(mut self, sentence: impl Into<String>) -> Self {
        self.settings.about = Some(sentence.into());
        self
    }

    /// The version for `--version`; usually `env!("CARGO_PKG_VERSION")`.
    #[must_use]
    pub fn version(mut self, version: impl Into<String>) -> Self {
        self.settings.version = Some(version.into());
        self
    }

    /// The time a whole stop may take, from the order to the end of the process. Without this: 30 seconds.
    #[must_use]
    pub fn budget(mut self, total: Duration) -> Self {
        self.settings.budget = total;
        self
    }

    /// How long to go on serving after the service is no longer ready, so that load balancers notice before anything
    /// closes. It is part of the budget. Without this: not at all.
    #[must_use]
    pub fn propagation_delay(mut self, delay: Duration) -> Self {
        self.settings.propagation_delay = delay;
        self
    }

    /// How components are told to stop. Without this: in reverse order.
    #[must_use]
    pub fn stop_policy(mut self, policy: StopPolicy) -> Self {
        self.settings.policy = match policy {
            StopPolicy::Broadcast => Policy::Broadcast,
            StopPolicy::Reverse => Policy::Reverse,
            StopPolicy::Coordinator(coordinator) => Policy::Coordinator(coordinator),
        };
        self
    }

    /// How many threads components run on. Without this: one for each core.
    #[must_use]
    pub fn worker_threads(mut self, threads: usize) -> Self {
        self.settings.threads = Threads::Fixed(threads.max(1));
        self
    }

    /// Runs all components on one thread. Stopping works as well there; a component that blocks holds all others up.
    #[must_use]
    pub fn current_thread(mut self) -> Self {
        self.settings.threads = Threads::One;
        self
    }

    /// Where [`run`](Self::run) answers probes and `GET /status`: an address like `0.0.0.0:9100`, or `off`. Without this:
    /// on the loopback interface, at a port that the system chooses; it is printed at the start and in `status`.
    #[cfg(feature = "http")]
    #[must_use]
    pub fn admin(mut self, addr: &str) -> Self {
        match crate::program::admin_addr(addr) {
            Ok(addr) => self.settings.admin = addr,
            Err(hint) => lock(&self.declared)
                .problems
                .push(Problem { text: format!("the admin listener cannot be at {addr:?}"), hint }),
        }
        self
    }

    /// Where the probes are on the admin listener, and how patient liveness is. Without this: see
    /// [`Probes::new`](crate::Probes::new).
    #[cfg(feature = "http")]
    #[must_use]
    pub fn probes(mut self, probes: crate::Probes) -> Self {
        lock(&self.declared).problems.extend(probes.problems());
        self.settings.probes = probes;
        self
    }

    /// Declares a value that is opened, lent to others, and closed when nobody holds it any more.
    ///
    /// `open` is dropped half-way if the start is given up; `close` gets the value back whole.
    #[track_caller]
    pub fn resource<N, T, O, OF, C, CF>(&self, name: impl Into<String>, needs: N, open: O, close: C) -> Handle<T>
    where
        N: Needs,
        T: Send + Sync + 'static,
        O: FnOnce(N::Given) -> OF + Clone + Send + 'static,
        OF: Future<Output = Result<T>> + Send + 'static,
        C: FnOnce(T) -> CF + Clone + Send + 'static,
        CF: Future<Output = Result> + Send + 'static,
    {
        let behaviour =
            Resource::<N::Form, T, O, C> { open: Recipe::many(open), close: Recipe::many(close), _types: PhantomData };
        self.declare("resource", name, &needs, behaviour, |spec| spec.activity = Activity::Passive)
    }

    /// Declares a task that runs until it is told to stop.
    #[track_caller]
    pub fn worker<N, W, F>(&self, name: impl Into<String>, needs: N, work: W) -> Handle<()>
    where
        N: Needs,
        W: FnOnce(N::Given, Stop) -> F + Clone + Send + 'static,
        F: Future<Output = Result> + Send + 'static,
    {
        let behaviour = Worker::<N::Form, W> { work: Recipe::many(work), _types: PhantomData };
        self.declare("worker", name, &needs, behaviour, |_| {})
    }

    /// Adds a check of the program's own to those of `doctor`: that a licence is valid, a model is there, a tool has the right
    /// version. It returns what it found, in a few words; its error says what is missing, and a
    /// [`hint`](crate::Explain::hint) what to do.
    ///
    /// `doctor` shows it, and [`run`](App::run) carries it out before anything is opened: one that fails refuses the start,
    /// with exit code 78. It may block, on a thread of its own, for ten seconds; then it has failed.
    ///
    /// ```
    /// use evenkeel::{App, Explain};
    ///
    /// let app = App::new("orders");
    /// app.check("price list", || {
    ///     let prices = std::fs::read_to_string("prices.txt")
    ///         .context("cannot read prices.txt")
    ///         .hint("copy prices.example.txt there")?;
    ///     Ok(format!("{} prices", prices.lines().count()))
    /// });
    /// ```
    pub fn check<C>(&self, name: impl Into<String>, check: C)
    where
        C: FnOnce() -> Result<String> + Send + 'static,
    {
        lock(&self.checks).push(Check { name: name.into(), check: Box::new(check) });
    }

    /// Declares what makes the service known to others: a service registry, a load balancer (R2.3b).
    ///
    /// `register` is called when every essential component is ready, and only when it has returned does the service take
    /// traffic; `deregister` is called first of all when it stops. Nobody can need it.
    ///
    /// When the program hands over to itself (`restart`), the new process registers before the old one deregisters: let the
    /// entries of the two differ, by the process id for example.
    #[track_caller]
    pub fn registrar<N, T, O, OF, C, CF>(&self, name: impl Into<String>, needs: N, register: O, deregister: C)
    where
        N: Needs,
        T: Send + Sync + 'static,
        O: FnOnce(N::Given) -> OF + Clone + Send + 'static,
        OF: Future<Output = Result<T>> + Send + 'static,
        C: FnOnce(T) -> CF + Clone + Send + 'static,
        CF: Future<Output = Result> + Send + 'static,
    {
        let behaviour = Resource::<N::Form, T, O, C> {
            open: Recipe::many(register),
            close: Recipe::many(deregister),
            _types: PhantomData,
        };
        let _: Handle<T> = self.declare("registrar", name, &needs, behaviour, |spec| {
            spec.activity = Activity::Passive;
            spec.role = Role::Registrar;
        });
    }

    /// Declares a task that says itself when it is ready, and what it lends: it spends its [`Ready`].
    #[track_caller]
    pub fn late_worker<N, T, W, F>(&self, name: impl Into<String>, needs: N, work: W) -> Handle<T>
    where
        N: Needs,
        T: Send + Sync + 'static,
        W: FnOnce(N::Given, Ready<T>, Stop) -> F + Clone + Send + 'static,
        F: Future<Output = Result> + Send + 'static,
    {
        let behaviour = LateWorker::<N::Form, T, W> { work: Recipe::many(work), _types: PhantomData };
        self.declare("worker", name, &needs, behaviour, |_| {})
    }

    /// Declares a component that has a type of its own.
    #[track_caller]
    pub fn component<N, C>(&self, name: impl Into<String>, needs: N, component: C) -> Handle<C::Value>
    where
        N: Needs,
        C: Component<N::Given>,
    {
        let behaviour = Typed::<N::Form, C> { component: Arc::new(component), _types: PhantomData };
        self.declare(C::KIND, name, &needs, behaviour, |spec| {
            if C::LENDS_ONLY {
                spec.activity = Activity::Passive;
            }
        })
    }

    /// Declares components whose closures can be called only once, because they move something in.
    #[must_use]
    pub fn once(&self) -> Declare<'_> {
        Declare { app: self }
    }

    /// Puts a value in place of a component, for a test: the component is not opened, and the value is dropped at the
    /// end. Its needs stay.
    pub fn replace<T: Send + Sync + 'static, M>(&self, handle: &Handle<T, M>, value: T) {
        let mut declared = lock(&self.declared);
        if !Arc::ptr_eq(&self.declared, &handle.declared) {
            declared.problems.push(Problem {
                text: "a component of another app cannot be replaced".to_owned(),
                hint: "replace it in the app that declared it".to_owned(),
            });
        } else if let Some(entry) = declared.entries.get_mut(handle.id().index()) {
            entry.behaviour = Arc::new(Fake { value: Mutex::new(Some(Arc::new(value))) });
            entry.spec.activity = Activity::Passive;
            entry.kind = "replaced";
        }
    }

    /// Refuses this app: it does not start, and says this problem beside all others. For those who declare components in
    /// other people's apps and are given settings that cannot work.
    pub fn refuse(&self, problem: Problem) {
        lock(&self.declared).problems.push(problem);
    }

    #[track_caller]
    pub(crate) fn declare<N: Needs, T, M>(
        &self,
        kind: &'static str,
        name: impl Into<String>,
        needs: &N,
        behaviour: impl Behaviour + 'static,
        special: impl FnOnce(&mut Spec),
    ) -> Handle<T, M> {
        let site = Location::caller();
        let mut spec = Spec::new(name);
        spec.declared_at = short(site);
        let mut edges = Edges::default();
        needs.draw(&mut edges);
        special(&mut spec);
        let here = Arc::as_ptr(&self.declared) as usize;
        let mut declared = lock(&self.declared);
        if edges.apps.iter().any(|&app| app != here) {
            declared.problems.push(Problem {
                text: format!("`{}` at {} needs a component of another app", spec.name, spec.declared_at),
                hint: "declare both in the same app; an app cannot hold another's values".to_owned(),
            });
            edges.needs.clear();
        }
        spec.needs = edges.needs;
        // Far beyond this the graph would be refused anyway: components count in the thousands.
        let id = Id(u32::try_from(declared.entries.len()).unwrap_or(u32::MAX));
        declared.entries.push(Entry { spec, kind, site, behaviour: Arc::new(behaviour), close_ref: None });
        Handle { declared: self.declared.clone(), id, _lends: PhantomData }
    }

    #[cfg(feature = "http")]
    pub(crate) fn problem(&self, text: impl Into<String>, hint: impl Into<String>) {
        self.refuse(Problem { text: text.into(), hint: hint.into() });
    }

    /// Checks the whole and turns it into what can be run.
    pub(crate) fn build(self) -> Result<Built, Vec<Problem>> {
        let Declared { entries, mut problems, heartbeats } = std::mem::take(&mut *lock(&self.declared));
        check_name(&self.name, &mut problems);
        for entry in &entries {
            check_limit(entry, &mut problems);
        }
        check_heartbeats(&entries, &heartbeats, &mut problems);
        let budget = Budget::new(self.settings.budget).with_propagation_delay(self.settings.propagation_delay);
        if let Err(text) = budget.check() {
            problems
                .push(Problem { text, hint: "give the stop a longer budget or a shorter propagation delay".into() });
        }
        let specs = entries.iter().map(|entry| entry.spec.clone()).collect();
        let graph = match Graph::new(specs) {
            Ok(graph) if problems.is_empty() => graph,
            Ok(_) => return Err(problems),
            Err(error) => {
                problems.push(Problem { text: error.to_string(), hint: error.hint() });
                return Err(problems);
            }
        };
        let plan = Plan::new(&graph, &budget);
        Ok(Built { name: self.name, parts: parts(entries, &graph), graph, plan, settings: self.settings, heartbeats })
    }
}

/// Declares components that can be started once. See [`App::once`].
#[derive(Clone, Copy)]
pub struct Declare<'a> {
    pub(crate) app: &'a App,
}

impl Declare<'_> {
    /// See [`App::resource`].
    #[track_caller]
    pub fn resource<N, T, O, OF, C, CF>(&self, name: impl Into<String>, needs: N, open: O, close: C) -> Handle<T, Once>
    where
        N: Needs,
        T: Send + Sync + 'static,
        O: FnOnce(N::Given) -> OF + Send + 'static,
        OF: Future<Output = Result<T>> + Send + 'static,
        C: FnOnce(T) -> CF + Send + 'static,
        CF: Future<Output = Result> + Send + 'static,
    {
        let behaviour =
            Resource::<N::Form, T, O, C> { open: Recipe::once(open), close: Recipe::once(close), _types: PhantomData };
        self.app.declare("resource", name, &needs, behaviour, |spec| {
            spec.activity = Activity::Passive;
            spec.once = true;
        })
    }

    /// See [`App::worker`].
    #[track_caller]
    pub fn worker<N, W, F>(&self, name: impl Into<String>, needs: N, work: W) -> Handle<(), Once>
    where
        N: Needs,
        W: FnOnce(N::Given, Stop) -> F + Send + 'static,
        F: Future<Output = Result> + Send + 'static,
    {
        let behaviour = Worker::<N::Form, W> { work: Recipe::once(work), _types: PhantomData };
        self.app.declare("worker", name, &needs, behaviour, |spec| spec.once = true)
    }

    /// See [`App::late_worker`].
    #[track_caller]
    pub fn late_worker<N, T, W, F>(&self, name: impl Into<String>, needs: N, work: W) -> Handle<T, Once>
    where
        N: Needs,
        T: Send + Sync + 'static,
        W: FnOnce(N::Given, Ready<T>, Stop) -> F + Send + 'static,
        F: Future<Output = Result> + Send + 'static,
    {
        let behaviour = LateWorker::<N::Form, T, W> { work: Recipe::once(work), _types: PhantomData };
        self.app.declare("worker", name, &needs, behaviour, |spec| spec.once = true)
    }
}

/// An app that has been checked and can be started.
pub(crate) struct Built {
    pub(crate) name: String,
    pub(crate) parts: Vec<Arc<Part>>,
    pub(crate) graph: Graph,
    pub(crate) plan: Plan,
    pub(crate) settings: Settings,
    pub(crate) heartbeats: BTreeMap<Id, Duration>,
}

fn parts(entries: Vec<Entry>, graph: &Graph) -> Vec<Arc<Part>> {
    static APPS: AtomicU64 = AtomicU64::new(1);
    let app = APPS.fetch_add(1, Ordering::Relaxed);
    let mut parts: Vec<Arc<Part>> = Vec::with_capacity(entries.len());
    for (id, entry) in (0..).map(Id).zip(entries) {
        // A handle exists before it can be needed, so every need points to an earlier part.
        let needs = entry.spec.needs.iter().map(|need| parts[need.on.index()].clone()).collect();
        parts.push(Arc::new(Part {
            id,
            kind: entry.kind,
            site: entry.site,
            mark: mark(app, id),
            holder: Holder::new(&entry.spec.name),
            needs,
            behaviour: entry.behaviour,
            close_ref: entry.close_ref,
            current: Mutex::new(Current::default()),
            changed: tokio::sync::Notify::new(),
            spec: graph.specs()[id.index()].clone(),
        }));
    }
    parts
}

fn mark(app: u64, id: Id) -> Mark {
    (app << 32) | (u64::from(id.0) + 1)
}

fn check_name(name: &str, problems: &mut Vec<Problem>) {
    let good = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let starts_well = name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if name.len() > 64 || !starts_well || !name.chars().all(good) {
        problems.push(Problem {
            text: format!("the app name {name:?} cannot be part of a path"),
            hint: "use 1 to 64 letters, digits, `.`, `_` or `-`, beginning with a letter or digit".to_owned(),
        });
    }
}

fn check_heartbeats(entries: &[Entry], heartbeats: &BTreeMap<Id, Duration>, problems: &mut Vec<Problem>) {
    for (id, _) in heartbeats.iter().filter(|(_, limit)| limit.is_zero()) {
        let Some(entry) = entries.get(id.index()) else { continue };
        problems.push(Problem {
            text: format!(
                "`{}` at {} cannot say all the time that it is alive",
                entry.spec.name, entry.spec.declared_at
            ),
            hint: "give `.heartbeat_within(..)` a time that is not zero".to_owned(),
        });
    }
}

fn check_limit(entry: &Entry, problems: &mut Vec<Problem>) {
    let retries = matches!(entry.spec.stop_within, Limit::Exponential { attempts, .. } if attempts > 1);
    if retries && entry.close_ref.is_none() {
        problems.push(Problem {
            text: format!(
                "`{}` at {} retries its release, but its close uses the value up",
                entry.spec.name, entry.spec.declared_at
            ),
            hint: "say how to close it by reference with `.close_ref(..)`, or give it a fixed limit".to_owned(),
        });
    }
}
