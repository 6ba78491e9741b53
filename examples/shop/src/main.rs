//! A shop: orders come in over HTTP, go into a SQLite file, and are packed.
//!
//! What it promises: an order that was answered with `201 Created` is on disk, exactly once, however the shop stops.
//! `shop load` sends orders and then holds the database file against what was answered.
//!
//! Read it in this order: this file declares the components; `database.rs` opens and closes the file; `ledger.rs` is the
//! one thread that writes to it; `api.rs`, `packing.rs` and `recommendations.rs` use the ledger.

mod api;
mod database;
mod ledger;
mod load;
mod packing;
mod recommendations;

use std::{path::PathBuf, time::Duration};

use clap::{Arg, Command, value_parser};
use evenkeel::{App, CommandLine, Exit};

use crate::{database::Database, packing::Packing};

fn main() -> Exit {
    let line = match CommandLine::of(command()).parse() {
        Ok(line) => line,
        Err(exit) => return exit, // `--help`, or a mistake that has been explained
    };
    if let Some(("load", given)) = line.own_command() {
        return Exit::of(load::run(given));
    }
    let given = line.matches();
    let listen = given.get_one::<String>("listen").cloned().unwrap_or_default();
    let file = given.get_one::<PathBuf>("database").cloned().unwrap_or_default();
    let packing_time = given.get_one::<Duration>("packing-time").copied().unwrap_or_default();
    let slow = given.get_one::<Duration>("slow-recommendations").copied().unwrap_or_default();

    let app = App::new("shop");

    // The file is open for as long as anybody writes, and is closed when nobody does any more.
    let database = app.resource("database", (), move |()| database::open(file), Database::close);

    // SQLite blocks, so the one connection has a thread of its own. Others reach it through `orders`; they need the
    // ledger so that it goes on until the last of them has its answer.
    let (orders, inbox) = ledger::desk();
    let ledger = app.blocking("ledger", &database, move |database, interrupt| inbox.keep(&database, &interrupt));

    // The api needs the packing: a request that waits until its order is packed gets its answer during a stop as well.
    let to_pack = orders.clone();
    let packing = app.late_worker("packing", &ledger, async move |_ledger, ready, stop| {
        Packing::run(to_pack, packing_time, ready, stop).await
    });

    // The shop does without it: it starts in the background and does not hold readiness.
    let sold = orders.clone();
    let recommendations = app
        .resource(
            "recommendations",
            &ledger,
            async move |_ledger| recommendations::load(&sold, slow).await,
            async |_| Ok(()),
        )
        .start_within(Duration::from_secs(10))
        .optional();

    let _api = app
        .http("api", (&ledger, &packing, &recommendations), listen, move |(ledger, packing, recommendations)| {
            api::routes(api::Shop { orders, packing, recommendations, _ledger: ledger })
        })
        .stop_within(Duration::from_secs(10)); // requests are short, and the others need time as well

    app.run_line(line)
}

fn command() -> Command {
    Command::new("shop")
        .about("Takes orders over HTTP, keeps them in a SQLite file, and loses none when it stops")
        .version(env!("CARGO_PKG_VERSION"))
        .arg(
            Arg::new("listen")
                .long("listen")
                .value_name("ADDRESS")
                .default_value("127.0.0.1:8080")
                .help("Where to take orders; port 0 takes any free one"),
        )
        .arg(
            Arg::new("database")
                .long("database")
                .value_name("FILE")
                .default_value("shop.db")
                .value_parser(value_parser!(PathBuf))
                .help("Where to keep them; the file is made if it is not there"),
        )
        .arg(
            Arg::new("packing-time")
                .long("packing-time")
                .value_name("TIME")
                .default_value("1ms")
                .value_parser(duration)
                .help("How long it takes to pack a box of up to 64 orders"),
        )
        .arg(
            Arg::new("slow-recommendations")
                .long("slow-recommendations")
                .value_name("TIME")
                .num_args(0..=1)
                .default_value("0s")
                .default_missing_value("1h")
                .value_parser(duration)
                .help("For a demonstration: recommendations take this long to start (no TIME: for ever)"),
        )
        .subcommand(load::command())
}

fn duration(text: &str) -> Result<Duration, String> {
    let time = text.parse::<jiff::SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
    time.ok_or_else(|| format!("`{text}` is not a length of time; write it like `250ms` or `2s`"))
}
