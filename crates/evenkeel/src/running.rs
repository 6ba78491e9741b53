//! An app running inside somebody else's runtime: for tests, and for programs that have a `main` of their own.
//!
//! Nothing here touches the process: no signals, no files, no exit. The deadline of a stop is held by the runtime's
//! clock, which may be a simulated one; code that blocks every thread of the runtime also blocks that clock. A program
//! that must end in time whatever happens uses [`App::run`], where the deadline has a thread of its own.

use std::{
    future::Future,
    panic::Location,
    sync::{Arc, atomic::Ordering},
};

use evenkeel_events::Receipt;
use evenkeel_plan::{
    cause::{Cause, Outcome},
    lifecycle::{Service, Step},
};
use tokio::{
    runtime,
    sync::{mpsc::UnboundedSender, oneshot, watch},
};

use crate::{
    app::{App, Problem},
    driver::{Driver, Harness, Message, Shared},
    handle::{Handle, OptionalHandle},
    lease::{Holder, Lease},
    part::Part,
    status::Status,
};

/// Why [`App::start`] did not lead to a running app.
#[derive(Debug)]
pub enum StartError {
    /// Refused before anything was opened.
    Refused(Vec<Problem>),
    /// Something could not be opened; what had been opened was released again, as the receipt shows.
    Failed(Box<Receipt>),
}

impl std::fmt::Display for StartError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(problems) => {
                let texts: Vec<String> = problems.iter().map(ToString::to_string).collect();
                f.write_str(&texts.join("\n"))
            }
            Self::Failed(receipt) => {
                write!(f, "{}", receipt.cause)?;
                receipt.root_cause.iter().try_for_each(|reason| write!(f, ": {reason}"))
            }
        }
    }
}

impl std::error::Error for StartError {}

/// An app that is running. Dropping it asks for a stop and waits for nothing.
pub struct Running {
    outbox: UnboundedSender<Message>,
    shared: Arc<Shared>,
    parts: Vec<Arc<Part>>,
    receipt: watch::Receiver<Option<Arc<Receipt>>>,
    holder: Arc<Holder>,
    app: usize,
}

impl App {
    /// Starts the app on the current tokio runtime and returns when it runs.
    ///
    /// Dropping the future stops what has started, in order, in the background.
    ///
    /// # Errors
    /// [`StartError`]: the app was refused, or an essential component could not start.
    ///
    /// # Panics
    /// Outside a tokio runtime with its timer enabled.
    pub async fn start(self) -> Result<Running, StartError> {
        let harness = Harness::on(runtime::Handle::current());
        self.start_with(harness).await
    }

    pub(crate) async fn start_with(self, harness: Harness) -> Result<Running, StartError> {
        let mut running = self.launch(harness)?;
        let mut service = running.shared.service.subscribe();
        let up = |state: &Service| matches!(state, Service::Running | Service::Stopping) || state.is_over();
        // The driver holds the other end until it has published a last state.
        let reached = service.wait_for(up).await.map_or(Service::Failed, |state| *state);
        if reached == Service::Running || !running.failed_to_start().await {
            return Ok(running);
        }
        let receipt = running.ended().await;
        Err(StartError::Failed(Box::new(receipt)))
    }

    /// Sets the start going.
    fn launch(self, harness: Harness) -> Result<Running, StartError> {
        let app = Arc::as_ptr(&self.declared) as usize;
        let built = self.build().map_err(StartError::Refused)?;
        Ok(Running::spawn(Driver::new(built, harness), app))
    }
}

impl Running {
    fn spawn(driver: Driver, app: usize) -> Self {
        let (outbox, shared, parts) = (driver.outbox(), driver.shared(), driver.parts());
        let (publish, receipt) = watch::channel(None);
        tokio::spawn(async move {
            let receipt = driver.drive().await;
            publish.send_replace(Some(Arc::new(receipt)));
        });
        Self { outbox, shared, parts, receipt, holder: Holder::new("the caller of start"), app }
    }

    /// Whether the stop was a failure before the app ever ran, and not a later one, a job's quick end or somebody's wish.
    async fn failed_to_start(&mut self) -> bool {
        if self.shared.ran.load(Ordering::Acquire) {
            return false;
        }
        let mut service = self.shared.service.subscribe();
        service.wait_for(|state| state.is_over()).await.map_or(true, |state| *state == Service::Failed)
    }

