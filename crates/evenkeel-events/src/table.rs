//! The receipt as people read it on a terminal.
//!
//! Plain text, no colour, no line wider than asked for. From the top: how the stop went, why it happened, one row per
//! component in the order of ending, what went wrong where, and what decided how long it took. Parts that have nothing
//! to say are left out; a clean receipt fits a glance.

use std::{fmt::Write as _, time::Duration};

use crate::{
    CutConnection, LostOfRoute, Receipt, Row,
    text::{self, MIN_WIDTH, count, left, ms, paragraph, plain, right},
};

/// The receipt as text, at most `width` columns wide (a width below 40 is taken as 40). Every line ends in a newline.
#[must_use]
pub fn table(receipt: &Receipt, width: usize) -> String {
    let width = width.max(MIN_WIDTH);
    let parts = [head(receipt, width), rows(receipt, width), problems(receipt, width), remarks(receipt, width)];
    let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    parts.join("\n")
}

/// What happened, in one sentence; then why.
fn head(receipt: &Receipt, width: usize) -> String {
    let mut out = paragraph("", &headline(receipt), width);
    if let Some(culprits) = some(receipt.culprits.join(", ")) {
        out += &paragraph("  culprits: ", &culprits, width);
    }
    for (depth, error) in receipt.root_cause.iter().enumerate() {
        let label = if depth == 0 { "root cause" } else { "because" };
        let indent = " ".repeat(2 + 2 * depth.min(4));
        out += &paragraph(&format!("{indent}{label}: "), error, width);
    }
    if let Some(hint) = &receipt.hint {
        out += &paragraph("  hint: ", hint, width);
    }
    out
}

fn headline(receipt: &Receipt) -> String {
    let app = if receipt.app.is_empty() { "the app" } else { &receipt.app };
    let (took, cause, code) = (ms(receipt.used_ms), &receipt.cause, receipt.exit_code);
    match receipt.outcome.as_str() {
        "clean" => format!("{app} stopped cleanly in {took} ({cause}), exit code {code}"),
        "start failed" => {
            format!("{app} could NOT start ({cause}); released in {took}, exit code {code}")
        }
        "component failed" => {
            format!("{app} FAILED ({cause}); stopped in {took}, exit code {code}")
        }
        "not clean" => format!("{app} stopped NOT cleanly in {took} ({cause}), exit code {code}"),
        "forced" => format!("{app} was FORCED to end after {took} ({cause}), exit code {code}"),
        other => format!("{app} ended `{other}` in {took} ({cause}), exit code {code}"),
    }
}

/// The text, unless it is empty.
fn some(text: String) -> Option<String> {
    (!text.is_empty()).then_some(text)
}

/// One column of the table.
struct Column {
    title: &'static str,
    at_right: bool,
    cells: Vec<String>,
}

impl Column {
    fn size(&self) -> usize {
        let cells = self.cells.iter().map(|cell| text::width(cell)).max();
        text::width(self.title).max(cells.unwrap_or(0))
    }

    fn cell(&self, row: usize, size: usize) -> String {
        let text = self.cells.get(row).map_or("", String::as_str);
        self.align(text, size)
    }

    fn align(&self, text: &str, size: usize) -> String {
        if self.at_right { right(text, size) } else { left(text, size) }
    }
}

const INDENT: usize = 2;
const GAP: usize = 2;
/// A name is never cut below this; other columns go first.
const SHORTEST_NAME: usize = 12;

fn rows(receipt: &Receipt, width: usize) -> String {
    let rows = receipt.rows_by_end();
    if rows.is_empty() {
        return String::new();
    }
    let mut columns = columns(&rows);
    let sizes = sizes(&mut columns, width - INDENT);
    let mut out = line(columns.iter().zip(&sizes).map(|(column, size)| column.align(column.title, *size)));
    for row in 0..rows.len() {
        out += &line(columns.iter().zip(&sizes).map(|(column, size)| column.cell(row, *size)));
    }
    out
}

fn columns(rows: &[&Row]) -> Vec<Column> {
    let text = |title, cell: fn(&Row) -> String| Column {
        title,
        at_right: false,
        cells: rows.iter().map(|row| cell(row)).collect(),
    };
    let number = |title, cell: fn(&Row) -> u64| Column {
        title,
        at_right: true,
        cells: rows.iter().map(|row| cell(row).to_string()).collect(),
    };
    vec![
        text("component", |row| plain(&row.name)),
        text("state", |row| plain(&row.state)),
        Column { at_right: true, ..text("used / allowed", used_of_allowed) },
        number("drained", |row| row.drained),
        number("aborted", |row| row.aborted),
        number("leaked", Row::leaked),
    ]
}

/// `3.2 ms / 5 s`; a dash for a component that never had to stop.
fn used_of_allowed(row: &Row) -> String {
    if row.stop_ms.is_none() && row.used_ms == 0.0 {
        return "-".to_owned();
    }
    format!("{} / {}", ms(row.used_ms), ms(row.allowed_ms.unwrap_or(row.limit_ms)))
}

