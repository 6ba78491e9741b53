//! Telling the service manager: the Linux side.

use std::{
    ffi::OsStr,
    io::{self, IoSlice},
    net::TcpListener,
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::OsStrExt,
    },
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    io::Errno,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg},
    pipe::{PipeFlags, pipe_with},
    time::{ClockId, clock_gettime},
};
use socket2::{Domain, SockAddr, Socket, Type};

use crate::notify::{Note, SEND_TIME, message};

/// Descriptors in one message, as the kernel limits them.
const MOST_DESCRIPTORS: usize = 253;

/// A socket to the service manager. See [`notifier`](crate::notify::notifier).
#[derive(Debug)]
pub struct Notifier {
    socket: Socket,
}

impl Notifier {
    pub(crate) fn to(addr: &OsStr) -> io::Result<Self> {
        let bytes = addr.as_bytes();
        let refused = |why: &str| io::Error::other(format!("`NOTIFY_SOCKET={}`: {why}", addr.display()));
        let socket = match bytes {
            [b'/', ..] => connect(Domain::UNIX, Type::DGRAM, &SockAddr::unix(addr)?),
            [b'@', name @ ..] => {
                let name = [b"\0", name].concat();
                connect(Domain::UNIX, Type::DGRAM, &SockAddr::unix(OsStr::from_bytes(&name))?)
            }
            _ => {
                let (cid, port) =
                    vsock(bytes).ok_or_else(|| refused("neither a path, nor @name, nor vsock:CID:PORT"))?;
                let addr = SockAddr::vsock(cid, port);
                // As systemd tries them; hosts differ in what they offer.
                [Type::DGRAM, Type::SEQPACKET, Type::STREAM]
                    .into_iter()
                    .map(|kind| connect(Domain::VSOCK, kind, &addr))
                    .reduce(Result::or)
                    .expect("three kinds")
            }
        };
        let socket = socket.map_err(|error| refused(&error.to_string()))?;
        socket.set_write_timeout(Some(SEND_TIME))?;
        Ok(Self { socket })
    }

    /// Says these things in one message.
    ///
    /// # Errors
    /// The manager is gone, or does not read within [`SEND_TIME`].
    pub fn tell(&self, notes: &[Note<'_>]) -> io::Result<()> {
        self.tell_with(notes, &[])
    }

    /// Says these things in one message that carries listening sockets, which this process keeps as well.
    ///
    /// # Errors
    /// See [`tell`](Self::tell); also if there are more than 253 sockets.
    pub fn tell_with(&self, notes: &[Note<'_>], sockets: &[&TcpListener]) -> io::Result<()> {
        let descriptors: Vec<_> = sockets.iter().map(AsFd::as_fd).collect();
        self.send(message(notes, monotonic()).as_bytes(), &descriptors)
    }

    /// Waits until the manager has dealt with all that was said before, `within` at most: whoever leaves after it is not
    /// taken for somebody unknown.
    ///
    /// # Errors
    /// It has not in time, or it is gone.
    pub fn barrier(&self, within: Duration) -> io::Result<()> {
        let until = Instant::now() + within;
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC)?;
        // It takes part in no other message, and the manager closes what it was sent when it comes to it.
        self.send(b"BARRIER=1", &[theirs.as_fd()])?;
        drop(theirs);
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let time = Timespec::try_from(left).map_err(io::Error::other)?;
            match poll(&mut [PollFd::new(&ours, PollFlags::empty())], Some(&time)) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn send(&self, text: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
        if descriptors.is_empty() {
            return self.socket.send(text).map(drop);
        }
        if descriptors.len() > MOST_DESCRIPTORS {
            return Err(io::Error::other(format!("more than {MOST_DESCRIPTORS} descriptors in one message")));
        }
        let mut space = vec![std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
        let mut rights = SendAncillaryBuffer::new(&mut space);
        if !rights.push(SendAncillaryMessage::ScmRights(descriptors)) {
            return Err(io::Error::other("the descriptors do not fit into one message"));
        }
        sendmsg(&self.socket, &[IoSlice::new(text)], &mut rights, SendFlags::NOSIGNAL)?;
        Ok(())
    }
}

fn connect(domain: Domain, kind: Type, addr: &SockAddr) -> io::Result<Socket> {
    let socket = Socket::new(domain, kind, None)?; // closed on exec
    socket.connect(addr)?;
    Ok(socket)
}

/// `vsock:CID:PORT`
fn vsock(addr: &[u8]) -> Option<(u32, u32)> {
    let (cid, port) = std::str::from_utf8(addr).ok()?.strip_prefix("vsock:")?.split_once(':')?;
    Some((cid.parse().ok()?, port.parse().ok()?))
}

fn monotonic() -> Duration {
    let now = clock_gettime(ClockId::Monotonic);
    let (seconds, nanos) = (u64::try_from(now.tv_sec), u32::try_from(now.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
}
