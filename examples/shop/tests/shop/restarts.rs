//! The shop under full load, stopped or killed and started again, over and over: what was acknowledged is there, comes
//! to its end, and its stock and its payment agree with it (R4.1a, R4.1b, R5.1a).
//!
//! The test holds the listening socket, as systemd does; one load runs through all restarts, over connections that are
//! kept, new ones, and HTTP/2.

use std::{
    net::TcpListener,
    process::{Child, Output},
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    count,
    process::{Place, Shop, exchange},
};

/// As many orders each shop has to take before it is stopped.
const WORKS: u64 = 200;

/// `EVENKEEL_RESTARTS` changes it.
fn restarts(otherwise: u32) -> u32 {
    match std::env::var("EVENKEEL_RESTARTS") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("EVENKEEL_RESTARTS is no number: {text:?}")),
        Err(_) => otherwise,
    }
}

/// A load through restarts, and what it says at the end.
struct Run<'a> {
    place: &'a Place,
    listener: TcpListener,
    load: Child,
    shop: Option<Shop<'a>>,
}

impl<'a> Run<'a> {
    fn begin(place: &'a Place, args: &[&str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let shop = place.start_behind(&listener, args);
        let more = ["--clients", "48", "--connections", "all", "--reads", "20"];
        let load = place.load(&shop.url(), 10_000_000, &more);
        Self { place, listener, load, shop: Some(shop) }
    }

    /// Ends the shop somehow once it has taken some orders, and starts it again.
    fn restart(&mut self, moment: Duration, args: &[&str], end: impl FnOnce(Shop<'a>)) {
        let shop = self.shop.take().unwrap();
        self.until_it_works(&shop);
        thread::sleep(moment); // another one in each round
        end(shop);
        self.shop = Some(self.place.start_behind(&self.listener, args));
    }

    /// Not idle: it has taken orders.
    fn until_it_works(&mut self, shop: &Shop<'_>) {
        let taken = || shop.get("/orders").json()["count"].as_u64();
        let (before, begun) = (taken(), Instant::now());
        while taken() < before.map(|count| count + WORKS) {
            assert!(begun.elapsed() < Duration::from_secs(60), "no order comes: {}", self.place.said());
            if self.load.try_wait().unwrap().is_some() {
                panic!("the load has ended: {:?}", self.load.stdout);
            }
        }
    }

    /// Sends no more, waits until everything has come to its end, and gives what the load says.
    fn end(mut self) -> Output {
        let shop = self.shop.take().unwrap();
        self.until_it_works(&shop);
        kill_process(Pid::from_child(&self.load), Signal::INT).unwrap();
        let said = self.load.wait_with_output().unwrap();
        shop.get_until("/events", |events| events["unconfirmed"]["orders"] == 0);
        shop.stop();
        let check = self.place.run(&["check", "--settled"]);
        assert!(check.status.success(), "{check:?}\n{}", String::from_utf8_lossy(&said.stdout));
        said
    }
}

#[track_caller]
fn nothing_is_wrong(load: &Output) {
    let (said, table) = (String::from_utf8_lossy(&load.stderr), String::from_utf8_lossy(&load.stdout));
    assert!(load.status.success(), "{said}{table}");
    for what in ["missing", "duplicated", "changed", "unsettled"] {
        assert_eq!(count(load, what), 0, "{table}");
    }
    println!("{table}");
}

/// Stops and starts it under load. That nobody goes without an answer is what `promise restarts` measures; here it is
/// told.
fn stopped_over_and_over(place: &Place, restarts: u32, database: &str) {
    let began = Instant::now();
    let mut run = Run::begin(place, &[]);
    for round in 0..restarts {
        run.restart(Duration::from_millis(u64::from(round * 37 % 400)), &[], Shop::stop);
    }
    let load = run.end();
    nothing_is_wrong(&load);
    let (acknowledged, unknown) = (count(&load, "acknowledged"), count(&load, "unknown"));
    println!(
        "{database}: 0 of {acknowledged} acknowledged orders missing after {restarts} stops at full load in {:.0} s, \
         {unknown} without an answer",
        began.elapsed().as_secs_f64()
    );
}

#[test]
fn no_acknowledged_order_is_missing_after_stops_at_full_load_r4_1a_r4_1b() {
    stopped_over_and_over(&Place::new(), restarts(10), "figure: SQLite");
}

#[test]
fn no_acknowledged_order_is_missing_after_stops_at_full_load_on_postgres_r4_1a_r4_1b() {
    if let Some(place) = Place::on_postgres() {
        stopped_over_and_over(&place, restarts(3), "PostgreSQL");
    }
}

/// Kills and starts it under load.
fn killed_over_and_over(place: &Place, kills: u32) {
    // Answers of the provider are lost on the way as well, and some orders are declined.
    let args = ["--payment-failures", "10", "--payment-declines", "5"];
    let mut run = Run::begin(place, &args);
    for round in 0..kills {
        run.restart(Duration::from_millis(u64::from(round * 53 % 300)), &args, |shop| {
            shop.signal(Signal::KILL);
            shop.wait();
        });
    }
    nothing_is_wrong(&run.end());
}

#[test]
fn orders_stock_and_payments_agree_after_kills_at_full_load_r5_1a() {
    killed_over_and_over(&Place::new(), (restarts(10) / 3).max(1));
}

#[test]
fn orders_stock_and_payments_agree_after_kills_at_full_load_on_postgres_r5_1a() {
    if let Some(place) = Place::on_postgres() {
        killed_over_and_over(&place, (restarts(10) / 5).max(1));
    }
}

#[test]
fn requests_reach_the_next_shop_through_a_held_socket_r4_1b() {
    let place = Place::new();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    place.start_behind(&listener, &[]).stop();
    let waiting = thread::spawn(move || exchange(&addr, "GET", "/orders", b""));
    let shop = place.start_behind(&listener, &[]);
    assert_eq!(waiting.join().unwrap().unwrap().status, 200);
    shop.stop();
}

/// Stops whatever shop runs in a place, be it one that the test did not start.
struct Stopped<'a>(&'a Place);

impl Drop for Stopped<'_> {
    fn drop(&mut self) {
        self.0.run(&["stop"]);
    }
}

/// Hands over to itself under load: for a moment two processes work on one database.
fn handed_over(place: &Place) {
    let shop = place.start(&[]);
    let _stopped = Stopped(place);
    let more = ["--clients", "24", "--connections", "all", "--reads", "20"];
    let load = place.load(&shop.url(), 10_000_000, &more);
    for _ in 0..3 {
        let before = shop.get("/orders").json()["count"].as_u64().unwrap();
        shop.get_until("/orders", |orders| orders["count"].as_u64().unwrap() >= before + WORKS);
        let done = place.run(&["restart"]);
        assert!(done.status.success(), "{done:?}\n{}", place.said());
    }
    kill_process(Pid::from_child(&load), Signal::INT).unwrap();
    nothing_is_wrong(&load.wait_with_output().unwrap());
    let stopped = place.run(&["stop"]);
    assert!(stopped.status.success(), "{stopped:?}");
    assert!(place.run(&["check", "--settled"]).status.success());
}

#[test]
fn two_processes_that_hand_over_under_load_do_everything_once_r4_1b_r5_1a() {
    handed_over(&Place::new());
}

#[test]
fn two_processes_that_hand_over_under_load_on_postgres_do_everything_once_r4_1b_r5_1a() {
    if let Some(place) = Place::on_postgres() {
        handed_over(&place);
    }
}
