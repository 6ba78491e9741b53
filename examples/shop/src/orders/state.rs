//! The states of an order, and what leads from one to the next.
//!
//! ```text
//! placed ──stock──> reserved ──money──> paid ──box──> packed
//!    │                  │
//!    └─ out of stock    └─ declined: the stock is released
//!    ▼                  ▼
//!                rejected
//! ```
//!
//! What an order does not expect in its state has been there before, or comes from nobody who may say so: it changes
//! nothing. That is how orders know a repetition.

use crate::events::Fact;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// It is on disk, and its client knows.
    Placed,
    /// Its stock is held for it.
    Reserved,
    Paid,
    Packed,
    Rejected,
}

impl State {
    pub(crate) const ALL: [Self; 5] = [Self::Placed, Self::Reserved, Self::Paid, Self::Packed, Self::Rejected];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Placed => "placed",
            Self::Reserved => "reserved",
            Self::Paid => "paid",
            Self::Packed => "packed",
            Self::Rejected => "rejected",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }

    /// Whether nothing more will happen to it.
    pub(crate) fn is_final(self) -> bool {
        matches!(self, Self::Packed | Self::Rejected)
    }
}

/// What an order does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Reserve {
        amount: i64,
    },
    Pay,
    Reject {
        reason: String,
    },
    /// It is rejected already; its stock has gone back.
    Release,
}

/// What follows for an order in this state.
pub(super) fn step(state: State, fact: &Fact) -> Option<Step> {
    Some(match (state, fact) {
        (State::Placed, Fact::StockReserved { amount }) => Step::Reserve { amount: *amount },
        (State::Placed, Fact::StockRefused { reason }) => Step::Reject { reason: reason.clone() },
        (State::Reserved, Fact::PaymentMade) => Step::Pay,
        (State::Reserved, Fact::PaymentDeclined { reason }) => Step::Reject { reason: reason.clone() },
        (State::Rejected, Fact::StockReleased) => Step::Release,
        _ => return None,
    })
}

impl Step {
    pub(super) fn leads_to(&self) -> State {
        match self {
            Self::Reserve { .. } => State::Reserved,
            Self::Pay => State::Paid,
            Self::Reject { .. } | Self::Release => State::Rejected,
        }
    }

    /// What others have to hear of it.
    pub(super) fn tells(&self, before: State) -> Option<Fact> {
        match self {
            Self::Reserve { amount } => Some(Fact::PaymentDue { amount: *amount }),
            // Its stock is held and must go back.
            Self::Reject { .. } if before == State::Reserved => Some(Fact::OrderRejected),
            Self::Reject { .. } | Self::Pay | Self::Release => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts() -> [Fact; 8] {
        let reason = || "no".to_owned();
        [
            Fact::OrderPlaced { item: "tea".to_owned(), quantity: 1 },
            Fact::PaymentDue { amount: 1 },
            Fact::OrderRejected,
            Fact::StockReserved { amount: 1 },
            Fact::StockRefused { reason: reason() },
            Fact::StockReleased,
            Fact::PaymentMade,
            Fact::PaymentDeclined { reason: reason() },
        ]
    }

    #[test]
    fn a_fact_that_comes_again_changes_nothing_r5_1a() {
        for state in State::ALL {
            for fact in facts() {
                let Some(done) = step(state, &fact) else { continue };
                // A release is noted once more, at the same order; that is all.
                let again = step(done.leads_to(), &fact);
                assert!(again.is_none() || again == Some(Step::Release), "{state:?} {fact:?}: {again:?}");
            }
        }
    }

    #[test]
    fn nothing_leads_back_and_what_is_final_stays() {
        let rank = |state| State::ALL.iter().position(|known| *known == state);
        for state in State::ALL {
            for fact in facts() {
                let Some(next) = step(state, &fact).map(|step| step.leads_to()) else { continue };
                assert!(rank(next) >= rank(state) && (!state.is_final() || next == state), "{state:?} {fact:?}");
            }
        }
    }

    #[test]
    fn stock_goes_back_only_where_it_was_held() {
        let declined = step(State::Reserved, &Fact::PaymentDeclined { reason: "no".to_owned() });
        assert_eq!(declined.and_then(|step| step.tells(State::Reserved)), Some(Fact::OrderRejected));
        let refused = step(State::Placed, &Fact::StockRefused { reason: "no".to_owned() });
        assert_eq!(refused.and_then(|step| step.tells(State::Placed)), None);
    }
}
