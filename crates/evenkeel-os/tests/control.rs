//! The control channel over real sockets.
#![allow(clippy::unwrap_used, reason = "a failed helper fails its test")]

use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{channel, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use evenkeel_os::control::{AskError, CONNECTION_LIMIT, Listener, REQUEST_LIMIT, SOCKET_FILE, Server, ask, ask_stream};

/// Far beyond any delay that is not a hang.
const HANG: Duration = Duration::from_secs(20);

fn echo(dir: &Path) -> Server {
    let listener = Listener::bind(dir).unwrap();
    listener
        .serve(|line, reply| {
            let _ = reply(&format!("<{line}>"));
        })
        .unwrap()
}

#[test]
fn a_question_gets_its_answer() {
    let dir = tempfile::tempdir().unwrap();
    let server = echo(dir.path());
    assert_eq!(server.path(), dir.path().join(SOCKET_FILE));
    assert_eq!(ask(dir.path(), "status --all", HANG).unwrap(), "<status --all>");
    assert_eq!(ask(dir.path(), "ä", HANG).unwrap(), "<ä>");
    assert_eq!(ask(dir.path(), "", HANG).unwrap(), "<>");
}

#[test]
fn only_the_owner_may_open_the_socket() {
    let dir = tempfile::tempdir().unwrap();
    let server = echo(dir.path());
    let mode = std::fs::metadata(server.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn no_socket_a_stale_socket_and_no_directory_all_mean_not_running() {
    let dir = tempfile::tempdir().unwrap();
    let not_running = |dir: &Path| matches!(ask(dir, "status", HANG), Err(AskError::NotRunning { .. }));
    assert!(not_running(dir.path()));
    assert!(not_running(&dir.path().join("absent")));
    assert!(not_running(&dir.path().join("absent").join("x".repeat(120))));
    drop(UnixListener::bind(dir.path().join(SOCKET_FILE)).unwrap()); // leaves its file, as a crash does
    assert!(not_running(dir.path()));
}

#[test]
fn a_stale_socket_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    drop(UnixListener::bind(dir.path().join(SOCKET_FILE)).unwrap());
    let _server = echo(dir.path());
    assert_eq!(ask(dir.path(), "x", HANG).unwrap(), "<x>");
}

#[test]
fn what_is_not_a_socket_is_not_removed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(SOCKET_FILE);
    std::fs::write(&path, "precious").unwrap();
    let error = Listener::bind(dir.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
    assert_eq!(std::fs::read_to_string(path).unwrap(), "precious");
}

#[test]
fn a_directory_with_a_path_too_long_for_a_socket_address_works_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("d".repeat(100)).join("e".repeat(100));
    std::fs::create_dir_all(&deep).unwrap();
    let server = echo(&deep);
    assert!(server.path().exists());
    assert_eq!(ask(&deep, "x", HANG).unwrap(), "<x>");
    let path = server.path().to_owned();
    server.shut_down(Duration::ZERO);
    assert!(!path.exists());
}

#[test]
fn an_answer_may_come_in_lines_over_time() {
    let dir = tempfile::tempdir().unwrap();
    let (heard, wait_heard) = channel();
    let wait_heard = Mutex::new(wait_heard);
    let _server = Listener::bind(dir.path())
        .unwrap()
        .serve(move |_, reply| {
            for line in ["draining", "releasing", "stopped"] {
                reply(line).unwrap();
                // The next line is not sent before the asker has heard this one.
                assert_eq!(wait_heard.lock().unwrap().recv_timeout(HANG).unwrap(), line);
            }
        })
        .unwrap();
    let mut lines = Vec::new();
    ask_stream(dir.path(), "stop", HANG, |line| {
        lines.push(line.to_owned());
        heard.send(line.to_owned()).unwrap();
    })
    .unwrap();
    assert_eq!(lines, ["draining", "releasing", "stopped"]);
}

#[test]
fn an_answer_of_several_lines_is_collected_whole() {
    let dir = tempfile::tempdir().unwrap();
    let long = "x".repeat(1_000_000);
    let sent = long.clone();
    let _server = Listener::bind(dir.path())
        .unwrap()
        .serve(move |_, reply| {
            reply("one\ntwo").unwrap();
            reply(&sent).unwrap();
        })
        .unwrap();
    assert_eq!(ask(dir.path(), "x", HANG).unwrap(), format!("one\ntwo\n{long}"));
}

#[test]
fn a_program_that_is_too_slow_is_not_taken_for_one_that_is_not_running() {
    let dir = tempfile::tempdir().unwrap();
    let (release, wait_release) = channel::<()>();
    let wait_release = Mutex::new(wait_release);
    let _server = Listener::bind(dir.path())
        .unwrap()
        .serve(move |_, _| {
            let _ = wait_release.lock().unwrap().recv(); // an error: the test is over
        })
        .unwrap();
    let given = Duration::from_millis(20);
    let error = ask(dir.path(), "status", given).unwrap_err();
    assert!(matches!(error, AskError::TimedOut { after } if after == given), "{error:?}");
    drop(release);
}

#[test]
fn a_panic_in_the_handler_cuts_that_answer_only() {
    let dir = tempfile::tempdir().unwrap();
    let _server = Listener::bind(dir.path())
        .unwrap()
        .serve(|line, reply| {
            assert_ne!(line, "panic", "as this test means it to");
            reply("fine").unwrap();
        })
        .unwrap();
    assert!(matches!(ask(dir.path(), "panic", HANG), Err(AskError::Cut)));
    assert_eq!(ask(dir.path(), "x", HANG).unwrap(), "fine");
}

#[test]
fn a_request_beyond_its_limit_is_refused_and_one_at_the_limit_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let _server = echo(dir.path());
    let most = "x".repeat(REQUEST_LIMIT);
    assert_eq!(ask(dir.path(), &most, HANG).unwrap().len(), REQUEST_LIMIT + 2);
    let error = ask(dir.path(), &"x".repeat(REQUEST_LIMIT * 4), HANG).unwrap_err();
    assert!(matches!(&error, AskError::Refused { reason } if reason.contains("65536 bytes")), "{error:?}");
}

