//! `App::http`: serves an [`axum::Router`].
//!
//! Policy:
//! - Bind early, serve late: the address is taken when the component opens, so that a port in use fails the start; but
//!   connections are accepted only while the service takes traffic. Until then, and while it is paused, they queue in
//!   the kernel. Connections that were accepted before a pause stay and are served.
//! - On a stop the listener closes at once, connections at rest close, requests in flight complete. A connection's
//!   first request whose head is half here may still come within [`Http::HALF_HEAD`]. Only then is what the
//!   routes hold on to given back, so a request can wait for a worker that its server needs. What has not ended at the
//!   limit (30 seconds without a [`stop_within`](Handle::stop_within)) is cut off and named.
//! - No client can end the server: a handler that panics answers 500, errors of a connection end that connection, and
//!   errors of the listener (no file descriptor left) are waited out.
//! - There is a limit on everything: see [`Http::MAX_CONNECTIONS`] and [`Http::IDLE`].

#![allow(clippy::needless_pass_by_value, reason = "needs are references, or tuples of them")]

mod wire;

use std::{
    convert::Infallible, fmt, future::Future, io, marker::PhantomData, net::SocketAddr, panic::Location, sync::Arc,
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    http::{Request, Response, StatusCode, Version},
};
use evenkeel_events::Event;
use evenkeel_plan::{
    limit::Limit,
    spec::{DEFAULT_BUDGET, Role, Spec},
};
use hyper::{
    body::Incoming,
    rt::Executor,
    service::{Service, service_fn},
};
use hyper_util::{rt::TokioTimer, server::conn::auto, service::TowerToHyperService};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};

use self::wire::{Counted, Socket, Traffic};
use crate::{
    app::{App, Declare},
    error::{Explain, Result},
    handle::{Handle, Once},
    lease::short,
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
    /// A connection over which no complete head of a request comes for this long is closed.
    pub const IDLE: Duration = Duration::from_secs(30);
    /// After the stop began, how long a client has for the rest of its first request's head.
    pub const HALF_HEAD: Duration = Duration::from_millis(500);

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
    /// Tasks that handlers spawn by themselves, and connections that were upgraded (WebSockets), are not waited for.
    #[track_caller]
    pub fn http<N, R>(&self, name: impl Into<String>, needs: N, addr: impl Into<Listen>, routes: R) -> Handle<Http>
    where
        N: Needs,
        R: FnOnce(N::Given) -> Router + Clone + Send + 'static,
    {
        let (name, listen) = (name.into(), addr.into());
        listen.check(self, &name, Location::caller());
        let behaviour = Server::<N::Form, R> { listen, routes: Recipe::many(routes), _types: PhantomData };
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
        let behaviour = Server::<N::Form, R> { listen, routes: Recipe::once(routes), _types: PhantomData };
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

struct Server<N, R> {
    listen: Listen,
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
            let given = cx.part.give::<N>()?;
            let routes = self.routes.get()?;
            let context = || format!("cannot listen on {}", self.listen);
            // A name is looked up on a thread of the runtime's pool for blocking calls.
            let listener = TcpListener::bind(&self.listen.text).await.context(context())?;
            let http = Http { addr: listener.local_addr().context(context())? };
            let note = Some(http.url());
            let serving = Serving {
                service: TowerToHyperService::new(routes(given)),
                scope: cx.incarnation.scope.clone(),
                stop: cx.stop,
                part: cx.part,
            };
            let run = Box::pin(serving.run(listener));
            Ok(Opened { value: Arc::new(http), run: Some(run), close: None, note })
        })
    }
}

/// One start of a server: what each of its connections needs.
#[derive(Clone)]
struct Serving {
    service: TowerToHyperService<Router>,
    scope: Arc<Scope>,
    stop: Stop,
    part: Arc<Part>,
}

impl Serving {
    /// Accepts until the stop. The listener closes when this returns; the connections are tasks of the scope.
    async fn run(self, listener: TcpListener) -> Result {
        let permits = Arc::new(Semaphore::new(Http::MAX_CONNECTIONS));
        // An intake's `or` also stops polling while the service does not take traffic.
        while let Some((stream, permit)) = self.stop.or(self.accept(&listener, &permits)).await {
            self.spawn(self.clone().connection(stream, permit));
        }
        Ok(())
    }

