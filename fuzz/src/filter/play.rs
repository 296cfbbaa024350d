//! One worker and two exchanges, driven step by step as the glue drives them.

use std::collections::BTreeSet;

use kt_contract::gateway_key::GatewayKey;
use kt_contract::hex::Digest;
use kt_contract::policy::Chain;
use kt_contract::principal::Principal;
use kt_contract::snapshot::{
    CacheSettings, ModelRoute, ModelTable, OnSidecarLoss, PolicySettings, RequestLimits, Snapshot,
    Tier,
};
use kt_contract::time::MonoMillis;
use kt_contract::wire::VERSION;
use kt_contract::wire::admit::Admitted;
use kt_contract::wire::feed::{Event as FeedEvent, FeedReply, GatewayIdentity, Role};
use kt_contract::wire::headers::{ADMIT, MARKER};
use kt_contract::wire::principal::PrincipalReply;
use kt_filter_core::action::{Action, Flow};
use kt_filter_core::event::{Answer, Event};
use kt_filter_core::head::Head;
use kt_filter_core::peer::Peer;
use kt_filter_core::{Exchange, Worker};

use super::Seen;
use super::script::{Feed, Fields, Step, fields};

/// What a worker's own cache may hold.
const L1_BYTES_MAX: u64 = 2_000;
/// What a worker may look like as text: snapshot, principal and L1, where a byte takes five letters.
const WORKER_TEXT_MAX: usize = 100_000;
/// What each plan adds: a worker remembers one for each new body, up to a bound beyond any script.
const PLAN_TEXT_MAX: usize = 8_000;
/// Shorter bodies may stand in a worker by accident.
const BODY_BYTES_MIN: usize = 48;
const MOMENTS_MAX: u64 = 1 << 40;

pub(super) struct Player {
    worker: Worker,
    now: MonoMillis,
    seq: u64,
    key: String,
    exchanges: [Run; 2],
    in_hand: usize,
    reads: usize,
    /// A caller was told to be known at some time.
    was_known: bool,
}

#[derive(Default)]
struct Run {
    exchange: Exchange,
    seen: Seen,
    head: Vec<(Vec<u8>, Vec<u8>)>,
}

// === impl Player ===

impl Player {
    pub(super) fn new() -> Self {
        Self {
            worker: Worker::new(gateway("gw-a")),
            now: MonoMillis(50_000),
            seq: 0,
            key: GatewayKey::from_random(&[1; 32]).reveal().to_owned(),
            exchanges: [Run::default(), Run::default()],
            in_hand: 0,
            reads: 0,
            was_known: false,
        }
    }

