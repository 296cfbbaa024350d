//! HTTP: what comes in, which file answers it, and the headers a provider's edge adds.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::json;
use tokio::sync::Notify;

use crate::answer::Answer;
use crate::clock;
use crate::directive::Directive;
use crate::journal::{Journal, Open};
use crate::plan::Plan;
use crate::play::{Cut, Played, Stage};
use crate::request::ChatRequest;
use crate::script::Script;
use crate::socket::Ending;

/// The fake, shared by all connections.
#[derive(Clone, Debug)]
pub(crate) struct Fake {
    journal: Journal,
    release: Arc<Notify>,
    script: Arc<Mutex<Script>>,
    /// The time between two deltas, unless a directive says otherwise.
    pace: Duration,
    /// The only key that is let in; anything is, without one.
    api_key: Option<String>,
}

const REQUEST_BYTES_MAX: usize = 256 << 20;
const CHAT: &str = "/v1/chat/completions";

// === impl Fake ===

impl Fake {
    /// A fake that has been asked nothing yet.
    #[must_use]
    pub(crate) fn new(pace: Duration, api_key: Option<String>) -> Self {
        Self {
            journal: Journal::default(),
            release: Arc::new(Notify::new()),
            script: Arc::default(),
            pace,
            api_key,
        }
    }

    /// Answers one request.
    ///
    /// # Errors
    /// Where the connection shall be reset instead.
    pub(crate) async fn answer(
        self,
        request: Request<Incoming>,
        ending: Ending,
    ) -> Result<Response<Played>, Cut> {
        let (parts, body) = request.into_parts();
        // A client that leaves while it sends its body is no call yet.
        let Ok(body) = Limited::new(body, REQUEST_BYTES_MAX).collect().await else {
            return Err(Cut);
        };
        let body = body.to_bytes();
        let stage = Stage { journal: self.journal.clone(), release: self.release.clone(), ending };
        if parts.uri.path().starts_with("/v1/") {
            self.provide(&parts, &body, stage).await
        } else {
            let (status, text) = self.administer(&parts.method, parts.uri.path(), &body);
            Ok(plain(status, &text))
        }
    }

    /// A call, as the provider sees it.
    async fn provide(
        &self,
        parts: &http::request::Parts,
        body: &Bytes,
        stage: Stage,
    ) -> Result<Response<Played>, Cut> {
        let chat = serde_json::from_slice::<ChatRequest>(body);
        let model = chat.as_ref().ok().map(|chat| chat.model.as_str());
        let (call, open) = self.journal.enter(parts, body, model);
        let (plan, outcome) = match self.refusal(parts) {
            Some(plan) => (plan, "refused".to_owned()),
            None => match chat {
                Ok(chat) => self.plan(&chat, call),
                Err(problem) => (Plan::error(400, &problem.to_string()), "bad_request".to_owned()),
            },
        };
        // From here on, a client that leaves drops `open` and is counted as such.
        perform(plan, outcome, call, open, stage).await
    }

