//! One promise of a bench, and whether it holds.

use std::{fmt::Write, process::ExitCode};

/// One promise: a figure and its bar.
pub(crate) struct Aim {
    pub(crate) text: String,
    pub(crate) figure: f64,
    pub(crate) bar: Bar,
    pub(crate) unit: &'static str,
}

/// On which side of the bar the figure must be.
#[derive(Clone, Copy)]
pub(crate) enum Bar {
    AtMost(f64),
    AtLeast(f64),
}

impl Aim {
    pub(crate) fn is_met(&self) -> bool {
        match self.bar {
            Bar::AtMost(bar) => self.figure <= bar,
            Bar::AtLeast(bar) => self.figure >= bar,
        }
    }

    pub(crate) fn new(text: impl Into<String>, figure: f64, bar: Bar, unit: &'static str) -> Self {
        Self { text: text.into(), figure, bar, unit }
    }
}

/// Each aim, the figure reached, and the verdict.
fn text(aims: &[Aim]) -> String {
    let mut text = String::from("Aims\n");
    for aim in aims {
        let (side, bar) = match aim.bar {
            Bar::AtMost(bar) => ("<=", bar),
            Bar::AtLeast(bar) => (">=", bar),
        };
        let verdict = if aim.is_met() { "met" } else { "MISSED" };
        let figure = format!("{:.2}{}", aim.figure, aim.unit);
        let bar = format!("{side} {}{}", (bar * 1e2).round() / 1e2, aim.unit);
        let _ = writeln!(text, "  {:<38}{figure:>12}   {bar:<11}  {verdict}", aim.text);
    }
    text.push('\n');
    text
}

/// Prints every aim, then the line that `cargo xtask promise` looks for.
pub(crate) fn judge(aims: &[Aim], check: bool) -> ExitCode {
    if aims.is_empty() {
        return ExitCode::SUCCESS;
    }
    print!("{}", text(aims));
    let missed = aims.iter().filter(|aim| !aim.is_met()).count();
    println!("figure: {} of {} aims met", aims.len() - missed, aims.len());
    if check && missed > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
