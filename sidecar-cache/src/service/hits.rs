//! What workers served from their own memory, as they report it with the feed: each batch counts once, however
//! often it comes.

use std::collections::HashMap;
use std::sync::Mutex;

use kt_contract::limits::HIT_COUNTS_MAX;
use kt_contract::policy::{BLOCKING, Phase};
use kt_contract::time::{Millis, MonoMillis};
use kt_contract::wire::feed::{BlockCount, HitBatch};

use super::savings::{Kind, Whose};
use super::{Sidecar, lock};
use crate::store::savings::Basis;

/// How long the last number of a worker is kept that reports no more: longer than it sends one batch again.
const KEPT: Millis = Millis(600_000);
/// How many workers are remembered. Beyond it, those that were not heard of for the longest time go.
const WORKERS_MAX: usize = 8_192;

/// The last batch of every worker.
#[derive(Debug, Default)]
pub struct Reports {
    workers: Mutex<HashMap<String, Last>>,
}

#[derive(Clone, Copy, Debug)]
struct Last {
    number: u64,
    heard: MonoMillis,
}

// === impl Reports ===

impl Reports {
    /// Whether a batch is to be counted: it has not been before.
    fn is_new(&self, worker: &str, number: u64, now: MonoMillis) -> bool {
        let mut workers = lock(&self.workers);
        if let Some(last) = workers.get_mut(worker) {
            last.heard = now;
            let is_new = number > last.number;
            last.number = last.number.max(number);
            return is_new;
        }
        if workers.len() >= WORKERS_MAX {
            workers.retain(|_, last| now.since(last.heard) < KEPT);
        }
        if workers.len() >= WORKERS_MAX {
            let oldest = workers.iter().min_by_key(|(_, last)| last.heard);
            if let Some(oldest) = oldest.map(|(worker, _)| worker.clone()) {
                workers.remove(&oldest);
            }
        }
        workers.insert(worker.to_owned(), Last { number, heard: now });
        true
    }
}

// === impl Sidecar ===

impl Sidecar {
    /// Counts a worker's report as inline hits are counted. `false` if it has been counted before.
    pub(super) fn count_hits(&self, batch: &HitBatch) -> bool {
        let HitBatch { worker, number, counts, blocks, refusals: _, refusals_lost: _ } = batch;
        if !self.reports.is_new(worker, *number, self.clock.mono()) {
            return false;
        }
        let settings = self.feed.settings();
        for hits in counts.iter().take(HIT_COUNTS_MAX) {
            // As everywhere, labels come from the configuration.
            let route = settings.snapshot.models.route(&hits.model);
            let (model, provider) = match route {
                Some(route) if route.provider == hits.provider => (&*hits.model, &*hits.provider),
                Some(_) | None => ("other", "other"),
            };
            self.metrics.served_by_workers(model, provider, hits.count);
            let (whose, model) = (Whose::Key(hits.key_id.clone()), model.to_owned());
            let kind = Kind { whose, model, basis: Basis::Hit };
            self.metrics.saved_tokens(kind.basis, hits.saved_tokens);
            self.savings.gather_all(kind, hits.count, hits.saved_micro_usd);
        }
        for BlockCount { policy, count } in blocks.iter().take(BLOCKING.len()) {
            let known = BLOCKING.iter().find(|known| *known == policy);
            self.metrics.guardrail_blocked(known.unwrap_or(&"other"), Phase::Input, *count);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: MonoMillis = MonoMillis(7);

    #[test]
    fn a_number_counts_once_for_each_life_of_a_worker() {
        let reports = Reports::default();
        for (worker, number, expected) in [
            ("a", 1, true),
            ("a", 1, false),
            ("b", 1, true),
            ("a", 2, true),
            ("a", 1, false),
            ("a", 2, false),
            ("b", 3, true),
        ] {
            assert_eq!(reports.is_new(worker, number, T0), expected, "{worker} {number}");
        }
    }

    #[test]
    fn memory_is_bounded_and_keeps_who_reports() {
        let reports = Reports::default();
        assert!(reports.is_new("first", 1, T0));
        for number in 0..2 * WORKERS_MAX as u64 {
            let now = MonoMillis(T0.0 + 1 + number);
            assert!(reports.is_new(&format!("w{number}"), 1, now));
            assert!(!reports.is_new("first", 1, now), "after {number}");
            assert!(lock(&reports.workers).len() <= WORKERS_MAX);
        }
    }
}
