//! Sockets, where the systems differ.

pub use crate::sys::sockets::SHORT_READ_MEANS_EMPTY;
