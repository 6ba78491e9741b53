//! The loss tester: what clients lose while a server restarts.
//!
//! A request is *lost* if it is refused or reset at connect, or if the connection closes before the first byte of the
//! answer after the request's bytes were sent. A client that sees a close before it sends reconnects and loses nothing.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    New,
    KeepAlive,
    Http2,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verb {
    Get,
    Post,
}

#[derive(Default)]
pub(crate) struct Losses {
    pub(crate) answered: AtomicU64,
    pub(crate) longest_ms: AtomicU64,
    by_reason: Mutex<BTreeMap<String, u64>>,
}

impl Losses {
    fn lost(&self, reason: impl Into<String>) {
        *self.by_reason.lock().unwrap().entry(reason.into()).or_default() += 1;
    }

    fn answered(&self, began: Instant) {
        self.answered.fetch_add(1, Ordering::Relaxed);
        let took = u64::try_from(began.elapsed().as_millis()).unwrap();
        self.longest_ms.fetch_max(took, Ordering::Relaxed);
    }

    pub(crate) fn count(&self) -> u64 {
        self.by_reason.lock().unwrap().values().sum()
    }

    pub(crate) fn reasons(&self) -> BTreeMap<String, u64> {
        self.by_reason.lock().unwrap().clone()
    }
}

/// Clients at work. They go on until they are told to stop.
pub(crate) struct Load {
    pub(crate) losses: Arc<Losses>,
    stop: Arc<AtomicBool>,
    clients: JoinSet<()>,
}

impl Load {
    pub(crate) fn start(addr: SocketAddr, kind: Kind, clients: u8) -> Self {
        let (losses, stop) = (Arc::<Losses>::default(), Arc::<AtomicBool>::default());
        let mut set = JoinSet::new();
        for number in 0..clients {
            // Every other client posts.
            let verb = if number % 2 == 0 { Verb::Get } else { Verb::Post };
            let client = Client { addr, verb, losses: losses.clone(), stop: stop.clone(), number };
            match kind {
                Kind::New => set.spawn(client.anew()),
                Kind::KeepAlive => set.spawn(client.keep_alive()),
                Kind::Http2 => set.spawn(client.http2()),
            };
        }
        Self { losses, stop, clients: set }
    }

    /// Waits until so many more requests were answered.
    pub(crate) async fn more(&self, requests: u64) {
        let goal = self.losses.answered.load(Ordering::Relaxed) + requests;
        super::until("load", || self.losses.answered.load(Ordering::Relaxed) >= goal).await;
    }

    pub(crate) async fn end(mut self) -> Arc<Losses> {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.unwrap();
        }
        self.losses
    }
}

#[derive(Clone)]
struct Client {
    addr: SocketAddr,
    verb: Verb,
    losses: Arc<Losses>,
    stop: Arc<AtomicBool>,
    number: u8,
}

impl Client {
    fn request(&self, close: bool) -> &'static [u8] {
        match (self.verb, close) {
            (Verb::Get, true) => b"GET /work HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
            (Verb::Get, false) => b"GET /work HTTP/1.1\r\nHost: t\r\n\r\n",
            (Verb::Post, true) => {
                b"POST /work HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello"
            }
            (Verb::Post, false) => b"POST /work HTTP/1.1\r\nHost: t\r\nContent-Length: 5\r\n\r\nhello",
        }
    }

    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Each client has a source address of its own, so that ports in TIME-WAIT do not run out.
    async fn connect(&self) -> Option<TcpStream> {
        let connect = async {
            let socket = TcpSocket::new_v4()?;
            socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 1, self.number + 1)), 0))?;
            socket.connect(self.addr).await
        };
        match connect.await {
            Ok(stream) => {
                let _ = stream.set_nodelay(true);
                Some(stream)
            }
            Err(error) => {
                self.losses.lost(format!("connect: {:?}", error.kind()));
                tokio::time::sleep(Duration::from_millis(1)).await;
                None
            }
        }
    }

    async fn anew(self) {
        while !self.stopped() {
            let began = Instant::now();
            if let Some(mut stream) = self.connect().await {
                let _ = self.exchange(&mut stream, true, began).await;
            }
        }
    }

    async fn keep_alive(self) {
        let mut think = u64::from(self.number);
        while !self.stopped() {
            let Some(mut stream) = self.connect().await else { continue };
            while !self.stopped() && self.exchange(&mut stream, false, Instant::now()).await {
                // Up to 10 ms between two requests, the same for every run.
                think = think.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                tokio::time::sleep(Duration::from_micros((think >> 33) % 10_000)).await;
                // A close that is seen before sending costs nothing.
                let mut byte = [0];
                if stream.try_read(&mut byte).is_ok() {
                    break;
                }
            }
        }
    }

    /// One request. `false` if the connection is not to be used again.
    async fn exchange(&self, stream: &mut TcpStream, close: bool, began: Instant) -> bool {
        if let Err(error) = stream.write_all(self.request(close)).await {
            self.losses.lost(format!("write: {:?}", error.kind()));
            return false;
        }
        let (mut answer, mut read) = (Vec::new(), [0; 1024]);
        loop {
            match stream.read(&mut read).await {
                Ok(0) if answer.is_empty() => self.losses.lost("closed before the answer"),
                Err(error) if answer.is_empty() => self.losses.lost(format!("before the answer: {:?}", error.kind())),
                Ok(0) | Err(_) => self.losses.lost("closed within the answer"),
                Ok(count) => {
                    answer.extend_from_slice(&read[..count]);
                    // Every answer of the tester's servers ends so.
                    if !answer.ends_with(b"done") {
                        continue;
                    }
                    self.losses.answered(began);
                    let text = String::from_utf8_lossy(&answer).to_ascii_lowercase();
                    return !text.contains("connection: close");
                }
            }
            return false;
        }
    }

    /// Eight requests at a time on one connection.
    async fn http2(self) {
        while !self.stopped() {
            let Some(stream) = self.connect().await else { continue };
            let Ok((sender, connection)) = h2::client::handshake(stream).await else {
                // The preface may have been sent, but no request.
                continue;
            };
            let connection = tokio::spawn(connection);
            let mut requests = JoinSet::new();
            for _ in 0..8 {
                requests.spawn(self.clone().streams(sender.clone()));
            }
            while requests.join_next().await.is_some() {}
            drop(sender);
            let _ = connection.await;
        }
    }

    async fn streams(self, sender: h2::client::SendRequest<bytes::Bytes>) {
        while !self.stopped() {
            // An error here: the connection takes no more requests, and none was sent.
            let Ok(mut ready) = sender.clone().ready().await else { return };
            let method = if self.verb == Verb::Get { "GET" } else { "POST" };
            let request = axum::http::Request::builder().method(method).uri("http://t/work").body(()).unwrap();
            let began = Instant::now();
            let Ok((answer, mut body)) = ready.send_request(request, self.verb == Verb::Get) else { return };
            if self.verb == Verb::Post {
                // Whether it was sent is told by the answer.
                let _ = body.send_data("hello".into(), true);
            }
            match answer.await {
                Ok(response) => {
                    let mut body = response.into_body();
                    while let Some(Ok(data)) = body.data().await {
                        let _ = body.flow_control().release_capacity(data.len());
                    }
                    self.losses.answered(began);
                }
                Err(error) => {
                    self.losses.lost(format!("http2: {error}"));
                    return;
                }
            }
            tokio::task::yield_now().await;
        }
    }
}
