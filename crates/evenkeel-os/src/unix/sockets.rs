//! Sockets: the Linux side.

/// Whether a read that did not fill its buffer shows that the socket is empty, so that an edge-triggered poller need not
/// be asked again. True for epoll; on Windows a poller must be left to say so itself.
pub const SHORT_READ_MEANS_EMPTY: bool = true;
