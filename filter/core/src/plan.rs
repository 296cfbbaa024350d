//! From a body to everything that the sidecar is asked: parsed, routed, checked against the input policy,
//! gated and keyed. A pure function of body, head, caller, gateway and snapshot.

use std::rc::Rc;

use kt_contract::hex::Digest;
use kt_contract::identify::{self, Allowed, MODEL_ALLOWLIST};
use kt_contract::json::{self, Bounds, Node};
use kt_contract::key::CacheKey;
use kt_contract::outcome::Reason;
use kt_contract::policy::Decision;
use kt_contract::problem::Problem;
use kt_contract::snapshot::{ModelRoute, OnSidecarLoss, OpenWithCap, Snapshot};
use kt_contract::wire::VERSION;
use kt_contract::wire::admit::{self, AdmitRequest, ReplyShape};
use kt_contract::wire::feed::GatewayIdentity;
use kt_policy::{Chain, Edit, Passed, Triggered};
use kt_providers::Asked;
use serde_json::value::{RawValue, to_raw_value};

use crate::ask::Ask;
use crate::l1::L1Key;
use crate::principals::Known;
use crate::quoted::loggable;

/// A plan that replaces more than this in its body is made anew each time.
const EDITS_REMEMBERED_MAX: usize = 32;
/// What the bookkeeping of one counts for.
const PLAN_OVERHEAD_BYTES: u64 = 256;

/// What a request is, beside its caller.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) route: Rc<ModelRoute>,
    pub(crate) reply: ReplyShape,
    /// Why the answer is nobody else's, if the request itself says so.
    pub(crate) bypass: Option<Reason>,
    /// What the snapshot says for the case that the sidecar is lost. Kept here, and not asked for when it is: a request
    /// is decided by one version of the configuration, from its plan to its end.
    pub(crate) on_sidecar_loss: OnSidecarLoss,
    /// And what may pass all the same, likewise.
    pub(crate) open_with_cap: Option<OpenWithCap>,
    key: CacheKey,
    /// `provider/model`, as clients are told.
    served_by: Box<str>,
    /// All that the sidecar is told of it, written once: whoever asks the same again is mostly asking for a hit.
    question: Box<RawValue>,
    /// What policies have found in the request.
    triggered: Box<[Triggered]>,
    /// The same, for logs.
    pub(crate) guardrails: Option<Rc<str>>,
    /// What is replaced in the body; all of the plan is about what becomes of it.
    edits: Box<[Edit]>,
}

/// Why there is no plan.
#[derive(Debug)]
pub(crate) struct Unplanned {
    pub(crate) problem: Problem,
    /// The model that was asked for, as a log may hold it; `None` where it could not be read.
    pub(crate) model: Option<Rc<str>>,
    /// What policies have found in the request.
    pub(crate) guardrails: Option<Rc<str>>,
}

/// What a plan is made for.
#[derive(Clone, Copy)]
pub(crate) struct Caller<'a> {
    pub(crate) ask: &'a Ask,
    pub(crate) known: &'a Known,
    pub(crate) gateway: &'a GatewayIdentity,
    pub(crate) snapshot: &'a Snapshot,
    /// The snapshot's policies that read requests.
    pub(crate) chain: &'a Chain,
}

// === impl Plan ===

impl Plan {
    /// How much memory it takes, with its place among the others.
    pub(crate) fn weight(&self) -> u64 {
        let Self { served_by, question, triggered, guardrails, edits, .. } = self;
        let told = guardrails.as_deref().map_or(0, str::len);
        let texts = served_by.len() + question.get().len() + told;
        let lists = size_of_val(&**triggered) + size_of_val(&**edits);
        let whole = size_of::<Self>() + texts + lists;
        u64::try_from(whole).unwrap_or(u64::MAX).saturating_add(PLAN_OVERHEAD_BYTES)
    }

