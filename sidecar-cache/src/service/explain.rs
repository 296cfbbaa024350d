//! Explain: the computation that a filter makes for a request, made again for an operator, and what a lookup
//! says. Reads only. It may name another organization, which no client ever learns.

use std::borrow::Cow;
use std::collections::BTreeSet;

use kt_contract::gates::Gates;
use kt_contract::identify::{self, Allowed, Ask, MODEL_ALLOWLIST};
use kt_contract::json::{self, Bounds, Node};
use kt_contract::key::{OrgKeys, RequestDigests};
use kt_contract::outcome::{Outcome, Reason};
use kt_contract::policy::Decision;
use kt_contract::principal::Principal;
use kt_contract::problem::Problem;
use kt_contract::snapshot::{ModelRoute, Snapshot};
use kt_contract::wire::explain::{ExplainReply, ExplainRequest};
use kt_policy::{Chain, Triggered};
use kt_providers::{Asked, Dialect, Endpoint, Recognized, recognize};

use super::admit::told;
use super::cache::{Looked, Wanted};
use super::watched::watched;
use super::{Failure, Sidecar};
use crate::store::Address;

/// How many other organizations are asked whether they hold an equal request.
const ORGS_MAX: usize = 1_000;

/// A request as far as it can be understood without a cache.
struct Understood<'a> {
    dialect: Dialect,
    asked: Asked,
    route: &'a ModelRoute,
    /// Whether `model-allowlist` does not have the model, and only watches.
    is_watched: bool,
    gates: Gates,
    digests: RequestDigests,
}

// === impl Sidecar ===

impl Sidecar {
    /// The gates and the key of a request, and what it would get now.
    ///
    /// # Errors
    /// No such key; a request that a client would be refused.
    pub async fn explain(&self, request: &ExplainRequest) -> Result<ExplainReply, Failure> {
        let principal = self.valid_principal(&request.key_id).await?;
        let no_tenant = || Failure::Refused(Problem::NoTenant);
        let settings = self.settings_for(&principal.org).ok_or_else(no_tenant)?;
        let snapshot = &settings.snapshot;
        let keys = OrgKeys::derive(&principal.org);
        let (understood, mut triggered, elsewhere) = {
            let (text, triggered) = as_forwarded(request, snapshot, &settings.input.chain)?;
            let body = parse(&text, snapshot)?;
            let understood = understand(request, &principal, snapshot, &keys, &body)?;
            let headers = semantic(request, understood.dialect);
            let asked = (understood.dialect, headers.as_slice());
            let elsewhere = self.other_orgs(&principal.org, asked, &body).await?;
            (understood, triggered, elsewhere)
        };
        let Understood { dialect, asked, route, is_watched, gates, digests } = understood;
        if is_watched {
            let decision = Decision::Monitor;
            triggered.push(Triggered { policy: MODEL_ALLOWLIST, found: "request", decision });
        }
        let guardrails = triggered.iter().map(ToString::to_string).collect();
        let watched = watched(&snapshot.policy, &settings.judges);
        let key = keys.cache_key(&gates, &digests);
        let check = keys.check_hash(&gates, &digests);
        let at = Address { key, request: digests.digest };
        let wanted = Wanted { keys: &keys, gates: &gates, at, check };
        let (outcome, reason, nearest) = if !snapshot.cache.enabled {
            (Outcome::Bypass, Reason::Disabled, None)
        } else {
            match self.cache.peek(wanted).await {
                Looked::Hit(hit) => match told(dialect, &hit, asked.reply) {
                    Some(_) => (Outcome::Hit, Reason::Shared, None),
                    None => (Outcome::Miss, Reason::Shape, None),
                },
                Looked::Stale(_) => (Outcome::Miss, Reason::Expired, None),
                Looked::Miss(Reason::Request) if self.is_held_by(&elsewhere).await => {
                    (Outcome::Miss, Reason::Org, None)
                }
                Looked::Miss(reason) => (Outcome::Miss, reason, self.cache.nearest(wanted).await.1),
            }
        };
        let target = route.target.clone();
        Ok(ExplainReply {
            outcome,
            reason,
            gates,
            key,
            check,
            target,
            nearest,
            guardrails,
            watched,
        })
    }

    async fn valid_principal(&self, key_id: &str) -> Result<Principal, Failure> {
        let not_found = || Failure::NotFound { what: format!("key '{key_id}'") };
        let record = self.named(key_id).await?.ok_or_else(not_found)?;
        match record.is_over(self.clock.wall()) {
            true => Err(Failure::Refused(Problem::RevokedKey)),
            false => Ok(record.principal),
        }
    }

