//! A sidecar without sockets: keys in a list, a provider by script, and entries that can be tampered with.
//! With tokio's clock paused, hours pass in no time and nothing in here sleeps for real.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kt_contract::hex::Digest;
use kt_contract::idempotency::IdempotencyKey;
use kt_contract::identify::{self, Ask};
use kt_contract::json;
use kt_contract::key::{CacheKey, OrgKeys};
use kt_contract::outcome::Reason;
use kt_contract::principal::{KeyHash, Principal};
use kt_contract::snapshot::Snapshot;
use kt_contract::time::{Millis, UnixMillis};
use kt_contract::wire::admit::{AdmitRequest, Admitted, Plan};
use kt_contract::wire::feed::{FeedRequest, GatewayIdentity, Role};
use kt_providers::Dialect;
use sidecar_cache::clock::Clock;
use sidecar_cache::idempotency::ReplyId;
use sidecar_cache::service::generations::Generations;
use sidecar_cache::service::lane::{Head, Refusal, Reply};
use sidecar_cache::service::reader::{Piece, Reader};
use sidecar_cache::service::settings::Settings;
use sidecar_cache::service::upstream::{
    Advice, Answered, AskFailed, Broken, Call, CallFailed, Coming, Pieces, Question, Timeouts,
    Upstream,
};
use sidecar_cache::service::{Parts, Shared, Sidecar};
use sidecar_cache::store::audit_log::AuditStore;
use sidecar_cache::store::health::Health;
use sidecar_cache::store::ledger::LedgerStore;
use sidecar_cache::store::memory::MemoryEntries;
use sidecar_cache::store::replies::{ClaimStore, NewReply, ReplyStore};
use sidecar_cache::store::savings::SavingsStore;
use sidecar_cache::store::spool::SpoolStore;
use sidecar_cache::store::{
    Address, Answer, Bounds, EntryStore, Held, KeyRecord, Lifetime, Lookup, NewEntry, OrgHeld,
    PrincipalStore, Revoked, Rotated, StoreError,
};
use sidecar_cache::ticket::{Holder, Peer};
use tokio::sync::Notify;

pub(crate) const CHAT: &str =
    r#"{"model":"gpt-4o-mini","messages":[{"role":"user","content":"hi"}]}"#;
pub(crate) const CHAT_STREAM: &str =
    r#"{"model":"gpt-4o-mini","stream":true,"messages":[{"role":"user","content":"hi"}]}"#;
pub(crate) const CHAT_STREAM_USAGE: &str = r#"{"model":"gpt-4o-mini","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"hi"}]}"#;

pub(crate) const JSON: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1,"model":"gpt-4o-mini-2024-07-18","choices":[{"index":0,"message":{"role":"assistant","content":"hello","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":5,"completion_tokens":7,"total_tokens":12},"system_fingerprint":"fp"}"#;
pub(crate) const CHUNKS: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"hello\"},\"finish_reason\":null}],\"usage\":null}\n\ndata: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4o-mini\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}],\"usage\":null}\n\n";
pub(crate) const USAGE_CHUNK: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"gpt-4o-mini\",\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":7,\"total_tokens\":12}}\n\n";
pub(crate) const DONE: &str = "data: [DONE]\n\n";

/// What the provider sends when it is asked for usage.
pub(crate) fn sse() -> String {
    [CHUNKS, USAGE_CHUNK, DONE].concat()
}

/// What a client that has not asked for usage gets.
pub(crate) fn sse_without_usage() -> String {
    [CHUNKS, DONE].concat()
}

pub(crate) const PEER: Peer = Peer::from_pid(Some(41));
pub(crate) const REQUEST_ID: &str = "000102030405060708090a0b0c0d0e0f";

/// A sidecar and all that is around it.
pub(crate) struct Group {
    pub(crate) sidecar: Arc<Sidecar>,
    pub(crate) provider: Arc<Provider>,
    pub(crate) entries: Arc<Shelved>,
    pub(crate) replies: Arc<Remembered>,
}

/// A gateway key and who stands behind it.
#[derive(Clone)]
pub(crate) struct Key {
    pub(crate) hash: KeyHash,
    pub(crate) principal: Principal,
}

/// An answer as its client saw it.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) head: Head,
    pub(crate) body: Vec<u8>,
    /// Whether it ended with its end.
    pub(crate) has_end: bool,
}

