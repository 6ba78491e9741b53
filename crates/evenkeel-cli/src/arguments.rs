//! What may be said on the command line.

use std::{ffi::OsString, net::SocketAddr, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use evenkeel_load::{Kind, Method};

/// What the hidden step before a program exits with when the program cannot be run, as a shell does.
pub(crate) const CANNOT_RUN: u8 = 127;

/// Gives programs a correct life. Today: verifies that their restarts lose nothing.
#[derive(Parser)]
#[command(name = "evenkeel", version, max_term_width = 80, disable_help_subcommand = true)]
#[command(after_help = "Running programs (`evenkeel run`) is not there yet.")]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) task: Task,
}

#[derive(Subcommand)]
pub(crate) enum Task {
    VerifyRestart(Box<VerifyRestart>),
    /// Print a completion script for a shell
    #[command(after_help = "Example:\n  evenkeel completions bash > /etc/bash_completion.d/evenkeel")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Become another program, which inherits what this process has
    #[command(hide = true)]
    Become {
        #[arg(last = true, required = true)]
        program: Vec<OsString>,
    },
}

/// How the program is restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum How {
    /// Stop it, then start it, behind a listening socket that stays open
    Held,
    /// Start the new one beside the old one on the same socket, then stop the old one
    Overlap,
    /// Stop it, then start it; it opens its socket by itself. Refuses clients in between
    Bind,
}

impl How {
    pub(crate) fn holds_socket(self) -> bool {
        self != Self::Bind
    }
}

/// Restart a program under load, again and again, and show what was lost
///
/// Any HTTP program in any language. Clients ask it all the time, over a new connection for each request, over kept
/// connections and over HTTP/2, GET and POST, while it is restarted. A request is lost if its connection is refused or
/// reset, or closed before the answer, or if the answer is cut short, late, or not an expected one. Whatever is safe to
/// send again for any request is sent again, and is not lost.
#[derive(Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct VerifyRestart {
    /// How often to restart it
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    pub(crate) restarts: u64,
    /// How to restart it
    #[arg(long, value_name = "WAY", value_enum, default_value_t = How::Held, conflicts_with = "restart_command")]
    pub(crate) how: How,
    /// Restart it by this shell command, done when it exits with 0 [needs: --url]
    #[arg(long, value_name = "COMMAND", requires = "url")]
    pub(crate) restart_command: Option<String>,
    /// The program and its arguments; `{turn}` in them is 0 and 1 in turn
    #[arg(last = true, value_name = "PROGRAM", required_unless_present = "restart_command")]
    pub(crate) program: Vec<OsString>,

    /// Print the result as JSON
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) asked: Asked,
    #[command(flatten)]
    pub(crate) service: Service,
}

/// What is asked, and by whom.
#[derive(Args)]
#[command(next_help_heading = "Load")]
pub(crate) struct Asked {
    /// Clients for each kind with each method
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    pub(crate) clients: u16,
    /// Requests a second of all clients together [default: all they can]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) rate: Option<u32>,
    /// How connections are used: new, keep-alive, h2 [default: what it speaks]
    #[arg(long, value_name = "KIND", value_delimiter = ',')]
    pub(crate) kinds: Vec<Kind>,
    /// What is asked: get, post [default: what it takes]
    #[arg(long, value_name = "METHOD", value_delimiter = ',')]
    pub(crate) methods: Vec<Method>,
    /// Path and query [default: that of --url, else /]
    #[arg(long)]
    pub(crate) path: Option<String>,
    /// Follow event streams (text/event-stream) at this path as well; one that
    /// breaks off is lost, one that the program ends is followed by the next
    #[arg(long, value_name = "PATH")]
    pub(crate) events: Option<String>,
    /// What a POST carries; `{id}` in it is a number of its own for each request
    #[arg(long, value_name = "TEXT", default_value = "evenkeel {id}")]
    pub(crate) body: String,
    /// The media type of that
    #[arg(long, value_name = "TYPE", default_value = "text/plain")]
    pub(crate) content_type: String,
    /// The status of a proper answer [default: any below 400]
    #[arg(long, value_name = "CODE", value_parser = clap::value_parser!(u16).range(100..=599))]
    pub(crate) status: Option<u16>,
    /// How long a request may take, a restart included
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Time under load between two restarts, at least
    #[arg(long, value_name = "TIME", default_value = "500ms", value_parser = duration)]
    pub(crate) between: Duration,
}

