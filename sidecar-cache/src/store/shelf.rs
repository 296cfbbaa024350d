//! The memory of the memory store: a pure table of entries, those of each organization in the order of their
//! last use. Time is an argument; locks are the business of [`super::memory`].
//!
//! Room is made by whoever takes it: an organization beyond its own bound evicts its own, and where all of them
//! together are beyond theirs, the one that holds the most does. Within an organization the least recently used
//! entry goes first.
//!
//! Entries live in one vector and name each other by number, so that an entry costs about 160 bytes beside its
//! own: 104 in the vector and an eighth of it for growth, 16 in front of the shared bytes, the rest in two
//! tables of numbers.

mod orgs;
mod table;

use std::sync::Arc;

use kt_contract::hex::Digest;
use kt_contract::key::CacheKey;
use kt_contract::time::{Millis, MonoMillis};

use super::{Address, Bounds, Held, Lifetime, OrgHeld};
use orgs::Orgs;
use table::{Heads, NONE};

/// How many entries of a chain are passed over for those of one request: what has expired is in it until it is
/// swept.
const NEAR_PASSED_MAX: usize = 256;

/// Entries, by organization in the order of their last use.
#[derive(Debug)]
pub(super) struct Shelf {
    slots: Vec<Slot>,
    /// First of the free slots, chained by `older`.
    free: u32,
    /// Chains of entries by their key, through `key_next`.
    by_key: Heads,
    /// Chains of entries by their request, newest first, through `near_older`.
    by_request: Heads,
    orgs: Orgs,
    bounds: Bounds,
    held: Held,
    /// Where the next sweep begins.
    hand: usize,
}

/// What a lookup takes away.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Found { bytes: Arc<[u8]>, age: Millis, fresh: Millis, stale: Millis },
    Expired,
    Absent,
}

/// What a fill brings.
#[derive(Debug)]
pub(super) struct New<'a> {
    pub(super) at: Address,
    pub(super) org: &'a str,
    pub(super) bytes: Arc<[u8]>,
    pub(super) lifetime: Lifetime,
}

#[derive(Debug)]
struct Slot {
    key: CacheKey,
    bytes: Arc<[u8]>,
    /// 64 bits of the request's digest: whoever reads an entry compares the rest.
    request: u64,
    filled: MonoMillis,
    /// Both exclusive.
    fresh_until: MonoMillis,
    until: MonoMillis,
    /// [`NONE`] where the slot is free.
    org: u32,
    newer: u32,
    older: u32,
    key_next: u32,
    near_newer: u32,
    near_older: u32,
}

const _: () = assert!(size_of::<Slot>() <= 104, "beside its bytes an entry costs little");

// === impl Shelf ===

