//! The journal and durable state on a real directory, as tasks use them.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{path::Path, sync::Arc};

use evenkeel_journal::{Durable, Error, Journal, Options, Recovered, Recovery, State, disk::Disk, disk::OsDisk};
use serde::{Deserialize, Serialize};

fn disk(dir: &Path) -> Arc<dyn Disk> {
    Arc::new(OsDisk::new(dir).unwrap())
}

/// Small segments, so that there are several.
fn options() -> Options {
    Options::default().segment_bytes(8192).max_record(1024).window(1024).ballast(4096)
}

async fn open(dir: &Path) -> (Journal<String>, Recovery, Vec<(u64, String)>) {
    let (tell, told) = std::sync::mpsc::channel();
    let (journal, recovery) = Journal::open(disk(dir), options(), move |recovered| {
        if let Recovered::Record(seq, record) = recovered {
            tell.send((seq, record)).unwrap();
        }
        Ok(())
    })
    .await
    .unwrap();
    (journal, recovery, told.iter().collect())
}

#[tokio::test]
async fn what_was_appended_is_recovered_in_order_over_segments_r4_3c() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, recovery, _) = open(dir.path()).await;
    assert_eq!((recovery.last_seq, recovery.clean), (0, false));
    for seq in 1..=300 {
        assert_eq!(journal.append(&format!("record {seq} ").repeat(9)).await.unwrap(), seq);
    }
    let closed = journal.close(None).await.unwrap();
    assert_eq!(closed.seq, 0, "there is no checkpoint");
    let (_journal, recovery, records) = open(dir.path()).await;
    assert!(recovery.clean && recovery.replayed == 300 && recovery.cut.is_none(), "{recovery:?}");
    let wanted: Vec<_> = (1..=300).map(|seq| (seq, format!("record {seq} ").repeat(9))).collect();
    assert_eq!(records, wanted);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_committers_get_places_without_a_gap_and_subscribers_see_all_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = open(dir.path()).await;
    let mut live = journal.subscribe_from(1);
    let tasks: Vec<_> = (0..64)
        .map(|task| {
            let journal = journal.clone();
            tokio::spawn(async move {
                let mut places = Vec::new();
                for turn in 0..10 {
                    places.push(journal.append(&format!("{task} {turn}")).await.unwrap());
                }
                places
            })
        })
        .collect();
    let mut places = Vec::new();
    for task in tasks {
        let own = task.await.unwrap();
        assert!(own.is_sorted(), "{own:?}");
        places.extend(own);
    }
    places.sort_unstable();
    assert_eq!(places, (1..=640).collect::<Vec<_>>());
    for seq in 1..=640 {
        assert_eq!(live.next().await.unwrap().unwrap().0, seq);
    }
    let mut late = journal.subscribe_from(600);
    assert_eq!(late.next().await.unwrap().unwrap().0, 600);
    journal.close(None).await.unwrap();
    assert!(live.next().await.is_none(), "the journal is closed and all was seen");
    assert!(matches!(journal.append(&String::new()).await, Err(Error::Closed)));
    assert!(matches!(journal.barrier().await, Ok(640)), "all that was admitted is durable");
}

#[tokio::test]
async fn a_checkpoint_trims_and_who_comes_too_late_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = open(dir.path()).await;
    for seq in 1..=200 {
        journal.append_nowait(&format!("record {seq} ").repeat(9)).unwrap();
    }
    assert_eq!(journal.barrier().await.unwrap(), 200);
    let done = journal.checkpoint(150, b"state".to_vec()).await.unwrap();
    assert!(done.seq == 150 && done.untrimmed.is_none(), "{done:?}");
    let early = journal.subscribe_from(1).next().await.unwrap();
    assert!(matches!(early, Err(Error::Trimmed { first }) if first > 100 && first <= 151), "{early:?}");
    assert_eq!(journal.subscribe_from(151).next().await.unwrap().unwrap().0, 151);
    journal.close(Some((200, b"all".to_vec()))).await.unwrap();
    let (_journal, recovery, records) = open(dir.path()).await;
    assert!(records.is_empty() && recovery.checkpoint == 200 && recovery.replayed == 0, "{recovery:?}");
}

#[tokio::test]
async fn a_record_that_is_too_large_is_refused_with_both_figures() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = open(dir.path()).await;
    let refused = journal.append(&"x".repeat(2000)).await.unwrap_err();
    assert!(matches!(refused, Error::TooLarge { bytes: 2002, limit: 1024 }), "{refused}");
    assert_eq!(journal.append(&"x".to_owned()).await.unwrap(), 1);
}

