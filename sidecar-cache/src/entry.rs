//! A stored answer as bytes: what it is, for whom it may be told, and the proof that nobody changed it.
//!
//! ```text
//! magic "kte1" · version u16 · header length u32 · header · body · MAC (32 bytes)
//! header: gates in full · check hash · generations · token · created · fresh_until · shape · usage · served_by
//!         · body length
//! ```
//!
//! The MAC is a keyed BLAKE3 over everything before it, under a key of the organization. Whoever reads
//! verifies everything, every time; a store never hands out bytes as an answer. Which entries exist, and for
//! how long, is the store's business.

mod codec;

use bytes::Bytes;
use kt_contract::gates::Gates;
use kt_contract::hex::Digest;
use kt_contract::key::{CheckHash, OrgKeys};
use kt_contract::outcome::Reason;
use kt_contract::time::UnixMillis;
use kt_providers::{Recorded, Usage};

use crate::flight::Token;
use crate::generation::Vector;
use codec::{Reader, Writer};

const MAGIC: [u8; 4] = *b"kte1";
const VERSION: u16 = 3;
const MAC_BYTES: usize = 32;
/// Magic, version, header length.
const PREFIX_BYTES: usize = 10;
/// Far more than gates can have; a header length beyond it is refused before anything is read.
const HEADER_BYTES_MAX: usize = 64 << 10;

/// A stored answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub header: Header,
    /// The answer, byte for byte as the provider sent it.
    pub body: Bytes,
}

/// What a stored answer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// All that a reader's gates must equal.
    pub gates: Gates,
    /// The independent hash of gates and request.
    pub check: CheckHash,
    /// The generations of its tags when its lease was acquired.
    pub generations: Vector,
    /// The lease under which it was filled.
    pub token: Token,
    /// When it was filled, for people: expiry is the store's.
    pub created: UnixMillis,
    /// Until when it was meant to stay fresh, for people.
    pub fresh_until: UnixMillis,
    /// The shape in which the provider answered; the content type follows from it.
    pub recorded: Recorded,
    /// What it took, where the provider said so.
    pub usage: Option<Usage>,
    /// `provider/model` that answered.
    pub served_by: String,
}

/// Bytes that are no entry, or not this organization's, or not what was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Corrupt {
    /// Shorter than an entry can be.
    #[error("too short")]
    TooShort,
    /// Another format, or another version of this one.
    #[error("unknown format or version")]
    Format,
    /// The MAC does not fit.
    #[error("wrong MAC")]
    Mac,
    /// The header cannot be read.
    #[error("malformed header")]
    Header,
    /// The body has another length than the header says.
    #[error("wrong body length")]
    BodyLength,
}

/// An entry that is whole, and not for this reader. It should not have been found under this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mismatch {
    /// A gate differs.
    Gate(Reason),
    /// The gates are equal and the check hash is not.
    Check,
}

// === impl Entry ===

impl Entry {
    /// The entry as bytes, under the MAC of its organization.
    #[must_use]
    pub fn encode(header: &Header, body: &[u8], keys: &OrgKeys) -> Vec<u8> {
        let mut head = Writer::new();
        header.write(&mut head);
        head.u64(body.len() as u64);
        let head = head.into_bytes();

        let mut bytes = Vec::with_capacity(PREFIX_BYTES + head.len() + body.len() + MAC_BYTES);
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_be_bytes());
        bytes.extend_from_slice(&u32::try_from(head.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(&head);
        bytes.extend_from_slice(body);
        let mac = keys.entry_mac(&bytes);
        bytes.extend_from_slice(&mac.0);
        bytes
    }

    /// Reads an entry of the organization of `keys`, verifying everything that can be verified without
    /// knowing who asks.
    ///
    /// # Errors
    /// [`Corrupt`] for anything else than what [`Self::encode`] wrote under the same keys.
    pub fn decode(bytes: &Bytes, keys: &OrgKeys) -> Result<Self, Corrupt> {
        let sealed = bytes.len().checked_sub(MAC_BYTES).ok_or(Corrupt::TooShort)?;
        let (content, mac) = bytes.split_at_checked(sealed).ok_or(Corrupt::TooShort)?;
        let (prefix, _) = content.split_at_checked(PREFIX_BYTES).ok_or(Corrupt::TooShort)?;
        if !prefix.starts_with(&MAGIC) || prefix.get(4..6) != Some(&VERSION.to_be_bytes()) {
            return Err(Corrupt::Format);
        }
        if !same_mac(&keys.entry_mac(content), mac) {
            return Err(Corrupt::Mac);
        }
        let (_, length) = prefix.split_last_chunk::<4>().ok_or(Corrupt::TooShort)?;
        let head_bytes = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        if head_bytes > HEADER_BYTES_MAX {
            return Err(Corrupt::Header);
        }
        let body_at = PREFIX_BYTES + head_bytes;
        let head = content.get(PREFIX_BYTES..body_at).ok_or(Corrupt::Header)?;
        let mut reader = Reader::new(head);
        let header = Header::read(&mut reader).ok_or(Corrupt::Header)?;
        let body_bytes = reader.u64().ok_or(Corrupt::Header)?;
        if !reader.is_at_end() {
            return Err(Corrupt::Header);
        }
        if body_bytes != (sealed - body_at) as u64 {
            return Err(Corrupt::BodyLength);
        }
        Ok(Self { header, body: bytes.slice(body_at..sealed) })
    }

    /// The organization that an entry says it is of, unverified: for housekeeping, and for nothing that anybody
    /// is told.
    #[must_use]
    pub fn whose(bytes: &[u8]) -> Option<String> {
        let (prefix, head) = bytes.split_first_chunk::<PREFIX_BYTES>()?;
        let is_entry = prefix.starts_with(&MAGIC) && prefix.get(4..6)? == VERSION.to_be_bytes();
        if is_entry { codec::first_text(head) } else { None }
    }
}

// === impl Header ===

impl Header {
    /// Compares all that must be equal before a reader may be told the answer.
    ///
    /// # Errors
    /// The first thing that differs: a miss, and a security event, because the key was the same.
    pub fn verify(&self, gates: &Gates, check: &CheckHash) -> Result<(), Mismatch> {
        match gates.first_difference(&self.gates) {
            Some(reason) => Err(Mismatch::Gate(reason)),
            None if self.check != *check => Err(Mismatch::Check),
            None => Ok(()),
        }
    }
}

/// In constant time, as it should be for MACs whoever may watch.
fn same_mac(computed: &Digest, found: &[u8]) -> bool {
    blake3::Hash::from_bytes(computed.0) == *found
}

#[cfg(test)]
mod tests;
