//! What is remembered of requests with an `Idempotency-Key`, behind a small trait.

use super::Answer;
use crate::idempotency::ReplyId;

/// An answer to be remembered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewReply {
    /// Of which key.
    pub id: ReplyId,
    /// Whose room it takes.
    pub org: String,
    /// What it is.
    pub bytes: Vec<u8>,
}

/// Answers by key, durably, for [`crate::idempotency::KEPT`] and within
/// [`crate::idempotency::ORG_BOUNDS`]. Expiry is decided by the store's own clock.
pub trait ReplyStore: Send + Sync {
    /// What is remembered of a key, unverified.
    fn find(&self, id: ReplyId) -> Answer<'_, Option<Vec<u8>>>;

    /// Remembers an answer, in place of what was there of its key. Durable when answered; what has expired, and
    /// what its organization has beyond its bounds, is gone then.
    fn keep(&self, reply: NewReply) -> Answer<'_, ()>;

    /// Forgets all answers of an organization, durably when answered.
    fn forget_org(&self, org: String) -> Answer<'_, ()>;
}
