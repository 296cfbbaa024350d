//! What a record says.

use kt_contract::hex::Digest;
use kt_contract::outcome;
use kt_contract::time::UnixMillis;

/// Something that has happened, and that is not on record yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// In whose chain it belongs; empty where nobody can say, as of a key that nobody has.
    pub org: String,
    /// When it happened, by the clock of whoever saw it.
    pub at: UnixMillis,
    /// What.
    pub event: Event,
}

/// What is on record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its number in the chain, from 1, without gaps.
    pub seq: u64,
    /// What it says.
    pub fact: Fact,
}

/// What a record is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request.
    Access(Box<Access>),
    /// Records that were removed because their time was over.
    Checkpoint(Checkpoint),
}

/// A request: who asked for what, and what was decided.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Access {
    /// Where in the request's life it was written.
    pub stage: Stage,
    /// The request's id, minted by the gateway.
    pub request_id: String,
    /// The gateway that took it.
    pub gateway: String,
    /// The public name of the key; `None` where there was no good one.
    pub key_id: Option<String>,
    /// The key's team.
    pub team: Option<String>,
    /// The key's user.
    pub user: Option<String>,
    /// The key's agent.
    pub agent: Option<String>,
    /// The model that serves it, where it came to that.
    pub model: Option<String>,
    /// The provider that serves it.
    pub provider: Option<String>,
    /// What became of it; `None` while that is open.
    pub outcome: Option<Outcome>,
    /// Why the cache did what it did, as `Cache-Status` says it.
    pub reason: Option<String>,
    /// The HTTP status that it was answered with; 0 while that is open, 499 where the client had left before.
    pub status: u16,
    /// The code of a refusal or a failure.
    pub code: Option<String>,
    /// What policies found: `policy:entity:action`.
    pub policies: Vec<String>,
    /// What the call behind it has cost whoever asked, in micro-USD, as far as that was known.
    pub cost_micro_usd: Option<u64>,
    /// How many requests it stands for: 1, but for refusals of the same kind that are told together.
    pub times: u64,
}

/// When a record of a request is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Before anything is done for it.
    Asked,
    /// When it is over, or decided at once.
    #[default]
    Ended,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Told from the cache.
    Hit,
    /// Told from the cache, past its time.
    Stale,
    /// The provider was asked.
    Miss,
    /// It got the answer of another request's call.
    Coalesced,
    /// The provider was asked, and the cache was not.
    Bypass,
    /// A policy did not let it, or its answer, go on.
    Blocked,
    /// It got no answer for another reason.
    Refused,
}

/// All records up to one, removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The number of the last record that was removed.
    pub through: u64,
    /// Its hash, from which the next one follows.
    pub hash: Digest,
}

// === impl Fact ===

impl Fact {
    /// What happened to a request.
    #[must_use]
    pub fn access(org: String, at: UnixMillis, access: Access) -> Self {
        Self { org, at, event: Event::Access(Box::new(access)) }
    }

    /// How many requests it stands for; none where it is about none.
    #[must_use]
    pub fn times(&self) -> u64 {
        match &self.event {
            Event::Access(access) => access.times,
            Event::Checkpoint(_) => 0,
        }
    }
}

// === impl Stage ===

impl Stage {
    /// The word in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Ended => "ended",
        }
    }

    pub(super) fn named(word: &str) -> Option<Self> {
        [Self::Asked, Self::Ended].into_iter().find(|stage| stage.as_str() == word)
    }
}

// === impl Outcome ===

impl Outcome {
    const ALL: [Self; 7] = [
        Self::Hit,
        Self::Stale,
        Self::Miss,
        Self::Coalesced,
        Self::Bypass,
        Self::Blocked,
        Self::Refused,
    ];

    /// The word in records.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Miss => "miss",
            Self::Coalesced => "coalesced",
            Self::Bypass => "bypass",
            Self::Blocked => "blocked",
            Self::Refused => "refused",
        }
    }

    pub(super) fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.as_str() == word)
    }
}

impl From<outcome::Outcome> for Outcome {
    fn from(outcome: outcome::Outcome) -> Self {
        match outcome {
            outcome::Outcome::Hit => Self::Hit,
            outcome::Outcome::Stale => Self::Stale,
            outcome::Outcome::Miss => Self::Miss,
            outcome::Outcome::Coalesced => Self::Coalesced,
            outcome::Outcome::Bypass => Self::Bypass,
        }
    }
}
