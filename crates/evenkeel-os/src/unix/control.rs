//! The control channel over a Unix stream socket.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{fmt, fs};

use rustix::fs::{Mode, OFlags, fchmod, open};
use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, bind, connect, listen, socket_with};

use super::interrupt::Interrupt;
use super::peer;
use super::platform::user;
use crate::control::{
    ANSWER_LIMIT, AskError, CONNECTION_LIMIT, REFUSAL_MARK, REQUEST_LIMIT, REQUEST_TIME, SOCKET_FILE, WRITE_TIME,
};
use crate::interrupt::Wake;
use crate::threads::spawn_named;

/// Connections that the kernel keeps for us until we accept them.
const BACKLOG: i32 = 64;
/// The pause after an accept that failed, so that "no file descriptor left" does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

// ---- address ---------------------------------------------------------------------------------------------------

/// The address of the socket in `dir`. A path longer than the 108 bytes of a Unix address goes through
/// `/proc/self/fd/N`, where N is the directory, returned so that it stays open until the address was used.
fn address(dir: &Path) -> io::Result<(SocketAddrUnix, Option<OwnedFd>)> {
    match SocketAddrUnix::new(dir.join(SOCKET_FILE)) {
        Err(Errno::NAMETOOLONG) => {}
        result => return Ok((result?, None)),
    }
    let handle = open(dir, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let short = format!("/proc/self/fd/{}/{SOCKET_FILE}", handle.as_raw_fd());
    Ok((SocketAddrUnix::new(short)?, Some(handle)))
}

fn stream_socket() -> io::Result<OwnedFd> {
    Ok(socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?)
}

fn explain(error: impl Into<io::Error>, path: &Path) -> io::Error {
    let error = error.into();
    io::Error::new(error.kind(), format!("cannot listen at {}: {error}", path.display()))
}

// ---- listening -------------------------------------------------------------------------------------------------

/// A bound control socket that nobody answers yet: connections queue in the kernel.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    file: SocketFile,
}

/// Removes the socket's file when dropped.
#[derive(Debug)]
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0); // left over, it is stale and the next bind removes it
    }
}

impl Listener {
    /// Creates the socket in `dir` with mode 0600, in place of one that an earlier run left behind.
    ///
    /// The caller holds the [`crate::lock::InstanceLock`] of `dir`: that is what makes a socket found there stale.
    ///
    /// # Errors
    /// The socket cannot be created in `dir`, or something there has its name and is not a socket. The message names
    /// the path.
    pub fn bind(dir: &Path) -> io::Result<Self> {
        let path = dir.join(SOCKET_FILE);
        remove_stale(&path)?;
        let socket = bind_private(dir).map_err(|error| explain(error, &path))?;
        Ok(Self { socket, file: SocketFile(path) })
    }

    /// The socket's file.
    pub fn path(&self) -> &Path {
        &self.file.0
    }

    /// Answers requests from now on, from the thread `evenkeel-control` and one more per connection.
    ///
    /// `handler` gets the request and a function that sends one line of the answer. It may take as long as it likes and
    /// is called from several threads at once. An error from the sending function means that the asker is gone; the
    /// handler decides whether its work goes on. A panic in it closes that connection only.
    ///
    /// # Errors
    /// No thread or file descriptor is left.
    pub fn serve<H>(self, handler: H) -> io::Result<Server>
    where
        H: Fn(&str, &mut dyn FnMut(&str) -> io::Result<()>) + Send + Sync + 'static,
    {
        let desk = Arc::new(Desk { open: Mutex::default(), closed: Condvar::new(), end: Interrupt::new()? });
        self.socket.set_nonblocking(true)?; // a peer may be gone between poll and accept
        let accepting = Arc::clone(&desk);
        let socket = self.socket;
        let thread = spawn_named("evenkeel-control", move || {
            accept_all(&socket, &accepting, &Arc::new(handler));
        })?;
        let path = self.file.0.clone();
        Ok(Server { desk, thread: Some(thread), path, file: Mutex::new(Some(self.file)) })
    }
}

fn remove_stale(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Ok(found) if found.file_type().is_socket() => fs::remove_file(path).map_err(|error| explain(error, path)),
        Ok(_) => Err(explain(io::Error::new(ErrorKind::AlreadyExists, "something else has this name"), path)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(explain(error, path)),
    }
}

/// On Linux the file takes its mode from the socket, so it is never open to others, not even between two calls.
fn bind_private(dir: &Path) -> io::Result<UnixListener> {
    let socket = stream_socket()?;
    fchmod(&socket, Mode::RUSR | Mode::WUSR)?;
    let (address, _dir) = address(dir)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(UnixListener::from(socket))
}

// ---- serving ---------------------------------------------------------------------------------------------------

