//! Two versions of one thing, what was written and what was synced, and the changes between them.

use std::collections::BTreeSet;

use super::Survival;

/// What a file or a folder holds. Its smallest part that is on disk or not is a cell: a page, a name.
pub(super) trait Content: Clone {
    type Change: Clone;
    type Cell: Ord;

    fn apply(&mut self, change: &Self::Change);

    fn touched(change: &Self::Change) -> Touched<Self::Cell>;
}

/// What a change touches.
pub(super) enum Touched<Cell> {
    One(Cell),
    /// Both or neither: a name and the one it gets.
    Two(Cell, Cell),
    /// Whatever comes after it builds on it.
    All,
}

/// A thing and its changes since it was last synced, oldest first.
#[derive(Clone, Debug)]
pub(super) struct History<C: Content> {
    now: C,
    synced: C,
    unsynced: Vec<C::Change>,
}

// === impl History ===

impl<C: Content> History<C> {
    pub(super) fn new(content: C) -> Self {
        Self { synced: content.clone(), now: content, unsynced: Vec::new() }
    }

    pub(super) const fn now(&self) -> &C {
        &self.now
    }

    pub(super) fn unsynced(&self) -> &[C::Change] {
        &self.unsynced
    }

    pub(super) fn change(&mut self, change: C::Change) {
        self.now.apply(&change);
        self.unsynced.push(change);
    }

    pub(super) fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            self.synced.apply(&change);
        }
    }

    /// What is there after a cut: what was synced, and of the rest what survives, cell by cell. Of one cell's
    /// changes the first few survive: the later ones were made to the same page in memory, and cannot reach the
    /// disk without the earlier. Those of different cells survive in any combination.
    pub(super) fn cut(&self, survival: &mut Survival) -> Self {
        let mut left = self.synced.clone();
        let mut lost = BTreeSet::new();
        for change in &self.unsynced {
            let cells = match C::touched(change) {
                Touched::One(cell) => vec![cell],
                Touched::Two(one, other) => vec![one, other],
                Touched::All if survival.decides() => {
                    left.apply(change);
                    continue;
                }
                Touched::All => break,
            };
            if cells.iter().any(|cell| lost.contains(cell)) || !survival.decides() {
                lost.extend(cells);
            } else {
                left.apply(change);
            }
        }
        Self::new(left)
    }
}
