//! The hits of the worker's own cache, and the requests that policies did not let pass, on their way to the sidecar,
//! which does not see them otherwise: counted, and told with the feed's polls. So is what the filter has refused.
//!
//! A batch keeps its number and its content until a poll that carried it is answered, so the sidecar can skip
//! a number that it has counted. What comes meanwhile waits for the next one. A VM that is lost takes with it
//! what it has counted since its last poll, and nothing else is ever lost: a hit that cannot be counted is
//! not served from here.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::rc::Rc;

use kt_contract::limits::HIT_COUNTS_MAX;
use kt_contract::money::MicroUsd;
use kt_contract::principal::Principal;
use kt_contract::snapshot::ModelRoute;
use kt_contract::time::MonoMillis;
use kt_contract::wire::admit::SavedTokens;
use kt_contract::wire::feed::{BlockCount, HitBatch, HitCount, Refusal};

use crate::refusals::Refusals;
use crate::request_id::RequestId;

/// Who hit what.
#[derive(Clone, Debug)]
pub struct Hit {
    /// Who asked.
    pub principal: Rc<Principal>,
    /// What had served it.
    pub route: Rc<ModelRoute>,
}

/// What was served and not yet told.
#[derive(Debug, Default)]
pub struct Hits {
    /// The name of this life of the VM: the request id of its first hit, because that is random already.
    worker: Option<RequestId>,
    /// The number of the last batch.
    number: u64,
    /// What the polls carry until one is answered.
    told: Option<HitBatch>,
    /// What has come since.
    untold: BTreeMap<Hit, Tally>,
    /// How many requests each policy did not let pass since.
    blocked: BTreeMap<Box<str>, u64>,
    /// What was refused since.
    refused: Refusals,
}

/// Hits of one kind.
#[derive(Clone, Copy, Debug, Default)]
struct Tally {
    count: u64,
    /// What as many calls would have cost.
    saved: Saved,
}

/// What calls would have taken that were not made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Saved {
    /// Their money.
    pub cost: MicroUsd,
    /// Their tokens.
    pub tokens: SavedTokens,
}

// === impl Hit ===

impl Hit {
    fn parts(&self) -> (&str, &str, &str) {
        (&self.principal.key_id, &self.route.model, &self.route.provider)
    }

    fn count(self, tally: Tally) -> HitCount {
        let Tally { count, saved } = tally;
        let (key_id, model, provider) = self.parts();
        HitCount {
            key_id: key_id.to_owned(),
            model: model.to_owned(),
            provider: provider.to_owned(),
            count,
            saved_micro_usd: saved.cost,
            saved_tokens: saved.tokens,
        }
    }
}

impl Ord for Hit {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl PartialOrd for Hit {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Hit {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Hit {}

// === impl Tally ===

impl Tally {
    fn add(&mut self, saved: Saved) {
        let Saved { cost, tokens } = self.saved;
        self.count = self.count.saturating_add(1);
        self.saved = Saved { cost: cost.plus(saved.cost), tokens: tokens.plus(saved.tokens) };
    }
}

// === impl Hits ===

impl Hits {
    /// Counts a hit of a request, and what it has saved. `false`, and nothing is counted, if there is no room until
    /// the feed has taken what is there.
    pub fn count(&mut self, hit: Hit, saved: Saved, request_id: &RequestId) -> bool {
        let has_room = self.untold.len() < HIT_COUNTS_MAX || self.untold.contains_key(&hit);
        if has_room {
            self.worker.get_or_insert_with(|| request_id.clone());
            self.untold.entry(hit).or_default().add(saved);
        }
        has_room
    }

    /// Counts a request that a policy did not let pass: the sidecar has not seen it either.
    pub fn count_block(&mut self, policy: &str, request_id: &RequestId) {
        self.worker.get_or_insert_with(|| request_id.clone());
        let count = self.blocked.entry(policy.into()).or_default();
        *count = count.saturating_add(1);
    }

    /// Adds a request that the filter has refused.
    pub fn add_refusal(&mut self, now: MonoMillis, refusal: Refusal, request_id: &RequestId) {
        self.worker.get_or_insert_with(|| request_id.clone());
        self.refused.add(now, refusal);
    }

