//! What can go wrong, and what to do about it.

use std::{error, fmt, io, sync::Arc};

/// Why the journal did not do what it was asked. Cheap to clone: one failure is told to many.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Error {
    /// The disk failed while something was being made durable, so nobody knows what of it is on the disk. Nothing is
    /// acknowledged any more; only a new [`recover`](crate::Journal::recover) can find out.
    Poisoned(Arc<Self>),
    /// The disk is full. Nothing more is taken in; reading, and a checkpoint from the ballast, still work.
    Full,
    /// The journal was closed.
    Closed,
    /// The queue has no room for a record that will not wait.
    Busy,
    /// Code that was handed over panicked; the state in memory is not to be trusted.
    Panicked,
    /// A record is larger than the journal takes.
    TooLarge {
        /// The record, in bytes.
        bytes: usize,
        /// The largest that is taken.
        limit: usize,
    },
    /// Another process has the journal open.
    Held {
        /// Its process id, if it had written it yet.
        pid: Option<u32>,
    },
    /// The operating system refused.
    Io {
        /// What was being done, as in "cannot sync segment-0000000000000001".
        doing: String,
        /// Its reason.
        source: Arc<io::Error>,
    },
    /// What was durable is damaged.
    Rot {
        /// The file.
        file: String,
        /// Where in it, in bytes.
        offset: u64,
        /// What is wrong there.
        why: String,
    },
    /// A newer version of this program wrote the file.
    Newer {
        /// The file.
        file: String,
        /// Its version.
        found: u32,
        /// The highest version known here.
        known: u32,
    },
    /// A record or a state could not be turned into bytes, or back.
    Codec {
        /// Which.
        what: String,
        /// Why.
        why: String,
    },
    /// The records from there on are no longer kept: a checkpoint holds them.
    Trimmed {
        /// The first that is still there.
        first: u64,
    },
    /// An option that cannot work.
    Option(&'static str),
}

impl Error {
    pub(crate) fn io(doing: impl Into<String>, source: io::Error) -> Self {
        Self::Io { doing: doing.into(), source: Arc::new(source) }
    }

    pub(crate) fn rot(file: &str, offset: u64, why: &str) -> Self {
        Self::Rot { file: file.to_owned(), offset, why: why.to_owned() }
    }

    pub(crate) fn poisoned(self) -> Self {
        match self {
            Self::Poisoned(_) => self,
            cause => Self::Poisoned(Arc::new(cause)),
        }
    }

    /// Whether the disk had no room left.
    pub(crate) fn is_full(&self) -> bool {
        match self {
            Self::Full => true,
            Self::Io { source, .. } => {
                matches!(source.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
            }
            _ => false,
        }
    }

    /// What the user can do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Poisoned(_) => "look at the disk, then start again: recovery finds what is on it",
            Self::Full => "make room on the disk, then start again",
            Self::Closed => "nothing can be appended after the close",
            Self::Busy => "wait with `append`, or let `barrier` empty the queue",
            Self::Panicked => {
                "start again: recovery applies the events once more; the panic's message says where it was"
            }
            Self::TooLarge { .. } => "make the record smaller, or raise `max_record` and `segment_bytes`",
            Self::Held { .. } => "stop the other process, or give this one a directory of its own",
            Self::Io { .. } => "look at the disk and at the rights on the directory",
            Self::Rot { .. } => {
                "restore the directory from a backup, or see what `evenkeel-journal repair` would cut off"
            }
            Self::Newer { .. } => "start the version of the program that wrote it, or a later one",
            Self::Codec { .. } => "a record must be read by every later version of its type: give new fields a default",
            Self::Trimmed { .. } => "begin from the checkpoint",
            Self::Option(_) => "change the option",
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Poisoned(_) => f.write_str("the journal acknowledges nothing any more, because its disk failed"),
            Self::Full => f.write_str("the journal takes nothing in, because its disk is full"),
            Self::Closed => f.write_str("the journal is closed"),
            Self::Busy => f.write_str("the journal's queue is full"),
            Self::Panicked => f.write_str("code that the journal called has panicked"),
            Self::TooLarge { bytes, limit } => write!(f, "a record of {bytes} bytes is over the limit of {limit}"),
            Self::Held { pid: Some(pid) } => write!(f, "process {pid} has the journal open"),
            Self::Held { pid: None } => f.write_str("another process has the journal open"),
            Self::Io { doing, .. } => write!(f, "cannot {doing}"),
            Self::Rot { file, offset, why } => write!(f, "{file} is damaged at byte {offset}: {why}"),
            Self::Newer { file, found, known } => {
                write!(f, "{file} has format version {found}, and this program knows {known} at most")
            }
            Self::Codec { what, why } => write!(f, "{what}: {why}"),
            Self::Trimmed { first } => write!(f, "records before {first} are in the checkpoint alone"),
            Self::Option(why) => f.write_str(why),
        }
    }
}

impl error::Error for Error {
    fn source(&self) -> Option<&(dyn error::Error + 'static)> {
        match self {
            Self::Poisoned(cause) => Some(&**cause),
            Self::Io { source, .. } => Some(&**source),
            _ => None,
        }
    }
}
