//! The sidecar's own view of a checked configuration.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kt_contract::config::{
    Budgets, CompleteOnDisconnect, Config, Identities, Judge, OnOutgrownHold, Overflow, PerOrg,
    Pricing, RateLimits, Wallet,
};
use kt_contract::gates::ModelGate;
use kt_contract::limits::FIRST_BYTE_MS_MAX;
use kt_contract::money::{MicroUsd, Tokens};
use kt_contract::policy::{self, Phase};
use kt_contract::pricing::{Price, cost};
use kt_contract::provider::Provider;
use kt_contract::snapshot::Snapshot;
use kt_contract::time::Millis;
use kt_policy::Chain;
use kt_providers::Usage;

use super::tenants::Tenancy;
use crate::allotment::Size;
use crate::freshness::Stale;
use crate::ledger::zones::Zones;
use crate::store::Bounds;

/// What one version of the configuration says to the sidecar. Replaced as a whole, never changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The version of the configuration: the digest of its text. Empty where it is of no file.
    pub version: String,
    /// What filters get.
    pub snapshot: Arc<Snapshot>,
    /// `workflow_cache.ttl_seconds`.
    pub ttl: Millis,
    /// `workflow_cache.max_entry_tokens`.
    pub entry_tokens_max: u64,
    /// `workflow_cache.max_entry_bytes`.
    pub entry_bytes_max: u64,
    /// `workflow_cache.max_flight_bytes`.
    pub flight_bytes_max: u64,
    /// `workflow_cache.max_bodies_bytes`.
    pub bodies_bytes_max: u64,
    /// `workflow_cache.per_org`.
    pub per_org: PerOrg,
    /// How long an entry may be served after its time.
    pub stale: Stale,
    /// `workflow_cache.memory`.
    pub memory: Bounds,
    /// How flights are shared.
    pub single_flight: SingleFlight,
    /// `first_byte_timeout_ms`, by target.
    pub first_byte: BTreeMap<String, Duration>,
    /// What calls cost, whether anybody counts it or not.
    pub pricing: Arc<Pricing>,
    /// What goes on record, where anything does.
    pub audit: Option<AuditSettings>,
    /// How calls are accounted for; `None` where nobody does.
    pub accounts: Option<Arc<Accounts>>,
    /// How much may come in a minute, where anything limits it.
    pub rate_limits: Option<RateLimits>,
    /// The policies that read answers; `None` where there are none.
    pub output: Option<Policing>,
    /// Those that read requests, as filters run them.
    pub input: Policing,
    /// Those that judge a request or an answer as a whole, in their order.
    pub judges: Arc<[Judge]>,
    /// Who somebody is without a gateway key.
    pub identities: Arc<Identities>,
    /// Whose they are, on a hosted gateway.
    pub tenant: Option<Arc<Tenancy>>,
}

/// The policies that read requests, or those that read answers.
#[derive(Clone, Debug)]
pub struct Policing {
    /// Ready to run.
    pub chain: Arc<Chain>,
    /// What they say in the file: equal ones run alike.
    configured: policy::Chain,
}

/// What `audit-logger` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// `retention_days`.
    pub retention: Millis,
    /// `log_all_access`: nothing is answered that is not on record.
    pub logs_all: bool,
}

/// What is enforced about money.
#[derive(Clone, Debug, PartialEq)]
pub struct Accounts {
    /// Whether there is a wallet that must have the money for a call.
    pub is_prepaid: bool,
    /// In which days and months begin, for whom.
    pub zones: Zones,
    /// `wallet.default_max_output_tokens`.
    pub default_output: Tokens,
    /// `wallet.on_outgrown_hold`.
    pub on_outgrown_hold: OnOutgrownHold,
    /// `wallet.allotment`; `None`: every call is reserved in the ledger.
    pub allotment: Option<Size>,
    /// `budgets`.
    pub budgets: Budgets,
    /// `spend-limit`: the pack's name, and what it may spend in a day.
    pub pack_daily: Option<(String, MicroUsd)>,
}

/// What `workflow_cache` says of flights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SingleFlight {
    /// `single_flight_enabled`.
    pub is_enabled: bool,
    /// `single_flight_timeout_ms`.
    pub timeout: Duration,
    /// `single_flight_overflow`.
    pub overflow: Overflow,
    /// `complete_on_disconnect`.
    pub on_disconnect: CompleteOnDisconnect,
}

// === impl Settings ===