    /// A lease on a component's value, if it is up.
    ///
    /// # Panics
    /// If the handle is another app's.
    #[track_caller]
    #[must_use]
    pub fn get<T: Send + Sync + 'static, M>(&self, handle: &Handle<T, M>) -> Option<Lease<T>> {
        assert_eq!(self.app, handle.app(), "the handle belongs to another app");
        self.parts[handle.id().index()].slot()?.lease(&self.holder, Location::caller())
    }

    /// A lease on an optional component's value, if it is up.
    ///
    /// # Panics
    /// If the handle is another app's.
    #[track_caller]
    #[must_use]
    pub fn get_optional<T: Send + Sync + 'static>(&self, handle: &OptionalHandle<T>) -> Option<Lease<T>> {
        assert_eq!(self.app, handle.app(), "the handle belongs to another app");
        self.parts[handle.id().index()].slot()?.lease(&self.holder, Location::caller())
    }

    /// Stops the app and waits until it has ended. `reason` goes into the receipt. If a stop is under way already, this
    /// joins it, and the first cause stands.
    ///
    /// Dropping the future does not undo the stop.
    pub async fn stop(mut self, reason: impl Into<String>) -> Receipt {
        self.request_stop(reason);
        self.ended().await
    }

    /// Asks for a stop and returns at once.
    pub fn request_stop(&self, reason: impl Into<String>) {
        // An app that has ended needs no stop.
        let _ = self.outbox.send(Message::Stop(Cause::Request { by: reason.into() }));
    }

    /// Cuts off what is left, as a second signal does.
    pub fn force(&self, reason: impl Into<String>) {
        let _ = self.outbox.send(Message::Force(Cause::Request { by: reason.into() }));
    }

    /// Waits until the app has ended, for whatever cause. Cancel-safe.
    pub async fn ended(&mut self) -> Receipt {
        let receipt = self.receipt.wait_for(Option::is_some).await;
        let receipt = receipt.ok().and_then(|receipt| receipt.clone());
        receipt.map_or_else(lost_receipt, |receipt| (*receipt).clone())
    }

    /// Closes the intakes; connections and everything else stay.
    ///
    /// `true`: the app is paused now. `false`: its state does not allow it.
    pub async fn pause(&self) -> bool {
        self.ask(Message::Pause).await.is_some_and(allowed)
    }

    /// Opens the intakes again.
    ///
    /// `true`: the app runs now. `false`: its state does not allow it.
    pub async fn resume(&self) -> bool {
        self.ask(Message::Resume).await.is_some_and(allowed)
    }

    /// What the app is doing; `None` once it has ended.
    pub async fn status(&self) -> Option<Status> {
        self.ask(Message::Status).await
    }

    /// Waits until the service wants traffic (`true`) or does not (`false`). Cancel-safe.
    pub async fn readiness(&self, wanted: bool) {
        let mut readiness = self.shared.readiness.subscribe();
        // An error means that the app has ended, and nothing will change any more.
        let _ = readiness.wait_for(|ready| *ready == wanted).await;
    }

    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.outbox.send(message(reply)).ok()?;
        answer.await.ok()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.request_stop("the running app was dropped");
    }
}

fn allowed(answer: Step<Service>) -> bool {
    answer != Step::NotAllowed
}

/// The runtime went away under the app; what can be said is that nothing is known.
fn lost_receipt() -> Receipt {
    Receipt {
        schema: Receipt::SCHEMA,
        outcome: "not clean".to_owned(),
        cause: "the runtime ended before the app did".to_owned(),
        exit_code: evenkeel_plan::cause::exit::NOT_CLEAN,
        ..Receipt::default()
    }
}

/// Runs an app until `until` is over, then stops it; the receipt says how it went.
impl App {
    /// Starts the app on the current runtime, stops it when `until` is over (even if that is before it runs) or when it
    /// ends by itself, and returns the receipt.
    ///
    /// # Errors
    /// [`StartError`]: the app was refused, or an essential component could not start.
    ///
    /// # Panics
    /// See [`App::start`].
    pub async fn run_until(self, until: impl Future<Output = ()>) -> Result<Receipt, StartError> {
        let mut running = self.launch(Harness::on(runtime::Handle::current()))?;
        let receipt = tokio::select! {
            receipt = running.ended() => receipt,
            () = until => running.stop("the caller of run_until").await,
        };
        if receipt.outcome == Outcome::StartFailed.word() {
            return Err(StartError::Failed(Box::new(receipt)));
        }
        Ok(receipt)
    }
}
