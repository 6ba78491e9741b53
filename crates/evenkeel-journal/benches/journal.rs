//! Durable appends and replay, side by side in one run: against one sync per record, a bare batching writer without any
//! format, and the journal itself with its syncs left out.
//!
//! `cargo xtask bench journal`; `-- --seconds 3 --rounds 5` for longer.

#![allow(clippy::unwrap_used, clippy::print_stdout, clippy::expect_used, reason = "a measurement for its reader")]

use std::{
    any::Any,
    fs::File,
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use evenkeel_journal::{
    Bytes, Error, Journal, Options, Replayed, Store,
    disk::{Disk, DiskFile, OsDisk},
};
use evenkeel_os::disk::write_at;
use tokio::{runtime::Runtime, sync::oneshot};

const RECORD: usize = 256;
/// The bare rivals write round and round in a file of this size that was written once.
const SPACE: u64 = 64 << 20;

/// What one contender did in one round.
#[derive(Clone, Copy)]
struct Figure {
    per_second: f64,
    p50: Duration,
    p99: Duration,
}

fn figure(mut times: Vec<Duration>, took: Duration) -> Figure {
    times.sort_unstable();
    #[allow(clippy::cast_precision_loss, reason = "a rate")]
    let per_second = times.len() as f64 / took.as_secs_f64();
    let at = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or_default();
    Figure { per_second, p50: at(50), p99: at(99) }
}

fn written_once(path: &Path) -> File {
    let file = File::options().read(true).write(true).create(true).truncate(true).open(path).unwrap();
    let zeros = vec![0; 1 << 20];
    for at in (0..SPACE).step_by(zeros.len()) {
        assert_eq!(write_at(&file, &zeros, at).unwrap(), zeros.len());
    }
    file.sync_all().unwrap();
    file
}

/// Each committer's thread writes and syncs its own record.
fn one_sync_each(dir: &Path, committers: u64, lasting: Duration) -> Figure {
    let file = Arc::new(written_once(&dir.join("each")));
    let began = Instant::now();
    let threads: Vec<_> = (0..committers)
        .map(|own| {
            let file = file.clone();
            thread::spawn(move || {
                let mut times = Vec::new();
                let mut at = own * RECORD as u64;
                while began.elapsed() < lasting {
                    let start = Instant::now();
                    assert_eq!(write_at(&file, &[7; RECORD], at % SPACE).unwrap(), RECORD);
                    file.sync_data().unwrap();
                    times.push(start.elapsed());
                    at += committers * RECORD as u64;
                }
                times
            })
        })
        .collect();
    let times = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    figure(times, began.elapsed())
}

type Ask = (Vec<u8>, oneshot::Sender<()>);

/// Tasks hand records to one thread, which writes all that there are and syncs once. No format, no checksum, no bound.
fn bare_batches(runtime: &Runtime, dir: &Path, committers: u64, lasting: Duration) -> Figure {
    let file = written_once(&dir.join("bare"));
    let (ask, asked) = mpsc::channel::<Ask>();
    let writer = thread::spawn(move || {
        let mut at = 0;
        let mut bytes = Vec::new();
        let mut waiting = Vec::new();
        while let Ok(first) = asked.recv() {
            bytes.clear();
            for (record, answer) in std::iter::once(first).chain(asked.try_iter()) {
                bytes.extend_from_slice(&record);
                waiting.push(answer);
            }
            if at + bytes.len() as u64 > SPACE {
                at = 0;
            }
            assert_eq!(write_at(&file, &bytes, at).unwrap(), bytes.len());
            file.sync_data().unwrap();
            at += bytes.len() as u64;
            waiting.drain(..).for_each(|answer| answer.send(()).unwrap());
        }
    });
    let figure = drive(runtime, committers, lasting, move || {
        let ask = ask.clone();
        async move {
            let (answer, durable) = oneshot::channel();
            ask.send((vec![7; RECORD], answer)).unwrap();
            durable.await.unwrap();
        }
    });
    writer.join().unwrap();
    figure
}

fn journal(runtime: &Runtime, disk: Arc<dyn Disk>, committers: u64, lasting: Duration) -> Figure {
    let (journal, _) = Journal::recover(disk, Options::default(), |_| Ok(())).unwrap();
    let used = journal.clone();
    let record = Bytes(vec![7; RECORD]);
    let figure = drive(runtime, committers, lasting, move || {
        let append = used.append(&record);
        async move { assert!(append.await.unwrap() > 0) }
    });
    // Its space is used again in the next round.
    let last = journal.durable();
    runtime.block_on(journal.close(Some((last, Vec::new())))).unwrap();
    figure
}

/// Runs as many tasks, each of which commits again and again.
fn drive<F: Future<Output = ()> + Send + 'static>(
    runtime: &Runtime,
    committers: u64,
    lasting: Duration,
    commit: impl Fn() -> F + Clone + Send + Sync + 'static,
) -> Figure {
    let over = Arc::new(AtomicBool::new(false));
    let began = Instant::now();
    let times = runtime.block_on(async {
        let tasks: Vec<_> = (0..committers)
            .map(|_| {
                let (commit, over) = (commit.clone(), over.clone());
                tokio::spawn(async move {
                    let mut times = Vec::new();
                    while !over.load(Ordering::Relaxed) {
                        let start = Instant::now();
                        commit().await;
                        times.push(start.elapsed());
                    }
                    times
                })
            })
            .collect();
        drop(commit);
        tokio::time::sleep(lasting).await;
        over.store(true, Ordering::Relaxed);
        let mut all = Vec::new();
        for task in tasks {
            all.extend(task.await.unwrap());
        }
        all
    });
    figure(times, began.elapsed())
}

