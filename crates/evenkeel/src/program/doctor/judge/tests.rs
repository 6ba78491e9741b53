//! Each judgement, from facts that no machine needs to have.

use std::io;

use evenkeel_os::examine::Left;
use evenkeel_plan::{
    budget::Budget,
    graph::Graph,
    limit::Limit,
    spec::{Activity, Spec},
};

use super::*;

const USER: User = User { id: 1000, is_root: false };
const ROOT: User = User { id: 0, is_root: true };

fn plan(limit: Option<Duration>, budget: Duration) -> Plan {
    let mut db = Spec::new("db");
    db.activity = Activity::Passive;
    if let Some(limit) = limit {
        db.stop_within = Limit::fixed(limit);
        db.stop_within_chosen = true;
    }
    Plan::new(&Graph::new(vec![db]).unwrap(), &Budget::new(budget))
}

fn seen(path: &str) -> Seen {
    Seen {
        path: path.into(),
        at: path.into(),
        kind: Kind::Directory,
        is_link: false,
        owner: USER.id,
        mode: 0o700,
        unwritable: None,
        left: Some(Left { bytes: 3 << 30, files: Some(9) }),
    }
}

fn directory(seen: Seen) -> Directory {
    let choice = Choice {
        path: seen.path.clone(),
        refused_mode: 0o022,
        ours_alone: true,
        instead: "set RUNTIME_DIRECTORY to another directory",
    };
    Directory { choice, seen }
}

fn named(seen: Seen) -> Directory {
    let Directory { choice, seen } = directory(seen);
    Directory { choice: Choice { refused_mode: 0, ours_alone: false, ..choice }, seen }
}

fn placed(directory: Directory) -> Finding {
    place("directory", &Ok(directory), USER)
}

fn facts() -> Facts {
    Facts {
        name: "orders".to_owned(),
        plan: Some(plan(None, Duration::from_secs(30))),
        problems: Vec::new(),
        unit: None,
        host: HostKind::Terminal,
        user: USER,
        instance: Instance::Nobody,
        runtime: Ok(directory(seen("/run/user/1000/evenkeel/orders"))),
        state: Ok(named(seen("/var/lib/orders"))),
        receipt: None,
        ports: vec![at("api", "127.0.0.1:8080", Bound::Free), admin("127.0.0.1:0", Bound::Free)],
        open_files: Some(20_000),
        connections: 10_000,
        checks: Vec::new(),
    }
}

fn at(name: &str, addr: &str, bound: Bound) -> Port {
    Port { name: name.to_owned(), addr: addr.to_owned(), admin: false, bound }
}

fn admin(addr: &str, bound: Bound) -> Port {
    Port { admin: true, ..at("admin listener", addr, bound) }
}

/// A verdict, with these words in its finding and these in its hint.
#[track_caller]
fn is(found: &Finding, verdict: Verdict, finding: &str, hint: &str) {
    assert_eq!(found.verdict, verdict, "{found:?}");
    assert!(found.finding.contains(finding), "{found:?}");
    assert!(found.hint.as_deref().unwrap_or_default().contains(hint), "{found:?}");
    assert_eq!(found.hint.is_none(), verdict == Verdict::Ok, "who is warned is told what to do: {found:?}");
}

use Verdict::{Fail, Ok as Good, Warn};

#[test]
fn r2_5a_where_all_is_well_every_finding_is_ok() {
    let findings = judge(&facts());
    assert!(findings.iter().all(|found| found.verdict == Good && found.hint.is_none()), "{findings:#?}");
    let whats: Vec<&str> = findings.iter().map(|found| found.what.as_str()).collect();
    let expected = [
        "configuration",
        "stop budget",
        "stop time",
        "user",
        "instance",
        "runtime directory",
        "state directory",
        "api",
        "admin listener",
        "open files",
    ];
    assert_eq!(whats, expected);
}

#[test]
fn r2_5a_a_refused_configuration_fails_with_each_problem_and_the_rest_is_still_checked() {
    let problem = |text: &str| Problem { text: text.to_owned(), hint: format!("mend {text}") };
    let refused = Facts { plan: None, problems: vec![problem("this"), problem("that")], ..facts() };
    let findings = judge(&refused);
    is(&findings[0], Fail, "this", "mend this");
    is(&findings[1], Fail, "that", "mend that");
    assert!(findings.iter().any(|found| found.what == "open files"), "{findings:#?}");
    let sound_but = Facts { problems: vec![problem("the log's filter")], ..facts() };
    is(&judge(&sound_but)[0], Fail, "the log's filter", "mend");
}

#[test]
fn r2_5a_a_limit_that_was_chosen_and_does_not_fit_is_a_warning() {
    let second = Duration::from_secs(1);
    is(&budget(&plan(None, 30 * second), "orders"), Good, "all limits fit 30.0 s", "");
    is(&budget(&plan(None, second), "orders"), Good, "shrink to fit 1.0 s", "");
    is(&budget(&plan(Some(60 * second), second), "orders"), Warn, "db gets", "`orders graph`");
}

