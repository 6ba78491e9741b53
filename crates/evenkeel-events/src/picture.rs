//! The stop as a picture: one self-contained SVG, readable on white paper.
//!
//! No script, no font file, no link: it opens anywhere and can be attached to a ticket. The same receipt always gives
//! the same bytes. Text from outside (names, causes) is escaped and shortened.

use std::fmt::Write as _;

use crate::{
    Receipt, Row,
    text::{fit, ms, plain},
    timeline::{Bar, Phase, bars, total},
};

const WIDTH: f64 = 960.0;
const MARGIN: f64 = 24.0;
/// Room right of the bars for `used / allowed`.
const TIMES: f64 = 150.0;
/// Where the rows begin: below title, cause, legend and axis.
const TOP: f64 = 132.0;
const ROW: f64 = 32.0;
const BAR: f64 = 16.0;
/// The longest name that is shown whole.
const NAME_CHARS: usize = 28;
const CHAR_WIDTH: f64 = 7.4;

const INK: &str = "#1f2933";
const FAINT: &str = "#66717c";
const RULE: &str = "#e4e7eb";
const SERVE: &str = "#fdf3d0";
const DRAIN: &str = "#7aa7e0";
const WAIT: &str = "#c3cad2";
const RELEASE: &str = "#2f6f6a";
const CULPRIT: &str = "#c62828";
const CULPRIT_DRAIN: &str = "#ef9a9a";
const PATH: &str = "#e08a00";

/// The receipt as a picture of the stop over time. Rows are in the order of ending; red names kept the stop from being
/// clean, the orange line is the critical path, a small flag stands at a component's limit (dark when it was reached), a
/// cross behind what was cut off, and a dashed red line where the budget ended.
#[must_use]
pub fn svg(receipt: &Receipt) -> String {
    Picture::of(receipt).draw()
}

/// One picture in the making: the scale, and the text so far.
struct Picture<'a> {
    receipt: &'a Receipt,
    rows: Vec<&'a Row>,
    /// The stop's length and the picture's, both in milliseconds, the second at least one.
    total: f64,
    span: f64,
    /// Where the bars begin and end, in pixels.
    left: f64,
    right: f64,
    out: String,
}

impl<'a> Picture<'a> {
    fn of(receipt: &'a Receipt) -> Self {
        let rows = receipt.rows_by_end();
        let longest = rows.iter().map(|row| plain(&row.name).chars().count()).max().unwrap_or(0);
        let total = total(receipt);
        // The budget belongs in the picture when the stop came near it; otherwise it would only squeeze the bars.
        let budget = receipt.budget_ms;
        let near = budget.is_finite() && budget <= total * 1.4;
        let span = if near { total.max(budget) * 1.03 } else { total };
        Self {
            receipt,
            total,
            span: if span > 0.0 { span } else { 1.0 },
            left: MARGIN + 12.0 + CHAR_WIDTH * in_chars(longest.clamp(9, NAME_CHARS)),
            right: WIDTH - MARGIN - TIMES,
            rows,
            out: String::new(),
        }
    }

    fn draw(mut self) -> String {
        self.open();
        self.title();
        self.legend();
        self.grid();
        self.serving();
        for index in 0..self.rows.len() {
            self.row(index);
        }
        self.critical_path();
        self.budget();
        self.out.push_str("</svg>\n");
        self.out
    }

    fn height(&self) -> f64 {
        self.bottom() + 30.0
    }

    fn bottom(&self) -> f64 {
        TOP + ROW * in_chars(self.rows.len().max(1))
    }

    fn x(&self, time: f64) -> f64 {
        self.left + (time / self.span).clamp(0.0, 1.0) * (self.right - self.left)
    }

    /// The middle of a row.
    fn y(index: usize) -> f64 {
        TOP + ROW * (in_chars(index) + 0.5)
    }

    fn open(&mut self) {
        let height = self.height();
        let title = xml(&self.headline());
        let _ = write!(
            self.out,
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
             viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" \
             font-family=\"system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', sans-serif\" font-size=\"13\">\n\
             <title>{title}</title>\n\
             <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#ffffff\"/>\n"
        );
    }

