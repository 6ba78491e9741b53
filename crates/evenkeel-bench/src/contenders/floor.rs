//! By hand: tokio tasks, a tracker to wait for them, a token to end them. No names, no order, no limits.

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::measure::{Clock, Latch, Measured};

pub(crate) async fn tasks(count: usize) -> Measured {
    let clock = Clock::begin();
    let (tracker, token, latch) = (TaskTracker::new(), CancellationToken::new(), Latch::of(count));
    for _ in 0..count {
        let (token, latch) = (token.clone(), latch.clone());
        tracker.spawn(async move {
            latch.hit();
            token.cancelled().await;
        });
    }
    latch.opened().await;
    let up = clock.up();
    token.cancel();
    tracker.close();
    tracker.wait().await;
    up.gone()
}
