//! A sidecar as the filter sees one, without a socket: it answers callouts by the wire contract, from what a
//! test has put into it, and remembers what it was asked. It coalesces nothing and calls nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use kt_contract::gateway_key::GatewayKey;
use kt_contract::hex::Digest;
use kt_contract::key::CacheKey;
use kt_contract::limits::{FEED_HOLD, JSON_DEPTH_MAX, JSON_NODES_MAX, REQUEST_BYTES_MAX_DEFAULT};
use kt_contract::money::MicroUsd;
use kt_contract::outcome::Reason;
use kt_contract::policy::Chain;
use kt_contract::principal::{KeyHash, Principal};
use kt_contract::snapshot::{
    CacheSettings, ModelRoute, ModelTable, OnSidecarLoss, PolicySettings, RequestLimits, Snapshot,
    Tier,
};
use kt_contract::wire::admit::{AdmitRequest, Admitted, SavedTokens};
use kt_contract::wire::feed::{Event, FeedReply, FeedRequest, HitBatch};
use kt_contract::wire::principal::{PrincipalReply, PrincipalRequest};
use kt_contract::wire::{PATH_ADMIT, PATH_FEED, PATH_PRINCIPAL, VERSION, headers};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::callout::{Asked, Reply};
use crate::message::Message;

/// How old every answer is that it has.
pub const AGE_S: u64 = 7;

/// An answer that the sidecar has.
#[derive(Clone, Debug)]
pub struct Stored {
    /// Its content type.
    pub content_type: String,
    /// How long it stays fresh.
    pub fresh: Duration,
    /// Its bytes.
    pub body: Vec<u8>,
}

/// What the sidecar is like.
#[derive(Clone, Debug)]
pub enum Mood {
    /// It answers by the contract.
    Serving,
    /// It is shutting down.
    Draining,
    /// It never answers.
    Silent,
    /// It ends every callout like this.
    Failing(Reply),
}

/// The sidecar.
#[derive(Clone, Debug)]
pub struct Sidecar {
    /// What it publishes.
    pub snapshot: Snapshot,
    /// Its identity since its start.
    pub epoch: String,
    /// What it is like.
    pub mood: Mood,
    /// Paths that the test answers itself.
    pub by_hand: BTreeSet<&'static str>,
    /// Who stands behind which key.
    pub principals: BTreeMap<KeyHash, PrincipalReply>,
    /// What it has stored.
    pub entries: BTreeMap<CacheKey, Stored>,
    /// What it was asked to admit.
    pub admits: Vec<AdmitRequest>,
    /// How often it was asked for a principal.
    pub principals_asked: usize,
    /// How often it was polled.
    pub polls: usize,
    /// The hits that workers have reported, by the key that asked.
    pub hits: BTreeMap<String, u64>,
    /// The last batch of each worker, which may be told again.
    batches: BTreeMap<String, HitBatch>,
    /// What it was told that the contract does not allow.
    pub complaints: Vec<String>,
    /// What happened, oldest first; `None` where it is not known any more.
    events: Vec<Option<Event>>,
    /// How many of them are too old to be told of.
    forgotten: usize,
    tickets: usize,
}

// === impl Sidecar ===

impl Default for Sidecar {
    fn default() -> Self {
        Self {
            snapshot: snapshot(),
            epoch: "epoch-1".to_owned(),
            mood: Mood::Serving,
            by_hand: BTreeSet::new(),
            principals: BTreeMap::new(),
            entries: BTreeMap::new(),
            admits: Vec::new(),
            principals_asked: 0,
            polls: 0,
            hits: BTreeMap::new(),
            batches: BTreeMap::new(),
            complaints: Vec::new(),
            events: Vec::new(),
            forgotten: 0,
            tickets: 0,
        }
    }
}

impl Sidecar {
    /// Knows a key.
    pub fn knows(&mut self, key: &GatewayKey, principal: Principal) {
        self.principals.insert(key.hash(), PrincipalReply::Known { principal, key_age_ms: None });
    }

    /// Knows a key of a tenant, whose pack says this.
    pub fn knows_tenant(&mut self, key: &GatewayKey, principal: Principal, snapshot: Snapshot) {
        let snapshot = snapshot.into();
        let reply = PrincipalReply::Tenant { principal, key_age_ms: None, snapshot };
        self.principals.insert(key.hash(), reply);
    }

    /// Revokes a key, and says so in the feed.
    pub fn revokes(&mut self, key: &GatewayKey) {
        self.principals.insert(key.hash(), PrincipalReply::Revoked);
        self.events.push(Some(Event::Principal { key: key.hash() }));
    }

