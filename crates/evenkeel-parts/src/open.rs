//! Opening a client when the server may not be there yet.
//!
//! A program and its servers are started in any order: what time alone can cure is waited for, said once and kept in
//! view ([`Stop::doing`]), within the component's start limit, which the engine holds. What only a person can cure (a
//! wrong password, an unknown database) fails at once.

use std::{future::Future, time::Duration};

use evenkeel::{Error, Explain, Result, Stop};

/// Between two tries: from this, half as long again each time,
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// to this.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Why a try led to nothing.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Time may cure it.
    Wait(Error),
    /// Only a person can; what to do.
    Fail(Error, Option<String>),
}

/// Tries until it succeeds or fails for good. `server` names it: `PostgreSQL at 127.0.0.1:5432/orders`.
///
/// Cancel-safe as far as `attempt` is: the engine drops it at the component's start limit, and on a stop.
pub(crate) async fn until_there<T, A, F>(name: &str, server: &str, stop: &Stop, mut attempt: A) -> Result<T>
where
    A: FnMut() -> F,
    F: Future<Output = Result<T, Trouble>>,
{
    let (mut wait, mut said) = (FIRST_WAIT, None);
    stop.doing(&format!("connecting to {server}"));
    loop {
        let reason = match attempt().await {
            Ok(opened) => return Ok(opened),
            Err(Trouble::Wait(reason)) => line(&reason),
            Err(Trouble::Fail(reason, hint)) => {
                let failed = Err(reason).context(format!("cannot use {server}"));
                return match hint {
                    Some(hint) => failed.hint(hint),
                    None => failed,
                };
            }
        };
        if said.as_ref() != Some(&reason) {
            tracing::warn!(target: "evenkeel", "`{name}` waits for {server}: {reason}");
            stop.doing(&format!("waiting for {server}: {reason}"));
            said = Some(reason);
        }
        tokio::time::sleep(wait).await;
        wait = (wait * 3 / 2).min(LONGEST_WAIT);
    }
}

/// A try that hangs is one that failed.
pub(crate) async fn within<T>(
    limit: Duration,
    attempt: impl Future<Output = Result<T, Trouble>>,
) -> Result<T, Trouble> {
    let silent = || Trouble::Wait(format!("no answer within {}", crate::time::seconds(limit)).into());
    tokio::time::timeout(limit, attempt).await.unwrap_or_else(|_| Err(silent()))
}

/// The chain of an error on one line, without saying anything twice.
fn line(error: &Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(reason) = next {
        let more = reason.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        next = reason.source();
    }
    text
}
