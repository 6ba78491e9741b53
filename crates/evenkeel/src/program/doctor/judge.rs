//! What the facts mean: from [`Facts`] to [`Finding`]s, without asking anybody anything.

use std::{path::PathBuf, time::Duration};

use evenkeel_os::{
    dirs::Choice,
    examine::{Kind, Seen},
    platform::{HostKind, User},
    sockets::Owner,
};
use evenkeel_plan::{budget::Plan, limit::seconds};
use serde::Serialize;

use super::unit::Unit;
use crate::{app::Problem, program::service::misfit};

/// Files that a program has open beside its connections: logs, a database's, its own.
const OTHER_FILES: u64 = 256;
/// How long Kubernetes waits between SIGTERM and SIGKILL unless told otherwise.
const POD_GRACE: Duration = Duration::from_secs(30);
/// How long container engines wait unless told otherwise.
const CONTAINER_GRACE: Duration = Duration::from_secs(10);
/// Write permission for everybody.
const WORLD_WRITE: u32 = 0o002;

/// What was gathered.
pub(super) struct Facts {
    pub(super) name: String,
    /// `None`: the app was refused, with problems.
    pub(super) plan: Option<Plan>,
    pub(super) problems: Vec<Problem>,
    pub(super) host: HostKind,
    /// The service that systemd has of this name.
    pub(super) unit: Option<Unit>,
    pub(super) user: User,
    pub(super) instance: Instance,
    pub(super) runtime: Result<Directory, Nowhere>,
    pub(super) state: Result<Directory, Nowhere>,
    /// The file that was asked for; it as it is, and its directory.
    pub(super) receipt: Option<(PathBuf, std::io::Result<(Seen, Seen)>)>,
    pub(super) ports: Vec<Port>,
    /// `None`: no limit.
    pub(super) open_files: Option<u64>,
    /// How many connections the program accepts at most.
    pub(super) connections: u64,
    /// What its own checks have said.
    pub(super) checks: Vec<Checked>,
}

/// A directory that a start would use.
#[derive(Clone, Debug)]
pub(super) struct Directory {
    pub(super) choice: Choice,
    pub(super) seen: Seen,
}

/// There is no directory that a start could use.
#[derive(Clone, Debug)]
pub(super) struct Nowhere {
    pub(super) text: String,
    pub(super) hint: String,
}

/// Who holds the instance lock.
#[derive(Clone, Debug)]
pub(super) enum Instance {
    Nobody,
    Runs(Option<u32>),
    /// One that has another runtime directory.
    Elsewhere(PathBuf, Option<u32>),
    Unknown(String),
}

/// An address that a start would take.
#[derive(Clone, Debug)]
pub(super) struct Port {
    /// Whose it is.
    pub(super) name: String,
    pub(super) addr: String,
    pub(super) admin: bool,
    pub(super) bound: Bound,
}

/// How it went to take an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Bound {
    Free,
    /// By whom, if that can be seen.
    Taken(Option<Owner>),
    Forbidden,
    /// No interface of this machine has it.
    NotOurs,
    Unresolved(String),
    Refused(String),
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Ok,
    Warn,
    Fail,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    pub(super) verdict: Verdict,
    /// What was checked.
    pub(super) what: String,
    pub(super) finding: String,
    /// What to do; not for what is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) hint: Option<String>,
}

impl Finding {
    fn ok(what: impl Into<String>, finding: impl Into<String>) -> Self {
        Self { verdict: Verdict::Ok, what: what.into(), finding: finding.into(), hint: None }
    }

    fn warn(what: impl Into<String>, finding: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { verdict: Verdict::Warn, what: what.into(), finding: finding.into(), hint: Some(hint.into()) }
    }

    fn fail(what: impl Into<String>, finding: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { verdict: Verdict::Fail, ..Self::warn(what, finding, hint) }
    }
}

/// What a check of the program's own has said.
#[derive(Clone, Debug)]
pub(super) struct Checked {
    pub(super) name: String,
    /// What it found, or why it failed, with what to do.
    pub(super) said: Result<String, (String, Option<String>)>,
}

