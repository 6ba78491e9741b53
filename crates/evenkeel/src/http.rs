//! `App::http`: serves an [`axum::Router`].
//!
//! `evenkeel-http` listens, serves and drains; this module makes a component of it. Policy:
//! - Bind early, serve late: the address is taken when the component opens, so that a port in use fails the start; but
//!   connections are accepted only while the service takes traffic. Until then, and while it is paused, they queue in
//!   the kernel. Connections that were accepted before a pause stay and are served.
//! - A stop loses nothing: what waits in the queue is accepted before the listener closes; clients are told to leave
//!   before a connection at rest is closed, [`Http::LINGER`] later; requests in flight complete. Without a connection
//!   the drain ends at once: nobody is there to be told. Only then is what the routes hold on to given back, so a
//!   request can wait for a worker that its server needs.
//! - The drain keeps its own limit, a little before the engine's: what has not ended then is cut off and named, and the
//!   component ends in order. The engine's limit (30 seconds without a [`stop_within`](Handle::stop_within)) stands
//!   behind it.
//! - No client can end the server: a handler that panics answers 500, errors of a connection end that connection, and
//!   errors of the listener (no file descriptor left) are waited out.
//! - There is a limit on everything: see [`Http`], and [`HttpLimits`] to change them.

#![allow(clippy::needless_pass_by_value, reason = "needs are references, or tuples of them")]

mod books;
mod doors;

use std::{
    fmt,
    future::Future,
    marker::PhantomData,
    net::SocketAddr,
    panic::Location,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::Router;
use evenkeel_http::{Drain, Limits as HttpLimits, Listener, Report, Serving};
use evenkeel_plan::{
    limit::Limit,
    spec::{DEFAULT_BUDGET, Role, Spec},
};
use tokio::net::TcpListener;

pub(crate) use self::doors::{Doors, Leaving};
use self::{books::Ledger, doors::OpenDoor};
use crate::{
    app::{App, Declare, Problem},
    error::{Error, Explain, Result},
    handle::{Handle, Once},
    lease::{lock, short},
    needs::{Form, Needs},
    part::{Behaviour, BoxFuture, OpenContext, Opened, Part, Recipe},
    polls::Watched,
    scope::Scope,
    stop::Stop,
};

/// What a server lends: where it listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Http {
    addr: SocketAddr,
}

impl Http {
    /// Connections at one time; further ones wait in the kernel.
    pub const MAX_CONNECTIONS: usize = 10_000;
    /// A connection that rests this long between two requests is closed.
    pub const IDLE: Duration = Duration::from_secs(75);
    /// How long a client has for the head of a request, from its first byte; and for that byte, on a new connection.
    pub const HEAD: Duration = Duration::from_secs(10);
    /// After the stop began, how long a client has for the rest of a request's head.
    pub const HALF_HEAD: Duration = Duration::from_millis(500);
    /// After the stop began, how long a connection at rest stays open, so that its client learns with its next answer
    /// that it has to leave. Where nobody is connected, a stop does not wait.
    pub const LINGER: Duration = Duration::from_secs(1);

    /// The address it listens on; with the port that was chosen, if port 0 was asked for.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// The same as a URL, without a path: `http://127.0.0.1:8080`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }
}

impl App {
    /// Declares an HTTP server (HTTP/1.1 and HTTP/2 without TLS). It is an [intake](Handle::intake). [`Listen`] says
    /// what `addr` may be; [`Http`] is what it lends, and names its limits.
    ///
    /// `routes` makes the router, once for each start; what it was given may move into the handlers. A handler's future
    /// is dropped when its client goes away, and at the limit of the stop.
    ///
    /// A stop waits for upgraded connections (WebSockets) and endless answers (event streams) as for any request: their
    /// handlers take [`Draining`](crate::Draining) to learn of it, or the route says with [`on_drain`](crate::on_drain)
    /// that it is to be cut. Tasks that handlers spawn by themselves are not waited for.
    #[track_caller]
    pub fn http<N, R>(&self, name: impl Into<String>, needs: N, addr: impl Into<Listen>, routes: R) -> Handle<Http>
    where
        N: Needs,
        R: FnOnce(N::Given) -> Router + Clone + Send + 'static,
    {
        let (name, listen) = (name.into(), addr.into());
        listen.check(self, &name, Location::caller());
        let doors = self.doors.clone();
        doors.expect();
        let behaviour = Server::<N::Form, R>::new(listen, doors, Recipe::many(routes));
        self.declare("http", name, &needs, behaviour, special)
    }
}

