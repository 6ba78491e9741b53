//! The systemd unit of a service, from what is known of it. Pure: a text from facts.
//!
//! Policy: what the plan says is what systemd is told, so that the two never disagree about how long a stop may take. The
//! sandbox is closed as far as a program that serves a network can live in it; what a program needs beyond that belongs into
//! a drop-in (`systemctl edit NAME`), which `install` leaves alone.

use std::{ffi::OsString, fmt::Write as _, path::Path, time::Duration};

/// What is known.
pub(super) struct Facts<'a> {
    pub(super) name: &'a str,
    pub(super) about: &'a str,
    pub(super) program: &'a Path,
    /// After `run`.
    pub(super) arguments: &'a [OsString],
    /// Whose it is; `None`: a user that systemd makes up.
    pub(super) user: Option<&'a str>,
    /// The whole stop, as the plan has it.
    pub(super) budget: Duration,
    /// The longest chain of starts.
    pub(super) start: Duration,
    pub(super) open_files: u64,
    pub(super) sockets: usize,
    /// Whether it listens below port 1024.
    pub(super) privileged_port: bool,
}

/// What systemd allows beyond the budget, so that the process always ends by itself.
const MARGIN: Duration = Duration::from_secs(5);
/// How often the service has to say that it is alive.
const WATCHDOG: Duration = Duration::from_secs(30);

/// The first line, by which `install` knows its own.
pub(super) const MARK: &str = "# Written by `install`; change it with a drop-in: systemctl edit";

/// The whole unit.
pub(super) fn unit(facts: &Facts<'_>) -> String {
    let mut text = format!("{MARK} {}\n", facts.name);
    section(&mut text, "Unit", &[("Description", described(facts)), ("After", "network.target".to_owned())]);
    section(&mut text, "Service", &service(facts));
    section(&mut text, "Install", &[("WantedBy", "multi-user.target".to_owned())]);
    text
}

fn described(facts: &Facts<'_>) -> String {
    if facts.about.is_empty() { facts.name.to_owned() } else { escaped(facts.about) }
}

fn service(facts: &Facts<'_>) -> Vec<(&'static str, String)> {
    let program = quoted(facts.program.as_os_str());
    let arguments = facts.arguments.iter().map(|argument| format!(" {}", quoted(argument)));
    let seconds = |time: Duration| time.as_secs_f64().ceil().to_string();
    let mut lines = vec![
        ("Type", "notify".to_owned()),
        ("ExecStart", format!("{program} run{}", arguments.collect::<String>())),
        ("ExecReload", format!("{program} restart --no-wait")),
        ("EnvironmentFile", format!("-/etc/default/{}", facts.name)),
        ("TimeoutStartSec", seconds(facts.start + MARGIN)),
        ("TimeoutStopSec", seconds(facts.budget + MARGIN)),
        ("WatchdogSec", seconds(WATCHDOG)),
        ("KillMode", "mixed".to_owned()),
        ("Restart", "on-failure".to_owned()),
        ("RestartSec", "1".to_owned()),
        ("RestartPreventExitStatus", "78".to_owned()),
        ("StateDirectory", facts.name.to_owned()),
        ("RuntimeDirectory", facts.name.to_owned()),
        ("LimitNOFILE", facts.open_files.to_string()),
    ];
    if facts.sockets > 0 {
        lines.push(("FileDescriptorStoreMax", facts.sockets.to_string()));
    }
    match facts.user {
        Some(user) => lines.push(("User", user.to_owned())),
        None => lines.push(("DynamicUser", "yes".to_owned())),
    }
    lines.extend(SANDBOX.iter().map(|(key, value)| (*key, (*value).to_owned())));
    let capability = if facts.privileged_port { "CAP_NET_BIND_SERVICE" } else { "" };
    lines.push(("CapabilityBoundingSet", capability.to_owned()));
    if facts.privileged_port {
        lines.push(("AmbientCapabilities", capability.to_owned()));
    } else {
        // With it, nobody on the machine is root for this service; nor can anybody have a privileged port.
        lines.push(("PrivateUsers", "yes".to_owned()));
    }
    lines
}

/// What no service of a network needs.
const SANDBOX: &[(&str, &str)] = &[
    ("UMask", "0077"),
    ("NoNewPrivileges", "yes"),
    ("ProtectSystem", "strict"),
    ("ProtectHome", "yes"),
    ("PrivateTmp", "yes"),
    ("PrivateDevices", "yes"),
    ("DevicePolicy", "closed"),
    ("ProtectKernelTunables", "yes"),
    ("ProtectKernelModules", "yes"),
    ("ProtectKernelLogs", "yes"),
    ("ProtectControlGroups", "yes"),
    ("ProtectClock", "yes"),
    ("ProtectHostname", "yes"),
    ("ProtectProc", "invisible"),
    ("ProcSubset", "pid"),
    ("RestrictAddressFamilies", "AF_INET AF_INET6 AF_UNIX"),
    ("RestrictNamespaces", "yes"),
    ("RestrictRealtime", "yes"),
    ("RestrictSUIDSGID", "yes"),
    ("LockPersonality", "yes"),
    ("MemoryDenyWriteExecute", "yes"),
    ("RemoveIPC", "yes"),
    ("KeyringMode", "private"),
    ("SystemCallArchitectures", "native"),
    ("SystemCallFilter", "@system-service"),
    ("SystemCallFilter", "~@privileged @resources"),
    ("SystemCallErrorNumber", "EPERM"),
];

fn section(text: &mut String, name: &str, lines: &[(&str, String)]) {
    // Writing to a `String` cannot fail.
    let _ = writeln!(text, "\n[{name}]");
    for (key, value) in lines {
        let _ = writeln!(text, "{key}={value}");
    }
}

/// One word of a command line, as systemd reads it: specifiers, variables and quotes stand for themselves.
fn quoted(word: &std::ffi::OsStr) -> String {
    let word = escaped(&word.to_string_lossy()).replace('$', "$$");
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-+=:,@%$".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word;
    }
    let word = word.replace('\\', "\\\\").replace('"', "\\\"");
    format!("\"{word}\"")
}

/// Specifiers stand for themselves, and a line stays one.
fn escaped(text: &str) -> String {
    text.replace('%', "%%").replace(['\n', '\r'], " ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts(arguments: &[OsString]) -> Facts<'_> {
        Facts {
            name: "orders",
            about: "Takes orders, 100 % of them",
            program: Path::new("/opt/my orders/orders"),
            arguments,
            user: None,
            budget: Duration::from_secs(30),
            start: Duration::from_secs(120),
            open_files: 10_256,
            sockets: 1,
            privileged_port: false,
        }
    }

    #[test]
    fn the_unit_says_what_the_plan_says_r3_2e() {
        let arguments = ["--listen=0.0.0.0:8080", "--greeting=\"50 % off\" for $HOME"].map(OsString::from);
        insta::assert_snapshot!(unit(&facts(&arguments)));
    }

    #[test]
    fn a_privileged_port_takes_one_capability_and_a_user_of_its_own_no_other_r2_5b() {
        let text = unit(&Facts { privileged_port: true, user: Some("shop"), ..facts(&[]) });
        for line in
            ["User=shop", "CapabilityBoundingSet=CAP_NET_BIND_SERVICE", "AmbientCapabilities=CAP_NET_BIND_SERVICE"]
        {
            assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
        }
        assert!(!text.contains("DynamicUser") && !text.contains("PrivateUsers"), "{text}");
    }
}