    /// The next connection. Cancel-safe.
    async fn accept(&self, listener: &TcpListener, permits: &Arc<Semaphore>) -> (TcpStream, OwnedSemaphorePermit) {
        let permit = permits.clone().acquire_owned().await.expect("the semaphore is never closed");
        let mut wait = Duration::from_millis(10);
        loop {
            match listener.accept().await {
                Ok((stream, _)) => return (stream, permit),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    // Most likely there is no descriptor left. Trying again at once would take a core and help nobody.
                    let text = format!("`{}` cannot accept connections: {error}", self.part.name());
                    Event::Warning { text: &text, hint: Some("raise the limit of open files") }.log();
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(Duration::from_secs(1));
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, _permit: OwnedSemaphorePermit) {
        let stop = self.stop.clone();
        // Without this a small answer may wait for the client's acknowledgement of the one before. It only costs time.
        let _ = stream.set_nodelay(true);
        // The protocol is told from the first bytes, and no other timer runs before they are there.
        tokio::select! {
            biased;
            () = stop.requested() => return,
            first = tokio::time::timeout(Http::IDLE, stream.readable()) => if !matches!(first, Ok(Ok(()))) { return },
        }
        let mut builder = auto::Builder::new(InScope { serving: self.clone() });
        builder.http1().timer(TokioTimer::new()).header_read_timeout(Http::IDLE);
        builder.http2().timer(TokioTimer::new());
        let traffic = Arc::new(Traffic::default());
        let socket = Socket::new(stream, traffic.clone());
        let counting = traffic.clone();
        let service = service_fn(move |request| self.clone().answer(request, counting.clone()));
        let mut connection = std::pin::pin!(builder.serve_connection_with_upgrades(socket, service));
        let ended = tokio::select! {
            biased;
            ended = connection.as_mut() => ended,
            () = stop.requested() => {
                connection.as_mut().graceful_shutdown();
                tokio::select! {
                    biased;
                    ended = connection => ended,
                    () = at_rest(&traffic) => return,
                }
            }
        };
        if let Err(error) = ended {
            // A client that goes away in the middle is every day's business.
            tracing::debug!(target: "evenkeel", error = %error, "a connection ended in an error");
        }
    }

    async fn answer(self, request: Request<Incoming>, traffic: Arc<Traffic>) -> Result<Response<Body>, Infallible> {
        let in_flight = traffic.request(request.version() == Version::HTTP_2, self.stop.work());
        let answering = Box::pin(self.service.call(request));
        match Watched::new(self.part.mark, answering).await {
            Ok(Ok(response)) => Ok(response.map(|body| Body::new(Counted { body, in_flight }))),
            Ok(Err(never)) => match never {},
            Err(panic) => {
                tracing::error!(target: "evenkeel", "a request handler of `{}` {panic}", self.part.name());
                let mut response = Response::new(Body::empty());
                *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
                Ok(response)
            }
        }
    }

    /// Spawns a part of a connection: a panic in it (a response body that panics) is no failure of the server.
    fn spawn(&self, future: impl Future<Output = ()> + Send + 'static) {
        let part = self.part.clone();
        let task = async move {
            if let Err(panic) = Watched::new(part.mark, Box::pin(future)).await {
                tracing::error!(target: "evenkeel", "a connection of `{}` {panic}", part.name());
            }
        };
        // Refused once the component was cut off: dropped, the connection is closed.
        self.scope.spawn_uncounted(task, self.part.site);
    }
}

/// Puts the tasks that HTTP/2 makes for its streams into the component's scope as well.
#[derive(Clone)]
struct InScope {
    serving: Serving,
}

impl<F: Future<Output: Send> + Send + 'static> Executor<F> for InScope {
    fn execute(&self, future: F) {
        self.serving.spawn(async move {
            future.await;
        });
    }
}

/// Waits until a connection that has been told to shut down has nothing left to finish, and yet does not end.
async fn at_rest(traffic: &Traffic) {
    loop {
        tokio::time::sleep(Http::HALF_HEAD).await;
        if traffic.is_at_rest() {
            return;
        }
    }
}

/// Errors of `accept` that belong to the connection which would have been accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}
