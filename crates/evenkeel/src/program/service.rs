//! `run`: the service itself, from the first check to the exit of the process.
//!
//! Threads of a running service: the engine's (the driver), the signals', the guardian's, the log's, the control
//! socket's, and the runtime's worker threads, which alone run user code. None of the others can be held up by it.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use evenkeel_events::{Event, Format, Receipt, Sink};
use evenkeel_os::{
    dirs::{DirError, named_dir, runtime_dir, state_dir},
    env::process_env,
    exit::exit_now,
    handover::{Line, Origin, predecessor},
    init,
    lock::{InstanceLock, lock_instance},
    notify::{Notifier, notifier},
    signals,
    threads::spawn_named,
};
use evenkeel_plan::{
    budget::Plan,
    cause::{Cause, Outcome, exit},
    limit::seconds,
};
use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::mpsc::UnboundedSender,
};

use super::{
    Exit, complain,
    control::Ended,
    doctor::checks::problems,
    front::Front,
    guardian::{Guardian, LAST_WORDS},
    last_flush::{Manner, Places, last_flush},
    last_words::{LastWords, Told},
    line::Options,
    logs, refuse,
    restart::{Restart, Tools},
    seat::{AdminWish, Seat},
    take_over::{TakeOver, ToPredecessor},
};
use crate::{
    App,
    app::{Built, Check, Problem, Threads},
    driver::{Driver, Harness, Hooks, Message},
    lease::lock,
};

/// What is missing without a directory, and who is to be named for it if the user chose that directory: a default that
/// is missing is nobody's fault.
struct Without {
    what: &'static str,
    culprit: Option<&'static str>,
}

const WITHOUT_STATE_DIR: Without = Without { what: "receipts are not kept", culprit: Some("state directory") };
const WITHOUT_RUNTIME_DIR: Without = Without { what: "no control socket", culprit: None };

/// How long somebody who waits for the end of a stop has to take its receipt.
const FAREWELL: Duration = Duration::from_millis(500);
/// What is left of the budget for the way out after that.
const WAY_OUT: Duration = Duration::from_millis(10);
/// Time for the last flush after the second signal.
const FORCED_FLUSH: Duration = Duration::from_millis(20);

/// Runs the service and returns how the process should end.
pub(super) fn run(mut app: App, options: &Options) -> Exit {
    let origin = Origin::here();
    if init::is_due(&process_env, std::process::id()) {
        return match init::run(&origin) {
            Ok(code) => Exit::new(code),
            Err(error) => internal(&format!("the duties of process 1 cannot be done: {error}")),
        };
    }
    options.apply(&mut app);
    let name = app.name.clone();
    let checks = std::mem::take(&mut *lock(&app.checks));
    let front = Front {
        #[cfg(feature = "http")]
        doors: app.doors.clone(),
    };
    let built = match app.build() {
        Ok(built) => built,
        Err(problems) => return refuse(&name, &problems),
    };
    let sink = match logs::begin(options) {
        Ok(sink) => sink,
        Err(problem) => return refuse(&name, &[problem]),
    };
    // The caller may be inside a runtime of its own, where blocking on another is not allowed; a thread of ours never is.
    let options = options.clone();
    let engine = spawn_named("evenkeel-engine", move || {
        let service = Service { name, options, sink, origin, front };
        service.run(built, checks)
    });
    match engine.map(std::thread::JoinHandle::join) {
        Ok(Ok(exit)) => exit,
        Ok(Err(_)) => internal("the engine panicked; this is a defect of Evenkeel"),
        Err(error) => internal(&format!("the system gives no thread: {error}")),
    }
}

fn internal(text: &str) -> Exit {
    complain(text, None);
    Exit::new(1)
}

struct Service {
    name: String,
    options: Options,
    sink: Sink,
    origin: Origin,
    front: Front,
}

/// A directory that was asked for and cannot be had.
struct Unusable {
    text: String,
    hint: String,
    culprit: Option<&'static str>,
}

/// What has to stay until the process ends, in the order in which it goes.
struct Held {
    seat: Arc<Seat>,
    restart: Arc<Restart>,
    /// Given up last: without it the next signal has its default action and would overtake the exit code.
    _signals: Option<signals::Watch>,
}

