//! The life of one incarnation, from its opening to its end: open, run, drain, release.
//!
//! It runs as one task on the user's runtime and owns everything the component holds. The engine gives orders and this
//! task reports; it decides nothing about time or order. Every stage can be cut: what it was doing is dropped, and the
//! next stage goes on, so that a drain that hangs does not keep a value from being closed. Panics are errors here.

use std::{future::Future, sync::Arc, time::Duration};

use evenkeel_plan::{
    engine::End,
    limit::{Limit, seconds},
    spec::{Activity, Id},
};
use tokio::{sync::mpsc::UnboundedSender, time::Instant};

use crate::{
    driver::Message,
    error::{Failure, Result},
    lease::Slot,
    part::{BoxFuture, Close, Incarnation, OpenContext, Opened, Orders, Part, Stage},
    polls::{Watched, guarded},
};

/// What an incarnation reports to the engine.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) id: Id,
    pub(crate) attempt: u32,
    pub(crate) what: What,
}

#[derive(Debug)]
pub(crate) enum What {
    Opened { note: Option<String> },
    StartFailed(Failure),
    RunEnded(Result<(), Failure>),
    Drained(Result<(), Failure>),
    Closed { end: End, failure: Option<Failure>, leases: Vec<String> },
}

/// See the module documentation.
pub(crate) struct Life {
    pub(crate) part: Arc<Part>,
    pub(crate) incarnation: Arc<Incarnation>,
    pub(crate) reports: UnboundedSender<Message>,
}

/// How a stage ended.
enum Stopped<T> {
    Done(T),
    Cut,
    CutAll,
}

impl Life {
    pub(crate) async fn live(self) {
        // Each stage in a box of its own: while a component runs, nothing is kept for what comes before and after.
        let mut opened = match Box::pin(self.open()).await {
            Ok(opened) => opened,
            Err(what) => return Box::pin(self.end(what)).await,
        };
        let slot = Slot::new(opened.value.clone());
        // From here on the slot holds the only strong reference that is not a lease.
        opened.value = Arc::new(());
        self.part.lend(slot.clone());
        self.tell(What::Opened { note: opened.note.take() });
        let run = self.run(opened.run.take()).await;
        let end = match run {
            Stopped::Done(ran) => Box::pin(self.release(&slot, opened.close.take(), ran)).await,
            Stopped::Cut | Stopped::CutAll => Box::pin(self.drop_all(&slot)).await,
        };
        self.watch(Stage::Over);
        self.tell(end);
    }

    async fn open(&self) -> Result<Opened, What> {
        self.watch(Stage::Opening);
        let context = OpenContext {
            part: self.part.clone(),
            incarnation: self.incarnation.clone(),
            stop: self.incarnation.stop.clone(),
        };
        let opening = self.part.behaviour.clone().open(context);
        let mut opening = Watched::new(self.part.mark, opening);
        let orders = &self.incarnation.orders;
        tokio::select! {
            biased;
            () = self.incarnation.until_told(Orders::STOP | Orders::CUT_OPEN | Orders::CUT_ALL) => {}
            opened = &mut opening => {
                return flat(opened).map_err(What::StartFailed);
            }
        }
        let dropped = opening.cut().map_err(Failure::text);
        if orders.told(Orders::STOP | Orders::CUT_ALL) {
            let failure = dropped.err();
            let end = if failure.is_some() { End::Failed } else { End::Clean };
            return Err(What::Closed { end, failure, leases: Vec::new() });
        }
        let limit = seconds(self.part.spec.start_within);
        let doing = self.incarnation.scope.doing().map_or_else(String::new, |doing| format!(": it was {doing}"));
        Err(What::StartFailed(Failure::text(format!("not ready within {limit}{doing}"))))
    }

    /// An opening that led to nothing may still have spawned tasks.
    async fn end(&self, what: What) {
        self.incarnation.scope.abort();
        self.incarnation.scope.joined().await;
        self.watch(Stage::Over);
        self.tell(what);
    }

    /// Runs, and after the stop drains. Gives back whether it failed.
    async fn run(&self, run: Option<BoxFuture<Result>>) -> Stopped<Result<(), Failure>> {
        self.watch(Stage::Running);
        let Stopped::Done(mut ran) = self.run_until_stop_or_end(run).await else { return Stopped::CutAll };
        self.watch(Stage::Joining);
        match self.cuttable(Orders::CUT_DRAIN, self.incarnation.scope.joined()).await {
            Stopped::Done(()) => {}
            Stopped::CutAll => return Stopped::CutAll,
            Stopped::Cut => {
                ran = ran.and_then(|()| self.unjoined().map_or(Ok(()), Err));
                self.incarnation.scope.abort();
                self.incarnation.scope.joined().await;
            }
        }
        if let Some(failure) = self.incarnation.scope.failure() {
            ran = ran.and(Err(failure));
        }
        self.tell(What::Drained(ran.clone()));
        Stopped::Done(ran)
    }

