//! The example as a real process, from its start to a SIGTERM.

#![allow(clippy::unwrap_used, reason = "a failed helper fails its test")]
#![cfg(unix)]

use std::{
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use sqlx::{Connection as _, SqliteConnection, sqlite::SqliteConnectOptions};

/// Nothing here takes longer, not even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Beside the test's own program, where cargo puts examples.
fn program(name: &str) -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.parent().and_then(Path::parent).unwrap().join("examples").join(name)
}

fn until(what: &str, log: &Path, mut so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < PATIENCE, "never so: {what}\n{}", fs::read_to_string(log).unwrap_or_default());
        sleep(Duration::from_millis(20));
    }
}

#[tokio::test]
async fn the_sweeper_ends_through_cancellation_with_all_that_it_did_in_one_file_r4_2a() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let mut command = Command::new(program("sweeper"));
    command.current_dir(directory.path()).env("STATE_DIRECTORY", directory.path()).stdin(Stdio::null());
    command.env("RUNTIME_DIRECTORY", directory.path()).stdout(Stdio::null()).stderr(File::create(&log).unwrap());
    let mut sweeper = Killed(command.spawn().unwrap());
    until("it sweeps", &log, || fs::read_to_string(&log).unwrap().matches("carts").count() >= 2);

    kill_process(Pid::from_child(&sweeper.0), Signal::TERM).unwrap();
    let mut status = None;
    until("it ends", &log, || {
        status = sweeper.0.try_wait().unwrap();
        status.is_some()
    });
    let said = fs::read_to_string(&log).unwrap();
    assert_eq!(status.unwrap().code(), Some(0), "{said}");
    assert!(said.contains("SQLite 3."), "{said}");
    let file = directory.path().join("sweeper.db");
    assert!(!directory.path().join("sweeper.db-wal").exists(), "{said}");
    let mut database = SqliteConnection::connect_with(&SqliteConnectOptions::new().filename(file)).await.unwrap();
    let carts: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM carts").fetch_one(&mut database).await.unwrap();
    assert!(carts > 0, "{said}");
}
