//! A real systemd with units of the test's own: process 1 of its own namespaces, in a control group of its own.
//!
//! It needs root, systemd, and a version 2 control group that may be written. The machine's own systemd, if there is one, is
//! left alone. `/run` and `/var/lib` are its own; everything else of the file system is the machine's, and so is the network.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

/// How long it may take to come up, and any of its jobs; far more than they need.
const UP: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(10);

/// What `unshare` runs: it prepares the namespaces, and becomes systemd.
const PREPARE: &str = "
mount --make-rprivate / &&
mount -t tmpfs tmpfs /run &&
mount -t tmpfs tmpfs /var/lib &&
mount -t cgroup2 cgroup2 /sys/fs/cgroup &&
exec \"$SYSTEMD\" --system --unit=evenkeel-test.target --log-target=console --show-status=no
";

/// One systemd. It is gone, with all that it has started, when this is dropped.
pub struct Systemd {
    dir: TempDir,
    group: PathBuf,
    unshare: Child,
    init: u32,
}

impl Systemd {
    /// Starts one that knows these units: file name and content.
    /// Where it cannot run, says so aloud and gives `None`.
    ///
    /// # Panics
    /// If it can run and does not come up.
    #[must_use]
    pub fn start(units: &[(&str, String)]) -> Option<Self> {
        let left_out = |why: &str| println!("SKIPPED: a systemd of its own: {why}; what needs it was not tested");
        let program =
            ["/lib/systemd/systemd", "/usr/lib/systemd/systemd"].into_iter().find(|path| Path::new(path).exists());
        let Some(program) = program else {
            left_out("systemd is not installed (apt-get install systemd)");
            return None;
        };
        if !rustix::process::geteuid().is_root() {
            left_out("namespaces need root");
            return None;
        }
        let group = match make_group() {
            Ok(group) => group,
            Err(error) => {
                left_out(&format!("no control group can be made ({error})"));
                return None;
            }
        };
        let dir = tempfile::tempdir().expect("a temporary directory can be made");
        write_units(dir.path(), units);
        if let Err(why) = allowed(&group) {
            let _ = fs::remove_dir(&group);
            left_out(&why);
            return None;
        }
        let unshare = launch(program, dir.path(), &group);
        let mut systemd = Self { dir, group, unshare, init: 0 };
        systemd.until_up();
        Some(systemd)
    }

    /// Runs `systemctl` inside.
    ///
    /// # Panics
    /// If it cannot be run.
    #[must_use]
    pub fn systemctl(&self, arguments: &[&str]) -> Output {
        let mut command = self.inside("systemctl");
        command.args(arguments).output().expect("systemctl can be run")
    }

    /// Runs `systemctl`, which has to succeed.
    ///
    /// # Panics
    /// If it does not, with what it said and the log.
    pub fn does(&self, arguments: &[&str]) {
        let output = self.systemctl(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "systemctl {arguments:?}: {said}\n{}", self.log());
    }

    /// A property of a unit, such as `MainPID`.
    #[must_use]
    pub fn property(&self, unit: &str, property: &str) -> String {
        let output = self.systemctl(&["show", "--value", "-p", property, unit]);
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// Waits until a property has this value.
    ///
    /// # Panics
    /// If it does not in a minute.
    pub fn until(&self, unit: &str, property: &str, wanted: impl Fn(&str) -> bool) -> String {
        let until = Instant::now() + UP;
        loop {
            let value = self.property(unit, property);
            if wanted(&value) {
                return value;
            }
            assert!(Instant::now() < until, "{property} of {unit} stays {value}\n{}", self.log());
            thread::sleep(PAUSE);
        }
    }

    /// Where its units are; `daemon-reload` makes it read them again.
    #[must_use]
    pub fn units(&self) -> &Path {
        self.dir.path()
    }

    /// A command that runs inside.
    #[must_use]
    pub fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--target", &self.init.to_string(), "--mount", "--pid", "--cgroup", program]);
        command.stdin(Stdio::null());
        command
    }

