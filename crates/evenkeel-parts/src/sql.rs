//! What differs between the databases.

use std::{future::Future, io};

use evenkeel::Error;

use crate::{open::Trouble, options::ConnectionOptions};

/// A database that there is a pool for: `sqlx::Postgres`, `sqlx::MySql` or `sqlx::Sqlite`, as far as its feature is on.
pub trait Sql: sqlx::Database + Dialect {}

impl<DB: sqlx::Database + Dialect> Sql for DB {}

/// Reached by nobody outside: its module is private.
pub trait Dialect: sqlx::Database {
    /// The word for the component.
    const KIND: &'static str;
    /// The server's name.
    const SERVER: &'static str;
    /// How a URL is to be written.
    const FORM: &'static str;

    /// Where it is, without secrets.
    fn place(options: &ConnectionOptions<Self>) -> String;

    /// Settings that cannot work together, with what to do. `stays`: the pool has one connection, and keeps it.
    fn problem(options: &ConnectionOptions<Self>, stays: bool) -> Option<(String, &'static str)> {
        let _ = (options, stays);
        None
    }

    /// Name and version of the server, by asking it.
    fn version(connection: &mut Self::Connection) -> impl Future<Output = Result<String, sqlx::Error>> + Send;

    /// What an error of the database means while connecting; `None`: nothing in particular, it is final.
    fn judge(error: &dyn sqlx::error::DatabaseError, options: &ConnectionOptions<Self>) -> Judgement;

    /// The last thing that is done, when all connections are closed.
    fn finish(options: &ConnectionOptions<Self>) -> impl Future<Output = Result<(), Error>> + Send {
        let _ = options;
        async { Ok(()) }
    }
}

/// What an error while connecting means.
pub enum Judgement {
    /// Time may cure it.
    Wait,
    /// Somebody has to do this.
    Act(String),
    /// Nobody here knows what to do.
    Unknown,
}

/// What an error while connecting means.
pub(crate) fn trouble<DB: Sql>(error: sqlx::Error, options: &ConnectionOptions<DB>) -> Trouble {
    let judgement = match &error {
        sqlx::Error::Io(io) => by_kind(io.kind()),
        sqlx::Error::PoolTimedOut | sqlx::Error::WorkerCrashed => Judgement::Wait,
        sqlx::Error::Database(database) => DB::judge(database.as_ref(), options),
        sqlx::Error::Tls(_) => {
            Judgement::Act("check certificates and the TLS mode in the URL; feature `tls` has to be on".to_owned())
        }
        sqlx::Error::Protocol(_) => Judgement::Act(format!("check that it is {} that listens there", DB::SERVER)),
        _ => Judgement::Unknown,
    };
    let error = plain(error);
    match judgement {
        Judgement::Wait => Trouble::Wait(error),
        Judgement::Act(hint) => Trouble::Fail(error, Some(hint)),
        Judgement::Unknown => Trouble::Fail(error, None),
    }
}

/// The error itself: sqlx wraps some in words that say it again.
fn plain(error: sqlx::Error) -> Error {
    match error {
        sqlx::Error::Io(io) => io.into(),
        sqlx::Error::Database(database) => database.message().to_owned().into(),
        other => other.into(),
    }
}

/// A server that is not there yet refuses, resets, is unreachable, or its name or socket is not known; all of that can
/// change by itself.
fn by_kind(kind: io::ErrorKind) -> Judgement {
    match kind {
        io::ErrorKind::PermissionDenied => {
            Judgement::Act("the user this program runs as may not connect there; check owner and mode".to_owned())
        }
        io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported => Judgement::Unknown,
        _ => Judgement::Wait,
    }
}