/// All findings, in the order in which a start would come upon them.
pub(super) fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = configuration(facts.plan.as_ref(), &facts.problems);
    if let Some(plan) = &facts.plan {
        findings.push(budget(plan, &facts.name));
        findings.push(match &facts.unit {
            Some(unit) => unit_grace(plan, unit),
            None => grace(plan, facts.host),
        });
    }
    findings.push(account(facts.user, &facts.name));
    findings.push(instance(&facts.instance, &facts.name));
    findings.push(place("runtime directory", &facts.runtime, facts.user));
    findings.push(place("state directory", &facts.state, facts.user));
    if let Some((file, seen)) = &facts.receipt {
        findings.push(receipt(file, seen));
    }
    findings.extend((0..facts.ports.len()).map(|at| port(at, &facts.ports, &facts.instance)));
    findings.push(open_files(facts.open_files, facts.connections));
    findings.extend(facts.checks.iter().map(own));
    findings
}

/// A check of the program's own.
fn own(Checked { name, said }: &Checked) -> Finding {
    match said {
        Ok(found) => Finding::ok(name, found),
        Err((why, hint)) => {
            Finding::fail(name, why, hint.clone().unwrap_or_else(|| "see what the program needs for this".to_owned()))
        }
    }
}

fn configuration(plan: Option<&Plan>, problems: &[Problem]) -> Vec<Finding> {
    const WHAT: &str = "configuration";
    match plan {
        Some(plan) if problems.is_empty() => vec![Finding::ok(WHAT, counted(plan.rows.len(), "component"))],
        _ => problems.iter().map(|problem| Finding::fail(WHAT, &problem.text, &problem.hint)).collect(),
    }
}

fn budget(plan: &Plan, name: &str) -> Finding {
    const WHAT: &str = "stop budget";
    let total = seconds(plan.budget.total);
    match misfit(plan, name) {
        Some((text, hint)) => Finding::warn(WHAT, text, hint),
        None if plan.shrunk => Finding::ok(WHAT, format!("default limits shrink to fit {total}: see `{name} graph`")),
        None => Finding::ok(WHAT, format!("all limits fit {total}")),
    }
}

/// What the platform grants a stop is not in the environment; where its default is known and short, that is said.
fn grace(plan: &Plan, host: HostKind) -> Finding {
    const WHAT: &str = "stop time";
    let takes = format!("up to {}", seconds(plan.worst_case));
    let (grants, grace, how) = match host {
        HostKind::Kubernetes => ("a pod", POD_GRACE, "terminationGracePeriodSeconds"),
        HostKind::Container => ("a container", CONTAINER_GRACE, "the stop timeout (`stop -t`, `stop_grace_period`)"),
        HostKind::Systemd => return Finding::ok(WHAT, format!("{takes}; TimeoutStopSec of the unit is not known")),
        HostKind::Terminal | HostKind::Other => return Finding::ok(WHAT, format!("{takes}; no known limit")),
    };
    let granted = seconds(grace);
    if plan.worst_case <= grace {
        return Finding::ok(WHAT, format!("{takes}; {grants} has {granted} by default"));
    }
    let text = format!("{takes}, and {grants} has {granted} unless told otherwise; then it is killed");
    Finding::warn(WHAT, text, format!("set {how} to more than that, or give a shorter `--budget`"))
}

/// What systemd grants the unit of this program.
fn unit_grace(plan: &Plan, unit: &Unit) -> Finding {
    const WHAT: &str = "stop time";
    let (takes, name) = (format!("up to {}", seconds(plan.worst_case)), &unit.name);
    let Some(stop) = unit.stop else { return Finding::ok(WHAT, format!("{takes}; {name} has no limit")) };
    let granted = seconds(stop);
    if plan.worst_case <= stop {
        return Finding::ok(WHAT, format!("{takes}; {name} has {granted}"));
    }
    if unit.notified {
        return Finding::ok(WHAT, format!("{takes}; {name} has {granted}, and more as long as the stop gets on"));
    }
    let text = format!("{takes}, and {name} has {granted}; then it is killed");
    let hint = format!(
        "set `TimeoutStopSec={}` and `Type=notify` there (`systemctl edit {name}`), or give a shorter `--budget`",
        plan.worst_case.as_secs() + 1
    );
    Finding::warn(WHAT, text, hint)
}

