//! Notifications: the Linux side.

use std::{
    io,
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    time::Duration,
};

/// A message that is longer is cut off, as by systemd.
const LONGEST: usize = 4096;

/// A socket that a program may send notifications to.
#[derive(Debug)]
pub struct Notifications {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Notifications {
    /// Makes the socket at this path, which must not exist.
    ///
    /// # Errors
    /// It cannot be made: the path exists, is longer than about 100 bytes, or its directory cannot be written.
    pub fn bind(path: &Path) -> io::Result<Self> {
        Ok(Self { socket: UnixDatagram::bind(path)?, path: path.to_owned() })
    }

    /// One that listens already, with a name that is no path.
    pub(crate) fn of(socket: UnixDatagram) -> Self {
        Self { socket, path: PathBuf::new() }
    }

    /// Where the socket is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The next message, waited for this long at most (without a limit for [`Duration::MAX`]). `None` if none came.
    ///
    /// # Errors
    /// The system fails to receive.
    pub fn next(&self, patience: Duration) -> io::Result<Option<Vec<u8>>> {
        let limit = (patience != Duration::MAX).then(|| patience.max(Duration::from_millis(1)));
        self.socket.set_read_timeout(limit)?;
        let mut message = vec![0; LONGEST];
        match self.socket.recv(&mut message) {
            Ok(length) => {
                message.truncate(length);
                Ok(Some(message))
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(None),
            Err(error) => Err(error),
        }
    }
}
