//! How a router is told apart by route: its name for the counters, and what a drain does to it.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex, OnceLock},
    task::{Context, Poll},
};

use axum::{
    extract::{MatchedPath, Request},
    http,
    routing::future::RouteFuture,
};
use tower_layer::Layer;
use tower_service::Service;

use crate::{Draining, exchange::OnDrain, outcome::Route, server::Shared};

/// What a drain does to the requests of a route; by default they are [told](OnDrain::Notify).
///
/// ```
/// # use axum::{Router, routing::get};
/// use evenkeel_http::{OnDrain, on_drain};
///
/// # async fn events() {}
/// # let _: Router =
/// Router::new().route("/events", get(events).layer(on_drain(OnDrain::Cut)))
/// # ;
/// ```
#[must_use]
pub fn on_drain(policy: OnDrain) -> SetOnDrain {
    SetOnDrain { policy }
}

/// The layer that [`on_drain`] makes.
#[derive(Clone, Copy, Debug)]
pub struct SetOnDrain {
    policy: OnDrain,
}

impl<S> Layer<S> for SetOnDrain {
    type Service = WithOnDrain<S>;

    fn layer(&self, inner: S) -> WithOnDrain<S> {
        WithOnDrain { inner, policy: self.policy }
    }
}

/// A service whose requests are treated by an [`OnDrain`].
#[derive(Clone, Copy, Debug)]
pub struct WithOnDrain<S> {
    inner: S,
    policy: OnDrain,
}

impl<S: Service<http::Request<B>>, B> Service<http::Request<B>> for WithOnDrain<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: http::Request<B>) -> S::Future {
        if let Some(exchange) = request.extensions().get::<Draining>().and_then(Draining::exchange) {
            exchange.set_policy(self.policy);
        }
        self.inner.call(request)
    }
}

/// Tells each request which route it met. Goes around every route of the router.
#[derive(Clone)]
pub(crate) struct NameRoutes {
    pub(crate) shared: Arc<Shared>,
}

impl<S: Clone> Layer<S> for NameRoutes {
    type Service = Named<S>;

    fn layer(&self, inner: S) -> Named<S> {
        let route = Behind { spare: inner.clone(), inner: Mutex::new(inner), known: OnceLock::new() };
        Named { shared: self.shared.clone(), route: Arc::new(route) }
    }
}

/// The router copies it for every request, so it is small.
pub(crate) struct Named<S> {
    shared: Arc<Shared>,
    route: Arc<Behind<S>>,
}

struct Behind<S> {
    /// Copies itself when it is called, so that it need not be copied to be called.
    inner: Mutex<S>,
    /// For when another thread is just calling it.
    spare: S,
    /// The counter of the route, once the first request has told its name.
    known: OnceLock<Arc<Route>>,
}

impl<S> Clone for Named<S> {
    fn clone(&self) -> Self {
        Self { shared: self.shared.clone(), route: self.route.clone() }
    }
}

impl<S> Named<S> {
    fn route(&self, path: &str) -> Arc<Route> {
        let known = self.route.known.get_or_init(|| self.shared.tally.route(path));
        if known.name() == path { known.clone() } else { self.shared.tally.route(path) }
    }
}

impl Service<Request> for Named<axum::routing::Route> {
    type Response = axum::response::Response;
    type Error = Infallible;
    type Future = RouteFuture<Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // Routes always are.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let extensions = request.extensions();
        let exchange = extensions.get::<Draining>().and_then(Draining::exchange);
        if let (Some(exchange), Some(path)) = (exchange, extensions.get::<MatchedPath>()) {
            exchange.set_route(self.route(path.as_str()));
        }
        match self.route.inner.try_lock() {
            Ok(mut inner) => inner.call(request),
            Err(_) => self.route.spare.clone().call(request),
        }
    }
}
