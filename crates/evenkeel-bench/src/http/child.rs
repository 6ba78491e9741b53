//! A contender's process.

use std::{
    fs,
    io::{self, BufRead, BufReader},
    net::SocketAddr,
    process::{Child, Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use clap::ValueEnum;
use rustix::{
    process::{Resource, Rlimit, getrlimit, setrlimit},
    thread::{CpuSet, sched_getaffinity, sched_setaffinity},
};

use crate::servers::Contender;

/// A process that serves.
pub(crate) struct Server {
    pub(crate) addr: SocketAddr,
    child: Child,
}

impl Server {
    /// Starts this program once more, as a server.
    ///
    /// # Errors
    /// It does not start.
    pub(crate) fn start(contender: Contender) -> io::Result<Self> {
        let name = contender.to_possible_value().expect("every contender can be named");
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--serve", name.get_name(), "--core", &cores().0.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("it is piped")).read_line(&mut line)?;
        let addr = line.trim().parse().map_err(|_| io::Error::other(format!("{} does not serve", contender.name())))?;
        Ok(Self { addr, child })
    }

    /// CPU time of all its threads, in user and kernel mode.
    pub(crate) fn cpu(&self) -> io::Result<Duration> {
        let mut sum = 0;
        for thread in fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // Its first figure is the time on a core, in nanoseconds.
            let text = fs::read_to_string(thread?.path().join("schedstat"))?;
            sum += text.split(' ').next().and_then(|figure| figure.parse::<u64>().ok()).unwrap_or(0);
        }
        Ok(Duration::from_nanos(sum))
    }

    /// Memory of its own that it really has, in bytes.
    pub(crate) fn memory(&self) -> io::Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap_or_default();
        let kilobytes = line.trim().trim_end_matches("kB").trim().parse::<u64>();
        kilobytes.map(|figure| figure * 1024).map_err(io::Error::other)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its standard input is what it waits for.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// Makes this process a server's: many files, and this core.
pub(crate) fn prepare(core: usize) {
    allow_many_files();
    let mut one = CpuSet::new();
    one.set(core);
    // Without it the figures are noisier, and just as true.
    let _ = sched_setaffinity(None, &one);
}

/// Puts the load on its core. Says so if that is the servers' as well.
pub(crate) fn prepare_load() {
    let (servers, load) = cores();
    prepare(load);
    if servers == load {
        println!("SKIPPED: a core for the load alone: there is one core, which all share");
    }
}

/// The core of all servers, and that of the load: the first and the last that this process may use.
fn cores() -> (usize, usize) {
    // Asked once, before this process is put on one of them.
    static CORES: OnceLock<(usize, usize)> = OnceLock::new();
    *CORES.get_or_init(|| {
        let set = sched_getaffinity(None).unwrap_or_default();
        let mut all = (0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core));
        let first = all.next().unwrap_or(0);
        (first, all.next_back().unwrap_or(first))
    })
}

fn allow_many_files() {
    let limit = getrlimit(Resource::Nofile);
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum });
}
