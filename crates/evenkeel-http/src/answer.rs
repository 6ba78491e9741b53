//! From a request to its answer: limits before the handler, the ticket through it, the books after it.
//!
//! Policy: a handler can do nothing to the server. One that panics answers 500; one that waits for a body that comes too
//! slowly is dropped and answered for with 408; when its client goes away its future is dropped.

use std::{
    any::Any,
    convert::Infallible,
    future::Future,
    net::SocketAddr,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
};

use axum::{
    Router,
    body::Body,
    extract::ConnectInfo,
    http::{Extensions, HeaderValue, Method, Request, Response, StatusCode, Version, header},
    routing::future::RouteFuture,
};
use bytes::Bytes;
use http_body::{Body as HttpBody, Frame, SizeHint};
use http_body_util::Limited;
use hyper::body::Incoming;
use pin_project_lite::pin_project;
use tower_service::Service;

use crate::{
    Draining,
    conn::{Conn, Protocol},
    exchange::{Exchange, Ticket},
    outcome::Outcome,
    phase::Phase,
};

/// What every request is given beside its fields, of nobody yet. Copied in one piece, which is cheaper than to fill it
/// anew; with room for what the router adds, since a table that has to grow costs as much as all the rest.
pub(crate) fn extensions() -> Extensions {
    let mut extensions = Extensions::new();
    extensions.insert(Draining::of_nobody());
    extensions.insert(ConnectInfo(SocketAddr::from(([0; 4], 0))));
    extensions.insert(Room::<0>);
    extensions.insert(Room::<1>);
    extensions.remove::<Room<0>>();
    extensions.remove::<Room<1>>();
    extensions
}

/// Takes a place in a table of extensions.
#[derive(Clone)]
struct Room<const N: usize>;

/// What hyper calls for every request of one connection.
#[derive(Clone)]
pub(crate) struct Answerer {
    conn: Arc<Conn>,
    router: Router,
}

impl hyper::service::Service<Request<Incoming>> for Answerer {
    type Response = Response<Answer>;
    type Error = Infallible;
    type Future = Answering;

    fn call(&self, request: Request<Incoming>) -> Answering {
        let ticket = Ticket::new(&self.conn);
        let bodiless = *request.method() == Method::HEAD;
        let doing = match self.refusal(&request) {
            Some(status) => Doing::Refused { status },
            None => self.handle(request, ticket.exchange()),
        };
        Answering { ticket: Some(ticket), bodiless, doing }
    }
}

impl Answerer {
    pub(crate) const fn new(conn: Arc<Conn>, router: Router) -> Self {
        Self { conn, router }
    }

    fn handle(&self, request: Request<Incoming>, exchange: &Arc<Exchange>) -> Doing {
        let request = self.prepare(request, exchange);
        let mut router = self.router.clone();
        // Layers may do work, and panic, before there is a future.
        match catch_unwind(AssertUnwindSafe(|| router.call(request))) {
            Ok(future) => Doing::Handling { future },
            Err(panic) => Doing::Panicked { panic: Some(panic) },
        }
    }

    fn prepare(&self, request: Request<Incoming>, exchange: &Arc<Exchange>) -> Request<Body> {
        let (mut parts, incoming) = request.into_parts();
        parts.extensions.extend(self.conn.shared.extensions.clone());
        if let Some(draining) = parts.extensions.get_mut::<Draining>() {
            *draining = Draining::of(exchange.clone());
        }
        if let Some(peer) = parts.extensions.get_mut::<ConnectInfo<SocketAddr>>() {
            peer.0 = self.conn.peer;
        }
        let body = if incoming.is_end_stream() {
            Body::empty()
        } else {
            let limit = usize::try_from(self.conn.shared.limits.body_bytes).unwrap_or(usize::MAX);
            Body::new(Limited::new(Uploaded { incoming, exchange: exchange.clone() }, limit))
        };
        Request::from_parts(parts, body)
    }

    /// The status that answers a request which no handler may see.
    fn refusal(&self, request: &Request<Incoming>) -> Option<StatusCode> {
        let limits = &self.conn.shared.limits;
        if request.method() == Method::CONNECT {
            return Some(StatusCode::NOT_IMPLEMENTED);
        }
        if target_bytes(request) > limits.uri_bytes {
            return Some(StatusCode::URI_TOO_LONG);
        }
        if request.body().size_hint().exact().is_some_and(|bytes| bytes > limits.body_bytes) {
            return Some(StatusCode::PAYLOAD_TOO_LARGE);
        }
        // Over HTTP/1 the number of hosts was seen to before hyper read it.
        let is_http2 = request.version() == Version::HTTP_2;
        if is_http2 && request.headers().get_all(header::HOST).iter().count() > 1 {
            return Some(StatusCode::BAD_REQUEST);
        }
        if is_for_another(request) || is_for_everything(request) {
            return Some(StatusCode::BAD_REQUEST);
        }
        None
    }
}

