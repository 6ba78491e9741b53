//! The format on disk: golden files of each version, and what is refused.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{fs, path::Path, path::PathBuf, sync::Arc};

use evenkeel_journal::{
    Error, Options, Replayed, Store,
    disk::OsDisk,
    tools::{Repair, dump, repair, verify},
};

/// Small segments, so that there are several.
fn options() -> Options {
    Options::default().segment_bytes(2048).max_record(600).window(512).ballast(0).spares(0)
}

type Found = (Option<(u64, Vec<u8>)>, Vec<(u64, Vec<u8>)>);

fn open(dir: &Path) -> Result<(Store, Found), Error> {
    let mut found: Found = (None, Vec::new());
    let disk = Arc::new(OsDisk::new(dir)?);
    let (store, _) = Store::recover(disk, options(), |replayed| {
        match replayed {
            Replayed::Checkpoint(seq, state) => found.0 = Some((seq, state.to_vec())),
            Replayed::Record(seq, body) => found.1.push((seq, body.to_vec())),
        }
        Ok(())
    })?;
    Ok((store, found))
}

fn body(seq: u64) -> Vec<u8> {
    format!("record {seq} ").repeat(usize::try_from(seq * 2).unwrap()).into_bytes()
}

/// A checkpoint at 3, records up to 20 in several segments, no end in order.
fn write(dir: &Path) {
    let (mut store, _) = open(dir).unwrap();
    for seq in 1..=20 {
        store.append(&[&body(seq)]).unwrap();
        if seq == 3 {
            store.checkpoint(b"the state as of record 3").unwrap();
        }
    }
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/version-1")
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.to_str().unwrap().contains("segment-")).collect();
    paths.sort();
    paths
}

/// Writes the golden files where `EVENKEEL_WRITE_GOLDEN` is set. Never again for a version that was released.
#[test]
fn golden_files_are_there() {
    if std::env::var_os("EVENKEEL_WRITE_GOLDEN").is_none() {
        assert!(golden().join("manifest").exists());
        return;
    }
    fs::create_dir_all(golden()).unwrap();
    write(&golden());
    fs::remove_file(golden().join("lock")).unwrap();
}

#[test]
fn version_1_is_read_by_every_later_version() {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden(), dir.path());
    let (_store, (checkpoint, records)) = open(dir.path()).unwrap();
    assert_eq!(checkpoint, Some((3, b"the state as of record 3".to_vec())));
    assert_eq!(records, (4..=20).map(|seq| (seq, body(seq))).collect::<Vec<_>>());
}

#[test]
fn a_newer_version_is_refused_by_name_and_number() {
    for file in ["manifest", "snapshot-0000000000000003", "segment-0000000000000001"] {
        let dir = tempfile::tempdir().unwrap();
        copy(&golden(), dir.path());
        let path = dir.path().join(file);
        let mut bytes = fs::read(&path).unwrap();
        for at in [8, 4096 + 8] {
            bytes.get_mut(at..at + 1).into_iter().for_each(|version| version[0] = 2);
        }
        fs::write(&path, bytes).unwrap();
        let error = open(dir.path()).err().expect("refused");
        assert!(matches!(&error, Error::Newer { found: 2, known: 1, .. }), "{error:?}");
        assert!(error.to_string().contains(file) && error.hint().contains("version"), "{error}");
    }
}

#[test]
fn rot_before_records_that_were_durable_is_refused_with_its_offset_r4_3() {
    let original = tempfile::tempdir().unwrap();
    write(original.path());
    let segments = segments(original.path());
    assert!(segments.len() > 2);
    let mut refused = 0;
    for path in &segments {
        let whole = fs::read(path).unwrap();
        // The last record alone cannot be told from one that was never finished.
        let last_record = whole.iter().rposition(|byte| *byte != 0).unwrap() + 1 - body(20).len() - 32;
        let until = if Some(path) == segments.last() { last_record } else { whole.len() };
        for at in (0..until).step_by(23) {
            let dir = tempfile::tempdir().unwrap();
            copy(original.path(), dir.path());
            let mut bytes = whole.clone();
            bytes[at] ^= 4;
            fs::write(dir.path().join(path.file_name().unwrap()), bytes).unwrap();
            match open(dir.path()) {
                Err(Error::Rot { file, offset, .. }) => {
                    assert!(path.ends_with(&file), "{file} is not {}", path.display());
                    assert!(offset <= at as u64, "{file} at {offset}, damaged at {at}");
                    refused += 1;
                }
                Err(other) => panic!("{at}: {other}"),
                // Padding is nobody's data; all records are there.
                Ok((_, (_, records))) => assert_eq!(records.len(), 17, "{} {at}", path.display()),
            }
        }
    }
    assert!(refused > 150, "{refused}");
}

