//! Licences, duplicates and sources of dependencies; and advisories, where their database can be reached.
//!
//! The rules are in `deny.toml`. The database of advisories lives in a git repository on the network: without it that
//! one check is skipped aloud and the others are made all the same.

use std::{
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{cargo, tally::Tally};

/// The version that `deny.toml` is written for.
const VERSION: &str = "0.20.2";

/// How long to wait for the database of advisories.
const FETCH: Duration = Duration::from_secs(90);

/// The stage. Each of the four checks counts as one.
pub(crate) fn check() -> Tally {
    if let Err(reason) = available() {
        return Tally::skip(reason);
    }
    let mut tally = Tally::default();
    for what in ["licenses", "bans", "sources"] {
        tally.add(Tally::one(cargo::run(&["deny", "--log-level", "error", "check", what])));
    }
    tally.add(advisories());
    tally
}

fn available() -> Result<(), String> {
    if cargo::has("deny") {
        return Ok(());
    }
    let by_hand = format!("cargo install cargo-deny --locked --version {VERSION}");
    if !cargo::in_ci() {
        return Err(format!("cargo-deny is not installed ({by_hand}; about 7 minutes)"));
    }
    println!("cargo-deny is not installed; installing it takes about 7 minutes on 2 cores");
    if cargo::run(&["install", "cargo-deny", "--locked", "--version", VERSION]) && cargo::has("deny") {
        return Ok(());
    }
    Err(format!("cargo-deny could not be installed (tried: {by_hand})"))
}

fn advisories() -> Tally {
    if let Err(reason) = fetched() {
        return Tally::skip(format!("advisories: {reason}; no dependency was checked for known vulnerabilities"));
    }
    Tally::one(cargo::run(&["deny", "--log-level", "error", "check", "--disable-fetch", "advisories"]))
}

/// Fetches the database. A network that swallows packets must not hold the run.
fn fetched() -> Result<(), String> {
    let mut fetch = cargo::with(&["deny", "--log-level", "off", "fetch", "db"]);
    match within(FETCH, &mut fetch) {
        Some(true) => Ok(()),
        Some(false) => Err("their database cannot be reached".to_owned()),
        None => Err(format!("their database did not answer within {} s", FETCH.as_secs())),
    }
}

/// Whether a command succeeded; `None` if it had to be ended.
fn within(limit: Duration, command: &mut Command) -> Option<bool> {
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
    let until = Instant::now() + limit;
    while Instant::now() < until {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status.success()),
            Ok(None) => thread::sleep(Duration::from_millis(50)),
            Err(_) => return Some(false),
        }
    }
    // It may have ended in this instant; then there is nothing to end.
    let _ = child.kill();
    let _ = child.wait();
    None
}
