//! What calls were charged, and what hits and followers would have cost, on the admin socket: numbers that stand side
//! by side and are never added up.

use serde::{Deserialize, Serialize};

/// By what sums are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub enum By {
    /// By organization.
    #[default]
    Org,
    /// By team.
    Team,
    /// By user.
    User,
    /// By model.
    Model,
    /// By codebase.
    Codebase,
}

/// The answer to `GET /v1/savings`. Days are those of the organization whose charges and savings they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct SavingsReply {
    /// The first day: `2026-11-01`.
    pub since: String,
    /// The day before which it ends.
    pub until: String,
    /// The time zone of the organization that was asked for; of all of them, the wallet's.
    pub time_zone: String,
    /// Whether some of the organizations that are summed up have a time zone of their own, and count its days.
    #[serde(default)]
    pub own_time_zones: bool,
    /// By what the rows are.
    pub by: By,
    /// The rows, by name; before them what has none.
    pub rows: Vec<SavingsRow>,
    /// All of them together.
    pub total: SavingsSums,
}

/// What is of one name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct SavingsRow {
    /// The name; absent for what has none, keys without a team for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The sums.
    pub sums: SavingsSums,
}

/// What was charged, and what was saved. The second is not part of the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "config", derive(schemars::JsonSchema))]
pub struct SavingsSums {
    /// Upstream calls that were charged.
    pub calls: u64,
    /// What they were charged, less what was given back: below zero where that was more, of charges from before.
    pub billed_micro_usd: i64,
    /// How much of that was charged by tokens that were counted here, whatever was given back.
    pub estimated_micro_usd: u64,
    /// What of the billed is charged to somebody within the organization: by team, user and codebase, whoever the
    /// row names; by organization and model, whoever led and has a team, a user or one codebase.
    pub charged_back_micro_usd: i64,
    /// Answers from the cache.
    pub hits: u64,
    /// Whole answers of another request's call.
    pub coalesced: u64,
    /// What calls in the place of both would have cost, at the prices of their moments, as far as that is known.
    pub saved_micro_usd: u64,
}

// === impl By ===

impl By {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Org, Self::Team, Self::User, Self::Model, Self::Codebase];

    /// The word in the query and in replies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Org => "org",
            Self::Team => "team",
            Self::User => "user",
            Self::Model => "model",
            Self::Codebase => "codebase",
        }
    }
}
