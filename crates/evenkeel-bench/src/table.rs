//! How it is shown: plain text, at most 80 columns.

use std::fmt::Write;

use crate::{
    contenders::Case,
    measure::{Found, Row, WORKERS},
    waste::Waste,
};

/// One case, a row for each contender.
pub(crate) fn compared(case: &Case, found: &Found, rounds: u16) -> String {
    let mut text = format!("{}\nmedians of {rounds} rounds in turn, {WORKERS} threads\n\n", case.title);
    let bytes = format!("bytes/{}", case.thing);
    let _ = writeln!(text, "  {:<24}{:>9}{:>9}{:>16}    evenkeel to it", "", "start ms", "stop ms", bytes);
    for (index, row) in found.rows.iter().enumerate() {
        let ratios = if index == 0 { String::new() } else { ratios(row) };
        let (start, stop) = (row.start * 1e3, row.stop * 1e3);
        let line = format!("  {:<24}{start:>9.2}{stop:>9.2}{:>16.0}    {ratios}", row.name, row.bytes);
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text.push('\n');
    text
}

fn ratios(row: &Row) -> String {
    format!("{:.2}  {:.2}  {:.2}", row.start_ratio, row.stop_ratio, row.bytes_ratio)
}

/// The waste, a row for each shape.
pub(crate) fn waste(found: &[Waste], rounds: u16) -> String {
    let mut text = format!("The time a clean stop wastes\nworst of {rounds} rounds, {WORKERS} threads\n\n");
    let _ = writeln!(text, "  {:<36}{:>11}{:>11}{:>11}", "", "needed ms", "used ms", "wasted ms");
    for row in found {
        let ms = [row.needed, row.used, row.wasted()].map(|time| time.as_secs_f64() * 1e3);
        let _ = writeln!(text, "  {:<36}{:>11.2}{:>11.2}{:>11.2}", row.shape, ms[0], ms[1], ms[2]);
    }
    text.push('\n');
    text
}
