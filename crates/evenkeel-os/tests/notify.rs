//! What a service says to its manager, as a manager hears it.
#![allow(clippy::unwrap_used, reason = "a test fails loudly")]

use std::{
    io::IoSliceMut,
    mem::MaybeUninit,
    os::{
        fd::OwnedFd,
        linux::net::SocketAddrExt,
        unix::net::{SocketAddr, UnixDatagram},
    },
    thread,
    time::Duration,
};

use evenkeel_os::notify::{Note, notifier};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

const PATIENCE: Duration = Duration::from_secs(60);

/// The next message, with the descriptors in it.
fn heard(manager: &UnixDatagram) -> (String, Vec<OwnedFd>) {
    let mut space = [MaybeUninit::uninit(); 256];
    let (mut rights, mut text) = (RecvAncillaryBuffer::new(&mut space), [0; 512]);
    let read = recvmsg(manager, &mut [IoSliceMut::new(&mut text)], &mut rights, RecvFlags::CMSG_CLOEXEC).unwrap().bytes;
    let descriptors = rights.drain().flat_map(|message| match message {
        RecvAncillaryMessage::ScmRights(rights) => rights.collect(),
        _ => Vec::new(),
    });
    let descriptors = descriptors.collect();
    (String::from_utf8_lossy(&text[..read]).into_owned(), descriptors)
}

#[test]
fn a_manager_at_a_path_hears_each_message_whole() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let manager = UnixDatagram::bind(&path).unwrap();
    let notifier = notifier(&|name| (name == "NOTIFY_SOCKET").then(|| path.clone().into())).unwrap().unwrap();
    notifier.tell(&[Note::Ready, Note::Status("running")]).unwrap();
    assert_eq!(heard(&manager).0, "READY=1\nSTATUS=running\n");
    let kept = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    notifier.tell_with(&[Note::StoreDescriptors("api")], &[&kept]).unwrap();
    let (text, mut descriptors) = heard(&manager);
    assert_eq!((text.as_str(), descriptors.len()), ("FDSTORE=1\nFDNAME=api\n", 1));
    let stored = std::net::TcpListener::from(descriptors.remove(0));
    assert_eq!(stored.local_addr().unwrap(), kept.local_addr().unwrap());
}

#[test]
fn a_manager_with_an_abstract_name_is_reached_and_a_barrier_waits_for_it() {
    let name = format!("evenkeel-test-{}", std::process::id());
    let manager = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    let notifier = notifier(&|variable| (variable == "NOTIFY_SOCKET").then(|| format!("@{name}").into()));
    let notifier = notifier.unwrap().unwrap();
    assert_eq!(notifier.barrier(Duration::ZERO).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    let reader = thread::spawn(move || {
        let first = heard(&manager); // its descriptor is closed with it
        assert_eq!((first.0.as_str(), first.1.len()), ("BARRIER=1", 1));
        drop(first);
        heard(&manager).0
    });
    notifier.barrier(PATIENCE).unwrap();
    assert_eq!(reader.join().unwrap(), "BARRIER=1");
}

#[test]
fn an_address_that_is_none_is_an_error_and_no_address_is_no_manager() {
    let error = notifier(&|_| Some("somewhere".into())).unwrap_err().to_string();
    assert_eq!(error, "`NOTIFY_SOCKET=somewhere`: neither a path, nor @name, nor vsock:CID:PORT");
    assert!(notifier(&|_| Some("/nowhere/at/all".into())).unwrap_err().to_string().contains("No such file"));
    assert!(notifier(&|_| None).unwrap().is_none());
}
