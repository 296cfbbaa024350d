//! The local replies: refusals, hits, the model list and health, with the headers that each carries.

use std::borrow::Cow;
use std::rc::Rc;

use kt_contract::money::MicroUsd;
use kt_contract::outcome::{Outcome, Reason, cache_status, not_cached_status};
use kt_contract::problem::Problem;
use kt_contract::snapshot::{ModelRoute, Snapshot};
use kt_contract::time::MonoMillis;
use kt_contract::wire::headers;
use kt_providers::Dialect;
use serde::Serialize;
use serde_json::{Value, json};

use crate::action::Reply;
use crate::l1::Entry;
use crate::request_id::RequestId;
use crate::worker::{Health, Worker};

const JSON: Cow<'static, str> = Cow::Borrowed("application/json");

/// A refusal in the client's dialect.
pub(crate) fn problem(
    dialect: Dialect,
    problem: &Problem,
    request_id: Option<&RequestId>,
) -> Reply {
    let mut fields = vec![("content-type", JSON)];
    fields.extend(request_id.map(id));
    let retry_after_s = problem.retry_after_s();
    fields.extend(retry_after_s.map(|seconds| ("retry-after", seconds.to_string().into())));
    if problem.is_final() {
        fields.push((headers::SHOULD_RETRY, "false".into()));
    }
    if let Problem::WrongMethod { allow } = problem {
        fields.push(("allow", Cow::Borrowed(allow)));
    }
    if let Problem::NotCached { reason } = problem {
        fields.push((headers::CACHE_STATUS, not_cached_status(*reason).into()));
    }
    Reply { status: problem.status(), headers: fields, body: dialect.error_body(problem).into() }
}

/// An answer from the cache.
pub(crate) fn hit(now: MonoMillis, entry: &Entry, reason: Reason, request_id: &RequestId) -> Reply {
    let status = cache_status(Outcome::Hit, reason, Some(entry.ttl_s(now)));
    let mut fields = vec![
        ("content-type", entry.content_type.to_string().into()),
        id(request_id),
        (headers::CACHE_STATUS_SHORT, Outcome::Hit.as_str().into()),
        (headers::CACHE_STATUS, status.into()),
        (headers::FABRIC_ATTACHED, "false".into()),
        (headers::SERVED_BY, entry.served_by.to_string().into()),
        (headers::COST_USD, MicroUsd::ZERO.to_string().into()),
        ("age", entry.age_s(now).to_string().into()),
    ];
    fields.extend(entry.saved.map(|saved| (headers::SAVED_USD, saved.to_string().into())));
    Reply { status: 200, headers: fields, body: Rc::clone(&entry.body) }
}

/// What the headers of an answer say that did not come from the cache and was not stored.
pub(crate) fn bypass_fields(
    reason: Reason,
    request_id: &RequestId,
) -> [(&'static str, Cow<'static, str>); 4] {
    [
        id(request_id),
        (headers::CACHE_STATUS_SHORT, Outcome::Bypass.as_str().into()),
        (headers::CACHE_STATUS, cache_status(Outcome::Bypass, reason, None).into()),
        (headers::FABRIC_ATTACHED, "false".into()),
    ]
}

/// The request id, as a response header.
pub(crate) fn id(request_id: &RequestId) -> (&'static str, Cow<'static, str>) {
    (headers::REQUEST_ID, request_id.as_str().to_owned().into())
}

/// The models that may be asked for, as the dialect's provider lists them.
pub(crate) fn models(snapshot: &Snapshot, dialect: Dialect, request_id: &RequestId) -> Reply {
    let allowlist = snapshot.policy.model_allowlist.as_ref();
    let allowlist = allowlist.filter(|list| list.decision.enforces());
    let routes: Vec<&ModelRoute> = snapshot
        .models
        .routes
        .iter()
        .filter(|route| allowlist.is_none_or(|list| list.models.contains(&route.model)))
        .collect();
    let is_anthropics = dialect == Dialect::AnthropicMessages;
    let list = if is_anthropics { as_anthropic(&routes) } else { as_openai(&routes) };
    json(200, &list, Some(request_id))
}

