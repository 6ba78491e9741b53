//! Why there is no verdict, and what to do about it.

use std::{fmt, process::ExitCode};

/// The program did not start, did not become ready, or gives no proper answer.
pub(crate) const NOT_READY: u8 = 10;
/// A restart failed.
pub(crate) const NOT_RESTARTED: u8 = 11;
/// The load could not be sent.
pub(crate) const NO_LOAD: u8 = 12;
/// The command line makes no sense.
pub(crate) const USAGE: u8 = 2;

/// An error with what to do about it.
#[derive(Debug)]
pub(crate) struct Fault {
    code: u8,
    what: String,
    /// What the program said last.
    said: Vec<String>,
    hints: Vec<String>,
}

impl Fault {
    pub(crate) fn new(code: u8, what: impl Into<String>) -> Self {
        Self { code, what: what.into(), said: Vec::new(), hints: Vec::new() }
    }

    pub(crate) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    pub(crate) fn said(mut self, lines: Vec<String>) -> Self {
        self.said = lines;
        self
    }

    /// Before which restart it came.
    pub(crate) fn at(mut self, restart: u64) -> Self {
        self.what = format!("restart {restart}: {}", self.what);
        self
    }

    /// Says it on standard error, and gives the exit code.
    pub(crate) fn tell(&self) -> ExitCode {
        eprintln!("{}", folded(&format!("error: {}", self.what), "       "));
        if !self.said.is_empty() {
            eprintln!("it said last:");
            self.said.iter().for_each(|line| eprintln!("  {line}"));
        }
        self.hints.iter().for_each(|hint| eprintln!("{}", folded(&format!("hint: {hint}"), "      ")));
        ExitCode::from(self.code)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// The width of a terminal as it is everywhere.
const WIDTH: usize = 80;

/// Text in lines that fit, all but the first indented. A word that is longer stays whole.
pub(crate) fn folded(text: &str, indent: &str) -> String {
    let begin = text.len() - text.trim_start().len();
    let (mut folded, mut width, mut is_first) = (text[..begin].to_owned(), begin, true);
    for word in text.split_whitespace() {
        let length = word.chars().count();
        if !is_first && width + 1 + length > WIDTH {
            folded += &format!("\n{indent}");
            width = indent.len();
        } else if !is_first {
            folded.push(' ');
            width += 1;
        }
        folded += word;
        width += length;
        is_first = false;
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_fit_and_long_words_stay_whole() {
        let long = "x".repeat(100);
        let text = folded(&format!("hint: {} {long} {}", "word ".repeat(20).trim_end(), "word"), "      ");
        assert!(text.lines().all(|line| line.chars().count() <= 80 || line.trim() == long), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("      ")), "{text}");
        assert_eq!(text.split_whitespace().count(), 23);
        assert_eq!(folded("  a row", "    "), "  a row");
    }
}
