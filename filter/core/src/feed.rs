//! Where a worker stands in the sidecar's change feed, and how long ago it last heard of it.

use kt_contract::time::{Millis, MonoMillis};
use kt_contract::wire::VERSION;
use kt_contract::wire::feed::{FeedReply, FeedRequest, GatewayIdentity};

/// The position in the feed.
#[derive(Debug, Default)]
pub struct Feed {
    epoch: Option<String>,
    seq: u64,
    answered_at: Option<MonoMillis>,
}

/// Whether what the worker holds is still covered by the feed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Continuity {
    /// The events of the answer are all that happened.
    Unbroken,
    /// Another sidecar answered, or it does not know any more: whatever was held is void.
    Broken,
}

// === impl Feed ===

impl Feed {
    /// The next poll.
    #[must_use]
    pub fn request(&self, gateway: &GatewayIdentity, snapshot: Option<&str>) -> FeedRequest {
        FeedRequest {
            version: VERSION,
            gateway: gateway.clone(),
            epoch: self.epoch.clone(),
            seq: self.seq,
            snapshot: snapshot.map(str::to_owned),
        }
    }

    /// Moves to where `reply` ends.
    pub fn advance(&mut self, now: MonoMillis, reply: &FeedReply) -> Continuity {
        let same = self.epoch.as_ref().is_some_and(|epoch| *epoch == reply.epoch);
        self.epoch = Some(reply.epoch.clone());
        self.seq = reply.seq;
        self.answered_at = Some(now);
        if same && !reply.reset { Continuity::Unbroken } else { Continuity::Broken }
    }

    /// Whether the last answer is at most `age` old.
    #[must_use]
    pub fn is_within(&self, now: MonoMillis, age: Millis) -> bool {
        self.answered_at.is_some_and(|answered_at| now.since(answered_at) <= age)
    }
}
