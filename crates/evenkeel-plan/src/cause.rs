//! Why a stop happened, and what code the process ends with.
//!
//! The first cause is kept; whatever comes later is recorded beside it and never replaces it (L3). The exit code is a
//! function of the first cause and of how the stop went; zero means that every stage was clean.

use crate::spec::Id;

/// Why a stop began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cause {
    /// A signal of the operating system; `number` is the platform's.
    Signal {
        /// `SIGTERM`, `SIGINT`, ...
        name: &'static str,
        /// Its number, for the exit code of a forced end.
        number: i32,
    },
    /// Somebody asked: the control socket, the program itself, a test.
    Request {
        /// Who or what, in the asker's words.
        by: String,
    },
    /// An essential component could not start.
    StartFailed {
        /// The first that failed.
        component: Id,
    },
    /// An essential component ended though nobody told it to.
    ComponentFailed {
        /// The first that failed.
        component: Id,
    },
    /// Every job is done and nothing else keeps the service up.
    Finished,
}

/// How a stop went, taken as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// Every stage was clean.
    Clean,
    /// The start failed.
    StartFailed,
    /// An essential component failed while running.
    ComponentFailed,
    /// Something did not stop in order: cut off, abandoned, leaked, or failed while closing.
    NotClean,
    /// A second signal forced the end; holds the signal's number.
    Forced(i32),
}

/// Exit codes beside those of a stop.
pub mod exit {
    /// The command line makes no sense.
    pub const USAGE: u8 = 2;
    /// A command was for a running instance, and there is none.
    pub const NOT_RUNNING: u8 = 3;
    /// Another instance of the same name runs.
    pub const ALREADY_RUNNING: u8 = 4;
    /// The start failed.
    pub const START_FAILED: u8 = 10;
    /// An essential component failed.
    pub const COMPONENT_FAILED: u8 = 11;
    /// The stop was not clean.
    pub const NOT_CLEAN: u8 = 12;
    /// The configuration is refused before start (`EX_CONFIG`).
    pub const CONFIG: u8 = 78;
    /// Added to the number of the signal that forced the end.
    pub const SIGNAL: u8 = 128;
}

impl Outcome {
    /// The process's exit code.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Clean => 0,
            Self::StartFailed => exit::START_FAILED,
            Self::ComponentFailed => exit::COMPONENT_FAILED,
            Self::NotClean => exit::NOT_CLEAN,
            Self::Forced(signal) => exit::SIGNAL.saturating_add(u8::try_from(signal).unwrap_or(0)),
        }
    }

    /// The outcome in the words of receipts.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Clean => "clean",
            Self::StartFailed => "start failed",
            Self::ComponentFailed => "component failed",
            Self::NotClean => "not clean",
            Self::Forced(_) => "forced",
        }
    }
}
