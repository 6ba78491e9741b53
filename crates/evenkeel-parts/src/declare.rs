//! Declaring the parts in an app.

use evenkeel::App;
#[cfg(feature = "_parts")]
use std::{future::Future, panic::Location};

#[cfg(feature = "_parts")]
use evenkeel::{Handle, Needs, Problem, Result};

#[cfg(feature = "mysql")]
use crate::{MySql, MySqlPool};
#[cfg(feature = "_sql")]
use crate::{Options, Pool, Sql, part::PoolPart};
#[cfg(feature = "postgres")]
use crate::{Postgres, PostgresPool};
#[cfg(feature = "redis")]
use crate::{Redis, RedisClient, redis::RedisPart};
#[cfg(feature = "sqlite")]
use crate::{Sqlite, SqlitePool};

/// Declares ready-made components in an [`App`].
///
/// Each comes in two forms: with settings that are known now (settings that cannot work refuse the app before it
/// starts), and as `..._from` with a closure that makes them from what the component needs, such as a configuration, at
/// each start.
///
/// All are resources: opened before those who need them, within the component's start limit (60 seconds, or
/// [`start_within`](evenkeel::Handle::start_within)), and closed after them, within its stop limit (5 seconds, or
/// [`stop_within`](evenkeel::Handle::stop_within)). They can be optional and restarted like any component.
pub trait Parts: sealed::Sealed {
    /// Declares a pool of connections to PostgreSQL.
    #[cfg(feature = "postgres")]
    #[track_caller]
    fn postgres<N: Needs>(&self, name: impl Into<String>, needs: N, options: Postgres) -> Handle<PostgresPool>;

    /// Like [`postgres`](Self::postgres), with options made from what it needs.
    #[cfg(feature = "postgres")]
    #[track_caller]
    fn postgres_from<N, O, F>(&self, name: impl Into<String>, needs: N, options: O) -> Handle<PostgresPool>
    where
        N: Needs,
        O: Fn(N::Given) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Postgres>> + Send + 'static;

    /// Declares a pool of connections to MySQL or MariaDB.
    #[cfg(feature = "mysql")]
    #[track_caller]
    fn mysql<N: Needs>(&self, name: impl Into<String>, needs: N, options: MySql) -> Handle<MySqlPool>;

    /// Like [`mysql`](Self::mysql), with options made from what it needs.
    #[cfg(feature = "mysql")]
    #[track_caller]
    fn mysql_from<N, O, F>(&self, name: impl Into<String>, needs: N, options: O) -> Handle<MySqlPool>
    where
        N: Needs,
        O: Fn(N::Given) -> F + Send + Sync + 'static,
        F: Future<Output = Result<MySql>> + Send + 'static;

    /// Declares a pool of connections to a SQLite database.
    #[cfg(feature = "sqlite")]
    #[track_caller]
    fn sqlite<N: Needs>(&self, name: impl Into<String>, needs: N, options: Sqlite) -> Handle<SqlitePool>;

    /// Like [`sqlite`](Self::sqlite), with options made from what it needs.
    #[cfg(feature = "sqlite")]
    #[track_caller]
    fn sqlite_from<N, O, F>(&self, name: impl Into<String>, needs: N, options: O) -> Handle<SqlitePool>
    where
        N: Needs,
        O: Fn(N::Given) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Sqlite>> + Send + 'static;

    /// Declares a client of Redis or Valkey.
    #[cfg(feature = "redis")]
    #[track_caller]
    fn redis<N: Needs>(&self, name: impl Into<String>, needs: N, options: Redis) -> Handle<RedisClient>;

    /// Like [`redis`](Self::redis), with options made from what it needs.
    #[cfg(feature = "redis")]
    #[track_caller]
    fn redis_from<N, O, F>(&self, name: impl Into<String>, needs: N, options: O) -> Handle<RedisClient>
    where
        N: Needs,
        O: Fn(N::Given) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Redis>> + Send + 'static;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for evenkeel::App {}
}

