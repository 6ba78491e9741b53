//! Clients that ask a server again and again, and tell exactly how each request ended.
//!
//! ```
//! use std::time::Duration;
//! use evenkeel_load::{Kind, Load, Method, Plan, Target};
//!
//! # let server = std::net::TcpListener::bind("127.0.0.1:0")?;
//! # let addr = server.local_addr()?;
//! # std::thread::spawn(move || for stream in server.incoming().map_while(Result::ok) {
//! #     std::io::Write::write_all(&mut &stream, b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").ok();
//! #     std::io::copy(&mut &stream, &mut std::io::sink()).ok();
//! # });
//! let target = Target::new(addr, "/orders");
//! let load = Load::start(Plan { kinds: vec![Kind::New], methods: vec![Method::Get], ..Plan::new(target) })?;
//! load.until_answered(1, Duration::from_secs(5)).expect("it answers");
//! load.restart_begins();
//! // .. restart the server here ..
//! load.restart_ends();
//! let table = load.end();
//! println!("{table}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! **Invariant:** every request that was begun ends in exactly one counted [`Ending`]. What a client may safely do again
//! (the connection had been closed before the request was sent; HTTP/2 says that the request was not looked at) it does
//! again, and the request is counted once, with its end. Nothing is ever left out of the table.
//!
//! This crate knows no component, no engine and no process: whoever restarts the server says when. It works against any
//! HTTP server in any language, in the clear.
//!
//! How a request ended is told by what was seen at the socket, not by the words of an error: how many bytes of it were
//! sent, how many bytes of the answer came, whether the other side had closed before. Modules in reading order:
//! [`ending`] (the kinds, and the one place that decides between them), `wire` (what is seen), `http1`, `http2`, `events`, `client`,
//! [`plan`], [`load`], [`table`].

mod client;
pub mod ending;
mod events;
mod http1;
mod http2;
pub mod load;
pub mod plan;
pub mod table;
mod tally;
mod wire;

pub use crate::{
    ending::Ending,
    load::{Load, NotAnswered, once},
    plan::{Kind, Method, Plan, Target},
    table::{Latency, Loss, Row, Table},
};
