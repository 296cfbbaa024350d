//! What a running group cannot take from a changed file: whatever its gateways have rendered into Envoy, and
//! what they are called. Only a start reads it. Decides nothing but that.

use std::fmt;

use super::{Backend, Config, Database, Gateway, Identities, Policy, Target, Wallet};

/// A change that nothing but a restart puts in force.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field} changed: restart the gateways and the sidecar to put it in force ({what})")]
pub struct NeedsRestart {
    /// The field's path, e.g. `providers.targets`.
    pub field: &'static str,
    /// What has changed about it.
    pub what: String,
}

// === impl Config ===

impl Config {
    /// What keeps this configuration from replacing the one that a group has `started` with; if there is
    /// nothing, the rest can be put in force live.
    #[must_use]
    pub fn needs_restart(&self, started: &Self) -> Vec<NeedsRestart> {
        // Destructured, here and below, so that a new field does not compile until somebody decides.
        let Self {
            pack: _,
            gateway,
            targets,
            cache,
            policy,
            database,
            tenants,
            identities,
            wallet,
            budgets: _,
            pricing: _,
        } = self;
        let mut found = of_targets(targets, &started.targets);
        found.extend(of_gateway(gateway, &started.gateway));
        found.extend(of_backend(&cache.backend, &started.cache.backend));
        found.extend(of_database(database.as_ref(), started.database.as_ref()));
        if *tenants != started.tenants {
            let what = "whether there are any, or their folder".to_owned();
            found.push(NeedsRestart { field: "tenants", what });
        }
        found.extend(of_identities(identities, &started.identities));
        found.extend(of_wallet(wallet.as_ref(), started.wallet.as_ref()));
        found.extend(of_audit(policy, &started.policy));
        if wallet.is_none() && self.ledger().is_some() && started.ledger().is_none() {
            let what = "it is new, and there is no ledger to count it in".to_owned();
            found.push(NeedsRestart { field: "budgets", what });
        }
        found
    }
}

fn of_targets(targets: &[Target], started: &[Target]) -> Vec<NeedsRestart> {
    let of = |among: &[Target], id: &str| among.iter().find(|target| target.id == id).cloned();
    let changed = |what| NeedsRestart { field: "providers.targets", what };
    let mut found = Vec::new();
    for target in targets {
        let id = &target.id;
        match of(started, id) {
            None => found.push(changed(format!("target '{id}' is new"))),
            Some(before) => {
                let fields = in_envoy(target, &before);
                if !fields.is_empty() {
                    found.push(changed(format!("target '{id}': {}", fields.join(", "))));
                }
            }
        }
    }
    let gone = started.iter().filter(|target| of(targets, &target.id).is_none());
    found.extend(gone.map(|target| changed(format!("target '{}' is gone", target.id))));
    found
}

/// The fields of a target that are rendered into Envoy and differ. Which models it serves, and in which version,
/// only routes and keys say, and those come from the snapshot; how long it may take, only the sidecar knows.
fn in_envoy(target: &Target, before: &Target) -> Vec<&'static str> {
    let Target {
        id: _,
        provider,
        models: _,
        version: _,
        base_url,
        secret,
        max_concurrent_requests,
        first_byte_timeout: _,
    } = target;
    [
        ("provider", *provider == before.provider),
        ("base_url", *base_url == before.base_url),
        ("secret_key_ref", *secret == before.secret),
        ("max_concurrent_requests", *max_concurrent_requests == before.max_concurrent_requests),
    ]
    .into_iter()
    .filter_map(|(field, is_same)| (!is_same).then_some(field))
    .collect()
}

