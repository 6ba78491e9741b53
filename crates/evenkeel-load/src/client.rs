//! One client: asks, waits for the answer, asks again.

use std::{
    io,
    net::SocketAddr,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, StatusCode, Uri, header};
use tokio::{
    net::TcpStream,
    sync::watch,
    time::{Instant, sleep, sleep_until, timeout},
};

use crate::{
    ending::{Attempt, Ending},
    events::{self, EVENT_STREAM},
    http1::Http1,
    http2::Http2,
    load::Stop,
    plan::{Kind, Method, Target},
    tally::Tally,
};

/// How often a request is done again at most, where that is safe.
const AGAIN: u32 = 16;

/// How long a client waits after a request that it lost before it asks again: a server that is gone would otherwise be asked
/// a hundred thousand times a second, to no end.
const SETBACK: Duration = Duration::from_millis(10);

/// What the clients of a row have in common.
pub(crate) struct Asked {
    pub(crate) target: Target,
    kind: Kind,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
}

impl Asked {
    pub(crate) fn new(target: &Target, kind: Kind, method: Method) -> Result<Self, http::Error> {
        let mut headers = HeaderMap::new();
        let uri = match kind {
            Kind::Http2 => format!("http://{}{}", target.authority, target.path).parse()?,
            Kind::New | Kind::KeepAlive => target.path.parse()?,
            Kind::Events => target.events.as_deref().unwrap_or(&target.path).parse()?,
        };
        if kind != Kind::Http2 {
            headers.insert(header::HOST, target.authority.parse()?);
        }
        if kind == Kind::Events {
            headers.insert(header::ACCEPT, HeaderValue::from_static(EVENT_STREAM));
        }
        if kind == Kind::New {
            headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if method == Method::Post {
            headers.insert(header::CONTENT_TYPE, target.content_type.parse()?);
        }
        Ok(Self { target: target.clone(), kind, method, uri, headers })
    }
}

/// One request, the same in all its attempts.
pub(crate) struct Ask<'a> {
    asked: &'a Asked,
    body: Bytes,
}

impl Ask<'_> {
    pub(crate) fn addr(&self) -> SocketAddr {
        self.asked.target.addr
    }

    pub(crate) fn request(&self) -> Request<Bytes> {
        let mut request = Request::new(self.body.clone());
        *request.method_mut() = self.asked.method.of_http();
        *request.uri_mut() = self.asked.uri.clone();
        *request.headers_mut() = self.asked.headers.clone();
        request
    }

    pub(crate) fn answered(&self, status: StatusCode) -> Attempt {
        if self.asked.target.expects(status) {
            return Attempt::answered();
        }
        Attempt::Ended(Ending::Bad, format!("status {status}"))
    }
}

enum Connections {
    Http1(Http1),
    Http2(Http2),
    /// None is kept; a client that follows a stream must know when to leave it.
    Events(watch::Receiver<Stop>),
}

impl Connections {
    fn of(kind: Kind, shared: Http2, stop: watch::Receiver<Stop>) -> Self {
        match kind {
            Kind::Http2 => Self::Http2(shared),
            Kind::New | Kind::KeepAlive => Self::Http1(Http1::new(kind == Kind::KeepAlive)),
            Kind::Events => Self::Events(stop),
        }
    }

    async fn attempt(&mut self, ask: &Ask<'_>, patience: Duration) -> Attempt {
        match self {
            Self::Http1(connection) => connection.attempt(ask).await,
            Self::Http2(connection) => connection.attempt(ask).await,
            Self::Events(stop) => events::follow(ask, patience, stop).await,
        }
    }

    /// How long all attempts of a request may take. A stream has no end of its own, and limits its beginning by itself.
    fn limit(&self, patience: Duration) -> Option<Duration> {
        (!matches!(self, Self::Events(_))).then_some(patience)
    }
}

/// See the module documentation.
pub(crate) struct Client {
    pub(crate) asked: Rc<Asked>,
    pub(crate) tally: Arc<Tally>,
    /// Numbers the requests of all clients.
    pub(crate) ids: Arc<AtomicU64>,
    pub(crate) timeout: Duration,
    pub(crate) pace: Pace,
}

