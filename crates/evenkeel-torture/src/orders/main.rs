//! The program of the transcripts: what a user's first service looks like from a terminal.

use std::{
    future::pending,
    io::{Error, ErrorKind},
};

use axum::{Router, routing::get};
use clap::{Arg, Command};
use evenkeel::{App, CommandLine, Exit, Explain, Result};

fn main() -> Exit {
    let own = Command::new("orders")
        .about("Takes orders and ships them")
        .arg(Arg::new("listen").long("listen").value_name("ADDR").default_value("127.0.0.1:0").help("Where to listen"))
        .arg(Arg::new("database").long("database").value_name("URL").help("Where orders are kept"))
        .arg(Arg::new("stuck").long("stuck").hide(true).help("The component that never ends"));
    let line = match CommandLine::of(own).parse() {
        Ok(line) => line,
        Err(exit) => return exit,
    };
    let given = |name: &str| line.matches().try_get_one::<String>(name).ok().flatten().cloned();
    let stuck = given("stuck").unwrap_or_default();
    let url = given("database").unwrap_or_else(|| "postgres://localhost/orders".to_owned());
    let listen = given("listen").unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let app = App::new("orders").about("Takes orders and ships them");
    declare(&app, url, listen, &stuck);
    app.run_line(line)
}

fn declare(app: &App, url: String, listen: String, stuck: &str) {
    let (db_hangs, jobs_hang) = (stuck == "db", stuck == "jobs");
    let close = async move |()| {
        if db_hangs {
            tracing::info!(component = "db", "waiting for the last transaction");
            pending::<()>().await;
        }
        Ok(())
    };
    let db = app.resource("db", (), async move |()| open(&url), close);
    let jobs = app.worker("jobs", &db, async move |_db, stop| {
        stop.requested().await;
        if jobs_hang { pending().await } else { Ok(()) }
    });
    let _ = app.http("api", (&db, &jobs), listen, |_held| {
        Router::new().route("/", get(async || "no orders yet").post(async || "an order"))
    });
}

/// There is no database: the URL says what happens.
fn open(url: &str) -> Result {
    if url.contains("missing") {
        return Err(Error::new(ErrorKind::ConnectionRefused, "connection refused"))
            .context(format!("cannot open database {url}"))
            .hint("start the database, or name another with `--database`");
    }
    Ok(())
}
