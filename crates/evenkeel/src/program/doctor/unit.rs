//! What systemd grants the service of this name: asked of systemd, which alone knows all files that a unit is made of.
//!
//! Policy: asked only where systemd is the machine's manager; an answer that does not come within [`PATIENCE`] is none.

use std::{path::Path, process::Command, sync::mpsc::channel, time::Duration};

use evenkeel_os::threads::spawn_named;

/// How long systemd may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// There where systemd runs the machine (`sd_booted(3)`).
const BOOTED: &str = "/run/systemd/system";

/// A unit that systemd knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// `orders.service`.
    pub(super) name: String,
    /// `TimeoutStopSec`; `None`: there is no limit.
    pub(super) stop: Option<Duration>,
    /// Whether it hears of progress, and then waits longer.
    pub(super) notified: bool,
}

/// The unit of a program of this name, if systemd has one.
pub(super) fn of(app: &str) -> Option<Unit> {
    if !is_booted() {
        return None;
    }
    let name = format!("{app}.service");
    let (say, said) = channel();
    let asked = name.clone();
    spawn_named("evenkeel-check", move || {
        let mut command = Command::new("systemctl");
        command.args(["show", "-p", "LoadState", "-p", "TimeoutStopUSec", "-p", "Type", &asked]);
        let _ = say.send(command.output()); // too late is as good as never
    })
    .ok()?;
    let output = said.recv_timeout(PATIENCE).ok()?.ok()?;
    read(name, &String::from_utf8_lossy(&output.stdout))
}

/// Whether systemd runs this machine.
pub(in crate::program) fn is_booted() -> bool {
    Path::new(BOOTED).is_dir()
}

/// `LoadState=loaded`, `TimeoutStopUSec=1min 30s`, `Type=notify`, in any order.
fn read(name: String, text: &str) -> Option<Unit> {
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    if value("LoadState")? != "loaded" {
        return None;
    }
    let stop = match value("TimeoutStopUSec")? {
        "infinity" => None,
        time => Some(time.parse::<jiff::SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok())?),
    };
    let notified = value("Type").is_some_and(|kind| kind.starts_with("notify"));
    Some(Unit { name, stop, notified })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn systemds_answer_is_read_as_it_comes() {
        let read = |text: &str| read("orders.service".to_owned(), text).map(|unit| (unit.stop, unit.notified));
        let notify = "LoadState=loaded\nType=notify\nTimeoutStopUSec=1min 30s\n";
        assert_eq!(read(notify), Some((Some(Duration::from_secs(90)), true)));
        let simple = "Type=simple\nTimeoutStopUSec=500ms\nLoadState=loaded\n";
        assert_eq!(read(simple), Some((Some(Duration::from_millis(500)), false)));
        assert_eq!(read("LoadState=loaded\nTimeoutStopUSec=infinity\n"), Some((None, false)));
        assert_eq!(read("LoadState=not-found\nTimeoutStopUSec=1min 30s\n"), None);
        assert_eq!(read(""), None);
    }
}
