//! Entries in Redis. An entry is one value with a time to live, so that a reader finds a whole one or none; what
//! is known about many of them (which share a request, which are an organization's) lies beside, is written
//! before the entry, and is put right whenever somebody comes by.
//!
//! What differs from a store in memory: bounds on all entries are Redis's own (`maxmemory`), an entry that has
//! expired was never there, and what is held is what was last heard, here, of each organization.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use kt_contract::hex::Digest;
use kt_contract::key::CacheKey;
use kt_contract::time::Millis;
use redis::{FromRedisValue, Value};

use super::fault::Fault;
use super::label::{self, LABEL_BYTES, Label};
use super::names::{Names, OrgId};
use super::{READ, Redis, Script, WRITE};
use crate::store::health::Health;
use crate::store::{
    Address, Answer, Bounds, EntryStore, Found, Held, Lookup, NewEntry, OrgHeld, StoreError,
};

/// How many entries of a request are remembered.
const NEAR_MAX: usize = 64;
/// How many entries are removed in one step.
const CHUNK: usize = 250;
/// No entry lives longer than ten years; Redis refuses what overflows its clock.
const LIFETIME_MAX: u64 = 10 * 365 * 86_400_000;

/// The backend `redis`. Clones share what they have heard.
#[derive(Clone)]
pub struct RedisEntries {
    redis: Redis,
    shared: Arc<Shared>,
}

struct Shared {
    org_bytes_max: AtomicU64,
    evicted: AtomicU64,
    expired: AtomicU64,
    /// What each organization holds, as last heard.
    heard: Mutex<BTreeMap<String, (u64, u64)>>,
    scripts: Scripts,
}

struct Scripts {
    org_add: Script,
    org_forget: Script,
    near_add: Script,
    purge: Script,
}

// === impl RedisEntries ===

impl RedisEntries {
    /// The entries in a Redis. Of the bounds, that on an organization holds.
    #[must_use]
    pub fn new(redis: Redis, bounds: Bounds) -> Self {
        let scripts = Scripts {
            org_add: Script::new(&[include_str!("scripts/org_add.lua")]),
            org_forget: Script::new(&[include_str!("scripts/org_forget.lua")]),
            near_add: Script::new(&[include_str!("scripts/near_add.lua")]),
            purge: Script::new(&[include_str!("scripts/purge.lua")]),
        };
        let shared = Shared {
            org_bytes_max: AtomicU64::new(bounds.org_bytes_max),
            evicted: AtomicU64::new(0),
            expired: AtomicU64::new(0),
            heard: Mutex::default(),
            scripts,
        };
        Self { redis, shared: Arc::new(shared) }
    }

    /// Asks what every organization holds, those included that this process has not heard of.
    ///
    /// # Errors
    /// [`StoreError`] where Redis does not say.
    pub async fn measure(&self) -> Result<(), StoreError> {
        let mut command = redis::cmd("HVALS");
        command.arg(self.names().orgs());
        let names: Vec<String> = read(self.redis.ask(&command, WRITE).await?)?;
        for org in names {
            self.org_forget(Some(&org), OrgId::of(&org), &[]).await?;
        }
        Ok(())
    }

    /// Tells once more what organizations are called where that has been evicted: of those that this process has heard of
    /// some are not known there. To ask keeps the names in use.
    ///
    /// # Errors
    /// [`StoreError`] where Redis does not say.
    pub async fn name_again(&self) -> Result<(), StoreError> {
        let mut command = redis::cmd("HLEN");
        command.arg(self.names().orgs());
        let known: usize = read(self.redis.ask(&command, WRITE).await?)?;
        let heard: Vec<String> = self.heard().keys().cloned().collect();
        if known < heard.len() {
            for org in heard {
                self.name(&org).await?;
            }
        }
        Ok(())
    }

