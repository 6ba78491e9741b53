//! What is behind each way of declaring a component: how its closures become opening, run and close.

use std::{future::Future, marker::PhantomData, panic::Location, sync::Arc, time::Duration};

use tokio::sync::oneshot;

use crate::{
    component::Component,
    error::{Error, Result},
    lease::Lease,
    needs::Form,
    part::{AnyValue, Behaviour, BoxFuture, Close, OpenContext, Opened, Recipe},
    stop::Stop,
};

/// Opens a value, lends it, closes it by value.
pub(crate) struct Resource<N, T, O, C> {
    pub(crate) open: Recipe<O>,
    pub(crate) close: Recipe<C>,
    pub(crate) _types: PhantomData<fn() -> (N, T)>,
}

impl<N, T, O, OF, C, CF> Behaviour for Resource<N, T, O, C>
where
    N: Form,
    T: Send + Sync + 'static,
    O: FnOnce(N::Given) -> OF + Send + 'static,
    OF: Future<Output = Result<T>> + Send + 'static,
    C: FnOnce(T) -> CF + Send + 'static,
    CF: Future<Output = Result> + Send + 'static,
{
    fn open(self: Arc<Self>, cx: OpenContext) -> BoxFuture<Result<Opened>> {
        Box::pin(async move {
            let given = cx.part.give::<N>()?;
            let (open, close) = (self.open.get()?, self.close.get()?);
            let value = open(given).await?;
            Ok(Opened {
                value: Arc::new(value),
                run: None,
                close: Some(by_value(move |value, _| close(value))),
                note: None,
            })
        })
    }
}

/// Runs until it is told to stop.
pub(crate) struct Worker<N, W> {
    pub(crate) work: Recipe<W>,
    pub(crate) _types: PhantomData<fn() -> N>,
}

impl<N, W, F> Behaviour for Worker<N, W>
where
    N: Form,
    W: FnOnce(N::Given, Stop) -> F + Send + 'static,
    F: Future<Output = Result> + Send + 'static,
{
    fn open(self: Arc<Self>, cx: OpenContext) -> BoxFuture<Result<Opened>> {
        Box::pin(async move {
            let given = cx.part.give::<N>()?;
            let work = self.work.get()?;
            let run = Box::pin(async move { work(given, cx.stop).await });
            Ok(Opened { value: Arc::new(()), run: Some(run), close: None, note: None })
        })
    }
}

/// Readiness, to be spent once. Dropping it unspent fails the start.
#[must_use = "a worker becomes ready by spending this; dropped, its start has failed"]
pub struct Ready<T = ()> {
    tell: oneshot::Sender<T>,
}

impl<T> Ready<T> {
    /// Says that the worker is ready, and lends this value to those who need it.
    pub fn with(self, value: T) {
        // Nobody listens any more if the start was given up in the meantime; the value then just goes.
        let _ = self.tell.send(value);
    }
}

impl Ready {
    /// Says that the worker is ready.
    pub fn now(self) {
        self.with(());
    }
}

/// Runs until it is told to stop, and says itself when it is ready and what it lends.
pub(crate) struct LateWorker<N, T, W> {
    pub(crate) work: Recipe<W>,
    pub(crate) _types: PhantomData<fn() -> (N, T)>,
}

impl<N, T, W, F> Behaviour for LateWorker<N, T, W>
where
    N: Form,
    T: Send + Sync + 'static,
    W: FnOnce(N::Given, Ready<T>, Stop) -> F + Send + 'static,
    F: Future<Output = Result> + Send + 'static,
{
    fn open(self: Arc<Self>, cx: OpenContext) -> BoxFuture<Result<Opened>> {
        Box::pin(async move {
            let given = cx.part.give::<N>()?;
            let work = self.work.get()?;
            let (tell, mut told) = oneshot::channel();
            let mut run: BoxFuture<Result> = Box::pin(async move { work(given, Ready { tell }, cx.stop).await });
            let value = tokio::select! {
                biased;
                // The run first: readiness that it spends is heard in the same poll. From there on it works, and a stop
                // must find it running and let it drain, not opening and to be dropped.
                ended = &mut run => {
                    let Ok(value) = told.try_recv() else {
                        ended?;
                        return Err(Error::from("it ended before it was ready"));
                    };
                    run = Box::pin(async move { ended }); // ready, and done at once
                    value
                }
                told = &mut told => told.map_err(|_| Error::from("it dropped its readiness without spending it"))?,
            };
            Ok(Opened { value: Arc::new(value), run: Some(run), close: None, note: None })
        })
    }
}

/// A [`Component`] with a type of its own.
pub(crate) struct Typed<N, C> {
    pub(crate) component: Arc<C>,
    pub(crate) _types: PhantomData<fn() -> N>,
}

impl<N, C> Behaviour for Typed<N, C>
where
    N: Form,
    C: Component<N::Given>,
{
    fn open(self: Arc<Self>, cx: OpenContext) -> BoxFuture<Result<Opened>> {
        Box::pin(async move {
            let given = cx.part.give::<N>()?;
            let component = self.component.clone();
            let value = component.open(given, &cx.stop).await?;
            let note = component.note(&value);
            let run = (!C::LENDS_ONLY).then(|| run(component.clone(), cx));
            let close = by_value(move |value, allowed| async move { component.close_within(value, allowed).await });
            Ok(Opened { value: Arc::new(value), run, close: Some(close), note })
        })
    }
}

fn run<C, G>(component: Arc<C>, cx: OpenContext) -> BoxFuture<Result>
where
    C: Component<G>,
{
    let OpenContext { part, stop, .. } = cx;
    Box::pin(async move {
        // The value is lent to everybody else by now; the component holds it like they do, while it runs.
        let lent: Option<Lease<C::Value>> = part.slot().and_then(|slot| slot.lease_to_owner(&part.holder, part.site));
        let lent = lent.ok_or_else(|| Error::from("its own value is gone"))?;
        component.run(lent, stop).await
    })
}

/// A value given from outside in place of a component, for tests.
pub(crate) struct Fake {
    pub(crate) value: std::sync::Mutex<Option<AnyValue>>,
}

impl Behaviour for Fake {
    fn open(self: Arc<Self>, _: OpenContext) -> BoxFuture<Result<Opened>> {
        Box::pin(async move {
            let value = crate::lease::lock(&self.value).take();
            let value = value.ok_or_else(|| Error::from("a replaced component can be started only once"))?;
            Ok(Opened { value, run: None, close: None, note: None })
        })
    }
}

/// A close by value, of a value that nobody else holds.
fn by_value<T, C, F>(close: C) -> Close
where
    T: Send + Sync + 'static,
    C: FnOnce(T, Duration) -> F + Send + 'static,
    F: Future<Output = Result> + Send + 'static,
{
    Box::new(move |value: AnyValue, allowed: Duration| {
        let owned = value.downcast::<T>().ok().and_then(|value| Arc::try_unwrap(value).ok());
        Box::pin(async move {
            // Every lease is back when this is called, and nothing else holds the value.
            let owned = owned.ok_or_else(|| Error::from("its value is still held although no lease is out"))?;
            close(owned, allowed).await
        })
    })
}

/// Where a public method was called.
pub(crate) type Site = &'static Location<'static>;
