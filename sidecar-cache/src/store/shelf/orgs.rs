//! Who holds how much, and who gives way.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::table::NONE;
use crate::store::{Bounds, Held, OrgHeld};

/// The organizations that hold something.
#[derive(Debug, Default)]
pub(super) struct Orgs {
    all: Vec<Org>,
    free: Vec<u32>,
    by_name: HashMap<Arc<str>, u32>,
    /// By what they hold; of two that hold the same, the name decides.
    by_bytes: BTreeSet<(u64, Arc<str>)>,
    by_entries: BTreeSet<(u64, Arc<str>)>,
}

#[derive(Debug)]
struct Org {
    name: Arc<str>,
    entries: u64,
    bytes: u64,
    order: Order,
}

/// The ends of an organization's chain of entries, in the order of their last use.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) newest: u32,
    pub(super) oldest: u32,
}

// === impl Orgs ===

impl Orgs {
    /// The number of an organization, which it has for as long as it holds something.
    pub(super) fn of(&mut self, name: &str) -> u32 {
        if let Some(number) = self.find(name) {
            return number;
        }
        let name: Arc<str> = name.into();
        let order = Order { newest: NONE, oldest: NONE };
        let org = Org { name: Arc::clone(&name), entries: 0, bytes: 0, order };
        let number = match self.free.pop() {
            Some(number) => {
                if let Some(place) = self.all.get_mut(number as usize) {
                    *place = org;
                }
                number
            }
            None => {
                self.all.push(org);
                // There are no more organizations than entries, whose numbers fit.
                u32::try_from(self.all.len() - 1).unwrap_or(NONE)
            }
        };
        self.by_name.insert(name, number);
        number
    }

    pub(super) fn find(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).copied()
    }

    pub(super) fn order(&mut self, org: u32) -> Option<&mut Order> {
        self.all.get_mut(org as usize).map(|org| &mut org.order)
    }

    pub(super) fn oldest(&self, org: u32) -> Option<u32> {
        self.all.get(org as usize).map(|org| org.order.oldest).filter(|number| *number != NONE)
    }

    /// An organization holds one entry more.
    pub(super) fn took(&mut self, org: u32, bytes: u64) {
        self.rank(org, |org| {
            org.entries += 1;
            org.bytes += bytes;
        });
    }

    /// An organization holds one entry less; with its last one it is forgotten.
    pub(super) fn gave(&mut self, org: u32, bytes: u64) {
        self.rank(org, |org| {
            org.entries -= 1;
            org.bytes -= bytes;
        });
        if let Some(empty) = self.all.get(org as usize).filter(|org| org.entries == 0) {
            self.by_bytes.remove(&(0, Arc::clone(&empty.name)));
            self.by_entries.remove(&(0, Arc::clone(&empty.name)));
            self.by_name.remove(&empty.name);
            self.free.push(org);
        }
    }

    /// The entry that goes next, where something must go.
    pub(super) fn gives_way(&self, bounds: &Bounds, held: Held) -> Option<u32> {
        let (most, largest) = self.by_bytes.last()?;
        let name = if *most > bounds.org_bytes_max || held.bytes > bounds.bytes_max {
            largest
        } else if held.entries > bounds.entries_max {
            &self.by_entries.last()?.1
        } else {
            return None;
        };
        self.oldest(self.find(name)?)
    }

    /// What each holds, by name.
    pub(super) fn held(&self) -> Vec<OrgHeld> {
        let mut held: Vec<_> = self
            .all
            .iter()
            .filter(|org| org.entries > 0)
            .map(|org| OrgHeld {
                org: org.name.to_string(),
                entries: org.entries,
                bytes: org.bytes,
            })
            .collect();
        held.sort_by(|one, other| one.org.cmp(&other.org));
        held
    }

    fn rank(&mut self, org: u32, change: impl FnOnce(&mut Org)) {
        let Some(org) = self.all.get_mut(org as usize) else { return };
        self.by_bytes.remove(&(org.bytes, Arc::clone(&org.name)));
        self.by_entries.remove(&(org.entries, Arc::clone(&org.name)));
        change(org);
        self.by_bytes.insert((org.bytes, Arc::clone(&org.name)));
        self.by_entries.insert((org.entries, Arc::clone(&org.name)));
    }
}
