//! What all worlds share and no seed changes: organizations and their keys, snapshots, prices, questions.

use std::collections::BTreeSet;

use kt_contract::gateway_key::GatewayKey;
use kt_contract::hex::Digest;
use kt_contract::identify;
use kt_contract::json::{self, Bounds};
use kt_contract::key::{CacheKey, OrgKeys};
use kt_contract::money::{MicroUsd, MicroUsdPerMillion};
use kt_contract::policy::Chain;
use kt_contract::pricing::{Price, Rates};
use kt_contract::principal::{KeyHash, Principal};
use kt_contract::snapshot::{
    CacheSettings, ModelRoute, ModelTable, OnSidecarLoss, PolicySettings, RequestLimits, Snapshot,
    Tier,
};
use kt_contract::wire::feed::{GatewayIdentity, Role};
use kt_providers::Dialect;

/// The path that clients ask on.
pub const PATH: &str = "/v1/chat/completions";
/// The one model.
pub const MODEL: &str = "gpt-4o";
/// How long entries live.
pub const TTL_MS: u64 = 120_000;
/// Beyond so many output tokens an answer is not stored.
pub const ENTRY_TOKENS_MAX: u64 = 500;
/// Beyond so many bytes an answer is not stored.
pub const ENTRY_BYTES_MAX: u64 = 64 << 10;

/// Who asks.
#[derive(Debug)]
pub struct Caller {
    /// Its gateway key, as it sends it.
    pub bearer: String,
    /// Its digest.
    pub hash: KeyHash,
    /// Who it stands for.
    pub principal: Principal,
    /// Which organization.
    pub org: usize,
}

/// What no seed changes.
#[derive(Debug)]
pub struct Fixture {
    /// The organizations' names.
    pub orgs: [&'static str; 2],
    /// Their hashing keys.
    pub keys: [OrgKeys; 2],
    /// Two callers of each.
    pub callers: Vec<Caller>,
    /// Before and after a change of the configuration: another policy, and so other keys.
    pub snapshots: [Snapshot; 2],
    /// What the model costs.
    pub price: Price,
}

// === impl Fixture ===

impl Default for Fixture {
    fn default() -> Self {
        let orgs = ["acme", "globex"];
        let caller = |nth: u8| {
            let key = GatewayKey::from_random(&[b'a' + nth; 32]);
            let org = usize::from(nth / 2);
            let principal = Principal {
                key_id: format!("gk_{nth}"),
                lineage: None,
                org: orgs.get(org).copied().unwrap_or_default().to_owned(),
                team: Some("core".to_owned()),
                user: Some(format!("user-{nth}")),
                agent: None,
                group: None,
                codebases: BTreeSet::from(["acme/web".to_owned()]),
                entitlements: BTreeSet::new(),
            };
            Caller { bearer: format!("Bearer {}", key.reveal()), hash: key.hash(), principal, org }
        };
        Self {
            orgs,
            keys: orgs.map(OrgKeys::derive),
            callers: (0..4).map(caller).collect(),
            snapshots: [snapshot("0000000000000001", 7), snapshot("0000000000000002", 8)],
            price: price(),
        }
    }
}

impl Fixture {
    /// The hashing keys of an organization.
    #[must_use]
    pub fn keys_of(&self, org: usize) -> Option<&OrgKeys> {
        self.keys.get(org)
    }

    /// The key of a question, counted without the filter: `None` where it has none.
    #[must_use]
    pub fn key(&self, caller: usize, body: &str, snapshot: &Snapshot) -> Option<CacheKey> {
        let caller = self.callers.get(caller)?;
        let limits = &snapshot.limits;
        let bounds = Bounds { depth_max: limits.json_depth_max, nodes_max: limits.json_nodes_max };
        let body = json::parse(body.as_bytes(), bounds).ok()?;
        let dialect = Dialect::OpenAiChat;
        let ask = identify::Ask {
            dialect: dialect.as_str(),
            path: PATH,
            route: snapshot.models.route(MODEL)?,
            codebase: None,
        };
        let gates = identify::gates(&caller.principal, &gateway(0), snapshot, ask).ok()?;
        let keys = self.keys_of(caller.org)?;
        Some(keys.cache_key(&gates, &keys.request_digests(&body, dialect.left_out(), &[])))
    }

    /// Whose digest this is.
    #[must_use]
    pub fn caller_of(&self, hash: &KeyHash) -> Option<(usize, &Caller)> {
        self.callers.iter().enumerate().find(|(_, caller)| caller.hash == *hash)
    }
}

/// A gateway as its filter's constants name it.
#[must_use]
pub fn gateway(nth: usize) -> GatewayIdentity {
    GatewayIdentity {
        id: format!("gw-{nth}"),
        role: Role::Primary,
        group: Some("platform".to_owned()),
        egress: format!("/run/gw-{nth}.sock"),
    }
}

/// The body of a question. The shape in which it is asked is not in its key.
#[must_use]
pub fn question(nth: u32, stream: Option<bool>) -> String {
    let stream = match stream {
        None => String::new(),
        Some(false) => r#","stream":true"#.to_owned(),
        Some(true) => r#","stream":true,"stream_options":{"include_usage":true}"#.to_owned(),
    };
    format!(
        r#"{{"model":"{MODEL}","messages":[{{"role":"user","content":"question {nth}"}}]{stream}}}"#
    )
}

fn snapshot(version: &str, policy: u8) -> Snapshot {
    Snapshot {
        version: version.to_owned(),
        limits: RequestLimits {
            request_bytes_max: 10_000,
            json_depth_max: 16,
            json_nodes_max: 1_000,
        },
        cache: CacheSettings { enabled: true, tier: Tier::OrgShared, l1_bytes_max: 100_000 },
        models: ModelTable {
            routes: vec![ModelRoute {
                model: MODEL.to_owned(),
                target: "openai-1".to_owned(),
                provider: "openai".to_owned(),
                upstream: "https://api.openai.com".to_owned(),
                version: None,
            }],
        }
        .into(),
        policy: PolicySettings {
            digest: Digest([policy; 32]),
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

fn price() -> Price {
    let usd = |micros| MicroUsdPerMillion(MicroUsd::new(micros).unwrap_or_default());
    let rates = Rates {
        input: usd(2_500_000),
        cached_input: usd(1_250_000),
        cache_write: usd(2_500_000),
        cache_write_long: usd(2_500_000),
        output: usd(10_000_000),
    };
    Price { rates, above: None, max_input_tokens: None, max_output_tokens: None }
}
