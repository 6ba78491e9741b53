//! `shop load`: sends orders, writes down what was answered, and then holds the database file against it.
//!
//! Every order has an item of its own, so that each can be found again: also those that got no answer. It works on a
//! shop that is stopped in the middle: what was answered must be in the file.

use std::{
    collections::{BTreeMap, HashMap},
    error::Error as StdError,
    fmt::Write as _,
    io::{self, Write as _},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use axum::{
    body::Bytes,
    http::{Request, StatusCode, Uri},
};
use clap::{Arg, ArgMatches, Command, value_parser};
use evenkeel::{Error, Explain, Result};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use rusqlite::{Connection, OpenFlags};
use serde::Deserialize;

/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(30);
/// A client that was sent away comes back after this.
const REST: Duration = Duration::from_millis(20);
/// A client that was sent away as often in a row gives up: the shop is gone, and is not being restarted either.
const GIVE_UP: u32 = 50;

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
                .help("How many orders to send"),
        )
        .arg(
            Arg::new("clients")
                .long("clients")
                .value_name("N")
                .default_value("16")
                .value_parser(value_parser!(u16).range(1..=1000))
                .help("How many send at the same time, each over a connection that it keeps"),
        )
        .arg(
            Arg::new("database")
                .long("database")
                .value_name("FILE")
                .default_value("shop.db")
                .value_parser(value_parser!(PathBuf))
                .help("The file of that shop; it is only read"),
        )
}

/// How it ended for one order.
enum Fate {
    /// The shop said that it keeps it, under this id.
    Acknowledged(i64),
    /// The shop does not have it: it said so, or was never asked.
    Refused(&'static str),
    /// It was sent and there was no answer. The shop may have it or not.
    Unknown(&'static str),
}

/// One order: its number makes up its content.
struct Sent {
    number: usize,
    fate: Fate,
    took: Duration,
    /// When its fate was known, from the beginning of the load.
    at: Duration,
}

fn item(run: &str, number: usize) -> String {
    format!("load {run}/{number}")
}

fn quantity(number: usize) -> u32 {
    u32::try_from(number % 9 + 1).unwrap_or(1)
}

pub(crate) fn run(given: &ArgMatches) -> Result {
    let url = given.get_one::<Uri>("url").cloned().unwrap_or_default();
    let orders = given.get_one::<u32>("orders").copied().unwrap_or(1) as usize;
    let clients = given.get_one::<u16>("clients").copied().unwrap_or(1);
    let file = given.get_one::<PathBuf>("database").cloned().unwrap_or_default();
    let name = file.display();
    if !file.is_file() {
        return Err(Error::from(format!("there is no database {name}")))
            .hint("name the file of the running shop with `--database`");
    }

    let since = SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros();
    let run = format!("{since:x}");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let sent = runtime.block_on(send_all(&url, &run, orders, clients))?;
    if sent.iter().all(|order| matches!(order.fate, Fate::Refused("connection refused" | "cannot connect"))) {
        return Err(Error::from(format!("no shop answers at {url}")))
            .hint("start it with `shop`, or name another address with `--url`");
    }
    let found = find(&file, &run).context(format!("cannot read the database {name}"))?;

    let check = check(&sent, &run, &found);
    // A reader that went away (`| head`) is not an error.
    let _ = io::stdout().write_all(table(&sent, &check, &file).as_bytes());
    if check.wrong() > 0 {
        return Err(Error::from(format!("{} orders are not as they were acknowledged", check.wrong())))
            .hint("that is a defect: look at the receipt of the shop with `shop receipt`");
    }
    Ok(())
}

async fn send_all(url: &Uri, run: &str, orders: usize, clients: u16) -> Result<Vec<Sent>> {
    let base = url.to_string().trim_end_matches('/').to_owned();
    let target: Uri = format!("{base}/orders").parse().hint("write the URL like `http://127.0.0.1:8080`")?;
    if target.scheme_str() != Some("http") {
        return Err(Error::from(format!("`{url}` is not an http URL"))).hint("write it like `http://127.0.0.1:8080`");
    }
    let all_began = Instant::now();
    let client: Client<HttpConnector, Full<Bytes>> = Client::builder(TokioExecutor::new()).build_http();
    let next = Arc::new(AtomicUsize::new(0));
    let tasks: Vec<_> = (0..clients)
        .map(|_| {
            let (client, target, next, run) = (client.clone(), target.clone(), next.clone(), run.to_owned());
            tokio::spawn(async move {
                let (mut sent, mut in_vain) = (Vec::new(), 0);
                while in_vain < GIVE_UP {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= orders {
                        break;
                    }
                    let began = Instant::now();
                    let fate = send(&client, &target, &run, number).await;
                    let refused = matches!(fate, Fate::Refused(_));
                    sent.push(Sent { number, fate, took: began.elapsed(), at: all_began.elapsed() });
                    in_vain = if refused { in_vain + 1 } else { 0 };
                    if refused {
                        tokio::time::sleep(REST).await;
                    }
                }
                sent
            })
        })
        .collect();
    let mut all = Vec::with_capacity(orders);
    for task in tasks {
        all.extend(task.await?);
    }
    Ok(all)
}

async fn send(client: &Client<HttpConnector, Full<Bytes>>, target: &Uri, run: &str, number: usize) -> Fate {
    #[derive(Deserialize)]
    struct Placed {
        id: i64,
    }
    let body = serde_json::json!({ "item": item(run, number), "quantity": quantity(number) }).to_string();
    let Ok(request) = Request::post(target).body(Full::from(body)) else { return Fate::Refused("not a request") };
    let exchange = async {
        let answer = client.request(request).await.map_err(|error| no_answer(&error, error.is_connect()))?;
        let status = answer.status();
        let body = answer.into_body().collect().await.map_err(|error| no_answer(&error, false))?;
        Ok((status, body.to_bytes()))
    };
    match tokio::time::timeout(PATIENCE, exchange).await {
        Err(_) => Fate::Unknown("unanswered for 30 s"),
        Ok(Err(fate)) => fate,
        Ok(Ok((StatusCode::CREATED, body))) => match serde_json::from_slice::<Placed>(&body) {
            Ok(placed) => Fate::Acknowledged(placed.id),
            Err(_) => Fate::Unknown("201 without an id"),
        },
        Ok(Ok((StatusCode::SERVICE_UNAVAILABLE, _))) => Fate::Refused("503"),
        Ok(Ok((status, _))) if status.is_server_error() => Fate::Refused("other 5xx"),
        Ok(Ok(_)) => Fate::Refused("4xx"),
    }
}

/// What a failed exchange says about the order.
fn no_answer(error: &(dyn StdError + 'static), connecting: bool) -> Fate {
    let mut kind = "unanswered";
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) {
            return Fate::Refused("closed before it was sent");
        }
        match error.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => return Fate::Refused("connection refused"),
            Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => kind = "reset",
            _ => {}
        }
        next = error.source();
    }
    if connecting { Fate::Refused("cannot connect") } else { Fate::Unknown(kind) }
}

