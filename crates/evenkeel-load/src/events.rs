//! Event streams: asked for, followed until the server ends them, asked for again.
//!
//! Policy: a stream has no length of its own, so what counts is how it ends. An end that HTTP can tell from a broken
//! connection (the last chunk) is a proper one: the client knows that nothing is missing and comes again. A client that is
//! told to stop leaves a healthy stream, which then counts as answered.

use std::time::Duration;

use http::header::CONTENT_TYPE;
use tokio::{sync::watch, time::timeout};

use crate::{
    client::Ask,
    ending::{Attempt, Ending},
    http1::Open,
    load::Stop,
};

/// The media type of an event stream.
pub(crate) const EVENT_STREAM: &str = "text/event-stream";

/// Follows one stream. `patience` is for its beginning.
pub(crate) async fn follow(ask: &Ask<'_>, patience: Duration, stop: &mut watch::Receiver<Stop>) -> Attempt {
    let begun = async {
        let mut open = Open::new(ask).await?;
        let head = open.head(ask).await?;
        Ok((open, head))
    };
    let (mut open, head) = match timeout(patience, begun).await {
        Ok(Ok(begun)) => begun,
        Ok(Err(attempt)) => return attempt,
        Err(_) => return Attempt::Ended(Ending::TimedOut, format!("no stream began in {patience:?}")),
    };
    let media_type = head.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !media_type.starts_with(EVENT_STREAM) {
        return Attempt::Ended(Ending::Bad, format!("status {}, `{media_type}` is no event stream", head.status()));
    }
    tokio::select! {
        biased;
        attempt = open.rest(ask, head) => attempt,
        // An error: whoever could tell has gone.
        _ = stop.wait_for(|stop| *stop != Stop::No) => Attempt::answered(),
    }
}
