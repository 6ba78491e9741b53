//! The packing: takes orders from the database in the order in which they came, and packs them by the box.
//!
//! The database is its queue. An order that is not marked as packed when the shop stops is packed after the next start.

use std::time::Duration;

use evenkeel::{Ready, Result, Stop};
use tokio::sync::watch;

use crate::ledger::Orders;

/// As many orders fit into a box.
const BOX: u32 = 64;

/// What the packing lends to others: how far it is.
pub(crate) struct Packing {
    /// All orders up to this id are packed.
    packed: watch::Receiver<i64>,
}

impl Packing {
    /// Packs until it is told to stop: it finishes the box that it has begun, and begins no other.
    pub(crate) async fn run(orders: Orders, time: Duration, ready: Ready<Self>, stop: Stop) -> Result {
        let (tell, packed) = watch::channel(0);
        ready.with(Self { packed });
        let mut done = 0; // what the stop before has left is found in the first round

        // `or` may drop what it waits for, and does so here without loss: an order is taken out of nothing until it is
        // marked as packed.
        while stop.or(orders.after(done)).await.is_some() {
            let newest = orders.newest();
            let full = orders.to_pack(BOX).await?;
            done = full.last().copied().unwrap_or(newest);
            if !full.is_empty() {
                tokio::time::sleep(time).await;
                orders.set_packed(full).await?;
            }
            tell.send_replace(done);
        }
        Ok(())
    }

    /// Waits until this order is packed. Cancel-safe. `false`: the packing has ended before.
    pub(crate) async fn finished(&self, id: i64) -> bool {
        self.packed.clone().wait_for(|packed| *packed >= id).await.is_ok()
    }
}
