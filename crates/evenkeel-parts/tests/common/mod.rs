//! What the tests against real servers share. They wait for states, never for moments.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::{future::Future, time::Duration};

use evenkeel::{App, Receipt, Row, Running, StartError};
use evenkeel_testbeds::PASSWORD;

/// Nothing here takes longer, not even on a machine that is busy with something else.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn started(app: App) -> Running {
    match app.start().await {
        Ok(running) => running,
        Err(refused) => panic!("it did not start: {refused}"),
    }
}

/// The receipt of a start that has to fail.
pub(crate) async fn failed_start(app: App) -> Receipt {
    match app.start().await {
        Err(StartError::Failed(receipt)) => *receipt,
        Err(refused) => panic!("refused instead of failed: {refused}"),
        Ok(_) => panic!("it started"),
    }
}

/// Why the app is refused, all problems in one text.
pub(crate) async fn refused(app: App) -> String {
    match app.start().await {
        Err(StartError::Refused(problems)) => problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"),
        Err(failed) => panic!("failed instead of refused: {failed}"),
        Ok(_) => panic!("it started"),
    }
}

#[track_caller]
pub(crate) fn row<'a>(receipt: &'a Receipt, name: &str) -> &'a Row {
    let row = receipt.components.iter().find(|row| row.name == name);
    row.unwrap_or_else(|| panic!("no row for {name:?}"))
}

#[track_caller]
pub(crate) fn assert_clean(receipt: &Receipt) {
    assert!(receipt.is_clean() && receipt.exit_code == 0 && receipt.culprits.is_empty(), "{}", receipt.to_json());
    assert_discreet(&receipt.to_json());
}

/// The stop was not clean, and this component is why; what it said.
#[track_caller]
pub(crate) fn blamed(receipt: &Receipt, name: &str) -> String {
    let json = receipt.to_json();
    assert_discreet(&json);
    assert!(receipt.exit_code != 0 && receipt.culprits.iter().any(|culprit| culprit == name), "{json}");
    row(receipt, name).error.clone().unwrap_or_default()
}

/// A component ended in order, before the engine had to cut it off.
#[track_caller]
pub(crate) fn assert_not_cut(receipt: &Receipt, name: &str) {
    let row = row(receipt, name);
    assert!(row.used_ms < row.allowed_ms.unwrap_or(row.limit_ms), "{}", receipt.to_json());
    assert!(!row.error.as_deref().unwrap_or_default().contains("cut off"), "{}", receipt.to_json());
}

/// No password is in it.
#[track_caller]
pub(crate) fn assert_discreet(text: &str) {
    assert!(!text.contains(PASSWORD), "a password is in: {text}");
}

/// Asks again and again until it is so.
pub(crate) async fn until<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    let asking = async {
        while !so().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, asking).await.is_ok(), "it never was so: {what}");
}
