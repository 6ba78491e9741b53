//! One request and its answer: the ticket that is counted once, and what its handler may ask about a drain.
//!
//! Policy: a [`Ticket`] is made when a request's head was read, and every way on leads to its one end: ended with an
//! outcome, or dropped, which means that somebody went away. Nothing else counts requests.

use std::{
    convert::Infallible,
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering},
    },
    time::Instant,
};

use atomic_waker::AtomicWaker;
use axum::{extract::FromRequestParts, http::request::Parts};

use crate::{
    conn::{Conn, Protocol},
    limits::Limits,
    outcome::{Doing, Outcome, Route},
    phase::Phase,
};

/// What a drain does to the requests of a route. Set it with [`on_drain`](crate::on_drain).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(u8)]
pub enum OnDrain {
    /// The handler is told (see [`Draining`]), and has until the drain's limit. One that does not listen just finishes.
    #[default]
    Notify = 0,
    /// The handler is not told before the limit.
    Finish = 1,
    /// The handler is told; once the server closes, it is cut off. An event stream (`text/event-stream`) ends properly
    /// after the event that was sent last; any other answer ends visibly unfinished, and an upgraded connection closes.
    Cut = 2,
}

pub(crate) struct Exchange {
    pub(crate) conn: Arc<Conn>,
    route: OnceLock<Arc<Route>>,
    policy: AtomicU8,
    /// Wakes whoever makes the answer.
    pub(crate) waker: AtomicWaker,
    /// Wakes whoever reads the body.
    pub(crate) upload_waker: AtomicWaker,
    /// Whether the head of the answer was given to hyper.
    pub(crate) answering: AtomicBool,
    pub(crate) upload: Upload,
}

/// How the body of a request comes in. Times are milliseconds of the server's clock.
#[derive(Default)]
pub(crate) struct Upload {
    bytes: AtomicU64,
    /// Since when the handler waits for more, plus one; 0 if it does not.
    waits: AtomicU64,
    /// How long it has waited before.
    waited: AtomicU64,
    /// Whether it was found too slow.
    pub(crate) too_slow: AtomicBool,
}

impl Upload {
    pub(crate) fn wait(&self, now: u64) {
        let _ = self.waits.compare_exchange(0, now + 1, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(crate) fn got(&self, bytes: usize, now: u64) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        let since = self.waits.swap(0, Ordering::Relaxed);
        if since != 0 {
            self.waited.fetch_add((now + 1).saturating_sub(since), Ordering::Relaxed);
        }
    }

    fn is_waited_for(&self) -> bool {
        self.waits.load(Ordering::Relaxed) != 0
    }

    fn is_too_slow(&self, now: u64, limits: &Limits) -> bool {
        let since = self.waits.load(Ordering::Relaxed);
        if since == 0 {
            return false;
        }
        let waited = self.waited.load(Ordering::Relaxed) + (now + 1).saturating_sub(since);
        let grace = u64::try_from(limits.body_grace.as_millis()).unwrap_or(u64::MAX);
        waited > grace && self.bytes.load(Ordering::Relaxed).saturating_mul(1_000) < waited * limits.body_rate
    }
}

impl Exchange {
    pub(crate) fn route(&self) -> &Arc<Route> {
        self.route.get().unwrap_or_else(|| self.conn.shared.tally.unrouted())
    }

    /// Said once, by the layer around the route.
    pub(crate) fn set_route(&self, route: Arc<Route>) {
        let _ = self.route.set(route);
    }

    pub(crate) fn policy(&self) -> OnDrain {
        match self.policy.load(Ordering::Relaxed) {
            0 => OnDrain::Notify,
            1 => OnDrain::Finish,
            _ => OnDrain::Cut,
        }
    }

    pub(crate) fn set_policy(&self, policy: OnDrain) {
        self.policy.store(policy as u8, Ordering::Relaxed);
    }

    pub(crate) fn wake(&self) {
        self.waker.wake();
    }

    pub(crate) fn doing(&self) -> Doing {
        match (self.upload.is_waited_for(), self.answering.load(Ordering::Relaxed)) {
            (true, _) => Doing::SlowBody,
            (false, true) => Doing::Streaming,
            (false, false) => Doing::Handler,
        }
    }

    pub(crate) fn judge_body(&self, now: u64, limits: &Limits) {
        if self.upload.is_too_slow(now, limits) && !self.upload.too_slow.swap(true, Ordering::AcqRel) {
            self.upload_waker.wake();
            self.wake();
        }
    }

