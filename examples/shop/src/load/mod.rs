//! `shop load`: sends orders, writes down what was answered, and then holds the database against it.
//!
//! Every order has a key of its own, so that each can be found again: also those that got no answer. It works on a shop
//! that is stopped, killed or restarted in the middle: what was answered must be there, once, and come to its end.

mod audit;
mod clients;
mod report;

use std::{
    io::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::http::Uri;
use clap::{Arg, ArgAction, ArgMatches, Command, value_parser};
use evenkeel::{Error, Explain, Result};

use self::clients::{Fate, Kind, Link};
use crate::{
    arguments,
    store::{Choice, Connection, Database},
};

/// A client that was sent away comes back after this.
const REST: Duration = Duration::from_millis(20);
/// A client that reached nobody as often in a row gives up: the shop is gone, and is not being restarted either.
const GIVE_UP: u32 = 50;
/// Orders that make no progress for this long do not come to an end.
const STUCK: Duration = Duration::from_secs(30);

/// What is ordered; there is enough of it, because the load brings it along.
pub(super) const ITEMS: [&str; 4] = ["tea", "scone", "jam", "honey"];

pub(crate) fn command() -> Command {
    Command::new("load")
        .about("Send orders to a running shop, then check that each one it acknowledged is in its database")
        .after_help("Stop the shop in the middle of it: what it acknowledged must be there.")
        .arg(
            Arg::new("url")
                .long("url")
                .value_name("URL")
                .default_value("http://127.0.0.1:8080")
                .value_parser(value_parser!(Uri))
                .help("Where the shop listens"),
        )
        .arg(
            Arg::new("orders")
                .long("orders")
                .value_name("N")
                .default_value("1000")
                .value_parser(value_parser!(u32).range(1..=10_000_000))
                .help("How many orders to send; Ctrl-C sends no more"),
        )
        .arg(
            Arg::new("clients")
                .long("clients")
                .value_name("N")
                .default_value("16")
                .value_parser(value_parser!(u16).range(1..=1000))
                .help("How many send at the same time"),
        )
        .arg(
            Arg::new("connections")
                .long("connections")
                .value_name("KIND")
                .default_value("kept")
                .value_parser(["kept", "new", "h2", "all"])
                .help("Connections that are kept, a new one for each request, HTTP/2 streams, or a third of each"),
        )
        .arg(
            Arg::new("reads")
                .long("reads")
                .value_name("PERCENT")
                .default_value("0")
                .value_parser(value_parser!(u8).range(0..=90))
                .help("So many of a hundred requests look at an order that was acknowledged"),
        )
        .arg(arguments::database().help("The database of that shop; it is only read"))
}

pub(crate) fn check_command() -> Command {
    Command::new("check")
        .about("Hold the database against itself: orders, stock and payments must agree")
        .arg(
            Arg::new("settled")
                .long("settled")
                .action(ArgAction::SetTrue)
                .help("Also that every order has come to its end"),
        )
        .arg(arguments::database().help("The database; it is only read"))
}

/// One order: its number makes up its content.
pub(super) struct Sent {
    number: usize,
    kind: Kind,
    fate: Fate,
    took: Duration,
    /// When its fate was known, from the beginning of the load.
    at: Duration,
}

/// A whole load, and what came of it.
#[derive(Default)]
pub(super) struct Load {
    sent: Vec<Sent>,
    /// Orders that were looked at, and those of them that were not as they were acknowledged.
    reads: usize,
    misread: usize,
}

pub(super) fn item(number: usize) -> &'static str {
    ITEMS[number % ITEMS.len()]
}

pub(super) fn quantity(number: usize) -> u32 {
    u32::try_from(number % 9 + 1).unwrap_or(1)
}

/// What all clients share.
struct Plan {
    target: clients::Target,
    run: String,
    orders: usize,
    reads: u8,
    next: AtomicUsize,
    over: AtomicBool,
    began: Instant,
}

pub(crate) fn run(given: &ArgMatches) -> Result {
    let url = given.get_one::<Uri>("url").cloned().unwrap_or_default();
    let orders = given.get_one::<u32>("orders").copied().unwrap_or(1) as usize;
    let clients = given.get_one::<u16>("clients").copied().unwrap_or(1);
    let kinds = Kind::of(given.get_one::<String>("connections").map_or("", String::as_str));
    let reads = given.get_one::<u8>("reads").copied().unwrap_or(0);
    let choice = arguments::chosen(given);
    let mut database = look_at(&choice)?;

    let since = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
    let run = format!("load {since:x}");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let target = clients::Target::of(&url)?;
    let enough = u32::try_from(orders.saturating_mul(9) / ITEMS.len() + 9).unwrap_or(u32::MAX).min(1_000_000_000);
    for item in ITEMS {
        runtime.block_on(target.receive(item, enough))?;
    }
    let before = audit::newest(&mut *database).context(format!("cannot read the database {choice}"))?;
    let plan = Plan {
        target,
        run: run.clone(),
        orders,
        reads,
        next: AtomicUsize::new(0),
        over: AtomicBool::new(false),
        began: Instant::now(),
    };
    let (load, is_there) = runtime.block_on(send_all(plan, kinds, clients))?;
    if is_there {
        wait_until_settled(&mut *database, before)?;
    }
    let found = audit::find(&mut *database, before, &run).context(format!("cannot read the database {choice}"))?;
    let audit = audit::of(&mut *database)?;

    let verdict = report::Verdict::of(&load, &run, &found, audit, is_there);
    // A reader that went away (`| head`) is not an error.
    let _ = io::stdout().write_all(report::table(&load, &verdict, &choice).as_bytes());
    if verdict.wrong() > 0 {
        return Err(Error::from(format!("{} things are not as they were acknowledged", verdict.wrong())))
            .hint("that is a defect: look at the receipt of the shop with `shop receipt`");
    }
    Ok(())
}

