//! `App::http`, from outside: real sockets, and what a client sees of a start, a pause and a stop.

#![cfg(feature = "http")]

#[path = "http/drain.rs"]
mod drain;
#[path = "http/restarts.rs"]
mod restarts;

use std::{
    future::pending,
    io,
    net::SocketAddr,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes, HttpBody},
    routing::get,
};
use evenkeel::{App, Handle, Http, HttpLimits, Lease, Ready, Receipt, Result, Row, Running, StartError};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::{mpsc, oneshot, watch},
};

const ANY: &str = "127.0.0.1:0";
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection of a client that speaks just enough HTTP/1.1.
struct Client {
    stream: TcpStream,
}

impl Client {
    async fn connect(addr: SocketAddr) -> io::Result<Self> {
        Ok(Self { stream: TcpStream::connect(addr).await? })
    }

    async fn to(addr: SocketAddr) -> Self {
        Self::connect(addr).await.expect("connects")
    }

    async fn send(&mut self, path: &str) {
        let head = format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n");
        self.stream.write_all(head.as_bytes()).await.expect("sends");
    }

    /// Status and body of the next response; `None` if the connection ends instead.
    async fn response(&mut self) -> Option<(u16, String)> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(self.stream.read_u8().await.ok()?);
        }
        let head = String::from_utf8(head).expect("text").to_ascii_lowercase();
        let status = head.split(' ').nth(1)?.parse().expect("a status");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(0, |length| length.parse().expect("a number"))];
        self.stream.read_exact(&mut body).await.ok()?;
        Some((status, String::from_utf8(body).expect("text")))
    }

    async fn get(&mut self, path: &str) -> Option<(u16, String)> {
        self.send(path).await;
        self.response().await
    }

    /// Everything until the server closes the connection, by its end or by a reset.
    async fn rest(mut self) -> String {
        let mut rest = Vec::new();
        let end = tokio::time::timeout(PATIENCE, self.stream.read_to_end(&mut rest)).await;
        let _ = end.expect("the server closes the connection");
        String::from_utf8_lossy(&rest).into_owned()
    }

    /// Waits until the server has closed the connection.
    async fn closed(self) {
        assert_eq!(self.rest().await, "", "nothing more is sent");
    }
}

fn text(status: u16, body: &str) -> Option<(u16, String)> {
    Some((status, body.to_owned()))
}

fn row<'a>(receipt: &'a Receipt, name: &str) -> &'a Row {
    receipt.components.iter().find(|row| row.name == name).expect("a row for each component")
}

fn clean(receipt: &Receipt) {
    assert_eq!((receipt.exit_code, receipt.outcome.as_str()), (0, "clean"), "{}", receipt.to_json());
}

async fn serve(routes: impl FnOnce(()) -> Router + Clone + Send + 'static) -> (Running, SocketAddr) {
    let app = App::new("test");
    let api = app.http("api", (), ANY, routes);
    start(app, &api).await
}

async fn start(app: App, api: &Handle<Http>) -> (Running, SocketAddr) {
    let running = app.start().await.expect("starts");
    let addr = running.get(api).expect("it is up").addr();
    (running, addr)
}

/// Waits until nothing listens at `addr`.
async fn refused(addr: SocketAddr) {
    let until_refused = async { while Client::connect(addr).await.is_ok() {} };
    tokio::time::timeout(PATIENCE, until_refused).await.expect("the listener closes");
}

/// A handler that says that it has begun, and ends when it is let go.
#[derive(Clone)]
struct Held {
    begun: mpsc::UnboundedSender<()>,
    let_go: watch::Sender<bool>,
}

impl Held {
    fn new() -> (Self, mpsc::UnboundedReceiver<()>) {
        let (begun, beginnings) = mpsc::unbounded_channel();
        (Self { begun, let_go: watch::Sender::new(false) }, beginnings)
    }

    fn routes(self) -> Router {
        let slow = async move || {
            self.begun.send(()).expect("the test listens");
            self.let_go.subscribe().wait_for(|gone| *gone).await.expect("its sender is here");
            "done"
        };
        Router::new().route("/slow", get(slow)).route("/", get("hello"))
    }
}

