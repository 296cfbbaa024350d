//! Where the audit log is kept: one chain for each organization. What a record is, and what follows from what, is the
//! business of [`crate::audit_log`]; a store numbers them, and keeps them in order.

mod memory;

use kt_contract::time::UnixMillis;

use super::Answer;
use crate::audit_log::{Chain, Fact, Link};

pub use memory::MemoryAuditLog;

/// An audit log. Records are added behind the others and never changed; only the oldest ones are removed, and only by
/// [`Self::expire`].
pub trait AuditStore: Send + Sync {
    /// Puts records behind those that are there, each into the chain of its organization: all of them, or none.
    /// Durable when answered. Where no answer comes, they are on record or not.
    fn append(&self, facts: Vec<Fact>) -> Answer<'_, ()>;

    /// Every chain, by organization.
    fn chains(&self) -> Answer<'_, Vec<Chain>>;

    /// The chain of an organization; `None` where it has no record and never had one.
    fn chain(&self, org: String) -> Answer<'_, Option<Chain>>;

    /// The oldest records of an organization whose numbers are above `after`, at most `count_max`, as they are kept:
    /// unverified.
    fn read(&self, org: String, after: u64, count_max: usize) -> Answer<'_, Vec<Link>>;

    /// Removes the oldest records of an organization, as long as they happened before `before`, at most `count_max`,
    /// and says how many there were. That they were removed is a record of the same commit, of the time `now`.
    fn expire(&self, expiry: Expiry) -> Answer<'_, u64>;
}

/// What is to be removed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expiry {
    /// Whose.
    pub org: String,
    /// What happened before this.
    pub before: UnixMillis,
    /// When that is.
    pub now: UnixMillis,
    /// How many at most.
    pub count_max: usize,
}
