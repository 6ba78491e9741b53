//! Runtime and state directories in a file system of the tests' own. The environment is a closure.
#![allow(clippy::unwrap_used, reason = "a failed helper fails its test")]

use std::ffi::OsString;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;

use evenkeel_os::dirs::{runtime_dir, runtime_dir_candidates, state_dir};
use evenkeel_os::platform::user;

/// An environment with these variables, given as name and path below `root`.
fn env<'a>(root: &'a Path, set: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<OsString> + 'a {
    move |name| {
        let (_, value) = set.iter().find(|(key, _)| *key == name)?;
        Some(if value.is_empty() { OsString::new() } else { root.join(value).into_os_string() })
    }
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

fn own_temp_name() -> String {
    format!("evenkeel-{}", user().id)
}

#[test]
fn the_runtime_directory_that_systemd_gave_is_used_as_it_is() {
    let root = tempfile::tempdir().unwrap();
    let given = root.path().join("run");
    std::fs::create_dir(&given).unwrap();
    set_mode(&given, 0o755);
    let vars = [("RUNTIME_DIRECTORY", "run"), ("XDG_RUNTIME_DIR", "")];
    assert_eq!(runtime_dir("orders", &env(root.path(), &vars)).unwrap(), given);
    assert_eq!(mode(&given), 0o755);
}

#[test]
fn the_first_of_several_runtime_directories_is_used() {
    let root = tempfile::tempdir().unwrap();
    let list = format!("{}:/nowhere", root.path().join("a").display());
    let lookup = |name: &str| (name == "RUNTIME_DIRECTORY").then(|| OsString::from(&list));
    assert_eq!(runtime_dir("orders", &lookup).unwrap(), root.path().join("a"));
}

#[test]
fn a_runtime_directory_that_everybody_may_write_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let open = root.path().join("open");
    std::fs::create_dir(&open).unwrap();
    set_mode(&open, 0o1777);
    let error = runtime_dir("orders", &env(root.path(), &[("RUNTIME_DIRECTORY", "open")])).unwrap_err();
    assert!(error.problem.contains("can be written by others (mode 1777)"), "{error}");
}

#[test]
fn the_login_sessions_directory_is_preferred_to_the_temporary_one() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("xdg")).unwrap();
    let vars = [("XDG_RUNTIME_DIR", "xdg"), ("TMPDIR", "tmp")];
    let dir = runtime_dir("orders", &env(root.path(), &vars)).unwrap();
    assert_eq!(dir, root.path().join("xdg/evenkeel/orders"));
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(dir.parent().unwrap()), 0o700);
}

#[test]
fn a_login_sessions_directory_that_is_missing_counts_as_unset() {
    let root = tempfile::tempdir().unwrap();
    let vars = [("XDG_RUNTIME_DIR", "absent"), ("TMPDIR", "tmp")];
    let dir = runtime_dir("orders", &env(root.path(), &vars)).unwrap();
    assert_eq!(dir, root.path().join("tmp").join(own_temp_name()).join("orders"));
    assert_eq!(mode(&dir), 0o700);
    assert_eq!(mode(dir.parent().unwrap()), 0o700);
    assert_eq!(runtime_dir("orders", &env(root.path(), &vars)).unwrap(), dir, "a second time the same");
}

#[test]
fn a_symbolic_link_in_our_place_is_refused_and_not_followed() {
    let root = tempfile::tempdir().unwrap();
    let elsewhere = root.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    symlink(&elsewhere, root.path().join(own_temp_name())).unwrap();
    let lookup = |name: &str| (name == "TMPDIR").then(|| root.path().as_os_str().to_owned());
    let error = runtime_dir("orders", &lookup).unwrap_err();
    assert_eq!(error.path, root.path().join(own_temp_name()));
    assert!(error.problem.contains("symbolic link"), "{error}");
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
}

#[test]
fn a_directory_in_our_place_that_others_may_write_is_refused() {
    for open in [0o770, 0o707, 0o777] {
        let root = tempfile::tempdir().unwrap();
        let base = root.path().join(own_temp_name());
        std::fs::create_dir(&base).unwrap();
        set_mode(&base, open);
        let lookup = |name: &str| (name == "TMPDIR").then(|| root.path().as_os_str().to_owned());
        let error = runtime_dir("orders", &lookup).unwrap_err();
        assert!(error.to_string().contains(&format!("written by others (mode {open:04o})")), "{error}");
        assert!(error.hint.contains("chmod go-w"), "{error}");
    }
}