    /// Drops all entries, and says so in the feed.
    pub fn purges(&mut self) {
        self.entries.clear();
        self.events.push(Some(Event::Purged));
    }

    /// Forgets what happened: whoever polls next is told to drop everything.
    pub fn forgets(&mut self) {
        self.events.push(None);
        self.forgotten = self.events.len();
    }

    /// Publishes a changed snapshot.
    pub fn publishes(&mut self, version: &str, change: impl FnOnce(&mut Snapshot)) {
        change(&mut self.snapshot);
        version.clone_into(&mut self.snapshot.version);
    }

    /// Stores an answer to what was asked last.
    pub fn stores_last(&mut self, entry: Stored) {
        if let Some(asked) = self.admits.last() {
            self.entries.insert(asked.plan.key, entry);
        }
    }

    /// The names of the workers that have reported hits.
    pub fn reporters(&self) -> impl Iterator<Item = &str> {
        self.batches.keys().map(String::as_str)
    }

    /// What it says to a callout. `None`: nothing yet.
    pub fn answer(&mut self, asked: &Asked, now: Duration) -> Option<Reply> {
        match &self.mood {
            Mood::Serving | Mood::Draining => {}
            Mood::Silent => return None,
            Mood::Failing(reply) => return Some(reply.clone()),
        }
        let path = asked.path();
        if self.by_hand.contains(path.as_str()) {
            return None;
        }
        match path.as_str() {
            PATH_FEED => self.feed(asked, now),
            PATH_PRINCIPAL => Some(self.principal(asked)),
            PATH_ADMIT => Some(self.admit(asked)),
            other => Some(self.complain(&format!("an unknown path {other}"))),
        }
    }

    fn feed(&mut self, asked: &Asked, now: Duration) -> Option<Reply> {
        let request: FeedRequest = match read(asked) {
            Ok(request) => request,
            Err(why) => return Some(self.complain(&why)),
        };
        if let Some(batch) = &request.hits
            && let Err(why) = self.count(batch)
        {
            return Some(self.complain(&why));
        }
        let seq = u64::try_from(self.events.len()).unwrap_or(u64::MAX);
        let is_known = request.epoch.as_deref() == Some(self.epoch.as_str());
        let has_snapshot = request.snapshot.as_deref() == Some(self.snapshot.version.as_str());
        let hold_until = asked.sent_at.saturating_add(Duration::from_millis(FEED_HOLD.0));
        if is_known && has_snapshot && request.seq == seq && now < hold_until {
            return None;
        }
        self.polls = self.polls.saturating_add(1);
        let since = if is_known { usize::try_from(request.seq).unwrap_or(usize::MAX) } else { 0 };
        let events = self.events.get(since..).unwrap_or_default().iter().flatten();
        let reply = FeedReply {
            version: VERSION,
            epoch: self.epoch.clone(),
            seq,
            snapshot: (!has_snapshot).then(|| self.snapshot.clone()),
            events: events.cloned().collect(),
            reset: since < self.forgotten,
        };
        Some(json(&reply).into())
    }

    /// Counts a batch, once.
    fn count(&mut self, batch: &HitBatch) -> Result<(), String> {
        let last = self.batches.get(&batch.worker);
        if last.is_some_and(|last| last.number == batch.number && last != batch) {
            return Err(format!("batch {} was another one before", batch.number));
        }
        if last.is_some_and(|last| last == batch) {
            return Ok(());
        }
        if batch.number != last.map_or(0, |last| last.number).saturating_add(1) {
            return Err(format!("batch {} came out of order", batch.number));
        }
        for at in &batch.counts {
            let hits = self.hits.entry(at.key_id.clone()).or_default();
            *hits = hits.saturating_add(at.count);
        }
        self.batches.insert(batch.worker.clone(), batch.clone());
        Ok(())
    }

    fn principal(&mut self, asked: &Asked) -> Reply {
        let request: PrincipalRequest = match read(asked) {
            Ok(request) => request,
            Err(why) => return self.complain(&why),
        };
        self.principals_asked = self.principals_asked.saturating_add(1);
        let known = self.principals.get(&request.key).cloned();
        json(&known.unwrap_or(PrincipalReply::Unknown)).into()
    }

