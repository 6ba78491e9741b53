//! Ready-made components of Evenkeel: the clients of real servers, with a deadline on every wait and every close.
//!
//! A pool is declared like any other component. It opens by itself, in whatever order the database and the program are
//! started; it lends connections that know the line that took them; and it closes after all who use it:
//!
//! ```no_run
//! use std::time::Duration;
//! use evenkeel::{App, Exit};
//! use evenkeel_parts::{Parts, Sqlite};
//!
//! fn main() -> Exit {
//!     let app = App::new("orders");
//!
//!     let db = app.sqlite("db", (), Sqlite::file("orders.db"));
//!
//!     let _sweeper = app.worker("sweeper", &db, async |db, stop| {
//!         // The stop interrupts the waiting, not the transaction: a sweep that has begun is committed.
//!         while stop.or(tokio::time::sleep(Duration::from_secs(10))).await.is_some() {
//!             let mut sweep = db.begin().await?;
//!             sqlx::query("DELETE FROM carts WHERE expires < unixepoch()").execute(&mut *sweep).await?;
//!             sweep.commit().await?;
//!         }
//!         Ok(())
//!     });
//!
//!     app.run()
//! }
//! ```
//!
//! On a stop, the sweeper commits what it has in hand and ends; then the pool closes: connections at rest say goodbye to
//! the server, and those still out are waited for. Whatever is not back in the component's time is named, with the line
//! that took it and for how long, in the log and in the stop receipt; the exit code is then not 0. A database that is not
//! there yet is waited for within the component's start limit; a wrong password fails at once, with a `hint:`.
//!
//! Statements are sqlx's own, run on a [`Connection`] or a [`Transaction`] of the pool:
//!
//! ```
//! # use evenkeel_parts::SqlitePool;
//! # async fn shown(db: &SqlitePool) -> evenkeel::Result {
//! // One statement: the connection goes back at the end of the line.
//! sqlx::query("DELETE FROM carts").execute(&mut *db.acquire().await?).await?;
//! // Several: all of them or none.
//! let mut order = db.begin().await?;
//! sqlx::query("INSERT INTO orders (item) VALUES (?)").bind("tea").execute(&mut *order).await?;
//! order.commit().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Where to go next:
//! - [`Parts`]: declares them; with a feature for each server: `postgres`, `mysql`, `sqlite`, `redis`; `tls` besides
//! - [`Postgres`], [`MySql`], [`Sqlite`]: how to connect, pool sizes and limits, with sound defaults ([`Options`])
//! - [`Pool`]: what is lent; [`AcquireError`]: why there was no connection, and who has them
//! - [`Redis`], [`RedisClient`]: one connection shared by all, and dedicated ones
//!
//! The pools are sqlx's and the clients are those of the `sqlx` and `redis` crates: their types are in this interface by
//! decision, so that a program runs its statements as everywhere else. No password is in any log line, error or `Debug`.

#![cfg_attr(
    not(feature = "all"),
    allow(rustdoc::broken_intra_doc_links, reason = "what a feature leaves out is still spoken of")
)]

#[cfg(feature = "_parts")]
mod holders;
#[cfg(feature = "_parts")]
mod open;
#[cfg(feature = "_parts")]
mod time;

#[cfg(feature = "_sql")]
mod options;
#[cfg(feature = "_sql")]
mod part;
#[cfg(feature = "_sql")]
mod pool;
#[cfg(feature = "_sql")]
mod sql;

#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "sqlite")]
mod sqlite;

mod declare;

pub use declare::Parts;
#[cfg(feature = "mysql")]
pub use mysql::{MySql, MySqlPool};
#[cfg(feature = "_sql")]
pub use options::Options;
#[cfg(feature = "_sql")]
pub use pool::{AcquireError, Connection, Pool, Transaction};
#[cfg(feature = "postgres")]
pub use postgres::{Postgres, PostgresPool};
#[cfg(feature = "redis")]
pub use redis::{DedicatedConnection, Redis, RedisClient, RedisConnection};
#[cfg(feature = "_sql")]
pub use sql::Sql;
#[cfg(feature = "sqlite")]
pub use sqlite::{Sqlite, SqlitePool};