pub(crate) fn settings() -> Settings {
    SETTINGS.clone()
}

static SETTINGS: LazyLock<Settings> = LazyLock::new(|| settings_with(""));

/// The settings of the tests' file and `more`.
pub(crate) fn settings_with(more: &str) -> Settings {
    let yaml = "
pack: {name: test, version: 0.1.0}
gateway: {id: gw-a}
providers:
  targets:
    - {id: openai-1, provider: openai, models: [gpt-4o-mini, gpt-4o], secret_key_ref: {env: KEY}}
workflow_cache:
  enabled: true
  default_tier: org_shared_cache
  org_shared_enabled: true
  ttl_seconds: 3600
  max_entry_tokens: 1000
";
    let loaded = kt_contract::config::load("test.yaml", &format!("{yaml}{more}")).unwrap();
    Settings::of(&loaded.config, false)
}

pub(crate) fn gateway() -> GatewayIdentity {
    GatewayIdentity {
        id: "gw-a".to_owned(),
        role: Role::Primary,
        group: Some("coders".to_owned()),
        egress: "/run/egress-gw-a.sock".to_owned(),
    }
}

/// A sidecar with one gateway.
pub(crate) async fn group() -> Group {
    let group = group_without_gateway();
    group.poll().await;
    group
}

pub(crate) fn group_without_gateway() -> Group {
    group_of(settings(), Clock::start(), None)
}

/// A sidecar that accounts for its calls, without a gateway.
pub(crate) fn group_of(
    settings: Settings,
    clock: Clock,
    ledger: Option<Arc<dyn LedgerStore>>,
) -> Group {
    group_saving(settings, clock, ledger, None)
}

/// One that notes what it saves, too.
pub(crate) fn group_saving(
    settings: Settings,
    clock: Clock,
    ledger: Option<Arc<dyn LedgerStore>>,
    savings: Option<Arc<dyn SavingsStore>>,
) -> Group {
    let entries = Arc::new(Shelved::new(clock, settings.memory));
    let (store, keys) = (Arc::clone(&entries) as Arc<dyn EntryStore>, Arc::default());
    let common = Common { clock, settings, entries, store, keys, ledger, savings };
    group_with(common, None)
}

/// What several sidecars have in common.
#[derive(Clone)]
pub(crate) struct Common {
    pub(crate) clock: Clock,
    pub(crate) settings: Settings,
    pub(crate) entries: Arc<Shelved>,
    /// Where entries are kept: these, or others.
    pub(crate) store: Arc<dyn EntryStore>,
    pub(crate) keys: Arc<Keys>,
    pub(crate) ledger: Option<Arc<dyn LedgerStore>>,
    pub(crate) savings: Option<Arc<dyn SavingsStore>>,
}

/// A sidecar of several, with its own provider.
pub(crate) fn group_with(common: Common, shared: Option<Shared>) -> Group {
    group_spooling(common, shared, None)
}

/// One that puts into a spool what its ledger does not take at once.
pub(crate) fn group_spooling(
    common: Common,
    shared: Option<Shared>,
    spool: Option<Arc<dyn SpoolStore>>,
) -> Group {
    group_made_of(common, shared, spool, None)
}

/// One that puts on record what happens to requests.
pub(crate) fn group_recording(settings: Settings, audit_log: Arc<dyn AuditStore>) -> Group {
    let clock = Clock::start();
    let entries = Arc::new(Shelved::new(clock, settings.memory));
    let (store, keys) = (Arc::clone(&entries) as Arc<dyn EntryStore>, Arc::default());
    let (ledger, savings) = (None, None);
    let common = Common { clock, settings, entries, store, keys, ledger, savings };
    group_made_of(common, None, None, Some(audit_log))
}