    /// Ends when the run is over *and* the stop has been told. A run that ends before is reported, and the value stays
    /// lent; one that goes on after it is draining.
    async fn run_until_stop_or_end(&self, run: Option<BoxFuture<Result>>) -> Stopped<Result<(), Failure>> {
        let (orders, scope) = (&self.incarnation.orders, &self.incarnation.scope);
        let mut run = run.map(|run| Watched::new(self.part.mark, run));
        let mut result: Result<(), Failure> = Ok(());
        let mut reported = false;
        let mut task_failed = false;
        let job = self.part.spec.activity == Activity::Finite;
        loop {
            if run.is_none() && orders.told(Orders::STOP) {
                return Stopped::Done(result);
            }
            let run_is_over = run.is_none();
            let stop = if run_is_over { Orders::STOP } else { 0 };
            let look = || match scope.failure().filter(|_| !task_failed) {
                Some(failure) => Some(Err(failure)),
                None => (job && run_is_over && !reported && scope.is_empty()).then_some(Ok(())),
            };
            let news = tokio::select! {
                biased;
                () = self.incarnation.until_told(Orders::CUT_DRAIN | Orders::CUT_ALL | stop) => None,
                ran = maybe(run.as_mut()) => {
                    run = None;
                    let ran = flat(ran);
                    if job && ran.is_ok() {
                        continue; // a job is done when its tasks are
                    }
                    Some(ran)
                }
                ended = scope.until(look) => {
                    task_failed |= ended.is_err();
                    Some(ended)
                }
            };
            if let Some(news) = news {
                result = result.and(news);
                if !reported && !orders.told(Orders::STOP) {
                    reported = true;
                    self.tell(What::RunEnded(result.clone()));
                }
                continue;
            }
            // The order and the cut came together, and no run was going on: tasks that still do are named as they are cut.
            let is_over = run.is_none() && orders.told(Orders::STOP);
            if orders.told(Orders::CUT_ALL) || (orders.told(Orders::CUT_DRAIN) && !is_over) {
                // Before the run: work that it drops has been cut off, and has not ended by itself.
                scope.abort();
                let dropped = run.take().map_or(Ok(()), |mut run| run.cut().map_err(Failure::text));
                result = result.and(dropped).and_then(|()| Err(Failure::text("cut off at its limit")));
                if orders.told(Orders::CUT_ALL) {
                    return Stopped::CutAll;
                }
                orders.spend(Orders::CUT_DRAIN);
            }
        }
    }

    /// Waits for its turn, then for the leases, then closes the value.
    async fn release(&self, slot: &Arc<Slot>, close: Option<Close>, ran: Result<(), Failure>) -> What {
        self.watch(Stage::AwaitingRelease);
        let orders = &self.incarnation.orders;
        self.incarnation.until_told(Orders::RELEASE | Orders::CUT_ALL).await;
        if orders.told(Orders::CUT_ALL) {
            return self.drop_all(slot).await;
        }
        let until = Instant::now() + orders.release_allowed();
        self.watch(Stage::AwaitingLeases);
        let back = self.leases_back(slot).await;
        let leases = if back { Vec::new() } else { names(slot) };
        // The last one may have come back just now: then nobody is to be named, and the value is to be closed.
        let back = leases.is_empty();
        self.watch(Stage::Closing);
        let closed = match self.close(slot, close, back, until).await {
            Stopped::Done(closed) => closed,
            Stopped::Cut => return self.cut_off(slot, leases, "its close was cut off at its limit"),
            Stopped::CutAll => return self.cut_off(slot, leases, "its close was cut off"),
        };
        let dropped = guarded(self.part.mark, || drop(slot.take())).map_err(Failure::text);
        let failure = ran.and(closed).and(dropped).err();
        let end = match (&failure, leases.is_empty()) {
            (_, false) => End::Leaked,
            (Some(_), true) => End::Failed,
            (None, true) => End::Clean,
        };
        What::Closed { end, failure, leases }
    }

    /// Whether all leases came back in time. Holders that were abandoned never give theirs back, so nobody waits for
    /// them; and a value that can be closed while leases are out keeps a quarter of its time for that.
    async fn leases_back(&self, slot: &Slot) -> bool {
        if slot.is_hopeless() {
            return false;
        }
        let allowed = self.incarnation.orders.release_allowed();
        let patience = if self.part.close_ref.is_some() { allowed * 3 / 4 } else { Duration::MAX };
        tokio::select! {
            biased;
            () = slot.all_back() => true,
            () = self.incarnation.until_told(Orders::CUT_CLOSE | Orders::CUT_ALL) => {
                self.incarnation.orders.spend(Orders::CUT_CLOSE);
                false
            }
            () = sleep(patience) => false,
        }
    }

