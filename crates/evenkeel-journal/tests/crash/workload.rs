//! One random workload on a simulated disk, and what every crash in it must leave.

use std::sync::Arc;

use evenkeel_journal::{
    Error, Options, Replayed, Sabotage, Store,
    sim::{CrashPoint, Faults, Image, SimDisk},
};

/// What must never happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Invariant {
    /// An acknowledged record is gone.
    Lost,
    /// A record is there that nobody wrote, or another than was written.
    Invented,
    /// The state after replay is not the effect of each record once.
    Doubled,
    /// Recovering once more gives something else.
    Unstable,
    /// What a crash left is refused, though nothing is damaged.
    Refused,
    /// Something was acknowledged after a sync had failed.
    FalseAck,
}

#[derive(Debug)]
#[allow(dead_code, reason = "shown by `Debug`")]
pub(crate) struct Violation {
    pub(crate) invariant: Invariant,
    pub(crate) seed: u64,
    pub(crate) what: String,
}

#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) workloads: u64,
    pub(crate) crashes: u64,
    pub(crate) in_recovery: u64,
    pub(crate) failed_syncs: u64,
    pub(crate) full: u64,
}

/// What a journal holds: how many records, and a digest over them in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Effect {
    last: u64,
    digest: u64,
}

impl Effect {
    fn apply(&mut self, seq: u64, body: &[u8]) {
        self.last = seq;
        for byte in seq.to_le_bytes().iter().chain(body) {
            self.digest = (self.digest ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3);
        }
    }

    fn encode(self, filler: usize) -> Vec<u8> {
        let mut bytes = [self.last.to_le_bytes(), self.digest.to_le_bytes()].concat();
        bytes.resize(16 + filler, 7);
        bytes
    }

    fn decode(bytes: &[u8]) -> Self {
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight"));
        Self { last: number(0), digest: number(8) }
    }
}

pub(crate) struct Workload {
    seed: u64,
    dice: u64,
    bug: Option<Sabotage>,
    disk: SimDisk,
    /// What was handed over, by sequence from 1.
    written: Vec<Vec<u8>>,
    acknowledged: u64,
    pub(crate) tally: Tally,
}

/// Runs one workload and looks at each crash in it.
pub(crate) fn run(seed: u64, bug: Option<Sabotage>) -> Result<Tally, Violation> {
    let mut workload = Workload {
        seed,
        dice: seed,
        bug,
        disk: SimDisk::new(seed, Faults::default()),
        written: Vec::new(),
        acknowledged: 0,
        tally: Tally { workloads: 1, ..Tally::default() },
    };
    workload.go()?;
    Ok(workload.tally)
}

fn faults(crash_points: usize) -> Faults {
    Faults { crash_points, short_writes: 6, ..Faults::default() }
}

impl Workload {
    fn roll(&mut self, end: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % end
    }

    fn options(&self) -> Options {
        let spares = usize::try_from(self.seed % 3).expect("small");
        let options = Options::default()
            .segment_bytes(2048 + self.seed % 4 * 512)
            .max_record(400)
            .window(512 + self.seed % 2 * 1024)
            .ballast(self.seed % 2 * 2048)
            .spares(spares);
        match self.bug {
            Some(bug) => options.sabotage(bug),
            None => options,
        }
    }

    fn go(&mut self) -> Result<(), Violation> {
        for _ in 0..3 {
            let mut faults = faults(1);
            match self.roll(4) {
                0 => faults.failing_sync = Some(self.disk.syncs() + self.roll(20)),
                1 => faults.capacity = Some(4_000 + self.roll(20_000)),
                _ => {}
            }
            self.disk.set_faults(faults);
            self.one_life()?;
            self.disk.set_faults(self::faults(0));
            // The process dies here, or the machine.
            if self.roll(2) == 0 {
                let image = self.disk.crash();
                self.disk = SimDisk::from_image(&image, self.roll(u64::MAX), self::faults(0));
            }
            self.restart()?;
        }
        Ok(())
    }

