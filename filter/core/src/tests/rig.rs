//! A worker and an exchange, driven as the glue drives them, and what they asked for.

use std::collections::BTreeSet;

use kt_contract::gateway_key::GatewayKey;
use kt_contract::hex::Digest;
use kt_contract::money::MicroUsd;
use kt_contract::policy::{Chain, Decision, ModelAllowlist};
use kt_contract::principal::Principal;
use kt_contract::snapshot::{
    CacheSettings, ModelRoute, ModelTable, OnSidecarLoss, PolicySettings, RequestLimits, Snapshot,
    Tier,
};
use kt_contract::time::MonoMillis;
use kt_contract::wire::admit::{AdmitRequest, Admitted, SavedTokens};
use kt_contract::wire::feed::{Event as FeedEvent, FeedReply, GatewayIdentity, Role};
use kt_contract::wire::principal::PrincipalReply;
use kt_contract::wire::{VERSION, VERSION_TEXT};

use crate::action::{Action, Callout, Flow, LogLine, Reply};
use crate::counter::Counter;
use crate::event::{Answer, Event};
use crate::forward::Forward;
use crate::head::Head;
use crate::peer::Peer;
use crate::{Exchange, Worker};

/// A request that the snapshot has a route for.
pub(super) const BODY: &str = r#"{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}]}"#;
/// An answer to it.
pub(super) const ANSWER: &[u8] = br#"{"id":"chatcmpl-1"}"#;

/// Header fields, as a test writes them.
pub(super) type Fields<'a> = &'a [(&'a str, &'a str)];

pub(super) struct Rig {
    pub(super) worker: Worker,
    pub(super) exchange: Exchange,
    pub(super) now: MonoMillis,
    /// What the exchange in hand has asked for so far.
    pub(super) actions: Vec<Action>,
    /// The key that requests carry.
    pub(super) key: GatewayKey,
    seq: u64,
}

/// `model-allowlist` of these.
pub(super) fn only(models: &[&str]) -> ModelAllowlist {
    let models = models.iter().map(|model| (*model).to_owned()).collect();
    ModelAllowlist { decision: Decision::Block, models }
}

pub(super) fn snapshot() -> Snapshot {
    let route = |model: &str| ModelRoute {
        model: model.to_owned(),
        target: "openai-1".to_owned(),
        provider: "openai".to_owned(),
        upstream: "https://api.openai.com".to_owned(),
        version: None,
    };
    Snapshot {
        version: "0123456789abcdef".to_owned(),
        limits: RequestLimits { request_bytes_max: 1_000, json_depth_max: 8, json_nodes_max: 100 },
        cache: CacheSettings { enabled: true, tier: Tier::OrgShared, l1_bytes_max: 100_000 },
        models: ModelTable { routes: ["gpt-4o", "gpt-4o-mini"].map(route).into() }.into(),
        policy: PolicySettings {
            digest: Digest([7; 32]),
            block_status: 409,
            model_allowlist: None,
            request_limits: None,
            chain: Chain::default(),
        },
        on_sidecar_loss: OnSidecarLoss::Direct,
        identities: None,
        open_with_cap: None,
    }
}

pub(super) fn gateway(id: &str) -> GatewayIdentity {
    GatewayIdentity {
        id: id.to_owned(),
        role: Role::Primary,
        group: Some("platform".to_owned()),
        egress: format!("/run/egress-{id}.sock"),
    }
}

pub(super) fn principal() -> Principal {
    Principal {
        key_id: "gk_1".to_owned(),
        lineage: None,
        org: "acme".to_owned(),
        team: Some("core".to_owned()),
        user: None,
        agent: None,
        group: None,
        codebases: BTreeSet::from(["acme/web".to_owned()]),
        entitlements: BTreeSet::new(),
    }
}

pub(super) fn gateway_key() -> GatewayKey {
    GatewayKey::from_random(&[1; 32])
}