    fn headline(&self) -> String {
        let receipt = self.receipt;
        let name = fit(&plain(&receipt.app), 40);
        let took = ms(receipt.used_ms);
        match receipt.outcome.as_str() {
            "clean" => format!("{name} stopped cleanly in {took}"),
            "not clean" => format!("{name} stopped NOT cleanly in {took}"),
            "start failed" => format!("{name} could NOT start; released in {took}"),
            "component failed" => format!("{name} FAILED; stopped in {took}"),
            "forced" => format!("{name} was FORCED to end after {took}"),
            other => format!("{name} ended `{}` in {took}", plain(other)),
        }
    }

    fn title(&mut self) {
        let receipt = self.receipt;
        let color = if receipt.is_clean() { INK } else { CULPRIT };
        let headline = self.headline();
        self.text((MARGIN, 36.0), &headline, &format!("font-size=\"19\" font-weight=\"600\" fill=\"{color}\""));
        let mut facts = vec![
            plain(&receipt.cause),
            format!("exit code {}", receipt.exit_code),
            format!("budget {}", ms(receipt.budget_ms)),
        ];
        if !receipt.policy.is_empty() {
            facts.push(format!("policy {}", plain(&receipt.policy)));
        }
        if !receipt.culprits.is_empty() {
            facts.push(format!("culprits: {}", plain(&receipt.culprits.join(", "))));
        }
        facts.push(plain(&receipt.stop_began_at));
        self.text((MARGIN, 58.0), &fit(&facts.join(" · "), 128), &format!("fill=\"{FAINT}\""));
    }

    fn legend(&mut self) {
        let mut x = MARGIN;
        let mut swatches = vec![(DRAIN, "drains"), (WAIT, "waits for others"), (RELEASE, "releases")];
        if self.receipt.propagation_delay_ms > 0.0 {
            swatches.insert(0, (SERVE, "still serves, not ready"));
        }
        for (color, word) in swatches {
            let height = if color == WAIT { 4.0 } else { 12.0 };
            let y = 84.0 - height / 2.0;
            self.rect((x, y, 18.0, height), &format!("fill=\"{color}\" stroke=\"{RULE}\""));
            x = self.word(x + 24.0, word);
        }
        self.line((x, 84.0, x + 18.0, 84.0), &format!("stroke=\"{PATH}\" stroke-width=\"2.5\""));
        x = self.word(x + 24.0, "critical path");
        self.flag(x + 4.0, 84.0, INK);
        x = self.word(x + 16.0, "limit");
        if !self.receipt.culprits.is_empty() {
            self.rect((x, 78.0, 18.0, 12.0), &format!("fill=\"{CULPRIT_DRAIN}\" stroke=\"{CULPRIT}\""));
            self.word(x + 24.0, "culprit");
        }
    }

    /// A word of the legend; answers where the next entry begins.
    fn word(&mut self, x: f64, word: &str) -> f64 {
        self.text((x, 88.5), word, &format!("font-size=\"12\" fill=\"{FAINT}\""));
        x + 6.4 * in_chars(word.chars().count()) + 22.0
    }

    fn grid(&mut self) {
        let bottom = self.bottom();
        for index in (1..self.rows.len()).step_by(2) {
            let y = TOP + ROW * in_chars(index);
            self.rect((MARGIN - 8.0, y, WIDTH - 2.0 * MARGIN + 16.0, ROW), "fill=\"#f7f8fa\"");
        }
        for time in ticks(self.span) {
            let x = self.x(time);
            self.line((x, TOP, x, bottom), &format!("stroke=\"{RULE}\""));
            self.text((x, TOP - 8.0), &ms(time), &format!("text-anchor=\"middle\" font-size=\"11\" fill=\"{FAINT}\""));
        }
        let head = format!("text-anchor=\"end\" font-size=\"11\" fill=\"{FAINT}\"");
        self.text((WIDTH - MARGIN, TOP - 8.0), "used / allowed", &head);
        self.line((self.left, TOP, self.left, bottom), &format!("stroke=\"{FAINT}\""));
    }

