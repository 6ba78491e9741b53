//! Listening sockets from one process to the next.
#![allow(clippy::unwrap_used, reason = "a test fails loudly")]

use std::{
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::{Command, Stdio},
};

use evenkeel_os::{env::process_env, sockets};

/// The other process of the test below: it answers one client on each socket that it was given.
#[test]
#[ignore = "runs as a child of the other test"]
fn the_new_process() {
    for inherited in sockets::inherited(&process_env).unwrap() {
        let (mut client, _) = inherited.listener.accept().unwrap();
        client.write_all(inherited.name.as_bytes()).unwrap();
    }
    assert!(sockets::inherited(&process_env).unwrap().is_empty(), "taken once");
}

#[test]
fn r4_1b_a_new_process_answers_who_connected_before_it_was_there() {
    let (first, second) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let mut early = TcpStream::connect(first.local_addr().unwrap()).unwrap();
    let mut late = TcpStream::connect(second.local_addr().unwrap()).unwrap();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["the_new_process", "--exact", "--ignored"]).stdout(Stdio::null());
    sockets::pass_on(&mut command, &[("public", &first), ("admin", &second)]).unwrap();
    let mut child = command.spawn().unwrap();
    // The old process closes its own: the queue lives on.
    drop((command, first, second));
    let mut text = String::new();
    early.read_to_string(&mut text).unwrap();
    assert_eq!(text, "public");
    late.read_to_string(&mut text).unwrap();
    assert_eq!(text, "publicadmin");
    assert!(child.wait().unwrap().success());
}

#[test]
fn sockets_that_were_meant_for_another_process_are_left_alone() {
    let env = |name: &str| match name {
        "LISTEN_FDS" => Some("1".into()),
        "LISTEN_PID" | sockets::PASSED_BY => Some("1".into()),
        _ => None,
    };
    assert!(sockets::inherited(&env).unwrap().is_empty());
    assert!(sockets::inherited(&|_| None).unwrap().is_empty());
}

#[test]
fn a_wrong_number_of_sockets_is_an_error_that_says_so() {
    let pid = std::process::id().to_string();
    let env = |name: &str| match name {
        "LISTEN_FDS" => Some("many".into()),
        "LISTEN_PID" => Some(pid.clone().into()),
        _ => None,
    };
    assert_eq!(sockets::inherited(&env).unwrap_err().to_string(), "`LISTEN_FDS=many` is not a number");
}

#[test]
fn who_listens_at_a_port_is_named_r2_5a() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let owner = sockets::owner_of(listener.local_addr().unwrap().port()).unwrap();
    assert_eq!(owner.pid, std::process::id());
    assert!(owner.name.starts_with("sockets"), "{owner:?}");
    assert_eq!(sockets::owner_of(0), None);
}

#[test]
fn an_address_can_be_tried_without_taking_it_r2_5a() {
    use evenkeel_os::sockets::try_bind;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    assert_eq!(try_bind(addr).unwrap_err().kind(), std::io::ErrorKind::AddrInUse);
    try_bind("127.0.0.1:0".parse().unwrap()).unwrap();
    // TEST-NET-1: no machine has it.
    assert_eq!(try_bind("192.0.2.1:0".parse().unwrap()).unwrap_err().kind(), std::io::ErrorKind::AddrNotAvailable);
}
