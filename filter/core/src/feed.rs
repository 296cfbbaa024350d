//! Where a worker stands in the sidecar's change feed, and how old what it last heard there may be.

use kt_contract::time::{Millis, MonoMillis};
use kt_contract::wire::VERSION;
use kt_contract::wire::feed::{FeedReply, FeedRequest, GatewayIdentity, HitBatch};

/// The position in the feed.
#[derive(Debug, Default)]
pub struct Feed {
    epoch: Option<String>,
    seq: u64,
    /// When the poll that is under way was sent.
    asked_at: Option<MonoMillis>,
    /// When the last poll that was answered was sent. Its answer may have been made at any moment since, so no
    /// later one counts: a revocation must not hide behind an answer that was long on its way.
    known_at: Option<MonoMillis>,
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
    /// The next poll of a gateway's worker, which is sent now.
    pub fn request(
        &mut self,
        now: MonoMillis,
        poller: (&GatewayIdentity, Option<&str>),
        snapshot: Option<&str>,
        hits: Option<HitBatch>,
    ) -> FeedRequest {
        self.asked_at = Some(now);
        let (gateway, worker) = poller;
        FeedRequest {
            version: VERSION,
            gateway: gateway.clone(),
            worker: worker.map(str::to_owned),
            epoch: self.epoch.clone(),
            seq: self.seq,
            snapshot: snapshot.map(str::to_owned),
            hits,
        }
    }

    /// Moves to where `reply`, the answer to the last poll, ends.
    pub fn advance(&mut self, reply: &FeedReply) -> Continuity {
        let same = self.epoch.as_ref().is_some_and(|epoch| *epoch == reply.epoch);
        self.epoch = Some(reply.epoch.clone());
        self.seq = reply.seq;
        self.known_at = self.asked_at.or(self.known_at);
        if same && !reply.reset { Continuity::Unbroken } else { Continuity::Broken }
    }

    /// Whether what the last answer told is at most `age` old.
    #[must_use]
    pub fn is_within(&self, now: MonoMillis, age: Millis) -> bool {
        self.known_at.is_some_and(|known_at| now.since(known_at) <= age)
    }
}
