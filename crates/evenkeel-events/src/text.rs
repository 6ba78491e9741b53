//! Plain text for terminals: widths, padding, wrapping, durations, and the escaping that keeps one line one line.
//!
//! Everything a component, a client or an error chain can put into a line passes through [`plain`] first. Widths are a
//! deliberate simplification: one column per character, two for East Asian wide ones and emoji, none for combining
//! marks. A terminal that disagrees shows a ragged column, never a broken line.

use std::{fmt::Write as _, time::Duration};

/// The narrowest width anything is laid out for; less is treated as this.
pub(crate) const MIN_WIDTH: usize = 40;

/// The text without anything that could end a line, move the cursor, or turn the reading direction.
pub(crate) fn plain(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => safe.push_str("\\n"),
            '\r' => safe.push_str("\\r"),
            '\t' => safe.push_str("\\t"),
            c if is_treacherous(c) => {
                let _ = write!(safe, "\\u{{{:x}}}", u32::from(c));
            }
            c => safe.push(c),
        }
    }
    safe
}

/// Control characters, line and paragraph separators, and what turns the reading direction.
pub(crate) fn is_treacherous(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{61c}' | '\u{feff}')
}

/// The columns a character takes on a terminal.
fn columns(c: char) -> usize {
    match u32::from(c) {
        0x0300..=0x036f | 0x200b..=0x200d | 0xfe00..=0xfe0f => 0,
        0x1100..=0x115f | 0x2e80..=0x303e | 0x3041..=0xa4cf | 0xac00..=0xd7a3 => 2,
        0xf900..=0xfaff | 0xfe30..=0xfe6f | 0xff00..=0xff60 | 0xffe0..=0xffe6 => 2,
        0x1f300..=0x1faff | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

/// The columns a text takes on a terminal.
pub(crate) fn width(text: &str) -> usize {
    text.chars().map(columns).sum()
}

/// The text, cut to `limit` columns; a cut ends in `…`.
pub(crate) fn fit(text: &str, limit: usize) -> String {
    if width(text) <= limit {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += columns(c);
        if used >= limit {
            break;
        }
        cut.push(c);
    }
    if limit > 0 {
        cut.push('…');
    }
    cut
}

/// The text in exactly `size` columns, at the left.
pub(crate) fn left(text: &str, size: usize) -> String {
    let fitted = fit(text, size);
    let gap = size - width(&fitted);
    fitted + &" ".repeat(gap)
}

/// The text in at least `size` columns, at the left; a longer one is never cut.
pub(crate) fn pad(text: &str, size: usize) -> String {
    text.to_owned() + &" ".repeat(size.saturating_sub(width(text)))
}

/// The text in exactly `size` columns, at the right.
pub(crate) fn right(text: &str, size: usize) -> String {
    let fitted = fit(text, size);
    " ".repeat(size - width(&fitted)) + &fitted
}

/// `text` after `label`, broken at spaces so that no line is wider than `limit`; the lines after the first are indented
/// as deep as the label is wide. Each line ends in a newline. A word that fits nowhere is broken.
pub(crate) fn paragraph(label: &str, text: &str, limit: usize) -> String {
    let label = fit(label, limit / 2);
    let indent = width(&label);
    let mut lines = String::new();
    let mut line = label;
    let mut used = indent;
    for word in plain(text).split(' ') {
        for piece in pieces(word, limit - indent) {
            let needed = width(&piece);
            let space = usize::from(used > indent);
            if used + space + needed > limit {
                lines.push_str(line.trim_end());
                lines.push('\n');
                line = " ".repeat(indent);
                used = indent;
            } else if space == 1 {
                line.push(' ');
                used += 1;
            }
            line.push_str(&piece);
            used += needed;
        }
    }
    lines.push_str(line.trim_end());
    lines.push('\n');
    lines
}

/// A word in pieces of at most `limit` columns each.
fn pieces(word: &str, limit: usize) -> Vec<String> {
    let mut pieces = vec![String::new()];
    let mut used = 0;
    for c in word.chars() {
        let needed = columns(c);
        if used + needed > limit {
            pieces.push(String::new());
            used = 0;
        }
        used += needed;
        if let Some(last) = pieces.last_mut() {
            last.push(c);
        }
    }
    pieces
}

/// A time in milliseconds as people say it: `0 ms`, `3.2 ms`, `842 ms`, `5 s`, `2 min 5 s`, `3 h 2 min`.
pub(crate) fn ms(time: f64) -> String {
    let time = if time.is_finite() { time.max(0.0) } else { 0.0 };
    if time > 0.0 && time < 0.05 {
        "<0.1 ms".to_owned()
    } else if time < 9.95 {
        format!("{} ms", tenths(time))
    } else if time < 999.5 {
        format!("{time:.0} ms")
    } else if time < 59_950.0 {
        format!("{} s", tenths(time / 1_000.0))
    } else {
        long(time)
    }
}

/// A time of a minute or more, in milliseconds.
fn long(time: f64) -> String {
    let seconds = (time / 1_000.0).round();
    if seconds < 3_600.0 {
        return two((seconds / 60.0).floor(), "min", seconds % 60.0, "s");
    }
    let minutes = (seconds / 60.0).round();
    two((minutes / 60.0).floor(), "h", minutes % 60.0, "min")
}

/// `3 h 2 min`, or `3 h` when the second part is nothing.
fn two(big: f64, big_unit: &str, small: f64, small_unit: &str) -> String {
    if small < 1.0 { format!("{big:.0} {big_unit}") } else { format!("{big:.0} {big_unit} {small:.0} {small_unit}") }
}

/// One decimal, unless it is zero.
fn tenths(number: f64) -> String {
    let text = format!("{number:.1}");
    text.strip_suffix(".0").map_or_else(|| text.clone(), str::to_owned)
}

/// A duration as people say it, see [`ms`].
pub(crate) fn duration(time: Duration) -> String {
    ms(millis(time))
}

/// A duration in milliseconds.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1_000.0
}

/// `1 line`, `2 lines`.
pub(crate) fn count(number: u64, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_said_in_the_unit_people_would_use() {
        let said: Vec<String> = [0.0, 0.01, 3.21, 9.97, 842.4, 999.6, 5_000.0, 59_960.0, 125_000.0, 10_920_000.0]
            .into_iter()
            .map(ms)
            .collect();
        assert_eq!(
            said,
            ["0 ms", "<0.1 ms", "3.2 ms", "10 ms", "842 ms", "1 s", "5 s", "1 min", "2 min 5 s", "3 h 2 min"]
        );
        assert_eq!([ms(f64::NAN), ms(-1.0), ms(f64::INFINITY)], ["0 ms", "0 ms", "0 ms"]);
        assert_eq!(ms(7_199_000.0), "2 h", "rounded before it is split");
    }

    #[test]
    fn what_could_forge_a_line_is_made_visible() {
        assert_eq!(plain("a\nb\r\u{1b}[2K\u{9b}\u{202e}c\td"), r"a\nb\r\u{1b}[2K\u{9b}\u{202e}c\td");
        assert_eq!(plain(r"C:\new"), r"C:\new", "a path stays readable");
    }

    #[test]
    fn a_cut_text_never_takes_more_columns_than_it_may() {
        assert_eq!(fit("connection", 6), "conne…");
        assert_eq!(fit("接続接続", 5), "接続…");
        assert_eq!(fit("接続接続", 4), "接…");
        assert_eq!(fit("abc", 0), "");
        assert_eq!(width("接a"), 3);
        assert_eq!(right("7", 3) + &left("接", 3), "  7接 ");
    }

    #[test]
    fn a_paragraph_breaks_at_spaces_and_breaks_words_only_when_it_must() {
        assert_eq!(paragraph("hint: ", "is it up?", 40), "hint: is it up?\n");
        assert_eq!(paragraph("  a: ", "bb ccc ddddddddd", 10), "  a: bb\n     ccc\n     ddddd\n     dddd\n");
    }
}