struct Pool;

impl Pool {
    async fn count(&self) -> String {
        "3".to_owned()
    }
}

#[tokio::test]
async fn the_front_door_serves_r4_1a() {
    let app = App::new("orders");
    let db = app.resource("db", (), async |()| Ok(Pool), async |_| Ok(()));
    let jobs = app.worker("jobs", &db, async |_db, stop| {
        stop.requested().await;
        Ok(())
    });
    let api = app.http("api", (&db, &jobs), "127.0.0.1:0", |(db, _)| {
        Router::new().route("/orders", get(async move || db.count().await))
    });
    let (running, addr) = start(app, &api).await;
    assert_eq!(Client::to(addr).await.get("/orders").await, text(200, "3"));
    let url = running.get(&api).expect("it is up").url();
    assert_eq!(url, format!("http://{addr}"));
    let status = running.status().await.expect("it runs");
    let listed = status.component("api").expect("listed");
    assert_eq!((listed.kind.as_str(), listed.note.as_deref()), ("http", Some(url.as_str())));
    clean(&running.stop("test").await);
}

#[tokio::test]
async fn an_address_comes_in_every_form_r4_1a() {
    let app = App::new("test");
    let addr: SocketAddr = ANY.parse().expect("an address");
    let forms = [
        app.http("text", (), ANY, |()| Router::new()),
        app.http("string", (), ANY.to_owned(), |()| Router::new()),
        app.http("address", (), addr, |()| Router::new()),
        app.http("name", (), "localhost:0", |()| Router::new()),
    ];
    let _once = app.once().http("once", (), ANY, |()| Router::new());
    let running = app.start().await.expect("starts");
    for form in &forms {
        assert!(running.get(form).expect("it is up").addr().ip().is_loopback());
    }
    clean(&running.stop("test").await);
}

type Ask = (u32, oneshot::Sender<u32>);

/// Doubles numbers, each one only when `allowed` says so.
async fn double(mut allowed: watch::Receiver<bool>, ready: Ready<mpsc::Sender<Ask>>, stop: evenkeel::Stop) -> Result {
    let (ask, mut asked) = mpsc::channel::<Ask>(8);
    ready.with(ask);
    while let Some(Some((n, answer))) = stop.or(asked.recv()).await {
        allowed.wait_for(|allowed| *allowed).await?;
        answer.send(2 * n).expect("the handler waits for it");
    }
    Ok(())
}

#[tokio::test]
async fn a_request_in_flight_completes_and_the_worker_it_needs_stops_only_after_it_r4_1a_r2_4a() {
    let (allow, allowed) = watch::channel(false);
    let (begun, mut beginnings) = mpsc::unbounded_channel();
    let app = App::new("test");
    let worker = app.late_worker("worker", (), move |(), ready, stop| double(allowed, ready, stop));
    let api = app.http("api", &worker, ANY, move |worker: Lease<mpsc::Sender<Ask>>| {
        let double = async move || {
            begun.send(()).expect("the test listens");
            let (answer, answered) = oneshot::channel();
            worker.send((21, answer)).await.expect("the worker is there");
            answered.await.expect("the worker answers").to_string()
        };
        Router::new().route("/double", get(double))
    });
    let (mut running, addr) = start(app, &api).await;
    let mut client = Client::to(addr).await;
    client.send("/double").await;
    beginnings.recv().await.expect("the request is in flight");

    running.request_stop("test");
    refused(addr).await;
    allow.send_replace(true);
    assert_eq!(client.response().await, text(200, "42"));
    let receipt = running.ended().await;

    clean(&receipt);
    let (api, worker) = (row(&receipt, "api"), row(&receipt, "worker"));
    assert!(worker.stop_ms >= api.end_ms && api.end_ms.is_some(), "{}", receipt.to_json());
    assert_eq!((api.drained, api.aborted), (1, 0), "requests count, and nothing else");
    client.closed().await;
}