    async fn close(
        &self,
        slot: &Arc<Slot>,
        close: Option<Close>,
        back: bool,
        until: Instant,
    ) -> Stopped<Result<(), Failure>> {
        let retries = matches!(self.part.spec.stop_within, Limit::Exponential { .. });
        if self.part.close_ref.is_some() && (retries || !back || close.is_none()) {
            return self.close_by_reference(slot, until).await;
        }
        // The close by value needs every lease back; without that the value is left to its holders, named. A value that
        // nobody closes stays in its slot, to be dropped where a panic of its drop is caught.
        let Some(close) = close.filter(|_| back) else { return Stopped::Done(Ok(())) };
        let Some(value) = slot.take() else { return Stopped::Done(Ok(())) };
        let mut closing = match guarded(self.part.mark, || close(value, left(until))) {
            Ok(closing) => Watched::new(self.part.mark, closing),
            Err(panic) => return Stopped::Done(Err(Failure::text(panic))),
        };
        let closed = self.cuttable(Orders::CUT_CLOSE, &mut closing).await;
        match (closed, closing.cut()) {
            (Stopped::Done(closed), _) => Stopped::Done(flat(closed)),
            (Stopped::Cut | Stopped::CutAll, Err(panic)) => Stopped::Done(Err(Failure::text(panic))),
            (Stopped::Cut, Ok(())) => Stopped::Cut,
            (Stopped::CutAll, Ok(())) => Stopped::CutAll,
        }
    }

    /// Tries as often, and each time as long, as the limit says (R3.2c).
    async fn close_by_reference(&self, slot: &Arc<Slot>, until: Instant) -> Stopped<Result<(), Failure>> {
        let Some(close_ref) = &self.part.close_ref else { return Stopped::Done(Ok(())) };
        let mut last = Err(Failure::text("no attempt was made"));
        for attempt in self.part.spec.stop_within.attempts() {
            let allowed = attempt.min(left(until));
            let closing = guarded(self.part.mark, || close_ref.close(slot, &self.part.holder, allowed));
            let mut closing = match closing {
                Ok(closing) => Watched::new(self.part.mark, closing),
                Err(panic) => return Stopped::Done(Err(Failure::text(panic))),
            };
            last = match self.cuttable(Orders::CUT_CLOSE, tokio::time::timeout(attempt, &mut closing)).await {
                Stopped::Done(Ok(closed)) => flat(closed),
                Stopped::Done(Err(_)) => Err(Failure::text(format!("its close took longer than {}", seconds(attempt)))),
                Stopped::Cut => return Stopped::Cut,
                Stopped::CutAll => return Stopped::CutAll,
            };
            if last.is_ok() {
                break;
            }
        }
        Stopped::Done(last)
    }

    /// Everything of the component ends now.
    async fn drop_all(&self, slot: &Arc<Slot>) -> What {
        self.incarnation.scope.abort();
        self.watch(Stage::Joining);
        self.incarnation.scope.joined().await;
        // Who still holds leases now is being cut off as well: that is no leak.
        self.cut_off(slot, Vec::new(), "cut off")
    }

    fn cut_off(&self, slot: &Slot, leases: Vec<String>, what: &str) -> What {
        let dropped = guarded(self.part.mark, || drop(slot.take()));
        let failure = Failure::text(dropped.err().unwrap_or_else(|| what.to_owned()));
        What::Closed { end: End::Cut, failure: Some(failure), leases }
    }

    async fn cuttable<F: Future>(&self, cut: u8, work: F) -> Stopped<F::Output> {
        let orders = &self.incarnation.orders;
        tokio::select! {
            biased;
            () = self.incarnation.until_told(cut | Orders::CUT_ALL) => {
                if orders.told(Orders::CUT_ALL) {
                    return Stopped::CutAll;
                }
                orders.spend(cut);
                Stopped::Cut
            }
            done = work => Stopped::Done(done),
        }
    }

    /// `None`: the last one ended as the cut came.
    fn unjoined(&self) -> Option<Failure> {
        let (count, sites) = self.incarnation.scope.left();
        let text = || format!("{count} of its tasks did not end in time, spawned at {}", sites.join(", "));
        (count > 0).then(|| Failure::text(text()))
    }

    fn watch(&self, stage: Stage) {
        self.incarnation.watch.enter(stage);
    }

    fn tell(&self, what: What) {
        let report = Report { id: self.part.id, attempt: self.incarnation.attempt, what };
        // Nobody listens once the engine has finished without this component.
        let _ = self.reports.send(Message::Report(report));
    }
}

/// A user's result, or its panic, as a failure.
fn flat<T>(result: Result<Result<T>, String>) -> Result<T, Failure> {
    match result {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(Failure::of(error)),
        Err(panic) => Err(Failure::text(panic)),
    }
}

fn names(slot: &Slot) -> Vec<String> {
    slot.outstanding().iter().map(ToString::to_string).collect()
}

async fn maybe<F: Future + Unpin>(future: Option<F>) -> F::Output {
    match future {
        Some(future) => future.await,
        None => std::future::pending().await,
    }
}

fn left(until: Instant) -> Duration {
    until.saturating_duration_since(Instant::now())
}

async fn sleep(time: Duration) {
    if time == Duration::MAX {
        std::future::pending::<()>().await;
    }
    tokio::time::sleep(time).await;
}
