//! The shop's own arguments, beside those that every program gets.

use std::time::Duration;

use clap::{Arg, ArgMatches, Command, value_parser};

use crate::{load, payment::Manners, recommendations::Slow, store::Choice};

/// Where `--database` may be given without showing it to everybody who lists processes.
pub(crate) const DATABASE: &str = "SHOP_DATABASE";

pub(crate) fn command() -> Command {
    Command::new("shop")
        .about("Takes orders over HTTP, keeps them in a database, and loses none when it stops")
        .version(env!("CARGO_PKG_VERSION"))
        .arg(
            Arg::new("listen")
                .long("listen")
                .value_name("ADDRESS")
                .default_value("127.0.0.1:8080")
                .help("Where to take orders; port 0 takes any free one"),
        )
        .arg(database())
        .arg(time("packing-time", "1ms").help("How long it takes to pack a box of up to 128 orders"))
        .arg(time("payment-delay", "0s").help("For a demonstration: the payment provider takes this long to answer"))
        .arg(
            percent("payment-failures").help(
                "For a demonstration: so many of a hundred calls to it fail, half of them after the charge was made",
            ),
        )
        .arg(percent("payment-declines").help("For a demonstration: so many of a hundred orders are declined"))
        .arg(
            time("slow-recommendations", "0s")
                .num_args(0..=1)
                .default_missing_value("1h")
                .help("For a demonstration: recommendations take this long to start (no TIME: for ever)"),
        )
        .arg(time("recommendation-delay", "0s").help("For a demonstration: recommendations take this long to answer"))
        .subcommand(load::command())
        .subcommand(load::check_command())
}

/// Which database; the same for the shop and for those who look at it.
pub(crate) fn database() -> Arg {
    Arg::new("database")
        .long("database")
        .value_name("DATABASE")
        .env(DATABASE)
        .hide_env_values(true)
        .default_value("shop.db")
        .value_parser(|text: &str| Ok::<_, std::convert::Infallible>(Choice::of(text)))
        .help("Where to keep orders: a SQLite file, made if it is not there, or postgres://USER:PASSWORD@HOST/NAME")
}

fn time(name: &'static str, default: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("TIME").default_value(default).value_parser(duration)
}

fn percent(name: &'static str) -> Arg {
    Arg::new(name).long(name).value_name("PERCENT").default_value("0").value_parser(value_parser!(u8).range(0..=100))
}

pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let time = text.parse::<jiff::SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
    time.ok_or_else(|| format!("`{text}` is not a length of time; write it like `250ms` or `2s`"))
}

/// What was given.
pub(crate) struct Given {
    pub(crate) listen: String,
    pub(crate) database: Choice,
    pub(crate) packing_time: Duration,
    pub(crate) manners: Manners,
    pub(crate) slow: Slow,
}

impl Given {
    pub(crate) fn of(given: &ArgMatches) -> Self {
        let time = |name| given.get_one::<Duration>(name).copied().unwrap_or_default();
        let percent = |name| given.get_one::<u8>(name).copied().unwrap_or_default();
        Self {
            listen: given.get_one::<String>("listen").cloned().unwrap_or_default(),
            database: chosen(given),
            packing_time: time("packing-time"),
            manners: Manners {
                delay: time("payment-delay"),
                failing: percent("payment-failures"),
                declining: percent("payment-declines"),
            },
            slow: Slow { start: time("slow-recommendations"), answer: time("recommendation-delay") },
        }
    }
}

pub(crate) fn chosen(given: &ArgMatches) -> Choice {
    given.get_one::<Choice>("database").cloned().unwrap_or_default()
}
