//! `providers.targets`: who answers requests for which models.

pub(super) mod base_url;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

pub use base_url::{BaseUrl, Scheme};

use super::models;
use super::raw;
use super::report::{Bounds, Report, suggestion};
use crate::limits::FIRST_BYTE_MS_MAX;
use crate::provider::Provider;

const CONCURRENT: Bounds<u32> = Bounds { min: 1, max: 1_000_000, default: 1_024 };
const FIRST_BYTE_MS: Bounds<u64> =
    Bounds { min: 1_000, max: FIRST_BYTE_MS_MAX, default: FIRST_BYTE_MS_MAX };
const NOT_BUILT: [&str; 2] = ["google", "local"];
const BUILT: &str = "'openai', 'azure' and 'anthropic' are";

/// Where requests for some models go.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Target {
    /// `id`: unique, and fit for headers, file names and cluster names.
    pub id: String,
    /// `provider`.
    pub provider: Provider,
    /// The models it serves: at least one, and none that another target serves.
    pub models: BTreeSet<String>,
    /// `model_version`: part of the model gate.
    pub version: Option<String>,
    /// `base_url`.
    pub base_url: BaseUrl,
    /// `secret_key_ref`; without one, requests go out without a credential.
    pub secret: Option<SecretRef>,
    /// `max_concurrent_requests`.
    pub max_concurrent_requests: u32,
    /// `first_byte_timeout_ms`.
    pub first_byte_timeout: Duration,
}

/// Where a credential is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SecretRef {
    /// In the environment variable of this name.
    Env(String),
    /// In the file at this path.
    File(String),
}

/// One target's fields in messages: `providers.targets[0].id`.
struct At(usize);

pub(super) fn check(raw: Option<raw::Providers>, report: &mut Report) -> Vec<Target> {
    let raw = raw.and_then(|providers| providers.targets).unwrap_or_default();
    if raw.is_empty() && report.is_whole("providers.targets") {
        report.error("providers.targets", "at least one target is needed: who should answer?");
    }
    let mut targets = Vec::with_capacity(raw.len());
    let mut ids = BTreeMap::new();
    let mut served: BTreeMap<String, usize> = BTreeMap::new();
    for (at, raw) in raw.into_iter().enumerate() {
        let at = At(at);
        let id = raw.id.clone();
        let (models, target) = check_target(&at, raw, report);
        if let Some(first) = id.and_then(|id| ids.insert(id, at.0)) {
            let first = report.in_file(&At(first).path());
            report.error(at.field("id"), format!("is the id of {first} as well"));
        }
        check_overlap(&at, &models, &served, report);
        served.extend(models.into_iter().map(|model| (model, at.0)));
        targets.extend(target);
    }
    targets
}

/// Two targets for one model would be a fallback, and which of them answers must not be chance.
fn check_overlap(
    at: &At,
    models: &BTreeSet<String>,
    served: &BTreeMap<String, usize>,
    report: &mut Report,
) {
    let overlap = models.iter().filter_map(|model| served.get_key_value(model));
    let (more, first) = (overlap.clone().count().saturating_sub(1), overlap.clone().next());
    let Some((model, other)) = first else { return };
    let other = report.in_file(&At(*other).path());
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    report.error(
        at.models_field(report),
        format!(
            "'{model}'{more}: {other} serves it already, and fallback between targets is \
             not built yet; name the models of each target"
        ),
    );
}

/// A target, if it is one, and the models that it claims in any case.
fn check_target(
    at: &At,
    raw: raw::Target,
    report: &mut Report,
) -> (BTreeSet<String>, Option<Target>) {
    let raw::Target {
        id,
        provider,
        model,
        models,
        model_version,
        base_url,
        secret_key_ref,
        max_concurrent_requests,
        first_byte_timeout_ms,
    } = raw;
    match &id {
        Some(id) => report.name(&at.field("id"), id),
        None => report.error(at.field("id"), "missing: every target has a name"),
    }
    let provider = check_provider(at, provider, report);
    if model_version.is_some() && model.is_none() && report.is_whole(&at.field("model")) {
        report.error(at.field("model_version"), "pins one model: it needs 'model' beside it");
    }
    let models = check_models(at, provider, model, models, report);
    let base_url = check_base_url(at, provider, base_url.as_deref(), report);
    let secret =
        secret_key_ref.and_then(|secret| check_secret(at.field("secret_key_ref"), secret, report));
    let max_concurrent_requests =
        report.within(&at.field("max_concurrent_requests"), max_concurrent_requests, CONCURRENT);
    let first_byte_timeout =
        report.within(&at.field("first_byte_timeout_ms"), first_byte_timeout_ms, FIRST_BYTE_MS);
    let (Some(id), Some(provider), Some(base_url)) = (id, provider, base_url) else {
        return (models, None);
    };
    let target = Target {
        id,
        provider,
        models: models.clone(),
        version: model_version,
        base_url,
        secret,
        max_concurrent_requests,
        first_byte_timeout: Duration::from_millis(first_byte_timeout),
    };
    warn_of_credential(at, &target, report);
    (models, Some(target))
}