/// What a sidecar is made of that keeps everything but its entries in memory, shares nothing, and pays for nothing.
pub(crate) fn parts(
    clock: Clock,
    settings: Settings,
    entries: Arc<dyn EntryStore>,
    provider: &Arc<Provider>,
) -> Parts {
    Parts {
        tenants: None,
        versions: None,
        clock,
        settings,
        entries,
        shared: None,
        generations: Generations::in_memory(),
        keys: Arc::new(Keys::default()),
        ledger: None,
        spool: None,
        replies: Arc::new(Remembered::default()),
        savings: None,
        audit_log: None,
        upstream: Arc::clone(provider) as Arc<dyn Upstream>,
        timeouts: Timeouts::default(),
    }
}

fn group_made_of(
    common: Common,
    shared: Option<Shared>,
    spool: Option<Arc<dyn SpoolStore>>,
    audit_log: Option<Arc<dyn AuditStore>>,
) -> Group {
    let Common { clock, settings, entries, store, keys, ledger, savings } = common;
    let provider = Arc::new(Provider::default());
    let replies = Arc::new(Remembered::default());
    let sidecar = Sidecar::new(Parts {
        shared,
        keys,
        ledger,
        spool,
        replies: Arc::clone(&replies) as Arc<dyn ReplyStore>,
        savings,
        audit_log,
        ..parts(clock, settings, store, &provider)
    });
    Group { sidecar: sidecar.unwrap(), provider, entries, replies }
}

// === impl Group ===

impl Group {
    /// Around a sidecar that has its own provider and entries.
    pub(crate) fn around(sidecar: Arc<Sidecar>) -> Self {
        let entries = Arc::new(Shelved::new(Clock::start(), settings().memory));
        Self { sidecar, provider: Arc::default(), entries, replies: Arc::default() }
    }

    /// The first poll of `gw-a`.
    pub(crate) async fn poll(&self) {
        let poll = FeedRequest {
            version: kt_contract::wire::VERSION,
            worker: None,
            gateway: gateway(),
            epoch: None,
            seq: 0,
            snapshot: None,
            hits: None,
        };
        self.sidecar.poll_feed(&poll).await.unwrap();
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        settings().snapshot.as_ref().clone()
    }

    /// A key of `acme`, as the simplest of cases.
    pub(crate) async fn key(&self) -> Key {
        self.key_with(|_| {}).await
    }

    pub(crate) async fn key_with(
        &self,
        change: impl FnOnce(&mut kt_contract::wire::admin::KeyRequest),
    ) -> Key {
        let mut request = kt_contract::wire::admin::KeyRequest {
            org: "acme".to_owned(),
            team: None,
            user: Some("ada".to_owned()),
            agent: None,
            group: None,
            codebases: vec!["acme/web".to_owned()],
            entitlements: vec!["eu".to_owned()],
        };
        change(&mut request);
        let created = self.sidecar.create_key(request).await.unwrap();
        let key = kt_contract::gateway_key::GatewayKey::parse(&created.key).unwrap();
        let listed = self.sidecar.list_keys().await.unwrap().keys;
        let entry = listed.into_iter().find(|entry| entry.principal.key_id == created.key_id);
        Key { hash: key.hash(), principal: entry.unwrap().principal }
    }

    /// What the filter of `gw-a` says of a request.
    pub(crate) fn ask(&self, key: &Key, body: &str) -> AdmitRequest {
        self.ask_at(&gateway(), key, body)
    }

    pub(crate) fn ask_at(&self, gateway: &GatewayIdentity, key: &Key, body: &str) -> AdmitRequest {
        ask_by(&self.snapshot(), gateway, key, body)
    }

    pub(crate) async fn admit(&self, ask: AdmitRequest) -> Admitted {
        self.sidecar.admit(ask, PEER).await.unwrap().decision
    }

    /// The ticket and the reason of a request that must take the lane.
    pub(crate) async fn ticket(&self, ask: AdmitRequest) -> (String, Reason) {
        let decision = self.admit(ask).await;
        let Admitted::Lane { ticket, reason } = decision else { panic!("no lane: {decision:?}") };
        (ticket, reason)
    }