impl Shelf {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            slots: Vec::new(),
            free: NONE,
            by_key: Heads::default(),
            by_request: Heads::default(),
            orgs: Orgs::default(),
            bounds,
            held: Held::default(),
            hand: 0,
        }
    }

    pub(super) const fn held(&self) -> Held {
        self.held
    }

    pub(super) fn held_by_org(&self) -> Vec<OrgHeld> {
        self.orgs.held()
    }

    /// Looks an entry up: it is now the last of its organization to be evicted.
    pub(super) fn lookup(&mut self, at: &Address, now: MonoMillis) -> Taken {
        let Some(number) = self.find(&at.key) else { return Taken::Absent };
        let taken = self.taken(number, now);
        match taken {
            Taken::Expired => {
                self.remove(number);
                self.held.expired += 1;
            }
            Taken::Found { .. } => {
                self.unlink(number);
                self.link_newest(number);
            }
            Taken::Absent => {}
        }
        taken
    }

    /// What a lookup would find; nothing changes.
    pub(super) fn peek(&self, at: &Address, now: MonoMillis) -> Taken {
        self.find(&at.key).map_or(Taken::Absent, |number| self.taken(number, now))
    }

    /// Stores an entry, and makes room for it. One that alone is beyond the bounds is not stored.
    pub(super) fn fill(&mut self, new: New<'_>, now: MonoMillis) {
        let New { at, org, bytes, lifetime } = new;
        let size = bytes.len() as u64;
        if let Some(before) = self.find(&at.key) {
            self.remove(before);
        }
        let Bounds { entries_max, bytes_max, org_bytes_max } = self.bounds;
        if size > bytes_max.min(org_bytes_max) || entries_max == 0 {
            return;
        }
        let fresh_until = now.after(lifetime.fresh);
        let slot = Slot {
            key: at.key,
            bytes,
            request: prefix(&at.request),
            filled: now,
            fresh_until,
            until: fresh_until.after(lifetime.stale),
            org: NONE,
            newer: NONE,
            older: NONE,
            key_next: NONE,
            near_newer: NONE,
            near_older: NONE,
        };
        let Some(number) = self.place(slot) else { return };
        let org = self.orgs.of(org);
        if let Some(slot) = self.slots.get_mut(number as usize) {
            slot.org = org;
        }
        self.orgs.took(org, size);
        self.held.entries += 1;
        self.held.bytes += size;
        self.link_key(number);
        self.link_near(number);
        self.link_newest(number);
        self.grow_tables();
        self.make_room();
    }

    /// Removes an entry, if it is there and, where `seen` names one, the one that was seen.
    pub(super) fn purge(&mut self, key: &CacheKey, seen: Option<*const u8>) -> bool {
        let found = self.find(key).filter(|number| {
            let bytes = self.slots.get(*number as usize).map(|slot| slot.bytes.as_ptr());
            seen.is_none_or(|seen| bytes == Some(seen))
        });
        if let Some(number) = found {
            self.remove(number);
        }
        found.is_some()
    }

    /// Removes every entry of an organization, and says how many there were.
    pub(super) fn purge_org(&mut self, org: &str) -> u64 {
        let mut count = 0;
        while let Some(oldest) = self.orgs.find(org).and_then(|org| self.orgs.oldest(org)) {
            self.remove(oldest);
            count += 1;
        }
        count
    }

    /// Fresh entries of a request, newest first. Those far behind others that have expired are not found.
    pub(super) fn near(&self, request: &Digest, count: usize, now: MonoMillis) -> Vec<Arc<[u8]>> {
        let request = prefix(request);
        let mut found = Vec::new();
        let mut number = self.by_request.head(request);
        let mut passed = 0;
        while let Some(slot) = self.slots.get(number as usize) {
            if found.len() >= count || passed >= NEAR_PASSED_MAX {
                break;
            }
            if slot.request == request && now < slot.fresh_until {
                found.push(Arc::clone(&slot.bytes));
            } else {
                passed += 1;
            }
            number = slot.near_older;
        }
        found
    }

    pub(super) fn bound(&mut self, bounds: Bounds) {
        self.bounds = bounds;
        self.make_room();
    }

    /// Looks at the next `count` slots and removes what has expired: what nobody asks for any more would
    /// otherwise keep its room.
    pub(super) fn sweep(&mut self, count: usize, now: MonoMillis) {
        for _ in 0..count.min(self.slots.len()) {
            let at = if self.hand < self.slots.len() { self.hand } else { 0 };
            self.hand = at + 1;
            let is_over =
                self.slots.get(at).is_some_and(|slot| slot.org != NONE && now >= slot.until);
            if let Some(number) = u32::try_from(at).ok().filter(|_| is_over) {
                self.remove(number);
                self.held.expired += 1;
            }
        }
    }

    fn taken(&self, number: u32, now: MonoMillis) -> Taken {
        match self.slots.get(number as usize) {
            None => Taken::Absent,
            Some(slot) if now >= slot.until => Taken::Expired,
            Some(slot) => Taken::Found {
                bytes: Arc::clone(&slot.bytes),
                age: now.since(slot.filled),
                fresh: slot.fresh_until.since(now),
                stale: now.since(slot.fresh_until),
            },
        }
    }

    fn find(&self, key: &CacheKey) -> Option<u32> {
        let mut number = self.by_key.head(prefix(&key.0));
        while let Some(slot) = self.slots.get(number as usize) {
            if slot.key == *key {
                return Some(number);
            }
            number = slot.key_next;
        }
        None
    }

    fn make_room(&mut self) {
        while let Some(oldest) = self.orgs.gives_way(&self.bounds, self.held) {
            self.remove(oldest);
            self.held.evicted += 1;
        }
    }

    /// Puts a slot where one is free. `None` when all numbers are taken.
    fn place(&mut self, slot: Slot) -> Option<u32> {
        let number = self.free;
        if let Some(place) = self.slots.get_mut(number as usize) {
            self.free = place.older;
            *place = slot;
            return Some(number);
        }
        let number = u32::try_from(self.slots.len()).ok().filter(|number| *number != NONE)?;
        if self.slots.len() == self.slots.capacity() {
            // By an eighth and not by doubling: what is reserved counts as much as what is used.
            self.slots.reserve_exact(self.slots.len() / 8 + 64);
        }
        self.slots.push(slot);
        Some(number)
    }

    fn remove(&mut self, number: u32) {
        self.unlink(number);
        self.unlink_near(number);
        self.unlink_key(number);
        let Some(slot) = self.slots.get_mut(number as usize) else { return };
        let size = slot.bytes.len() as u64;
        let org = std::mem::replace(&mut slot.org, NONE);
        slot.bytes = Arc::default();
        slot.older = self.free;
        self.free = number;
        self.orgs.gave(org, size);
        self.held.entries -= 1;
        self.held.bytes -= size;
    }
}

fn prefix(digest: &Digest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = digest.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
#[path = "shelf_tests.rs"]
mod tests;
