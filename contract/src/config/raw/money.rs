//! `wallet`, `budgets` and `pricing`, as they stand there.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Unexpected, Visitor};

use super::{Decimal, SecretKeyRef};
use crate::config::wallet::OnOutgrownHold;

/// The organization's prepaid balance.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Wallet {
    /// Where the ledger is: `sqlite`, a file of one sidecar; `postgres`, a database that several share. `redis`
    /// never holds money. Default: sqlite.
    pub(in super::super) backend: Option<WalletBackend>,
    /// The file of the ledger, from the sidecar's data directory on; `wallet.db` where nothing is said. For
    /// `sqlite`.
    pub(in super::super) path: Option<String>,
    /// Where the address of the database stands: postgres://user:password@host:5432/database. For `postgres`;
    /// without it, that of `database`.
    pub(in super::super) url: Option<SecretKeyRef>,
    /// The time zone in which days and months of budgets begin, by its IANA name. Default: UTC.
    pub(in super::super) time_zone: Option<String>,
    /// Another one for an organization: by its name, the IANA name of its time zone.
    pub(in super::super) time_zones: Option<BTreeMap<String, String>>,
    /// How many tokens of an answer are reserved for where nobody has set a limit and nothing has been
    /// learned yet. Default: 4096.
    pub(in super::super) default_max_output_tokens: Option<u64>,
    /// What becomes of a stream, or of an answer that is passed on unread, that costs more than is set aside for it, where
    /// no more can be: it goes on and is paid, below zero if need be (`overage`), or ends there (`cut`). Default: overage.
    pub(in super::super) on_outgrown_hold: Option<OnOutgrownHold>,
    /// How much of a wallet with many calls each sidecar sets aside, to reserve calls without a question to the
    /// database each. For `postgres`. Without it, each call is reserved there.
    pub(in super::super) allotment: Option<Allotment>,
    /// To go on within a cap while the sidecar cannot be reached, which alone knows what a call costs. Without it,
    /// clients are told to try again.
    pub(in super::super) open_with_cap: Option<OpenWithCap>,
}

/// What a gateway may spend while its sidecar cannot be reached.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct OpenWithCap {
    /// How much, in each process of Envoy, until the sidecar has booked it.
    pub(in super::super) max_usd: Option<Decimal>,
    /// What each call is counted as: what the dearest costs.
    pub(in super::super) usd_per_call: Option<Decimal>,
}

/// What a sidecar sets aside of a wallet with many calls.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Allotment {
    /// No more than this. Default: 5.
    pub(in super::super) max_usd: Option<Decimal>,
    /// And no more than this part of what is available: above 0, up to 1; 0.01 where it is left out.
    pub(in super::super) part: Option<Decimal>,
    /// For how long, 20 to 3600. It is used for half of that and then replaced. Default: 60.
    pub(in super::super) ttl_seconds: Option<u64>,
}

/// Where the ledger is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum WalletBackend {
    /// In a file of the sidecar.
    Sqlite,
    /// In a database.
    Postgres,
    /// Refused.
    Redis,
}

/// How much may be spent.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Budgets {
    /// By everybody together.
    pub(in super::super) organization: Option<OrganizationBudget>,
    /// By each team that is named here.
    pub(in super::super) teams: Option<BTreeMap<String, TeamBudget>>,
    /// By each user.
    pub(in super::super) users: Option<UserBudgets>,
}

/// How much the organization may spend.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct OrganizationBudget {
    /// In a day.
    pub(in super::super) daily_limit_usd: Option<Decimal>,
    /// In a month.
    pub(in super::super) monthly_limit_usd: Option<Decimal>,
    /// The part of a limit, of this and every other budget, at which an alert is raised: above 0, up to 1.
    pub(in super::super) alert_threshold: Option<Decimal>,
}

