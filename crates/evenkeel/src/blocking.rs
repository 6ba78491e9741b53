//! Blocking work: a thread of its own, ended by an interrupt.
//!
//! Policy:
//! - [`App::blocking`] gives its closure an OS thread named after the component, and an [`Interrupt`] that fires when the
//!   component has to stop. The component is over when the closure has returned and all that it was given is dropped.
//! - An interrupt is a request. Work sees it in every wait that it makes through the [`Interrupt`], at once and without
//!   polling; one that comes while the work is busy is seen in the next wait. Work that never waits never sees it.
//! - Nothing can end a thread from outside. Work that has not answered at the component's limit is left behind: its
//!   thread is named in the receipt with what it was doing, the rest stops in order, and the process ends in time.
//! - Draining is the default: a wait for something that is already there gives it out before it reports the interrupt.
//!
//! ```no_run
//! use evenkeel::{App, Exit, blocking};
//!
//! fn main() -> Exit {
//!     let app = App::new("scanner");
//!     let (found, jobs) = blocking::channel::<String>(64);
//!     app.blocking("walk", (), move |(), interrupt| {
//!         loop {
//!             found.send(&interrupt, "a file".to_owned())?;
//!             interrupt.sleep(std::time::Duration::from_secs(1))?; // the way out: `Interrupted` is a clean end
//!         }
//!     });
//!     app.blocking("print", (), move |(), interrupt| {
//!         while let Some(job) = jobs.recv(&interrupt)? {
//!             tracing::info!("{job}");
//!         }
//!         Ok(())
//!     });
//!     app.run()
//! }
//! ```

#![allow(clippy::needless_pass_by_value, reason = "needs are references, or tuples of them")]

mod channel;
mod interrupt;
mod monitor;

use std::{
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use evenkeel_os::threads;
use tokio::sync::oneshot;

pub use self::{
    channel::{Receiver, Sender, Unsent, Why, channel},
    interrupt::{BreakGuard, Interrupt, Interrupted, Unparker},
    monitor::Monitor,
};
use crate::{
    app::{App, Declare},
    error::{Error, Explain, Result},
    handle::{Handle, Once},
    needs::{Form, Needs},
    part::{Behaviour, BoxFuture, Incarnation, OpenContext, Opened, Recipe},
    polls::panic_text,
    scope::Ticket,
    stop::Stop,
};

impl App {
    /// Declares blocking work: it runs on an OS thread of its own until it is interrupted. See [`blocking`](self).
    ///
    /// It is ready as soon as its thread runs. It fails if `work` returns an error, panics, or returns `Ok` before its
    /// stop (unless it is [`finite`](Handle::finite)). After the interrupt, an error that [`Interrupted`] is in counts as
    /// a clean end, so that `interrupt.sleep(..)?` is the natural form of a loop.
    ///
    /// What `work` was given is dropped on its thread. Past the component's limit the thread is left behind, named.
    #[track_caller]
    pub fn blocking<N, W>(&self, name: impl Into<String>, needs: N, work: W) -> Handle<()>
    where
        N: Needs,
        W: FnOnce(N::Given, Interrupt) -> Result + Clone + Send + 'static,
    {
        let behaviour = Blocking::<N::Form, W> { work: Recipe::many(work), _types: PhantomData };
        self.declare("blocking", name, &needs, behaviour, |_| {})
    }
}

impl Declare<'_> {
    /// See [`App::blocking`].
    #[track_caller]
    pub fn blocking<N, W>(&self, name: impl Into<String>, needs: N, work: W) -> Handle<(), Once>
    where
        N: Needs,
        W: FnOnce(N::Given, Interrupt) -> Result + Send + 'static,
    {
        let behaviour = Blocking::<N::Form, W> { work: Recipe::once(work), _types: PhantomData };
        self.app.declare("blocking", name, &needs, behaviour, |spec| spec.once = true)
    }
}

struct Blocking<N, W> {
    work: Recipe<W>,
    _types: PhantomData<fn() -> N>,
}

