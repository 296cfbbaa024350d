//! The worker's own cache of small answers: bounded in bytes, by key and reply shape. It takes what is asked
//! for a second time. It knows nothing of the change feed; [`crate::worker`] asks it only while the feed is
//! fresh, and empties it when it must.

use std::rc::Rc;

use kt_contract::key::CacheKey;
use kt_contract::limits::INLINE_BYTES_MAX;
use kt_contract::money::MicroUsd;
use kt_contract::time::{Millis, MonoMillis};
use kt_contract::wire::admit::{ReplyShape, SavedTokens};

use crate::doorkeeper::Doorkeeper;
use crate::lru::Lru;

/// What the bookkeeping of an entry costs, beside its bytes.
const OVERHEAD_BYTES: u64 = 256;

/// What an entry is filed under: the same answer in another shape is another entry.
pub type L1Key = (CacheKey, ReplyShape);

/// A small answer, ready to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The bytes.
    pub body: Rc<[u8]>,
    /// Their content type.
    pub content_type: Rc<str>,
    /// `provider/model` that served it.
    pub served_by: Rc<str>,
    /// What a call would have cost when it came, where that is known.
    pub saved: Option<MicroUsd>,
    /// The tokens that it would have used, where those are known.
    pub saved_tokens: Option<SavedTokens>,
    /// How old it was when it came.
    pub age_s: u64,
    /// When it came.
    pub came_at: MonoMillis,
    /// It is fresh before this moment.
    pub fresh_until: MonoMillis,
}

/// The cache.
#[derive(Debug)]
pub struct L1 {
    entries: Lru<L1Key, Entry>,
    door: Doorkeeper,
}

// === impl Entry ===

impl Entry {
    /// Its age now, in whole seconds.
    #[must_use]
    pub const fn age_s(&self, now: MonoMillis) -> u64 {
        self.age_s.saturating_add(now.since(self.came_at).0 / 1_000)
    }

    /// Whether it may be older than a client takes. Its age came in whole seconds, so it counts as a second more.
    #[must_use]
    pub const fn may_exceed(&self, age_s: u64, now: MonoMillis) -> bool {
        let came_at_ms = self.age_s.saturating_mul(1_000).saturating_add(999);
        came_at_ms.saturating_add(now.since(self.came_at).0) > age_s.saturating_mul(1_000)
    }

    /// How long it stays fresh, in whole seconds.
    #[must_use]
    pub const fn ttl_s(&self, now: MonoMillis) -> u64 {
        self.fresh_until.since(now).0 / 1_000
    }

    fn weight(&self) -> u64 {
        let bytes = self.body.len() + self.content_type.len() + self.served_by.len();
        OVERHEAD_BYTES.saturating_add(bytes as u64)
    }
}

// === impl L1 ===

impl L1 {
    /// An empty cache of at most `bytes_max`; 0 turns it off.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Self { entries: Lru::new(bytes_max), door: Doorkeeper::default() }
    }

    /// The fresh entry of `key`. An expired one is dropped.
    pub fn get(&mut self, key: &L1Key, now: MonoMillis) -> Option<Entry> {
        let entry = self.entries.get(key)?;
        if now < entry.fresh_until {
            return Some(entry.clone());
        }
        self.entries.remove(key);
        None
    }

    /// Keeps an answer whose key is not new here. `false` if it is, if the answer is too large, or if it was
    /// never fresh.
    pub fn fill(&mut self, key: L1Key, entry: Entry) -> bool {
        let fresh = entry.fresh_until.since(entry.came_at) > Millis(0);
        let weight = entry.weight();
        fresh
            && entry.body.len() <= INLINE_BYTES_MAX
            && self.entries.takes(weight)
            && self.door.knows(&key.0.0)
            && self.entries.insert(key, entry, weight)
    }

    /// Forgets everything. Says whether there was anything.
    pub fn clear(&mut self) -> bool {
        let any = !self.entries.is_empty();
        self.entries.clear();
        self.door.clear();
        any
    }

    /// What it holds, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.entries.weight()
    }
}

