//! The file's sections as they stand there: every field optional, nothing believed. The documentation of the
//! fields is what editors show (JSON Schema); `docs/reference/config.md` has the tables.

mod decimal;
mod identities;
mod money;
mod overflow;
mod policies;
mod read;
mod redis;
mod strict;
mod wording;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;

use super::cache::CompleteOnDisconnect;
use crate::snapshot::OnSidecarLoss;
use crate::wire::feed::Role;

pub(super) use decimal::Decimal;
pub(super) use identities::{Identity, IdentityJwt};
pub(super) use money::{
    Allotment, Budgets, LongInputs, ModelPrice, OpenWithCap, OrganizationBudget, Pricing,
    TeamBudget, UnknownModel, Wallet, WalletBackend,
};
pub(super) use overflow::Overflow;
pub(super) use policies::{Chain, NamedPolicy, Policies, Rule};
pub(super) use read::read;
pub(super) use redis::{Redis, RedisUrl};

/// The gateway's configuration, `policy-config.yaml`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "policy-config.yaml")]
pub(super) struct Raw {
    /// What this configuration calls itself.
    pub(super) pack: Option<Pack>,
    /// The gateway that is started with this file.
    pub(super) gateway: Option<Gateway>,
    /// Who answers.
    pub(super) providers: Option<Providers>,
    /// The shared cache.
    pub(super) workflow_cache: Option<WorkflowCache>,
    /// Codebase context. Not built yet: accepted, and requests answer X-Fabric-Attached: false.
    pub(super) fabric: Option<Fabric>,
    /// The policies, in one of two spellings.
    pub(super) policies: Option<Policies>,
    /// Settings of the policies in the chain, where they do not stand inside `policies`.
    pub(super) policy: Option<BTreeMap<String, Value>>,
    /// What the sidecars of a group share: gateway keys, generations, remembered replies.
    pub(super) database: Option<Database>,
    /// Hosted mode: a folder of packs, one file for each organization.
    pub(super) tenants: Option<Tenants>,
    /// The organization's prepaid balance.
    pub(super) wallet: Option<Wallet>,
    /// How much may be spent, by whom, in a day and in a month.
    pub(super) budgets: Option<Budgets>,
    /// What calls cost, where it is not what the published list says.
    pub(super) pricing: Option<Pricing>,
    /// Not built yet.
    pub(super) routes: Option<Value>,
    /// Not built yet.
    pub(super) fallback: Option<Value>,
    /// Callers that a client certificate or a JWT names, which Envoy has verified.
    pub(super) identities: Option<Vec<Identity>>,
}

/// A Postgres database that the sidecars of a group share.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Database {
    /// Where its address stands: postgres://user:password@host:5432/database.
    pub(super) url: Option<SecretKeyRef>,
}

/// Hosted mode: one gateway, many organizations, each with a pack of its own.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Tenants {
    /// The folder of packs, relative to this file. ORG.yaml is the pack of the organization ORG.
    pub(super) folder: Option<String>,
}

/// What a configuration calls itself.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Pack {
    /// Its name.
    pub(super) name: Option<String>,
    /// Its version, as text: `0.1.0`.
    pub(super) version: Option<String>,
    /// `false` keeps everything from running with this file. Default: true.
    pub(super) enabled: Option<bool>,
    /// What it is for.
    pub(super) description: Option<String>,
}

/// The gateway that is started with this file. Its command line wins over all of it.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Gateway {
    /// Which gateway it is; never in a shared key.
    pub(super) id: Option<String>,
    /// What it does in its group; all roles have equal cache rights. Default: primary.
    pub(super) role: Option<Role>,
    /// The agent gateway group: who shares the cache with it.
    pub(super) agent_gateway_group_id: Option<String>,
    /// The port it listens on. Default: 41002.
    pub(super) port: Option<u16>,
    /// The largest request body in bytes. Default: 33554432.
    pub(super) request_bytes_max: Option<u64>,
    /// What to do when the sidecar cannot be reached. Default: unavailable.
    pub(super) on_sidecar_loss: Option<OnSidecarLoss>,
    /// How long the sidecar may take to say who a caller is, and what becomes of a request, in milliseconds; then it counts
    /// as lost for that request. Default: 300.
    pub(super) admit_timeout_ms: Option<u64>,
}

