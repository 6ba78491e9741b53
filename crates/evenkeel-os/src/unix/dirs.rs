//! Runtime and state directories by the systemd and XDG conventions.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::Access;

use super::platform::user;
use crate::dirs::{Choice, DirError, check_app_name};
use crate::env::{Env, non_empty};

/// Nobody but us may pass.
const PRIVATE: u32 = 0o700;
/// Write permission for the group and for others.
const FOREIGN_WRITE: u32 = 0o022;
/// Write permission for others.
const WORLD_WRITE: u32 = 0o002;

/// The directory for the lock and the control socket of the program `app`, created if missing and safe to use.
///
/// The first of: `$RUNTIME_DIRECTORY` (systemd's; the first of its list), `$XDG_RUNTIME_DIR/evenkeel/APP` (when that
/// variable names a directory of ours), and `$TMPDIR/evenkeel-UID/APP` with `/tmp` for an unset `TMPDIR`.
///
/// # Errors
/// The first that applies cannot be created or is not safe; see [`DirError`]. There is no silent move to the next: a
/// client would look in the wrong place.
pub fn runtime_dir(app: &str, env: Env<'_>) -> Result<PathBuf, DirError> {
    let Choice { path: dir, refused_mode, ours_alone, .. } = choose_runtime_dir(app, env)?;
    if !ours_alone {
        create(&dir, "RUNTIME_DIRECTORY")?;
        check_given(&dir, "RUNTIME_DIRECTORY")?;
        check_closed(&dir, &stat(&dir)?, refused_mode)?;
        return Ok(dir);
    }
    let base = dir.parent().expect("it is in a base");
    create(base.parent().expect("a base has its own name in a directory"), "TMPDIR")?;
    for level in [base, &dir] {
        create(level, "RUNTIME_DIRECTORY")?;
        check_ours(level)?;
    }
    Ok(dir)
}

/// Which directory [`runtime_dir`] would use. Creates and checks nothing.
///
/// # Errors
/// The program's name cannot name a directory.
pub fn choose_runtime_dir(app: &str, env: Env<'_>) -> Result<Choice, DirError> {
    check_app_name(app)?;
    let instead = "set RUNTIME_DIRECTORY to another directory";
    if let Some(path) = listed_directory(env, "RUNTIME_DIRECTORY") {
        return Ok(Choice { path, refused_mode: WORLD_WRITE, ours_alone: false, instead });
    }
    let base = xdg_runtime_base(env).unwrap_or_else(|| temporary_base(env));
    Ok(Choice { path: base.join(app), refused_mode: FOREIGN_WRITE, ours_alone: true, instead })
}

/// Where a running `app` may have its runtime directory, likeliest first, for a client that did not start it. Creates
/// and checks nothing.
///
/// Beside what [`runtime_dir`] would choose for this environment these are the other places it can choose for this
/// user, and `/run/APP`, which is where systemd puts `RuntimeDirectory=APP`.
pub fn runtime_dir_candidates(app: &str, env: Env<'_>) -> Vec<PathBuf> {
    if check_app_name(app).is_err() {
        return Vec::new();
    }
    let given = listed_directory(env, "RUNTIME_DIRECTORY");
    let xdg = xdg_runtime_base(env).map(|base| base.join(app));
    let rest = [Path::new("/run").join(app), temporary_base(env).join(app)];
    let mut candidates: Vec<PathBuf> = Vec::new();
    for path in given.into_iter().chain(xdg).chain(rest) {
        if !candidates.contains(&path) {
            candidates.push(path);
        }
    }
    candidates
}

/// The directory for what `app` must find again after a restart, created if missing and writable.
///
/// The first of: `$STATE_DIRECTORY` (systemd's; the first of its list), `$XDG_STATE_HOME/evenkeel/APP`,
/// `$HOME/.local/state/evenkeel/APP`.
///
/// # Errors
/// The first that applies cannot be created or written, or none of the three variables is set; see [`DirError`].
pub fn state_dir(app: &str, env: Env<'_>) -> Result<PathBuf, DirError> {
    let dir = choose_state_dir(app, env)?.path;
    create(&dir, "STATE_DIRECTORY")?;
    check_given(&dir, "STATE_DIRECTORY")?;
    Ok(dir)
}

/// Which directory [`state_dir`] would use. Creates and checks nothing.
///
/// # Errors
/// The program's name cannot name a directory, or none of the three variables is set.
pub fn choose_state_dir(app: &str, env: Env<'_>) -> Result<Choice, DirError> {
    check_app_name(app)?;
    let own = || xdg_state_home(env).map(|home| home.join("evenkeel").join(app));
    let Some(path) = listed_directory(env, "STATE_DIRECTORY").or_else(own) else {
        let problem = "there is no place for the state directory: neither STATE_DIRECTORY nor XDG_STATE_HOME nor HOME \
                       is set to an absolute path";
        return Err(DirError::new("", problem, "set STATE_DIRECTORY to a directory that this program may write"));
    };
    let instead = "set STATE_DIRECTORY to another directory";
    Ok(Choice { path, refused_mode: 0, ours_alone: false, instead })
}