    /// What a poll carries that is sent now.
    pub fn tell(&mut self, now: MonoMillis) -> Option<HitBatch> {
        if self.told.is_none()
            && (!self.untold.is_empty() || !self.blocked.is_empty() || self.refused.is_due(now))
            && let Some(worker) = &self.worker
        {
            self.number = self.number.saturating_add(1);
            let counts = std::mem::take(&mut self.untold);
            let blocked = std::mem::take(&mut self.blocked).into_iter();
            let (refusals, refusals_lost) = self.refused.take(now);
            self.told = Some(HitBatch {
                worker: worker.as_str().to_owned(),
                number: self.number,
                counts: counts.into_iter().map(|(hit, tally)| hit.count(tally)).collect(),
                blocks: blocked
                    .map(|(policy, count)| BlockCount { policy: policy.into(), count })
                    .collect(),
                refusals,
                refusals_lost: NonZeroU64::new(refusals_lost),
            });
        }
        self.told.clone()
    }

    /// The poll that was sent last was answered: what it carried has been counted.
    pub fn taken(&mut self) {
        self.told = None;
    }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    const T0: MonoMillis = MonoMillis(7);

    fn hit(key_id: &str, model: &str) -> Hit {
        let principal = Principal {
            key_id: key_id.to_owned(),
            lineage: None,
            org: "acme".to_owned(),
            team: None,
            user: None,
            agent: None,
            group: None,
            codebases: [].into(),
            entitlements: [].into(),
        };
        let route = ModelRoute {
            model: model.to_owned(),
            target: "openai-1".to_owned(),
            provider: "openai".to_owned(),
            upstream: "https://api.openai.com".to_owned(),
            version: None,
        };
        Hit { principal: Rc::new(principal), route: Rc::new(route) }
    }

    /// A hit that has saved a micro-dollar, two tokens of input and three of output.
    fn count(hits: &mut Hits, hit: Hit, id: &RequestId) -> bool {
        let tokens = SavedTokens { input: 2, output: 3 };
        hits.count(hit, Saved { cost: MicroUsd::new(1).unwrap(), tokens }, id)
    }

    fn id(byte: u8) -> RequestId {
        RequestId::mint([byte; 16])
    }

    fn counts(batch: &HitBatch) -> Vec<(&str, &str, u64)> {
        let told = |at: &HitCount| {
            assert_eq!(at.saved_micro_usd.micros(), at.count, "a micro-dollar each");
            let tokens = SavedTokens { input: 2 * at.count, output: 3 * at.count };
            assert_eq!(at.saved_tokens, tokens, "five tokens each");
            at.count
        };
        batch.counts.iter().map(|at| (at.key_id.as_str(), at.model.as_str(), told(at))).collect()
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn hits_of_one_kind_are_one_count() {
        let mut hits = Hits::default();
        assert_eq!(hits.tell(T0), None);
        for (key, model) in [("b", "x"), ("a", "y"), ("b", "x"), ("a", "x")] {
            assert!(count(&mut hits, hit(key, model), &id(key.as_bytes()[0])));
        }
        let batch = hits.tell(T0).unwrap();
        assert_eq!(counts(&batch), [("a", "x", 1), ("a", "y", 1), ("b", "x", 2)]);
        assert_eq!((batch.number, batch.worker.as_str()), (1, id(b'b').as_str()));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_batch_is_told_unchanged_until_it_is_taken_and_the_next_has_the_next_number() {
        let mut hits = Hits::default();
        assert!(count(&mut hits, hit("a", "x"), &id(1)));
        let first = hits.tell(T0).unwrap();
        assert!(count(&mut hits, hit("a", "x"), &id(2)));
        assert_eq!(hits.tell(T0).as_ref(), Some(&first));
        hits.taken();
        let second = hits.tell(T0).unwrap();
        assert_eq!((second.number, counts(&second)), (2, vec![("a", "x", 1)]));
        assert_eq!(second.worker, first.worker);
        hits.taken();
        assert_eq!(hits.tell(T0), None);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn there_is_room_for_so_many_kinds_and_any_number_of_each() {
        let mut hits = Hits::default();
        for at in 0..HIT_COUNTS_MAX {
            assert!(count(&mut hits, hit(&at.to_string(), "x"), &id(1)));
        }
        assert!(!count(&mut hits, hit("one more", "x"), &id(1)));
        assert!(count(&mut hits, hit("7", "x"), &id(1)));
        let batch = hits.tell(T0).unwrap();
        assert_eq!(batch.counts.iter().map(|at| at.count).sum::<u64>(), 257);
        assert!(
            count(&mut hits, hit("one more", "x"), &id(1)),
            "there is room as soon as it is told"
        );
    }
}