impl Declare<'_> {
    /// See [`App::http`].
    #[track_caller]
    pub fn http<N, R>(
        &self,
        name: impl Into<String>,
        needs: N,
        addr: impl Into<Listen>,
        routes: R,
    ) -> Handle<Http, Once>
    where
        N: Needs,
        R: FnOnce(N::Given) -> Router + Send + 'static,
    {
        let (name, listen) = (name.into(), addr.into());
        listen.check(self.app, &name, Location::caller());
        let doors = self.app.doors.clone();
        doors.expect();
        let behaviour = Server::<N::Form, R>::new(listen, doors, Recipe::once(routes));
        self.app.declare("http", name, &needs, behaviour, |spec| {
            special(spec);
            spec.once = true;
        })
    }
}

fn special(spec: &mut Spec) {
    spec.role = Role::Intake;
    // A drain takes as long as requests do: by default, as long as the whole stop may.
    spec.stop_within = Limit::fixed(DEFAULT_BUDGET);
}

/// Where to listen: `127.0.0.1:8080`, `[::1]:8080`, or `localhost:8080`; as text or as a [`SocketAddr`]. Port 0 lets the
/// system choose one. A name is looked up at each start.
///
/// [`App::run`] takes over listening sockets that the process was given (systemd's `LISTEN_FDS`): the one with the
/// component's name, or at its address, or the only one for the only component, is served in place of a new one, and stays open when the component stops. Whoever
/// connects during a restart then waits instead of being refused.
///
/// Text that cannot be an address refuses the app before it starts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listen {
    text: String,
}

impl From<&str> for Listen {
    fn from(text: &str) -> Self {
        Self { text: text.to_owned() }
    }
}

impl From<String> for Listen {
    fn from(text: String) -> Self {
        Self { text }
    }
}

impl From<&String> for Listen {
    fn from(text: &String) -> Self {
        Self { text: text.clone() }
    }
}

impl From<SocketAddr> for Listen {
    fn from(addr: SocketAddr) -> Self {
        Self { text: addr.to_string() }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Listen {
    fn check(&self, app: &App, name: &str, site: &Location<'_>) {
        if let Err(hint) = self.fault() {
            let text = self.text.escape_debug();
            app.problem(format!("`{name}` at {}: `{text}` is not an address", short(site)), hint);
        }
    }

    /// What to do about text that cannot be an address, whatever the names of this machine are.
    fn fault(&self) -> Result<(), &'static str> {
        const FORM: &str = "write it like `127.0.0.1:8080`, `[::1]:8080` or `localhost:8080`";
        if self.text.parse::<SocketAddr>().is_ok() {
            return Ok(());
        }
        let (host, port) = self.text.rsplit_once(':').ok_or(FORM)?;
        if port.is_empty() || !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(FORM);
        }
        port.parse::<u16>().map_err(|_| "a port is a number from 0 to 65535")?;
        let named = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        // All digits and dots would have been an IP address if it were one.
        let is_name = host.bytes().all(named) && host.bytes().any(|byte| byte.is_ascii_alphabetic());
        if is_name { Ok(()) } else { Err(FORM) }
    }
}

/// What can be set of a server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    limits: HttpLimits,
    linger: Duration,
}

impl Settings {
    /// How many connections it accepts at a time.
    pub(crate) fn connections(&self) -> usize {
        self.limits.connections
    }
}

impl Default for Settings {
    fn default() -> Self {
        let defaults = HttpLimits::default();
        let limits =
            HttpLimits { connections: Http::MAX_CONNECTIONS, idle_time: Http::IDLE, head_time: Http::HEAD, ..defaults };
        Self { limits, linger: Http::LINGER }
    }
}

