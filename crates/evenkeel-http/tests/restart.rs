//! R4.1b: no accepted request is lost over restarts, whatever the client; and the tester that says so can see losses.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails loudly; the loss table is for its reader")]

mod common;

use std::{net::SocketAddr, time::Duration};

use axum::{Router, routing::get};
use evenkeel_http::{Drain, Gate, Listener, Listening, Report, Server, Serving, Why, serve};
use evenkeel_load::{Kind, Load, Plan, Table, Target};
use tokio::task::block_in_place;

const RESTARTS: u32 = 20;
/// Requests of a kept connection lie up to some 10 ms apart, so that some are at rest when the restart comes.
const RATE: u32 = 3_000;
/// More than a client of this test takes between two requests, on a machine that does something else as well.
const LINGER: Duration = Duration::from_millis(250);

fn router() -> Router {
    let work = async |_: String| {
        tokio::time::sleep(Duration::from_millis(2)).await;
        "done"
    };
    Router::new().route("/work", get(work).post(work))
}

fn drain(listening: Listening) -> Drain {
    Drain { linger: LINGER, fresh_grace: LINGER, limit: Duration::from_secs(5), listening, ..Drain::default() }
}

#[derive(Clone, Copy, Debug)]
enum Way {
    /// The new server accepts before the old one leaves.
    HandOver,
    /// The new server starts after the old one has ended, behind a socket that is held.
    StopThenStart,
}

fn load(addr: SocketAddr, kind: Kind) -> Load {
    let rate = (kind == Kind::KeepAlive).then_some(RATE);
    let plan = Plan { kinds: vec![kind], clients: 16, rate, ..Plan::new(Target::new(addr, "/work")) };
    Load::start(plan).unwrap()
}

/// Waits for more answers; the server goes on meanwhile, on the other thread.
fn more(load: &Load) {
    block_in_place(|| load.until_answered(100, common::PATIENCE)).unwrap();
}

async fn restarts(way: Way, kind: Kind) -> (Table, Vec<Report>) {
    let held = Listener::bind("127.0.0.1:0").unwrap();
    let mut server = Some(serve(held.try_clone().unwrap(), router()).unwrap());
    let load = load(held.addr(), kind);
    let mut reports = Vec::new();
    for _ in 0..RESTARTS {
        more(&load);
        load.restart_begins();
        let old: Serving = server.take().unwrap();
        let next = || serve(held.try_clone().unwrap(), router()).unwrap();
        reports.push(match way {
            Way::HandOver => {
                server = Some(next());
                old.drain(drain(Listening::Shared)).await
            }
            Way::StopThenStart => {
                let report = old.drain(drain(Listening::Held)).await;
                server = Some(next());
                report
            }
        });
        load.restart_ends();
    }
    more(&load);
    let table = block_in_place(|| load.end());
    println!("{way:?} {kind:?}: {} of {}, {:.0}/s\n{table}", table.lost(), table.requests(), table.rate());
    let last = server.take().unwrap().drain(drain(Listening::Closes)).await;
    reports.push(last);
    (table, reports)
}

async fn loses_nothing(way: Way, kind: Kind) {
    let (table, reports) = restarts(way, kind).await;
    assert_eq!((table.lost(), table.hindered()), (0, 0), "{table}\n{:?}", table.losses);
    for report in reports {
        assert!(report.is_clean(), "{report}\n{report:?}");
    }
}

macro_rules! rows {
    ($($name:ident: $way:ident, $kind:ident;)*) => {$(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            loses_nothing(Way::$way, Kind::$kind).await;
        }
    )*};
}

rows! {
    r4_1b_hand_over_loses_no_request_of_new_connections: HandOver, New;
    r4_1b_hand_over_loses_no_request_of_kept_alive_connections: HandOver, KeepAlive;
    r4_1b_hand_over_loses_no_request_of_http2: HandOver, Http2;
    r4_1b_stop_then_start_loses_no_request_of_new_connections: StopThenStart, New;
    r4_1b_stop_then_start_loses_no_request_of_kept_alive_connections: StopThenStart, KeepAlive;
    r4_1b_stop_then_start_loses_no_request_of_http2: StopThenStart, Http2;
}

