//! What a word is told by, and sets of words that are asked for every word of a text.

/// How many bits say which words there are in terms.
const SLOTS: usize = 16_384;

/// What a word is told by. Words with the same are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Digest(u32);

/// A set of words that also has some others: nearly every word of a text ends here.
#[derive(Debug, Default)]
pub(super) struct Slots(Vec<u64>);

/// FNV-1a, with characters for bytes.
pub(super) fn hash(word: impl Iterator<Item = char>) -> u32 {
    let with = |hash: u32, char| (hash ^ u32::from(char)).wrapping_mul(0x0100_0193);
    word.fold(0x811C_9DC5, with)
}

// === impl Digest ===

impl Digest {
    /// Of a word in ASCII its length, its first four characters and its last: no more has to be read of it.
    #[inline]
    pub(super) fn of_ascii(word: &[u8]) -> Self {
        let head = match word.first_chunk() {
            Some(head) => u32::from_le_bytes(*head),
            None => word.iter().rev().fold(0, |head, byte| head << 8 | u32::from(*byte)),
        };
        let last = word.last().map_or(0, |last| u32::from(*last | 0x20));
        let length = u32::try_from(word.len()).unwrap_or(u32::MAX);
        // Of letters the small one, and of digits the digit.
        let head = head | 0x2020_2020;
        Self((head ^ last.rotate_left(13) ^ length.rotate_left(21)).wrapping_mul(0x9E37_79B1))
    }

    /// Of any other word all its characters.
    pub(super) fn of_chars(word: impl Iterator<Item = char>) -> Self {
        Self(hash(word))
    }

    /// Of this word and the next.
    pub(super) const fn before(self, next: Self) -> Self {
        Self((self.0.rotate_left(7) ^ next.0).wrapping_mul(0x9E37_79B1))
    }

    /// The word of the slots and the bit in it.
    const fn slot(self) -> (usize, u64) {
        // The first bits are those that all others have gone into.
        let slot = (self.0 >> 18) as usize % SLOTS;
        (slot / 64, 1 << (slot % 64))
    }
}

// === impl Slots ===

impl Slots {
    pub(super) fn insert(&mut self, word: Digest) {
        self.0.resize(SLOTS / 64, 0);
        let (at, bit) = word.slot();
        if let Some(bits) = self.0.get_mut(at) {
            *bits |= bit;
        }
    }

    #[inline]
    pub(super) fn may_have(&self, word: Digest) -> bool {
        let (at, bit) = word.slot();
        self.0.get(at).is_some_and(|bits| bits & bit != 0)
    }
}