impl Client {
    /// Asks until it is told to stop; what it asks then still comes to its end.
    pub(crate) async fn run(mut self, shared: Http2, mut stop: watch::Receiver<Stop>) {
        let mut connections = Connections::of(self.asked.kind, shared, stop.clone());
        loop {
            tokio::select! {
                biased;
                // An error: whoever could tell has gone.
                _ = stop.wait_for(|stop| *stop != Stop::No) => return,
                () = self.pace.turn() => {}
            }
            if self.ask(&mut connections).await != Ending::Answered {
                sleep(SETBACK).await;
            }
        }
    }

    /// One request from its beginning to its counted end.
    async fn ask(&self, connections: &mut Connections) -> Ending {
        let body = self.asked.target.body_of(self.asked.method, self.ids.fetch_add(1, Ordering::Relaxed));
        let ask = Ask { asked: &self.asked, body };
        let (begun, mut again) = (self.tally.begins(), Again::default());
        let (ending, why) = until_ended(connections, &ask, self.timeout, &mut again).await;
        self.tally.count(&begun, again, ending, why);
        ending
    }
}

/// One request that nobody counts. Of a stream only its beginning.
pub(crate) async fn ask_once(asked: &Asked, timeout: Duration) -> (Ending, String) {
    let ask = Ask { asked, body: asked.target.body_of(asked.method, 0) };
    let (_stop, stop) = watch::channel(Stop::End);
    let mut connections = Connections::of(asked.kind, Http2::default(), stop);
    until_ended(&mut connections, &ask, timeout, &mut Again::default()).await
}

/// How often a request was done again, and why.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Again {
    /// No byte of it had been sent.
    pub(crate) reopened: u64,
    /// The server had not looked at it.
    pub(crate) resent: u64,
}

/// All attempts of a request, in this time.
async fn until_ended(
    connections: &mut Connections,
    ask: &Ask<'_>,
    patience: Duration,
    again: &mut Again,
) -> (Ending, String) {
    let limit = connections.limit(patience);
    let attempts = attempts(connections, ask, patience, again);
    match limit {
        None => attempts.await,
        Some(limit) => timeout(limit, attempts)
            .await
            .unwrap_or_else(|_| (Ending::TimedOut, format!("no whole answer in {limit:?}"))),
    }
}

async fn attempts(
    connections: &mut Connections,
    ask: &Ask<'_>,
    patience: Duration,
    again: &mut Again,
) -> (Ending, String) {
    for _ in 0..=AGAIN {
        match connections.attempt(ask, patience).await {
            Attempt::Ended(ending, why) => return (ending, why),
            Attempt::Unsent => again.reopened += 1,
            Attempt::Unprocessed => again.resent += 1,
        }
    }
    (Ending::Refused, format!("not taken by any of {} connections", AGAIN + 1))
}

/// A new connection, or why there is none.
pub(crate) async fn connect(addr: SocketAddr) -> Result<TcpStream, Attempt> {
    let stream = TcpStream::connect(addr).await.map_err(|error| {
        let ending = match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted => Ending::Reset,
            io::ErrorKind::TimedOut => Ending::TimedOut,
            _ if is_own(&error) => Ending::Hindered,
            _ => Ending::Refused,
        };
        Attempt::Ended(ending, error.to_string())
    })?;
    // Without it a request may wait for an acknowledgement. It only costs time.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// Whether the fault is on this side: no port, no descriptor, no memory.
fn is_own(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let own = [Errno::ADDRNOTAVAIL, Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    Errno::from_io_error(error).is_some_and(|error| own.contains(&error))
}

/// When a client may ask again.
pub(crate) struct Pace {
    /// Between two requests; none: at once.
    pub(crate) every: Option<Duration>,
    pub(crate) next: Instant,
}

impl Pace {
    /// Waits for this client's turn. Who is late does not catch up.
    async fn turn(&mut self) {
        let Some(every) = self.every else { return };
        sleep_until(self.next).await;
        self.next = (self.next + every).max(Instant::now());
    }
}
