//! Clients and servers that the tests share. Real sockets on loopback.
#![allow(dead_code, reason = "each test file uses its part")]

pub(crate) mod frames;
pub(crate) mod rest;

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// No test waits longer than this for something that must happen.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// A raw client.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    seen: Vec<u8>,
}

impl Raw {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self { stream: TcpStream::connect(addr).await.unwrap(), seen: Vec::new() }
    }

    pub(crate) async fn send(&mut self, text: impl AsRef<[u8]>) {
        self.stream.write_all(text.as_ref()).await.unwrap();
    }

    /// Reads until the text is there, and gives back everything up to its end.
    pub(crate) async fn until(&mut self, text: &str) -> String {
        loop {
            let seen = String::from_utf8_lossy(&self.seen).into_owned();
            if let Some(at) = seen.find(text) {
                self.seen.drain(..at + text.len());
                return seen[..at + text.len()].to_owned();
            }
            let mut buf = [0; 4096];
            let read = tokio::time::timeout(PATIENCE, self.stream.read(&mut buf)).await;
            let read = read.unwrap_or_else(|_| panic!("no `{text}` in `{seen}`")).unwrap();
            assert_ne!(read, 0, "closed without `{text}`: `{seen}`");
            self.seen.extend_from_slice(&buf[..read]);
        }
    }

    /// Reads until the server closes, and gives back everything. A reset is said so.
    pub(crate) async fn rest(&mut self) -> String {
        let mut buf = [0; 4096];
        loop {
            match tokio::time::timeout(PATIENCE, self.stream.read(&mut buf)).await.expect("the server closes") {
                Ok(0) => return String::from_utf8_lossy(&std::mem::take(&mut self.seen)).into_owned(),
                Ok(read) => self.seen.extend_from_slice(&buf[..read]),
                Err(error) => {
                    return format!("{}({:?})", String::from_utf8_lossy(&std::mem::take(&mut self.seen)), error.kind());
                }
            }
        }
    }
}

/// Waits for a state.
pub(crate) async fn until(what: &str, mut state: impl FnMut() -> bool) {
    let wait = async {
        while !state() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(PATIENCE, wait).await.unwrap_or_else(|_| panic!("waited for: {what}"));
}
