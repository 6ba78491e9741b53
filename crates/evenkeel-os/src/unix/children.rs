//! Children: the Linux side.

use std::{
    io,
    os::unix::process::CommandExt,
    process::{Child, Command},
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, set_parent_process_death_signal, waitid},
};

/// Asks a child to stop gracefully: SIGTERM. One that has ended and was not waited for yet is no error.
///
/// # Errors
/// The system refuses it: the child runs as another user.
pub fn ask_to_stop(child: &Child) -> io::Result<()> {
    Ok(kill_process(Pid::from_child(child), Signal::TERM)?)
}

/// Waits until the child with this id has ended, and leaves its end to be waited for: its number stays its own until then.
///
/// # Errors
/// There is no such child.
pub fn until_ended(id: u32) -> io::Result<()> {
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw).ok_or(Errno::CHILD)?;
    loop {
        match waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT) {
            Err(Errno::INTR) => {}
            other => return Ok(other.map(drop)?),
        }
    }
}

/// Puts another program in the place of this process, which keeps its id and what it inherited. Where listening sockets
/// were passed on, `LISTEN_PID` names it, as systemd does: some programs take them only then. The program gets SIGTERM when
/// the thread that started this process ends, so that it is not left behind.
///
/// Gives back only an error: why the program cannot be run.
pub fn become_program(command: &mut Command) -> io::Error {
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        return error.into();
    }
    if std::env::var_os("LISTEN_FDS").is_some() {
        command.env("LISTEN_PID", std::process::id().to_string());
    }
    command.exec()
}
