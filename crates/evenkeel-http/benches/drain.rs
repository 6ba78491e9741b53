//! How exactly a drain keeps its deadlines: `cargo xtask promise drain`. Times are worth something only on a machine that
//! has nothing else to do; what becomes of each kind is held by `tests/drain.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    missing_docs,
    reason = "it fails loudly, and its output is what it is for"
)]

#[path = "../tests/common/mod.rs"]
mod common;

use std::{process::ExitCode, time::Duration};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use common::{Raw, until};
use evenkeel_http::{Doing, Drain, Listener, Report, Serving, serve};

const RUNS: usize = 10;
const LINGER: Duration = Duration::from_millis(300);
const HEAD: Duration = Duration::from_millis(600);
const LIMIT: Duration = Duration::from_millis(1_000);

/// What a connection does, when it has to be over, and how late it may be.
struct Row {
    name: &'static str,
    sends: &'static str,
    doing: Doing,
    deadline: Duration,
    late: Duration,
}

const ROWS: &[Row] = &[
    row("idle connections", "GET / HTTP/1.1\r\nHost: t\r\n\r\n", Doing::Idle, LINGER, 50),
    row("silent", "", Doing::Silent, LINGER, 50),
    row("partial head", "GET / HT", Doing::PartialHead, HEAD, 100),
    row("handler at work", "GET /hangs HTTP/1.1\r\nHost: t\r\n\r\n", Doing::Handler, LIMIT, 100),
    row(
        "slow body",
        "POST /uploads HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nhello",
        Doing::SlowBody,
        LIMIT,
        100,
    ),
    row("unread answer", "GET /big HTTP/1.1\r\nHost: t\r\n\r\n", Doing::UnreadAnswer, LIMIT, 100),
    row(
        "WebSocket",
        "GET /upgrades HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n",
        Doing::Upgraded,
        LIMIT,
        100,
    ),
];

const fn row(name: &'static str, sends: &'static str, doing: Doing, deadline: Duration, late: u64) -> Row {
    Row { name, sends, doing, deadline, late: Duration::from_millis(late) }
}

fn start() -> Serving {
    let router = Router::new()
        .route("/", get(async || "hello"))
        .route("/hangs", get(async || std::future::pending::<()>().await))
        .route("/uploads", post(async |body: String| body))
        .route("/big", get(async || Body::from(Bytes::from_static(&[b'x'; 64 << 20]))))
        .route("/upgrades", get(upgrades));
    serve(Listener::bind("127.0.0.1:0").unwrap(), router).unwrap()
}

async fn upgrades(mut request: Request) -> Response {
    let upgrade = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        let upgraded = upgrade.await;
        std::future::pending::<()>().await;
        drop(upgraded);
    });
    let fields = [(header::CONNECTION, "upgrade"), (header::UPGRADE, "websocket")];
    (StatusCode::SWITCHING_PROTOCOLS, fields).into_response()
}

/// One drain with twenty connections of a kind.
async fn drained(row: &Row) -> Report {
    let server = start();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Raw::connect(server.addr()).await;
        client.send(row.sends).await;
        if row.doing == Doing::Idle {
            client.until("hello").await;
        }
        clients.push(client);
    }
    let live = server.view();
    until(row.name, || live.holding().iter().filter(|held| held.doing == row.doing).count() == clients.len()).await;
    // Clients see the close of a connection, and close theirs; but who leaves an answer unread goes on so.
    let read = row.doing != Doing::UnreadAnswer;
    let clients = clients.into_iter().map(|mut client| {
        tokio::spawn(async move {
            match read {
                true => drop(client.rest().await),
                false => std::future::pending().await,
            }
        })
    });
    let clients: Vec<_> = clients.collect();
    let drain = Drain { linger: LINGER, fresh_grace: LINGER, head_time: HEAD, limit: LIMIT, ..Drain::default() };
    let report = server.drain(drain).await;
    clients.iter().for_each(tokio::task::JoinHandle::abort);
    report
}

#[tokio::main]
async fn main() -> ExitCode {
    let (mut kept, mut worst) = (true, Duration::ZERO);
    println!("{:<20}{:>12}{:>16}{:>16}", "20 connections", "deadline ms", "median late ms", "most late ms");
    for row in ROWS {
        let mut late = Vec::new();
        for _ in 0..RUNS {
            let report = drained(row).await;
            let rests = matches!(row.doing, Doing::Idle | Doing::Silent);
            let named = report.cut.iter().all(|held| held.doing == row.doing) && report.cut_count == 20;
            if if rests { report.cut_count > 0 } else { !named } || report.took < row.deadline {
                println!("{}: {report:?}", row.name);
                kept = false;
            }
            late.push(report.took.saturating_sub(row.deadline));
        }
        late.sort_unstable();
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let most = late[RUNS - 1];
        kept &= most <= row.late;
        worst = worst.max(most);
        println!("{:<20}{:>12}{:>16.1}{:>16.1}", row.name, row.deadline.as_millis(), ms(late[RUNS / 2]), ms(most));
    }
    println!("figure: {} kinds, {RUNS} drains each, {:.1} ms late at most", ROWS.len(), worst.as_secs_f64() * 1e3);
    ExitCode::from(u8::from(!kept))
}
