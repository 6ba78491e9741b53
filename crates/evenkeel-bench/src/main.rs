//! Evenkeel's engine side by side with its floor and with a peer, in one run.
//!
//! The *floor* is what a program would write by hand: tokio tasks, a `TaskTracker`, a `CancellationToken`. The *peer* is
//! tokio-graceful-shutdown. A machine that others use too changes its speed from second to second, so contenders take
//! turns, the order turns round each time, and what counts is the median of the ratios within each round. Times are
//! taken with the counting of bytes switched off; bytes are counted in a round of their own.
//!
//! | module | what it is for |
//! |---|---|
//! | [`measure`] | one run of one contender, the rounds, the medians |
//! | [`contenders`] | the same work written three times |
//! | [`waste`] | the time a clean stop takes beyond what its components need |
//! | [`aims`], [`aim`] | what is promised, and whether it holds |
//! | [`table`] | how it is shown |

// A program for people: its output is what it is for.
#![allow(clippy::print_stdout)]

mod aim;
mod aims;
mod contenders;
mod count;
mod measure;
mod table;
mod waste;

use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use crate::{
    aim::Aim,
    contenders::{COMPONENTS, Case, TASKS},
};

/// Measures Evenkeel's engine against plain tokio tasks and a peer.
///
/// Prints, for each case, the medians of start, stop and memory, the ratio to the floor, and each aim with the figure
/// reached. Close other programs first; or trust the ratios, which are taken within each round.
#[derive(Parser)]
#[command(name = "engine", max_term_width = 80)]
struct Arguments {
    /// Exit with 1 where an aim is missed.
    #[arg(long)]
    check: bool,

    /// How often each contender runs; each case takes the median.
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u16).range(1..=999))]
    rounds: u16,

    /// Measure this case alone.
    #[arg(long, value_name = "CASE")]
    only: Option<Only>,

    /// Run this contender alone, for a profiler; no aims are judged.
    #[arg(long, value_name = "NAME")]
    contender: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Only {
    /// 100,000 tasks in one component's scope.
    Tasks,
    /// 1,000 components in a random graph.
    Components,
    /// The time a clean stop wastes.
    Waste,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let wanted = |case| arguments.only.is_none_or(|only| only == case);
    let mut aims = Vec::new();
    if wanted(Only::Tasks) {
        aims.extend(compare(&TASKS, &arguments, aims::tasks));
    }
    if wanted(Only::Components) {
        aims.extend(compare(&COMPONENTS, &arguments, aims::components));
    }
    if wanted(Only::Waste) && arguments.contender.is_none() {
        let found = waste::measure(arguments.rounds);
        print!("{}", table::waste(&found, arguments.rounds));
        aims.push(aims::waste(&found));
    }
    aim::judge(&aims, arguments.check)
}

fn compare(case: &Case, arguments: &Arguments, aims: fn(&measure::Found) -> Vec<Aim>) -> Vec<Aim> {
    if let Some(name) = &arguments.contender {
        let alone = measure::alone(case, name, arguments.rounds);
        println!("{}", alone.unwrap_or_else(|| format!("no contender is called `{name}`")));
        return Vec::new();
    }
    let found = measure::rounds(case, arguments.rounds);
    print!("{}", table::compared(case, &found, arguments.rounds));
    aims(&found)
}
