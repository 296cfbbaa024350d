//! What can be asked of the ledger. Every operation says by an id what it is, so that asking again is harmless.

use kt_contract::money::MicroUsd;
use kt_contract::time::Millis;
use serde::{Deserialize, Deserializer, Serialize};

use super::account::Scope;
use super::id::TransferId;
use super::window::{Period, Zone};

/// One step of the ledger: all of it happens, or nothing.
#[derive(Clone, Debug)]
pub enum Operation {
    /// Puts money into a wallet.
    Fund(Fund),
    /// Sets money aside for an upstream call, or for another sidecar.
    Reserve(Reserve),
    /// Lets a hold grow, or live longer.
    Extend(Extend),
    /// Ends a hold at what its call has cost.
    Settle {
        /// The hold.
        hold: TransferId,
        /// The cost.
        actual: MicroUsd,
        /// Whether its usage was counted here, because the provider has not told all of it.
        estimated: bool,
    },
    /// Ends a hold whose call has cost nothing.
    Release {
        /// The hold.
        hold: TransferId,
    },
    /// Ends a hold whose time is over: what it held goes to suspense.
    Expire {
        /// The hold.
        hold: TransferId,
    },
    /// Takes from suspense what an expired hold's call has cost after all.
    LateSettle {
        /// The hold.
        hold: TransferId,
        /// The cost.
        actual: MicroUsd,
        /// As for a settle.
        estimated: bool,
    },
    /// Gives back what lies in suspense, where no evidence has come for a day.
    Return {
        /// The hold.
        hold: TransferId,
    },
    /// Gives back something of what a call was charged.
    Refund(Refund),
    /// Corrects a wallet by hand.
    Adjust(Adjust),
    /// Moves money between a wallet and the purse of a team.
    Allocate(Allocate),
    /// Books a call that was reserved from an allotment.
    Draw(Draw),
    /// Pays for calls that passed without a sidecar.
    OpenCalls(OpenCalls),
}

/// Money for a wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fund {
    /// The transfer's id.
    pub id: TransferId,
    /// Whose wallet.
    pub org: String,
    /// How much; more than nothing.
    pub amount: MicroUsd,
    /// Why, for people.
    pub note: String,
}

/// Money to be set aside.
#[derive(Clone, Debug, PartialEq)]
pub struct Reserve {
    /// The hold's id.
    pub id: TransferId,
    /// Whose wallet.
    pub org: String,
    /// Whether somebody has paid in advance.
    pub funding: Funding,
    /// The caller's team, which pays from its own purse if it has one.
    pub team: Option<String>,
    /// What for.
    pub purpose: Purpose,
    /// How much.
    pub amount: MicroUsd,
    /// The most that the call can cost, for the bound of what a wallet may fall short of.
    pub cost_max: MicroUsd,
    /// How long it lives unless it is extended.
    pub ttl: Millis,
    /// The budgets that it falls under.
    pub budgets: Vec<Budget>,
    /// Where a day begins.
    pub zone: Zone,
    /// The version of the prices that it was computed with, and that it settles by.
    pub prices: String,
}

/// Whether calls are paid for in advance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Funding {
    /// The wallet has to have it, or the team's purse.
    Prepaid,
    /// There is no wallet: only budgets bound what is spent.
    Postpaid,
}

/// What money is set aside for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// A call of a provider.
    Call(#[serde(deserialize_with = "read_call")] CallOf),
    /// An allotment, by its holder's name.
    Allotment(String),
}

/// Whose call, and of what: what a charge is filed under. It stands in the row of the hold, so that a bill needs no
/// other source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallOf {
    /// The provider that is paid, by its name.
    pub provider: String,
    /// The model that was asked for; none in rows from before calls had one.
    #[serde(default)]
    pub model: String,
    /// The caller's team.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// The caller.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The agent that calls for them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<String>,
    /// The codebase that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub codebase: Option<String>,
    /// The public name of the gateway key.
    #[serde(default)]
    pub key_id: String,
    /// The request, as logs name it.
    #[serde(default)]
    pub request_id: String,
}

/// What one scope may spend in one window.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Whose spending.
    pub scope: Scope,
    /// For how long.
    pub period: Period,
    /// How much.
    pub limit: MicroUsd,
}

/// A call that its sidecar has reserved from an allotment, in its own memory: its money is taken out of the allotment,
/// and its own hold made and ended, in one step. It is no question, for the call was made: who is short of money, frozen
/// or set back is not asked.
#[derive(Clone, Debug, PartialEq)]
pub struct Draw {
    /// The allotment.
    pub allotment: TransferId,
    /// What was set aside for the call, under no budget.
    pub reserve: Reserve,
    /// How the call has ended; `None`: it goes on, with a hold like any other.
    pub end: Option<DrawnEnd>,
}

