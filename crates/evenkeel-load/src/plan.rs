//! What to ask, in which ways, how often.

use std::{fmt, net::SocketAddr, str::FromStr, time::Duration};

use bytes::Bytes;
use serde::Serialize;

/// How a client uses its connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// HTTP/1.1, a new connection for each request.
    New,
    /// HTTP/1.1, one connection for as long as the server keeps it.
    KeepAlive,
    /// HTTP/2 without TLS and without an upgrade ("prior knowledge"), [`Plan::streams`] requests at a time on a connection.
    #[serde(rename = "h2")]
    Http2,
    /// HTTP/1.1, an event stream on a connection of its own ([`Target::events`]), until the server ends it; then the next.
    /// A stream is one request: it is answered if the server ends it properly, and cut short if it breaks off. Only GET.
    #[serde(rename = "sse")]
    Events,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::New, Self::KeepAlive, Self::Http2, Self::Events];

    /// Those that ask for [`Target::path`].
    pub const REQUESTS: [Self; 3] = [Self::New, Self::KeepAlive, Self::Http2];

    /// As on the command line and in the table.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::KeepAlive => "keep-alive",
            Self::Http2 => "h2",
            Self::Events => "sse",
        }
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    /// Without a body.
    Get,
    /// With [`Target::body`].
    Post,
}

impl Method {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Get, Self::Post];

    /// As in HTTP.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
        }
    }

    pub(crate) fn of_http(self) -> http::Method {
        match self {
            Self::Get => http::Method::GET,
            Self::Post => http::Method::POST,
        }
    }
}

macro_rules! named {
    ($type:ty, $said:ident) => {
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(self.name())
            }
        }

        impl FromStr for $type {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, String> {
                let found = Self::$said.into_iter().find(|one| one.name().eq_ignore_ascii_case(text));
                let names = || Self::$said.map(|one| one.name().to_ascii_lowercase()).join(", ");
                found.ok_or_else(|| format!("there are {}", names()))
            }
        }
    };
}

// Event streams have a path of their own, and are asked for by that.
named!(Kind, REQUESTS);
named!(Method, ALL);

/// Who is asked for what.
#[derive(Clone, Debug)]
pub struct Target {
    /// Where the server listens.
    pub addr: SocketAddr,
    /// The `Host` of each request; the address if not said.
    pub authority: String,
    /// Path and query.
    pub path: String,
    /// Path and query of an endless `text/event-stream`, for [`Kind::Events`].
    pub events: Option<String>,
    /// What a POST carries. `{id}` in it is replaced by a number that no other request of the run has, and that stays the
    /// same when the request is sent again: a server that remembers them finds doubles.
    pub body: String,
    /// The media type of that.
    pub content_type: String,
    /// The status of a proper answer; anything below 400 if not said.
    pub status: Option<u16>,
}

impl Target {
    /// A path at an address.
    #[must_use]
    pub fn new(addr: SocketAddr, path: impl Into<String>) -> Self {
        Self {
            addr,
            authority: addr.to_string(),
            path: path.into(),
            events: None,
            body: "evenkeel {id}".to_owned(),
            content_type: "text/plain".to_owned(),
            status: None,
        }
    }

    pub(crate) fn body_of(&self, method: Method, id: u64) -> Bytes {
        match method {
            Method::Get => Bytes::new(),
            Method::Post => self.body.replace("{id}", &id.to_string()).into(),
        }
    }

    pub(crate) fn expects(&self, status: http::StatusCode) -> bool {
        self.status.map_or(status.as_u16() < 400, |wanted| status.as_u16() == wanted)
    }
}

/// A load: each kind with each method, from as many clients each.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Who is asked for what.
    pub target: Target,
    /// How connections are used.
    pub kinds: Vec<Kind>,
    /// What is asked.
    pub methods: Vec<Method>,
    /// How many clients there are for each kind with each method; a client waits for its answer before it asks again.
    pub clients: usize,
    /// How many requests a second all clients together may begin; as many as they can if not said. Who is late does not
    /// catch up.
    pub rate: Option<u32>,
    /// How long a request may take, from the first attempt to connect to the last byte of the answer.
    pub timeout: Duration,
    /// How many HTTP/2 clients share a connection.
    pub streams: usize,
    /// On how many threads the clients run.
    pub threads: usize,
}

impl Plan {
    /// The most clients a plan may have in all.
    pub const MAX_CLIENTS: usize = 10_000;

    /// All kinds but event streams, both methods, 8 clients each, as fast as they can, on one thread.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self {
            target,
            kinds: Kind::REQUESTS.to_vec(),
            methods: Method::ALL.to_vec(),
            clients: 8,
            rate: None,
            timeout: Duration::from_secs(10),
            streams: 8,
            threads: 1,
        }
    }

    /// The rows of the table, in its order.
    pub(crate) fn rows(&self) -> Vec<(Kind, Method)> {
        let rows = self.kinds.iter().flat_map(|kind| self.methods.iter().map(|method| (*kind, *method)));
        let mut rows: Vec<_> = rows.filter(|(kind, _)| *kind != Kind::Events).collect();
        if self.kinds.contains(&Kind::Events) {
            rows.push((Kind::Events, Method::Get));
        }
        rows
    }

    /// How much time lies between two requests of one client.
    pub(crate) fn interval(&self) -> Option<Duration> {
        let clients = u32::try_from(self.rows().len() * self.clients).unwrap_or(u32::MAX);
        self.rate.map(|rate| Duration::from_secs(1) * clients / rate.max(1))
    }

    /// Why this plan cannot be carried out.
    pub(crate) fn fault(&self) -> Option<String> {
        let clients = self.rows().len().saturating_mul(self.clients);
        if clients == 0 {
            return Some("there is nothing to do: no kind, no method or no client".to_owned());
        }
        if clients > Self::MAX_CLIENTS {
            return Some(format!("{clients} clients are more than {}", Self::MAX_CLIENTS));
        }
        if self.kinds.contains(&Kind::Events) && self.target.events.is_none() {
            return Some("sse needs the path of an event stream".to_owned());
        }
        for path in [&self.target.path].into_iter().chain(&self.target.events) {
            let uri = http::Uri::builder().scheme("http").authority(self.target.authority.as_str());
            if uri.path_and_query(path.as_str()).build().is_err() || !path.starts_with('/') {
                return Some(format!("`{}` with `{path}` is no URL", self.target.authority));
            }
        }
        http::HeaderValue::from_str(&self.target.content_type).err().map(|error| format!("media type: {error}"))
    }
}
