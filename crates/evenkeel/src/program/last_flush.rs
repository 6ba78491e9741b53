//! The last flush: the receipt goes to its places, the table and the last log lines to standard error.
//!
//! Each place is written by a thread of its own and waited for a bounded time, inside the budget: a full pipe that
//! nobody reads, a pipe that nobody opens, or a hung disk holds up neither the exit nor the other places. Who hinders is
//! named in whatever can be written; the exit code says how the stop went, and that stays what it was.
//!
//! In order: the receipt to every place without waiting for the disk, so that it is there whatever happens next; the
//! table and all log lines; the receipt once more if it has changed, and for good.

use std::{
    io,
    path::{Path, PathBuf},
    sync::mpsc,
    time::{Duration, Instant},
};

use evenkeel_events::{Event, Format, Receipt, Sink, store, table, timeline};
use evenkeel_os::threads::spawn_named;

use super::WIDTH;

/// A stop that was not clean but shorter than this explains itself without a picture.
const WORTH_A_PICTURE_MS: f64 = 100.0;

/// Where a receipt goes.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    pub(super) state_dir: Option<PathBuf>,
    pub(super) file: Option<PathBuf>,
    /// The command that shows the receipt again.
    pub(super) shown_by: String,
}

/// How the last flush is done.
#[derive(Clone, Copy, Debug)]
pub(super) struct Manner {
    /// All the time there is.
    pub(super) time: Duration,
    /// Whether to wait for the disk.
    pub(super) durably: bool,
    pub(super) format: Format,
}

/// One place.
#[derive(Clone, Debug)]
enum Place {
    File(PathBuf),
    StateDir(PathBuf),
}

impl Place {
    fn write(&self, receipt: &Receipt, durably: bool) -> io::Result<PathBuf> {
        match (self, durably) {
            (Self::File(file), true) => store::save_to(file, receipt).map(|()| file.clone()),
            (Self::File(file), false) => store::save_to_quickly(file, receipt).map(|()| file.clone()),
            (Self::StateDir(dir), true) => store::save(dir, receipt, store::KEEP),
            (Self::StateDir(dir), false) => store::save_quickly(dir, receipt),
        }
    }

    fn blame(&self, receipt: &mut Receipt, why: &str) {
        match self {
            Self::File(file) => {
                blame(
                    receipt,
                    "receipt file",
                    &format!("the receipt could not be written to {}: {why}", file.display()),
                );
            }
            Self::StateDir(dir) => {
                blame(
                    receipt,
                    "state directory",
                    &format!("the receipt could not be kept in {}: {why}", dir.display()),
                );
            }
        }
    }
}

impl Places {
    fn all(&self) -> Vec<Place> {
        let dir = self.state_dir.iter().cloned().map(Place::StateDir);
        dir.chain(self.file.iter().cloned().map(Place::File)).collect()
    }

    /// For a process that ends in this very moment: one place after the other, on the caller's thread, because another
    /// thread may not get its turn any more. There is nobody left to tell that it failed.
    pub(super) fn write_now(&self, receipt: &Receipt) {
        for place in self.all() {
            drop(place.write(receipt, false));
        }
    }
}

/// See the module documentation. Returns the receipt as it is in its places.
pub(super) fn last_flush(mut receipt: Receipt, places: &Places, sink: &Sink, manner: Manner) -> Receipt {
    let (began, written) = (Instant::now(), receipt.clone());
    let mut good = Vec::new();
    let mut kept = None;
    for (place, outcome) in write_all(&places.all(), &receipt, false, began + manner.time / 3) {
        match outcome {
            Ok(path) => {
                kept.get_or_insert(path);
                good.push(place);
            }
            Err(why) => place.blame(&mut receipt, &why),
        }
    }
    show(&receipt, sink, manner.format, kept.as_deref(), places);
    // What is left is for telling of it.
    let flushed = sink.flush((manner.time * 2 / 3).saturating_sub(began.elapsed()));
    receipt.log_lines_lost = flushed.lost.max(sink.lost());
    if !flushed.written || receipt.log_lines_lost > 0 {
        blame(&mut receipt, "standard error", "log lines were lost: standard error is not being read");
    }
    if receipt != written {
        drop(write_all(&good, &receipt, false, began + manner.time));
    }
    // Whoever is too slow for this has it already, as far as the program can tell.
    if manner.durably {
        drop(write_all(&good, &receipt, true, began + manner.time));
    }
    receipt
}

/// Writes to all places at once. What has not answered when the time is up is left to itself.
fn write_all(
    places: &[Place],
    receipt: &Receipt,
    durably: bool,
    until: Instant,
) -> Vec<(Place, Result<PathBuf, String>)> {
    let begun: Vec<_> = places.iter().map(|place| begin(place, receipt, durably)).collect();
    let answer = |answer: mpsc::Receiver<io::Result<PathBuf>>| match answer
        .recv_timeout(until.saturating_duration_since(Instant::now()))
    {
        Ok(outcome) => outcome.map_err(|error| error.to_string()),
        Err(_) => Err("it did not take the receipt in time".to_owned()),
    };
    places.iter().cloned().zip(begun.into_iter().map(answer)).collect()
}

fn begin(place: &Place, receipt: &Receipt, durably: bool) -> mpsc::Receiver<io::Result<PathBuf>> {
    let (tell, told) = mpsc::channel();
    let (place, receipt) = (place.clone(), receipt.clone());
    // If the system gives no thread, nobody answers, and the place is blamed.
    let _ = spawn_named("evenkeel-receipt", move || {
        let _ = tell.send(place.write(&receipt, durably));
    });
    told
}

/// Names who hindered the last flush. The stop itself was what it was: the exit code does not change.
fn blame(receipt: &mut Receipt, culprit: &str, warning: &str) {
    if !receipt.culprits.iter().any(|known| known == culprit) {
        receipt.culprits.push(culprit.to_owned());
    }
    if !receipt.warnings.iter().any(|known| known == warning) {
        receipt.warnings.push(warning.to_owned());
        Event::Warning { text: warning, hint: None }.log();
    }
}

/// The table for a person, with the timeline if there is something to explain; a line for a log pipeline.
pub(super) fn show(receipt: &Receipt, sink: &Sink, format: Format, kept: Option<&Path>, places: &Places) {
    let kept = kept.map(|path| path.display().to_string());
    match format {
        Format::Human | Format::Journal => sink.write_line(picture(receipt, kept, places)),
        // The whole receipt is in its file.
        Format::Json => tracing::info!(
            target: "evenkeel",
            outcome = %receipt.outcome,
            exit_code = receipt.exit_code,
            cause = %receipt.cause,
            used_ms = receipt.used_ms,
            culprits = %receipt.culprits.join(", "),
            receipt = kept,
            "the service has ended"
        ),
    }
}

fn picture(receipt: &Receipt, kept: Option<String>, places: &Places) -> String {
    let mut text = table(receipt, WIDTH);
    if !receipt.is_clean() && receipt.used_ms >= WORTH_A_PICTURE_MS {
        text.push('\n');
        text.push_str(&timeline::text(receipt, WIDTH));
    }
    if let Some(kept) = kept {
        text.push_str(&format!("\n  receipt: {kept}\n"));
        if places.state_dir.is_some() {
            text.push_str(&format!("  show it again with `{}`\n", places.shown_by));
        }
    }
    text
}
