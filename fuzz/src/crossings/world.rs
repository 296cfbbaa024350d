//! A worker of the filter and a store, shared by everybody, and a provider that remembers for whom it answered.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kt_contract::hex::Digest;
use kt_contract::identity::Wanted;
use kt_contract::key::CacheKey;
use kt_contract::principal::{KeyHash, Principal};
use kt_contract::snapshot::{Snapshot, Tier};
use kt_contract::time::{MonoMillis, UnixMillis};
use kt_contract::wire::VERSION;
use kt_contract::wire::admit::{AdmitRequest, Admitted};
use kt_contract::wire::feed::Event as FeedEvent;
use kt_contract::wire::headers::{ADMIT, CODEBASE, MARKER};
use kt_contract::wire::principal::{PrincipalReply, PrincipalRequest};
use kt_contract::wire::{PATH_ADMIT, PATH_PRINCIPAL};
use kt_filter_core::action::{Action, Callout, Reply};
use kt_filter_core::event::{Answer, Event};
use kt_filter_core::head::Head;
use kt_filter_core::{Exchange, Worker};
use kt_providers::Recorded;
use sidecar_cache::entry::{Corrupt, Entry, Header, Mismatch};
use sidecar_cache::flight::{Epoch, Token};
use sidecar_cache::generation::Vector;

use super::asked::Asked;
use super::callers::Caller;
use super::credentials::CLAIM;
use crate::choices::Choices;
use crate::filter::play;

const TIERS: [Tier; 3] = [Tier::OrgShared, Tier::OrgShared, Tier::PrivateEdge];
const POLICIES: u8 = 3;
const L1_BYTES_MAX: u64 = 1 << 20;

/// What happened, so that a run can show that it was about something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Pairs of requests from different organizations.
    pub pairs: u64,
    /// Requests asked.
    pub asked: u64,
    /// Answers from the worker's memory.
    pub from_memory: u64,
    /// Answers from the store.
    pub from_store: u64,
    /// Answers that were made.
    pub made: u64,
    /// Entries of somebody else that were tried and stayed shut.
    pub shut: u64,
    /// Requests of callers without a key.
    pub by_identity: u64,
    /// Requests that a pack of their organization decided.
    pub by_pack: u64,
}

/// For whom and what an answer was made.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Made {
    org: String,
    tier: Tier,
    /// The group, or in a private tier the key.
    scope: Option<String>,
    codebases: BTreeSet<String>,
    entitlements: BTreeSet<String>,
    policy: u8,
    asked: Asked,
}

/// What is configured for somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Pack {
    tier: Tier,
    policy: u8,
}

/// Everything that is shared.
pub struct World {
    worker: Worker,
    /// Of another gateway, without a memory: it asks the store about everything.
    witness: Worker,
    seq: u64,
    /// What is configured for all, or on a hosted gateway for nobody.
    host: Pack,
    /// On a hosted gateway, from what its packs follow.
    hosted: Option<usize>,
    /// Everybody who was here, by what sidecars know him.
    known: BTreeMap<KeyHash, Principal>,
    store: BTreeMap<CacheKey, Bytes>,
    /// By the number that stands in the answer.
    made: Vec<Made>,
    pub(super) tally: Tally,
}

const NOW: MonoMillis = MonoMillis(50_000);

// === impl World ===

impl World {
    pub(super) fn new() -> Self {
        let mut world = Self {
            worker: Worker::new(play::gateway("gw-a")),
            witness: Worker::new(play::gateway("gw-b")),
            seq: 0,
            host: Pack { tier: Tier::OrgShared, policy: 0 },
            hosted: None,
            known: BTreeMap::new(),
            store: BTreeMap::new(),
            made: Vec::new(),
            tally: Tally::default(),
        };
        world.feed();
        world
    }

    /// Another tier or policy, or other packs, and what was kept under the old ones stays where it is.
    pub(super) fn configure(&mut self, choices: &mut Choices) {
        self.host = Pack::choose(choices);
        self.hosted = (choices.below(2) == 0).then(|| choices.below(1_000));
        self.feed();
    }

    fn feed(&mut self) {
        self.seq += 1;
        let orgs: BTreeSet<&String> = self.known.values().map(|known| &known.org).collect();
        let events: Vec<_> =
            orgs.into_iter().map(|org| FeedEvent::Tenant { org: org.clone() }).collect();
        for (worker, l1_bytes_max) in [(&mut self.worker, L1_BYTES_MAX), (&mut self.witness, 0)] {
            let snapshot = self.host.snapshot(l1_bytes_max);
            let _ = worker.poll(NOW);
            let reply = play::feed_reply(self.seq, Some(snapshot), events.clone());
            assert!(came("", &reply, |answer| worker.polled(NOW, answer, &mut Vec::new())));
        }
    }

    /// What decides about the requests of an organization. Few packs, so that some have the same.
    fn pack_of(&self, org: &str) -> Pack {
        match self.hosted {
            None => self.host,
            Some(packs) => Pack::choose(&mut Choices::of(format!("{packs} {org}").as_bytes())),
        }
    }

