//! A shop as a real process, spoken to over real HTTP.

use std::{
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Output, Stdio},
    sync::{Mutex, OnceLock},
    thread::sleep,
    time::{Duration, Instant},
};

use evenkeel_os::sockets::pass_on;
use evenkeel_testbeds::Postgres;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use sqlx::Connection as _;
use tempfile::TempDir;

/// Nothing here takes longer, not even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);

/// A directory with a database, in which shops run one after another.
pub(crate) struct Place {
    dir: TempDir,
    /// The URL of a database in a server, in place of a file.
    url: Option<String>,
}

/// A running shop. Killed when a test fails half-way.
pub(crate) struct Shop<'a> {
    place: &'a Place,
    child: Child,
    pub(crate) addr: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: String,
}

impl Answer {
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Place {
    pub(crate) fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), url: None }
    }

    /// The same with a new database in a real PostgreSQL, which all tests share; `None`, said aloud, if there is none.
    pub(crate) fn on_postgres() -> Option<Self> {
        static SERVER: OnceLock<Option<(Postgres, Mutex<u32>)>> = OnceLock::new();
        let server = SERVER.get_or_init(|| Postgres::start().map(|server| (server, Mutex::new(0))));
        let Some((server, made)) = server else {
            println!("SKIPPED: PostgreSQL is not installed, so the shop is not tested on it");
            return None;
        };
        let mut made = made.lock().unwrap();
        *made += 1;
        let name = format!("shop_{made}");
        Self::ask(&server.url(), &format!("CREATE DATABASE {name}"));
        let (base, _) = server.url().rsplit_once('/').map(|(base, name)| (base.to_owned(), name.to_owned())).unwrap();
        Some(Self { dir: tempfile::tempdir().unwrap(), url: Some(format!("{base}/{name}")) })
    }

    /// A place of its own for a server that a test does something to.
    pub(crate) fn with_url(url: String) -> Self {
        Self { dir: tempfile::tempdir().unwrap(), url: Some(url) }
    }

    fn ask(url: &str, statement: &str) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut connection = sqlx::PgConnection::connect(url).await.unwrap();
            sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap();
            connection.close().await.unwrap();
        });
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.dir.path().join("shop.db")
    }

    pub(crate) fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
        command
            .args(args)
            .current_dir(self.dir.path())
            .env("EVENKEEL_RUNTIME_DIR", self.dir.path().join("run"))
            .env("EVENKEEL_STATE_DIR", self.dir.path().join("state"))
            .env_remove("SHOP_DATABASE")
            .stdin(Stdio::null());
        command.envs(self.url.iter().map(|url| ("SHOP_DATABASE", url)));
        command
    }

    /// Runs a command to its end.
    pub(crate) fn run(&self, args: &[&str]) -> Output {
        self.command(args).output().unwrap()
    }

    /// Starts a shop on a free port and waits until it runs.
    pub(crate) fn start(&self, args: &[&str]) -> Shop<'_> {
        self.start_at("127.0.0.1:0", |_| {}, args)
    }

    /// Starts a shop that serves this socket, which stays open when the shop ends.
    pub(crate) fn start_behind(&self, listener: &TcpListener, args: &[&str]) -> Shop<'_> {
        let addr = listener.local_addr().unwrap().to_string();
        self.start_at(&addr, |command| pass_on(command, &[("api", listener)]).unwrap(), args)
    }

    fn start_at(&self, addr: &str, prepare: impl FnOnce(&mut Command), args: &[&str]) -> Shop<'_> {
        let log = File::create(self.log()).unwrap();
        let mut command = self.command(&["run", "--listen", addr]);
        prepare(&mut command);
        let mut child = command.args(args).stderr(log).stdout(Stdio::null()).spawn().unwrap();
        let begun = Instant::now();
        loop {
            let status = self.run(&["status", "--json"]);
            let status: Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
            if status["state"] == "running" {
                let parts = status["components"].as_array().unwrap();
                let api = parts.iter().find(|part| part["name"] == "api").unwrap();
                let addr = api["note"].as_str().unwrap().trim_start_matches("http://").to_owned();
                return Shop { place: self, child, addr };
            }
            let ended = child.try_wait().unwrap();
            assert!(ended.is_none() && begun.elapsed() < PATIENCE, "it did not start ({ended:?}): {}", self.said());
            sleep(Duration::from_millis(10));
        }
    }

    /// Starts a load on a shop of this place.
    pub(crate) fn load(&self, url: &str, orders: u32, args: &[&str]) -> Child {
        let orders = orders.to_string();
        let mut command = self.command(&["load", "--url", url, "--orders", &orders]);
        command.args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// What the last shop wrote.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    pub(crate) fn receipt(&self) -> Value {
        serde_json::from_slice(&self.run(&["receipt", "--json"]).stdout).unwrap()
    }
}

impl Shop<'_> {
    pub(crate) fn get(&self, path: &str) -> Answer {
        self.asked(exchange(&self.addr, "GET", path, b""))
    }

    pub(crate) fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.asked(exchange(&self.addr, "POST", path, body.as_ref()))
    }

    fn asked(&self, answer: std::io::Result<Answer>) -> Answer {
        answer.unwrap_or_else(|error| panic!("{error}: {}", self.place.said()))
    }

    /// Asks until the answer satisfies this.
    pub(crate) fn get_until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let begun = Instant::now();
        loop {
            let answer = self.get(path).json();
            if wanted(&answer) {
                return answer;
            }
            assert!(begun.elapsed() < PATIENCE, "{path} remains {answer}");
            sleep(Duration::from_millis(10));
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Starts a load on it.
    pub(crate) fn load(&self, orders: u32) -> Child {
        self.place.load(&self.url(), orders, &[])
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    pub(crate) fn wait(mut self) -> ExitStatus {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(begun.elapsed() < PATIENCE, "it does not end: {}", self.place.said());
            sleep(Duration::from_millis(5));
        }
    }

    /// Stops it as an operator does, and holds it to a clean end.
    pub(crate) fn stop(self) {
        let place = self.place;
        self.signal(Signal::TERM);
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "{}", place.said());
        assert_eq!(place.receipt()["outcome"], "clean");
    }
}

impl Drop for Shop<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One request over a connection of its own.
pub(crate) fn exchange(addr: &str, method: &str, path: &str, body: &[u8]) -> std::io::Result<Answer> {
    exchange_with(addr, method, path, "", body)
}

/// The same with further headers, each with the end of its line.
pub(crate) fn exchange_with(
    addr: &str,
    method: &str,
    path: &str,
    headers: &str,
    body: &[u8],
) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(addr)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: shop\r\nconnection: close\r\n{headers}content-length: {length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes())?;
    // A server that has seen enough closes its side: what it answered is still there to be read.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or(std::io::ErrorKind::InvalidData)?;
    Ok(Answer { status, body: body.to_owned() })
}
