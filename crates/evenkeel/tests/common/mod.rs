//! The plumbing of the scenarios: a diary that components write and tests read, and components that keep it.
//!
//! A test waits for an entry of the diary, never for a moment. Where limits matter it runs on a paused clock.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{
    future::Future,
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use evenkeel::{App, Handle, Needs, Receipt, Result, Row, Running, StartError};
use tokio::sync::Notify;

/// Nothing here takes longer, not even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(120);

/// What happened, in order.
#[derive(Clone, Default)]
pub(crate) struct Diary {
    pages: Arc<Pages>,
}

#[derive(Default)]
struct Pages {
    entries: Mutex<Vec<String>>,
    changed: Notify,
}

impl Diary {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<String>> {
        self.pages.entries.lock().expect("nobody panics while writing")
    }

    pub(crate) fn note(&self, entry: impl Into<String>) {
        self.lock().push(entry.into());
        self.pages.changed.notify_waiters();
    }

    pub(crate) fn entries(&self) -> Vec<String> {
        self.lock().clone()
    }

    pub(crate) fn count(&self, entry: &str) -> usize {
        self.entries().iter().filter(|noted| *noted == entry).count()
    }

    pub(crate) fn has(&self, entry: &str) -> bool {
        self.count(entry) > 0
    }

    /// What follows this beginning in the first entry that has it.
    #[track_caller]
    pub(crate) fn rest_of(&self, beginning: &str) -> String {
        let entries = self.entries();
        let rest = entries.iter().find_map(|entry| entry.strip_prefix(beginning));
        rest.unwrap_or_else(|| panic!("nothing begins with {beginning:?}; noted were {entries:#?}")).to_owned()
    }

    /// Waits until the entry is there.
    pub(crate) async fn until(&self, entry: &str) {
        self.until_times(entry, 1).await;
    }

    /// Waits until the entry is there so many times.
    pub(crate) async fn until_times(&self, entry: &str, times: usize) {
        let seen = async {
            loop {
                let changed = self.pages.changed.notified();
                if self.count(entry) >= times {
                    return;
                }
                changed.await;
            }
        };
        let seen = tokio::time::timeout(PATIENCE, seen).await;
        assert!(seen.is_ok(), "never noted {times} x {entry:?}; noted were {:#?}", self.entries());
    }

    /// Each of these was noted, each after the one before it.
    #[track_caller]
    pub(crate) fn assert_order(&self, entries: &[&str]) {
        let noted = self.entries();
        let mut from = 0;
        for entry in entries {
            let at = noted[from..].iter().position(|noted| noted == entry);
            let at = at.unwrap_or_else(|| panic!("{entry:?} is not where {entries:?} has it; noted were {noted:#?}"));
            from += at + 1;
        }
    }

    /// Notes this when it is dropped.
    pub(crate) fn on_drop(&self, entry: impl Into<String>) -> OnDrop {
        OnDrop { diary: self.clone(), entry: entry.into() }
    }
}

/// Notes its entry when it is dropped.
pub(crate) struct OnDrop {
    diary: Diary,
    entry: String,
}

impl Drop for OnDrop {
    fn drop(&mut self) {
        self.diary.note(std::mem::take(&mut self.entry));
    }
}

/// Panics when it is dropped, unless something else panics already.
pub(crate) struct PanicsOnDrop;

impl Drop for PanicsOnDrop {
    fn drop(&mut self) {
        assert!(std::thread::panicking(), "its drop panics");
    }
}

/// A resource that notes `open NAME` and `close NAME` and lends its name.
#[track_caller]
pub(crate) fn resource<N: Needs>(app: &App, name: &'static str, needs: N, diary: &Diary) -> Handle<&'static str> {
    let (opened, closed) = (diary.clone(), diary.clone());
    app.resource(
        name,
        needs,
        async move |_| {
            opened.note(format!("open {name}"));
            Ok(name)
        },
        async move |name: &'static str| {
            closed.note(format!("close {name}"));
            Ok(())
        },
    )
}

