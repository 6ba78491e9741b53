//! The journal's threads on a disk that waits when told to, and fails.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{
    any::Any,
    future::Future,
    io,
    pin::pin,
    sync::{Arc, Condvar, Mutex},
    task::{Context, Poll, Waker},
};

use evenkeel_journal::{
    Bytes, Durable, Error, Journal, Options, Recovered, State,
    disk::{Disk, DiskFile},
    sim::{Faults, SimDisk},
};
use serde::{Deserialize, Serialize};

/// A disk whose syncs of segments wait while its gate is shut.
#[derive(Clone)]
struct Gated {
    disk: SimDisk,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    state: Mutex<(bool, usize)>,
    moved: Condvar,
}

impl Gate {
    fn shut(&self, shut: bool) {
        self.state.lock().unwrap().0 = shut;
        self.moved.notify_all();
    }

    fn pass(&self) {
        let mut state = self.state.lock().unwrap();
        state.1 += 1;
        self.moved.notify_all();
        drop(self.moved.wait_while(state, |state| state.0).unwrap());
    }

    /// Waits until this many syncs have come to the gate.
    fn wait_for(&self, syncs: usize) {
        drop(self.moved.wait_while(self.state.lock().unwrap(), |state| state.1 < syncs).unwrap());
    }

    fn syncs(&self) -> usize {
        self.state.lock().unwrap().1
    }
}

struct GatedFile(Arc<dyn DiskFile>, Arc<Gate>);

impl DiskFile for GatedFile {
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
        self.1.pass();
        self.0.sync()
    }
}

impl Disk for Gated {
    fn lock(&self) -> Result<Box<dyn Any + Send + Sync>, Error> {
        self.disk.lock()
    }
    fn list(&self) -> io::Result<Vec<String>> {
        self.disk.list()
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        self.disk.open(name)
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.disk.create(name)?;
        Ok(if name == "segment.tmp" { Arc::new(GatedFile(file, self.gate.clone())) } else { file })
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.disk.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.disk.remove(name)
    }
    fn sync_names(&self) -> io::Result<()> {
        self.disk.sync_names()
    }
    fn nonce(&self) -> u64 {
        self.disk.nonce()
    }
}

fn options() -> Options {
    Options::default().segment_bytes(1 << 20).max_record(4096).window(4096).ballast(16 << 10).spares(0)
}

fn open(disk: &Gated, options: Options) -> (Journal<Bytes>, Vec<Vec<u8>>) {
    let mut records = Vec::new();
    let disk = Arc::new(disk.clone());
    let (journal, _) = Journal::recover(disk, options, |recovered| {
        if let Recovered::Record(_, Bytes(body)) = recovered {
            records.push(body);
        }
        Ok(())
    })
    .unwrap();
    (journal, records)
}

/// A journal whose first record is being synced, for as long as the gate is shut.
fn stuck(options: Options) -> (Gated, Journal<Bytes>, usize) {
    let disk = Gated { disk: SimDisk::new(1, Faults::default()), gate: Arc::default() };
    let (journal, _) = open(&disk, options);
    let before = disk.gate.syncs();
    disk.gate.shut(true);
    journal.append_nowait(&body(1)).unwrap();
    disk.gate.wait_for(before + 1);
    (disk, journal, before)
}

fn body(number: u64) -> Bytes {
    Bytes(format!("record {number}").into_bytes())
}

fn poll<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

#[tokio::test]
async fn all_that_came_during_a_sync_is_one_batch_with_one_sync() {
    let (disk, journal, before) = stuck(options());
    for number in 2..=500 {
        journal.append_nowait(&body(number)).unwrap();
    }
    disk.gate.shut(false);
    assert_eq!(journal.barrier().await.unwrap(), 500);
    assert_eq!(disk.gate.syncs() - before, 2);
}

#[tokio::test]
async fn an_append_that_is_dropped_after_its_admission_is_written_all_the_same() {
    let (disk, journal, _) = stuck(options());
    {
        let mut append = pin!(journal.append(&body(2)));
        assert!(poll(append.as_mut()).is_pending(), "it is admitted, and the disk is stuck");
    }
    drop(journal.append(&body(9))); // never polled: never admitted
    disk.gate.shut(false);
    assert_eq!(journal.barrier().await.unwrap(), 2);
    journal.close(None).await.unwrap();
    let (_journal, records) = open(&disk, options());
    assert_eq!(records, [body(1).0, body(2).0]);
}

#[tokio::test]
async fn a_full_queue_makes_appends_wait_in_turn_and_refuses_those_that_do_not_wait() {
    let few = options().queue_records(4).queue_bytes(16 << 10);
    let (disk, journal, _) = stuck(few);
    for number in 2..=4 {
        journal.append_nowait(&body(number)).unwrap();
    }
    assert!(matches!(journal.append_nowait(&body(5)), Err(Error::Busy)));
    let mut waits = Box::pin(journal.append(&body(5)));
    let mut waits_too = Box::pin(journal.append(&body(6)));
    assert!(poll(waits.as_mut()).is_pending() && poll(waits_too.as_mut()).is_pending());
    disk.gate.shut(false);
    assert_eq!((waits.await.unwrap(), waits_too.await.unwrap()), (5, 6));
}

