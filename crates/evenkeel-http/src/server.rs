//! A server's life: settings, serving, drained; each consumes the one before.
//!
//! Policy: one list of connections, one watch that looks at them, one drain. While it serves, the watch looks rarely and
//! keeps the limits; in a drain the drain itself looks every [`LOOK`], so that each deadline is kept to that. Time is the
//! runtime's, which may be a simulated one.

use std::{
    fmt,
    future::{Future, poll_fn},
    io,
    net::{SocketAddr, ToSocketAddrs},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    task::Poll,
    time::Duration,
};

use axum::{Router, http::Extensions};
use slab::Slab;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot, watch},
    time::Instant,
};

use crate::{
    answer,
    conn::{Conn, Order},
    connection,
    decide::Progress,
    gate::Gate,
    limits::{Drain, Limits, Listening},
    listener::{Listener, accept},
    outcome::{Counts, Held, Report, Tally},
    phase::{Phase, Signal, Step},
    proof::Proofs,
    route::NameRoutes,
};

/// How often a drain looks at what is left.
const LOOK: Duration = Duration::from_millis(5);

/// How long what was cut off may take to end.
const CUTTING: Duration = Duration::from_millis(250);

/// How long the queue of a listener may take to be emptied before it closes, and how long it must stay empty.
const EMPTYING: (Duration, Duration) = (Duration::from_millis(200), Duration::from_millis(2));

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// A server that listens and does not serve yet.
pub struct Server {
    name: Option<Arc<str>>,
    listener: Listener,
    limits: Limits,
    gate: Gate,
    spawner: Option<Arc<dyn Fn(Task) + Send + Sync>>,
}

impl Server {
    /// A server on a socket that listens.
    #[must_use]
    pub fn new(listener: impl Into<Listener>) -> Self {
        Self { name: None, listener: listener.into(), limits: Limits::default(), gate: Gate::open(), spawner: None }
    }

    /// A server that listens at an address; see [`Listener::bind`]. A name is looked up, which blocks.
    ///
    /// # Errors
    /// The address cannot be listened at.
    pub fn bind(addr: impl ToSocketAddrs) -> io::Result<Self> {
        Listener::bind(addr).map(Self::new)
    }

    /// What the log calls it; its address if not said.
    #[must_use]
    pub fn named(mut self, name: impl Into<Arc<str>>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How much clients may ask for; [`Limits::default`] if not said.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// When connections may be accepted; always if not said.
    #[must_use]
    pub fn gate(mut self, gate: &Gate) -> Self {
        self.gate = gate.clone();
        self
    }

    /// Where the server's tasks run; `tokio::spawn` if not said. There is one for each connection and each HTTP/2 stream,
    /// and two for the server. A task that is dropped unfinished closes its connection.
    #[must_use]
    pub fn spawn_on(mut self, spawner: impl Fn(Task) + Send + Sync + 'static) -> Self {
        self.spawner = Some(Arc::new(spawner));
        self
    }

    /// Where it listens, with the port that was chosen.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.listener.addr()
    }

    /// Begins to serve a router, as far as the gate is open. Any tower service will do, as a router's fallback:
    /// `Router::new().fallback_service(service)`.
    ///
    /// # Errors
    /// The runtime cannot watch the socket: no descriptor is left.
    ///
    /// # Panics
    /// Outside of a tokio runtime with time and input/output.
    pub fn serve(self, router: Router) -> io::Result<Serving> {
        let addr = self.listener.addr();
        let listener = self.listener.into_tokio()?;
        let name = self.name.unwrap_or_else(|| addr.to_string().into());
        let shared = Arc::new(Shared::new(name, self.limits, self.spawner));
        // With its state, so that handlers are made into services now, and not again for each request.
        let router = router.layer(NameRoutes { shared: shared.clone() }).with_state(());
        let intake = watch::Sender::new(Intake::Open);
        let (ended, accepting) = oneshot::channel();
        let accept = Accept { shared: shared.clone(), router, listener, gate: self.gate, _ended: ended };
        shared.spawn(accept.run(intake.subscribe()));
        shared.spawn(keep_watch(Arc::downgrade(&shared), shared.phases.subscribe()));
        Ok(Serving { shared, addr, intake, accepting })
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addr", &self.addr()).field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// A server that serves. [Drain](Self::drain) it to stop without losing anything.
///
/// Dropping it instead is a hard stop: the listener closes, and every connection is cut off.
#[must_use = "dropping it cuts off every connection"]
pub struct Serving {
    shared: Arc<Shared>,
    addr: SocketAddr,
    intake: watch::Sender<Intake>,
    accepting: oneshot::Receiver<()>,
}

impl Serving {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The same as a URL, without a path: `http://127.0.0.1:8080`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// How requests have ended so far, by route.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.tally.counts()
    }

    /// Connections that are open.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.shared.lock().len()
    }

