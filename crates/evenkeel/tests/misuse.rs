//! What must not compile, and how the compiler says so. The messages are those of one compiler version: another one may
//! word them differently, so with another one this test does not run, and says so.

use std::{env, process::Command};

/// The compiler whose messages are kept in `tests/misuse/*.stderr`.
const WORDED_BY: &str = "rustc 1.95.";

#[test]
fn misuse_does_not_compile_and_the_message_says_what_to_do_l14() {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(rustc).arg("--version").output().expect("cargo has just run it");
    let version = String::from_utf8_lossy(&version.stdout);
    if !version.starts_with(WORDED_BY) {
        eprintln!("SKIPPED: the messages in tests/misuse/*.stderr are those of {WORDED_BY}*, and this is {version}");
        return;
    }
    trybuild::TestCases::new().compile_fail("tests/misuse/*.rs");
}
