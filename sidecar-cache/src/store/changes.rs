//! What other sidecars have changed in a store that several share, behind a small trait.

use kt_contract::principal::KeyHash;
use kt_contract::time::UnixMillis;

use super::Answer;
use crate::generation::{Generation, Tag};

/// What has changed after some number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// The number of the newest change that this covers: everything up to it is in here, or was before.
    pub upto: u64,
    /// Tags that were given another generation, oldest first.
    pub generations: Vec<(String, Tag, Generation)>,
    /// Keys that were revoked, or were given an end. Of one that was made nobody remembers anything yet.
    pub keys: Vec<KeyHash>,
    /// The store has forgotten changes that it had told before, as one that was restored from a copy does: what is
    /// remembered of it may be wrong.
    pub went_back: bool,
    /// What the store's own clock said, where it has one that is told.
    pub at: Option<UnixMillis>,
}

/// Changes in the order in which they were made, by all who share the store.
pub trait ChangeStore: Send + Sync {
    /// The number of the newest change.
    fn newest(&self) -> Answer<'_, u64>;

    /// Everything that has changed after a number. What is told once is told whole: no change with a smaller number
    /// becomes visible later.
    fn since(&self, seen: u64) -> Answer<'_, Changes>;
}