    pub(super) fn play(&mut self, step: Step<'_>) {
        match step {
            Step::New => self.exchanges[self.in_hand] = Run::default(),
            Step::Other => self.in_hand = 1 - self.in_hand,
            Step::Wait { ms } => {
                self.now = MonoMillis(self.now.0.saturating_add(ms).min(MOMENTS_MAX));
            }
            Step::Feed(feed) => self.feed(feed),
            Step::Head { more, end } => {
                let bearer = format!("Bearer {}", self.key);
                let mut all: Fields<'_> = vec![
                    (b":method", b"POST"),
                    (b":path", b"/v1/chat/completions"),
                    (b"authorization", bearer.as_bytes()),
                ];
                all.extend(fields(more));
                self.head(step, &all, end);
            }
            Step::RawHead { fields: raw, end } => self.head(step, &fields(raw), end),
            Step::Body { bytes, end } => self.turn(step, Event::RequestBody { bytes, end }),
            Step::Trailers => self.turn(step, Event::RequestTrailers),
            Step::Read(body) => {
                self.reads += 1;
                self.turn(step, Event::RequestRead { body });
                self.check_forgotten(body);
            }
            Step::Lost => self.turn(step, Event::CalloutAnswered(Answer::Lost)),
            Step::Admit { decision, body } => self.came(step, decision, body),
            Step::Came { fields: raw } => {
                self.was_known = true;
                let all = fields(raw);
                let body = all.iter().find(|(name, _)| name.is_empty()).map(|(_, value)| *value);
                let head = Head::new(&all);
                let body = body.unwrap_or_default();
                self.turn(step, Event::CalloutAnswered(Answer::Came { head, body }));
            }
            Step::Known => {
                self.was_known = true;
                let reply = PrincipalReply::Known { principal: principal(), key_age_ms: None };
                self.came(step, b"", &serde_json::to_vec(&reply).unwrap());
            }
            Step::Hit { body, fresh_ms } => {
                let hit = Admitted::Hit {
                    content_type: "application/json".to_owned(),
                    age_s: 5,
                    fresh_ms,
                    served_by: "openai/gpt-4o".to_owned(),
                    saved_micro_usd: None,
                    saved_tokens: None,
                };
                self.came(step, &serde_json::to_vec(&hit).unwrap(), body);
            }
            Step::Decided(decision) => {
                self.came(step, &serde_json::to_vec(&decision.admitted()).unwrap(), b"");
            }
            Step::Response { fields: raw, by_envoy } => {
                let all = fields(raw);
                self.turn(step, Event::ResponseHeaders { head: Head::new(&all), by_envoy });
            }
            Step::HostRefused => self.turn(step, Event::HostRefused),
            Step::Done => self.turn(step, Event::Done),
        }
    }

    fn head(&mut self, step: Step<'_>, all: &Fields<'_>, end: bool) {
        let run = &mut self.exchanges[self.in_hand];
        run.head = all.iter().map(|(name, value)| (name.to_vec(), value.to_vec())).collect();
        self.turn(
            step,
            Event::RequestHeaders {
                head: Head::new(all),
                end,
                random: [7; 16],
                peer: Peer::default(),
            },
        );
    }

    fn came(&mut self, step: Step<'_>, decision: &[u8], body: &[u8]) {
        let version = VERSION.to_string();
        let all: Fields<'_> = vec![
            (b":status", b"200"),
            (MARKER.as_bytes(), version.as_bytes()),
            (ADMIT.as_bytes(), decision),
        ];
        let head = Head::new(&all);
        self.turn(step, Event::CalloutAnswered(Answer::Came { head, body }));
    }

    fn turn(&mut self, step: Step<'_>, event: Event<'_>) {
        let mut actions = Vec::new();
        let run = &mut self.exchanges[self.in_hand];
        let flow: Flow = run.exchange.handle(&mut self.worker, self.now, event, &mut actions);
        run.seen.turn(step, &actions, flow);
        for action in &actions {
            check_action(action, &run.head, &self.key);
            let is_forward = matches!(action, Action::Forward(_));
            assert!(!is_forward || self.was_known, "forwarded for nobody");
        }
    }

    fn feed(&mut self, feed: Feed<'_>) {
        let _ = self.worker.poll(self.now);
        let mut counters = Vec::new();
        let reply = match feed {
            Feed::Bytes(bytes) => bytes.to_vec(),
            Feed::Heartbeat => self.reply(None, Vec::new()),
            Feed::Snapshot { direct } => self.reply(Some(snapshot(direct)), Vec::new()),
            Feed::Purged => {
                self.seq += 1;
                self.reply(None, vec![FeedEvent::Purged])
            }
            Feed::Lost => {
                assert!(!self.worker.polled(self.now, Answer::Lost, &mut counters));
                return;
            }
        };
        let version = VERSION.to_string();
        let all: Fields<'_> = vec![(b":status", b"200"), (MARKER.as_bytes(), version.as_bytes())];
        let answer = Answer::Came { head: Head::new(&all), body: &reply };
        let _ = self.worker.polled(self.now, answer, &mut counters);
    }

    fn reply(&self, snapshot: Option<Snapshot>, events: Vec<FeedEvent>) -> Vec<u8> {
        feed_reply(self.seq, snapshot, events)
    }

    /// A body is in nobody's memory once its turn is over.
    fn check_forgotten(&self, body: &[u8]) {
        let Some((start, _)) = body.split_at_checked(BODY_BYTES_MIN) else { return };
        let held = format!("{:?}", self.exchanges[self.in_hand].exchange);
        let as_numbers = format!("{start:?}");
        assert!(!held.contains(as_numbers.trim_matches(['[', ']'])), "kept a body");
        if let Ok(text) = std::str::from_utf8(start) {
            let as_text = format!("{text:?}");
            assert!(!held.contains(as_text.trim_matches('"')), "kept a body");
        }
    }

    pub(super) fn check_worker(&self) {
        // What a fuzzer's own snapshot allows is not known here.
        if self.worker.snapshot().is_none_or(|snapshot| snapshot.cache.l1_bytes_max == L1_BYTES_MAX)
        {
            let text = format!("{:?}", self.worker);
            assert!(text.len() <= WORKER_TEXT_MAX + self.reads * PLAN_TEXT_MAX, "{}", text.len());
        }
    }
}