    fn admit(&mut self, asked: &Asked) -> Reply {
        let request: AdmitRequest = match read(asked) {
            Ok(request) => request,
            Err(why) => return self.complain(&why),
        };
        if request.version != VERSION {
            return self.complain("an admit of another version");
        }
        let control = request.control;
        let stored =
            self.entries.get(&request.plan.key).filter(|_| request.bypass.is_none()).cloned();
        let (stored, reason) = match (stored, control.max_age_s) {
            (Some(_), Some(max_age_s)) if max_age_s < AGE_S => (None, Reason::Expired),
            (stored, _) => (stored, Reason::Request),
        };
        let known = self.principals.get(&request.principal).cloned();
        self.admits.push(request);
        if matches!(self.mood, Mood::Draining) {
            return decision(&Admitted::Draining).into();
        }
        match (known, stored) {
            (Some(PrincipalReply::Known { .. } | PrincipalReply::Tenant { .. }), Some(stored)) => {
                hit(&stored).into()
            }
            (Some(PrincipalReply::Known { .. } | PrincipalReply::Tenant { .. }), None)
                if control.only_if_cached =>
            {
                decision(&Admitted::NotCached { reason }).into()
            }
            (Some(PrincipalReply::Known { .. } | PrincipalReply::Tenant { .. }), None) => {
                self.tickets = self.tickets.saturating_add(1);
                let ticket = format!("ticket-{}", self.tickets);
                decision(&Admitted::Lane { ticket, reason }).into()
            }
            (Some(PrincipalReply::Revoked), _) => {
                decision(&Admitted::Unauthenticated { revoked: true }).into()
            }
            (
                Some(
                    PrincipalReply::NoTenant
                    | PrincipalReply::Unknown
                    | PrincipalReply::Unavailable,
                )
                | None,
                _,
            ) => decision(&Admitted::Unauthenticated { revoked: false }).into(),
        }
    }

    fn complain(&mut self, why: &str) -> Reply {
        self.complaints.push(why.to_owned());
        Message::response(400).header(headers::MARKER, VERSION.to_string()).into()
    }
}

/// A snapshot with two models and a shared tier, as a quickstart has it.
#[must_use]
pub fn snapshot() -> Snapshot {
    let route = |model: &str, target: &str| ModelRoute {
        model: model.to_owned(),
        target: target.to_owned(),
        provider: "openai".to_owned(),
        upstream: "https://api.openai.com".to_owned(),
        version: None,
    };
    Snapshot {
        version: "snapshot-1".to_owned(),
        limits: RequestLimits {
            request_bytes_max: REQUEST_BYTES_MAX_DEFAULT,
            json_depth_max: JSON_DEPTH_MAX,
            json_nodes_max: JSON_NODES_MAX,
        },
        cache: CacheSettings { enabled: true, tier: Tier::OrgShared, l1_bytes_max: 4 << 20 },
        models: ModelTable {
            routes: vec![route("gpt-4o", "openai-main"), route("gpt-4o-mini", "openai-main")],
        }
        .into(),
        policy: PolicySettings {
            digest: Digest([1; 32]),
            block_status: 409,
            model_allowlist: None,
            request_limits: None,
            chain: Chain::default(),
        },
        on_sidecar_loss: OnSidecarLoss::Unavailable,
        identities: None,
        open_with_cap: None,
    }
}

/// The reply that carries a decision and no answer.
#[must_use]
pub fn decision(decision: &Admitted) -> Message {
    let decision = serde_json::to_vec(decision).unwrap_or_default();
    Message::response(200)
        .header(headers::MARKER, VERSION.to_string())
        .header(headers::ADMIT, decision)
}

/// The reply that carries an answer inline.
#[must_use]
pub fn hit(stored: &Stored) -> Message {
    let admitted = Admitted::Hit {
        content_type: stored.content_type.clone(),
        age_s: AGE_S,
        fresh_ms: u64::try_from(stored.fresh.as_millis()).unwrap_or(u64::MAX),
        served_by: "openai/gpt-4o".to_owned(),
        saved_micro_usd: MicroUsd::new(5).ok(),
        saved_tokens: Some(SavedTokens { input: 5, output: 7 }),
    };
    decision(&admitted).body(&stored.body)
}

/// A reply of the sidecar as JSON.
#[must_use]
pub fn json(body: &impl Serialize) -> Message {
    Message::response(200)
        .header(headers::MARKER, VERSION.to_string())
        .header("content-type", "application/json")
        .body(serde_json::to_vec(body).unwrap_or_default())
}

fn read<T: DeserializeOwned>(asked: &Asked) -> Result<T, String> {
    serde_json::from_slice(&asked.body).map_err(|error| format!("{}: {error}", asked.path()))
}
