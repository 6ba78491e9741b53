//! The interrupt that blocking work is given, and everything that it can wait for with it.

use std::{
    error::Error as StdError,
    fmt, io,
    io::Read,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::AsFd,
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use evenkeel_os::interrupt::{Breaker, Interrupt as Switch, Wake};
use slab::Slab;

use crate::{error::Result as AnyResult, lease::lock, scope::Work, stop::Stop};

/// Told when blocking work must end, and the way to wait for something until then. Cheap to clone; clones are one.
///
/// It fires once and stays so: every wait begun later returns at once. Where the work can lose nothing by it (a sleep, a
/// park, bytes that stay in the kernel), the interrupt wins over what is waited for; where something has been handed to
/// it already (an item in a [channel](super::channel), a [`Monitor`](super::Monitor)'s condition), that comes first.
#[derive(Clone)]
pub struct Interrupt {
    inner: Arc<Inner>,
}

struct Inner {
    /// Whether it has fired; also as a file descriptor, for waits in the kernel.
    switch: Switch,
    /// Rings for those who wait for nothing else: sleep, park, the gate.
    bell: Bell,
    /// Who else is to be told.
    listeners: Mutex<Slab<Listener>>,
    unparked: AtomicBool,
    stop: Stop,
}

enum Listener {
    Bell(Arc<Bell>),
    Breaker(Breaker),
}

impl Interrupt {
    pub(super) fn new(stop: Stop) -> io::Result<Self> {
        let inner = Inner {
            switch: Switch::new()?,
            bell: Bell::default(),
            listeners: Mutex::default(),
            unparked: AtomicBool::new(false),
            stop,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Whether the interrupt has fired. Cheap enough for a hot loop.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.inner.switch.is_interrupted()
    }

    /// [`Interrupted`] once the interrupt has fired: for work that computes, between two steps.
    ///
    /// # Errors
    /// The interrupt has fired.
    pub fn check(&self) -> Result<(), Interrupted> {
        if self.is_requested() { Err(Interrupted) } else { Ok(()) }
    }

    /// Sleeps for this long.
    ///
    /// # Errors
    /// The interrupt fired first.
    pub fn sleep(&self, time: Duration) -> Result<(), Interrupted> {
        self.until(Instant::now().checked_add(time), || false).map(drop)
    }

    /// Waits until [`Unparker::unpark`] is called; returns at once if it was since the last park. One thread parks on
    /// an interrupt: of several, any one is woken.
    ///
    /// # Errors
    /// The interrupt fired first.
    pub fn park(&self) -> Result<(), Interrupted> {
        self.until(None, || self.inner.unparked.swap(false, Ordering::AcqRel)).map(drop)
    }

    /// Like [`park`](Self::park), for this long at most. `false`: the time was up first.
    ///
    /// # Errors
    /// The interrupt fired first.
    pub fn park_timeout(&self, time: Duration) -> Result<bool, Interrupted> {
        self.until(Instant::now().checked_add(time), || self.inner.unparked.swap(false, Ordering::AcqRel))
    }

    /// Wakes [`park`](Self::park), from any thread or task.
    #[must_use]
    pub fn unparker(&self) -> Unparker {
        Unparker { interrupt: self.clone() }
    }

    /// Waits while the service does not run yet, or is paused. Blocking work that is an
    /// [`intake`](crate::Handle::intake) calls it before it takes each piece; a pause does not end a wait that it has
    /// begun by then. At once for what is not an intake.
    ///
    /// # Errors
    /// The interrupt fired first.
    pub fn wait_open(&self) -> Result<(), Interrupted> {
        self.until(None, || self.inner.stop.gate_is_open()).map(drop)
    }

    /// Counts a piece of work until the guard is dropped; see [`Stop::work`].
    pub fn work(&self) -> Work {
        self.inner.stop.work()
    }

    /// Waits until a read from `fd`, or an `accept`, will not block. A regular file is always ready: reads from a disk
    /// cannot be interrupted.
    ///
    /// # Errors
    /// An error that [`Interrupted`] is in: the interrupt has fired. Anything else: the kernel refused the wait.
    pub fn readable(&self, fd: &impl AsFd) -> io::Result<()> {
        ready(self.inner.switch.wait_readable(fd, None)?)
    }

    /// Waits until a write to `fd` will not block. That holds for *some* bytes: put `fd` into non-blocking mode in order
    /// to write many.
    ///
    /// # Errors
    /// As [`readable`](Self::readable).
    pub fn writable(&self, fd: &impl AsFd) -> io::Result<()> {
        ready(self.inner.switch.wait_writable(fd, None)?)
    }

    /// Reads what is there, and waits for it if nothing is; 0 is the end. Nobody else should read from the same
    /// descriptor unless it is in non-blocking mode: a wait for bytes that another took is not interrupted.
    ///
    /// # Errors
    /// As [`readable`](Self::readable), and those of the read. No byte is lost: what was not read is still there.
    pub fn read(&self, from: &mut (impl Read + AsFd), into: &mut [u8]) -> io::Result<usize> {
        loop {
            self.readable(from)?;
            match from.read(into) {
                Err(error) if is_vain(&error) => {}
                done => return done,
            }
        }
    }

    /// Accepts a connection. Leaves the listener in non-blocking mode, so that a connection which goes away in between,
    /// or to another thread, does not leave this one waiting where no interrupt reaches it.
    ///
    /// # Errors
    /// As [`readable`](Self::readable), and those of the accept.
    pub fn accept(&self, listener: &TcpListener) -> io::Result<(TcpStream, SocketAddr)> {
        listener.set_nonblocking(true)?;
        loop {
            self.readable(listener)?;
            match listener.accept() {
                Err(error) if is_vain(&error) => {}
                Err(error) => return Err(error),
                Ok((stream, peer)) => {
                    stream.set_nonblocking(false)?; // some systems hand the listener's mode down
                    return Ok((stream, peer));
                }
            }
        }
    }

    /// For code that is not ours and blocks on a socket: when the interrupt fires, the socket is shut down both ways,
    /// which ends every call on it in any code (a read gives what has arrived, then the end; an accept or a write
    /// fails). At once if it has fired already. Does nothing to what is not a socket.
    ///
    /// The guard keeps the socket open: drop it as soon as the code is done, or the peer does not see it close.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn break_on_interrupt(&self, socket: &impl AsFd) -> io::Result<BreakGuard> {
        let guard = BreakGuard { listening: self.listen(Listener::Breaker(Breaker::of(socket)?)) };
        if self.is_requested() {
            self.tell(guard.listening.key);
        }
        Ok(guard)
    }
}

impl Interrupt {
    /// Ends every wait, present and future. Never waits for user code: all that it locks is locked for a few
    /// instructions.
    pub(super) fn fire(&self) {
        self.inner.switch.interrupt();
        self.inner.bell.ring();
        // Who is not in the list yet looks at the switch after having got in.
        for (_, listener) in lock(&self.inner.listeners).iter() {
            listener.tell();
        }
    }

    /// The gate has opened.
    pub(super) fn opened(&self) {
        self.inner.bell.ring();
    }

    /// Ending because of an interrupt is no failure once it has been asked for.
    pub(super) fn forgive(&self, result: AnyResult) -> AnyResult {
        match result {
            Err(error) if self.is_requested() && Interrupted::is_in(error.as_ref()) => Ok(()),
            result => result,
        }
    }

    /// Waits until the bell has rung after `turn`, or the interrupt has fired.
    pub(super) fn wait(&self, bell: &Arc<Bell>, turn: Turn) {
        let _listening = self.listen(Listener::Bell(bell.clone()));
        bell.wait(turn, None, || self.is_requested());
    }

    /// Waits for `done` (`true`) or the time (`false`). Whatever makes `done` true rings the interrupt's bell.
    fn until(&self, end: Option<Instant>, done: impl Fn() -> bool) -> Result<bool, Interrupted> {
        loop {
            let turn = self.inner.bell.turn();
            self.check()?;
            if done() {
                return Ok(true);
            }
            if end.is_some_and(|end| Instant::now() >= end) {
                return Ok(false);
            }
            self.inner.bell.wait(turn, end, || self.is_requested());
        }
    }

    fn listen(&self, listener: Listener) -> Listening {
        let key = lock(&self.inner.listeners).insert(listener);
        Listening { inner: self.inner.clone(), key }
    }

    fn tell(&self, key: usize) {
        if let Some(listener) = lock(&self.inner.listeners).get(key) {
            listener.tell();
        }
    }
}

impl fmt::Debug for Interrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Interrupt").field("requested", &self.is_requested()).finish()
    }
}