    /// The inline hit of a request that must have one.
    pub(crate) async fn hit(&self, ask: AdmitRequest) -> Bytes {
        let admission = self.sidecar.admit(ask, PEER).await.unwrap();
        assert!(matches!(admission.decision, Admitted::Hit { .. }), "{:?}", admission.decision);
        admission.body
    }

    /// Sends a request down the lane, until its head is there.
    pub(crate) async fn lane(&self, ticket: &str, body: &str) -> Result<Reply, Refusal> {
        let entered = self.sidecar.enter(Some(ticket), &holder())?;
        self.sidecar.serve(entered, Vec::new(), Bytes::copy_from_slice(body.as_bytes())).await
    }

    /// The same with an `Idempotency-Key`.
    pub(crate) async fn lane_keyed(
        &self,
        idempotency: &str,
        key: &Key,
        body: &str,
    ) -> Result<Reply, Refusal> {
        let ask = AdmitRequest { is_keyed: true, ..self.ask(key, body) };
        let (ticket, _) = self.ticket(ask).await;
        let values = [idempotency.as_bytes()];
        let name = IdempotencyKey::read(values.into_iter()).unwrap();
        let entered = self.sidecar.enter(Some(&ticket), &holder())?.keyed(name);
        self.sidecar.serve(entered, Vec::new(), Bytes::copy_from_slice(body.as_bytes())).await
    }

    /// The same, and reads the answer to its end.
    pub(crate) async fn fetch_keyed(
        &self,
        idempotency: &str,
        key: &Key,
        body: &str,
    ) -> Result<Seen, Refusal> {
        Ok(read(self.lane_keyed(idempotency, key, body).await?).await)
    }

    /// Asks and reads the answer of the lane to its end.
    pub(crate) async fn fetch(&self, key: &Key, body: &str) -> Result<Seen, Refusal> {
        let (ticket, _) = self.ticket(self.ask(key, body)).await;
        Ok(read(self.lane(&ticket, body).await?).await)
    }

    /// Whether the same request, whoever asks, would be served from the cache.
    pub(crate) async fn is_cached(&self, key: &Key, body: &str) -> bool {
        matches!(self.admit(self.ask(key, body)).await, Admitted::Hit { .. })
    }

    /// The value of a metric, by its whole name with labels.
    pub(crate) fn metric(&self, name: &str) -> String {
        let text = self.sidecar.render_metrics();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or("0").to_owned()
    }
}

impl Group {
    /// The tokens of input and of output that were saved.
    pub(crate) fn saved_tokens(&self, basis: &str) -> [String; 2] {
        ["input", "output"].map(|direction| {
            let of = format!("{{basis=\"{basis}\",direction=\"{direction}\"}}");
            self.metric(&format!("kt_saved_tokens_total{of}"))
        })
    }
}

/// What the filter of a gateway says of a request that it has planned by `snapshot`.
pub(crate) fn ask_by(
    snapshot: &Snapshot,
    gateway: &GatewayIdentity,
    key: &Key,
    body: &str,
) -> AdmitRequest {
    ask_in(Dialect::OpenAiChat, snapshot, gateway, key, body)
}

pub(crate) fn ask_in(
    dialect: Dialect,
    snapshot: &Snapshot,
    gateway: &GatewayIdentity,
    key: &Key,
    body: &str,
) -> AdmitRequest {
    let bounds = json::Bounds { depth_max: 64, nodes_max: 10_000 };
    let node = json::parse(body.as_bytes(), bounds).unwrap();
    let asked = dialect.read(&node).unwrap();

    let route = snapshot.models.route(&asked.model).unwrap();
    let ask = Ask { dialect: dialect.as_str(), path: dialect.path(), route, codebase: None };
    let gates = identify::gates(&key.principal, gateway, snapshot, ask).unwrap();
    let keys = OrgKeys::derive(&key.principal.org);
    let request = keys.request_digests(&node, dialect.left_out(), &[]);
    AdmitRequest {
        version: kt_contract::wire::VERSION,
        request_id: REQUEST_ID.to_owned(),
        gateway: gateway.id.clone(),
        principal: key.hash,
        identity: None,
        body: Digest(*blake3::hash(body.as_bytes()).as_bytes()),
        is_keyed: false,
        bypass: None,
        control: kt_contract::wire::admit::Control::default(),
        trace: None,
        plan: Plan {
            snapshot: snapshot.version.clone(),
            key: keys.cache_key(&gates, &request),
            check: keys.check_hash(&gates, &request),
            gates,
            request,
            target: route.target.clone(),
            reply: asked.reply,
            client_limited: asked.client_limited,
            guardrails: Vec::new(),
        },
    }
}

