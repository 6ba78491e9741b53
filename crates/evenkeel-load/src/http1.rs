//! HTTP/1.1: one request at a time on a connection, new for each or kept alive.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    rc::Rc,
};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Response,
    body::Incoming,
    client::conn::http1::{Connection, SendRequest, handshake},
};
use hyper_util::rt::TokioIo;

use crate::{
    client::{Ask, connect},
    ending::{Attempt, Ending, Seen},
    wire::{Notes, Wire},
};

type Running = Pin<Box<Connection<TokioIo<Wire>, Full<Bytes>>>>;

/// A client of one connection at a time.
pub(crate) struct Http1 {
    keeps_alive: bool,
    open: Option<Open>,
}

/// A connection, and its two halves in hyper: they go on together, so that nothing happens between two requests that the
/// client does not see.
pub(crate) struct Open {
    sender: SendRequest<Full<Bytes>>,
    /// None once it has ended: a request that it has not taken is given back when it is dropped, and not before.
    connection: Option<Running>,
    notes: Rc<Notes>,
    is_used: bool,
}

impl Http1 {
    pub(crate) fn new(keeps_alive: bool) -> Self {
        Self { keeps_alive, open: None }
    }

    /// One attempt. Dropped at a time-out: the connection goes with it.
    pub(crate) async fn attempt(&mut self, ask: &Ask<'_>) -> Attempt {
        let mut open = match self.take(ask).await {
            Ok(open) => open,
            Err(attempt) => return attempt,
        };
        let attempt = open.attempt(ask).await;
        if self.keeps_alive && matches!(attempt, Attempt::Ended(Ending::Answered | Ending::Bad, _)) {
            self.open = Some(open);
        }
        attempt
    }

    /// The kept connection, or a new one.
    async fn take(&mut self, ask: &Ask<'_>) -> Result<Open, Attempt> {
        if let Some(mut open) = self.open.take() {
            return if open.stays().await { Ok(open) } else { Err(Attempt::Unsent) };
        }
        Open::new(ask).await
    }
}

impl Open {
    /// A new connection.
    pub(crate) async fn new(ask: &Ask<'_>) -> Result<Self, Attempt> {
        let (stream, notes) = (connect(ask.addr()).await?, Rc::<Notes>::default());
        let made = handshake(TokioIo::new(Wire::new(stream, notes.clone()))).await;
        let (sender, connection) = made.map_err(|error| Seen::default().judge(&error))?;
        Ok(Self { sender, connection: Some(Box::pin(connection)), notes, is_used: false })
    }

    async fn attempt(&mut self, ask: &Ask<'_>) -> Attempt {
        match self.head(ask).await {
            Ok(answer) => self.rest(ask, answer).await,
            Err(attempt) => attempt,
        }
    }

    /// Sends the request and waits for the head of the answer.
    pub(crate) async fn head(&mut self, ask: &Ask<'_>) -> Result<Response<Incoming>, Attempt> {
        self.notes.begin(std::mem::replace(&mut self.is_used, true));
        let answer = self.sender.send_request(ask.request().map(Full::new));
        drive(&mut self.connection, answer).await.map_err(|error| self.judge(&error))
    }

    /// Waits for the end of the answer.
    pub(crate) async fn rest(&mut self, ask: &Ask<'_>, mut answer: Response<Incoming>) -> Attempt {
        let end = async {
            while let Some(frame) = answer.frame().await {
                frame?;
            }
            Ok(())
        };
        let end: hyper::Result<()> = drive(&mut self.connection, end).await;
        match end {
            Ok(()) => ask.answered(answer.status()),
            Err(error) => self.judge(&error),
        }
    }

    fn judge(&self, error: &hyper::Error) -> Attempt {
        let is_malformed = error.is_parse() && !error.is_incomplete_message();
        let seen = Seen { is_malformed, ..self.notes.seen() };
        // hyper's own words for it say nothing: it was `canceled`.
        if error.is_canceled() { seen.judge(&"the server had closed the connection") } else { seen.judge(error) }
    }

    /// Whether the connection may carry another request: it was not closed, nor announced to be.
    async fn stays(&mut self) -> bool {
        drive(&mut self.connection, self.sender.ready()).await.is_ok()
    }
}

/// Lets the connection go on until `future` is there. Without a connection the future ends by itself.
async fn drive<T>(connection: &mut Option<Running>, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    poll_fn(|cx| {
        // Its error is the request's as well.
        if connection.as_mut().is_some_and(|connection| connection.as_mut().poll(cx).is_ready()) {
            *connection = None;
        }
        future.as_mut().poll(cx)
    })
    .await
}
