//! The configuration file `policy-config.yaml`: from text to checked values.
//!
//! The text is parsed once into a value and the lines of its fields ([`tree`]); the value becomes [`raw`]
//! sections, where everything is optional and nothing is believed; each section's own file turns it into
//! checked values or says, with line and field, what is wrong. What is configured and not built yet is an
//! error: nothing in this file is ever silently ignored. Nothing here reads a file or the environment.

mod budgets;
mod cache;
mod database;
mod fabric;
mod gateway;
mod identities;
mod models;
mod open;
mod policy;
mod pricing;
mod raw;
mod report;
mod restart;
mod snapshot;
mod targets;
mod tenants;
mod tree;
mod usd;
mod wallet;

pub use budgets::{Budgets, Limits, Share};
pub use cache::{
    Backend, CompleteOnDisconnect, Memory, Overflow, PerOrg, Postgres, Redis, RedisUrl,
    WorkflowCache,
};
pub use database::Database;
pub use gateway::Gateway;
pub use identities::{Identities, Issuer};
pub use models::{ANTHROPIC_MODELS, OPENAI_MODELS};
pub use policy::{
    AuditLogger, External, Groundedness, Judge, OnFailure, Policy, RateLimit, RateLimits,
    ServiceUrl,
};
pub use pricing::Pricing;
pub use report::{ConfigError, Warning};
pub use restart::NeedsRestart;
pub use targets::{BaseUrl, Scheme, SecretRef, Target};
pub use tenants::{Tenants, load_tenant, rebase_tenant};
pub use wallet::{Allotment, Ledger, OnOutgrownHold, TimeZone, Wallet};

use raw::Raw;
use report::Report;

/// A checked configuration. Only [`load`] makes one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// `pack`: what this configuration calls itself.
    pub pack: Pack,
    /// `gateway`: what a gateway started with this file is, where its flags do not say otherwise.
    pub gateway: Gateway,
    /// `providers.targets`: at least one; ids are unique; no model is served by two.
    pub targets: Vec<Target>,
    /// `workflow_cache`.
    pub cache: WorkflowCache,
    /// `policies`: the chain that is enforced.
    pub policy: Policy,
    /// `database`: what the sidecars of a group share; without one, each keeps its own in its data folder.
    pub database: Option<Database>,
    /// `tenants`: where the packs of organizations are; without it, one configuration is for all.
    pub tenants: Option<Tenants>,
    /// `identities`: who somebody is without a gateway key.
    pub identities: Identities,
    /// `wallet`, or the one that a rule about it implies; without one no balance is kept.
    pub wallet: Option<Wallet>,
    /// `budgets`.
    pub budgets: Budgets,
    /// `pricing`, over the published list.
    pub pricing: Pricing,
}

// === impl Config ===

impl Config {
    /// Whether calls are made only while a wallet has the money for them.
    #[must_use]
    pub const fn is_prepaid(&self) -> bool {
        self.wallet.is_some()
    }

    /// Where calls are accounted for, if anything in the file asks for it: budgets are counted in a ledger too.
    #[must_use]
    pub fn ledger(&self) -> Option<Wallet> {
        let limits = self.budgets.limit_anything() || self.policy.spend_limit_daily.is_some();
        let implied = || Wallet::implied(self.database.as_ref());
        self.wallet.clone().or_else(|| limits.then(implied))
    }
}

/// `pack`: what a configuration calls itself. Names no file and decides nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Pack {
    /// `pack.name`.
    pub name: Option<String>,
    /// `pack.version`.
    pub version: Option<String>,
    /// `pack.description`.
    pub description: Option<String>,
}

/// A configuration that may run, and what its owner should know about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loaded {
    /// The checked values.
    pub config: Config,
    /// What is not an error, in the order of the file.
    pub warnings: Vec<Warning>,
    /// What is to be known only where a gateway spawns a sidecar of its own, and is nothing to mend.
    pub local_notes: Vec<Warning>,
}

/// Reads and checks a configuration. `file_name` is only for the messages.
///
/// # Errors
/// Everything that is wrong, in the order of the file: unknown fields, wrong types, values that make no sense,
/// features that are not built yet. Only what is no YAML, or says a thing twice, is said alone.
pub fn load(file_name: &str, text: &str) -> Result<Loaded, Vec<ConfigError>> {
    let tree = tree::read(file_name, text).map_err(|error| vec![error])?;
    let mut report = Report::new(file_name.to_owned(), tree.lines);
    let config =
        raw::read::<Raw>(tree.value, "", &mut report).and_then(|raw| check(raw, &mut report));
    match config {
        Some(config) => report.loaded(config),
        None => Err(report.into_errors()),
    }
}

