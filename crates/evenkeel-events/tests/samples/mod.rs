//! Receipts of four typical stops, and small helpers for capturing what a sink writes.
#![allow(dead_code, unreachable_pub)]

use std::{
    io::{self, Write},
    sync::{Arc, Mutex},
};

use evenkeel_events::{Receipt, Row};

fn base() -> Receipt {
    Receipt {
        schema: Receipt::SCHEMA,
        app: "orders".into(),
        pid: 4711,
        started_at: "2026-08-01T11:00:00Z".into(),
        stop_began_at: "2026-08-01T12:03:04.123Z".into(),
        stop_ended_at: "2026-08-01T12:03:04.135Z".into(),
        cause: "SIGTERM".into(),
        outcome: "clean".into(),
        budget_ms: 30_000.0,
        policy: "reverse".into(),
        ..Receipt::default()
    }
}

fn row(name: &str, kind: &str, state: &str, times: [f64; 4], limit_ms: f64) -> Row {
    let [stop, drained, release, end] = times;
    Row {
        name: name.into(),
        kind: kind.into(),
        state: state.into(),
        stop_ms: Some(stop),
        drained_ms: Some(drained),
        release_ms: Some(release),
        end_ms: Some(end),
        used_ms: (drained - stop) + (end - release),
        limit_ms,
        allowed_ms: Some(limit_ms),
        ..Row::default()
    }
}

fn needing(mut row: Row, needs: &[&str]) -> Row {
    row.needs = needs.iter().map(|&name| name.into()).collect();
    row
}

/// Everything drained and was released in order.
pub fn clean() -> Receipt {
    let api = row("api", "http", "released", [0.0, 4.1, 4.1, 4.4], 30_000.0);
    let jobs = row("jobs", "worker", "released", [4.4, 9.0, 9.0, 9.1], 5_000.0);
    let mut receipt = Receipt {
        used_ms: 12.3,
        critical_path: vec!["api".into(), "jobs".into(), "db".into()],
        components: vec![
            row("db", "resource", "released", [9.1, 9.1, 9.1, 12.3], 5_000.0),
            needing(jobs, &["db"]),
            needing(api, &["db", "jobs"]),
            row("metrics", "worker", "released", [0.0, 0.4, 12.0, 12.3], 1_000.0),
        ],
        ..base()
    };
    receipt.components[1].drained = 2;
    receipt.components[2].drained = 3;
    receipt
}

/// A second signal cut a worker off while a service that took ten seconds of propagation delay was draining.
pub fn forced() -> Receipt {
    let mut jobs = row("jobs", "worker", "abandoned", [3_000.0, 8_000.0, 8_000.0, 8_050.0], 5_000.0);
    jobs.drained_ms = None;
    jobs.release_ms = None;
    jobs.used_ms = 5_050.0;
    jobs.aborted = 1;
    jobs.leaked_tasks = 2;
    jobs.doing = Some("`db::finish` since 4.9 s, spawned at src/main.rs:21".into());
    let mut api = row("api", "http", "aborted", [2_000.0, 3_000.0, 3_000.0, 3_000.0], 1_000.0);
    api.aborted = 12;
    api.drained = 240;
    Receipt {
        cause: "SIGTERM, then SIGINT".into(),
        outcome: "forced".into(),
        exit_code: 130,
        used_ms: 8_060.0,
        budget_ms: 10_000.0,
        propagation_delay_ms: 2_000.0,
        later_causes: vec!["SIGINT".into()],
        culprits: vec!["api".into(), "jobs".into()],
        critical_path: vec!["api".into(), "jobs".into()],
        components: vec![
            row("db", "resource", "released", [8_050.0, 8_050.0, 8_050.0, 8_058.0], 5_000.0),
            needing(jobs, &["db"]),
            needing(api, &["db"]),
        ],
        log_lines_lost: 37,
        ..base()
    }
}

/// A component could not start; what had started was released, what had not was skipped.
pub fn failed_start() -> Receipt {
    let mut cache = row("cache", "resource", "failed", [0.0; 4], 5_000.0);
    (cache.stop_ms, cache.drained_ms, cache.release_ms, cache.end_ms) = (None, None, None, Some(0.0));
    cache.error = Some("could not connect to `redis://localhost:6379`: connection refused (os error 111)".into());
    let mut api = row("api", "http", "skipped", [0.0; 4], 30_000.0);
    (api.stop_ms, api.drained_ms, api.release_ms, api.end_ms) = (None, None, None, None);
    Receipt {
        cause: "component cache could not start".into(),
        outcome: "start failed".into(),
        exit_code: 10,
        root_cause: vec![
            "could not connect to `redis://localhost:6379`".into(),
            "connection refused (os error 111)".into(),
        ],
        hint: Some("is the server running? `docker compose up redis` starts the one for development".into()),
        used_ms: 3.2,
        culprits: vec!["cache".into()],
        critical_path: vec!["db".into()],
        components: vec![
            row("db", "resource", "released", [0.0, 0.0, 0.0, 3.2], 5_000.0),
            cache,
            needing(api, &["db", "cache"]),
        ],
        ..base()
    }
}

/// A lease was still out when its owner had to close.
pub fn leaked_lease() -> Receipt {
    let mut db = row("db", "resource", "abandoned", [14.0, 14.0, 14.0, 5_014.0], 5_000.0);
    db.leaked_leases = vec!["2 held by api, taken at src/routes.rs:48".into()];
    db.doing = Some("waiting for 2 leases".into());
    let name = "a-consumer-with-a-name-that-nobody-would-want-to-type";
    let mut consumer = row(name, "worker", "released", [0.0, 9.0, 9.0, 9.0], 5_000.0);
    consumer.restarts = 2;
    let mut 接続 = row("接続", "blocking", "failed", [0.0, 10.0, 10.0, 13.0], 5_000.0);
    接続.error = Some("could not say goodbye: broken pipe\nINFO api ready".into());
    接続.ignored_interrupts = 1;
    Receipt {
        outcome: "not clean".into(),
        exit_code: 12,
        used_ms: 5_014.0,
        culprits: vec!["接続".into(), "db".into()],
        critical_path: vec!["接続".into(), "db".into()],
        warnings: vec!["the state directory `/var/lib/orders` cannot be written, so this receipt is only here".into()],
        components: vec![db, consumer, 接続],
        ..base()
    }
}

/// All four, by name.
pub fn all() -> [(&'static str, Receipt); 4] {
    [("clean", clean()), ("forced", forced()), ("failed_start", failed_start()), ("leaked_lease", leaked_lease())]
}

/// A writer that keeps what it gets.
#[derive(Clone, Default)]
pub struct Kept(Arc<Mutex<Vec<u8>>>);

impl Kept {
    pub fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("no test panics here").clone()).expect("logs are UTF-8")
    }
}

impl Write for Kept {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("no test panics here").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