/// A control socket that is being answered. Dropping it is [`Server::shut_down`] without grace.
#[derive(Debug)]
pub struct Server {
    desk: Arc<Desk>,
    thread: Option<JoinHandle<()>>,
    path: PathBuf,
    file: Mutex<Option<SocketFile>>,
}

/// What the accepting thread, the connections and the [`Server`] share.
#[derive(Debug)]
struct Desk {
    open: Mutex<Open>,
    /// Notified when a connection closes.
    closed: Condvar,
    /// Ends accepting, and waiting for requests that are not complete.
    end: Interrupt,
}

/// The connections there are. Each is kept so that it can be cut.
#[derive(Debug, Default)]
struct Open {
    next: u64,
    streams: BTreeMap<u64, UnixStream>,
}

impl Server {
    /// The socket's file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the socket's file now: nobody finds this program by it any more, and another may take the name. Requests
    /// that are being answered go on.
    ///
    /// Call it before the [`crate::lock::InstanceLock`] is dropped: the file might be the next instance's.
    pub fn give_up_name(&self) {
        drop(self.file.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    /// Takes no more requests, gives handlers at work `grace` to send the rest of their answers, cuts the connections
    /// of the others, and removes the socket file. Returns how many it cut; their handlers are not waited for and get
    /// an error from their next line.
    ///
    /// Call it before the [`crate::lock::InstanceLock`] is dropped: the file might be the next instance's.
    pub fn shut_down(mut self, grace: Duration) -> usize {
        self.close(grace)
    }

    fn close(&mut self, grace: Duration) -> usize {
        self.desk.end.interrupt();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join(); // runs no code but ours
        }
        self.desk.wait_until_idle(grace);
        self.desk.cut_all()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.close(Duration::ZERO);
    }
}

impl Desk {
    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A seat for `stream`, or `None` when all are taken.
    fn seat(self: &Arc<Self>, stream: &UnixStream) -> io::Result<Option<Seat>> {
        let kept = stream.try_clone()?;
        let mut open = self.lock();
        if open.streams.len() >= CONNECTION_LIMIT {
            return Ok(None);
        }
        let number = open.next;
        open.next += 1;
        open.streams.insert(number, kept);
        Ok(Some(Seat { desk: Arc::clone(self), number }))
    }

    fn wait_until_idle(&self, grace: Duration) {
        let open = self.lock();
        let busy = |open: &mut Open| !open.streams.is_empty();
        drop(self.closed.wait_timeout_while(open, grace, busy));
    }

    fn cut_all(&self) -> usize {
        let open = self.lock();
        for stream in open.streams.values() {
            let _ = stream.shutdown(Shutdown::Both); // an error: it is gone already
        }
        open.streams.len()
    }
}

/// One of the places for connections, given back when dropped, also by a panic.
#[derive(Debug)]
struct Seat {
    desk: Arc<Desk>,
    number: u64,
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.desk.lock().streams.remove(&self.number);
        self.desk.closed.notify_all();
    }
}

fn accept_all<H>(socket: &UnixListener, desk: &Arc<Desk>, handler: &Arc<H>)
where
    H: Fn(&str, &mut dyn FnMut(&str) -> io::Result<()>) + Send + Sync + 'static,
{
    loop {
        let served = match desk.end.wait_readable(socket, None) {
            Ok(Wake::Interrupted) => return,
            Ok(Wake::Ready | Wake::TimedOut) => accept_one(socket, desk, handler),
            Err(error) => Err(error),
        };
        // No descriptor, thread or memory is left. Nothing here can free one, and giving up would make the program
        // deaf: pause and go on. The asker sees its connection closed, or waits in the kernel's queue.
        if served.is_err() && !matches!(desk.end.wait(Some(ACCEPT_PAUSE)), Ok(Wake::TimedOut)) {
            return;
        }
    }
}

fn accept_one<H>(socket: &UnixListener, desk: &Arc<Desk>, handler: &Arc<H>) -> io::Result<()>
where
    H: Fn(&str, &mut dyn FnMut(&str) -> io::Result<()>) + Send + Sync + 'static,
{
    let stream = match socket.accept() {
        Ok((stream, _)) => stream,
        Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::ConnectionAborted) => {
            return Ok(());
        }
        Err(error) => return Err(error),
    };
    stream.set_write_timeout(Some(WRITE_TIME))?;
    let Some(seat) = desk.seat(&stream)? else {
        let _ = refuse(&stream, &format!("busy with {CONNECTION_LIMIT} other requests"));
        return Ok(());
    };
    let handler = Arc::clone(handler);
    spawn_named("evenkeel-answer", move || answer(&stream, seat, &*handler)).map(drop)
}

