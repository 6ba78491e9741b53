//! The shop as a whole: the real program, a real database file, real HTTP. The name of a test is what it claims.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a failed helper fails its test; figures are told")]
#![cfg(unix)] // stopped by signals

mod process;
mod restarts;
mod services;

use std::{net::TcpListener, process::Output, thread, time::Duration};

use crate::process::{Place, exchange};

const TEA: &str = r#"{"item": "tea", "quantity": 2}"#;

/// A number of the table that `shop load` prints.
#[track_caller]
fn count(load: &Output, what: &str) -> u32 {
    let table = String::from_utf8_lossy(&load.stdout);
    let line = table.lines().find(|line| line.starts_with(what));
    let number = line.and_then(|line| line.split_whitespace().nth(1)).and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("no {what:?} in {load:?}"))
}

#[track_caller]
fn assert_nothing_is_missing(load: &Output) {
    let said = String::from_utf8_lossy(&load.stderr);
    let table = String::from_utf8_lossy(&load.stdout);
    assert!(load.status.success(), "{said}{table}");
    assert_eq!((count(load, "missing"), count(load, "duplicated"), count(load, "changed")), (0, 0, 0), "{table}");
}

#[test]
fn an_order_is_there_after_a_restart() {
    let place = Place::new();
    let shop = place.start(&[]);
    let placed = shop.post("/orders", TEA);
    assert_eq!(placed.status, 201, "{placed:?}");
    let id = placed.json()["id"].clone();
    shop.stop();

    let shop = place.start(&[]);
    let found = shop.get(&format!("/orders/{id}")).json();
    assert_eq!((&found["item"], &found["quantity"]), (&"tea".into(), &2.into()));
    assert_eq!(shop.get("/orders").json()["count"], 1);
    shop.stop();
}

#[test]
fn no_acknowledged_order_is_lost_by_a_stop_under_load_r4_1a() {
    let place = Place::new();
    let mut acknowledged = 0;
    for round in 0..10 {
        let shop = place.start(&[]);
        let before = shop.get("/orders").json()["count"].as_u64();
        let load = shop.load(1_000_000);
        shop.get_until("/orders", |orders| orders["count"].as_u64() > before);
        thread::sleep(Duration::from_millis(17 * round)); // another moment in each round
        shop.stop();
        let load = load.wait_with_output().unwrap();
        assert_nothing_is_missing(&load);
        acknowledged += u64::from(count(&load, "acknowledged"));
        assert!(count(&load, "refused") > 0, "the stop came in the middle: {load:?}");
    }
    let shop = place.start(&[]);
    let kept = shop.get("/orders").json()["count"].as_u64();
    assert!(kept >= Some(acknowledged), "{kept:?} of {acknowledged}");
    shop.stop();
}

#[test]
fn a_request_that_waits_for_its_worker_is_answered_during_a_stop_r4_1a() {
    let place = Place::new();
    let shop = place.start(&["--packing-time", "500ms"]);
    let addr = shop.addr.clone();
    let waiting = thread::spawn(move || exchange(&addr, "POST", "/orders?wait=packed", TEA.as_bytes()));
    shop.get_until("/orders", |orders| orders["count"] == 1);
    shop.stop();
    let answer = waiting.join().unwrap().unwrap();
    assert_eq!((answer.status, &answer.json()["state"]), (201, &"packed".into()));
}

#[test]
fn orders_that_a_stop_left_unpacked_are_packed_after_the_next_start() {
    let place = Place::new();
    let shop = place.start(&["--packing-time", "3s"]);
    assert_eq!(shop.post("/orders", TEA).status, 201);
    // The first goes into a box at once; the others come while that is being packed.
    shop.get_until("/orders/1", |order| order["state"] == "paid");
    for _ in 0..5 {
        assert_eq!(shop.post("/orders", TEA).status, 201);
    }
    shop.stop();
    let file = rusqlite::Connection::open(place.database()).unwrap();
    let left: i64 =
        file.query_row("SELECT count(*) FROM orders WHERE state <> 'packed'", (), |row| row.get(0)).unwrap();
    assert!((1..6).contains(&left), "the box that was begun is finished and no other is begun; {left} are left");

    let shop = place.start(&[]);
    shop.get_until("/orders", |orders| {
        let latest = orders["latest"].as_array().unwrap();
        latest.len() == 6 && latest.iter().all(|order| order["state"] == "packed")
    });
    shop.stop();
}