/// The reply of a sidecar, and its use as an answer.
pub(super) fn with_reply<T>(admit: &str, body: &[u8], take: impl FnOnce(Answer<'_>) -> T) -> T {
    let fields: [(&[u8], &[u8]); 3] = [
        (b":status", b"200"),
        (b"x-kt-wire", VERSION_TEXT.as_bytes()),
        (b"x-kt-admit", admit.as_bytes()),
    ];
    take(Answer::Came { head: Head::new(&fields), body })
}

pub(super) fn feed_reply(seq: u64) -> FeedReply {
    FeedReply {
        version: VERSION,
        epoch: "epoch-1".to_owned(),
        seq,
        snapshot: None,
        events: Vec::new(),
        reset: false,
    }
}

// === impl Rig ===

impl Rig {
    /// A worker that has heard nothing yet.
    pub(super) fn new(gateway_id: &str) -> Self {
        Self {
            worker: Worker::new(gateway(gateway_id)),
            exchange: Exchange::default(),
            now: MonoMillis(50_000),
            actions: Vec::new(),
            key: gateway_key(),
            seq: 0,
        }
    }

    /// A worker with a snapshot.
    pub(super) fn with(snapshot: Snapshot) -> Self {
        let mut rig = Self::new("gw-a");
        rig.feed(FeedReply { snapshot: Some(snapshot), ..feed_reply(0) });
        rig
    }

    /// A worker with the usual snapshot.
    pub(super) fn ready() -> Self {
        Self::with(snapshot())
    }

    /// A worker that knows the key already.
    pub(super) fn knowing() -> Self {
        let mut rig = Self::ready();
        rig.introduce();
        rig
    }

    /// Lets the worker learn who stands behind the key.
    pub(super) fn introduce(&mut self) {
        self.introduce_as(gateway_key(), principal());
    }

    /// Lets the worker learn who stands behind another key, which requests carry from now on.
    pub(super) fn introduce_as(&mut self, key: GatewayKey, principal: Principal) {
        let known = crate::principals::Known::new(principal);
        self.worker.remember(self.worker.era(), key.hash(), &known);
        self.key = key;
    }

    pub(super) fn wait(&mut self, ms: u64) {
        self.now.0 += ms;
    }

    /// A poll that is answered at once.
    pub(super) fn feed(&mut self, reply: FeedReply) -> Vec<Counter> {
        let _ = self.worker.poll(self.now);
        self.polled(reply)
    }

    /// The answer to the poll that is under way.
    pub(super) fn polled(&mut self, reply: FeedReply) -> Vec<Counter> {
        let body = serde_json::to_vec(&reply).unwrap();
        self.seq = reply.seq;
        let mut counters = Vec::new();
        let may_follow =
            with_reply("", &body, |answer| self.worker.polled(self.now, answer, &mut counters));
        // What is not in force would come again at once.
        assert_eq!(may_follow, !counters.contains(&Counter::WireError));
        counters
    }

    /// An answer of the feed that says nothing but that the sidecar is there.
    pub(super) fn heartbeat(&mut self) {
        self.feed(feed_reply(self.seq));
    }

    pub(super) fn tell(&mut self, event: FeedEvent) {
        let events = vec![event];
        self.feed(FeedReply { events, ..feed_reply(self.seq + 1) });
    }

    /// Begins another exchange.
    pub(super) fn fresh(&mut self) {
        self.exchange = Exchange::default();
        self.actions.clear();
    }

    pub(super) fn turn(&mut self, event: Event<'_>) -> Flow {
        self.exchange.handle(&mut self.worker, self.now, event, &mut self.actions)
    }

    /// A head: method, path, the good key, and more.
    pub(super) fn head(&mut self, method: &str, path: &str, more: Fields<'_>, end: bool) -> Flow {
        let bearer = format!("Bearer {}", self.key.reveal());
        let fields: Vec<(&[u8], &[u8])> =
            [(":method", method), (":path", path), ("authorization", &bearer)]
                .iter()
                .chain(more)
                .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
                .collect();
        let head = Head::new(&fields);
        self.turn(Event::RequestHeaders { head, end, random: [0xab; 16], peer: Peer::default() })
    }

    /// A whole new chat request, as Envoy delivers it; a worker that must ask who it is gets an answer.
    pub(super) fn chat(&mut self, more: Fields<'_>, body: &str) -> Flow {
        self.post("/v1/chat/completions", more, body)
    }

    /// The same on another path.
    pub(super) fn post(&mut self, path: &str, more: Fields<'_>, body: &str) -> Flow {
        self.fresh();
        let flow = self.head("POST", path, more, false);
        if flow != Flow::Pause || self.replied() {
            return flow;
        }
        if self.callout().is_some() {
            let flow = self.answer_principal(&PrincipalReply::Known {
                principal: principal(),
                key_age_ms: None,
            });
            assert_eq!(flow, Flow::Pause);
        }
        let bytes = body.len() as u64;
        for end in [false, true] {
            let flow = self.turn(Event::RequestBody { bytes, end });
            if end && flow == Flow::ReadBody {
                return self.turn(Event::RequestRead { body: body.as_bytes() });
            }
            assert_eq!(flow, Flow::Pause);
        }
        Flow::Pause
    }

    pub(super) fn answer_principal(&mut self, reply: &PrincipalReply) -> Flow {
        let body = serde_json::to_vec(reply).unwrap();
        with_reply("", &body, |answer| self.turn(Event::CalloutAnswered(answer)))
    }

    pub(super) fn answer_admit(&mut self, admitted: &Admitted, body: &[u8]) -> Flow {
        let text = serde_json::to_string(admitted).unwrap();
        with_reply(&text, body, |answer| self.turn(Event::CalloutAnswered(answer)))
    }

    pub(super) fn hit(&mut self, fresh_ms: u64) -> Flow {
        let hit = Admitted::Hit {
            content_type: "application/json".to_owned(),
            age_s: 5,
            fresh_ms,
            served_by: "openai/gpt-4o".to_owned(),
            saved_micro_usd: Some(MicroUsd::new(5).unwrap()),
            saved_tokens: Some(SavedTokens { input: 5, output: 7 }),
        };
        self.answer_admit(&hit, ANSWER)
    }

    /// Lets the worker's own cache take the answer, which it does when that comes for the second time.
    pub(super) fn warm(&mut self, fresh_ms: u64) {
        for _ in 0..2 {
            let _ = self.chat(&[], BODY);
            let _ = self.hit(fresh_ms);
        }
        assert_eq!(self.counted(Counter::L1Filled), 1);
    }

    pub(super) fn lose(&mut self) -> Flow {
        self.turn(Event::CalloutAnswered(Answer::Lost))
    }

    pub(super) fn respond(&mut self, fields: Fields<'_>) -> Flow {
        self.response(fields, false)
    }

    /// Envoy answers for somebody who did not.
    pub(super) fn envoy_responds(&mut self, fields: Fields<'_>) -> Flow {
        self.response(fields, true)
    }

    fn response(&mut self, fields: Fields<'_>, by_envoy: bool) -> Flow {
        let fields: Vec<(&[u8], &[u8])> =
            fields.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes())).collect();
        self.turn(Event::ResponseHeaders { head: Head::new(&fields), by_envoy })
    }

    pub(super) fn callout(&self) -> Option<&Callout> {
        self.actions.iter().rev().find_map(|action| {
            if let Action::Callout(callout) = action { Some(callout) } else { None }
        })
    }

    /// What the sidecar is asked about the request.
    pub(super) fn admit(&self) -> AdmitRequest {
        let callout = self.callout().expect("an admit callout");
        assert_eq!(callout.path, "/v1/admit");
        serde_json::from_slice(&callout.body).unwrap()
    }

    pub(super) fn replied(&self) -> bool {
        self.actions.iter().any(|action| matches!(action, Action::Reply(_)))
    }

    pub(super) fn reply(&self) -> &Reply {
        let mut replies = self.actions.iter().filter_map(|action| {
            if let Action::Reply(reply) = action { Some(reply) } else { None }
        });
        let only = replies.next().expect("a reply");
        assert!(replies.next().is_none(), "two replies");
        only
    }

    /// Status and code of a refusal.
    pub(super) fn refusal(&self) -> (u16, String) {
        let reply = self.reply();
        let body: serde_json::Value = serde_json::from_slice(&reply.body).unwrap();
        (reply.status, body["error"]["code"].as_str().unwrap().to_owned())
    }

    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.reply().headers.iter().find(|(at, _)| *at == name).map(|(_, value)| value.as_ref())
    }

    pub(super) fn forward(&self) -> Option<&Forward> {
        self.actions.iter().find_map(|action| {
            if let Action::Forward(forward) = action { Some(forward) } else { None }
        })
    }

    pub(super) fn log(&self) -> Vec<(&'static str, String)> {
        let lines = self
            .actions
            .iter()
            .filter_map(|action| if let Action::Log(line) = action { Some(line) } else { None });
        lines.flat_map(LogLine::fields).map(|(key, value)| (key, value.into_owned())).collect()
    }

    pub(super) fn logged(&self, key: &str) -> Option<String> {
        self.log().into_iter().rev().find(|(at, _)| *at == key).map(|(_, value)| value)
    }

    pub(super) fn counted(&self, counter: Counter) -> usize {
        self.actions.iter().filter(|action| **action == Action::Count(counter)).count()
    }

    /// What is done to the response's head: removed names, then set fields.
    pub(super) fn edits(&self) -> (Vec<String>, Vec<(&'static str, String)>) {
        let mut removed = Vec::new();
        let mut set = Vec::new();
        for action in &self.actions {
            if let Action::RemoveResponseHeader(name) = action {
                removed.push(String::from_utf8(name.to_vec()).unwrap());
            }
            if let Action::SetResponseHeader(name, value) = action {
                set.push((*name, value.to_string()));
            }
        }
        (removed, set)
    }
}
