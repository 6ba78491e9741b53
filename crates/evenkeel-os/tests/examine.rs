//! What is at a path.

#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use std::os::unix::fs::{PermissionsExt, symlink};

use evenkeel_os::{
    examine::{Kind, examine},
    platform::user,
};

#[test]
fn what_is_there_is_described_and_what_is_not_by_the_nearest_above_r2_5a() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o750)).unwrap();
    let seen = examine(dir.path()).unwrap();
    assert_eq!((seen.kind, seen.owner, seen.mode, seen.is_link), (Kind::Directory, user().id, 0o750, false));
    assert_eq!(seen.unwritable, None);
    assert!(seen.exists() && seen.left.is_some(), "{seen:?}");

    let missing = examine(&dir.path().join("a/b")).unwrap();
    assert!(!missing.exists() && missing.at == dir.path() && missing.kind == Kind::Directory, "{missing:?}");
    assert!(!dir.path().join("a").exists(), "nothing is created");
}

#[test]
fn files_and_links_are_told_apart_r2_5a() {
    let dir = tempfile::tempdir().unwrap();
    let (file, link, dead) = (dir.path().join("file"), dir.path().join("link"), dir.path().join("dead"));
    std::fs::write(&file, "").unwrap();
    symlink(dir.path(), &link).unwrap();
    symlink(dir.path().join("nowhere"), &dead).unwrap();
    let below = examine(&file.join("below")).unwrap();
    assert_eq!((below.kind, below.at == file), (Kind::File, true));
    let seen = examine(&link).unwrap();
    assert_eq!((seen.kind, seen.is_link), (Kind::Directory, true));
    let seen = examine(&dead).unwrap();
    assert_eq!((seen.kind, seen.is_link), (Kind::DeadLink, true));
}
