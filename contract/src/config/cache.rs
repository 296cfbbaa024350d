//! `workflow_cache`: what is stored, for how long, and who shares it.

mod per_org;
mod postgres;
mod redis;

use std::time::Duration;

use schemars::JsonSchema;
use serde::Deserialize;

use crate::limits;
use crate::snapshot::Tier;

use super::raw::{self, DefaultTier};
use super::report::{Bounds, Report};
pub use per_org::PerOrg;
pub use postgres::Postgres;
pub use redis::{Redis, RedisUrl};
pub(super) use redis::{check_database, check_ledger};

/// A year: beyond it, somebody meant another unit.
const TTL_SECONDS: Bounds<u64> = Bounds { min: 1, max: 31_536_000, default: 86_400 };
/// The largest is what the bound in bytes allows, at four bytes a token.
const ENTRY_TOKENS: Bounds<u64> =
    Bounds { min: 1, max: (limits::ENTRY_BYTES_MAX / 4) as u64, default: 32_000 };
const ENTRY_BYTES: Bounds<u64> =
    Bounds { min: 1, max: limits::ENTRY_BYTES_MAX as u64, default: limits::ENTRY_BYTES_MAX as u64 };
/// Room for one answer of the largest kind at least.
const FLIGHT_BYTES: Bounds<u64> =
    Bounds { min: limits::ENTRY_BYTES_MAX as u64, max: 1 << 40, default: 256 << 20 };
/// Room for one request of the largest kind at least, which `gateway.request_bytes_max` says.
const BODIES_BYTES: Bounds<u64> = Bounds { min: 0, max: 1 << 40, default: 512 << 20 };
const STALE_SECONDS: Bounds<u64> = Bounds { min: 0, max: 31_536_000, default: 0 };
const SINGLE_FLIGHT_TIMEOUT_MS: Bounds<u64> = Bounds { min: 1, max: 600_000, default: 30_000 };
/// More than may wait for one flight is all of them.
const SINGLE_FLIGHT_OVERFLOW: Bounds<u64> = Bounds { min: 0, max: 1_000, default: 1 };
const MEMORY_ENTRIES: Bounds<u64> = Bounds { min: 1, max: 100_000_000, default: 100_000 };
const MEMORY_BYTES: Bounds<u64> = Bounds { min: 64 << 10, max: 1 << 40, default: 512 << 20 };
/// A Wasm VM may have 1 GiB, and needs most of it for bodies.
const L1_BYTES: Bounds<u64> = Bounds { min: 0, max: 256 << 20, default: 16 << 20 };

/// `workflow_cache`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkflowCache {
    /// `enabled`.
    pub enabled: bool,
    /// Who shares: `default_tier`, unless `physical_gateway_private_cache_only` wins over it.
    pub tier: Tier,
    /// `ttl_seconds`.
    pub ttl: Duration,
    /// `max_entry_tokens`.
    pub max_entry_tokens: u64,
    /// `max_entry_bytes`.
    pub max_entry_bytes: u64,
    /// `max_flight_bytes`.
    pub max_flight_bytes: u64,
    /// `max_bodies_bytes`.
    pub max_bodies_bytes: u64,
    /// `per_org`.
    pub per_org: PerOrg,
    /// `stale_while_revalidate_seconds`.
    pub stale_while_revalidate: Duration,
    /// `stale_if_error_seconds`.
    pub stale_if_error: Duration,
    /// `single_flight_enabled`.
    pub single_flight_enabled: bool,
    /// `single_flight_timeout_ms`.
    pub single_flight_timeout: Duration,
    /// `single_flight_overflow`.
    pub single_flight_overflow: Overflow,
    /// `complete_on_disconnect`.
    pub complete_on_disconnect: CompleteOnDisconnect,
    /// `backend`, and its settings.
    pub backend: Backend,
    /// `memory`: bounds on all entries, or on the copies in front of another backend.
    pub memory: Memory,
    /// `l1.max_bytes`; 0 turns a worker's own memory off.
    pub l1_bytes_max: u64,
}

