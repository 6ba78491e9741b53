//! The relay: brings what is in the outboxes to the bus, in order, and takes out what all have confirmed.
//!
//! At the start it sends again all that the process before has left: it cannot know what of that was handled. Who gets
//! an event twice knows it by its id.

use std::time::Duration;

use evenkeel::{Lease, Result, Stop};

use crate::{bus::Bus, events::Stream, store::Store};

/// As many are read at once.
const PAGE: u32 = 256;
/// Another process may put something into the outbox without ringing here: the one before, while it drains.
const LOOK: Duration = Duration::from_secs(1);

pub(crate) async fn run(store: Store, bus: Lease<Bus>, stop: Stop) -> Result {
    for stream in Stream::ALL {
        let relay = Relay { store: store.clone(), bus: bus.clone(), stream, sent: 0, forgotten: 0 };
        stop.spawn(relay.run(stop.clone()));
    }
    stop.requested().await;
    Ok(())
}

struct Relay {
    store: Store,
    bus: Lease<Bus>,
    stream: Stream,
    /// The place of the last event that is on the bus.
    sent: i64,
    /// The place of the last event that was taken out of the outbox.
    forgotten: i64,
}

impl Relay {
    async fn run(mut self, stop: Stop) {
        while let Some(more) = stop.or(self.bring()).await {
            if self.forget(&stop).await.is_none() {
                return;
            }
            if !more {
                let news = tokio::time::timeout(LOOK, self.bus.news(self.stream));
                if stop.or(news).await.is_none() {
                    return;
                }
            }
        }
    }

    /// Brings a page to the bus; whether there may be more. Dropped half-way, nothing is lost: it is in the outbox.
    async fn bring(&mut self) -> bool {
        let (stream, behind) = (self.stream, self.sent);
        // If this fails, the log has said why, and the next look may go better.
        let events = self.store.read(move |tx| stream.told(tx, behind, PAGE)).await.unwrap_or_default();
        for event in &events {
            self.bus.publish(self.stream, event).await;
            self.sent = event.place;
        }
        events.len() == PAGE as usize
    }

    async fn forget(&mut self, stop: &Stop) -> Option<()> {
        let (stream, up_to) = (self.stream, self.bus.confirmed(self.stream));
        if up_to > self.forgotten {
            self.store.change_surely(stop, move |tx| stream.forget(tx, up_to)).await?;
            self.forgotten = up_to;
        }
        Some(())
    }
}