pub(crate) fn holder() -> Holder {
    holder_of(REQUEST_ID)
}

pub(crate) fn holder_of(request_id: &str) -> Holder {
    Holder { request_id: request_id.to_owned(), peer: PEER }
}

/// Lets every task do what it can do at this moment.
pub(crate) async fn settle() {
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// Lets so much of the tests' own time pass. tokio's clock is paused: whatever is due in between happens in its order,
/// and nobody waits for it.
pub(crate) async fn pass(length: Duration) {
    tokio::time::sleep(length).await;
}

/// Reads an answer to its end.
pub(crate) async fn read(reply: Reply) -> Seen {
    match reply {
        Reply::Whole(head, body) => Seen { head, body: body.to_vec(), has_end: true },
        Reply::Kept(head, mut pieces) => {
            let mut body = Vec::new();
            while let Some(piece) = pieces.recv().await {
                match piece {
                    Piece::Bytes(bytes) => body.extend_from_slice(&bytes),
                    Piece::End => return Seen { head, body, has_end: true },
                }
            }
            Seen { head, body, has_end: false }
        }
        Reply::Stream(head, mut pieces) => {
            let mut body = Vec::new();
            let has_end = read_on(&mut pieces, &mut body).await;
            Seen { head, body, has_end }
        }
    }
}

/// Reads on to the end, and says whether there is one.
pub(crate) async fn read_on(pieces: &mut Reader, body: &mut Vec<u8>) -> bool {
    while let Some(piece) = pieces.recv().await {
        match piece {
            Piece::Bytes(bytes) => body.extend_from_slice(&bytes),
            Piece::End => return true,
        }
    }
    false
}

/// A provider that does what it is told, in order. Without a script it answers like a good one.
#[derive(Default)]
pub(crate) struct Provider {
    script: Mutex<VecDeque<Scripted>>,
    calls: Mutex<Vec<Call>>,
    cancelled: Arc<AtomicUsize>,
    /// What the services of external policies say, in order, and after how long.
    said: Mutex<VecDeque<(Duration, Result<&'static str, AskFailed>)>>,
    questions: Mutex<Vec<Question>>,
}

/// One answer.
#[derive(Clone)]
pub(crate) struct Scripted {
    pub(crate) fails: Option<CallFailed>,
    pub(crate) head_after: Duration,
    pub(crate) status: u16,
    pub(crate) details: Option<&'static str>,
    pub(crate) content_type: &'static str,
    pub(crate) content_encoding: Option<&'static str>,
    pub(crate) retry_after: Option<&'static str>,
    pub(crate) cache_control: Option<&'static str>,
    pub(crate) acts: Vec<Act>,
}

/// What a body does next.
#[derive(Clone)]
pub(crate) enum Act {
    Bytes(Bytes),
    Wait(Duration),
    /// Waits until it is told to go on.
    Until(Arc<Notify>),
    Break,
    /// Ends the task of who waits for it, as a fault of ours would.
    Fault,
}

pub(crate) fn bytes(text: &str) -> Act {
    Act::Bytes(Bytes::copy_from_slice(text.as_bytes()))
}

pub(crate) fn answers_json(body: &str) -> Scripted {
    Scripted {
        fails: None,
        head_after: Duration::ZERO,
        status: 200,
        details: Some("via_upstream"),
        content_type: "application/json",
        content_encoding: None,
        retry_after: None,
        cache_control: None,
        acts: vec![bytes(body)],
    }
}

pub(crate) fn answers_sse(acts: Vec<Act>) -> Scripted {
    Scripted { content_type: "text/event-stream; charset=utf-8", acts, ..answers_json("") }
}

// === impl Provider ===

impl Provider {
    pub(crate) fn next(&self, scripted: Scripted) {
        self.script.lock().unwrap().push_back(scripted);
    }

    /// What a service says next, after so long. Without it, that it allows.
    pub(crate) fn service_says(&self, after: Duration, said: Result<&'static str, AskFailed>) {
        self.said.lock().unwrap().push_back((after, said));
    }

    /// What services were asked, as JSON.
    pub(crate) fn questions(&self) -> Vec<serde_json::Value> {
        let questions = self.questions.lock().unwrap();
        questions.iter().map(|asked| serde_json::from_slice(&asked.body).unwrap()).collect()
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().unwrap().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.calls.lock().unwrap().len()
    }

    /// How many calls were dropped before their end.
    pub(crate) fn cancelled(&self) -> usize {
        self.cancelled.load(Ordering::SeqCst)
    }
}

impl Upstream for Provider {
    fn ask(&self, question: Question) -> Coming<'_, Result<Bytes, AskFailed>> {
        self.questions.lock().unwrap().push(question);
        let said = self.said.lock().unwrap().pop_front();
        let (after, said) = said.unwrap_or((Duration::ZERO, Ok(r#"{"action":"allow"}"#)));
        Box::pin(async move {
            tokio::time::sleep(after).await;
            said.map(|said| Bytes::from_static(said.as_bytes()))
        })
    }

    fn call(&self, call: Call) -> Coming<'_, Result<Answered, CallFailed>> {
        let is_stream = std::str::from_utf8(&call.body).unwrap().contains(r#""stream":true"#);
        self.calls.lock().unwrap().push(call);
        let scripted = self.script.lock().unwrap().pop_front().unwrap_or_else(|| {
            if is_stream { answers_sse(vec![bytes(&sse())]) } else { answers_json(JSON) }
        });
        let cancelled = Arc::clone(&self.cancelled);
        Box::pin(async move {
            tokio::time::sleep(scripted.head_after).await;
            if let Some(failed) = scripted.fails {
                return Err(failed);
            }
            let own = |text: Option<&str>| text.map(str::to_owned);
            Ok(Answered {
                status: scripted.status,
                details: own(scripted.details),
                content_type: own(Some(scripted.content_type)),
                content_encoding: own(scripted.content_encoding),
                advice: Advice { after: own(scripted.retry_after), ..Advice::default() }.into(),
                cache_control: own(scripted.cache_control),
                body: Box::pin(Body { acts: scripted.acts.into(), is_over: false, cancelled }),
            })
        })
    }
}

struct Body {
    acts: VecDeque<Act>,
    is_over: bool,
    cancelled: Arc<AtomicUsize>,
}

impl Pieces for Body {
    fn next(mut self: Pin<&mut Self>) -> Coming<'_, Option<Result<Bytes, Broken>>> {
        Box::pin(async move {
            loop {
                match self.acts.front().cloned() {
                    Some(Act::Wait(length)) => {
                        tokio::time::sleep(length).await;
                        self.acts.pop_front();
                    }
                    Some(Act::Until(told)) => {
                        told.notified().await;
                        self.acts.pop_front();
                    }
                    Some(Act::Bytes(bytes)) => {
                        self.acts.pop_front();
                        return Some(Ok(bytes));
                    }
                    Some(Act::Break) => {
                        self.is_over = true;
                        return Some(Err(Broken));
                    }
                    Some(Act::Fault) => panic!("a fault of ours"),
                    None => {
                        self.is_over = true;
                        return None;
                    }
                }
            }
        })
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.cancelled.fetch_add(usize::from(!self.is_over), Ordering::SeqCst);
    }
}

/// Answers to `Idempotency-Key`s in a list, and a disk that can be slow, full or lost.
#[derive(Default)]
pub(crate) struct Remembered {
    /// With the organization of each.
    replies: Mutex<HashMap<ReplyId, (String, Vec<u8>)>>,
    /// How long it takes until one is on disk.
    pub(crate) takes: Mutex<Duration>,
    /// How long it takes to find one.
    pub(crate) finds: Mutex<Duration>,
    pub(crate) is_full: AtomicBool,
    pub(crate) is_lost: AtomicBool,
}

// === impl Remembered ===

impl Remembered {
    pub(crate) fn count(&self) -> usize {
        self.replies.lock().unwrap().len()
    }

    /// Changes a bit of everything.
    pub(crate) fn corrupt(&self) {
        for (_, bytes) in self.replies.lock().unwrap().values_mut() {
            bytes[5] ^= 1;
        }
    }
}

impl ReplyStore for Remembered {
    fn claims(&self) -> Option<&dyn ClaimStore> {
        None
    }

    fn find(&self, id: ReplyId) -> Answer<'_, Option<Vec<u8>>> {
        Box::pin(async move {
            let finds = *self.finds.lock().unwrap();
            tokio::time::sleep(finds).await;
            if self.is_lost.load(Ordering::SeqCst) {
                return Err(StoreError::Transient("lost".to_owned()));
            }
            Ok(self.replies.lock().unwrap().get(&id).map(|(_, bytes)| bytes.clone()))
        })
    }

    fn keep(&self, reply: NewReply) -> Answer<'_, ()> {
        Box::pin(async move {
            let takes = *self.takes.lock().unwrap();
            tokio::time::sleep(takes).await;
            if self.is_full.load(Ordering::SeqCst) {
                return Err(StoreError::Transient("full".to_owned()));
            }
            self.replies.lock().unwrap().insert(reply.id, (reply.org, reply.bytes));
            Ok(())
        })
    }

    fn forget_org(&self, org: String) -> Answer<'_, ()> {
        self.replies.lock().unwrap().retain(|_, (of, _)| *of != org);
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Gateway keys in a list.
#[derive(Default)]
pub(crate) struct Keys {
    records: Mutex<Vec<KeyRecord>>,
}

/// What a rotation does to the old key.
pub(crate) fn rotate(
    records: &mut [&mut KeyRecord],
    key_id: &str,
    new: &KeyRecord,
    ends_at: UnixMillis,
) -> Rotated {
    let revoked = |name: &str| {
        let mut named = records.iter().filter(|record| record.principal.key_id == name);
        named.any(|record| record.revoked_at.is_some())
    };
    let old = records.iter().find(|record| record.principal.key_id == key_id);
    let Some(old) = old else { return Rotated::Unknown };
    if old.is_over(new.created_at) {
        return Rotated::Over;
    }
    if let Some(successor) = old.successor.clone().filter(|successor| !revoked(successor)) {
        return Rotated::Replaced { successor };
    }
    let old = records.iter_mut().find(|record| record.principal.key_id == key_id).unwrap();
    (old.ends_at, old.successor) = (Some(ends_at), Some(new.principal.key_id.clone()));
    Rotated::Done(old.hash)
}

impl PrincipalStore for Keys {
    fn find(&self, hash: KeyHash) -> Answer<'_, Option<KeyRecord>> {
        let records = self.records.lock().unwrap();
        let found = records.iter().find(|record| record.hash == hash).cloned();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn find_named(&self, key_id: String) -> Answer<'_, Option<KeyRecord>> {
        let records = self.records.lock().unwrap();
        let found = records.iter().find(|record| record.principal.key_id == key_id).cloned();
        Box::pin(std::future::ready(Ok(found)))
    }

    fn add(&self, record: KeyRecord) -> Answer<'_, ()> {
        self.records.lock().unwrap().push(record);
        Box::pin(std::future::ready(Ok(())))
    }

    fn revoke(&self, key_id: String, at: UnixMillis) -> Answer<'_, Revoked> {
        let mut records = self.records.lock().unwrap();
        let found = records.iter_mut().find(|record| record.principal.key_id == key_id);
        let revoked = found.map_or(Revoked::Unknown, |record| {
            record.revoked_at.get_or_insert(at);
            Revoked::Done(record.hash)
        });
        Box::pin(std::future::ready(Ok(revoked)))
    }

    fn rotate(&self, key_id: String, new: KeyRecord, ends_at: UnixMillis) -> Answer<'_, Rotated> {
        let mut records = self.records.lock().unwrap();
        let rotated = rotate(&mut records.iter_mut().collect::<Vec<_>>(), &key_id, &new, ends_at);
        if let Rotated::Done(_) = rotated {
            records.push(new);
        }
        Box::pin(std::future::ready(Ok(rotated)))
    }

    fn list(&self) -> Answer<'_, Vec<KeyRecord>> {
        Box::pin(std::future::ready(Ok(self.records.lock().unwrap().clone())))
    }
}

