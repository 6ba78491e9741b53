//! Redis and Valkey.
//!
//! One connection is shared by all: the protocol answers in order, so commands of many tasks travel on it one behind the
//! other without waiting, and a pool would only cost connections. It is made again by itself when it breaks; the command
//! that was on its way then fails, and whoever sent it knows best whether to send it again. What blocks a connection
//! (`BLPOP`, `XREADGROUP BLOCK`, `WATCH`, subscriptions) belongs on one of its own.

use std::{
    fmt,
    future::Future,
    ops::{Deref, DerefMut},
    panic::Location,
    sync::Arc,
    time::Duration,
};

use evenkeel::{Component, Error, Explain, Problem, Result, Stop};
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, RedisError, ServerErrorKind,
    aio::{ConnectionManager, ConnectionManagerConfig, MultiplexedConnection},
};
use tokio::time::Instant;

use crate::{
    holders::{Held, Holders, named},
    open::{Trouble, until_there, within},
    time::{own_share, seconds},
};

/// How to connect to Redis, and how long to wait for it.
///
/// A URL that cannot be one, and times of nothing, refuse the app before it starts. `Debug` shows no password.
#[derive(Clone)]
pub struct Redis {
    /// How to connect, or why that is not understood.
    client: Result<Client, String>,
    connect_timeout: Duration,
    response_timeout: Duration,
}

impl Redis {
    /// Connects as a URL says: `redis://user:password@host:6379/0`, `unix:///run/redis.sock`; `rediss://` with feature
    /// `tls`.
    #[must_use]
    pub fn new(url: impl AsRef<str>) -> Self {
        // Its errors name what is wrong, and not the URL, which may hold a password.
        let client = Client::open(url.as_ref()).map_err(|error| error.to_string());
        let (connect_timeout, response_timeout) = (Duration::from_secs(5), Duration::from_secs(5));
        Self { client, connect_timeout, response_timeout }
    }

    /// How long one try to connect may take. Without this: 5 seconds.
    #[must_use]
    pub fn connect_timeout(mut self, wait: Duration) -> Self {
        self.connect_timeout = wait;
        self
    }

    /// How long to wait for the answer to a command on the shared connection. Without this: 5 seconds.
    #[must_use]
    pub fn response_timeout(mut self, wait: Duration) -> Self {
        self.response_timeout = wait;
        self
    }

    pub(crate) fn problem(&self) -> Option<Problem> {
        const LEAST: Duration = Duration::from_millis(10);
        if let Err(why) = &self.client {
            let hint = "write it like `redis://user:password@host:6379/0`".to_owned();
            return Some(Problem { text: format!("the URL is not understood: {why}"), hint });
        }
        (self.connect_timeout.min(self.response_timeout) < LEAST).then(|| Problem {
            text: "Redis cannot answer in so little time".to_owned(),
            hint: "give `connect_timeout` and `response_timeout` at least 10 ms".to_owned(),
        })
    }

    /// `Redis at 127.0.0.1:6379/0`.
    fn server(&self) -> String {
        let Ok(client) = &self.client else { return "Redis at an unknown place".to_owned() };
        let info = client.get_connection_info();
        format!("Redis at {}/{}", info.addr(), info.redis_settings().db())
    }
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut redis = f.debug_struct("Redis");
        redis.field("server", &self.server()).field("response_timeout", &self.response_timeout);
        redis.finish_non_exhaustive()
    }
}

/// A client of Redis. What its component lends: use it through its lease.
pub struct RedisClient {
    shared: ConnectionManager,
    client: Client,
    holders: Arc<Holders>,
    connect_timeout: Duration,
    /// `Redis at 127.0.0.1:6379/0`.
    server: String,
    version: String,
}

impl RedisClient {
    /// The shared connection, for as long as it is held: cheap, at once, for any number of tasks. Not for commands that
    /// block the connection; for those there is [`dedicated`](Self::dedicated).
    #[track_caller]
    #[must_use]
    pub fn connection(&self) -> RedisConnection {
        RedisConnection { inner: self.shared.clone(), _held: self.holders.take(Location::caller()) }
    }

    /// A connection of one's own, closed when it is dropped: for commands that block it (`BLPOP`, `XREADGROUP BLOCK`) and
    /// for `WATCH`. Answers are waited for without a limit: such a command says itself how long it may take, and
    /// [`Stop::or`] ends it.
    ///
    /// Dropping the future drops the connection.
    ///
    /// # Errors
    /// The server gave none within the [`connect_timeout`](Redis::connect_timeout).
    #[track_caller]
    pub fn dedicated(&self) -> impl Future<Output = Result<DedicatedConnection, RedisError>> + Send + use<'_> {
        let site = Location::caller();
        async move {
            let config = AsyncConnectionConfig::new()
                .set_connection_timeout(Some(self.connect_timeout))
                .set_response_timeout(None);
            let inner = self.client.get_multiplexed_async_connection_with_config(&config).await?;
            Ok(DedicatedConnection { inner, _held: self.holders.take(site) })
        }
    }

    /// Connections that are held, shared ones and dedicated ones.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.holders.count()
    }

    /// Name and version of the server, as it said at the start: `Redis 7.0.15`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Waits until nobody holds a connection and the server has answered all that was sent, within the time that is
    /// allowed. Safe to call twice.
    pub(crate) async fn close(&self, allowed: Duration) -> Result {
        let within = own_share(allowed);
        let until = Instant::now() + within;
        if tokio::time::timeout_at(until, self.holders.none_left()).await.is_err() {
            let (held, within) = (named(&self.holders.all()), seconds(within));
            return Err(format!("connections did not come back within {within}: {held}").into());
        }
        // Answers come in the order of commands: when this one is answered, all are.
        let mut shared = self.shared.clone();
        let ping = redis::cmd("PING");
        match tokio::time::timeout_at(until, ping.query_async::<()>(&mut shared)).await {
            Ok(Err(error)) if error.is_timeout() => Err(self.silent()),
            Err(_) => Err(self.silent()),
            // A connection that broke has nothing in flight; who sent something has been told.
            Ok(Err(error)) => {
                tracing::warn!(target: "evenkeel", "{} was gone before its client closed: {error}", self.server);
                Ok(())
            }
            Ok(Ok(())) => Ok(()),
        }
    }

    fn silent(&self) -> Error {
        format!("{} does not answer: whether the last commands were carried out is open", self.server).into()
    }
}

