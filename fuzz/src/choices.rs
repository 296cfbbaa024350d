//! Choices that a target makes on its own: they follow from the input alone, so that a finding is found again.

/// A source of choices.
pub(crate) struct Choices(u64);

// === impl Choices ===

impl Choices {
    /// The choices of an input.
    pub(crate) fn of(input: &[u8]) -> Self {
        let digest = blake3::hash(input);
        let seed = digest.as_bytes().first_chunk::<8>().unwrap();
        // The generator stays at zero if it starts there.
        Self(u64::from_le_bytes(*seed) | 1)
    }

    /// A number below `end`, which is not zero.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % end as u64).unwrap()
    }

    /// The input in pieces, most of them short.
    pub(crate) fn pieces<'a>(&mut self, mut input: &'a [u8]) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        while !input.is_empty() {
            let longest = [1, 3, 16, 256][self.below(4)];
            let length = (1 + self.below(longest)).min(input.len());
            let (piece, rest) = input.split_at(length);
            pieces.push(piece);
            input = rest;
        }
        pieces
    }

    /// A text in pieces. Whoever takes them reads again with each what is held back: a long text comes in pieces that are
    /// longer, not in more of them.
    pub(crate) fn pieces_of_text<'a>(&mut self, mut text: &'a str) -> Vec<&'a str> {
        let longest = (text.len() / 16).max(24);
        let mut pieces = Vec::new();
        while !text.is_empty() {
            let mut at = (self.below(longest) + 1).min(text.len());
            while !text.is_char_boundary(at) {
                at += 1;
            }
            let (piece, rest) = text.split_at(at);
            pieces.push(piece);
            text = rest;
        }
        pieces
    }
}
