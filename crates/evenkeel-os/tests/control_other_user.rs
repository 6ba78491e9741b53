//! The control channel and a user it must not obey. A test binary of its own, because a child process that is being
//! started shares every open socket of its parent for a moment, also those that other tests have just closed.
#![allow(clippy::unwrap_used, reason = "a failed helper fails its test")]

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use evenkeel_os::control::{AskError, Listener, ask};
use evenkeel_os::platform::user;

/// Far beyond any delay that is not a hang.
const HANG: Duration = Duration::from_secs(20);

/// Needs root, in order to become somebody else; does nothing for other users.
#[test]
fn another_user_is_refused_even_when_the_socket_lets_them_in() {
    if !user().is_root {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let exe = dir.path().join("other-user");
    std::fs::copy(std::env::current_exe().unwrap(), &exe).unwrap();
    let server = Listener::bind(dir.path()).unwrap().serve(|_, reply| reply("stopped").unwrap()).unwrap();
    for (path, mode) in [(dir.path(), 0o755), (&exe, 0o755), (server.path(), 0o666)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let status = Command::new(&exe)
        .args(["--exact", "child_asks_as_another_user", "--ignored", "--quiet"])
        .env("CONTROL_DIR", dir.path())
        .current_dir("/")
        .uid(65534)
        .gid(65534)
        .status()
        .unwrap();
    assert!(status.success());
}

#[test]
#[ignore = "runs as a child of the test above, as another user"]
fn child_asks_as_another_user() {
    let Some(dir) = std::env::var_os("CONTROL_DIR") else {
        return;
    };
    let error = ask(Path::new(&dir), "stop", HANG).unwrap_err();
    let expected = "user 65534 may not control a program of user 0";
    assert!(matches!(&error, AskError::Refused { reason } if reason == expected), "{error:?}");
}
