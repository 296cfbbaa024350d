//! A bounded map that forgets what was not used for longest. Bounded by a weight that the caller gives each
//! value: 1 for a count, bytes for a budget.

use std::collections::BTreeMap;

/// The map. Ordered maps inside, because the keys may come from clients and the VM's default hasher has the
/// same seed in every VM.
#[derive(Debug)]
pub struct Lru<K, V> {
    slots: BTreeMap<K, Slot<V>>,
    /// The keys by the tick of their last use.
    order: BTreeMap<u64, K>,
    tick: u64,
    weight: u64,
    weight_max: u64,
}

#[derive(Debug)]
struct Slot<V> {
    value: V,
    used_at: u64,
    weight: u64,
}

// === impl Lru ===

impl<K: Ord + Clone, V> Lru<K, V> {
    /// An empty map that holds at most `weight_max`.
    #[must_use]
    pub const fn new(weight_max: u64) -> Self {
        Self { slots: BTreeMap::new(), order: BTreeMap::new(), tick: 0, weight: 0, weight_max }
    }

    /// The value of `key`, which is now the one used last.
    pub fn get(&mut self, key: &K) -> Option<&V> {
        let slot = self.slots.get_mut(key)?;
        let key = self.order.remove(&slot.used_at)?;
        self.tick += 1;
        slot.used_at = self.tick;
        self.order.insert(self.tick, key);
        Some(&slot.value)
    }

    /// Keeps `value`, evicting others for it. `false` if it alone is over the bound: then nothing changes,
    /// but for a former value of `key`, which is gone.
    pub fn insert(&mut self, key: K, value: V, weight: u64) -> bool {
        self.remove(&key);
        if !self.takes(weight) {
            return false;
        }
        while self.weight > self.weight_max - weight {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.forget(&oldest);
        }
        self.tick += 1;
        self.weight += weight;
        self.order.insert(self.tick, key.clone());
        self.slots.insert(key, Slot { value, used_at: self.tick, weight });
        true
    }

    /// Whether something that heavy is kept at all.
    #[must_use]
    pub const fn takes(&self, weight: u64) -> bool {
        weight <= self.weight_max
    }

    /// Forgets `key`.
    pub fn remove(&mut self, key: &K) {
        if let Some(used_at) = self.forget(key) {
            self.order.remove(&used_at);
        }
    }

    /// Forgets whatever is like this.
    pub fn remove_where(&mut self, is_like: impl Fn(&V) -> bool) {
        let found = self.slots.iter().filter(|(_, slot)| is_like(&slot.value));
        let keys: Vec<K> = found.map(|(key, _)| key.clone()).collect();
        keys.iter().for_each(|key| self.remove(key));
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.slots.clear();
        self.order.clear();
        self.weight = 0;
    }

    /// Whether there is nothing in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// What the values weigh together.
    #[must_use]
    pub const fn weight(&self) -> u64 {
        self.weight
    }

    fn forget(&mut self, key: &K) -> Option<u64> {
        let slot = self.slots.remove(key)?;
        self.weight = self.weight.saturating_sub(slot.weight);
        Some(slot.used_at)
    }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn what_was_not_used_for_longest_goes_first() {
        let mut lru = Lru::new(3);
        for key in ["a", "b", "c"] {
            assert!(lru.insert(key, key, 1));
        }
        assert_eq!(lru.get(&"a"), Some(&"a"));
        assert!(lru.insert("d", "d", 1));
        assert_eq!(lru.get(&"b"), None);
        assert_eq!(lru.get(&"a"), Some(&"a"));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn the_weight_never_passes_the_bound() {
        let mut lru = Lru::new(100);
        for key in 0..1_000_u64 {
            lru.insert(key % 37, (), key * 7 % 40);
            assert!(lru.weight() <= 100, "after {key}");
            assert_eq!(lru.slots.len(), lru.order.len());
        }
        lru.clear();
        assert!(lru.is_empty());
        assert_eq!(lru.weight(), 0);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_is_too_heavy_is_refused_and_evicts_nobody() {
        let mut lru = Lru::new(10);
        lru.insert("small", 1, 10);
        assert!(!lru.insert("large", 2, 11));
        assert_eq!(lru.get(&"small"), Some(&1));
    }
}