    /// A view of the server that can be kept, and asked while a drain is on.
    #[must_use]
    pub fn view(&self) -> Live {
        Live { shared: self.shared.clone(), addr: self.addr }
    }

    /// Stops without losing anything: tells clients to leave while it still serves them, then takes no more connections,
    /// closes what is at rest, waits for what is at work, and cuts off what is left at the limit.
    ///
    /// Takes [`Drain::limit`] and a quarter of a second at most. Dropping the future is a hard stop, as dropping the
    /// server is.
    pub async fn drain(mut self, drain: Drain) -> Report {
        let began = Instant::now();
        let before = self.shared.tally.counts();
        self.shared.begin(drain, began);
        let mut log = PhaseLog::new(began);
        self.discourage(&drain, &mut log).await;
        self.close(&mut log).await;
        let abandoned = self.force(&mut log).await;
        log.enter(&self.shared, Signal::Empty);
        let (cut, cut_count) = self.shared.take_cut();
        let total = self.shared.tally.counts();
        let during = total.since(&before);
        Report { took: began.elapsed(), phases: log.phases(), during, total, cut, cut_count, abandoned }
    }

    /// Clients are told to leave, and still served.
    async fn discourage(&mut self, drain: &Drain, log: &mut PhaseLog) {
        log.enter(&self.shared, Signal::Drain);
        if drain.listening == Listening::Shared {
            self.intake.send_replace(Intake::Shut);
        }
        let time = drain.propagation.min(drain.limit);
        let _ = tokio::time::timeout(time, self.shared.look_until(|| false)).await;
        let last = if drain.listening == Listening::Closes { Intake::EmptyAndShut } else { Intake::Shut };
        self.intake.send_replace(last);
        // Ends with the listener closed. The loop answers at once, or within the time for emptying.
        let _ = (&mut self.accepting).await;
    }

    /// Nothing more comes in; what is there comes to its end.
    async fn close(&self, log: &mut PhaseLog) {
        log.enter(&self.shared, Signal::Propagated);
        let left = self
            .shared
            .deadline()
            .map_or(Duration::ZERO, |deadline| deadline.saturating_duration_since(Instant::now()));
        let empty = self.shared.look_until(|| self.shared.is_over());
        let _ = tokio::time::timeout(left, empty).await;
    }

    /// The limit: what is left is cut off. Gives back how many connections did not end even so.
    async fn force(&self, log: &mut PhaseLog) -> u64 {
        if self.shared.is_over() {
            return 0;
        }
        log.enter(&self.shared, Signal::Limit);
        let empty = self.shared.look_until(|| self.shared.is_over());
        let _ = tokio::time::timeout(CUTTING, empty).await;
        let left = self.shared.lock().len() as u64;
        if left > 0 {
            log.enter(&self.shared, Signal::GivenUp);
        }
        left
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.intake.send_replace(Intake::Shut);
        self.shared.set_phase(Phase::Closed);
        self.shared.each(|conn| conn.give(Order::Cut));
    }
}

impl fmt::Debug for Serving {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serving").field("addr", &self.addr).field("phase", &self.shared.phase()).finish_non_exhaustive()
    }
}

/// What is going on in a server, to look at while it drains. Holds nothing up.
#[derive(Clone)]
pub struct Live {
    shared: Arc<Shared>,
    addr: SocketAddr,
}

impl Live {
    /// Where it listens.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn proofs(&self) -> &Proofs {
        &self.shared.proofs
    }

    /// Where the server is.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.shared.phase()
    }

    /// Waits until the server has come this far. Cancel-safe.
    pub async fn reached(&self, phase: Phase) {
        self.shared.reached(phase).await;
    }

    /// How requests have ended so far, by route.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.tally.counts()
    }

    /// Every open connection and what it is doing: what holds a drain up.
    #[must_use]
    pub fn holding(&self) -> Vec<Held> {
        self.shared.list().iter().map(|conn| conn.held()).collect()
    }

    /// Cuts off every connection, whatever a drain has planned: for an owner whose own limit is there first, and who is
    /// about to drop the server's tasks. Their requests then count as [cut](crate::Outcome::Cut), and not as left by their
    /// clients.
    pub fn cut(&self) {
        self.shared.each(|conn| conn.give(Order::Cut));
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Live").field("phase", &self.phase()).finish_non_exhaustive()
    }
}

/// When each phase began.
struct PhaseLog {
    entered: Vec<(Phase, Instant)>,
    began: Instant,
}

