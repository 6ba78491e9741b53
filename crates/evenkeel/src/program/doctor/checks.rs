//! The program's own checks: `App::check`.
//!
//! Policy: they run before anything is opened, by `doctor` and at each start, all at the same time and each for [`PATIENCE`]
//! at most. One that panics or does not end has failed; a thread that hangs is left behind, because nothing can end it.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    time::{Duration, Instant},
};

use evenkeel_os::threads::spawn_named;
use evenkeel_plan::limit::seconds;

use super::judge::Checked;
use crate::{
    app::{Check, Problem},
    error::Failure,
    polls::panic_text,
};

/// How long a check may take.
const PATIENCE: Duration = Duration::from_secs(10);

type Said = Result<String, (String, Option<String>)>;

/// What each of them says, in the order in which they were declared.
pub(super) fn run(checks: Vec<Check>) -> Vec<Checked> {
    let until = Instant::now() + PATIENCE;
    let begun: Vec<(String, Receiver<Said>)> = checks.into_iter().map(begin).collect();
    let ended = begun.into_iter().map(|(name, said)| {
        let said = match said.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(said) => said,
            Err(RecvTimeoutError::Timeout) => Err((format!("it did not end within {}", seconds(PATIENCE)), None)),
            Err(RecvTimeoutError::Disconnected) => Err(("the system gives it no thread".to_owned(), None)),
        };
        Checked { name, said }
    });
    ended.collect()
}

/// Runs them for a start: what failed, with what to do.
pub(in crate::program) fn problems(checks: Vec<Check>) -> Vec<Problem> {
    let failed = run(checks).into_iter().filter_map(|Checked { name, said }| {
        let (text, hint) = said.err()?;
        let hint = hint.unwrap_or_else(|| "`doctor` shows all checks".to_owned());
        Some(Problem { text: format!("the check `{name}` failed: {text}"), hint })
    });
    failed.collect()
}

fn begin(Check { name, check }: Check) -> (String, Receiver<Said>) {
    let (say, said) = channel();
    // Without a thread the sender is dropped, and that is heard.
    let _ = spawn_named("evenkeel-check", move || {
        let checked = catch_unwind(AssertUnwindSafe(check));
        let said = match checked {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => {
                let failure = Failure::from(&error);
                Err((failure.line(), failure.hint.clone()))
            }
            Err(panic) => Err((panic_text(&*panic), None)),
        };
        let _ = say.send(said); // too late is as good as never
    });
    (name, said)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, Explain};

    #[test]
    fn a_check_says_what_it_found_or_what_to_do_r2_5a() {
        let check =
            |name: &str, check: fn() -> crate::Result<String>| Check { name: name.to_owned(), check: Box::new(check) };
        let said = run(vec![
            check("licence", || Ok("valid".to_owned())),
            check("model", || Err(Error::from("it is not there")).hint("run `make model`")),
            check("rest", || panic!("an index")),
        ]);
        let said: Vec<_> = said.into_iter().map(|checked| (checked.name, checked.said)).collect();
        assert_eq!(said[0], ("licence".to_owned(), Ok("valid".to_owned())));
        assert_eq!(said[1].1, Err(("it is not there".to_owned(), Some("run `make model`".to_owned()))));
        assert!(said[2].1.as_ref().is_err_and(|(why, _)| why.contains("an index")), "{:?}", said[2]);
    }
}
