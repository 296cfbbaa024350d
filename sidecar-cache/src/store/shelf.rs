//! The memory of the memory store: a pure table of entries in the order of their last use. Time is an
//! argument; locks are the business of [`super::memory`].
//!
//! Entries live in one vector and name each other by number, so that an entry costs about 150 bytes beside
//! its own: 88 in the vector, 16 in front of the shared bytes, the rest in two tables that hold 64 bits of a
//! digest and a number. Two keys that agree in 64 bits would push each other out, which costs a miss; the
//! whole key is compared before anything is found.

use std::collections::HashMap;
use std::sync::Arc;

use kt_contract::hex::Digest;
use kt_contract::key::CacheKey;
use kt_contract::time::{Millis, MonoMillis};

use super::{Address, Bounds, Held};

/// No entry. Also bounds how many there may be.
const NONE: u32 = u32::MAX;

/// Entries in the order of their last use.
#[derive(Debug)]
pub(super) struct Shelf {
    slots: Vec<Slot>,
    /// First of the free slots, chained by `older`.
    free: u32,
    by_key: HashMap<u64, u32>,
    /// The newest entry of each request; the others follow by `near_older`.
    by_request: HashMap<u64, u32>,
    newest: u32,
    oldest: u32,
    bounds: Bounds,
    held: Held,
}

/// What a lookup takes away.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Taken {
    Found { bytes: Arc<[u8]>, age: Millis, fresh: Millis },
    Expired,
    Absent,
}

#[derive(Debug)]
struct Slot {
    key: CacheKey,
    bytes: Arc<[u8]>,
    request: u64,
    filled: MonoMillis,
    /// Exclusive.
    until: MonoMillis,
    newer: u32,
    older: u32,
    near_newer: u32,
    near_older: u32,
}

const _: () = assert!(size_of::<Slot>() <= 88, "beside its bytes an entry costs little");

// === impl Shelf ===

impl Shelf {
    pub(super) fn new(bounds: Bounds) -> Self {
        Self {
            slots: Vec::new(),
            free: NONE,
            by_key: HashMap::new(),
            by_request: HashMap::new(),
            newest: NONE,
            oldest: NONE,
            bounds,
            held: Held::default(),
        }
    }

    pub(super) const fn held(&self) -> Held {
        self.held
    }

    pub(super) fn lookup(&mut self, at: &Address, now: MonoMillis) -> Taken {
        let Some(number) = self.find(&at.key) else { return Taken::Absent };
        let Some(slot) = self.slots.get(number as usize) else { return Taken::Absent };
        let (filled, until) = (slot.filled, slot.until);
        if now >= until {
            self.remove(number);
            self.held.expired += 1;
            return Taken::Expired;
        }
        let bytes = Arc::clone(&slot.bytes);
        self.unlink(number);
        self.link_newest(number);
        Taken::Found { bytes, age: now.since(filled), fresh: until.since(now) }
    }

    /// Stores an entry, and makes room for it. One that alone is beyond the bounds is not stored.
    pub(super) fn fill(&mut self, at: &Address, bytes: Arc<[u8]>, fresh: Millis, now: MonoMillis) {
        let size = bytes.len() as u64;
        if let Some(before) = self.by_key.get(&prefix(&at.key.0)).copied() {
            self.remove(before);
        }
        if size > self.bounds.bytes_max || self.bounds.entries_max == 0 {
            return;
        }
        let slot = Slot {
            key: at.key,
            bytes,
            request: prefix(&at.request),
            filled: now,
            until: now.after(fresh),
            newer: NONE,
            older: NONE,
            near_newer: NONE,
            near_older: NONE,
        };
        let Some(number) = self.place(slot) else { return };
        self.by_key.insert(prefix(&at.key.0), number);
        self.link_near(number);
        self.link_newest(number);
        self.held.entries += 1;
        self.held.bytes += size;
        self.make_room();
    }

    pub(super) fn purge(&mut self, at: &Address) {
        if let Some(number) = self.find(&at.key) {
            self.remove(number);
        }
    }

    /// Fresh entries of a request, newest first.
    pub(super) fn near(&self, request: &Digest, count: usize, now: MonoMillis) -> Vec<Arc<[u8]>> {
        let mut found = Vec::new();
        let mut number = self.by_request.get(&prefix(request)).copied().unwrap_or(NONE);
        while let Some(slot) = self.slots.get(number as usize) {
            if found.len() >= count {
                break;
            }
            if now < slot.until {
                found.push(Arc::clone(&slot.bytes));
            }
            number = slot.near_older;
        }
        found
    }

    pub(super) fn bound(&mut self, bounds: Bounds) {
        self.bounds = bounds;
        self.make_room();
    }

    fn find(&self, key: &CacheKey) -> Option<u32> {
        let number = *self.by_key.get(&prefix(&key.0))?;
        self.slots.get(number as usize).filter(|slot| slot.key == *key).map(|_| number)
    }

    fn make_room(&mut self) {
        while self.held.bytes > self.bounds.bytes_max || self.held.entries > self.bounds.entries_max
        {
            if self.oldest == NONE {
                return;
            }
            self.remove(self.oldest);
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
        self.slots.push(slot);
        Some(number)
    }

    fn remove(&mut self, number: u32) {
        self.unlink(number);
        self.unlink_near(number);
        let Some(slot) = self.slots.get_mut(number as usize) else { return };
        self.by_key.remove(&prefix(&slot.key.0));
        self.held.entries -= 1;
        self.held.bytes -= slot.bytes.len() as u64;
        slot.bytes = Arc::default();
        slot.older = self.free;
        self.free = number;
    }

    fn link_newest(&mut self, number: u32) {
        let before = self.newest;
        if let Some(slot) = self.slots.get_mut(number as usize) {
            (slot.newer, slot.older) = (NONE, before);
        }
        match self.slots.get_mut(before as usize) {
            Some(slot) => slot.newer = number,
            None => self.oldest = number,
        }
        self.newest = number;
    }

    fn unlink(&mut self, number: u32) {
        let Some(slot) = self.slots.get(number as usize) else { return };
        let (newer, older) = (slot.newer, slot.older);
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.older = older,
            None => self.newest = older,
        }
        match self.slots.get_mut(older as usize) {
            Some(slot) => slot.newer = newer,
            None => self.oldest = newer,
        }
    }

    fn link_near(&mut self, number: u32) {
        let Some(request) = self.slots.get(number as usize).map(|slot| slot.request) else {
            return;
        };
        let before = self.by_request.insert(request, number).unwrap_or(NONE);
        if let Some(slot) = self.slots.get_mut(number as usize) {
            slot.near_older = before;
        }
        if let Some(slot) = self.slots.get_mut(before as usize) {
            slot.near_newer = number;
        }
    }

    fn unlink_near(&mut self, number: u32) {
        let Some(slot) = self.slots.get(number as usize) else { return };
        let (request, newer, older) = (slot.request, slot.near_newer, slot.near_older);
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.near_older = older,
            None if older == NONE => {
                self.by_request.remove(&request);
            }
            None => {
                self.by_request.insert(request, older);
            }
        }
        if let Some(slot) = self.slots.get_mut(older as usize) {
            slot.near_newer = newer;
        }
    }
}

fn prefix(digest: &Digest) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = digest.0;
    u64::from_be_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
#[path = "shelf_tests.rs"]
mod tests;
