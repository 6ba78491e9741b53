//! A SQLite file: in the process, without a server. A statement on many rows is one prepared statement, many times.

use std::{io, path::Path, time::Duration};

use evenkeel::{Error, Explain, Result};
use rusqlite::{
    CachedStatement, ErrorCode, OpenFlags, ToSql, TransactionBehavior,
    types::{ToSqlOutput, ValueRef},
};

use super::{Connection, Failed, Fields, Mode, Row, Tx, Value, Work, schema};

/// How long to wait for another process that writes.
const BUSY: Duration = Duration::from_secs(5);
/// Pages in the log before they are moved into the file. Moving them waits for the disk, so not too often.
const LOG_PAGES: u32 = 4000;
/// As many statements stay prepared.
const PREPARED: usize = 64;

/// A connection to the file.
pub(super) struct File {
    inner: rusqlite::Connection,
    writes: bool,
}

/// Opens a connection to write and one to read, and brings the file up to date.
pub(super) fn open(file: &Path) -> Result<(File, File)> {
    // `shop.db` alone has the empty path as its directory, which is the current one.
    let open = || {
        if let Some(directory) = file.parent().filter(|path| !path.as_os_str().is_empty() && !path.is_dir()) {
            let directory = directory.display();
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no directory {directory}")))
                .hint(format!("make it with `mkdir -p {directory}`, or name another file with `--database`"));
        }
        let hint = "it must be a SQLite file, or none yet, that this user may write; `--database` names another";
        let mut writer = rusqlite::Connection::open(file).hint(hint)?;
        writer.busy_timeout(BUSY)?;
        // FULL: a commit has reached the disk when it returns. That is what an answer promises.
        writer.pragma_update(None, "journal_mode", "WAL").hint(hint)?;
        writer.pragma_update(None, "synchronous", "FULL")?;
        writer.pragma_update(None, "wal_autocheckpoint", LOG_PAGES)?;
        migrate(&mut writer)?;
        writer.set_prepared_statement_cache_capacity(PREPARED);
        Ok((File { inner: writer, writes: true }, look_at(file)?))
    };
    open().context(format!("cannot open the database {}", file.display()))
}

/// Opens a connection that only reads.
pub(super) fn look_at(file: &Path) -> Result<File> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let reader = rusqlite::Connection::open_with_flags(file, flags)?;
    reader.busy_timeout(BUSY)?;
    reader.set_prepared_statement_cache_capacity(PREPARED);
    Ok(File { inner: reader, writes: false })
}

/// Each step and the count of steps go into one transaction: a crash in the middle leaves either none of it or all.
fn migrate(connection: &mut rusqlite::Connection) -> Result {
    let done: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if done as usize > schema::STEPS.len() {
        let known = schema::STEPS.len();
        return Err(Error::from(format!("it has had {done} migrations, this version knows of {known}")))
            .hint("a newer version of the shop has used it; run that one");
    }
    for (count, step) in (1_u32..).zip(schema::STEPS).skip(done as usize) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step).context(format!("migration {count}"))?;
        transaction.pragma_update(None, "user_version", count)?;
        transaction.commit()?;
    }
    Ok(())
}

impl Connection for File {
    fn transact(&mut self, mode: Mode, work: &mut Work<'_>) -> Result<(), Failed> {
        let behavior = match mode {
            Mode::Read => TransactionBehavior::Deferred,
            Mode::Write => TransactionBehavior::Immediate,
        };
        let transaction = self.inner.transaction_with_behavior(behavior)?;
        work(&mut Open { connection: &transaction })?;
        transaction.commit()?;
        Ok(())
    }

    /// Moves what is in the log beside the file into the file, and closes it.
    fn close(self: Box<Self>) -> Result {
        if self.writes {
            self.inner
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))
                .context("cannot move the last orders from the log into the file")
                .hint("nothing is lost: they are in the file beside it that ends in `-wal`; keep both together")?;
        }
        self.inner.close().map_err(|(_, error)| error).context("cannot close the database")
    }
}

