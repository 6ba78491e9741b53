//! `run`: the service itself, from the first check to the exit of the process.
//!
//! Threads of a running service: the engine's (the driver), the signals', the guardian's, the log's, the control
//! socket's, and the runtime's worker threads, which alone run user code. None of the others can be held up by it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use evenkeel_events::{Event, Format, Receipt, Sink};
use evenkeel_os::{
    control::Server,
    dirs::{DirError, named_dir, runtime_dir, state_dir},
    env::process_env,
    exit::exit_now,
    lock::{InstanceLock, lock_instance},
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

#[cfg(feature = "http")]
use super::admin::{Admin, Source};
use super::{
    Exit, complain,
    control::{self, Ended},
    guardian::{Guardian, LAST_WORDS},
    last_flush::{Manner, Places, last_flush},
    last_words::{LastWords, Told},
    line::Options,
    logs, refuse,
};
use crate::{
    App,
    app::{Built, Threads},
    driver::{Driver, Harness, Hooks, Message},
    lease::lock,
};
#[cfg(feature = "http")]
use crate::{app::Problem, http::Doors, probes::Probes};

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
    options.apply(&mut app);
    let name = app.name.clone();
    #[cfg(feature = "http")]
    let doors = app.doors.clone();
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
        let service = Service {
            name,
            options,
            sink,
            #[cfg(feature = "http")]
            doors,
        };
        service.run(built)
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
    #[cfg(feature = "http")]
    doors: Arc<Doors>,
}

/// A directory that was asked for and cannot be had.
struct Unusable {
    text: String,
    hint: String,
    culprit: Option<&'static str>,
}

/// What has to stay until the process ends, in the order in which it goes.
struct Held {
    server: Option<Server>,
    _lock: Option<InstanceLock>,
    #[cfg(feature = "http")]
    _admin: Option<Admin>,
    /// Given up last: without it the next signal has its default action and would overtake the exit code.
    _signals: Option<signals::Watch>,
}

impl Service {
    fn run(self, built: Built) -> Exit {
        let runtimes = runtime(&built, &self.name)
            .and_then(|user| Ok((user, Builder::new_current_thread().enable_time().build()?)));
        let (user, engine) = match runtimes {
            Ok(runtimes) => runtimes,
            Err(error) => return internal(&format!("the runtime cannot be started: {error}")),
        };
        let mut warnings = Vec::new();
        let runtime_dir = self.directory(&self.options.runtime_dir, runtime_dir, &WITHOUT_RUNTIME_DIR, &mut warnings);
        let lock = match self.lock(runtime_dir.as_ref(), &mut warnings) {
            Ok(lock) => lock,
            Err(exit) => return exit,
        };
        let state_dir = self.directory(&self.options.state_dir, state_dir, &WITHOUT_STATE_DIR, &mut warnings);
        let places = Places { state_dir, file: self.options.receipt.clone(), shown_by: self.receipt_command() };
        let (budget, flush) = (built.plan.budget.total, built.plan.budget.reserve * 5 / 8);
        explain_budget(&built.plan, &self.name);
        #[cfg(feature = "http")]
        if let Err(exit) = self.take_over() {
            return exit;
        }
        #[cfg(feature = "http")]
        let admin = (built.settings.admin, built.settings.probes.clone());

        let control = if lock.is_some() { runtime_dir } else { None };
        let last_words = LastWords::new(places.clone(), self.sink.clone(), self.format());
        let (driver, guardian) = match self.guarded_driver(built, user.handle(), &last_words, control.clone()) {
            Ok(all) => all,
            Err(error) => return internal(&format!("the system gives no thread: {error}")),
        };
        let outbox = driver.outbox();
        for warning in warnings {
            warning.tell(&driver);
        }
        #[cfg(feature = "http")]
        let admin = match self.admin(admin, &driver, user.handle()) {
            Ok(admin) => admin,
            Err(exit) => return exit,
        };
        let ended = Arc::new(Ended::default());
        let server = control.and_then(|dir| self.control(&dir, &outbox, &ended, budget));
        let signals = self.signals(&outbox, &guardian, budget);
        let held = Held {
            server,
            _lock: lock,
            #[cfg(feature = "http")]
            _admin: admin,
            _signals: signals,
        };

        let runner = Runner::of(user);
        let receipt = engine.block_on(driver.drive());
        last_words.finished(&receipt);
        let used = Duration::try_from_secs_f64(receipt.used_ms / 1e3).unwrap_or_default();
        let out_by = Instant::now() + budget.saturating_sub(used + LAST_WORDS.min(budget / 10) + WAY_OUT);
        let receipt = self.last_flush(receipt, &places, flush);
        last_words.flushed();
        ended.set(&receipt);
        end(&receipt, runner, &guardian, held, out_by)
    }

