//! A pool that knows who has its connections.

use std::{
    fmt,
    future::Future,
    ops::{Deref, DerefMut},
    panic::Location,
    sync::Arc,
    time::Duration,
};

use evenkeel::{Error, Result};
use sqlx::{SqlSafeStr, pool::PoolConnection};
use tokio::time::Instant;

use crate::{
    holders::{Held, Holders, named},
    options::{ConnectionOptions, Sizes},
    sql::Sql,
    time::{own_share, seconds},
};

/// Connections to a database, lent one by one. What a pool's component lends: use it through its lease.
///
/// Each connection remembers the line that took it, so that one which does not come back can be named. The pool closes
/// after all who use it, and only its component can close it.
///
/// A statement whose future is dropped (by [`Stop::or`](evenkeel::Stop::or), by a time-out) may be carried out by the
/// server all the same. If it has not ended a second later, its connection is closed and a new one takes its place.
pub struct Pool<DB: Sql> {
    inner: sqlx::Pool<DB>,
    holders: Arc<Holders>,
    connect: ConnectionOptions<DB>,
    sizes: Sizes,
    /// `PostgreSQL at 127.0.0.1:5432/orders`.
    server: String,
    version: String,
}

impl<DB: Sql> Pool<DB> {
    pub(crate) fn new(
        inner: sqlx::Pool<DB>,
        connect: ConnectionOptions<DB>,
        sizes: Sizes,
        server: String,
        version: String,
    ) -> Self {
        Self { inner, holders: Arc::default(), connect, sizes, server, version }
    }

    /// Takes a connection. It goes back when it is dropped.
    ///
    /// Waits for the [`acquire_timeout`](crate::Options::acquire_timeout) at most. Cancel-safe: dropping the future takes
    /// nothing.
    ///
    /// # Errors
    /// None came back in time, or the server gives none: the error says who has them.
    #[track_caller]
    pub fn acquire(&self) -> impl Future<Output = Result<Connection<DB>, AcquireError>> + Send + use<'_, DB> {
        let site = Location::caller();
        async move {
            let inner = self.in_time(self.inner.acquire()).await?;
            Ok(Connection { inner, _held: self.holders.take(site) })
        }
    }

    /// Takes a connection and begins a transaction on it. Dropped without [`commit`](Transaction::commit), it is rolled
    /// back.
    ///
    /// Waits and cancels like [`acquire`](Self::acquire).
    ///
    /// # Errors
    /// Those of [`acquire`](Self::acquire), and of the database.
    #[track_caller]
    pub fn begin(&self) -> impl Future<Output = Result<Transaction<DB>, AcquireError>> + Send + use<'_, DB> {
        let site = Location::caller();
        async move {
            let inner = self.in_time(self.inner.begin()).await?;
            Ok(Transaction { inner, _held: self.holders.take(site) })
        }
    }

    /// Like [`begin`](Self::begin), with a statement of one's own: `BEGIN IMMEDIATE`, `BEGIN ISOLATION LEVEL SERIALIZABLE`.
    ///
    /// # Errors
    /// Those of [`begin`](Self::begin); also if the statement begins no transaction.
    #[track_caller]
    pub fn begin_with(
        &self,
        statement: impl SqlSafeStr + Send,
    ) -> impl Future<Output = Result<Transaction<DB>, AcquireError>> + Send {
        let site = Location::caller();
        async move {
            let inner = self.in_time(self.inner.begin_with(statement)).await?;
            Ok(Transaction { inner, _held: self.holders.take(site) })
        }
    }

    /// sqlx's own pool, for libraries that ask for one. Connections taken from it are counted, but not named; and whoever
    /// closes it closes it for all.
    #[must_use]
    pub fn sqlx(&self) -> &sqlx::Pool<DB> {
        &self.inner
    }

    /// Connections that are open, in use or not.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.inner.size()
    }

    /// Connections that are open and not in use.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.inner.num_idle()
    }

    /// Connections that were taken from this pool and are not back.
    #[must_use]
    pub fn in_use(&self) -> usize {
        self.holders.count()
    }

    /// Name and version of the server, as it said at the start: `PostgreSQL 15.14`.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    pub(crate) fn note(&self) -> String {
        let (size, most) = (self.size(), self.sizes.max);
        // `PostgreSQL at ...`: the name is in the version as well.
        let place = self.server.split_once(" at ").map_or(self.server.as_str(), |(_, place)| place);
        format!("{} at {place}, {size} of {most} connections", self.version)
    }

    /// Closes the pool: nobody gets a connection any more, and all are waited for, within the time that is allowed.
    /// Safe to call twice.
    pub(crate) async fn close(&self, allowed: Duration) -> Result {
        let within = own_share(allowed);
        let until = Instant::now() + within;
        if tokio::time::timeout_at(until, self.inner.close()).await.is_err() {
            return Err(self.not_back(within));
        }
        let finishing = tokio::time::timeout_at(until, DB::finish(&self.connect));
        finishing.await.unwrap_or_else(|_| Err("its connections are closed, but the database file is held up".into()))
    }

    /// Who is to blame for a pool that does not close.
    fn not_back(&self, within: Duration) -> Error {
        let open = usize::try_from(self.size()).unwrap_or(usize::MAX).saturating_sub(self.idle());
        let held = self.holders.all();
        let known: usize = held.iter().map(|holder| holder.count).sum();
        let mut who = named(&held);
        let others = open.saturating_sub(known);
        if others > 0 {
            let and = if who.is_empty() { "" } else { "; " };
            who = format!("{who}{and}{others} for which the server has not answered, or that was taken past this pool");
        }
        if who.is_empty() {
            who = "the server does not let go of them".to_owned();
        }
        format!("connections did not come back within {}: {who}", seconds(within)).into()
    }

    /// A server may be silent after it gave a connection as well: the wait for the beginning of a transaction has the same
    /// limit.
    async fn in_time<T>(&self, taking: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, AcquireError> {
        let taken = tokio::time::timeout(self.sizes.acquire_timeout, taking).await;
        taken.unwrap_or(Err(sqlx::Error::PoolTimedOut)).map_err(|error| self.refused(error))
    }

    fn refused(&self, error: sqlx::Error) -> AcquireError {
        let timed_out = matches!(error, sqlx::Error::PoolTimedOut);
        let text = match timed_out {
            true => self.none_in_time(),
            false => format!("no connection to {}", self.server),
        };
        AcquireError { text, timed_out, source: error }
    }

    fn none_in_time(&self) -> String {
        let (waited, most) = (seconds(self.sizes.acquire_timeout), self.sizes.max);
        let held = self.holders.all();
        let count: usize = held.iter().map(|holder| holder.count).sum();
        let server = &self.server;
        if count == 0 {
            return format!("no connection to {server} within {waited}: none is in use, and the server gave none");
        }
        format!("no connection to {server} within {waited}: of at most {most} there are in use {}", named(&held))
    }
}

