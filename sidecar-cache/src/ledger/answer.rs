//! What the ledger answers: a receipt, or the rule that refuses. A retry is no error.

use kt_contract::money::MicroUsd;
use kt_contract::time::UnixMillis;

use super::account::{Payer, Scope};
use super::transfer::{Charge, Kind};
use super::window::Period;

/// What was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Whether it was done now.
    pub made: Made,
    /// As what it stands in the book: a settle that came too late is a late one.
    pub kind: Kind,
    /// The amount that it stands there with, an overage included.
    pub amount: MicroUsd,
}

/// Whether something was done now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Made {
    /// Now.
    Created,
    /// Before: this was a retry.
    Exists,
}

/// Why something is not done. In the order in which the rules are asked; the first that refuses is the answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The id is another operation's.
    #[error("this id belongs to a transfer with other fields")]
    ExistsDifferent,
    /// The amount is none, or an account would count beyond what it can.
    #[error("the amount is nothing, or more than can be counted")]
    BadAmount,
    /// There is no such hold.
    #[error("there is no such hold")]
    NotFound,
    /// The hold has ended at a cost, and not at this one.
    #[error("the hold was settled, for another amount or by another operation")]
    AlreadySettled,
    /// The hold has ended without a cost.
    #[error("the hold was released")]
    AlreadyReleased,
    /// It is not time yet.
    #[error("the hold is not due")]
    NotDue,
    /// The hold is open: it can be settled as any other.
    #[error("the hold has not expired")]
    NotExpired,
    /// The hold has expired and cannot grow.
    #[error("the hold has expired")]
    Expired,
    /// The hold has no cost that something could be given back of.
    #[error("nothing was charged")]
    NotSettled,
    /// More would be given back than was charged.
    #[error("the refunds would be more than the charge")]
    ExceedsCharge,
    /// The wallet is frozen until a person has looked at it.
    #[error("the wallet is frozen until somebody unfreezes it")]
    Frozen,
    /// The store does not know what time it is.
    #[error("the clock was set back; nothing is reserved until it has caught up")]
    ClockSetBack,
    /// Somebody has not got as much.
    #[error("insufficient {0}")]
    Insufficient(Short),
}

/// Who has not got as much. Who pays is asked before the budgets, and those in their order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Short {
    /// The organization's wallet.
    Wallet,
    /// The purse of a team.
    Team(String),
    /// A budget.
    Budget {
        /// Whose spending.
        scope: Scope,
        /// In a day or in a month.
        period: Period,
        /// When the next window begins.
        until: UnixMillis,
    },
}

// === impl Refused ===

impl Refused {
    /// The code in replies, logs and metrics.
    #[must_use]
    pub fn code(&self) -> String {
        let fixed = match self {
            Self::Insufficient(short) => return format!("insufficient:{short}"),
            Self::ExistsDifferent => "exists_different",
            Self::BadAmount => "bad_amount",
            Self::NotFound => "not_found",
            Self::AlreadySettled => "already_settled",
            Self::AlreadyReleased => "already_released",
            Self::NotDue => "not_due",
            Self::NotExpired => "not_expired",
            Self::Expired => "expired",
            Self::NotSettled => "not_settled",
            Self::ExceedsCharge => "exceeds_charge",
            Self::Frozen => "frozen",
            Self::ClockSetBack => "clock_set_back",
        };
        fixed.to_owned()
    }
}

// === impl Short ===

impl Short {
    /// Who is short where this one pays; nobody where it always has enough.
    #[must_use]
    pub fn of_payer(payer: &Payer) -> Option<Self> {
        match payer {
            Payer::Wallet => Some(Self::Wallet),
            Payer::Team(name) => Some(Self::Team(name.clone())),
            Payer::Bank => None,
        }
    }

    /// The budget of a charge.
    #[must_use]
    pub fn of_budget(charge: &Charge) -> Self {
        Self::Budget { scope: charge.scope.clone(), period: charge.period, until: charge.until }
    }
}

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Wallet => f.write_str("wallet"),
            // `team:` is the budget of a team.
            Self::Team(name) => write!(f, "purse:{name}"),
            Self::Budget { scope, .. } => scope.fmt(f),
        }
    }
}