#[test]
fn a_missing_directory_fails_the_start_and_says_what_to_do() {
    let place = Place::new();
    let failed = place.run(&["--listen", "127.0.0.1:0", "--database", "not/there/shop.db"]);
    let said = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(10), "{said}");
    assert!(said.contains("there is no directory not/there"), "{said}");
    assert!(said.contains("mkdir -p not/there"), "{said}");
}

#[test]
fn a_file_that_is_no_database_fails_the_start_and_is_left_alone() {
    let place = Place::new();
    std::fs::write(place.database(), "a shopping list, not a database, however long it may be").unwrap();
    let failed = place.run(&["--listen", "127.0.0.1:0"]);
    let said = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(10), "{said}");
    assert!(said.contains("cannot open the database shop.db") && said.contains("hint: "), "{said}");
    assert!(std::fs::read_to_string(place.database()).unwrap().starts_with("a shopping list"));
}

#[test]
fn a_database_of_a_newer_version_fails_the_start_and_says_what_to_do() {
    let place = Place::new();
    rusqlite::Connection::open(place.database()).unwrap().pragma_update(None, "user_version", 99).unwrap();
    let failed = place.run(&["--listen", "127.0.0.1:0"]);
    let said = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(10), "{said}");
    assert!(said.contains("99 migrations") && said.contains("newer version"), "{said}");
}

#[test]
fn a_port_in_use_fails_the_start_and_says_what_to_do() {
    let place = Place::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap().to_string();
    let failed = place.run(&["--listen", &addr]);
    let said = String::from_utf8_lossy(&failed.stderr);
    assert_eq!(failed.status.code(), Some(10), "{said}");
    assert!(said.contains(&format!("cannot listen on {addr}")), "{said}");
    assert!(said.contains("another process listens there"), "{said}");
}

#[test]
fn recommendations_that_do_not_start_hold_neither_readiness_nor_the_stop_r2_3d_r5_3c() {
    let place = Place::new();
    let shop = place.start(&["--slow-recommendations"]);
    let offered = shop.get("/recommendations/tea").json();
    assert_eq!(offered["source"], "fallback");
    assert_eq!(shop.post("/orders", TEA).status, 201);
    shop.stop();
}

#[test]
fn recommendations_take_over_from_the_fallback_as_soon_as_they_are_there_r5_3c() {
    let place = Place::new();
    let shop = place.start(&[]);
    assert_eq!(shop.post("/orders", TEA).status, 201);
    shop.stop();

    let shop = place.start(&["--slow-recommendations", "500ms"]);
    assert_eq!(shop.get("/recommendations/scones").json()["source"], "fallback");
    let offered = shop.get_until("/recommendations/scones", |offered| offered["source"] == "best sellers");
    assert_eq!(offered["items"][0], "tea");
    shop.stop();
}

#[test]
fn what_is_no_order_is_refused_with_an_explanation() {
    let place = Place::new();
    let shop = place.start(&[]);
    let large = format!(r#"{{"item": "{}", "quantity": 2}}"#, "x".repeat(20_000));
    for (body, status, why) in [
        (large.as_str(), 413, "at most 16384 bytes"),
        ("{\"item\": ", 400, "this is not an order"),
        (r#"{"item": "tea", "quantity": 0}"#, 400, "`quantity` is a number from 1 to 1000"),
    ] {
        let answer = shop.post("/orders", body);
        assert_eq!(answer.status, status, "{answer:?}");
        assert!(answer.json()["detail"].as_str().unwrap().contains(why), "{answer:?}");
    }
    assert_eq!(shop.post("/orders?wait=sent", TEA).status, 400);
    assert_eq!(shop.get("/orders/7").status, 404);
    assert_eq!(shop.get("/orders/x").status, 404);
    assert_eq!(shop.get("/elsewhere").status, 404);
    assert_eq!(shop.get("/orders").json()["count"], 0);
    assert!(shop.get("/").body.contains("place an order"));
    shop.stop();
}

#[test]
fn a_load_without_a_shop_says_what_to_do() {
    let place = Place::new();
    let without_file = place.run(&["load"]);
    assert_eq!(without_file.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&without_file.stderr).contains("--database"), "{without_file:?}");

    place.start(&[]).stop();
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let without_shop = place.run(&["load", "--url", &format!("http://{nobody}"), "--orders", "3"]);
    assert_eq!(without_shop.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&without_shop.stderr).contains("no shop answers at"), "{without_shop:?}");
}
