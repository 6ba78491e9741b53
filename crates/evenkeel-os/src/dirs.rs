//! Where a program keeps what belongs to it: its runtime directory (lock, control socket; gone after a boot) and its
//! state directory (what must survive).
//!
//! Policy:
//! - A directory that the *operator* named (`$RUNTIME_DIRECTORY`, `$STATE_DIRECTORY`) is used as it is; it must be a
//!   directory that we may write, and others may not write into a runtime directory.
//! - A directory that *we* choose is created with mode 0700 on every level that is missing. For a runtime directory the
//!   result is then verified: no symbolic link, owned by us, closed to writers other than us. In a shared temporary
//!   directory this is what keeps another user from placing a directory, or a link, in our way.
//! - Every error names the path and says what to do.

use std::path::PathBuf;
use std::{fmt, io};

pub use crate::sys::dirs::{
    choose_runtime_dir, choose_state_dir, named_dir, runtime_dir, runtime_dir_candidates, state_dir,
};

/// Which directory a program would use, before anybody has looked whether it can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// The directory.
    pub path: PathBuf,
    /// The mode's bits that would make it refused.
    pub refused_mode: u32,
    /// Whether we chose it ourselves and it must therefore be ours alone: not a link, and owned by us.
    pub ours_alone: bool,
    /// What the user can set to have another, as the end of a sentence.
    pub instead: &'static str,
}

/// Why there is no directory to use.
#[derive(Debug)]
pub struct DirError {
    /// The path it is about; empty when no candidate path could be formed.
    pub path: PathBuf,
    /// What is wrong with it, as half a sentence ("is a symbolic link").
    pub problem: String,
    /// What the user can do about it, as an imperative sentence without a full stop.
    pub hint: String,
    /// The error of the operating system, where one was the cause.
    pub source: Option<io::Error>,
}

impl DirError {
    pub(crate) fn new(path: impl Into<PathBuf>, problem: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { path: path.into(), problem: problem.into(), hint: hint.into(), source: None }
    }

    pub(crate) fn because(mut self, source: impl Into<io::Error>) -> Self {
        self.source = Some(source.into());
        self
    }
}

/// What is wrong; the hint is for whoever shows it, on a line of its own.
impl fmt::Display for DirError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.as_os_str().is_empty() {
            write!(f, "{} ", self.path.display())?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for DirError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|error| error as _)
    }
}

/// Refuses a program name that would not be one plain path component.
pub(crate) fn check_app_name(app: &str) -> Result<(), DirError> {
    let plain = !app.is_empty() && app != "." && app != ".." && app.len() <= 64;
    if plain && app.chars().all(|c| c.is_alphanumeric() || matches!(c, '-' | '_' | '.')) {
        return Ok(());
    }
    let problem = format!("the program name {app:?} cannot name a directory");
    Err(DirError::new("", problem, "use 1 to 64 bytes of letters, digits, '-', '_' and '.'"))
}
