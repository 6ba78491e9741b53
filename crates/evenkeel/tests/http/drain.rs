//! What a stop does to each kind of connection, and what the receipt says of it.

use std::io::{Read as _, Write as _};

use evenkeel::{Draining, OnDrain, on_drain};

use super::*;

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: test\r\n\r\n";

fn hello(_: ()) -> Router {
    Router::new().route("/", get("hello"))
}

/// Less than the time for clients at rest to leave, with room for a busy machine.
fn is_at_once(receipt: &Receipt) -> bool {
    receipt.used_ms < Http::LINGER.as_secs_f64() * 1e3 * 0.8
}

#[tokio::test]
async fn r4_1b_requests_in_the_accept_queue_at_the_stop_are_answered() {
    let (mut running, addr) = serve(hello).await;
    // Nothing of this yields to the runtime: the kernel has the connections, and nobody has accepted them.
    let queued: Vec<_> = (0..20)
        .map(|_| {
            let mut client = std::net::TcpStream::connect(addr).expect("connects");
            client.write_all(GET).expect("sends");
            client
        })
        .collect();
    running.request_stop("test");
    let receipt = running.ended().await;
    for mut client in queued {
        let mut answer = String::new();
        client.read_to_string(&mut answer).expect("an end, and no reset");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("hello"), "{answer:?}");
    }
    clean(&receipt);
    assert_eq!((row(&receipt, "api").drained, row(&receipt, "api").aborted), (20, 0));
    assert!(is_at_once(&receipt), "their clients were told to leave, so nobody is waited for: {}", receipt.used_ms);
}

#[tokio::test]
async fn r4_1a_a_stop_lets_nobody_in_whom_a_pause_kept_out() {
    let (running, addr) = serve(hello).await;
    assert!(running.pause().await);
    let mut queued = Client::to(addr).await;
    queued.send("/").await;
    let receipt = running.stop("test").await;
    clean(&receipt);
    assert_eq!(queued.response().await, None);
    assert_eq!(row(&receipt, "api").drained, 0);
}

#[tokio::test]
async fn r4_1b_a_client_that_keeps_its_connection_is_told_to_leave_before_it_closes() {
    let (mut running, addr) = serve(hello).await;
    let mut client = Client::to(addr).await;
    assert_eq!(client.get("/").await, text(200, "hello"));
    running.request_stop("test");
    refused(addr).await;
    client.send("/").await;
    let answer = client.rest().await.to_ascii_lowercase();
    assert!(answer.starts_with("http/1.1 200") && answer.ends_with("hello"), "{answer:?}");
    assert!(answer.contains("connection: close\r\n"), "{answer:?}");
    let receipt = running.ended().await;
    clean(&receipt);
    assert_eq!((row(&receipt, "api").drained, &row(&receipt, "api").http), (1, &None));
}

#[tokio::test]
async fn r4_1a_connections_at_rest_delay_the_stop_by_the_linger_and_no_more() {
    let (running, addr) = serve(hello).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(Client::to(addr).await); // silent
        let mut idle = Client::to(addr).await;
        assert_eq!(idle.get("/").await, text(200, "hello"));
        clients.push(idle);
    }
    let watching = tokio::spawn(async move {
        for client in clients {
            client.closed().await;
        }
    });
    let receipt = running.stop("test").await;
    watching.await.expect("all are closed");
    clean(&receipt);
    let linger = Http::LINGER.as_secs_f64() * 1e3;
    // The aim is 50 ms; a machine that is busy with other tests is given more.
    assert!((linger - 1.0..linger + 500.0).contains(&receipt.used_ms), "{}", receipt.used_ms);
    let row = row(&receipt, "api");
    assert_eq!((row.drained, row.aborted, &row.http), (0, 0, &None));
}

#[tokio::test]
async fn r4_1a_a_stop_without_connections_does_not_linger() {
    let (running, addr) = serve(hello).await;
    let mut client = Client::to(addr).await;
    assert_eq!(client.get("/").await, text(200, "hello"));
    drop(client);
    let receipt = running.stop("test").await;
    clean(&receipt);
    assert!(is_at_once(&receipt), "{}", receipt.used_ms);
}

/// One HTTP/2 frame: its kind, its flags, its stream, its payload.
type Frame2 = (u8, u8, u32, Vec<u8>);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;

/// A client that sees the frames themselves.
struct Frames(TcpStream);

impl Frames {
    async fn to(addr: SocketAddr) -> Self {
        let mut client = Self(TcpStream::connect(addr).await.expect("connects"));
        client.0.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await.expect("sends");
        client.send(SETTINGS, 0, 0, &[]).await;
        client
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
        let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
        let head = [&length[1..], &[kind, flags], &stream.to_be_bytes()].concat();
        self.0.write_all(&[&head, payload].concat()).await.expect("sends");
    }