#[test]
fn a_missing_manifest_or_segment_is_refused() {
    for file in ["manifest", "segment-0000000000000002", "snapshot-0000000000000003"] {
        let dir = tempfile::tempdir().unwrap();
        copy(&golden(), dir.path());
        fs::remove_file(dir.path().join(file)).unwrap();
        let error = open(dir.path()).err().expect("refused");
        assert!(error.to_string().contains(file), "{error}");
    }
}

#[test]
fn a_second_user_is_refused_with_the_first_ones_process_id() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, _) = open(dir.path()).unwrap();
    let error = open(dir.path()).err().expect("refused");
    assert!(matches!(error, Error::Held { pid } if pid == Some(std::process::id())), "{error}");
}

#[test]
fn what_is_whole_verifies_and_is_shown_without_being_changed() {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden(), dir.path());
    let disk = OsDisk::new(dir.path()).unwrap();
    let found = verify(&disk).unwrap();
    assert_eq!((found.checkpoint, found.last_seq, found.records, found.segments), (3, 20, 20, 4), "{found:?}");
    let mut shown = Vec::new();
    let all = dump(&disk, |record| {
        shown.push((record.seq, record.body.to_vec()));
        Ok(())
    });
    all.unwrap();
    assert_eq!(shown, (1..=20).map(|seq| (seq, body(seq))).collect::<Vec<_>>());
    assert_eq!(repair(&disk, false).unwrap(), []);
    for file in segments(&golden()) {
        assert_eq!(fs::read(&file).unwrap(), fs::read(dir.path().join(file.file_name().unwrap())).unwrap());
    }
}

#[test]
fn each_flipped_bit_of_sealed_history_is_seen_even_where_no_record_is_hurt() {
    let path = segments(&golden()).swap_remove(0);
    let whole = fs::read(&path).unwrap();
    let sealed = whole.iter().rposition(|byte| *byte != 0).unwrap();
    let dir = tempfile::tempdir().unwrap();
    copy(&golden(), dir.path());
    let disk = OsDisk::new(dir.path()).unwrap();
    for at in 0..sealed {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        fs::write(dir.path().join(path.file_name().unwrap()), bytes).unwrap();
        let error = verify(&disk).expect_err("damaged");
        assert!(matches!(error, Error::Rot { .. } | Error::Newer { .. }), "{at}: {error}");
    }
}

#[test]
fn a_repair_cuts_at_the_damage_keeps_what_it_cuts_and_first_says_so() {
    let dir = tempfile::tempdir().unwrap();
    copy(&golden(), dir.path());
    let path = dir.path().join("segment-0000000000000002");
    let mut bytes = fs::read(&path).unwrap();
    bytes[1200] ^= 1;
    fs::write(&path, &bytes).unwrap();
    let disk = OsDisk::new(dir.path()).unwrap();
    let Err(Error::Rot { offset, .. }) = verify(&disk) else { panic!("it is damaged") };
    let planned = repair(&disk, true).unwrap();
    assert_eq!(fs::read(&path).unwrap(), bytes, "a dry run changes nothing");
    let Repair::Cut { offset: cut, last_seq, .. } = &planned[0] else { panic!("{planned:?}") };
    let last_seq = *last_seq;
    assert_eq!((*cut, planned.len()), (offset, 3), "{planned:?}");
    assert!(open(dir.path()).is_err());
    assert_eq!(repair(&disk, false).unwrap(), planned);
    assert_eq!(fs::read(dir.path().join("damaged-segment-0000000000000002")).unwrap(), bytes);
    let (store, (_, records)) = open(dir.path()).unwrap();
    assert_eq!(records, (4..=last_seq).map(|seq| (seq, body(seq))).collect::<Vec<_>>());
    drop(store);
    verify(&disk).unwrap();
}
