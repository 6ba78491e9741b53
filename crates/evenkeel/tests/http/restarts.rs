//! R4.1b: nothing that a client sent is lost over restarts, whatever kind of client.
//!
//! Each restart is a rolling one: a new app starts on a port of its own, clients are pointed to it, the old one stops
//! under load. A connection counts from the moment the kernel has it, so those in the queue of the old one count too.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::{sync::RwLock, task::JoinSet};

use super::*;

const RESTARTS: usize = 10;
const CLIENTS_OF_A_KIND: usize = 8;

#[derive(Default)]
struct World {
    /// Where the service is now. Held by a client while it connects, so that nobody connects to where it was.
    addr: RwLock<Option<SocketAddr>>,
    done: AtomicBool,
    answered: AtomicU64,
    lost: Mutex<BTreeMap<String, u64>>,
}

impl World {
    async fn connect(&self) -> Option<Client> {
        let addr = self.addr.read().await;
        match Client::connect(addr.expect("it has started")).await {
            Ok(client) => Some(client),
            Err(error) => {
                self.lose(format!("connect: {error}"));
                None
            }
        }
    }

    fn lose(&self, how: String) {
        *self.lost.lock().expect("whole").entry(how).or_default() += 1;
    }

    fn is_done(&self) -> bool {
        self.done.load(Ordering::Relaxed)
    }

    /// One request; `None` if the connection is not to be used again.
    async fn request(&self, client: &mut Client, fields: &str) -> Option<()> {
        let head = format!("GET /work HTTP/1.1\r\nhost: test\r\n{fields}\r\n");
        let mut answer = Vec::new();
        let exchange = async {
            client.stream.write_all(head.as_bytes()).await?;
            while !answer.ends_with(b"done") {
                if client.stream.read_buf(&mut answer).await? == 0 {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
            }
            Ok::<_, io::Error>(())
        };
        match exchange.await {
            Ok(()) => self.answered.fetch_add(1, Ordering::Relaxed),
            Err(error) => {
                self.lose(format!("http/1{}: {:?}", if fields.is_empty() { ", kept" } else { "" }, error.kind()));
                return None;
            }
        };
        let leaves = String::from_utf8_lossy(&answer).to_ascii_lowercase().contains("connection: close");
        (!leaves).then_some(())
    }

    /// A connection for each request.
    async fn anew(self: Arc<Self>) {
        while !self.is_done() {
            if let Some(mut client) = self.connect().await {
                self.request(&mut client, "connection: close\r\n").await;
            }
        }
    }

    /// Keeps its connection until it is told to leave.
    async fn keeping(self: Arc<Self>) {
        while !self.is_done() {
            let Some(mut client) = self.connect().await else { continue };
            while !self.is_done() && self.request(&mut client, "").await.is_some() {}
        }
    }

    /// Sends requests over one HTTP/2 connection until it is told to leave.
    async fn http2(self: Arc<Self>) {
        while !self.is_done() {
            let Some(client) = self.connect().await else { continue };
            // Told to leave before it could send anything.
            let Ok((sender, connection)) = h2::client::handshake(client.stream).await else { continue };
            let connection = tokio::spawn(connection);
            while !self.is_done() {
                let Ok(mut ready) = sender.clone().ready().await else { break };
                let request = axum::http::Request::get("http://test/work").body(()).expect("a request");
                let Ok((answer, _)) = ready.send_request(request, true) else { break };
                match whole(answer).await {
                    Ok(()) => drop(self.answered.fetch_add(1, Ordering::Relaxed)),
                    Err(error) => self.lose(format!("http/2: {error}")),
                }
            }
            drop(sender);
            let _ = connection.await;
        }
    }

    /// Waits until so many more requests were answered.
    async fn more(&self, requests: u64) {
        let goal = self.answered.load(Ordering::Relaxed) + requests;
        let enough = async {
            while self.answered.load(Ordering::Relaxed) < goal {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, enough).await.expect("there is a load");
    }
}

async fn whole(answer: h2::client::ResponseFuture) -> Result<(), h2::Error> {
    let mut body = answer.await?.into_body();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
    }
    Ok(())
}

async fn next() -> (Running, SocketAddr) {
    let work = async || {
        tokio::time::sleep(Duration::from_millis(2)).await;
        "done"
    };
    serve(move |()| Router::new().route("/work", get(work))).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r4_1b_ten_restarts_under_load_lose_no_request() {
    let world = Arc::new(World::default());
    let (mut running, addr) = next().await;
    *world.addr.write().await = Some(addr);
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS_OF_A_KIND {
        clients.spawn(world.clone().anew());
        clients.spawn(world.clone().keeping());
        clients.spawn(world.clone().http2());
    }
    let mut drained = 0;
    for _ in 0..RESTARTS {
        world.more(200).await;
        let (new, addr) = next().await;
        *world.addr.write().await = Some(addr);
        let receipt = std::mem::replace(&mut running, new).stop("a restart").await;
        clean(&receipt);
        assert_eq!(row(&receipt, "api").http, None, "{}", receipt.to_json());
        drained += row(&receipt, "api").drained;
    }
    world.more(200).await;
    world.done.store(true, Ordering::Relaxed);
    while let Some(ended) = clients.join_next().await {
        ended.expect("no panic");
    }
    let lost = world.lost.lock().expect("whole").clone();
    assert_eq!(lost, BTreeMap::new(), "of {}", world.answered.load(Ordering::Relaxed));
    assert!(drained > 0, "the stops came under load");
    clean(&running.stop("test").await);
}
