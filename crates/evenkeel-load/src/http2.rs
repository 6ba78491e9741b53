//! HTTP/2 by prior knowledge: several clients share a connection, as the streams of one program do.
//!
//! Policy: as RFC 9113 (6.8) has it. After a GOAWAY a client begins nothing more on that connection and opens another; what
//! was under way comes to its end on the old one. A stream beyond the last one that the GOAWAY names, and one refused with
//! `REFUSED_STREAM`, was not looked at: it is sent again, whatever its method. Nothing else is.

use std::{cell::RefCell, rc::Rc};

use bytes::Bytes;
use h2::{
    Reason, RecvStream,
    client::{self, ResponseFuture, SendRequest},
};
use tokio::{sync::Mutex, task::spawn_local};

use crate::{
    client::{Ask, connect},
    ending::{Attempt, Seen},
    wire::{Notes, Wire},
};

/// The connection that some clients share: the one on which a request may begin.
#[derive(Clone, Default)]
pub(crate) struct Http2 {
    /// Held while a connection is opened, so that one client does it for all.
    open: Rc<Mutex<Option<Open>>>,
}

#[derive(Clone)]
struct Open {
    sender: SendRequest<Bytes>,
    notes: Rc<Notes>,
    /// Why the connection ended, as far as it told.
    error: Rc<RefCell<Option<String>>>,
}

impl Http2 {
    /// One attempt. Dropped at a time-out: the stream is reset, the connection stays.
    pub(crate) async fn attempt(&self, ask: &Ask<'_>) -> Attempt {
        let (sender, open) = match self.ready(ask).await {
            Ok(ready) => ready,
            Err(attempt) => return attempt,
        };
        open.attempt(sender, ask).await
    }

    /// A connection on which a stream may begin now.
    async fn ready(&self, ask: &Ask<'_>) -> Result<(SendRequest<Bytes>, Open), Attempt> {
        let mut slot = self.open.lock().await;
        if let Some(open) = slot.clone() {
            if let Ok(sender) = open.sender.clone().ready().await {
                return Ok((sender, open));
            }
            // It has been told to leave, or it is gone. Nothing was sent.
            *slot = None;
            return Err(Attempt::Unsent);
        }
        let stream = connect(ask.addr()).await?;
        let notes = Rc::new(Notes::of_http2());
        let mut settings = client::Builder::new();
        settings.initial_window_size(1 << 20).initial_connection_window_size(1 << 24);
        let handshake = settings.handshake(Wire::new(stream, notes.clone())).await;
        let (sender, connection) = handshake.map_err(|error| Seen::default().judge(&error))?;
        let open = Open { sender, notes, error: Rc::default() };
        let told = open.error.clone();
        // Ends with the connection; the clients of it end sooner, or see it end.
        spawn_local(async move {
            *told.borrow_mut() = connection.await.err().map(|error| error.to_string());
        });
        let sender = open.sender.clone().ready().await.map_err(|error| Seen::default().judge(&error))?;
        *slot = Some(open.clone());
        Ok((sender, open))
    }
}

impl Open {
    async fn attempt(&self, mut sender: SendRequest<Bytes>, ask: &Ask<'_>) -> Attempt {
        let (head, body) = ask.request().into_parts();
        let sent = sender.send_request(http::Request::from_parts(head, ()), body.is_empty());
        // It ended between the question and this: nothing was sent.
        let Ok((answer, mut sending)) = sent else { return Attempt::Unsent };
        if !body.is_empty() {
            // An error here is the answer's as well.
            let _ = sending.send_data(body, true);
        }
        self.answer(answer, ask).await
    }

    async fn answer(&self, answer: ResponseFuture, ask: &Ask<'_>) -> Attempt {
        let id = answer.stream_id().as_u32();
        match answer.await {
            Ok(response) => {
                let status = response.status();
                match discard(response.into_body()).await {
                    Ok(()) => ask.answered(status),
                    Err(error) => Seen { has_begun: true, was_sent: true, ..Seen::default() }.judge(&self.why(&error)),
                }
            }
            Err(error) => {
                let seen = self.notes.of_stream(id);
                let is_refused =
                    error.is_reset() && error.is_remote() && error.reason() == Some(Reason::REFUSED_STREAM);
                let is_unprocessed = seen.is_unprocessed || is_refused;
                // h2 itself found a fault in what came.
                let is_malformed = error.is_library() && error.reason().is_some();
                Seen { is_unprocessed, is_malformed, ..seen }.judge(&self.why(&error))
            }
        }
    }

    fn why(&self, error: &h2::Error) -> String {
        match &*self.error.borrow() {
            Some(more) if *more != error.to_string() => format!("{error}; {more}"),
            _ => error.to_string(),
        }
    }
}

async fn discard(mut body: RecvStream) -> Result<(), h2::Error> {
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
    }
    body.trailers().await.map(drop)
}
