//! SQLite: a database in a file of this machine.
//!
//! Defaults: write-ahead log, so that readers and the one writer do not wait for each other; `synchronous=FULL`, so that
//! what was committed survives a loss of power; foreign keys are enforced; who finds the database locked waits up to 5
//! seconds. When all connections are closed, the log is written into the database and emptied, so that the one file is
//! the whole database.

use std::{path::Path, time::Duration};

use evenkeel::{Error, Explain};
use sqlx::{
    error::DatabaseError,
    sqlite::{SqliteConnectOptions, SqliteJournalMode, SqliteSynchronous},
};

use crate::{
    options::{Options, connect, disconnect},
    pool::Pool,
    sql::{Dialect, Judgement},
};

/// Where a SQLite database is, and a pool's sizes. See [`Options`] for their defaults.
pub type Sqlite = Options<sqlx::Sqlite>;

/// What [`Parts::sqlite`](crate::Parts::sqlite) lends.
pub type SqlitePool = Pool<sqlx::Sqlite>;

/// How long to wait for a database that is locked.
const BUSY: Duration = Duration::from_secs(5);

/// Each connection has a thread, and only one of them writes at a time.
const MAX: u32 = 5;

impl Sqlite {
    /// The database in this file, which is made if it is not there. Write-ahead log, `synchronous=FULL`, foreign keys;
    /// who finds it locked waits up to 5 seconds.
    ///
    /// Transactions that will write are best begun with [`Pool::begin_with`]`("BEGIN IMMEDIATE")`: they then wait for their
    /// turn at the beginning, and do not fail half-way.
    #[must_use]
    pub fn file(path: impl AsRef<Path>) -> Self {
        let options = SqliteConnectOptions::new().filename(path).create_if_missing(true);
        Self::with(durable(options)).max_connections(MAX)
    }

    /// A database that is gone when the pool closes: one connection, which never gets too old.
    #[must_use]
    pub fn in_memory() -> Self {
        let in_memory = Self::parsed("sqlite::memory:").configure(|options| options.foreign_keys(true));
        in_memory.max_connections(1).max_lifetime(None).idle_timeout(None)
    }

    /// As a URL says: `sqlite://orders.db`, `sqlite://orders.db?mode=ro`. The file is made only with `mode=rwc`. A URL that
    /// cannot be one refuses the app before it starts.
    #[must_use]
    pub fn new(url: impl AsRef<str>) -> Self {
        let says = |words: &[&str]| words.iter().any(|word| url.as_ref().contains(word));
        // sqlx does not tell of its options whether they mean memory, unless it is written in this way.
        let in_memory = says(&["mode=memory", ":memory:"]);
        let parsed = Self::parsed(if in_memory { "sqlite::memory:" } else { url.as_ref() }).max_connections(MAX);
        // What is only read has the log that it has; what is in memory has none.
        let as_it_is = in_memory || says(&["mode=ro", "immutable"]);
        parsed.configure(|options| if as_it_is { options.busy_timeout(BUSY) } else { durable(options) })
    }
}

fn durable(options: SqliteConnectOptions) -> SqliteConnectOptions {
    options
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .foreign_keys(true)
        .busy_timeout(BUSY)
}

fn is_in_memory(options: &SqliteConnectOptions) -> bool {
    let name = options.get_filename().to_string_lossy();
    name.contains(":memory:") || name.contains("mode=memory") || name.contains("sqlx-in-memory")
}

impl Dialect for sqlx::Sqlite {
    const KIND: &'static str = "sqlite";
    const SERVER: &'static str = "SQLite";
    const FORM: &'static str = "write it like `sqlite://orders.db`, or use `Sqlite::file(path)`";

    fn place(options: &SqliteConnectOptions) -> String {
        if is_in_memory(options) { "memory".to_owned() } else { options.get_filename().display().to_string() }
    }

    fn problem(options: &SqliteConnectOptions, stays: bool) -> Option<(String, &'static str)> {
        (is_in_memory(options) && !stays).then(|| {
            let text = "a database in memory goes away with its connection, and cannot have several".to_owned();
            (text, "use `Sqlite::in_memory()` and leave its sizes and times alone, or a file")
        })
    }

    async fn version(connection: &mut sqlx::SqliteConnection) -> Result<String, sqlx::Error> {
        let version: String = sqlx::query_scalar("SELECT sqlite_version()").fetch_one(&mut *connection).await?;
        // The first look into the file: one that is no database is found here.
        sqlx::query("PRAGMA schema_version").fetch_optional(connection).await?;
        Ok(format!("SQLite {version}"))
    }

    fn judge(error: &dyn DatabaseError, options: &SqliteConnectOptions) -> Judgement {
        let code = error.code().and_then(|code| code.parse::<u32>().ok()).unwrap_or_default();
        let path = options.get_filename().display();
        // The low byte is the primary code.
        match code & 0xff {
            5 | 6 => Judgement::Wait,
            3 | 8 => {
                Judgement::Act(format!("the user this program runs as may not write {path}; check owner and mode"))
            }
            11 => Judgement::Act(format!("{path} is damaged; put a copy in its place")),
            13 => Judgement::Act("free some space on this file system".to_owned()),
            14 => Judgement::Act(format!("check that the directory of {path} is there and may be written")),
            26 => Judgement::Act(format!("{path} is another kind of file; name another one")),
            _ => Judgement::Unknown,
        }
    }

    /// SQLite empties the log by itself when its last connection closes, unless another process has the database open.
    async fn finish(options: &SqliteConnectOptions) -> Result<(), Error> {
        let is_wal = sqlite_log(options).is_some_and(|log| log.metadata().is_ok_and(|log| log.len() > 0));
        if is_in_memory(options) || !is_wal {
            return Ok(());
        }
        let options = options.clone().create_if_missing(false);
        let mut last = connect::<Self>(&options).await.context("cannot empty the write-ahead log")?;
        let emptied: (i64, i64, i64) = sqlx::query_as("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(&mut last).await?;
        disconnect::<Self>(last).await?;
        if emptied.0 != 0 {
            let path = options.get_filename().display();
            tracing::warn!(target: "evenkeel", "the write-ahead log of {path} stays: another process uses it");
        }
        Ok(())
    }
}

/// The file of the write-ahead log.
fn sqlite_log(options: &SqliteConnectOptions) -> Option<std::path::PathBuf> {
    let mut name = options.get_filename().file_name()?.to_owned();
    name.push("-wal");
    Some(options.get_filename().with_file_name(name))
}
