//! `doctor`: what a start would need, checked before it.
//!
//! Policy:
//! - Nothing is started, created or changed. Two things are touched for a moment, because the system answers no other
//!   way: an address is bound without listening, and the instance lock is shared.
//! - This module gathers facts; [`judge`] decides, purely, what they mean; [`report`] shows it.
//! - A failure is what would refuse a start, or make it go without something that it should have: a directory, a file. A
//!   warning is what may be meant; a start works. What cannot be known is said to be unknown, and fails nothing.
//! - Every warning and every failure says what to do.

pub(super) mod checks;
mod judge;
mod report;
pub(super) mod unit;

use std::{
    io,
    net::{SocketAddr, ToSocketAddrs},
    path::{Path, PathBuf},
};

use evenkeel_os::{
    dirs::{Choice, DirError, choose_runtime_dir, choose_state_dir, runtime_dir_candidates},
    env::{Env, process_env},
    examine::{Seen, examine},
    lock::holder,
    platform::{HostFacts, host_kind, open_file_limit, user},
    sockets::{owner_of, try_bind},
};
use evenkeel_plan::cause::exit;

use self::judge::{Bound, Directory, Facts, Instance, Port, Verdict};
use super::{Exit, WIDTH, line::Options, logs, print};
use crate::{App, lease::lock};

/// Checks, says what was found, and starts nothing.
pub(super) fn doctor(mut app: App, options: &Options, json: bool) -> Exit {
    options.apply(&mut app);
    let name = app.name.clone();
    let findings = judge::judge(&gather(app, options));
    print(&if json { report::json(&name, &findings) } else { report::table(&findings, WIDTH) });
    let failed = findings.iter().any(|finding| finding.verdict == Verdict::Fail);
    Exit::new(if failed { exit::CONFIG } else { 0 })
}

fn gather(app: App, options: &Options) -> Facts {
    let name = app.name.clone();
    let (ports, connections) = ports(&app);
    let checks = checks::run(std::mem::take(&mut *lock(&app.checks)));
    let runtime = directory(options.runtime_dir.as_deref(), &name, choose_runtime_dir);
    let state = directory(options.state_dir.as_deref(), &name, choose_state_dir);
    let instance = runtime.as_ref().ok().map(|dir| instance(&dir.choice.path, &name, options));
    let (plan, mut problems) = match app.build() {
        Ok(built) => (Some(built.plan), Vec::new()),
        Err(problems) => (None, problems),
    };
    problems.extend(logs::problem(options));
    Facts {
        plan,
        problems,
        host: host_kind(&process_env, &HostFacts::gather()),
        unit: unit::of(&name),
        user: user(),
        instance: instance.unwrap_or(Instance::Nobody),
        runtime,
        state,
        receipt: options.receipt.as_deref().map(|file| (file.to_path_buf(), receipt(file))),
        ports,
        open_files: open_file_limit(),
        connections,
        checks,
        name,
    }
}

fn directory(
    option: Option<&Path>,
    name: &str,
    choose: fn(&str, Env<'_>) -> Result<Choice, DirError>,
) -> Result<Directory, judge::Nowhere> {
    let choice = match option {
        Some(path) => {
            Choice { path: path.to_path_buf(), refused_mode: 0, ours_alone: false, instead: "name another directory" }
        }
        None => choose(name, &process_env)
            .map_err(|error| judge::Nowhere { text: error.to_string(), hint: error.hint.clone() })?,
    };
    let seen = examine(&choice.path).map_err(|error| judge::Nowhere {
        text: format!("{} cannot be examined: {error}", choice.path.display()),
        hint: choice.instead.to_owned(),
    })?;
    Ok(Directory { choice, seen })
}

/// One with another runtime directory (that of a systemd unit, asked about from a shell) is no obstacle in itself.
fn instance(dir: &Path, name: &str, options: &Options) -> Instance {
    match holder(dir) {
        Ok(None) => {}
        Ok(Some(held)) => return Instance::Runs(held.pid),
        Err(error) => return Instance::Unknown(error.to_string()),
    }
    let others = match options.runtime_dir {
        Some(_) => Vec::new(),
        None => runtime_dir_candidates(name, &process_env),
    };
    let held = |dir: PathBuf| Some((holder(&dir).ok()??.pid, dir));
    let elsewhere = others.into_iter().find_map(held);
    elsewhere.map_or(Instance::Nobody, |(pid, dir)| Instance::Elsewhere(dir, pid))
}

/// The file, if it is there, and the directory that it is in: a plain file is replaced whole, which takes the directory.
fn receipt(file: &Path) -> io::Result<(Seen, Seen)> {
    let seen = examine(file)?;
    let parent = seen.path.parent().map_or_else(|| PathBuf::from("/"), Path::to_path_buf);
    Ok((seen, examine(&parent)?))
}

/// Every address that a start would take, and how many connections the components of the program hold at most.
fn ports(app: &App) -> (Vec<Port>, u64) {
    let declared = lock(&app.declared);
    let listeners = declared.entries.iter().filter_map(|entry| {
        let addr = entry.behaviour.listens_at()?;
        Some((entry.spec.name.clone(), addr))
    });
    let listeners: Vec<_> = listeners.collect();
    drop(declared);
    let connections = connections(app);
    let probed = listeners.into_iter().map(|(name, addr)| Port { bound: probe(&addr), name, addr, admin: false });
    (probed.chain(admin(app)).collect(), connections)
}

/// How many connections the components of the program hold at most.
pub(super) fn connections(app: &App) -> u64 {
    lock(&app.declared).entries.iter().map(|entry| most_connections(&*entry.behaviour)).sum()
}

#[cfg(feature = "http")]
fn most_connections(behaviour: &dyn crate::part::Behaviour) -> u64 {
    behaviour.http().map_or(0, |settings| lock(settings).connections() as u64)
}

/// Nothing else listens.
#[cfg(not(feature = "http"))]
fn most_connections(_: &dyn crate::part::Behaviour) -> u64 {
    0
}

#[cfg(feature = "http")]
fn admin(app: &App) -> Option<Port> {
    let addr = app.settings.admin?.to_string();
    Some(Port { name: "admin listener".to_owned(), bound: probe(&addr), addr, admin: true })
}

#[cfg(not(feature = "http"))]
fn admin(_: &App) -> Option<Port> {
    None
}

/// A name may have several addresses; a listener takes the first that it can have.
fn probe(addr: &str) -> Bound {
    let addrs = match addr.to_socket_addrs() {
        Ok(addrs) => addrs,
        Err(error) => return Bound::Unresolved(error.to_string()),
    };
    let mut last = Bound::Unresolved("the name has no address".to_owned());
    for addr in addrs {
        last = match try_bind(addr) {
            Ok(()) => return Bound::Free,
            Err(error) => refused(addr, &error),
        };
    }
    last
}

fn refused(addr: SocketAddr, error: &io::Error) -> Bound {
    match error.kind() {
        io::ErrorKind::AddrInUse => Bound::Taken(owner_of(addr.port())),
        io::ErrorKind::PermissionDenied => Bound::Forbidden,
        io::ErrorKind::AddrNotAvailable => Bound::NotOurs,
        _ => Bound::Refused(error.to_string()),
    }
}
