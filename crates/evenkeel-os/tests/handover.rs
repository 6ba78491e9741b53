//! From one process to the next: a line between the two, and the listening sockets.
//!
//! A process that starts its program anew starts it with its own arguments. So each test starts this binary for one of the
//! ignored tests alone, and that one plays all parts.
#![allow(clippy::unwrap_used, reason = "a test fails loudly")]

use std::{
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use evenkeel_os::{
    env::process_env,
    handover::{Heard, Origin, Parent, become_anew, launch, predecessor},
    sockets::{PASSED_BY, inherited, pass_on},
};

/// Nothing here takes longer, not even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);

fn alone(test: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([test, "--exact", "--ignored"]).stdout(Stdio::null()).env_remove(PASSED_BY);
    command
}

#[test]
#[ignore = "runs as a child of the test below"]
fn old_and_new() {
    match predecessor(&process_env).unwrap() {
        Some(line) => new(line),
        None => {
            old(Parent::Here);
            old(Parent::Manager);
        }
    }
    assert!(predecessor(&process_env).unwrap().is_none(), "taken once");
}

fn old(parent: Parent) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut next = launch(&Origin::here(), &[("api".to_owned(), listener)], parent).unwrap();
    let heard = next.line.hear(Some(Instant::now() + PATIENCE)).unwrap();
    assert_eq!(heard, Heard::Said("here with api and a second line".to_owned()));
    assert_eq!(next.line.hear(Some(Instant::now())).unwrap(), Heard::Nothing);
    next.line.say("serve one").unwrap();
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, "the new one");
    next.line.say("go").unwrap();
    let how = next.ended(PATIENCE).unwrap();
    assert_eq!(how, if parent == Parent::Here { "exit status: 0" } else { "ended" });
}

fn new(mut line: evenkeel_os::handover::Line) {
    let sockets = inherited(&process_env).unwrap();
    line.say(&format!("here with {}\nand a second line", sockets[0].name)).unwrap();
    assert_eq!(line.hear(None).unwrap(), Heard::Said("serve one".to_owned()));
    let (mut client, _) = sockets[0].listener.accept().unwrap();
    client.write_all(b"the new one").unwrap();
    drop(client);
    assert_eq!(line.hear(None).unwrap(), Heard::Said("go".to_owned()));
}

#[test]
fn r4_1b_a_new_process_of_the_same_program_gets_the_sockets_and_a_line() {
    assert!(alone("old_and_new").status().unwrap().success());
}

#[test]
#[ignore = "runs as a child of the test below"]
fn first_and_second_life() {
    let sockets = inherited(&process_env).unwrap();
    if std::env::var_os(PASSED_BY).is_some() {
        let sockets: Vec<_> = sockets.into_iter().map(|one| (one.name, one.listener)).collect();
        panic!("{}", become_anew(&Origin::here(), &sockets));
    }
    let (mut client, _) = sockets[0].listener.accept().unwrap();
    write!(client, "{} anew", std::process::id()).unwrap();
}

#[test]
fn r4_1b_a_process_becomes_its_program_anew_behind_the_same_socket() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let mut command = alone("first_and_second_life");
    pass_on(&mut command, &[("api", &listener)]).unwrap();
    let mut child = command.spawn().unwrap();
    drop((command, listener));
    let mut text = String::new();
    client.read_to_string(&mut text).unwrap();
    assert_eq!(text, format!("{} anew", child.id()));
    assert!(child.wait().unwrap().success());
}

/// Each life has the number of the next in the name of its second socket.
#[test]
#[ignore = "runs as a child of the test below"]
fn many_lives_with_other_threads() {
    let mut sockets = inherited(&process_env).unwrap().into_iter();
    let first = sockets.next().unwrap().listener;
    let (life, second) = match sockets.next() {
        Some(second) => (second.name.parse().unwrap(), second.listener),
        None => (0, TcpListener::bind("127.0.0.1:0").unwrap()),
    };
    if life == 50 {
        return;
    }
    // Out of the way of the number that it will get, which is somebody else's until then.
    let copy = [(); 8].map(|()| second.try_clone().unwrap()).into_iter().next_back().unwrap();
    drop(second);
    // Other threads live on until the very end, and close what they have opened.
    thread::spawn(|| {
        loop {
            drop([(); 8].map(|()| File::open("/dev/null").unwrap()));
        }
    });
    let sockets = [("api".to_owned(), first), ((life + 1).to_string(), copy)];
    panic!("{}", become_anew(&Origin::here(), &sockets));
}

#[test]
fn r4_1b_what_other_threads_close_meanwhile_is_no_socket_that_is_passed_on() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = alone("many_lives_with_other_threads");
    pass_on(&mut command, &[("api", &listener)]).unwrap();
    assert!(command.status().unwrap().success());
}
