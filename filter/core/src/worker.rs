//! What one worker VM holds across requests: the snapshot, principals, its own cache, the breaker, and its
//! place in the change feed. All of it can be lost at any time and costs a callout at most.

use std::rc::Rc;

use kt_contract::hex::Digest;
use kt_contract::identity::Wanted;
use kt_contract::limits::{FEED_FRESH, PRINCIPAL_WITHOUT_FEED};
use kt_contract::policy::Phase;
use kt_contract::principal::KeyHash;
use kt_contract::snapshot::{OnSidecarLoss, Snapshot};
use kt_contract::time::{Millis, MonoMillis};
use kt_contract::wire::VERSION;
use kt_contract::wire::feed::{Event, FeedReply, GatewayIdentity, Refusal};
use kt_policy::Chain;

use crate::breaker::{Breaker, Change};
use crate::counter::Counter;
use crate::event::Answer;
use crate::feed::{Continuity, Feed};
use crate::head::Head;
use crate::hits::{Hits, Saved};
use crate::identity;
use crate::l1::{Entry, L1};
use crate::lru::Lru;
use crate::phase::planned::Planned;
use crate::plan::Plan;
use crate::principals::{Known, Principals, Rules};
use crate::request_id::RequestId;
use crate::sidecar::{self, NoAnswer};

/// How much memory plans may take: some two thousand of ordinary requests. One names all codebases of its key.
const PLAN_BYTES_MAX: u64 = 3 << 20;

/// How long a sidecar is silent before a gateway that refuses everything without it asks to be left out: longer than a
/// restart of it takes.
const LOST_AFTER: Millis = Millis(5_000);

/// The state of a worker.
#[derive(Debug)]
pub struct Worker {
    gateway: GatewayIdentity,
    /// What tells it from the others of its gateway, and from those before it.
    name: Option<RequestId>,
    snapshot: Option<Rc<Snapshot>>,
    /// The snapshot's policies that read requests.
    chain: Rc<Chain>,
    feed: Feed,
    principals: Principals,
    l1: L1,
    hits: Hits,
    plans: Lru<Digest, Rc<Plan>>,
    /// The breaker in front of the sidecar's callouts.
    pub(crate) breaker: Breaker,
    era: Era,
}

/// Changes whenever something that is held was voided. What was asked for in one era is not kept in the next:
/// the answer may have been on its way when the feed told of the change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Era(u64);

/// What `GET /health` says of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Everything is as it should be.
    Ok,
    /// There is no snapshot yet: everything is refused.
    Starting,
    /// The sidecar is silent: what is known is used, as long as it may be.
    Degraded,
    /// It has been for so long that it is not expected back at once, and without it nothing is answered: whoever can ask
    /// another gateway should.
    Unavailable,
}

// === impl Worker ===

impl Worker {
    /// A worker that knows nothing yet.
    #[must_use]
    pub fn new(gateway: GatewayIdentity) -> Self {
        Self {
            gateway,
            name: None,
            snapshot: None,
            chain: Rc::default(),
            feed: Feed::default(),
            principals: Principals::default(),
            l1: L1::new(0),
            hits: Hits::default(),
            plans: Lru::new(PLAN_BYTES_MAX),
            breaker: Breaker::default(),
            era: Era::default(),
        }
    }

    /// Gives it the name by which the sidecar tells it from the other workers of its gateway.
    pub fn name(&mut self, random: [u8; 16]) {
        self.name = Some(RequestId::mint(random));
    }

    /// Which gateway this is.
    #[must_use]
    pub const fn gateway(&self) -> &GatewayIdentity {
        &self.gateway
    }

    /// The snapshot in force.
    #[must_use]
    pub fn snapshot(&self) -> Option<Rc<Snapshot>> {
        self.snapshot.clone()
    }

    /// The policies that read requests; none, as long as there is no snapshot.
    pub(crate) fn chain(&self) -> Rc<Chain> {
        Rc::clone(&self.chain)
    }

    /// The era.
    #[must_use]
    pub const fn era(&self) -> Era {
        self.era
    }

    /// How this worker is.
    #[must_use]
    pub fn health(&self, now: MonoMillis) -> Health {
        if self.snapshot.is_none() {
            Health::Starting
        } else if self.feed.is_within(now, FEED_FRESH) && self.breaker.is_closed() {
            Health::Ok
        } else if self.feed.is_within(now, self.goes_on_for()) {
            Health::Degraded
        } else {
            Health::Unavailable
        }
    }

