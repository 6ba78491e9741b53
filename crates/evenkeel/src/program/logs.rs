//! Where a program's log lines go: to standard error, through a sink that never holds a thread.

use std::{backtrace::Backtrace, io::IsTerminal as _, panic};

use evenkeel_events::{Format, LogOptions, Sink, subscriber};
use evenkeel_os::{env::process_env, platform::stderr_is_journal};

use super::{
    last_words::{LastWords, Panic},
    line::Options,
};
use crate::app::Problem;

/// Starts logging. A program that has installed a subscriber of its own keeps it; then only panics and the last table
/// go through the sink.
pub(super) fn begin(options: &Options) -> Result<Sink, Problem> {
    let sink = Sink::stderr();
    let _ = tracing::subscriber::set_global_default(built(options, sink.clone())?);
    Ok(sink)
}

/// Why logging could not start with these options.
pub(super) fn problem(options: &Options) -> Option<Problem> {
    built(options, Sink::stderr()).err()
}

fn built(options: &Options, sink: Sink) -> Result<impl tracing::Subscriber + Send + Sync + use<>, Problem> {
    let format = format(options);
    let log = LogOptions {
        format,
        level: options.log_level.clone().unwrap_or_else(|| "info".to_owned()),
        color: format == Format::Human && colour_is_wanted(),
        ..LogOptions::default()
    };
    subscriber(&log, sink).map_err(|error| Problem {
        text: error.to_string(),
        hint: "use a level like `info` or a filter like `info,shop::db=debug`".into(),
    })
}

/// What was asked for, else what suits whoever reads standard error.
pub(super) fn format(options: &Options) -> Format {
    let for_the_reader = || if stderr_is_journal(&process_env) { Format::Journal } else { Format::Human };
    options.log_format.unwrap_or_else(for_the_reader)
}

/// A terminal, and nobody said no (<https://no-color.org>).
fn colour_is_wanted() -> bool {
    let refused = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
    !refused && !dumb && std::io::stderr().is_terminal()
}

/// Panics become log lines: the standard hook writes to standard error itself, and would wait for a reader.
///
/// In a build whose panics abort nothing runs after the hook, so it has the last words as well.
pub(super) fn log_panics(last_words: LastWords) {
    panic::set_hook(Box::new(move |panic| {
        let thread = std::thread::current();
        let thread = thread.name().unwrap_or("unnamed");
        let place = panic.location().map_or_else(|| "an unknown place".to_owned(), ToString::to_string);
        let text = panic.payload_as_str().unwrap_or("(no text)");
        let trace = Backtrace::capture();
        let trace = (trace.status() == std::backtrace::BacktraceStatus::Captured).then(|| trace.to_string());
        let component = last_words.component();
        tracing::error!(
            target: "evenkeel",
            component,
            backtrace = trace,
            "panic in thread `{thread}` at {place}: {text}"
        );
        if cfg!(panic = "abort") {
            last_words.aborting(&Panic { thread, place: &place, text });
        }
    }));
}
