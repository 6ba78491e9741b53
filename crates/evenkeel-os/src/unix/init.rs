//! Process 1 of a container: the Linux side.

use std::{
    fs, io,
    os::{linux::net::SocketAddrExt, unix::net::SocketAddr, unix::net::UnixDatagram},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitOptions, WaitStatus, kill_process, wait},
};
use signal_hook::{
    consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGWINCH},
    iterator::Signals,
};

use super::notifications::Notifications;
use crate::{
    handover::Origin,
    init::{DEAF, SWITCH, main_process},
    notify::SOCKET,
    sockets::PASSED_BY,
    threads::spawn_named,
};

/// What is passed on to the program.
const PASSED_ON: [i32; 7] = [SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH];
/// Added to the number of the signal that ended the program.
const BY_SIGNAL: u8 = 128;

/// The exit code when nothing is left and the end of the program was not seen.
const LOST: u8 = 1;

/// Starts the program again as a child and does the duties of process 1 until that has ended; gives back its exit code, or
/// 128 and the signal that ended it. Call it before there is any other thread.
///
/// # Errors
/// Signals cannot be watched, or the program cannot be started.
pub fn run(origin: &Origin) -> io::Result<u8> {
    // Before there is a child: none of its signals may be missed.
    let mut signals = Signals::new(PASSED_ON.into_iter().chain([SIGCHLD]))?;
    let main = Arc::new(AtomicU32::new(0));
    let mut command = origin.command();
    if std::env::var_os(SOCKET).is_none() {
        command.env(SWITCH, "1").env(SOCKET, hear(main.clone())?);
    } else {
        // Somebody outside is told how the service is; which process of this namespace is the main one is not their business.
        command.env(SWITCH, DEAF);
    }
    main.store(command.spawn()?.id(), Ordering::Release);
    for signal in signals.forever() {
        match signal {
            SIGCHLD => {
                if let Some(code) = reap(&main) {
                    return Ok(code);
                }
            }
            other => pass_on(other, main.load(Ordering::Acquire)),
        }
    }
    Err(io::Error::other("there are no more signals"))
}

/// Hears on a thread which process is the main one. Gives back where.
fn hear(main: Arc<AtomicU32>) -> io::Result<String> {
    // A file system may be read-only; abstract names are shared with whoever has the same network, so this one is random.
    let random = fs::read_to_string("/proc/sys/kernel/random/uuid")?;
    let name = format!("evenkeel-init-{}", random.trim());
    let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    let notifications = Notifications::of(socket);
    spawn_named("evenkeel-init", move || {
        // Ends with the process.
        while let Ok(message) = notifications.next(Duration::MAX) {
            // Programs that the program itself has started inherit the address, and may hand over as well.
            let named = message.as_deref().and_then(main_process);
            if let Some(pid) = named.filter(|pid| launched_by(*pid) == Some(main.load(Ordering::Acquire))) {
                main.store(pid, Ordering::Release);
            }
        }
    })?;
    Ok(format!("@{name}"))
}

/// The process that has launched this one to take over from it, as its environment says from its beginning.
fn launched_by(pid: u32) -> Option<u32> {
    let environment = fs::read(format!("/proc/{pid}/environ")).ok()?;
    let mut variables = environment.split(|byte| *byte == 0);
    let launcher = variables.find_map(|variable| variable.strip_prefix(PASSED_BY.as_bytes())?.strip_prefix(b"="))?;
    std::str::from_utf8(launcher).ok()?.parse().ok()
}

/// Reaps all that has ended. The exit code, if the program is among it.
fn reap(main: &AtomicU32) -> Option<u8> {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid.as_raw_nonzero().get().unsigned_abs() == main.load(Ordering::Acquire) => {
                return Some(code(status));
            }
            Ok(Some(_)) | Err(Errno::INTR) => {}
            Ok(None) => return None,
            // Nothing is left, whatever became of the program: there is no end of it to wait for.
            Err(_) => return Some(LOST),
        }
    }
}

fn code(status: WaitStatus) -> u8 {
    let signal = status.terminating_signal().map(|signal| BY_SIGNAL.saturating_add(u8::try_from(signal).unwrap_or(0)));
    signal.unwrap_or_else(|| u8::try_from(status.exit_status().unwrap_or(1)).unwrap_or(1))
}

fn pass_on(signal: i32, main: u32) {
    let pid = i32::try_from(main).ok().and_then(Pid::from_raw);
    if let (Some(pid), Some(signal)) = (pid, Signal::from_named_raw(signal)) {
        // It may have ended just now; that is heard next.
        let _ = kill_process(pid, signal);
    }
}