    /// What a sidecar says of a caller.
    fn principal(&mut self, caller: &Caller, l1_bytes_max: u64) -> PrincipalReply {
        let principal = caller.principal.clone();
        let before = self.known.insert(caller.credential.hash(), principal.clone());
        assert!(before.is_none_or(|before| before == principal), "two callers with one digest");
        match self.hosted {
            None => PrincipalReply::Known { principal, key_age_ms: None },
            Some(_) => {
                let snapshot = self.pack_of(&principal.org).snapshot(l1_bytes_max).into();
                PrincipalReply::Tenant { principal, key_age_ms: None, snapshot }
            }
        }
    }

    /// Asks, and holds whatever is told against what was asked. What the request was filed under.
    pub(super) fn ask(
        &mut self,
        caller: &Caller,
        asked: &Asked,
        choices: &mut Choices,
    ) -> AdmitRequest {
        let body = asked.write(choices);
        self.tally.asked += 1;
        self.tally.by_identity += u64::from(caller.credential.identity().is_some());
        self.tally.by_pack += u64::from(self.hosted.is_some());
        let replies = [0, L1_BYTES_MAX].map(|l1_bytes_max| self.principal(caller, l1_bytes_max));
        let mut plain = Asking::begin(&mut self.witness, (caller, &replies[0]), asked, &body);
        let filed = plain.admit();
        assert!(filed.bypass.is_none());
        // The pack of this organization has decided, and nobody else's.
        let Pack { tier, policy } = self.pack_of(&caller.principal.org);
        let gates = &filed.plan.gates;
        assert_eq!((gates.scope.tier(), gates.policy), (tier_name(tier), Digest([policy; 32])));

        let mut asking = Asking::begin(&mut self.worker, (caller, &replies[1]), asked, &body);
        if let Some(reply) = asking.reply() {
            let told = reply.body.clone();
            self.tally.from_memory += 1;
            self.was_made_for(&told, caller, asked);
            return filed;
        }
        let same = asking.admit();
        assert_eq!(same.plan, filed.plan);
        if let Some(entry) = self.store.get(&filed.plan.key) {
            let entry =
                Entry::decode(entry, &caller.keys).expect("an entry of another organization");
            assert_eq!(entry.header.verify(&filed.plan.gates, &filed.plan.check), Ok(()));
            asking.hit(&entry.body);
            self.tally.from_store += 1;
            self.was_made_for(&entry.body, caller, asked);
        } else {
            self.make(caller, asked, &filed);
        }
        filed
    }

    /// The provider answers, and the answer is stored.
    fn make(&mut self, caller: &Caller, asked: &Asked, filed: &AdmitRequest) {
        let body = format!(r#"{{"id":{}}}"#, self.made.len());
        let header = Header {
            gates: filed.plan.gates.clone(),
            check: filed.plan.check,
            generations: Vector::from_numbers(Vec::new()),
            token: Token { epoch: Epoch(1), counter: 1 },
            created: UnixMillis(1),
            fresh_until: UnixMillis(2),
            recorded: Recorded::Json,
            usage: None,
            served_by: String::new(),
        };
        let bytes = Entry::encode(&header, body.as_bytes(), &caller.keys);
        self.store.insert(filed.plan.key, bytes.into());
        self.made.push(self.wanted(caller, asked));
        self.tally.made += 1;
    }

    /// The only answers that this caller may be told.
    fn wanted(&self, caller: &Caller, asked: &Asked) -> Made {
        let principal = &caller.principal;
        let Pack { tier, policy } = self.pack_of(&principal.org);
        Made {
            org: principal.org.clone(),
            tier,
            scope: match tier {
                Tier::OrgShared => principal.group.clone(),
                Tier::PrivateEdge | Tier::PhysicalGateway => Some(principal.key_id.clone()),
            },
            codebases: caller.codebases(),
            entitlements: principal.entitlements.clone(),
            policy,
            asked: asked.clone(),
        }
    }

    fn was_made_for(&self, told: &[u8], caller: &Caller, asked: &Asked) {
        let number: serde_json::Value = serde_json::from_slice(told).unwrap();
        let made = &self.made[usize::try_from(number["id"].as_u64().unwrap()).unwrap()];
        assert_eq!(*made, self.wanted(caller, asked), "an answer that was made for somebody else");
    }

    /// What was stored for one does not open for another, even where he is handed it.
    pub(super) fn stays_shut(
        &mut self,
        first: &AdmitRequest,
        other: &Caller,
        their: &AdmitRequest,
    ) {
        let Some(entry) = self.store.get(&first.plan.key) else { return };
        self.tally.shut += 1;
        if first.plan.gates.org == their.plan.gates.org {
            let entry = Entry::decode(entry, &other.keys).unwrap();
            let refused = entry.header.verify(&their.plan.gates, &their.plan.check);
            assert!(matches!(refused, Err(Mismatch::Gate(_))), "{refused:?}");
        } else {
            assert_eq!(Entry::decode(entry, &other.keys), Err(Corrupt::Mac));
        }
    }
}

const fn tier_name(tier: Tier) -> &'static str {
    match tier {
        Tier::OrgShared => "org_shared_cache",
        Tier::PrivateEdge => "private_edge_cache",
        Tier::PhysicalGateway => "physical_gateway_private_cache_only",
    }
}

