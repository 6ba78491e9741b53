//! The HTTP side of the shop.

mod problem;

use std::{sync::Arc, time::Duration};

use axum::{
    Json, Router,
    body::Bytes,
    extract::{
        DefaultBodyLimit, Path, Query, State,
        rejection::{BytesRejection, QueryRejection},
    },
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use evenkeel::{Lease, Watch};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::json;

use self::problem::Problem;
use crate::{
    events::Stream,
    inventory,
    orders::{self, Order, Orders, Placed, Wish},
    payment,
    recommendations::{self, Recommendations},
    store::Store,
};

/// An order is small; a larger body is not one.
const MAX_BODY: usize = 16 * 1024;
const MAX_ITEM: usize = 200;
const MAX_QUANTITY: u32 = 1000;
const MAX_RECEIVED: u32 = 1_000_000_000;
const MAX_PRICE: i64 = 1_000_000_000;
const MAX_KEY: usize = 200;
const MAX_LISTED: u32 = 100;
/// Who waits for an order gets it as it is by then.
const MAX_WAIT: Duration = Duration::from_secs(60);

const HELP: &str = r#"The shop

  curl -d '{"item": "tea", "quantity": 2}' URL/orders    place an order
  curl -d '...' 'URL/orders?wait=packed'                 ... and wait for its end
  curl -d '...' -H 'Idempotency-Key: k1' URL/orders      ... once, however often
  curl URL/orders/1                                      its state and history
  curl 'URL/orders?state=rejected&limit=5'               the latest (before=ID)
  curl URL/payments/1                                    the charge for order 1
  curl URL/stock                                         what there is (/stock/tea)
  curl -d '{"item": "tea", "quantity": 50}' URL/stock    put more on the shelf
  curl URL/events                                        events not confirmed yet
  curl URL/recommendations/tea                           what goes well with it
"#;

/// What the handlers use. It holds on to the services, which therefore stop after the last request.
pub(crate) struct Shop {
    pub(crate) store: Store,
    pub(crate) orders: Lease<Orders>,
    pub(crate) recommendations: Watch<Recommendations>,
}

pub(crate) fn routes(shop: Shop) -> Router {
    Router::new()
        .route("/", get(HELP))
        .route("/orders", get(latest).post(place))
        .route("/orders/{id}", get(find))
        .route("/payments/{order}", get(charge))
        .route("/stock", get(stock).post(receive))
        .route("/stock/{item}", get(stock_of))
        .route("/events", get(unconfirmed))
        .route("/recommendations/{item}", get(recommend))
        .fallback(async || Problem::not_found("there is nothing here; see /"))
        .method_not_allowed_fallback(async || {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "this cannot be done here; see /")
        })
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
#[serde(deny_unknown_fields)]
struct How {
    wait: Option<String>,
}

/// Answers `201` only when the order is on disk; `200` if it was there before, with the same key.
async fn place(
    State(shop): State<Arc<Shop>>,
    how: Result<Query<How>, QueryRejection>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, Problem> {
    let wish = read_order(&body?, read_key(&headers)?)?;
    let wait = match query(how)?.wait.as_deref() {
        None => false,
        Some("packed") => true,
        Some(_) => return Err(Problem::bad("`wait` can be `packed`")),
    };
    let (status, id, state) = match shop.orders.place(wish).await? {
        Placed::New(id) => (StatusCode::CREATED, id, orders::State::Placed),
        Placed::Known(id, state) => (StatusCode::OK, id, state),
        Placed::TakenKey => {
            let text = "this `Idempotency-Key` belongs to another order; choose a new one";
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, text));
        }
    };
    let at = [(header::LOCATION, format!("/orders/{id}"))];
    if wait && let Some(order) = settled(&shop, id).await {
        return Ok((status, at, Json(order)).into_response());
    }
    Ok((status, at, Json(json!({ "id": id, "state": state.name() }))).into_response())
}

/// The order at its end. `None` if nobody can say: it is kept all the same, and that is what its client has to know.
async fn settled(shop: &Shop, id: i64) -> Option<Order> {
    tokio::time::timeout(MAX_WAIT, shop.orders.settled(id)).await.ok()?.ok()?
}

fn read_key(headers: &HeaderMap) -> Result<Option<String>, Problem> {
    let Some(key) = headers.get("idempotency-key") else { return Ok(None) };
    let text = key.to_str().ok().filter(|text| (1..=MAX_KEY).contains(&text.len()));
    let text = text.ok_or_else(|| Problem::bad(format!("`Idempotency-Key` is text of 1 to {MAX_KEY} bytes")))?;
    Ok(Some(text.to_owned()))
}

fn read_order(body: &[u8], key: Option<String>) -> Result<Wish, Problem> {
    let NewOrder { item, quantity } = read(body, "an order", r#"{"item": "tea", "quantity": 2}"#)?;
    check_item(&item)?;
    if !(1..=MAX_QUANTITY).contains(&quantity) {
        return Err(Problem::bad(format!("`quantity` is a number from 1 to {MAX_QUANTITY}")));
    }
    Ok(Wish { item, quantity, key })
}

/// Reads the body whatever its content type is: `curl -d` names another one.
fn read<T: DeserializeOwned>(body: &[u8], what: &str, example: &str) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| Problem::bad(format!("this is not {what}: {error}; write {example}")))
}

fn check_item(item: &str) -> Result<(), Problem> {
    // PostgreSQL keeps no text with a zero byte in it.
    if item.trim().is_empty() || item.len() > MAX_ITEM || item.contains('\0') {
        return Err(Problem::bad(format!("`item` is text of 1 to {MAX_ITEM} bytes")));
    }
    Ok(())
}

