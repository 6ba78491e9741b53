//! The admin listener: probes and the status over HTTP, from before the first component starts to the end of the process.
//!
//! It has a thread and a runtime of its own and asks the engine, never a component: it answers while every thread of the
//! service is held, and after the engine has ended it answers with what was last known. By default it listens on the
//! loopback interface at a port that the system chooses; it only ever reads, so only `GET` is served, and only to those
//! who name it by an IP address or as `localhost`: a page in a browser that was led here by a name is turned away.

use std::{
    io,
    net::{IpAddr, TcpListener},
    sync::{Arc, Mutex, atomic::Ordering},
};

use axum::{
    Router,
    extract::{Request, State},
    http::{StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use evenkeel_http::{Limits, Listener, Server};
use evenkeel_os::threads::spawn_named;
use serde::Serialize;
use serde_json::json;
use tokio::{runtime::Builder, sync::oneshot};

use super::vital::{Heard, Vital};
use crate::{
    lease::lock,
    probes::{self, Answer, OWN_PATHS, Probes, Pulse},
    status::Status,
};

/// Probes are few, and nobody else has business here.
const CONNECTIONS: usize = 64;

/// Answers until it is dropped.
pub(super) struct Admin {
    url: String,
    _end: oneshot::Sender<()>,
}

/// What the handlers share.
struct Desk {
    vital: Vital,
    probes: Probes,
    pulse: Mutex<Pulse>,
}

impl Admin {
    /// Begins to answer.
    pub(super) fn serve(listener: TcpListener, probes: Probes, vital: Vital) -> io::Result<Self> {
        let url = format!("http://{}", listener.local_addr()?);
        let desk = Arc::new(Desk { pulse: Mutex::new(Pulse::new(probes.failure_threshold)), vital, probes });
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (end, ended) = oneshot::channel::<()>();
        spawn_named("evenkeel-admin", move || runtime.block_on(answer_until(ended, listener, desk)))?;
        Ok(Self { url, _end: end })
    }

    /// Where it answers.
    pub(super) fn url(&self) -> &str {
        &self.url
    }
}

async fn answer_until(ended: oneshot::Receiver<()>, listener: TcpListener, desk: Arc<Desk>) {
    let limits = Limits { connections: CONNECTIONS, ..Limits::default() };
    // What can go wrong here has gone well for the address already; without probes the service still runs.
    let Ok(listener) = Listener::of(listener) else { return };
    let Ok(serving) = Server::new(listener).limits(limits).serve(routes(desk.clone())) else { return };
    tokio::select! {
        _ = ended => {}
        () = watch(&desk) => {}
    }
    drop(serving);
}

fn routes(desk: Arc<Desk>) -> Router {
    let Probes { startup, readiness, liveness, .. } = desk.probes.clone();
    Router::new()
        .route(&startup, get(async |State(desk): State<Arc<Desk>>| desk.startup().await))
        .route(&readiness, get(async |State(desk): State<Arc<Desk>>| desk.readiness().await))
        .route(&liveness, get(async |State(desk): State<Arc<Desk>>| desk.liveness().await))
        .route(OWN_PATHS[0], get(async |State(desk): State<Arc<Desk>>| desk.index()))
        .route(OWN_PATHS[1], get(async |State(desk): State<Arc<Desk>>| desk.status().await))
        .fallback(async |uri: Uri| {
            refused(StatusCode::NOT_FOUND, &format!("nothing is at {}; `GET /` lists what is here", uri.path()))
        })
        .layer(middleware::from_fn(named_by_address))
        .with_state(desk)
}

impl Desk {
    async fn startup(&self) -> Response {
        let ran = self.ran();
        answered(&probes::startup(&self.vital.heard().await.into_status(), ran))
    }

    async fn readiness(&self) -> Response {
        let ran = self.ran();
        let answer = match self.vital.heard().await {
            Heard::Now(status) | Heard::Over(status) => probes::readiness(&status, ran),
            // Nobody knows; no traffic is the safe side.
            Heard::Silent(status) => probes::readiness(&Status { ready: false, ..status }, ran),
        };
        answered(&answer)
    }

    async fn liveness(&self) -> Response {
        let status = self.vital.heard().await.into_status();
        let answer = probes::liveness(&status, &lock(&self.pulse));
        answered(&answer)
    }

    async fn status(&self) -> Response {
        fresh(StatusCode::OK, &self.vital.heard().await.into_status())
    }

    fn index(&self) -> Response {
        let Probes { startup, readiness, liveness, .. } = &self.probes;
        let paths = json!({ "startup": startup, "readiness": readiness, "liveness": liveness, "status": OWN_PATHS[1] });
        fresh(StatusCode::OK, &paths)
    }

    fn ran(&self) -> bool {
        self.vital.shared.ran.load(Ordering::Acquire)
    }
}

/// The looks of the liveness probe, for ever.
async fn watch(desk: &Desk) {
    let mut looks = tokio::time::interval(desk.probes.period);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut before = Vec::new();
    loop {
        looks.tick().await;
        let (stuck, now) = desk.vital.look(&before).await;
        lock(&desk.pulse).look(stuck);
        before = now;
    }
}

fn answered(answer: &Answer) -> Response {
    let code = if answer.passes { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    fresh(code, answer)
}

fn refused(code: StatusCode, why: &str) -> Response {
    fresh(code, &json!({ "error": why }))
}

/// As JSON, and not to be kept: what was true a moment ago is worth nothing.
fn fresh(code: StatusCode, body: &impl Serialize) -> Response {
    let text = serde_json::to_string_pretty(body).expect("an answer is plain data with text keys");
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-store")];
    (code, headers, text + "\n").into_response()
}

/// Whoever comes by a name was led here, perhaps by a page that rebinds it: only addresses and `localhost` are served.
async fn named_by_address(request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let host = request.uri().host().or(host).unwrap_or_default();
    if is_address(host) {
        return next.run(request).await;
    }
    refused(StatusCode::MISDIRECTED_REQUEST, "ask by IP address or as `localhost`")
}

/// `127.0.0.1`, `[::1]:9100`, `localhost:9100`.
fn is_address(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((inside, _)) => inside,
        None => {
            host.rsplit_once(':').filter(|(_, port)| port.chars().all(|c| c.is_ascii_digit())).map_or(host, |at| at.0)
        }
    };
    name.eq_ignore_ascii_case("localhost") || [name, host].iter().any(|text| text.parse::<IpAddr>().is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_and_localhost_are_served() {
        for host in
            ["127.0.0.1", "127.0.0.1:9100", "localhost", "LocalHost:80", "[::1]", "[::1]:9100", "10.1.2.3:80", "::1"]
        {
            assert!(is_address(host), "{host}");
        }
        for host in
            ["", "evil.example", "evil.example:9100", "127.0.0.1.evil.example", "localhost.evil.example:80", "[evil]"]
        {
            assert!(!is_address(host), "{host}");
        }
    }
}