fn check_provider(at: &At, name: Option<String>, report: &mut Report) -> Option<Provider> {
    let field = at.field("provider");
    let Some(name) = name else {
        report.error(field, format!("missing; {BUILT} built"));
        return None;
    };
    if let Some(provider) = Provider::named(&name) {
        return Some(provider);
    }
    let problem = if NOT_BUILT.contains(&name.as_str()) {
        format!("'{name}' is not built yet; {BUILT}")
    } else {
        // Repeated only where it is nearly a word that is known: it may be a credential.
        let known = Provider::ALL.iter().map(|known| known.as_str());
        match suggestion(&name, known.chain(NOT_BUILT)) {
            Some(near) => {
                format!("'{name}' is no provider that is known here; did you mean '{near}'?")
            }
            None => format!("is no provider that is known here; {BUILT} built"),
        }
    };
    report.error(field, problem);
    None
}

fn check_base_url(
    at: &At,
    provider: Option<Provider>,
    text: Option<&str>,
    report: &mut Report,
) -> Option<BaseUrl> {
    let field = at.field("base_url");
    let Some(text) = text.or_else(|| models::base_url(provider?)) else {
        // Of a provider that nobody knows, no address is missed.
        if provider.is_some() {
            report.error(
                field,
                "missing: an Azure resource has an address of its own, like \
                 https://NAME.openai.azure.com",
            );
        }
        return None;
    };
    let url = base_url::parse(text).map_err(|problem| report.error(&field, problem)).ok()?;
    if provider == Some(Provider::Azure) && url.path_prefix.contains("/openai") {
        report
            .error(field, "holds /openai, but the request's own path begins with it; leave it out");
        return None;
    }
    Some(url)
}

fn check_models(
    at: &At,
    provider: Option<Provider>,
    model: Option<String>,
    models: Option<Vec<String>>,
    report: &mut Report,
) -> BTreeSet<String> {
    if model.is_some() && models.is_some() {
        report.error(at.field("model"), "stands beside 'models'; use one of the two");
    }
    let Some(named) = models.or_else(|| model.map(|model| vec![model])) else {
        // Which models were meant, no catalogue knows.
        let Some(provider) = provider
            .filter(|_| ["model", "models"].iter().all(|it| report.is_whole(&at.field(it))))
        else {
            return BTreeSet::new();
        };
        let Some(catalogue) = models::catalogue(provider) else {
            let field = at.field("models");
            report.error(field, "missing: deployments are named by whoever made them; list them");
            return BTreeSet::new();
        };
        return catalogue.iter().map(|model| (*model).to_owned()).collect();
    };
    if named.is_empty() && report.is_whole(&at.field("models")) {
        report.error(at.field("models"), "is empty; leave it out to serve every model known");
    }
    let mut set = BTreeSet::new();
    for model in named {
        if model.is_empty() || model.len() > 256 || model.chars().any(char::is_control) {
            report.error(
                at.models_field(report),
                "a name is empty, longer than 256 bytes, or has control characters",
            );
        } else if set.contains(&model) {
            report.error(at.field("models"), format!("'{model}' stands twice"));
        } else {
            set.insert(model);
        }
    }
    set
}

/// Where the secret of a field stands.
pub(super) fn check_secret(
    field: String,
    raw: raw::SecretKeyRef,
    report: &mut Report,
) -> Option<SecretRef> {
    let raw::SecretKeyRef { env, file, store } = raw;
    if store.is_some() {
        report.error(
            format!("{field}.store"),
            "config variables of the control plane are not built yet; use 'env' or 'file'",
        );
        return None;
    }
    match (env, file) {
        (Some(env), None) => {
            let good = env.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
                && env.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
            if !good {
                // Not repeated: whoever writes the secret itself here should not find it in a log.
                report.error(
                    format!("{field}.env"),
                    "is not the name of an environment variable (the secret itself does not belong here)",
                );
            }
            Some(SecretRef::Env(env))
        }
        (None, Some(file)) => {
            if file.is_empty() || file.contains('\0') {
                report.error(format!("{field}.file"), "is no path");
            }
            Some(SecretRef::File(file))
        }
        (None, None) => {
            if report.is_whole(&field) {
                report.error(field, "is empty; it needs 'env' or 'file'");
            }
            None
        }
        (Some(_), Some(_)) => {
            report.error(field, "has both 'env' and 'file'; use one of the two");
            None
        }
    }
}

fn warn_of_credential(at: &At, target: &Target, report: &mut Report) {
    let url = &target.base_url;
    match (&target.secret, url.scheme) {
        (None, Scheme::Https) => report.warning(
            at.field("secret_key_ref"),
            // Without its path, which may be a secret itself.
            format!(
                "missing: requests go to {}://{} without a credential",
                url.scheme.as_str(),
                url.authority()
            ),
        ),
        (Some(_), Scheme::Http) if !url.is_loopback() => report.warning(
            at.field("base_url"),
            "the credential crosses the network unencrypted; use https",
        ),
        (None | Some(_), Scheme::Http) | (Some(_), Scheme::Https) => {}
    }
}

// === impl Target ===

impl Target {
    /// Whether this target serves `model`.
    #[must_use]
    pub fn serves(&self, model: &str) -> bool {
        self.models.contains(model)
    }
}

// === impl At ===

impl At {
    fn path(&self) -> String {
        format!("providers.targets[{}]", self.0)
    }

    fn field(&self, name: &str) -> String {
        format!("{}.{name}", self.path())
    }

    /// The field that names the models, whichever of the two the file has.
    fn models_field(&self, report: &Report) -> String {
        let one = self.field("model");
        if report.mentions(&one) { one } else { self.field("models") }
    }
}