impl PhaseLog {
    const fn new(began: Instant) -> Self {
        Self { entered: Vec::new(), began }
    }

    /// Asks the table, and goes where it says.
    fn enter(&mut self, shared: &Shared, signal: Signal) {
        if let Step::To(phase) = shared.phase().on(signal) {
            tracing::debug!(target: "evenkeel", phase = phase.name(), "the drain goes on");
            self.entered.push((phase, Instant::now()));
            shared.set_phase(phase);
        }
    }

    fn phases(&self) -> Vec<(Phase, Duration)> {
        let ends = self.entered.iter().skip(1).map(|(_, at)| *at).chain([Instant::now()]);
        let lasted = self.entered.iter().zip(ends).map(|((phase, at), end)| (*phase, end - *at));
        debug_assert!(self.entered.iter().all(|(_, at)| *at >= self.began));
        lasted.collect()
    }
}

/// What the accept loop is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Intake {
    Open,
    /// Take what the queue holds, then close.
    EmptyAndShut,
    /// Close this copy of the listener.
    Shut,
}

/// The accept loop. The listener closes when it ends.
struct Accept {
    shared: Arc<Shared>,
    router: Router,
    listener: TcpListener,
    gate: Gate,
    /// Dropped with the listener.
    _ended: oneshot::Sender<()>,
}

impl Accept {
    async fn run(self, mut intake: watch::Receiver<Intake>) {
        let last = {
            let mut shut = pin!(intake.wait_for(|intake| *intake != Intake::Open));
            loop {
                tokio::select! {
                    biased;
                    last = shut.as_mut() => break last.map_or(Intake::Shut, |intake| *intake),
                    (stream, peer, permit) = self.admit() => self.begin(stream, peer, permit),
                }
            }
        };
        if last == Intake::EmptyAndShut && self.gate.is_open() {
            let _ = tokio::time::timeout(EMPTYING.0, self.empty()).await;
        }
    }

    /// The next connection that may come in. Cancel-safe.
    async fn admit(&self) -> (TcpStream, SocketAddr, OwnedSemaphorePermit) {
        loop {
            self.gate.until(true).await;
            let permit = self.shared.slot().await;
            let (mut accepting, mut shut) =
                (pin!(accept(&self.listener, &self.shared.name)), pin!(self.gate.until(false)));
            // To wait for the gate is dear, so that is done only where nobody waits at the door.
            let admitted = poll_fn(|cx| match self.gate.is_open().then(|| accepting.as_mut().poll(cx)) {
                Some(Poll::Ready(accepted)) => Poll::Ready(Some(accepted)),
                _ => shut.as_mut().poll(cx).map(|()| None),
            });
            if let Some((stream, peer)) = admitted.await {
                return (stream, peer, permit);
            }
        }
    }

    /// Takes what the queue holds. An empty look is no proof: a handshake may be on its way, so it must stay empty.
    async fn empty(&self) {
        while let Ok((stream, peer, permit)) = tokio::time::timeout(EMPTYING.1, self.admit()).await {
            self.begin(stream, peer, permit);
        }
    }

    fn begin(&self, stream: TcpStream, peer: SocketAddr, permit: OwnedSemaphorePermit) {
        self.shared.proofs.accepted(peer);
        let conn = Arc::new(Conn::new(self.shared.clone(), stream, peer));
        let registered = Registered::new(conn, permit);
        self.shared.spawn(connection::run(registered, self.router.clone()));
    }
}

/// Keeps the limits while the server serves.
async fn keep_watch(shared: Weak<Shared>, mut phases: watch::Receiver<Phase>) {
    let Some(tick) = shared.upgrade().map(|shared| shared.limits.tick()) else { return };
    // Ends at once when a drain begins: whoever waits for the server's tasks must not wait for a tick.
    while tokio::time::timeout(tick, phases.wait_for(|phase| *phase != Phase::Serving)).await.is_err() {
        let Some(shared) = shared.upgrade() else { return };
        shared.look();
    }
}

/// What all of a server's tasks share.
pub(crate) struct Shared {
    pub(crate) name: Arc<str>,
    pub(crate) limits: Limits,
    pub(crate) tally: Tally,
    proofs: Proofs,
    phase: AtomicU8,
    phases: watch::Sender<Phase>,
    epoch: Instant,
    drain: Mutex<Option<(Drain, Instant)>>,
    conns: Mutex<Slab<Arc<Conn>>>,
    ended: Notify,
    slots: Arc<Semaphore>,
    cut: Mutex<Vec<Held>>,
    cut_count: AtomicU64,
    spawner: Option<Arc<dyn Fn(Task) + Send + Sync>>,
    /// What every request is given beside its fields.
    pub(crate) extensions: Extensions,
}