#[test]
fn a_request_of_two_lines_is_not_sent() {
    let dir = tempfile::tempdir().unwrap();
    let _server = echo(dir.path());
    let error = ask(dir.path(), "status\nstop", HANG).unwrap_err();
    assert!(matches!(&error, AskError::Io(error) if error.kind() == ErrorKind::InvalidInput), "{error:?}");
}

#[test]
fn a_connection_that_asks_nothing_is_told_and_closed_in_time() {
    let dir = tempfile::tempdir().unwrap();
    let server = echo(dir.path());
    let mut silent = UnixStream::connect(server.path()).unwrap();
    silent.write_all(b"half a request").unwrap();
    let mut told = String::new();
    silent.read_to_string(&mut told).unwrap();
    assert!(told.contains("no whole request within 2s"), "{told:?}");
}

#[test]
fn a_request_that_is_not_text_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let server = echo(dir.path());
    let mut odd = UnixStream::connect(server.path()).unwrap();
    odd.write_all(b"\xff\xfe\n").unwrap();
    let mut told = String::new();
    odd.read_to_string(&mut told).unwrap();
    assert!(told.contains("UTF-8"), "{told:?}");
}

#[test]
fn one_connection_too_many_is_refused_and_the_next_after_one_ended_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let (entered, wait_entered) = channel();
    let (release, wait_release) = sync_channel::<()>(CONNECTION_LIMIT);
    let wait_release = Mutex::new(wait_release);
    let server = Listener::bind(dir.path())
        .unwrap()
        .serve(move |line, reply| {
            if line == "wait" {
                entered.send(()).unwrap();
                wait_release.lock().unwrap().recv().unwrap();
            }
            let _ = reply("done");
        })
        .unwrap();
    let mut waiting = Vec::new();
    for _ in 0..CONNECTION_LIMIT {
        let mut stream = UnixStream::connect(server.path()).unwrap();
        stream.write_all(b"wait\n").unwrap();
        wait_entered.recv_timeout(HANG).unwrap();
        waiting.push(stream);
    }
    let error = ask(dir.path(), "status", HANG).unwrap_err();
    assert!(matches!(&error, AskError::Refused { reason } if reason.contains("busy")), "{error:?}");
    for _ in 0..CONNECTION_LIMIT {
        release.send(()).unwrap();
    }
    for mut stream in waiting {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "done\n");
    }
    assert_eq!(ask(dir.path(), "status", HANG).unwrap(), "done");
}

