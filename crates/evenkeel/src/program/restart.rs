//! A restart, from the side of the process that leaves.
//!
//! Two ways. **Hand-over**: a new process is started beside this one, with the same listening sockets; it starts all its
//! components, proves through those sockets that it serves, and only then does this one leave. **Anew**: this process stops
//! as ever, keeps its sockets, and then becomes its program again, with the same process id; clients wait meanwhile.
//!
//! Policy: until the new process has said `mine`, whatever goes wrong (it ends, it is late, its proof fails, somebody stops
//! this service meanwhile) leaves this one as it was, and tells the new one to leave. Two restarts at a time are refused, and
//! one waits while the process before this one is still stopping: there are never more than two generations.
//!
//! What is said, in this order; `->` is to the new process:
//!
//! | | message | means |
//! |---|---|---|
//! | `<-` | `here PID` | it has begun |
//! | `<-` | `running` | all essential components are ready, connections are accepted |
//! | `->` | `prove` | this process accepts no connection for now: show that you do |
//! | `<-` | `proved` / `failed WHY` | a request through each listening socket was answered, or not |
//! | `->` | `yours` | the place is yours |
//! | `<-` | `mine` | it is; from here on there is no way back |
//! | `->` | `free` | lock, control socket and admin listener are free |
//! | `->` | `leave WHY` | at any time before: it comes to nothing |

