//! The programs that are restarted: one of Evenkeel, `axum::serve` as most programs use it, HAProxy.

#![allow(dead_code, clippy::print_stderr, reason = "each user needs some of it; programs say that they serve")]

use std::{
    convert::Infallible,
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Output},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use axum::{Router, body::Body, routing::get};
use evenkeel::{App, Draining};
use futures_util::stream;
use serde_json::Value;
use tempfile::TempDir;

/// What an Evenkeel program says when it serves.
pub(crate) const SERVES: &str = "running; stop with";

/// The same work for all: 2 ms, as the loss tables of the field have it.
fn router() -> Router {
    let work = async |_: String| {
        tokio::time::sleep(Duration::from_millis(2)).await;
        "done"
    };
    Router::new().route("/", get(work).post(work))
}

/// An event every 5 ms, until a stop begins.
fn events() -> Router {
    let events = async |draining: Draining| {
        let events = stream::unfold(draining, async |draining| {
            tokio::select! {
                () = draining.requested() => None,
                () = tokio::time::sleep(Duration::from_millis(5)) => Some((Ok::<_, Infallible>("data: 1\n\n"), draining)),
            }
        });
        ([("content-type", "text/event-stream")], Body::from_stream(events))
    };
    Router::new().route("/events", get(events))
}

/// An Evenkeel program with one HTTP component. It has directories of its own, so that two can be side by side.
pub(crate) fn serve_with_evenkeel() {
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(evenkeel_in(dir.path(), "127.0.0.1:0", "run"), 0);
}

/// The same in a place that it is told, at an address that it opens by itself; or another of its commands.
pub(crate) fn evenkeel_in(dir: &Path, addr: &str, command: &str) -> u8 {
    let place = |name: &str| dir.join(name).display().to_string();
    let app = App::new("served");
    let _ = app.http("http", (), addr, |()| router().merge(events()));
    let (run, state) = (place("run"), place("state"));
    let mut arguments = vec!["served", command, "--runtime-dir", &run];
    if command == "run" {
        arguments.extend(["--state-dir", &state, "--admin", "off"]);
    }
    app.run_with(arguments).code()
}

/// An Evenkeel program that hands over to its successor: the program, its restart and its stop are one file, `serve`.
pub(crate) struct Successive {
    dir: TempDir,
    port: u16,
    serve: String,
}

impl Successive {
    pub(crate) fn new(serve: String) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), port: free_port(), serve }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    pub(crate) fn program(&self, command: &str) -> Vec<String> {
        let (dir, addr) = (self.dir.path().display().to_string(), format!("127.0.0.1:{}", self.port));
        vec![self.serve.clone(), "serve-with-evenkeel-in".to_owned(), dir, addr, command.to_owned()]
    }

    pub(crate) fn command(&self, command: &str) -> String {
        self.program(command).join(" ")
    }
}

/// Taken for a moment to have a number that is free.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// How a program of [`serve_with_axum`] ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    Gracefully,
    /// Not by SIGTERM.
    Never,
    /// By itself, in the middle of this request.
    At(u64),
}

fn router_that(ends: Ends) -> Router {
    let Ends::At(last) = ends else { return router() };
    let answered = Arc::<AtomicU64>::default();
    let count = async move |_: String| {
        if answered.fetch_add(1, Ordering::SeqCst) + 1 == last {
            evenkeel_os::exit::exit_now(3);
        }
        "done"
    };
    Router::new().route("/", get(count.clone()).post(count))
}

/// `axum::serve` with a graceful shutdown, on the socket that it is given.
pub(crate) fn serve_with_axum(ends: Ends) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let env = |name: &str| std::env::var_os(name);
        let given = evenkeel_os::sockets::inherited(&env).unwrap().pop().expect("a listening socket");
        given.listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(given.listener).unwrap();
        let mut stop = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).unwrap();
        let stopped = async move { while stop.recv().await.is_some() && ends == Ends::Never {} };
        eprintln!("{SERVES} SIGTERM");
        if let Some(socket) = std::env::var_os("NOTIFY_SOCKET") {
            std::os::unix::net::UnixDatagram::unbound().unwrap().send_to(b"READY=1", socket).unwrap();
        }
        axum::serve(listener, router_that(ends)).with_graceful_shutdown(stopped).await.unwrap();
    });
}

/// `evenkeel verify-restart`, with its result as JSON.
pub(crate) fn verify(arguments: &[&str]) -> (Output, Value) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_evenkeel"));
    let output = command.args(["verify-restart", "--json"]).args(arguments).output().unwrap();
    let json = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output, json)
}

/// HAProxy as its own documentation wants it: a master that hands sockets on, connections at rest closed with an answer.
pub(crate) struct HaProxy {
    dir: TempDir,
    port: u16,
}

impl HaProxy {
    /// Why it cannot be run here.
    pub(crate) fn missing() -> Option<&'static str> {
        let found = Command::new("haproxy").arg("-v").output().is_ok_and(|output| output.status.success());
        (!found).then_some("haproxy is not installed (apt-get install haproxy)")
    }

    pub(crate) fn new(option: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let config = format!(
            "global\n  stats socket {socket} mode 600 level admin expose-fd listeners\n  hard-stop-after 20s\n\
             defaults\n  mode http\n  timeout connect 5s\n  timeout client 5s\n  timeout server 5s\n  {option}\n\
             frontend in\n  bind 127.0.0.1:{port}\n  option http-buffer-request\n  \
             http-request return status 200 content-type text/plain string done\n",
            socket = dir.path().join("stats").display(),
        );
        fs::write(dir.path().join("haproxy.cfg"), config).unwrap();
        Self { dir, port }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}/", self.port)
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    /// Its command line: a master in the foreground.
    pub(crate) fn program(&self) -> Vec<String> {
        ["haproxy", "-W", "-f", &self.path("haproxy.cfg"), "-p", &self.path("pid")].map(str::to_owned).into()
    }

    pub(crate) fn reload(&self) -> String {
        format!("kill -USR2 $(cat {})", self.path("pid"))
    }
}

/// Losses of the rows of a kind.
pub(crate) fn lost(json: &Value, kind: &str) -> u64 {
    let rows = json["table"]["rows"].as_array().expect("rows");
    let rows = rows.iter().filter(|row| row["kind"] == kind);
    rows.map(|row| row["requests"].as_u64().unwrap() - row["answered"].as_u64().unwrap()).sum()
}
