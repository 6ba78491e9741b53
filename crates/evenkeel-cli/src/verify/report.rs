//! What is said at the end: the loss table, the verdict, and what the losses point at.

use std::{process::ExitCode, time::Duration};

use evenkeel_load::{Kind, Table};
use serde_json::json;

use super::LeftOut;
use crate::fault::{NO_LOAD, folded};

/// How many losses are told in words, each of another kind or ending.
const TOLD: usize = 5;

/// See the module documentation.
pub(crate) struct Report {
    pub(crate) how: String,
    pub(crate) table: Table,
    /// How long each restart took.
    pub(crate) took: Vec<Duration>,
    pub(crate) left_out: Vec<LeftOut>,
    /// Processes that ended in an error.
    pub(crate) unclean: Vec<String>,
}

/// What it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    NothingLost,
    Lost,
    /// The load itself was in trouble.
    Hindered,
}

impl Verdict {
    pub(crate) fn exit_code(self) -> ExitCode {
        match self {
            Self::NothingLost => ExitCode::SUCCESS,
            Self::Lost => ExitCode::FAILURE,
            Self::Hindered => ExitCode::from(NO_LOAD),
        }
    }
}

impl Report {
    pub(crate) fn verdict(&self) -> Verdict {
        match (self.table.lost(), self.table.hindered()) {
            (1.., _) => Verdict::Lost,
            (0, 1..) => Verdict::Hindered,
            (0, 0) => Verdict::NothingLost,
        }
    }

    pub(crate) fn print(&self, as_json: bool) {
        if as_json { println!("{:#}", self.json()) } else { print!("{}", self.text()) }
    }

    fn json(&self) -> serde_json::Value {
        let took: Vec<f64> = self.took.iter().map(|took| took.as_secs_f64() * 1e3).collect();
        let left_out: Vec<_> = self.left_out.iter().map(|(what, why)| json!({ "what": what, "why": why })).collect();
        json!({
            "how": self.how,
            "lost": self.table.lost(),
            "nothing_lost": self.verdict() == Verdict::NothingLost,
            "requests": self.table.requests(),
            "requests_per_second": self.table.rate(),
            "restarts_took_ms": took,
            "left_out": left_out,
            "ended_in_error": self.unclean,
            "table": self.table,
        })
    }

    fn text(&self) -> String {
        let Self { how, table, .. } = self;
        let (requests, rate) = (table.requests(), table.rate());
        let longest = self.took.iter().max().copied().unwrap_or_default();
        let mut text = format!("{how}\n{requests} requests in {:.1} s, {rate:.0} a second", table.seconds);
        text += &format!("; longest restart {:.0} ms\n\n{table}\n", longest.as_secs_f64() * 1e3);
        for (what, why) in &self.left_out {
            text += &format!("{}\n", folded(&format!("left out: {what} ({why})"), "  "));
        }
        if let Some(first) = self.unclean.first() {
            text += &format!("note: {} processes ended in an error, the first with {first}\n", self.unclean.len());
        }
        text + &self.words()
    }

    /// The verdict and its reasons.
    fn words(&self) -> String {
        let Self { table, .. } = self;
        #[expect(clippy::cast_precision_loss, reason = "for people")]
        let each = table.lost() as f64 / table.restarts.max(1) as f64;
        let mut text = match self.verdict() {
            Verdict::NothingLost => return format!("nothing was lost in {} restarts\n", table.restarts),
            Verdict::Lost => format!("LOST: {} requests, {each:.1} in each restart\n", table.lost()),
            Verdict::Hindered => format!("NO VERDICT: {} requests could not be sent\n", table.hindered()),
        };
        let mut told = Vec::new();
        for loss in &table.losses {
            if told.len() == TOLD || told.contains(&(loss.kind, loss.ending)) {
                continue;
            }
            told.push((loss.kind, loss.ending));
            text += &format!("{}\n", folded(&format!("  {loss}"), "    "));
        }
        for hint in self.hints() {
            text += &format!("{}\n", folded(&format!("hint: {hint}"), "      "));
        }
        text
    }

    /// What each loss points at.
    fn hints(&self) -> Vec<&'static str> {
        let any = |is: fn(&evenkeel_load::Row) -> bool| self.table.rows.iter().any(is);
        let hints = [
            (any(|row| row.refused > 0), "refused: keep the listening socket open through a restart (--how held)"),
            (
                any(|row| row.reset > 0 || (row.kind == Kind::New && row.unanswered > 0)),
                "new connections: empty the accept queue before closing the socket, and wait for connections that have not \
                 sent their request yet",
            ),
            (
                any(|row| row.kind == Kind::KeepAlive && row.unanswered + row.raced > 0),
                "keep-alive: answer with `Connection: close` for a while before closing connections at rest",
            ),
            (
                any(|row| row.kind == Kind::Http2 && row.unanswered + row.raced > 0),
                "h2: send GOAWAY, keep serving for a while, then name the last stream in a second GOAWAY",
            ),
            (any(|row| row.kind == Kind::Events && row.cut_short > 0), "sse: end event streams when a stop begins"),
            (
                any(|row| row.kind != Kind::Events && row.cut_short > 0),
                "cut short: wait for answers in flight before exiting",
            ),
            (any(|row| row.timed_out > 0), "late: a restart takes longer than a request may (--timeout)"),
            (any(|row| row.bad > 0), "bad: an answer during a restart was not a proper one; start serving later"),
            (any(|row| row.hindered > 0), "ports or descriptors of this machine ran out: fewer --clients, or a --rate"),
        ];
        hints.into_iter().filter(|(is, _)| *is).map(|(_, hint)| hint).collect()
    }
}
