//! The table, the timeline and the picture of a receipt.

mod samples;

use evenkeel_events::{CutConnection, Lost, LostOfRoute, Receipt, Row, table, timeline};
use proptest::prelude::*;

#[test]
fn the_table_says_how_the_stop_went_and_what_was_lost() {
    for (name, receipt) in samples::all() {
        for width in [80, 60] {
            insta::assert_snapshot!(format!("table_{name}_{width}"), table(&receipt, width));
        }
    }
}

#[test]
fn the_timeline_shows_who_drained_who_waited_and_who_was_cut_off() {
    for (name, receipt) in samples::all() {
        for width in [80, 60] {
            insta::assert_snapshot!(format!("timeline_{name}_{width}"), timeline::text(&receipt, width));
        }
    }
}

#[test]
fn the_ascii_timeline_uses_nothing_but_ascii() {
    let text = timeline::ascii(&samples::forced(), 80);
    assert!(text.is_ascii(), "{text}");
    insta::assert_snapshot!("timeline_forced_ascii", text);
}

#[test]
fn the_picture_is_the_same_for_the_same_receipt() {
    for (name, receipt) in samples::all() {
        let picture = timeline::svg(&receipt);
        assert_eq!(picture, timeline::svg(&receipt));
        insta::assert_snapshot!(format!("picture_{name}"), picture);
    }
}

#[test]
fn r4_1a_the_table_says_which_requests_a_server_lost_and_who_held_it_up() {
    let mut receipt = samples::forced();
    let cut = |port: u16, doing: &str, routes: &[&str]| CutConnection {
        peer: format!("127.0.0.1:{port}"),
        doing: doing.into(),
        for_ms: 30_100,
        routes: routes.iter().map(|&route| route.into()).collect(),
        ..CutConnection::default()
    };
    let of_route = |route: &str, cut, raced, refused| LostOfRoute { route: route.into(), cut, raced, refused };
    let slow = (0..4).map(|number| cut(52_200 + number, "slow body", &["/upload"]));
    receipt.components[2].http = Some(Box::new(Lost {
        by_route: vec![
            of_route("(no route)", 0, 2, 1),
            of_route("/orders/{id}", 1, 0, 0),
            of_route("/upload", 11, 0, 0),
        ],
        cut: [cut(52_144, "handler at work", &["/orders/{id}"]), cut(52_145, "partial head", &[])]
            .into_iter()
            .chain(slow)
            .collect(),
        cut_connections: 13,
    }));
    insta::assert_snapshot!("table_http_lost_80", table(&receipt, 80));
}

#[test]
fn a_name_cannot_leave_its_place_in_the_picture() {
    let mut receipt = samples::clean();
    receipt.app = "</title><script>alert(1)</script>".into();
    receipt.components[0].name = "\"&<b>\u{1b}".into();
    let picture = timeline::svg(&receipt);
    assert!(!picture.contains("<script") && !picture.contains("<b>") && !picture.contains('\u{1b}'));
    assert!(picture.contains("&lt;script&gt;") && picture.contains("&quot;&amp;&lt;b&gt;"));
}

#[test]
fn an_empty_receipt_can_still_be_drawn() {
    let receipt = Receipt::default();
    assert!(table(&receipt, 80).starts_with("the app ended"));
    assert!(timeline::text(&receipt, 80).contains("0 ms"));
    assert!(timeline::svg(&receipt).ends_with("</svg>\n"));
}

fn name() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z]{1,12}", "\\PC{0,40}", "[a-z ]{60,90}", "接{0,50}", "\\x1b\\[2K\n.{0,9}"]
}

fn names() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(name(), 0..4)
}

fn time() -> impl Strategy<Value = f64> {
    prop_oneof![Just(0.0), 0.0..10.0, 0.0..100_000.0, -10.0..1e12]
}