    async fn next(&mut self) -> Option<Frame2> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head).await.ok()?;
        let [a, b, c, kind, flags, rest @ ..] = head;
        let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
        self.0.read_exact(&mut payload).await.ok()?;
        Some((kind, flags, u32::from_be_bytes(rest), payload))
    }

    /// The next frame of this kind; others are passed over.
    async fn until(&mut self, kind: u8) -> Frame2 {
        let found = async {
            loop {
                let frame = self.next().await.expect("the connection is open");
                if frame.0 == kind {
                    return frame;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("it comes")
    }

    /// The last stream that the next GOAWAY names.
    async fn goaway(&mut self) -> u32 {
        let (_, _, _, payload) = self.until(GOAWAY).await;
        u32::from_be_bytes(*payload.first_chunk().expect("a stream"))
    }
}

#[tokio::test]
async fn r4_1b_an_http2_client_is_told_to_leave_in_two_steps_and_served_between_them() {
    let (mut running, addr) = serve(hello).await;
    let mut client = Frames::to(addr).await;
    client.until(SETTINGS).await;
    running.request_stop("test");
    assert_eq!(client.goaway().await, u32::MAX >> 1, "the first takes no request away");
    let (_, _, _, ping) = client.until(PING).await;
    client.send(PING, 1, 0, &ping).await;
    // `GET /` of host `t`, by the static table.
    client.send(HEADERS, 5, 1, b"\x82\x86\x84\x41\x01t").await;
    assert_eq!(client.until(DATA).await.3, b"hello");
    assert_eq!(client.goaway().await, 1, "the second names the last request that was answered");
    while client.next().await.is_some() {}
    let receipt = running.ended().await;
    clean(&receipt);
    assert_eq!((row(&receipt, "api").drained, &row(&receipt, "api").http), (1, &None));
}

#[tokio::test]
async fn r4_1a_a_stuck_connection_is_cut_at_its_deadline_and_named_in_the_receipt() {
    let (begun, mut beginnings) = mpsc::unbounded_channel();
    let hang = async move || {
        begun.send(()).expect("the test listens");
        pending::<()>().await;
    };
    let app = App::new("test");
    let api = app
        .http("api", (), ANY, |()| hello(()).route("/hang/{id}", get(hang)))
        .stop_within(Duration::from_millis(1500));
    let (running, addr) = start(app, &api).await;
    let mut stuck = Client::to(addr).await;
    stuck.send("/hang/7").await;
    beginnings.recv().await.expect("the request is in flight");
    let peer = stuck.stream.local_addr().expect("connected").to_string();
    let mut idle = Client::to(addr).await;
    assert_eq!(idle.get("/").await, text(200, "hello"));

    let receipt = running.stop("test").await;
    stuck.closed().await;
    idle.closed().await;
    let row = row(&receipt, "api");
    assert!((1300.0..2000.0).contains(&receipt.used_ms), "{}", receipt.used_ms);
    assert_eq!((receipt.exit_code, receipt.culprits.as_slice()), (12, ["api".to_owned()].as_slice()));
    assert_eq!((row.drained, row.aborted, row.leaked_tasks), (0, 1, 0), "{}", receipt.to_json());
    assert_eq!((row.state.as_str(), row.doing.as_deref()), ("failed", None), "the engine did not have to cut it");
    let lost = row.http.as_ref().expect("what was lost");
    assert_eq!((lost.by_route[0].route.as_str(), lost.by_route[0].cut, lost.by_route.len()), ("/hang/{id}", 1, 1));
    assert_eq!((lost.cut_connections, lost.cut.len()), (1, 1), "connections at rest are not among them: {lost:?}");
    let cut = &lost.cut[0];
    assert_eq!(
        (&cut.peer, cut.doing.as_str(), cut.routes.as_slice()),
        (&peer, "handler at work", &["/hang/{id}".to_owned()][..])
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn r4_1a_a_handler_that_holds_its_thread_is_cut_by_the_engine_and_named_all_the_same() {
    let (begun, mut beginnings) = mpsc::unbounded_channel();
    let (let_go, gone) = std::sync::mpsc::channel::<()>();
    let gone = Arc::new(std::sync::Mutex::new(gone));
    let hold = async move || {
        begun.send(()).expect("the test listens");
        let _ = gone.lock().expect("whole").recv(); // without yielding
    };
    let app = App::new("test").budget(Duration::from_secs(2));
    let api =
        app.http("api", (), ANY, |()| Router::new().route("/hold", get(hold))).stop_within(Duration::from_millis(200));
    let (running, addr) = start(app, &api).await;
    let mut client = Client::to(addr).await;
    client.send("/hold").await;
    beginnings.recv().await.expect("the request is in flight");
    let receipt = running.stop("test").await;
    drop(let_go);
    let row = row(&receipt, "api");
    assert_eq!((row.state.as_str(), row.drained, row.aborted), ("abandoned", 0, 1), "{}", receipt.to_json());
    let lost = row.http.as_ref().expect("what was lost");
    assert_eq!(lost.cut[0].routes, ["/hold"], "{lost:?}");
}

#[tokio::test]
async fn r4_1a_handlers_may_learn_of_the_stop_and_routes_may_choose_to_be_cut() {
    let (begun, mut beginnings) = mpsc::unbounded_channel();
    let says = begun.clone();
    let told = async move |draining: Draining| {
        begun.send(()).expect("the test listens");
        draining.requested().await;
        "told"
    };
    let cut = async move || {
        says.send(()).expect("the test listens");
        pending::<()>().await;
    };
    let (running, addr) =
        serve(|()| Router::new().route("/told", get(told)).route("/cut", get(cut).layer(on_drain(OnDrain::Cut)))).await;
    let (mut told, mut cut) = (Client::to(addr).await, Client::to(addr).await);
    told.send("/told").await;
    cut.send("/cut").await;
    for _ in 0..2 {
        beginnings.recv().await.expect("the requests are in flight");
    }
    let receipt = running.stop("test").await;
    assert_eq!(told.response().await, text(200, "told"));
    assert_eq!(cut.response().await, text(503, ""));
    clean(&receipt);
    let row = row(&receipt, "api");
    assert_eq!((row.drained, row.aborted), (1, 1), "{}", receipt.to_json());
    let lost = row.http.as_ref().expect("cut is cut, also by choice");
    assert_eq!((lost.by_route[0].route.as_str(), lost.by_route[0].cut), ("/cut", 1));
}
