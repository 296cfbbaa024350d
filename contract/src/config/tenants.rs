//! `tenants`: hosted mode, in which each organization has a pack of its own, in a folder. A pack says which models may be
//! asked for, under which policies, with whose credentials; where providers are, and all that is about money, memory and
//! the gateway itself, is the host's to say. What a pack does not say, the host's file does.

use super::report::Report;
use super::targets::{self, Scheme, Target};
use super::{Config, ConfigError, Identities, Loaded, WorkflowCache, raw, tree};
use crate::snapshot::OnSidecarLoss;

/// Where the packs of organizations are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Tenants {
    /// `tenants.folder`: relative to the folder of the file that names it.
    pub folder: String,
}

pub(super) fn check(raw: raw::Tenants, report: &mut Report) -> Option<Tenants> {
    let raw::Tenants { folder } = raw;
    let folder = folder.filter(|folder| !folder.is_empty() && !folder.contains('\0'));
    if folder.is_none() && report.is_whole("tenants") && report.is_whole("tenants.folder") {
        report.error("tenants.folder", "missing: in which folder are the packs of organizations?");
    }
    folder.map(|folder| Tenants { folder })
}

/// What the host's file must not say beside it.
pub(super) fn check_beside(targets: &[Target], loss: OnSidecarLoss, report: &mut Report) {
    for (at, _) in targets.iter().enumerate().filter(|(_, target)| target.secret.is_some()) {
        report.error(
            format!("providers.targets[{at}].secret_key_ref"),
            "with 'tenants', each organization brings its own credential, in its pack: this one would be used for \
             nobody",
        );
    }
    if loss == OnSidecarLoss::Direct {
        report.error(
            "gateway.on_sidecar_loss",
            "'direct' passes by the sidecar, which has the credentials of tenants; use 'unavailable'",
        );
    }
}

/// Reads and checks the pack of a tenant of `host`. What comes out decides about the requests of one organization.
///
/// # Errors
/// Everything that is wrong with it, as with [`super::load`]; and all that is the host's to say.
pub fn load_tenant(file_name: &str, text: &str, host: &Config) -> Result<Loaded, Vec<ConfigError>> {
    read(file_name, text, host, |_| {})
}

/// Puts a pack that was good beside an earlier `host` beside another one. What this one does not have any more, a target or
/// a model, the tenant has not either; all the rest is as with [`load_tenant`].
///
/// # Errors
/// What is left of it is no pack.
pub fn rebase_tenant(
    file_name: &str,
    text: &str,
    host: &Config,
) -> Result<Loaded, Vec<ConfigError>> {
    read(file_name, text, host, |raw| leave_out_what_is_gone(raw, host))
}

fn read(
    file_name: &str,
    text: &str,
    host: &Config,
    prepare: impl FnOnce(&mut raw::Raw),
) -> Result<Loaded, Vec<ConfigError>> {
    let tree = tree::read(file_name, text).map_err(|error| vec![error])?;
    let mut report = Report::new(file_name.to_owned(), tree.lines);
    let checked = raw::read::<raw::Raw>(tree.value, "", &mut report).and_then(|mut raw| {
        prepare(&mut raw);
        check_pack(raw, host, &mut report)
    });
    match checked {
        Some(config) => report.loaded(config),
        None => Err(report.into_errors()),
    }
}

fn leave_out_what_is_gone(raw: &mut raw::Raw, host: &Config) {
    let Some(targets) = raw.providers.as_mut().and_then(|raw| raw.targets.as_mut()) else { return };
    targets.retain_mut(|raw| {
        let Some(target) = host.targets.iter().find(|it| Some(&it.id) == raw.id.as_ref()) else {
            return false;
        };
        if let Some(models) = &mut raw.models {
            models.retain(|model| target.serves(model));
        }
        let is_served = raw.models.as_ref().is_none_or(|models| !models.is_empty())
            && raw.model.as_ref().is_none_or(|model| target.serves(model));
        let provider = target.provider.as_str();
        let has_credential =
            raw.secret_key_ref.is_some() || target.base_url.scheme != Scheme::Https;
        is_served && raw.provider.as_deref().is_none_or(|it| it == provider) && has_credential
    });
}

fn check_pack(raw: raw::Raw, host: &Config, report: &mut Report) -> Option<Config> {
    let raw::Raw { pack, gateway, mut providers, workflow_cache, fabric, policies, policy, .. } =
        raw;
    let hosts = "is the host's to say, in the file of the gateway; a tenant's pack has pack, providers, \
                 workflow_cache and policies";
    for (field, is_there) in [
        ("gateway", gateway.is_some()),
        ("fabric", fabric.is_some()),
        ("database", raw.database.is_some()),
        ("tenants", raw.tenants.is_some()),
        ("wallet", raw.wallet.is_some()),
        ("budgets", raw.budgets.is_some()),
        ("pricing", raw.pricing.is_some()),
        ("routes", raw.routes.is_some()),
        ("fallback", raw.fallback.is_some()),
        ("identities", raw.identities.is_some()),
    ] {
        if is_there {
            report.error(field, hosts);
        }
    }
    if let Some(raw_targets) = providers.as_mut().and_then(|raw| raw.targets.as_mut()) {
        for (at, raw) in raw_targets.iter_mut().enumerate() {
            take_from_host(at, raw, host, report);
        }
    }
    let mut config = host.clone();
    config.tenants = None;
    // Who somebody is, the host decides before anybody asks for whom.
    config.identities = Identities::default();
    config.pack = super::check_pack(pack.unwrap_or_default(), report);
    config.targets = targets::check(providers, report);
    if let Some(raw) = workflow_cache {
        config.cache = check_cache(raw, host, report);
    }
    if policies.is_some() || policy.is_some() {
        let checked = super::policy::check(policies, policy, &config.targets, report);
        for (name, is_there) in [
            ("audit-logger", checked.audit.is_some()),
            ("spend-limit", checked.spend_limit_daily.is_some()),
            ("rate-limit", checked.rate_limits.is_some()),
            ("wallet_balance", checked.needs_wallet_balance),
        ] {
            if is_there {
                let problem = format!("'{name}' {hosts}; it holds for all tenants");
                report.error("policies", problem);
            }
        }
        let host = &host.policy;
        config.policy = checked;
        config.policy.audit = host.audit;
        config.policy.spend_limit_daily = host.spend_limit_daily;
        config.policy.rate_limits = host.rate_limits;
        config.policy.needs_wallet_balance = host.needs_wallet_balance;
    }
    // What a pack spends in a day is counted under the name of the host's.
    config.pack.name = host.pack.name.clone();
    super::snapshot::check_size(&config, report);
    Some(config)
}

