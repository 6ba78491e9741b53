//! The herald: says to the service manager (systemd) how the service is, as its protocol has it.
//!
//! Policy:
//! - `READY` when the service runs, never when the process does; `STATUS` says in words what it is at.
//! - The start and the stop may take longer than the manager's limit as long as they get on: each time that something has
//!   moved (a component's state, a connection, a task, a byte) the limit is extended by [`EXTENSION`]. What is stuck is not
//!   extended, and the manager's limit holds.
//! - The watchdog is answered only if the engine answers and no code holds every runtime thread.
//! - It has a thread of its own: a manager that does not read holds nobody up.
//!
//! What to say is decided purely, in [`Memory::notes`].

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use evenkeel_events::Event;
use evenkeel_os::{
    notify::{Note, Notifier},
    threads::spawn_named,
};
use evenkeel_plan::lifecycle::{Component, Service};
use tokio::{runtime::Builder, sync::oneshot};

use super::{
    front::Front,
    vital::{Heard, Vital},
};
use crate::status::{ComponentStatus, Status};

/// How much longer a start or a stop may take after something has moved.
const EXTENSION: Duration = Duration::from_secs(5);
/// How often it is looked whether something has moved. Shorter than half of the shortest sensible limit.
const LOOK: Duration = Duration::from_millis(500);
/// How long whoever ends waits for the last words to be said.
const FAREWELL: Duration = Duration::from_millis(200);

/// Speaks until it is dropped.
pub(super) struct Herald {
    end: Option<oneshot::Sender<()>>,
    ended: std::sync::mpsc::Receiver<()>,
}

impl Herald {
    /// Begins to speak.
    pub(super) fn begin(
        notifier: Arc<Notifier>,
        watchdog: Option<Duration>,
        vital: Vital,
        front: Front,
    ) -> std::io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_time().build()?;
        let (end, asked) = oneshot::channel();
        let (done, ended) = std::sync::mpsc::channel();
        let speaker = Speaker { notifier, watchdog, vital, front };
        spawn_named("evenkeel-herald", move || {
            runtime.block_on(speaker.speak(asked));
            drop(done);
        })?;
        Ok(Self { end: Some(end), ended })
    }
}

impl Drop for Herald {
    /// Nothing is said after it.
    fn drop(&mut self) {
        drop(self.end.take());
        // Ends with the sender.
        let _ = self.ended.recv_timeout(FAREWELL);
    }
}

struct Speaker {
    notifier: Arc<Notifier>,
    watchdog: Option<Duration>,
    vital: Vital,
    front: Front,
}

impl Speaker {
    async fn speak(self, mut asked: oneshot::Receiver<()>) {
        let mut service = self.vital.shared.service.subscribe();
        let mut memory = Memory::default();
        let mut alive =
            Alive { due: self.watchdog.map(|every| (Instant::now(), every / 3)), before: Vec::new(), was: true };
        loop {
            let status = self.vital.heard().await;
            let mut notes = Vec::new();
            let said = match &status {
                Heard::Now(status) | Heard::Over(status) => memory.notes(status, Instant::now()),
                Heard::Silent(_) => Vec::new(),
            };
            notes.extend(said.iter().map(Say::note));
            notes.extend(alive.note(&self.vital).await);
            if !notes.is_empty()
                && let Err(error) = self.notifier.tell(&notes)
            {
                tracing::debug!(target: "evenkeel", %error, "the service manager does not listen");
            }
            if said.contains(&Say::Ready) {
                self.store_sockets();
            }
            let wait = alive.due.map_or(LOOK, |(due, _)| due.saturating_duration_since(Instant::now()).min(LOOK));
            tokio::select! {
                _ = &mut asked => return,
                changed = service.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(wait) => {}
            }
        }
    }
}

impl Speaker {
    /// Gives the manager the sockets that the program opened itself: it keeps them if the unit allows that, and the next
    /// process has them.
    fn store_sockets(&self) {
        for (name, socket) in self.front.own_copies().unwrap_or_default() {
            if let Err(error) = self.notifier.tell_with(&[Note::StoreDescriptors(&name)], &[&socket]) {
                tracing::debug!(target: "evenkeel", %error, "the service manager does not take `{name}`");
            }
        }
    }
}

/// The answer to the watchdog.
struct Alive {
    /// When it is due, and how often.
    due: Option<(Instant, Duration)>,
    before: Vec<crate::polls::Busy>,
    was: bool,
}

impl Alive {
    async fn note(&mut self, vital: &Vital) -> Option<Note<'static>> {
        let (due, every) = self.due.filter(|(due, _)| *due <= Instant::now())?;
        let (stuck, now) = vital.look(&self.before).await;
        self.before = now;
        self.due = Some((due.max(Instant::now()) + every, every));
        if let Some(how) = &stuck
            && std::mem::replace(&mut self.was, false)
        {
            let text = format!("the watchdog is not answered: {how}");
            Event::Warning { text: &text, hint: None }.log();
        }
        self.was |= stuck.is_none();
        stuck.is_none().then_some(Note::Watchdog)
    }
}

/// What is to be said.
#[derive(Debug, PartialEq, Eq)]
enum Say {
    Ready,
    Stopping,
    Extend,
    Status(String),
}

impl Say {
    fn note(&self) -> Note<'_> {
        match self {
            Self::Ready => Note::Ready,
            Self::Stopping => Note::Stopping,
            Self::Extend => Note::ExtendTimeout(EXTENSION),
            Self::Status(text) => Note::Status(text),
        }
    }
}

