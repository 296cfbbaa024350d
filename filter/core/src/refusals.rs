//! What the filter has refused by itself, on its way to the sidecar's audit log, which does not see it otherwise. It is
//! told with the hits ([`crate::hits`]), in the same numbered batches.
//!
//! Nobody waits for it: a VM that is lost takes with it what it has not told, half a second's worth, and ten seconds' of
//! requests without a good key. How much is held is bounded, whoever sends how many bad requests: those without a good key
//! are one entry for each code, and wait for each other, since everybody can make the log grow by them.

use kt_contract::limits::{REFUSALS_ALIKE_MAX, REFUSALS_MAX};
use kt_contract::problem::Problem;
use kt_contract::time::{Millis, MonoMillis};
use kt_contract::wire::feed::Refusal;

use crate::action::LogLine;

/// For how long requests without a good key are gathered.
const UNKEYED_FOR: Millis = Millis(10_000);

/// Refusals that are not told yet.
#[derive(Debug, Default)]
pub struct Refusals {
    kept: Vec<Refusal>,
    /// Those without a good key, and since when there are any.
    unkeyed: Vec<Refusal>,
    unkeyed_since: Option<MonoMillis>,
    /// Those for which there was no room.
    lost: u64,
}

// === impl Refusals ===

impl Refusals {
    /// Adds a refusal. Where there are many like it, or it finds no room, it is counted in with the last of them, and where
    /// there is none, lost.
    pub fn add(&mut self, now: MonoMillis, refusal: Refusal) {
        let is_alike = |kept: &Refusal| {
            kept.key_id == refusal.key_id
                && kept.code == refusal.code
                && kept.status == refusal.status
                && kept.policies == refusal.policies
        };
        if refusal.key_id.is_none() {
            self.unkeyed_since.get_or_insert(now);
            // Codes are few, so there is always room.
            match self.unkeyed.iter_mut().find(|kept| is_alike(kept)) {
                Some(kept) => kept.times = kept.times.saturating_add(refusal.times),
                None => self.unkeyed.push(refusal),
            }
            return;
        }
        let alike = self.kept.iter().filter(|kept| is_alike(kept)).count();
        let merges = alike >= REFUSALS_ALIKE_MAX || self.kept.len() >= REFUSALS_MAX;
        match self.kept.iter_mut().rev().find(|kept| is_alike(kept)).filter(|_| merges) {
            Some(kept) => kept.times = kept.times.saturating_add(refusal.times),
            None if merges => self.lost = self.lost.saturating_add(refusal.times),
            None => self.kept.push(refusal),
        }
    }

    /// Whether there is anything to tell by now.
    #[must_use]
    pub fn is_due(&self, now: MonoMillis) -> bool {
        !self.kept.is_empty() || self.lost > 0 || self.is_unkeyed_due(now)
    }

    /// All that is to be told by now, and how many more there were.
    pub fn take(&mut self, now: MonoMillis) -> (Vec<Refusal>, u64) {
        let mut taken = std::mem::take(&mut self.kept);
        if self.is_unkeyed_due(now) {
            self.unkeyed_since = None;
            taken.append(&mut self.unkeyed);
        }
        (taken, std::mem::take(&mut self.lost))
    }

    fn is_unkeyed_due(&self, now: MonoMillis) -> bool {
        self.unkeyed_since.is_some_and(|since| now.since(since) >= UNKEYED_FOR)
    }
}

