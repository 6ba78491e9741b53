//! What a person sees of `evenkeel` on a terminal of 80 columns, word for word.
//!
//! `UPDATE=1 cargo test -p evenkeel-cli --test transcripts` writes the files anew; look at the difference as a user would.

#![allow(clippy::unwrap_used, reason = "a test fails loudly")]

use std::{fs, path::Path, process::Command};

/// Runs these lines one after the other, and compares what was seen with the file.
fn is_as_in(name: &str, lines: &[&[&str]]) {
    let mut seen = String::new();
    for arguments in lines {
        let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
        let output = command.args(*arguments).env("COLUMNS", "80").output().unwrap();
        let typed: Vec<String> = arguments.iter().map(|word| quoted(word)).collect();
        seen.push_str(&format!("$ evenkeel {}\n", typed.join(" ")));
        seen.push_str(&String::from_utf8_lossy(&output.stdout));
        seen.push_str(&String::from_utf8_lossy(&output.stderr));
        seen.push_str(&format!("[exit {}]\n\n", output.status.code().unwrap()));
    }
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts").join(format!("{name}.txt"));
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, &seen).unwrap();
    }
    let wide: Vec<&str> = seen.lines().filter(|line| line.chars().count() > 80).collect();
    assert!(wide.is_empty(), "wider than 80 columns:\n{}", wide.join("\n"));
    let stored = fs::read_to_string(&file).unwrap_or_default();
    assert!(stored == seen, "{name}.txt is different; UPDATE=1 writes it anew. Seen:\n{seen}\nstored:\n{stored}");
}

fn quoted(word: &str) -> String {
    if word.contains(' ') { format!("'{word}'") } else { word.to_owned() }
}

#[test]
fn help() {
    is_as_in(
        "help",
        &[&["--help"], &["verify-restart", "-h"], &["verify-restart", "--help"], &["completions", "--help"]],
    );
}

#[test]
fn mistakes() {
    is_as_in(
        "mistakes",
        &[
            &[],
            &["verify-restart"],
            &["verify-restart", "./orders"],
            &["verify-restart", "--kinds", "h3", "--", "./orders"],
            &["verify-restart", "--how", "bind", "--", "./orders"],
            &["verify-restart", "--url", "https://localhost", "--how", "bind", "--", "./orders"],
            &["verify-restart", "--", "/nowhere/orders"],
            &["verify-restart", "--", "sh", "-c", "echo no configuration >&2; exit 3"],
            &["verify-restart", "--ready-log", "serving", "--ready-within", "100ms", "--", "sleep", "60"],
        ],
    );
}
