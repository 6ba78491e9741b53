//! Where the services keep what they know. They do not know which database it is: this is the seam.
//!
//! A [`Database`] is a SQLite file or a PostgreSQL server. Everything that is changed or read is a piece of work on a
//! [`Tx`]: a handful of verbs, each on many rows at once, in the part of SQL that both understand. `desk.rs` is how the
//! work gets there: one thread writes, one reads, and whatever waits shares one commit.
//!
//! Policy: one writer at a time, whatever the database is, also beside another process (the file's lock, or one lock in
//! the server). So work may look first and then write what follows from it, and numbers are in the order of commits.

mod batches;
mod desk;
mod postgres;
mod schema;
mod sqlite;

use std::{fmt, path::PathBuf, sync::Mutex};

use evenkeel::{Error, Explain, Lease, Result};
use evenkeel_parts::PostgresPool;
use sqlx::postgres::PgConnectOptions;

pub(crate) use self::{
    batches::Batches,
    desk::{Refused, Store, desk, dice},
};

/// What a column holds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Null,
    Int(i64),
    Text(String),
}

pub(crate) type Row = Vec<Value>;

/// The type of a column.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Int,
    Text,
}

/// Columns of a table, for one statement. The first is the one that rows are found by.
#[derive(Debug)]
pub(crate) struct Fields {
    pub(crate) table: &'static str,
    pub(crate) columns: &'static [(&'static str, Kind)],
}

/// A transaction.
pub(crate) trait Tx {
    /// The rows whose first column is one of these.
    fn find(&mut self, fields: &Fields, keys: Vec<Value>) -> Result<Vec<Row>, Failed>;

    fn insert(&mut self, fields: &Fields, rows: Vec<Row>) -> Result<(), Failed>;

    /// Sets the other columns of the rows whose first column is the first value.
    fn update(&mut self, fields: &Fields, rows: Vec<Row>) -> Result<(), Failed>;

    /// Parameters are written `$1`, `$2`, in this order.
    fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>, Failed>;

    fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<(), Failed>;
}

/// What a transaction is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// All that it reads is of one moment.
    Read,
    /// Nobody else writes meanwhile. When it has been committed, it is on disk.
    Write,
}

/// Work inside a transaction.
pub(crate) type Work<'a> = dyn FnMut(&mut dyn Tx) -> Result<(), Failed> + 'a;

/// A connection. It blocks, and belongs to a thread that may.
pub(crate) trait Connection: Send {
    /// Begins, does the work, and commits; rolls back if any of it fails.
    fn transact(&mut self, mode: Mode, work: &mut Work<'_>) -> Result<(), Failed>;

    /// Leaves nothing to do for the next start.
    fn close(self: Box<Self>) -> Result;
}

/// Why a database did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failed {
    /// It may go well at the next attempt: somebody else was in the way, or the server was away.
    pub(crate) passing: bool,
    pub(crate) error: Error,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl std::error::Error for Failed {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&*self.error)
    }
}

/// Which database.
#[derive(Clone)]
pub(crate) enum Choice {
    File(PathBuf),
    Server {
        /// With the password.
        url: String,
        /// How to connect, or why the URL is not understood.
        options: Result<Box<PgConnectOptions>, String>,
    },
}

impl fmt::Display for Choice {
    /// Never with a password.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(file) => file.display().fmt(f),
            Self::Server { options: Ok(options), .. } => {
                let name = options.get_database().unwrap_or_else(|| options.get_username());
                write!(f, "{}:{}/{name}", options.get_host(), options.get_port())
            }
            Self::Server { .. } => f.write_str("in an unknown place"),
        }
    }
}

impl fmt::Debug for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Default for Choice {
    fn default() -> Self {
        Self::File("shop.db".into())
    }
}

impl Choice {
    /// A URL of PostgreSQL, or the name of a file. A mistake is told later and by others: whoever parses a command line
    /// would show all of it, and it may hold a password.
    pub(crate) fn of(text: &str) -> Self {
        if !(text.starts_with("postgres://") || text.starts_with("postgresql://")) {
            return Self::File(PathBuf::from(text));
        }
        let options = text.parse().map(Box::new).map_err(|error: sqlx::Error| match error {
            sqlx::Error::Configuration(why) => why.to_string(),
            other => other.to_string(),
        });
        Self::Server { url: text.to_owned(), options }
    }
}

/// The open database: a connection for the thread that writes, one for the thread that reads.
pub(crate) struct Database {
    writer: Mutex<Box<dyn Connection>>,
    reader: Mutex<Box<dyn Connection>>,
}

impl Database {
    /// Opens a file, makes it if it is not there, and brings it up to date.
    pub(crate) async fn open_file(file: PathBuf) -> Result<Self> {
        // SQLite blocks; on this thread it would hold up others.
        let (writer, reader) = tokio::task::spawn_blocking(move || sqlite::open(&file)).await??;
        Ok(Self { writer: Mutex::new(Box::new(writer)), reader: Mutex::new(Box::new(reader)) })
    }

    /// Uses a server, and brings its database up to date.
    pub(crate) async fn open_server(pool: Lease<PostgresPool>) -> Result<Self> {
        let reader = postgres::Server::open(pool).await?;
        let writer = reader.again();
        Ok(Self { writer: Mutex::new(Box::new(writer)), reader: Mutex::new(Box::new(reader)) })
    }

    /// A connection that reads, for who holds the database against something.
    pub(crate) fn look_at(choice: &Choice) -> Result<Box<dyn Connection>> {
        match choice {
            Choice::File(file) => Ok(Box::new(sqlite::look_at(file)?)),
            Choice::Server { options: Ok(options), .. } => postgres::look_at(options),
            Choice::Server { options: Err(why), .. } => Err(Error::from(format!("the URL is not understood: {why}")))
                .hint("write it like `postgres://user:password@host:5432/database`"),
        }
    }

    pub(crate) async fn close(self) -> Result {
        tokio::task::spawn_blocking(move || {
            // The reader first: the writer then has the file to itself.
            let inner =
                |connection: Mutex<_>| connection.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
            inner(self.reader).close()?;
            inner(self.writer).close()
        })
        .await?
    }
}

/// What is read from a row, column by column. A column of another type than the statement asks for is a defect of the
/// shop, and reads as nothing.
pub(crate) struct Columns(std::vec::IntoIter<Value>);

impl Columns {
    pub(crate) fn of(row: Row) -> Self {
        Self(row.into_iter())
    }

    pub(crate) fn int(&mut self) -> i64 {
        self.maybe_int().unwrap_or_default()
    }

    pub(crate) fn maybe_int(&mut self) -> Option<i64> {
        if let Some(Value::Int(number)) = self.0.next() { Some(number) } else { None }
    }

    pub(crate) fn text(&mut self) -> String {
        self.maybe_text().unwrap_or_default()
    }

    pub(crate) fn maybe_text(&mut self) -> Option<String> {
        if let Some(Value::Text(text)) = self.0.next() { Some(text) } else { None }
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Self::Int(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Int(number.into())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Self>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

/// The first column of the first row, as a number.
pub(crate) fn number(rows: Vec<Row>) -> i64 {
    rows.into_iter().next().map_or(0, |row| Columns::of(row).int())
}

impl Failed {
    /// Something that cannot happen unless the shop is wrong.
    fn defect(text: &str) -> Self {
        Self { passing: false, error: text.into() }
    }

    /// What is kept cannot be read, or not be written down.
    pub(crate) fn unreadable(error: serde_json::Error) -> Self {
        Self { passing: false, error: error.into() }
    }
}
