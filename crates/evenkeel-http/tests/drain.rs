//! R4.1a: what a drain does to each kind of connection, and what it says of it.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test fails loudly; the loss table is for its reader")]

mod common;

use std::{
    convert::Infallible,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::Request,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use common::{Raw, until};
use evenkeel_http::{Doing, Drain, Draining, Gate, Limits, Listener, OnDrain, Outcome, Phase, Server, on_drain, serve};
use tokio::{io::AsyncReadExt, sync::Notify};

const GET: &str = "GET / HTTP/1.1\r\nHost: t\r\n\r\n";

fn quick() -> Drain {
    let ms = Duration::from_millis;
    Drain { linger: ms(100), fresh_grace: ms(100), limit: Duration::from_secs(5), ..Drain::default() }
}

fn limit(ms: u64) -> Drain {
    Drain { limit: Duration::from_millis(ms), ..quick() }
}

fn hello() -> Router {
    Router::new().route("/", get(async || "hello"))
}

fn listener() -> Listener {
    Listener::bind("127.0.0.1:0").unwrap()
}

/// Frames that somebody else sends.
fn stream_of(frames: tokio::sync::mpsc::Receiver<&'static str>) -> Body {
    struct Frames(tokio::sync::mpsc::Receiver<&'static str>);
    impl http_body::Body for Frames {
        type Data = Bytes;
        type Error = Infallible;
        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            cx: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<http_body::Frame<Bytes>, Infallible>>> {
            self.0
                .poll_recv(cx)
                .map(|frame| frame.map(|text| Ok(http_body::Frame::data(Bytes::from_static(text.as_bytes())))))
        }
    }
    Body::new(Frames(frames))
}

#[tokio::test]
async fn r4_1a_clients_are_told_to_leave_before_anything_closes() {
    let server = serve(listener(), hello()).unwrap();
    let mut client = Raw::connect(server.addr()).await;
    client.send(GET).await;
    assert!(!client.until("hello").await.contains("connection: close"));
    let live = server.view();
    let drain = tokio::spawn(server.drain(Drain { linger: Duration::from_secs(5), ..quick() }));
    live.reached(Phase::Discouraging).await;
    client.send(GET).await;
    let answer = client.rest().await;
    assert!(answer.contains("connection: close") && answer.ends_with("hello"), "{answer}");
    let report = drain.await.unwrap();
    assert!(report.is_clean() && report.took < Duration::from_secs(4), "{report:?}");
    assert_eq!(report.total.routes["/"].of(Outcome::Answered), 2);
}

#[tokio::test]
async fn r4_1a_a_drain_with_only_idle_connections_ends_with_the_linger() {
    let server = serve(listener(), hello()).unwrap();
    let mut clients = Vec::new();
    for _ in 0..20 {
        let mut client = Raw::connect(server.addr()).await;
        client.send(GET).await;
        client.until("hello").await;
        clients.push(client);
    }
    let watcher = tokio::spawn(async move {
        for mut client in clients {
            assert_eq!(client.rest().await, "");
        }
    });
    let report = server.drain(quick()).await;
    watcher.await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    // The aim is 50 ms; a machine that is busy with other tests is given more.
    assert!((100..250).contains(&report.took.as_millis()), "{report:?}");
}

#[tokio::test]
async fn r4_1b_a_request_that_is_half_read_when_the_drain_comes_is_served() {
    let server = serve(listener(), hello()).unwrap();
    let mut used = Raw::connect(server.addr()).await;
    used.send(GET).await;
    used.until("hello").await;
    used.send("GET / HTT").await;
    let mut fresh = Raw::connect(server.addr()).await;
    fresh.send("GET / HTT").await;
    let live = server.view();
    until("both heads", || live.holding().iter().filter(|held| held.doing == Doing::PartialHead).count() == 2).await;
    let drain = tokio::spawn(server.drain(Drain { linger: Duration::ZERO, fresh_grace: Duration::ZERO, ..quick() }));
    live.reached(Phase::Closing).await;
    for client in [&mut used, &mut fresh] {
        client.send("P/1.1\r\nHost: t\r\n\r\n").await;
        let answer = client.rest().await;
        assert!(answer.contains("connection: close") && answer.ends_with("hello"), "{answer}");
    }
    assert!(drain.await.unwrap().is_clean());
}

#[tokio::test]
async fn r4_1a_half_a_head_is_waited_for_as_long_as_the_drain_says_and_its_client_is_told() {
    let server = serve(listener(), hello()).unwrap();
    let mut half = Raw::connect(server.addr()).await;
    half.send("GET / HT").await;
    let live = server.view();
    until("half a head", || live.holding().iter().any(|held| held.doing == Doing::PartialHead)).await;
    let report = server.drain(Drain { head_time: Duration::from_millis(50), ..quick() }).await;
    assert!(half.rest().await.starts_with("HTTP/1.1 408"));
    assert_eq!((report.cut[0].doing, report.cut_count, report.during.total().sum()), (Doing::PartialHead, 1, 0));
    assert!(report.took < Duration::from_secs(2), "{report:?}");
}

/// The clock stands still unless somebody waits for it.
#[tokio::test(start_paused = true)]
async fn r4_1a_a_drain_leaves_no_task_that_has_to_be_waited_for() {
    let tasks = Arc::new(std::sync::Mutex::new(Vec::new()));
    let spawned = tasks.clone();
    let spawn = move |task| spawned.lock().unwrap().push(tokio::spawn(task));
    let server = Server::new(listener()).spawn_on(spawn).serve(hello()).unwrap();
    server.drain(quick()).await;
    let drained = tokio::time::Instant::now();
    let tasks = std::mem::take(&mut *tasks.lock().unwrap());
    assert_eq!(tasks.len(), 2, "the accept loop and the watch");
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(drained.elapsed(), Duration::ZERO);
}

#[tokio::test]
async fn r4_1b_what_waits_in_the_queue_and_what_has_not_spoken_is_served() {
    let gate = Gate::open();
    let server = Server::new(listener()).gate(&gate).serve(hello()).unwrap();
    let mut fresh = Raw::connect(server.addr()).await;
    let live = server.view();
    until("accepted", || live.holding().len() == 1).await;
    let drain = Drain { linger: Duration::ZERO, fresh_grace: Duration::from_secs(5), ..quick() };
    let mut queued = Raw::connect(server.addr()).await;
    let drain = tokio::spawn(server.drain(drain));
    live.reached(Phase::Closing).await;
    for client in [&mut fresh, &mut queued] {
        client.send(GET).await;
        assert!(client.rest().await.ends_with("hello"));
    }
    assert!(drain.await.unwrap().is_clean());
}

#[tokio::test]
async fn r4_1a_after_a_drain_nobody_can_connect() {
    let server = serve(listener(), hello()).unwrap();
    let addr = server.addr();
    server.drain(quick()).await;
    let error = tokio::net::TcpStream::connect(addr).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused);
}

#[tokio::test]
async fn a_shut_gate_lets_nobody_in_and_keeps_who_is_in() {
    let gate = Gate::shut();
    let server = Server::new(listener()).gate(&gate).serve(hello()).unwrap();
    let mut client = Raw::connect(server.addr()).await;
    client.send(GET).await;
    assert_eq!(server.connections(), 0, "connected, but not accepted");
    gate.set(true);
    client.until("hello").await;
    gate.set(false);
    let mut later = Raw::connect(server.addr()).await;
    later.send(GET).await;
    client.send(GET).await;
    client.until("hello").await;
    assert_eq!(server.connections(), 1);
    gate.set(true);
    later.until("hello").await;
}

/// Everything that can get stuck, at once.
#[tokio::test]
async fn r4_1a_each_stuck_connection_is_cut_at_the_limit_and_named() {
    let big = || async { vec![b'x'; 64 << 20] };
    let router = Router::new()
        .route("/hang", get(async || std::future::pending::<()>().await))
        .route("/upload", post(async |body: Bytes| format!("{}", body.len())))
        .route("/big", get(big))
        .route("/socket", get(upgrade));
    let server = serve(listener(), router).unwrap();
    let live = server.view();
    let mut clients = Vec::new();
    for bytes in [
        "",
        "GET / HT",
        "GET /hang HTTP/1.1\r\nHost: t\r\n\r\n",
        "POST /upload HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n12345",
        "GET /big HTTP/1.1\r\nHost: t\r\n\r\n",
        "GET /socket HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: test\r\n\r\n",
    ] {
        let mut client = Raw::connect(server.addr()).await;
        client.send(bytes).await;
        clients.push(client);
    }
    let wanted =
        [Doing::Silent, Doing::PartialHead, Doing::Handler, Doing::SlowBody, Doing::UnreadAnswer, Doing::Upgraded];
    let is_there = |doing: &Doing| live.holding().iter().any(|held| held.doing == *doing);
    until("all are stuck", || wanted.iter().all(is_there)).await;
    let drain = Drain { linger: Duration::from_secs(60), ..limit(300) };
    let report = server.drain(drain).await;
    let took = report.took.as_millis();
    assert!((300..500).contains(&took), "cut at its deadline: {took}");
    for doing in wanted {
        assert!(report.cut.iter().any(|held| held.doing == doing), "{doing} is named: {report}");
    }
    assert_eq!((report.cut_count, report.abandoned, report.total.in_flight), (6, 0, 0), "{report:?}");
    for route in ["/hang", "/upload", "/big", "/socket"] {
        assert_eq!(report.during.routes[route].of(Outcome::Cut), 1, "{route}: {report:?}");
    }
    assert!(clients[1].rest().await.starts_with("HTTP/1.1 408"));
}

async fn upgrade(request: Request) -> Response {
    let draining = request.extensions().get::<Draining>().unwrap().clone();
    tokio::spawn(async move {
        let mut io = hyper_util::rt::TokioIo::new(hyper::upgrade::on(request).await.unwrap());
        let mut buf = [0; 16];
        tokio::select! {
            () = draining.requested() => {
                let _ = tokio::io::AsyncWriteExt::write_all(&mut io, b"bye").await;
                if draining.deadline().is_some_and(|deadline| deadline < Instant::now() + Duration::from_secs(1)) {
                    let _ = io.read(&mut buf).await;
                }
            }
            _ = io.read(&mut buf) => {}
        }
    });
    let mut response = axum::http::StatusCode::SWITCHING_PROTOCOLS.into_response();
    response.headers_mut().insert("connection", "upgrade".parse().unwrap());
    response.headers_mut().insert("upgrade", "test".parse().unwrap());
    response
}

#[tokio::test]
async fn r4_1a_an_upgraded_connection_is_told_and_ends_by_itself() {
    let server = serve(listener(), Router::new().route("/socket", get(upgrade))).unwrap();
    let mut client = Raw::connect(server.addr()).await;
    client.send("GET /socket HTTP/1.1\r\nHost: t\r\nConnection: upgrade\r\nUpgrade: test\r\n\r\n").await;
    client.until("\r\n\r\n").await;
    let report = server.drain(quick()).await;
    assert_eq!(client.rest().await, "bye");
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.during.routes["/socket"].of(Outcome::Answered), 1);
}

