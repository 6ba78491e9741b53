//! A server's process: started, waited for, frozen, killed, and never left behind.

use std::{
    fs::{self, File},
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// `nobody` and its group on Debian and most other systems: who servers run as when the tests run as root.
const NOBODY: (u32, u32) = (65_534, 65_534);

/// How long a server may take to come up; far more than any needs.
const UP: Duration = Duration::from_secs(60);

/// A server and its directory.
pub(crate) struct Server {
    name: &'static str,
    directory: TempDir,
    running: Option<(Child, Guard)>,
}

impl Server {
    /// A directory that the server can reach and write, whoever it runs as.
    pub(crate) fn new(name: &'static str) -> Self {
        let directory = tempfile::Builder::new().prefix(name).tempdir().expect("a temporary directory can be made");
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("its mode can be set");
        let server = Self { name, directory, running: None };
        server.make("data");
        server.make("run");
        server
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The path as text, for configuration.
    pub(crate) fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A directory of the server's own.
    fn make(&self, name: &str) {
        let path = self.path(name);
        fs::create_dir(&path).expect("a directory can be made");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o700)).expect("its mode can be set");
        self.give(&path);
    }

    /// A file of the server's own.
    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("a file can be written");
        self.give(&path);
        path
    }

    fn give(&self, path: &Path) {
        if is_root() {
            chown(path, Some(NOBODY.0), Some(NOBODY.1)).expect("root can give a file away");
        }
    }

    /// A program as the server's user, with its output in the log.
    pub(crate) fn command(&self, program: &Path) -> Command {
        let log = File::options().create(true).append(true).open(self.path("log")).expect("the log can be opened");
        let mut command = Command::new(program);
        command.current_dir(self.directory.path()).stdin(Stdio::null());
        command.stdout(log.try_clone().expect("the log can be shared")).stderr(log);
        command.env("HOME", self.directory.path()).env("LC_ALL", "C").process_group(0);
        if is_root() {
            command.uid(NOBODY.0).gid(NOBODY.1);
        }
        command
    }

    /// Runs a program to its end.
    pub(crate) fn run(&self, command: &mut Command) {
        let status = command.status().expect("a program of the server can be run");
        assert!(status.success(), "{} could not be set up ({status}):\n{}", self.name, self.log());
    }

    /// Starts the server, and waits until it answers.
    pub(crate) fn start(&mut self, command: &mut Command, answers: impl Fn() -> bool) {
        let mut child = command.spawn().expect("the server can be run");
        let guard = Guard::over(&child);
        let until = Instant::now() + UP;
        while !answers() {
            if let Some(status) = child.try_wait().expect("a child can be asked") {
                panic!("{} ended at its start ({status}):\n{}", self.name, self.log());
            }
            assert!(Instant::now() < until, "{} did not come up within {UP:?}:\n{}", self.name, self.log());
            thread::sleep(Duration::from_millis(20));
        }
        self.running = Some((child, guard));
    }

    /// As `kill -9`, with all its processes. Returns when they are gone.
    pub(crate) fn kill(&mut self) {
        let Some((mut child, guard)) = self.running.take() else { return };
        drop(guard);
        // Its children first: without their parent they could no longer be found.
        let family = family(&child);
        signal(&family, Signal::KILL);
        let _ = child.wait();
        let until = Instant::now() + UP;
        while family.iter().any(|pid| is_alive(*pid)) {
            assert!(Instant::now() < until, "processes of {} do not end", self.name);
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// Stops all its processes where they are: connections stay, and nothing is answered.
    pub(crate) fn freeze(&self) {
        if let Some((child, _)) = &self.running {
            signal(&family(child), Signal::STOP);
        }
    }

    /// Lets it go on.
    pub(crate) fn thaw(&self) {
        if let Some((child, _)) = &self.running {
            signal(&family(child), Signal::CONT);
        }
    }

    /// The end of what it logged.
    fn log(&self) -> String {
        let log = fs::read(self.path("log")).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(4_000)..]).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Kills a server when the process that started it is gone, however that ended: it waits for the end of a pipe.
struct Guard {
    child: Child,
}

impl Guard {
    fn over(server: &Child) -> Self {
        let script = format!("read -r _; kill -9 -{0} {0} 2>/dev/null", server.id());
        let mut command = Command::new("sh");
        command.args(["-c", &script]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        // In a group of its own, so that Ctrl-C in a terminal does not end it before its work.
        Self { child: command.process_group(0).spawn().expect("a shell can be run") }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // Before its pipe closes: it is needed no more, and the number of the process may soon be another's.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A process and its children. PostgreSQL's are no members of its process group.
fn family(child: &Child) -> Vec<Pid> {
    let parent = Pid::from_child(child);
    let id = child.id();
    let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|id| Pid::from_raw(id.parse().ok()?));
    std::iter::once(parent).chain(children).collect()
}

fn signal(family: &[Pid], signal: Signal) {
    for pid in family {
        // One that has ended in the meantime needs none.
        let _ = kill_process(*pid, signal);
    }
}

/// Whether it is there and no zombie.
fn is_alive(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, state)| !state.starts_with('Z') && !state.starts_with('X'))
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