    /// The stretch in which traffic was still served, behind the rows.
    fn serving(&mut self) {
        let delay = self.receipt.propagation_delay_ms;
        if delay > 0.0 {
            let (from, to) = (self.x(0.0), self.x(delay));
            let height = self.bottom() - TOP;
            self.rect((from, TOP, to - from, height), &format!("fill=\"{SERVE}\" fill-opacity=\"0.8\""));
        }
    }

    fn row(&mut self, index: usize) {
        let Some(&row) = self.rows.get(index) else {
            return;
        };
        let culprit = self.receipt.culprits.contains(&row.name);
        let critical = self.receipt.critical_path.contains(&row.name);
        let y = Self::y(index);
        let ink = if culprit { CULPRIT } else { INK };
        let weight = if culprit || critical { "600" } else { "400" };
        let name = fit(&plain(&row.name), NAME_CHARS);
        self.text((MARGIN, y + 4.5), &name, &format!("fill=\"{ink}\" font-weight=\"{weight}\""));
        let bars = bars(row, self.total);
        for bar in &bars {
            self.bar(*bar, y, culprit);
        }
        if let Some(end) = bars.last() {
            self.end_of(row, end.to, y);
        }
        if let Some(limit) = limit_at(row).filter(|limit| *limit <= self.total * 1.001) {
            let reached = bars.last().is_some_and(|end| end.to >= limit);
            self.flag(self.x(limit), y, if reached { INK } else { WAIT });
        }
        self.text((WIDTH - MARGIN, y + 4.5), &times_of(row), &format!("text-anchor=\"end\" fill=\"{ink}\""));
    }

    fn bar(&mut self, bar: Bar, y: f64, culprit: bool) {
        let (from, to) = (self.x(bar.from), self.x(bar.to));
        if bar.to <= bar.from {
            return;
        }
        let (color, height) = match (bar.phase, culprit) {
            (Phase::Wait, _) => (WAIT, 4.0),
            (Phase::Drain, false) => (DRAIN, BAR),
            (Phase::Drain, true) => (CULPRIT_DRAIN, BAR),
            (Phase::Release, false) => (RELEASE, BAR),
            (Phase::Release, true) => (CULPRIT, BAR),
        };
        // A phase that is too short to see is still one that happened.
        let width = (to - from).max(1.5);
        let what = match bar.phase {
            Phase::Drain => "drains",
            Phase::Wait => "waits for others",
            Phase::Release => "releases",
        };
        let tip = format!("{what} for {} (from {} to {})", ms(bar.to - bar.from), ms(bar.from), ms(bar.to));
        let _ = writeln!(
            self.out,
            "<rect x=\"{from:.1}\" y=\"{:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" \
             fill=\"{color}\"><title>{tip}</title></rect>",
            y - height / 2.0,
        );
    }

    /// How it ended: a cross behind the place where it was cut off, a dot when it took no time that could be drawn.
    fn end_of(&mut self, row: &Row, end: f64, y: f64) {
        let x = self.x(end);
        if row.is_cut() {
            for (from, to) in [(-5.0, 5.0), (5.0, -5.0)] {
                let cross = (x + 5.0, y + from, x + 15.0, y + to);
                self.line(cross, &format!("stroke=\"{CULPRIT}\" stroke-width=\"2.5\""));
            }
        } else if row.used_ms <= self.span / 500.0 {
            let _ = writeln!(self.out, "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\" fill=\"{RELEASE}\"/>");
        }
    }

    /// A flag where a limit is: dark when it was reached.
    fn flag(&mut self, x: f64, y: f64, color: &str) {
        let (top, bottom) = (y - 11.0, y + 10.0);
        self.line((x, top, x, bottom), &format!("stroke=\"{color}\" stroke-width=\"1.2\""));
        let _ = writeln!(self.out, "<path d=\"M{x:.1} {top:.1}l7 3l-7 3z\" fill=\"{color}\"/>");
    }

