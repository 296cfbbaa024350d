//! The chain of policies that read texts, as the snapshot carries it: what is looked for, where, and what follows.
//! Detectors and their compiled form are in `kt-policy`; here is only what filter and sidecar have to agree on.

#[cfg(feature = "config")]
pub(crate) mod digest;
mod entity;
pub mod pattern;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

pub use entity::{Entity, Family};

/// Part of every policy gate under which detectors decide. Raised whenever they find something else than before:
/// what an older detector let pass is not served under a newer one. A test of `kt-policy` holds it against what they find.
pub const DETECTORS_VERSION: u32 = 6;

/// The policies that can refuse a request.
pub const BLOCKING: [&str; 7] = [
    "pii-detector",
    "secret-detector",
    "prompt-injection",
    "content-policy",
    "toxicity-filter",
    "request-limits",
    "model-allowlist",
];

/// What is done with a text in which something is found. In the order of their strength.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Decision {
    /// It is counted and logged, and goes on as it is.
    Monitor,
    /// What was found is replaced by a placeholder.
    Redact,
    /// It does not go on.
    Block,
}

/// Which way a text goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// From a client to a provider.
    Input,
    /// From a provider to clients.
    Output,
}

/// The chain, in the order of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Chain {
    /// Each policy that reads texts.
    pub steps: Vec<Step>,
}

/// A policy of the chain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// The texts that it reads.
    pub phases: BTreeSet<Phase>,
    /// What it looks for.
    pub check: Check,
}

/// What a policy looks for. Its name in the configuration is [`Check::policy`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Check {
    /// Personal data.
    PiiDetector(Entities),
    /// Credentials.
    SecretDetector(Entities),
    /// Words that try to be instructions. A heuristic.
    PromptInjection(Decision),
    /// Terms and patterns of the configuration.
    ContentPolicy(WordList),
    /// Insults and threats. A heuristic.
    ToxicityFilter(Decision),
}

/// What is done with each kind of entity; a kind that is not named is not looked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Entities(pub BTreeMap<Entity, Decision>);

/// Terms and patterns, and what is done where one is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WordList {
    /// What is done.
    pub decision: Decision,
    /// Words and phrases, whatever their case, as whole words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub terms: Vec<String>,
    /// Regular expressions without look-around and back references.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub patterns: Vec<String>,
}

/// The policy `model-allowlist`: the only models that may be asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ModelAllowlist {
    /// What is done where another one is asked for: [`Decision::Monitor`] or [`Decision::Block`].
    pub decision: Decision,
    /// The models.
    pub models: BTreeSet<String>,
}

/// Bounds of the policy `request-limits` on what a request asks for. It reads no texts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RequestShape {
    /// What is done where a request asks for more: [`Decision::Monitor`] or [`Decision::Block`].
    pub decision: Decision,
    /// The most messages, or items of an input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages_max: Option<u64>,
    /// The most tools that are offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tools_max: Option<u64>,
    /// The most tokens that are sent, as far as a request's length tells them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_tokens_max: Option<u64>,
    /// The most tokens that may be asked for, where the request says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_tokens_max: Option<u64>,
}

// === impl Decision ===

impl Decision {
    /// The decision of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Monitor, Self::Redact, Self::Block].into_iter().find(|it| it.as_str() == name)
    }

    /// The word in configuration, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Monitor => "monitor",
            Self::Redact => "redact",
            Self::Block => "block",
        }
    }

    /// Whether it changes what anybody reads.
    #[must_use]
    pub const fn enforces(self) -> bool {
        match self {
            Self::Monitor => false,
            Self::Redact | Self::Block => true,
        }
    }
}

// === impl RequestShape ===

impl RequestShape {
    /// Without any bound.
    #[must_use]
    pub const fn new(decision: Decision) -> Self {
        Self {
            decision,
            messages_max: None,
            tools_max: None,
            input_tokens_max: None,
            output_tokens_max: None,
        }
    }
}

// === impl Phase ===

impl Phase {
    /// The word in configuration, logs and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Input => "input",
            Self::Output => "output",
        }
    }
}

// === impl Chain ===

impl Chain {
    /// Whether no policy reads texts.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// How many patterns all `content-policy` of the chain have together.
    #[must_use]
    pub fn patterns(&self) -> usize {
        let of = |step: &Step| match &step.check {
            Check::ContentPolicy(list) => list.patterns.len(),
            Check::PiiDetector(_)
            | Check::SecretDetector(_)
            | Check::PromptInjection(_)
            | Check::ToxicityFilter(_) => 0,
        };
        self.steps.iter().map(of).sum()
    }

    /// Whether some policy reads texts of this phase.
    #[must_use]
    pub fn reads(&self, phase: Phase) -> bool {
        self.steps.iter().any(|step| step.phases.contains(&phase))
    }
}

// === impl Check ===

impl Check {
    /// The names of all of them.
    pub const POLICIES: [&str; 5] = [
        "pii-detector",
        "secret-detector",
        "prompt-injection",
        "content-policy",
        "toxicity-filter",
    ];

    /// Its name in the configuration's chain, in logs and in metrics.
    #[must_use]
    pub const fn policy(&self) -> &'static str {
        match self {
            Self::PiiDetector(_) => "pii-detector",
            Self::SecretDetector(_) => "secret-detector",
            Self::PromptInjection(_) => "prompt-injection",
            Self::ContentPolicy(_) => "content-policy",
            Self::ToxicityFilter(_) => "toxicity-filter",
        }
    }
}