/// Who answers.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Providers {
    /// At least one.
    pub(super) targets: Option<Vec<Target>>,
}

/// Where requests for some models go.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Target {
    /// Its name, unique in the file.
    pub(super) id: Option<String>,
    /// The provider: `openai`, `azure` or `anthropic`. Not built yet: `google` and `local`.
    pub(super) provider: Option<String>,
    /// The one model it serves.
    pub(super) model: Option<String>,
    /// The models it serves. Default, without `model`: all that are known of the provider. In azure: the
    /// deployments, needed.
    pub(super) models: Option<Vec<String>>,
    /// A version of `model`: part of the cache key, never sent. Changing it leaves older entries behind.
    pub(super) model_version: Option<String>,
    /// Where it is, without the request's own path. Without it: the provider's public address. In
    /// azure: the resource's own, needed.
    pub(super) base_url: Option<String>,
    /// Where its credential is. Never the credential itself.
    pub(super) secret_key_ref: Option<SecretKeyRef>,
    /// How many requests may be at it at once, per gateway. Default: 1024.
    pub(super) max_concurrent_requests: Option<u32>,
    /// How long it may take until the first byte of an answer. Default: 600000.
    pub(super) first_byte_timeout_ms: Option<u64>,
}

/// Where a credential is: exactly one of the fields.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SecretKeyRef {
    /// The name of an environment variable.
    pub(super) env: Option<String>,
    /// The path of a file.
    pub(super) file: Option<String>,
    /// Not built yet: the name of a config variable of the control plane.
    pub(super) store: Option<String>,
}

/// The shared cache.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WorkflowCache {
    /// The master switch. Default: false.
    pub(super) enabled: Option<bool>,
    /// Who shares an entry. Default: private_edge_cache.
    pub(super) default_tier: Option<DefaultTier>,
    /// Whether `org_shared_cache` may be used at all. Default: false.
    pub(super) org_shared_enabled: Option<bool>,
    /// Isolates each gateway; wins over the tier. Default: false.
    pub(super) physical_gateway_private_cache_only: Option<bool>,
    /// How long an entry lives. Default: 86400.
    pub(super) ttl_seconds: Option<u64>,
    /// The largest answer that is stored, in tokens. Default: 32000.
    pub(super) max_entry_tokens: Option<u64>,
    /// The largest answer that is stored, in bytes. Default: 8388608.
    pub(super) max_entry_bytes: Option<u64>,
    /// How many bytes of answers the sidecar keeps for those who are still being answered, in all. Default:
    /// 268435456.
    pub(super) max_flight_bytes: Option<u64>,
    /// How many bytes of requests' bodies the sidecar keeps for calls, in all. Default: 536870912.
    pub(super) max_bodies_bytes: Option<u64>,
    /// What one organization may have under way.
    pub(super) per_org: Option<PerOrg>,
    /// How long after its time an answer may be served while a new one is fetched. Default: 0.
    pub(super) stale_while_revalidate_seconds: Option<u64>,
    /// How long after its time an answer may be served where no new one can be had. Default: 0.
    pub(super) stale_if_error_seconds: Option<u64>,
    /// One upstream call for identical concurrent requests. Default: true.
    pub(super) single_flight_enabled: Option<bool>,
    /// How long a waiting request waits before it makes its own call. Default: 30000.
    pub(super) single_flight_timeout_ms: Option<u64>,
    /// How many of those who have waited so long make their own call, per flight; the others wait on.
    /// `unlimited`: all of them. Default: 1.
    pub(super) single_flight_overflow: Option<Overflow>,
    /// Whether a call goes on when the last client that waited for it has left. Default: auto, which goes on
    /// where half of the expected answer is there.
    pub(super) complete_on_disconnect: Option<CompleteOnDisconnect>,
    /// Where entries are: in the sidecar's memory, or in a Redis or the database that several sidecars share, with
    /// memory in front of it. Default: memory.
    pub(super) backend: Option<Backend>,
    /// Bounds on what the sidecar has in memory: all entries, or with another backend its copies of some.
    pub(super) memory: Option<Memory>,
    /// Settings of the backend `redis`.
    pub(super) redis: Option<Redis>,
    /// Settings of the backend `postgres`.
    pub(super) postgres: Option<Postgres>,
    /// Settings of each gateway worker's own memory.
    pub(super) l1: Option<L1>,
}