    /// Whether the drain has come to the point where this request is cut off for its route's sake.
    pub(crate) fn is_to_be_cut(&self) -> bool {
        self.policy() == OnDrain::Cut && self.conn.shared.phase() >= Phase::Closing
    }
}

/// The one ticket of a request. Ending it counts; dropping it counts as well.
pub(crate) struct Ticket {
    exchange: Option<Arc<Exchange>>,
}

impl Ticket {
    /// Accepts a request.
    pub(crate) fn new(conn: &Arc<Conn>) -> Self {
        let exchange = Arc::new(Exchange {
            conn: conn.clone(),
            route: OnceLock::new(),
            policy: AtomicU8::new(OnDrain::Notify as u8),
            waker: AtomicWaker::new(),
            upload_waker: AtomicWaker::new(),
            answering: AtomicBool::new(false),
            upload: Upload::default(),
        });
        conn.shared.tally.begin();
        conn.enter(exchange.clone());
        Self { exchange: Some(exchange) }
    }

    pub(crate) fn exchange(&self) -> &Arc<Exchange> {
        self.exchange.as_ref().expect("taken only when the ticket ends")
    }

    /// Ends the request, in this way.
    pub(crate) fn end(mut self, outcome: Outcome) {
        self.count(outcome);
    }

    /// The whole answer was made: over HTTP/1 it counts once the kernel has it.
    pub(crate) fn answered(mut self) {
        let http1 = self.exchange().conn.protocol() == Protocol::Http1;
        if let Some(exchange) = self.exchange.take_if(|_| http1) {
            Conn::keep_until_flushed(exchange);
        } else {
            self.count(Outcome::Answered);
        }
    }

    /// The ticket of an exchange that was kept until its answer was flushed.
    pub(crate) const fn of(exchange: Arc<Exchange>) -> Self {
        Self { exchange: Some(exchange) }
    }

    fn count(&mut self, outcome: Outcome) {
        if let Some(exchange) = self.exchange.take() {
            exchange.conn.shared.tally.end(exchange.route(), outcome);
            exchange.conn.leave(&exchange);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if let Some(exchange) = &self.exchange {
            let cut = exchange.conn.is_cut() || exchange.is_to_be_cut();
            self.count(if cut { Outcome::Cut } else { Outcome::Aborted });
        }
    }
}

/// Tells a handler that the server is being drained. An extractor, and an extension of every request:
///
/// ```
/// # use axum::{Router, routing::get};
/// # use evenkeel_http::Draining;
/// async fn wait_for_news(draining: Draining) -> &'static str {
///     tokio::select! {
///         () = draining.requested() => "come back later",
///         () = std::future::ready(()) => "news",
///     }
/// }
/// # let _: Router = Router::new().route("/news", get(wait_for_news));
/// ```
///
/// Handlers that answer soon need not care. Event streams, WebSockets and long polls listen, say goodbye, and end: what is
/// left at the drain's limit is cut off.
///
/// A router that this crate does not serve (in a test, say) is never drained, as far as its handlers can tell.
#[derive(Clone)]
pub struct Draining {
    exchange: Option<Arc<Exchange>>,
}

impl Draining {
    /// Waits until clients are told to leave. Never for a route with [`OnDrain::Finish`]. Cancel-safe.
    pub async fn requested(&self) {
        match self.told() {
            Some(exchange) => exchange.conn.shared.reached(Phase::Discouraging).await,
            None => std::future::pending().await,
        }
    }

    /// Whether clients are told to leave.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.told().is_some_and(|exchange| exchange.conn.shared.phase() >= Phase::Discouraging)
    }

    /// When what is left will be cut off; `None` before a drain.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.exchange.as_ref()?.conn.shared.deadline().map(tokio::time::Instant::into_std)
    }

    pub(crate) fn of(exchange: Arc<Exchange>) -> Self {
        Self { exchange: Some(exchange) }
    }

    /// Never asked for anything.
    pub(crate) const fn of_nobody() -> Self {
        Self { exchange: None }
    }

    pub(crate) fn exchange(&self) -> Option<&Arc<Exchange>> {
        self.exchange.as_ref()
    }

    fn told(&self) -> Option<&Arc<Exchange>> {
        self.exchange.as_ref().filter(|exchange| exchange.policy() != OnDrain::Finish)
    }
}

impl fmt::Debug for Draining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Draining").field("requested", &self.is_requested()).finish()
    }
}

impl<S: Sync> FromRequestParts<S> for Draining {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned().unwrap_or(Self::of_nobody()))
    }
}