#[tokio::test]
async fn half_of_the_first_head_is_waited_for_but_not_for_long_r4_1a() {
    let (mut running, addr) = serve(|()| Router::new().route("/", get("hello"))).await;
    let (mut slow, mut never) = (Client::to(addr).await, Client::to(addr).await);
    for client in [&mut slow, &mut never] {
        client.stream.write_all(b"GET / HTTP/1.1\r\nho").await.expect("sends");
    }
    // Served after the others were read: the runtime keeps their order.
    assert_eq!(Client::to(addr).await.get("/").await, text(200, "hello"));
    running.request_stop("test");
    refused(addr).await;
    slow.stream.write_all(b"st: test\r\n\r\n").await.expect("sends");
    assert_eq!(slow.response().await, text(200, "hello"));
    let receipt = running.ended().await;
    clean(&receipt);
    assert!(receipt.used_ms < 5000.0, "{}", receipt.used_ms);
    assert!(never.rest().await.starts_with("HTTP/1.1 408"), "its client is told");
    let lost = row(&receipt, "api").http.as_ref().expect("and it is named");
    assert_eq!((lost.cut[0].doing.as_str(), lost.by_route.len()), ("partial head", 0), "{lost:?}");
}

/// The client reads nothing until long after its request counts as answered.
#[tokio::test]
async fn what_a_slow_client_has_not_read_yet_is_not_lost_r4_1a() {
    // More than the kernel takes, and in one piece: the handler is done with it at once.
    const LENGTH: usize = 16 << 20;
    let (mut running, addr) = serve(|()| Router::new().route("/big", get(async || vec![b'x'; LENGTH]))).await;
    let mut client = Client::to(addr).await;
    client.send("/big").await;
    client.stream.readable().await.expect("it comes");
    running.request_stop("test");
    refused(addr).await;
    tokio::time::sleep(3 * Http::HALF_HEAD).await;
    let mut bytes = Vec::new();
    client.stream.read_to_end(&mut bytes).await.expect("its end");
    assert!(bytes.len() > LENGTH, "{} bytes of {LENGTH}", bytes.len());
    clean(&running.ended().await);
}

#[tokio::test]
async fn a_paused_service_accepts_nothing_and_serves_the_connections_it_has_r4_1a() {
    let (running, addr) = serve(|()| Router::new().route("/", get("hello"))).await;
    let mut old = Client::to(addr).await;
    assert_eq!(old.get("/").await, text(200, "hello"));
    assert!(running.pause().await);
    let mut new = Client::to(addr).await; // by the kernel, into the queue
    new.send("/").await;
    assert_eq!(old.get("/").await, text(200, "hello"));
    let unanswered = tokio::time::timeout(Duration::from_millis(50), new.stream.readable()).await;
    assert!(unanswered.is_err(), "the new connection is not served while paused");
    assert!(running.resume().await);
    assert_eq!(new.response().await, text(200, "hello"));
    clean(&running.stop("test").await);
}

#[tokio::test]
async fn connections_wait_until_the_whole_service_runs_r4_1a() {
    let app = App::new("test");
    let (open, opened) = watch::channel(false);
    let api = app.http("api", (), ANY, |()| Router::new().route("/", get("hello")));
    let (bound, addr) = oneshot::channel();
    let late = app.once().resource(
        "late",
        &api,
        async move |api: Lease<Http>| {
            bound.send(api.addr()).expect("the test listens");
            let mut opened = opened;
            opened.wait_for(|open| *open).await?;
            Ok(())
        },
        async |()| Ok(()),
    );
    let _: Handle<(), _> = late;
    let starting = tokio::spawn(app.start());
    let mut client = Client::to(addr.await.expect("it is bound early")).await;
    client.send("/").await;
    let unanswered = tokio::time::timeout(Duration::from_millis(50), client.stream.readable()).await;
    assert!(unanswered.is_err(), "nothing is served before the service runs");
    open.send_replace(true);
    let running = starting.await.expect("no panic").expect("starts");
    assert_eq!(client.response().await, text(200, "hello"));
    clean(&running.stop("test").await);
}