    fn last_flush(&self, receipt: Receipt, places: &Places, time: Duration) -> Receipt {
        let forced = is_forced(&receipt);
        let time = if forced { FORCED_FLUSH } else { time };
        last_flush(receipt, places, &self.sink, Manner { time, durably: !forced, format: self.format() })
    }

    fn format(&self) -> Format {
        self.options.log_format.unwrap_or(Format::Human)
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
    ) -> std::io::Result<(Driver, Guardian)> {
        let (speaker, witness) = (last_words.clone(), last_words.clone());
        let guardian = Guardian::spawn(move |code| speaker.overdue(code))?;
        logs::log_panics(witness);
        let hooks = Informed {
            guardian: guardian.clone(),
            name: self.name.clone(),
            control,
            #[cfg(feature = "http")]
            doors: self.doors.clone(),
        };
        let driver = Driver::new(built, Harness { hooks: Box::new(hooks), ..Harness::on(user.clone()) });
        last_words.told(Told::by(&driver));
        Ok((driver, guardian))
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

    fn control(
        &self,
        dir: &std::path::Path,
        outbox: &UnboundedSender<Message>,
        ended: &Arc<Ended>,
        budget: Duration,
    ) -> Option<Server> {
        match control::serve(dir, outbox.clone(), ended.clone(), budget) {
            Ok(server) => Some(server),
            Err(error) => {
                let text = format!("no control socket in {}: {error}", dir.display());
                let hint = Some("name another directory with `--runtime-dir`".to_owned());
                let _ = outbox.send(Message::Warn { text, hint });
                None
            }
        }
    }

    /// Takes over the listening sockets that the process was given.
    #[cfg(feature = "http")]
    fn take_over(&self) -> Result<(), Exit> {
        match evenkeel_os::sockets::inherited(&process_env) {
            Ok(inherited) => {
                self.doors.fill(inherited);
                Ok(())
            }
            Err(error) => {
                let text = format!("the listening sockets that were passed on cannot be used: {error}");
                let hint = "check what starts this program, and its LISTEN_FDS".to_owned();
                Err(refuse(&self.name, &[Problem { text, hint }]))
            }
        }
    }

    /// Probes and status over HTTP. An address that was asked for and cannot be had refuses the start; without the one
    /// that the system would choose the service runs all the same.
    #[cfg(feature = "http")]
    fn admin(
        &self,
        (addr, probes): (Option<std::net::SocketAddr>, Probes),
        driver: &Driver,
        user: &Handle,
    ) -> Result<Option<Admin>, Exit> {
        let Some(addr) = addr else { return Ok(None) };
        let source = Source { outbox: driver.outbox(), shared: driver.shared(), user: user.clone() };
        match Admin::serve(addr, probes, source) {
            Ok(admin) => {
                Event::Note { text: &format!("probes and status: {}", admin.url()) }.log();
                let _ = driver.shared().admin.set(admin.url().to_owned());
                Ok(Some(admin))
            }
            Err(error) => {
                let text = format!("the admin listener cannot be at {addr}: {error}");
                let hint = "give `--admin` another address, or `off`".to_owned();
                if addr.port() != 0 {
                    return Err(refuse(&self.name, &[Problem { text, hint }]));
                }
                let _ = driver.outbox().send(Message::Warn { text, hint: Some(hint) });
                Ok(None)
            }
        }
    }

    /// First signal: stop. Second: force. Third: gone. None of them passes through a runtime before it takes effect.
    fn signals(
        &self,
        outbox: &UnboundedSender<Message>,
        guardian: &Guardian,
        budget: Duration,
    ) -> Option<signals::Watch> {
        let (to_driver, guardian) = (outbox.clone(), guardian.clone());
        let count = AtomicU32::new(0);
        let watch = signals::watch(move |signal| {
            let cause = Cause::Signal { name: signal.name, number: signal.number };
            let forced = Outcome::Forced(signal.number).exit_code();
            match count.fetch_add(1, Ordering::Relaxed) {
                0 => {
                    guardian.arm(budget, exit::NOT_CLEAN);
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
    let Held { server, _lock: lock, _signals: signals, .. } = held;
    if let Some(server) = server {
        // Whoever waits for the stop gets the receipt, if it reads it soon.
        let left = out_by.saturating_duration_since(Instant::now());
        server.shut_down(if forced { Duration::ZERO } else { left.min(FAREWELL) });
    }
    drop(lock);
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

/// The driver tells the guardian, and the person at the terminal.
struct Informed {
    guardian: Guardian,
    name: String,
    control: Option<PathBuf>,
    #[cfg(feature = "http")]
    doors: Arc<Doors>,
}

impl Hooks for Informed {
    fn stop_began(&mut self, budget: Duration) {
        self.guardian.arm(budget, exit::NOT_CLEAN);
    }

    fn running(&mut self) {
        #[cfg(feature = "http")]
        for socket in self.doors.unused() {
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
    }
}