use std::{
    fmt, io,
    sync::{Arc, Condvar, Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use evenkeel_events::Event;
use evenkeel_os::{
    env::process_env,
    handover::{Heard, Line, Origin, Parent, Successor, become_anew, keeps_its_id, launch},
    threads::spawn_named,
};
use evenkeel_plan::{cause::Cause, lifecycle::Service, limit::seconds};
use tokio::sync::mpsc::UnboundedSender;

use super::{front::Front, seat::Seat};
use crate::{
    driver::{Message, Shared},
    lease::lock,
    stop::{Gate, ServersHeld},
};

/// How long a new process has to show that it answers, once it says that it runs. No connection is accepted meanwhile.
pub(super) const PROOF: Duration = Duration::from_secs(2);
/// How long it has for an answer that needs no work.
const ANSWER: Duration = Duration::from_secs(5);
/// How long what is left of one that has closed its line may take to be gone.
const GONE: Duration = Duration::from_secs(1);

/// See the module documentation.
pub(super) struct Restart {
    origin: Origin,
    front: Front,
    gate: Arc<Gate>,
    shared: Arc<Shared>,
    outbox: UnboundedSender<Message>,
    seat: OnceLock<std::sync::Weak<Seat>>,
    state: Mutex<State>,
    predecessor: Predecessor,
    budget: Duration,
}

/// Whether the process before this one is still there.
#[derive(Default)]
struct Predecessor {
    is_there: Mutex<bool>,
    left: Condvar,
}

impl Predecessor {
    fn set(&self, is_there: bool) {
        *lock(&self.is_there) = is_there;
        self.left.notify_all();
    }

    /// Whether it is gone, by then at the latest.
    fn is_gone(&self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        let waited = self.left.wait_timeout_while(lock(&self.is_there), left, |is_there| *is_there);
        !*waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

enum State {
    Quiet,
    /// A new process is starting. A stop of this one takes both out, and thereby calls it off.
    Trying {
        voice: Option<Line>,
        held: Option<ServersHeld>,
    },
    /// The new process has the place. The line tells it when this one is gone.
    Left {
        _line: Line,
        _held: Option<ServersHeld>,
    },
    /// When it has stopped, this process becomes its program anew.
    Anew,
    /// It stops for good.
    Stopping,
}

/// Why there was no restart. The service goes on.
#[derive(Debug)]
pub(super) struct NotRestarted {
    pub(super) why: String,
    pub(super) hint: String,
}

impl NotRestarted {
    fn new(why: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { why: why.into(), hint: hint.into() }
    }
}

impl fmt::Display for NotRestarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// What a restart works with.
pub(super) struct Tools {
    pub(super) origin: Origin,
    pub(super) front: Front,
    pub(super) gate: Arc<Gate>,
    pub(super) shared: Arc<Shared>,
    pub(super) outbox: UnboundedSender<Message>,
    pub(super) budget: Duration,
}

impl Restart {
    pub(super) fn new(tools: Tools) -> Arc<Self> {
        let Tools { origin, front, gate, shared, outbox, budget } = tools;
        let (seat, state, predecessor) = (OnceLock::new(), Mutex::new(State::Quiet), Predecessor::default());
        Arc::new(Self { origin, front, gate, shared, outbox, seat, state, predecessor, budget })
    }

    /// The seat that a hand-over gives up.
    pub(super) fn sits_on(&self, seat: &Arc<Seat>) {
        let _ = self.seat.set(Arc::downgrade(seat));
    }

    /// The process before this one is there, or no longer.
    pub(super) fn predecessor(&self, is_there: bool) {
        self.predecessor.set(is_there);
    }

    /// Whether the service may be paused and continued now.
    pub(super) fn is_under_way(&self) -> bool {
        matches!(*lock(&self.state), State::Trying { .. } | State::Left { .. })
    }

    /// Leaves the place to a new process, which has `within` to be ready. `started` is told its number.
    ///
    /// Returns when the new process has the place and this service has been told to stop: the new process's number.
    pub(super) fn hand_over(&self, within: Duration, started: impl FnOnce(u32)) -> Result<u32, NotRestarted> {
        let turn = self.begin()?;
        if let Some(why) = keeps_its_id(&process_env, std::process::id(), self.has_manager()) {
            let hint = "use `restart --stop-first`: it keeps the process id, and connections wait meanwhile";
            return Err(NotRestarted::new(why, hint));
        }
        let until = Instant::now() + within;
        if !self.predecessor.is_gone(until) {
            let why = format!("the process before this one was still stopping after {}", seconds(within));
            return Err(NotRestarted::new(why, "it ends within its budget; try again then"));
        }
        let mut next = self.launch().map_err(|error| {
            let program = self.origin.program().display();
            NotRestarted::new(format!("cannot start {program}: {error}"), "look at the file and its permissions")
        })?;
        let pid = next.pid();
        turn.speaks_by(&next.line);
        started(pid);
        Event::Note { text: &format!("restart: process {pid} is starting beside this one") }.log();
        match self.agree(&turn, &mut next, until, within) {
            Ok(()) => {
                self.leave(turn, next, pid);
                Ok(pid)
            }
            Err(why) => Err(self.call_off(turn, next, &why)),
        }
    }

    /// Stops this service; when it has ended, its process becomes the program anew.
    pub(super) fn anew(&self) -> Result<(), NotRestarted> {
        let turn = self.begin()?;
        self.front.leave_anew(true);
        turn.anew();
        let _ = self.outbox.send(Message::Stop(Cause::Request { by: "`restart --stop-first`".to_owned() }));
        Ok(())
    }

    /// The service stops, for whatever reason: a restart that has not come to its end comes to nothing.
    pub(super) fn service_stops(&self) {
        let mut state = lock(&self.state);
        if matches!(*state, State::Quiet | State::Trying { .. })
            && let State::Trying { voice: Some(voice), .. } = std::mem::replace(&mut *state, State::Stopping)
        {
            // Gone already is as good.
            let _ = voice.say("leave the service is being stopped");
        }
    }

    /// Somebody wants the service to stop for good, whatever was to follow.
    pub(super) fn stay_down(&self) {
        let mut state = lock(&self.state);
        if matches!(*state, State::Anew) {
            *state = State::Stopping;
            self.front.leave_anew(false);
        }
    }

    /// The service has ended. Does not return if its process is to become the program anew; otherwise gives back why that
    /// failed, if it was to.
    pub(super) fn next_life(&self) -> Option<io::Error> {
        if !matches!(*lock(&self.state), State::Anew) {
            return None;
        }
        Some(match self.front.copies() {
            Ok(sockets) => become_anew(&self.origin, &sockets),
            Err(error) => error,
        })
    }

    /// Whether the process is to become the program anew.
    pub(super) fn is_to_live_again(&self) -> bool {
        matches!(*lock(&self.state), State::Anew)
    }

    fn seat(&self) -> Option<Arc<Seat>> {
        self.seat.get().and_then(std::sync::Weak::upgrade)
    }

    /// Whether a service manager can be told who the main process is.
    fn has_manager(&self) -> bool {
        self.seat().is_some_and(|seat| seat.notifier.is_some())
    }

    fn begin(&self) -> Result<Turn<'_>, NotRestarted> {
        let see = "see what it is doing with `status`";
        let service = *self.shared.service.borrow();
        let mut state = lock(&self.state);
        match *state {
            State::Quiet => {}
            State::Trying { .. } | State::Left { .. } | State::Anew => {
                return Err(NotRestarted::new("a restart is under way already", "wait for its end"));
            }
            State::Stopping => return Err(NotRestarted::new("cannot restart: the service is stopping", see)),
        }
        if service != Service::Running {
            return Err(NotRestarted::new(format!("cannot restart while {}", service.word()), see));
        }
        *state = State::Trying { voice: None, held: None };
        Ok(Turn { state: &self.state, over: false })
    }

    fn launch(&self) -> io::Result<Successor> {
        let parent = if self.has_manager() { Parent::Manager } else { Parent::Here };
        launch(&self.origin, &self.front.copies()?, parent)
    }

    /// The conversation, up to the point of no return.
    fn agree(&self, turn: &Turn<'_>, next: &mut Successor, until: Instant, within: Duration) -> Result<(), String> {
        let late = |what: &str, time: Duration| format!("{what} within {}", seconds(time));
        let line = &mut next.line;
        expect(line, "running", until.saturating_duration_since(Instant::now()))
            .map_err(|no| no.or_late(&late("it was not ready", within)))?;
        turn.hold(self.gate.hold_servers())?;
        tell(line, "prove")?;
        // It keeps to the same time by itself, and says more.
        expect(line, "proved", PROOF * 2).map_err(|no| no.or_late(&late("it did not prove that it serves", PROOF)))?;
        turn.decide()?;
        tell(line, "yours")?;
        expect(line, "mine", ANSWER).map_err(|no| no.or_late(&late("it did not take the place", ANSWER)))
    }

    /// The point of no return is behind: the new process serves.
    fn leave(&self, turn: Turn<'_>, next: Successor, pid: u32) {
        self.front.leave_to_successor();
        if let Some(seat) = self.seat() {
            seat.leave_to(pid);
        }
        // If it died this very moment, nobody is left to hear it.
        let _ = next.line.say("free");
        turn.left(next.line);
        let _ =
            self.outbox.send(Message::Stop(Cause::Request { by: format!("`restart`: process {pid} has taken over") }));
    }

    /// It comes to nothing: this process goes on as before, and the new one has to leave.
    fn call_off(&self, turn: Turn<'_>, next: Successor, why: &str) -> NotRestarted {
        drop(turn);
        let pid = next.pid();
        let _ = next.line.say(&format!("leave {why}"));
        let how = self.see_off(next);
        let why = format!("process {pid} did not take over: {why}{how}; process {} serves on", std::process::id());
        Event::Warning { text: &format!("restart: {why}"), hint: None }.log();
        NotRestarted::new(why, "its log lines stand beside this one's")
    }

    /// Waits for the end of a process that was told to leave, not in the caller's time; says how it ended if it has.
    fn see_off(&self, mut next: Successor) -> String {
        if matches!(next.line.hear(Some(Instant::now())), Ok(Heard::Gone))
            && let Some(how) = next.ended(GONE)
        {
            return format!(" ({how})");
        }
        let patience = self.budget + ANSWER;
        let seen_off = spawn_named("evenkeel-see-off", move || {
            // Its end is the end of the line; what it says until then is of no interest any more.
            let until = Instant::now() + patience;
            while matches!(next.line.hear(Some(until)), Ok(Heard::Said(_))) {}
            if next.ended(GONE).is_none() {
                next.kill();
            }
        });
        drop(seen_off); // without a thread it is an orphan that was told to leave
        String::new()
    }
}

/// The one restart at a time. Dropped without an end, everything is as before.
struct Turn<'a> {
    state: &'a Mutex<State>,
    over: bool,
}

impl Turn<'_> {
    /// A stop of the service can be told to the new process from now on.
    fn speaks_by(&self, line: &Line) {
        if let State::Trying { voice, .. } = &mut *lock(self.state) {
            *voice = line.try_clone().ok();
        }
    }

    fn hold(&self, gate: ServersHeld) -> Result<(), String> {
        match &mut *lock(self.state) {
            State::Trying { held, .. } => {
                *held = Some(gate);
                Ok(())
            }
            _ => Err(STOPPED.to_owned()),
        }
    }

    /// From here on a stop of this service no longer calls it off.
    fn decide(&self) -> Result<(), String> {
        match &mut *lock(self.state) {
            State::Trying { voice, .. } => {
                drop(voice.take());
                Ok(())
            }
            _ => Err(STOPPED.to_owned()),
        }
    }

    /// The new process has the place.
    fn left(mut self, line: Line) {
        self.over = true;
        let mut state = lock(self.state);
        let held = match &mut *state {
            State::Trying { held, .. } => held.take(),
            _ => None,
        };
        *state = State::Left { _line: line, _held: held };
    }

    /// This process will become the program anew.
    fn anew(mut self) {
        self.over = true;
        *lock(self.state) = State::Anew;
    }
}

const STOPPED: &str = "the service was told to stop meanwhile";

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut state = lock(self.state);
        if !self.over && matches!(*state, State::Trying { .. }) {
            *state = State::Quiet;
        }
    }
}

/// What was heard in place of what was expected.
enum No {
    Late,
    Other(String),
}

impl No {
    fn or_late(self, late: &str) -> String {
        match self {
            Self::Late => late.to_owned(),
            Self::Other(why) => why,
        }
    }
}

fn expect(line: &mut Line, word: &str, within: Duration) -> Result<(), No> {
    match line.hear(Some(Instant::now() + within)) {
        Ok(Heard::Said(said)) if said == word => Ok(()),
        Ok(Heard::Said(said)) => Err(No::Other(
            said.strip_prefix("failed ")
                .map_or_else(|| format!("it said `{said}`, which this version does not expect"), str::to_owned),
        )),
        Ok(Heard::Nothing) => Err(No::Late),
        Ok(Heard::Gone) => Err(No::Other("it ended".to_owned())),
        Err(error) => Err(No::Other(format!("the line to it failed: {error}"))),
    }
}

fn tell(line: &Line, word: &str) -> Result<(), String> {
    line.say(word).map_err(|error| format!("the line to it failed: {error}"))
}
