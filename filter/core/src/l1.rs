//! The worker's own cache of small answers: bounded in bytes, by key and reply shape. It knows nothing of the
//! change feed; [`crate::worker`] asks it only while the feed is fresh, and empties it when it must.

use std::rc::Rc;

use kt_contract::key::CacheKey;
use kt_contract::limits::INLINE_BYTES_MAX;
use kt_contract::time::{Millis, MonoMillis};
use kt_contract::wire::admit::ReplyShape;

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
    /// How old it was when it came.
    pub age_s: u64,
    /// When it came.
    pub came_at: MonoMillis,
    /// It is fresh before this moment.
    pub fresh_until: MonoMillis,
}

/// The cache.
#[derive(Debug)]
pub struct L1(Lru<L1Key, Entry>);

// === impl Entry ===

impl Entry {
    /// Its age now, in whole seconds.
    #[must_use]
    pub const fn age_s(&self, now: MonoMillis) -> u64 {
        self.age_s.saturating_add(now.since(self.came_at).0 / 1_000)
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
    pub const fn new(bytes_max: u64) -> Self {
        Self(Lru::new(bytes_max))
    }

    /// The fresh entry of `key`. An expired one is dropped.
    pub fn get(&mut self, key: &L1Key, now: MonoMillis) -> Option<Entry> {
        let entry = self.0.get(key)?;
        if now < entry.fresh_until {
            return Some(entry.clone());
        }
        self.0.remove(key);
        None
    }

    /// Keeps an answer. `false` if it is too large, or was never fresh.
    pub fn fill(&mut self, key: L1Key, entry: Entry) -> bool {
        let fresh = entry.fresh_until.since(entry.came_at) > Millis(0);
        let weight = entry.weight();
        fresh && entry.body.len() <= INLINE_BYTES_MAX && self.0.insert(key, entry, weight)
    }

    /// Forgets everything. Says whether there was anything.
    pub fn clear(&mut self) -> bool {
        let any = !self.0.is_empty();
        self.0.clear();
        any
    }

    /// What it holds, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.0.weight()
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
            age_s: 7,
            came_at: MonoMillis(came_at),
            fresh_until: MonoMillis(came_at).after(Millis(fresh_ms)),
        }
    }

    fn key(byte: u8, reply: ReplyShape) -> L1Key {
        (CacheKey(Digest([byte; 32])), reply)
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn an_entry_lives_as_long_as_the_sidecar_said() {
        let mut l1 = L1::new(10_000);
        let key = key(1, ReplyShape::Json);
        assert!(l1.fill(key, entry(10, 1_000, 500)));
        assert!(l1.get(&key, MonoMillis(1_499)).is_some());
        assert!(l1.get(&key, MonoMillis(1_500)).is_none());
        assert_eq!(l1.bytes(), 0, "an expired entry is dropped");
        assert!(!l1.fill(key, entry(10, 1_000, 0)));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn an_answer_is_kept_for_the_shape_it_was_made_in() {
        let mut l1 = L1::new(10_000);
        assert!(l1.fill(key(1, ReplyShape::Json), entry(10, 0, 500)));
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
            l1.fill(key(byte, ReplyShape::Json), entry(usize::from(byte) * 9, 0, 500));
            assert!(l1.bytes() <= 5_000);
        }
        assert!(!l1.fill(key(0, ReplyShape::Json), entry(5_000, 0, 500)));
        let mut large = L1::new(u64::MAX);
        assert!(!large.fill(key(0, ReplyShape::Json), entry(INLINE_BYTES_MAX + 1, 0, 500)));
        assert!(!L1::new(0).fill(key(0, ReplyShape::Json), entry(0, 0, 500)));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn age_grows_and_freshness_shrinks_with_time() {
        let entry = entry(1, 1_000, 5_000);
        assert_eq!((entry.age_s(MonoMillis(1_000)), entry.ttl_s(MonoMillis(1_000))), (7, 5));
        assert_eq!((entry.age_s(MonoMillis(3_500)), entry.ttl_s(MonoMillis(3_500))), (9, 2));
    }
}