/// `workflow_cache.backend`: where entries are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Backend {
    /// In the memory of each sidecar.
    Memory,
    /// In a Redis that sidecars share, and in the memory of each what it has read of late.
    Redis(Redis),
    /// In the database that sidecars share, and in the memory of each what it has read of late.
    Postgres(Postgres),
}

/// `workflow_cache.single_flight_overflow`: how many of those who have waited for a flight longer than
/// `single_flight_timeout_ms` make their own call, until an answer comes; the others wait on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    /// So many.
    Count(u64),
    /// Every one of them.
    Unlimited,
}

/// `workflow_cache.complete_on_disconnect`: whether a call goes on when the last client that waited for it has
/// left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CompleteOnDisconnect {
    /// Where half of the expected answer is there.
    #[default]
    Auto,
    /// Within the bounds of time and size.
    Always,
    /// It is cancelled.
    Never,
}

/// `workflow_cache.memory`. The entry that goes for want of room is the least recently used one of the
/// organization that is beyond its bound, or else of the one that holds the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// `max_entries`.
    pub max_entries: u64,
    /// `max_bytes`.
    pub max_bytes: u64,
    /// `max_bytes_per_org`; all of `max_bytes` where the file does not say.
    pub max_bytes_per_org: u64,
}

fn bodies_bytes(value: Option<u64>, request_bytes_max: u64, report: &mut Report) -> u64 {
    let field = "workflow_cache.max_bodies_bytes";
    if let Some(bytes) = value.filter(|bytes| *bytes < request_bytes_max) {
        let one = format!(
            "{bytes} has no room for one request: gateway.request_bytes_max is {request_bytes_max}"
        );
        report.error(field, one);
    }
    report.within(field, value, BODIES_BYTES)
}

pub(super) fn check(
    raw: raw::WorkflowCache,
    request_bytes_max: u64,
    report: &mut Report,
) -> WorkflowCache {
    let tier = tier(&raw, report);
    let raw::WorkflowCache {
        enabled,
        default_tier: _,
        org_shared_enabled: _,
        physical_gateway_private_cache_only: _,
        ttl_seconds,
        max_entry_tokens,
        max_entry_bytes,
        max_flight_bytes,
        max_bodies_bytes,
        per_org,
        stale_while_revalidate_seconds,
        stale_if_error_seconds,
        single_flight_enabled,
        single_flight_timeout_ms,
        single_flight_overflow,
        complete_on_disconnect,
        backend,
        memory,
        redis,
        postgres,
        l1,
    } = raw;
    let enabled = enabled.unwrap_or(false);
    let backend = check_backend(backend, redis, postgres, report);
    let at = |field: &str| format!("workflow_cache.{field}");
    WorkflowCache {
        enabled,
        tier,
        ttl: Duration::from_secs(report.within(&at("ttl_seconds"), ttl_seconds, TTL_SECONDS)),
        max_entry_tokens: report.within(&at("max_entry_tokens"), max_entry_tokens, ENTRY_TOKENS),
        max_entry_bytes: report.within(&at("max_entry_bytes"), max_entry_bytes, ENTRY_BYTES),
        max_flight_bytes: report.within(&at("max_flight_bytes"), max_flight_bytes, FLIGHT_BYTES),
        max_bodies_bytes: bodies_bytes(max_bodies_bytes, request_bytes_max, report),
        per_org: per_org::check(per_org.unwrap_or_default(), request_bytes_max, report),
        stale_while_revalidate: Duration::from_secs(report.within(
            &at("stale_while_revalidate_seconds"),
            stale_while_revalidate_seconds,
            STALE_SECONDS,
        )),
        stale_if_error: Duration::from_secs(report.within(
            &at("stale_if_error_seconds"),
            stale_if_error_seconds,
            STALE_SECONDS,
        )),
        single_flight_enabled: single_flight_enabled.unwrap_or(true),
        single_flight_timeout: Duration::from_millis(report.within(
            &at("single_flight_timeout_ms"),
            single_flight_timeout_ms,
            SINGLE_FLIGHT_TIMEOUT_MS,
        )),
        single_flight_overflow: overflow(single_flight_overflow, report),
        complete_on_disconnect: complete_on_disconnect.unwrap_or_default(),
        backend,
        memory: check_memory(memory.unwrap_or_default(), report),
        l1_bytes_max: report.within(
            &at("l1.max_bytes"),
            l1.unwrap_or_default().max_bytes,
            L1_BYTES,
        ),
    }
}

