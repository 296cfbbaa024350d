//! How often what happened: a world in which nothing can go wrong proves nothing.

use std::collections::BTreeMap;

/// Counts by name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally(BTreeMap<&'static str, u64>);

// === impl Tally ===

impl Tally {
    /// Once more.
    pub fn add(&mut self, name: &'static str) {
        self.add_many(name, 1);
    }

    /// All of another one's.
    pub fn join(&mut self, other: &Self) {
        other.0.iter().for_each(|(name, count)| self.add_many(name, *count));
    }

    /// How often.
    #[must_use]
    pub fn of(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// All of it, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> {
        self.0.iter().map(|(name, count)| (*name, *count))
    }

    fn add_many(&mut self, name: &'static str, count: u64) {
        let total = self.0.entry(name).or_default();
        *total = total.saturating_add(count);
    }
}
