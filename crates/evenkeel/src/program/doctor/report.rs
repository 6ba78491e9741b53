//! The findings as a person or a program reads them.

use std::fmt::Write as _;

use serde_json::json;

use super::judge::{Finding, Verdict, counted};

/// The widest verdict, and the gap after it.
const VERDICT: usize = 6;
/// The column of what was checked is no wider than this.
const WHAT: usize = 24;

/// A line for each finding, its hint below it, and the sum. Nothing is wider than this.
pub(super) fn table(findings: &[Finding], width: usize) -> String {
    let widest = findings.iter().map(|finding| finding.what.chars().count()).max().unwrap_or(0);
    let column = widest.min(WHAT);
    let mut text = String::new();
    for Finding { verdict, what, finding, hint } in findings {
        let indent = VERDICT + column + 2;
        let label = format!("{:<VERDICT$}{what:<column$}  ", word(*verdict));
        text.push_str(&hung(&label, finding, indent, width));
        if let Some(hint) = hint {
            text.push_str(&hung(&format!("{:VERDICT$}hint: ", ""), hint, VERDICT + "hint: ".len(), width));
        }
    }
    let (ok, warnings, failures) = counts(findings);
    // Writing to a `String` cannot fail.
    let _ = writeln!(
        text,
        "\n{}: {ok} ok, {}, {}",
        counted(findings.len(), "check"),
        counted(warnings, "warning"),
        counted(failures, "failure")
    );
    text
}

/// The same for a program.
pub(super) fn json(name: &str, findings: &[Finding]) -> String {
    let (ok, warnings, failures) = counts(findings);
    let report = json!({ "name": name, "checks": findings, "ok": ok, "warnings": warnings, "failures": failures });
    serde_json::to_string_pretty(&report).expect("a report is plain data with text keys")
}

fn counts(findings: &[Finding]) -> (usize, usize, usize) {
    let count = |verdict| findings.iter().filter(|finding| finding.verdict == verdict).count();
    (count(Verdict::Ok), count(Verdict::Warn), count(Verdict::Fail))
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "ok",
        Verdict::Warn => "warn",
        Verdict::Fail => "FAIL",
    }
}

/// Text behind its label, further lines below its beginning. A label that is too long has a line of its own.
fn hung(label: &str, text: &str, indent: usize, width: usize) -> String {
    let mut lines = broken(text, width - indent).into_iter();
    let margin = " ".repeat(indent);
    let mut all = if label.chars().count() == indent {
        format!("{label}{}\n", lines.next().unwrap_or_default())
    } else {
        broken(label.trim_end(), width).join("\n") + "\n"
    };
    for line in lines {
        all.push_str(&margin);
        all.push_str(&line);
        all.push('\n');
    }
    all
}

/// Text in lines of at most this width: broken at spaces, and within a word that is longer than a line, after a `/` if it
/// has one there.
fn broken(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split_whitespace() {
        let mut word: Vec<char> = word.chars().collect();
        if used > 0 && used + 1 + word.len() > width {
            lines.push(String::new());
            used = 0;
        }
        while word.len() > width {
            let slash = word[..width].iter().rposition(|&c| c == '/').filter(|&at| at > 0);
            let rest = word.split_off(slash.map_or(width, |at| at + 1));
            lines.last_mut().expect("never empty").extend(std::mem::replace(&mut word, rest));
            lines.push(String::new());
        }
        let line = lines.last_mut().expect("never empty");
        if used > 0 {
            line.push(' ');
        }
        used = line.chars().count() + word.len();
        line.extend(word);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(verdict: Verdict, what: &str, finding: &str, hint: Option<&str>) -> Finding {
        Finding { verdict, what: what.to_owned(), finding: finding.to_owned(), hint: hint.map(str::to_owned) }
    }

    #[test]
    fn r2_5a_a_finding_is_a_line_its_hint_is_below_and_the_sum_is_last() {
        let findings = [
            finding(Verdict::Ok, "user", "user 1000, not privileged", None),
            finding(Verdict::Warn, "open files", "1024 allowed", Some("raise it")),
            finding(Verdict::Fail, "api", "127.0.0.1:80 is in use", Some("end who has it")),
        ];
        let expected = "ok    user        user 1000, not privileged\n\
                        warn  open files  1024 allowed\n      hint: raise it\n\
                        FAIL  api         127.0.0.1:80 is in use\n      hint: end who has it\n\n\
                        3 checks: 1 ok, 1 warning, 1 failure\n";
        assert_eq!(table(&findings, 80), expected);
        let parsed: serde_json::Value = serde_json::from_str(&json("orders", &findings)).unwrap();
        assert_eq!((&parsed["checks"][2]["verdict"], &parsed["failures"]), (&json!("fail"), &json!(1)));
        assert!(parsed["checks"][0].get("hint").is_none());
    }

    #[test]
    fn r2_5a_nothing_is_wider_than_the_terminal_and_nothing_is_lost() {
        let path = format!("/srv/{}/receipts", "a-long-name/".repeat(20));
        let unbroken = "x".repeat(300);
        for text in [&*path, &*unbroken, &*format!("{path} is not {unbroken} a directory")] {
            for what in ["api", "a component with a name that is longer than its column", &*unbroken] {
                let table = table(&[finding(Verdict::Fail, what, text, Some(text))], 80);
                assert!(table.lines().all(|line| line.chars().count() <= 80), "{table}");
                let bare = |text: &str| text.split_whitespace().collect::<String>();
                assert_eq!(bare(&table).matches(&bare(text)).count(), if what == text { 3 } else { 2 }, "{table}");
            }
        }
    }

    #[test]
    fn a_long_path_breaks_after_a_slash() {
        assert_eq!(broken("/aaaa/bbbb/cccc", 12), ["/aaaa/bbbb/", "cccc"]);
        assert_eq!(broken("see /aaaa/bbbb/cccc now", 12), ["see", "/aaaa/bbbb/", "cccc now"]);
        assert_eq!(broken("", 12), [""]);
    }
}
