//! A hasher for many small parts: they are collected and hashed in long runs, which halves the time for an
//! ordinary request. What is hashed does not depend on how it was cut.

/// How many bytes are collected.
const RUN_BYTES: usize = 4 << 10;

pub(super) struct Buffered {
    hasher: blake3::Hasher,
    run: Vec<u8>,
}

// === impl Buffered ===

impl Buffered {
    pub(super) fn keyed(key: &[u8; 32]) -> Self {
        Self { hasher: blake3::Hasher::new_keyed(key), run: Vec::with_capacity(RUN_BYTES) }
    }

    pub(super) fn put(&mut self, part: &[u8]) {
        if self.run.len() + part.len() > RUN_BYTES {
            self.hasher.update(&self.run);
            self.run.clear();
        }
        // Images need not be copied.
        if part.len() > RUN_BYTES {
            self.hasher.update(part);
        } else {
            self.run.extend_from_slice(part);
        }
    }

    pub(super) fn finish(mut self) -> blake3::OutputReader {
        self.hasher.update(&self.run);
        self.hasher.finalize_xof()
    }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn it_does_not_matter_how_the_bytes_are_cut() {
        let bytes: Vec<u8> = (0..3 * RUN_BYTES).map(|at| u8::try_from(at % 251).unwrap()).collect();
        let whole = *blake3::keyed_hash(&[7; 32], &bytes).as_bytes();
        for step in [1, 9, RUN_BYTES - 1, RUN_BYTES, RUN_BYTES + 1, 2 * RUN_BYTES, bytes.len()] {
            for first in [0, 1, RUN_BYTES] {
                let mut hasher = Buffered::keyed(&[7; 32]);
                let (head, rest) = bytes.split_at(first);
                hasher.put(head);
                rest.chunks(step).for_each(|part| hasher.put(part));
                let mut digest = [0; 32];
                hasher.finish().fill(&mut digest);
                assert_eq!(digest, whole, "{first}, then steps of {step}");
            }
        }
    }
}
