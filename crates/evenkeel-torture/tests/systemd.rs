//! Services under a real systemd: what it is told, and what it does about it.

#![allow(missing_docs, clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::time::{Duration, Instant};

use evenkeel_load::{Load, Plan, Table, Target};
use evenkeel_testbeds::{Systemd, free_port};

/// Nothing here takes longer, not even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);
const ORDERS: &str = env!("CARGO_BIN_EXE_orders");
const FIXTURE: &str = env!("CARGO_BIN_EXE_torture-fixture");

/// A unit that runs this command, with more lines for its `[Service]`.
fn service(command: &str, more: &str) -> String {
    format!(
        "[Unit]\nDefaultDependencies=no\nStartLimitIntervalSec=0\n[Service]\nType=notify\nExecStart={command}\nRuntimeDirectory=%N\n\
         StateDirectory=%N\nStandardError=append:/run/%N.log\n{more}\n"
    )
}

/// Does something to the service again and again while it is under load.
fn under_load(port: u16, times: usize, act: impl Fn()) -> Table {
    let target = Target::new(([127, 0, 0, 1], port).into(), "/");
    let load = Load::start(Plan::new(target)).unwrap();
    for _ in 0..times {
        load.until_answered(100, PATIENCE).unwrap();
        load.restart_begins();
        act();
        load.restart_ends();
    }
    load.until_answered(100, PATIENCE).unwrap();
    let table = load.end();
    println!("{table}");
    table
}

fn lost(table: &Table) -> u64 {
    table.rows.iter().map(|row| row.requests - row.answered).sum()
}

#[test]
fn a_reload_that_hands_over_changes_the_main_process_and_loses_nothing_r4_1b() {
    let port = free_port();
    let more = format!("ExecReload={ORDERS} restart --no-wait\nTimeoutStopSec=20");
    let unit = service(&format!("{ORDERS} --listen 127.0.0.1:{port}"), &more);
    let Some(systemd) = Systemd::start(&[("orders.service", unit)]) else { return };
    systemd.does(&["start", "orders"]);
    assert_eq!(systemd.property("orders", "StatusText"), "running");
    let first = systemd.property("orders", "MainPID");
    let table = under_load(port, 5, || {
        let before = systemd.property("orders", "MainPID");
        systemd.does(&["reload", "orders"]);
        systemd.until("orders", "MainPID", |pid| pid != before);
    });
    assert_eq!(lost(&table), 0, "{table}\n{}", systemd.log());
    assert_ne!(systemd.property("orders", "MainPID"), first);
    assert_eq!(systemd.property("orders", "ActiveState"), "active");
    systemd.does(&["stop", "orders"]);
    assert_eq!(systemd.property("orders", "Result"), "success", "{}", systemd.log());
}

#[test]
fn a_restart_behind_a_socket_unit_loses_nothing_r4_1b() {
    let port = free_port();
    let socket = format!(
        "[Unit]\nDefaultDependencies=no\n[Socket]\nListenStream=127.0.0.1:{port}\nFileDescriptorName=api\nBacklog=4096\n"
    );
    // Its own address is another: what it is given counts.
    let unit = service(&format!("{ORDERS} --listen 127.0.0.1:1"), "TimeoutStopSec=20");
    let Some(systemd) = Systemd::start(&[("orders.service", unit), ("orders.socket", socket)]) else { return };
    systemd.does(&["start", "orders.socket"]);
    let table = under_load(port, 5, || systemd.does(&["restart", "orders.service"]));
    assert_eq!(lost(&table), 0, "{table}\n{}", systemd.log());
}

#[test]
fn a_restart_with_sockets_in_the_managers_store_loses_nothing_r4_1b() {
    let port = free_port();
    let more = "FileDescriptorStoreMax=4\nTimeoutStopSec=20";
    let unit = service(&format!("{ORDERS} --listen 127.0.0.1:{port}"), more);
    let Some(systemd) = Systemd::start(&[("orders.service", unit)]) else { return };
    systemd.does(&["start", "orders"]);
    systemd.until("orders", "NFileDescriptorStore", |stored| stored == "1");
    let table = under_load(port, 5, || {
        systemd.does(&["restart", "orders"]);
        systemd.until("orders", "NFileDescriptorStore", |stored| stored == "1");
    });
    assert_eq!(lost(&table), 0, "{table}\n{}", systemd.log());
}

