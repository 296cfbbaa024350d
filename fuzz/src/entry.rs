//! Entries. What was written is read again; nothing else is read: no flipped bit, no cut, no other organization's
//! entry, and no bytes that nobody sealed. Bytes that are sealed and are no entry are refused without a panic.
//!
//! The first line says what the rest is: `header` and the fields of an entry, one a line, then its body; or
//! `sealed` and what a header and a body would be made of; or else bytes as they lie.

use std::collections::BTreeSet;

use bytes::Bytes;
use kt_contract::gates::{Gates, ModelGate, Scope};
use kt_contract::hex::Digest;
use kt_contract::key::{CheckHash, OrgKeys};
use kt_contract::time::UnixMillis;
use kt_providers::{Recorded, Usage};
use sidecar_cache::entry::{Corrupt, Entry, Header};
use sidecar_cache::flight::{Epoch, Token};
use sidecar_cache::generation::{Generation, Vector};

use crate::choices::Choices;

const FLIPS: usize = 24;
const CUTS: usize = 8;
/// Magic and version.
const FORMAT_BYTES: usize = 6;

/// The fields of an entry, a line each.
struct Lines<'a>(&'a [u8]);

/// Takes any bytes.
pub fn check(input: &[u8]) {
    let keys = OrgKeys::derive("acme");
    let mut choices = Choices::of(input);
    let mut lines = Lines(input);
    match lines.next() {
        b"header" => check_written(&mut lines, &keys, &mut choices),
        b"sealed" => check_sealed(lines.0, &keys, &mut choices),
        _ => assert!(Entry::decode(&Bytes::copy_from_slice(input), &keys).is_err()),
    }
}

fn check_written(lines: &mut Lines<'_>, keys: &OrgKeys, choices: &mut Choices) {
    let header = lines.header();
    let entry = Entry { header, body: Bytes::copy_from_slice(lines.0) };
    let bytes = Entry::encode(&entry.header, &entry.body, keys);
    assert_eq!(Entry::decode(&bytes.clone().into(), keys), Ok(entry.clone()));
    let other = OrgKeys::derive("acm");
    assert_eq!(Entry::decode(&bytes.clone().into(), &other), Err(Corrupt::Mac));
    let Header { gates, check, .. } = &entry.header;
    assert_eq!(entry.header.verify(gates, check), Ok(()));
    for _ in 0..FLIPS {
        let mut flipped = bytes.clone();
        let at = choices.below(bytes.len());
        flipped[at] ^= 1 << choices.below(8);
        assert!(Entry::decode(&flipped.into(), keys).is_err(), "read with byte {at} flipped");
    }
    for _ in 0..CUTS {
        let at = choices.below(bytes.len());
        let cut = Bytes::copy_from_slice(&bytes[..at]);
        assert!(Entry::decode(&cut, keys).is_err(), "read when cut at {at}");
    }
}

/// Puts a format, a length and a MAC around bytes, so that they come as far as somebody's who has the key.
fn check_sealed(inner: &[u8], keys: &OrgKeys, choices: &mut Choices) {
    let format = Entry::encode(&Lines(b"").header(), b"", keys);
    let header_bytes = choices.below(inner.len() + 2);
    let mut bytes = format[..FORMAT_BYTES].to_vec();
    bytes.extend_from_slice(&u32::try_from(header_bytes).unwrap().to_be_bytes());
    bytes.extend_from_slice(inner);
    bytes.extend_from_slice(&keys.entry_mac(&bytes).0);
    if let Ok(entry) = Entry::decode(&bytes.into(), keys) {
        let again = Entry::encode(&entry.header, &entry.body, keys);
        assert_eq!(Entry::decode(&again.into(), keys), Ok(entry));
    }
}

// === impl Lines ===

impl<'a> Lines<'a> {
    /// The next line; empty when there is no more.
    fn next(&mut self) -> &'a [u8] {
        let mut halves = self.0.splitn(2, |byte| *byte == b'\n');
        let line = halves.next().unwrap_or_default();
        self.0 = halves.next().unwrap_or_default();
        line
    }

    fn text(&mut self) -> String {
        String::from_utf8_lossy(self.next()).into_owned()
    }

    /// A text that may be missing: a line that is `-`.
    fn optional(&mut self) -> Option<String> {
        Some(self.text()).filter(|text| text != "-")
    }

    fn list(&mut self) -> BTreeSet<String> {
        self.text().split(',').filter(|word| !word.is_empty()).map(str::to_owned).collect()
    }

    /// A number, or a digest of what is none.
    fn number(&mut self) -> u64 {
        let line = self.next();
        let number = std::str::from_utf8(line).ok().and_then(|text| text.parse().ok());
        number.unwrap_or_else(|| {
            u64::from_be_bytes(*blake3::hash(line).as_bytes().first_chunk().unwrap())
        })
    }

    fn digest(&mut self) -> Digest {
        Digest(*blake3::hash(self.next()).as_bytes())
    }

    fn header(&mut self) -> Header {
        Header {
            gates: self.gates(),
            check: CheckHash(self.digest()),
            generations: Vector::from_numbers(
                self.list().iter().map(|word| Generation(word.len() as u64)).collect(),
            ),
            token: Token { epoch: Epoch(self.number()), counter: self.number() },
            created: UnixMillis(self.number()),
            fresh_until: UnixMillis(self.number()),
            recorded: if self.next() == b"sse" { Recorded::Sse } else { Recorded::Json },
            usage: match self.next() {
                b"-" => None,
                _ => Some(Usage {
                    uncached_input_tokens: self.number(),
                    cache_read_tokens: self.number(),
                    cache_write_tokens: self.number(),
                    cache_write_long_tokens: self.number(),
                    output_tokens: self.number(),
                }),
            },
            served_by: self.text(),
        }
    }

    fn gates(&mut self) -> Gates {
        Gates {
            org: self.text(),
            scope: match self.next() {
                b"key" => Scope::PrivateEdge { key_id: self.text() },
                b"gateway" => Scope::PhysicalGateway { gateway: self.text() },
                _ => Scope::OrgShared { group: self.optional() },
            },
            codebases: self.list(),
            fabric: self.optional(),
            policy: self.digest(),
            model: ModelGate {
                dialect: self.text(),
                path: self.text(),
                provider: self.text(),
                upstream: self.text(),
                served_model: self.text(),
                version: self.optional(),
            },
            entitlements: self.list(),
        }
    }
}
