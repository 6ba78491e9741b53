//! The table of a drain: every phase x every signal.

use evenkeel_http::phase::{Phase, Signal, Step};

#[test]
fn r4_1a_the_table_of_phases() {
    let mut table = String::new();
    for phase in Phase::ALL {
        for signal in Signal::ALL {
            let step = match phase.on(signal) {
                Step::To(next) => format!("-> {next}"),
                Step::Already => "already".to_owned(),
                Step::NotAllowed => "not allowed".to_owned(),
            };
            table += &format!("{:13} {:11} {step}\n", phase.name(), format!("{signal:?}"));
        }
    }
    insta::assert_snapshot!("phases", table);
}