#[tokio::test]
async fn r4_1a_routes_choose_to_finish_to_be_told_or_to_be_cut() {
    let (go_on, told) = (Arc::new(Notify::new()), Arc::<AtomicBool>::default());
    let finish = {
        let (go_on, told) = (go_on.clone(), told.clone());
        async move |draining: Draining| {
            tokio::select! {
                () = draining.requested() => told.store(true, Ordering::Relaxed),
                () = go_on.notified() => {}
            }
            "finished"
        }
    };
    let (events, receiver) = tokio::sync::mpsc::channel(4);
    let receiver = Arc::new(std::sync::Mutex::new(Some(receiver)));
    let cut =
        async move || ([("content-type", "text/event-stream")], stream_of(receiver.lock().unwrap().take().unwrap()));
    let notify = async |draining: Draining| {
        draining.requested().await;
        "told"
    };
    let router = Router::new()
        .route("/finish", get(finish).layer(on_drain(OnDrain::Finish)))
        .route("/notify", get(notify))
        .route("/events", get(cut).layer(on_drain(OnDrain::Cut)));
    let server = serve(listener(), router).unwrap();
    let mut clients = Vec::new();
    for path in ["/finish", "/notify", "/events"] {
        let mut client = Raw::connect(server.addr()).await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: t\r\n\r\n")).await;
        clients.push(client);
    }
    events.send("data: 1\n\n").await.unwrap();
    clients[2].until("data: 1\n\n").await;
    let live = server.view();
    until("all are at work", || live.counts().in_flight == 3).await;
    let drain = tokio::spawn(server.drain(quick()));
    assert!(clients[1].rest().await.ends_with("told"));
    let end = clients[2].rest().await;
    assert!(end.ends_with("0\r\n\r\n"), "an event stream ends properly: {end:?}");
    go_on.notify_one();
    assert!(clients[0].rest().await.ends_with("finished"));
    let report = drain.await.unwrap();
    assert!(!told.load(Ordering::Relaxed));
    assert_eq!(report.during.routes["/events"].of(Outcome::Cut), 1);
    assert_eq!(report.during.of(Outcome::Answered), 2);
    assert_eq!(report.cut_count, 0, "{report:?}");
}