impl fmt::Debug for RedisClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut client = f.debug_struct("RedisClient");
        client.field("server", &self.server).field("in_use", &self.in_use()).finish_non_exhaustive()
    }
}

/// The shared connection, while it is held. Commands run on it directly (with `redis::AsyncCommands`), or on
/// `&mut *connection`.
pub struct RedisConnection {
    inner: ConnectionManager,
    _held: Held,
}

impl Deref for RedisConnection {
    type Target = ConnectionManager;

    fn deref(&self) -> &ConnectionManager {
        &self.inner
    }
}

impl DerefMut for RedisConnection {
    fn deref_mut(&mut self) -> &mut ConnectionManager {
        &mut self.inner
    }
}

/// A connection of one's own. See [`RedisClient::dedicated`].
pub struct DedicatedConnection {
    inner: MultiplexedConnection,
    _held: Held,
}

impl Deref for DedicatedConnection {
    type Target = MultiplexedConnection;

    fn deref(&self) -> &MultiplexedConnection {
        &self.inner
    }
}

impl DerefMut for DedicatedConnection {
    fn deref_mut(&mut self) -> &mut MultiplexedConnection {
        &mut self.inner
    }
}

/// The component behind a client.
pub(crate) struct RedisPart<O> {
    pub(crate) name: String,
    pub(crate) options: O,
}

impl<G, O, F> Component<G> for RedisPart<O>
where
    G: Send + 'static,
    O: Fn(G) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Redis>> + Send + 'static,
{
    type Value = RedisClient;

    const KIND: &'static str = "redis";
    const LENDS_ONLY: bool = true;

    async fn open(&self, given: G, stop: &Stop) -> Result<RedisClient> {
        let options = (self.options)(given).await?;
        if let Some(problem) = options.problem() {
            return Err(problem.text).hint(problem.hint);
        }
        let server = options.server();
        until_there(&self.name, &server, stop, || open_once(&options)).await
    }

    fn note(&self, client: &RedisClient) -> Option<String> {
        let place = client.server.split_once(" at ").map_or(client.server.as_str(), |(_, place)| place);
        Some(format!("{} at {place}, one connection shared", client.version))
    }

    async fn close_within(&self, client: RedisClient, allowed: Duration) -> Result {
        client.close(allowed).await
    }
}

/// The manager is made when the server has answered once: it keeps trying by itself, for longer than one try may take.
async fn open_once(options: &Redis) -> Result<RedisClient, Trouble> {
    let client = options.client.clone().map_err(|why| Trouble::Fail(why.into(), None))?;
    let version = within(options.connect_timeout, async {
        let mut first = client.get_multiplexed_async_connection().await.map_err(trouble)?;
        let info: String = redis::cmd("INFO").arg("server").query_async(&mut first).await.map_err(trouble)?;
        Ok(version(&info))
    });
    let version = version.await?;
    let config = ConnectionManagerConfig::new()
        .set_connection_timeout(Some(options.connect_timeout))
        .set_response_timeout(Some(options.response_timeout))
        .set_max_delay(Duration::from_secs(1));
    let shared = within(options.connect_timeout, async {
        ConnectionManager::new_with_config(client.clone(), config).await.map_err(trouble)
    });
    Ok(RedisClient {
        shared: shared.await?,
        client,
        holders: Arc::default(),
        connect_timeout: options.connect_timeout,
        server: options.server(),
        version,
    })
}

/// `Redis 7.0.15`, `Valkey 8.1.1`.
fn version(info: &str) -> String {
    let value = |key: &str| info.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).map(str::trim);
    match (value("valkey_version"), value("redis_version")) {
        (Some(version), _) => format!("Valkey {version}"),
        (None, Some(version)) => format!("Redis {version}"),
        (None, None) => "Redis".to_owned(),
    }
}

/// What an error while connecting means.
fn trouble(error: RedisError) -> Trouble {
    let wrong_user = "check user and password of the URL";
    let hint = match error.kind() {
        ErrorKind::Io => return Trouble::Wait(error.into()),
        ErrorKind::Server(ServerErrorKind::BusyLoading | ServerErrorKind::TryAgain | ServerErrorKind::MasterDown) => {
            return Trouble::Wait(error.into());
        }
        ErrorKind::AuthenticationFailed => Some(wrong_user),
        _ if matches!(error.code(), Some("NOAUTH" | "WRONGPASS" | "NOPERM")) => Some(wrong_user),
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Some("check that it is Redis that listens there"),
        ErrorKind::InvalidClientConfig => Some("check the URL; `rediss://` needs feature `tls`"),
        _ => None,
    };
    Trouble::Fail(error.into(), hint.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_say_who_they_are() {
        assert_eq!(version("# Server\r\nredis_version:7.0.15\r\nos:Linux\r\n"), "Redis 7.0.15");
        assert_eq!(version("redis_version:7.2.4\r\nvalkey_version:8.1.1\r\n"), "Valkey 8.1.1");
        assert_eq!(version(""), "Redis");
    }
}