#[test]
fn a_file_in_our_place_is_refused() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join(own_temp_name()), "").unwrap();
    let lookup = |name: &str| (name == "TMPDIR").then(|| root.path().as_os_str().to_owned());
    let error = runtime_dir("orders", &lookup).unwrap_err();
    assert_eq!(error.path, root.path().join(own_temp_name()));
    assert!(!error.hint.is_empty());
}

/// Needs root, in order to give a directory away; does nothing for other users.
#[test]
fn a_directory_of_another_user_in_our_place_is_refused() {
    if !user().is_root {
        return;
    }
    let root = tempfile::tempdir().unwrap();
    let base = root.path().join(own_temp_name());
    std::fs::create_dir(&base).unwrap();
    set_mode(&base, 0o700);
    chown(&base, Some(65534), Some(65534)).unwrap();
    let lookup = |name: &str| (name == "TMPDIR").then(|| root.path().as_os_str().to_owned());
    let error = runtime_dir("orders", &lookup).unwrap_err();
    assert!(error.problem.contains("belongs to user 65534"), "{error}");
}

#[test]
fn the_state_directory_follows_systemd_then_xdg_then_home() {
    let root = tempfile::tempdir().unwrap();
    let all = [("STATE_DIRECTORY", "given"), ("XDG_STATE_HOME", "xdg"), ("HOME", "home")];
    let expected = ["given", "xdg/evenkeel/orders", "home/.local/state/evenkeel/orders"];
    for (skip, expected) in expected.into_iter().enumerate() {
        let dir = state_dir("orders", &env(root.path(), &all[skip..])).unwrap();
        assert_eq!(dir, root.path().join(expected));
        assert_eq!(mode(&dir), 0o700);
    }
}

#[test]
fn a_relative_path_in_the_environment_counts_as_unset() {
    let error = state_dir("orders", &|_| Some("relative".into())).unwrap_err();
    assert!(error.hint.contains("set STATE_DIRECTORY"), "{error:?}");
}

#[test]
fn without_any_place_for_state_the_error_says_what_to_set() {
    let error = state_dir("orders", &|_| None).unwrap_err();
    assert!(error.hint.contains("STATE_DIRECTORY"), "{error}");
}

#[test]
fn a_state_directory_that_cannot_be_created_is_named_with_a_hint() {
    let root = tempfile::tempdir().unwrap();
    std::fs::write(root.path().join("file"), "").unwrap();
    let error = state_dir("orders", &env(root.path(), &[("STATE_DIRECTORY", "file/state")])).unwrap_err();
    assert_eq!(error.path, root.path().join("file/state"));
    assert!(error.to_string().contains("file/state cannot be created"), "{error}");
    assert!(error.source.is_some());
}

#[test]
fn a_name_that_would_lead_out_of_the_directory_is_refused() {
    for name in ["", ".", "..", "a/b", "../x", "a b", "a\0b", &"x".repeat(65)] {
        runtime_dir(name, &|_| None).expect_err(name);
        state_dir(name, &|_| None).expect_err(name);
        assert!(runtime_dir_candidates(name, &|_| None).is_empty());
    }
}

#[test]
fn a_client_looks_in_every_place_where_the_program_may_have_been_started() {
    let root = tempfile::tempdir().unwrap();
    std::fs::create_dir(root.path().join("xdg")).unwrap();
    let vars = [("RUNTIME_DIRECTORY", "run"), ("XDG_RUNTIME_DIR", "xdg"), ("TMPDIR", "tmp")];
    let lookup = env(root.path(), &vars);
    let expected = [
        root.path().join("run"),
        root.path().join("xdg/evenkeel/orders"),
        "/run/orders".into(),
        root.path().join("tmp").join(own_temp_name()).join("orders"),
    ];
    assert_eq!(runtime_dir_candidates("orders", &lookup), expected);
    assert!(!root.path().join("run").exists(), "looking creates nothing");
}
