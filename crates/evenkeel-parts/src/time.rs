//! Durations in words, and the share of a limit that is a part's own.

use std::time::Duration;

/// What is left to the engine of the time for a release, so that a part ends in order before it is cut off: a tenth, and
/// not more than this.
const ENGINE: Duration = Duration::from_millis(100);

/// The time that a close may use of what the engine allows.
pub(crate) fn own_share(allowed: Duration) -> Duration {
    allowed.saturating_sub((allowed / 10).min(ENGINE))
}

/// `4.2 s`, `15 ms`.
pub(crate) fn seconds(time: Duration) -> String {
    if time < Duration::from_millis(100) {
        return format!("{} ms", time.as_millis());
    }
    let text = format!("{:.1}", time.as_secs_f64());
    format!("{} s", text.strip_suffix(".0").unwrap_or(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_close_ends_before_the_engine_would_cut_it_off_r3_2b() {
        for allowed in [0, 1, 200, 5_000, 30_000].map(Duration::from_millis) {
            let spare = allowed - own_share(allowed);
            assert!(spare >= (allowed / 10).min(ENGINE) && spare <= ENGINE, "{allowed:?}");
        }
    }

    #[test]
    fn times_are_short() {
        let shown = [7, 100, 1_000, 61_250].map(|ms| seconds(Duration::from_millis(ms)));
        assert_eq!(shown, ["7 ms", "0.1 s", "1 s", "61.2 s"]);
    }
}
