//! The instance lock between processes.
#![allow(clippy::unwrap_used, reason = "a failed helper fails its test")]

use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use evenkeel_os::lock::{LOCK_FILE, lock_instance};

/// A process that holds the lock on `dir`, and says so before this returns.
fn holder(dir: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_holds_the_lock", "--ignored", "--nocapture"])
        .env("LOCK_DIR", dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let stdout = child.stdout.as_mut().unwrap();
    let lines = BufReader::new(stdout).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.ends_with("locked")), "the child holds the lock");
    child
}

#[test]
#[ignore = "runs as a child of the tests below, until its input ends"]
fn child_holds_the_lock() {
    let Some(dir) = std::env::var_os("LOCK_DIR") else {
        return;
    };
    let _lock = lock_instance(Path::new(&dir)).unwrap().expect("free");
    println!("locked");
    let _ = std::io::stdin().read_line(&mut String::new());
}

#[test]
fn a_second_instance_is_told_the_process_id_of_the_first() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = holder(dir.path());
    let held = lock_instance(dir.path()).unwrap().expect_err("held by the child");
    assert_eq!(held.pid, Some(first.id()));
    drop(first.stdin.take());
    first.wait().unwrap();
    lock_instance(dir.path()).unwrap().expect("free after the child's end");
}

#[test]
fn a_killed_instance_leaves_the_lock_free() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = holder(dir.path());
    first.kill().unwrap();
    first.wait().unwrap();
    let lock = lock_instance(dir.path()).unwrap().expect("free after the child's death");
    let content = std::fs::read_to_string(lock.path()).unwrap();
    assert_eq!(content.trim(), std::process::id().to_string(), "our id, and nothing left of the child's");
}

#[test]
fn a_symbolic_link_in_place_of_the_lock_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let victim = dir.path().join("victim");
    std::fs::write(&victim, "precious").unwrap();
    symlink(&victim, dir.path().join(LOCK_FILE)).unwrap();
    lock_instance(dir.path()).expect_err("refused");
    assert_eq!(std::fs::read_to_string(victim).unwrap(), "precious");
}