impl Service {
    fn run(self, built: Built, checks: Vec<Check>) -> Exit {
        let runtimes = runtime(&built, &self.name)
            .and_then(|user| Ok((user, Builder::new_current_thread().enable_time().build()?)));
        let (user, engine) = match runtimes {
            Ok(runtimes) => runtimes,
            Err(error) => return internal(&format!("the runtime cannot be started: {error}")),
        };
        let line = match self.inherit() {
            Ok(line) => line,
            Err(exit) => return exit,
        };
        let mut warnings = Vec::new();
        let runtime_dir = self.directory(&self.options.runtime_dir, runtime_dir, &WITHOUT_RUNTIME_DIR, &mut warnings);
        // Another process has the place still, and gives it up when this one has shown that it serves.
        let instance = match line {
            Some(_) => Ok(None),
            None => self.lock(runtime_dir.as_ref(), &mut warnings),
        };
        let instance = match instance {
            Ok(instance) => instance,
            Err(exit) => return exit,
        };
        let notifier = self.notifier(&mut warnings);
        let missing = problems(checks);
        if !missing.is_empty() {
            return refuse(&self.name, &missing);
        }
        let state_dir = self.directory(&self.options.state_dir, state_dir, &WITHOUT_STATE_DIR, &mut warnings);
        let places = Places { state_dir, file: self.options.receipt.clone(), shown_by: self.receipt_command() };
        let (budget, flush) = (built.plan.budget.total, built.plan.budget.reserve * 5 / 8);
        explain_budget(&built.plan, &self.name);

        let control = runtime_dir.filter(|_| instance.is_some() || line.is_some());
        let admin = AdminWish::of(&built.settings);
        let last_words = LastWords::new(places.clone(), self.sink.clone(), self.format());
        let guarded = ToPredecessor::over(line.as_ref()).and_then(|to_predecessor| {
            self.guarded_driver(built, user.handle(), &last_words, control.clone(), to_predecessor)
        });
        let Guarded { driver, guardian, restart, to_predecessor } = match guarded {
            Ok(all) => all,
            Err(error) => return internal(&format!("the system gives no thread: {error}")),
        };
        let outbox = driver.outbox();
        for warning in warnings {
            warning.tell(&driver);
        }
        let ended = Arc::new(Ended::default());
        let seat = self.seat(Sitting { admin, notifier, dir: control, budget }, &driver, user.handle(), &ended);
        restart.sits_on(&seat);
        let seated = match line {
            None => seat.take(instance, &restart).map_err(|problem| refuse(&self.name, &[problem])),
            Some(line) => self.take_over(line, &to_predecessor, &seat, &restart),
        };
        if let Err(exit) = seated {
            return exit;
        }
        let signals = self.signals(&outbox, &guardian, &restart, budget);
        let held = Held { seat, restart, _signals: signals };

        let runner = Runner::of(user);
        let receipt = engine.block_on(driver.drive());
        to_predecessor.ended(&receipt.cause);
        last_words.finished(&receipt);
        let used = Duration::try_from_secs_f64(receipt.used_ms / 1e3).unwrap_or_default();
        let out_by = Instant::now() + budget.saturating_sub(used + LAST_WORDS.min(budget / 10) + WAY_OUT);
        let receipt = self.last_flush(receipt, &places, flush);
        last_words.flushed();
        ended.set(&receipt);
        end(&receipt, runner, &guardian, held, out_by)
    }

    /// Takes what the process was given: listening sockets, and the line to the process before.
    fn inherit(&self) -> Result<Option<Line>, Exit> {
        let refused = |text: String| {
            let hint = "check what starts this program, and the LISTEN_FDS that it sets".to_owned();
            refuse(&self.name, &[Problem { text, hint }])
        };
        // The sockets first: whose they are is told by the line as well.
        self.front
            .inherit()
            .map_err(|error| refused(format!("the listening sockets that were passed on cannot be used: {error}")))?;
        predecessor(&process_env).map_err(|error| refused(format!("the process before cannot be heard: {error}")))
    }

