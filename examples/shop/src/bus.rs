//! The bus: brings events from the outbox of one service to others, in order, at least once.
//!
//! It is a bounded channel for each subscription, within the process. Behind [`publish`](Bus::publish),
//! [`Subscription`] and [`confirmed`](Bus::confirmed) there could as well be a broker: nobody relies on more than that
//! what was published comes, perhaps twice, until it is confirmed. What is on the bus when the process ends is gone
//! from it, and comes out of the outbox again.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicI64, Ordering},
};

use evenkeel::{Error, Result, Stop};
use tokio::sync::{Notify, mpsc};

use crate::events::{Event, Stream};

/// As many events may wait for one subscriber; then its publisher waits.
const ROOM: usize = 1024;
/// As many are handled together.
pub(crate) const BATCH: usize = 128;

/// Who gets the events of which stream.
const SUBSCRIPTIONS: [(Stream, &str); 4] = [
    (Stream::Orders, "inventory"),
    (Stream::Orders, "payment"),
    (Stream::Inventory, "orders"),
    (Stream::Payment, "orders"),
];

pub(crate) struct Bus {
    topics: [Topic; 3],
}

struct Topic {
    /// There may be something new in the outbox, or something was confirmed.
    news: Arc<Notify>,
    lines: Vec<Line>,
}

/// From the topic to one subscriber.
struct Line {
    subscriber: &'static str,
    events: mpsc::Sender<Event>,
    confirmed: Arc<AtomicI64>,
    /// The other end, until its subscriber comes for it.
    end: Mutex<Option<mpsc::Receiver<Event>>>,
}

impl Bus {
    pub(crate) fn new() -> Self {
        Self { topics: Stream::ALL.map(Topic::new) }
    }

    fn topic(&self, stream: Stream) -> &Topic {
        &self.topics[stream as usize]
    }

    /// Something was put into this outbox.
    pub(crate) fn ring(&self, stream: Stream) {
        self.topic(stream).news.notify_one();
    }

    /// Waits until there is something new in the outbox, or something more was confirmed. Cancel-safe.
    pub(crate) async fn news(&self, stream: Stream) {
        self.topic(stream).news.notified().await;
    }

    /// Brings an event to all who subscribed; waits while one of them has too many. Dropped half-way, some may have it.
    pub(crate) async fn publish(&self, stream: Stream, event: &Event) {
        for line in &self.topic(stream).lines {
            // A subscriber that is gone for good does not confirm, so the event stays in the outbox.
            let _ = line.events.send(event.clone()).await;
        }
    }

    /// Up to which place all subscribers have confirmed the events of this stream.
    pub(crate) fn confirmed(&self, stream: Stream) -> i64 {
        let confirmed = self.topic(stream).lines.iter().map(|line| line.confirmed.load(Ordering::Acquire));
        confirmed.min().unwrap_or(0)
    }

    /// The events of a stream for a subscriber.
    ///
    /// # Errors
    /// Nobody planned this subscription, or it was taken before.
    pub(crate) fn subscribe(&self, stream: Stream, subscriber: &str) -> Result<Subscription> {
        let topic = self.topic(stream);
        let line = topic.lines.iter().find(|line| line.subscriber == subscriber);
        let end = line.and_then(|line| line.end.lock().unwrap_or_else(PoisonError::into_inner).take());
        let (Some(line), Some(events)) = (line, end) else {
            return Err(Error::from(format!("`{subscriber}` cannot subscribe to {}", stream.name())));
        };
        Ok(Subscription { events, confirmed: line.confirmed.clone(), news: topic.news.clone() })
    }
}

impl Topic {
    fn new(stream: Stream) -> Self {
        let lines = SUBSCRIPTIONS.into_iter().filter(|(of, _)| *of == stream).map(|(_, subscriber)| {
            let (events, end) = mpsc::channel(ROOM);
            Line { subscriber, events, confirmed: Arc::default(), end: Mutex::new(Some(end)) }
        });
        Self { news: Arc::default(), lines: lines.collect() }
    }
}

/// Events as they come, each until it is confirmed.
pub(crate) struct Subscription {
    events: mpsc::Receiver<Event>,
    confirmed: Arc<AtomicI64>,
    news: Arc<Notify>,
}

impl Subscription {
    /// Waits for events, and takes up to so many. Cancel-safe.
    pub(crate) async fn next(&mut self, limit: usize) -> Vec<Event> {
        let mut events = Vec::with_capacity(limit);
        self.events.recv_many(&mut events, limit).await;
        events
    }

    /// All events up to this place have been handled: they need not come again.
    pub(crate) fn confirm(&self, place: i64) {
        self.confirmed.store(place, Ordering::Release);
        self.news.notify_one();
    }

    /// The next events to handle; after a stop those that are here already, and then `None`.
    ///
    /// What is not [`handled`](Self::handled) stays in the outbox.
    pub(crate) async fn batch(&mut self, stop: &Stop) -> Option<Arc<[Event]>> {
        let events = match stop.or(self.next(BATCH)).await {
            Some(events) => events,
            None => std::iter::from_fn(|| self.events.try_recv().ok()).take(BATCH).collect(),
        };
        if events.is_empty() { None } else { Some(events.into()) }
    }

    /// These events have been handled: what follows from them is on disk. During a stop, each counts as drained.
    pub(crate) fn handled(&self, events: &[Event], stop: &Stop) {
        if let Some(last) = events.last() {
            self.confirm(last.place);
        }
        events.iter().for_each(|_| drop(stop.work()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::Fact;

    #[tokio::test]
    async fn an_event_is_confirmed_when_all_subscribers_have_confirmed_it() {
        let bus = Bus::new();
        let mut inventory = bus.subscribe(Stream::Orders, "inventory").expect("it is planned");
        let payment = bus.subscribe(Stream::Orders, "payment").expect("it is planned");
        let event = Event { place: 7, order: 57, fact: Fact::PaymentDue { amount: 100 } };
        bus.publish(Stream::Orders, &event).await;
        assert_eq!(inventory.next(10).await, [event]);
        inventory.confirm(7);
        assert_eq!(bus.confirmed(Stream::Orders), 0);
        payment.confirm(7);
        assert_eq!(bus.confirmed(Stream::Orders), 7);
        bus.news(Stream::Orders).await; // and that is news
    }

    #[test]
    fn a_subscription_that_is_not_planned_or_taken_twice_is_refused() {
        let bus = Bus::new();
        assert!(bus.subscribe(Stream::Payment, "inventory").is_err());
        assert!(bus.subscribe(Stream::Payment, "orders").is_ok());
        assert!(bus.subscribe(Stream::Payment, "orders").is_err());
    }
}
