//! The packing: takes paid orders in the order of their numbers, and packs them by the box.
//!
//! The table is its queue. An order that is not packed when the shop stops is packed after the next start.

use std::time::Duration;

use evenkeel::{Lease, Result, Stop};

use super::{LOOK, Orders, now, table};

/// As many orders fit into a box.
const BOX: u32 = 128;

/// Packs until it is told to stop: it finishes the box that it has begun, and begins no other.
pub(crate) async fn pack(orders: Lease<Orders>, time: Duration, stop: Stop) -> Result {
    loop {
        // If the database cannot say now, the next look may go better.
        let found = orders.store.read(move |tx| table::to_pack(tx, BOX)).await.unwrap_or_default();
        if found.is_empty() {
            let news = tokio::time::timeout(LOOK, orders.inner.paid.notified());
            // `or` may drop what it waits for, and does so here without loss: an order is taken out of nothing.
            if stop.or(news).await.is_none() {
                return Ok(());
            }
            continue;
        }
        if stop.is_requested() {
            return Ok(());
        }
        tokio::time::sleep(time).await;
        let full: std::sync::Arc<[i64]> = found.into();
        let packed = full.clone();
        if orders.store.change_surely(&stop, move |tx| table::pack(tx, &packed, now())).await.is_none() {
            return Ok(());
        }
        orders.tell_settled(&full);
        full.iter().for_each(|_| drop(stop.work())); // during a stop, each counts as drained
    }
}
