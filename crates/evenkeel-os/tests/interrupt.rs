//! Ending blocking calls, on real pipes and sockets.
#![allow(clippy::unwrap_used, reason = "a failed helper fails its test")]

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::channel;
use std::thread::{JoinHandle, spawn};
use std::time::{Duration, Instant};

use evenkeel_os::interrupt::{Breaker, Interrupt, Wake, shut_down};
use evenkeel_os::threads::{current_thread_id, describe};

/// The name of the call that [`Interrupt`] waits in is `poll` or `ppoll`, by processor.
const POLL: &str = "p";

/// Far beyond any delay that is not a hang.
const HANG: Duration = Duration::from_secs(20);

/// Runs `body` in a thread and returns once the kernel shows that thread asleep in `call`.
fn blocked_in<T: Send + 'static>(call: &str, body: impl FnOnce() -> T + Send + 'static) -> JoinHandle<T> {
    let (send, receive) = channel();
    let thread = spawn(move || {
        send.send(current_thread_id()).unwrap();
        body()
    });
    let id = receive.recv().unwrap();
    let started = Instant::now();
    while !describe(id).unwrap_or_default().contains(&format!("system call {call}")) {
        assert!(started.elapsed() < HANG, "never seen in {call}: {:?}", describe(id));
        std::thread::yield_now();
    }
    thread
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let one = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (one, listener.accept().unwrap().0)
}

#[test]
fn an_interrupt_before_the_wait_is_not_lost_r3_3() {
    let interrupt = Interrupt::new().unwrap();
    let (one, _other) = tcp_pair();
    assert!(!interrupt.is_interrupted());
    interrupt.interrupt();
    interrupt.interrupt();
    assert!(interrupt.is_interrupted());
    for _ in 0..3 {
        assert_eq!(interrupt.wait_readable(&one, None).unwrap(), Wake::Interrupted);
        assert_eq!(interrupt.wait_writable(&one, None).unwrap(), Wake::Interrupted);
        assert_eq!(interrupt.wait(None).unwrap(), Wake::Interrupted);
    }
}

#[test]
fn an_interrupt_ends_a_blocked_wait_on_a_pipe_a_socket_and_a_listener_r3_3() {
    let interrupt = Interrupt::new().unwrap();
    let (pipe, _write) = std::io::pipe().unwrap();
    let (socket, _other) = tcp_pair();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let waits = [("pipe", std::os::fd::OwnedFd::from(pipe)), ("socket", socket.into()), ("listener", listener.into())];
    let waiting: Vec<_> = waits
        .into_iter()
        .map(|(name, fd)| {
            let interrupt = interrupt.clone();
            (name, blocked_in(POLL, move || interrupt.wait_readable(fd, None)))
        })
        .collect();
    interrupt.interrupt();
    for (name, thread) in waiting {
        assert_eq!(thread.join().unwrap().unwrap(), Wake::Interrupted, "{name}");
    }
}

#[test]
fn an_interrupt_ends_a_blocked_wait_for_room_to_write_r3_3() {
    let interrupt = Interrupt::new().unwrap();
    let (mut full, _other) = UnixStream::pair().unwrap();
    full.set_nonblocking(true).unwrap();
    while full.write(&[0; 65536]).is_ok() {}
    let waiter = interrupt.clone();
    let thread = blocked_in(POLL, move || waiter.wait_writable(&full, None));
    interrupt.interrupt();
    assert_eq!(thread.join().unwrap().unwrap(), Wake::Interrupted);
}

#[test]
fn a_wait_ends_when_there_is_something_to_read_r3_3() {
    let interrupt = Interrupt::new().unwrap();
    let (reader, mut writer) = tcp_pair();
    let waiter = interrupt.clone();
    let thread = blocked_in(POLL, move || waiter.wait_readable(&reader, None));
    writer.write_all(b"x").unwrap();
    assert_eq!(thread.join().unwrap().unwrap(), Wake::Ready);
}