/// What leaves in a head is one line, and never the key.
fn check_action(action: &Action, head: &[(Vec<u8>, Vec<u8>)], key: &str) {
    match action {
        Action::Reply(reply) => {
            assert!((200..600).contains(&reply.status));
            for (_, value) in &reply.headers {
                assert!(!value.contains(['\r', '\n', '\0']), "{value:?}");
            }
        }
        Action::Forward(forward) => {
            let fields: Fields<'_> =
                head.iter().map(|(name, value)| (&name[..], &value[..])).collect();
            for (name, value) in forward.head(Head::new(&fields)) {
                let has_key = value.windows(key.len()).any(|part| part == key.as_bytes());
                // A client that repeats its key in a header of another name has told it itself.
                assert!(!has_key || name != "authorization", "{name} has the key");
                assert!(name != "authorization" && name != "cookie");
            }
        }
        Action::SetResponseHeader(_, value) => {
            assert!(!value.contains(['\r', '\n', '\0']), "{value:?}");
        }
        Action::Callout(callout) => {
            assert!(serde_json::from_slice::<serde_json::Value>(&callout.body).is_ok());
        }
        Action::ReplaceBody(_)
        | Action::Spend(_)
        | Action::ClearTrailers
        | Action::RemoveResponseHeader(_)
        | Action::Log(_)
        | Action::Count(_) => {}
    }
}

/// What the feed says.
pub(crate) fn feed_reply(seq: u64, snapshot: Option<Snapshot>, events: Vec<FeedEvent>) -> Vec<u8> {
    let epoch = "epoch-1".to_owned();
    let reply = FeedReply { version: VERSION, epoch, seq, snapshot, events, reset: false };
    serde_json::to_vec(&reply).unwrap()
}

/// A gateway without a group.
pub(crate) fn gateway(id: &str) -> GatewayIdentity {
    GatewayIdentity {
        id: id.to_owned(),
        role: Role::Primary,
        group: None,
        egress: "/run/egress.sock".to_owned(),
    }
}

/// A caller who is known.
pub(crate) fn principal() -> Principal {
    Principal {
        key_id: "gk_1".to_owned(),
        lineage: None,
        org: "acme".to_owned(),
        team: None,
        user: None,
        agent: None,
        group: None,
        codebases: BTreeSet::from(["acme/web".to_owned()]),
        entitlements: BTreeSet::new(),
    }
}

/// A configuration with a route for two models.
pub(crate) fn snapshot(direct: bool) -> Snapshot {
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
        cache: CacheSettings { enabled: direct, tier: Tier::OrgShared, l1_bytes_max: L1_BYTES_MAX },
        models: ModelTable { routes: ["gpt-4o", "gpt-4o-mini"].map(route).into() }.into(),
        policy: PolicySettings {
            digest: Digest([7; 32]),
            block_status: 409,
            model_allowlist: None,
            request_limits: None,
            chain: Chain::default(),
        },
        on_sidecar_loss: if direct { OnSidecarLoss::Direct } else { OnSidecarLoss::Unavailable },
        identities: None,
        open_with_cap: None,
    }
}