/// What the file holds of this run: by item, each row's id and quantity.
fn find(file: &Path, run: &str) -> Result<HashMap<String, Vec<(i64, u32)>>> {
    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    connection.busy_timeout(Duration::from_secs(5))?;
    let mut rows = connection.prepare("SELECT item, id, quantity FROM orders WHERE item LIKE ?1")?;
    let rows = rows.query_map([format!("load {run}/%")], |row| Ok((row.get(0)?, (row.get(1)?, row.get(2)?))))?;
    let mut found: HashMap<String, Vec<(i64, u32)>> = HashMap::new();
    for row in rows {
        let (item, place) = row?;
        found.entry(item).or_default().push(place);
    }
    Ok(found)
}

#[derive(Default)]
struct Check {
    /// Orders in the file, by what became of them.
    acknowledged: usize,
    refused: usize,
    unknown: usize,
    /// Acknowledged, but not there.
    missing: usize,
    /// There more than once.
    duplicated: usize,
    /// Acknowledged, but there with another content or id.
    changed: usize,
}

impl Check {
    fn wrong(&self) -> usize {
        self.missing + self.duplicated + self.changed
    }
}

fn check(sent: &[Sent], run: &str, found: &HashMap<String, Vec<(i64, u32)>>) -> Check {
    let mut check = Check::default();
    for order in sent {
        let rows = found.get(&item(run, order.number)).map_or(&[][..], Vec::as_slice);
        check.duplicated += usize::from(rows.len() > 1);
        match order.fate {
            Fate::Acknowledged(id) => match rows {
                [] => check.missing += 1,
                rows => {
                    check.acknowledged += 1;
                    check.changed += usize::from(!rows.contains(&(id, quantity(order.number))));
                }
            },
            Fate::Refused(_) => check.refused += rows.len(),
            Fate::Unknown(_) => check.unknown += rows.len(),
        }
    }
    check
}