    /// One line under the bars that decided how long the stop took, stepping from row to row where one handed on.
    fn critical_path(&mut self) {
        let mut points: Vec<(f64, f64)> = Vec::new();
        for name in &self.receipt.critical_path {
            let Some(index) = self.rows.iter().position(|row| row.name == *name) else {
                continue;
            };
            let bars = bars(self.rows[index], self.total);
            let (Some(first), Some(last)) = (bars.first(), bars.last()) else {
                continue;
            };
            let y = Self::y(index) + BAR / 2.0 + 3.0;
            let from = points.last().map_or_else(|| self.x(first.from), |point| point.0);
            points.push((from, y));
            points.push((self.x(last.to), y));
        }
        if points.is_empty() {
            return;
        }
        let points: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let _ = writeln!(
            self.out,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{PATH}\" stroke-width=\"2.5\" \
             stroke-linejoin=\"round\" stroke-linecap=\"round\"/>",
            points.join(" ")
        );
    }

    /// Where the budget ended, if that is in the picture.
    fn budget(&mut self) {
        let budget = self.receipt.budget_ms;
        let bottom = self.bottom();
        if budget > 0.0 && budget <= self.span {
            let x = self.x(budget);
            let dashed = format!("stroke=\"{CULPRIT}\" stroke-width=\"1.5\" stroke-dasharray=\"5 4\"");
            self.line((x, TOP, x, bottom + 4.0), &dashed);
            let look = format!("text-anchor=\"end\" font-size=\"11\" fill=\"{CULPRIT}\"");
            self.text((x, bottom + 18.0), &format!("budget {}", ms(budget)), &look);
        }
    }

    fn text(&mut self, at: (f64, f64), text: &str, look: &str) {
        let (x, y) = at;
        let _ = writeln!(self.out, "<text x=\"{x:.1}\" y=\"{y:.1}\" {look}>{}</text>", xml(text));
    }

    fn rect(&mut self, shape: (f64, f64, f64, f64), look: &str) {
        let (x, y, width, height) = shape;
        let _ =
            writeln!(self.out, "<rect x=\"{x:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"{height:.1}\" {look}/>");
    }

    fn line(&mut self, ends: (f64, f64, f64, f64), look: &str) {
        let (x1, y1, x2, y2) = ends;
        let _ = writeln!(self.out, "<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" {look}/>");
    }
}

/// A count as a measure.
#[expect(clippy::cast_precision_loss)]
fn in_chars(count: usize) -> f64 {
    count as f64
}

/// When a component's limit was reached: its time runs while it drains and while it is released, not while it waits.
fn limit_at(row: &Row) -> Option<f64> {
    let allowed = row.allowed_ms.unwrap_or(row.limit_ms);
    let stop = row.stop_ms?;
    let (Some(drained), Some(release)) = (row.drained_ms, row.release_ms) else {
        return Some(stop + allowed);
    };
    let left = allowed - (drained - stop);
    Some(if left < 0.0 { stop + allowed } else { release + left })
}

fn times_of(row: &Row) -> String {
    if row.stop_ms.is_none() {
        return plain(&row.state);
    }
    format!("{} / {}", ms(row.used_ms), ms(row.allowed_ms.unwrap_or(row.limit_ms)))
}

/// Round moments, about six of them, from zero on.
fn ticks(span: f64) -> Vec<f64> {
    let raw = span / 6.0;
    let power = 10_f64.powf(raw.log10().floor());
    let step =
        [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= raw).unwrap_or(span);
    (0..=10).map(|index| f64::from(index) * step).take_while(|time| *time <= span * 1.001).collect()
}

/// Text for XML: escaped, and without what XML forbids.
fn xml(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in plain(text).chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\u{fffe}' | '\u{ffff}' => safe.push('?'),
            c => safe.push(c),
        }
    }
    safe
}