/// What was said, and what had moved.
#[derive(Default)]
struct Memory {
    ready: bool,
    stopping: bool,
    text: String,
    seen: Option<Vec<Trace>>,
    extended: Option<Instant>,
}

/// What shows that a component gets on.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Trace {
    state: String,
    restarts: u32,
    connections: usize,
    tasks: usize,
    bytes: u64,
}

impl Trace {
    fn of(component: &ComponentStatus) -> Self {
        let holding = component.holding.as_deref();
        Self {
            state: component.state.clone(),
            restarts: component.restarts,
            connections: holding.map_or(0, |holding| holding.connection_count),
            tasks: holding.map_or(0, |holding| holding.task_count),
            bytes: holding
                .map_or(0, |holding| holding.connections.iter().map(|one| one.bytes_in + one.bytes_out).sum()),
        }
    }
}

impl Memory {
    fn notes(&mut self, status: &Status, now: Instant) -> Vec<Say> {
        let is = |states: &[Service]| states.iter().any(|state| state.word() == status.state);
        let mut notes = Vec::new();
        if is(&[Service::Running]) && !std::mem::replace(&mut self.ready, true) {
            notes.push(Say::Ready);
        }
        let stopping = is(&[Service::Stopping]);
        if stopping && !std::mem::replace(&mut self.stopping, true) {
            notes.push(Say::Stopping);
            self.extended = None;
        }
        let moved = self.moved(status);
        let due = self.extended.is_none_or(|at| now.duration_since(at) >= LOOK);
        if moved && due && (stopping || is(&[Service::Starting])) {
            self.extended = Some(now);
            notes.push(Say::Extend);
        }
        let text = in_words(status);
        if text != self.text {
            self.text.clone_from(&text);
            notes.push(Say::Status(text));
        }
        notes
    }

    /// Whether anything is other than at the last look.
    fn moved(&mut self, status: &Status) -> bool {
        let seen: Vec<_> = status.components.iter().map(Trace::of).collect();
        let moved = self.seen.as_ref() != Some(&seen);
        self.seen = Some(seen);
        moved
    }
}

/// One line for people: `starting: waiting for db, cache`; `running`; `stopping: api (3 connections), db`.
fn in_words(status: &Status) -> String {
    let of = |states: &[Component]| -> Vec<String> {
        let wanted = |it: &&ComponentStatus| states.iter().any(|state| state.word() == it.state);
        status.components.iter().filter(wanted).map(with_what_holds_it).collect()
    };
    let state = &status.state;
    let (list, before) = if *state == Service::Starting.word() {
        (of(&[Component::Starting]), "waiting for ")
    } else if *state == Service::Stopping.word() {
        (of(&[Component::Draining, Component::Releasing]), "")
    } else {
        (of(&[Component::Retrying]), "without ")
    };
    if list.is_empty() { state.clone() } else { format!("{state}: {before}{}", list.join(", ")) }
}

fn with_what_holds_it(component: &ComponentStatus) -> String {
    let connections = component.holding.as_deref().map_or(0, |holding| holding.connection_count);
    match connections {
        0 => component.name.clone(),
        1 => format!("{} (1 connection)", component.name),
        many => format!("{} ({many} connections)", component.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Holding;

    fn component(name: &str, state: &str) -> ComponentStatus {
        let (name, kind, state) = (name.to_owned(), "resource".to_owned(), state.to_owned());
        ComponentStatus { name, kind, state, optional: false, restarts: 0, note: None, stuck: None, holding: None }
    }

    fn status(state: &str, components: Vec<ComponentStatus>) -> Status {
        Status { state: state.to_owned(), components, ..Status::unknown() }
    }

    #[test]
    fn ready_is_said_once_and_only_when_the_service_runs() {
        let (mut memory, now) = (Memory::default(), Instant::now());
        let starting = memory.notes(&status("starting", vec![component("db", "starting")]), now);
        assert_eq!(starting, [Say::Extend, Say::Status("starting: waiting for db".to_owned())]);
        let running = status("running", vec![component("db", "ready")]);
        assert_eq!(memory.notes(&running, now), [Say::Ready, Say::Status("running".to_owned())]);
        assert_eq!(memory.notes(&running, now), []);
    }

    #[test]
    fn a_stop_is_extended_as_long_as_something_moves_and_no_longer() {
        let (mut memory, mut now) = (Memory::default(), Instant::now());
        let mut draining = |connections: usize, bytes_out: u64| {
            let one = evenkeel_events::CutConnection { bytes_out, ..Default::default() };
            let holding = Holding { connection_count: connections, connections: vec![one], ..Holding::default() };
            let api = ComponentStatus { holding: Some(Box::new(holding)), ..component("api", "draining") };
            now += Duration::from_secs(1);
            memory.notes(&status("stopping", vec![api]), now)
        };
        let first = draining(3, 0);
        assert_eq!(first, [Say::Stopping, Say::Extend, Say::Status("stopping: api (3 connections)".to_owned())]);
        assert_eq!(draining(3, 0), [], "nothing has moved");
        assert_eq!(draining(3, 100), [Say::Extend], "an answer is on its way");
        assert_eq!(draining(1, 100), [Say::Extend, Say::Status("stopping: api (1 connection)".to_owned())]);
        assert_eq!(draining(1, 100), []);
    }
}