impl Listener {
    fn tell(&self) {
        match self {
            Self::Bell(bell) => bell.ring(),
            // A socket that cannot be shut down any more has nobody blocking on it.
            Self::Breaker(breaker) => drop(breaker.break_off()),
        }
    }
}

/// A place in the list of those whom an interrupt tells.
struct Listening {
    inner: Arc<Inner>,
    key: usize,
}

impl Drop for Listening {
    fn drop(&mut self) {
        let listener = lock(&self.inner.listeners).try_remove(self.key);
        drop(listener); // a breaker closes its descriptor: not under the lock
    }
}

/// See [`Interrupt::break_on_interrupt`]. Dropping it lets go of the socket; an interrupt does nothing to it then.
#[must_use = "an interrupt breaks the socket only as long as this is held"]
pub struct BreakGuard {
    listening: Listening,
}

/// See [`Interrupt::unparker`].
#[derive(Clone, Debug)]
pub struct Unparker {
    interrupt: Interrupt,
}

impl Unparker {
    /// Ends the present [`park`](Interrupt::park), or else the next one.
    pub fn unpark(&self) {
        self.interrupt.inner.unparked.store(true, Ordering::Release);
        self.interrupt.inner.bell.ring();
    }
}

/// The work was interrupted because its component has to stop.
///
/// Pass it on with `?`: after a stop it counts as a clean end, also inside an [`io::Error`] or below a
/// [`context`](crate::Explain::context).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interrupted;

