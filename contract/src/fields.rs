//! A keyed hash over length-prefixed fields: ("ab", "c") and ("a", "bc") never meet.

use crate::hex::Digest;

/// Collects fields; their number and order are part of what is hashed.
pub(crate) struct Fields(blake3::Hasher);

// === impl Fields ===

impl Fields {
    pub(crate) fn keyed(key: &[u8; 32]) -> Self {
        Self(blake3::Hasher::new_keyed(key))
    }

    pub(crate) fn field(&mut self, bytes: &[u8]) {
        self.count(bytes.len());
        self.0.update(bytes);
    }

    /// `None` and `Some("")` differ: the count comes first.
    pub(crate) fn optional(&mut self, text: Option<&str>) {
        self.list(text);
    }

    /// The number of items, then each as a field.
    pub(crate) fn list<I>(&mut self, items: I)
    where
        I: IntoIterator<IntoIter: ExactSizeIterator, Item: AsRef<str>>,
    {
        let items = items.into_iter();
        self.count(items.len());
        for item in items {
            self.field(item.as_ref().as_bytes());
        }
    }

    pub(crate) fn finish(&self) -> Digest {
        Digest(*self.0.finalize().as_bytes())
    }

    fn count(&mut self, count: usize) {
        self.0.update(&(count as u64).to_be_bytes());
    }
}
