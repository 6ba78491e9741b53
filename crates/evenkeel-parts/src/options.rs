//! How a pool connects, how large it is, and how long it waits.

use std::{fmt, time::Duration};

use evenkeel::Problem;
use sqlx::{ConnectOptions, Connection as _, pool::PoolOptions};

use crate::sql::Sql;

/// How the connections of a database are made.
pub(crate) type ConnectionOptions<DB> = <<DB as sqlx::Database>::Connection as sqlx::Connection>::Options;

/// How a pool connects, how large it is, and how long it waits: [`Postgres`](crate::Postgres), [`MySql`](crate::MySql)
/// or [`Sqlite`](crate::Sqlite).
///
/// | setting | default | because |
/// |---|---|---|
/// | [`max_connections`](Self::max_connections) | 10 (SQLite: 5) | more make a database with a few cores slower; ten such programs fit the 100 that PostgreSQL allows |
/// | [`idle_connections`](Self::idle_connections) | 5, or the most if that is less | a burst finds connections that are made |
/// | [`max_lifetime`](Self::max_lifetime) | 30 minutes | servers, proxies and addresses change; memory of sessions grows |
/// | [`idle_timeout`](Self::idle_timeout) | 10 minutes | what a burst has opened goes away again |
/// | [`acquire_timeout`](Self::acquire_timeout) | 5 seconds | who waits for an answer should get one, and be it an error |
///
/// What cannot work (no connections at all, more kept than there may be, a time of nothing) refuses the app before it
/// starts, with a `hint:`. `Debug` shows no password.
pub struct Options<DB: Sql> {
    /// How to connect, or why that is not understood.
    pub(crate) connect: Result<ConnectionOptions<DB>, String>,
    pub(crate) sizes: Sizes,
}

/// Sizes and times of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sizes {
    pub(crate) max: u32,
    /// As chosen; without a choice, as many as fit.
    pub(crate) idle: Option<u32>,
    pub(crate) max_lifetime: Option<Duration>,
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) acquire_timeout: Duration,
}

impl Default for Sizes {
    fn default() -> Self {
        Self {
            max: 10,
            idle: None,
            max_lifetime: Some(Duration::from_secs(30 * 60)),
            idle_timeout: Some(Duration::from_secs(10 * 60)),
            acquire_timeout: Duration::from_secs(5),
        }
    }
}

impl Sizes {
    const IDLE: u32 = 5;
    /// Times below this are a mistake in the unit.
    const LEAST: Duration = Duration::from_millis(10);

    /// Connections that are kept open while nobody needs them.
    pub(crate) fn kept(&self) -> u32 {
        self.idle.unwrap_or_else(|| Self::IDLE.min(self.max))
    }

    /// Whether there is one connection, which is never replaced.
    fn stays(&self) -> bool {
        self.max == 1 && self.kept() == 1 && self.max_lifetime.is_none() && self.idle_timeout.is_none()
    }

    fn problem(&self) -> Option<(String, &'static str)> {
        let short = |time: Option<Duration>| time.is_some_and(|time| time < Self::LEAST);
        let (max, kept) = (self.max, self.kept());
        let told = |text: &str, hint| Some((text.to_owned(), hint));
        match self {
            _ if max == 0 => told(
                "a pool of at most 0 connections lends none",
                "give `max_connections` at least 1, or leave it away for the default",
            ),
            _ if kept > max => Some((
                format!("a pool of at most {max} connections cannot keep {kept} idle"),
                "lower `idle_connections`, or raise `max_connections`",
            )),
            it if short(Some(it.acquire_timeout)) => {
                told("nobody gets a connection in so little time", "give `acquire_timeout` at least 10 ms")
            }
            it if short(it.max_lifetime) => told(
                "connections that live for so little time are never used twice",
                "give `max_lifetime` at least 10 ms, or `None` for no limit",
            ),
            it if short(it.idle_timeout) => told(
                "connections that may rest for so little time are never used twice",
                "give `idle_timeout` at least 10 ms, or `None` for no limit",
            ),
            _ => None,
        }
    }

    pub(crate) fn pool<DB: sqlx::Database>(&self) -> PoolOptions<DB> {
        PoolOptions::new()
            .max_connections(self.max)
            .min_connections(self.kept())
            .max_lifetime(self.max_lifetime)
            .idle_timeout(self.idle_timeout)
            .acquire_timeout(self.acquire_timeout)
            .after_release(|connection, _| Box::pin(async move { Ok(settled(connection).await) }))
    }
}