/// The control: the same clients against the usual graceful shutdown must see losses, or the tester is broken.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tester_sees_what_axum_serve_loses() {
    for kind in [Kind::New, Kind::KeepAlive] {
        let held = Listener::bind("127.0.0.1:0").unwrap();
        let start = || {
            let listener = tokio::net::TcpListener::from_std(held.try_clone().unwrap().into_std()).unwrap();
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let serving = axum::serve(listener, router()).with_graceful_shutdown(async { drop(stopped.await) });
            (stop, tokio::spawn(serving.into_future()))
        };
        let mut server = start();
        let load = load(held.addr(), kind);
        for _ in 0..RESTARTS {
            more(&load);
            let (stop, ended) = std::mem::replace(&mut server, start());
            let _ = stop.send(());
            ended.await.unwrap().unwrap();
        }
        let table = block_in_place(|| load.end());
        println!("axum::serve, same socket, {kind:?}: {} lost\n{table}", table.lost());
        assert!(table.lost() > 0, "the tester is blind");
    }
}

/// Asks through the socket until the server with this name has answered.
async fn answers(addr: SocketAddr, name: &str) -> Result<(), String> {
    loop {
        let mut client = common::Raw::connect(addr).await;
        client.send("GET /name HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").await;
        if client.rest().await.ends_with(name) {
            return Ok(());
        }
    }
}

fn named(name: &'static str) -> Router {
    Router::new().route("/name", get(async move || name))
}

#[tokio::test]
async fn r4_1b_a_new_server_proves_itself_through_the_real_socket_before_the_old_one_leaves() {
    let socket = Listener::bind("127.0.0.1:0").unwrap();
    let addr = socket.addr();
    let old = serve(socket.try_clone().unwrap(), named("old")).unwrap();
    let new = serve(socket, named("new")).unwrap();
    let view = new.view();
    let proof = view.prove(common::PATIENCE);
    let report = old.hand_over(proof, common::PATIENCE, drain(Listening::Shared)).await.unwrap();
    assert!(report.is_clean(), "{report}");
    answers(addr, "new").await.unwrap();
    assert_eq!(new.addr(), addr);
}

/// The answer of another server on the same socket proves nothing.
#[tokio::test]
async fn r4_1b_a_server_behind_a_shut_gate_does_not_prove_itself_while_another_answers() {
    let socket = Listener::bind("127.0.0.1:0").unwrap();
    let gate = Gate::shut();
    let _old = serve(socket.try_clone().unwrap(), named("old")).unwrap();
    let new = Server::new(socket).gate(&gate).serve(named("new")).unwrap();
    let failed = new.view().prove(Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(failed.last.to_string(), "another server answered");
    gate.set(true);
    new.view().prove(common::PATIENCE).await.unwrap();
}

#[tokio::test]
async fn r4_1b_a_new_server_that_fails_or_is_late_leaves_the_old_one_serving() {
    let old = serve(Listener::bind("127.0.0.1:0").unwrap(), named("old")).unwrap();
    let addr = old.addr();
    let failed = old.hand_over(async { Err("no database") }, common::PATIENCE, drain(Listening::Shared)).await;
    let failed = failed.unwrap_err();
    assert_eq!(failed.why, Why::Failed("no database"));
    answers(addr, "old").await.unwrap();
    let never = std::future::pending::<Result<(), String>>();
    let late = failed.server.hand_over(never, Duration::from_millis(10), drain(Listening::Shared)).await.unwrap_err();
    assert_eq!(late.why, Why::Late(Duration::from_millis(10)));
    answers(addr, "old").await.unwrap();
    assert!(late.server.drain(drain(Listening::Closes)).await.is_clean());
}