    /// How long a sidecar may be silent until nothing is answered any more, or soon will not be.
    fn goes_on_for(&self) -> Millis {
        let goes_on = self.snapshot.as_ref().is_some_and(|snapshot| {
            snapshot.on_sidecar_loss == OnSidecarLoss::Direct || snapshot.open_with_cap.is_some()
        });
        // Without it nobody is known for longer.
        if goes_on { PRINCIPAL_WITHOUT_FEED } else { LOST_AFTER }
    }

    /// The body of the next feed poll, which is sent now. `None` cannot happen with the types of today.
    #[must_use]
    pub fn poll(&mut self, now: MonoMillis) -> Option<Vec<u8>> {
        let version = self.snapshot.as_ref().map(|snapshot| snapshot.version.as_str());
        let hits = self.hits.tell(now);
        let poller = (&self.gateway, self.name.as_ref().map(RequestId::as_str));
        serde_json::to_vec(&self.feed.request(now, poller, version, hits)).ok()
    }

    /// A feed poll has ended. Says whether the next one may follow at once: it was answered, and by what is in force now.
    pub fn polled(
        &mut self,
        now: MonoMillis,
        answer: Answer<'_>,
        count: &mut Vec<Counter>,
    ) -> bool {
        match reply(answer) {
            Ok(reply) => {
                count.push(Counter::FeedAnswered);
                self.hits.taken();
                self.apply(now, reply, count)
            }
            Err(why) => {
                count.push(Counter::FeedLost);
                if why == NoAnswer::Unreadable {
                    count.push(Counter::WireError);
                }
                false
            }
        }
    }

    /// What is to be found out about clients without a gateway key.
    #[must_use]
    pub(crate) fn wanted(&self) -> Option<&Wanted> {
        self.snapshot.as_ref()?.identities.as_ref()
    }

    /// Whether it matters what Envoy says of the client of a request: that costs calls to the host.
    #[must_use]
    pub fn reads_peer(&self, head: Head<'_>) -> bool {
        self.wanted().is_some() && !identity::has_credential(head)
    }

    /// Who stands behind `key`, as long as the feed would have told of a revocation.
    pub fn principal(&mut self, now: MonoMillis, key: &KeyHash) -> Option<Known> {
        let covered = self.feed.is_within(now, PRINCIPAL_WITHOUT_FEED);
        covered.then(|| self.principals.get(key)).flatten().map(|known| known.at(now))
    }

    /// The rules that a snapshot makes, unless another principal has them.
    pub(crate) fn rules(&mut self, snapshot: Snapshot) -> Option<Rc<Rules>> {
        let known = self.principals.rules(&snapshot.version);
        let host = self.snapshot.as_deref();
        known.or_else(|| Rules::of_tenant(snapshot, host).map(Rc::new))
    }

    /// Remembers who stands behind `key`, if nothing was voided since the question was asked.
    pub fn remember(&mut self, asked_in: Era, key: KeyHash, known: &Known) {
        if asked_in == self.era {
            self.principals.remember(key, known.clone());
        }
    }

    /// The sidecar does not know the key any more.
    pub fn forget(&mut self, key: &KeyHash) {
        self.principals.forget(key);
    }

    /// The answer to a request, if this worker has it, the feed is fresh enough to trust it, the client takes
    /// one of its age, and the hit can be counted.
    pub(crate) fn hit(&mut self, now: MonoMillis, planned: &Planned) -> Option<Entry> {
        if !self.feed.is_within(now, FEED_FRESH) {
            return None;
        }
        let entry = self.l1.get(&planned.plan.l1_key(), now)?;
        let age_s_max = planned.ask.wish.control.max_age_s;
        let serves = age_s_max.is_none_or(|age_s| !entry.may_exceed(age_s, now));
        let saved = Saved {
            cost: entry.saved.unwrap_or_default(),
            tokens: entry.saved_tokens.unwrap_or_default(),
        };
        let counted = serves && self.hits.count(planned.hit(), saved, &planned.ask.request_id);
        counted.then_some(entry)
    }

    /// A policy did not let a request pass.
    pub(crate) fn blocked(&mut self, policy: &str, request_id: &RequestId) {
        self.hits.count_block(policy, request_id);
    }

