//! The stop over time: one row per component, in characters or as a picture.
//!
//! Both are drawn from the receipt alone and are deterministic. A component's time has three phases: it *drains* (told
//! to stop, work in flight ends), it *waits* (drained, but others still hold its value), it is *released*. Times that
//! are missing are not made up: a phase whose end is unknown lasts until the component's end, or the stop's.

use crate::{
    Receipt, Row,
    text::{MIN_WIDTH, left, ms, paragraph, plain, right, width as columns},
};

pub use crate::picture::svg;

/// What a component does during a stretch of the stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Drain,
    Wait,
    Release,
}

/// One stretch of one component, in milliseconds since the stop began.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Bar {
    pub(crate) phase: Phase,
    pub(crate) from: f64,
    pub(crate) to: f64,
}

/// How long the picture is: the stop, or the last thing known of it.
pub(crate) fn total(receipt: &Receipt) -> f64 {
    let ends = receipt.components.iter().filter_map(|row| row.end_ms);
    ends.chain([receipt.used_ms, receipt.propagation_delay_ms]).filter(|end| end.is_finite()).fold(0.0, f64::max)
}

/// The phases of a component, in order, without gaps, inside `0..=total`.
pub(crate) fn bars(row: &Row, total: f64) -> Vec<Bar> {
    let Some(stop) = row.stop_ms else {
        return Vec::new();
    };
    let inside = |time: Option<f64>, least: f64| {
        let time = time.filter(|time| time.is_finite()).unwrap_or(total);
        time.min(total).max(least)
    };
    let stop = inside(Some(stop), 0.0);
    let end = inside(row.end_ms, stop);
    let drained = row.drained_ms.map_or(end, |time| inside(Some(time), stop).min(end));
    let release = row.release_ms.map_or(end, |time| inside(Some(time), drained).min(end));
    let bar = |phase, from, to| Bar { phase, from, to };
    vec![bar(Phase::Drain, stop, drained), bar(Phase::Wait, drained, release), bar(Phase::Release, release, end)]
}

/// The characters of a timeline.
struct Glyphs {
    serve: char,
    drain: char,
    wait: char,
    release: char,
    cut: char,
}

const UNICODE: Glyphs = Glyphs { serve: '░', drain: '▒', wait: '·', release: '█', cut: '!' };

const ASCII: Glyphs = Glyphs { serve: '~', drain: '=', wait: '.', release: '#', cut: '!' };

/// The timeline in characters, at most `width` columns wide (a width below 40 is taken as 40): `▒` drains, `·` waits
/// for others, `█` releases, `!` cut off, `>` before the names on the critical path. Every line ends in a newline.
#[must_use]
pub fn text(receipt: &Receipt, width: usize) -> String {
    draw(receipt, width, &UNICODE)
}

/// [`text`] for terminals without block characters: `=` drains, `.` waits, `#` releases. Names stay as they are.
#[must_use]
pub fn ascii(receipt: &Receipt, width: usize) -> String {
    draw(receipt, width, &ASCII).replace('…', "~")
}

/// The columns of one timeline.
struct Layout {
    total: f64,
    name: usize,
    bar: usize,
    time: usize,
}

/// `> ` or two blanks before a name, two blanks after it and after the bar.
const MARGINS: usize = 6;
/// The row of the propagation delay; no component's name has parentheses around it by accident.
const SERVING: &str = "(serving)";

impl Layout {
    fn of(receipt: &Receipt, width: usize) -> Self {
        let names = receipt.components.iter().map(|row| columns(&plain(&row.name)));
        let name = names.chain([SERVING.len()]).max().unwrap_or(0).min(width / 4);
        let times = receipt.components.iter().map(|row| columns(&time_of(row)));
        let time = times.chain([6]).max().unwrap_or(0).min(11);
        Self { total: total(receipt), name, bar: width - name - time - MARGINS, time }
    }

    /// The cell in which a moment falls.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    fn cell(&self, time: f64, up: bool) -> usize {
        if self.total <= 0.0 {
            return usize::from(up).min(self.bar);
        }
        let exact = time / self.total * self.bar as f64;
        let cell = if up { exact.ceil() } else { exact.floor() };
        // `as` saturates, so a time out of range lands on an edge.
        (cell as usize).min(self.bar)
    }

    fn paint(&self, cells: &mut [char], from: f64, to: f64, glyph: char) {
        let start = self.cell(from, false).min(self.bar.saturating_sub(1));
        let end = self.cell(to, true).max(start + 1);
        for cell in cells.iter_mut().take(end).skip(start) {
            *cell = glyph;
        }
    }

    fn line(&self, mark: &str, name: &str, cells: &[char], time: &str) -> String {
        let bar: String = cells.iter().collect();
        let line = format!("{mark} {}  {bar}  {}", left(&plain(name), self.name), right(time, self.time));
        line.trim_end().to_owned() + "\n"
    }
}

