//! The program of the transcripts: what a user's first service looks like from a terminal.

use std::{
    future::pending,
    io::{Error, ErrorKind},
};

use axum::{Router, http::StatusCode, routing::get};
use clap::{Arg, Command};
use evenkeel::{App, CommandLine, Exit, Explain, Result};

fn main() -> Exit {
    let own = Command::new("orders")
        .about("Takes orders and ships them")
        .arg(Arg::new("listen").long("listen").value_name("ADDR").default_value("127.0.0.1:0").help("Where to listen"))
        .arg(Arg::new("database").long("database").value_name("URL").help("Where orders are kept"))
        .arg(Arg::new("stuck").long("stuck").hide(true).help("The component that never ends"))
        .arg(
            Arg::new("trouble")
                .long("trouble")
                .env("ORDERS_TROUBLE")
                .hide(true)
                .help("A file that says what goes wrong"),
        );
    let line = match CommandLine::of(own).parse() {
        Ok(line) => line,
        Err(exit) => return exit,
    };
    let given = |name: &str| line.matches().try_get_one::<String>(name).ok().flatten().cloned();
    let stuck = given("stuck").unwrap_or_default();
    let url = given("database").unwrap_or_else(|| "postgres://localhost/orders".to_owned());
    let listen = given("listen").unwrap_or_else(|| "127.0.0.1:0".to_owned());
    let app = App::new("orders").about("Takes orders and ships them");
    app.check("price list", prices);
    let trouble = given("trouble").and_then(|file| std::fs::read_to_string(file).ok()).unwrap_or_default();
    declare(&app, url, listen, &stuck, Trouble::read(trouble.trim()));
    app.run_line(line)
}

/// What the program needs beside what Evenkeel knows of: a list of prices, if there is to be one.
fn prices() -> Result<String> {
    let Some(file) = std::env::var_os("ORDERS_PRICES") else { return Ok("none is named".to_owned()) };
    let prices = std::fs::read_to_string(file).context("cannot be read").hint("name another with ORDERS_PRICES")?;
    Ok(format!("{} lines", prices.lines().count()))
}

/// What goes wrong with this start; a file says so, because a restart repeats the command line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// The start fails.
    Fails,
    /// The start never ends.
    Hangs,
    /// The process dies while it starts.
    Dies,
    /// It runs, and dies of the first request that no route is for.
    DiesOfRequest,
    /// It runs, and never answers a request that no route is for.
    Silent,
}

impl Trouble {
    fn read(text: &str) -> Self {
        match text {
            "" => Self::None,
            "fails" => Self::Fails,
            "hangs" => Self::Hangs,
            "dies" => Self::Dies,
            "dies of request" => Self::DiesOfRequest,
            "silent" => Self::Silent,
            other => panic!("there is no trouble `{other}`"),
        }
    }

    async fn start(self) -> Result {
        match self {
            Self::Fails => Err("the new release has a bug".into()),
            Self::Hangs => pending().await,
            Self::Dies => std::process::abort(),
            Self::None | Self::DiesOfRequest | Self::Silent => Ok(()),
        }
    }

    async fn request(self) -> StatusCode {
        match self {
            Self::DiesOfRequest => std::process::abort(),
            Self::Silent => pending().await,
            _ => StatusCode::NOT_FOUND,
        }
    }
}

fn declare(app: &App, url: String, listen: String, stuck: &str, trouble: Trouble) {
    let (db_hangs, jobs_hang) = (stuck == "db", stuck == "jobs");
    let close = async move |()| {
        if db_hangs {
            tracing::info!(component = "db", "waiting for the last transaction");
            pending::<()>().await;
        }
        Ok(())
    };
    let start = async move |()| {
        trouble.start().await?;
        open(&url)
    };
    let db = app.resource("db", (), start, close);
    let jobs = app.worker("jobs", &db, async move |_db, stop| {
        stop.requested().await;
        if jobs_hang { pending().await } else { Ok(()) }
    });
    let _ = app.http("api", (&db, &jobs), listen, move |_held| {
        let root = get(async || "no orders yet").post(async || "an order");
        Router::new().route("/", root).fallback(async move || trouble.request().await)
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
