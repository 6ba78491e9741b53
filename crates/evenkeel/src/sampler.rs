//! Finds code that holds a runtime thread without yielding (R2.3e).
//!
//! Two looks at the threads, some time apart: a poll that is the same in both has held its thread at least that long.
//! It looks only while something is being opened, so a service at rest costs nothing.

use std::time::Duration;

use tokio::time::Instant;

use crate::polls::{self, Busy, Mark};

/// What holds a thread longer than this is named.
pub(crate) const BLOCKING: Duration = Duration::from_millis(100);
const PERIOD: Duration = Duration::from_millis(25);

/// See the module documentation.
#[derive(Default)]
pub(crate) struct Sampler {
    last: Option<Instant>,
    seen: Vec<Seen>,
}

struct Seen {
    busy: Busy,
    since: Instant,
    named: bool,
}

/// A component that holds a thread.
pub(crate) struct Found {
    pub(crate) mark: Mark,
    pub(crate) thread: String,
    pub(crate) held: Duration,
}

impl Sampler {
    pub(crate) fn next(&self) -> Instant {
        self.last.map_or_else(Instant::now, |last| last + PERIOD)
    }

    /// Looks once; each blocking poll is returned once.
    pub(crate) fn sample(&mut self) -> Vec<Found> {
        let now = Instant::now();
        self.last = Some(now);
        let mut seen = Vec::new();
        for busy in polls::under_way() {
            let known = self.seen.iter().find(|seen| seen.busy == busy);
            let (since, named) = known.map_or((now, false), |known| (known.since, known.named));
            seen.push(Seen { busy, since, named });
        }
        self.seen = seen;
        let blocking = |seen: &&mut Seen| !seen.named && now.duration_since(seen.since) >= BLOCKING;
        let name = |seen: &mut Seen| {
            seen.named = true;
            Found { mark: seen.busy.mark, thread: seen.busy.thread.clone(), held: now.duration_since(seen.since) }
        };
        self.seen.iter_mut().filter(blocking).map(name).collect()
    }
}
