//! Stored entries as bytes, and reading them as the product does: whole, verified, or not at all.

use std::collections::BTreeMap;

use bytes::Bytes;
use kt_contract::gates::Gates;
use kt_contract::key::{CacheKey, CheckHash, OrgKeys};
use kt_contract::time::{Millis, MonoMillis};
use sidecar_cache::entry::Entry;
use sidecar_cache::generation::Vector;

/// The entries of one store, by its clock.
#[derive(Debug, Default)]
pub(crate) struct Shelf(BTreeMap<CacheKey, Stored>);

/// An entry and its time.
#[derive(Clone, Debug)]
struct Stored {
    bytes: Bytes,
    at: MonoMillis,
    fresh: Millis,
}

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted<'a> {
    /// The hashing keys of the organization.
    pub keys: &'a OrgKeys,
    /// Every gate.
    pub gates: &'a Gates,
    /// Where.
    pub key: CacheKey,
    /// The check hash.
    pub check: CheckHash,
    /// What it belongs to by now; `None`: that is not compared, which is a bug.
    pub vector: Option<&'a Vector>,
    /// Whether gates are compared: not to do so is a bug.
    pub compares_gates: bool,
}

/// A fresh entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    /// It.
    pub entry: Entry,
    /// How long ago it was filled.
    pub age: Millis,
    /// How long it stays fresh.
    pub fresh: Millis,
}

// === impl Shelf ===

impl Shelf {
    /// Writes an entry in one step.
    pub(crate) fn fill(
        &mut self,
        key: CacheKey,
        bytes: Vec<u8>,
        (at, fresh): (MonoMillis, Millis),
    ) {
        self.0.insert(key, Stored { bytes: bytes.into(), at, fresh });
    }

    /// A fresh entry, verified. What cannot be verified is removed.
    pub(crate) fn look(&mut self, wanted: Wanted<'_>, now: MonoMillis) -> Option<Hit> {
        let Wanted { keys, gates, key, check, vector, compares_gates } = wanted;
        let Stored { bytes, at, fresh } = self.0.get(&key)?.clone();
        let age = now.since(at);
        if age >= fresh {
            self.0.remove(&key);
            return None;
        }
        let entry = Entry::decode(&bytes, keys).ok().filter(|entry| {
            let is_for_reader = !compares_gates || entry.header.verify(gates, &check).is_ok();
            is_for_reader && vector.is_none_or(|vector| entry.header.generations == *vector)
        });
        let Some(entry) = entry else {
            self.0.remove(&key);
            return None;
        };
        Some(Hit { entry, age, fresh: Millis(fresh.0.saturating_sub(age.0)) })
    }

    /// Forgets everything.
    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    /// What is stored, as bytes.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&CacheKey, &Bytes)> {
        self.0.iter().map(|(key, stored)| (key, &stored.bytes))
    }
}
