//! How a chain grows, and how its beginning goes.

use kt_contract::hex::Digest;
use kt_contract::time::UnixMillis;

use super::record::{Checkpoint, Event, Fact, Record};

/// From which the hashing key of links is derived.
pub(super) const LINK_CONTEXT: &str = "kt 2026-11 audit link v1";
/// From which the hash before an organization's first record is derived.
pub(super) const GENESIS_CONTEXT: &str = "kt 2026-11 audit genesis v1";

/// A place in a chain: the number of a record and its hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// The number; 0 before the first record.
    pub seq: u64,
    /// The hash, which stands for this record and for all before it.
    pub hash: Digest,
}

/// The chain of an organization, as far as its ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Whose it is.
    pub org: String,
    /// The last record that retention has removed; number 0 while it has removed none.
    pub base: Head,
    /// The newest record.
    pub head: Head,
}

/// A record as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its number.
    pub seq: u64,
    /// When it happened, for retention; the bytes say the same.
    pub at: UnixMillis,
    /// Its canonical bytes.
    pub bytes: Vec<u8>,
    /// Follows from the hash before it, and from its bytes.
    pub hash: Digest,
}

// === impl Head ===

impl Head {
    /// Before the first record of an organization.
    #[must_use]
    pub fn genesis(org: &str) -> Self {
        Self { seq: 0, hash: Digest(blake3::derive_key(GENESIS_CONTEXT, org.as_bytes())) }
    }
}

// === impl Chain ===

impl Chain {
    /// One without records.
    #[must_use]
    pub fn new(org: String) -> Self {
        let genesis = Head::genesis(&org);
        Self { org, base: genesis, head: genesis }
    }

    /// Puts the next record behind the newest one.
    #[must_use]
    pub fn append(&mut self, at: UnixMillis, event: Event) -> Link {
        let seq = self.head.seq.saturating_add(1);
        let record = Record { seq, fact: Fact { org: self.org.clone(), at, event } };
        let bytes = record.to_bytes();
        let hash = follow(self.head.hash, &bytes);
        self.head = Head { seq, hash };
        Link { seq, at, bytes, hash }
    }

    /// Everything up to a record goes: the record that says so, by which the rest can still be verified.
    #[must_use]
    pub fn forget(&mut self, through: Head, at: UnixMillis) -> Link {
        let Head { seq, hash } = through;
        let link = self.append(at, Event::Checkpoint(Checkpoint { through: seq, hash }));
        self.base = through;
        link
    }
}

/// The hash of a record behind another one.
fn follow(before: Digest, bytes: &[u8]) -> Digest {
    let mut hasher = blake3::Hasher::new_derive_key(LINK_CONTEXT);
    hasher.update(&before.0);
    hasher.update(&(bytes.len() as u64).to_be_bytes());
    hasher.update(bytes);
    Digest(*hasher.finalize().as_bytes())
}