/// One HTTP/2 request on a connection of its own.
async fn http2(addr: SocketAddr, path: &str) -> Result<(u16, String), h2::Error> {
    let stream = TcpStream::connect(addr).await.expect("connects");
    let (client, connection) = h2::client::handshake(stream).await?;
    let connection = tokio::spawn(connection);
    let request = axum::http::Request::get(format!("http://{addr}{path}")).body(()).expect("a request");
    let (response, _) = client.ready().await?.send_request(request, true)?;
    let response = response.await?;
    let (status, mut body) = (response.status().as_u16(), response.into_body());
    let mut bytes = Vec::new();
    while let Some(chunk) = body.data().await {
        bytes.extend_from_slice(&chunk?);
    }
    drop(connection); // it goes on by itself until the server ends it
    Ok((status, String::from_utf8(bytes).expect("text")))
}

#[tokio::test]
async fn http2_is_served_on_the_same_port_r4_1a() {
    let (held, mut beginnings) = Held::new();
    let let_go = held.let_go.clone();
    let (mut running, addr) = serve(move |()| held.routes()).await;
    assert_eq!(http2(addr, "/").await.expect("served"), (200, "hello".to_owned()));
    let slow = tokio::spawn(http2(addr, "/slow"));
    beginnings.recv().await.expect("the request is in flight");
    running.request_stop("test");
    refused(addr).await;
    let_go.send_replace(true);
    assert_eq!(slow.await.expect("no panic").expect("served"), (200, "done".to_owned()));
    let receipt = running.ended().await;
    clean(&receipt);
    assert_eq!((row(&receipt, "api").drained, row(&receipt, "api").aborted), (1, 0));
}

#[tokio::test]
async fn a_port_in_use_fails_the_start_with_a_hint_r4_1a() {
    let taken = std::net::TcpListener::bind(ANY).expect("binds");
    let addr = taken.local_addr().expect("bound");
    let app = App::new("test");
    let _api = app.http("api", (), addr, |()| Router::new());
    let Err(StartError::Failed(receipt)) = app.start().await else { panic!("it starts on a port in use") };
    assert_eq!(receipt.cause, "`api` could not start");
    assert_eq!(receipt.root_cause[0], format!("cannot listen on {addr}"));
    assert!(receipt.hint.as_deref().expect("a hint").contains("another process listens there"));
}

#[tokio::test]
async fn text_that_is_no_address_is_refused_before_the_start_r4_1a() {
    let wrong =
        ["", ":80", "8080", "localhost", "127.0.0.1:99999", "127.0.0.1:http", "256.0.0.1:80", "::1:80", "a b:80"];
    let app = App::new("test");
    for (i, addr) in wrong.into_iter().enumerate() {
        let _ = app.http(format!("api{i}"), (), addr, |()| panic!("nothing is called before the check"));
    }
    let Err(StartError::Refused(problems)) = app.start().await else { panic!("it starts on wrong addresses") };
    assert_eq!(problems.len(), wrong.len(), "{problems:?}");
    for (problem, addr) in problems.iter().zip(wrong) {
        assert!(problem.text.contains(&format!("`{addr}` is not an address")), "{problem}");
        assert!(problem.text.contains("tests/http.rs:"), "{problem}");
    }
    assert_eq!(problems[4].hint, "a port is a number from 0 to 65535");
}

#[tokio::test]
async fn routes_that_panic_fail_the_start_r4_1a() {
    let app = App::new("test");
    let _api = app.http("api", (), ANY, |()| Router::new().route("no slash", get("")));
    let Err(StartError::Failed(receipt)) = app.start().await else { panic!("it starts without routes") };
    assert!(receipt.root_cause[0].starts_with("panicked: "), "{:?}", receipt.root_cause);
}

async fn wrong() -> &'static str {
    panic!("a bug in a handler")
}