impl<DB: Sql> Options<DB> {
    /// Connects as sqlx's own options say. They replace what the constructors set by default; the pool's sizes stay.
    #[must_use]
    pub fn with(options: ConnectionOptions<DB>) -> Self {
        Self { connect: Ok(options), sizes: Sizes::default() }
    }

    /// As a URL says, which may be no URL. What was wrong with it is told without the URL: it may hold a password.
    pub(crate) fn parsed(url: &str) -> Self {
        let connect = url.parse().map_err(|error: sqlx::Error| match error {
            sqlx::Error::Configuration(why) => why.to_string(),
            other => other.to_string(),
        });
        Self { connect, sizes: Sizes::default() }
    }

    /// Connections at one time, at most. Without this: 10; for SQLite 5.
    #[must_use]
    pub fn max_connections(mut self, most: u32) -> Self {
        self.sizes.max = most;
        self
    }

    /// Connections kept open while nobody needs them: opened at the start, and again in place of those that came to the
    /// end of their time. What is open beyond them is closed after [`idle_timeout`](Self::idle_timeout). Without this: 5,
    /// or `max_connections` if that is less.
    #[must_use]
    pub fn idle_connections(mut self, kept: u32) -> Self {
        self.sizes.idle = Some(kept);
        self
    }

    /// How old a connection may get before it is closed, once it is back; `None`: any age. Without this: 30 minutes.
    #[must_use]
    pub fn max_lifetime(mut self, age: impl Into<Option<Duration>>) -> Self {
        self.sizes.max_lifetime = age.into();
        self
    }

    /// How long a connection may rest before it is closed; `None`: for ever. Without this: 10 minutes.
    #[must_use]
    pub fn idle_timeout(mut self, rest: impl Into<Option<Duration>>) -> Self {
        self.sizes.idle_timeout = rest.into();
        self
    }

    /// How long to wait for a connection, be it for one that is in use or for a new one; then there is an
    /// [`AcquireError`](crate::AcquireError). It also limits each try to connect. Without this: 5 seconds.
    #[must_use]
    pub fn acquire_timeout(mut self, wait: Duration) -> Self {
        self.sizes.acquire_timeout = wait;
        self
    }

    /// Changes how to connect, in sqlx's own words.
    #[must_use]
    pub fn configure(mut self, change: impl FnOnce(ConnectionOptions<DB>) -> ConnectionOptions<DB>) -> Self {
        self.connect = self.connect.map(change);
        self
    }

    /// What cannot work.
    pub(crate) fn problem(&self) -> Option<Problem> {
        let problem = |(text, hint): (String, &str)| Problem { text, hint: hint.to_owned() };
        match &self.connect {
            Err(why) => Some(Problem { text: format!("the URL is not understood: {why}"), hint: DB::FORM.to_owned() }),
            Ok(connect) => self.sizes.problem().or_else(|| DB::problem(connect, self.sizes.stays())).map(problem),
        }
    }

    /// `PostgreSQL at 127.0.0.1:5432/orders`.
    pub(crate) fn server(&self) -> String {
        let place = self.connect.as_ref().map_or_else(|_| "an unknown place".to_owned(), DB::place);
        format!("{} at {place}", DB::SERVER)
    }
}

impl<DB: Sql> Clone for Options<DB> {
    fn clone(&self) -> Self {
        Self { connect: self.connect.clone(), sizes: self.sizes }
    }
}

impl<DB: Sql> fmt::Debug for Options<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct(DB::SERVER).field("server", &self.server()).field("sizes", &self.sizes).finish()
    }
}

/// How long a statement whose future was dropped may go on before its connection is given up.
const SETTLE: Duration = Duration::from_secs(1);

/// Whether a connection that comes back can be used again. A statement that was broken off half-way is still being
/// carried out by the server; waiting for it without a limit would hold the place in the pool, and the pool's close.
async fn settled<C: sqlx::Connection>(connection: &mut C) -> bool {
    // It asks the server nothing: it only waits for answers that are due.
    matches!(tokio::time::timeout(SETTLE, connection.flush()).await, Ok(Ok(())))
}

/// Makes one connection.
pub(crate) async fn connect<DB: Sql>(options: &ConnectionOptions<DB>) -> Result<DB::Connection, sqlx::Error> {
    options.connect().await
}

/// Ends one connection in order.
pub(crate) async fn disconnect<DB: Sql>(connection: DB::Connection) -> Result<(), sqlx::Error> {
    connection.close().await
}
