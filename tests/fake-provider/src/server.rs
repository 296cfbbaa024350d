//! HTTP: what comes in, which file answers it, and the headers a provider's edge adds.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::json;

use crate::answer::Answer;
use crate::clock;
use crate::dialect::Dialect;
use crate::directive::{self, Directive};
use crate::gates::{Gates, Release};
use crate::journal::{self, Journal, Open, Topic};
use crate::plan::Plan;
use crate::play::{Cut, Played, Stage};
use crate::recordings::Recordings;
use crate::request::Ask;
use crate::script::{Script, Scripts};
use crate::socket::Ending;

/// The fake, shared by all connections.
#[derive(Clone, Debug)]
pub(crate) struct Fake {
    journal: Journal,
    gates: Gates,
    scripts: Arc<Mutex<Scripts>>,
    recordings: Recordings,
    /// The time between two deltas, unless a directive says otherwise.
    pace: Duration,
    /// The only key that is let in; anything is, without one.
    api_key: Option<String>,
}

const REQUEST_BYTES_MAX: usize = 256 << 20;

// === impl Fake ===

impl Fake {
    /// A fake that has been asked nothing yet.
    ///
    /// # Errors
    /// Where a folder of recordings cannot be read.
    pub(crate) fn new(
        pace: Duration,
        api_key: Option<String>,
        recordings: &[PathBuf],
    ) -> std::io::Result<Self> {
        Ok(Self {
            journal: Journal::default(),
            gates: Gates::default(),
            scripts: Arc::default(),
            recordings: Recordings::load(recordings)?,
            pace,
            api_key,
        })
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
        let stage = Stage { gates: self.gates.clone(), ending };
        let path = parts.uri.path();
        if path.starts_with("/v1/") || path.starts_with("/openai/") {
            self.provide(&parts, &body, stage).await
        } else {
            let (status, text) = self.administer(&parts, &body);
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
        let of_path = Dialect::of_path(parts.uri.path());
        let dialect = of_path.as_ref().map_or(Dialect::Chat, |(dialect, _)| *dialect);
        let deployment = of_path.as_ref().and_then(|(_, model)| model.as_deref());
        let ask = Ask::read(dialect, deployment, body);
        let prompt = ask.as_ref().map(|ask| directive::plain(&ask.prompt)).unwrap_or_default();
        let model = ask.as_ref().ok().map(|ask| ask.model.as_str());
        let (call, open) = self.journal.enter(parts, body, Topic { model, prompt: &prompt });
        let refusal = match of_path {
            Some(_) => self.refusal(parts, dialect),
            None => Some(Plan::error(dialect, 404, "Invalid URL")),
        };
        let (plan, outcome) = match (refusal, ask) {
            (Some(plan), _) => (plan, "refused".to_owned()),
            (None, Ok(ask)) => self.plan(&ask, call, &open),
            (None, Err(problem)) => (Plan::error(dialect, 400, &problem), "bad_request".to_owned()),
        };
        // From here on, a client that leaves drops `open` and is counted as such.
        perform(plan, outcome, call, open, stage).await
    }

    fn refusal(&self, parts: &http::request::Parts, dialect: Dialect) -> Option<Plan> {
        if parts.method != Method::POST {
            let message = "Not allowed to use this method here. HINT: It must be POST.";
            return Some(Plan::error(dialect, 405, message));
        }
        if self.api_key.is_some() && journal::credential(&parts.headers) != self.api_key {
            return Some(Plan::error(dialect, 401, "Incorrect API key provided."));
        }
        let versioned =
            dialect != Dialect::Messages || parts.headers.contains_key("anthropic-version");
        (!versioned).then(|| Plan::error(dialect, 400, "anthropic-version: header is required"))
    }

    fn plan(&self, ask: &Ask, call: u64, open: &Open) -> (Plan, String) {
        let bad =
            |problem: &str| (Plan::error(ask.dialect, 400, problem), "bad_directive".to_owned());
        let scripted = self.scripts().next(&ask.prompt);
        let directive = match scripted {
            Some(directive) => Ok(directive),
            None => Directive::in_prompt(&ask.prompt),
        };
        let directive = match directive {
            Ok(directive) => directive,
            Err(problem) => return bad(&problem.0),
        };
        let plan = match &directive.recording {
            Some(name) => match self.recordings.get(name) {
                Some(recording) => Plan::recorded(recording, &directive, self.pace),
                None => return bad(&format!("no recording '{name}' in the folders given")),
            },
            None => {
                let answer = Answer::new(ask, &directive, call, clock::unix_seconds());
                open.tells(answer.usage.as_ref());
                Plan::new(ask, &directive, &answer, self.pace)
            }
        };
        (plan, directive.outcome())
    }

    /// A test, asking or telling the fake itself.
    fn administer(&self, parts: &http::request::Parts, body: &[u8]) -> (StatusCode, String) {
        match (&parts.method, parts.uri.path()) {
            (&Method::GET, "/health") => (StatusCode::OK, text(&json!({"status": "ok"}))),
            (&Method::GET, "/calls") => (StatusCode::OK, text(&self.journal.calls())),
            (&Method::GET, "/requests") => match after(parts.uri.query().unwrap_or_default()) {
                Some(after) => (StatusCode::OK, text(&self.journal.requests(after))),
                None => refused("wanted: nothing, or after=CALL"),
            },
            (&Method::POST, "/reset") => {
                self.journal.reset();
                self.gates.reset();
                *self.scripts() = Scripts::default();
                (StatusCode::OK, text(&json!({})))
            }
            (&Method::POST, "/release") => match release(parts.uri.query().unwrap_or_default()) {
                Some(release) => {
                    let held = self.journal.calls().held;
                    self.gates.release(release);
                    (StatusCode::OK, text(&json!({"released": held})))
                }
                None => refused("wanted: nothing, name=GATE, or name=GATE&count=N"),
            },
            (&Method::POST, "/script") => match Script::read(body) {
                Ok(script) => {
                    self.scripts().add(script);
                    (StatusCode::OK, text(&json!({})))
                }
                Err(bad) => refused(&bad.0),
            },
            _ => (StatusCode::NOT_FOUND, text(&json!({"error": "README.md lists the paths"}))),
        }
    }

    fn scripts(&self) -> MutexGuard<'_, Scripts> {
        self.scripts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn refused(problem: &str) -> (StatusCode, String) {
    (StatusCode::BAD_REQUEST, text(&json!({"error": problem})))
}

/// The query of `GET /requests`: the call behind which they begin.
fn after(query: &str) -> Option<u64> {
    if query.is_empty() { Some(0) } else { query.strip_prefix("after=")?.parse().ok() }
}

/// The query of `POST /release`.
fn release(query: &str) -> Option<Release> {
    let (mut name, mut count) = (None, None);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=')? {
            ("name", value) => name = Some(value.to_owned()),
            ("count", value) => count = Some(value.parse().ok()?),
            _ => return None,
        }
    }
    match (name, count) {
        (None, None) => Some(Release::Waiting),
        (Some(name), None) => Some(Release::Open(name)),
        (Some(name), Some(count)) => Some(Release::Count(name, count)),
        (None, Some(_)) => None,
    }
}