/// The JSON Schema of the file, for editors. It describes names and types; [`load`] knows the rest.
#[must_use]
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Raw).to_value()
}

/// Checks every section, whatever the others say, so that one run finds all there is to mend.
fn check(raw: Raw, report: &mut Report) -> Option<Config> {
    let Raw {
        pack,
        gateway,
        providers,
        workflow_cache,
        fabric,
        policies,
        policy,
        database,
        tenants,
        budgets,
        wallet,
        pricing,
        routes,
        fallback,
        identities,
    } = raw;
    let problem = "is configured but not built yet; nothing would enforce it";
    let unbuilt = [("routes", routes), ("fallback", fallback)];
    for (field, section) in unbuilt {
        if section.is_some() {
            report.error(field, problem);
        }
    }
    fabric::check(&fabric.unwrap_or_default(), report);
    let targets = targets::check(providers, report);
    let pack = check_pack(pack.unwrap_or_default(), report);
    let gateway = gateway::check(gateway.unwrap_or_default(), report);
    let requests = gateway.request_bytes_max;
    let cache = cache::check(workflow_cache.unwrap_or_default(), requests, report);
    let policy = policy::check(policies, policy, &targets, report);
    let database = database.and_then(|database| database::check(database, report));
    let tenants = tenants.and_then(|tenants| tenants::check(tenants, report));
    if tenants.is_some() {
        tenants::check_beside(&targets, gateway.on_sidecar_loss, report);
        // Requests do not go out without one: their organizations bring it.
        report.takes_back_warnings(".secret_key_ref");
    }
    let identities = identities::check(identities.unwrap_or_default(), report);
    let wallet = wallet
        .map(|wallet| wallet::check(wallet, database.as_ref(), report))
        .or_else(|| policy.needs_wallet_balance.then(|| Wallet::implied(database.as_ref())));
    let budgets = budgets::check(budgets.unwrap_or_default(), report);
    let pricing = pricing::check(pricing.unwrap_or_default(), report)?;
    let config = Config {
        pack,
        gateway,
        targets,
        cache,
        policy,
        database,
        tenants,
        identities,
        wallet,
        budgets,
        pricing,
    };
    check_money(&config, report);
    open::check_beside(&config, report);
    if let Some(logger) = config.policy.audit {
        policy::check_beside(logger, &config.gateway, &config.cache, report);
    }
    if let Some(limits) = config.policy.rate_limits {
        policy::check_counted(&limits, &config, report);
    }
    snapshot::check_size(&config, report);
    policy::check_loss(&config.policy, config.gateway.on_sidecar_loss, report);
    cache::check_database(&config.cache.backend, config.database.is_some(), report);
    Some(config)
}

/// What the sections that are about money ask of the others.
fn check_money(config: &Config, report: &mut Report) {
    let Config { pack, gateway, targets, cache, policy, wallet, budgets, pricing, .. } = config;
    if policy.spend_limit_daily.is_some() && pack.name.is_none() && report.is_whole("pack") {
        report.error("pack.name", "missing: spend-limit counts what the pack of this name spends");
    }
    let Some(accounts_for) = [
        ("wallet", wallet.is_some()),
        ("budgets", budgets.limit_anything()),
        ("spend-limit", policy.spend_limit_daily.is_some()),
    ]
    .into_iter()
    .find_map(|(name, is_there)| is_there.then_some(name)) else {
        return;
    };
    wallet::check_loss(accounts_for, gateway.on_sidecar_loss, report);
    let limits_all = [
        ("budgets.organization", budgets.organization != Limits::default()),
        ("spend-limit", policy.spend_limit_daily.is_some()),
    ];
    let limits_all = limits_all.into_iter().find_map(|(name, is_there)| is_there.then_some(name));
    wallet::check_allotment_use(wallet.as_ref(), limits_all, report);
    cache::check_ledger(accounts_for, &cache.backend, config.ledger().as_ref(), report);
    pricing.warn_of_unpriced(targets, report);
}

fn check_pack(raw: raw::Pack, report: &mut Report) -> Pack {
    let raw::Pack { name, version, enabled, description } = raw;
    if enabled == Some(false) {
        // Running without the pack's policies would be the one wrong reading of this switch.
        report.error("pack.enabled", "the pack is switched off, so nothing can run from this file");
    }
    Pack { name, version, description }
}

#[cfg(test)]
mod tests;
