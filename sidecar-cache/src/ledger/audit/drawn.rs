//! Calls that were reserved from an allotment: what is charged for one without asking whether it is there, was taken out
//! of the allotment in the row before.

use super::raw::{Cover, Pledge, RawTransfer, Stage};
use super::{Auditor, Invariant, Part, hex};

/// What was taken out of an allotment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Drawn {
    org: String,
    allotment: [u8; 32],
    amount: i128,
}

// === impl Auditor ===

impl Auditor {
    /// A row that takes something out of an allotment.
    pub(super) fn draw(&mut self, row: &RawTransfer, allotment: [u8; 32]) {
        let amount = i128::from(row.amount);
        let Some(mut pledge) = self.holds.remove(&allotment) else {
            return self.not_once(row, "an allotment that has not ended", "draw");
        };
        let is_allotment = pledge.payee.starts_with("allotment:");
        match pledge.stage {
            Stage::Open if is_allotment => {
                self.paid(&pledge, &pledge.payee, Part::Cleared, amount);
            }
            Stage::Suspended { .. } if is_allotment => {
                self.gave_back(&pledge, "suspense", amount);
            }
            Stage::Open | Stage::Suspended { .. } | Stage::Returned => {
                self.not_once(row, "an allotment that has not ended", "draw");
            }
        }
        pledge.held = pledge.held.saturating_sub(amount);
        if pledge.held < 0 {
            let expected = "no more than the allotment holds".to_owned();
            let at = (&*row.org, &*hex(&allotment));
            self.breach(Invariant::NeverOverdrawn, at, expected, pledge.held.to_string());
        }
        self.holds.insert(allotment, pledge);
        self.just_drawn = Some(Drawn { org: row.org.clone(), allotment, amount });
    }

    /// What a new hold's money came from.
    pub(super) fn cover_of(&mut self, pledge: &Pledge, drawn: Option<Drawn>) -> Cover {
        let is_its =
            |drawn: &Drawn| drawn.org == pledge.org && Some(drawn.allotment) == pledge.drawn;
        match (pledge.drawn, drawn) {
            (_, Some(drawn)) if is_its(&drawn) => Cover::Drawn(drawn.amount),
            (from, drawn) => {
                self.not_followed(drawn);
                match from.map(|from| self.holds.get(&from).map(|of| of.stage)) {
                    None => Cover::Payer,
                    // There is something to take, and nothing was taken: nothing may be charged.
                    Some(Some(Stage::Open | Stage::Suspended { .. })) => Cover::Drawn(0),
                    Some(Some(Stage::Returned) | None) => Cover::Anew,
                }
            }
        }
    }

    /// A draw whose call does not follow.
    pub(super) fn not_followed(&mut self, drawn: Option<Drawn>) {
        if let Some(Drawn { org, allotment, amount }) = drawn {
            let (expected, found) = ("the hold of a call".to_owned(), format!("{amount} drawn"));
            self.breach(Invariant::EveryCallOnce, (&org, &hex(&allotment)), expected, found);
        }
    }

    /// A call that was drawn is charged no more than was, its overage apart.
    pub(super) fn must_be_drawn(&mut self, row: &RawTransfer, pledge: &Pledge) {
        let Cover::Drawn(most) = pledge.cover else { return };
        let amount = i128::from(row.amount);
        if ["post", "expire"].contains(&&*row.kind) && amount > most {
            let hold = hex(&row.hold.unwrap_or(row.id));
            let (expected, found) = (format!("{most} or less"), amount.to_string());
            self.breach(Invariant::NeverOverdrawn, (&row.org, &hold), expected, found);
        }
    }
}

// === impl Cover ===

impl Cover {
    /// The hold grows, by what who pays must have.
    pub(super) fn grow(&mut self, amount: i128) {
        match self {
            Self::Payer | Self::Anew => {}
            Self::Drawn(most) => *most = most.saturating_add(amount),
        }
    }
}
