//! Environment variables come in as an argument.
//!
//! Policy: no function of this crate reads the process environment by itself. A caller passes a lookup, which is
//! [`process_env`] in a program and a closure in a test; so no test ever changes the environment of its process.

use std::ffi::OsString;

/// A lookup of one environment variable: name to value, `None` when it is not set.
pub type Env<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// The lookup that reads this process's environment. Pass it as `&process_env`.
pub fn process_env(name: &str) -> Option<OsString> {
    std::env::var_os(name)
}

/// The value of `name`, with the empty string taken as "not set", as the XDG and systemd conventions have it.
pub(crate) fn non_empty(env: Env<'_>, name: &str) -> Option<OsString> {
    env(name).filter(|value| !value.is_empty())
}
