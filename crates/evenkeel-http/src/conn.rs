//! One accepted connection: what everybody who deals with it shares.
//!
//! Policy: the connection's own task decides when its socket closes; others leave an [`Order`] and wake it. So the last
//! look into the socket and the close happen in one place, with nothing in between.

use std::{
    net::{Shutdown, SocketAddr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::Duration,
};

use atomic_waker::AtomicWaker;
use socket2::SockRef;
use tokio::net::TcpStream;

use crate::{
    OnDrain,
    decide::{Progress, Verdict, View, decide},
    exchange::{Exchange, Ticket},
    framing::Fault,
    outcome::{Doing, Held, Outcome},
    server::Shared,
};

/// What a connection's task was asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Order {
    Serve = 0,
    /// Close, if nothing has begun to arrive.
    Retire = 1,
    /// Close now.
    Cut = 2,
}

/// Which protocol its first bytes spoke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Protocol {
    Unknown = 0,
    Http1 = 1,
    Http2 = 2,
}

/// What the connection is at, as far as one word can say it. The rest is with its requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum At {
    Silent = 0,
    Head = 1,
    Busy = 2,
    Idle = 3,
    Upgraded = 4,
}

pub(crate) struct Conn {
    pub(crate) shared: Arc<Shared>,
    pub(crate) stream: TcpStream,
    pub(crate) peer: SocketAddr,
    pub(crate) waker: AtomicWaker,
    /// Milliseconds of the server's clock, as all times here.
    accepted: u64,
    protocol: AtomicU8,
    at: AtomicU8,
    since: AtomicU64,
    order: AtomicU8,
    /// Since when the client has not taken what waits for it, plus one; 0 if nothing waits.
    blocked: AtomicU64,
    pub(crate) bytes_in: AtomicU64,
    pub(crate) bytes_out: AtomicU64,
    /// Whether what has arrived ends with a whole message.
    pub(crate) at_boundary: AtomicBool,
    /// Whether hyper, or whoever it was upgraded for, still has the stream.
    pub(crate) stream_held: AtomicBool,
    /// Whether HTTP/1 has ended on it: what comes is for another protocol.
    pub(crate) tunnel: AtomicBool,
    /// Whether an HTTP/2 client may be told which request is the last.
    pub(crate) may_say_last: AtomicBool,
    /// Why nothing more is read, if the client sent what is no request.
    fault: Mutex<Option<Fault>>,
    requests: Mutex<Requests>,
    has_unflushed: AtomicBool,
}

/// The requests on a connection.
#[derive(Default)]
struct Requests {
    in_flight: Vec<Arc<Exchange>>,
    /// Answered, but the last bytes are not with the kernel yet. Each is owed an end, as a ticket is.
    unflushed: Vec<Arc<Exchange>>,
    /// The request that turned the connection into a tunnel.
    tunnel: Option<Ticket>,
}

impl Requests {
    fn forget(&mut self, exchange: &Arc<Exchange>) {
        if let Some(index) = self.in_flight.iter().position(|other| Arc::ptr_eq(other, exchange)) {
            self.in_flight.swap_remove(index);
        }
    }
}

/// A moment that nobody has noted yet.
const UNKNOWN: u64 = u64::MAX;

impl Conn {
    pub(crate) fn new(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr) -> Self {
        let now = shared.now();
        Self {
            shared,
            stream,
            peer,
            waker: AtomicWaker::new(),
            accepted: now,
            protocol: AtomicU8::new(Protocol::Unknown as u8),
            at: AtomicU8::new(At::Silent as u8),
            since: AtomicU64::new(now),
            order: AtomicU8::new(Order::Serve as u8),
            blocked: AtomicU64::new(0),
            bytes_in: AtomicU64::new(0),
            bytes_out: AtomicU64::new(0),
            at_boundary: AtomicBool::new(true),
            stream_held: AtomicBool::new(false),
            tunnel: AtomicBool::new(false),
            may_say_last: AtomicBool::new(false),
            fault: Mutex::default(),
            requests: Mutex::default(),
            has_unflushed: AtomicBool::new(false),
        }
    }

    pub(crate) fn protocol(&self) -> Protocol {
        match self.protocol.load(Ordering::Relaxed) {
            1 => Protocol::Http1,
            2 => Protocol::Http2,
            _ => Protocol::Unknown,
        }
    }

    pub(crate) fn set_protocol(&self, protocol: Protocol) {
        self.protocol.store(protocol as u8, Ordering::Relaxed);
    }

