//! The chains of a shelf: through its slots, by number. A table holds the first number of each chain and
//! nothing else; a digest's bits are as good a hash as any.

use super::{Shelf, prefix};

/// No entry. Also bounds how many there may be.
pub(super) const NONE: u32 = u32::MAX;

/// How many chains there are at first.
const HEADS_MIN: usize = 64;

/// The first of each chain. A power of two of them, or none.
#[derive(Debug, Default)]
pub(super) struct Heads(Vec<u32>);

// === impl Heads ===

impl Heads {
    fn empty(count: usize) -> Self {
        Self(vec![NONE; count])
    }

    fn place(&self, hash: u64) -> usize {
        // No larger than the length, which is a usize.
        usize::try_from(hash & (self.0.len() as u64).saturating_sub(1)).unwrap_or(0)
    }

    /// What it takes.
    #[cfg(test)]
    pub(super) const fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<u32>()
    }

    pub(super) fn head(&self, hash: u64) -> u32 {
        self.0.get(self.place(hash)).copied().unwrap_or(NONE)
    }

    fn set(&mut self, hash: u64, number: u32) {
        let place = self.place(hash);
        if let Some(head) = self.0.get_mut(place) {
            *head = number;
        }
    }
}

// === impl Shelf ===

impl Shelf {
    /// Makes the tables larger where chains would grow long. Called with every fill.
    pub(super) fn grow_tables(&mut self) {
        let count = self.by_key.0.len();
        if self.slots.len() <= count {
            return;
        }
        let count = (count * 2).max(HEADS_MIN);
        self.by_key = Heads::empty(count);
        let requests = std::mem::replace(&mut self.by_request, Heads::empty(count));
        for number in (0..NONE).take(self.slots.len()) {
            if self.slots.get(number as usize).is_some_and(|slot| slot.org != NONE) {
                self.link_key(number);
            }
        }
        for head in requests.0 {
            self.relink_near(head);
        }
    }

    /// Links a chain anew, from its oldest, so that the newest is first again.
    fn relink_near(&mut self, head: u32) {
        let mut oldest = NONE;
        let mut next = head;
        while let Some(slot) = self.slots.get(next as usize) {
            (oldest, next) = (next, slot.near_older);
        }
        while let Some(slot) = self.slots.get(oldest as usize) {
            let newer = slot.near_newer;
            self.link_near(oldest);
            oldest = newer;
        }
    }

    pub(super) fn link_key(&mut self, number: u32) {
        if self.by_key.0.is_empty() {
            self.by_key = Heads::empty(HEADS_MIN);
        }
        let Some(slot) = self.slots.get_mut(number as usize) else { return };
        let hash = prefix(&slot.key.0);
        slot.key_next = self.by_key.head(hash);
        self.by_key.set(hash, number);
    }

    pub(super) fn unlink_key(&mut self, number: u32) {
        let Some(slot) = self.slots.get(number as usize) else { return };
        let (hash, after) = (prefix(&slot.key.0), slot.key_next);
        let mut at = self.by_key.head(hash);
        if at == number {
            return self.by_key.set(hash, after);
        }
        while let Some(slot) = self.slots.get_mut(at as usize) {
            if slot.key_next == number {
                slot.key_next = after;
                return;
            }
            at = slot.key_next;
        }
    }

    pub(super) fn link_near(&mut self, number: u32) {
        if self.by_request.0.is_empty() {
            self.by_request = Heads::empty(HEADS_MIN);
        }
        let Some(request) = self.slots.get(number as usize).map(|slot| slot.request) else {
            return;
        };
        let before = self.by_request.head(request);
        self.by_request.set(request, number);
        if let Some(slot) = self.slots.get_mut(number as usize) {
            (slot.near_newer, slot.near_older) = (NONE, before);
        }
        if let Some(slot) = self.slots.get_mut(before as usize) {
            slot.near_newer = number;
        }
    }

    pub(super) fn unlink_near(&mut self, number: u32) {
        let Some(slot) = self.slots.get(number as usize) else { return };
        let (request, newer, older) = (slot.request, slot.near_newer, slot.near_older);
        match self.slots.get_mut(newer as usize) {
            Some(slot) => slot.near_older = older,
            None => self.by_request.set(request, older),
        }
        if let Some(slot) = self.slots.get_mut(older as usize) {
            slot.near_newer = newer;
        }
    }

    pub(super) fn link_newest(&mut self, number: u32) {
        let Some(slot) = self.slots.get(number as usize) else { return };
        let Some(order) = self.orgs.order(slot.org) else { return };
        let before = std::mem::replace(&mut order.newest, number);
        if before == NONE {
            order.oldest = number;
        }
        if let Some(slot) = self.slots.get_mut(number as usize) {
            (slot.newer, slot.older) = (NONE, before);
        }
        if let Some(slot) = self.slots.get_mut(before as usize) {
            slot.newer = number;
        }
    }

    pub(super) fn unlink(&mut self, number: u32) {
        let Some(slot) = self.slots.get(number as usize) else { return };
        let (newer, older) = (slot.newer, slot.older);
        let Some(order) = self.orgs.order(slot.org) else { return };
        if newer == NONE {
            order.newest = older;
        }
        if older == NONE {
            order.oldest = newer;
        }
        if let Some(slot) = self.slots.get_mut(newer as usize) {
            slot.older = older;
        }
        if let Some(slot) = self.slots.get_mut(older as usize) {
            slot.newer = newer;
        }
    }
}