/// One connection, from the check of who it is to its close.
fn answer<H>(stream: &UnixStream, seat: Seat, handler: &H)
where
    H: Fn(&str, &mut dyn FnMut(&str) -> io::Result<()>),
{
    let request = check_peer(stream).and_then(|()| read_request(stream, &seat.desk.end));
    // What cannot be sent here finds nobody who would read it.
    let _ = match request {
        Ok(line) => {
            handler(&line, &mut |line| send_line(stream, line));
            Ok(())
        }
        Err(Deaf::Gone) => Ok(()),
        Err(Deaf::Refused(reason)) => refuse(stream, &reason),
    };
    drop(seat); // first, so that who has seen the end of an answer finds a seat free
    let _ = stream.shutdown(Shutdown::Both);
}

/// Why a connection brought no request.
enum Deaf {
    /// The peer left without asking, or we are closing.
    Gone,
    /// The request is one we do not take.
    Refused(String),
}

impl Deaf {
    fn refused(reason: impl fmt::Display) -> Self {
        Self::Refused(reason.to_string())
    }
}

fn check_peer(stream: &UnixStream) -> Result<(), Deaf> {
    let peer = peer::user_of(stream.as_fd()).map_err(Deaf::refused)?;
    if may_control(peer, user().id) {
        return Ok(());
    }
    Err(Deaf::refused(format!("user {peer} may not control a program of user {}", user().id)))
}

/// The user the program runs as, and root.
fn may_control(peer: u32, own: u32) -> bool {
    peer == own || peer == 0
}

/// Reads up to the line end, within one deadline for all of it: a peer that sends a byte now and then gains nothing.
fn read_request(mut stream: &UnixStream, end: &Interrupt) -> Result<String, Deaf> {
    let deadline = Instant::now() + REQUEST_TIME;
    let mut line = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        match end.wait_readable(stream, Some(deadline.saturating_duration_since(Instant::now()))) {
            Ok(Wake::Ready) => {}
            Ok(Wake::Interrupted) | Err(_) => return Err(Deaf::Gone),
            Ok(Wake::TimedOut) => {
                return Err(Deaf::refused(format!("no whole request within {REQUEST_TIME:?}")));
            }
        }
        let count = stream.read(&mut chunk).map_err(|_| Deaf::Gone)?;
        let line_end = chunk[..count].iter().position(|byte| *byte == b'\n');
        line.extend_from_slice(&chunk[..line_end.unwrap_or(count)]);
        if line.len() > REQUEST_LIMIT {
            return Err(Deaf::refused(format!("a request has at most {REQUEST_LIMIT} bytes")));
        }
        match (line_end, count) {
            (None, 0) if line.is_empty() => return Err(Deaf::Gone),
            (None, 1..) => {}
            _ => {
                return String::from_utf8(line).map_err(|_| Deaf::refused("a request is UTF-8 text"));
            }
        }
    }
}

fn refuse(stream: &UnixStream, reason: &str) -> io::Result<()> {
    send_line(stream, &format!("{REFUSAL_MARK}{reason}"))
}

fn send_line(mut stream: &UnixStream, line: &str) -> io::Result<()> {
    let mut bytes = Vec::with_capacity(line.len() + 1);
    bytes.extend_from_slice(line.as_bytes());
    bytes.push(b'\n');
    stream.write_all(&bytes).map_err(timed_out)
}

/// A socket whose timeout ran out says "would block"; this says what it means.
fn timed_out(error: io::Error) -> io::Error {
    match error.kind() {
        ErrorKind::WouldBlock => io::Error::from(ErrorKind::TimedOut),
        _ => error,
    }
}

// ---- asking ----------------------------------------------------------------------------------------------------

/// Sends `line` to the program that listens in `dir` and returns its whole answer, without the last line end. All of
/// that takes at most `timeout`.
///
/// # Errors
/// See [`AskError`]; [`AskError::NotRunning`] when nobody listens there.
pub fn ask(dir: &Path, line: &str, timeout: Duration) -> Result<String, AskError> {
    let started = Instant::now();
    let mut talk = Talk::begin(dir, line, timeout)?;
    let mut answer = String::new();
    while let Some(line) = talk.next_line(timeout.saturating_sub(started.elapsed()), timeout)? {
        if !answer.is_empty() {
            answer.push('\n');
        }
        answer.push_str(&line);
        if answer.len() > ANSWER_LIMIT {
            return Err(too_long());
        }
    }
    Ok(answer)
}

/// Sends `line` to the program that listens in `dir` and hands every line of its answer to `on_line` as it comes. For
/// answers that take as long as they take, such as that to `stop`: `silence` bounds the wait for *each* line.
///
/// # Errors
/// See [`AskError`]; [`AskError::NotRunning`] when nobody listens there. Lines handed over before an error stand.
pub fn ask_stream(dir: &Path, line: &str, silence: Duration, mut on_line: impl FnMut(&str)) -> Result<(), AskError> {
    let mut talk = Talk::begin(dir, line, silence)?;
    while let Some(line) = talk.next_line(silence, silence)? {
        on_line(&line);
    }
    Ok(())
}

