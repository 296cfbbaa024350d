//! Wallets on the admin socket: how one stands, what moves money in and out of it, and what its ledger says.
//!
//! An amount is a whole number of micro-US-dollars and nothing else; the fields that hold one end in
//! `_micro_usd`. Whoever moves money says with a header, [`IDEMPOTENCY_KEY`], which movement it is: asked again
//! with the same key it is answered again, and not made again.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::hex::Digest;
use crate::money::MicroUsd;
use crate::time::UnixMillis;

/// The header that tells one movement of money from another.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// The most characters that it may have.
pub const IDEMPOTENCY_KEY_CHARS_MAX: usize = crate::idempotency::KEY_BYTES_MAX;
/// The most characters of a note or a reason.
pub const NOTE_CHARS_MAX: usize = 500;
/// The most transfers in one answer.
pub const TRANSFERS_MAX: usize = 1_000;

/// An amount that is moved: more than nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount(MicroUsd);

/// The body of `POST /v1/wallet/{org}/fund`: money that has come from outside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct FundRequest {
    /// How much.
    pub amount_micro_usd: Amount,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// The body of `POST /v1/wallet/{org}/adjust`: a correction by hand, never to below what is available.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct AdjustRequest {
    /// How much.
    pub amount_micro_usd: Amount,
    /// Into the wallet, or out of it.
    pub direction: Direction,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// Which way money goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub enum Direction {
    /// Into the wallet that is corrected, or the purse that is filled.
    Credit,
    /// Out of it.
    Debit,
}

/// The body of `POST /v1/wallet/{org}/allocate`: money for the purse of a team, or back from it, never more than is
/// available where it comes from. A team that was ever given a purse pays its calls from it alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct AllocateRequest {
    /// Whose purse.
    pub team: String,
    /// How much.
    pub amount_micro_usd: Amount,
    /// Into the purse, or out of it.
    pub direction: Direction,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// The body of `POST /v1/wallet/{org}/refund`: something of what a call was charged, given back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct RefundRequest {
    /// The hold whose call was charged.
    pub hold: Digest,
    /// How much. All refunds together give back no more than was charged.
    pub amount_micro_usd: Amount,
    /// Why, for people.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

/// The answer to what moves money.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct TransferReply {
    /// Whether it was done now; `false` where the same was asked for before.
    pub created: bool,
    /// The id of the transfer, which follows from the organization, the operation and the key.
    pub id: Digest,
    /// As what it stands in the ledger.
    pub kind: String,
    /// How much.
    pub amount_micro_usd: u64,
}

/// The body of `POST /v1/wallet/{org}/freeze`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct FreezeRequest {
    /// Why, for the person who finds it frozen.
    pub reason: String,
}

/// The answer to `POST /v1/wallet/{org}/freeze` and `…/unfreeze`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct FrozenReply {
    /// Whose wallet.
    pub org: String,
    /// Since when it is frozen, and why; absent where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<FrozenSince>,
}

/// That a wallet is frozen: nothing is reserved from it, what runs still ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct FrozenSince {
    /// Since when, in milliseconds since the Unix epoch.
    pub since: UnixMillis,
    /// Why.
    pub reason: String,
}

/// The answer to `GET /v1/wallet/{org}`: how an organization stands. A wallet that nobody has funded is empty.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct BalanceReply {
    /// Whose wallet.
    pub org: String,
    /// Whether calls are made only while it has the money for them. Where only budgets are configured it is not
    /// asked, and only counts.
    pub is_prepaid: bool,
    /// What can be reserved: what is posted less what is pending. Below zero after calls that cost more than
    /// they had reserved.
    pub available_micro_usd: i64,
    /// What came in less what went out.
    pub posted_micro_usd: i64,
    /// What is set aside for calls that run.
    pub pending_micro_usd: u64,
    /// What was set aside for calls of which nobody knows the end.
    pub suspense_micro_usd: u64,
    /// How far calls that run can take the wallet below what is available, if each costs the most that it can.
    pub shortfall_max_micro_usd: u64,
    /// Since when it is frozen, and why; absent where it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub frozen: Option<FrozenSince>,
    /// The purses of its teams. What is in them is no part of the above.
    #[serde(default)]
    pub purses: Vec<PurseEntry>,
    /// Its budgets, as far as they are spent in the day or month that is now.
    #[serde(default)]
    pub budgets: Vec<BudgetEntry>,
}

/// How the purse of a team stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct PurseEntry {
    /// Whose purse.
    pub team: String,
    /// As for the wallet.
    pub available_micro_usd: i64,
    /// As for the wallet.
    pub posted_micro_usd: i64,
    /// As for the wallet.
    pub pending_micro_usd: u64,
}

/// How much of a budget is spent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct BudgetEntry {
    /// Whose: `org`, `team:NAME`, `user:NAME`, `pack:NAME`.
    pub scope: String,
    /// `daily` or `monthly`.
    pub period: String,
    /// Which day or month.
    pub window: String,
    /// When the next one begins, in milliseconds since the Unix epoch.
    pub until: UnixMillis,
    /// How much may be spent in it.
    pub limit_micro_usd: u64,
    /// How much is, what lies in suspense included.
    pub spent_micro_usd: u64,
    /// How much is set aside for calls that run.
    pub pending_micro_usd: u64,
}

