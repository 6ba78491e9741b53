//! Servers that misbehave in exactly one way, and what the table makes of each (R4.1b).

#![allow(clippy::unwrap_used, reason = "a test fails loudly")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
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
    for kind in Kind::REQUESTS {
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
    for kind in Kind::REQUESTS {
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

const STREAM: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

fn events(addr: SocketAddr) -> Plan {
    let target = Target { events: Some("/events".to_owned()), ..Target::new(addr, "/") };
    Plan { target, ..plan(addr, Kind::Events, Method::Get) }
}

#[test]
fn an_event_stream_that_the_server_ends_is_followed_by_the_next_r4_1b() {
    let addr = server(|_, mut stream| {
        head(&stream);
        stream.write_all(&[STREAM, b"9\r\ndata: 1\n\n\r\n0\r\n\r\n"].concat()).unwrap();
    });
    let row = row(&after(events(addr), 3));
    assert!(row.answered == row.requests && row.around.max_ms == 0.0, "{row:?}");
}

#[test]
fn an_event_stream_that_breaks_off_is_lost_r4_1b() {
    let addr = server(|_, mut stream| {
        head(&stream);
        stream.write_all(&[STREAM, b"9\r\ndata: 1\n\n\r\n"].concat()).unwrap();
    });
    let row = row(&after(events(addr), 3));
    assert!(row.cut_short == row.requests, "{row:?}");
}

#[test]
fn an_event_stream_that_goes_on_is_left_at_the_end() {
    let (told, begun) = std::sync::mpsc::channel();
    let addr = server(move |_, mut stream| {
        head(&stream);
        stream.write_all(STREAM).unwrap();
        told.send(()).unwrap();
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
    });
    let load = Load::start(Plan { timeout: Duration::from_secs(3_600), ..events(addr) }).unwrap();
    begun.recv_timeout(PATIENCE).unwrap();
    let row = row(&load.end());
    assert_eq!((row.requests, row.answered), (1, 1), "{row:?}");
}

#[test]
fn what_is_no_event_stream_is_a_bad_answer() {
    let addr = server(|_, mut stream| {
        head(&stream);
        stream.write_all(OK).unwrap();
    });
    let row = row(&after(events(addr), 2));
    assert!(row.bad == row.requests, "{row:?}");
    let fault = Load::start(plan(addr, Kind::Events, Method::Get)).unwrap_err();
    assert!(fault.to_string().contains("sse needs the path"), "{fault}");
}

/// Reads frames up to the first request, and gives back its stream.
fn first_request(mut stream: &TcpStream) -> u32 {
    stream.read_exact(&mut [0; 24]).unwrap();
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        stream.read_exact(&mut vec![0; usize::try_from(length).unwrap()]).unwrap();
        if head[3] == 1 {
            return u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        }
    }
}

/// Leaves every other connection with this GOAWAY as soon as a request has come, and serves the rest.
fn server_that_leaves(last_stream: impl Fn(u32) -> u32 + Send + 'static) -> SocketAddr {
    let runtime = || tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    server(move |number, mut stream| {
        if number % 2 == 0 {
            stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]).unwrap();
            let last = last_stream(first_request(&stream)).to_be_bytes();
            stream.write_all(&[&[0, 0, 8, 7, 0, 0, 0, 0, 0][..], &last, &[0; 4]].concat()).unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            // What the client still sends must not turn the close into a reset.
            std::io::copy(&mut stream, &mut std::io::sink()).unwrap();
            return;
        }
        stream.set_nonblocking(true).unwrap();
        runtime().block_on(async {
            let stream = tokio::net::TcpStream::from_std(stream).unwrap();
            let mut connection = h2::server::handshake(stream).await.unwrap();
            while let Some(Ok((_, mut respond))) = connection.accept().await {
                respond.send_response(ok(), true).unwrap();
                connection.graceful_shutdown();
            }
        });
    })
}

#[test]
fn http2_sends_again_what_lies_beyond_the_last_stream_of_a_goaway_a_post_too_r4_1b() {
    let addr = server_that_leaves(|_| 0);
    let table = after(plan(addr, Kind::Http2, Method::Post), 10);
    let row = row(&table);
    assert!(row.answered == row.requests && row.resent > 0, "{row:?} {:?}", table.losses);
}

#[test]
fn http2_loses_what_a_goaway_has_taken_and_nobody_answers_r4_1b() {
    let addr = server_that_leaves(|stream| stream);
    let table = after(plan(addr, Kind::Http2, Method::Post), 10);
    let row = row(&table);
    assert!(row.unanswered > 0 && row.resent == 0, "{row:?} {:?}", table.losses);
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