// === impl Backend ===

impl Backend {
    /// Its name in the file.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Redis(_) => "redis",
            Self::Postgres(_) => "postgres",
        }
    }
}

fn check_memory(raw: raw::Memory, report: &mut Report) -> Memory {
    let raw::Memory { max_entries, max_bytes, max_bytes_per_org, eviction } = raw;
    // The only policy there is.
    let (None | Some(raw::Eviction::Lru)) = eviction;
    let at = |field: &str| format!("workflow_cache.memory.{field}");
    let max_entries = report.within(&at("max_entries"), max_entries, MEMORY_ENTRIES);
    let max_bytes = report.within(&at("max_bytes"), max_bytes, MEMORY_BYTES);
    let of_one = Bounds { max: max_bytes, default: max_bytes, ..MEMORY_BYTES };
    let max_bytes_per_org = report.within(&at("max_bytes_per_org"), max_bytes_per_org, of_one);
    Memory { max_entries, max_bytes, max_bytes_per_org }
}

fn overflow(raw: Option<raw::Overflow>, report: &mut Report) -> Overflow {
    let count = match raw {
        Some(raw::Overflow::Unlimited(_)) => return Overflow::Unlimited,
        Some(raw::Overflow::Count(count)) => Some(count),
        None => None,
    };
    let field = "workflow_cache.single_flight_overflow";
    Overflow::Count(report.within(field, count, SINGLE_FLIGHT_OVERFLOW))
}

fn tier(raw: &raw::WorkflowCache, report: &mut Report) -> Tier {
    let shared = raw.default_tier == Some(DefaultTier::OrgSharedCache);
    let allowed = raw.org_shared_enabled.unwrap_or(false);
    if shared && !allowed && report.is_whole("workflow_cache.org_shared_enabled") {
        report.error(
            "workflow_cache.default_tier",
            "org_shared_cache contradicts org_shared_enabled: false (the default); set \
             org_shared_enabled: true to share within the organization",
        );
    }
    if raw.physical_gateway_private_cache_only == Some(true) {
        if shared {
            report.warning(
                "workflow_cache.physical_gateway_private_cache_only",
                "wins over default_tier: every gateway keeps its entries to itself",
            );
        }
        return Tier::PhysicalGateway;
    }
    if shared {
        report.local_note(
            "workflow_cache.default_tier",
            "org_shared_cache is for gateways that join their group's sidecar (--sidecar SOCKET); \
             one that spawns its own is local and uses private_edge_cache",
        );
        return Tier::OrgShared;
    }
    if allowed {
        report.warning(
            "workflow_cache.org_shared_enabled",
            "nothing is shared: default_tier is private_edge_cache",
        );
    }
    Tier::PrivateEdge
}

fn check_backend(
    chosen: Option<raw::Backend>,
    redis: Option<raw::Redis>,
    postgres: Option<raw::Postgres>,
    report: &mut Report,
) -> Backend {
    // What a wrong name of a backend would have taken is not known.
    if report.is_whole("workflow_cache.backend") {
        if redis.is_some() && chosen != Some(raw::Backend::Redis) {
            report.error("workflow_cache.redis", "is for 'backend: redis'");
        }
        if postgres.is_some() && chosen != Some(raw::Backend::Postgres) {
            report.error("workflow_cache.postgres", "is for 'backend: postgres'");
        }
    }
    let (name, backend) = match chosen {
        None | Some(raw::Backend::Memory) => return Backend::Memory,
        Some(raw::Backend::Redis) => {
            ("redis", Backend::Redis(redis::check(redis.unwrap_or_default(), report)))
        }
        Some(raw::Backend::Postgres) => {
            let postgres = postgres::check(postgres.unwrap_or_default(), report);
            ("postgres", Backend::Postgres(postgres))
        }
    };
    report.local_note(
        "workflow_cache.backend",
        format!(
            "{name} is for gateways that join their group's sidecar (--sidecar SOCKET); one that \
             spawns its own is local and keeps its entries in memory"
        ),
    );
    backend
}
