//! `cargo xtask`: everything that is done to this tree, under one name.
//!
//! What CI runs is what a person runs: CI calls `./x test` and nothing else, and that is `cargo xtask test`. Four tables
//! say what there is; adding to the project means adding a line to one of them:
//!
//! | table | a line is | shown by |
//! |---|---|---|
//! | [`stages::STAGES`] | a stage of the whole test run | `cargo xtask test --list` |
//! | [`promises::PROMISES`] | a promise in numbers, and what measures it | `cargo xtask promise --list` |
//! | [`benches::BENCHES`] | a comparison with peers | `cargo xtask bench --list` |
//! | [`soaks::SOAKS`] | a fuzzer that can run for hours | `cargo xtask soak --list` |

// A program for people: its output is what it is for.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod benches;
mod cargo;
mod deny;
mod promises;
mod report;
mod soaks;
mod stages;
mod tally;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Checks, measures and tends this project. CI runs the same commands.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 80, after_help = START_HERE)]
struct Arguments {
    #[command(subcommand)]
    command: Task,
}

const START_HERE: &str = "\
Start here:
  cargo xtask test                   all of it, as CI does
  cargo xtask test --only clippy     one stage of it
  cargo xtask promise engine-floor   one promise, its bar, its figure";

#[derive(Subcommand)]
enum Task {
    /// Run all tests, or one stage of them.
    ///
    /// The stages run in the order of `--list`; a stage that fails does not keep the next from running. A stage whose tool is
    /// missing is skipped, said aloud and counted. A stage without tests of its own counts as one. A test that is ignored
    /// because it `runs as a child` of another is run by that other and not counted. The last line is always
    /// `N passed, N failed, N skipped`.
    Test {
        /// Run this stage alone; may be given more than once.
        #[arg(long, value_name = "STAGE")]
        only: Vec<String>,
        /// Name the stages and what each is for.
        #[arg(long)]
        list: bool,
    },
    /// Measure a promise against its bar; exit with 1 where it falls short.
    Promise {
        /// Which; see `--list`.
        #[arg(value_name = "ID", required_unless_present = "list")]
        id: Option<String>,
        /// Name all promises, their bars and their requirements.
        #[arg(long)]
        list: bool,
    },
    /// Compare with peers, side by side, in one run.
    Bench {
        /// Which; see `--list`.
        #[arg(value_name = "NAME", required_unless_present = "list")]
        name: Option<String>,
        /// Name all benches.
        #[arg(long)]
        list: bool,
        /// Handed on to the bench: `cargo xtask bench engine -- --help`.
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Let a fuzzer run for a long time; exit with 1 where it finds something.
    Soak {
        /// Which; see `--list`.
        #[arg(value_name = "NAME", required_unless_present = "list")]
        name: Option<String>,
        /// For how long.
        #[arg(long, value_name = "N", default_value_t = 10)]
        minutes: u32,
        /// Name all fuzzers.
        #[arg(long)]
        list: bool,
    },
    /// Check licences, duplicates, sources and advisories of all dependencies.
    Deny,
    /// Format the whole tree.
    Fmt,
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Task::Test { list: true, .. } => stages::list(),
        Task::Test { only, .. } => stages::run(&only),
        Task::Promise { list: true, .. } => promises::list(),
        Task::Promise { id, .. } => promises::run(&id.unwrap_or_default()),
        Task::Bench { list: true, .. } => benches::list(),
        Task::Bench { name, arguments, .. } => benches::run(&name.unwrap_or_default(), &arguments),
        Task::Soak { list: true, .. } => soaks::list(),
        Task::Soak { name, minutes, .. } => soaks::run(&name.unwrap_or_default(), minutes),
        Task::Deny => stages::run(&["deny".to_owned()]),
        Task::Fmt => cargo::exit_code(cargo::run(&["fmt", "--all"])),
    }
}

/// Exit code of a wrong name, as of a wrong option.
const USAGE: u8 = 2;

/// Says that there is no such thing, and what there is.
fn unknown<'a>(what: &str, name: &str, known: impl Iterator<Item = &'a str>) -> ExitCode {
    eprintln!("error: no {what} is called `{name}`");
    eprintln!("hint: there are {}", known.collect::<Vec<_>>().join(", "));
    ExitCode::from(USAGE)
}