#[test]
fn r2_5a_stop_time_is_held_against_known_defaults_and_never_guessed() {
    let of = |seconds| plan(Some(Duration::from_secs(600)), Duration::from_secs(seconds));
    is(&grace(&of(30), HostKind::Kubernetes), Good, "30.0 s by default", "");
    is(&grace(&of(31), HostKind::Kubernetes), Warn, "up to 31.0 s", "terminationGracePeriodSeconds");
    is(&grace(&of(10), HostKind::Container), Good, "10.0 s by default", "");
    is(&grace(&of(30), HostKind::Container), Warn, "killed", "--budget");
    let unit = |stop, notified| Unit { name: "orders.service".to_owned(), stop, notified };
    let stop = |secs| Some(Duration::from_secs(secs));
    is(&unit_grace(&of(30), &unit(stop(35), false)), Good, "orders.service has 35.0 s", "");
    is(&unit_grace(&of(300), &unit(stop(90), true)), Good, "more as long as the stop gets on", "");
    is(&unit_grace(&of(300), &unit(stop(90), false)), Warn, "then it is killed", "TimeoutStopSec=301");
    is(&unit_grace(&of(300), &unit(None, false)), Good, "has no limit", "");
    is(&grace(&of(300), HostKind::Systemd), Good, "TimeoutStopSec of the unit is not known", "");
    for host in [HostKind::Terminal, HostKind::Other] {
        is(&grace(&of(300), host), Good, "no known limit", "");
    }
}

#[test]
fn r2_5b_root_is_warned_with_what_to_do() {
    is(&account(USER, "orders"), Good, "user 1000", "");
    is(&account(ROOT, "orders"), Warn, "root", "User=orders");
}

#[test]
fn r2_5a_an_instance_that_runs_is_a_failure_with_its_pid() {
    is(&instance(&Instance::Runs(Some(4711)), "orders"), Fail, "already running (pid 4711)", "`orders stop`");
    is(&instance(&Instance::Runs(None), "orders"), Fail, "already running", "--runtime-dir");
    let elsewhere = Instance::Elsewhere("/run/orders".into(), Some(4711));
    is(&instance(&elsewhere, "orders"), Warn, "(pid 4711) with /run/orders", "a second one");
    is(&instance(&Instance::Unknown("no access".to_owned()), "orders"), Warn, "no access", "as the user");
}

#[test]
fn r2_5a_a_directory_is_there_or_can_be_made() {
    is(&placed(directory(seen("/a/b"))), Good, "/a/b, 3 GiB free", "");
    let missing = Seen { at: "/a".into(), ..seen("/a/b") };
    is(&placed(directory(missing.clone())), Good, "/a/b will be made", "");
    let denied = Some("Permission denied".to_owned());
    let locked = Seen { unwritable: denied.clone(), ..missing.clone() };
    is(&placed(directory(locked)), Fail, "/a: Permission denied", "give it to user 1000");
    let under_file = Seen { kind: Kind::File, ..missing };
    is(&placed(directory(under_file)), Fail, "/a is not a directory", "RUNTIME_DIRECTORY");
    let file = Seen { kind: Kind::File, ..seen("/a/b") };
    is(&placed(directory(file)), Fail, "/a/b is not a directory", "move it away");
    let dead = Seen { kind: Kind::DeadLink, is_link: true, ..seen("/a/b") };
    is(&placed(directory(dead)), Fail, "leads nowhere", "move it away");
    is(&placed(directory(Seen { unwritable: denied, ..seen("/a/b") })), Fail, "by user 1000", "chown 1000 /a/b");
    let nowhere = Nowhere { text: "there is no place".to_owned(), hint: "set HOME".to_owned() };
    is(&place("directory", &Err(nowhere), USER), Warn, "there is no place", "set HOME");
}

#[test]
fn r2_5b_file_modes_and_owners_are_checked_as_a_start_checks_them() {
    let others = Seen { owner: 7, ..seen("/a/b") };
    is(&placed(directory(others.clone())), Fail, "belongs to user 7", "remove it");
    is(&placed(named(others)), Warn, "belongs to user 7", "chown 1000 /a/b");
    let open = Seen { mode: 0o757, ..seen("/a/b") };
    is(&placed(directory(open.clone())), Fail, "mode 0757", "chmod go-w /a/b");
    is(&placed(named(open)), Warn, "mode 0757", "chmod o-w /a/b");
    let group = Seen { mode: 0o770, ..seen("/a/b") };
    is(&placed(directory(group.clone())), Fail, "mode 0770", "chmod go-w");
    is(&placed(named(group)), Good, "/a/b", "");
    let link = Seen { is_link: true, ..seen("/a/b") };
    is(&placed(directory(link.clone())), Fail, "symbolic link", "remove it");
    is(&placed(named(link)), Good, "/a/b", "");
}