/// A worker that notes `run NAME`, then `end NAME` when it is told to stop; it holds what it needs until then.
#[track_caller]
pub(crate) fn worker<N: Needs>(app: &App, name: &'static str, needs: N, diary: &Diary) -> Handle<()> {
    let diary = diary.clone();
    app.worker(name, needs, async move |held, stop| {
        diary.note(format!("run {name}"));
        stop.requested().await;
        diary.note(format!("end {name}"));
        drop(held);
        Ok(())
    })
}

/// A worker that does not answer its stop: it notes `run NAME` and goes on for ever.
#[track_caller]
pub(crate) fn deaf_worker<N: Needs>(app: &App, name: &'static str, needs: N, diary: &Diary) -> Handle<()> {
    let diary = diary.clone();
    app.worker(name, needs, async move |_held, _stop| {
        diary.note(format!("run {name}"));
        std::future::pending().await
    })
}

/// Starts, or fails the test with the reason.
pub(crate) async fn started(app: App) -> Running {
    match app.start().await {
        Ok(running) => running,
        Err(refused) => panic!("it did not start: {refused}"),
    }
}

/// The receipt of a start that has to fail.
pub(crate) async fn failed_start(app: App) -> Receipt {
    match app.start().await {
        Err(StartError::Failed(receipt)) => *receipt,
        Err(refused) => panic!("refused instead of failed: {refused}"),
        Ok(_) => panic!("it started"),
    }
}

/// Why the app is refused, all problems in one text.
pub(crate) async fn refused(app: App) -> String {
    match app.start().await {
        Err(StartError::Refused(problems)) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        Err(failed) => panic!("failed instead of refused: {failed}"),
        Ok(_) => panic!("it started"),
    }
}

/// The row of a component.
#[track_caller]
pub(crate) fn row<'a>(receipt: &'a Receipt, name: &str) -> &'a Row {
    let row = receipt.components.iter().find(|row| row.name == name);
    row.unwrap_or_else(|| panic!("no row for {name:?}"))
}

/// The state in which each component ended.
pub(crate) fn states(receipt: &Receipt) -> Vec<(&str, &str)> {
    receipt.components.iter().map(|row| (row.name.as_str(), row.state.as_str())).collect()
}

#[track_caller]
pub(crate) fn assert_clean(receipt: &Receipt) {
    assert!(receipt.is_clean() && receipt.exit_code == 0 && receipt.culprits.is_empty(), "{}", receipt.to_json());
}

#[track_caller]
pub(crate) fn assert_outcome(receipt: &Receipt, outcome: &str, exit_code: u8) {
    assert_eq!((receipt.outcome.as_str(), receipt.exit_code), (outcome, exit_code), "{}", receipt.to_json());
}

/// Waits until a status of the app satisfies this. Asks again whenever the runtime has nothing better to do.
pub(crate) async fn status_until(running: &Running, mut wanted: impl FnMut(&evenkeel::Status) -> bool) {
    let asking = async {
        while !running.status().await.is_some_and(|status| wanted(&status)) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, asking).await.expect("the status is reached");
}

/// Runs a scenario on a runtime of its own kind, to the end.
pub(crate) fn on_current_thread<F: Future>(scenario: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(scenario)
}

/// What components and tests return.
pub(crate) const DONE: Result = Ok(());

/// A job that notes `run NAME` and, a turn later, `end NAME`.
#[track_caller]
pub(crate) fn job<N: Needs>(app: &App, name: &'static str, needs: N, diary: &Diary) -> Handle<()> {
    let diary = diary.clone();
    let work = async move |_held, _stop| {
        diary.note(format!("run {name}"));
        tokio::task::yield_now().await;
        diary.note(format!("end {name}"));
        Ok(())
    };
    app.worker(name, needs, work).finite()
}
