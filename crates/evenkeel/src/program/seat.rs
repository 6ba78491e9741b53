//! The seat: what the one instance of a name has, and nobody else. Its lock, its control socket, its admin listener, its
//! word to the service manager.
//!
//! Policy: a process that starts alone takes the seat before anything else; one that takes over from another takes it when
//! that one has got up, and neither of the two answers in the other's place. A process that leaves gives its parts up in
//! this order: the herald and the admin listener, the socket's name, the lock. Who finds one taken finds whom it belongs to.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

#[cfg(feature = "http")]
use evenkeel_events::Event;
use evenkeel_os::{
    control::Server,
    env::process_env,
    lock::{InstanceLock, lock_instance},
    notify::{Note, Notifier, watchdog},
};
use tokio::{runtime::Handle, sync::mpsc::UnboundedSender};

#[cfg(feature = "http")]
use super::admin::Admin;
use super::{
    control::{self, Ended},
    front::Front,
    herald::Herald,
    restart::Restart,
    vital::Vital,
};
#[cfg(feature = "http")]
use crate::probes::Probes;
use crate::{
    app::{Problem, Settings},
    driver::{Message, Shared},
    lease::lock,
};

/// How long the service manager has to hear of a new main process.
const TOLD: Duration = Duration::from_secs(5);

/// See the module documentation.
#[cfg_attr(not(feature = "http"), allow(dead_code, reason = "what the admin listener would need"))]
pub(super) struct Seat {
    /// Where the lock and the control socket are; without it there are none.
    pub(super) dir: Option<PathBuf>,
    pub(super) admin: AdminWish,
    pub(super) front: Front,
    /// To the service manager, if there is one that wants to hear.
    pub(super) notifier: Option<Arc<Notifier>>,
    pub(super) outbox: UnboundedSender<Message>,
    pub(super) shared: Arc<Shared>,
    /// Where components run.
    pub(super) user: Handle,
    pub(super) ended: Arc<Ended>,
    pub(super) budget: Duration,
    pub(super) taken: Mutex<Taken>,
}

/// Where the admin listener is to be, and what it answers.
pub(super) struct AdminWish {
    #[cfg(feature = "http")]
    addr: Option<std::net::SocketAddr>,
    #[cfg(feature = "http")]
    probes: Probes,
}

impl AdminWish {
    #[cfg(feature = "http")]
    pub(super) fn of(settings: &Settings) -> Self {
        Self { addr: settings.admin, probes: settings.probes.clone() }
    }

    #[cfg(not(feature = "http"))]
    pub(super) fn of(_: &Settings) -> Self {
        Self {}
    }
}

/// What there is of it.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) lock: Option<InstanceLock>,
    pub(super) server: Option<Server>,
    pub(super) herald: Option<Herald>,
    #[cfg(feature = "http")]
    pub(super) admin: Option<Admin>,
}

impl Seat {
    /// Takes it, with a lock that is held already. What is missing without being the start's business is a warning.
    ///
    /// # Errors
    /// The admin listener cannot be where it was asked for.
    pub(super) fn take(&self, instance: Option<InstanceLock>, restart: &Arc<Restart>) -> Result<(), Problem> {
        let taken = Taken {
            #[cfg(feature = "http")]
            admin: self.admin()?,
            herald: self.herald(),
            server: instance.is_some().then(|| self.control(restart)).flatten(),
            lock: instance,
        };
        *lock(&self.taken) = taken;
        Ok(())
    }

    /// Takes it after another process has got up.
    pub(super) fn take_over(&self, restart: &Arc<Restart>) {
        let instance = self.dir.as_ref().and_then(|dir| match lock_instance(dir) {
            Ok(Ok(lock)) => Some(lock),
            Ok(Err(held)) => {
                let pid = held.pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default();
                self.warn(
                    format!("no control socket: another instance{pid} took its place meanwhile"),
                    "stop that one",
                );
                None
            }
            Err(error) => {
                self.warn(
                    format!("no control socket: cannot lock {}: {error}", dir.display()),
                    "look at the directory",
                );
                None
            }
        });
        if let Err(problem) = self.take(instance, restart) {
            self.warn(problem.text, &problem.hint);
        }
    }

    /// Leaves it to this process, which the service manager takes for the service's main process from now on.
    pub(super) fn leave_to(&self, pid: u32) {
        self.give_up();
        if let Some(notifier) = &self.notifier {
            // Until the manager knows, the end of this process would be the end of the service.
            let told = notifier.tell(&[Note::MainPid(pid)]).and_then(|()| notifier.barrier(TOLD));
            if let Err(error) = told {
                let text = format!("the service manager has not been told of process {pid}: {error}");
                self.warn(text, "it may end the service with this process");
            }
        }
    }

    /// Gets up. Answers that are under way on the control socket go on.
    fn give_up(&self) {
        let mut taken = lock(&self.taken);
        drop(taken.herald.take());
        #[cfg(feature = "http")]
        drop(taken.admin.take());
        if let Some(server) = &taken.server {
            server.give_up_name();
        }
        drop(taken.lock.take());
    }

    fn control(&self, restart: &Arc<Restart>) -> Option<Server> {
        let dir = self.dir.as_ref()?;
        let served = control::serve(dir, self.outbox.clone(), self.ended.clone(), self.budget, restart.clone());
        served
            .map_err(|error| {
                let text = format!("no control socket in {}: {error}", dir.display());
                self.warn(text, "name another directory with `--runtime-dir`");
            })
            .ok()
    }

    /// Probes and status over HTTP. An address that was asked for and cannot be had is the caller's to refuse; without the
    /// one that the system would choose the service runs all the same.
    #[cfg(feature = "http")]
    fn admin(&self) -> Result<Option<Admin>, Problem> {
        let Some(addr) = self.admin.addr else { return Ok(None) };
        match self.admin_at(addr) {
            Ok(admin) => {
                Event::Note { text: &format!("probes and status: {}", admin.url()) }.log();
                let _ = self.shared.admin.set(admin.url().to_owned());
                Ok(Some(admin))
            }
            Err(error) => {
                let text = format!("the admin listener cannot be at {addr}: {error}");
                let hint = "give `--admin` another address, or `off`".to_owned();
                if addr.port() != 0 {
                    return Err(Problem { text, hint });
                }
                self.warn(text, &hint);
                Ok(None)
            }
        }
    }

    #[cfg(feature = "http")]
    fn admin_at(&self, addr: std::net::SocketAddr) -> std::io::Result<Admin> {
        let listener = match self.front.doors.find_admin(addr)? {
            Some(listener) => listener,
            None => std::net::TcpListener::bind(addr)?,
        };
        self.front.doors.keep_admin(listener.try_clone()?);
        Admin::serve(listener, self.admin.probes.clone(), self.vital())
    }

    fn herald(&self) -> Option<Herald> {
        let notifier = self.notifier.clone()?;
        let begun =
            Herald::begin(notifier, watchdog(&process_env, std::process::id()), self.vital(), self.front.clone());
        begun.map_err(|error| self.warn(format!("nothing is said to the service manager: {error}"), "look at it")).ok()
    }

    fn vital(&self) -> Vital {
        Vital::new(self.outbox.clone(), self.shared.clone(), self.user.clone())
    }

    fn warn(&self, text: String, hint: &str) {
        // A service that has ended needs no warning.
        let _ = self.outbox.send(Message::Warn { text, hint: Some(hint.to_owned()) });
    }
}