    /// Makes the plan of `body`.
    pub(crate) fn make(caller: Caller<'_>, body: &[u8]) -> Result<Self, Unplanned> {
        let Caller { ask, snapshot, chain, .. } = caller;
        let node = parse(snapshot, body)?;
        let asked = ask.endpoint.read(&node)?;
        let model = || Some(loggable(&asked.model).into());
        // What needs no text read comes first: to read them is most of the work.
        let allowed = identify::allowed(snapshot, &asked.model).map_err(|problem| Unplanned {
            problem,
            model: model(),
            guardrails: None,
        })?;
        let policy = &snapshot.policy;
        let demand = || ask.dialect().demand(&node);
        let request = kt_policy::Request {
            body,
            node: &node,
            input_tokens: &|| demand().input_tokens(body.len() as u64),
            answers: &|| demand().answers,
        };
        let passed = match kt_policy::check(chain, policy.request_limits.as_ref(), request) {
            Ok(passed) => passed,
            Err(refused) => {
                let guardrails = told(&refused.triggered);
                let problem = refused.problem(policy.block_status);
                return Err(Unplanned { problem, model: model(), guardrails });
            }
        };
        let guardrails = told(&passed.triggered);
        let planned = if passed.edits.is_empty() {
            Self::of(caller, &node, (&asked, allowed), passed)
        } else {
            // What is keyed is what is forwarded.
            let redacted = kt_policy::splice(body, &passed.edits);
            let node = parse(snapshot, &redacted)?;
            let asked = ask.endpoint.read(&node)?;
            let allowed = identify::allowed(snapshot, &asked.model)?;
            Self::of(caller, &node, (&asked, allowed), passed)
        };
        planned.map_err(|problem| Unplanned { problem, model: model(), guardrails })
    }

    /// The plan of a body that was read, and has passed the policies.
    fn of(
        caller: Caller<'_>,
        node: &Node<'_>,
        (asked, allowed): (&Asked, Allowed<'_>),
        passed: Passed,
    ) -> Result<Self, Problem> {
        let Caller { ask, known, gateway, snapshot, chain: _ } = caller;
        let Passed { mut triggered, edits } = passed;
        let Allowed { route, is_watched } = allowed;
        if is_watched {
            let decision = Decision::Monitor;
            triggered.push(Triggered { policy: MODEL_ALLOWLIST, found: "request", decision });
        }
        ask.endpoint.check(route)?;
        let gates = identify::gates(
            &known.principal,
            gateway,
            snapshot,
            identify::Ask {
                dialect: ask.dialect().as_str(),
                path: ask.endpoint.path(),
                route,
                codebase: ask.codebase.as_deref(),
            },
        )?;
        let semantic: Vec<(&str, &[u8])> =
            ask.semantic.iter().map(|(name, value)| (*name, value.as_ref())).collect();
        let request = known.org_keys.request_digests(node, ask.dialect().left_out(), &semantic);
        let key = known.org_keys.cache_key(&gates, &request);
        let served_by = gates.model.served_by().into();
        let question = admit::Plan {
            snapshot: snapshot.version.clone(),
            check: known.org_keys.check_hash(&gates, &request),
            gates,
            request,
            key,
            target: route.target.clone(),
            reply: asked.reply,
            client_limited: asked.client_limited,
            guardrails: triggered.iter().map(ToString::to_string).collect(),
        };
        Ok(Self {
            route: Rc::new(route.clone()),
            reply: asked.reply,
            bypass: asked.bypass,
            on_sidecar_loss: snapshot.on_sidecar_loss,
            open_with_cap: snapshot.open_with_cap,
            key,
            served_by,
            // Structs of strings and numbers always have a JSON form.
            question: to_raw_value(&question).map_err(|_| Problem::Internal)?,
            guardrails: told(&triggered),
            triggered: triggered.into(),
            edits: edits.into(),
        })
    }

    /// Whether it is small enough to be remembered.
    pub(crate) const fn is_small(&self) -> bool {
        self.edits.len() <= EDITS_REMEMBERED_MAX
    }

    /// What becomes of the body, where policies change it.
    pub(crate) fn redact(&self, body: &[u8]) -> Option<Vec<u8>> {
        (!self.edits.is_empty()).then(|| kt_policy::splice(body, &self.edits))
    }

    /// What policies have found in the request.
    pub(crate) fn triggered(&self) -> &[Triggered] {
        &self.triggered
    }

    /// What the answer is filed under in the worker's own cache.
    pub(crate) const fn l1_key(&self) -> L1Key {
        (self.key, self.reply)
    }

    /// Who serves, as clients are told.
    pub(crate) fn served_by(&self) -> &str {
        &self.served_by
    }

    /// What the sidecar is asked.
    pub(crate) fn admit(
        &self,
        ask: &Ask,
        gateway: &GatewayIdentity,
        body: Digest,
        bypass: Option<Reason>,
    ) -> AdmitRequest<&RawValue> {
        AdmitRequest {
            version: VERSION,
            request_id: ask.request_id.as_str().to_owned(),
            gateway: gateway.id.clone(),
            principal: ask.who.key,
            identity: ask.who.identity.as_deref().cloned(),
            body,
            is_keyed: ask.idempotency.is_some(),
            bypass,
            control: ask.wish.control,
            trace: ask.trace,
            plan: &self.question,
        }
    }
}

fn parse<'a>(snapshot: &Snapshot, body: &'a [u8]) -> Result<Node<'a>, Problem> {
    let bounds = Bounds {
        depth_max: snapshot.limits.json_depth_max,
        nodes_max: snapshot.limits.json_nodes_max,
    };
    json::parse(body, bounds).map_err(|refused| Problem::InvalidBody { what: refused.to_string() })
}