#[tokio::test]
async fn a_checkpoint_as_of_a_record_to_come_is_refused_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = open(dir.path()).await;
    journal.append(&"one".to_owned()).await.unwrap();
    assert!(matches!(journal.checkpoint(2, Vec::new()).await, Err(Error::Option(_))));
    assert!(matches!(journal.close(Some((2, Vec::new()))).await, Err(Error::Option(_))));
    assert_eq!(journal.append(&"two".to_owned()).await.unwrap(), 2);
    journal.close(None).await.unwrap();
    assert_eq!(open(dir.path()).await.2.len(), 2);
}

#[tokio::test]
async fn a_recovery_tells_how_far_it_is_and_comes_to_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, ..) = open(dir.path()).await;
    for number in 0..200 {
        journal.append_nowait(&format!("record {number} ").repeat(9)).unwrap();
    }
    journal.close(None).await.unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let options = options().progress(move |progress| tell.send(progress).unwrap());
    let (journal, _) = Journal::<String>::open(disk(dir.path()), options, |_| Ok(())).await.unwrap();
    let steps: Vec<_> = told.try_iter().collect();
    assert!(steps.len() > 2 && steps.is_sorted_by_key(|step| step.bytes), "{steps:?}");
    let last = steps.last().unwrap();
    assert_eq!((last.bytes, last.records), (last.of, 200));
    drop(journal);
}

#[test]
fn a_directory_is_created_for_this_user_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a/b/c");
    OsDisk::new(&path).unwrap();
    for level in ["a", "a/b", "a/b/c"] {
        assert_eq!(evenkeel_os::examine::examine(&dir.path().join(level)).unwrap().mode & 0o777, 0o700, "{level}");
    }
}

/// Stock of one thing.
#[derive(Debug, Default, Serialize, Deserialize, PartialEq)]
struct Stock {
    left: i64,
    sold: Vec<u32>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Happened {
    Delivered(i64),
    Sold(u32),
}

impl State for Stock {
    type Event = Happened;

    fn apply(&mut self, event: &Happened) {
        match event {
            Happened::Delivered(count) => self.left += count,
            Happened::Sold(order) => {
                self.left -= 1;
                self.sold.push(*order);
            }
        }
    }
}

fn sell(stock: &Stock, order: u32) -> Result<Happened, &'static str> {
    if stock.left > 0 { Ok(Happened::Sold(order)) } else { Err("sold out") }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn durable_state_decides_alone_and_replays_nothing_after_an_end_in_order_r4_3() {
    let dir = tempfile::tempdir().unwrap();
    let (stock, _) = Durable::<Stock>::open(disk(dir.path()), options()).await.unwrap();
    stock.record(Happened::Delivered(50)).await.unwrap();
    let orders: Vec<_> = (0..80)
        .map(|order| {
            let stock = stock.clone();
            tokio::spawn(async move { stock.decide(|stock| sell(stock, order)).await.unwrap() })
        })
        .collect();
    let mut sold = 0;
    for order in orders {
        sold += usize::from(order.await.unwrap().is_ok());
    }
    assert_eq!(sold, 50, "none is sold twice, and none is left");
    let before = stock.read(|stock| stock.sold.clone()).await.unwrap();
    stock.close().await.unwrap();
    let (stock, recovery) = Durable::<Stock>::open(disk(dir.path()), options()).await.unwrap();
    assert_eq!(stock.read(|stock| (stock.left, stock.sold.clone())).await.unwrap(), (0, before));
    assert!(recovery.clean && recovery.replayed == 0 && recovery.checkpoint == 51, "{recovery:?}");
}

#[tokio::test]
async fn a_checkpoint_comes_by_itself_and_bounds_what_is_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let options = options().checkpoint_bytes(4096);
    let (stock, _) = Durable::<Stock>::open(disk(dir.path()), options.clone()).await.unwrap();
    for _ in 0..400 {
        stock.record(Happened::Delivered(1)).await.unwrap();
    }
    stock.checkpoint().await.unwrap(); // behind those that came by themselves
    stock.record(Happened::Delivered(1)).await.unwrap();
    assert!(stock.journal().background_failure().is_none());
    let early = stock.subscribe_from(1).next().await.unwrap();
    assert!(matches!(early, Err(Error::Trimmed { .. })), "{early:?}");
    stock.journal().close(None).await.unwrap();
    let (stock, recovery) = Durable::<Stock>::open(disk(dir.path()), options).await.unwrap();
    assert_eq!(stock.read(|stock| stock.left).await.unwrap(), 401);
    assert_eq!(recovery.replayed, 1);
}
