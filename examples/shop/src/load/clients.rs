//! The clients of a load: what they send, over which kind of connection, and what the answer means.

use std::{error::Error as StdError, io, time::Duration};

use axum::{
    body::Bytes,
    http::{Request, StatusCode, Uri, request::Builder},
};
use evenkeel::{Error, Explain, Result};
use http_body_util::{BodyExt, Full};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use serde::Deserialize;
use serde_json::json;

use super::{item, quantity};

/// An answer that takes longer is none.
const PATIENCE: Duration = Duration::from_secs(30);

/// The shop is there, and has too much to do.
pub(super) const BUSY: &str = "503";

/// How a client connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Kind {
    /// It keeps its connection.
    Kept,
    /// A connection for each request.
    New,
    /// Streams of HTTP/2, known before: no upgrade.
    H2,
}

impl Kind {
    pub(super) const ALL: [Self; 3] = [Self::Kept, Self::New, Self::H2];

    pub(super) fn of(name: &str) -> &'static [Self] {
        match name {
            "new" => &[Self::New],
            "h2" => &[Self::H2],
            "all" => &Self::ALL,
            _ => &[Self::Kept],
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kept => "kept",
            Self::New => "new",
            Self::H2 => "h2",
        }
    }
}

/// How it ended for one order.
pub(super) enum Fate {
    /// The shop said that it keeps it, under this id.
    Acknowledged(i64),
    /// The shop does not have it: it said so, or was never asked.
    Refused(&'static str),
    /// It was sent and there was no answer. The shop may have it or not.
    Unknown(&'static str),
}

/// A client's way to the shop.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) kind: Kind,
    client: Client<HttpConnector, Full<Bytes>>,
}

impl Link {
    pub(super) fn new(kind: Kind) -> Self {
        let mut builder = Client::builder(TokioExecutor::new());
        match kind {
            Kind::Kept => {}
            Kind::New => _ = builder.pool_max_idle_per_host(0),
            Kind::H2 => _ = builder.http2_only(true),
        }
        Self { kind, client: builder.build_http() }
    }

    async fn exchange(&self, request: Builder, body: String) -> Result<(StatusCode, Bytes), Fate> {
        let request = if self.kind == Kind::New { request.header("connection", "close") } else { request };
        let request = request.body(Full::from(body)).map_err(|_| Fate::Refused("not a request"))?;
        let exchange = async {
            let answer = self.client.request(request).await.map_err(|error| no_answer(&error, error.is_connect()))?;
            let status = answer.status();
            let body = answer.into_body().collect().await.map_err(|error| no_answer(&error, false))?;
            Ok((status, body.to_bytes()))
        };
        tokio::time::timeout(PATIENCE, exchange).await.unwrap_or(Err(Fate::Unknown("unanswered for 30 s")))
    }
}

/// The shop under load.
pub(super) struct Target {
    base: String,
    /// For what is not part of the load.
    aside: Link,
}

impl Target {
    pub(super) fn of(url: &Uri) -> Result<Self> {
        const FORM: &str = "write it like `http://127.0.0.1:8080`";
        if url.scheme_str() != Some("http") || url.authority().is_none() {
            return Err(Error::from(format!("`{url}` is not an http URL"))).hint(FORM);
        }
        Ok(Self { base: url.to_string().trim_end_matches('/').to_owned(), aside: Link::new(Kind::New) })
    }

    /// Puts so many of an item on the shelf.
    pub(super) async fn receive(&self, item: &str, quantity: u32) -> Result {
        let request = Request::post(format!("{}/stock", self.base));
        let body = json!({ "item": item, "quantity": quantity }).to_string();
        match self.aside.exchange(request, body).await {
            Ok((StatusCode::OK, _)) => Ok(()),
            Ok((status, body)) => {
                let said = String::from_utf8_lossy(&body);
                Err(format!("what answers at {} is no shop: {status} {said}", self.base).into())
            }
            Err(_) => Err(Error::from(format!("no shop answers at {}", self.base)))
                .hint("start it with `shop`, or name another address with `--url`"),
        }
    }

    /// Whether a shop answers now.
    pub(super) async fn is_there(&self) -> bool {
        self.aside.exchange(Request::get(format!("{}/", self.base)), String::new()).await.is_ok()
    }

    pub(super) async fn place(&self, link: &Link, run: &str, number: usize) -> Fate {
        #[derive(Deserialize)]
        struct Placed {
            id: i64,
        }
        let request = Request::post(format!("{}/orders", self.base)).header("idempotency-key", key(run, number));
        let body = json!({ "item": item(number), "quantity": quantity(number) }).to_string();
        match link.exchange(request, body).await {
            Err(fate) => fate,
            Ok((StatusCode::CREATED | StatusCode::OK, body)) => match serde_json::from_slice::<Placed>(&body) {
                Ok(placed) => Fate::Acknowledged(placed.id),
                Err(_) => Fate::Unknown("acknowledged without an id"),
            },
            Ok((StatusCode::SERVICE_UNAVAILABLE, _)) => Fate::Refused(BUSY),
            Ok((status, _)) if status.is_server_error() => Fate::Unknown("other 5xx"),
            Ok(_) => Fate::Refused("4xx"),
        }
    }

    /// Whether an acknowledged order reads as it was sent; `None` if there is no answer to tell by.
    pub(super) async fn look(&self, link: &Link, id: i64, number: usize) -> Option<bool> {
        #[derive(Deserialize)]
        struct Seen {
            id: i64,
            item: String,
            quantity: u32,
        }
        let request = Request::get(format!("{}/orders/{id}", self.base));
        match link.exchange(request, String::new()).await.ok()? {
            (StatusCode::OK, body) => Some(
                serde_json::from_slice::<Seen>(&body)
                    .is_ok_and(|seen| (seen.id, &*seen.item, seen.quantity) == (id, item(number), quantity(number))),
            ),
            (StatusCode::NOT_FOUND, _) => Some(false),
            _ => None,
        }
    }
}

pub(super) fn key(run: &str, number: usize) -> String {
    format!("{run}/{number}")
}

/// What a failed exchange says about the order.
fn no_answer(error: &(dyn StdError + 'static), connecting: bool) -> Fate {
    let mut kind = "unanswered";
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) {
            return Fate::Refused("closed before it was sent");
        }
        // A stream behind the last one of a GOAWAY, or one that was refused, was not looked at.
        if error.downcast_ref::<h2::Error>().is_some_and(|error| {
            error.is_remote() && (error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM))
        }) {
            return Fate::Refused("sent back unread");
        }
        match error.downcast_ref::<io::Error>().map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionRefused) => return Fate::Refused("connection refused"),
            Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe) => kind = "reset",
            _ => {}
        }
        next = error.source();
    }
    if connecting { Fate::Refused("cannot connect") } else { Fate::Unknown(kind) }
}