fn too_long() -> AskError {
    AskError::Io(io::Error::new(ErrorKind::InvalidData, format!("the answer has more than {ANSWER_LIMIT} bytes")))
}

/// The asker's end of one connection.
struct Talk {
    reader: BufReader<UnixStream>,
    /// Bytes of the line that is not complete yet.
    partial: Vec<u8>,
    answered: bool,
}

impl Talk {
    fn begin(dir: &Path, line: &str, timeout: Duration) -> Result<Self, AskError> {
        if line.contains('\n') {
            return Err(io::Error::new(ErrorKind::InvalidInput, "a request is one line").into());
        }
        let stream = connect_within(dir, timeout)?;
        match send_line(&stream, line) {
            // It may have refused us before we were done asking; then its reason is there to be read.
            Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {}
            Err(error) if error.kind() == ErrorKind::TimedOut => {
                return Err(AskError::TimedOut { after: timeout });
            }
            result => result?,
        }
        Ok(Self { reader: BufReader::new(stream), partial: Vec::new(), answered: false })
    }

    /// The next line, `None` after the last. `left` bounds the wait; `given` is what an error says about it.
    fn next_line(&mut self, left: Duration, given: Duration) -> Result<Option<String>, AskError> {
        let deadline = Instant::now().checked_add(left);
        loop {
            let wait = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            if wait == Some(Duration::ZERO) {
                return Err(AskError::TimedOut { after: given });
            }
            self.reader.get_ref().set_read_timeout(wait)?;
            match self.fill() {
                Ok(Filled::Line) => return self.take_line().map(Some),
                Ok(Filled::More) => {}
                Ok(Filled::End) if self.answered && self.partial.is_empty() => return Ok(None),
                Ok(Filled::End) => return Err(AskError::Cut),
                Err(error) => match error.kind() {
                    ErrorKind::Interrupted | ErrorKind::WouldBlock | ErrorKind::TimedOut => {} // the deadline decides
                    ErrorKind::ConnectionReset | ErrorKind::BrokenPipe => {
                        return Err(AskError::Cut);
                    }
                    _ => return Err(error.into()),
                },
            }
            if self.partial.len() > ANSWER_LIMIT {
                return Err(too_long());
            }
        }
    }

    /// Moves bytes into `partial`, by at most one read and not beyond a line end.
    fn fill(&mut self) -> io::Result<Filled> {
        let bytes = self.reader.fill_buf()?;
        let (filled, count) = match bytes.iter().position(|byte| *byte == b'\n') {
            Some(end) => (Filled::Line, end + 1),
            None if bytes.is_empty() => (Filled::End, 0),
            None => (Filled::More, bytes.len()),
        };
        self.partial.extend_from_slice(&bytes[..count]);
        self.reader.consume(count);
        Ok(filled)
    }

    fn take_line(&mut self) -> Result<String, AskError> {
        let mut bytes = std::mem::take(&mut self.partial);
        bytes.pop(); // the line end
        let line = String::from_utf8_lossy(&bytes).into_owned();
        match line.strip_prefix(REFUSAL_MARK) {
            Some(reason) if !self.answered => Err(AskError::Refused { reason: reason.to_owned() }),
            _ => {
                self.answered = true;
                Ok(line)
            }
        }
    }
}

/// What one read brought.
enum Filled {
    Line,
    More,
    End,
}

/// Connects, waiting at most `timeout` for a place in the program's queue, and bounds the later writes likewise.
fn connect_within(dir: &Path, timeout: Duration) -> Result<UnixStream, AskError> {
    let not_running = || AskError::NotRunning { path: dir.join(SOCKET_FILE) };
    let (address, _dir) = match address(dir) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Err(not_running());
        }
        result => result?,
    };
    let socket = stream_socket()?;
    // The kernel holds a connect on a Unix socket to the send timeout. Zero would mean "no limit".
    set_socket_timeout(&socket, Timeout::Send, Some(timeout.max(Duration::from_millis(1)))).map_err(io::Error::from)?;
    match connect(&socket, &address) {
        Ok(()) => Ok(UnixStream::from(socket)),
        Err(Errno::NOENT | Errno::CONNREFUSED | Errno::NOTDIR) => Err(not_running()),
        Err(Errno::AGAIN) => Err(AskError::TimedOut { after: timeout }),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_own_user_and_root_may_control() {
        assert!(may_control(1000, 1000));
        assert!(may_control(0, 1000));
        assert!(!may_control(1001, 1000));
        assert!(!may_control(1000, 0));
    }
}