/// A memory store whose entries can be changed behind everybody's back.
pub(crate) struct Shelved {
    inner: MemoryEntries,
    filled: Mutex<Vec<(Address, Vec<u8>)>>,
    holds_next: AtomicBool,
    nears: AtomicUsize,
    held: Notify,
    released: Notify,
}

impl Shelved {
    pub(crate) fn new(clock: Clock, bounds: Bounds) -> Self {
        Self {
            inner: MemoryEntries::new(clock, bounds),
            filled: Mutex::default(),
            holds_next: AtomicBool::new(false),
            nears: AtomicUsize::new(0),
            held: Notify::new(),
            released: Notify::new(),
        }
    }

    /// Holds the answer of the next lookup back, which is then older than it seems.
    pub(crate) fn hold_next_lookup(&self) {
        self.holds_next.store(true, Ordering::SeqCst);
    }

    /// Waits until a lookup is being held, and then for `work`, before it is let go.
    pub(crate) async fn while_held<T>(&self, work: impl Future<Output = T>) -> T {
        self.held.notified().await;
        let done = work.await;
        self.released.notify_one();
        done
    }

    /// How often somebody asked for the neighbours of an entry that is not there.
    pub(crate) fn nears(&self) -> usize {
        self.nears.load(Ordering::SeqCst)
    }