/// Who shares an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DefaultTier {
    /// The organization, within one agent gateway group.
    OrgSharedCache,
    /// One gateway key.
    PrivateEdgeCache,
}

/// Where entries are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Backend {
    /// In the sidecar's memory.
    Memory,
    /// In a Redis that several sidecars share.
    Redis,
    /// In the database that several sidecars share.
    Postgres,
}

/// What one organization may have under way in a sidecar.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PerOrg {
    /// How many requests may be answered at once. Nothing said: no bound.
    pub(super) max_requests: Option<u64>,
    /// How many of them may be streams. Nothing said: no bound.
    pub(super) max_streams: Option<u64>,
    /// How many bytes of requests and answers may be kept for them. Nothing said: no bound.
    pub(super) max_bytes: Option<u64>,
}

/// Bounds on what the sidecar has in memory.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Memory {
    /// How many entries there may be. Default: 100000.
    pub(super) max_entries: Option<u64>,
    /// How many bytes they may have in all. Default: 536870912.
    pub(super) max_bytes: Option<u64>,
    /// How many of these bytes one organization may have; all of them where nothing is said.
    pub(super) max_bytes_per_org: Option<u64>,
    /// Which entry goes when there is no room. Default: lru, and nothing else.
    pub(super) eviction: Option<Eviction>,
}

/// Which entry goes when there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Eviction {
    /// The one that was not used for the longest time.
    Lru,
}

/// Settings of the backend `postgres`.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Postgres {
    /// The table of the entries, in the database that `database` names. Default: cache_entries.
    pub(super) table: Option<String>,
    /// How many bytes the entries of one organization may have there. Default: 1073741824.
    pub(super) max_bytes_per_org: Option<u64>,
}

/// Settings of each gateway worker's own memory.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct L1 {
    /// How many bytes it may hold; 0 turns it off. Default: 16777216.
    pub(super) max_bytes: Option<u64>,
}

/// Codebase context. Not built yet.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Fabric {
    /// The master switch. Default: false.
    pub(super) enabled: Option<bool>,
    /// Builds artifacts when a repository is connected. Default: true.
    #[expect(dead_code, reason = "its type is checked; fabric is not built yet")]
    pub(super) auto_build: Option<bool>,
    /// Rebuilds artifacts on new commits. Default: true.
    #[expect(dead_code, reason = "its type is checked; fabric is not built yet")]
    pub(super) refresh_on_push: Option<bool>,
    /// Attaches context to requests. Default: true.
    #[expect(dead_code, reason = "its type is checked; fabric is not built yet")]
    pub(super) context_attachment: Option<bool>,
    /// The most tokens to attach to a request. Default: 8000.
    #[expect(dead_code, reason = "its type is checked; fabric is not built yet")]
    pub(super) max_context_tokens: Option<u64>,
    /// Which artifacts to build. Default: all.
    #[expect(dead_code, reason = "its type is checked; fabric is not built yet")]
    pub(super) artifact_types: Option<Vec<ArtifactType>>,
}

/// What fabric knows about a codebase.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ArtifactType {
    RepoMap,
    FileSummary,
    DependencyGraph,
    TestMap,
    ApiInventory,
    SymbolIndex,
    EmbeddingIndex,
    RecentChangeSummary,
    KnownFailureFingerprint,
}