impl<N, W> Behaviour for Blocking<N, W>
where
    N: Form,
    W: FnOnce(N::Given, Interrupt) -> Result + Send + 'static,
{
    fn open(self: Arc<Self>, cx: OpenContext) -> BoxFuture<Result<Opened>> {
        Box::pin(async move {
            let given = cx.part.give::<N>()?;
            let work = self.work.get()?;
            let interrupt = Interrupt::new(cx.stop.clone()).context("cannot make an interrupt for its thread")?;
            let ticket = cx.incarnation.scope.hold(cx.part.site).ok_or_else(|| Error::from("it was cut off"))?;
            let leash = Leash::new(interrupt.clone(), cx.incarnation.clone());
            let (tell, ended) = oneshot::channel();
            let (up, runs) = oneshot::channel();
            let thread = Thread { incarnation: cx.incarnation, over: leash.over.clone(), interrupt, tell, ticket };
            threads::spawn_named(cx.part.name(), move || thread.live(up, |interrupt| work(given, interrupt)))
                .context("cannot start its thread")?;
            // Dropped half-way, the leash fires the interrupt, and the ticket keeps the thread known.
            runs.await.context("its thread ended before it ran")?;
            let run = Box::pin(leash.hold_until(ended, cx.stop));
            Ok(Opened { value: Arc::new(()), run: Some(run), close: None, note: None })
        })
    }
}

/// What the thread has beside its work.
struct Thread {
    incarnation: Arc<Incarnation>,
    over: Arc<AtomicBool>,
    interrupt: Interrupt,
    tell: oneshot::Sender<Result>,
    ticket: Ticket,
}

impl Thread {
    fn live(self, up: oneshot::Sender<()>, work: impl FnOnce(Interrupt) -> Result) {
        let watch = &self.incarnation.watch;
        watch.os_thread.store(threads::current_thread_id(), Ordering::Relaxed);
        // Nobody listens if the start was given up in the meantime; the interrupt has fired then.
        let _ = up.send(());
        let interrupt = self.interrupt.clone();
        let result = catch_unwind(AssertUnwindSafe(|| work(interrupt)));
        watch.os_thread.store(0, Ordering::Relaxed);
        self.over.store(true, Ordering::SeqCst);
        watch.unanswered.store(0, Ordering::SeqCst);
        let result = result.unwrap_or_else(|panic| Err(panic_text(panic.as_ref()).into()));
        // Nobody listens once the component was cut off: its end has been reported then.
        let _ = self.tell.send(self.interrupt.forgive(result));
        // Last of all: from here on the component may be over.
        drop(self.ticket);
    }
}

/// Fires the interrupt on the stop, and at the latest when it is dropped.
struct Leash {
    interrupt: Interrupt,
    incarnation: Arc<Incarnation>,
    /// The work has ended.
    over: Arc<AtomicBool>,
    fired: bool,
}

impl Leash {
    fn new(interrupt: Interrupt, incarnation: Arc<Incarnation>) -> Self {
        Self { interrupt, incarnation, over: Arc::default(), fired: false }
    }

    async fn hold_until(mut self, mut ended: oneshot::Receiver<Result>, stop: Stop) -> Result {
        let mut open = false;
        loop {
            tokio::select! {
                biased;
                result = &mut ended => return result.unwrap_or_else(|_| Err("its thread vanished".into())),
                () = stop.requested(), if !self.fired => self.fire(),
                Some(()) = stop.gate_opened(), if !open && !self.fired => {
                    open = true;
                    self.interrupt.opened();
                }
                () = stop.gate_shut(), if open => open = false,
            }
        }
    }

    fn fire(&mut self) {
        if std::mem::replace(&mut self.fired, true) {
            return;
        }
        let unanswered = &self.incarnation.watch.unanswered;
        unanswered.store(1, Ordering::SeqCst);
        // Work that ends at this moment has either seen the one above, and takes it back, or is seen here.
        if self.over.load(Ordering::SeqCst) {
            unanswered.store(0, Ordering::SeqCst);
        }
        self.interrupt.fire();
    }
}

impl Drop for Leash {
    fn drop(&mut self) {
        self.fire();
    }
}
