//! Servers that misbehave in exactly one way, and what the table makes of each (R4.1b).

#![allow(clippy::unwrap_used, reason = "a test fails loudly")]

use std::{
    io::{BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
    time::Duration,
};

use axum::{Router, routing::get};
use evenkeel_load::{Kind, Load, Method, Plan, Row, Table, Target};

const PATIENCE: Duration = Duration::from_secs(60);
const OK: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\ndone";

/// A server that does this to each connection, with the number of it.
fn server(serve: impl Fn(usize, TcpStream) + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        listener.incoming().map_while(Result::ok).enumerate().for_each(|(number, stream)| serve(number, stream));
    });
    addr
}

/// Reads one request's head; whether there was one.
fn head(stream: &TcpStream) -> bool {
    let mut lines = BufReader::with_capacity(1, stream).lines().map_while(Result::ok);
    lines.by_ref().take_while(|line| !line.is_empty()).count() > 0
}

fn plan(addr: SocketAddr, kind: Kind, method: Method) -> Plan {
    Plan { kinds: vec![kind], methods: vec![method], clients: 1, ..Plan::new(Target::new(addr, "/")) }
}

/// What one client has counted after some requests.
fn after(plan: Plan, requests: u64) -> Table {
    let load = Load::start(plan).unwrap();
    while load.table().requests() < requests {
        thread::yield_now();
    }
    load.end()
}

fn row(table: &Table) -> Row {
    let [row] = &table.rows[..] else { panic!("one row") };
    row.clone()
}

#[test]
fn nothing_listens() {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for kind in Kind::ALL {
        let row = row(&after(plan(addr, kind, Method::Get), 3));
        assert!(row.refused == row.requests, "{row:?}");
    }
}

#[test]
fn a_connection_is_closed_after_the_request_r4_1b() {
    let addr = server(|_, stream| {
        head(&stream);
    });
    for kind in [Kind::New, Kind::KeepAlive] {
        let table = after(plan(addr, kind, Method::Get), 3);
        let row = row(&table);
        assert!(row.unanswered == row.requests && table.lost() == row.requests, "{row:?}");
        assert!(table.losses[0].to_string().contains("closed unanswered"), "{}", table.losses[0]);
    }
}

#[test]
fn a_kept_connection_that_is_closed_between_two_requests_costs_nothing_r4_1b() {
    let addr = server(|_, mut stream| {
        if head(&stream) {
            stream.write_all(OK).unwrap();
        }
    });
    // Turns of 5 ms: the close is there long before the next request.
    let paced = Plan { rate: Some(200), ..plan(addr, Kind::KeepAlive, Method::Get) };
    let row = row(&after(paced, 20));
    // On a machine that is busy the close may come late, and is counted for what it is.
    assert_eq!(row.answered + row.raced + row.unanswered, row.requests, "{row:?}");
    assert!(row.reopened > 0, "{row:?}");
}

#[test]
fn an_answer_is_cut_short() {
    let addr = server(|_, mut stream| {
        head(&stream);
        stream.write_all(&OK[..OK.len() - 2]).unwrap();
    });
    let row = row(&after(plan(addr, Kind::New, Method::Get), 3));
    assert!(row.cut_short == row.requests, "{row:?}");
}

#[test]
fn an_answer_that_is_not_expected() {
    for answer in ["HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n", "220 mail.example.org\r\n\r\n"] {
        let addr = server(move |_, mut stream| {
            head(&stream);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let table = after(plan(addr, Kind::New, Method::Get), 3);
        let row = row(&table);
        assert!(row.bad == row.requests, "{row:?} {:?}", table.losses);
    }
}

#[test]
fn no_answer_in_time() {
    let addr = server(|_, stream| {
        thread::spawn(move || std::io::copy(&mut &stream, &mut std::io::sink()));
    });
    for kind in Kind::ALL {
        let hasty = Plan { timeout: Duration::from_millis(100), ..plan(addr, kind, Method::Get) };
        let row = row(&after(hasty, 2));
        assert!(row.timed_out == row.requests, "{row:?}");
    }
}

/// Serves HTTP/2 on each connection with `serve`.
fn http2_server<F>(
    serve: impl Fn(usize, h2::server::Connection<tokio::net::TcpStream, bytes::Bytes>) -> F + Send + 'static,
) -> SocketAddr
where
    F: Future<Output = ()>,
{
    server(move |number, stream| {
        stream.set_nonblocking(true).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            serve(number, h2::server::handshake(stream).await.unwrap()).await;
        });
    })
}

fn ok() -> http::Response<()> {
    http::Response::new(())
}