fn account(user: User, name: &str) -> Finding {
    const WHAT: &str = "user";
    if !user.is_root {
        return Finding::ok(WHAT, format!("user {}, not privileged", user.id));
    }
    Finding::warn(
        WHAT,
        "runs as root: whoever breaks into this program has the whole machine",
        format!(
            "run it as a user of its own: `User={name}` in a systemd unit, `USER` in a container image, \
             `runAsNonRoot: true` in a pod"
        ),
    )
}

fn instance(instance: &Instance, name: &str) -> Finding {
    const WHAT: &str = "instance";
    match instance {
        Instance::Nobody => Finding::ok(WHAT, "no other one runs"),
        Instance::Runs(pid) => Finding::fail(
            WHAT,
            format!("{name} is already running{}", in_brackets(*pid)),
            format!("stop it with `{name} stop`, or give this one another `--runtime-dir`"),
        ),
        Instance::Elsewhere(dir, pid) => Finding::warn(
            WHAT,
            format!("{name} is already running{} with {}", in_brackets(*pid), dir.display()),
            format!("stop it with `{name} stop` if only one is to run; a start here would be a second one"),
        ),
        Instance::Unknown(why) => Finding::warn(
            WHAT,
            format!("the lock cannot be read, so one may run: {why}"),
            "ask as the user that the service runs as, or name another `--runtime-dir`",
        ),
    }
}

fn place(what: &str, place: &Result<Directory, Nowhere>, user: User) -> Finding {
    match place {
        // A start without a directory works, and says what is missing.
        Err(Nowhere { text, hint }) => Finding::warn(what, text, hint),
        Ok(Directory { choice, seen }) if seen.exists() => present(what, choice, seen, user),
        Ok(Directory { choice, seen }) => absent(what, choice, seen, user),
    }
}

/// A directory that has to be made.
fn absent(what: &str, choice: &Choice, seen: &Seen, user: User) -> Finding {
    let (path, at) = (choice.path.display(), seen.at.display());
    let fail = |why: String, hint: String| Finding::fail(what, format!("{path} cannot be made: {why}"), hint);
    if seen.kind != Kind::Directory {
        return fail(format!("{at} is not a directory"), format!("move {at} away, or {}", choice.instead));
    }
    if let Some(why) = &seen.unwritable {
        let hint = format!("make it by hand and give it to user {}, or {}", user.id, choice.instead);
        return fail(format!("{at}: {why}"), hint);
    }
    full(what, seen).unwrap_or_else(|| Finding::ok(what, format!("{path} will be made{}", room(seen))))
}

/// A directory that is there.
fn present(what: &str, choice: &Choice, seen: &Seen, user: User) -> Finding {
    let path = choice.path.display();
    if seen.kind != Kind::Directory {
        let is = if seen.kind == Kind::DeadLink { "is a link that leads nowhere" } else { "is not a directory" };
        return Finding::fail(what, format!("{path} {is}"), format!("move it away, or {}", choice.instead));
    }
    if let Some(found) = foreign(what, choice, seen, user) {
        return found;
    }
    if let Some(why) = &seen.unwritable {
        let hint = format!("run: chown {} {path}, or {}", user.id, choice.instead);
        return Finding::fail(what, format!("{path} cannot be written by user {}: {why}", user.id), hint);
    }
    full(what, seen)
        .or_else(|| shared(what, choice, seen, user))
        .unwrap_or_else(|| Finding::ok(what, format!("{path}{}", room(seen))))
}

