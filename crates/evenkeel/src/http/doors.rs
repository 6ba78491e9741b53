//! Listening sockets that this process was given: by systemd's socket activation, or by the process before it.
//!
//! Policy: what was given stays open until the process ends, whatever becomes of the component that serves it, so that
//! whoever connects during a restart waits in the kernel's queue in place of being refused. A socket belongs to the HTTP
//! component that has its name; one without such a name (systemd's default is the unit's) to the component that listens
//! at its address. What nobody listens on is said, and left open.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::Mutex,
};

use evenkeel_http::Listener;
use evenkeel_os::sockets::Inherited;

use crate::lease::lock;

/// See the module documentation.
#[derive(Default)]
pub(crate) struct Doors {
    given: Mutex<Vec<Given>>,
}

struct Given {
    name: String,
    listener: TcpListener,
    used: bool,
}

impl Doors {
    pub(crate) fn fill(&self, inherited: Vec<Inherited>) {
        let given = inherited.into_iter().map(|Inherited { name, listener }| Given { name, listener, used: false });
        lock(&self.given).extend(given);
    }

    /// A handle of the socket that was given for this component, if one was.
    pub(crate) fn find(&self, component: &str, listen: &str) -> io::Result<Option<Listener>> {
        let mut given = lock(&self.given);
        let named = given.iter().position(|given| given.name == component);
        let Some(at) = named.or_else(|| given.iter().position(|given| is_at(&given.listener, listen))) else {
            return Ok(None);
        };
        given[at].used = true;
        Listener::of(given[at].listener.try_clone()?).map(Some)
    }

    /// What nobody listens on, in words.
    pub(crate) fn unused(&self) -> Vec<String> {
        let given = lock(&self.given);
        let addr = |given: &Given| given.listener.local_addr().map_or_else(|_| "?".to_owned(), |addr| addr.to_string());
        given.iter().filter(|given| !given.used).map(|given| format!("`{}` at {}", given.name, addr(given))).collect()
    }
}

/// The same port, at the same address or at every address of the machine.
fn is_at(listener: &TcpListener, listen: &str) -> bool {
    let (Ok(at), Ok(wanted)) = (listener.local_addr(), listen.parse::<SocketAddr>()) else { return false };
    at.port() == wanted.port() && (at.ip() == wanted.ip() || at.ip().is_unspecified())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn given(name: &str) -> (Inherited, SocketAddr) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("the loopback interface is there");
        let addr = listener.local_addr().expect("it listens");
        (Inherited { name: name.to_owned(), listener }, addr)
    }

    #[test]
    fn a_socket_goes_to_the_component_of_its_name_else_of_its_address() {
        let ((named, first), (plain, second)) = (given("api"), given("shop.socket"));
        let doors = Doors::default();
        doors.fill(vec![named, plain]);
        let find = |name: &str, listen: &str| doors.find(name, listen).expect("a copy").map(|found| found.addr());
        assert_eq!(find("api", "0.0.0.0:1"), Some(first), "by its name, wherever it would have listened");
        assert_eq!(doors.unused(), [format!("`shop.socket` at {second}")]);
        assert_eq!(find("metrics", &second.to_string()), Some(second), "by its address");
        assert_eq!(find("other", "127.0.0.1:0"), None);
        assert_eq!(doors.unused(), [""; 0]);
    }
}
