//! The listening sockets of a process: those it was given, by systemd's socket activation or by the process before it, and
//! those of its own that it may pass on.
//!
//! Policy: what was given stays open until the process ends, whatever becomes of the component that serves it, so that
//! whoever connects during a restart waits in the kernel's queue in place of being refused. A socket belongs to the HTTP
//! component that has its name; one without such a name (systemd's default is the unit's) to the component that listens
//! at its address; and if there is one socket and one component, they belong together. What nobody listens on is said, and
//! left open. A socket of one's own closes with its component, unless
//! the process leaves its place to another: then that one has it, as a socket of its own; a mark before the name says so.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    sync::{Arc, Mutex},
};

use evenkeel_http::{Listener, Listening, Live};
use evenkeel_os::sockets::Inherited;

use crate::lease::lock;

/// The name of the admin listener's socket, which no component can have.
pub(crate) const ADMIN: &str = "@admin";

/// Stands before the name of a socket that a process made itself, or has from one that did.
const OWN: char = '=';

/// See the module documentation.
#[derive(Default)]
pub(crate) struct Doors {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    open: Vec<Door>,
    leaving: Leaving,
    /// How many components listen.
    components: usize,
}

struct Door {
    name: String,
    listener: TcpListener,
    from: Source,
    /// Who serves it.
    live: Option<Live>,
    used: bool,
}

/// Where a socket came from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Whoever holds it for this service.
    Holder,
    /// The process before this one; of this process as soon as a component has it.
    Predecessor,
    Here,
}

/// Who has the sockets after this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Leaving {
    /// Nobody, or whoever holds them.
    #[default]
    ForGood,
    /// Another process, which serves already.
    ToSuccessor,
    /// The program anew, in this process.
    Anew,
}

impl Doors {
    /// Whether a socket of this name was opened by the program itself, and is not the admin listener.
    pub(crate) fn is_own(name: &str) -> bool {
        name.strip_prefix(OWN).is_some_and(|name| name != ADMIN)
    }

    /// Takes what this process was given.
    pub(crate) fn fill(&self, inherited: Vec<Inherited>) {
        let doors = inherited.into_iter().map(|Inherited { name, listener }| {
            let (name, from) = match name.strip_prefix(OWN) {
                Some(own) => (own.to_owned(), Source::Predecessor),
                None => (name, Source::Holder),
            };
            Door { name, listener, from, live: None, used: false }
        });
        lock(&self.state).open.extend(doors);
    }

    /// A component was declared that will listen.
    pub(crate) fn expect(&self) {
        lock(&self.state).components += 1;
    }

    /// The socket that was given for this component, if one was.
    pub(crate) fn find(self: &Arc<Self>, component: &str, listen: &str) -> io::Result<Option<(Listener, OpenDoor)>> {
        let mut state = lock(&self.state);
        // A holder decides where it listens; with the process before, the configuration may have changed since.
        let named =
            |door: &Door| door.name == component && (door.from == Source::Holder || fits(&door.listener, listen));
        let at = |door: &Door| door.name != ADMIN && is_at(&door.listener, listen);
        let given = |wanted: &dyn Fn(&Door) -> bool| {
            state.open.iter().position(|door| door.from != Source::Here && wanted(door))
        };
        let is_held = |door: &&Door| door.from == Source::Holder;
        let alone = state.components == 1 && state.open.iter().filter(is_held).count() == 1;
        let only = |door: &Door| alone && door.from == Source::Holder;
        let Some(found) = given(&named).or_else(|| given(&at)).or_else(|| given(&only)) else { return Ok(None) };
        let door = &mut state.open[found];
        door.used = true;
        if door.from == Source::Predecessor {
            door.from = Source::Here;
        }
        let listener = Listener::of(door.listener.try_clone()?)?;
        Ok(Some((listener, OpenDoor { doors: self.clone(), name: door.name.clone() })))
    }

    /// Takes the admin listener that the process before had, if it is where it is wanted.
    pub(crate) fn find_admin(&self, addr: SocketAddr) -> io::Result<Option<TcpListener>> {
        let mut state = lock(&self.state);
        let wanted = addr.to_string();
        let found = state.open.iter_mut().find(|door| door.name == ADMIN && fits(&door.listener, &wanted));
        found.map(|door| door.listener.try_clone()).transpose()
    }

