//! The audit log: who asked for what, and what was decided. Each organization has a chain of its own, in which every
//! record follows from the one before, so that none can be changed, left out, added or moved unseen; retention alone
//! removes records, from the beginning, and says so in the chain. Pure: where records are kept is the business of
//! [`crate::store::audit_log`].
//!
//! No record has a prompt, an answer, a secret, a header or what was redacted: no type here could hold one.

mod chain;
mod codec;
mod record;
mod verify;

pub use chain::{Chain, Head, Link};
pub use record::{Access, Checkpoint, Event, Fact, Outcome, Record, Stage};
pub use verify::{Breach, Broken, Verification, Verified, verify};

#[cfg(test)]
#[path = "audit_log/tests.rs"]
mod tests;