/// What a start refuses because of others who have a hand in it.
fn foreign(what: &str, choice: &Choice, seen: &Seen, user: User) -> Option<Finding> {
    let path = choice.path.display();
    let (owner, mode) = (seen.owner, seen.mode);
    let away = || format!("remove it if nobody needs it, or {}", choice.instead);
    if choice.ours_alone && seen.is_link {
        let text = format!("{path} is a symbolic link, and might lead anywhere");
        return Some(Finding::fail(what, text, away()));
    }
    if choice.ours_alone && owner != user.id {
        let text = format!("{path} belongs to user {owner}, and this program runs as user {}", user.id);
        return Some(Finding::fail(what, text, away()));
    }
    let open = mode & choice.refused_mode != 0;
    open.then(|| Finding::fail(what, open_to_others(seen), format!("run: chmod go-w {path}")))
}

/// What works, and was perhaps not meant.
fn shared(what: &str, choice: &Choice, seen: &Seen, user: User) -> Option<Finding> {
    let path = choice.path.display();
    if seen.mode & WORLD_WRITE != 0 {
        return Some(Finding::warn(what, open_to_others(seen), format!("run: chmod o-w {path}")));
    }
    let owner = seen.owner;
    (owner != user.id).then(|| {
        let text = format!("{path} belongs to user {owner}, and this program runs as user {}", user.id);
        let hint = format!(
            "if that is not meant, run: chown {} {path}; for a volume set `runAsUser` or `fsGroup` to its owner's",
            user.id
        );
        Finding::warn(what, text, hint)
    })
}

fn open_to_others(seen: &Seen) -> String {
    format!("{} can be written by others (mode {:04o})", seen.path.display(), seen.mode)
}

fn full(what: &str, seen: &Seen) -> Option<Finding> {
    let left = seen.left?;
    let nothing = match (left.bytes, left.files) {
        (0, _) => "space",
        (_, Some(0)) => "inode",
        _ => return None,
    };
    let text = format!("{} is on a file system with no {nothing} left", seen.path.display());
    Some(Finding::fail(what, text, "make room there, or name another directory"))
}

