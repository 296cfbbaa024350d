//! What is remembered of requests with an `Idempotency-Key`, behind a small trait.

use kt_contract::time::Millis;

use super::Answer;
use crate::idempotency::{Fingerprint, ReplyId};

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
    /// Who may answer, where several sidecars could. `None` where one sidecar has the store for itself: it knows
    /// which of its requests are in flight.
    fn claims(&self) -> Option<&dyn ClaimStore>;

    /// What is remembered of a key, unverified.
    fn find(&self, id: ReplyId) -> Answer<'_, Option<Vec<u8>>>;

    /// Remembers an answer, in place of what was there of its key. Durable when answered; what has expired, and
    /// what its organization has beyond its bounds, is gone then.
    fn keep(&self, reply: NewReply) -> Answer<'_, ()>;

    /// Forgets all answers of an organization, durably when answered.
    fn forget_org(&self, org: String) -> Answer<'_, ()>;
}

/// A key that a request is going to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewClaim {
    /// Which key.
    pub id: ReplyId,
    /// Under which number: one that this sidecar has not had before. Asked for twice, it is one claim.
    pub number: ClaimNumber,
    /// What the request is.
    pub fingerprint: Fingerprint,
    /// Of which organization.
    pub org: String,
    /// Whether it takes the place of an answer that is there and cannot be told.
    pub replaces: bool,
}

/// The right to answer to a key: one of them at a time, whoever asks. It holds as long as its sidecar says from time
/// to time that it lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ClaimNumber(pub u64);

/// The answer to a claim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The key is this request's.
    Taken,
    /// It is another one's, which is this request or not.
    InFlight(Fingerprint),
    /// It was answered: with this, unverified.
    Done(Vec<u8>),
}

/// Which keys are being answered, by whichever sidecar.
pub trait ClaimStore: Send + Sync {
    /// Takes a key that is free, or whose holder is gone.
    fn claim(&self, claim: NewClaim) -> Answer<'_, Claimed>;

    /// Remembers an answer in the place of its claim, as [`ReplyStore::keep`] does. `false`: the organization's
    /// answers were forgotten meanwhile, or the claim has passed to somebody else; nothing is remembered.
    fn fulfil(&self, number: ClaimNumber, reply: NewReply) -> Answer<'_, bool>;

    /// Gives up claims that are still there. Keys that were answered stay so.
    fn free(&self, claims: Vec<(ReplyId, ClaimNumber)>) -> Answer<'_, ()>;

    /// Says that this sidecar lives: its claims hold for another [`HELD`].
    fn renew(&self) -> Answer<'_, ()>;

    /// This sidecar ends: all of its claims are free.
    fn leave(&self) -> Answer<'_, ()>;

    /// Removes what has expired, of whichever organization, some of it at a time.
    fn sweep(&self) -> Answer<'_, ()>;
}

/// How long claims hold when their sidecar has said for the last time that it lives.
pub const HELD: Millis = Millis(30_000);
