//! The listening socket: bound early, shared on purpose, emptied before it closes.

use std::{
    io,
    net::{SocketAddr, TcpListener as StdListener, ToSocketAddrs},
    time::Duration,
};

use tokio::net::{TcpListener, TcpStream};

/// A socket that listens. Clients can connect from the moment it is there; they wait in the kernel's queue until a
/// server accepts them.
///
/// Dropping the last copy of it closes the socket, and resets whoever waits in its queue.
#[derive(Debug)]
pub struct Listener {
    socket: StdListener,
    addr: SocketAddr,
}

impl Listener {
    /// Listens at an address. Port 0 lets the system choose. A name is looked up, which blocks.
    ///
    /// # Errors
    /// The address cannot be listened at: in use, not of this machine, or privileged.
    pub fn bind(addr: impl ToSocketAddrs) -> io::Result<Self> {
        Self::of(StdListener::bind(addr)?)
    }

    /// Takes a socket that listens already: inherited, or opened with options of one's own.
    ///
    /// # Errors
    /// It is not a listening TCP socket, as far as the system can tell.
    pub fn of(socket: StdListener) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        let addr = socket.local_addr()?;
        Ok(Self { socket, addr })
    }

    /// The address, with the port that was chosen.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// A second handle of the same socket, with the same queue: what one does not accept, the other may. Keep one to
    /// restart a server without closing its door.
    ///
    /// # Errors
    /// No descriptor is left.
    pub fn try_clone(&self) -> io::Result<Self> {
        Ok(Self { socket: self.socket.try_clone()?, addr: self.addr })
    }

    /// The socket itself.
    #[must_use]
    pub fn into_std(self) -> StdListener {
        self.socket
    }

    pub(crate) fn into_tokio(self) -> io::Result<TcpListener> {
        TcpListener::from_std(self.socket)
    }
}

impl From<TcpListener> for Listener {
    /// # Panics
    /// If the socket has no local address, which a listening one has.
    fn from(listener: TcpListener) -> Self {
        let addr = listener.local_addr().expect("a listening socket has an address");
        Self { socket: listener.into_std().expect("taking a socket out of the runtime cannot fail"), addr }
    }
}

/// The waits between attempts to accept while the system refuses.
pub(crate) struct BackOff {
    wait: Duration,
}

impl BackOff {
    const FIRST: Duration = Duration::from_millis(10);
    const MOST: Duration = Duration::from_secs(1);

    pub(crate) const fn new() -> Self {
        Self { wait: Self::FIRST }
    }

    pub(crate) fn next(&mut self) -> Duration {
        let wait = self.wait;
        self.wait = (wait * 2).min(Self::MOST);
        wait
    }
}

/// The next connection. Errors of a single connection are passed over; those of the listener (no descriptor left) are
/// waited out, with growing pauses and a warning each: trying again at once would take a core and help nobody.
///
/// Cancel-safe.
pub(crate) async fn accept(listener: &TcpListener, server: &str) -> (TcpStream, SocketAddr) {
    let mut back_off = BackOff::new();
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            Err(error) if is_of_one_connection(&error) => {}
            Err(error) => {
                let wait = back_off.next();
                tracing::warn!(
                    target: "evenkeel", error = %error, ?wait,
                    "`{server}` cannot accept connections (hint: raise the limit of open files)"
                );
                tokio::time::sleep(wait).await;
            }
        }
    }
}

/// Errors of `accept` that belong to the connection which would have been accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_second() {
        let mut back_off = BackOff::new();
        let pauses: Vec<_> = std::iter::repeat_with(|| back_off.next().as_millis()).take(9).collect();
        assert_eq!(pauses, [10, 20, 40, 80, 160, 320, 640, 1000, 1000]);
    }
}
