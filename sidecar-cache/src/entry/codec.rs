//! The header of an entry, field by field: fixed-width integers, and texts with their length in front. A
//! reader that meets anything unexpected says `None`; it never guesses.

use std::collections::BTreeSet;

use kt_contract::gates::{Gates, ModelGate, Scope};
use kt_contract::hex::Digest;
use kt_contract::key::CheckHash;
use kt_contract::time::UnixMillis;
use kt_providers::{Recorded, Usage};

use super::Header;
use crate::flight::{Epoch, Token};
use crate::generation::{Generation, Vector};

pub(super) struct Writer(Vec<u8>);

pub(super) struct Reader<'a>(&'a [u8]);

// === impl Header ===

impl Header {
    pub(super) fn write(&self, out: &mut Writer) {
        // Destructured, so that a new field does not compile until it is written.
        let Self {
            gates,
            check,
            generations,
            token,
            created,
            fresh_until,
            recorded,
            usage,
            served_by,
        } = self;
        write_gates(gates, out);
        out.digest(&check.0);
        out.numbers(generations);
        out.u64(token.epoch.0);
        out.u64(token.counter);
        out.u64(created.0);
        out.u64(fresh_until.0);
        out.u8(match recorded {
            Recorded::Json => 0,
            Recorded::Sse => 1,
        });
        out.u8(u8::from(usage.is_some()));
        if let Some(usage) = usage {
            write_usage(*usage, out);
        }
        out.text(served_by);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Option<Self> {
        Some(Self {
            gates: read_gates(from)?,
            check: CheckHash(from.digest()?),
            generations: from.numbers()?,
            token: Token { epoch: Epoch(from.u64()?), counter: from.u64()? },
            created: UnixMillis(from.u64()?),
            fresh_until: UnixMillis(from.u64()?),
            recorded: match from.u8()? {
                0 => Recorded::Json,
                1 => Recorded::Sse,
                _ => return None,
            },
            usage: match from.u8()? {
                0 => None,
                1 => Some(read_usage(from)?),
                _ => return None,
            },
            served_by: from.text()?,
        })
    }
}

/// The text that a header begins with: its organization.
pub(super) fn first_text(head: &[u8]) -> Option<String> {
    Reader::new(head).text()
}

fn write_usage(usage: Usage, out: &mut Writer) {
    let Usage {
        uncached_input_tokens,
        cache_read_tokens,
        cache_write_tokens,
        cache_write_long_tokens,
        output_tokens,
    } = usage;
    out.u64(uncached_input_tokens);
    out.u64(cache_read_tokens);
    out.u64(cache_write_tokens);
    out.u64(cache_write_long_tokens);
    out.u64(output_tokens);
}

fn read_usage(from: &mut Reader<'_>) -> Option<Usage> {
    Some(Usage {
        uncached_input_tokens: from.u64()?,
        cache_read_tokens: from.u64()?,
        cache_write_tokens: from.u64()?,
        cache_write_long_tokens: from.u64()?,
        output_tokens: from.u64()?,
    })
}

fn write_gates(gates: &Gates, out: &mut Writer) {
    let Gates { org, scope, codebases, fabric, policy, model, entitlements } = gates;
    let ModelGate { dialect, path, provider, upstream, served_model, version } = model;
    out.text(org);
    match scope {
        Scope::OrgShared { group } => {
            out.u8(0);
            out.optional(group.as_deref());
        }
        Scope::PrivateEdge { key_id } => {
            out.u8(1);
            out.text(key_id);
        }
        Scope::PhysicalGateway { gateway } => {
            out.u8(2);
            out.text(gateway);
        }
    }
    out.list(codebases);
    out.optional(fabric.as_deref());
    out.digest(policy);
    for text in [dialect, path, provider, upstream, served_model] {
        out.text(text);
    }
    out.optional(version.as_deref());
    out.list(entitlements);
}

fn read_gates(from: &mut Reader<'_>) -> Option<Gates> {
    Some(Gates {
        org: from.text()?,
        scope: match from.u8()? {
            0 => Scope::OrgShared { group: from.optional()? },
            1 => Scope::PrivateEdge { key_id: from.text()? },
            2 => Scope::PhysicalGateway { gateway: from.text()? },
            _ => return None,
        },
        codebases: from.list()?,
        fabric: from.optional()?,
        policy: from.digest()?,
        model: ModelGate {
            dialect: from.text()?,
            path: from.text()?,
            provider: from.text()?,
            upstream: from.text()?,
            served_model: from.text()?,
            version: from.optional()?,
        },
        entitlements: from.list()?,
    })
}

// === impl Writer ===

impl Writer {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(512))
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn u64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_be_bytes());
    }

    fn u8(&mut self, number: u8) {
        self.0.push(number);
    }

    fn u32(&mut self, number: usize) {
        // Lengths of texts that came in a bounded request; a longer one would fail to read, not to write.
        self.0.extend_from_slice(&u32::try_from(number).unwrap_or(u32::MAX).to_be_bytes());
    }

    fn digest(&mut self, digest: &Digest) {
        self.0.extend_from_slice(&digest.0);
    }

    fn text(&mut self, text: &str) {
        self.u32(text.len());
        self.0.extend_from_slice(text.as_bytes());
    }

    fn optional(&mut self, text: Option<&str>) {
        self.u8(u8::from(text.is_some()));
        if let Some(text) = text {
            self.text(text);
        }
    }

    fn numbers(&mut self, vector: &Vector) {
        self.u32(vector.numbers().len());
        for number in vector.numbers() {
            self.u64(number.0);
        }
    }

    fn list(&mut self, texts: &BTreeSet<String>) {
        self.u32(texts.len());
        for text in texts {
            self.text(text);
        }
    }
}

// === impl Reader ===

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    pub(super) const fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn u64(&mut self) -> Option<u64> {
        self.chunk().map(u64::from_be_bytes)
    }

    fn u8(&mut self) -> Option<u8> {
        self.chunk().map(u8::from_be_bytes)
    }

    fn length(&mut self) -> Option<usize> {
        self.chunk().map(u32::from_be_bytes).and_then(|length| usize::try_from(length).ok())
    }

    fn digest(&mut self) -> Option<Digest> {
        self.chunk().map(Digest)
    }

    fn text(&mut self) -> Option<String> {
        let length = self.length()?;
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        std::str::from_utf8(text).ok().map(str::to_owned)
    }

    #[expect(clippy::option_option, reason = "the outer one says whether it could be read")]
    fn optional(&mut self) -> Option<Option<String>> {
        match self.u8()? {
            0 => Some(None),
            1 => self.text().map(Some),
            _ => None,
        }
    }

    fn numbers(&mut self) -> Option<Vector> {
        let count = self.length()?;
        // As with texts, a false count ends with the bytes.
        let numbers = (0..count).map(|_| self.u64().map(Generation)).collect::<Option<Vec<_>>>()?;
        Some(Vector::from_numbers(numbers))
    }

    fn list(&mut self) -> Option<BTreeSet<String>> {
        let count = self.length()?;
        let mut texts = BTreeSet::new();
        // Each text takes bytes, so a false count ends with them and cannot allocate beyond them.
        for _ in 0..count {
            texts.insert(self.text()?);
        }
        Some(texts)
    }

    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (chunk, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*chunk)
    }
}