async fn perform(
    plan: Plan,
    outcome: String,
    call: u64,
    open: Open,
    stage: Stage,
) -> Result<Response<Played>, Cut> {
    if let Err(cut) = stage.before_head(&plan.before, &open).await {
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

/// The headers of an answer, with what a provider's edge puts on it and a cache must not keep.
fn headers(plan: &Plan, call: u64) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let mut put = |name: &str, value: String| {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value)) {
            headers.append(name, value);
        }
    };
    if plan.edge {
        let left = 10_000_u64.saturating_sub(call).to_string();
        put("openai-organization", "org-of-the-fake".to_owned());
        put("openai-processing-ms", "42".to_owned());
        put("openai-version", "2020-10-01".to_owned());
        put("x-request-id", format!("req_of_the_fake_{call}"));
        put("request-id", format!("req_of_the_fake_{call}"));
        put("anthropic-organization-id", "org-of-the-fake".to_owned());
        put("anthropic-ratelimit-requests-remaining", left.clone());
        put("x-ratelimit-limit-requests", "10000".to_owned());
        put("x-ratelimit-remaining-requests", left);
        put("x-ratelimit-remaining-tokens", "149984242".to_owned());
        put("x-ratelimit-reset-requests", "6ms".to_owned());
        put("set-cookie", format!("__cf_bm=secret-{call}; path=/; HttpOnly; Secure"));
        put("set-cookie", format!("_cfuvid=secret-{call}; path=/; HttpOnly"));
        put("cf-ray", format!("86644fb6ef{call:06}-FKE"));
        put("alt-svc", "h3=\":443\"; ma=86400".to_owned());
        put("strict-transport-security", "max-age=31536000".to_owned());
    }
    for (name, value) in &plan.headers {
        put(name, value.clone());
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