struct Open<'a> {
    connection: &'a rusqlite::Connection,
}

impl Open<'_> {
    fn each(&self, sql: &str, rows: Vec<Row>) -> Result<(), Failed> {
        let mut statement = self.connection.prepare_cached(sql)?;
        for row in rows {
            bind(&mut statement, &row)?;
            statement.raw_execute()?;
        }
        Ok(())
    }
}

impl Tx for Open<'_> {
    fn find(&mut self, fields: &Fields, keys: Vec<Value>) -> Result<Vec<Row>, Failed> {
        let sql = format!("SELECT {} FROM {} WHERE {} = ?1", names(fields), fields.table, fields.columns[0].0);
        let mut statement = self.connection.prepare_cached(&sql)?;
        let mut found = Vec::with_capacity(keys.len());
        for key in keys {
            bind(&mut statement, &[key])?;
            read(&mut statement, &mut found)?;
        }
        Ok(found)
    }

    fn insert(&mut self, fields: &Fields, rows: Vec<Row>) -> Result<(), Failed> {
        let places: Vec<String> = (1..=fields.columns.len()).map(|place| format!("?{place}")).collect();
        let sql = format!("INSERT INTO {} ({}) VALUES ({})", fields.table, names(fields), places.join(", "));
        self.each(&sql, rows)
    }

    fn update(&mut self, fields: &Fields, rows: Vec<Row>) -> Result<(), Failed> {
        let (key, others) = fields.columns.split_first().ok_or_else(|| Failed::defect("an update of nothing"))?;
        let set: Vec<String> = (2..).zip(others).map(|(place, (name, _))| format!("{name} = ?{place}")).collect();
        self.each(&format!("UPDATE {} SET {} WHERE {} = ?1", fields.table, set.join(", "), key.0), rows)
    }

    fn query(&mut self, sql: &str, parameters: &[Value]) -> Result<Vec<Row>, Failed> {
        let mut statement = self.connection.prepare_cached(sql)?;
        bind(&mut statement, parameters)?;
        let mut found = Vec::new();
        read(&mut statement, &mut found)?;
        Ok(found)
    }

    fn execute(&mut self, sql: &str, parameters: &[Value]) -> Result<(), Failed> {
        self.each(sql, vec![parameters.to_vec()])
    }
}

fn names(fields: &Fields) -> String {
    fields.columns.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

fn bind(statement: &mut CachedStatement<'_>, row: &[Value]) -> rusqlite::Result<()> {
    (1..).zip(row).try_for_each(|(place, value)| statement.raw_bind_parameter(place, value))
}

fn read(statement: &mut CachedStatement<'_>, into: &mut Vec<Row>) -> rusqlite::Result<()> {
    let width = statement.column_count();
    let mut rows = statement.raw_query();
    while let Some(row) = rows.next()? {
        into.push((0..width).map(|column| row.get_ref(column).map(Value::from)).collect::<Result<_, _>>()?);
    }
    Ok(())
}

impl ToSql for Value {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            Self::Null => ValueRef::Null,
            Self::Int(number) => ValueRef::Integer(*number),
            Self::Text(text) => ValueRef::Text(text.as_bytes()),
        }))
    }
}

impl From<ValueRef<'_>> for Value {
    fn from(value: ValueRef<'_>) -> Self {
        match value {
            ValueRef::Integer(number) => Self::Int(number),
            ValueRef::Text(text) => Self::Text(String::from_utf8_lossy(text).into_owned()),
            // The tables are STRICT and have no such columns.
            ValueRef::Null | ValueRef::Real(_) | ValueRef::Blob(_) => Self::Null,
        }
    }
}

impl From<rusqlite::Error> for Failed {
    fn from(error: rusqlite::Error) -> Self {
        let passing = matches!(error.sqlite_error_code(), Some(ErrorCode::DatabaseBusy));
        Self { passing, error: error.into() }
    }
}
