//! The binary `evenkeel-journal`.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

fn tool(arguments: &[&str], directory: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_evenkeel-journal")).args(arguments).arg(directory).output().unwrap()
}

fn copy_golden(to: &Path) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/version-1");
    for entry in fs::read_dir(golden).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

#[test]
fn the_binary_verifies_shows_and_repairs_and_its_exit_code_says_how_it_went() {
    let dir = tempfile::tempdir().unwrap();
    copy_golden(dir.path());
    let verified = tool(&["verify"], dir.path());
    let text = String::from_utf8(verified.stdout).unwrap();
    assert!(verified.status.success() && text.starts_with("whole: 20 records in 4 segments"), "{text}");
    let shown = String::from_utf8(tool(&["dump"], dir.path()).stdout).unwrap();
    assert!(shown.lines().count() == 20 && shown.starts_with("1\t1\trecord 1 record 1 \n"), "{shown}");

    let path = dir.path().join("segment-0000000000000002");
    let mut bytes = fs::read(&path).unwrap();
    bytes[1200] ^= 1;
    fs::write(&path, bytes).unwrap();
    let damaged = tool(&["verify"], dir.path());
    let text = String::from_utf8(damaged.stderr).unwrap();
    assert_eq!(damaged.status.code(), Some(1));
    assert!(text.contains("segment-0000000000000002 is damaged at byte") && text.contains("\nhint: "), "{text}");
    let planned = String::from_utf8(tool(&["repair", "--dry-run"], dir.path()).stdout).unwrap();
    assert!(planned.starts_with("would cut segment-0000000000000002 to "), "{planned}");
    let repaired = String::from_utf8(tool(&["repair"], dir.path()).stdout).unwrap();
    assert_eq!(planned.replace("would ", ""), repaired);
    assert!(tool(&["verify"], dir.path()).status.success());
}

#[test]
fn a_directory_without_a_journal_is_an_error_and_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let absent = dir.path().join("absent");
    for command in ["verify", "dump", "repair"] {
        let output = tool(&[command], &absent);
        assert_eq!(output.status.code(), Some(1));
        assert!(String::from_utf8(output.stderr).unwrap().contains("cannot find a journal in"));
    }
    assert!(!absent.exists());
}
