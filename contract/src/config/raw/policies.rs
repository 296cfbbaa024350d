//! `policies`, in both spellings: a list of rules, or a chain with settings.

use std::collections::BTreeMap;
use std::fmt;

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// The policies, in one of two spellings.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub(in super::super) enum Policies {
    /// A chain, and the settings of its members.
    Chain(Chain),
    /// Named lists of rules.
    Rules(Vec<NamedPolicy>),
}

/// A chain, and the settings of its members.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Chain {
    /// The policies' names, in the order in which they are applied. Built are `pii-detector`, `secret-detector`,
    /// `prompt-injection`, `content-policy`, `toxicity-filter`, `format-check`, `hallucination-detection`,
    /// `external` (also `external:NAME`), `model-allowlist`, `request-limits`, `rate-limit`, `spend-limit` and
    /// `audit-logger`. `default` stands for the first three.
    pub(in super::super) chain: Option<Vec<String>>,
    /// Settings by policy name. Those that read texts have `action` and `apply_to`; the detectors have `entities`
    /// beside it, `content-policy` has `terms` and `patterns`; `model-allowlist` has `action` and `models`, a list;
    /// `request-limits` has `action`, `max_messages`, `max_tools`, `max_input_tokens` and `max_output_tokens`; `rate-limit` has `per_key`,
    /// `per_user`, `per_team` and `per_org`, each with `requests_per_minute` and `tokens_per_minute`; `spend-limit` has
    /// `max_daily_usd`.
    pub(in super::super) policy: Option<BTreeMap<String, Value>>,
    /// The HTTP status of a block. Default: 409.
    pub(in super::super) block_status: Option<u16>,
}

/// A named list of rules.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct NamedPolicy {
    /// Its name.
    pub(in super::super) name: Option<String>,
    /// Its rules.
    pub(in super::super) rules: Option<Vec<Rule>>,
}

/// A rule.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(in super::super) struct Rule {
    /// What to do where its condition holds: `allow`, `block`, `redact` or `monitor`.
    pub(in super::super) action: Option<String>,
    /// What must hold: `wallet_balance: sufficient`, or the name of a policy that reads texts with what it is to find.
    pub(in super::super) conditions: Option<BTreeMap<String, Value>>,
}

// === impl Policies ===

// By hand: an untagged enum would answer "did not match any variant" to every typo.
impl<'de> Deserialize<'de> for Policies {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl<'de> Visitor<'de> for Either {
            type Value = Policies;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of policies, or a map with 'chain' and 'policy'")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Policies, A::Error> {
                Chain::deserialize(MapAccessDeserializer::new(map)).map(Policies::Chain)
            }

            fn visit_seq<A: SeqAccess<'de>>(self, items: A) -> Result<Policies, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(items)).map(Policies::Rules)
            }
        }

        deserializer.deserialize_any(Either)
    }
}