impl Shared {
    fn new(name: Arc<str>, limits: Limits, spawner: Option<Arc<dyn Fn(Task) + Send + Sync>>) -> Self {
        Self {
            name,
            limits,
            tally: Tally::new(),
            proofs: Proofs::default(),
            phase: AtomicU8::new(Phase::Serving as u8),
            phases: watch::Sender::new(Phase::Serving),
            epoch: Instant::now(),
            drain: Mutex::default(),
            conns: Mutex::default(),
            ended: Notify::new(),
            slots: Arc::new(Semaphore::new(limits.connections.min(Semaphore::MAX_PERMITS))),
            cut: Mutex::default(),
            cut_count: AtomicU64::new(0),
            spawner,
            extensions: answer::extensions(),
        }
    }

    /// Milliseconds since the server began.
    pub(crate) fn now(&self) -> u64 {
        let elapsed = self.epoch.elapsed();
        elapsed.as_secs() * 1_000 + u64::from(elapsed.subsec_millis())
    }

    pub(crate) fn phase(&self) -> Phase {
        Phase::from_u8(self.phase.load(Ordering::Acquire))
    }

    fn set_phase(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
        self.phases.send_replace(phase);
        self.each(Conn::wake);
    }

    pub(crate) async fn reached(&self, phase: Phase) {
        // The sender is here, so there is always an answer.
        let _ = self.phases.subscribe().wait_for(|now| *now >= phase).await;
    }

    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        match &self.spawner {
            Some(spawner) => spawner(Box::pin(task)),
            None => drop(tokio::spawn(task)),
        }
    }

    async fn slot(&self) -> OwnedSemaphorePermit {
        match self.slots.clone().try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.slots.clone().acquire_owned().await.expect("the semaphore is never closed"),
        }
    }

    // The drain.

    fn begin(&self, drain: Drain, began: Instant) {
        *self.drain.lock().unwrap_or_else(PoisonError::into_inner) = Some((drain, began));
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        let (drain, began) = (*self.drain.lock().unwrap_or_else(PoisonError::into_inner))?;
        began.checked_add(drain.limit)
    }

    fn progress(&self) -> Option<Progress> {
        let (drain, began) = (*self.drain.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(Progress { drain, elapsed: began.elapsed() })
    }

    // The connections.

    fn lock(&self) -> std::sync::MutexGuard<'_, Slab<Arc<Conn>>> {
        self.conns.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether neither a connection is left nor a request: those of HTTP/2 are tasks of their own, and end a moment later.
    fn is_over(&self) -> bool {
        self.lock().is_empty() && self.tally.in_flight() == 0
    }

    fn list(&self) -> Vec<Arc<Conn>> {
        self.lock().iter().map(|(_, conn)| conn.clone()).collect()
    }

    fn each(&self, act: impl Fn(&Conn)) {
        self.list().iter().for_each(|conn| act(conn));
    }

    /// Looks at every connection and orders what is due.
    fn look(&self) {
        let (now, progress) = (self.now(), self.progress());
        for conn in self.list() {
            if let Some(held) = conn.judge(now, progress.as_ref()) {
                self.note_cut(held);
            }
        }
    }

    /// Looks again and again, until there is nothing left to look at.
    async fn look_until(&self, done: impl Fn() -> bool) {
        loop {
            let ended = self.ended.notified();
            self.look();
            if done() {
                return;
            }
            let _ = tokio::time::timeout(LOOK, ended).await;
        }
    }

    fn note_cut(&self, held: Held) {
        self.cut_count.fetch_add(1, Ordering::AcqRel);
        let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        if self.phase() != Phase::Serving && cut.len() < Report::MAX_CUT {
            cut.push(held);
        }
    }

    fn take_cut(&self) -> (Vec<Held>, u64) {
        let cut = std::mem::take(&mut *self.cut.lock().unwrap_or_else(PoisonError::into_inner));
        (cut, self.cut_count.load(Ordering::Acquire))
    }
}

/// A connection's place in the list; given back when its task ends, in whatever way.
pub(crate) struct Registered {
    pub(crate) conn: Arc<Conn>,
    key: usize,
    _permit: OwnedSemaphorePermit,
}

impl Registered {
    /// How many handles of a connection there are when nobody else holds one: this, and the list's.
    pub(crate) const HANDLES: usize = 2;

    fn new(conn: Arc<Conn>, permit: OwnedSemaphorePermit) -> Self {
        let key = conn.shared.lock().insert(conn.clone());
        Self { conn, key, _permit: permit }
    }
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.conn.end_requests();
        let shared = &self.conn.shared;
        let conn = shared.lock().try_remove(self.key);
        drop(conn);
        shared.ended.notify_waiters();
    }
}