#[test]
fn the_watchdog_restarts_what_is_stuck_and_not_what_is_busy_r2_3e() {
    let port = free_port();
    let busy = service(&format!("{ORDERS} --listen 127.0.0.1:{port}"), "WatchdogSec=2\nRestart=on-watchdog");
    let stuck = service(&format!("{FIXTURE} spins-everywhere"), "WatchdogSec=2\nRestart=on-watchdog\nRestartSec=100ms");
    let Some(systemd) = Systemd::start(&[("busy.service", busy), ("stuck.service", stuck)]) else { return };
    systemd.does(&["start", "busy", "stuck"]);
    let table = under_load(port, 1, || {
        systemd.until("stuck", "NRestarts", |restarts| restarts != "0");
    });
    assert_eq!(systemd.property("busy", "NRestarts"), "0", "{}", systemd.log());
    assert_eq!(lost(&table), 0, "{table}");
    let _ = systemd.systemctl(&["kill", "--signal=KILL", "stuck"]);
}

#[test]
fn a_stop_that_gets_on_may_take_longer_than_its_limit_and_one_that_is_stuck_may_not_r3_2e() {
    let moves = service(&format!("{FIXTURE} closes-slowly --budget 50s"), "TimeoutStopSec=1");
    let stuck = service(&format!("{FIXTURE} never-closes --budget 50s"), "TimeoutStopSec=1");
    let Some(systemd) = Systemd::start(&[("moves.service", moves), ("stuck.service", stuck)]) else { return };
    systemd.does(&["start", "moves", "stuck"]);
    let began = Instant::now();
    systemd.does(&["stop", "moves"]);
    assert!(began.elapsed() > Duration::from_secs(1), "it takes longer than its limit");
    assert_eq!(systemd.property("moves", "Result"), "success", "{}", systemd.log());
    // It is told to stop, extended once because that is news, and killed long before its own budget.
    let _ = systemd.systemctl(&["stop", "stuck"]);
    assert_eq!(systemd.property("stuck", "Result"), "timeout", "{}", systemd.log());
}

/// By its own command, hardened, and as often as one likes.
#[test]
fn a_program_installs_itself_runs_in_its_sandbox_and_uninstalls_itself_r1d_r2_5b() {
    let port = free_port();
    let Some(systemd) = Systemd::start(&[]) else { return };
    // Wherever this tree is: the service sees neither homes nor temporary directories.
    let program = "/run/installed/orders";
    assert!(systemd.inside("install").args(["-D", ORDERS, program]).status().unwrap().success());
    let orders = |arguments: &[&str]| {
        let mut command = systemd.inside(program);
        command.arg(arguments[0]).arg("--unit-dir").arg(systemd.units()).args(&arguments[1..]);
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        (output.status.code(), said)
    };
    let listen = format!("127.0.0.1:{port}");
    let wanted = ["--listen", &listen, "--budget", "20s"];
    let install = [&["install", "--no-enable"], &wanted[..]].concat();
    let first = orders(&install);
    assert_eq!(first.0, Some(0), "{}", first.1);
    assert!(orders(&install).1.contains("is installed already"), "twice is once");
    assert_eq!(orders(&[&["diff"], &wanted[..]].concat()).0, Some(0));
    let other = orders(&["diff", "--listen", &listen]);
    assert!(
        other.0 == Some(1) && other.1.contains("- TimeoutStopSec=25") && other.1.contains("+ TimeoutStopSec=35"),
        "{other:?}"
    );

    let doctor = systemd.inside(program).args(["doctor", "--budget", "20s"]).output().unwrap();
    let doctor = String::from_utf8_lossy(&doctor.stdout).split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(doctor.contains("orders.service has 25.0 s"), "{doctor}");
    systemd.does(&["start", "orders"]);
    assert_eq!(systemd.property("orders", "StatusText"), "running", "{}", systemd.log());
    let table = under_load(port, 2, || systemd.does(&["reload", "orders"]));
    assert_eq!(lost(&table), 0, "{table}\n{}", systemd.log());
    let removed = orders(&["uninstall"]);
    assert_eq!(removed.0, Some(0), "{}", removed.1);
    assert_eq!(systemd.property("orders", "LoadState"), "not-found");
    assert!(orders(&["uninstall"]).1.contains("is not installed"), "twice is once");
}

/// What `systemd-analyze` says of the unit, without a manager.
#[test]
fn the_unit_is_sound_and_its_exposure_is_at_most_1_5_r2_5b() {
    let units = tempfile::tempdir().unwrap();
    let print = std::process::Command::new(ORDERS).args(["install", "--print-unit"]).output().unwrap();
    let file = units.path().join("orders.service");
    std::fs::write(&file, &print.stdout).unwrap();
    for arguments in [&["verify"][..], &["security", "--offline=yes", "--threshold=15"]] {
        let analyzed = std::process::Command::new("systemd-analyze").args(arguments).arg(&file).output();
        let Ok(analyzed) = analyzed else {
            println!("SKIPPED: systemd-analyze is not installed (apt-get install systemd); the unit was not analyzed");
            return;
        };
        let said = [analyzed.stdout, analyzed.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
        assert!(analyzed.status.success(), "{arguments:?}: {said}");
        println!("{}", said.lines().last().unwrap_or_default());
    }
}