#[test]
fn a_closed_peer_counts_as_ready_so_that_the_read_can_report_it_r3_3() {
    let interrupt = Interrupt::new().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(writer);
    assert_eq!(interrupt.wait_readable(&reader, None).unwrap(), Wake::Ready);
}

#[test]
fn a_wait_ends_when_its_time_is_up_and_not_before_r3_3() {
    let interrupt = Interrupt::new().unwrap();
    let (reader, _writer) = std::io::pipe().unwrap();
    let time = Duration::from_millis(20);
    let started = Instant::now();
    assert_eq!(interrupt.wait_readable(&reader, Some(time)).unwrap(), Wake::TimedOut);
    assert_eq!(interrupt.wait(Some(time)).unwrap(), Wake::TimedOut);
    assert!(started.elapsed() >= time * 2);
    assert_eq!(interrupt.wait(Some(Duration::ZERO)).unwrap(), Wake::TimedOut);
}

#[test]
fn a_time_too_long_to_be_represented_is_no_limit_r3_3() {
    let interrupt = Interrupt::new().unwrap();
    interrupt.interrupt();
    assert_eq!(interrupt.wait(Some(Duration::MAX)).unwrap(), Wake::Interrupted);
}

#[test]
fn shutting_a_listener_down_breaks_a_blocked_accept_r3_3() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let breaker = Breaker::of(&listener).unwrap();
    let thread = blocked_in("accept4", move || listener.accept());
    assert!(breaker.break_off().unwrap());
    thread.join().unwrap().expect_err("accept was broken");
}

#[test]
fn shutting_a_local_listener_down_breaks_a_blocked_accept_r3_3() {
    let dir = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(dir.path().join("s")).unwrap();
    let breaker = Breaker::of(&listener).unwrap();
    let thread = blocked_in("accept4", move || listener.accept().map(drop));
    assert!(breaker.break_off().unwrap());
    thread.join().unwrap().expect_err("accept was broken");
}

#[test]
fn shutting_a_connection_down_ends_a_blocked_read_r3_3() {
    let (mut reader, _other) = tcp_pair();
    let breaker = Breaker::of(&reader).unwrap();
    let thread = blocked_in("recvfrom", move || reader.read(&mut [0; 8]));
    assert!(breaker.break_off().unwrap());
    assert_eq!(thread.join().unwrap().unwrap(), 0);
}

#[test]
fn shutting_a_connection_down_fails_a_blocked_write_r3_3() {
    let (mut writer, _other) = tcp_pair();
    let breaker = Breaker::of(&writer).unwrap();
    let thread = blocked_in("sendto", move || {
        loop {
            if let Err(error) = writer.write_all(&[0; 65536]) {
                return error.kind();
            }
        }
    });
    assert!(breaker.break_off().unwrap());
    assert_eq!(thread.join().unwrap(), ErrorKind::BrokenPipe);
}

#[test]
fn shutting_a_datagram_socket_down_ends_a_blocked_receive_r3_3() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let breaker = Breaker::of(&socket).unwrap();
    let thread = blocked_in("recvfrom", move || socket.recv(&mut [0; 8]));
    assert!(breaker.break_off().unwrap());
    assert_eq!(thread.join().unwrap().unwrap(), 0);
}

#[test]
fn what_is_not_a_socket_is_left_alone_r3_3() {
    let file = tempfile::tempfile().unwrap();
    let (pipe, mut write) = std::io::pipe().unwrap();
    assert!(!shut_down(file.as_fd()).unwrap());
    assert!(!shut_down(pipe.as_fd()).unwrap());
    write.write_all(b"still open").unwrap();
}

#[test]
fn shutting_down_twice_is_no_error_r3_3() {
    let (one, other) = tcp_pair();
    drop(other);
    assert!(shut_down(one.as_fd()).unwrap());
    assert!(shut_down(one.as_fd()).unwrap());
}