#[cfg(test)]
mod tests {
    use kt_contract::hex::Digest;
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn entry(bytes: usize, came_at: u64, fresh_ms: u64) -> Entry {
        Entry {
            body: vec![0; bytes].into(),
            content_type: "application/json".into(),
            served_by: "openai/gpt-4o".into(),
            saved: None,
            saved_tokens: None,
            age_s: 7,
            came_at: MonoMillis(came_at),
            fresh_until: MonoMillis(came_at).after(Millis(fresh_ms)),
        }
    }

    fn key(byte: u8, reply: ReplyShape) -> L1Key {
        (CacheKey(Digest(*blake3::hash(&[byte]).as_bytes())), reply)
    }

    /// Asks for `key` a second time.
    fn fill(l1: &mut L1, key: L1Key, entry: Entry) -> bool {
        l1.fill(key, entry.clone()) || l1.fill(key, entry)
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn an_answer_is_kept_from_the_second_time_on_that_it_comes() {
        let mut l1 = L1::new(10_000);
        let (json, sse) =
            (key(1, ReplyShape::Json), key(1, ReplyShape::Sse { include_usage: true }));
        assert!(!l1.fill(json, entry(10, 0, 500)) && l1.bytes() == 0);
        assert!(l1.fill(sse, entry(10, 0, 500)), "the same answer, in another shape");
        assert!(l1.get(&json, MonoMillis(1)).is_none());
        assert!(l1.fill(json, entry(10, 0, 500)));
        assert!(l1.clear());
        assert!(!l1.fill(json, entry(10, 0, 500)), "who was there before is forgotten, too");
        assert!(!l1.clear());
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn an_age_in_whole_seconds_counts_as_one_more() {
        let entry = entry(1, 1_000, 5_000);
        assert!(entry.may_exceed(7, MonoMillis(1_000)));
        assert!(!entry.may_exceed(8, MonoMillis(1_001)));
        assert!(entry.may_exceed(8, MonoMillis(1_002)));
        assert!(entry.may_exceed(0, MonoMillis(0)));
        assert!(!entry.may_exceed(u64::MAX, MonoMillis(u64::MAX)));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn an_entry_lives_as_long_as_the_sidecar_said() {
        let mut l1 = L1::new(10_000);
        let key = key(1, ReplyShape::Json);
        assert!(fill(&mut l1, key, entry(10, 1_000, 500)));
        assert!(l1.get(&key, MonoMillis(1_499)).is_some());
        assert!(l1.get(&key, MonoMillis(1_500)).is_none());
        assert_eq!(l1.bytes(), 0, "an expired entry is dropped");
        assert!(!fill(&mut l1, key, entry(10, 1_000, 0)));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn an_answer_is_kept_for_the_shape_it_was_made_in() {
        let mut l1 = L1::new(10_000);
        assert!(fill(&mut l1, key(1, ReplyShape::Json), entry(10, 0, 500)));
        for other in [
            key(1, ReplyShape::Sse { include_usage: false }),
            key(1, ReplyShape::Sse { include_usage: true }),
            key(2, ReplyShape::Json),
        ] {
            assert!(l1.get(&other, MonoMillis(1)).is_none(), "{other:?}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn the_budget_holds_whatever_comes() {
        let mut l1 = L1::new(5_000);
        for byte in 0..=255 {
            fill(&mut l1, key(byte, ReplyShape::Json), entry(usize::from(byte) * 9, 0, 500));
            assert!(l1.bytes() <= 5_000);
        }
        assert!(!fill(&mut l1, key(0, ReplyShape::Json), entry(5_000, 0, 500)));
        let mut large = L1::new(u64::MAX);
        assert!(!fill(&mut large, key(0, ReplyShape::Json), entry(INLINE_BYTES_MAX + 1, 0, 500)));
        assert!(!fill(&mut L1::new(0), key(0, ReplyShape::Json), entry(0, 0, 500)));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn age_grows_and_freshness_shrinks_with_time() {
        let entry = entry(1, 1_000, 5_000);
        assert_eq!((entry.age_s(MonoMillis(1_000)), entry.ttl_s(MonoMillis(1_000))), (7, 5));
        assert_eq!((entry.age_s(MonoMillis(3_500)), entry.ttl_s(MonoMillis(3_500))), (9, 2));
    }
}