#[tokio::test]
async fn every_request_ends_in_one_outcome_and_none_is_left() {
    let router = Router::new()
        .route("/", get(async || "hello"))
        .route("/panic", get(async || -> &'static str { panic!("on purpose") }))
        .route("/hang", get(async || std::future::pending::<()>().await));
    let server = serve(listener(), router).unwrap();
    let one = async |path: &str| {
        let mut client = Raw::connect(server.addr()).await;
        client.send(format!("GET {path} HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n")).await;
        client
    };
    assert!(one("/").await.rest().await.starts_with("HTTP/1.1 200"));
    assert!(one("/nothing").await.rest().await.starts_with("HTTP/1.1 404"));
    assert!(one("/panic").await.rest().await.starts_with("HTTP/1.1 500"));
    let gone = one("/hang").await;
    until("it hangs", || server.counts().in_flight == 1).await;
    drop(gone);
    let long = format!("/{}", "a".repeat(9_000));
    assert!(one(&long).await.rest().await.starts_with("HTTP/1.1 414"));
    until("all ended", || server.counts().in_flight == 0 && server.connections() == 0).await;
    let counts = server.counts();
    assert_eq!(counts.routes["/"].of(Outcome::Answered), 1);
    assert_eq!(counts.routes["/panic"].of(Outcome::Panicked), 1);
    assert_eq!(counts.routes["/hang"].of(Outcome::Aborted), 1);
    assert_eq!(counts.routes[evenkeel_http::NO_ROUTE].of(Outcome::Answered), 1);
    assert_eq!(counts.routes[evenkeel_http::NO_ROUTE].of(Outcome::Refused), 1);
    assert_eq!(counts.total().sum(), 5);
}

#[tokio::test]
async fn limits_on_time_hold_without_a_drain() {
    let ms = Duration::from_millis;
    let limits = Limits { head_time: ms(80), idle_time: ms(80), body_grace: ms(80), ..Limits::default() };
    let router = hello().route("/upload", post(async |body: Bytes| format!("{}", body.len())));
    let server = Server::new(listener()).limits(limits).serve(router).unwrap();
    let mut silent = Raw::connect(server.addr()).await;
    let mut half = Raw::connect(server.addr()).await;
    half.send("GET / HT").await;
    let mut slow = Raw::connect(server.addr()).await;
    slow.send("POST /upload HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\n1").await;
    let mut idle = Raw::connect(server.addr()).await;
    idle.send(GET).await;
    assert_eq!(silent.rest().await, "");
    assert!(half.rest().await.starts_with("HTTP/1.1 408"));
    assert!(slow.rest().await.starts_with("HTTP/1.1 408"));
    assert!(idle.rest().await.ends_with("hello"));
    until("all ended", || server.connections() == 0).await;
    assert_eq!(server.counts().routes["/upload"].of(Outcome::Cut), 1);
}

#[tokio::test]
async fn at_the_limit_of_connections_further_clients_wait() {
    let limits = Limits { connections: 1, ..Limits::default() };
    let server = Server::new(listener()).limits(limits).serve(hello()).unwrap();
    let mut first = Raw::connect(server.addr()).await;
    first.send(GET).await;
    first.until("hello").await;
    let mut second = Raw::connect(server.addr()).await;
    second.send(GET).await;
    first.send(GET).await;
    first.until("hello").await;
    assert_eq!(server.connections(), 1);
    drop(first);
    second.until("hello").await;
}

#[tokio::test]
async fn dropping_a_server_is_a_hard_stop() {
    let server = serve(listener(), hello()).unwrap();
    let mut client = Raw::connect(server.addr()).await;
    client.send(GET).await;
    client.until("hello").await;
    let live = server.view();
    drop(server);
    assert_eq!(client.rest().await, "");
    until("all ended", || live.holding().is_empty()).await;
}

#[tokio::test]
async fn r4_1a_http2_requests_in_flight_finish_and_stuck_ones_are_cut_and_named() {
    let go_on = Arc::new(Notify::new());
    let waits = {
        let go_on = go_on.clone();
        async move || {
            go_on.notified().await;
            "done"
        }
    };
    let router =
        Router::new().route("/waits", get(waits)).route("/hangs", get(async || std::future::pending::<()>().await));
    let server = serve(listener(), router).unwrap();
    let stream = tokio::net::TcpStream::connect(server.addr()).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let connection = tokio::spawn(connection);
    let mut ask = |path: &str| {
        let uri = format!("http://t{path}");
        let request = axum::http::Request::builder().uri(uri).body(()).unwrap();
        sender.send_request(request, true).unwrap().0
    };
    let (finishes, stuck) = (ask("/waits"), ask("/hangs"));
    let live = server.view();
    until("both are at work", || live.counts().in_flight == 2).await;
    let drain = tokio::spawn(server.drain(limit(400)));
    live.reached(Phase::Closing).await;
    go_on.notify_one();
    let mut body = finishes.await.unwrap().into_body();
    assert_eq!(body.data().await.unwrap().unwrap(), "done");
    assert!(stuck.await.is_err());
    let report = drain.await.unwrap();
    assert_eq!(report.during.routes["/waits"].of(Outcome::Answered), 1);
    assert_eq!(report.during.routes["/hangs"].of(Outcome::Cut), 1);
    assert_eq!((report.cut[0].doing, &report.cut[0].routes[..]), (Doing::Handler, &["/hangs".to_owned()][..]));
    assert_eq!((report.cut_count, report.abandoned), (1, 0), "{report:?}");
    drop(sender);
    let _ = connection.await;
}

/// The invariant under a storm: clients that ask properly, malformed, over the limits, into panics, and that leave.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests_of_all_kinds_end_in_one_outcome_each_and_leave_nothing() {
    let router =
        hello().route("/panic", get(async || -> &'static str { std::panic::resume_unwind(Box::new("quiet")) }));
    let server = serve(listener(), router).unwrap();
    let addr = server.addr();
    let kinds: [(&str, bool); 5] = [
        ("GET / HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", true),
        ("GET /panic HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n", true),
        ("GET / HTTP/1.1\nHost: t\n\n", true),
        ("POST / HTTP/1.1\r\nHost: t\r\nContent-Length: 99999999999\r\n\r\n", true),
        ("GET / HTTP/1.1\r\nHo", false),
    ];
    let mut clients = tokio::task::JoinSet::new();
    for number in 0..8 {
        clients.spawn(async move {
            for round in 0..500 {
                let (bytes, answered) = kinds[(number + round) % kinds.len()];
                let mut client = Raw::connect(addr).await;
                client.send(bytes).await;
                if answered {
                    assert!(client.rest().await.starts_with("HTTP/1.1 "));
                }
            }
        });
    }
    while let Some(ended) = clients.join_next().await {
        ended.unwrap();
    }
    until("all ended", || server.connections() == 0).await;
    let total = server.counts().total();
    let by_kind = [Outcome::Answered, Outcome::Panicked, Outcome::Refused].map(|outcome| total.of(outcome));
    assert_eq!((by_kind, total.sum(), server.counts().in_flight), ([800, 800, 1_600], 3_200, 0));
    assert!(server.drain(quick()).await.is_clean());
}

/// A task that is slow to notice that it was woken.
struct Slow<F>(F, Option<std::pin::Pin<Box<tokio::time::Sleep>>>);

impl<F: Future<Output = ()> + Unpin> Future for Slow<F> {
    type Output = ();

    fn poll(mut self: std::pin::Pin<&mut Self>, cx: &mut std::task::Context<'_>) -> std::task::Poll<()> {
        let late = self.1.get_or_insert_with(|| Box::pin(tokio::time::sleep(Duration::from_millis(100))));
        std::task::ready!(late.as_mut().poll(cx));
        self.1 = None;
        std::pin::Pin::new(&mut self.0).poll(cx)
    }
}

/// The requests of an HTTP/2 connection are tasks of their own, which end a moment after it.
#[tokio::test]
async fn a_drain_waits_for_the_requests_of_a_connection_that_has_gone_r4_1a() {
    let spawned = Arc::new(std::sync::atomic::AtomicU64::new(0));
    // The accept loop, the watch, the connection; then its requests.
    let spawn = move |task| match spawned.fetch_add(1, Ordering::Relaxed) {
        0..3 => drop(tokio::spawn(task)),
        _ => drop(tokio::spawn(Slow(task, None))),
    };
    let router = Router::new().route("/", get(async || std::future::pending::<()>().await));
    let server = Server::new(listener()).spawn_on(spawn).serve(router).unwrap();
    let mut client = common::frames::Frames::open(server.addr()).await;
    client.get(1).await;
    let live = server.view();
    until("it is at work", || live.counts().in_flight == 1).await;
    let drain = tokio::spawn(server.drain(quick()));
    live.reached(Phase::Closing).await;
    drop(client);
    let report = drain.await.unwrap();
    assert_eq!((report.total.in_flight, report.during.of(Outcome::Aborted)), (0, 1), "{report:?}");
    assert!(report.is_clean(), "{report:?}");
}
