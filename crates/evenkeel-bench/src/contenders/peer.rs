//! With tokio-graceful-shutdown: a tree of subsystems.

use std::{io, time::Duration};

use tokio_graceful_shutdown::{SubsystemBuilder, SubsystemHandle, Toplevel};
use tokio_util::sync::CancellationToken;

use crate::measure::{Clock, Latch, Measured};

/// All directly below the top level.
pub(crate) async fn components(count: usize) -> Measured {
    let clock = Clock::begin();
    let (token, latch) = (CancellationToken::new(), Latch::of(count));
    let theirs = latch.clone();
    let top = Toplevel::<io::Error>::new_with_shutdown_token(
        async move |top: &mut SubsystemHandle<io::Error>| spawn(top, count, &theirs),
        token.clone(),
    );
    run(clock, top, &token, &latch).await
}

/// All nested in one subsystem.
pub(crate) async fn tasks(count: usize) -> Measured {
    let clock = Clock::begin();
    let (token, latch) = (CancellationToken::new(), Latch::of(count));
    let theirs = latch.clone();
    let top = Toplevel::<io::Error>::new_with_shutdown_token(
        async move |top: &mut SubsystemHandle<io::Error>| {
            top.start(SubsystemBuilder::new("crowd", async move |crowd: &mut SubsystemHandle<io::Error>| {
                spawn(crowd, count, &theirs);
                crowd.on_shutdown_requested().await;
                Ok::<(), io::Error>(())
            }));
        },
        token.clone(),
    );
    run(clock, top, &token, &latch).await
}

fn spawn(below: &SubsystemHandle<io::Error>, count: usize, latch: &Latch) {
    for _ in 0..count {
        let latch = latch.clone();
        below.start(SubsystemBuilder::new("task", async move |task: &mut SubsystemHandle<io::Error>| {
            latch.hit();
            task.on_shutdown_requested().await;
            Ok::<(), io::Error>(())
        }));
    }
}

async fn run(clock: Clock, top: Toplevel<io::Error>, token: &CancellationToken, latch: &Latch) -> Measured {
    let ended = tokio::spawn(top.handle_shutdown_requests(Duration::from_secs(60)));
    latch.opened().await;
    let up = clock.up();
    token.cancel();
    let ended = ended.await.expect("the peer does not panic");
    assert!(ended.is_ok(), "subsystems that wait for the stop end cleanly");
    up.gone()
}
