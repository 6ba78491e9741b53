//! `install`, `uninstall`, `diff`: the program as a systemd service.
//!
//! Policy: what is written comes from the program's own declarations (stop budget, start limits, sockets), by the same
//! command line that will run it. Doing it twice changes nothing; a unit that somebody else wrote is never overwritten or
//! removed. Nothing is started: `systemctl start NAME` does that.

mod unit;

use std::{
    ffi::OsString,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use evenkeel_plan::{cause::exit, graph::Graph, spec::Id};

use self::unit::{Facts, MARK, unit};
use super::{Exit, complain, line::Options, print, refuse};
use crate::{App, lease::lock};

/// Where an administrator's units are.
const UNITS: &str = "/etc/systemd/system";
/// Descriptors beside connections: logs, a database's, the program's own.
const OTHER_FILES: u64 = 256;

/// What the sandbox hides from the service (`ProtectHome`, `PrivateTmp`): a program in there would not start.
const HIDDEN: [&str; 5] = ["/home", "/root", "/run/user", "/tmp", "/var/tmp"];

/// Nobody would read the unit otherwise.
fn booted() -> Result<(), Failed> {
    if super::doctor::unit::is_booted() {
        return Ok(());
    }
    let hint = "take what `install --print-unit` says to a machine that it runs".to_owned();
    Err(Failed { text: "systemd does not run this machine".to_owned(), hint })
}

/// The directory that hides this program, if one does.
fn hidden(program: &Path) -> Option<&'static str> {
    HIDDEN.into_iter().find(|hidden| program.starts_with(hidden))
}

/// What `install` was told.
pub(super) struct Wish {
    /// The arguments of `run`.
    pub(super) arguments: Vec<OsString>,
    pub(super) user: Option<String>,
    pub(super) units: Option<PathBuf>,
    pub(super) print: bool,
    pub(super) enable: bool,
}

/// What is wanted and where it goes.
struct Wanted {
    name: String,
    program: PathBuf,
    file: PathBuf,
    text: String,
}

/// Writes the unit, and tells systemd.
pub(super) fn install(app: App, options: &Options, wish: &Wish) -> Exit {
    let wanted = match wanted(app, options, wish) {
        Ok(wanted) => wanted,
        Err(exit) => return exit,
    };
    if wish.print {
        print(&wanted.text);
        return Exit::new(0);
    }
    if let Some(hidden) = hidden(&wanted.program) {
        let text = format!("{} is in {hidden}, which the sandbox of the service hides", wanted.program.display());
        complain(&text, Some("put the program into /usr/local/bin or /opt first, and install it from there"));
        return Exit::new(1);
    }
    done(booted().and_then(|()| wanted.install(wish.enable)))
}

/// Removes the unit, and tells systemd. The service is stopped first.
pub(super) fn uninstall(name: &str, units: Option<&Path>) -> Exit {
    done(booted().and_then(|()| remove(name, &unit_file(name, units))))
}

/// Shows how the installed unit differs from the one that would be installed: 0 if it does not, 1 if it does.
pub(super) fn diff(app: App, options: &Options, wish: &Wish) -> Exit {
    let wanted = match wanted(app, options, wish) {
        Ok(wanted) => wanted,
        Err(exit) => return exit,
    };
    let installed = match fs::read_to_string(&wanted.file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            print(&format!("{} is not installed ({} is not there)", wanted.name, wanted.file.display()));
            return Exit::new(1);
        }
        Err(error) => return done(Err(Failed::to("read", &wanted.file, &error))),
    };
    let lines = differences(&installed, &wanted.text);
    if lines.is_empty() {
        print(&format!("{} is as it would be installed", wanted.file.display()));
        return Exit::new(0);
    }
    print(&lines.join("\n"));
    Exit::new(1)
}

/// `-` for lines that are installed and not wanted, `+` for the others; in the order of the files.
fn differences(installed: &str, wanted: &str) -> Vec<String> {
    let only = |mark: char, these: &str, others: &str| -> Vec<String> {
        let lines = these.lines().filter(|line| !others.lines().any(|other| other == *line));
        lines.map(|line| format!("{mark} {line}")).collect()
    };
    [only('-', installed, wanted), only('+', wanted, installed)].concat()
}

/// What went wrong, and what to do.
struct Failed {
    text: String,
    hint: String,
}

impl Failed {
    fn to(what: &str, file: &Path, error: &io::Error) -> Self {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => "run it as root, or name another directory with `--unit-dir`",
            _ => "name another directory with `--unit-dir`, or take what `--print-unit` says and put it there yourself",
        };
        Self { text: format!("cannot {what} {}: {error}", file.display()), hint: hint.to_owned() }
    }
}

fn done(result: Result<String, Failed>) -> Exit {
    match result {
        Ok(said) => {
            print(&said);
            Exit::new(0)
        }
        Err(Failed { text, hint }) => {
            complain(&text, Some(&hint));
            Exit::new(1)
        }
    }
}

impl Wanted {
    fn install(&self, enable: bool) -> Result<String, Failed> {
        let Self { name, file, text, .. } = self;
        let there = ours(file)?;
        if there.as_deref() != Some(text) {
            write(file, text).map_err(|error| Failed::to("write", file, &error))?;
            systemctl(&["daemon-reload"])?;
        }
        if enable {
            systemctl(&["enable", "--quiet", name])?;
        }
        let did = match there {
            Some(there) if there == *text => "is installed already, as it would be",
            Some(_) => "was installed otherwise and is as wanted now",
            None => "is installed",
        };
        let start = if enable { "it starts with the machine, and now with" } else { "start it with" };
        Ok(format!("{name} {did}: {}\n{start} `systemctl start {name}`", file.display()))
    }
}