    /// What systemd wrote to the console, and services to `/run/NAME.log`.
    #[must_use]
    pub fn log(&self) -> String {
        let console = fs::read_to_string(self.dir.path().join("console")).unwrap_or_default();
        let logs = self.inside("sh").args(["-c", "tail -n 100 /run/*.log"]).output();
        console + &logs.map(|logs| String::from_utf8_lossy(&logs.stdout).into_owned()).unwrap_or_default()
    }

    fn until_up(&mut self) {
        let until = Instant::now() + UP;
        loop {
            let ended = self.unshare.try_wait().expect("it is a child");
            assert!(ended.is_none() && Instant::now() < until, "systemd does not come up ({ended:?}): {}", self.log());
            self.init = child_of(self.unshare.id()).unwrap_or(0);
            // The process forks before it becomes systemd; systemd answers when it is systemd.
            if self.init != 0 && self.systemctl(&["show", "--value", "-p", "Version"]).status.success() {
                return;
            }
            thread::sleep(PAUSE);
        }
    }
}

impl Drop for Systemd {
    fn drop(&mut self) {
        // It takes process 1 of the namespace along, and that takes everything.
        let _ = self.unshare.kill();
        let _ = self.unshare.wait();
        let until = Instant::now() + Duration::from_secs(5);
        while remove_group(&self.group).is_err() && Instant::now() < until {
            thread::sleep(PAUSE);
        }
    }
}

fn write_units(dir: &Path, units: &[(&str, String)]) {
    let empty = || "[Unit]\nDefaultDependencies=no\n".to_owned();
    // Those that units wait for by default.
    let own = ["evenkeel-test", "shutdown", "sysinit", "basic", "network", "multi-user"];
    let own = own.map(|name| (format!("{name}.target"), empty()));
    let own = own.iter().map(|(name, text)| (name.as_str(), text));
    for (name, text) in own.chain(units.iter().map(|(name, text)| (*name, text))) {
        fs::write(dir.join(name), text).expect("a unit can be written");
    }
}

/// A group below the root of the version 2 hierarchy, wherever that is mounted.
fn make_group() -> io::Result<PathBuf> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let roots = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"].map(Path::new);
    let root = roots.into_iter().find(|root| root.join("cgroup.controllers").exists());
    let root = root.ok_or_else(|| io::Error::other("there is no hierarchy of version 2"))?;
    let name = format!("evenkeel-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let group = root.join(name);
    fs::create_dir(&group)?;
    Ok(group)
}

/// The deepest first: a group with others below it cannot be removed.
fn remove_group(group: &Path) -> io::Result<()> {
    for entry in fs::read_dir(group)?.filter_map(Result::ok) {
        if entry.file_type()?.is_dir() {
            remove_group(&entry.path())?;
        }
    }
    fs::remove_dir(group)
}

/// Whether this machine lets us have such namespaces: tried with nothing inside.
fn allowed(group: &Path) -> Result<(), String> {
    let tried = unshare(group)
        .args(["sh", "-c", "mount --make-rprivate / && mount -t cgroup2 cgroup2 /sys/fs/cgroup"])
        .output();
    match tried {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            Err(format!("this machine does not allow it ({})", String::from_utf8_lossy(&output.stderr).trim()))
        }
        Err(error) => Err(format!("unshare cannot be run ({error})")),
    }
}

fn launch(program: &str, dir: &Path, group: &Path) -> Child {
    let console = fs::File::create(dir.join("console")).expect("the log can be made");
    let mut command = unshare(group);
    command.args(["sh", "-c", PREPARE]).env("SYSTEMD", program);
    command.env("container", "evenkeel").env("SYSTEMD_UNIT_PATH", dir).env("SYSTEMD_GENERATOR_PATH", "/nonexistent");
    command.stdin(Stdio::null()).stdout(console.try_clone().expect("it can be shared")).stderr(console);
    command.spawn().expect("unshare has been run before")
}

/// `unshare`, from within the group.
fn unshare(group: &Path) -> Command {
    let mut command = Command::new("sh");
    let enter = "echo $$ > \"$0/cgroup.procs\" && exec unshare -m -p -f -C -u -i --kill-child --mount-proc \"$@\"";
    command.args(["-c", enter]).arg(group);
    command
}

fn child_of(pid: u32) -> Option<u32> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    children.split_whitespace().next()?.parse().ok()
}