    /// To the service manager, if one started this process and wants to hear of it.
    fn notifier(&self, warnings: &mut Vec<Unusable>) -> Option<Arc<Notifier>> {
        let unusable = |error: std::io::Error| Unusable {
            text: format!("nothing is said to the service manager: {error}"),
            hint: "check what sets NOTIFY_SOCKET; a manager that waits for this service will give it up".to_owned(),
            culprit: None,
        };
        notifier(&process_env).map_err(|error| warnings.push(unusable(error))).ok().flatten().map(Arc::new)
    }

    fn seat(&self, sitting: Sitting, driver: &Driver, user: &Handle, ended: &Arc<Ended>) -> Arc<Seat> {
        let Sitting { admin, notifier, dir, budget } = sitting;
        Arc::new(Seat {
            dir,
            admin,
            notifier,
            front: self.front.clone(),
            outbox: driver.outbox(),
            shared: driver.shared(),
            user: user.clone(),
            ended: ended.clone(),
            budget,
            taken: Mutex::default(),
        })
    }

    fn take_over(
        &self,
        line: Line,
        to_predecessor: &ToPredecessor,
        seat: &Arc<Seat>,
        restart: &Arc<Restart>,
    ) -> Result<(), Exit> {
        let (to_predecessor, seat, restart) = (to_predecessor.clone(), seat.clone(), restart.clone());
        let (user, outbox) = (seat.user.clone(), seat.outbox.clone());
        let take_over = TakeOver { line, to_predecessor, seat, restart, front: self.front.clone(), user, outbox };
        take_over.begin().map_err(|error| internal(&format!("the system gives no thread: {error}")))
    }

    fn last_flush(&self, receipt: Receipt, places: &Places, time: Duration) -> Receipt {
        let forced = is_forced(&receipt);
        let time = if forced { FORCED_FLUSH } else { time };
        last_flush(receipt, places, &self.sink, Manner { time, durably: !forced, format: self.format() })
    }

    fn format(&self) -> Format {
        logs::format(&self.options)
    }

    /// What shows the receipt again, for the person who reads the table.
    fn receipt_command(&self) -> String {
        let place = self.options.state_dir.as_ref().map(|dir| format!(" --state-dir {}", dir.display()));
        format!("{} receipt{}", self.name, place.unwrap_or_default())
    }

    /// The driver, with a guardian that is told of its stop and can speak for it.
    fn guarded_driver(
        &self,
        built: Built,
        user: &Handle,
        last_words: &LastWords,
        control: Option<PathBuf>,
        to_predecessor: ToPredecessor,
    ) -> std::io::Result<Guarded> {
        let (speaker, witness) = (last_words.clone(), last_words.clone());
        let guardian = Guardian::spawn(move |code| speaker.overdue(code))?;
        logs::log_panics(witness);
        let (budget, late) = (built.plan.budget.total, Arc::new(OnceLock::new()));
        let hooks = Informed {
            guardian: guardian.clone(),
            name: self.name.clone(),
            control,
            front: self.front.clone(),
            restart: late.clone(),
            to_predecessor: to_predecessor.clone(),
        };
        let driver = Driver::new(built, Harness { hooks: Box::new(hooks), ..Harness::on(user.clone()) });
        last_words.told(Told::by(&driver));
        let restart = Restart::new(Tools {
            origin: self.origin.clone(),
            front: self.front.clone(),
            gate: driver.gate(),
            shared: driver.shared(),
            outbox: driver.outbox(),
            budget,
        });
        let _ = late.set(restart.clone());
        Ok(Guarded { driver, guardian, restart, to_predecessor })
    }

