//! What hits and followers would have cost: gathered by whose they are, and noted in the store each second, so that
//! no answer waits for it. Not money, and never part of it: what was charged, the ledger says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use kt_contract::gates::Gates;
use kt_contract::money::MicroUsd;
use kt_contract::principal::Principal;
use kt_contract::time::UnixMillis;
use kt_contract::wire::admit::SavedTokens;

use super::{Sidecar, lock};
use crate::ledger::zones::Zones;
use crate::metrics::Metrics;
use crate::store::savings::{Basis, Gathered, Labels, Saved, SavingsStore};
use crate::store::{PrincipalStore, StoreError};

/// How many kinds are gathered until they are noted. What there is no room for is told in the log and by the metric.
const KINDS_MAX: usize = 16_384;

/// An answer that no call was made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spared {
    /// What that would have cost, where that is known.
    pub(super) cost: Option<MicroUsd>,
    /// The tokens that it would have used, where those are known.
    pub(super) tokens: Option<SavedTokens>,
}

/// What an answer has cost whoever asked, and what it has saved, as far as that is known at its head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// What the call behind it has cost whoever asked.
    pub cost: Option<MicroUsd>,
    /// What a call of its own would have cost.
    pub saved: Option<MicroUsd>,
}

/// Whose answers, of what, and why they cost nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Kind {
    pub(super) whose: Whose,
    pub(super) model: String,
    pub(super) basis: Basis,
}

/// Whose answers they are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Whose {
    /// A caller's.
    Caller { org: String, team: Option<String>, user: Option<String>, codebase: Option<String> },
    /// Those of whoever has a key with this public name: all that a worker says.
    Key(String),
}

/// Savings on their way to the store.
pub(super) struct Savings {
    store: Option<Arc<dyn SavingsStore>>,
    keys: Arc<dyn PrincipalStore>,
    metrics: Arc<Metrics>,
    gathered: Mutex<Kinds>,
    /// What the store has not taken: it has its day.
    refused: Mutex<Gathered>,
}

#[derive(Debug, Default)]
struct Kinds {
    sums: BTreeMap<Kind, Sum>,
    /// Answers that there was no room for.
    lost: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    answers: u64,
    avoided: MicroUsd,
}

// === impl Costs ===

impl Costs {
    /// Of an answer that no call was made for.
    pub(super) const fn spared(saved: Option<MicroUsd>) -> Self {
        Self { cost: Some(MicroUsd::ZERO), saved }
    }
}

// === impl Whose ===

impl Whose {
    /// A request's.
    pub(super) fn of(principal: &Principal, gates: &Gates) -> Self {
        Self::Caller {
            org: principal.org.clone(),
            team: principal.team.clone(),
            user: principal.user.clone(),
            codebase: the_one(&gates.codebases),
        }
    }
}

/// One of several codebases is none: what was spent or saved is not counted twice.
pub(super) fn the_one(codebases: &std::collections::BTreeSet<String>) -> Option<String> {
    let mut codebases = codebases.iter();
    let first = codebases.next().filter(|_| codebases.next().is_none());
    first.cloned()
}

// === impl Savings ===

impl Savings {
    pub(super) fn new(
        store: Option<Arc<dyn SavingsStore>>,
        keys: Arc<dyn PrincipalStore>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (gathered, refused) = (Mutex::default(), Mutex::default());
        Self { store, keys, metrics, gathered, refused }
    }

    /// Where they are noted; `None` where nobody accounts for calls.
    pub(super) fn store(&self) -> Option<&dyn SavingsStore> {
        self.store.as_deref()
    }

    /// No call was made for an answer.
    pub(super) fn gather(&self, kind: Kind, spared: Spared) {
        let Spared { cost, tokens } = spared;
        self.metrics.saved_tokens(kind.basis, tokens.unwrap_or_default());
        self.gather_all(kind, 1, cost.unwrap_or_default());
    }

    /// No calls were made for so many answers, which would have cost so much together.
    pub(super) fn gather_all(&self, kind: Kind, answers: u64, avoided: MicroUsd) {
        self.metrics.saved(kind.basis, avoided);
        if self.store.is_some() {
            lock(&self.gathered).add(kind, Sum { answers, avoided });
        }
    }