impl Interrupted {
    /// Whether this error is, or was caused by, an interrupt.
    #[must_use]
    pub fn is_in(error: &(dyn StdError + 'static)) -> bool {
        let mut next = Some(error);
        // An error chain is finite unless somebody built a cycle.
        for _ in 0..32 {
            let Some(error) = next else { break };
            if error.is::<Self>() {
                return true;
            }
            // An I/O error's source is that of what it carries, not what it carries.
            let carried = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
            next = carried.map(|carried| carried as &(dyn StdError + 'static)).or_else(|| error.source());
        }
        false
    }
}

impl fmt::Display for Interrupted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("interrupted by a stop")
    }
}

impl StdError for Interrupted {}

/// Its kind is [`io::ErrorKind::Other`] and not [`io::ErrorKind::Interrupted`]: the standard library takes that one for
/// a signal, and `read_exact`, `read_line` and `copy` would try again for ever.
impl From<Interrupted> for io::Error {
    fn from(interrupted: Interrupted) -> Self {
        Self::other(interrupted)
    }
}

fn ready(wake: Wake) -> io::Result<()> {
    match wake {
        Wake::Ready | Wake::TimedOut => Ok(()),
        Wake::Interrupted => Err(Interrupted.into()),
    }
}

/// Nothing was there after all; to be waited for again.
fn is_vain(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}

/// How often a bell had rung.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Turn(u64);

/// A condition variable that an interrupt can ring without the lock of what it guards.
///
/// Who waits takes the turn, then looks at what it waits for, then waits past that turn; who changes something rings
/// afterwards. A change that was not seen has not rung yet, so no ring is missed.
#[derive(Default)]
pub(super) struct Bell {
    rings: Mutex<u64>,
    rung: Condvar,
}

impl Bell {
    pub(super) fn turn(&self) -> Turn {
        Turn(*lock(&self.rings))
    }

    /// Wakes all who wait.
    pub(super) fn ring(&self) {
        *lock(&self.rings) += 1;
        self.rung.notify_all();
    }

    /// Wakes one of those who wait, and perhaps others.
    pub(super) fn ring_one(&self) {
        *lock(&self.rings) += 1;
        self.rung.notify_one();
    }

