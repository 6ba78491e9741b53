//! Who has a connection now: taken by which line, and since when.
//!
//! The clients below do not know who took a connection, so the pools here count that themselves: one [`Held`] lives
//! exactly as long as what was taken.

use std::{
    collections::BTreeMap,
    fmt,
    panic::Location,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{sync::Notify, time::Instant};

use crate::time::seconds;

/// Where a public method was called.
pub(crate) type Site = &'static Location<'static>;

/// All that is taken of one pool.
#[derive(Default)]
pub(crate) struct Holders {
    next: AtomicU64,
    held: Mutex<BTreeMap<u64, (Site, Instant)>>,
    returned: Notify,
}

/// Something that was taken, until it is dropped.
pub(crate) struct Held {
    of: Arc<Holders>,
    key: u64,
}

/// What was taken by one line and is still held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Holder {
    pub(crate) site: String,
    pub(crate) count: usize,
    pub(crate) longest: Duration,
}

impl Holders {
    pub(crate) fn take(self: &Arc<Self>, site: Site) -> Held {
        let key = self.next.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(key, (site, Instant::now()));
        Held { of: self.clone(), key }
    }

    pub(crate) fn count(&self) -> usize {
        self.lock().len()
    }

    /// By line, the longest held first.
    pub(crate) fn all(&self) -> Vec<Holder> {
        let now = Instant::now();
        let mut by_line: Vec<Holder> = Vec::new();
        for (site, since) in self.lock().values() {
            let (site, held) = (short(site), now.saturating_duration_since(*since));
            match by_line.iter_mut().find(|holder| holder.site == site) {
                Some(holder) => {
                    holder.count += 1;
                    holder.longest = holder.longest.max(held);
                }
                None => by_line.push(Holder { site, count: 1, longest: held }),
            }
        }
        by_line.sort_by_key(|holder| std::cmp::Reverse(holder.longest));
        by_line
    }

    /// Waits until nothing is held. Cancel-safe.
    #[cfg_attr(not(feature = "redis"), expect(dead_code, reason = "sqlx's pool waits by itself"))]
    pub(crate) async fn none_left(&self) {
        loop {
            let mut returned = std::pin::pin!(self.returned.notified());
            returned.as_mut().enable();
            if self.lock().is_empty() {
                return;
            }
            returned.await;
        }
    }

    /// What is here is whole at every step, whoever panicked.
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, (Site, Instant)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.lock().remove(&self.key);
        self.of.returned.notify_waiters();
    }
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, site, longest) = (self.count, &self.site, seconds(self.longest));
        match count {
            1 => write!(f, "1 taken at {site}, held for {longest}"),
            _ => write!(f, "{count} taken at {site}, held for up to {longest}"),
        }
    }
}

/// In words, at most so many lines of them.
pub(crate) fn named(holders: &[Holder]) -> String {
    const LINES: usize = 8;
    let mut words: Vec<String> = holders.iter().take(LINES).map(ToString::to_string).collect();
    if holders.len() > LINES {
        words.push(format!("{} more lines", holders.len() - LINES));
    }
    words.join("; ")
}

/// `src/main.rs:12`, whatever separator the platform uses.
fn short(site: &Location<'_>) -> String {
    format!("{}:{}", site.file().replace('\\', "/"), site.line())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn holders_are_named_by_line_with_the_longest_first_r3_2b() {
        let holders = Arc::new(Holders::default());
        let here = Location::caller();
        let there = there();
        let old = holders.take(there);
        tokio::time::advance(Duration::from_millis(1_500)).await;
        let _two = (holders.take(here), holders.take(here));
        tokio::time::advance(Duration::from_millis(500)).await;
        let words = named(&holders.all());
        assert!(words.starts_with("1 taken at ") && words.contains("held for 2 s; 2 taken at "), "{words}");
        assert!(words.ends_with("held for up to 0.5 s"), "{words}");
        drop(old);
        assert_eq!((holders.count(), holders.all().len()), (2, 1));
    }

    fn there() -> Site {
        Location::caller()
    }
}
