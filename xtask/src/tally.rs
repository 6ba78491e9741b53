//! Counting tests, and remembering what was left out and why.

/// Tests that passed, failed and were left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
    /// What was left out, each with its reason.
    pub(crate) skipped: Vec<String>,
    /// Tests that libtest reports as ignored although another test runs them in a process of its own.
    helpers: u64,
    /// Tests of the present binary that left themselves out, which libtest will count as passed.
    left_out: u64,
}

impl Tally {
    /// One check without tests of its own.
    pub(crate) fn one(succeeded: bool) -> Self {
        Self { passed: u64::from(succeeded), failed: u64::from(!succeeded), ..Self::default() }
    }

    /// One check that could not be made.
    pub(crate) fn skip(reason: impl Into<String>) -> Self {
        Self { skipped: vec![reason.into()], ..Self::default() }
    }

    pub(crate) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped.extend(other.skipped);
        self.helpers += other.helpers;
    }

    /// Takes in a line of output: libtest's own (a test that is ignored, the result of one binary), what a test prints
    /// that leaves itself out (`SKIPPED: reason`), or a row of those tests that are a table (`ok      name`,
    /// `FAILED  name`, `SKIPPED name reason`).
    pub(crate) fn read(&mut self, line: &str) {
        self.passed += u64::from(line.starts_with("ok      "));
        self.failed += u64::from(line.starts_with("FAILED  "));
        self.skipped.extend(line.strip_prefix("SKIPPED ").map(spaced));
        if let Some(reason) = line.strip_prefix("SKIPPED: ") {
            self.left_out += 1;
            self.skipped.push(reason.trim().to_owned());
        }
        if let Some((test, reason)) = ignored(line) {
            if reason.contains("runs as a child") {
                self.helpers += 1;
            } else {
                self.skipped.push(format!("{test}: {}", if reason.is_empty() { "ignored" } else { reason }));
            }
        } else if let Some((passed, failed)) = result(line) {
            self.passed += passed.saturating_sub(std::mem::take(&mut self.left_out));
            self.failed += failed;
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// The words of a padded row.
fn spaced(row: &str) -> String {
    row.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// `test name ... ignored, reason`
fn ignored(line: &str) -> Option<(&str, &str)> {
    let (test, rest) = line.strip_prefix("test ")?.split_once(" ... ignored")?;
    Some((test, rest.trim_start_matches(',').trim()))
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.02s`
fn result(line: &str) -> Option<(u64, u64)> {
    let (_verdict, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let count = |word: &str| {
        let part = counts.split(';').find_map(|part| part.trim().strip_suffix(word))?;
        part.trim().parse().ok()
    };
    Some((count("passed")?, count("failed")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(lines: &[&str]) -> Tally {
        let mut tally = Tally::default();
        lines.iter().for_each(|line| tally.read(line));
        tally
    }

    #[test]
    fn results_of_several_binaries_add_up() {
        let tally = read(&[
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s",
            "test some::test ... ok",
            "test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 4 filtered out; finished in 1.20s",
        ]);
        assert_eq!((tally.passed, tally.failed, tally.skipped.len()), (13, 2, 0));
    }

    #[test]
    fn what_is_ignored_is_named_with_its_reason() {
        let tally = read(&["test a::b ... ignored, needs a real PostgreSQL", "test c - example (line 3) ... ignored"]);
        assert_eq!(tally.skipped, ["a::b: needs a real PostgreSQL", "c - example (line 3): ignored"]);
    }

    #[test]
    fn rows_of_a_table_count_one_each() {
        let tally = read(&[
            "ok      hangs_in_stop              3041.2 ms",
            "FAILED  blocks                     4000.0 ms",
            "SKIPPED as_another_user            needs root",
            "3 scenarios, 1 failed, 9 s",
        ]);
        assert_eq!((tally.passed, tally.failed), (1, 1));
        assert_eq!(tally.skipped, ["as_another_user needs root"]);
    }

    #[test]
    fn a_test_that_leaves_itself_out_has_not_passed() {
        let tally = read(&[
            "---- misuse stdout ----",
            "SKIPPED: the messages are those of another compiler",
            "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s",
            "test result: ok. 2 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.02s",
        ]);
        assert_eq!((tally.passed, tally.skipped.len()), (4, 1));
    }

    #[test]
    fn helpers_of_other_tests_do_not_count() {
        let tally = read(&["test child ... ignored, ends its process: runs as a child of the test above"]);
        assert_eq!((tally.skipped.len(), tally.helpers), (0, 1));
    }

    #[test]
    fn other_lines_change_nothing() {
        assert!(read(&["test result: what?", "running 3 tests", "", "test x ... ok"]).is_empty());
    }
}