    /// Keeps a second handle of a socket of one's own, to pass it on.
    pub(crate) fn keep(self: &Arc<Self>, name: &str, listener: TcpListener) -> OpenDoor {
        let mut state = lock(&self.state);
        let name = name.to_owned();
        state.open.push(Door { name: name.clone(), listener, from: Source::Here, live: None, used: true });
        OpenDoor { doors: self.clone(), name }
    }

    /// Keeps a second handle of the admin listener, to pass it on.
    pub(crate) fn keep_admin(&self, listener: TcpListener) {
        let mut state = lock(&self.state);
        state.open.retain(|door| door.name != ADMIN);
        state.open.push(Door { name: ADMIN.to_owned(), listener, from: Source::Here, live: None, used: true });
    }

    /// Handles of all sockets with their names, to pass them on.
    pub(crate) fn copies(&self) -> io::Result<Vec<(String, TcpListener)>> {
        let state = lock(&self.state);
        let name = |door: &Door| match door.from {
            Source::Holder => door.name.clone(),
            Source::Predecessor | Source::Here => format!("{OWN}{}", door.name),
        };
        state.open.iter().map(|door| Ok((name(door), door.listener.try_clone()?))).collect()
    }

    /// Who serves.
    pub(crate) fn servers(&self) -> Vec<(String, Live)> {
        let state = lock(&self.state);
        state.open.iter().filter_map(|door| Some((door.name.clone(), door.live.clone()?))).collect()
    }

    /// Says who has the sockets after this process.
    pub(crate) fn leave(&self, leaving: Leaving) {
        lock(&self.state).leaving = leaving;
    }

    /// What nobody listens on, in words. What the process before had opened itself is closed with that.
    pub(crate) fn unused(&self) -> Vec<String> {
        let mut state = lock(&self.state);
        let addr = |door: &Door| door.listener.local_addr().map_or_else(|_| "?".to_owned(), |addr| addr.to_string());
        let is_unused = |door: &Door| !door.used && door.name != ADMIN;
        let unused = state.open.iter().filter(|door| is_unused(door));
        let unused = unused.map(|door| format!("`{}` at {}", door.name, addr(door))).collect();
        state.open.retain(|door| !(is_unused(door) && door.from == Source::Predecessor));
        unused
    }
}

/// A socket that a component has. Dropping it says that it has it no more.
pub(crate) struct OpenDoor {
    doors: Arc<Doors>,
    name: String,
}

impl OpenDoor {
    /// The component serves it now.
    pub(crate) fn served_by(&self, live: &Live) {
        let mut state = lock(&self.doors.state);
        state.open.iter_mut().filter(|door| door.name == self.name).for_each(|door| door.live = Some(live.clone()));
    }

    /// The component stops: what becomes of its socket.
    pub(crate) fn leave(&self) -> Listening {
        let mut state = lock(&self.doors.state);
        let of = |state: &State| state.open.iter().find(|door| door.name == self.name).map(|door| door.from);
        match (state.leaving, of(&state)) {
            (Leaving::ToSuccessor, _) => Listening::Shared,
            (Leaving::Anew, Some(_)) | (_, Some(Source::Holder)) => Listening::Held,
            (_, Some(Source::Predecessor | Source::Here) | None) => {
                state.open.retain(|door| door.name != self.name);
                Listening::Closes
            }
        }
    }
}

impl Drop for OpenDoor {
    fn drop(&mut self) {
        let mut state = lock(&self.doors.state);
        let anew = state.leaving == Leaving::Anew;
        state.open.retain(|door| door.name != self.name || door.from != Source::Here || anew);
        state.open.iter_mut().filter(|door| door.name == self.name).for_each(|door| door.live = None);
    }
}

/// The same port, at the same address or at every address of the machine.
fn is_at(listener: &TcpListener, listen: &str) -> bool {
    let (Ok(at), Ok(wanted)) = (listener.local_addr(), listen.parse::<SocketAddr>()) else { return false };
    at.port() == wanted.port() && (at.ip() == wanted.ip() || at.ip().is_unspecified())
}