/// Gives each column its size. What does not fit is taken from the names first, then whole columns go: rightmost first,
/// those that say nothing before those that do. The lines below the table say again what was lost.
fn sizes(columns: &mut Vec<Column>, width: usize) -> Vec<usize> {
    loop {
        let mut sizes: Vec<usize> = columns.iter().map(Column::size).collect();
        let total = sizes.iter().sum::<usize>() + GAP * (sizes.len() - 1);
        let over = total.saturating_sub(width);
        let spare = sizes[0].saturating_sub(SHORTEST_NAME);
        if over <= spare || columns.len() == 1 {
            sizes[0] = sizes[0].saturating_sub(over);
            return sizes;
        }
        let empty = columns.iter().rposition(|column| column.cells.iter().all(|cell| cell == "0"));
        columns.remove(empty.unwrap_or(columns.len() - 1));
    }
}

fn line(cells: impl Iterator<Item = String>) -> String {
    let cells: Vec<String> = cells.collect();
    let line = " ".repeat(INDENT) + &cells.join(&" ".repeat(GAP));
    line.trim_end().to_owned() + "\n"
}

/// What went wrong where, in the order of ending.
fn problems(receipt: &Receipt, width: usize) -> String {
    let mut out = String::new();
    for row in receipt.rows_by_end() {
        for problem in problems_of(row) {
            let name = text::fit(&plain(&row.name), width / 3);
            out += &paragraph(&format!("  {name}: "), &problem, width);
        }
    }
    out
}

fn problems_of(row: &Row) -> Vec<String> {
    let mut problems = Vec::new();
    let what = match row.state.as_str() {
        "abandoned" => "left behind while",
        "aborted" => "cut off while",
        _ => "last seen",
    };
    let doing = row.doing.as_ref().map(|doing| format!("{what} {doing}"));
    let says_it_all = |error: &&String| doing.as_ref().is_some_and(|doing| doing.starts_with(error.as_str()));
    problems.extend(row.error.iter().filter(|error| !says_it_all(error)).cloned());
    problems.extend(doing);
    problems.extend(row.leaked_leases.iter().map(|lease| format!("lease never came back: {lease}")));
    if row.leaked_tasks > 0 {
        problems.push(format!("{} could not be ended", count(row.leaked_tasks, "task")));
    }
    if let Some(lost) = &row.http {
        problems.extend(lost.by_route.iter().map(lost_of_route));
        problems.extend(lost.cut.iter().take(NAMED_CONNECTIONS).map(cut_connection));
        let named = lost.cut.len().min(NAMED_CONNECTIONS) as u64;
        let more = lost.cut_connections.saturating_sub(named);
        problems.extend((more > 0).then(|| format!("{} cut off", count(more, "more connection"))));
    } else if row.aborted > 0 {
        problems.push(format!("{} of work cut off", count(row.aborted, "piece")));
    }
    if row.ignored_interrupts > 0 {
        problems.push(format!("{} not answered", count(row.ignored_interrupts, "interrupt")));
    }
    if row.restarts > 0 {
        problems.push(format!("started again {}", times(row.restarts)));
    }
    problems
}

/// Connections that are named one by one; the receipt's JSON has more.
const NAMED_CONNECTIONS: usize = 5;

/// `2 requests cut off, 1 raced: /orders`
fn lost_of_route(lost: &LostOfRoute) -> String {
    let ways = [(lost.cut, "cut off"), (lost.raced, "raced with the close"), (lost.refused, "refused")];
    let mut said = String::new();
    for (number, way) in ways.into_iter().filter(|(number, _)| *number > 0) {
        let number = if said.is_empty() { count(number, "request") } else { format!(", {number}") };
        let _ = write!(said, "{number} {way}");
    }
    format!("{said}: {}", plain(&lost.route))
}

/// `127.0.0.1:52144 was cut off: handler at work for 30 s on /orders`
fn cut_connection(cut: &CutConnection) -> String {
    let lasted = ms(Duration::from_millis(cut.for_ms).as_secs_f64() * 1e3);
    let on = if cut.routes.is_empty() { String::new() } else { format!(" on {}", plain(&cut.routes.join(", "))) };
    format!("{} was cut off: {} for {lasted}{on}", plain(&cut.peer), plain(&cut.doing))
}

fn times(number: u32) -> String {
    match number {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    }
}

/// What decided the time, and what else an operator should know.
fn remarks(receipt: &Receipt, width: usize) -> String {
    let mut out = String::new();
    if let Some(path) = some(receipt.critical_path.join(" -> ")) {
        out += &paragraph("  critical path: ", &path, width);
    }
    if !receipt.is_clean() && receipt.budget_ms > 0.0 {
        let mut budget = format!("{} of {} used", ms(receipt.used_ms), ms(receipt.budget_ms));
        if receipt.propagation_delay_ms > 0.0 {
            let _ = write!(budget, ", {} of it still serving", ms(receipt.propagation_delay_ms));
        }
        out += &paragraph("  budget: ", &budget, width);
    }
    for cause in &receipt.later_causes {
        out += &paragraph("  later cause: ", cause, width);
    }
    for warning in &receipt.warnings {
        out += &paragraph("  warning: ", warning, width);
    }
    if receipt.log_lines_lost > 0 {
        out += &paragraph("  log: ", &format!("{} lost", count(receipt.log_lines_lost, "line")), width);
    }
    out
}