fn query<T>(given: Result<Query<T>, QueryRejection>) -> Result<T, Problem> {
    given.map(|Query(given)| given).map_err(|rejection| Problem::bad(rejection.body_text()))
}

fn number(text: &str) -> Option<i64> {
    text.parse().ok()
}

async fn find(State(shop): State<Arc<Shop>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let found = match number(&id) {
        Some(id) => shop.orders.find(id).await?,
        None => None,
    };
    let order = found.ok_or_else(|| Problem::not_found(format!("there is no order `{id}`")))?;
    Ok(Json(order).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    state: Option<String>,
    before: Option<i64>,
    limit: Option<u32>,
}

async fn latest(
    State(shop): State<Arc<Shop>>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Response, Problem> {
    let Which { state, before, limit } = query(which)?;
    let known = || orders::State::ALL.map(orders::State::name).join("`, `");
    let state = match state {
        None => None,
        Some(name) => {
            Some(orders::State::named(&name).ok_or_else(|| Problem::bad(format!("`state` can be `{}`", known())))?)
        }
    };
    let limit = limit.unwrap_or(10);
    if !(1..=MAX_LISTED).contains(&limit) {
        return Err(Problem::bad(format!("`limit` is a number from 1 to {MAX_LISTED}")));
    }
    let (count, latest) = shop.orders.list(state, before.unwrap_or(i64::MAX), limit).await?;
    Ok(Json(json!({ "count": count, "latest": latest })).into_response())
}

async fn charge(State(shop): State<Arc<Shop>>, Path(order): Path<String>) -> Result<Response, Problem> {
    let found = match number(&order) {
        Some(order) => payment::find(&shop.store, order).await?,
        None => None,
    };
    let charge = found.ok_or_else(|| Problem::not_found(format!("no charge was answered for order `{order}`")))?;
    Ok(Json(charge).into_response())
}

async fn stock(State(shop): State<Arc<Shop>>) -> Result<Response, Problem> {
    Ok(Json(json!({ "stock": inventory::list(&shop.store).await? })).into_response())
}

async fn stock_of(State(shop): State<Arc<Shop>>, Path(item): Path<String>) -> Result<Response, Problem> {
    check_item(&item)?;
    let found = inventory::find(&shop.store, item.clone()).await?;
    Ok(Json(found.ok_or_else(|| Problem::not_found(format!("there is no `{item}` in this shop")))?).into_response())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Received {
    item: String,
    quantity: u32,
    /// In cents, for one.
    price: Option<i64>,
}

async fn receive(State(shop): State<Arc<Shop>>, body: Result<Bytes, BytesRejection>) -> Result<Response, Problem> {
    let Received { item, quantity, price } = read(&body?, "stock", r#"{"item": "tea", "quantity": 50, "price": 350}"#)?;
    check_item(&item)?;
    if !(1..=MAX_RECEIVED).contains(&quantity) {
        return Err(Problem::bad(format!("`quantity` is a number from 1 to {MAX_RECEIVED}")));
    }
    if price.is_some_and(|price| !(0..=MAX_PRICE).contains(&price)) {
        return Err(Problem::bad(format!("`price` is a number of cents from 0 to {MAX_PRICE}")));
    }
    Ok(Json(inventory::receive(&shop.store, item, quantity, price).await?).into_response())
}

async fn unconfirmed(State(shop): State<Arc<Shop>>) -> Result<Response, Problem> {
    let counts = shop.store.read_now(|tx| {
        let counts = Stream::ALL.map(|stream| Ok((stream.name(), stream.unconfirmed(tx)?)));
        counts.into_iter().collect::<Result<std::collections::BTreeMap<_, _>, _>>()
    });
    Ok(Json(json!({ "unconfirmed": counts.await? })).into_response())
}

async fn recommend(State(shop): State<Arc<Shop>>, Path(item): Path<String>) -> Response {
    Json(recommendations::beside(&item, &shop.recommendations).await).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_an_item_and_a_quantity_within_limits() {
        let refused = |body: &str| read_order(body.as_bytes(), None).err().map(|problem| problem.detail);
        assert_eq!(refused(r#"{"item": "tea", "quantity": 2}"#), None);
        for bad in [
            "",
            "nope",
            "[]",
            r#"{"item": "tea"}"#,
            r#"{"item": "", "quantity": 2}"#,
            r#"{"item": "t\u0000ea", "quantity": 2}"#,
            r#"{"item": "tea", "quantity": 0}"#,
            r#"{"item": "tea", "quantity": -1}"#,
            r#"{"item": "tea", "quantity": 1001}"#,
            r#"{"item": "tea", "quantity": 2, "price": 0}"#,
        ] {
            assert!(refused(bad).is_some(), "{bad}");
        }
        assert!(refused(&format!(r#"{{"item": "{}", "quantity": 2}}"#, "x".repeat(MAX_ITEM + 1))).is_some());
    }

    #[test]
    fn a_key_is_text_within_limits() {
        let key = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert("idempotency-key", value.parse().expect("it is a header"));
            read_key(&headers).map_err(|problem| problem.status)
        };
        assert_eq!(key("k1"), Ok(Some("k1".to_owned())));
        assert_eq!(key(""), Err(StatusCode::BAD_REQUEST));
        assert_eq!(key(&"k".repeat(MAX_KEY + 1)), Err(StatusCode::BAD_REQUEST));
        assert!(matches!(read_key(&HeaderMap::new()), Ok(None)));
    }
}