    fn refusal(&self, parts: &http::request::Parts) -> Option<Plan> {
        if parts.uri.path() != CHAT {
            return Some(Plan::error(404, "Invalid URL"));
        }
        if parts.method != Method::POST {
            return Some(Plan::error(
                405,
                "Not allowed to use this method here. HINT: It must be POST.",
            ));
        }
        let given = parts.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes);
        let wanted = self.api_key.as_ref().map(|key| format!("Bearer {key}"));
        let refused = wanted.is_some_and(|wanted| given != Some(wanted.as_bytes()));
        refused.then(|| Plan::error(401, "Incorrect API key provided."))
    }

    fn plan(&self, chat: &ChatRequest, call: u64) -> (Plan, String) {
        let scripted = self.script.lock().unwrap_or_else(PoisonError::into_inner).next();
        let directive = match scripted {
            Some(directive) => Ok(directive),
            None => Directive::in_prompt(&chat.prompt()),
        };
        match directive {
            Ok(directive) => {
                let answer = Answer::new(chat, &directive, call, clock::unix_seconds());
                (Plan::new(chat, &directive, &answer, self.pace), directive.outcome())
            }
            Err(bad) => (Plan::error(400, &bad.0), "bad_directive".to_owned()),
        }
    }

    /// A test, asking or telling the fake itself.
    fn administer(&self, method: &Method, path: &str, body: &[u8]) -> (StatusCode, String) {
        match (method, path) {
            (&Method::GET, "/health") => (StatusCode::OK, text(&json!({"status": "ok"}))),
            (&Method::GET, "/calls") => (StatusCode::OK, text(&self.journal.calls())),
            (&Method::GET, "/requests") => (StatusCode::OK, text(&self.journal.requests())),
            (&Method::POST, "/reset") => {
                self.journal.reset();
                self.set_script(Script::default());
                (StatusCode::OK, text(&json!({})))
            }
            (&Method::POST, "/release") => {
                let held = self.journal.calls().held;
                self.release.notify_waiters();
                (StatusCode::OK, text(&json!({"released": held})))
            }
            (&Method::POST, "/script") => match Script::read(body) {
                Ok(script) => {
                    self.set_script(script);
                    (StatusCode::OK, text(&json!({})))
                }
                Err(bad) => (StatusCode::BAD_REQUEST, text(&json!({"error": bad.0}))),
            },
            _ => (StatusCode::NOT_FOUND, text(&json!({"error": "README.md lists the paths"}))),
        }
    }

    fn set_script(&self, script: Script) {
        *self.script.lock().unwrap_or_else(PoisonError::into_inner) = script;
    }
}

async fn perform(
    plan: Plan,
    outcome: String,
    call: u64,
    open: Open,
    stage: Stage,
) -> Result<Response<Played>, Cut> {
    if let Err(cut) = stage.before_headers(plan.before).await {
        open.end(&outcome);
        return Err(cut);
    }
    let status = StatusCode::from_u16(plan.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = headers(&plan, call);
    let mut response = Response::new(stage.body(plan, open, outcome));
    *response.status_mut() = status;
    *response.headers_mut() = headers;
    Ok(response)
}

/// What a provider's edge puts on every answer, and a cache must not keep.
fn headers(plan: &Plan, call: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut put = |name: &'static str, value: String| {
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.append(name, value);
        }
    };
    put("openai-organization", "org-of-the-fake".to_owned());
    put("openai-processing-ms", "42".to_owned());
    put("openai-version", "2020-10-01".to_owned());
    put("x-request-id", format!("req_of_the_fake_{call}"));
    put("x-ratelimit-limit-requests", "10000".to_owned());
    put("x-ratelimit-remaining-requests", 10_000_u64.saturating_sub(call).to_string());
    put("x-ratelimit-remaining-tokens", "149984242".to_owned());
    put("x-ratelimit-reset-requests", "6ms".to_owned());
    put("set-cookie", format!("__cf_bm=secret-{call}; path=/; HttpOnly; Secure"));
    put("set-cookie", format!("_cfuvid=secret-{call}; path=/; HttpOnly"));
    put("cf-ray", format!("86644fb6ef{call:06}-FKE"));
    put("alt-svc", "h3=\":443\"; ma=86400".to_owned());
    put("strict-transport-security", "max-age=31536000".to_owned());
    for (name, value) in &plan.headers {
        put(name, value.clone());
    }
    if let Ok(content_type) = HeaderValue::from_str(&plan.content_type) {
        headers.insert(CONTENT_TYPE, content_type);
    }
    if let Some(length) = plan.content_length {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
    headers
}

/// Not through [`serde_json::Value`], which would sort the fields: `total` comes first.
fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
}

fn plain(status: StatusCode, text: &str) -> Response<Played> {
    let mut response = Response::new(Played::of(Bytes::from(format!("{text}\n"))));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