// === impl Pack ===

impl Pack {
    fn choose(choices: &mut Choices) -> Self {
        let tier = TIERS[choices.below(TIERS.len())];
        Self { tier, policy: u8::try_from(choices.below(usize::from(POLICIES))).unwrap() }
    }

    fn snapshot(self, l1_bytes_max: u64) -> Snapshot {
        let Self { tier, policy } = self;
        let mut snapshot = play::snapshot(true);
        snapshot.version = format!("{tier:?} {policy}");
        snapshot.cache.tier = tier;
        snapshot.cache.l1_bytes_max = l1_bytes_max;
        snapshot.policy.digest = Digest([policy; 32]);
        let claims = BTreeSet::from([CLAIM.to_owned()]);
        let rules = Digest([9; 32]);
        snapshot.identities = Some(Wanted { certificates: true, tokens: true, claims, rules });
        snapshot
    }
}

/// One request at one worker, as far as the sidecar or an answer.
struct Asking<'a> {
    worker: &'a mut Worker,
    exchange: Exchange,
    actions: Vec<Action>,
}

// === impl Asking ===

impl<'a> Asking<'a> {
    /// `known` is what a sidecar says of the caller, if it is asked.
    fn begin(
        worker: &'a mut Worker,
        (caller, known): (&Caller, &PrincipalReply),
        asked: &Asked,
        body: &str,
    ) -> Self {
        let bearer = caller.credential.bearer();
        let mut fields: Vec<(&[u8], &[u8])> =
            vec![(b":method", b"POST"), (b":path", b"/v1/chat/completions")];
        fields.extend(bearer.as_ref().map(|it| (b"authorization".as_slice(), it.as_bytes())));
        fields.extend(asked.beta.map(|beta| (b"openai-beta".as_slice(), beta.as_bytes())));
        fields.extend(caller.hint.as_ref().map(|hint| (CODEBASE.as_bytes(), hint.as_bytes())));
        let mut asking = Self { worker, exchange: Exchange::default(), actions: Vec::new() };
        asking.turn(Event::RequestHeaders {
            head: Head::new(&fields),
            end: false,
            random: [7; 16],
            peer: caller.credential.peer(),
        });
        let callout = asking.callout().filter(|callout| callout.path == PATH_PRINCIPAL);
        let question = callout.map(|callout| serde_json::from_slice(&callout.body).unwrap());
        if let Some(PrincipalRequest { version: _, key, identity }) = question {
            assert_eq!(key, caller.credential.hash());
            assert_eq!(identity.as_ref(), caller.credential.identity());
            let known = serde_json::to_vec(known).unwrap();
            came("", &known, |answer| asking.turn(Event::CalloutAnswered(answer)));
        }
        asking.turn(Event::RequestBody { bytes: body.len() as u64, end: true });
        asking.turn(Event::RequestRead { body: body.as_bytes() });
        asking
    }

    fn turn(&mut self, event: Event<'_>) {
        let _ = self.exchange.handle(self.worker, NOW, event, &mut self.actions);
    }

    fn callout(&self) -> Option<&Callout> {
        self.actions.iter().rev().find_map(|action| {
            if let Action::Callout(callout) = action { Some(callout) } else { None }
        })
    }

    fn reply(&self) -> Option<&Reply> {
        self.actions
            .iter()
            .find_map(|action| if let Action::Reply(reply) = action { Some(reply) } else { None })
    }

    fn admit(&mut self) -> AdmitRequest {
        let callout = self.callout().filter(|callout| callout.path == PATH_ADMIT);
        let callout = callout.unwrap_or_else(|| panic!("not admitted: {:?}", self.actions));
        serde_json::from_slice(&callout.body).unwrap()
    }

    fn hit(&mut self, body: &[u8]) {
        let hit = Admitted::Hit {
            content_type: "application/json".to_owned(),
            age_s: 0,
            fresh_ms: 60_000,
            served_by: String::new(),
            saved_micro_usd: None,
            saved_tokens: None,
        };
        let hit = serde_json::to_string(&hit).unwrap();
        came(&hit, body, |answer| self.turn(Event::CalloutAnswered(answer)));
        assert_eq!(self.reply().map(|reply| reply.body.as_ref()), Some(body));
    }
}

/// A sidecar's reply, and its use as an answer.
fn came<T>(decision: &str, body: &[u8], take: impl FnOnce(Answer<'_>) -> T) -> T {
    let version = VERSION.to_string();
    let fields: [(&[u8], &[u8]); 3] = [
        (b":status", b"200"),
        (MARKER.as_bytes(), version.as_bytes()),
        (ADMIT.as_bytes(), decision.as_bytes()),
    ];
    take(Answer::Came { head: Head::new(&fields), body })
}
