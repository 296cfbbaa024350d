//! What an exchange wants done. The glue does it, in order, after the turn, and decides nothing.

use std::borrow::Cow;
use std::rc::Rc;

use kt_contract::outcome::{Outcome, Reason};
use kt_contract::principal::Principal;
use kt_contract::snapshot::ModelRoute;

use crate::counter::Counter;
use crate::forward::Forward;
use crate::principals::KeyAge;
use crate::request_id::RequestId;
use crate::till::Spend;

/// What the callback that brought the event tells Envoy.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// The message goes on. After a callout: the request, which had been held, is resumed.
    Continue,
    /// Envoy holds the message.
    Pause,
    /// Envoy holds the message, and the whole body that it holds is read now and handed over as
    /// [`crate::event::Event::RequestRead`], within the same callback.
    ReadBody,
}

/// Something to be done.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Ask the sidecar. A callout that cannot even be sent is answered at once, as lost.
    Callout(Callout),
    /// Count a call that would pass without the sidecar, with [`crate::till::spend`], and hand over at once what came of
    /// it.
    Spend(Spend),
    /// Answer the client. At most once per exchange, and nothing but logs and counts follows.
    Reply(Reply),
    /// Replace the request's head by the one that [`Forward::head`] makes of it.
    Forward(Forward),
    /// Replace the request's body, which Envoy holds whole.
    ReplaceBody(Vec<u8>),
    /// Remove every request trailer: nothing of them is in the key, so nothing of them is forwarded.
    ClearTrailers,
    /// Set a response header to this one value.
    SetResponseHeader(&'static str, Cow<'static, str>),
    /// Remove a response header.
    RemoveResponseHeader(Box<[u8]>),
    /// Set fields of the request's log line.
    Log(LogLine),
    /// Count something.
    Count(Counter),
}

/// A question to the sidecar, as a POST of JSON with the budget of a pure read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Callout {
    /// The path of the wire API.
    pub path: &'static str,
    /// The request id, where there is one to carry along.
    pub request_id: RequestId,
    /// The JSON.
    pub body: Vec<u8>,
}

/// A local reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The status.
    pub status: u16,
    /// The fields. Envoy adds the length.
    pub headers: Vec<(&'static str, Cow<'static, str>)>,
    /// The bytes, shared with the worker's cache where they came from it.
    pub body: Rc<[u8]>,
}

/// What is known for the log line of a request; what is `None` was said before or is not known.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct LogLine {
    /// The minted request id.
    pub request_id: Option<RequestId>,
    /// What the cache did.
    pub outcome: Option<Outcome>,
    /// Why.
    pub reason: Option<Reason>,
    /// The code of the problem that ended the request.
    pub code: Option<&'static str>,
    /// Who asked.
    pub principal: Option<Rc<Principal>>,
    /// How old its key is.
    pub key_age: Option<KeyAge>,
    /// The model that was asked for, where nothing serves it.
    pub model: Option<Rc<str>>,
    /// What serves the model.
    pub route: Option<Rc<ModelRoute>>,
    /// The codebase, where the client narrowed it to one. Otherwise it is the principal's, if that has exactly one.
    pub codebase: Option<Rc<str>>,
    /// What policies have found in the request, as `policy:what:action`, with commas.
    pub guardrails: Option<Rc<str>>,
}

// === impl LogLine ===

impl LogLine {
    /// The fields that are known, under the names of the access log's filter state.
    pub fn fields(&self) -> impl Iterator<Item = (&'static str, Cow<'_, str>)> {
        let Self {
            request_id,
            outcome,
            reason,
            code,
            principal,
            key_age,
            model,
            route,
            codebase,
            guardrails,
        } = self;
        let of = |pick: fn(&Principal) -> Option<&str>| principal.as_deref().and_then(pick);
        let key_age = key_age.map(|age| Cow::Owned(age.seconds().to_string()));
        let routed = |pick: fn(&ModelRoute) -> &str| route.as_deref().map(pick);
        [
            ("kt_request_id", request_id.as_ref().map(RequestId::as_str)),
            ("kt_outcome", outcome.map(Outcome::as_str)),
            ("kt_reason", reason.map(Reason::as_str)),
            ("kt_code", *code),
            ("kt_key_id", of(|principal| Some(&principal.key_id))),
            ("kt_org", of(|principal| Some(&principal.org))),
            ("kt_team", of(|principal| principal.team.as_deref())),
            ("kt_user", of(|principal| principal.user.as_deref())),
            ("kt_agent", of(|principal| principal.agent.as_deref())),
            ("kt_codebase", codebase.as_deref().or(of(only_codebase))),
            ("kt_guardrails", guardrails.as_deref()),
            ("kt_model", routed(|route| &route.model).or(model.as_deref())),
            ("kt_provider", routed(|route| &route.provider)),
            ("kt_target", routed(|route| &route.target)),
        ]
        .into_iter()
        .filter_map(|(key, value)| Some((key, Cow::Borrowed(value?))))
        .chain(key_age.map(|age| ("kt_key_age_s", age)))
    }
}

/// The codebase of somebody who has no other: of several none is named, as with savings.
fn only_codebase(principal: &Principal) -> Option<&str> {
    let mut names = principal.codebases.iter();
    names.next().filter(|_| names.next().is_none()).map(String::as_str)
}
