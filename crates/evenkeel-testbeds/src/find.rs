//! Where servers are, and where they may listen.

use std::{
    env, fs,
    net::{Ipv4Addr, TcpListener},
    path::PathBuf,
};

/// A program on `PATH`, or in one of these directories; the last of the directories that has it, so that the newest
/// version is found.
pub(crate) fn program(name: &str, beside: &[&str]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let mut candidates: Vec<PathBuf> = beside.iter().flat_map(|pattern| expand(pattern)).collect();
    candidates.sort();
    candidates.reverse();
    candidates.extend(env::split_paths(&path));
    candidates.into_iter().map(|directory| directory.join(name)).find(|file| file.is_file())
}

/// `/usr/lib/postgresql/*/bin`: the one star is any directory.
fn expand(pattern: &str) -> Vec<PathBuf> {
    let Some((before, after)) = pattern.split_once("/*/") else { return vec![PathBuf::from(pattern)] };
    let Ok(entries) = fs::read_dir(before) else { return Vec::new() };
    entries.filter_map(Result::ok).map(|entry| entry.path().join(after)).collect()
}

/// A port that nobody listens at now. Somebody else may take it before the server does; that server then fails to start
/// and says so.
///
/// # Panics
/// If the loopback interface has no free port.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("the loopback interface has a free port");
    listener.local_addr().expect("a bound listener has an address").port()
}

/// Says that a test leaves itself out, in the words that the test run counts.
pub(crate) fn missing(server: &str, package: &str) {
    println!("SKIPPED: {server} is not installed (apt-get install {package}); what needs it was not tested");
}