    /// Notes what was gathered, as of now.
    async fn note(&self, store: &dyn SavingsStore, zones: &Zones, now: UnixMillis) {
        let Kinds { sums, lost } = std::mem::take(&mut *lock(&self.gathered));
        if lost > 0 {
            tracing::error!(answers = lost, "savings are not noted: there were too many callers");
        }
        let mut noted = std::mem::take(&mut *lock(&self.refused));
        for (kind, sum) in sums {
            match self.labels(&kind, zones, now).await {
                Ok(Some(labels)) => {
                    let Sum { answers, avoided } = sum;
                    noted.add(Saved { labels, answers, avoided });
                }
                Ok(None) => {
                    tracing::warn!(?kind, "a worker tells of hits of a key that is not known")
                }
                Err(error) => {
                    tracing::warn!(%error, "whose hits they were is not known yet");
                    lock(&self.gathered).add(kind, sum);
                }
            }
        }
        let saved = noted.take();
        if saved.is_empty() {
            return;
        }
        if let Err(error) = store.note(saved.clone()).await {
            tracing::error!(%error, "savings are not noted yet");
            let mut refused = lock(&self.refused);
            saved.into_iter().take(KINDS_MAX).for_each(|saved| refused.add(saved));
        }
    }

    async fn labels(
        &self,
        kind: &Kind,
        zones: &Zones,
        now: UnixMillis,
    ) -> Result<Option<Labels>, StoreError> {
        let Kind { whose, model, basis } = kind;
        let (org, team, user, codebase) = match whose.clone() {
            Whose::Caller { org, team, user, codebase } => (org, team, user, codebase),
            Whose::Key(key_id) => {
                let Some(record) = self.keys.find_named(key_id).await? else { return Ok(None) };
                let Principal { org, team, user, codebases, .. } = record.principal;
                (org, team, user, the_one(&codebases))
            }
        };
        let (day, model) = (zones.of(&org).date(now).to_string(), model.clone());
        Ok(Some(Labels { day, org, team, user, model, codebase, basis: *basis }))
    }
}

// === impl Kinds ===

impl Kinds {
    fn add(&mut self, kind: Kind, sum: Sum) {
        let Sum { answers, avoided } = sum;
        if self.sums.len() >= KINDS_MAX && !self.sums.contains_key(&kind) {
            self.lost = self.lost.saturating_add(answers);
            return;
        }
        let all = self.sums.entry(kind).or_default();
        all.answers = all.answers.saturating_add(answers);
        all.avoided = all.avoided.plus(avoided);
    }
}

// === impl Sidecar ===

impl Sidecar {
    /// Notes what hits and followers have saved since the last time.
    pub async fn note_savings(&self) {
        let settings = self.feed.settings();
        if let (Some(store), Some(accounts)) = (self.savings.store(), &settings.accounts) {
            self.savings.note(store, &accounts.zones, self.clock.wall()).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(user: usize) -> Kind {
        let user = Some(format!("user-{user}"));
        let whose = Whose::Caller { org: "acme".to_owned(), team: None, user, codebase: None };
        Kind { whose, model: "gpt-4o".to_owned(), basis: Basis::Hit }
    }

    #[test]
    fn what_is_gathered_is_bounded_and_what_is_known_still_counts() {
        let sum = Sum { answers: 2, avoided: MicroUsd::MAX };
        let mut kinds = Kinds::default();
        (0..KINDS_MAX).for_each(|user| kinds.add(kind(user), sum));
        kinds.add(kind(KINDS_MAX), sum);
        kinds.add(kind(7), sum);
        assert_eq!((kinds.sums.len(), kinds.lost), (KINDS_MAX, 2));
        let seventh = kinds.sums[&kind(7)];
        assert_eq!((seventh.answers, seventh.avoided), (4, MicroUsd::MAX));
    }

    #[test]
    fn one_of_several_codebases_is_none() {
        let of = |names: &[&str]| the_one(&names.iter().map(|name| (*name).to_owned()).collect());
        assert_eq!(of(&[]), None);
        assert_eq!(of(&["web"]), Some("web".to_owned()));
        assert_eq!(of(&["web", "api"]), None);
    }
}