#[tokio::test]
async fn a_failed_sync_answers_all_waiters_with_its_cause_and_nothing_is_acknowledged_after_it() {
    let (disk, journal, _) = stuck(options());
    let mut live = journal.subscribe_from(1);
    let mut waiting: Vec<_> = (2..100).map(|number| Box::pin(journal.append(&body(number)))).collect();
    for append in &mut waiting {
        assert!(poll(append.as_mut()).is_pending());
    }
    let failing_sync = Some(disk.disk.syncs());
    disk.disk.set_faults(Faults { failing_sync, ..Faults::default() });
    disk.gate.shut(false);
    for append in waiting {
        let error = append.await.unwrap_err();
        assert!(matches!(&error, Error::Poisoned(cause) if cause.to_string().contains("sync")), "{error:?}");
    }
    let syncs = disk.disk.syncs();
    assert!(matches!(journal.append(&body(100)).await, Err(Error::Poisoned(_))));
    assert!(matches!(journal.append_nowait(&body(100)), Err(Error::Poisoned(_))));
    assert!(matches!(journal.barrier().await, Err(Error::Poisoned(_))));
    assert!(matches!(journal.checkpoint(0, Vec::new()).await, Err(Error::Poisoned(_))));
    assert!(matches!(live.next().await, Some(Err(Error::Poisoned(_)))));
    assert!(matches!(journal.close(None).await, Err(Error::Poisoned(_))));
    assert_eq!(disk.disk.syncs() - syncs, 0, "no sync is tried again: {:?}", disk.disk.trace());
}

#[tokio::test]
async fn on_a_full_disk_intake_is_refused_reading_goes_on_and_the_last_checkpoint_finds_room() {
    let capacity = Some(64 << 10);
    let disk = Gated { disk: SimDisk::new(1, Faults { capacity, ..Faults::default() }), gate: Arc::default() };
    let (journal, _) = open(&disk, options());
    let mut last = 0;
    let refused = loop {
        match journal.append(&Bytes(vec![7; 1000])).await {
            Ok(seq) => last = seq,
            Err(error) => break error,
        }
    };
    assert!(matches!(refused, Error::Full) && refused.hint().contains("room"), "{refused}");
    assert!(last > 10 && matches!(journal.append(&body(1)).await, Err(Error::Full)));
    let mut read = journal.subscribe_from(1);
    for seq in 1..=last {
        assert_eq!(read.next().await.unwrap().unwrap().0, seq);
    }
    let closed = journal.close(Some((last, vec![1; 10_000]))).await.unwrap();
    assert_eq!(closed.seq, last);
    let (_journal, records) = open(&disk, options());
    assert!(records.is_empty(), "all is in the checkpoint");
}

#[tokio::test]
async fn the_end_is_flush_close_commit_in_this_order_and_trims_last_r4_3a() {
    let disk = Gated { disk: SimDisk::new(1, Faults::default()), gate: Arc::default() };
    let (journal, _) = open(&disk, options().window(1 << 20));
    journal.append_nowait(&body(1)).unwrap();
    journal.barrier().await.unwrap();
    let before = disk.disk.trace().len();
    journal.append_nowait(&body(2)).unwrap();
    journal.close(Some((2, b"state".to_vec()))).await.unwrap();
    let trace = disk.disk.trace();
    let segment = |what: &str| format!("{what} segment-0000000000000001");
    let wanted = [
        segment("write"), // the record: flush
        segment("sync"),
        segment("write"), // the seal: close
        segment("sync"),
        "create snapshot.tmp".to_owned(), // commit, phase one
        "write snapshot.tmp".to_owned(),
        "write snapshot.tmp".to_owned(),
        "sync snapshot.tmp".to_owned(),
        "rename snapshot.tmp to snapshot-0000000000000002".to_owned(),
        "sync names".to_owned(),
        "write manifest".to_owned(), // phase two
        "sync manifest".to_owned(),
        segment("remove"), // only then
    ];
    assert_eq!(trace[before..], wanted);
}

/// Which numbers were told, in order.
#[derive(Default, Serialize, Deserialize, Debug, PartialEq)]
struct Told(Vec<u64>);

impl State for Told {
    type Event = u64;

    fn apply(&mut self, number: &u64) {
        self.0.push(*number);
    }
}

/// Both threads at work: crashes between their operations, in the order that chance gives them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durable_state_survives_a_crash_at_each_step_of_both_threads_r4_3() {
    let options = || {
        let small = Options::default().segment_bytes(4096).max_record(64).window(512).ballast(1024);
        small.spares(2).checkpoint_bytes(6000)
    };
    let mut crashes = 0;
    for seed in 0..8 {
        let disk = SimDisk::new(seed, Faults { crash_points: 1, short_writes: 7, ..Faults::default() });
        let (told, _) = Durable::<Told>::open(Arc::new(disk.clone()), options()).await.unwrap();
        for round in 0..150 {
            let three: Vec<_> = (1..=3).map(|number| tokio::spawn(told.record(round * 3 + number))).collect();
            for one in three {
                one.await.unwrap().unwrap();
            }
            disk.note((round + 1) * 3); // acknowledged at least
        }
        told.close().await.unwrap();
        let wanted = told.read(|told| told.0.clone()).await.unwrap();
        for crash in disk.take_crashes() {
            crashes += 1;
            let disk = SimDisk::from_image(&crash.image, seed, Faults::default());
            let (told, _) = Durable::<Told>::open(Arc::new(disk), options()).await.unwrap();
            let found = told.read(|told| told.0.clone()).await.unwrap();
            assert!(found.len() as u64 >= crash.note, "{} of {} before {}", found.len(), crash.note, crash.before);
            assert_eq!(found, wanted[..found.len()], "before {}", crash.before);
            told.close().await.unwrap();
        }
    }
    assert!(crashes > 1_000, "{crashes}");
}