/// Where the program is, and how to know how it is.
#[derive(Args)]
#[command(next_help_heading = "Program")]
pub(crate) struct Service {
    /// The socket that is held for it, passed on as systemd does (LISTEN_FDS)
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:0")]
    pub(crate) listen: SocketAddr,
    /// The name of that socket (LISTEN_FDNAMES)
    #[arg(long, value_name = "NAME", default_value = "http")]
    pub(crate) socket_name: String,
    /// Where a program serves that opens its socket by itself
    #[arg(long, required_if_eq("how", "bind"))]
    pub(crate) url: Option<String>,
    /// It is ready when this answers with a status below 400; `{turn}` as above
    #[arg(long, value_name = "URL")]
    pub(crate) ready_url: Option<String>,
    /// It is ready when it has printed this
    #[arg(long, value_name = "TEXT", conflicts_with = "ready_url")]
    pub(crate) ready_log: Option<String>,
    /// How long it may take to be ready
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = duration)]
    pub(crate) ready_within: Duration,
    /// How long it may take to end after SIGTERM, and a command to end
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = duration)]
    pub(crate) stop_within: Duration,
    /// Run this shell command at the end
    #[arg(long, value_name = "COMMAND", requires = "restart_command")]
    pub(crate) stop_command: Option<String>,
}

const EXAMPLES: &str = "\
Readiness, without --ready-url and --ready-log: one process at a time is ready
when it answers; one beside another when it says READY=1 (NOTIFY_SOCKET).

Exit codes: 0 nothing was lost; 1 something was; 2 the command line makes no
sense; 10 the program did not start, did not become ready or gives no proper
answer; 11 a restart failed; 12 the load could not be sent.

Examples:
  evenkeel verify-restart -- ./orders
  evenkeel verify-restart --how overlap --ready-log serving -- \\
      ./orders --state-dir state-{turn}
  evenkeel verify-restart --how bind --url http://127.0.0.1:8080 -- node app.js
  evenkeel verify-restart --url http://127.0.0.1/ \\
      --restart-command 'systemctl reload haproxy'";

/// `3s`, `1m 30s`, `500ms`.
fn duration(text: &str) -> Result<Duration, String> {
    let explain = || "write it like `30s` or `500ms`".to_owned();
    let span: jiff::SignedDuration = text.parse().map_err(|_| explain())?;
    Duration::try_from(span).map_err(|_| explain())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_definition_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_program_is_what_stands_after_two_dashes() {
        let line = ["evenkeel", "verify-restart", "--kinds", "new,h2", "--", "./orders", "--rate", "x"];
        let Task::VerifyRestart(options) = Arguments::try_parse_from(line).ok().unwrap().task else { panic!() };
        assert_eq!(options.program, ["./orders", "--rate", "x"].map(OsString::from));
        assert_eq!(options.asked.kinds, [Kind::New, Kind::Http2]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        let refused = |line: &[&str]| {
            let line = ["evenkeel", "verify-restart"].iter().chain(line);
            Arguments::try_parse_from(line).err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert!(refused(&[]).contains("PROGRAM"));
        assert!(refused(&["--how", "bind", "--", "./orders"]).contains("--url"));
        assert!(refused(&["--restart-command", "reload"]).contains("--url"));
        assert!(refused(&["--kinds", "h3", "--", "./orders"]).contains("there are new, keep-alive, h2"));
        assert!(refused(&["--between", "3", "--", "./orders"]).contains("write it like `30s`"));
    }
}
