//! A place of its own for each fixture: directories, receipts, and standard error as the scenario wants it.

use std::{
    fs, io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use evenkeel::Receipt;
use rustix::{
    fs::{Mode, OFlags, fcntl_getfl, fcntl_setfl},
    io::Errno,
    pipe::{PipeFlags, pipe_with},
};
use tempfile::TempDir;

use crate::table::{BUDGET, Disk, Scenario, Terminal};

/// See the module documentation.
pub(crate) struct Room {
    dir: TempDir,
    disk: Disk,
}

/// The far end of standard error.
pub(crate) enum Far {
    /// To be read from the child.
    Child,
    /// Kept open and not read.
    Deaf(#[expect(dead_code, reason = "open is all it has to be")] OwnedFd),
    /// Nobody.
    Nobody,
}

impl Room {
    /// # Errors
    /// Why the scenario cannot be tried on this machine.
    pub(crate) fn new(disk: Disk) -> io::Result<Self> {
        let room = Self { dir: tempfile::Builder::new().prefix("torture-").tempdir()?, disk };
        fs::create_dir(room.runtime())?;
        if disk == Disk::NotADirectory {
            fs::write(room.state(), "a file")?;
        } else {
            fs::create_dir(room.state())?;
        }
        if disk == Disk::DeafPipe {
            rustix::fs::mknodat(
                rustix::fs::CWD,
                room.dir.path().join("pipe"),
                rustix::fs::FileType::Fifo,
                Mode::RWXU,
                0,
            )?;
        }
        Ok(room)
    }

    pub(crate) fn runtime(&self) -> PathBuf {
        self.dir.path().join("run")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn receipt_file(&self) -> PathBuf {
        match self.disk {
            Disk::FullDevice => PathBuf::from("/dev/full"),
            Disk::DeafPipe => self.dir.path().join("pipe"),
            _ => self.dir.path().join("receipt.json"),
        }
    }

    /// What the process left, from the place that can be written in this scenario.
    pub(crate) fn receipt(&self) -> Result<Receipt, String> {
        let path = match self.disk {
            Disk::FullDevice | Disk::DeafPipe => newest(&self.state())?,
            _ => self.receipt_file(),
        };
        let json = fs::read_to_string(&path).map_err(|error| format!("no receipt: {error}"))?;
        Receipt::from_json(&json).map_err(|error| error.to_string())
    }

    /// Whether both places hold the same, where both can be written.
    pub(crate) fn places_agree(&self) -> Result<(), String> {
        if self.disk != Disk::Good || self.state().is_file() {
            return Ok(());
        }
        let kept = fs::read_to_string(newest(&self.state())?).map_err(|error| error.to_string())?;
        let given = fs::read_to_string(self.receipt_file()).map_err(|error| error.to_string())?;
        if kept == given { Ok(()) } else { Err("--receipt and the state directory hold different receipts".to_owned()) }
    }

    /// The command that runs a fixture here, and what is at the far end of its standard error.
    pub(crate) fn command(&self, fixture: &Path, scenario: &Scenario) -> io::Result<(Command, Far)> {
        let mut command = self.wrapped(fixture, scenario.terminal);
        command.arg(scenario.fixture);
        command.args(["--threads", scenario.threads]);
        command.arg("--budget").arg(format!("{}s", BUDGET.as_secs()));
        command.arg("--receipt").arg(self.receipt_file());
        command.arg("--state-dir").arg(self.state()).arg("--runtime-dir").arg(self.runtime());
        command.stdin(Stdio::null()).stdout(Stdio::null()).env_remove("RUST_BACKTRACE").env_remove("RUST_LOG");
        let (stderr, far) = standard_error(scenario.terminal)?;
        command.stderr(stderr);
        Ok((command, far))
    }

    /// The program itself, or a shell that prepares its surroundings and then becomes the program.
    fn wrapped(&self, fixture: &Path, terminal: Terminal) -> Command {
        let prepare = match (self.disk, terminal) {
            (Disk::ReadOnly, _) => r#"mount --bind "$0" "$0" && mount -o remount,bind,ro "$0""#,
            (Disk::Full, _) => {
                r#"mount -t tmpfs -o size=16k tmpfs "$0" && { head -c 65536 /dev/zero > "$0/filler" 2>&-; true; }"#
            }
            (_, Terminal::Closed) => "exec >&- 2>&-",
            _ => return Command::new(fixture),
        };
        let mut command = if matches!(self.disk, Disk::ReadOnly | Disk::Full) {
            let mut command = Command::new("unshare");
            command.args(unshare_options()).arg("sh");
            command
        } else {
            Command::new("sh")
        };
        command.arg("-c").arg(format!(r#"{prepare} && exec "$@""#)).arg(self.state()).arg(fixture);
        command
    }
}

/// A mount namespace; without root, in a user namespace of its own.
fn unshare_options() -> &'static [&'static str] {
    if rustix::process::geteuid().is_root() { &["--mount"] } else { &["--user", "--map-root-user", "--mount"] }
}

/// Why mounts of our own cannot be had here, if they cannot.
pub(crate) fn mounts_are_missing(disk: Disk) -> Option<String> {
    if !matches!(disk, Disk::ReadOnly | Disk::Full) {
        return None;
    }
    let script = "mount -t tmpfs tmpfs /tmp";
    match Command::new("unshare").args(unshare_options()).args(["sh", "-c", script]).output() {
        Ok(tried) if tried.status.success() => None,
        Ok(tried) => Some(format!("no mount namespace: {}", String::from_utf8_lossy(&tried.stderr).trim())),
        Err(error) => Some(format!("no `unshare`: {error}")),
    }
}

fn standard_error(terminal: Terminal) -> io::Result<(Stdio, Far)> {
    match terminal {
        Terminal::Read => Ok((Stdio::piped(), Far::Child)),
        Terminal::Closed => Ok((Stdio::null(), Far::Nobody)),
        Terminal::Full => {
            let (far, near) = pipe_with(PipeFlags::CLOEXEC)?;
            fill(&near)?;
            Ok((Stdio::from(near), Far::Deaf(far)))
        }
        Terminal::Gone => {
            let (far, near) = pipe_with(PipeFlags::CLOEXEC)?;
            drop(far);
            Ok((Stdio::from(near), Far::Nobody))
        }
    }
}

/// Writes until nothing more goes in, and leaves the pipe blocking, as a terminal's is.
fn fill(pipe: &OwnedFd) -> io::Result<()> {
    let flags = fcntl_getfl(pipe)?;
    fcntl_setfl(pipe, flags | OFlags::NONBLOCK)?;
    for size in [4096, 1] {
        while match rustix::io::write(pipe, &vec![b'.'; size]) {
            Ok(_) => true,
            Err(Errno::AGAIN) => false,
            Err(error) => return Err(error.into()),
        } {}
    }
    Ok(fcntl_setfl(pipe, flags)?)
}

fn newest(dir: &Path) -> Result<PathBuf, String> {
    let entries = fs::read_dir(dir).map_err(|error| format!("no receipt: {error}"))?;
    let paths = entries.filter_map(Result::ok).map(|entry| entry.path());
    let mut receipts: Vec<PathBuf> = paths.filter(|path| path.extension().is_some_and(|it| it == "json")).collect();
    receipts.sort();
    match receipts.len() {
        1 => Ok(receipts.swap_remove(0)),
        many => Err(format!("{many} receipts in the state directory instead of one")),
    }
}
