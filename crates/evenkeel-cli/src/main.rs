//! The `evenkeel` command.
//!
//! Today it has one task, [`verify`]: restart a program under load, again and again, and say what was lost. Running
//! programs (`evenkeel run`) is not there yet.
//!
//! Policy: this is the one crate that reads the process's arguments, prints, and chooses the exit code; `arguments` defines
//! what may be said, `fault` how it fails.

// A program for people: its output is what it is for.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod arguments;
mod fault;
mod verify;

use std::process::{Command, ExitCode};

use clap::{CommandFactory, Parser};

use crate::arguments::{Arguments, Task};

fn main() -> ExitCode {
    match Arguments::parse().task {
        Task::VerifyRestart(options) => match verify::run(&options) {
            Ok(verdict) => verdict.exit_code(),
            Err(fault) => fault.tell(),
        },
        Task::Completions { shell } => {
            clap_complete::generate(shell, &mut Arguments::command(), "evenkeel", &mut std::io::stdout());
            ExitCode::SUCCESS
        }
        Task::Become { program } => {
            let error = evenkeel_os::children::become_program(Command::new(&program[0]).args(&program[1..]));
            eprintln!("{}: {error}", program[0].display());
            ExitCode::from(arguments::CANNOT_RUN)
        }
    }
}
