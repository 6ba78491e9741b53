//! One flipped bit after the other, in all files of a journal that was not closed in order.

use std::sync::Arc;

use evenkeel_journal::{
    Error, Options, Replayed, Sabotage, Store,
    sim::{Faults, Image, SimDisk},
};

const BATCHES: usize = 14;

/// How many flips were refused, hurt nothing, or hurt the last batch alone.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) refused: u64,
    pub(crate) harmless: u64,
    pub(crate) last_batch: u64,
}

fn options(bug: Option<Sabotage>) -> Options {
    let options = Options::default().segment_bytes(3072).max_record(300).window(512).ballast(0).spares(1);
    bug.into_iter().fold(options, Options::sabotage)
}

fn record(number: usize) -> Vec<u8> {
    format!("<{number}>").repeat(1 + number * 7 % 40).into_bytes()
}

fn written() -> Image {
    let disk = SimDisk::new(1, Faults::default());
    let (mut store, _) = Store::recover(Arc::new(disk.clone()), options(None), |_| Ok(())).expect("it is new");
    for batch in 0..BATCHES {
        store.append(&[&record(2 * batch + 1), &record(2 * batch + 2)]).expect("the disk is whole");
        if batch == 5 {
            store.checkpoint(b"twelve").expect("the disk is whole");
        }
    }
    disk.seen()
}

/// Flips a bit in every second byte of every file. An error says what was lost or invented without a word.
pub(crate) fn flip_all(bug: Option<Sabotage>) -> Result<Outcome, String> {
    let image = written();
    let mut outcome = Outcome::default();
    for (name, content) in &image.files {
        for at in (0..content.len()).step_by(2) {
            let mut damaged = image.clone();
            damaged.files.get_mut(name).expect("it is there")[at] ^= 1 << (at / 2 % 8);
            let disk = SimDisk::from_image(&damaged, 1, Faults::default());
            let mut last = 0;
            let mut wrong = None;
            let recovered = Store::recover(Arc::new(disk), options(bug), |replayed| {
                match replayed {
                    Replayed::Checkpoint(seq, state) => {
                        last = seq;
                        wrong = (seq != 12 || state != b"twelve").then_some(seq);
                    }
                    Replayed::Record(seq, body) => {
                        let is_next = seq == last + 1 && usize::try_from(seq).is_ok_and(|seq| body == record(seq));
                        last = seq;
                        wrong = wrong.or_else(|| (!is_next).then_some(seq));
                    }
                }
                Ok(())
            });
            match recovered {
                Err(Error::Rot { .. } | Error::Newer { .. }) => outcome.refused += 1,
                Err(error) => return Err(format!("{name} at {at}: {error}")),
                Ok(_) if wrong.is_some() => return Err(format!("{name} at {at}: record {wrong:?} is another")),
                Ok(_) if last == 2 * BATCHES as u64 => outcome.harmless += 1,
                Ok(_) if last >= 2 * (BATCHES as u64 - 1) => outcome.last_batch += 1,
                Ok(_) => return Err(format!("{name} at {at}: only {last} records are there")),
            }
        }
    }
    Ok(outcome)
}
