//! The services of the shop, as a client sees them: an order's way through its states, and what goes wrong on it. They
//! do not know which database they have, so all of it holds on a file and in a server.

use std::{thread, time::Duration};

use evenkeel_testbeds::{PASSWORD, Postgres};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    TEA,
    process::{Place, Shop, exchange_with},
};

/// The same tests on both databases.
macro_rules! on_both {
    ($($name:ident)+) => {
        mod on_a_file {
            $(#[test]
            fn $name() {
                super::$name(&super::Place::new());
            })+
        }
        mod on_postgres {
            $(#[test]
            fn $name() {
                if let Some(place) = super::Place::on_postgres() {
                    super::$name(&place);
                }
            })+
        }
    };
}
on_both! {
    an_order_is_reserved_paid_and_packed_r5_1a
    what_is_not_in_stock_is_rejected_and_says_why_r5_1a
    stock_of_an_order_that_cannot_be_paid_goes_back_r5_1a
    a_provider_that_loses_answers_charges_once_r5_1a
    a_provider_that_is_away_holds_up_neither_orders_nor_the_stop_r5_3c
    charges_under_way_are_drained_before_the_database_is_closed_r4_4b
    an_order_placed_again_with_its_key_is_the_same_order
    recommendations_that_are_slow_to_answer_are_not_waited_for_r5_3c
    what_cannot_be_asked_is_a_problem_with_a_status_of_its_own
    a_page_of_orders_ends_where_the_next_begins
    a_client_that_goes_away_while_it_waits_takes_nothing_along
}

fn states(order: &Value) -> Vec<&str> {
    order["history"].as_array().unwrap().iter().map(|entry| entry["state"].as_str().unwrap()).collect()
}

/// Places an order and waits for its end.
fn placed(shop: &Shop<'_>, item: &str, quantity: u32) -> Value {
    let answer = shop.post("/orders?wait=packed", json!({ "item": item, "quantity": quantity }).to_string());
    assert_eq!(answer.status, 201, "{answer:?}");
    answer.json()
}

fn on_hand(shop: &Shop<'_>, item: &str) -> i64 {
    shop.get(&format!("/stock/{item}")).json()["on_hand"].as_i64().unwrap()
}

fn an_order_is_reserved_paid_and_packed_r5_1a(place: &Place) {
    let shop = place.start(&[]);
    let before = on_hand(&shop, "tea");
    let order = placed(&shop, "tea", 2);
    assert_eq!(states(&order), ["placed", "reserved", "paid", "packed"]);
    assert_eq!((&order["state"], &order["amount"]), (&"packed".into(), &700.into()));
    assert_eq!(on_hand(&shop, "tea"), before - 2);
    let charge = shop.get("/payments/1").json();
    assert_eq!((&charge["amount"], &charge["answer"]), (&700.into(), &"accepted".into()));
    assert_eq!(shop.get("/payments/2").status, 404);
    shop.get_until("/events", |events| events["unconfirmed"] == json!({ "orders": 0, "inventory": 0, "payment": 0 }));
    shop.stop();
}

