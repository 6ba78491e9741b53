//! Components that have promised to say that they are alive.
//!
//! Policy: a component counts, and whoever looks compares: nobody keeps a timer for it. So it is seen to be stuck with the
//! first look after its limit, which begins anew with each start and with each count.

use std::{collections::BTreeMap, time::Duration};

use evenkeel_plan::{engine::Moment, spec::Id};

/// Who promised what, and what was seen last.
pub(crate) struct Heartbeats {
    promises: BTreeMap<Id, Promise>,
}

struct Promise {
    limit: Duration,
    /// The incarnation and its count, and when they were first seen so.
    seen: Option<((u32, u64), Moment)>,
}

impl Heartbeats {
    pub(crate) fn new(limits: BTreeMap<Id, Duration>) -> Self {
        let promises = limits.into_iter().map(|(id, limit)| (id, Promise { limit, seen: None }));
        Self { promises: promises.collect() }
    }

    /// One look. `beats` gives the incarnation and its count of a component that is ready. What comes back is stuck: for how
    /// long, and how long it may be silent.
    pub(crate) fn look(
        &mut self,
        now: Moment,
        beats: impl Fn(Id) -> Option<(u32, u64)>,
    ) -> Vec<(Id, Duration, Duration)> {
        let mut stuck = Vec::new();
        for (id, promise) in &mut self.promises {
            let since = match (beats(*id), promise.seen) {
                (Some(count), Some((seen, since))) if seen == count => since,
                (count, _) => {
                    promise.seen = count.map(|count| (count, now));
                    continue;
                }
            };
            let silent = now.saturating_sub(since);
            if silent > promise.limit {
                stuck.push((*id, silent, promise.limit));
            }
        }
        stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(10);

    fn at(secs: u64) -> Moment {
        Duration::from_secs(secs)
    }

    #[test]
    fn silence_counts_from_the_last_beat_that_was_seen_r2_3c() {
        let id = Id(3);
        let mut heartbeats = Heartbeats::new(BTreeMap::from([(id, LIMIT)]));
        assert!(heartbeats.look(at(0), |_| None).is_empty(), "it is not ready yet");
        assert!(heartbeats.look(at(100), |_| Some((1, 0))).is_empty(), "it has its limit from when it was seen ready");
        assert!(heartbeats.look(at(110), |_| Some((1, 0))).is_empty());
        assert_eq!(heartbeats.look(at(111), |_| Some((1, 0))), [(id, Duration::from_secs(11), LIMIT)]);
        assert!(heartbeats.look(at(112), |_| Some((1, 1))).is_empty(), "it has come back by itself");
        assert!(heartbeats.look(at(121), |_| Some((1, 1))).is_empty());
        assert!(heartbeats.look(at(130), |_| Some((2, 1))).is_empty(), "another start begins anew");
    }
}