/// What was found, as a log has it.
fn told(triggered: &[Triggered]) -> Option<Rc<str>> {
    let words: Vec<String> = triggered.iter().map(ToString::to_string).collect();
    (!words.is_empty()).then(|| words.join(",").into())
}

// === impl Unplanned ===

impl From<Problem> for Unplanned {
    fn from(problem: Problem) -> Self {
        Self { problem, model: None, guardrails: None }
    }
}

/// What makes two requests of a worker's life the same, byte for byte: path, caller, hint, semantic headers
/// and body. Whoever asked the same before gets the same plan without a second look at the body, as long as
/// nothing that a plan depends on has changed (the worker's era says so).
pub(crate) fn fingerprint(ask: &Ask, body: &Digest) -> Digest {
    let mut hasher = blake3::Hasher::new();
    let mut field = |bytes: &[u8]| {
        hasher.update(&(bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
    };
    field(ask.endpoint.path().as_bytes());
    field(&ask.who.key.0.0);
    field(&body.0);
    match &ask.codebase {
        None => field(b""),
        Some(codebase) => {
            field(b"codebase");
            field(codebase.as_bytes());
        }
    }
    for (name, value) in &ask.semantic {
        field(name.as_bytes());
        field(value);
    }
    Digest(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    /// The digests that BLAKE3's authors publish, because the module computes them by other instructions
    /// than the sidecar does.
    #[wasm_bindgen_test(unsupported = test)]
    fn a_digest_is_the_same_by_whatever_instructions() {
        for (length, digest) in [
            (1_024, "42214739f095a406f3fc83deb889744ac00df831c10daa55189b5d121c855af7"),
            (2_048, "e776b6028c7cd22a4d0ba182a8bf62205d2ef576467e838ed6f2529b85fba24a"),
            (102_400, "bc3e3d41a1146b069abffad3c0d44860cf664390afce4d9661f7902e7943e085"),
        ] {
            let input: Vec<u8> = (0..=250).cycle().take(length).collect();
            assert_eq!(Digest(*blake3::hash(&input).as_bytes()).to_hex(), digest, "{length}");
        }
    }
}