    fn directory(
        &self,
        chosen: &Option<PathBuf>,
        default: fn(&str, evenkeel_os::env::Env<'_>) -> Result<PathBuf, DirError>,
        without: &Without,
        warnings: &mut Vec<Unusable>,
    ) -> Option<PathBuf> {
        let made = match chosen {
            Some(dir) => named_dir(dir),
            None => default(&self.name, &process_env),
        };
        let unusable = |error: DirError| Unusable {
            text: format!("{}: {error}", without.what),
            hint: error.hint.clone(),
            culprit: without.culprit.filter(|_| chosen.is_some()),
        };
        made.map_err(|error| warnings.push(unusable(error))).ok()
    }

    /// One instance of a name at a time; the lock's holder owns the control socket.
    fn lock(&self, dir: Option<&PathBuf>, warnings: &mut Vec<Unusable>) -> Result<Option<InstanceLock>, Exit> {
        let Some(dir) = dir else { return Ok(None) };
        match lock_instance(dir) {
            Ok(Ok(lock)) => Ok(Some(lock)),
            Ok(Err(held)) => {
                let pid = held.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
                let name = &self.name;
                complain(
                    &format!("{name} is already running{pid}"),
                    Some(&format!("stop it with `{name} stop`, or give this one another `--runtime-dir`")),
                );
                Err(Exit::new(exit::ALREADY_RUNNING))
            }
            Err(error) => {
                warnings.push(Unusable {
                    text: format!("no control socket: cannot lock {}: {error}", dir.display()),
                    hint: "make the directory writable, or name another with `--runtime-dir`".to_owned(),
                    culprit: None,
                });
                Ok(None)
            }
        }
    }

    /// First signal: stop. Second: force. Third: gone. None of them passes through a runtime before it takes effect.
    fn signals(
        &self,
        outbox: &UnboundedSender<Message>,
        guardian: &Guardian,
        restart: &Arc<Restart>,
        budget: Duration,
    ) -> Option<signals::Watch> {
        let (to_driver, guardian, restart) = (outbox.clone(), guardian.clone(), restart.clone());
        let count = AtomicU32::new(0);
        let watch = signals::watch(move |signal| {
            let cause = Cause::Signal { name: signal.name, number: signal.number };
            let forced = Outcome::Forced(signal.number).exit_code();
            match count.fetch_add(1, Ordering::Relaxed) {
                0 => {
                    guardian.arm(budget, exit::NOT_CLEAN);
                    restart.stay_down();
                    let _ = to_driver.send(Message::Stop(cause));
                }
                1 => {
                    guardian.hurry(forced);
                    let _ = to_driver.send(Message::Force(cause));
                }
                _ => exit_now(forced),
            }
        });
        watch
            .map_err(|error| {
                let text = format!("signals cannot be watched, so they end the process at once: {error}");
                let _ = outbox.send(Message::Warn { text, hint: None });
            })
            .ok()
    }
}

impl Unusable {
    fn tell(self, driver: &Driver) {
        let Self { text, hint, culprit } = self;
        match culprit {
            None => drop(driver.outbox().send(Message::Warn { text, hint: Some(hint) })),
            Some(culprit) => {
                Event::Warning { text: &text, hint: Some(&hint) }.log();
                lock(&driver.shared().recorder).blame(culprit, text);
            }
        }
    }
}

/// Whether a second signal ended it.
pub(super) fn is_forced(receipt: &Receipt) -> bool {
    receipt.exit_code >= exit::SIGNAL
}

/// From the receipt to the exit code.
fn end(receipt: &Receipt, user: Runner, guardian: &Guardian, held: Held, out_by: Instant) -> Exit {
    let forced = is_forced(receipt);
    let left_running = receipt.components.iter().any(|row| row.state == "abandoned" || row.leaked_tasks > 0);
    let Held { seat, restart, _signals: signals } = held;
    // The admin listener and the herald stay until the end of this function.
    let mut taken = std::mem::take(&mut *lock(&seat.taken));
    if let Some(server) = taken.server.take() {
        // Whoever waits for the stop gets the receipt, if it reads it soon.
        let left = out_by.saturating_duration_since(Instant::now());
        server.shut_down(if forced { Duration::ZERO } else { left.min(FAREWELL) });
    }
    drop(taken.lock.take());
    if !forced && restart.is_to_live_again() {
        guardian.dismiss();
        if let Some(error) = restart.next_life() {
            return internal(&format!("the program cannot be started anew: {error}"));
        }
    }
    if left_running || forced {
        // What is left cannot be trusted to end, nor destructors to run beside it.
        exit_now(receipt.exit_code);
    }
    user.shut_down();
    guardian.dismiss();
    drop(signals);
    Exit::new(receipt.exit_code)
}

/// The runtime of the components, and the thread that drives it if it has none of its own.
struct Runner {
    runtime: Option<Arc<Runtime>>,
    one: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Runner {
    fn of(runtime: Runtime) -> Self {
        if runtime.handle().runtime_flavor() != tokio::runtime::RuntimeFlavor::CurrentThread {
            return Self { runtime: Some(Arc::new(runtime)), one: None };
        }
        let runtime = Arc::new(runtime);
        let (end, ended) = tokio::sync::oneshot::channel::<()>();
        let driven = runtime.clone();
        // Without this thread nothing would run; the start then times out and says so.
        let spawned = spawn_named("evenkeel-runtime", move || {
            let _ = driven.block_on(ended);
        });
        drop(spawned);
        Self { runtime: Some(runtime), one: Some(end) }
    }

    /// Waits for nothing: what should have ended has ended, and the rest is not worth waiting for.
    fn shut_down(mut self) {
        drop(self.one.take());
        if let Some(runtime) = self.runtime.take().and_then(Arc::into_inner) {
            runtime.shutdown_background();
        }
    }
}

fn runtime(built: &Built, name: &str) -> std::io::Result<Runtime> {
    let mut builder = match built.settings.threads {
        Threads::One => Builder::new_current_thread(),
        Threads::Cores | Threads::Fixed(_) => Builder::new_multi_thread(),
    };
    if let Threads::Fixed(threads) = built.settings.threads {
        builder.worker_threads(threads);
    }
    builder.enable_all().thread_name(format!("{name}-worker")).build()
}

/// Says what the budget means where it does not simply fit: in one line when only defaults shrink, with the arithmetic
/// when somebody gets less than the user chose.
fn explain_budget(plan: &Plan, name: &str) {
    if !plan.shrunk {
        return;
    }
    if let Some((text, hint)) = misfit(plan, name) {
        Event::Warning { text: &text, hint: Some(&hint) }.log();
        return;
    }
    let budget = seconds(plan.budget.total);
    let text = format!("limits shrink to fit {budget}: see `{name} graph`");
    Event::Note { text: &text }.log();
    for line in plan.arithmetic() {
        tracing::debug!(target: "evenkeel", "{line}");
    }
}

/// What to say, and what to do, when a component gets less time to stop than the user chose for it.
pub(super) fn misfit(plan: &Plan, name: &str) -> Option<(String, String)> {
    plan.cut().any(|row| row.chosen).then(|| {
        let text = format!("not all limits fit the budget: {}", plan.arithmetic().join("; "));
        let hint = format!("give the stop a longer budget or shorter limits; `{name} graph` shows the plan");
        (text, hint)
    })
}

/// What is known of a seat before there is a driver.
struct Sitting {
    admin: AdminWish,
    notifier: Option<Arc<Notifier>>,
    dir: Option<PathBuf>,
    budget: Duration,
}

/// A driver and who watches over it.
struct Guarded {
    driver: Driver,
    guardian: Guardian,
    restart: Arc<Restart>,
    to_predecessor: ToPredecessor,
}

/// The driver tells the guardian, the process before, and the person at the terminal.
struct Informed {
    guardian: Guardian,
    name: String,
    control: Option<PathBuf>,
    front: Front,
    restart: Arc<OnceLock<Arc<Restart>>>,
    to_predecessor: ToPredecessor,
}

impl Hooks for Informed {
    fn stop_began(&mut self, budget: Duration) {
        self.guardian.arm(budget, exit::NOT_CLEAN);
        if let Some(restart) = self.restart.get() {
            restart.service_stops();
        }
    }

    fn running(&mut self) {
        for socket in self.front.unused() {
            let text = format!("the listening socket {socket} was passed on to this process, and nothing serves it");
            let hint = "name it after an HTTP component, or let one listen at its address";
            Event::Warning { text: &text, hint: Some(hint) }.log();
        }
        if let Some(dir) = &self.control {
            let text = format!("control socket: {}", dir.join(evenkeel_os::control::SOCKET_FILE).display());
            Event::Note { text: &text }.log();
        }
        let text = format!("running; stop with Ctrl-C or `{} stop`", self.name);
        Event::Note { text: &text }.log();
        self.to_predecessor.running();
    }
}
