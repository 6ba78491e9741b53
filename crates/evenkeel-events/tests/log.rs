//! What log lines look like, and that no value can forge one.

mod samples;

use std::time::{Duration, SystemTime};

use evenkeel_events::{Event, Format, LogOptions, Sink, SinkOptions, subscriber};
use evenkeel_plan::lifecycle::Service;
use samples::Kept;
use tracing::Level;

fn noon() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(1_785_585_784_123)
}

fn options(format: Format) -> LogOptions {
    LogOptions { format, level: "trace".into(), color: false, clock: noon }
}

/// What the log says of what `happens`.
fn logged(options: &LogOptions, happens: impl FnOnce()) -> String {
    let kept = Kept::default();
    let sink = Sink::new(Box::new(kept.clone()), SinkOptions::default());
    tracing::subscriber::with_default(subscriber(options, sink.clone()).expect("a good level"), happens);
    assert!(sink.flush(Duration::from_secs(20)).written);
    kept.text()
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// One of each event, in the order of a life.
fn every_event() -> Vec<Event<'static>> {
    const REFUSED: &str = "could not connect: connection refused (os error 111)";
    let with: &'static [String] = Box::leak(vec!["api".to_owned(), "jobs".to_owned()].into_boxed_slice());
    let (db, jobs, api) = ("db", "jobs", "api");
    let hint = Some("is the server running on localhost:5432?");
    vec![
        Event::Service { from: Service::Initialized, to: Service::Starting },
        Event::Starting { component: db, attempt: 1 },
        Event::StartFailed { component: db, error: REFUSED, hint, retry_in: Some(ms(1_500)) },
        Event::Starting { component: db, attempt: 2 },
        Event::StartFailed { component: db, error: REFUSED, hint, retry_in: None },
        Event::Ready { component: db, took: ms(12), note: None },
        Event::Ready { component: api, took: Duration::from_micros(3_210), note: Some("http://127.0.0.1:8080") },
        Event::Service { from: Service::Starting, to: Service::Ready },
        Event::Service { from: Service::Ready, to: Service::Running },
        Event::Blocking { component: jobs, thread: "worker-1", held: ms(2_000), starting: false },
        Event::EndedEarly { component: jobs, error: None, hint: None },
        Event::EndedEarly { component: jobs, error: Some(REFUSED), hint: None },
        Event::Finished { component: "migrate", took: ms(61_000) },
        Event::Restarting { component: db, with, wait: ms(250) },
        Event::GaveUp { component: db, failures: 3, period: ms(60_000) },
        Event::StopRequested { cause: "SIGTERM", budget: ms(30_000), policy: "reverse" },
        Event::Propagating { delay: ms(5_000) },
        Event::LaterCause { cause: "SIGINT" },
        Event::Forced { cause: "second signal SIGINT" },
        Event::Stopping { component: api, allowed: ms(30_000) },
        Event::Drained { component: api, took: ms(4) },
        Event::Released { component: api, took: ms(5), error: None },
        Event::Released { component: "cache", took: ms(5), error: Some("broken pipe") },
        Event::LimitPassed { component: jobs, allowed: ms(5_000), doing: "polling, last seen at src/main.rs:21" },
        Event::Abandoned { component: jobs, doing: "" },
        Event::Skipped { component: "late" },
        Event::LeasesLeaked { component: db, holders: "2 held by api, taken at src/routes.rs:48" },
        Event::TasksLeaked { component: jobs, tasks: "1 spawned at src/main.rs:30" },
        Event::Warning { text: "the state directory cannot be written", hint: Some("set `--state-directory`") },
        Event::Note { text: "limits fit the platform: 30 s of 90 s" },
        Event::Service { from: Service::Running, to: Service::Stopping },
        Event::Service { from: Service::Stopping, to: Service::Failed },
    ]
}

fn log_every_event() {
    every_event().iter().for_each(Event::log);
}

#[test]
fn every_event_is_one_line_for_people() {
    insta::assert_snapshot!(logged(&options(Format::Human), log_every_event));
}

#[test]
fn every_event_is_one_object_for_machines() {
    let log = logged(&options(Format::Json), log_every_event);
    assert_eq!(log.lines().count(), every_event().len());
    for line in log.lines() {
        let value: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
        assert!(value["event"].is_string() && value["ts"] == "2026-08-01T12:03:04.123Z", "{line}");
    }
    insta::assert_snapshot!(log);
}