    /// Whether anything was ever filled.
    pub(crate) fn is_filled(&self) -> bool {
        !self.filled.lock().unwrap().is_empty()
    }

    /// The last entry that was filled.
    pub(crate) fn last(&self) -> (Address, Vec<u8>) {
        self.filled.lock().unwrap().last().unwrap().clone()
    }

    /// Puts bytes where they do not belong.
    pub(crate) async fn smuggle(&self, at: Address, bytes: Vec<u8>) {
        let lifetime = Lifetime { fresh: Millis(1_000_000), stale: Millis(0) };
        let entry = NewEntry { at, org: "acme".to_owned(), bytes, lifetime };
        self.inner.fill(entry).await.unwrap();
    }
}

impl EntryStore for Shelved {
    fn lookup(&self, at: Address) -> Answer<'_, Lookup> {
        Box::pin(async move {
            let answer = self.inner.lookup(at).await;
            if self.holds_next.swap(false, Ordering::SeqCst) {
                self.held.notify_one();
                self.released.notified().await;
            }
            answer
        })
    }

    fn peek(&self, at: Address) -> Answer<'_, Lookup> {
        self.inner.peek(at)
    }

    fn fill(&self, entry: NewEntry) -> Answer<'_, ()> {
        self.filled.lock().unwrap().push((entry.at, entry.bytes.clone()));
        self.inner.fill(entry)
    }

    fn purge(&self, key: CacheKey, seen: Option<Bytes>) -> Answer<'_, bool> {
        self.inner.purge(key, seen)
    }

    fn purge_org(&self, org: String) -> Answer<'_, u64> {
        self.inner.purge_org(org)
    }

    fn near(&self, request: Digest, count: usize) -> Answer<'_, Vec<Bytes>> {
        self.nears.fetch_add(1, Ordering::SeqCst);
        self.inner.near(request, count)
    }

    fn bound(&self, bounds: Bounds) -> Answer<'_, ()> {
        self.inner.bound(bounds)
    }

    fn held(&self) -> Held {
        self.inner.held()
    }

    fn held_by_org(&self) -> Vec<OrgHeld> {
        self.inner.held_by_org()
    }

    fn health(&self) -> Option<Health> {
        self.inner.health()
    }
}

pub(crate) fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}
