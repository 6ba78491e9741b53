//! A shop: orders come in over HTTP, are kept in a database, paid, and packed.
//!
//! What it promises: an order that was answered with `201 Created` is on disk, comes to its end exactly once, and its
//! stock and its payment agree with it, however the shop stops. `shop load` sends orders and then holds the database
//! against what was answered.
//!
//! Three services (orders, inventory, payment) have tables of their own and talk by events alone. Read it in this
//! order: this file declares the components; `events.rs` is what the services say to each other; `orders/`,
//! `inventory.rs` and `payment/` are the services; `relay.rs` and `bus.rs` carry their events; `store/` is the database
//! behind all of them.

mod api;
mod arguments;
mod bus;
mod events;
mod inventory;
mod load;
mod orders;
mod payment;
mod recommendations;
mod relay;
mod store;

use std::time::Duration;

use evenkeel::{App, CommandLine, Exit, Handle};
use evenkeel_parts::{Parts, Postgres};

use crate::{
    arguments::Given,
    bus::Bus,
    store::{Choice, Database},
};

/// For what has nothing to finish when it stops. The limits from the api down to the database fit the 30 seconds of a
/// stop.
const AT_ONCE: Duration = Duration::from_secs(1);

fn main() -> Exit {
    let line = match CommandLine::of(arguments::command()).parse() {
        Ok(line) => line,
        Err(exit) => return exit, // `--help`, or a mistake that has been explained
    };
    match line.own_command() {
        Some(("load", given)) => return Exit::of(load::run(given)),
        Some(("check", given)) => return Exit::of(load::check(given)),
        _ => {}
    }
    let Given { listen, database, packing_time, manners, slow } = Given::of(line.matches());
    let app = App::new("shop");

    // It is open for as long as anybody writes, and is closed when nobody does any more.
    let database = open(&app, database);

    // Databases block, so each of its two connections has a thread of its own. Others reach them through the store;
    // they need the threads so that these go on until the last of them has its answer.
    let (store, desk) = store::desk();
    let (to_write, to_read) = (desk.clone(), desk);
    let writer = app.blocking("writer", &database, move |database, stop| to_write.write(&database, &stop));
    let reader = app.blocking("reader", &database, move |database, stop| to_read.read(&database, &stop));

    let bus = app.resource("bus", (), async |()| Ok(Bus::new()), async |_| Ok(())).stop_within(AT_ONCE);

    // The company that the payment calls; here, a part of the shop.
    let at = store.clone();
    let provider = app
        .late_worker("provider", (&writer, &reader), async move |_, ready, stop| {
            payment::provide(at, manners, ready, stop).await
        })
        .stop_within(AT_ONCE);

    // The services. None needs another: they talk through the bus.
    let at = store.clone();
    let inventory = app.worker("inventory", (&writer, &reader, &bus), async move |(_, _, bus), stop| {
        inventory::run(at, bus, stop).await
    });
    let at = store.clone();
    let payment =
        app.worker("payment", (&writer, &reader, &bus, &provider), async move |(_, _, bus, provider), stop| {
            payment::run(at, bus, provider, stop).await
        });
    let at = store.clone();
    let orders = app.late_worker("orders", (&writer, &reader, &bus), async move |(_, _, bus), ready, stop| {
        orders::run(at, bus, ready, stop).await
    });

    // It needs those to whom it brings events: it stops before them, and they handle what it has brought.
    let at = store.clone();
    let relay = app
        .worker("relay", (&bus, &inventory, &payment, &orders), async move |(bus, ..), stop| {
            relay::run(at, bus, stop).await
        })
        .stop_within(AT_ONCE);
    let packing =
        app.worker("packing", &orders, async move |orders, stop| orders::pack(orders, packing_time, stop).await);

    // The shop does without it: it starts in the background and does not hold readiness.
    let recommendations = app
        .resource(
            "recommendations",
            &orders,
            async move |orders| recommendations::load(&orders, slow).await,
            async |_| Ok(()),
        )
        .start_within(Duration::from_secs(10))
        .optional();

    // The api needs the relay and the packing: a request that waits until its order is packed gets its answer during a
    // stop as well.
    let _api = app
        .http("api", (&orders, &relay, &packing, &recommendations), listen, move |(orders, _, _, recommendations)| {
            api::routes(api::Shop { store, orders, recommendations })
        })
        .stop_within(Duration::from_secs(8)); // requests are short, and the others need time as well

    app.run_line(line)
}

/// The database, whichever it is: a file, or what a pool of connections to a server leads to.
fn open(app: &App, choice: Choice) -> Handle<Database> {
    match choice {
        Choice::File(file) => app.resource("database", (), move |()| Database::open_file(file), Database::close),
        Choice::Server { url, .. } => {
            // One to write, one to read, and one more of each while they are replaced.
            let options = Postgres::new(url).max_connections(4).idle_connections(2);
            let pool = app.postgres("pool", (), options);
            app.resource("database", &pool, Database::open_server, Database::close).stop_within(AT_ONCE)
        }
    }
}
