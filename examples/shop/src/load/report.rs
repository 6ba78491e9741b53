//! What a load says at its end.

use std::{
    collections::{BTreeMap, HashMap},
    fmt::Write as _,
    time::Duration,
};

use super::{
    Load, Sent,
    audit::{Audit, Found},
    clients::{Fate, key},
    item, quantity,
};
use crate::store::Choice;

/// What became of the orders.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Orders that were found, by what their clients know.
    acknowledged: usize,
    refused: usize,
    unknown: usize,
    /// Acknowledged, but not there.
    missing: usize,
    /// There more than once.
    duplicated: usize,
    /// Acknowledged, but there with another content or id, or read as another.
    changed: usize,
    /// Acknowledged, and not at its end.
    unsettled: usize,
    /// Whether they had the chance to come to their end: the shop was there.
    must_settle: bool,
    audit: Audit,
}

impl Verdict {
    pub(super) fn of(
        load: &Load,
        run: &str,
        found: &HashMap<String, Vec<Found>>,
        audit: Audit,
        must_settle: bool,
    ) -> Self {
        let mut verdict = Self { changed: load.misread, must_settle, audit, ..Self::default() };
        for order in &load.sent {
            let rows = found.get(&key(run, order.number)).map_or(&[][..], Vec::as_slice);
            verdict.duplicated += usize::from(rows.len() > 1);
            match order.fate {
                Fate::Acknowledged(id) => verdict.judge(order, id, rows),
                Fate::Refused(_) => verdict.refused += rows.len(),
                Fate::Unknown(_) => verdict.unknown += rows.len(),
            }
        }
        verdict
    }

    fn judge(&mut self, order: &Sent, id: i64, rows: &[Found]) {
        let (item, quantity) = (item(order.number), i64::from(quantity(order.number)));
        let is_it = |row: &&Found| row.id == id && row.item == item && row.quantity == quantity;
        match rows.iter().find(is_it) {
            None if rows.is_empty() => self.missing += 1,
            None => {
                self.acknowledged += 1;
                self.changed += 1;
            }
            Some(row) => {
                self.acknowledged += 1;
                self.unsettled += usize::from(!row.is_final);
            }
        }
    }

    pub(super) fn wrong(&self) -> i64 {
        let unsettled = if self.must_settle { self.unsettled } else { 0 };
        let wrong = self.missing + self.duplicated + self.changed + unsettled;
        self.audit.wrong() + i64::try_from(wrong).unwrap_or(i64::MAX)
    }
}

/// Lines of a name, a number and what it means; none is longer than 80 columns but for what a person chose.
#[derive(Default)]
struct Lines(String);

impl Lines {
    fn add(&mut self, what: &str, count: impl std::fmt::Display, note: &str) {
        // Writing to a `String` cannot fail.
        let _ = writeln!(self.0, "{}", format!("{what:<14} {count:>8}   {note}").trim_end());
    }
}

pub(super) fn table(load: &Load, verdict: &Verdict, choice: &Choice) -> String {
    let mut answered: Vec<Duration> = Vec::new();
    let (mut refused, mut unknown, mut kinds) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut last = Duration::ZERO;
    for order in &load.sent {
        match order.fate {
            Fate::Acknowledged(_) => {
                answered.push(order.took);
                last = last.max(order.at);
                *kinds.entry(order.kind.name()).or_insert(0_usize) += 1;
            }
            Fate::Refused(why) => *refused.entry(why).or_insert(0_usize) += 1,
            Fate::Unknown(why) => *unknown.entry(format!("{why} ({})", order.kind.name())).or_insert(0_usize) += 1,
        }
    }
    answered.sort_unstable();
    let nth = |percent: usize| {
        let found = answered.get(answered.len().saturating_sub(1) * percent / 100);
        found.copied().unwrap_or_default().as_secs_f64() * 1000.0
    };
    let took = load.sent.iter().map(|order| order.at).max().unwrap_or_default().as_secs_f64();
    // While the shop was there: after its end nothing can be acknowledged.
    let rate = if last.is_zero() { 0.0 } else { answered.len() as f64 / last.as_secs_f64() };

    let mut lines = Lines::default();
    let over = if kinds.len() > 1 { format!(": {}", listed(&kinds)) } else { String::new() };
    lines.add("sent", load.sent.len(), &format!("in {took:.2} s{over}"));
    let speed = format!("{rate:.0} a second; median {:.1} ms, 99 % within {:.1} ms", nth(50), nth(99));
    lines.add("acknowledged", answered.len(), &speed);
    lines.add("refused", refused.values().sum::<usize>(), &listed(&refused));
    lines.add("unknown", unknown.values().sum::<usize>(), &listed(&unknown));
    if load.reads > 0 {
        lines.add("looked at", load.reads, "orders that were acknowledged");
    }
    let Verdict { acknowledged, unknown, refused, missing, duplicated, changed, .. } = *verdict;
    let extra = if refused > 0 { format!(", {refused} refused") } else { String::new() };
    let note = format!("in {choice}: {acknowledged} acknowledged, {unknown} unknown{extra}");
    lines.add("found", acknowledged + unknown + refused, &note);
    lines.add("missing", missing, "acknowledged, but not there");
    lines.add("duplicated", duplicated, "there more than once");
    lines.add("changed", changed, "acknowledged, but there with another content");
    let note = if verdict.must_settle { "not packed or rejected" } else { "to be packed after the next start" };
    lines.add("unsettled", verdict.unsettled, note);
    lines.0 + &agreement(&verdict.audit)
}