/// The journal's disk with the syncs of its files left out.
struct Unsynced(OsDisk);

struct UnsyncedFile(Arc<dyn DiskFile>);

impl Disk for Unsynced {
    fn lock(&self) -> Result<Box<dyn Any + Send + Sync>, Error> {
        self.0.lock()
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.0.list()
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(UnsyncedFile(self.0.open(name)?)))
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(UnsyncedFile(self.0.create(name)?)))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.0.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.0.remove(name)
    }
    fn sync_names(&self) -> io::Result<()> {
        Ok(())
    }
    fn nonce(&self) -> u64 {
        self.0.nonce()
    }
}

impl DiskFile for UnsyncedFile {
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.0.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.0.write_at(bytes, offset)
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Records and bytes per second, from files that the system still has in memory.
fn replay(dir: &Path) -> (f64, f64) {
    const BATCHES: u64 = 400;
    let disk = || Arc::new(OsDisk::new(dir).unwrap());
    let batch: Vec<&[u8]> = vec![&[7; RECORD]; 1000];
    let (mut store, _) = Store::recover(disk(), Options::default(), |_| Ok(())).unwrap();
    for _ in 0..BATCHES {
        store.append(&batch).unwrap();
    }
    drop(store);
    let mut bytes = 0;
    let began = Instant::now();
    let (_store, recovery) = Store::recover(disk(), Options::default(), |replayed| {
        if let Replayed::Record(_, body) = replayed {
            bytes += body.len();
        }
        Ok(())
    })
    .unwrap();
    let took = began.elapsed().as_secs_f64();
    assert_eq!(recovery.replayed, BATCHES * 1000);
    #[allow(clippy::cast_precision_loss, reason = "a rate")]
    (recovery.replayed as f64 / took, bytes as f64 / took)
}

fn option(name: &str, otherwise: f64) -> f64 {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next().map_or(otherwise, |text| text.parse().expect("a number"))
}

fn median(mut figures: Vec<Figure>) -> Figure {
    figures.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    figures[figures.len() / 2]
}

fn main() {
    let lasting = Duration::from_secs_f64(option("--seconds", 1.0));
    let rounds = option("--rounds", 3.0);
    let runtime = Runtime::new().unwrap();
    let scratch =
        tempfile::tempdir_in(std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into())).unwrap();
    let dir = scratch.path();
    println!("records of {RECORD} bytes, median of {rounds} rounds of {lasting:?}, in turns");
    println!("{:>10}  {:<24}{:>12}{:>12}{:>12}{:>8}", "committers", "", "records/s", "p50", "p99", "ratio");
    for committers in [1, 16, 256] {
        let names = ["journal", "one sync per record", "bare batching writer", "journal without syncs"];
        let mut figures = [const { Vec::new() }; 4];
        let mut round = 0.0;
        while round < rounds {
            round += 1.0;
            let synced = Arc::new(OsDisk::new(dir.join("journal")).unwrap());
            let unsynced = Arc::new(Unsynced(OsDisk::new(dir.join("unsynced")).unwrap()));
            figures[0].push(journal(&runtime, synced, committers, lasting));
            figures[1].push(one_sync_each(dir, committers, lasting));
            figures[2].push(bare_batches(&runtime, dir, committers, lasting));
            figures[3].push(journal(&runtime, unsynced, committers, lasting));
        }
        let figures = figures.map(median);
        for (name, figure) in names.iter().zip(figures) {
            let ratio = figures[0].per_second / figure.per_second;
            let Figure { per_second, p50, p99 } = figure;
            println!("{committers:>10}  {name:<24}{per_second:>12.0}{p50:>12.2?}{p99:>12.2?}{ratio:>8.2}");
        }
    }
    let (records, bytes) = replay(&dir.join("replay"));
    println!("replay: {:.2} million records/s, {:.2} GB/s", records / 1e6, bytes / 1e9);
}
