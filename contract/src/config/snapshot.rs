//! From a checked configuration to the snapshot that filters get.

use std::sync::Arc;

use crate::fields::Fields;
use crate::hex::Digest;
use crate::identify::{MODEL_ALLOWLIST, REQUEST_LIMITS};
use crate::limits;
use crate::policy::RequestShape;
use crate::policy::digest::Of;
use crate::rate::Measure;
use crate::snapshot::{
    CacheSettings, ModelRoute, ModelTable, PolicySettings, RULES_CHARS, RequestLimits, Snapshot,
    Tier,
};

use super::Config;
use super::policy::Policy;
use super::report::Report;

/// The context from which the hashing key of policy digests is derived.
pub(super) const POLICY_CONTEXT: &str = "kt 2026-11 policy v2";
/// The same for the rules that requests are decided by.
const RULES_CONTEXT: &str = "kt 2026-11 rules v1";

// === impl Config ===

impl Config {
    /// What the filters of a group need of this configuration.
    ///
    /// `local` is for a gateway that spawned its own sidecar: it shares with nobody, so the tier is
    /// `private_edge_cache`, unless `physical_gateway_private_cache_only` isolates even more.
    #[must_use]
    pub fn snapshot(&self, local: bool) -> Snapshot {
        let tier = match self.cache.tier {
            Tier::OrgShared if local => Tier::PrivateEdge,
            tier @ (Tier::OrgShared | Tier::PrivateEdge | Tier::PhysicalGateway) => tier,
        };
        let mut snapshot = Snapshot {
            version: String::new(),
            limits: RequestLimits {
                request_bytes_max: self.gateway.request_bytes_max,
                json_depth_max: limits::JSON_DEPTH_MAX,
                json_nodes_max: limits::JSON_NODES_MAX,
            },
            cache: CacheSettings {
                enabled: self.cache.enabled,
                tier,
                l1_bytes_max: self.l1_bytes_max(),
            },
            models: self.model_table(),
            policy: PolicySettings {
                digest: self.policy.digest(),
                block_status: self.policy.block_status,
                model_allowlist: self.policy.model_allowlist.clone(),
                request_limits: self.policy.request_limits,
                chain: self.policy.chain.clone(),
            },
            on_sidecar_loss: self.gateway.on_sidecar_loss,
            identities: self.identities.wanted(),
            open_with_cap: self.wallet.as_ref().and_then(|wallet| wallet.open_with_cap),
        };
        snapshot.version = version(&self.policy.rules(), &snapshot);
        snapshot
    }

    /// What a worker serves from its own memory leaves no record, and nobody counts it: where each must leave one, or
    /// is to be counted, it serves nothing.
    fn l1_bytes_max(&self) -> u64 {
        let logs_all = self.policy.audit.is_some_and(|logger| logger.log_all_access);
        let counts = self.policy.rate_limits.is_some_and(|limits| limits.count(Measure::Requests));
        if logs_all || counts { 0 } else { self.cache.l1_bytes_max }
    }

    fn model_table(&self) -> Arc<ModelTable> {
        let mut routes: Vec<ModelRoute> = self
            .targets
            .iter()
            .flat_map(|target| {
                target.models.iter().map(|model| ModelRoute {
                    model: model.clone(),
                    target: target.id.clone(),
                    provider: target.provider.as_str().to_owned(),
                    upstream: target.base_url.to_string(),
                    version: target.version.clone(),
                })
            })
            .collect();
        routes.sort_by(|left, right| left.model.cmp(&right.model));
        ModelTable { routes }.into()
    }
}

/// What filters need of the file must fit into one answer.
pub(super) fn check_size(config: &Config, report: &mut Report) {
    let bytes = [true, false].map(|local| {
        serde_json::to_vec(&config.snapshot(local)).map_or(usize::MAX, |text| text.len())
    });
    if let Some(bytes) = bytes.into_iter().find(|bytes| *bytes > limits::SNAPSHOT_BYTES_MAX) {
        let most = limits::SNAPSHOT_BYTES_MAX;
        let problem = format!(
            "is too large for gateways: models and policies make a snapshot of {bytes} bytes, and at most \
             {most} are possible; use fewer models, terms or patterns"
        );
        report.error("", problem);
    }
}

/// Digests of the rules and of all the rest, so that equal snapshots have equal versions wherever they are made, and two
/// versions say by themselves whether they decide about requests by the same rules.
fn version(rules: &Digest, snapshot: &Snapshot) -> String {
    // Only maps with keys that are no text cannot be written; there are none in a snapshot.
    let bytes = serde_json::to_vec(snapshot).unwrap_or_default();
    let rest = Digest(*blake3::hash(&bytes).as_bytes());
    let some = |digest: &Digest| digest.to_hex().chars().take(RULES_CHARS).collect::<String>();
    some(rules) + &some(&rest)
}

// === impl Policy ===

impl Policy {
    /// The policy gate: everything that can change an answer, and nothing else. The status of a block is not
    /// in it: no answer is stored with it. Nor are money, the bounds on requests, and whatever else refuses a request
    /// before anything is looked up: they decide whether a call is made, and when, not what it says. What is written down
    /// changes nothing.
    #[must_use]
    pub fn digest(&self) -> Digest {
        // Destructured, so that a new policy does not compile until somebody decides.
        let Self {
            block_status: _,
            model_allowlist: _,
            request_limits: _,
            rate_limits: _,
            chain,
            judges,
            needs_wallet_balance: _,
            spend_limit_daily: _,
            audit: _,
        } = self;
        let mut fields = Fields::keyed(&blake3::derive_key(POLICY_CONTEXT, b""));
        chain.digest(Of::Answers, &mut fields);
        judges.iter().for_each(|judge| judge.digest(&mut fields));
        fields.finish()
    }

    /// The rules: everything by which filters let a request pass, change it or refuse it, and nothing else. What the sidecar
    /// decides by itself is not in it.
    #[must_use]
    pub fn rules(&self) -> Digest {
        let Self {
            block_status: _,
            model_allowlist,
            request_limits,
            rate_limits: _,
            chain,
            judges: _,
            needs_wallet_balance: _,
            spend_limit_daily: _,
            audit: _,
        } = self;
        let mut fields = Fields::keyed(&blake3::derive_key(RULES_CONTEXT, b""));
        if let Some(list) = model_allowlist.as_ref().filter(|list| list.decision.enforces()) {
            fields.field(MODEL_ALLOWLIST.as_bytes());
            fields.list(&list.models);
        }
        if let Some(shape) = request_limits.filter(|shape| shape.decision.enforces()) {
            fields.field(REQUEST_LIMITS.as_bytes());
            let RequestShape {
                decision: _,
                messages_max,
                tools_max,
                input_tokens_max,
                output_tokens_max,
            } = shape;
            for max in [messages_max, tools_max, input_tokens_max, output_tokens_max] {
                fields.optional(max.map(|max| max.to_string()).as_deref());
            }
        }
        chain.digest(Of::Requests, &mut fields);
        fields.finish()
    }
}
