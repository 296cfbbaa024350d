//! From who asks and what is asked to the gates: the one computation that the filter makes for a request
//! and the sidecar makes again for `explain`.

use std::collections::BTreeSet;

use crate::gates::{Gates, ModelGate, Scope};
use crate::principal::Principal;
use crate::problem::Problem;
use crate::snapshot::{ModelRoute, Snapshot, Tier};
use crate::wire::feed::GatewayIdentity;

/// The policy that names the only models that may be asked for.
pub const MODEL_ALLOWLIST: &str = "model-allowlist";
/// The policy that bounds what a request asks for.
pub const REQUEST_LIMITS: &str = "request-limits";

/// What is asked for, as far as the gates are concerned.
#[derive(Clone, Copy, Debug)]
pub struct Ask<'a> {
    /// The dialect's name, e.g. `openai_chat`.
    pub dialect: &'a str,
    /// The endpoint's path.
    pub path: &'a str,
    /// The route of the model.
    pub route: &'a ModelRoute,
    /// The value of `x-kt-codebase`, if the client sent one.
    pub codebase: Option<&'a str>,
}

/// The gates of a request. No gateway id, but for the tier that says so in its name.
///
/// # Errors
/// [`Problem::CodebaseNotAllowed`] where the client's hint names a codebase that its key does not have.
pub fn gates(
    principal: &Principal,
    gateway: &GatewayIdentity,
    snapshot: &Snapshot,
    ask: Ask<'_>,
) -> Result<Gates, Problem> {
    Ok(Gates {
        org: principal.org.clone(),
        scope: scope(principal, gateway, snapshot.cache.tier),
        codebases: narrowed(&principal.codebases, ask.codebase)?,
        fabric: None,
        policy: snapshot.policy.digest,
        model: ModelGate {
            dialect: ask.dialect.to_owned(),
            path: ask.path.to_owned(),
            provider: ask.route.provider.clone(),
            upstream: ask.route.upstream.clone(),
            served_model: ask.route.model.clone(),
            version: ask.route.version.clone(),
        },
        entitlements: principal.entitlements.clone(),
    })
}

/// What the input policy says of a model, before anything else is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed<'a> {
    /// The route of the model.
    pub route: &'a ModelRoute,
    /// Whether `model-allowlist` does not have it, and only watches.
    pub is_watched: bool,
}

/// The route of a model that may be asked for.
///
/// # Errors
/// [`Problem::ModelNotFound`] where nothing serves it, [`Problem::PolicyBlocked`] where `model-allowlist` does not
/// have it.
pub fn allowed<'a>(snapshot: &'a Snapshot, model: &str) -> Result<Allowed<'a>, Problem> {
    let not_found = || Problem::ModelNotFound { model: model.to_owned() };
    let route = snapshot.models.route(model).ok_or_else(not_found)?;
    let list = snapshot.policy.model_allowlist.as_ref();
    match list.filter(|list| !list.models.contains(model)).map(|list| list.decision.enforces()) {
        Some(true) => Err(Problem::PolicyBlocked {
            policy: MODEL_ALLOWLIST.to_owned(),
            status: snapshot.policy.block_status,
            what: format!("the model '{model}' is not on the list"),
        }),
        Some(false) => Ok(Allowed { route, is_watched: true }),
        None => Ok(Allowed { route, is_watched: false }),
    }
}

fn scope(principal: &Principal, gateway: &GatewayIdentity, tier: Tier) -> Scope {
    match tier {
        Tier::OrgShared => {
            Scope::OrgShared { group: principal.group.clone().or_else(|| gateway.group.clone()) }
        }
        Tier::PrivateEdge => Scope::PrivateEdge { key_id: principal.lineage().to_owned() },
        Tier::PhysicalGateway => Scope::PhysicalGateway { gateway: gateway.id.clone() },
    }
}

/// A hint may only narrow: a key without codebases cannot be talked into one.
fn narrowed(allowed: &BTreeSet<String>, hint: Option<&str>) -> Result<BTreeSet<String>, Problem> {
    match hint {
        None => Ok(allowed.clone()),
        Some(codebase) if allowed.contains(codebase) => Ok(BTreeSet::from([codebase.to_owned()])),
        Some(codebase) => Err(Problem::CodebaseNotAllowed { codebase: codebase.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn a_hint_narrows_and_never_widens() {
        let allowed = BTreeSet::from(["acme/web".to_owned(), "acme/api".to_owned()]);
        assert_eq!(narrowed(&allowed, None), Ok(allowed.clone()));
        assert_eq!(
            narrowed(&allowed, Some("acme/api")),
            Ok(BTreeSet::from(["acme/api".to_owned()]))
        );
        for (allowed, hint) in [(allowed.clone(), "acme/secret"), (BTreeSet::new(), "acme/web")] {
            assert_eq!(
                narrowed(&allowed, Some(hint)),
                Err(Problem::CodebaseNotAllowed { codebase: hint.to_owned() })
            );
        }
    }
}