/// What is left on the file system, to follow a path.
fn room(seen: &Seen) -> String {
    const UNITS: [(&str, u64); 4] = [("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("bytes", 1)];
    let Some(left) = seen.left else { return String::new() };
    let (unit, size) = UNITS.into_iter().find(|(_, size)| left.bytes >= *size).unwrap_or(("bytes", 1));
    format!(", {} {unit} free", left.bytes / size)
}

fn receipt(file: &std::path::Path, seen: &std::io::Result<(Seen, Seen)>) -> Finding {
    const WHAT: &str = "receipt file";
    let path = file.display();
    let (file, dir) = match seen {
        Ok(both) => both,
        Err(error) => {
            return Finding::fail(WHAT, format!("{path} cannot be examined: {error}"), "give `--receipt` another file");
        }
    };
    let fail = |text: String, hint: String| Finding::fail(WHAT, text, hint);
    if file.exists() && file.kind == Kind::Directory {
        return fail(format!("{path} is a directory"), "give `--receipt` the name of a file in it".to_owned());
    }
    // What is no plain file (a pipe, a device) is written to; everything else is replaced, which its directory decides.
    let special = file.exists() && file.kind == Kind::Special;
    let at = dir.path.display();
    let in_directory = dir.exists() && dir.kind == Kind::Directory;
    if !special && !in_directory {
        return fail(format!("{path}: {at} is not a directory"), format!("run: mkdir -p {at}"));
    }
    let decides = if special { file } else { dir };
    if let Some(why) = &decides.unwritable {
        let hint = "give this user write permission there, or give `--receipt` another file";
        return fail(format!("{path} cannot be written: {}: {why}", decides.path.display()), hint.to_owned());
    }
    full(WHAT, decides).unwrap_or_else(|| Finding::ok(WHAT, path.to_string()))
}

fn port(at: usize, ports: &[Port], instance: &Instance) -> Finding {
    let Port { name, addr, admin, bound } = &ports[at];
    let elsewhere =
        if *admin { "give `--admin` another address, or `off`" } else { "let it listen at another address" };
    let number = number(addr);
    if let Some(first) = ports[..at].iter().find(|other| other.addr == *addr && number != Some(0)) {
        return Finding::fail(name, format!("{addr} is already the address of `{}`", first.name), elsewhere);
    }
    let (text, hint) = match bound {
        Bound::Free if number == Some(0) => return Finding::ok(name, format!("{addr}: the system chooses a port")),
        Bound::Free => return Finding::ok(name, format!("{addr} is free")),
        Bound::Taken(Some(Owner { pid: 1, name: init })) => {
            let text = format!("{addr} is held by `{init}`, for a service that it starts");
            let hint = "if that is this one, all is well: it is given the socket; otherwise choose another address";
            return Finding::warn(name, text, hint);
        }
        Bound::Taken(owner) => taken(addr, number, owner.as_ref(), instance, elsewhere),
        Bound::Forbidden => (
            format!("{addr} cannot be had by this user"),
            format!(
                "{elsewhere} (1024 and above), or grant it: `AmbientCapabilities=CAP_NET_BIND_SERVICE` in a systemd \
                 unit, `setcap cap_net_bind_service=+ep PROGRAM`, `capabilities: add: [NET_BIND_SERVICE]` in a pod"
            ),
        ),
        Bound::NotOurs => (
            format!("{addr} is not an address of this machine"),
            format!("{elsewhere}; `0.0.0.0` and `[::]` are all that it has"),
        ),
        Bound::Unresolved(why) => {
            (format!("{addr}: the name cannot be looked up: {why}"), format!("{elsewhere}, or check the name"))
        }
        Bound::Refused(why) => (format!("{addr} cannot be had: {why}"), elsewhere.to_owned()),
    };
    // A service starts without the admin port that the system would have chosen.
    let verdict = if *admin && number == Some(0) { Verdict::Warn } else { Verdict::Fail };
    Finding { verdict, ..Finding::fail(name, text, hint) }
}

fn taken(
    addr: &str,
    number: Option<u16>,
    owner: Option<&Owner>,
    instance: &Instance,
    elsewhere: &str,
) -> (String, String) {
    let by = owner.map(|Owner { pid, name }| format!(" by `{name}` (pid {pid})")).unwrap_or_default();
    let text = format!("{addr} is in use{by}");
    let ask = |port| format!("; as root, `ss -ltnp 'sport = :{port}'` shows by whom");
    let who = number.filter(|_| owner.is_none()).map(ask).unwrap_or_default();
    let hint = match instance {
        Instance::Runs(Some(pid)) if owner.is_some_and(|owner| owner.pid == *pid) => {
            "the instance that runs has it; it gives it up when it stops, or passes it on with `restart`".to_owned()
        }
        Instance::Runs(pid) | Instance::Elsewhere(_, pid) => {
            format!("the instance that runs{} may have it{who}", in_brackets(*pid))
        }
        Instance::Nobody | Instance::Unknown(_) => format!("{elsewhere}, or end who has it{who}"),
    };
    (text, hint)
}

fn number(addr: &str) -> Option<u16> {
    addr.rsplit_once(':')?.1.parse().ok()
}

fn open_files(limit: Option<u64>, connections: u64) -> Finding {
    const WHAT: &str = "open files";
    let wanted = connections.saturating_add(OTHER_FILES);
    let Some(limit) = limit else { return Finding::ok(WHAT, "no limit") };
    if limit >= wanted {
        return Finding::ok(WHAT, format!("{limit} allowed, {wanted} needed at most"));
    }
    let text = match connections {
        0 => format!("{limit} allowed; a program needs about {wanted}"),
        _ => format!("{limit} allowed; {connections} connections and all else need {wanted}"),
    };
    let hint = format!(
        "raise it: `LimitNOFILE={wanted}` in a systemd unit, `ulimit -n {wanted}` in a shell, \
         `--ulimit nofile={wanted}` for a container"
    );
    Finding::warn(WHAT, text, hint)
}

fn in_brackets(pid: Option<u32>) -> String {
    pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
}

/// `1 component`, `2 components`.
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
