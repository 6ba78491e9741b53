//! Errors of user code, and how they reach a person.
//!
//! A component may fail with anything that is an error; the engine never asks for a type of its own. What a reader
//! needs in order to act is attached where it is known: [`Explain::context`] says what failed here, [`Explain::hint`]
//! what to do about it. Logs and receipts print the whole chain once, and the hint on a line of its own.

use std::{
    error::Error as StdError,
    fmt, io,
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use crate::polls::panic_text;

/// Any error. `?` turns every `std::error::Error`, and text, into it.
pub type Error = Box<dyn StdError + Send + Sync + 'static>;

/// What closures of components return.
pub type Result<T = (), E = Error> = std::result::Result<T, E>;

/// Adds to an error what its reader needs in order to act.
pub trait Explain<T> {
    /// Says what failed here; the original error stays as the reason.
    ///
    /// # Errors
    /// The error it was called on, with this context.
    fn context(self, what: impl Into<String>) -> Result<T>;

    /// Says what to do about it. It is shown as `hint: ...` on a line of its own.
    ///
    /// # Errors
    /// The error it was called on, with this hint.
    fn hint(self, todo: impl Into<String>) -> Result<T>;
}

impl<T, E: Into<Error>> Explain<T> for std::result::Result<T, E> {
    fn context(self, what: impl Into<String>) -> Result<T> {
        self.map_err(|reason| {
            Box::new(Explained { what: Some(what.into()), todo: None, reason: reason.into() }) as Error
        })
    }

    fn hint(self, todo: impl Into<String>) -> Result<T> {
        self.map_err(|reason| {
            Box::new(Explained { what: None, todo: Some(todo.into()), reason: reason.into() }) as Error
        })
    }
}

#[derive(Debug)]
struct Explained {
    what: Option<String>,
    todo: Option<String>,
    reason: Error,
}

impl fmt::Display for Explained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.what {
            Some(what) => f.write_str(what),
            None => self.reason.fmt(f),
        }
    }
}

impl StdError for Explained {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        match &self.what {
            Some(_) => Some(self.reason.as_ref()),
            None => self.reason.source(),
        }
    }
}

/// An error flattened for logs and receipts. One word wide, because every running component has room for some.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure(Arc<Flat>);

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Flat {
    /// The chain, outermost first.
    pub(crate) chain: Vec<String>,
    pub(crate) hint: Option<String>,
}

impl Deref for Failure {
    type Target = Flat;

    fn deref(&self) -> &Flat {
        &self.0
    }
}

impl Failure {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Self(Arc::new(Flat { chain: vec![text.into()], hint: None }))
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        Arc::make_mut(&mut self.0).hint = Some(hint.into());
        self
    }

    /// What an error says. Its drop is user code as well, and may panic.
    pub(crate) fn of(error: Error) -> Self {
        let failure = Self::from(&error);
        let _ = catch_unwind(AssertUnwindSafe(|| drop(error)));
        failure
    }

    /// The chain on one line.
    pub(crate) fn line(&self) -> String {
        self.chain.join(": ")
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let mut failure = Flat::default();
        let mut next: Option<&(dyn StdError + 'static)> = Some(error.as_ref());
        // An error chain is finite unless somebody built a cycle; a page of it is enough.
        for _ in 0..32 {
            let Some(error) = next else { break };
            let text = shown(error);
            if failure.chain.last() != Some(&text) {
                failure.chain.push(text);
            }
            if failure.hint.is_none() {
                failure.hint = hint_of(error);
            }
            next = error.source();
        }
        Self(Arc::new(failure))
    }
}

/// The error's text. It is user code too: one that panics must not take down whoever asks for it.
fn shown(error: &(dyn StdError + 'static)) -> String {
    catch_unwind(AssertUnwindSafe(|| error.to_string()))
        .unwrap_or_else(|payload| format!("an error that cannot be shown: it {}", panic_text(payload.as_ref())))
}

fn hint_of(error: &(dyn StdError + 'static)) -> Option<String> {
    if let Some(explained) = error.downcast_ref::<Explained>() {
        return explained.todo.clone().or_else(|| hint_of(explained.reason.as_ref()));
    }
    let kind = error.downcast_ref::<io::Error>()?.kind();
    let todo = match kind {
        io::ErrorKind::AddrInUse => "another process listens there; stop it or choose another address",
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has this address; check it",
        io::ErrorKind::PermissionDenied => "the user this program runs as may not do this; check owner and mode",
        io::ErrorKind::StorageFull => "free some space on this file system",
        io::ErrorKind::ReadOnlyFilesystem => "choose a directory on a writable file system",
        _ => return None,
    };
    Some(todo.to_owned())
}