/// How a call has ended that was reserved from an allotment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DrawnEnd {
    /// It has cost so much.
    Settle {
        /// The cost.
        actual: MicroUsd,
        /// As for a settle.
        estimated: bool,
    },
    /// It has cost nothing.
    Release,
}

/// More for a hold: more money, more time, or both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extend {
    /// The hold.
    pub hold: TransferId,
    /// What it shall hold in all. A hold that holds as much already stays as it is.
    pub total: MicroUsd,
    /// How long it lives from now on, if that is longer than it does anyway.
    pub ttl: Millis,
}

/// Something of a charge, to be given back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refund {
    /// The transfer's id.
    pub id: TransferId,
    /// The hold whose call was charged.
    pub hold: TransferId,
    /// How much; all refunds together give back no more than was charged.
    pub amount: MicroUsd,
    /// Why, for people.
    pub note: String,
}

/// A correction by hand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adjust {
    /// The transfer's id.
    pub id: TransferId,
    /// Whose wallet.
    pub org: String,
    /// How much; more than nothing.
    pub amount: MicroUsd,
    /// To the wallet, or from it.
    pub direction: Direction,
    /// Why, for people.
    pub note: String,
}

/// Money for the purse of a team, or back from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocate {
    /// The transfer's id.
    pub id: TransferId,
    /// Whose wallet.
    pub org: String,
    /// Whose purse.
    pub team: String,
    /// How much; more than nothing.
    pub amount: MicroUsd,
    /// Into the purse, or out of it.
    pub direction: Direction,
    /// Why, for people.
    pub note: String,
}

/// Calls that a gateway has let pass while it had no sidecar: they are made, so that they are paid whatever is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenCalls {
    /// The transfer's id.
    pub id: TransferId,
    /// Whose wallet.
    pub org: String,
    /// What they are counted as; more than nothing.
    pub amount: MicroUsd,
    /// How many, and at which gateway, for people.
    pub note: String,
}

/// Which way a movement by hand goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Into the wallet that is corrected, or the purse that is filled.
    Credit,
    /// Out of it.
    Debit,
}

// === impl Draw ===

impl Draw {
    /// How much it takes out of its allotment, as long as that holds as much: no more than the call has cost, once it
    /// has ended.
    #[must_use]
    pub fn taken(&self) -> MicroUsd {
        match self.end {
            None => self.reserve.amount,
            Some(DrawnEnd::Settle { actual, .. }) => self.reserve.amount.min(actual),
            Some(DrawnEnd::Release) => MicroUsd::ZERO,
        }
    }
}

// === impl CallOf ===

/// Rows from before have the name of the provider and nothing else.
fn read_call<'de, D: Deserializer<'de>>(row: D) -> Result<CallOf, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Row {
        Provider(String),
        Call(CallOf),
    }
    Ok(match Row::deserialize(row)? {
        Row::Provider(provider) => CallOf { provider, ..CallOf::default() },
        Row::Call(call) => call,
    })
}

// === impl Operation ===

impl Operation {
    /// Whether it ends a call that has cost nothing.
    #[must_use]
    pub const fn is_release(&self) -> bool {
        matches!(self, Self::Release { .. } | Self::Draw(Draw { end: Some(DrawnEnd::Release), .. }))
    }

    /// Whose book it names. What is done to a hold stands in the book that the hold is in.
    #[must_use]
    pub fn org(&self) -> Option<&str> {
        match self {
            Self::Fund(asked) => Some(&asked.org),
            Self::Adjust(asked) => Some(&asked.org),
            Self::Allocate(asked) => Some(&asked.org),
            Self::OpenCalls(asked) => Some(&asked.org),
            Self::Reserve(asked) => Some(&asked.org),
            Self::Draw(asked) => Some(&asked.reserve.org),
            Self::Extend(_)
            | Self::Refund(_)
            | Self::Settle { .. }
            | Self::LateSettle { .. }
            | Self::Release { .. }
            | Self::Expire { .. }
            | Self::Return { .. } => None,
        }
    }

    /// The hold that it does something to.
    #[must_use]
    pub const fn hold(&self) -> Option<TransferId> {
        match self {
            Self::Extend(asked) => Some(asked.hold),
            Self::Refund(asked) => Some(asked.hold),
            Self::Draw(asked) => Some(asked.allotment),
            Self::Settle { hold, .. }
            | Self::LateSettle { hold, .. }
            | Self::Release { hold }
            | Self::Expire { hold }
            | Self::Return { hold } => Some(*hold),
            Self::Fund(_)
            | Self::Adjust(_)
            | Self::Allocate(_)
            | Self::OpenCalls(_)
            | Self::Reserve(_) => None,
        }
    }