prop_compose! {
    fn lost()(
        routes in prop::collection::vec((name(), prop::array::uniform3(any::<u64>())), 0..3),
        cut in prop::collection::vec((name(), name(), names(), prop::array::uniform3(any::<u64>())), 0..8),
        cut_connections in any::<u64>(),
    ) -> Lost {
        let of_route = |(route, [cut, raced, refused]): (String, [u64; 3])| LostOfRoute { route, cut, raced, refused };
        let connection = |(peer, doing, routes, [for_ms, bytes_in, bytes_out]): (String, String, Vec<String>, [u64; 3])| {
            CutConnection { peer, doing, routes, for_ms, bytes_in, bytes_out }
        };
        Lost {
            by_route: routes.into_iter().map(of_route).collect(),
            cut: cut.into_iter().map(connection).collect(),
            cut_connections,
        }
    }
}

prop_compose! {
    fn row()(
        name in name(),
        state in prop_oneof![Just("released".to_owned()), Just("aborted".to_owned()), name()],
        times in prop::array::uniform4(prop::option::of(time())),
        limits in (time(), time(), prop::option::of(time())),
        counts in prop::array::uniform4(any::<u64>()),
        texts in (names(), prop::option::of(name()), prop::option::of(name())),
        restarts in any::<u32>(),
        http in prop::option::of(lost().prop_map(Box::new)),
    ) -> Row {
        Row {
            name, kind: "worker".into(), state, restarts, needs: Vec::new(),
            stop_ms: times[0], drained_ms: times[1], release_ms: times[2], end_ms: times[3],
            used_ms: limits.0, limit_ms: limits.1, allowed_ms: limits.2,
            drained: counts[0], aborted: counts[1], leaked_tasks: counts[2], ignored_interrupts: counts[3],
            leaked_leases: texts.0, doing: texts.1, error: texts.2, http,
        }
    }
}

prop_compose! {
    fn receipt()(
        texts in (name(), name(), name(), prop::option::of(name())),
        outcome in prop_oneof![Just("clean".to_owned()), Just("not clean".to_owned()), Just("forced".to_owned()), name()],
        lists in (names(), names(), names(), names(), names()),
        times in (time(), time(), time()),
        components in prop::collection::vec(row(), 0..6),
        numbers in (any::<u8>(), any::<u32>(), any::<u64>()),
    ) -> Receipt {
        Receipt {
            schema: Receipt::SCHEMA, app: texts.0, cause: texts.1, policy: texts.2, hint: texts.3,
            outcome, exit_code: numbers.0, pid: numbers.1, log_lines_lost: numbers.2,
            root_cause: lists.0, later_causes: lists.1, culprits: lists.2, warnings: lists.4,
            critical_path: components.iter().map(|row: &Row| row.name.clone()).chain(lists.3).collect(),
            budget_ms: times.0, used_ms: times.1, propagation_delay_ms: times.2,
            components, ..samples::clean()
        }
    }
}

/// Columns as a terminal counts them, for the characters that the strategies above can make.
fn columns(line: &str) -> usize {
    line.chars().map(|c| if c == '接' { 2 } else { 1 }).sum()
}

/// What the strategies above make of letters whose width is a matter of opinion is left to the crate's own measure.
fn is_plain(receipt: &Receipt) -> bool {
    let text = receipt.to_json();
    text.chars().all(|c| c.is_ascii() || c == '接')
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_line_is_wider_than_asked_for(receipt in receipt(), width in 0_usize..200) {
        let texts = [table(&receipt, width), timeline::text(&receipt, width), timeline::ascii(&receipt, width)];
        for line in texts.iter().flat_map(|text| text.lines()) {
            prop_assert!(!line.contains(char::is_control));
            if is_plain(&receipt) {
                prop_assert!(columns(line) <= width.max(40), "{} columns: {line}", columns(line));
            }
        }
    }

    #[test]
    fn every_receipt_can_be_pictured_and_comes_back_from_its_json(receipt in receipt()) {
        let picture = timeline::svg(&receipt);
        prop_assert!(picture.ends_with("</svg>\n") && !picture.contains("NaN") && !picture.contains("inf\""));
        prop_assert_eq!(Receipt::from_json(&receipt.to_json()), Ok(receipt));
    }
}
