//! The JSON form of a receipt, and receipts on disk.

mod samples;

use std::{fs, io::ErrorKind};

use evenkeel_events::{Receipt, Unreadable, store};

#[test]
fn a_receipt_comes_back_from_its_json() {
    for (_, receipt) in samples::all() {
        assert_eq!(Receipt::from_json(&receipt.to_json()), Ok(receipt));
    }
}

#[test]
fn a_file_of_schema_1_stays_readable() {
    let receipt = Receipt::from_json(include_str!("golden/receipt-schema-1.json"));
    assert_eq!(receipt, Ok(samples::forced()));
}

#[test]
fn fields_of_a_later_minor_change_are_passed_over() {
    let json = samples::clean().to_json().replacen('{', "{\"weather\": \"fine\",", 1);
    assert_eq!(Receipt::from_json(&json), Ok(samples::clean()));
}

#[test]
fn a_receipt_from_the_future_is_called_that() {
    let error = Receipt::from_json("{\"schema\": 2, \"everything\": \"else\"}").unwrap_err();
    assert_eq!(error, Unreadable::Newer { schema: 2 });
    assert_eq!(error.to_string(), "the receipt has schema 2; this program reads schemas up to 1");
    let error = Receipt::from_json("{\"schema\": 99999999999}").unwrap_err();
    assert_eq!(error, Unreadable::Newer { schema: 99_999_999_999 });
}

#[test]
fn a_damaged_receipt_says_where_it_is_damaged() {
    for json in ["", "{", "[]", "{\"schema\": 1}", "{\"schema\": 0}", "{\"schema\": \"one\"}"] {
        let error = Receipt::from_json(json).unwrap_err();
        assert!(matches!(error, Unreadable::Broken { .. }), "{json}: {error}");
    }
    let error = Receipt::from_json("{\"schema\": 1}").unwrap_err();
    assert!(error.to_string().contains("missing field `app`"), "{error}");
}

fn ended_at(minute: u32) -> Receipt {
    Receipt { stop_ended_at: format!("2026-08-01T12:{minute:02}:00Z"), ..samples::clean() }
}

#[test]
fn a_saved_receipt_has_its_picture_beside_it_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let path = store::save(&dir.path().join("state"), &samples::clean(), store::KEEP).unwrap();
    assert_eq!(path.file_name().unwrap(), "receipt-20260801T120304.135Z-4711.json");
    let mut names: Vec<String> = fs::read_dir(dir.path().join("state"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["receipt-20260801T120304.135Z-4711.json", "receipt-20260801T120304.135Z-4711.svg"]);
    assert_eq!(store::read(&path), Ok(samples::clean()));
}

#[test]
fn only_the_last_ten_receipts_stay() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("notes.json"), "not ours").unwrap();
    for minute in 0..13 {
        store::save(dir.path(), &ended_at(minute), store::KEEP).unwrap();
    }
    let kept: Vec<String> =
        store::list(dir.path()).unwrap().into_iter().map(|entry| entry.receipt.unwrap().stop_ended_at).collect();
    assert_eq!(kept.len(), 10);
    assert_eq!(kept.first().unwrap(), "2026-08-01T12:12:00Z", "newest first");
    assert_eq!(kept.last().unwrap(), "2026-08-01T12:03:00Z");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 21, "pairs go together, strangers stay");
}

#[test]
fn a_clock_that_went_back_does_not_cost_the_new_receipt() {
    let dir = tempfile::tempdir().unwrap();
    for minute in [5, 6, 7, 1] {
        store::save(dir.path(), &ended_at(minute), 2).unwrap();
    }
    let ends: Vec<String> =
        store::list(dir.path()).unwrap().into_iter().map(|entry| entry.receipt.unwrap().stop_ended_at).collect();
    assert_eq!(ends, ["2026-08-01T12:07:00Z", "2026-08-01T12:01:00Z"]);
}

#[test]
fn a_damaged_file_is_passed_over_but_not_hidden() {
    let dir = tempfile::tempdir().unwrap();
    let whole = store::save(dir.path(), &ended_at(1), store::KEEP).unwrap();
    let damaged = dir.path().join("receipt-20260801T120200.000Z-1.json");
    fs::write(&damaged, "{\"schema\": 1, \"app\":").unwrap();
    let (path, receipt) = store::last(dir.path()).unwrap().unwrap();
    assert_eq!((path, receipt), (whole, ended_at(1)));
    let entries = store::list(dir.path()).unwrap();
    assert_eq!(entries[0].path, damaged);
    assert!(entries[0].receipt.is_err() && entries[1].receipt.is_ok());
}

#[test]
fn an_older_receipt_is_never_passed_off_as_the_last_one() {
    let dir = tempfile::tempdir().unwrap();
    store::save(dir.path(), &ended_at(1), store::KEEP).unwrap();
    fs::write(dir.path().join("receipt-20260801T120200.000Z-1.json"), "{\"schema\": 7}").unwrap();
    let error = store::last(dir.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidData);
    assert!(error.to_string().contains("receipt-20260801T120200.000Z-1.json`: the receipt has schema 7"), "{error}");
}

#[test]
fn a_directory_without_receipts_has_no_last_one() {
    let dir = tempfile::tempdir().unwrap();
    assert!(store::last(dir.path()).unwrap().is_none());
    assert!(store::last(&dir.path().join("missing")).unwrap().is_none());
}

#[test]
fn a_directory_that_cannot_be_written_is_an_error_not_a_loss_in_silence() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("state");
    fs::write(&file, "a file where the directory should be").unwrap();
    assert!(store::save(&file, &samples::clean(), store::KEEP).is_err());
    assert!(store::save_to(&file.join("receipt.json"), &samples::clean()).is_err());
    assert!(store::save_to(&dir.path().join("missing/receipt.json"), &samples::clean()).is_err());
}

#[test]
fn a_failed_write_leaves_the_old_file_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("receipt.json");
    store::save_to(&path, &ended_at(1)).unwrap();
    // A directory in the place of the file beside makes the write fail, for every user.
    let beside = dir.path().join(format!(".receipt.json.{}.tmp", std::process::id()));
    fs::create_dir(&beside).unwrap();
    assert!(store::save_to(&path, &ended_at(2)).is_err());
    assert_eq!(store::read(&path), Ok(ended_at(1)));
}

#[test]
fn a_time_that_is_none_does_not_lead_out_of_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let receipt = Receipt { stop_ended_at: "../../etc/passwd".into(), ..samples::clean() };
    let path = store::save(dir.path(), &receipt, store::KEEP).unwrap();
    assert_eq!(path.parent(), Some(dir.path()));
}

#[test]
fn a_receipt_can_be_written_to_a_file_of_its_own_as_json_or_as_a_picture() {
    let dir = tempfile::tempdir().unwrap();
    let (json, svg) = (dir.path().join("last.json"), dir.path().join("last.svg"));
    store::save_to(&json, &ended_at(1)).unwrap();
    store::save_to(&json, &ended_at(2)).unwrap();
    store::save_to(&svg, &ended_at(2)).unwrap();
    assert_eq!(store::read(&json), Ok(ended_at(2)));
    assert!(fs::read_to_string(&svg).unwrap().starts_with("<svg "));
}