/// Whether it names two authorities, or a user: what one party takes for the host another may not (RFC 9113, 8.3.1).
fn is_for_another<B>(request: &Request<B>) -> bool {
    let Some(authority) = request.uri().authority() else { return false };
    let host = request.headers().get(header::HOST);
    let other = host.is_some_and(|host| !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()));
    other || authority.as_str().contains('@')
}

/// `*` is a target for `OPTIONS` alone (RFC 9110, 9.3.7), and a mere authority for `CONNECT` alone.
fn is_for_everything<B>(request: &Request<B>) -> bool {
    let uri = request.uri();
    let authority_alone = uri.scheme().is_none() && uri.authority().is_some();
    authority_alone || (uri.path() == "*" && request.method() != Method::OPTIONS)
}

fn target_bytes<B>(request: &Request<B>) -> usize {
    let uri = request.uri();
    let authority = uri.authority().map_or(0, |authority| authority.as_str().len());
    authority + uri.path_and_query().map_or(0, |path| path.as_str().len())
}

pin_project! {
    /// The future of one answer.
    pub(crate) struct Answering {
        ticket: Option<Ticket>,
        // Whether the answer has no body, whatever its fields say.
        bodiless: bool,
        #[pin]
        doing: Doing,
    }
}

pin_project! {
    #[project = DoingProjected]
    enum Doing {
        Handling { #[pin] future: RouteFuture<Infallible> },
        Refused { status: StatusCode },
        Panicked { panic: Option<Box<dyn Any + Send>> },
    }
}

impl Future for Answering {
    type Output = Result<Response<Answer>, Infallible>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let exchange = this.ticket.as_ref().expect("not polled after the answer").exchange();
        let made = match this.doing.project() {
            DoingProjected::Refused { status } => Made::alone(*status, Outcome::Refused),
            DoingProjected::Panicked { panic } => panicked(exchange, panic.take()),
            DoingProjected::Handling { future } => {
                if exchange.conn.protocol() == Protocol::Http2 {
                    exchange.waker.register(cx.waker());
                }
                if exchange.upload.too_slow.load(Ordering::Acquire) {
                    Made::alone(StatusCode::REQUEST_TIMEOUT, Outcome::Cut)
                } else if exchange.is_to_be_cut() {
                    Made::alone(StatusCode::SERVICE_UNAVAILABLE, Outcome::Cut)
                } else {
                    match catch_unwind(AssertUnwindSafe(|| future.poll(cx))) {
                        Ok(polled) => Made::by_handler(ready!(polled)),
                        Err(panic) => panicked(exchange, Some(panic)),
                    }
                }
            }
        };
        let ticket = this.ticket.take().expect("not polled after the answer");
        Poll::Ready(Ok(made.finish(ticket, *this.bodiless)))
    }
}

/// An answer, and how its request will have ended once it is out.
struct Made {
    response: Response<Body>,
    outcome: Outcome,
}

impl Made {
    fn by_handler(response: Result<Response<Body>, Infallible>) -> Self {
        let response = response.unwrap_or_else(|never| match never {});
        Self { response, outcome: Outcome::Answered }
    }

    /// An answer that the server makes by itself. What is left of the request is not read, so the connection closes.
    fn alone(status: StatusCode, outcome: Outcome) -> Self {
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        Self { response, outcome }
    }