    /// From one start to its end, of whatever kind.
    fn one_life(&mut self) -> Result<(), Violation> {
        let recovered = self.recover(&self.disk.clone());
        self.examine()?;
        let Ok((mut store, mut effect)) = recovered else { return Ok(()) };
        // What a recovery has told of is as good as acknowledged.
        self.acknowledged = effect.last;
        self.note();
        for _ in 0..4 + self.roll(10) {
            let went_on = match self.roll(8) {
                0 => self.checkpoint(&mut store, effect),
                1 => store.prepare().is_ok() || self.disk_is_full(),
                _ => self.append(&mut store, &mut effect)?,
            };
            self.examine()?;
            if !went_on {
                return self.after_failure(store, effect);
            }
        }
        if self.roll(3) == 0 {
            let state = effect.encode(64);
            let _ = store.close((self.roll(2) == 0).then_some(&state));
            self.examine()?;
        }
        Ok(())
    }

    fn disk_is_full(&mut self) -> bool {
        self.tally.full += 1;
        true
    }

    fn checkpoint(&mut self, store: &mut Store, effect: Effect) -> bool {
        let filler = usize::try_from(self.roll(1500)).expect("small");
        // A checkpoint that fails leaves the one before in force, and the journal goes on.
        !matches!(store.checkpoint(&effect.encode(filler)), Err(Error::Poisoned(_)))
    }

    fn append(&mut self, store: &mut Store, effect: &mut Effect) -> Result<bool, Violation> {
        let count = 1 + self.roll(5);
        let begin = self.written.len();
        for _ in 0..count {
            let len = usize::try_from(self.roll(301)).expect("small");
            let body = (0..len).map(|_| u8::try_from(self.roll(256)).expect("a byte")).collect();
            self.written.push(body);
        }
        self.note();
        let batch: Vec<&[u8]> = self.written[begin..].iter().map(Vec::as_slice).collect();
        let appended = store.append(&batch);
        self.acknowledged = store.durable();
        for body in &self.written[begin..usize::try_from(self.acknowledged).expect("small")] {
            effect.apply(effect.last + 1, body);
        }
        self.note();
        match appended {
            Ok(last) if last == self.written.len() as u64 => Ok(true),
            Ok(last) => Err(self.violation(Invariant::Lost, format!("appended up to {last} only"))),
            Err(_) => Ok(false),
        }
    }

    /// Nothing is acknowledged after a failed sync; after a full disk a checkpoint may still go through.
    fn after_failure(&mut self, mut store: Store, effect: Effect) -> Result<(), Violation> {
        let more: &[u8] = b"more";
        match store.append(&[more]) {
            Ok(_) if self.disk_has_failed() => {
                return Err(self.violation(Invariant::FalseAck, "acknowledged after a failed sync".to_owned()));
            }
            Ok(last) => {
                // There was room for a small one. What was refused before it is gone for good.
                self.written.truncate(usize::try_from(last - 1).expect("small"));
                self.written.push(more.to_vec());
                self.acknowledged = last;
                self.note();
            }
            Err(Error::Poisoned(_)) => self.tally.failed_syncs += 1,
            Err(_) => {
                self.tally.full += 1;
                self.checkpoint(&mut store, effect);
            }
        }
        self.disk.take_crashes(); // their records are told apart no longer
        Ok(())
    }

    fn disk_has_failed(&self) -> bool {
        self.bug == Some(Sabotage::RetrySync)
    }

    fn note(&self) {
        self.disk.note(self.acknowledged << 32 | self.written.len() as u64);
    }

