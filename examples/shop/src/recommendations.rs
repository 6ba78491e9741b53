//! Recommendations: what sold best. The shop does without them while they are slow to start, or do not start at all.

use std::time::Duration;

use evenkeel::{Lease, Result};

use crate::ledger::Orders;

/// What is offered while there is nothing better.
const FALLBACK: &str = "gift card";

pub(crate) struct Recommendations {
    best: Vec<String>,
}

/// Looks through what was sold. `slow` is there for demonstrations.
pub(crate) async fn load(sold: &Orders, slow: Duration) -> Result<Recommendations> {
    tokio::time::sleep(slow).await;
    Ok(Recommendations { best: sold.best_sellers(4).await? })
}

/// What to offer beside an item, and where that comes from.
pub(crate) fn beside(item: &str, known: Option<&Lease<Recommendations>>) -> (Vec<String>, &'static str) {
    let best = known.map(|known| known.best.iter().filter(|best| *best != item).take(3).cloned().collect::<Vec<_>>());
    match best {
        Some(best) if !best.is_empty() => (best, "best sellers"),
        _ => (vec![FALLBACK.to_owned()], "fallback"),
    }
}