    /// The same request as every other organization would have it.
    async fn other_orgs(
        &self,
        org: &str,
        (dialect, headers): (Dialect, &[(&str, &[u8])]),
        body: &Node<'_>,
    ) -> Result<Vec<(OrgKeys, RequestDigests)>, Failure> {
        let orgs: BTreeSet<_> =
            self.keys.list().await?.into_iter().map(|record| record.principal.org).collect();
        Ok(orgs
            .iter()
            .filter(|other| *other != org)
            .take(ORGS_MAX)
            .map(|other| {
                let keys = OrgKeys::derive(other);
                let digests = keys.request_digests(body, dialect.left_out(), headers);
                (keys, digests)
            })
            .collect())
    }

    async fn is_held_by(&self, orgs: &[(OrgKeys, RequestDigests)]) -> bool {
        for (keys, digests) in orgs {
            if self.cache.has_request(digests.digest, keys).await {
                return true;
            }
        }
        false
    }
}

/// The headers that are in the key, in the order of the dialect's list, as the filter takes them.
fn semantic(request: &ExplainRequest, dialect: Dialect) -> Vec<(&'static str, &[u8])> {
    let sent = |name: &'static str| {
        let named = request.headers.iter().filter(move |(sent, _)| sent.eq_ignore_ascii_case(name));
        named.map(move |(_, value)| (name, value.as_bytes()))
    };
    dialect.semantic_headers().iter().copied().flat_map(sent).collect()
}

/// The body as a filter's policies let it go on, and what they find in it.
fn as_forwarded<'a>(
    request: &'a ExplainRequest,
    snapshot: &Snapshot,
    chain: &Chain,
) -> Result<(Cow<'a, str>, Vec<Triggered>), Failure> {
    let (body, dialect) = (request.body.as_str(), endpoint(request)?.dialect());
    let node = parse(body, snapshot)?;
    let model = endpoint(request)?.read(&node).map_err(Failure::Refused)?.model;
    identify::allowed(snapshot, &model).map_err(Failure::Refused)?;
    let shape = snapshot.policy.request_limits.as_ref();
    let bytes = body.as_bytes();
    let asked = kt_policy::Request {
        body: bytes,
        node: &node,
        input_tokens: &|| dialect.demand(&node).input_tokens(bytes.len() as u64),
        answers: &|| dialect.demand(&node).answers,
    };
    let passed = kt_policy::check(chain, shape, asked)
        .map_err(|refused| Failure::Refused(refused.problem(snapshot.policy.block_status)))?;
    if passed.edits.is_empty() {
        return Ok((Cow::Borrowed(body), passed.triggered));
    }
    let redacted = kt_policy::splice(body.as_bytes(), &passed.edits);
    Ok((Cow::Owned(String::from_utf8_lossy(&redacted).into_owned()), passed.triggered))
}

fn parse<'a>(body: &'a str, snapshot: &Snapshot) -> Result<Node<'a>, Failure> {
    let bounds = Bounds {
        depth_max: snapshot.limits.json_depth_max,
        nodes_max: snapshot.limits.json_nodes_max,
    };
    json::parse(body.as_bytes(), bounds)
        .map_err(|refused| Failure::Refused(Problem::InvalidBody { what: refused.to_string() }))
}

fn endpoint(request: &ExplainRequest) -> Result<Endpoint, Failure> {
    match recognize(b"POST", request.path.as_bytes()) {
        Recognized::Ours(endpoint) => Ok(endpoint),
        Recognized::Models
        | Recognized::Health
        | Recognized::WrongMethod { .. }
        | Recognized::BadVersion
        | Recognized::Unknown => {
            Err(Failure::Refused(Problem::UnknownPath { path: request.path.clone() }))
        }
    }
}

fn understand<'a>(
    request: &ExplainRequest,
    principal: &Principal,
    snapshot: &'a Snapshot,
    keys: &OrgKeys,
    body: &Node<'_>,
) -> Result<Understood<'a>, Failure> {
    let endpoint = endpoint(request)?;
    let dialect = endpoint.dialect();
    let asked = endpoint.read(body).map_err(Failure::Refused)?;
    let Allowed { route, is_watched } =
        identify::allowed(snapshot, &asked.model).map_err(Failure::Refused)?;
    endpoint.check(route).map_err(Failure::Refused)?;
    let ask = Ask {
        dialect: dialect.as_str(),
        path: endpoint.path(),
        route,
        codebase: request.codebase.as_deref(),
    };
    let gates =
        identify::gates(principal, &request.gateway, snapshot, ask).map_err(Failure::Refused)?;
    let digests = keys.request_digests(body, dialect.left_out(), &semantic(request, dialect));
    Ok(Understood { dialect, asked, route, is_watched, gates, digests })
}