fn what_is_not_in_stock_is_rejected_and_says_why_r5_1a(place: &Place) {
    let shop = place.start(&[]);
    let order = placed(&shop, "samovar", 21);
    assert_eq!(states(&order), ["placed", "rejected"]);
    assert_eq!(order["reason"], "out of stock: 20 of `samovar` are left");
    let unknown = placed(&shop, "moon", 1);
    assert_eq!(unknown["reason"], "there is no `moon` in this shop");
    assert_eq!(shop.get("/orders?state=rejected").json()["latest"].as_array().unwrap().len(), 2);

    let stock = shop.post("/stock", r#"{"item": "samovar", "quantity": 1, "price": 100}"#);
    assert_eq!((stock.status, &stock.json()["on_hand"]), (200, &21.into()));
    assert_eq!(placed(&shop, "samovar", 21)["state"], "packed");
    assert_eq!(on_hand(&shop, "samovar"), 0);
    shop.stop();
}

fn stock_of_an_order_that_cannot_be_paid_goes_back_r5_1a(place: &Place) {
    let shop = place.start(&[]);
    let order = placed(&shop, "samovar", 5);
    assert_eq!(
        (&order["state"], &order["reason"]),
        (&"rejected".into(), &"1245.00 is over the limit of the card".into())
    );
    let order = shop.get_until("/orders/1", |order| states(order).len() == 4);
    assert_eq!(states(&order), ["placed", "reserved", "rejected", "released"]);
    assert_eq!(on_hand(&shop, "samovar"), 20);
    assert_eq!(shop.get("/payments/1").json()["answer"], "declined");
    shop.stop();
    assert!(place.run(&["check", "--settled"]).status.success());
}

fn a_provider_that_loses_answers_charges_once_r5_1a(place: &Place) {
    let shop = place.start(&["--payment-failures", "60"]);
    for _ in 0..20 {
        assert_eq!(shop.post("/orders", TEA).status, 201);
    }
    shop.get_until("/orders?limit=20", |orders| {
        let latest = orders["latest"].as_array().unwrap();
        latest.len() == 20 && latest.iter().all(|order| order["state"] == "packed")
    });
    shop.stop();
    let check = place.run(&["check", "--settled"]);
    assert!(check.status.success(), "{check:?}");
}

fn a_provider_that_is_away_holds_up_neither_orders_nor_the_stop_r5_3c(place: &Place) {
    let shop = place.start(&["--payment-failures", "100"]);
    assert_eq!(shop.post("/orders", TEA).status, 201);
    shop.get_until("/orders/1", |order| order["state"] == "reserved");
    shop.stop();
    // When it is back, the order is paid.
    let shop = place.start(&[]);
    shop.get_until("/orders/1", |order| order["state"] == "packed");
    shop.stop();
    assert!(place.run(&["check", "--settled"]).status.success());
}

fn charges_under_way_are_drained_before_the_database_is_closed_r4_4b(place: &Place) {
    let shop = place.start(&["--payment-delay", "1500ms"]);
    for _ in 0..5 {
        assert_eq!(shop.post("/orders", TEA).status, 201);
    }
    shop.get_until("/orders?state=reserved", |orders| orders["latest"].as_array().unwrap().len() == 5);
    shop.get_until("/events", |events| events["unconfirmed"]["inventory"] == 0);
    shop.stop();
    let receipt = place.receipt();
    let row = |name: &str| receipt["components"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap();
    assert!(row("payment")["drained"].as_u64().unwrap() > 0, "{receipt}");
    let closing = row("database")["release_ms"].as_f64().unwrap();
    for consumer in ["orders", "inventory", "payment", "packing"] {
        assert!(row(consumer)["end_ms"].as_f64().unwrap() <= closing, "{consumer}: {receipt}");
    }
    assert_eq!(receipt["exit_code"], 0);

    let shop = place.start(&[]);
    shop.get_until("/orders?state=packed", |orders| orders["latest"].as_array().unwrap().len() == 5);
    shop.stop();
    assert!(place.run(&["check", "--settled"]).status.success());
}

fn an_order_placed_again_with_its_key_is_the_same_order(place: &Place) {
    let shop = place.start(&[]);
    let post = |key: &str, body: &str| {
        let headers = format!("idempotency-key: {key}\r\n");
        exchange_with(&shop.addr, "POST", "/orders", &headers, body.as_bytes()).unwrap()
    };
    let first = post("k1", TEA);
    assert_eq!((first.status, &first.json()["id"]), (201, &1.into()));
    let again = post("k1", TEA);
    assert_eq!((again.status, &again.json()["id"]), (200, &1.into()));
    assert_eq!(post("k1", r#"{"item": "tea", "quantity": 3}"#).status, 422);
    assert_eq!(post(&"k".repeat(300), TEA).status, 400);
    assert_eq!(post("k2", TEA).json()["id"], 2);
    shop.stop();

    // Also when a crash has taken the answer away.
    let shop = place.start(&[]);
    shop.signal(Signal::KILL);
    shop.wait();
    let shop = place.start(&[]);
    let headers = "idempotency-key: k2\r\n";
    let again = exchange_with(&shop.addr, "POST", "/orders", headers, TEA.as_bytes()).unwrap();
    assert_eq!((again.status, &again.json()["id"]), (200, &2.into()));
    assert_eq!(shop.get("/orders").json()["count"], 2);
    shop.stop();
}

fn recommendations_that_are_slow_to_answer_are_not_waited_for_r5_3c(place: &Place) {
    let shop = place.start(&["--recommendation-delay", "1h"]);
    placed(&shop, "tea", 1);
    let offered = shop.get_until("/recommendations/tea", |offered| offered["because"] == "recommendations are slow");
    assert_eq!((&offered["source"], &offered["items"][0]), (&"fallback".into(), &"gift card".into()));
    shop.stop();
}

#[test]
fn orders_from_before_there_were_payments_are_packed() {
    let place = Place::new();
    let file = rusqlite::Connection::open(place.database()).unwrap();
    file.execute_batch(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY, item TEXT NOT NULL,
             quantity INTEGER NOT NULL CHECK (quantity > 0), packed INTEGER NOT NULL DEFAULT 0) STRICT;
         CREATE INDEX to_pack ON orders (id) WHERE packed = 0;
         INSERT INTO orders (item, quantity, packed) VALUES ('anything', 2, 1), ('whatever', 3, 0);
         PRAGMA user_version = 1;",
    )
    .unwrap();
    drop(file);
    let shop = place.start(&[]);
    shop.get_until("/orders/2", |order| order["state"] == "packed");
    assert_eq!(shop.get("/orders/1").json()["state"], "packed");
    assert_eq!(placed(&shop, "tea", 1)["id"], 3);
    shop.stop();
    assert!(place.run(&["check", "--settled"]).status.success());
}

fn what_cannot_be_asked_is_a_problem_with_a_status_of_its_own(place: &Place) {
    let shop = place.start(&[]);
    for (path, status) in [
        ("/orders?state=lost", 400),
        ("/orders?limit=0", 400),
        ("/orders?limit=101", 400),
        ("/orders?colour=red", 400),
        ("/stock/moon", 404),
        ("/payments/x", 404),
    ] {
        let answer = shop.get(path);
        assert_eq!(answer.status, status, "{path}: {answer:?}");
        assert_eq!(answer.json()["status"], status, "{path}: {answer:?}");
    }
    for body in ["", r#"{"item": "tea", "quantity": 0}"#, r#"{"item": "tea", "quantity": 1, "price": -1}"#] {
        assert_eq!(shop.post("/stock", body).status, 400, "{body}");
    }
    assert_eq!(exchange_with(&shop.addr, "DELETE", "/orders", "", b"").unwrap().status, 405);
    shop.stop();
}

fn a_page_of_orders_ends_where_the_next_begins(place: &Place) {
    let shop = place.start(&[]);
    for _ in 0..5 {
        assert_eq!(shop.post("/orders", TEA).status, 201);
    }
    let ids = |path: &str| -> Vec<i64> {
        let page = shop.get(path).json();
        page["latest"].as_array().unwrap().iter().map(|order| order["id"].as_i64().unwrap()).collect()
    };
    assert_eq!(ids("/orders?limit=2"), [5, 4]);
    assert_eq!(ids("/orders?limit=2&before=4"), [3, 2]);
    shop.stop();
}

fn a_client_that_goes_away_while_it_waits_takes_nothing_along(place: &Place) {
    let shop = place.start(&["--payment-delay", "500ms"]);
    let addr = shop.addr.clone();
    let gone = thread::spawn(move || {
        use std::io::Write as _;
        let mut stream = std::net::TcpStream::connect(addr).unwrap();
        let head = format!("POST /orders?wait=packed HTTP/1.1\r\nhost: shop\r\ncontent-length: {}\r\n\r\n", TEA.len());
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(TEA.as_bytes()).unwrap();
        thread::sleep(Duration::from_millis(100));
    });
    gone.join().unwrap();
    shop.get_until("/orders/1", |order| order["state"] == "packed");
    shop.stop();
}

#[test]
fn a_server_that_goes_away_and_comes_back_costs_no_acknowledged_order_r4_2b() {
    let Some(mut server) = Postgres::start() else { return };
    let place = Place::with_url(server.url());
    let shop = place.start(&[]);
    assert_eq!(shop.post("/orders", TEA).status, 201);
    server.kill();
    let answer = shop.post("/orders", TEA);
    assert_eq!((answer.status, answer.json()["status"].as_u64()), (503, Some(503)), "{answer:?}");
    server.start_again();
    let begun = std::time::Instant::now();
    while shop.post("/orders", TEA).status != 201 {
        assert!(begun.elapsed() < Duration::from_secs(60), "{}", place.said());
    }
    shop.get_until("/orders?state=packed", |orders| orders["latest"].as_array().unwrap().len() >= 2);
    shop.stop();
    assert!(place.run(&["check", "--settled"]).status.success());
    assert!(!place.said().contains(PASSWORD), "a password is in the log");
}

#[test]
fn a_server_that_is_not_there_fails_the_start_without_telling_the_password_r2_5a() {
    let place = Place::with_url(format!("postgres://keel:{PASSWORD}@127.0.0.1:1/keel?colour=red"));
    for line in [&["load", "--orders", "3"][..], &["check"]] {
        let failed = place.run(line);
        let said = String::from_utf8_lossy(&failed.stderr);
        assert_eq!(failed.status.code(), Some(1), "{said}");
        assert!(!said.contains(PASSWORD) && said.contains("127.0.0.1:1/keel"), "{said}");
    }
    let wrong = Place::with_url(format!("postgres://keel:{PASSWORD}@127.0.0.1:no/keel"));
    let refused = wrong.run(&["run", "--listen", "127.0.0.1:0"]);
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(refused.status.code() == Some(78) && !said.contains(PASSWORD), "{said}");
    assert!(said.contains("invalid port number") && said.contains("hint: "), "{said}");
}
