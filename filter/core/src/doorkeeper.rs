//! Who was asked for once. Most answers are never asked for again, so the worker's own cache takes only what
//! was: this remembers the first time, in a fixed number of bytes, and forgets at random when it is full.

use std::num::NonZeroU64;

use kt_contract::hex::Digest;

/// How many keys it remembers at most: 64 KiB.
const SLOTS: usize = 8_192;

/// What it remembers of a key. Keys are keyed digests, so any eight of their bytes tell them apart.
type Mark = NonZeroU64;

/// The memory of one worker.
#[derive(Debug, Default)]
pub struct Doorkeeper {
    /// Empty until the first key comes.
    slots: Vec<Option<Mark>>,
}

// === impl Doorkeeper ===

impl Doorkeeper {
    /// Whether `key` came before, as far as is remembered; from now on it did.
    pub fn knows(&mut self, key: &Digest) -> bool {
        if self.slots.is_empty() {
            self.slots.resize(SLOTS, None);
        }
        let (marks, _) = key.0.as_chunks::<8>();
        let [place, mark, ..] = marks else { return false };
        let place = u64::from_le_bytes(*place) % (SLOTS as u64);
        let Some(mark) = Mark::new(u64::from_le_bytes(*mark)) else { return false };
        let slot = usize::try_from(place).ok().and_then(|place| self.slots.get_mut(place));
        slot.is_some_and(|slot| slot.replace(mark) == Some(mark))
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.slots.fill(None);
    }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn key(number: u64) -> Digest {
        Digest(*blake3::hash(&number.to_le_bytes()).as_bytes())
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_key_is_known_from_its_second_time_until_all_is_forgotten() {
        let mut door = Doorkeeper::default();
        assert!(!door.knows(&key(1)));
        assert!(door.knows(&key(1)) && door.knows(&key(1)));
        assert!(!door.knows(&key(2)));
        door.clear();
        assert!(!door.knows(&key(1)) && !door.knows(&key(2)));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn nobody_is_known_for_another_and_the_memory_does_not_grow() {
        let mut door = Doorkeeper::default();
        for number in 0..100_000 {
            assert!(!door.knows(&key(number)), "{number}");
        }
        assert_eq!(door.slots.len(), SLOTS);
        let remembered = (0..100_000).filter(|number| door.knows(&key(*number))).count();
        assert!(remembered <= SLOTS, "{remembered}");
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn most_of_a_thousand_keys_are_remembered_together() {
        let mut door = Doorkeeper::default();
        for number in 0..1_000 {
            door.knows(&key(number));
        }
        let remembered = (0..1_000).filter(|number| door.knows(&key(*number))).count();
        assert!(remembered > 850, "{remembered}");
    }
}
