//! What answers would have cost that nobody had to pay for: counts and sums per day and labels. No money: it is
//! told beside what was charged, never in it, and a crash may lose what was noted last.

use std::collections::BTreeMap;

use kt_contract::money::MicroUsd;

use super::Answer;

/// Answers that cost nothing, and what they would have cost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Saved {
    /// Whose, of what, and why.
    pub labels: Labels,
    /// How many.
    pub answers: u64,
    /// What they would have cost in all, at the prices of their moments.
    pub avoided: MicroUsd,
}

/// What savings are filed under.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels {
    /// The day, as a budget's window names it, where the organization is: `2026-11-28`.
    pub day: String,
    /// Whose answers.
    pub org: String,
    /// The caller's team.
    pub team: Option<String>,
    /// The caller.
    pub user: Option<String>,
    /// The model that would have been called.
    pub model: String,
    /// The codebase.
    pub codebase: Option<String>,
    /// Why nothing was paid.
    pub basis: Basis,
}

/// Why an answer cost nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Basis {
    /// It was stored.
    Hit,
    /// Somebody else's call brought it.
    Coalesced,
}

/// Where savings are counted.
pub trait SavingsStore: Send + Sync {
    /// Adds to what is counted. Answered before it is on disk: whoever notes often gathers first, and loses in a
    /// crash what it has gathered and what it has noted last.
    fn note(&self, saved: Vec<Saved>) -> Answer<'_, ()>;

    /// What was saved from a day on and before another, of one organization or of all, by labels.
    fn saved(
        &self,
        org: Option<String>,
        since_day: String,
        until_day: String,
    ) -> Answer<'_, Vec<Saved>>;
}

/// Savings in memory: for whoever gathers before it notes, and for tests.
#[derive(Clone, Debug, Default)]
pub struct Gathered {
    sums: BTreeMap<Labels, (u64, MicroUsd)>,
}

// === impl Basis ===

impl Basis {
    /// The word in rows and replies.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Coalesced => "coalesced",
        }
    }

    /// The basis of a row.
    #[must_use]
    pub fn from_word(word: &str) -> Option<Self> {
        [Self::Hit, Self::Coalesced].into_iter().find(|basis| basis.as_str() == word)
    }
}

// === impl Gathered ===

impl Gathered {
    /// Adds; a sum that cannot be counted stays at the most that can.
    pub fn add(&mut self, saved: Saved) {
        let Saved { labels, answers, avoided } = saved;
        let (sum, cost) = self.sums.entry(labels).or_default();
        *sum = sum.saturating_add(answers).min(MicroUsd::MAX.micros());
        *cost = cost.checked_add(avoided).unwrap_or(MicroUsd::MAX);
    }

    /// What was gathered, by labels.
    pub fn iter(&self) -> impl Iterator<Item = Saved> {
        self.sums.iter().map(|(labels, (answers, avoided))| Saved {
            labels: labels.clone(),
            answers: *answers,
            avoided: *avoided,
        })
    }

    /// All of it; nothing is left.
    #[must_use]
    pub fn take(&mut self) -> Vec<Saved> {
        let taken = std::mem::take(self);
        taken.iter().collect()
    }
}