fn of_gateway(gateway: &Gateway, started: &Gateway) -> Vec<NeedsRestart> {
    let Gateway { id, role, group, port, request_bytes_max, admit_timeout, on_sidecar_loss: _ } =
        gateway;
    let mut found = Vec::new();
    let mut changed = |field, before: &dyn fmt::Display, after: &dyn fmt::Display| {
        let what = format!("from {before} to {after}");
        found.push(NeedsRestart { field, what });
    };
    if *id != started.id {
        changed("gateway.id", &or_none(&started.id), &or_none(id));
    }
    if *role != started.role {
        changed("gateway.role", &started.role.as_str(), &role.as_str());
    }
    if *group != started.group {
        let field = "gateway.agent_gateway_group_id";
        changed(field, &or_none(&started.group), &or_none(group));
    }
    if *port != started.port {
        changed("gateway.port", &started.port, port);
    }
    // Filters take a smaller bound at once; beyond the one that Envoy was started with, Envoy refuses.
    if *request_bytes_max > started.request_bytes_max {
        changed("gateway.request_bytes_max", &started.request_bytes_max, request_bytes_max);
    }
    if *admit_timeout != started.admit_timeout {
        changed("gateway.admit_timeout_ms", &started.admit_timeout.0, &admit_timeout.0);
    }
    found
}

/// Envoy asks for certificates and verifies tokens as it was started to; whom they stand for changes live, and so does that
/// they stand for nobody.
fn of_identities(identities: &Identities, started: &Identities) -> Vec<NeedsRestart> {
    let changed = |what| NeedsRestart { field: "identities", what };
    let certificates = identities.want_certificates() && !started.want_certificates();
    let first = certificates.then(|| changed("the first rule of 'spiffe' is new".to_owned()));
    let issuers = identities.issuers().iter().filter(|it| !started.issuers().contains(it));
    let issuers = issuers.map(|it| changed(format!("issuer '{}' is new or changed", it.issuer)));
    first.into_iter().chain(issuers).collect()
}

/// Where keys and generations are is opened from the start on, and what was there before is not taken along.
fn of_database(database: Option<&Database>, started: Option<&Database>) -> Option<NeedsRestart> {
    let what = match (database, started) {
        (None, None) => return None,
        (Some(_), None) => "it is new",
        (None, Some(_)) => "it is gone",
        (Some(Database { url }), Some(started)) if *url == started.url => return None,
        (Some(_), Some(_)) => "url",
    };
    Some(NeedsRestart { field: "database", what: what.to_owned() })
}

/// Stores are opened at the start. The rest of the cache changes live.
fn of_backend(backend: &Backend, started: &Backend) -> Option<NeedsRestart> {
    let what = match (backend, started) {
        _ if backend == started => return None,
        (Backend::Redis(redis), Backend::Redis(started)) => redis.differing(started).join(", "),
        (Backend::Postgres(postgres), Backend::Postgres(started)) => {
            postgres.differing(started).join(", ")
        }
        _ => format!("from {} to {}", started.name(), backend.name()),
    };
    Some(NeedsRestart { field: "workflow_cache.backend", what })
}

/// A ledger is opened, and its days are counted, from the start on.
fn of_wallet(wallet: Option<&Wallet>, started: Option<&Wallet>) -> Option<NeedsRestart> {
    let changed = |what: &str| Some(NeedsRestart { field: "wallet", what: what.to_owned() });
    match (wallet, started) {
        (None, None) => None,
        (Some(_), None) => changed("it is new"),
        (None, Some(_)) => changed("it is gone"),
        (Some(wallet), Some(started)) => {
            let Wallet {
                ledger,
                time_zone,
                time_zones,
                default_max_output_tokens: _,
                on_outgrown_hold: _,
                allotment: _,
                open_with_cap: _,
            } = wallet;
            let fields: Vec<&str> = [
                (ledger.field(), *ledger == started.ledger),
                ("time_zone", *time_zone == started.time_zone),
                ("time_zones", *time_zones == started.time_zones),
            ]
            .into_iter()
            .filter_map(|(field, is_same)| (!is_same).then_some(field))
            .collect();
            if fields.is_empty() { None } else { changed(&fields.join(", ")) }
        }
    }
}

/// The log is opened at the start. What goes into it, and for how long, changes live; without it, nothing more is put
/// on record at once, and a start does not open it any more.
fn of_audit(policy: &Policy, started: &Policy) -> Option<NeedsRestart> {
    let is_new = policy.audit.is_some() && started.audit.is_none();
    let what = || "audit-logger is new".to_owned();
    is_new.then(|| NeedsRestart { field: "policies.chain", what: what() })
}

fn or_none(name: &Option<String>) -> &str {
    name.as_deref().unwrap_or("none")
}
