//! What a test run says at its end: a row for each stage, every skip with its reason, and the line to read first.

use std::{fmt::Write, time::Duration};

use crate::tally::Tally;

/// A stage that has run.
pub(crate) struct Row {
    pub(crate) name: &'static str,
    pub(crate) took: Duration,
    pub(crate) tally: Tally,
}

/// The whole report; its last line is `N passed, N failed, N skipped`.
pub(crate) fn text(rows: &[Row]) -> String {
    let mut text = format!("\n{:<12}{:>9}{:>9}{:>9}{:>9}\n", "stage", "minutes", "passed", "failed", "skipped");
    let mut sum = Tally::default();
    let mut took = Duration::ZERO;
    for row in rows {
        line(&mut text, row.name, row.took, &row.tally);
        sum.add(row.tally.clone());
        took += row.took;
    }
    line(&mut text, "all", took, &sum);
    skips(&mut text, rows);
    let _ = writeln!(text, "\n{} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.skipped.len());
    text
}

fn line(text: &mut String, name: &str, took: Duration, tally: &Tally) {
    let minutes = took.as_secs_f64() / 60.0;
    let Tally { passed, failed, skipped, .. } = tally;
    let _ = writeln!(text, "{name:<12}{minutes:>9.2}{passed:>9}{failed:>9}{:>9}", skipped.len());
}

fn skips(text: &mut String, rows: &[Row]) {
    let skips: Vec<(&str, &String)> =
        rows.iter().flat_map(|row| row.tally.skipped.iter().map(|reason| (row.name, reason))).collect();
    if !skips.is_empty() {
        text.push_str("\nSKIPPED\n");
    }
    for (stage, reason) in skips {
        let _ = writeln!(text, "{}", folded(&format!("  {stage}: {reason}"), "    "));
    }
}

/// Breaks a line at 80 columns; what follows the first break has this indent.
pub(crate) fn folded(line: &str, indent: &str) -> String {
    let mut text = String::new();
    let mut column = 0;
    for (index, word) in line.split(' ').enumerate() {
        if index > 0 && column + 1 + word.len() > 80 {
            let _ = write!(text, "\n{indent}");
            column = indent.len();
        } else if index > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += word.len();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_is_the_sum() {
        let rows = [
            Row { name: "fmt", took: Duration::from_secs(6), tally: Tally::one(true) },
            Row { name: "clippy", took: Duration::from_secs(60), tally: Tally::one(false) },
            Row { name: "deny", took: Duration::ZERO, tally: Tally::skip("cargo-deny is not installed") },
        ];
        let text = text(&rows);
        assert_eq!(text.lines().last(), Some("1 passed, 1 failed, 1 skipped"));
        assert!(text.contains("  deny: cargo-deny is not installed\n"), "{text}");
    }

    #[test]
    fn long_lines_are_folded_at_80_columns() {
        let text = folded(&format!("  deny: {}", "advisories cannot be reached, ".repeat(9).trim()), "    ");
        assert!(text.lines().count() > 2 && text.lines().all(|line| line.len() <= 80), "{text}");
        assert!(text.lines().skip(1).all(|line| line.starts_with("    ")), "{text}");
    }
}