fn table(sent: &[Sent], check: &Check, file: &Path) -> String {
    let mut answered: Vec<Duration> = Vec::new();
    let (mut refused, mut unknown) = (BTreeMap::new(), BTreeMap::new());
    let mut last = Duration::ZERO;
    for order in sent {
        match order.fate {
            Fate::Acknowledged(_) => {
                answered.push(order.took);
                last = last.max(order.at);
            }
            Fate::Refused(why) => *refused.entry(why).or_insert(0_usize) += 1,
            Fate::Unknown(why) => *unknown.entry(why).or_insert(0_usize) += 1,
        }
    }
    answered.sort_unstable();
    let nth =
        |percent: usize| answered.get(answered.len().saturating_sub(1) * percent / 100).copied().unwrap_or_default();
    let took = sent.iter().map(|order| order.at).max().unwrap_or_default().as_secs_f64();
    // While the shop was there: after its end nothing can be acknowledged.
    let rate = if last.is_zero() { 0.0 } else { answered.len() as f64 / last.as_secs_f64() };
    let total = |kinds: &BTreeMap<&str, usize>| kinds.values().sum::<usize>();
    let kinds = |kinds: BTreeMap<&str, usize>| {
        let kinds: Vec<String> = kinds.into_iter().map(|(why, count)| format!("{why} {count}")).collect();
        kinds.join(", ")
    };

    let mut text = String::new();
    let mut line = |what: &str, count: usize, note: String| {
        // Writing to a `String` cannot fail.
        let _ = writeln!(text, "{}", format!("{what:<14} {count:>8}   {note}").trim_end());
    };
    line("sent", sent.len(), format!("in {took:.2} s"));
    let (p50, p99) = (nth(50).as_secs_f64() * 1000.0, nth(99).as_secs_f64() * 1000.0);
    line("acknowledged", answered.len(), format!("{rate:.0} a second; median {p50:.1} ms, 99 % within {p99:.1} ms"));
    line("refused", total(&refused), kinds(refused));
    line("unknown", total(&unknown), kinds(unknown));
    let Check { acknowledged, unknown, refused, missing, duplicated, changed } = *check;
    let extra = if refused > 0 { format!(", {refused} refused") } else { String::new() };
    let note = format!("in {}: {acknowledged} acknowledged, {unknown} unknown{extra}", file.display());
    line("found", acknowledged + unknown + refused, note);
    line("missing", missing, "acknowledged, but not there".to_owned());
    line("duplicated", duplicated, "there more than once".to_owned());
    line("changed", changed, "acknowledged, but there with another content".to_owned());
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(number: usize, fate: Fate) -> Sent {
        Sent { number, fate, took: Duration::ZERO, at: Duration::ZERO }
    }

    fn row(number: usize, rows: &[(i64, u32)]) -> (String, Vec<(i64, u32)>) {
        (item("run", number), rows.to_vec())
    }

    #[test]
    fn the_check_finds_what_is_missing_duplicated_or_changed() {
        let all: Vec<Sent> = (0..4).map(|number| sent(number, Fate::Acknowledged(number as i64))).collect();
        let good = |number: usize| (number as i64, quantity(number));
        let found = HashMap::from([row(0, &[good(0)]), row(1, &[good(1), (9, 2)]), row(2, &[(2, 77)])]);
        let check = check(&all, "run", &found);
        assert_eq!((check.acknowledged, check.missing, check.duplicated, check.changed), (3, 1, 1, 1));
        assert_eq!(check.wrong(), 3);
    }

    #[test]
    fn an_order_without_an_answer_may_be_there_or_not_but_not_twice() {
        let all = [sent(0, Fate::Unknown("reset")), sent(1, Fate::Unknown("reset")), sent(2, Fate::Unknown("reset"))];
        let found = HashMap::from([row(0, &[(1, 1)]), row(2, &[(2, 3), (3, 3)])]);
        let check = check(&all, "run", &found);
        assert_eq!((check.unknown, check.wrong(), check.duplicated), (3, 1, 1));
    }
}
