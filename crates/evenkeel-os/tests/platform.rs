//! Which host runs us: decided from given facts, and the real facts read once.
#![allow(clippy::unwrap_used, reason = "a failed helper fails its test")]

use std::ffi::OsString;

use evenkeel_os::platform::{HostFacts, HostKind, host_kind, open_file_limit, process_id, user};

const PLAIN: HostFacts = HostFacts { pid: 4711, terminal: false, container_mark: false };

fn kind(set: &[&str], facts: HostFacts) -> HostKind {
    host_kind(&|name| set.contains(&name).then(|| OsString::from("x")), &facts)
}

#[test]
fn each_host_is_known_by_its_sign_r1c() {
    let terminal = HostFacts { terminal: true, ..PLAIN };
    let first = HostFacts { pid: 1, ..PLAIN };
    let marked = HostFacts { container_mark: true, ..PLAIN };
    assert_eq!(kind(&[], PLAIN), HostKind::Other);
    assert_eq!(kind(&[], terminal), HostKind::Terminal);
    assert_eq!(kind(&["INVOCATION_ID"], PLAIN), HostKind::Systemd);
    assert_eq!(kind(&["NOTIFY_SOCKET"], PLAIN), HostKind::Systemd);
    assert_eq!(kind(&[], first), HostKind::Container);
    assert_eq!(kind(&[], marked), HostKind::Container);
    assert_eq!(kind(&["container"], PLAIN), HostKind::Container);
    assert_eq!(kind(&["KUBERNETES_SERVICE_HOST"], PLAIN), HostKind::Kubernetes);
}

#[test]
fn the_sign_that_sets_the_stop_limit_wins_r1c() {
    let everything = HostFacts { pid: 1, terminal: true, container_mark: true };
    assert_eq!(kind(&["KUBERNETES_SERVICE_HOST", "INVOCATION_ID"], everything), HostKind::Kubernetes);
    assert_eq!(kind(&["NOTIFY_SOCKET"], everything), HostKind::Systemd);
    assert_eq!(kind(&[], everything), HostKind::Container, "docker run -it");
}

#[test]
fn a_shell_in_a_terminal_that_systemd_started_is_a_terminal_r1c() {
    let shell = HostFacts { terminal: true, ..PLAIN };
    assert_eq!(kind(&["INVOCATION_ID"], shell), HostKind::Terminal);
}

#[test]
fn an_empty_variable_is_no_sign_r1c() {
    assert_eq!(host_kind(&|_| Some(OsString::new()), &PLAIN), HostKind::Other);
}

#[test]
fn the_facts_of_this_process_are_read() {
    let facts = HostFacts::gather();
    assert_eq!(facts.pid, process_id());
    assert!(open_file_limit().is_none_or(|limit| limit > 2));
    assert_eq!(user().is_root, user().id == 0);
}