    fn finish(mut self, ticket: Ticket, bodiless: bool) -> Response<Answer> {
        let exchange = ticket.exchange();
        exchange.answering.store(true, Ordering::Relaxed);
        let status = self.response.status();
        if exchange.conn.protocol() == Protocol::Http1 {
            if status == StatusCode::SWITCHING_PROTOCOLS {
                let conn = exchange.conn.clone();
                conn.keep_until_tunnel_ends(ticket);
                return self.response.map(Answer::untracked);
            }
            if exchange.conn.shared.phase() >= Phase::Discouraging {
                self.response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
        } else {
            // RFC 9113, 8.2.2: these fields mean nothing here.
            self.response.headers_mut().remove(header::CONNECTION);
        }
        let bodiless = bodiless || matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let events = is_event_stream(&self.response);
        let outcome = self.outcome;
        self.response.map(|body| Answer::new(body, ticket, outcome, bodiless, events))
    }
}

fn is_event_stream(response: &Response<Body>) -> bool {
    // Whose length is known, that one ends.
    if response.body().size_hint().exact().is_some() {
        return false;
    }
    let kind = response.headers().get(header::CONTENT_TYPE).map_or(&b""[..], HeaderValue::as_bytes);
    kind.starts_with(b"text/event-stream")
}

fn panicked(exchange: &Exchange, panic: Option<Box<dyn Any + Send>>) -> Made {
    let panic = panic.unwrap_or_else(|| Box::new("twice"));
    report_panic(exchange, panic.as_ref());
    // Like any handler that leaves a body unread: hyper knows whether the connection can go on.
    let mut made = Made::alone(StatusCode::INTERNAL_SERVER_ERROR, Outcome::Panicked);
    made.response.headers_mut().remove(header::CONNECTION);
    made
}

fn report_panic(exchange: &Exchange, panic: &(dyn Any + Send)) {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("(no text)");
    let (server, route) = (&exchange.conn.shared.name, exchange.route().name());
    tracing::error!(target: "evenkeel", route, "a request handler of `{server}` panicked: {text}");
}

/// The body of a request, on its way to the handler.
struct Uploaded {
    incoming: Incoming,
    exchange: Arc<Exchange>,
}

impl HttpBody for Uploaded {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        let (upload, shared) = (&this.exchange.upload, &this.exchange.conn.shared);
        if upload.too_slow.load(Ordering::Acquire) {
            let late = std::io::Error::new(std::io::ErrorKind::TimedOut, "the body of the request came too slowly");
            return Poll::Ready(Some(Err(axum::Error::new(late))));
        }
        match Pin::new(&mut this.incoming).poll_frame(cx) {
            Poll::Pending => {
                this.exchange.upload_waker.register(cx.waker());
                upload.wait(shared.now());
                Poll::Pending
            }
            Poll::Ready(frame) => {
                let bytes = match &frame {
                    Some(Ok(frame)) => frame.data_ref().map_or(0, Bytes::len),
                    _ => 0,
                };
                upload.got(bytes, shared.now());
                Poll::Ready(frame.map(|frame| frame.map_err(axum::Error::new)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

pin_project! {
    /// The body of an answer. Its request has not ended before it has.
    pub(crate) struct Answer {
        #[pin]
        body: Body,
        books: Books,
    }
}

struct Books {
    ticket: Option<Ticket>,
    outcome: Outcome,
    /// Whether all of the body was taken.
    ended: bool,
    events: bool,
}

impl Answer {
    fn new(body: Body, ticket: Ticket, outcome: Outcome, bodiless: bool, events: bool) -> Self {
        let ended = bodiless || body.is_end_stream();
        Self { body, books: Books { ticket: Some(ticket), outcome, ended, events } }
    }

    fn untracked(body: Body) -> Self {
        Self { body, books: Books { ticket: None, outcome: Outcome::Answered, ended: true, events: false } }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let mut this = self.project();
        if let Some(cut) = this.books.cut(cx) {
            return Poll::Ready(cut);
        }
        let polled = catch_unwind(AssertUnwindSafe(|| this.body.as_mut().poll_frame(cx)));
        match polled {
            Ok(Poll::Ready(None)) => {
                this.books.ended = true;
                Poll::Ready(None)
            }
            Ok(Poll::Ready(Some(Ok(frame)))) => {
                this.books.ended = frame.is_trailers() || this.body.is_end_stream();
                Poll::Ready(Some(Ok(frame)))
            }
            Ok(Poll::Ready(Some(Err(error)))) => {
                this.books.end(Outcome::Failed);
                Poll::Ready(Some(Err(error)))
            }
            Ok(Poll::Pending) => Poll::Pending,
            Err(panic) => Poll::Ready(Some(Err(this.books.panicked(panic.as_ref())))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Books {
    /// Ends the body where its route says so: an event stream after an event, anything else visibly unfinished.
    fn cut(&mut self, cx: &Context<'_>) -> Option<Option<Result<Frame<Bytes>, axum::Error>>> {
        let exchange = self.ticket.as_ref()?.exchange();
        if exchange.conn.protocol() == Protocol::Http2 {
            exchange.waker.register(cx.waker());
        }
        if self.ended || !exchange.is_to_be_cut() {
            return None;
        }
        self.end(Outcome::Cut);
        let unfinished = || axum::Error::new(std::io::Error::other("cut off: the server is being drained"));
        Some(if self.events { None } else { Some(Err(unfinished())) })
    }

    fn panicked(&mut self, panic: &(dyn Any + Send)) -> axum::Error {
        if let Some(ticket) = &self.ticket {
            report_panic(ticket.exchange(), panic);
        }
        self.end(Outcome::Panicked);
        axum::Error::new(std::io::Error::other("the body of the answer panicked"))
    }

    fn end(&mut self, outcome: Outcome) {
        if let Some(ticket) = self.ticket.take() {
            ticket.end(outcome);
        }
    }
}

impl Drop for Books {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else { return };
        match self.outcome {
            // Taken whole. Otherwise the ticket is dropped: somebody went away.
            Outcome::Answered if self.ended => ticket.answered(),
            Outcome::Answered => {}
            other => ticket.end(other),
        }
    }
}