/// When a provider made a model is nothing that we know, and SDKs want the field.
fn as_openai(routes: &[&ModelRoute]) -> Value {
    let model = |route: &&ModelRoute| json!({"id": route.model, "object": "model", "created": 0, "owned_by": route.provider});
    json!({"object": "list", "data": routes.iter().map(model).collect::<Vec<_>>()})
}

/// One page with all of them, so that no SDK asks for a second.
fn as_anthropic(routes: &[&ModelRoute]) -> Value {
    let model = |route: &&ModelRoute| {
        json!({"type": "model", "id": route.model, "display_name": route.model,
            "created_at": "1970-01-01T00:00:00Z", "lifecycle": "active"})
    };
    let data: Vec<Value> = routes.iter().map(model).collect();
    let id = |route: Option<&&ModelRoute>| route.map(|route| route.model.clone());
    json!({"data": data, "has_more": false, "first_id": id(routes.first()),
        "last_id": id(routes.last())})
}

/// What this worker says of itself. A load balancer reads the status, a person the rest.
pub(crate) fn health(now: MonoMillis, worker: &Worker) -> Reply {
    #[derive(Serialize)]
    struct Body<'a> {
        status: &'static str,
        gateway: &'a str,
        role: &'static str,
        group: Option<&'a str>,
        snapshot: Option<&'a str>,
        cache: &'static str,
        fabric: &'static str,
    }
    let health = worker.health(now);
    let snapshot = worker.snapshot();
    let snapshot = snapshot.as_deref();
    let status = match health {
        Health::Ok | Health::Degraded => 200,
        Health::Starting | Health::Unavailable => 503,
    };
    let body = Body {
        status: health.as_str(),
        gateway: &worker.gateway().id,
        role: worker.gateway().role.as_str(),
        group: worker.gateway().group.as_deref(),
        snapshot: snapshot.map(|snapshot| snapshot.version.as_str()),
        cache: if snapshot.is_some_and(|snapshot| snapshot.cache.enabled) {
            "enabled"
        } else {
            "disabled"
        },
        fabric: "detached",
    };
    json(status, &body, None)
}

fn json(status: u16, body: &impl Serialize, request_id: Option<&RequestId>) -> Reply {
    let mut fields = vec![("content-type", JSON)];
    fields.extend(request_id.map(id));
    // Structs of strings and numbers always have a JSON form.
    Reply { status, headers: fields, body: serde_json::to_vec(body).unwrap_or_default().into() }
}

#[cfg(test)]
mod tests {
    use kt_contract::problem::Unpaid;

    use super::*;

    #[test]
    fn a_refusal_says_when_to_come_again_and_whether_trying_soon_is_in_vain() {
        let (scope, window) = ("the organization".to_owned(), "daily".to_owned());
        let spent = Unpaid::BudgetSpent { scope, window, resets_in_s: 5_400 };
        for (refusal, status, retry_after, should_retry) in [
            (Problem::Unpaid(Unpaid::WalletEmpty { team: None }), 402, None, Some("false")),
            (Problem::Unpaid(spent), 429, Some("5400"), Some("false")),
            (Problem::Unpaid(Unpaid::LedgerUnavailable), 503, Some("1"), None),
            (Problem::MissingKey, 401, None, Some("false")),
            (Problem::Draining, 503, Some("1"), None),
        ] {
            let reply = problem(Dialect::OpenAiChat, &refusal, None);
            let field = |name| reply.headers.iter().find(|(it, _)| *it == name).map(|it| &*it.1);
            let said = (reply.status, field("retry-after"), field("x-should-retry"));
            assert_eq!(said, (status, retry_after, should_retry), "{refusal:?}");
        }
    }
}
