//! A server proves that it serves: it asks itself, through its own listening socket.
//!
//! Policy: nothing is special about the request that proves it, `OPTIONS *` (RFC 9110, 9.3.7): it is accepted, read, routed
//! and answered like any other, and any answer will do. Where another process accepts from the same socket, it may be
//! that one which answers; so only an answer on a connection that this server has accepted is a proof, and until there is
//! one it is asked again.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout, timeout_at},
};

use crate::server::Live;

/// How long one question may take: behind a socket that is shared, the next one may be luckier.
const PATIENCE: Duration = Duration::from_millis(500);
/// The pauses between two questions: short ones first.
const PAUSE: (Duration, Duration) = (Duration::from_millis(1), Duration::from_millis(50));
/// More of an answer than this is not looked at.
const HEAD: usize = 1024;

/// Why a server did not [prove](Live::prove) that it serves.
#[derive(Debug)]
pub struct NotProved {
    /// Where it was asked.
    pub addr: SocketAddr,
    /// For how long.
    pub within: Duration,
    /// What became of the last question.
    pub last: io::Error,
}

impl fmt::Display for NotProved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no request through {} was answered within {:?}: {}", self.addr, self.within, self.last)
    }
}

impl std::error::Error for NotProved {}

impl Live {
    /// Asks the server through its own listening socket until it has answered once, for `within` at most.
    ///
    /// The server may share the socket with others: an answer of theirs proves nothing. Cancel-safe: dropping the future
    /// closes its connection.
    ///
    /// # Errors
    /// [`NotProved`]: there was no answer in time.
    pub async fn prove(&self, within: Duration) -> Result<(), NotProved> {
        let until = Instant::now() + within;
        let addr = from_here(self.addr());
        let mut pause = PAUSE.0;
        loop {
            let asked = timeout(PATIENCE, self.ask(addr)).await;
            let last = match asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if Instant::now() + pause >= until {
                return Err(NotProved { addr, within, last });
            }
            let _ = timeout_at(until, tokio::time::sleep(pause)).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }

    /// One question.
    async fn ask(&self, addr: SocketAddr) -> io::Result<()> {
        let socket = if addr.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        let any: IpAddr = if addr.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        // Bound before it connects, so that the server knows whom to look for before there can be anybody.
        socket.bind((any, 0).into())?;
        let expected = self.proofs().expect(socket.local_addr()?.port());
        let mut stream = socket.connect(addr).await?;
        let local = stream.local_addr()?;
        stream.write_all(format!("OPTIONS * HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n").as_bytes()).await?;
        answer(&mut stream).await?;
        if expected.accepted(local) { Ok(()) } else { Err(io::Error::other("another server answered")) }
    }
}

/// Reads the first line of an answer.
async fn answer(stream: &mut TcpStream) -> io::Result<()> {
    let mut head = Vec::with_capacity(HEAD);
    while !head.contains(&b'\n') && head.len() < HEAD {
        if stream.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    if head.starts_with(b"HTTP/1.1 ") { Ok(()) } else { Err(io::Error::other("the answer is not HTTP")) }
}

/// Where a listener can be reached from its own machine.
fn from_here(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

/// The questions that a server has been asked by itself and has not been seen to answer yet.
#[derive(Default)]
pub(crate) struct Proofs {
    /// Whether there is any: looked at for every connection.
    any: AtomicBool,
    asked: Mutex<Vec<Asked>>,
}

struct Asked {
    port: u16,
    seen: Vec<SocketAddr>,
}

/// One question; forgotten when it is dropped.
struct Expected<'a> {
    proofs: &'a Proofs,
    port: u16,
}

impl Proofs {
    /// A connection was accepted from here.
    pub(crate) fn accepted(&self, peer: SocketAddr) {
        if !self.any.load(Ordering::Acquire) {
            return;
        }
        if let Some(asked) = self.lock().iter_mut().find(|asked| asked.port == peer.port()) {
            asked.seen.push(peer);
        }
    }

    fn expect(&self, port: u16) -> Expected<'_> {
        let mut asked = self.lock();
        asked.push(Asked { port, seen: Vec::new() });
        self.any.store(true, Ordering::Release);
        Expected { proofs: self, port }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Asked>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Expected<'_> {
    /// Whether this server has accepted the connection that came from here.
    fn accepted(&self, local: SocketAddr) -> bool {
        let same = |seen: &SocketAddr| seen.ip().to_canonical() == local.ip().to_canonical();
        self.proofs.lock().iter().any(|asked| asked.port == self.port && asked.seen.iter().any(same))
    }
}

impl Drop for Expected<'_> {
    fn drop(&mut self) {
        let mut asked = self.proofs.lock();
        asked.retain(|asked| asked.port != self.port);
        self.proofs.any.store(!asked.is_empty(), Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_connection_that_was_accepted_here_proves_anything() {
        let proofs = Proofs::default();
        let at = |ip: &str| SocketAddr::new(ip.parse().expect("an address"), 4711);
        proofs.accepted(at("127.0.0.1"));
        let expected = proofs.expect(4711);
        assert!(!expected.accepted(at("127.0.0.1")), "it was not expected when it came");
        proofs.accepted(at("10.0.0.9"));
        assert!(!expected.accepted(at("127.0.0.1")), "somebody else, with the same port");
        proofs.accepted(at("::ffff:127.0.0.1"));
        assert!(expected.accepted(at("127.0.0.1")), "as a socket for both kinds of addresses sees it");
        drop(expected);
        assert!(!proofs.any.load(Ordering::Acquire));
    }
}