#[test]
fn http2_sends_again_what_was_refused_and_counts_it_r4_1b() {
    let addr = http2_server(async |_, mut connection| {
        let mut number = 0;
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            number += 1;
            if number % 2 == 0 {
                respond.send_response(ok(), true).unwrap();
            } else {
                respond.send_reset(h2::Reason::REFUSED_STREAM);
            }
        }
    });
    let row = row(&after(plan(addr, Kind::Http2, Method::Post), 10));
    assert!(row.answered == row.requests && row.resent == row.requests, "{row:?}");
}

#[test]
fn http2_goes_on_elsewhere_after_goaway_r4_1b() {
    // Each connection answers one request and leaves.
    let addr = http2_server(async |_, mut connection| {
        while let Some(Ok((_, mut respond))) = connection.accept().await {
            connection.graceful_shutdown();
            respond.send_response(ok(), true).unwrap();
        }
    });
    let table = after(plan(addr, Kind::Http2, Method::Get), 10);
    let row = row(&table);
    assert!(row.answered == row.requests && row.reopened + row.resent > 0, "{row:?} {:?}", table.losses);
}

#[test]
fn http2_streams_that_the_server_had_seen_are_lost_with_the_connection_r4_1b() {
    let addr = http2_server(async |_, mut connection| {
        drop(connection.accept().await);
    });
    let row = row(&after(plan(addr, Kind::Http2, Method::Get), 3));
    assert!(row.unanswered == row.requests, "{row:?}");
}

#[test]
fn http2_spoken_to_a_server_without_it_is_a_bad_answer_or_a_close() {
    let addr = server(|_, mut stream| {
        head(&stream);
        // The client may be gone by then.
        let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    });
    let row = row(&after(plan(addr, Kind::Http2, Method::Get), 3));
    assert!(row.answered == 0 && row.requests == row.bad + row.unanswered + row.reset + row.raced, "{row:?}");
}

#[test]
fn a_server_without_fault_loses_nothing_in_any_kind_r4_1b() {
    let (told, addr) = std::sync::mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            told.send(listener.local_addr().unwrap()).unwrap();
            let router = Router::new().route("/", get(async || "done").post(async |body: String| body));
            axum::serve(listener, router).await.unwrap();
        });
    });
    let load = Load::start(Plan { threads: 2, ..Plan::new(Target::new(addr.recv().unwrap(), "/")) }).unwrap();
    load.until_answered(2_000, PATIENCE).unwrap();
    load.restart_begins();
    load.until_answered(2_000, PATIENCE).unwrap();
    load.restart_ends();
    let table = load.end();
    println!("{table}{:.0} requests/s", table.rate());
    assert_eq!((table.lost(), table.hindered(), table.restarts), (0, 0, 1), "{table}");
    assert!(table.rows.iter().all(|row| row.answered > 0 && row.resent == 0), "{table}");
    assert!(table.to_string().lines().all(|line| line.chars().count() <= 80), "{table}");
    assert!(table.longest_around_ms() > 0.0);
    let json = serde_json::to_value(&table).unwrap();
    assert_eq!(json["rows"][0]["kind"], "new");
    assert_eq!(json["rows"][5]["method"], "POST");
}

#[test]
fn a_load_that_gets_no_answer_says_so_and_what_it_lost() {
    let addr = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let load = Load::start(plan(addr, Kind::New, Method::Get)).unwrap();
    let error = load.until_answered(1, Duration::from_millis(200)).unwrap_err();
    assert!(
        error.to_string().starts_with("0 of 1 requests were answered in 200ms; first loss: new GET refused"),
        "{error}"
    );
}

#[test]
fn a_load_that_is_dropped_waits_for_no_answer() {
    let addr = server(|_, stream| {
        thread::spawn(move || std::io::copy(&mut &stream, &mut std::io::sink()));
    });
    let never = Duration::from_secs(3_600);
    let load = Load::start(Plan { timeout: never, ..plan(addr, Kind::KeepAlive, Method::Get) }).unwrap();
    drop(load);
}

#[test]
fn a_plan_that_makes_no_sense_is_refused() {
    let addr = SocketAddr::from(([127, 0, 0, 1], 1));
    let good = Plan::new(Target::new(addr, "/"));
    let without_slash = Plan { target: Target::new(addr, "orders"), ..good.clone() };
    let crowded = Plan { clients: 100_000, ..good.clone() };
    let nobody = Plan { clients: 0, ..good };
    for plan in [without_slash, crowded, nobody] {
        let error = Load::start(plan).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput, "{error}");
    }
}