    pub(crate) fn at(&self) -> At {
        match self.at.load(Ordering::Acquire) {
            0 => At::Silent,
            1 => At::Head,
            2 => At::Busy,
            3 => At::Idle,
            _ => At::Upgraded,
        }
    }

    pub(crate) fn set_at(&self, at: At) {
        self.since.store(self.shared.now(), Ordering::Relaxed);
        self.at.store(at as u8, Ordering::Release);
    }

    /// How long it has been at that, as far as is known.
    pub(crate) fn at_for(&self) -> Duration {
        match self.since.load(Ordering::Relaxed) {
            UNKNOWN => Duration::ZERO,
            since => Duration::from_millis(self.shared.now().saturating_sub(since)),
        }
    }

    pub(crate) fn order(&self) -> Order {
        match self.order.load(Ordering::Acquire) {
            0 => Order::Serve,
            1 => Order::Retire,
            _ => Order::Cut,
        }
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.order() == Order::Cut
    }

    /// Leaves an order and wakes whoever has to follow it. An order is never taken back, except to serve a request that
    /// arrived in time.
    pub(crate) fn give(&self, order: Order) {
        self.order.fetch_max(order as u8, Ordering::AcqRel);
        self.wake();
    }

    /// The order to retire came too late: a request has begun to arrive.
    pub(crate) fn go_on(&self) {
        let (retire, serve) = (Order::Retire as u8, Order::Serve as u8);
        let _ = self.order.compare_exchange(retire, serve, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Wakes the connection's task and the tasks of its requests.
    pub(crate) fn wake(&self) {
        self.waker.wake();
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.in_flight.iter().for_each(|exchange| exchange.wake());
    }

    /// Whether the client waits for nothing and has sent nothing, as far as was read.
    pub(crate) fn is_at_rest(&self) -> bool {
        let quiet = matches!(self.at(), At::Silent | At::Idle) && self.at_boundary.load(Ordering::Acquire);
        quiet && !self.has_unflushed.load(Ordering::Acquire) && self.in_flight() == 0
    }

    /// Whether bytes (or the client's goodbye) wait in the socket. Asks the kernel itself: the runtime may not have heard.
    pub(crate) fn has_unread(&self) -> bool {
        let mut byte = [std::mem::MaybeUninit::uninit()];
        matches!(SockRef::from(&self.stream).peek(&mut byte), Ok(1..))
    }

    /// Nothing more will be read: what came is no request.
    pub(crate) fn break_off(&self, fault: Fault) {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner) = Some(fault);
    }

    pub(crate) fn fault(&self) -> Option<Fault> {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn shutdown(&self, how: Shutdown) {
        // An error means that there is no connection any more, which is what was wanted.
        let _ = SockRef::from(&self.stream).shutdown(how);
    }

    // Requests.

    pub(crate) fn in_flight(&self) -> usize {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).in_flight.len()
    }

    pub(crate) fn enter(&self, exchange: Arc<Exchange>) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).in_flight.push(exchange);
        self.set_at(At::Busy);
    }

    pub(crate) fn leave(&self, exchange: &Arc<Exchange>) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.forget(exchange);
        self.rest_after(&requests);
    }

    fn rest_after(&self, requests: &Requests) {
        if !requests.in_flight.is_empty() {
            return;
        }
        if self.at_boundary.load(Ordering::Acquire) {
            // When that was is noted by the next who looks.
            self.since.store(UNKNOWN, Ordering::Relaxed);
            self.at.store(At::Idle as u8, Ordering::Release);
        } else {
            self.set_at(At::Head);
        }
    }

    /// Keeps the place of a request until the last byte of its answer is with the kernel.
    pub(crate) fn keep_until_flushed(exchange: Arc<Exchange>) {
        let conn = exchange.conn.clone();
        conn.requests.lock().unwrap_or_else(PoisonError::into_inner).unflushed.push(exchange);
        conn.has_unflushed.store(true, Ordering::Release);
    }

    /// Everything that was written is with the kernel. Says whether answers were among it. Called for every answer, and
    /// often besides, by the connection's own task alone.
    pub(crate) fn flushed(&self) -> bool {
        if !self.has_unflushed.load(Ordering::Acquire) {
            return false;
        }
        self.has_unflushed.store(false, Ordering::Release);
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(exchange) = requests.unflushed.pop() {
            self.shared.tally.end(exchange.route(), Outcome::Answered);
            requests.forget(&exchange);
        }
        self.rest_after(&requests);
        true
    }

    /// Keeps the ticket of a request for as long as the tunnel that it opened is there.
    pub(crate) fn keep_until_tunnel_ends(&self, ticket: Ticket) {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).tunnel = Some(ticket);
        self.tunnel.store(true, Ordering::Release);
        self.set_at(At::Upgraded);
    }

    /// Ends what is still open when the connection ends: a tunnel that closed by itself has done its work, and an answer
    /// that was not flushed has not reached anybody.
    pub(crate) fn end_requests(&self) {
        let (unflushed, tunnel) = {
            let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
            (std::mem::take(&mut requests.unflushed), requests.tunnel.take())
        };
        unflushed.into_iter().map(Ticket::of).for_each(drop);
        if let Some(tunnel) = tunnel {
            tunnel.end(if self.is_cut() { Outcome::Cut } else { Outcome::Answered });
        }
    }

    // What others see of it.

    pub(crate) fn set_blocked(&self, is_blocked: bool) {
        let is_known = self.blocked.load(Ordering::Relaxed) != 0;
        if is_blocked != is_known {
            self.blocked.store(if is_blocked { self.shared.now() + 1 } else { 0 }, Ordering::Relaxed);
        }
    }

    fn blocked_for(&self, now: u64) -> Duration {
        match self.blocked.load(Ordering::Relaxed) {
            0 => Duration::ZERO,
            since => Duration::from_millis((now + 1).saturating_sub(since)),
        }
    }

    pub(crate) fn doing(&self) -> Doing {
        match self.at() {
            At::Silent => Doing::Silent,
            At::Head => Doing::PartialHead,
            At::Idle => Doing::Idle,
            At::Upgraded => Doing::Upgraded,
            At::Busy => self.busy_with(),
        }
    }

    fn busy_with(&self) -> Doing {
        if self.blocked.load(Ordering::Relaxed) != 0 {
            return Doing::UnreadAnswer;
        }
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.in_flight.iter().map(|exchange| exchange.doing()).next().unwrap_or(Doing::Handler)
    }

    pub(crate) fn held(&self) -> Held {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let mut routes: Vec<_> = requests.in_flight.iter().map(|exchange| exchange.route().name().to_owned()).collect();
        drop(requests);
        routes.sort();
        routes.dedup();
        Held {
            peer: self.peer,
            doing: self.doing(),
            routes,
            since: self.at_for(),
            bytes_in: self.bytes_in.load(Ordering::Relaxed),
            bytes_out: self.bytes_out.load(Ordering::Relaxed),
        }
    }

    fn view(&self, now: u64) -> View {
        // A client may come to rest often and in between, so the clock is asked here, and not each time.
        let noted = self.since.compare_exchange(UNKNOWN, now, Ordering::Relaxed, Ordering::Relaxed);
        let since = noted.map_or_else(|since| since, |_| now);
        View {
            doing: self.doing(),
            doing_for: Duration::from_millis(now.saturating_sub(since)),
            age: Duration::from_millis(now.saturating_sub(self.accepted)),
            blocked_for: self.blocked_for(now),
            to_cut: self.is_all(OnDrain::Cut),
        }
    }

    fn is_all(&self, policy: OnDrain) -> bool {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = requests.in_flight.iter();
        !requests.in_flight.is_empty() && all.all(|exchange| exchange.policy() == policy)
    }

    /// Looks at the connection and orders what is due. Gives back what it was doing if it has just been cut off.
    pub(crate) fn judge(&self, now: u64, progress: Option<&Progress>) -> Option<Held> {
        self.judge_bodies(now);
        let lingered = progress.is_some_and(|progress| progress.elapsed >= progress.drain.linger);
        if lingered && !self.may_say_last.swap(true, Ordering::AcqRel) {
            self.waker.wake();
        }
        let (shared, view) = (&self.shared, self.view(now));
        match decide(shared.phase(), &view, &shared.limits, progress) {
            Verdict::Keep => None,
            Verdict::Retire => {
                self.give(Order::Retire);
                None
            }
            Verdict::Cut if self.is_cut() => None,
            Verdict::Cut => {
                let held = self.held();
                self.give(Order::Cut);
                Some(held)
            }
        }
    }

    fn judge_bodies(&self, now: u64) {
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        for exchange in &requests.in_flight {
            exchange.judge_body(now, &self.shared.limits);
        }
    }
}