/// A directory that somebody named on the command line, created if missing and writable.
///
/// # Errors
/// It cannot be created or written; see [`DirError`].
pub fn named_dir(dir: &Path) -> Result<PathBuf, DirError> {
    let create = DirBuilder::new().recursive(true).mode(PRIVATE).create(dir);
    create.map_err(|error| {
        uncreatable(dir, error, "create it by hand, or name a directory that this program may write")
    })?;
    rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        let error = io::Error::from(error);
        let hint = format!("give user {} write permission, or name another directory", user().id);
        DirError::new(dir, format!("cannot be written: {error}"), hint).because(error)
    })?;
    Ok(dir.to_path_buf())
}

/// The first entry of a colon-separated variable, if it is an absolute path.
fn listed_directory(env: Env<'_>, name: &str) -> Option<PathBuf> {
    let list = non_empty(env, name)?;
    let first = list.as_bytes().split(|byte| *byte == b':').next()?;
    let path = PathBuf::from(OsString::from_vec(first.to_vec()));
    path.is_absolute().then_some(path)
}

/// `$XDG_RUNTIME_DIR/evenkeel`, when the variable names an existing directory of ours. After `su` it names another
/// user's: then it is as good as unset.
fn xdg_runtime_base(env: Env<'_>) -> Option<PathBuf> {
    let dir = absolute(env, "XDG_RUNTIME_DIR")?;
    let found = fs::metadata(&dir).ok()?;
    (found.is_dir() && found.uid() == user().id).then(|| dir.join("evenkeel"))
}

fn temporary_base(env: Env<'_>) -> PathBuf {
    let temp = absolute(env, "TMPDIR").unwrap_or_else(|| PathBuf::from("/tmp"));
    temp.join(format!("evenkeel-{}", user().id))
}

fn xdg_state_home(env: Env<'_>) -> Option<PathBuf> {
    absolute(env, "XDG_STATE_HOME").or_else(|| Some(absolute(env, "HOME")?.join(".local/state")))
}

/// The value of a variable as a path; a relative one counts as unset, as the XDG specification asks.
fn absolute(env: Env<'_>, name: &str) -> Option<PathBuf> {
    non_empty(env, name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// Creates `dir` and what is missing above it, all private. `variable` is what the user can set instead.
fn create(dir: &Path, variable: &str) -> Result<(), DirError> {
    DirBuilder::new().recursive(true).mode(PRIVATE).create(dir).map_err(|error| {
        let hint = format!("create it by hand, or set {variable} to a directory that this program may write");
        uncreatable(dir, error, &hint)
    })
}

fn uncreatable(dir: &Path, error: io::Error, hint: &str) -> DirError {
    let problem = match error.kind() {
        io::ErrorKind::AlreadyExists => "is not a directory".to_owned(),
        _ => format!("cannot be created: {error}"),
    };
    DirError::new(dir, problem, hint).because(error)
}

/// A directory somebody named for us: it must be one, and we must be able to write into it.
fn check_given(dir: &Path, variable: &str) -> Result<(), DirError> {
    rustix::fs::access(dir, Access::WRITE_OK | Access::EXEC_OK).map_err(|error| {
        let error = io::Error::from(error);
        let hint = format!("give user {} write permission, or set {variable} to another directory", user().id);
        DirError::new(dir, format!("cannot be written: {error}"), hint).because(error)
    })
}

/// A directory we chose ourselves, perhaps next to other users' files: it must be ours alone.
fn check_ours(dir: &Path) -> Result<(), DirError> {
    let found = stat(dir)?;
    let hint = "remove it if nobody needs it, or set RUNTIME_DIRECTORY to a directory of your own";
    if found.is_symlink() {
        return Err(DirError::new(dir, "is a symbolic link, and might lead anywhere", hint));
    }
    if !found.is_dir() {
        return Err(DirError::new(dir, "is not a directory", hint));
    }
    let (owner, own) = (found.uid(), user().id);
    if owner != own {
        return Err(DirError::new(dir, format!("belongs to user {owner}, and this program runs as user {own}"), hint));
    }
    check_closed(dir, &found, FOREIGN_WRITE)
}

fn check_closed(dir: &Path, found: &Metadata, forbidden: u32) -> Result<(), DirError> {
    if found.mode() & forbidden == 0 {
        return Ok(());
    }
    let problem = format!("can be written by others (mode {:04o})", found.mode() & 0o7777);
    Err(DirError::new(dir, problem, format!("run: chmod go-w {}", dir.display())))
}

/// What is at `dir` itself, links not followed.
fn stat(dir: &Path) -> Result<Metadata, DirError> {
    fs::symlink_metadata(dir).map_err(|error| {
        DirError::new(dir, format!("cannot be examined: {error}"), "check the permissions of the directories above it")
            .because(error)
    })
}