pub(crate) fn check(given: &ArgMatches) -> Result {
    let audit = audit::of(&mut *look_at(&arguments::chosen(given))?)?;
    let _ = io::stdout().write_all(report::audited(&audit).as_bytes());
    let unsettled = if given.get_flag("settled") { audit.open } else { 0 };
    match audit.wrong() + unsettled {
        0 => Ok(()),
        wrong => Err(Error::from(format!("{wrong} things do not agree"))).hint("that is a defect of the shop"),
    }
}

fn look_at(choice: &Choice) -> Result<Box<dyn Connection>> {
    Database::look_at(choice)
        .context(format!("cannot open the database {choice}"))
        .hint("name the one of the running shop with `--database`")
}

/// Sends, and says whether the shop answers afterwards.
async fn send_all(plan: Plan, kinds: &'static [Kind], clients: u16) -> Result<(Load, bool)> {
    let plan = Arc::new(plan);
    let ends = {
        let plan = plan.clone();
        tokio::spawn(async move {
            if tokio::signal::ctrl_c().await.is_ok() {
                plan.over.store(true, Ordering::Relaxed);
            }
        })
    };
    // Clients of HTTP/2 share connections, sixteen on each.
    let mut shared: Vec<Link> = Vec::new();
    let tasks: Vec<_> = (0..usize::from(clients))
        .map(|number| {
            let kind = kinds[number % kinds.len()];
            let place = number / kinds.len();
            if kind == Kind::H2 && place.is_multiple_of(16) {
                shared.push(Link::new(kind));
            }
            let link = if kind == Kind::H2 { shared.last().cloned() } else { None };
            tokio::spawn(client(plan.clone(), link.unwrap_or_else(|| Link::new(kind))))
        })
        .collect();
    let mut all = Load::default();
    for task in tasks {
        let one = task.await?;
        all.sent.extend(one.sent);
        all.reads += one.reads;
        all.misread += one.misread;
    }
    ends.abort();
    let is_there = plan.target.is_there().await;
    Ok((all, is_there))
}

async fn client(plan: Arc<Plan>, link: Link) -> Load {
    let (mut load, mut in_vain, mut turn, mut last) = (Load::default(), 0, 0_u8, None);
    while in_vain < GIVE_UP && !plan.over.load(Ordering::Relaxed) {
        turn = (turn + 1) % 100;
        if let Some((id, number)) = last.filter(|_| turn < plan.reads)
            && let Some(good) = plan.target.look(&link, id, number).await
        {
            load.reads += 1;
            load.misread += usize::from(!good);
            continue;
        }
        let number = plan.next.fetch_add(1, Ordering::Relaxed);
        if number >= plan.orders {
            break;
        }
        let sending = Instant::now();
        let fate = plan.target.place(&link, &plan.run, number).await;
        let refused = matches!(fate, Fate::Refused(_));
        let away = refused && !matches!(fate, Fate::Refused(clients::BUSY));
        if let Fate::Acknowledged(id) = fate {
            last = Some((id, number));
        }
        let (took, at) = (sending.elapsed(), plan.began.elapsed());
        load.sent.push(Sent { number, kind: link.kind, fate, took, at });
        in_vain = if away { in_vain + 1 } else { 0 };
        if refused {
            tokio::time::sleep(REST).await;
        }
    }
    load
}

/// Waits until all orders behind this one are final, for as long as there is progress.
fn wait_until_settled(database: &mut dyn Connection, before: i64) -> Result {
    let (mut progress, mut known) = (Instant::now(), (i64::MAX, before + 1));
    while progress.elapsed() < STUCK {
        let now = audit::unsettled(database, known.1)?;
        if now.0 == 0 {
            return Ok(());
        }
        if now != known {
            (progress, known) = (Instant::now(), now);
        }
        std::thread::sleep(Duration::from_millis(50)); // another process settles them: all there is to do is to look
    }
    Ok(()) // the report counts them
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ordered_is_within_the_limits_of_the_shop() {
        for number in 0..1000 {
            assert!((1..=9).contains(&quantity(number)) && !item(number).is_empty());
        }
    }

    #[test]
    fn an_audit_that_finds_nothing_is_right() {
        assert_eq!(audit::Audit::default().wrong(), 0);
    }
}