fn draw(receipt: &Receipt, width: usize, glyphs: &Glyphs) -> String {
    let width = width.max(MIN_WIDTH);
    let layout = Layout::of(receipt, width);
    let mut out = paragraph("", &title(receipt), width);
    out.push('\n');
    if receipt.propagation_delay_ms > 0.0 {
        let mut cells = vec![' '; layout.bar];
        layout.paint(&mut cells, 0.0, receipt.propagation_delay_ms, glyphs.serve);
        out += &layout.line(" ", SERVING, &cells, &ms(receipt.propagation_delay_ms));
    }
    for row in receipt.rows_by_end() {
        out += &draw_row(receipt, row, &layout, glyphs);
    }
    out += &axis(&layout);
    out.push('\n');
    out + &legend(receipt, width, glyphs)
}

fn title(receipt: &Receipt) -> String {
    format!(
        "{}: {} in {} of {} ({})",
        receipt.app,
        receipt.outcome,
        ms(receipt.used_ms),
        ms(receipt.budget_ms),
        receipt.cause
    )
}

fn draw_row(receipt: &Receipt, row: &Row, layout: &Layout, glyphs: &Glyphs) -> String {
    let mut cells = vec![' '; layout.bar];
    let bars = bars(row, layout.total);
    for bar in &bars {
        let glyph = match bar.phase {
            Phase::Drain => glyphs.drain,
            Phase::Wait => glyphs.wait,
            Phase::Release => glyphs.release,
        };
        if bar.to > bar.from {
            layout.paint(&mut cells, bar.from, bar.to, glyph);
        }
    }
    if let Some(end) = bars.last().map(|bar| bar.to) {
        mark_end(&mut cells, layout.cell(end, true), row, glyphs);
    }
    let mark = if receipt.critical_path.contains(&row.name) { ">" } else { " " };
    layout.line(mark, &row.name, &cells, &time_of(row))
}

/// A component that took no time still shows as one cell; one that was cut off ends in the sign of it.
fn mark_end(cells: &mut [char], end: usize, row: &Row, glyphs: &Glyphs) {
    let last = end.clamp(1, cells.len().max(1)) - 1;
    if let Some(cell) = cells.get_mut(last) {
        if row.is_cut() {
            *cell = glyphs.cut;
        } else if *cell == ' ' {
            *cell = glyphs.release;
        }
    }
}

/// What stands behind a bar: the time charged, or the state of a component that never had to stop.
fn time_of(row: &Row) -> String {
    if row.stop_ms.is_some() { ms(row.used_ms) } else { plain(&row.state) }
}

/// `0 ms` at the left end of the bars, the total at the right end.
fn axis(layout: &Layout) -> String {
    let indent = " ".repeat(layout.name + 4);
    let end = ms(layout.total);
    let start = left("0", layout.bar.saturating_sub(columns(&end)));
    format!("{indent}{start}{end}\n")
}

fn legend(receipt: &Receipt, width: usize, glyphs: &Glyphs) -> String {
    let mut words = vec![
        format!("{} drains", glyphs.drain),
        format!("{} waits for others", glyphs.wait),
        format!("{} releases", glyphs.release),
    ];
    if receipt.propagation_delay_ms > 0.0 {
        words.insert(0, format!("{} still serves", glyphs.serve));
    }
    if receipt.components.iter().any(Row::is_cut) {
        words.push(format!("{} cut off", glyphs.cut));
    }
    if !receipt.critical_path.is_empty() {
        words.push("> critical path".to_owned());
    }
    entries(&words, width)
}

/// The entries of a legend, as many on a line as fit, none broken.
fn entries(words: &[String], width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in words {
        let next = format!("  {word} ");
        if lines.last().is_some_and(|line| columns(line) + columns(&next) > width) {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            line.push_str(&next);
        }
    }
    lines.iter().map(|line| line.trim_end().to_owned() + "\n").collect()
}