    /// The id that it has chosen for what it makes.
    #[must_use]
    pub const fn id(&self) -> Option<TransferId> {
        match self {
            Self::Fund(asked) => Some(asked.id),
            Self::Adjust(asked) => Some(asked.id),
            Self::Allocate(asked) => Some(asked.id),
            Self::OpenCalls(asked) => Some(asked.id),
            Self::Reserve(asked) => Some(asked.id),
            Self::Draw(asked) => Some(asked.reserve.id),
            Self::Refund(asked) => Some(asked.id),
            Self::Extend(_)
            | Self::Settle { .. }
            | Self::LateSettle { .. }
            | Self::Release { .. }
            | Self::Expire { .. }
            | Self::Return { .. } => None,
        }
    }

    /// Whether it is part of a call that already runs or has run, or gives money back: what has to work while the disk
    /// has little room left.
    #[must_use]
    pub const fn is_ending(&self) -> bool {
        match self {
            Self::Settle { .. }
            | Self::Release { .. }
            | Self::Expire { .. }
            | Self::LateSettle { .. }
            | Self::Return { .. }
            | Self::Draw(_)
            | Self::OpenCalls(_) => true,
            Self::Fund(_)
            | Self::Reserve(_)
            | Self::Extend(_)
            | Self::Refund(_)
            | Self::Adjust(_)
            | Self::Allocate(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_that_ends_a_call_names_its_hold_and_one_that_makes_something_what_it_makes() {
        let id = TransferId::from_128([7; 16]);
        let (org, note, amount) = ("acme".to_owned(), String::new(), MicroUsd::ZERO);
        let fund = Fund { id, org: org.clone(), amount, note: note.clone() };
        let open = OpenCalls { id, org, amount, note };
        let rows = [
            (Operation::Fund(fund), Some(id), false),
            (Operation::OpenCalls(open), Some(id), true),
            (Operation::Settle { hold: id, actual: amount, estimated: false }, None, true),
            (Operation::Release { hold: id }, None, true),
            (Operation::Extend(Extend { hold: id, total: amount, ttl: Millis(0) }), None, false),
        ];
        for (operation, made, is_ending) in rows {
            assert_eq!((operation.id(), operation.is_ending()), (made, is_ending), "{operation:?}");
        }
    }

    #[test]
    fn a_call_is_written_without_what_it_has_not_and_read_back() {
        let bare = CallOf {
            provider: "openai".to_owned(),
            model: "gpt-5".to_owned(),
            key_id: "gk_1".to_owned(),
            request_id: "ab12".to_owned(),
            ..CallOf::default()
        };
        let whole = CallOf {
            team: Some("web".to_owned()),
            user: Some("ada".to_owned()),
            agent: Some("bot".to_owned()),
            codebase: Some("shop".to_owned()),
            ..bare.clone()
        };
        for (call, text) in [
            (
                bare,
                r#"{"call":{"provider":"openai","model":"gpt-5","key_id":"gk_1","request_id":"ab12"}}"#,
            ),
            (
                whole,
                r#"{"call":{"provider":"openai","model":"gpt-5","team":"web","user":"ada","agent":"bot","codebase":"shop","key_id":"gk_1","request_id":"ab12"}}"#,
            ),
        ] {
            let purpose = Purpose::Call(call);
            assert_eq!(serde_json::to_string(&purpose).unwrap(), text);
            assert_eq!(serde_json::from_str::<Purpose>(text).unwrap(), purpose);
        }
    }

    #[test]
    fn an_operation_names_a_book_or_a_hold() {
        let (id, org) = (TransferId::from_128([1; 16]), "acme".to_owned());
        let fund = Operation::Fund(Fund { id, org, amount: MicroUsd::MAX, note: String::new() });
        let release = Operation::Release { hold: id };
        assert_eq!((fund.org(), fund.hold()), (Some("acme"), None));
        assert_eq!((release.org(), release.hold()), (None, Some(id)));
    }

    #[test]
    fn a_row_that_has_only_the_provider_is_still_read() {
        let call = CallOf { provider: "openai".to_owned(), ..CallOf::default() };
        let read = |text| serde_json::from_str::<Purpose>(text).ok();
        assert_eq!(read(r#"{"call":"openai"}"#), Some(Purpose::Call(call)));
        let allotment = Purpose::Allotment("sidecar-b".to_owned());
        assert_eq!(read(r#"{"allotment":"sidecar-b"}"#), Some(allotment));
        for bad in [r#"{"call":7}"#, r#"{"call":{"model":"gpt-5"}}"#, r#""call""#] {
            assert_eq!(read(bad), None, "{bad}");
        }
    }
}