impl Settings {
    /// The settings of `config`. `local` is for a gateway's own sidecar, which shares with nobody.
    #[must_use]
    pub fn of(config: &Config, local: bool) -> Self {
        let cache = &config.cache;
        Self {
            version: String::new(),
            snapshot: Arc::new(config.snapshot(local)),
            ttl: millis(cache.ttl),
            entry_tokens_max: cache.max_entry_tokens,
            entry_bytes_max: cache.max_entry_bytes,
            flight_bytes_max: cache.max_flight_bytes,
            bodies_bytes_max: cache.max_bodies_bytes,
            per_org: cache.per_org,
            stale: Stale {
                while_revalidate: millis(cache.stale_while_revalidate),
                if_error: millis(cache.stale_if_error),
            },
            memory: Bounds {
                entries_max: cache.memory.max_entries,
                bytes_max: cache.memory.max_bytes,
                org_bytes_max: cache.memory.max_bytes_per_org,
            },
            single_flight: SingleFlight {
                is_enabled: cache.single_flight_enabled,
                timeout: cache.single_flight_timeout,
                overflow: cache.single_flight_overflow,
                on_disconnect: cache.complete_on_disconnect,
            },
            first_byte: config
                .targets
                .iter()
                .map(|target| (target.id.clone(), target.first_byte_timeout))
                .collect(),
            pricing: Arc::new(config.pricing.clone()),
            audit: config.policy.audit.map(|logger| AuditSettings {
                retention: millis(logger.retention),
                logs_all: logger.log_all_access,
            }),
            accounts: Accounts::of(config).map(Arc::new),
            rate_limits: config.policy.rate_limits,
            output: Some(Policing::of(&config.policy.chain, Phase::Output))
                .filter(|output| !output.chain.is_empty()),
            input: Policing::of(&config.policy.chain, Phase::Input),
            judges: config.policy.judges.clone().into(),
            identities: Arc::new(config.identities.clone()),
            tenant: None,
        }
    }

    /// How long a target may take until the first byte of an answer: a slow provider is not a dead one.
    #[must_use]
    pub fn first_byte_of(&self, target: &str) -> Duration {
        let most = Duration::from_millis(FIRST_BYTE_MS_MAX);
        self.first_byte.get(target).copied().unwrap_or(most)
    }

    /// What a model costs, where that is known.
    #[must_use]
    pub fn price_of(&self, model: &ModelGate) -> Option<&Price> {
        self.pricing.price(Provider::named(&model.provider)?, &model.served_model)
    }

    /// What a call of a model costs that takes so much, where that is known.
    #[must_use]
    pub fn cost_of(&self, model: &ModelGate, usage: Option<Usage>) -> Option<MicroUsd> {
        // A usage that is more than any amount is none.
        cost(usage?.into(), self.price_of(model)?).ok()
    }
}

// === impl Policing ===

impl Policing {
    fn of(configured: &policy::Chain, phase: Phase) -> Self {
        // The check of the file has compiled every pattern already.
        let chain = Chain::compile(configured, phase).unwrap_or_default();
        Self { chain: Arc::new(chain), configured: configured.clone() }
    }
}

impl PartialEq for Policing {
    fn eq(&self, other: &Self) -> bool {
        self.configured == other.configured
    }
}

// === impl Accounts ===

impl Accounts {
    fn of(config: &Config) -> Option<Self> {
        let wallet = config.ledger()?;
        let limit = config.policy.spend_limit_daily;
        Some(Self {
            is_prepaid: config.is_prepaid(),
            zones: zones_of(&wallet),
            default_output: wallet.default_max_output_tokens,
            on_outgrown_hold: wallet.on_outgrown_hold,
            allotment: wallet.allotment.map(|allotment| Size {
                most: allotment.max,
                millionths: allotment.part_millionths,
                ttl: millis(allotment.ttl),
            }),
            budgets: config.budgets.clone(),
            pack_daily: config.pack.name.clone().zip(limit),
        })
    }
}

fn zones_of(wallet: &Wallet) -> Zones {
    let own = wallet.time_zones.iter().map(|(org, zone)| (&**org, zone.name()));
    Zones::named(wallet.time_zone.name(), own).unwrap_or_else(|unknown| {
        // The check of the file has asked the same list of zones.
        tracing::error!(%unknown, "a time zone of the wallet is not known any more; all days are those of UTC");
        Zones::default()
    })
}

fn millis(length: Duration) -> Millis {
    Millis(u64::try_from(length.as_millis()).unwrap_or(u64::MAX))
}
