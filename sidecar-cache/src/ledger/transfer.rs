//! Transfers, the immutable rows that everything else follows from, and holds: what a pending transfer and the
//! rows that refer to it say together.

use kt_contract::hex::Digest;
use kt_contract::money::MicroUsd;
use kt_contract::time::UnixMillis;
use serde::{Deserialize, Serialize};

use super::account::{AccountName, Payer, Scope};
use super::id::TransferId;
use super::request::Purpose;
use super::window::Period;

/// What a transfer is. Rows say pending, post and void where the wire says reserve, settle and release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// From the bank into the wallet.
    Fund,
    /// Set aside.
    Pending,
    /// More set aside for the same hold.
    Extend,
    /// A hold ended at a cost.
    Post,
    /// What a call has cost beyond its hold.
    Overage,
    /// A hold ended without a cost.
    Void,
    /// A hold ended by time; its amount lies in suspense.
    Expire,
    /// A cost that became known after that.
    LatePost,
    /// What lay in suspense, given back because the call is known to have cost nothing.
    LateVoid,
    /// What lay in suspense, given back because nothing became known.
    Return,
    /// Given back of what was charged.
    Refund,
    /// A correction into the wallet.
    AdjustCredit,
    /// A correction out of it.
    AdjustDebit,
    /// From the wallet into the purse of a team.
    Allocate,
    /// Back from there.
    Deallocate,
    /// Taken out of an allotment for a call of its holder, whose own rows follow.
    Draw,
    /// What calls are counted as that passed without a sidecar.
    OpenCalls,
}

/// The note of a charge whose usage was counted here.
pub const ESTIMATED: &str = "estimated";

/// An immutable row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// Its id.
    pub id: TransferId,
    /// Whose book it stands in.
    pub org: String,
    /// What it is.
    pub kind: Kind,
    /// The hold that it refers to.
    pub hold: Option<TransferId>,
    /// The team whose purse it fills or empties.
    pub team: Option<String>,
    /// How much.
    pub amount: MicroUsd,
    /// When, by the ledger's clock.
    pub at: UnixMillis,
    /// Why, for people.
    pub note: String,
    /// What only a pending transfer has.
    pub terms: Option<Terms>,
}

/// What a hold was made for, as it stands in its row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terms {
    /// What for.
    pub purpose: Purpose,
    /// Who pays. Rows from before there were others are the wallet's.
    #[serde(default)]
    pub payer: Payer,
    /// The shard of the account that is paid.
    pub shard: u8,
    /// The most that the call can cost.
    pub cost_max: MicroUsd,
    /// The budgets that count it, in their order.
    pub charges: Vec<Charge>,
    /// The version of the prices.
    pub prices: String,
    /// The allotment that the money was set aside in before, for a call that was reserved from one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub drawn: Option<Digest>,
}

/// A budget that counts a hold, with the window that the hold was made in: it settles into that one, whenever
/// that is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Charge {
    /// Whose spending.
    pub scope: Scope,
    /// For how long.
    pub period: Period,
    /// Which day or month.
    pub window: String,
    /// When that ends.
    pub until: UnixMillis,
    /// What may be spent in it.
    pub limit: MicroUsd,
}

/// A hold: money set aside, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Its id.
    pub id: TransferId,
    /// Whose book it stands in.
    pub org: String,
    /// What was asked for at first.
    pub first: MicroUsd,
    /// What is, or was, set aside in all.
    pub held: MicroUsd,
    /// What has been given back of what was charged.
    pub refunded: MicroUsd,
    /// What it was made for.
    pub terms: Terms,
    /// What it is now.
    pub state: State,
}

/// What a hold is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Open until then.
    Open {
        /// When it may be expired.
        due_at: UnixMillis,
    },
    /// Ended at a cost.
    Settled {
        /// All of it, an overage included.
        actual: MicroUsd,
    },
    /// Ended without a cost.
    Released,
    /// Ended by time; its amount lies in suspense.
    Expired {
        /// When that may be returned.
        return_at: UnixMillis,
    },
    /// Returned from suspense for want of evidence, which may still come.
    Returned,
    /// Ended by time, and then at a cost.
    LateSettled {
        /// All of it.
        actual: MicroUsd,
    },
    /// Ended by time, and then without a cost.
    LateReleased,
}

// === impl Kind ===

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 17] = [
        Self::Fund,
        Self::Pending,
        Self::Extend,
        Self::Post,
        Self::Overage,
        Self::Void,
        Self::Expire,
        Self::LatePost,
        Self::LateVoid,
        Self::Return,
        Self::Refund,
        Self::AdjustCredit,
        Self::AdjustDebit,
        Self::Allocate,
        Self::Deallocate,
        Self::Draw,
        Self::OpenCalls,
    ];

    /// The word in rows.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fund => "fund",
            Self::Pending => "pending",
            Self::Extend => "extend",
            Self::Post => "post",
            Self::Overage => "overage",
            Self::Void => "void",
            Self::Expire => "expire",
            Self::LatePost => "late_post",
            Self::LateVoid => "late_void",
            Self::Return => "return",
            Self::Refund => "refund",
            Self::AdjustCredit => "adjust_credit",
            Self::AdjustDebit => "adjust_debit",
            Self::Allocate => "allocate",
            Self::Deallocate => "deallocate",
            Self::Draw => "draw",
            Self::OpenCalls => "open_calls",
        }
    }

    /// Whether it is something that a call is charged.
    #[must_use]
    pub const fn is_charge(self) -> bool {
        match self {
            Self::Post | Self::Overage | Self::LatePost => true,
            Self::Fund
            | Self::Pending
            | Self::Extend
            | Self::Void
            | Self::Expire
            | Self::LateVoid
            | Self::Return
            | Self::Refund
            | Self::AdjustCredit
            | Self::AdjustDebit
            | Self::Allocate
            | Self::Deallocate
            | Self::Draw
            | Self::OpenCalls => false,
        }
    }

    /// The kind of a row.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == word)
    }
}