/// What the log may know of a request that is refused for `problem`; `None` where it has no id, and so was none of ours.
pub(crate) fn refusal(problem: &Problem, log: &LogLine) -> Option<Refusal> {
    let request_id = log.request_id.as_ref()?.as_str().to_owned();
    let found = log.guardrails.iter().flat_map(|found| found.split(','));
    let mut policies: Vec<String> = found.map(str::to_owned).collect();
    // `model-allowlist`, and what refuses by itself, bring no finding.
    if let Problem::PolicyBlocked { policy, .. } = problem
        && !policies.iter().any(|found| found.split(':').next() == Some(policy))
    {
        policies.push(format!("{policy}:request:block"));
    }
    let model = log.model.as_deref().or_else(|| log.route.as_deref().map(|route| &*route.model));
    Some(Refusal {
        request_id,
        key_id: log.principal.as_deref().map(|principal| principal.key_id.clone()),
        model: log.principal.as_ref().and(model).map(str::to_owned),
        status: problem.status(),
        code: problem.code().to_owned(),
        policies,
        times: 1,
    })
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    const T0: MonoMillis = MonoMillis(7);
    const LATER: MonoMillis = MonoMillis(10_007);

    fn of(key_id: Option<&str>, code: &str) -> Refusal {
        Refusal {
            request_id: "id".to_owned(),
            key_id: key_id.map(str::to_owned),
            model: None,
            status: 409,
            code: code.to_owned(),
            policies: Vec::new(),
            times: 1,
        }
    }

    fn times(kept: &[Refusal]) -> Vec<(Option<&str>, &str, u64)> {
        kept.iter().map(|it| (it.key_id.as_deref(), &*it.code, it.times)).collect()
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn those_of_a_key_are_told_one_by_one_and_those_without_together() {
        let mut refusals = Refusals::default();
        assert!(!refusals.is_due(LATER));
        for (key, code) in
            [(Some("a"), "x"), (None, "y"), (Some("a"), "x"), (None, "z"), (None, "y")]
        {
            refusals.add(T0, of(key, code));
        }
        let (kept, lost) = refusals.take(LATER);
        let expected = [(Some("a"), "x", 1), (Some("a"), "x", 1), (None, "y", 2), (None, "z", 1)];
        assert_eq!((times(&kept), lost), (expected.to_vec(), 0));
        assert!(!refusals.is_due(LATER));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn those_without_a_key_are_gathered_for_ten_seconds() {
        let mut refusals = Refusals::default();
        refusals.add(T0, of(None, "x"));
        refusals.add(T0.after(Millis(9_000)), of(None, "x"));
        let early = T0.after(Millis(9_999));
        assert!(!refusals.is_due(early));
        // Others do not wait for them, and take none of them along.
        refusals.add(early, of(Some("a"), "x"));
        assert!(refusals.is_due(early));
        assert_eq!(times(&refusals.take(early).0), [(Some("a"), "x", 1)]);
        assert_eq!(times(&refusals.take(LATER).0), [(None, "x", 2)]);
        // The next ones are gathered anew.
        refusals.add(LATER, of(None, "x"));
        assert!(
            !refusals.is_due(LATER.after(Millis(9_999)))
                && refusals.is_due(LATER.after(UNKEYED_FOR))
        );
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn beyond_so_many_of_a_kind_they_are_counted_in_and_hide_no_other() {
        let mut refusals = Refusals::default();
        for _ in 0..10 * REFUSALS_MAX {
            refusals.add(T0, of(Some("a"), "x"));
        }
        let found = Refusal { policies: vec!["p:words:block".to_owned()], ..of(Some("a"), "x") };
        refusals.add(T0, found.clone());
        refusals.add(T0, of(Some("b"), "x"));
        let (kept, lost) = refusals.take(LATER);
        assert_eq!((kept.len(), lost), (REFUSALS_ALIKE_MAX + 2, 0));
        assert_eq!(kept.iter().map(|it| it.times).sum::<u64>(), 10 * REFUSALS_MAX as u64 + 2);
        assert_eq!(kept.iter().filter(|it| **it == found).count(), 1, "by its own rule");
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn beyond_the_room_for_all_they_are_counted_in_with_their_like_or_lost() {
        let mut refusals = Refusals::default();
        for key in 0..REFUSALS_MAX {
            refusals.add(T0, of(Some(&key.to_string()), "x"));
        }
        for (key, code) in
            [(Some("255"), "x"), (Some("255"), "y"), (Some("b"), "x"), (None, "x"), (None, "x")]
        {
            refusals.add(T0, of(key, code));
        }
        let (kept, lost) = refusals.take(LATER);
        assert_eq!(kept.len(), REFUSALS_MAX + 1, "there is always room for those without a key");
        let last = times(&kept).split_off(REFUSALS_MAX - 1);
        assert_eq!((last, lost), (vec![(Some("255"), "x", 2), (None, "x", 2)], 2));
    }
}