    /// A request was refused, of which the sidecar knows nothing.
    pub(crate) fn refused(&mut self, now: MonoMillis, refusal: Refusal, request_id: &RequestId) {
        self.hits.add_refusal(now, refusal, request_id);
    }

    /// Keeps an answer that comes for the second time, if nothing was voided since the question was asked.
    pub(crate) fn fill(&mut self, asked_in: Era, plan: &Plan, entry: Entry) -> bool {
        asked_in == self.era && self.l1.fill(plan.l1_key(), entry)
    }

    /// The plan that was made for the same bytes of the same caller, if nothing was voided since.
    pub(crate) fn planned(&mut self, fingerprint: &Digest) -> Option<Rc<Plan>> {
        self.plans.get(fingerprint).cloned()
    }

    /// Remembers a plan.
    pub(crate) fn remember_plan(&mut self, asked_in: Era, fingerprint: Digest, plan: Rc<Plan>) {
        if asked_in == self.era {
            let weight = plan.weight();
            self.plans.insert(fingerprint, plan, weight);
        }
    }

    /// A callout for a request, made at `asked_at`, has ended.
    pub(crate) fn called(
        &mut self,
        asked_at: MonoMillis,
        now: MonoMillis,
        answered: bool,
    ) -> Option<Counter> {
        let change = match answered {
            true => self.breaker.answered(asked_at, now),
            false => self.breaker.lost(now),
        };
        match change {
            Change::Opened => Some(Counter::BreakerOpened),
            Change::Closed | Change::Unchanged => None,
        }
    }

    /// Says whether all of it is in force. A snapshot that is not would be the answer to the next poll as well.
    fn apply(&mut self, now: MonoMillis, reply: FeedReply, count: &mut Vec<Counter>) -> bool {
        let continuity = self.feed.advance(&reply);
        let FeedReply { version: _, epoch: _, seq: _, snapshot, events, reset: _ } = reply;
        if continuity == Continuity::Broken {
            self.principals.clear();
            self.void(count);
            // It spoke of a sidecar that is gone. Left open, it would refuse every caller until the next probe, for
            // nobody is known at this moment and nobody may be asked about.
            self.breaker = Breaker::closed(now);
        }
        for event in events {
            match event {
                Event::Principal { key } => {
                    self.principals.forget(&key);
                    self.plans.clear();
                    self.era.0 += 1;
                }
                Event::Tenant { org } => {
                    self.principals.forget_org(&org);
                    self.plans.clear();
                    self.era.0 += 1;
                }
                Event::Purged => self.void(count),
            }
        }
        snapshot.is_none_or(|snapshot| self.take(snapshot, count))
    }

    /// Puts a snapshot in force. One whose policies cannot be run here is not: the last one stays, or none.
    fn take(&mut self, snapshot: Snapshot, count: &mut Vec<Counter>) -> bool {
        let Ok(chain) = Chain::compile(&snapshot.policy.chain, Phase::Input) else {
            count.push(Counter::WireError);
            return false;
        };
        self.void(count);
        if self.wanted() != snapshot.identities.as_ref() {
            // Whoever was let in by a rule that is gone is known to nobody.
            self.principals.clear();
        }
        if self.snapshot.as_ref().is_some_and(|before| before.models != snapshot.models) {
            // Tenants without models of their own hold the table that is gone, which nobody would count.
            self.principals.forget_rules();
        }
        self.l1 = L1::new(snapshot.cache.l1_bytes_max);
        (self.snapshot, self.chain) = (Some(Rc::new(snapshot)), Rc::new(chain));
        count.push(Counter::SnapshotApplied);
        true
    }

    fn void(&mut self, count: &mut Vec<Counter>) {
        self.era.0 += 1;
        self.plans.clear();
        if self.l1.clear() {
            count.push(Counter::L1Cleared);
        }
    }
}

fn reply(answer: Answer<'_>) -> Result<FeedReply, NoAnswer> {
    let (_, body) = sidecar::spoken(answer)?;
    let reply: FeedReply = serde_json::from_slice(body).map_err(|_| NoAnswer::Unreadable)?;
    if reply.version == VERSION { Ok(reply) } else { Err(NoAnswer::Unreadable) }
}

// === impl Health ===

impl Health {
    /// The word in the answer.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Starting => "starting",
            Self::Degraded => "degraded",
            Self::Unavailable => "unavailable",
        }
    }
}