    fn wait(&self, turn: Turn, end: Option<Instant>, enough: impl Fn() -> bool) {
        let mut rings = lock(&self.rings);
        while *rings == turn.0 && !enough() {
            rings = match end.map(|end| end.saturating_duration_since(Instant::now())) {
                Some(Duration::ZERO) => return,
                Some(left) => self.rung.wait_timeout(rings, left).unwrap_or_else(PoisonError::into_inner).0,
                None => self.rung.wait(rings).unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::{
        blocking::{Monitor, channel},
        scope::Scope,
    };

    fn interrupt(runtime: &tokio::runtime::Runtime) -> Interrupt {
        let (service, _) = tokio::sync::mpsc::unbounded_channel();
        Interrupt::new(Stop::new(Scope::new(0, runtime.handle().clone()), None, service)).expect("descriptors are left")
    }

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
    }

    /// Whatever the moment at which the interrupt fires, every wait ends; a lost one hangs this test.
    #[test]
    fn no_interrupt_is_lost_between_the_look_and_the_wait_r3_3b() {
        let runtime = runtime();
        for round in 0..500 {
            let interrupt = interrupt(&runtime);
            let (monitor, (_sender, items)) = (Monitor::new(()), channel::<()>(1));
            thread::scope(|scope| {
                scope.spawn(|| interrupt.park().expect_err("nobody unparks it"));
                scope.spawn(|| monitor.wait_while(&interrupt, |()| true).map(drop).expect_err("it never changes"));
                scope.spawn(|| items.recv(&interrupt).expect_err("nothing is sent"));
                for _ in 0..round * 20 {
                    std::hint::spin_loop();
                }
                interrupt.fire();
            });
            assert!(lock(&interrupt.inner.listeners).is_empty(), "a wait left its place behind");
        }
    }

    /// Two threads that wait for each other in turns; a lost notification hangs this test.
    #[test]
    fn no_notification_is_lost_between_the_look_and_the_wait_r3_3a() {
        let runtime = runtime();
        let (interrupt, monitor) = (interrupt(&runtime), Monitor::new(0));
        let play = |mine: u32| {
            for _ in 0..5000 {
                let mut ball = monitor.wait_while(&interrupt, |ball| *ball % 2 != mine).expect("nobody interrupts");
                *ball += 1;
                drop(ball);
                monitor.notify_one();
            }
        };
        thread::scope(|scope| {
            scope.spawn(|| play(0));
            play(1);
        });
        assert_eq!(*monitor.lock(), 10_000);
    }

    #[test]
    fn every_item_of_many_senders_reaches_one_of_many_receivers_r3_3a() {
        let runtime = runtime();
        let interrupt = interrupt(&runtime);
        let (sender, items) = channel(2);
        let sum: u64 = thread::scope(|scope| {
            let take = || std::iter::from_fn(|| items.recv(&interrupt).expect("nobody interrupts")).sum::<u64>();
            let receivers = [scope.spawn(take), scope.spawn(take), scope.spawn(take)];
            for _ in 0..3 {
                let (sender, interrupt) = (sender.clone(), &interrupt);
                scope.spawn(move || (1..=1000).for_each(|n| sender.send(interrupt, n).expect("received")));
            }
            drop(sender);
            receivers.into_iter().map(|receiver| receiver.join().expect("no panic")).sum()
        });
        assert_eq!(sum, 3 * 500_500);
    }

    #[test]
    fn an_interrupt_is_found_in_every_wrapping() {
        use crate::Explain;
        let wrapped: [crate::Error; 4] = [
            Interrupted.into(),
            io::Error::from(Interrupted).into(),
            Err::<(), _>(io::Error::from(Interrupted)).context("cannot read").hint("try again").expect_err("an error"),
            io::Error::other(io::Error::from(Interrupted)).into(),
        ];
        assert!(wrapped.iter().all(|error| Interrupted::is_in(error.as_ref())));
        assert!(!Interrupted::is_in(&io::Error::from(io::ErrorKind::Interrupted)));
    }
}
