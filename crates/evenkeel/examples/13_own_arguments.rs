//! Arguments and commands of the program's own, beside those that every program gets.
//!
//! `cargo run --example 13_own_arguments -- --every 200`, or `... -- greet`, or `... -- --help`

use std::time::Duration;

use clap::{Arg, Command, value_parser};
use evenkeel::{App, CommandLine, Exit, Result};

fn main() -> Exit {
    let every = Arg::new("every").long("every").value_name("MS").default_value("1000").value_parser(value_parser!(u64));
    let own = Command::new("ticker")
        .about("Ticks")
        .arg(every.help("Milliseconds between two ticks"))
        .subcommand(Command::new("greet").about("Say hello and end"));
    let line = match CommandLine::of(own).parse() {
        Ok(line) => line,
        Err(exit) => return exit, // `--help`, or a mistake that has been explained
    };

    // A command of our own: it is ours to carry out.
    if line.own_command().is_some() {
        return Exit::of(greet());
    }

    let every = Duration::from_millis(line.matches().get_one("every").copied().unwrap_or(1000));
    let app = App::new("ticker");
    let _ticker = app.worker("ticker", (), async move |(), stop| {
        while stop.or(tokio::time::sleep(every)).await.is_some() {
            tracing::info!("tick");
        }
        Ok(())
    });
    app.run_line(line)
}

/// An error would be shown with its hint, and the exit code would be 1.
fn greet() -> Result {
    use std::io::Write as _;
    writeln!(std::io::stdout(), "hello")?;
    Ok(())
}
