//! Redis.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    time::Duration,
};

use crate::{
    PASSWORD,
    find::{free_port, missing, program},
    process::Server,
};

/// A Redis (or Valkey) server on the loopback interface, with a password, keeping nothing on disk.
pub struct Redis {
    server: Server,
    binary: PathBuf,
    port: u16,
}

impl Redis {
    /// Starts one, or says aloud that it is not installed.
    #[must_use]
    pub fn start() -> Option<Self> {
        let mut redis = Self::prepare()?;
        redis.start_again();
        Some(redis)
    }

    /// One that has a port, and does not run yet.
    #[must_use]
    pub fn prepare() -> Option<Self> {
        let Some(binary) = program("redis-server", &[]).or_else(|| program("valkey-server", &[])) else {
            missing("Redis", "redis-server");
            return None;
        };
        Some(Self { server: Server::new("redis"), binary, port: free_port() })
    }

    /// Starts it: for the first time, or after [`kill`](Self::kill), on the same port.
    ///
    /// # Panics
    /// If it does not come up.
    pub fn start_again(&mut self) {
        let port = self.port;
        let mut command = self.server.command(&self.binary);
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--requirepass", PASSWORD]);
        command.args(["--save", "", "--appendonly", "no"]).arg("--dir").arg(self.server.path("data"));
        self.server.start(&mut command, || answers(port));
    }

    /// How to connect, with the password.
    #[must_use]
    pub fn url(&self) -> String {
        format!("redis://:{PASSWORD}@127.0.0.1:{}/0", self.port)
    }

    /// The port it listens at.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// As `kill -9`.
    pub fn kill(&mut self) {
        self.server.kill();
    }

    /// Stops it where it is: connections stay, and nothing is answered.
    pub fn freeze(&self) {
        self.server.freeze();
    }

    /// Lets it go on after [`freeze`](Self::freeze).
    pub fn thaw(&self) {
        self.server.thaw();
    }
}

/// Be it that it wants the password first.
fn answers(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let mut answer = [0; 16];
    stream.write_all(b"PING\r\n").is_ok() && stream.read(&mut answer).is_ok_and(|read| read > 0)
}
