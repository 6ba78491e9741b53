//! A real process, killed at random moments while it appends.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails loudly, and its figures are for its reader")]

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use evenkeel_journal::{Durable, Error, Options, State, disk::OsDisk};
use serde::{Deserialize, Serialize};

const DIRECTORY: &str = "EVENKEEL_TEST_JOURNAL";

#[derive(Default, Serialize, Deserialize)]
struct Counted {
    count: u64,
    sum: u64,
}

impl State for Counted {
    type Event = u64;

    fn apply(&mut self, number: &u64) {
        self.count += 1;
        self.sum += number;
    }
}

fn options() -> Options {
    Options::default().segment_bytes(64 << 10).max_record(1024).window(4096).checkpoint_bytes(100 << 10)
}

/// Appends 1, 2, 3 .. as the next numbers and says each that is acknowledged, until it is killed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "runs as a child of the test below"]
async fn appends_until_it_is_killed() {
    let Ok(directory) = env::var(DIRECTORY) else { return };
    let (counted, _) = Durable::<Counted>::open(Arc::new(OsDisk::new(directory).unwrap()), options()).await.unwrap();
    let mut out = std::io::stdout();
    loop {
        let tasks: Vec<_> = (0..32)
            .map(|_| {
                tokio::spawn({
                    let counted = counted.clone();
                    async move { counted.decide(|state| Ok::<_, ()>(state.count + 1)).await.unwrap().unwrap() }
                })
            })
            .collect();
        for task in tasks {
            let seq = task.await.unwrap();
            writeln!(out, "acknowledged {seq}").unwrap();
        }
    }
}

fn child(directory: &Path) -> Child {
    Command::new(env::current_exe().unwrap())
        .args(["--exact", "appends_until_it_is_killed", "--ignored", "--nocapture"])
        .env(DIRECTORY, directory)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

/// `EVENKEEL_KILLS` says how often.
#[test]
fn what_a_killed_process_has_acknowledged_is_there_each_time_r4_3c() {
    let kills: u64 = env::var("EVENKEEL_KILLS").map_or(20, |text| text.parse().expect("a number"));
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = 0;
    for kill in 0..kills {
        let mut child = child(dir.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // Not after a time but after so many acknowledgements: the moment differs, the test does not.
        let target = acknowledged + 1 + kill * 97 % 800;
        let seen = |line: std::io::Result<String>| line.ok()?.split_once("acknowledged ")?.1.parse::<u64>().ok();
        acknowledged = acknowledged.max(lines.by_ref().filter_map(seen).find(|seq| *seq >= target).unwrap());
        if kill == 0 {
            let held = Durable::<Counted>::recover(Arc::new(OsDisk::new(dir.path()).unwrap()), options());
            let held = held.err().expect("the child has it");
            assert!(matches!(held, Error::Held { pid: Some(pid) } if pid == child.id()), "{held}");
        }
        child.kill().unwrap();
        child.wait().unwrap();
        acknowledged = lines.filter_map(seen).fold(acknowledged, u64::max);
        let disk = Arc::new(OsDisk::new(dir.path()).unwrap());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (counted, recovery) = Durable::<Counted>::open(disk, options()).await.unwrap();
            let (count, sum) = counted.read(|counted| (counted.count, counted.sum)).await.unwrap();
            assert!(count >= acknowledged, "{count} of {acknowledged} are there");
            assert_eq!((count, sum), (recovery.last_seq, count * (count + 1) / 2), "each counts once");
            acknowledged = count;
            counted.close().await.unwrap();
        });
    }
    println!("figure: {kills} kills, {acknowledged} records, 0 lost, 0 counted twice");
}