impl<M> Handle<Http, M> {
    /// How much its clients may ask for, and how long they may take; without it the defaults of [`HttpLimits`].
    ///
    /// A limit that would shut everybody out refuses the app before it starts.
    #[track_caller]
    pub fn limits(self, limits: HttpLimits) -> Self {
        let site = Location::caller();
        if let Err(what) = check(&limits) {
            let text = format!("the limits at {}: {what}", short(site));
            lock(&self.declared).problems.push(Problem { text, hint: "give it more; see `HttpLimits`".to_owned() });
        }
        self.set(|settings| settings.limits = limits)
    }

    /// After the stop began, how long a connection at rest stays open, so that its client learns with its next answer that
    /// it has to leave; [`Http::LINGER`] if not said, and half of what the stop allows at most. It should be longer than the
    /// pause between two requests of a busy client, such as a gateway's pooled connection. With zero, such a connection
    /// closes at once, and a request that is on its way over it is lost.
    pub fn linger(self, linger: Duration) -> Self {
        self.set(|settings| settings.linger = linger)
    }

    fn set(self, set: impl FnOnce(&mut Settings)) -> Self {
        let behaviour = lock(&self.declared).entries.get(self.id.index()).map(|entry| entry.behaviour.clone());
        // One that a test has replaced is no server any more.
        if let Some(settings) = behaviour.as_ref().and_then(|behaviour| behaviour.http()) {
            set(&mut lock(settings));
        }
        self
    }
}

/// What of these limits nobody could keep.
fn check(limits: &HttpLimits) -> Result<(), &'static str> {
    const LEAST_HEAD: usize = 1 << 10;
    let counts = [limits.connections, limits.head_fields, limits.uri_bytes, limits.streams as usize];
    let times = [limits.head_time, limits.idle_time, limits.unread_time];
    match () {
        () if counts.contains(&0) => Err("a count of 0 lets nobody in"),
        () if limits.head_bytes < LEAST_HEAD => Err("a head of less than 1 KiB is too short for what browsers send"),
        () if times.contains(&Duration::ZERO) => Err("a time of 0 cuts everybody off"),
        () => Ok(()),
    }
}

struct Server<N, R> {
    listen: Listen,
    doors: Arc<Doors>,
    settings: Mutex<Settings>,
    routes: Recipe<R>,
    _types: PhantomData<fn() -> N>,
}

impl<N, R> Behaviour for Server<N, R>
where
    N: Form,
    R: FnOnce(N::Given) -> Router + Send + 'static,
{
    fn open(self: Arc<Self>, cx: OpenContext) -> BoxFuture<Result<Opened>> {
        Box::pin(async move {
            let settings = *lock(&self.settings);
            let given = cx.part.give::<N>()?;
            let routes = self.routes.get()?;
            let context = || format!("cannot listen on {}", self.listen);
            let (listener, door) = self.door(cx.part.name()).await.context(context())?;
            let scope = cx.incarnation.scope.clone();
            let server = evenkeel_http::Server::new(listener)
                .named(cx.part.name())
                .limits(settings.limits)
                .gate(&cx.stop.servers_gate())
                .spawn_on(spawner(&cx.part, &scope));
            let serving = server.serve(routes(given)).context(context())?;
            let http = Http { addr: serving.addr() };
            let note = Some(http.url());
            door.served_by(&serving.view());
            let ledger = Arc::new(Ledger::new(serving.view()));
            scope.keep(ledger.clone());
            let run = Box::pin(serve(serving, door, settings.linger, cx.stop, scope, ledger));
            Ok(Opened { value: Arc::new(http), run: Some(run), close: None, note })
        })
    }

    fn listens_at(&self) -> Option<String> {
        // Text that is no address has refused the app already.
        self.listen.fault().is_ok().then(|| self.listen.text.clone())
    }

    fn http(&self) -> Option<&Mutex<Settings>> {
        Some(&self.settings)
    }
}

impl<N, R> Server<N, R> {
    fn new(listen: Listen, doors: Arc<Doors>, routes: Recipe<R>) -> Self {
        Self { listen, doors, settings: Mutex::default(), routes, _types: PhantomData }
    }

