//! Serving HTTP, side by side with what it is built on and with a peer, in one run.
//!
//! Each contender serves the same routes in a process of its own, all pinned to one core; the load is made by this
//! process on another. The *floor* is hyper with a function for a service; *hyper* is the same with the router behind it,
//! as one writes it by hand; the *peer* is `axum::serve`. All have a runtime of one thread. A machine that others use too
//! changes its speed from second to second, so contenders take turns in slices, the order turns round each time, and what
//! counts is the median of the ratios within each round. CPU time is that of the whole process, from the kernel's books.
//!
//! | module | what it is for |
//! |---|---|
//! | [`servers`] | the contenders, serving |
//! | [`child`] | a contender's process: its address, its CPU time, its memory |
//! | [`load`] | clients that cost little: one slice of one case |
//! | [`rounds`] | the rounds, the medians, the ratios |
//! | [`aims`] | what is promised |
//! | [`table`] | how it is shown |

// A program for people: its output is what it is for.
#![allow(clippy::print_stdout)]

#[path = "../aim.rs"]
mod aim;
mod aims;
mod child;
mod load;
mod rounds;
mod servers;
mod table;

use std::{net::SocketAddr, process::ExitCode, time::Duration};

use clap::Parser;

use crate::{load::Case, servers::Contender};

/// Measures what serving HTTP costs, against hyper and axum.
///
/// Prints, for each case, the medians of requests a second, p99 and CPU time per request, the ratios to each peer, and
/// each aim with the figure reached. Close other programs first; or trust the ratios, which are taken within each round.
#[derive(Parser)]
#[command(name = "http", max_term_width = 80)]
struct Arguments {
    /// Exit with 1 where an aim is missed.
    #[arg(long)]
    check: bool,

    /// How often each contender has its turn in each case.
    #[arg(long, value_name = "N", default_value_t = 21, value_parser = clap::value_parser!(u16).range(1..=999))]
    rounds: u16,

    /// How long a turn is, in milliseconds.
    #[arg(long, value_name = "MS", default_value_t = 400, value_parser = clap::value_parser!(u64).range(50..=60_000))]
    slice: u64,

    /// Connections at rest, for the memory of one.
    #[arg(long, value_name = "N", default_value_t = 4_000, value_parser = clap::value_parser!(u32).range(100..=9_000))]
    idle: u32,

    /// Measure this case alone.
    #[arg(long, value_name = "CASE")]
    only: Option<Case>,

    /// Serve as this contender until standard input ends: what the bench starts; also for a profiler.
    #[arg(long, value_name = "NAME")]
    serve: Option<Contender>,

    /// On this core, with `--serve`.
    #[arg(long, value_name = "N", requires = "serve")]
    core: Option<usize>,

    /// Load this server with `--requests` of `--only`, and do nothing else: for a profiler.
    #[arg(long, value_name = "ADDRESS", requires = "only")]
    load: Option<SocketAddr>,

    /// How many, with `--load`.
    #[arg(long, value_name = "N", default_value_t = 10_000)]
    requests: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if let Some(contender) = arguments.serve {
        return servers::serve(contender, arguments.core);
    }
    if let (Some(addr), Some(case)) = (arguments.load, arguments.only) {
        let slice = load::fixed(case, addr, arguments.requests);
        println!("{} requests in {:.3} s", slice.requests, slice.took.as_secs_f64());
        return ExitCode::SUCCESS;
    }
    let turns = rounds::Turns { rounds: arguments.rounds, slice: Duration::from_millis(arguments.slice) };
    let mut aims = Vec::new();
    for case in Case::ALL.into_iter().filter(|case| arguments.only.is_none_or(|only| only == *case)) {
        let found = if case == Case::Idle { rounds::memory(arguments.idle) } else { rounds::measure(case, turns) };
        match found {
            Ok(found) => {
                print!("{}", table::compared(&found));
                aims.extend(aims::of(&found));
            }
            Err(error) => {
                println!("error: {case}: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
    aim::judge(&aims, arguments.check)
}