/// A program's own events, in spans, with every kind of value.
fn log_of_a_program() {
    let request = tracing::info_span!("request", id = 7, user = "ada", answered = tracing::field::Empty);
    let _in_request = request.enter();
    tracing::info!(target: "shop::routes", rows = 3, ratio = 0.5, ok = true, who = "two words", "query done");
    request.record("answered", true);
    let query = tracing::info_span!("query", component = "db");
    let _in_query = query.enter();
    let missing = std::io::Error::other("no such table");
    let error: &(dyn std::error::Error + 'static) = &missing;
    tracing::warn!(target: "shop::routes", error, hint = "run the migrations", "query failed");
    tracing::debug!(target: "shop::routes", path = ?"a \"b\"", nothing = "", nan = f64::NAN);
}

#[test]
fn a_programs_own_events_look_like_the_engines() {
    insta::assert_snapshot!("program_human", logged(&options(Format::Human), log_of_a_program));
    insta::assert_snapshot!("program_journal", logged(&options(Format::Journal), log_of_a_program));
    insta::assert_snapshot!("program_json", logged(&options(Format::Json), log_of_a_program));
}

#[test]
fn colour_changes_nothing_but_colour() {
    let colored = logged(&LogOptions { color: true, ..options(Format::Human) }, log_every_event);
    assert!(colored.contains("\u{1b}[1;31mERROR\u{1b}[0m") && colored.contains("\u{1b}[2m12:03:04.123\u{1b}[0m"));
    let mut plain = String::new();
    for (index, part) in colored.split('\u{1b}').enumerate() {
        plain += if index == 0 { part } else { part.split_once('m').unwrap().1 };
    }
    assert_eq!(plain, logged(&options(Format::Human), log_every_event));
}

#[test]
fn no_value_can_forge_a_line() {
    let evil = "x\n12:03:04.123 ERROR api  forged\r\u{1b}[2K\u{2028}\u{9b}2J";
    let happens = || {
        let span = tracing::info_span!("request", path = evil);
        let _in_span = span.enter();
        tracing::info!(component = evil, value = evil, shown = %evil, hint = evil, "{evil}");
        Event::Note { text: evil }.log();
    };
    let human = logged(&options(Format::Human), happens);
    assert_eq!(human.lines().count(), 3, "two events, one hint: {human}");
    assert!(!human.contains(|c: char| c.is_control() && c != '\n') && !human.contains('\u{2028}'), "{human:?}");
    let json = logged(&options(Format::Json), happens);
    assert_eq!(json.lines().count(), 2);
    assert!(!json.contains(|c: char| c.is_control() && c != '\n') && !json.contains('\u{2028}'), "{json:?}");
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!(first["value"], evil, "JSON loses nothing");
}

#[test]
fn no_value_can_forge_a_field() {
    let happens = || {
        tracing::info!(target: "shop", a = "1 level=ERROR", b = %"\"x\" b=\"2\"", c = r#"""#, "done");
        tracing::info!(target: "shop", ts = "never", level = "ERROR", spans = "none", target = "evenkeel", "done");
    };
    let human = logged(&options(Format::Human), happens);
    let first = human.lines().next().unwrap();
    assert!(first.ends_with(r#"a="1 level=ERROR"  b="\"x\" b=\"2\""  c="\"""#), "{first}");
    let json = logged(&options(Format::Json), happens);
    let second = json.lines().nth(1).unwrap();
    assert!(second.contains(r#""level":"INFO""#) && second.contains(r#""level_":"ERROR""#), "{second}");
    assert!(second.contains(r#""target":"shop""#) && second.contains(r#""spans_":"none""#), "{second}");
}

#[test]
fn only_what_the_level_lets_through_is_written() {
    let quiet = LogOptions { level: "warn,evenkeel=error".into(), ..options(Format::Human) };
    let log = logged(&quiet, || {
        tracing::info!(target: "shop", "not this");
        tracing::warn!(target: "shop", "this");
        Event::Warning { text: "nor this", hint: None }.log();
    });
    assert_eq!(log, "12:03:04.123  WARN shop       this\n");
}

#[test]
fn a_misspelt_level_is_refused_instead_of_silencing_the_log() {
    for level in ["inof", "", "info,shop", "shop=loud"] {
        let bad = LogOptions { level: level.into(), ..LogOptions::default() };
        let sink = Sink::new(Box::new(Kept::default()), SinkOptions::default());
        let error = subscriber(&bad, sink).err().expect("refused");
        assert!(error.to_string().starts_with(&format!("`{level}` is not a log level: ")), "{error}");
    }
    for level in ["INFO", "off", "info,shop::db=trace", "warn,[request{id=7}]=debug"] {
        let good = LogOptions { level: level.into(), ..LogOptions::default() };
        let sink = Sink::new(Box::new(Kept::default()), SinkOptions::default());
        assert!(subscriber(&good, sink).is_ok(), "{level}");
    }
}

#[test]
fn missing_lines_are_reported_in_the_form_of_the_log() {
    for (format, expected) in [
        (Format::Human, "12:03:04.123  WARN log        1 log line was dropped: the reader is too slow\n"),
        (
            Format::Json,
            "{\"ts\":\"2026-08-01T12:03:04.123Z\",\"level\":\"WARN\",\"target\":\"evenkeel\",\
             \"message\":\"1 log line was dropped: the reader is too slow\",\
             \"event\":\"log_lines_dropped\",\"component\":\"log\",\"lines\":1}\n",
        ),
    ] {
        let kept = Kept::default();
        let sink = Sink::new(Box::new(kept.clone()), SinkOptions { max_bytes: 10, max_lines: 10 });
        let subscriber = subscriber(&options(format), sink.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || tracing::info!("too long for ten bytes"));
        // The report may still be on its way: it is made by the sink's thread.
        assert!(sink.flush(Duration::from_secs(20)).written);
        assert_eq!(kept.text(), expected);
    }
}

#[test]
fn the_levels_are_an_obligation() {
    let level = |name: &str| every_event().iter().find(|event| event.name() == name).map(Event::level);
    assert_eq!(level("gave_up"), Some(Level::ERROR), "somebody must act");
    assert_eq!(level("limit_passed"), Some(Level::WARN), "something was cut off");
    assert_eq!(level("ready"), Some(Level::INFO), "the life cycle");
    assert_eq!(level("drained"), Some(Level::DEBUG), "detail");
}

#[test]
fn without_a_subscriber_an_event_goes_nowhere() {
    log_every_event();
}
