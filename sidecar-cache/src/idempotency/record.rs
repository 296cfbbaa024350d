//! A remembered answer as bytes: a head in JSON, the body, and a MAC over both and the key that they belong to.
//! Whoever reads it finds all of that as it was, or nothing.

use kt_contract::hex::Digest;
use kt_contract::key::OrgKeys;
use serde::{Deserialize, Serialize};

use super::{Fingerprint, Kept, ReplyId};

const VERSION: u16 = 1;
const MAC_BYTES: usize = 32;
/// The length of the head, before it.
const LENGTH_BYTES: usize = 4;

/// What is remembered of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which request it was.
    pub fingerprint: Fingerprint,
    /// How its answer begins.
    pub head: ReplyHead,
    /// What is there of its body.
    pub kept: Kept,
    /// That body; empty where it is not kept.
    pub body: Vec<u8>,
}

/// What a client was told of an answer before its body, and is told again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplyHead {
    /// The status.
    pub status: u16,
    /// The content type.
    pub content_type: Option<String>,
    /// The content encoding.
    pub content_encoding: Option<String>,
    /// `provider/model`.
    pub served_by: Option<String>,
}

/// It is not what was sealed for this key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a remembered answer is not what was written")]
pub struct Corrupt;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed {
    version: u16,
    fingerprint: Digest,
    head: ReplyHead,
    /// The length of a body that is not there.
    too_large: Option<u64>,
}

// === impl Record ===

impl Record {
    /// Its bytes, for one key of an organization.
    #[must_use]
    pub fn seal(&self, id: ReplyId, keys: &OrgKeys) -> Vec<u8> {
        let Self { fingerprint, head, kept, body } = self;
        let too_large = match kept {
            Kept::Whole => None,
            Kept::Length(bytes) => Some(*bytes),
        };
        let fingerprint = fingerprint.0;
        let sealed = Sealed { version: VERSION, fingerprint, head: head.clone(), too_large };
        // Numbers and text always have a JSON form, and nobody's head is that long.
        let sealed = serde_json::to_vec(&sealed).unwrap_or_default();
        let length = u32::try_from(sealed.len()).unwrap_or(u32::MAX);
        let mut bytes = [&length.to_be_bytes()[..], &sealed, body].concat();
        bytes.extend_from_slice(&mac(id, keys, &bytes).0);
        bytes
    }

    /// Reads them.
    ///
    /// # Errors
    /// Where they are not what was sealed for this key.
    pub fn open(id: ReplyId, keys: &OrgKeys, bytes: &[u8]) -> Result<Self, Corrupt> {
        let at = bytes.len().checked_sub(MAC_BYTES).ok_or(Corrupt)?;
        let (content, found) = bytes.split_at_checked(at).ok_or(Corrupt)?;
        // A checksum and no signature: who writes here has no need to guess.
        if mac(id, keys, content).0 != *found {
            return Err(Corrupt);
        }
        let (length, rest) = content.split_at_checked(LENGTH_BYTES).ok_or(Corrupt)?;
        let length = u32::from_be_bytes(length.try_into().map_err(|_| Corrupt)?);
        let length = usize::try_from(length).map_err(|_| Corrupt)?;
        let (sealed, body) = rest.split_at_checked(length).ok_or(Corrupt)?;
        let sealed: Sealed = serde_json::from_slice(sealed).map_err(|_| Corrupt)?;
        if sealed.version != VERSION {
            return Err(Corrupt);
        }
        Ok(Self {
            fingerprint: Fingerprint(sealed.fingerprint),
            head: sealed.head,
            kept: sealed.too_large.map_or(Kept::Whole, Kept::Length),
            body: body.to_vec(),
        })
    }
}

fn mac(id: ReplyId, keys: &OrgKeys, content: &[u8]) -> Digest {
    keys.reply_digest("mac", &[&id.0.0, content])
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: ReplyId = ReplyId(Digest([1; 32]));

    fn record() -> Record {
        Record {
            fingerprint: Fingerprint(Digest([7; 32])),
            head: ReplyHead {
                status: 200,
                content_type: Some("text/event-stream".to_owned()),
                content_encoding: None,
                served_by: Some("openai/gpt-4o".to_owned()),
            },
            kept: Kept::Whole,
            body: b"data: [DONE]\n\n\0\xff".to_vec(),
        }
    }

    #[test]
    fn what_is_sealed_comes_back_as_it_was() {
        let keys = OrgKeys::derive("acme");
        let too_large = Record { kept: Kept::Length(9_000_000), body: Vec::new(), ..record() };
        for record in [record(), too_large] {
            assert_eq!(Record::open(ID, &keys, &record.seal(ID, &keys)), Ok(record));
        }
    }

    #[test]
    fn what_was_changed_cut_or_belongs_to_another_key_is_nothing() {
        let keys = OrgKeys::derive("acme");
        let sealed = record().seal(ID, &keys);
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert_eq!(Record::open(ID, &keys, &changed), Err(Corrupt), "byte {at}");
            assert_eq!(Record::open(ID, &keys, &sealed[..at]), Err(Corrupt), "cut at {at}");
        }
        let other = ReplyId(Digest([2; 32]));
        assert_eq!(Record::open(other, &keys, &sealed), Err(Corrupt));
        assert_eq!(Record::open(ID, &OrgKeys::derive("umbrella"), &sealed), Err(Corrupt));
    }
}