fn remove(name: &str, file: &Path) -> Result<String, Failed> {
    if ours(file)?.is_none() {
        return Ok(format!("{name} is not installed: {} is not there", file.display()));
    }
    systemctl(&["disable", "--now", "--quiet", name])?;
    fs::remove_file(file).map_err(|error| Failed::to("remove", file, &error))?;
    systemctl(&["daemon-reload"])?;
    Ok(format!("{name} is not installed any more; its state is left where it is"))
}

/// The unit that is there, if it is one of ours.
fn ours(file: &Path) -> Result<Option<String>, Failed> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Failed::to("read", file, &error)),
    };
    if text.starts_with(MARK) {
        return Ok(Some(text));
    }
    let text = format!("{} is not a unit that `install` has written", file.display());
    Err(Failed { text, hint: "move it away first, if it is to be replaced".to_owned() })
}

/// Whole or not at all: systemd may read it at any moment.
fn write(file: &Path, text: &str) -> io::Result<()> {
    let new = file.with_extension("service.new");
    fs::write(&new, text)?;
    fs::rename(&new, file).inspect_err(|_| drop(fs::remove_file(&new)))
}

fn systemctl(arguments: &[&str]) -> Result<(), Failed> {
    let asked = format!("`systemctl {}`", arguments.join(" "));
    match Command::new("systemctl").args(arguments).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(Failed {
                text: format!("{asked} failed: {}", said.trim()),
                hint: "what it says is systemd's word; do it again when that is mended".to_owned(),
            })
        }
        Err(error) => Err(Failed {
            text: format!("{asked} cannot be run: {error}"),
            hint: "is this a machine with systemd? `--print-unit` shows the unit without it".to_owned(),
        }),
    }
}

fn unit_file(name: &str, units: Option<&Path>) -> PathBuf {
    units.unwrap_or_else(|| Path::new(UNITS)).join(format!("{name}.service"))
}

fn wanted(mut app: App, options: &Options, wish: &Wish) -> Result<Wanted, Exit> {
    options.apply(&mut app);
    let name = app.name.clone();
    let about = app.settings.about.clone().unwrap_or_default();
    let addrs: Vec<String> =
        lock(&app.declared).entries.iter().filter_map(|entry| entry.behaviour.listens_at()).collect();
    let connections = super::doctor::connections(&app);
    let built = app.build().map_err(|problems| refuse(&name, &problems))?;
    let program = std::env::current_exe().map_err(|error| {
        complain(&format!("cannot tell which file this program is: {error}"), None);
        Exit::new(exit::CONFIG)
    })?;
    let port = |addr: &String| addr.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let facts = Facts {
        name: &name,
        about: &about,
        program: &program,
        arguments: &wish.arguments,
        user: wish.user.as_deref(),
        budget: built.plan.budget.total,
        start: longest_start(&built.graph),
        open_files: connections + OTHER_FILES,
        sockets: addrs.len(),
        privileged_port: addrs.iter().filter_map(port).any(|port| (1..1024).contains(&port)),
    };
    let text = unit(&facts);
    Ok(Wanted { file: unit_file(&name, wish.units.as_deref()), text, name, program })
}

/// The longest chain of starts, each by its full limit.
fn longest_start(graph: &Graph) -> Duration {
    let mut done: Vec<Duration> = Vec::new();
    for spec in graph.specs() {
        // Whatever is needed was declared before.
        let before = spec.needs.iter().filter_map(|need: &evenkeel_plan::spec::Need| done.get(index(need.on))).max();
        done.push(before.copied().unwrap_or_default() + spec.start_within);
    }
    done.into_iter().max().unwrap_or_default()
}

fn index(id: Id) -> usize {
    id.index()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_the_lines_that_only_one_has() {
        let lines = differences("[Service]\nType=simple\nUser=a\n", "[Service]\nType=notify\nUser=a\n");
        assert_eq!(lines, ["- Type=simple", "+ Type=notify"]);
        assert!(differences("a\nb\n", "a\nb\n").is_empty());
    }

    #[test]
    fn a_program_that_the_sandbox_hides_is_not_installed() {
        for directory in HIDDEN {
            assert_eq!(hidden(&Path::new(directory).join("orders")), Some(directory));
            assert_eq!(hidden(Path::new(&format!("{directory}s/orders"))), None);
        }
        assert_eq!(hidden(Path::new("/usr/local/bin/orders")), None);
    }

    #[test]
    fn a_unit_that_somebody_else_wrote_is_left_alone() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("orders.service");
        fs::write(&file, "[Service]\nExecStart=/bin/true\n").expect("it can be written");
        let wanted = Wanted {
            name: "orders".to_owned(),
            program: "/opt/orders".into(),
            file: file.clone(),
            text: format!("{MARK} orders\n"),
        };
        assert!(
            wanted.install(false).is_err_and(|failed| failed.text.contains("is not a unit that `install` has written"))
        );
        assert!(remove("orders", &file).is_err());
        assert!(fs::read_to_string(&file).expect("it is there").contains("/bin/true"));
    }
}