    fn names(&self) -> Names<'_> {
        Names(&self.redis.prefix)
    }

    async fn get(&self, key: &CacheKey) -> Result<Option<Found>, Fault> {
        let name = self.names().entry(key);
        let mut commands = redis::pipe();
        // Not in a transaction, which a Redis that is full refuses even to readers.
        commands.pttl(&name).get(&name);
        let (left, value): (i64, Option<Vec<u8>>) =
            read(self.redis.ask_for_all(&commands, READ).await?)?;
        // One without an end was not filled by us; it is found, and does not stay.
        let left = Millis(u64::try_from(left).unwrap_or(0));
        Ok(value.map(|value| label::found(value.into(), left)))
    }

    /// Notes the entry with its organization and its request. Those that must give way do so first: no index knows of them
    /// any more, whatever becomes of the entry.
    pub(super) async fn announce(&self, entry: &Announced<'_>) -> Result<(), Fault> {
        let Announced { at, org, bytes, lifetime } = *entry;
        let id = OrgId::of(org);
        let scripts = &self.shared.scripts;
        if !self.heard().contains_key(org) {
            self.name(org).await?;
        }

        let near = self.names().near(&at.request);
        let lifetime = lifetime.0.to_string();
        let count = NEAR_MAX.to_string();
        let arguments = [&at.key.0.0[..], lifetime.as_bytes(), count.as_bytes()];
        self.redis.run(&scripts.near_add, &[&near], &arguments, WRITE).await?;

        let [expiries, sizes] = self.names().org(id);
        let bytes = bytes.to_string();
        let max = self.shared.org_bytes_max.load(Ordering::Relaxed).to_string();
        let arguments = [&at.key.0.0[..], bytes.as_bytes(), lifetime.as_bytes(), max.as_bytes()];
        let keys = [expiries.as_str(), sizes.as_str()];
        let answer = self.redis.run(&scripts.org_add, &keys, &arguments, WRITE).await?;
        let (entries, bytes, expired, given_up): (u64, u64, u64, Vec<Vec<u8>>) = read(answer)?;
        self.hears(org, entries, bytes);
        self.shared.expired.fetch_add(expired, Ordering::Relaxed);
        self.shared.evicted.fetch_add(given_up.len() as u64, Ordering::Relaxed);
        self.remove(&given_up).await?;
        Ok(())
    }

    /// Removes entries by their keys as an index has them. Returns how many there were.
    async fn remove(&self, entries: &[Vec<u8>]) -> Result<u64, Fault> {
        let mut removed = 0;
        for chunk in entries.chunks(CHUNK) {
            let mut command = redis::cmd("UNLINK");
            chunk.iter().filter_map(|entry| cache_key(entry)).for_each(|key| {
                command.arg(self.names().entry(&key));
            });
            removed += read::<u64>(self.redis.ask(&command, WRITE).await?)?;
        }
        Ok(removed)
    }

    /// The value of an entry, and for how long it lives. `None`: it may not be kept.
    pub(super) fn value(&self, entry: &NewEntry) -> Option<(Vec<u8>, Millis)> {
        let NewEntry { at: _, org, bytes, lifetime } = entry;
        let whole = Millis(label::whole(*lifetime).0.min(LIFETIME_MAX));
        let may_be_kept =
            whole.0 > 0 && bytes.len() as u64 <= self.shared.org_bytes_max.load(Ordering::Relaxed);
        let label = Label { lifetime: *lifetime, org: OrgId::of(org) };
        may_be_kept.then(|| ([&label.write(), bytes.as_slice()].concat(), whole))
    }

    async fn put(&self, entry: NewEntry) -> Result<(), Fault> {
        let name = self.names().entry(&entry.at.key);
        let Some((value, lifetime)) = self.value(&entry) else {
            // What was there is older.
            self.redis.ask(redis::cmd("UNLINK").arg(&name), WRITE).await?;
            return Ok(());
        };
        self.announce(&Announced::of(&entry, lifetime)).await?;
        let mut command = redis::cmd("SET");
        command.arg(&name).arg(value).arg("PX").arg(lifetime.0);
        self.redis.ask(&command, WRITE).await?;
        Ok(())
    }

    async fn purge_one(&self, key: CacheKey, seen: Option<Bytes>) -> Result<bool, Fault> {
        let name = self.names().entry(&key);
        let length = LABEL_BYTES.to_string();
        let arguments: Vec<&[u8]> =
            [length.as_bytes()].into_iter().chain(seen.as_deref()).collect();
        let script = &self.shared.scripts.purge;
        let answer = self.redis.run(script, &[&name], &arguments, WRITE).await?;
        let Some(label) = read::<Option<Vec<u8>>>(answer)? else { return Ok(false) };
        if let Some(label) = Label::read(&label) {
            let org = self.name_of(label.org).await?;
            self.org_forget(org.as_deref(), label.org, &[key.0.0.to_vec()]).await?;
        }
        Ok(true)
    }

    async fn name(&self, org: &str) -> Result<(), Fault> {
        let mut command = redis::cmd("HSET");
        command.arg(self.names().orgs()).arg(&OrgId::of(org).0.to_be_bytes()[..]).arg(org);
        self.redis.ask(&command, WRITE).await?;
        Ok(())
    }

    /// `None`: nobody says any more, for names are evicted too.
    async fn name_of(&self, org: OrgId) -> Result<Option<String>, Fault> {
        let mut command = redis::cmd("HGET");
        command.arg(self.names().orgs()).arg(&org.0.to_be_bytes()[..]);
        read(self.redis.ask(&command, WRITE).await?)
    }

    async fn purge_all(&self, org: &str) -> Result<u64, Fault> {
        let id = OrgId::of(org);
        let [expiries, _] = self.names().org(id);
        let mut removed = 0;
        loop {
            let mut command = redis::cmd("ZRANGE");
            command.arg(&expiries).arg(0).arg(CHUNK - 1);
            let entries: Vec<Vec<u8>> = read(self.redis.ask(&command, WRITE).await?)?;
            if entries.is_empty() {
                return Ok(removed);
            }
            removed += self.remove(&entries).await?;
            self.org_forget(Some(org), id, &entries).await?;
        }
    }

    /// Entries of an organization are gone.
    async fn org_forget(
        &self,
        org: Option<&str>,
        id: OrgId,
        entries: &[Vec<u8>],
    ) -> Result<(), Fault> {
        let [expiries, sizes] = self.names().org(id);
        let arguments: Vec<&[u8]> = entries.iter().map(Vec::as_slice).collect();
        let script = &self.shared.scripts.org_forget;
        let keys = [expiries.as_str(), sizes.as_str()];
        let answer = self.redis.run(script, &keys, &arguments, WRITE).await?;
        let (entries, bytes): (u64, u64) = read(answer)?;
        if let Some(org) = org {
            self.hears(org, entries, bytes);
        }
        Ok(())
    }

    async fn nearest(&self, request: Digest, count: usize) -> Result<Vec<Bytes>, Fault> {
        let name = self.names().near(&request);
        let mut command = redis::cmd("ZREVRANGE");
        command.arg(&name).arg(0).arg(NEAR_MAX - 1);
        let known: Vec<Vec<u8>> = read(self.redis.ask(&command, READ).await?)?;
        let (mut near, mut gone) = (Vec::new(), Vec::new());
        for entry in known {
            if near.len() >= count {
                break;
            }
            match cache_key(&entry) {
                Some(key) => match self.get(&key).await? {
                    Some(found) if found.fresh > Millis(0) => near.push(found.bytes),
                    Some(_) => {}
                    None => gone.push(entry),
                },
                None => gone.push(entry),
            }
        }
        if !gone.is_empty() {
            let mut command = redis::cmd("ZREM");
            command.arg(&name).arg(gone);
            self.redis.ask(&command, READ).await?;
        }
        Ok(near)
    }

    fn hears(&self, org: &str, entries: u64, bytes: u64) {
        let mut heard = self.heard();
        if entries == 0 {
            heard.remove(org);
        } else {
            heard.insert(org.to_owned(), (entries, bytes));
        }
    }

    fn heard(&self) -> MutexGuard<'_, BTreeMap<String, (u64, u64)>> {
        self.shared.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl EntryStore for RedisEntries {
    fn lookup(&self, at: Address) -> Answer<'_, Lookup> {
        Box::pin(async move { Ok(self.get(&at.key).await?.map_or(Lookup::Absent, Lookup::Found)) })
    }

    fn peek(&self, at: Address) -> Answer<'_, Lookup> {
        self.lookup(at)
    }

    fn fill(&self, entry: NewEntry) -> Answer<'_, ()> {
        Box::pin(async move { Ok(self.put(entry).await?) })
    }

    fn purge(&self, key: CacheKey, seen: Option<Bytes>) -> Answer<'_, bool> {
        Box::pin(async move { Ok(self.purge_one(key, seen).await?) })
    }

    fn purge_org(&self, org: String) -> Answer<'_, u64> {
        Box::pin(async move { Ok(self.purge_all(&org).await?) })
    }

    fn forget(&self, _: CacheKey) -> Answer<'_, ()> {
        // Nothing of it is in this process.
        Box::pin(async { Ok(()) })
    }

    fn forget_org(&self, _: String) -> Answer<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    fn near(&self, request: Digest, count: usize) -> Answer<'_, Vec<Bytes>> {
        Box::pin(async move { Ok(self.nearest(request, count).await?) })
    }

    fn bound(&self, bounds: Bounds) -> Answer<'_, ()> {
        // What an organization holds beyond it goes with its next fill.
        self.shared.org_bytes_max.store(bounds.org_bytes_max, Ordering::Relaxed);
        Box::pin(async { Ok(()) })
    }

    fn held(&self) -> Held {
        let (entries, bytes) = self
            .heard()
            .values()
            .fold((0, 0), |(entries, bytes), held| (entries + held.0, bytes + held.1));
        let evicted = self.shared.evicted.load(Ordering::Relaxed);
        let expired = self.shared.expired.load(Ordering::Relaxed);
        Held { entries, bytes, evicted, expired }
    }

    fn held_by_org(&self) -> Vec<OrgHeld> {
        let heard = self.heard();
        let held = heard.iter();
        held.map(|(org, (entries, bytes))| OrgHeld {
            org: org.clone(),
            entries: *entries,
            bytes: *bytes,
        })
        .collect()
    }

    fn health(&self) -> Option<Health> {
        Some(self.redis.health())
    }
}

/// What is noted of an entry beside it.
pub(super) struct Announced<'a> {
    at: Address,
    org: &'a str,
    bytes: usize,
    lifetime: Millis,
}

// === impl Announced ===

impl<'a> Announced<'a> {
    pub(super) const fn of(entry: &'a NewEntry, lifetime: Millis) -> Self {
        let NewEntry { at, org, bytes, lifetime: _ } = entry;
        Self { at: *at, org: org.as_str(), bytes: bytes.len(), lifetime }
    }
}

fn cache_key(member: &[u8]) -> Option<CacheKey> {
    member.try_into().ok().map(|digest| CacheKey(Digest(digest)))
}

fn read<T: FromRedisValue>(value: Value) -> Result<T, Fault> {
    T::from_redis_value(value).map_err(|_| Fault::Malformed("a Redis answer of another type"))
}
