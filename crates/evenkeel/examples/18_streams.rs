//! Answers that have no end of their own: they learn of a stop, say goodbye, and end.
//!
//! `cargo run --example 18_streams`, and in another terminal `curl -N http://127.0.0.1:PORT/news`; then stop it. The stream
//! ends with a last event, and its client knows when to come back. While it is stopping, `18_streams -- status` shows who
//! holds it. `18_streams -- restart` starts it anew on the same port without refusing anybody.

use std::{convert::Infallible, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    response::IntoResponse,
    routing::get,
};
use evenkeel::{App, Draining, Exit, OnDrain, on_drain};
use tokio::sync::mpsc;

fn main() -> Exit {
    let app = App::new("streams");

    // The tasks that write the streams belong to a component: it is stopped after the server, which needs it.
    let newsroom = app.late_worker("newsroom", (), async |(), ready, stop| {
        ready.with(stop.clone());
        stop.requested().await;
        Ok(())
    });

    let _api = app.http("api", &newsroom, "127.0.0.1:0", |newsroom| {
        let news = async move |draining: Draining| {
            let (sender, body) = events();
            newsroom.spawn(report(sender, draining));
            body
        };
        Router::new()
            .route("/news", get(news))
            // For what may be cut in the middle, the route says so, and its handler need not listen.
            .route("/noise", get(async || events().1).layer(on_drain(OnDrain::Cut)))
    });

    app.run()
}

async fn report(sender: mpsc::Sender<String>, draining: Draining) {
    for number in 1.. {
        let sent = sender.send(format!("data: story {number}\n\n")).await;
        if sent.is_err() {
            return; // nobody reads any more
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
            () = draining.requested() => break,
        }
    }
    // An event of its own, so that a browser waits this long before it comes back.
    let _ = sender.send("retry: 1000\ndata: goodbye\n\n".to_owned()).await;
}

/// A stream of events, and where to put them.
fn events() -> (mpsc::Sender<String>, impl IntoResponse + use<>) {
    let (sender, receiver) = mpsc::channel(1);
    let next = async |mut receiver: mpsc::Receiver<String>| {
        let event = receiver.recv().await?;
        Some((Ok::<_, Infallible>(Bytes::from(event)), receiver))
    };
    let body = Body::from_stream(futures_util::stream::unfold(receiver, next));
    (sender, ([("content-type", "text/event-stream")], body))
}