    /// Recovers on a disk as it is; what is behind the last record was never acknowledged and does not count from here on.
    fn restart(&mut self) -> Result<(), Violation> {
        let point = CrashPoint {
            before: "restart".to_owned(),
            image: self.disk.seen(),
            note: self.acknowledged << 32 | self.written.len() as u64,
        };
        let disk = SimDisk::from_image(&point.image, 1, Faults::default());
        let effect = self.check(&disk, &point)?;
        self.written.truncate(usize::try_from(effect.last).expect("small"));
        self.note();
        Ok(())
    }

    /// Looks at every crash since the last look.
    fn examine(&mut self) -> Result<(), Violation> {
        for point in self.disk.take_crashes() {
            self.tally.crashes += 1;
            let seed = self.roll(u64::MAX);
            let nested = self.tally.crashes.is_multiple_of(8);
            let disk = SimDisk::from_image(&point.image, seed, faults(usize::from(nested)));
            let effect = self.check(&disk, &point)?;
            let inner = disk.take_crashes();
            let again = self.check(&SimDisk::from_image(&disk.seen(), seed, Faults::default()), &point)?;
            if again != effect {
                return Err(
                    self.violation(Invariant::Unstable, format!("before {}: {effect:?}, {again:?}", point.before))
                );
            }
            for mut inner in inner {
                self.tally.in_recovery += 1;
                inner.note = point.note;
                let disk = SimDisk::from_image(&inner.image, seed, Faults::default());
                inner.before = format!("{} of the recovery before {}", inner.before, point.before);
                self.check(&disk, &inner)?;
            }
        }
        Ok(())
    }

    /// Recovers and holds what is found against what was written.
    fn check(&self, disk: &SimDisk, point: &CrashPoint) -> Result<Effect, Violation> {
        let fail = |invariant, what| Err(self.violation(invariant, format!("before {}: {what}", point.before)));
        let (effect, wrong) = match self.replay(disk) {
            Ok((_, effect, wrong)) => (effect, wrong),
            Err(error) => return fail(Invariant::Refused, format!("{error}; the disk has {:?}", names(&point.image))),
        };
        if let Some(seq) = wrong {
            return fail(Invariant::Invented, format!("record {seq}"));
        }
        let (acknowledged, written) = (point.note >> 32, point.note & 0xffff_ffff);
        if effect.last < acknowledged {
            return fail(Invariant::Lost, format!("{} of {acknowledged} are there", effect.last));
        }
        if effect.last > written {
            return fail(Invariant::Invented, format!("{} of {written} are there", effect.last));
        }
        let mut wanted = Effect::default();
        for body in &self.written[..usize::try_from(effect.last).expect("small")] {
            wanted.apply(wanted.last + 1, body);
        }
        if wanted != effect {
            return fail(Invariant::Doubled, format!("{effect:?} is not {wanted:?}"));
        }
        Ok(effect)
    }

    fn recover(&self, disk: &SimDisk) -> Result<(Store, Effect), Error> {
        self.replay(disk).map(|(store, effect, _)| (store, effect))
    }

    /// Recovers; beside the effect, the first record that is not what was written.
    fn replay(&self, disk: &SimDisk) -> Result<(Store, Effect, Option<u64>), Error> {
        let mut effect = Effect::default();
        let mut wrong = None;
        let (store, _) = Store::recover(Arc::new(disk.clone()), self.options(), |found| {
            match found {
                Replayed::Checkpoint(_, state) => effect = Effect::decode(state),
                Replayed::Record(seq, body) => {
                    let written = usize::try_from(seq).ok().and_then(|seq| self.written.get(seq.checked_sub(1)?));
                    if written.is_none_or(|written| written != body) {
                        wrong.get_or_insert(seq);
                    }
                    effect.apply(seq, body);
                }
            }
            Ok(())
        })?;
        Ok((store, effect, wrong))
    }

    fn violation(&self, invariant: Invariant, what: String) -> Violation {
        Violation { invariant, seed: self.seed, what }
    }
}

fn names(image: &Image) -> Vec<String> {
    image.files.iter().map(|(name, content)| format!("{name}: {}", content.len())).collect()
}
