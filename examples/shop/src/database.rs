//! The database file: opened and brought up to date at the start, checkpointed and closed at the end.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use evenkeel::{Error, Explain, Result};
use rusqlite::Connection;

/// The steps that make the file what this version expects. A file remembers how many it has had; only ever append.
const STEPS: [&str; 1] = ["
    CREATE TABLE orders (
        id       INTEGER PRIMARY KEY,
        item     TEXT    NOT NULL,
        quantity INTEGER NOT NULL CHECK (quantity > 0),
        packed   INTEGER NOT NULL DEFAULT 0
    ) STRICT;
    CREATE INDEX to_pack ON orders (id) WHERE packed = 0;
"];

/// The open file.
pub(crate) struct Database {
    connection: Mutex<Connection>,
}

/// Opens the file, makes it if it is not there, and brings it up to date.
pub(crate) async fn open(file: PathBuf) -> Result<Database> {
    // SQLite blocks; on this thread it would hold up others.
    tokio::task::spawn_blocking(move || {
        let name = file.display().to_string();
        open_here(&file).context(format!("cannot open the database {name}"))
    })
    .await?
}

fn open_here(file: &Path) -> Result<Database> {
    // `shop.db` alone has the empty path as its directory, which is the current one.
    if let Some(directory) = file.parent().filter(|path| !path.as_os_str().is_empty() && !path.is_dir()) {
        let directory = directory.display();
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no directory {directory}")))
            .hint(format!("make it with `mkdir -p {directory}`, or name another file with `--database`"));
    }
    let hint = "it must be a SQLite file, or none yet, that this user may write; `--database` names another";
    let mut connection = Connection::open(file).hint(hint)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    // FULL: a commit has reached the disk when it returns. That is what an answer promises.
    connection.pragma_update(None, "journal_mode", "WAL").hint(hint)?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    migrate(&mut connection)?;
    Ok(Database { connection: Mutex::new(connection) })
}

/// Each step and the count of steps go into one transaction: a crash in the middle leaves either none of it or all.
fn migrate(connection: &mut Connection) -> Result {
    let done: u32 = connection.pragma_query_value(None, "user_version", |row| row.get(0))?;
    if done as usize > STEPS.len() {
        return Err(Error::from(format!("it has had {done} migrations, this version knows of {}", STEPS.len())))
            .hint("a newer version of the shop has used it; run that one");
    }
    for (count, step) in (1_u32..).zip(STEPS).skip(done as usize) {
        let transaction = connection.transaction()?;
        transaction.execute_batch(step).context(format!("migration {count}"))?;
        transaction.pragma_update(None, "user_version", count)?;
        transaction.commit()?;
    }
    Ok(())
}

impl Database {
    /// The connection, for the one thread that uses it.
    pub(crate) fn connection(&self) -> MutexGuard<'_, Connection> {
        // A thread that panicked has left its transaction behind, which SQLite undid.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves what is in the log beside the file into the file, and closes it.
    pub(crate) async fn close(self) -> Result {
        tokio::task::spawn_blocking(move || {
            let connection = self.connection.into_inner().unwrap_or_else(PoisonError::into_inner);
            connection
                .query_row("PRAGMA wal_checkpoint(TRUNCATE)", (), |_| Ok(()))
                .context("cannot move the last orders from the log into the file")
                .hint("nothing is lost: they are in the file beside it that ends in `-wal`; keep both together")?;
            connection.close().map_err(|(_, error)| error).context("cannot close the database")
        })
        .await?
    }
}