/// Whether whoever wants to listen here can do with this socket: port 0 is content with any.
fn fits(listener: &TcpListener, listen: &str) -> bool {
    let Ok(at) = listener.local_addr() else { return false };
    match (listen.parse::<SocketAddr>(), listen.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok())) {
        (Ok(wanted), _) => at.ip() == wanted.ip() && (wanted.port() == 0 || wanted.port() == at.port()),
        // A name: which addresses it stands for is not asked here.
        (Err(_), port) => port.is_some_and(|port| port == 0 || port == at.port()),
    }
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
        let doors = Arc::new(Doors::default());
        doors.fill(vec![named, plain]);
        let find = |name: &str, listen: &str| doors.find(name, listen).expect("a copy").map(|(found, _)| found.addr());
        assert_eq!(find("api", "0.0.0.0:1"), Some(first), "by its name, wherever it would have listened");
        assert_eq!(doors.unused(), [format!("`shop.socket` at {second}")]);
        assert_eq!(find("metrics", &second.to_string()), Some(second), "by its address");
        assert_eq!(find("other", "127.0.0.1:0"), None);
        assert_eq!(doors.unused(), [""; 0]);
    }

    #[test]
    fn the_only_socket_belongs_to_the_only_component() {
        let (one, addr) = given("http");
        let doors = Arc::new(Doors::default());
        doors.fill(vec![one]);
        doors.expect();
        let find = || doors.find("api", "127.0.0.1:0").expect("a copy").map(|(found, _)| found.addr());
        assert_eq!(find(), Some(addr));
        doors.expect();
        assert_eq!(find(), None, "which of two would be anybody's guess");
    }

    #[test]
    fn a_socket_of_the_process_before_is_taken_only_where_the_configuration_still_wants_it() {
        let ((api, addr), (admin, at)) = (given("=api"), given("=@admin"));
        let doors = Arc::new(Doors::default());
        doors.fill(vec![api, admin]);
        let find = |listen: &str| doors.find("api", listen).expect("a copy").map(|(found, _)| found.addr());
        assert_eq!(find("127.0.0.1:1"), None);
        assert_eq!(find("0.0.0.0:0"), None);
        assert_eq!(find("127.0.0.1:0"), Some(addr), "any port will do, so the same one will");
        assert_eq!(find("127.0.0.1:0"), None, "it was this process's from then on, and closed with its component");
        let (api, addr) = given("=api");
        doors.fill(vec![api]);
        assert_eq!(find(&format!("localhost:{}", addr.port())), Some(addr));
        let admin = |addr: &str| doors.find_admin(addr.parse().expect("an address")).expect("a copy").is_some();
        assert!(admin("127.0.0.1:0") && admin(&at.to_string()) && !admin("127.0.0.1:1"));
        assert_eq!(doors.unused(), [""; 0], "the admin listener's is nobody else's");
        let (old, at) = given("=metrics");
        doors.fill(vec![old]);
        assert_eq!(doors.unused(), [format!("`metrics` at {at}")]);
        assert_eq!(doors.unused(), [""; 0], "said once, and closed");
    }

    #[test]
    fn a_socket_of_ones_own_closes_with_its_component_unless_the_program_starts_anew() {
        let doors = Arc::new(Doors::default());
        let (Inherited { listener, .. }, _) = given("api");
        let door = doors.keep("api", listener.try_clone().expect("a copy"));
        assert_eq!(doors.copies().expect("copies").len(), 1);
        assert_eq!(door.leave(), Listening::Closes);
        assert_eq!(doors.copies().expect("copies").len(), 0);
        let door = doors.keep("api", listener.try_clone().expect("a copy"));
        doors.leave(Leaving::ToSuccessor);
        assert_eq!(door.leave(), Listening::Shared);
        doors.leave(Leaving::Anew);
        assert_eq!(door.leave(), Listening::Held);
        drop(door);
        assert_eq!(doors.copies().expect("copies").len(), 1, "kept for the program's next life");
        doors.leave(Leaving::ForGood);
        drop(doors.keep("api", listener));
        assert_eq!(doors.copies().expect("copies").len(), 0);
    }
}