#[test]
fn shutting_down_with_nobody_there_is_at_once_and_removes_the_socket() {
    let dir = tempfile::tempdir().unwrap();
    let server = echo(dir.path());
    let path = server.path().to_owned();
    let started = Instant::now();
    assert_eq!(server.shut_down(HANG), 0);
    assert!(started.elapsed() < HANG / 2);
    assert!(!path.exists());
    assert!(matches!(ask(dir.path(), "x", HANG), Err(AskError::NotRunning { .. })));
}

#[test]
fn shutting_down_does_not_wait_for_a_connection_that_has_not_asked() {
    let dir = tempfile::tempdir().unwrap();
    let server = echo(dir.path());
    let mut silent = UnixStream::connect(server.path()).unwrap();
    assert_eq!(ask(dir.path(), "x", HANG).unwrap(), "<x>"); // so the one before it was accepted too
    let started = Instant::now();
    assert_eq!(server.shut_down(HANG), 0);
    assert!(started.elapsed() < HANG / 2);
    assert_eq!(silent.read(&mut [0; 8]).unwrap(), 0);
}

#[test]
fn shutting_down_lets_a_handler_finish_its_answer_within_the_grace() {
    let dir = tempfile::tempdir().unwrap();
    let (entered, wait_entered) = channel();
    let (release, wait_release) = channel::<()>();
    let wait_release = Mutex::new(wait_release);
    let server = Listener::bind(dir.path())
        .unwrap()
        .serve(move |_, reply| {
            entered.send(()).unwrap();
            wait_release.lock().unwrap().recv().unwrap();
            reply("stopped").unwrap();
        })
        .unwrap();
    let place = dir.path().to_owned();
    let asker = std::thread::spawn(move || ask(&place, "stop", HANG));
    wait_entered.recv_timeout(HANG).unwrap();
    release.send(()).unwrap();
    assert_eq!(server.shut_down(HANG), 0);
    assert_eq!(asker.join().unwrap().unwrap(), "stopped");
}

#[test]
fn shutting_down_cuts_a_handler_that_outlasts_the_grace() {
    let dir = tempfile::tempdir().unwrap();
    let (entered, wait_entered) = channel();
    let (release, wait_release) = channel::<()>();
    let wait_release = Mutex::new(wait_release);
    let (told, wait_told) = channel();
    let server = Listener::bind(dir.path())
        .unwrap()
        .serve(move |_, reply| {
            entered.send(()).unwrap();
            wait_release.lock().unwrap().recv().unwrap();
            told.send(reply("too late").map_err(|error| error.kind())).unwrap();
        })
        .unwrap();
    let place = dir.path().to_owned();
    let asker = std::thread::spawn(move || ask(&place, "stop", HANG));
    wait_entered.recv_timeout(HANG).unwrap();
    assert_eq!(server.shut_down(Duration::ZERO), 1);
    assert!(matches!(asker.join().unwrap(), Err(AskError::Cut)));
    release.send(()).unwrap();
    assert_eq!(wait_told.recv_timeout(HANG).unwrap(), Err(ErrorKind::BrokenPipe));
}

#[test]
fn a_handler_learns_that_the_asker_has_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (gone, wait_gone) = channel();
    let wait_gone = Mutex::new(wait_gone);
    let (told, wait_told) = channel();
    let server = Listener::bind(dir.path())
        .unwrap()
        .serve(move |_, reply| {
            wait_gone.lock().unwrap().recv().unwrap();
            told.send(reply("anybody?").is_err()).unwrap();
        })
        .unwrap();
    let mut asker = UnixStream::connect(server.path()).unwrap();
    asker.write_all(b"stop\n").unwrap();
    drop(asker);
    gone.send(()).unwrap();
    assert!(wait_told.recv_timeout(HANG).unwrap());
}

#[test]
fn many_askers_at_once_each_get_their_own_answer() {
    let dir = tempfile::tempdir().unwrap();
    let _server = echo(dir.path());
    let place = Arc::new(dir.path().to_owned());
    let askers: Vec<_> = (0..CONNECTION_LIMIT)
        .map(|number| {
            let place = Arc::clone(&place);
            std::thread::spawn(move || {
                for round in 0..20 {
                    let line = format!("{number}.{round}");
                    assert_eq!(ask(&place, &line, HANG).unwrap(), format!("<{line}>"));
                }
            })
        })
        .collect();
    for asker in askers {
        asker.join().unwrap();
    }
}