    /// The socket that was given for it, else one of its own.
    async fn door(&self, name: &str) -> std::io::Result<(Listener, OpenDoor)> {
        if let Some(given) = self.doors.find(name, &self.listen.text)? {
            return Ok(given);
        }
        // A name is looked up on a thread of the runtime's pool for blocking calls.
        let listener = Listener::from(TcpListener::bind(&self.listen.text).await?);
        let door = self.doors.keep(name, listener.try_clone()?.into_std());
        Ok((listener, door))
    }
}

/// Serves until the stop, and drains. The server's tasks are tasks of the scope, which the engine waits for after it.
async fn serve(
    serving: Serving,
    door: OpenDoor,
    linger: Duration,
    stop: Stop,
    scope: Arc<Scope>,
    ledger: Arc<Ledger>,
) -> Result {
    stop.requested().await;
    ledger.begin();
    let listening = door.leave();
    let report = serving.drain(Drain { listening, ..drain_within(scope.stop_allowed(), linger) }).await;
    let verdict = verdict(&report);
    ledger.close(report);
    verdict
}

/// An error if something of value had to be cut off at the drain's limit.
fn verdict(report: &Report) -> Result {
    let lost = books::stuck(report);
    if lost.is_empty() {
        return Ok(());
    }
    Err(Error::from(format!("requests did not end in time and were cut off: {}", lost.join(", "))))
}

/// What is left to the engine of the time that a stop allows, so that it need not cut what the drain cuts: a tenth, and
/// not more than this.
const ENGINE: Duration = Duration::from_millis(100);

/// A drain that ends within the time that the stop allows. Half of it is for clients to leave by themselves, at most.
fn drain_within(allowed: Duration, linger: Duration) -> Drain {
    let limit = allowed.saturating_sub((allowed / 10).min(ENGINE));
    let defaults = Drain::default();
    Drain {
        linger: linger.min(limit / 2),
        fresh_grace: defaults.fresh_grace.min(limit / 2),
        head_time: Http::HALF_HEAD,
        limit,
        ..defaults
    }
}

/// Makes the server's tasks (its accept loop, connections, HTTP/2 streams) tasks of the component. A panic in one of
/// them (a response body that panics) is no failure of the server.
///
/// The server holds this and the scope holds the server's counts, so it must not hold the scope, or the part with it.
fn spawner(part: &Part, scope: &Arc<Scope>) -> impl Fn(Pin<Box<dyn Future<Output = ()> + Send>>) + Send + Sync + use<> {
    let (mark, site, scope) = (part.mark, part.site, Arc::downgrade(scope));
    let name: Arc<str> = part.name().into();
    move |task| {
        let (name, task) = (name.clone(), Watched::new(mark, task));
        let watched = async move {
            if let Err(panic) = task.await {
                tracing::error!(target: "evenkeel", "a connection of `{name}` {panic}");
            }
        };
        // Refused once the component was cut off: dropped, a connection is closed.
        if let Some(scope) = scope.upgrade() {
            scope.spawn_uncounted(watched, site);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn r3_2b_a_drain_ends_before_the_time_that_the_stop_allows() {
        for allowed in [0, 1, 200, 1_000, 30_000].map(Duration::from_millis) {
            let drain = drain_within(allowed, Http::LINGER);
            assert!(drain.linger <= drain.limit / 2 && drain.fresh_grace <= drain.limit / 2, "{drain:?}");
            let spare = allowed - drain.limit;
            assert!(spare >= (allowed / 10).min(ENGINE) && spare <= ENGINE, "{drain:?}");
        }
        assert_eq!(drain_within(DEFAULT_BUDGET, Http::LINGER).linger, Http::LINGER);
    }

    #[test]
    fn r4_1a_the_limits_that_are_named_are_the_ones_that_hold() {
        let Settings { limits, linger } = Settings::default();
        assert_eq!(limits, HttpLimits::default(), "those of the server's own crate");
        assert_eq!(linger, Drain::default().linger);
    }
}