/// How much a team may spend.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct TeamBudget {
    /// In a day.
    pub(in super::super) daily_limit_usd: Option<Decimal>,
    /// In a month.
    pub(in super::super) monthly_limit_usd: Option<Decimal>,
}

/// How much users may spend.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct UserBudgets {
    /// Each of them, in a day.
    pub(in super::super) default_daily_usd: Option<Decimal>,
}

/// What calls cost.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Pricing {
    /// What these prices are called; the version of the published list where nothing is said.
    pub(in super::super) version: Option<String>,
    /// Own prices, by provider and by the exact name of the model. Each stands for the whole price.
    pub(in super::super) models: Option<BTreeMap<String, BTreeMap<String, ModelPrice>>>,
    /// What a call of a model without a price costs: `refuse`, or a price. Default: refuse.
    pub(in super::super) unknown_model: Option<UnknownModel>,
}

/// What a model costs, in USD per million tokens.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct ModelPrice {
    /// Input.
    pub(in super::super) input_usd_per_million: Option<Decimal>,
    /// Input that the provider's prompt cache had; as input where nothing is said.
    pub(in super::super) cached_input_usd_per_million: Option<Decimal>,
    /// Input that the provider's prompt cache took; as input where nothing is said.
    pub(in super::super) cache_write_usd_per_million: Option<Decimal>,
    /// Input that it took for the longer time; as for the shorter one where nothing is said.
    pub(in super::super) cache_write_long_usd_per_million: Option<Decimal>,
    /// Output; 0 for embeddings.
    pub(in super::super) output_usd_per_million: Option<Decimal>,
    /// The rates of a call with a long input, where they are others.
    pub(in super::super) long_inputs: Option<LongInputs>,
    /// The longest input that the model takes, in tokens; the list's where nothing is said.
    pub(in super::super) max_input_tokens: Option<u64>,
    /// The longest answer that it gives, in tokens; the list's where nothing is said.
    pub(in super::super) max_output_tokens: Option<u64>,
}

/// The rates of a call with a long input.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct LongInputs {
    /// The longest input that does not have them, in tokens.
    pub(in super::super) above_input_tokens: Option<u64>,
    /// Input.
    pub(in super::super) input_usd_per_million: Option<Decimal>,
    /// Input that the provider's prompt cache had; as input where nothing is said.
    pub(in super::super) cached_input_usd_per_million: Option<Decimal>,
    /// Input that the provider's prompt cache took; as input where nothing is said.
    pub(in super::super) cache_write_usd_per_million: Option<Decimal>,
    /// Input that it took for the longer time; as for the shorter one where nothing is said.
    pub(in super::super) cache_write_long_usd_per_million: Option<Decimal>,
    /// Output.
    pub(in super::super) output_usd_per_million: Option<Decimal>,
}

/// What a call of a model without a price costs.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub(in super::super) enum UnknownModel {
    /// Nothing: it is refused.
    Refuse(#[schemars(with = "Refuse")] ()),
    /// This.
    Price(Box<ModelPrice>),
}

/// The word.
#[derive(JsonSchema)]
#[schemars(rename_all = "snake_case")]
#[expect(dead_code, reason = "it stands in the schema")]
enum Refuse {
    /// It is refused.
    Refuse,
}

// By hand: an untagged enum would answer "did not match any variant" to every typo.
impl<'de> Deserialize<'de> for UnknownModel {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct WordOrPrice;

        impl<'de> Visitor<'de> for WordOrPrice {
            type Value = UnknownModel;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("refuse, or the rates of a price")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<UnknownModel, E> {
                match word {
                    "refuse" => Ok(UnknownModel::Refuse(())),
                    other => Err(E::invalid_value(Unexpected::Str(other), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<UnknownModel, A::Error> {
                let price = ModelPrice::deserialize(MapAccessDeserializer::new(map))?;
                Ok(UnknownModel::Price(Box::new(price)))
            }
        }

        from.deserialize_any(WordOrPrice)
    }
}
