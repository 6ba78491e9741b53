//! The HTTP side of the shop.

use std::sync::Arc;

use axum::{
    Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, Query, State, rejection::BytesRejection},
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use evenkeel::{Lease, Watch};
use serde::Deserialize;
use serde_json::json;

use crate::{
    ledger::{Orders, Refused},
    packing::Packing,
    recommendations::{self, Recommendations},
};

/// An order is small; a larger body is not one.
const MAX_BODY: usize = 16 * 1024;
const MAX_ITEM: usize = 200;
const MAX_QUANTITY: u32 = 1000;

const HELP: &str = r#"The shop

  curl -d '{"item": "tea", "quantity": 2}' URL/orders     place an order
  curl -d '...' 'URL/orders?wait=packed'                  ... and wait until it is packed
  curl URL/orders                                         how many, and the latest
  curl URL/orders/1                                       one of them
  curl URL/recommendations/tea                            what goes well with it
"#;

/// What the handlers use. It holds on to the ledger and the packing, which therefore stop after the last request.
pub(crate) struct Shop {
    pub(crate) orders: Orders,
    pub(crate) packing: Lease<Packing>,
    pub(crate) recommendations: Watch<Recommendations>,
    pub(crate) _ledger: Lease<()>,
}

pub(crate) fn routes(shop: Shop) -> Router {
    Router::new()
        .route("/", get(HELP))
        .route("/orders", get(latest).post(place))
        .route("/orders/{id}", get(find))
        .route("/recommendations/{item}", get(recommend))
        .fallback(async || Problem::new(StatusCode::NOT_FOUND, "there is nothing here; see /"))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Arc::new(shop))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewOrder {
    item: String,
    quantity: u32,
}

#[derive(Deserialize)]
struct How {
    wait: Option<String>,
}

/// Answers `201` only when the order is on disk.
async fn place(
    State(shop): State<Arc<Shop>>,
    Query(how): Query<How>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let order = read_order(&body?)?;
    let wait = match how.wait.as_deref() {
        None => false,
        Some("packed") => true,
        Some(_) => return Err(Problem::new(StatusCode::BAD_REQUEST, "`wait` can be `packed`")),
    };
    let id = shop.orders.place(order.item, order.quantity).await?;
    let packed = wait && shop.packing.finished(id).await;
    let at = [(header::LOCATION, format!("/orders/{id}"))];
    Ok((StatusCode::CREATED, at, Json(json!({ "id": id, "packed": packed }))).into_response())
}

/// Reads the body whatever its content type is: `curl -d` names another one.
fn read_order(body: &[u8]) -> Result<NewOrder, Problem> {
    let bad = |text: String| Problem::new(StatusCode::BAD_REQUEST, text);
    let order: NewOrder = serde_json::from_slice(body)
        .map_err(|error| bad(format!(r#"this is no order: {error}; write {{"item": "tea", "quantity": 2}}"#)))?;
    if order.item.trim().is_empty() || order.item.len() > MAX_ITEM {
        return Err(bad(format!("`item` is text of 1 to {MAX_ITEM} bytes")));
    }
    if !(1..=MAX_QUANTITY).contains(&order.quantity) {
        return Err(bad(format!("`quantity` is a number from 1 to {MAX_QUANTITY}")));
    }
    Ok(order)
}

async fn find(State(shop): State<Arc<Shop>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let found = match id.parse() {
        Ok(id) => shop.orders.find(id).await?,
        Err(_) => None,
    };
    let order = found.ok_or_else(|| Problem::new(StatusCode::NOT_FOUND, format!("there is no order `{id}`")))?;
    Ok(Json(order).into_response())
}

async fn latest(State(shop): State<Arc<Shop>>) -> Result<Response, Problem> {
    let (count, latest) = shop.orders.latest(10).await?;
    Ok(Json(json!({ "count": count, "latest": latest })).into_response())
}

async fn recommend(State(shop): State<Arc<Shop>>, Path(item): Path<String>) -> Response {
    // Looked at for each request: it may have come in the meantime, or gone.
    let known = shop.recommendations.get();
    let (items, source) = recommendations::beside(&item, known.as_ref());
    Json(json!({ "items": items, "source": source })).into_response()
}

/// An answer that is not the one that was hoped for.
struct Problem {
    status: StatusCode,
    text: String,
}

impl Problem {
    fn new(status: StatusCode, text: impl Into<String>) -> Self {
        Self { status, text: text.into() }
    }
}

impl From<BytesRejection> for Problem {
    fn from(rejection: BytesRejection) -> Self {
        match rejection.status() {
            StatusCode::PAYLOAD_TOO_LARGE => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, format!("an order has at most {MAX_BODY} bytes"))
            }
            status => Self::new(status, rejection.body_text()),
        }
    }
}

impl From<Refused> for Problem {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Busy | Refused::Ended => Self::new(StatusCode::SERVICE_UNAVAILABLE, refused.to_string()),
            Refused::Failed(error) => {
                tracing::error!("the database refused a request: {error}");
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "the database refused it; the log of the shop says why")
            }
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(json!({ "error": self.text }))).into_response();
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_that_is_busy_or_has_ended_is_503_with_a_time_to_come_back() {
        for refused in [Refused::Busy, Refused::Ended] {
            let response = Problem::from(refused).into_response();
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(response.headers()[header::RETRY_AFTER], "1");
        }
    }

    #[test]
    fn an_order_is_an_item_and_a_quantity_within_limits() {
        let refused = |body: &str| read_order(body.as_bytes()).err().map(|problem| problem.text);
        assert_eq!(refused(r#"{"item": "tea", "quantity": 2}"#), None);
        for bad in [
            "",
            "nope",
            "[]",
            r#"{"item": "tea"}"#,
            r#"{"item": "", "quantity": 2}"#,
            r#"{"item": "tea", "quantity": 0}"#,
            r#"{"item": "tea", "quantity": -1}"#,
            r#"{"item": "tea", "quantity": 1001}"#,
            r#"{"item": "tea", "quantity": 2, "price": 0}"#,
        ] {
            assert!(refused(bad).is_some(), "{bad}");
        }
        assert!(refused(&format!(r#"{{"item": "{}", "quantity": 2}}"#, "x".repeat(MAX_ITEM + 1))).is_some());
    }
}
