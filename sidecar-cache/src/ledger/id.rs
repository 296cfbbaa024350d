//! The ids of transfers. Whoever asks chooses them, so that a retry is known as one; the ids of what ends a hold
//! follow from the hold's.

use kt_contract::hex::{Digest, NotADigest};

/// The id of a transfer: 256 bits, of which a shorter id fills the first 128.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(pub Digest);

// === impl TransferId ===

impl TransferId {
    /// The id of the reserve for one upstream call of one request.
    #[must_use]
    pub fn of_reserve(org: &str, request_id: [u8; 16], attempt: u32) -> Self {
        Self::of(b"reserve", [org.as_bytes(), &request_id, &attempt.to_be_bytes()])
    }

    /// The id of what somebody asks for by hand, under a key of their own choice. The same key names other
    /// transfers of other organizations and operations.
    #[must_use]
    pub fn of_key(org: &str, operation: &str, key: &str) -> Self {
        Self::of(b"key", [org.as_bytes(), operation.as_bytes(), key.as_bytes()])
    }

    /// The id of what a gateway tells of an organization's calls without a sidecar, in a batch of one life of its Envoy.
    #[must_use]
    pub fn of_open_calls(org: &str, (gateway, epoch): (&str, [u8; 16]), number: u64) -> Self {
        let mut life = epoch.to_vec();
        life.extend_from_slice(&number.to_be_bytes());
        Self::of(b"open_calls", [org.as_bytes(), gateway.as_bytes(), &life])
    }

    /// An id of 128 bits.
    #[must_use]
    pub fn from_128(id: [u8; 16]) -> Self {
        let mut bytes = [0; 32];
        for (byte, from) in bytes.iter_mut().zip(id) {
            *byte = from;
        }
        Self(Digest(bytes))
    }

    /// Reads 32 or 64 lower-case hexadecimal digits.
    ///
    /// # Errors
    /// Anything else.
    pub fn from_hex(text: &str) -> Result<Self, NotADigest> {
        let padding = if text.len() == 32 { "0".repeat(32) } else { String::new() };
        Digest::from_hex(&format!("{text}{padding}")).map(Self)
    }

    /// The id of what `what` does to this hold; `nth` tells steps of one kind apart.
    #[must_use]
    pub fn of_step(self, what: &str, nth: u64) -> Self {
        Self::of(b"step", [&self.0.0, what.as_bytes(), &nth.to_be_bytes()])
    }

    fn of(domain: &[u8], fields: [&[u8]; 3]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for field in [domain].into_iter().chain(fields) {
            // Length first: ("ab", "c") and ("a", "bc") must not meet.
            let bytes = u64::try_from(field.len()).unwrap_or(u64::MAX);
            hasher.update(&bytes.to_be_bytes()).update(field);
        }
        Self(Digest(hasher.finalize().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_field_is_another_id() {
        let id = TransferId::of_reserve("acme", [1; 16], 1);
        assert_eq!(id, TransferId::of_reserve("acme", [1; 16], 1));
        for other in [
            TransferId::of_reserve("acm", [1; 16], 1),
            TransferId::of_reserve("acme", [2; 16], 1),
            TransferId::of_reserve("acme", [1; 16], 2),
            id.of_step("settle", 0),
            id.of_step("settle", 1),
            id.of_step("release", 0),
        ] {
            assert_ne!(id, other);
        }
        assert_ne!(id.of_step("settle", 0), id.of_step("release", 0));
        let id = TransferId::of_key("acme", "fund", "k");
        assert_eq!(id, TransferId::of_key("acme", "fund", "k"));
        for other in [("acm", "fund", "k"), ("acme", "adjust", "k"), ("acme", "fund", "l")] {
            let (org, operation, key) = other;
            assert_ne!(id, TransferId::of_key(org, operation, key), "{other:?}");
        }
    }

    #[test]
    fn both_lengths_are_read() {
        let short = TransferId::from_128([0xab; 16]);
        assert_eq!(TransferId::from_hex(&"ab".repeat(16)), Ok(short));
        assert_eq!(TransferId::from_hex(&short.0.to_hex()), Ok(short));
        for bad in ["", "ab", &"ab".repeat(17), &"AB".repeat(16)] {
            assert_eq!(TransferId::from_hex(bad), Err(NotADigest), "{bad}");
        }
    }
}