fn listed<K: std::fmt::Display>(kinds: &BTreeMap<K, usize>) -> String {
    kinds.iter().map(|(why, count)| format!("{why} {count}")).collect::<Vec<_>>().join(", ")
}

/// How the tables of the services agree.
fn agreement(audit: &Audit) -> String {
    let mut lines = Lines::default();
    lines.add("charged twice", audit.charged_twice, "in the book of the payment provider");
    lines.add("wrong payment", audit.payments, "paid and not charged, or charged and rejected");
    lines.add("wrong stock", audit.stock + audit.reservations, "received, on hand and held do not agree");
    lines.0
}

pub(super) fn audited(audit: &Audit) -> String {
    let mut lines = Lines::default();
    lines.add("orders", audit.orders, "");
    lines.add("under way", audit.open, "not packed or rejected");
    lines.0 + &agreement(audit)
}

#[cfg(test)]
mod tests {
    use super::{super::clients::Kind, *};

    fn load(fates: Vec<Fate>) -> Load {
        let sent = fates.into_iter().enumerate().map(|(number, fate)| Sent {
            number,
            kind: Kind::Kept,
            fate,
            took: Duration::ZERO,
            at: Duration::ZERO,
        });
        Load { sent: sent.collect(), ..Load::default() }
    }

    fn row(number: usize, ids: &[i64]) -> (String, Vec<Found>) {
        let found = |id: &i64| Found {
            id: *id,
            item: item(number).to_owned(),
            quantity: i64::from(quantity(number)),
            is_final: true,
        };
        (key("run", number), ids.iter().map(found).collect())
    }

    #[test]
    fn what_is_missing_duplicated_changed_or_unsettled_is_found() {
        let load = load((0..5).map(Fate::Acknowledged).collect());
        let mut found = HashMap::from([row(0, &[0]), row(1, &[1, 9]), row(2, &[2]), row(4, &[4])]);
        if let Some(rows) = found.get_mut(&key("run", 2)) {
            rows[0].quantity = 77;
        }
        if let Some(rows) = found.get_mut(&key("run", 4)) {
            rows[0].is_final = false;
        }
        let verdict = Verdict::of(&load, "run", &found, Audit::default(), true);
        assert_eq!((verdict.acknowledged, verdict.missing, verdict.duplicated, verdict.changed), (4, 1, 1, 1));
        assert_eq!((verdict.unsettled, verdict.wrong()), (1, 4));
        let stopped = Verdict::of(&load, "run", &found, Audit::default(), false);
        assert_eq!(stopped.wrong(), 3, "an order that a stop has left is no defect");
    }

    #[test]
    fn an_order_without_an_answer_may_be_there_or_not_but_not_twice() {
        let load = load((0..3).map(|_| Fate::Unknown("reset")).collect());
        let found = HashMap::from([row(0, &[1]), row(2, &[2, 3])]);
        let verdict = Verdict::of(&load, "run", &found, Audit::default(), true);
        assert_eq!((verdict.unknown, verdict.wrong(), verdict.duplicated), (3, 1, 1));
    }

    #[test]
    fn no_line_is_longer_than_80_columns() {
        let mut load = load((0..3).map(Fate::Acknowledged).collect());
        load.sent.extend(self::load(vec![Fate::Refused("connection refused"), Fate::Unknown("unanswered")]).sent);
        load.reads = 3;
        let verdict = Verdict { acknowledged: 9_999_999, unknown: 99_999, ..Verdict::default() };
        let text = table(&load, &verdict, &Choice::default());
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    }
}