impl Parts for App {
    #[cfg(feature = "postgres")]
    #[track_caller]
    fn postgres<N: Needs>(&self, name: impl Into<String>, needs: N, options: Postgres) -> Handle<PostgresPool> {
        pool(self, name, needs, options)
    }

    #[cfg(feature = "postgres")]
    #[track_caller]
    fn postgres_from<N, O, F>(&self, name: impl Into<String>, needs: N, options: O) -> Handle<PostgresPool>
    where
        N: Needs,
        O: Fn(N::Given) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Postgres>> + Send + 'static,
    {
        pool_from(self, name, needs, options)
    }

    #[cfg(feature = "mysql")]
    #[track_caller]
    fn mysql<N: Needs>(&self, name: impl Into<String>, needs: N, options: MySql) -> Handle<MySqlPool> {
        pool(self, name, needs, options)
    }

    #[cfg(feature = "mysql")]
    #[track_caller]
    fn mysql_from<N, O, F>(&self, name: impl Into<String>, needs: N, options: O) -> Handle<MySqlPool>
    where
        N: Needs,
        O: Fn(N::Given) -> F + Send + Sync + 'static,
        F: Future<Output = Result<MySql>> + Send + 'static,
    {
        pool_from(self, name, needs, options)
    }

    #[cfg(feature = "sqlite")]
    #[track_caller]
    fn sqlite<N: Needs>(&self, name: impl Into<String>, needs: N, options: Sqlite) -> Handle<SqlitePool> {
        pool(self, name, needs, options)
    }

    #[cfg(feature = "sqlite")]
    #[track_caller]
    fn sqlite_from<N, O, F>(&self, name: impl Into<String>, needs: N, options: O) -> Handle<SqlitePool>
    where
        N: Needs,
        O: Fn(N::Given) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Sqlite>> + Send + 'static,
    {
        pool_from(self, name, needs, options)
    }

    #[cfg(feature = "redis")]
    #[track_caller]
    fn redis<N: Needs>(&self, name: impl Into<String>, needs: N, options: Redis) -> Handle<RedisClient> {
        let name = name.into();
        refuse(self, &name, options.problem());
        self.redis_from(name, needs, move |_| std::future::ready(Ok(options.clone())))
    }

    #[cfg(feature = "redis")]
    #[track_caller]
    fn redis_from<N, O, F>(&self, name: impl Into<String>, needs: N, options: O) -> Handle<RedisClient>
    where
        N: Needs,
        O: Fn(N::Given) -> F + Send + Sync + 'static,
        F: Future<Output = Result<Redis>> + Send + 'static,
    {
        let name = name.into();
        let declared = self.component(name.clone(), needs, RedisPart { name, options });
        declared.close_ref_within(|client, allowed| async move { client.close(allowed).await })
    }
}

#[cfg(feature = "_sql")]
#[track_caller]
fn pool<DB: Sql, N: Needs>(app: &App, name: impl Into<String>, needs: N, options: Options<DB>) -> Handle<Pool<DB>> {
    let name = name.into();
    refuse(app, &name, options.problem());
    pool_from(app, name, needs, move |_| std::future::ready(Ok(options.clone())))
}

#[cfg(feature = "_sql")]
#[track_caller]
fn pool_from<DB, N, O, F>(app: &App, name: impl Into<String>, needs: N, options: O) -> Handle<Pool<DB>>
where
    DB: Sql,
    N: Needs,
    O: Fn(N::Given) -> F + Send + Sync + 'static,
    F: Future<Output = Result<Options<DB>>> + Send + 'static,
{
    let name = name.into();
    let part = PoolPart { name: name.clone(), options, _database: std::marker::PhantomData };
    // A lease that does not come back must not keep the pool open.
    app.component(name, needs, part).close_ref_within(|pool, allowed| async move { pool.close(allowed).await })
}

#[cfg(feature = "_parts")]
#[track_caller]
fn refuse(app: &App, name: &str, problem: Option<Problem>) {
    if let Some(Problem { text, hint }) = problem {
        let site = Location::caller();
        let text = format!("`{name}` at {}:{}: {text}", site.file().replace('\\', "/"), site.line());
        app.refuse(Problem { text, hint });
    }
}