#[test]
fn r2_5d_a_volume_of_somebody_else_is_named_with_what_to_set() {
    let volume = Seen { owner: 0, ..seen("/data") };
    is(&placed(named(volume)), Warn, "belongs to user 0, and this program runs as user 1000", "fsGroup");
}

#[test]
fn r2_5a_a_full_file_system_is_a_failure() {
    for (left, what) in [(Left { bytes: 0, files: None }, "no space"), (Left { bytes: 9, files: Some(0) }, "no inode")]
    {
        is(&placed(directory(Seen { left: Some(left), ..seen("/a/b") })), Fail, what, "make room");
    }
    is(&placed(directory(Seen { left: None, ..seen("/a/b") })), Good, "/a/b", "");
}

#[test]
fn r2_5a_the_receipt_file_can_be_written() {
    let file = PathBuf::from("/a/receipt.json");
    let judged = |file_seen: Seen, dir: Seen| receipt(&file, &Ok((file_seen, dir)));
    let missing = || Seen { at: "/a".into(), ..seen("/a/receipt.json") };
    let denied = || Some("Permission denied".to_owned());
    is(&judged(missing(), seen("/a")), Good, "/a/receipt.json", "");
    is(&judged(seen("/a/receipt.json"), seen("/a")), Fail, "is a directory", "a file in it");
    is(&judged(missing(), Seen { unwritable: denied(), ..seen("/a") }), Fail, "/a: Permission denied", "--receipt");
    is(&judged(missing(), Seen { at: "/".into(), ..seen("/a") }), Fail, "/a is not a directory", "mkdir -p /a");
    let locked_dir = || Seen { unwritable: denied(), ..seen("/a") };
    let pipe = Seen { kind: Kind::Special, ..seen("/a/receipt.json") };
    is(&judged(pipe.clone(), locked_dir()), Good, "/a/receipt.json", "");
    is(&judged(Seen { unwritable: denied(), ..pipe }, seen("/a")), Fail, "cannot be written", "--receipt");
    let error = io::Error::from(io::ErrorKind::NotFound);
    is(&receipt(&file, &Err(error)), Fail, "cannot be examined", "--receipt");
}

#[test]
fn r2_5a_ports_are_free_or_it_is_said_why_not() {
    let judged = |bound| port(0, &[at("api", "127.0.0.1:80", bound)], &Instance::Nobody);
    is(&judged(Bound::Free), Good, "127.0.0.1:80 is free", "");
    is(&judged(Bound::Taken(None)), Fail, "127.0.0.1:80 is in use", "sport = :80");
    let by = |pid, name: &str| Bound::Taken(Some(Owner { pid, name: name.to_owned() }));
    is(&judged(by(4711, "nginx")), Fail, "127.0.0.1:80 is in use by `nginx` (pid 4711)", "or end who has it");
    is(&judged(by(1, "systemd")), Warn, "is held by `systemd`", "it is given the socket");
    is(&judged(Bound::Forbidden), Fail, "cannot be had by this user", "CAP_NET_BIND_SERVICE");
    is(&judged(Bound::NotOurs), Fail, "not an address of this machine", "0.0.0.0");
    is(&judged(Bound::Unresolved("no such host".to_owned())), Fail, "no such host", "check the name");
    is(&judged(Bound::Refused("odd".to_owned())), Fail, "odd", "another address");
    let held = port(0, &[at("api", "127.0.0.1:80", Bound::Taken(None))], &Instance::Runs(Some(7)));
    is(&held, Fail, "in use", "the instance that runs (pid 7)");
}

#[test]
fn r2_5a_the_admin_port_that_the_system_chooses_refuses_no_start() {
    let judged = |addr: &str, bound| port(0, &[admin(addr, bound)], &Instance::Nobody);
    is(&judged("127.0.0.1:0", Bound::Free), Good, "the system chooses", "");
    is(&judged("127.0.0.1:0", Bound::NotOurs), Warn, "not an address", "`off`");
    is(&judged("127.0.0.1:9100", Bound::Taken(None)), Fail, "in use", "--admin");
}

#[test]
fn r2_5a_two_that_want_one_address_are_named() {
    let two = |addr| [at("api", addr, Bound::Free), at("internal", addr, Bound::Free)];
    is(&port(1, &two("127.0.0.1:80"), &Instance::Nobody), Fail, "already the address of `api`", "another address");
    is(&port(1, &two("127.0.0.1:0"), &Instance::Nobody), Good, "the system chooses", "");
}

#[test]
fn r2_5a_too_few_open_files_are_a_warning() {
    is(&open_files(None, 10_000), Good, "no limit", "");
    is(&open_files(Some(10_256), 10_000), Good, "10256 allowed", "");
    is(&open_files(Some(10_255), 10_000), Warn, "10000 connections", "LimitNOFILE=10256");
    is(&open_files(Some(100), 0), Warn, "100 allowed", "ulimit -n 256");
}