/// The answer to `GET /v1/wallet/{org}/holds`: what is set aside, the next to end by itself first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct HoldsReply {
    /// The holds: 1000 at most.
    pub holds: Vec<HoldEntry>,
    /// How many there are.
    pub total: u64,
}

/// Money that is set aside.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct HoldEntry {
    /// Its id.
    pub id: Digest,
    /// What it is.
    pub state: HoldState,
    /// How much is set aside.
    pub held_micro_usd: u64,
    /// When it expires, or comes back from suspense, in milliseconds since the Unix epoch.
    pub until: UnixMillis,
    /// What it is for.
    pub terms: TermsEntry,
}

/// What a hold is that has not ended for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub enum HoldState {
    /// Its call runs.
    Open,
    /// It has expired; nobody knows what its call has cost.
    Suspended,
}

/// What money was set aside for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct TermsEntry {
    /// The call, where it is for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<CallEntry>,
    /// The sidecar, where it is for one that spends on its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub allotment: Option<String>,
    /// Who pays: `wallet`, `team:NAME`, or `bank` where nobody has paid in advance.
    pub payer: String,
    /// The most that it can cost.
    pub cost_max_micro_usd: u64,
    /// The version of the prices.
    pub prices: String,
    /// The budgets that count it, as accounts of the ledger.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub budgets: Vec<String>,
}

/// Whose call, and of what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct CallEntry {
    /// The provider that is paid.
    pub provider: String,
    /// The model that was asked for.
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
    pub key_id: String,
    /// The request, as logs name it.
    pub request_id: String,
}

/// The answer to `POST /v1/wallet/audit`, and to `GET`, which tells of the last one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct AuditReply {
    /// When it ended, in milliseconds since the Unix epoch.
    pub at: UnixMillis,
    /// How long it took.
    pub took_ms: u64,
    /// How many transfers it counted, of all organizations.
    pub transfers: u64,
    /// How many holds are open: of calls that run, or whose sidecar was killed less than two minutes ago.
    pub holds_open: u64,
    /// How many lie in suspense: what their calls have cost is not known.
    pub holds_suspended: u64,
    /// How much does not hold. Every wallet that it is about is frozen.
    pub breaches_total: u64,
    /// The first hundred of that.
    pub breaches: Vec<BreachEntry>,
}

/// Something that must hold of a ledger and does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct BreachEntry {
    /// What must hold: its number and its name.
    pub invariant: String,
    /// Whose wallet.
    pub org: String,
    /// Which account, or hold.
    pub account: String,
    /// What there should be.
    pub expected: String,
    /// What there is.
    pub found: String,
}

/// The answer to `GET /v1/wallet/{org}/history`, newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct HistoryReply {
    /// The transfers.
    pub transfers: Vec<TransferEntry>,
    /// What to ask for as `before` to get older ones; absent where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<u64>,
}

/// A row of the ledger; one line of `GET /v1/wallet/{org}/export`, where they come oldest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct TransferEntry {
    /// Its place in the ledger, which grows; an organization's rows need not follow each other.
    pub number: u64,
    /// Its id.
    pub id: Digest,
    /// What it is.
    pub kind: String,
    /// The hold that it refers to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Digest>,
    /// The team whose purse it fills or empties.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub team: Option<String>,
    /// How much.
    pub amount_micro_usd: u64,
    /// When, by the ledger's clock, in milliseconds since the Unix epoch.
    pub at: UnixMillis,
    /// Why, for people; `estimated` where a cost rests on counted tokens.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// What it was set aside for: of a pending one, and of what was given back of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<TermsEntry>,
}

// === impl Amount ===

impl Amount {
    /// What an amount is, for whoever has written something else.
    pub const IS: &str = "a whole number of micro-US-dollars from 1 to 9007199254740991";

    /// An amount, unless it is none.
    #[must_use]
    pub const fn new(amount: MicroUsd) -> Option<Self> {
        if amount.is_zero() { None } else { Some(Self(amount)) }
    }

    /// How much it is.
    #[must_use]
    pub const fn get(self) -> MicroUsd {
        self.0
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Amount {
    /// A JSON integer. A string of digits is none here: what people type is read by `kt`.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Written;
        impl de::Visitor<'_> for Written {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(Amount::IS)
            }

            fn visit_u64<E: de::Error>(self, micros: u64) -> Result<Amount, E> {
                let amount = MicroUsd::new(micros).ok().and_then(Amount::new);
                amount.ok_or_else(|| E::invalid_value(de::Unexpected::Unsigned(micros), &self))
            }
        }
        deserializer.deserialize_any(Written)
    }
}

#[cfg(feature = "config")]
impl schemars::JsonSchema for Amount {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Amount".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "integer",
            "description": "Micro-US-dollars: 1000000 is a dollar.",
            "minimum": 1,
            "maximum": MicroUsd::MAX.micros(),
        })
    }
}