#[tokio::test]
async fn a_handler_that_panics_answers_500_and_the_service_lives_r4_1a() {
    let (running, addr) = serve(|()| Router::new().route("/", get("hello")).route("/wrong", get(wrong))).await;
    let mut client = Client::to(addr).await;
    assert_eq!(client.get("/wrong").await, text(500, ""));
    assert_eq!(client.get("/").await, text(200, "hello"), "even its connection lives");
    assert_eq!(http2(addr, "/wrong").await.expect("served").0, 500);
    clean(&running.stop("test").await);
}

/// A body of chunks that the test sends; a chunk `panic` panics.
struct Chunks(mpsc::Receiver<&'static str>);

impl HttpBody for Chunks {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame>>> {
        self.0.poll_recv(cx).map(|chunk| {
            assert_ne!(chunk, Some("panic"), "a bug in a body");
            chunk.map(|chunk| Ok(Frame::data(Bytes::from(chunk))))
        })
    }
}

type Frame = hyper::body::Frame<Bytes>;

/// A server of one streamed response, and the sender of its chunks.
async fn streaming() -> (Running, SocketAddr, mpsc::Sender<&'static str>) {
    let (chunks, body) = mpsc::channel(1);
    let body = Arc::new(std::sync::Mutex::new(Some(body)));
    let stream = async move || Body::new(Chunks(body.lock().expect("whole").take().expect("asked once")));
    let (running, addr) = serve(move |()| Router::new().route("/", get("hello")).route("/stream", get(stream))).await;
    (running, addr, chunks)
}

#[tokio::test]
async fn a_request_is_in_flight_until_its_body_is_sent_r4_1a() {
    let (mut running, addr, chunks) = streaming().await;
    let mut client = Client::to(addr).await;
    client.send("/stream").await;
    chunks.send("first").await.expect("it streams");
    client.response().await.expect("its head has come");
    running.request_stop("test");
    refused(addr).await;
    chunks.send("last").await.expect("it still streams");
    drop(chunks);
    let mut rest = String::new();
    client.stream.read_to_string(&mut rest).await.expect("its end");
    assert!(rest.contains("first") && rest.contains("last") && rest.ends_with("0\r\n\r\n"), "{rest:?}");
    let receipt = running.ended().await;
    clean(&receipt);
    assert_eq!((row(&receipt, "api").drained, row(&receipt, "api").aborted), (1, 0));
}

#[tokio::test]
async fn a_body_that_panics_ends_its_connection_alone_r4_1a() {
    let (running, addr, chunks) = streaming().await;
    let mut client = Client::to(addr).await;
    client.send("/stream").await;
    client.response().await.expect("its head has come");
    chunks.send("panic").await.expect("it streams");
    client.closed().await;
    assert_eq!(Client::to(addr).await.get("/").await, text(200, "hello"));
    clean(&running.stop("test").await);
}

#[tokio::test]
async fn a_request_that_hangs_is_cut_at_the_limit_and_named_r4_1a() {
    let (begun, mut beginnings) = mpsc::unbounded_channel();
    let app = App::new("test").budget(Duration::from_secs(10));
    let hang = async move || {
        begun.send(()).expect("the test listens");
        pending::<()>().await;
    };
    let api =
        app.http("api", (), ANY, |()| Router::new().route("/hang", get(hang))).stop_within(Duration::from_millis(200));
    let (running, addr) = start(app, &api).await;
    let mut client = Client::to(addr).await;
    client.send("/hang").await;
    let other = tokio::spawn(http2(addr, "/hang"));
    for _ in 0..2 {
        beginnings.recv().await.expect("the request is in flight");
    }
    let receipt = running.stop("test").await;
    let api = row(&receipt, "api");
    assert_eq!((receipt.exit_code, receipt.culprits.as_slice()), (12, ["api".to_owned()].as_slice()));
    assert_eq!((api.drained, api.aborted, api.leaked_tasks), (0, 2, 0), "{}", receipt.to_json());
    assert!(api.error.as_deref().expect("an error").contains("did not end in time"), "{:?}", api.error);
    assert!(receipt.used_ms < 5000.0, "{}", receipt.used_ms);
    assert_eq!(client.response().await, None, "its connection is closed");
    other.await.expect("no panic").expect_err("its connection is closed");
}

#[tokio::test]
async fn what_holds_a_drain_can_be_looked_at_while_it_does_r4_1a() {
    let (mut running, addr, chunks) = streaming().await;
    let mut client = Client::to(addr).await;
    client.send("/stream").await;
    chunks.send("first").await.expect("it streams");
    client.response().await.expect("its head has come");
    let before = running.status().await.expect("it runs");
    assert_eq!(before.component("api").expect("declared").holding, None);
    running.request_stop("test");
    refused(addr).await;
    let status = running.status().await.expect("it is stopping");
    let holding = status.component("api").expect("declared").holding.clone().expect("it is held");
    assert_eq!(holding.connection_count, 1);
    let held = &holding.connections[0];
    assert_eq!((held.routes.as_slice(), held.doing.as_str()), (["/stream".to_owned()].as_slice(), "streaming"));
    assert!(holding.left_ms > 0 && held.bytes_in > 0, "{holding:?}");
    drop(chunks);
    clean(&running.ended().await);
}

#[tokio::test]
async fn limits_and_linger_can_be_set_r4_1a() {
    let app = App::new("test");
    let limits = HttpLimits { uri_bytes: 16, ..HttpLimits::default() };
    let api = app.http("api", (), ANY, |()| Router::new().route("/", get("hello")));
    let api = api.limits(limits).linger(Duration::ZERO);
    let (running, addr) = start(app, &api).await;
    let mut client = Client::to(addr).await;
    assert_eq!(client.get("/").await, text(200, "hello"));
    assert_eq!(Client::to(addr).await.get("/a-path-that-is-too-long").await.map(|(status, _)| status), Some(414));
    // A connection at rest does not hold the stop any more.
    let receipt = running.stop("test").await;
    clean(&receipt);
    assert!(receipt.used_ms < Http::LINGER.as_secs_f64() * 1e3, "{}", receipt.used_ms);
}

#[tokio::test]
async fn limits_that_let_nobody_in_are_refused_before_the_start() {
    let app = App::new("test");
    let limits = HttpLimits { connections: 0, ..HttpLimits::default() };
    let _ = app.http("api", (), ANY, |()| Router::new()).limits(limits);
    let Err(StartError::Refused(problems)) = app.start().await else { panic!("it is refused") };
    assert!(problems[0].text.contains("a count of 0 lets nobody in"), "{problems:?}");
}

#[tokio::test]
async fn a_handler_is_dropped_when_its_client_goes_away_r4_1a() {
    struct Dropped(mpsc::UnboundedSender<()>);
    impl Drop for Dropped {
        fn drop(&mut self) {
            let _ = self.0.send(());
        }
    }
    let (begun, mut beginnings) = mpsc::unbounded_channel();
    let (gone, mut ends) = mpsc::unbounded_channel();
    let hang = async move || {
        let _dropped = Dropped(gone);
        begun.send(()).expect("the test listens");
        pending::<()>().await;
    };
    let (running, addr) = serve(|()| Router::new().route("/hang", get(hang))).await;
    let mut client = Client::to(addr).await;
    client.send("/hang").await;
    beginnings.recv().await.expect("the request is in flight");
    drop(client);
    ends.recv().await.expect("the handler is dropped");
    clean(&running.stop("test").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_of_many_connections_complete_on_many_threads_r4_1a() {
    let (held, mut beginnings) = Held::new();
    let let_go = held.let_go.clone();
    let (mut running, addr) = serve(move |()| held.routes()).await;
    let clients: Vec<_> =
        (0..50).map(|_| tokio::spawn(async move { Client::to(addr).await.get("/slow").await })).collect();
    for _ in 0..50 {
        beginnings.recv().await.expect("the requests are in flight");
    }
    running.request_stop("test");
    refused(addr).await;
    let_go.send_replace(true);
    for client in clients {
        assert_eq!(client.await.expect("no panic"), text(200, "done"));
    }
    let receipt = running.ended().await;
    clean(&receipt);
    assert_eq!((row(&receipt, "api").drained, row(&receipt, "api").aborted), (50, 0));
}