impl<DB: Sql> fmt::Debug for Pool<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut pool = f.debug_struct("Pool");
        pool.field("server", &self.server).field("size", &self.size()).field("in_use", &self.in_use());
        pool.finish_non_exhaustive()
    }
}

/// A connection taken from a [`Pool`], until it is dropped. Run statements on `&mut *connection`.
///
/// It may be kept beyond the lease of its pool, but the pool's close then waits for it and names it.
pub struct Connection<DB: Sql> {
    // The order matters: the connection goes back before its holder is forgotten.
    inner: PoolConnection<DB>,
    _held: Held,
}

impl<DB: Sql> Deref for Connection<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        &self.inner
    }
}

impl<DB: Sql> DerefMut for Connection<DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        &mut self.inner
    }
}

impl<DB: Sql> fmt::Debug for Connection<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection").finish_non_exhaustive()
    }
}

/// A transaction on a connection of its own. Run statements on `&mut *transaction`.
///
/// Dropped without [`commit`](Self::commit), it is rolled back.
pub struct Transaction<DB: Sql> {
    inner: sqlx::Transaction<'static, DB>,
    _held: Held,
}

impl<DB: Sql> Transaction<DB> {
    /// Makes what was done in it last. Dropped half-way, it is open whether it did.
    ///
    /// # Errors
    /// The database did not say that it is done; if the connection broke, it is open whether it did.
    pub async fn commit(self) -> Result<(), sqlx::Error> {
        self.inner.commit().await
    }

    /// Undoes what was done in it.
    ///
    /// # Errors
    /// The database did not answer; what was done in it is undone all the same.
    pub async fn rollback(self) -> Result<(), sqlx::Error> {
        self.inner.rollback().await
    }
}

impl<DB: Sql> Deref for Transaction<DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        &self.inner
    }
}

impl<DB: Sql> DerefMut for Transaction<DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        &mut self.inner
    }
}

impl<DB: Sql> fmt::Debug for Transaction<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction").finish_non_exhaustive()
    }
}

/// Why there was no connection, and who has them. `?` turns it into a `sqlx::Error` as well.
#[derive(Debug)]
pub struct AcquireError {
    text: String,
    timed_out: bool,
    source: sqlx::Error,
}

impl AcquireError {
    /// Whether the wait was too long; else the server or the connection failed.
    #[must_use]
    pub fn is_timeout(&self) -> bool {
        self.timed_out
    }
}

impl fmt::Display for AcquireError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for AcquireError {
    /// Of a wait that was too long, sqlx knows less than what has been said.
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        (!self.timed_out).then_some(&self.source)
    }
}

impl From<AcquireError> for sqlx::Error {
    fn from(error: AcquireError) -> Self {
        error.source
    }
}
