//! `torture-measure`: holds every scenario to the bar, several times each: `cargo xtask promise torture`.
//!
//! The bar: gone within the budget and 50 ms, or 50 ms after the second signal; with the right exit code and the right
//! culprit. Exits with 1 if one run of one scenario misses it. Numbers are only worth something on a machine that has
//! nothing else to do.

use std::{
    env,
    fmt::Write as _,
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::Duration,
};

use clap::{Arg, ArgAction, Command, value_parser};
use evenkeel_torture::{
    fixtures::Fixtures,
    judge::judge,
    ordeal::{Finding, Missing, ordeal},
    table::{Bar, End, Scenario, scenarios},
};

/// What is known of one row after all its runs.
#[derive(Default)]
struct Tally {
    took: Vec<Duration>,
    wrong: Vec<String>,
    skipped: Option<String>,
}

fn main() -> ExitCode {
    let matches = Command::new("torture-measure")
        .about("Measures how soon a process is gone, whatever it does")
        .arg(Arg::new("scenario").action(ArgAction::Append).help("Only those whose name contains one of these"))
        .arg(
            Arg::new("runs")
                .long("runs")
                .value_parser(value_parser!(u32).range(1..))
                .default_value("5")
                .help("Of each"),
        )
        .get_matches();
    let wanted: Vec<String> = matches.get_many::<String>("scenario").unwrap_or_default().cloned().collect();
    let runs = matches.get_one::<u32>("runs").copied().unwrap_or(5);
    match measure(&wanted, runs) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            say(&format!("error: {error}"));
            ExitCode::from(2)
        }
    }
}

/// Whether everything kept to the bar.
fn measure(wanted: &[String], runs: u32) -> Result<bool, String> {
    let me = env::current_exe().map_err(|error| format!("cannot find the fixture: {error}"))?;
    let fixtures = Fixtures::of_program(&me)?;
    say(&format!("{:<45} {:>7} {:>8} {:>8}  exit", "scenario", "bar ms", "median", "maximum"));
    let mut good = true;
    let mut figure = Figure::default();
    for row in scenarios().iter().filter(|row| is_wanted(row, wanted)) {
        let tally = try_row(row, &fixtures, runs);
        say(line(row, &tally).trim_end());
        good &= tally.wrong.is_empty();
        figure.add(row, &tally);
    }
    say(&figure.line(runs));
    Ok(good)
}

/// All rows together: how much of the bar was left, or not, and how soon a second signal ended it.
#[derive(Default)]
struct Figure {
    rows: usize,
    skipped: usize,
    /// Longest and bar of those that have their budget.
    longest: Option<(Duration, Duration)>,
    forced: Vec<Duration>,
}

impl Figure {
    fn add(&mut self, row: &Scenario, tally: &Tally) {
        self.rows += 1;
        self.skipped += usize::from(tally.skipped.is_some());
        match row.bar {
            Bar::Budget => {
                let longest = tally.took.last().map(|time| (*time, row.bar.limit()));
                self.longest = self.longest.max(longest);
            }
            Bar::SecondSignal => self.forced.extend(&tally.took),
        }
    }

    /// What the promise reports.
    fn line(mut self, runs: u32) -> String {
        let ms = |time: Duration| format!("{:.0} ms", time.as_secs_f64() * 1e3);
        self.forced.sort_unstable();
        let mut text = format!("figure: {} scenarios, {runs} runs each", self.rows);
        if self.skipped > 0 {
            let _ = write!(text, ", {} skipped", self.skipped);
        }
        if let Some((longest, bar)) = self.longest {
            let _ = write!(text, "; longest {} of {}", ms(longest), ms(bar));
        }
        if let (Some(median), Some(longest)) = (self.forced.get(self.forced.len() / 2), self.forced.last()) {
            let _ = write!(text, "; after the second signal median {}, longest {}", ms(*median), ms(*longest));
        }
        text
    }
}

fn is_wanted(row: &Scenario, wanted: &[String]) -> bool {
    wanted.is_empty() || wanted.iter().any(|name| row.name.contains(name.as_str()))
}

/// One at a time: two would measure each other.
fn try_row(row: &Scenario, fixtures: &Fixtures, runs: u32) -> Tally {
    let mut tally = Tally::default();
    let fixture: PathBuf = match fixtures.of(row) {
        Ok(fixture) => fixture.to_path_buf(),
        Err(why) => return Tally { wrong: vec![why.to_owned()], ..tally },
    };
    for _ in 0..runs {
        match ordeal(row, &fixture) {
            Ok(finding) => tally.add(row, &finding),
            Err(Missing::Skipped(why)) => return Tally { skipped: Some(why), ..tally },
            Err(Missing::Stuck(why)) => tally.wrong.push(why),
        }
    }
    tally.took.sort_unstable();
    tally
}

impl Tally {
    fn add(&mut self, row: &Scenario, finding: &Finding) {
        self.took.push(finding.took);
        self.wrong.extend(judge(row, finding, row.bar.limit()));
    }
}

/// A row of the table, at most 80 columns wide, and below it who is to blame and what was wrong.
fn line(row: &Scenario, tally: &Tally) -> String {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    if let Some(why) = &tally.skipped {
        return format!("{:<45} skipped: {why}", row.name);
    }
    let number = |time: Option<&Duration>| time.map_or_else(|| "-".to_owned(), |time| format!("{:.1}", ms(*time)));
    let median = number(tally.took.get(tally.took.len() / 2));
    let bar = match row.bar {
        Bar::Budget => format!("{:.0}", ms(row.bar.limit())),
        Bar::SecondSignal => format!("2nd+{:.0}", ms(row.bar.limit())),
    };
    let end = match row.end {
        End::Code(code) => code.to_string(),
        End::Signal(number) => format!("sig {number}"),
    };
    let mut text = format!("{:<45} {bar:>7} {median:>8} {:>8} {end:>5}\n", row.name, number(tally.took.last()));
    if !row.culprits.is_empty() {
        let _ = writeln!(text, "    culprit: {}", row.culprits.join(", "));
    }
    for wrong in &tally.wrong {
        let _ = writeln!(text, "    FAILED: {wrong}");
    }
    text
}

/// A reader that went away is no reason to stop measuring.
fn say(text: &str) {
    let _ = writeln!(io::stdout(), "{text}");
}
