//! Recommendations: what sold best. The shop does without them: while they are slow to start, or do not start at all,
//! or take too long to answer, it offers something else, and says so.

use std::time::Duration;

use evenkeel::{Result, Watch};
use serde::Serialize;

use crate::orders::Orders;

/// What is offered while there is nothing better.
const FALLBACK: &str = "gift card";
/// A customer does not wait longer for a recommendation.
const PATIENCE: Duration = Duration::from_millis(50);

pub(crate) struct Recommendations {
    best: Vec<String>,
    delay: Duration,
}

/// How slow it is, for demonstrations.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Slow {
    /// To start.
    pub(crate) start: Duration,
    /// To answer.
    pub(crate) answer: Duration,
}

/// What to offer, and where that comes from.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Offer {
    items: Vec<String>,
    source: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    because: Option<&'static str>,
}

/// Looks through what was sold.
pub(crate) async fn load(sold: &Orders, slow: Slow) -> Result<Recommendations> {
    tokio::time::sleep(slow.start).await;
    Ok(Recommendations { best: sold.best_sellers(4).await?, delay: slow.answer })
}

/// What goes well with an item; asked for each request, because it may have come in the meantime, or gone.
pub(crate) async fn beside(item: &str, known: &Watch<Recommendations>) -> Offer {
    let Some(known) = known.get() else { return fallback("recommendations are not there") };
    match tokio::time::timeout(PATIENCE, known.beside(item)).await {
        Ok(items) if items.is_empty() => fallback("nothing was sold yet"),
        Ok(items) => Offer { items, source: "best sellers", because: None },
        Err(_) => fallback("recommendations are slow"),
    }
}

fn fallback(because: &'static str) -> Offer {
    Offer { items: vec![FALLBACK.to_owned()], source: "fallback", because: Some(because) }
}

impl Recommendations {
    async fn beside(&self, item: &str) -> Vec<String> {
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        self.best.iter().filter(|best| *best != item).take(3).cloned().collect()
    }
}