// === impl Transfer ===

impl Transfer {
    /// Whether it is a charge whose usage was counted here. Other rows' notes are people's words.
    #[must_use]
    pub fn is_estimated(&self) -> bool {
        self.kind.is_charge() && self.note == ESTIMATED
    }
}

// === impl Terms ===

impl Terms {
    /// Who is paid.
    #[must_use]
    pub fn payee(&self) -> AccountName {
        match &self.purpose {
            Purpose::Call(call) => AccountName::Spend(call.provider.clone(), self.shard),
            Purpose::Allotment(holder) => AccountName::Allotment(holder.clone()),
        }
    }
}

// === impl Charge ===

impl Charge {
    /// The account that counts.
    #[must_use]
    pub fn account(&self) -> AccountName {
        AccountName::Budget(self.scope.clone(), self.period, self.window.clone())
    }
}

// === impl Hold ===

impl Hold {
    /// A hold as its rows tell it, in their order; nothing where they contradict each other. `next_at` is when
    /// something happens to it by itself, which changes without a row.
    #[must_use]
    pub fn from_rows(
        pending: Transfer,
        rows: &[Transfer],
        next_at: Option<UnixMillis>,
    ) -> Option<Self> {
        let at = next_at.unwrap_or_default();
        let mut hold = Self {
            id: pending.id,
            org: pending.org,
            first: pending.amount,
            held: pending.amount,
            refunded: MicroUsd::ZERO,
            terms: pending.terms?,
            state: State::Open { due_at: at },
        };
        for row in rows {
            hold.state = match (row.kind, hold.state) {
                (Kind::Extend, state) => {
                    hold.held = hold.held.checked_add(row.amount)?;
                    state
                }
                (Kind::Draw, state) => {
                    hold.held = hold.held.checked_sub(row.amount)?;
                    state
                }
                (Kind::Refund, state) => {
                    hold.refunded = hold.refunded.checked_add(row.amount)?;
                    state
                }
                (Kind::Post, _) => State::Settled { actual: row.amount },
                (Kind::LatePost, _) => State::LateSettled { actual: row.amount },
                (Kind::Overage, State::Settled { actual }) => {
                    State::Settled { actual: actual.checked_add(row.amount)? }
                }
                (Kind::Overage, State::LateSettled { actual }) => {
                    State::LateSettled { actual: actual.checked_add(row.amount)? }
                }
                (Kind::Void, _) => State::Released,
                (Kind::Expire, _) => State::Expired { return_at: at },
                (Kind::Return, _) => State::Returned,
                (Kind::LateVoid, _) => State::LateReleased,
                (
                    Kind::Overage
                    | Kind::Fund
                    | Kind::Pending
                    | Kind::AdjustCredit
                    | Kind::AdjustDebit
                    | Kind::Allocate
                    | Kind::Deallocate
                    | Kind::OpenCalls,
                    _,
                ) => return None,
            };
        }
        Some(hold)
    }

    /// What was charged, if anything was.
    #[must_use]
    pub const fn charged(&self) -> Option<MicroUsd> {
        match self.state {
            State::Settled { actual } | State::LateSettled { actual } => Some(actual),
            State::Open { .. }
            | State::Released
            | State::Expired { .. }
            | State::Returned
            | State::LateReleased => None,
        }
    }

    /// When something happens to it by itself.
    #[must_use]
    pub const fn next_at(&self) -> Option<UnixMillis> {
        match self.state {
            State::Open { due_at: at } | State::Expired { return_at: at } => Some(at),
            State::Settled { .. }
            | State::Released
            | State::Returned
            | State::LateSettled { .. }
            | State::LateReleased => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_read_from_the_word_that_it_is_written_as() {
        for kind in Kind::ALL {
            assert_eq!(Kind::from_word(kind.as_str()), Some(kind));
        }
        assert_eq!(Kind::from_word("postpone"), None);
    }

    #[test]
    fn a_hold_is_what_its_rows_make_of_it() {
        let row = |kind, amount| Transfer {
            id: TransferId::from_128([1; 16]),
            org: "acme".to_owned(),
            kind,
            hold: Some(TransferId::from_128([1; 16])),
            team: None,
            amount: MicroUsd::new(amount).unwrap(),
            at: UnixMillis(7),
            note: String::new(),
            terms: (kind == Kind::Pending).then(|| Terms {
                purpose: Purpose::Allotment("sidecar-a".to_owned()),
                payer: Payer::Wallet,
                shard: 0,
                cost_max: MicroUsd::ZERO,
                charges: Vec::new(),
                prices: "p".to_owned(),
                drawn: None,
            }),
        };
        let hold =
            |rows: &[Transfer]| Hold::from_rows(row(Kind::Pending, 10), rows, Some(UnixMillis(9)));
        let grown = hold(&[row(Kind::Extend, 5), row(Kind::Draw, 12)]).unwrap();
        assert_eq!((grown.first.micros(), grown.held.micros()), (10, 3));
        assert_eq!(grown.state, State::Open { due_at: UnixMillis(9) });
        assert_eq!(hold(&[row(Kind::Draw, 11)]), None, "more than was there");
        let settled = hold(&[row(Kind::Post, 10), row(Kind::Overage, 2)]).unwrap();
        assert_eq!(settled.charged(), MicroUsd::new(12).ok());
        assert_eq!(hold(&[row(Kind::Overage, 2)]), None, "it has not ended");
    }
}
