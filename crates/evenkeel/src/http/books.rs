//! What a server's stop says in the receipt: requests drained and cut off, and what was lost where.
//!
//! Policy: the server counts, and nobody else does. The figures are read from it whenever they are asked for: after an
//! orderly drain from its report; if the engine's limit came first, from what it was doing when it was cut off.

use std::sync::OnceLock;

use evenkeel_events::{CutConnection, Lost, LostOfRoute};
use evenkeel_http::{Counts, Doing, Held, Live, Outcome, Phase, Report};

use crate::scope::Books;

/// See the module documentation.
pub(super) struct Ledger {
    live: Live,
    /// How requests had ended when the drain began.
    before: OnceLock<Counts>,
    /// What it was doing when it was cut off.
    cut: OnceLock<Vec<Held>>,
    report: OnceLock<Report>,
}

impl Ledger {
    pub(super) fn new(live: Live) -> Self {
        Self { live, before: OnceLock::new(), cut: OnceLock::new(), report: OnceLock::new() }
    }

    /// From here on it is the stop that counts.
    pub(super) fn begin(&self) {
        self.before.get_or_init(|| self.live.counts());
    }

    pub(super) fn close(&self, report: Report) {
        let _ = self.report.set(report);
    }

    /// What has happened since the stop; nothing before it.
    fn during(&self) -> Option<Counts> {
        Some(self.live.counts().since(self.before.get()?))
    }

    fn cut_connections(&self) -> (Vec<&Held>, u64) {
        let (cut, more) = match (self.report.get(), self.cut.get()) {
            (Some(report), _) => (report.cut.as_slice(), report.cut_count - report.cut.len() as u64),
            (None, Some(cut)) => (cut.as_slice(), 0),
            (None, None) => (&[][..], 0),
        };
        let held: Vec<&Held> = cut.iter().filter(|held| is_loss(held)).collect();
        let count = held.len() as u64 + more;
        (held, count)
    }
}

/// Nothing is lost with a connection at rest.
fn is_loss(held: &Held) -> bool {
    !matches!(held.doing, Doing::Silent | Doing::Idle)
}

impl Books for Ledger {
    fn cut(&self) {
        self.begin();
        self.cut.get_or_init(|| self.live.holding());
        self.live.cut();
    }

    fn counts(&self) -> (u64, u64) {
        let during = self.during().unwrap_or_default();
        (during.of(Outcome::Answered), during.of(Outcome::Cut) + during.in_flight)
    }

    fn connections(&self) -> Vec<CutConnection> {
        self.live.holding().iter().map(in_words).collect()
    }

    fn lost(&self) -> Option<Box<Lost>> {
        let during = self.during()?;
        let by_route = during.routes.iter().filter_map(|(route, ended)| {
            let of = |outcome| ended.of(outcome);
            let (cut, raced, refused) = (of(Outcome::Cut), of(Outcome::Raced), of(Outcome::Refused));
            (cut + raced + refused > 0).then(|| LostOfRoute { route: route.clone(), cut, raced, refused })
        });
        let by_route: Vec<_> = by_route.collect();
        let (cut, cut_connections) = self.cut_connections();
        let is_any = !by_route.is_empty() || cut_connections > 0;
        is_any.then(|| Box::new(Lost { by_route, cut: cut.into_iter().map(in_words).collect(), cut_connections }))
    }
}

fn in_words(held: &Held) -> CutConnection {
    CutConnection {
        peer: held.peer.to_string(),
        doing: held.doing.name().to_owned(),
        for_ms: u64::try_from(held.since.as_millis()).unwrap_or(u64::MAX),
        routes: held.routes.clone(),
        bytes_in: held.bytes_in,
        bytes_out: held.bytes_out,
    }
}

/// The routes on which requests had to be cut off because the drain's limit came. What a route wants cut, or what broke a
/// limit of its own before, is not among them.
pub(super) fn stuck(report: &Report) -> Vec<String> {
    if report.phases.iter().all(|(phase, _)| *phase != Phase::Forcing) {
        return Vec::new();
    }
    let cut = report.during.routes.iter().filter(|(_, ended)| ended.of(Outcome::Cut) > 0);
    cut.map(|(route, ended)| format!("{} on {route}", ended.of(Outcome::Cut))).collect()
}