/// Where the target is, only the host says: its gateways have it in their Envoys.
fn take_from_host(at: usize, raw: &mut raw::Target, host: &Config, report: &mut Report) {
    let field = |name: &str| format!("providers.targets[{at}].{name}");
    for (name, is_there) in [
        ("base_url", raw.base_url.is_some()),
        ("max_concurrent_requests", raw.max_concurrent_requests.is_some()),
        ("model_version", raw.model_version.is_some()),
    ] {
        if is_there {
            report.error(field(name), "is the host's to say, at its target of the same id");
        }
    }
    let Some(id) = &raw.id else { return };
    let Some(target) = host.targets.iter().find(|target| target.id == *id) else {
        report.error(field("id"), "is no target of the host: a tenant can use those that it has");
        return;
    };
    let provider = target.provider.as_str();
    if raw.provider.as_deref().is_some_and(|named| named != provider) {
        report.error(field("provider"), format!("is '{provider}' at the host's target '{id}'"));
    }
    raw.provider = Some(provider.to_owned());
    raw.base_url = Some(target.base_url.to_string());
    raw.model_version.clone_from(&target.version);
    raw.max_concurrent_requests = Some(target.max_concurrent_requests);
    if raw.first_byte_timeout_ms.is_none() {
        raw.first_byte_timeout_ms = u64::try_from(target.first_byte_timeout.as_millis()).ok();
    }
    let named = raw.models.iter().flatten().chain(&raw.model);
    let strange = named.filter(|model| !target.serves(model)).count();
    if strange > 0 {
        let what = format!("{strange} of them are not served by the host's target '{id}'");
        report.error(field(if raw.model.is_some() { "model" } else { "models" }), what);
    }
    match (&target.version, raw.models.take(), raw.model.take()) {
        // A version is pinned for one model, and that is the host's.
        (Some(_), _, _) => raw.model = target.models.first().cloned(),
        (None, None, None) => raw.models = Some(target.models.iter().cloned().collect()),
        (None, models, model) => (raw.models, raw.model) = (models, model),
    }
    if raw.secret_key_ref.is_none() && target.base_url.scheme == Scheme::Https {
        report.error(
            field("secret_key_ref"),
            "missing: the host has no credential for a tenant; say where this organization's own is",
        );
    }
}

/// How answers are shared and kept is a tenant's to say; how much room there is, and where, the host's.
fn check_cache(mut raw: raw::WorkflowCache, host: &Config, report: &mut Report) -> WorkflowCache {
    for (name, is_there) in [
        ("max_flight_bytes", raw.max_flight_bytes.take().is_some()),
        ("max_bodies_bytes", raw.max_bodies_bytes.take().is_some()),
        ("per_org", raw.per_org.take().is_some()),
        ("stale_while_revalidate_seconds", raw.stale_while_revalidate_seconds.take().is_some()),
        ("stale_if_error_seconds", raw.stale_if_error_seconds.take().is_some()),
        ("backend", raw.backend.take().is_some()),
        ("memory", raw.memory.take().is_some()),
        ("redis", raw.redis.take().is_some()),
        ("postgres", raw.postgres.take().is_some()),
        ("l1", raw.l1.take().is_some()),
    ] {
        if is_there {
            report.error(format!("workflow_cache.{name}"), "is the host's to say");
        }
    }
    let checked = super::cache::check(raw, host.gateway.request_bytes_max, report);
    let host = host.cache.clone();
    WorkflowCache {
        max_flight_bytes: host.max_flight_bytes,
        max_bodies_bytes: host.max_bodies_bytes,
        per_org: host.per_org,
        stale_while_revalidate: host.stale_while_revalidate,
        stale_if_error: host.stale_if_error,
        backend: host.backend,
        memory: host.memory,
        l1_bytes_max: host.l1_bytes_max,
        // Spelled out, so that a new field does not compile until somebody decides whose it is.
        enabled: checked.enabled,
        tier: checked.tier,
        ttl: checked.ttl,
        max_entry_tokens: checked.max_entry_tokens,
        max_entry_bytes: checked.max_entry_bytes,
        single_flight_enabled: checked.single_flight_enabled,
        single_flight_timeout: checked.single_flight_timeout,
        single_flight_overflow: checked.single_flight_overflow,
        complete_on_disconnect: checked.complete_on_disconnect,
    }
}
