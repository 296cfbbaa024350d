//! What was asked and how it ended: counts since the last reset, and the last requests in full.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, Method};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::answer::Usage;

const REQUESTS_KEPT: usize = 1000;
/// Prompts are told apart by so many of their characters, and counted up to so many of them.
const PROMPT_CHARS: usize = 200;
const PROMPTS_KEPT: usize = 10_000;

/// The journal, shared by all connections.
#[derive(Clone, Debug, Default)]
pub(crate) struct Journal(Arc<Mutex<Pages>>);

#[derive(Debug, Default)]
struct Pages {
    /// Numbers calls for the life of the process: an id is never given twice.
    last_call: u64,
    calls: Calls,
    requests: VecDeque<Request>,
}

/// The counts.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Calls {
    /// All calls.
    pub(crate) total: u64,
    /// Those not ended yet.
    pub(crate) open: u64,
    /// Those that wait for `POST /release`.
    pub(crate) held: u64,
    /// By the model they asked for.
    pub(crate) by_model: BTreeMap<String, u64>,
    /// By path.
    pub(crate) by_path: BTreeMap<String, u64>,
    /// By how they ended.
    pub(crate) by_outcome: BTreeMap<String, u64>,
    /// By the credential that they came with.
    pub(crate) by_key: BTreeMap<String, u64>,
    /// By their prompt without its directives.
    pub(crate) by_prompt: BTreeMap<String, OfPrompt>,
    /// Those not ended yet, by number.
    pub(crate) running: BTreeMap<u64, Running>,
}

/// The calls with one prompt.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct OfPrompt {
    /// All of them.
    pub(crate) total: u64,
    /// Those not ended yet.
    pub(crate) open: u64,
    /// By how they ended.
    pub(crate) by_outcome: BTreeMap<String, u64>,
}

/// How far a call is.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Running {
    /// Its prompt without its directives.
    pub(crate) prompt: String,
    /// How many events have been sent.
    pub(crate) events: u64,
    /// How many bytes of the body have been sent.
    pub(crate) bytes: usize,
    /// Whether it waits for a release.
    pub(crate) waits: bool,
    /// The gate at which it waits, where that has a name.
    pub(crate) gate: Option<String>,
}

/// What the journal wants to know of a call, beside its head and its bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Topic<'a> {
    /// The model that it asks for.
    pub(crate) model: Option<&'a str>,
    /// Its prompt without its directives.
    pub(crate) prompt: &'a str,
}

/// One request as it arrived.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Request {
    /// Its number, which is in the answer's id.
    pub(crate) call: u64,
    /// Its method.
    pub(crate) method: String,
    /// Its path and query.
    pub(crate) path: String,
    /// Its headers, credentials included.
    pub(crate) headers: Vec<(String, String)>,
    /// How long its body was.
    pub(crate) body_bytes: usize,
    /// Which body it was.
    pub(crate) body_sha256: String,
    /// The usage that a whole answer to it tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) usage: Option<Usage>,
    /// How it ended; absent while it is open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) outcome: Option<String>,
}

/// The duty to say how one call ended. Dropped without a word, the client has left.
#[derive(Debug)]
pub(crate) struct Open {
    journal: Journal,
    call: u64,
    ended: bool,
}

/// Counts one that waits, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Waiting<'a>(&'a Open);

// === impl Journal ===

impl Journal {
    fn pages(&self) -> MutexGuard<'_, Pages> {
        // Counts are right after every statement, so a poisoned lock guards nothing worse.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes a request down and numbers it.
    pub(crate) fn enter(
        &self,
        parts: &http::request::Parts,
        body: &[u8],
        topic: Topic<'_>,
    ) -> (u64, Open) {
        let path = parts.uri.path().to_owned();
        let prompt: String = topic.prompt.chars().take(PROMPT_CHARS).collect();
        let mut pages = self.pages();
        pages.last_call += 1;
        let call = pages.last_call;
        pages.calls.total += 1;
        pages.calls.open += 1;
        *pages.calls.by_path.entry(path).or_default() += 1;
        if let Some(model) = topic.model {
            *pages.calls.by_model.entry(model.to_owned()).or_default() += 1;
        }
        if let Some(key) = credential(&parts.headers) {
            *pages.calls.by_key.entry(key).or_default() += 1;
        }
        if let Some(of_prompt) = pages.calls.of_prompt(&prompt) {
            of_prompt.total += 1;
            of_prompt.open += 1;
        }
        pages.calls.running.insert(call, Running { prompt, ..Running::default() });
        if pages.requests.len() == REQUESTS_KEPT {
            pages.requests.pop_front();
        }
        pages.requests.push_back(Request::new(call, &parts.method, parts, body));
        (call, Open { journal: self.clone(), call, ended: false })
    }

    /// The counts.
    #[must_use]
    pub(crate) fn calls(&self) -> Calls {
        self.pages().calls.clone()
    }

    /// The last requests behind the one numbered `after`, oldest first.
    #[must_use]
    pub(crate) fn requests(&self, after: u64) -> Vec<Request> {
        let pages = self.pages();
        pages.requests.iter().filter(|request| request.call > after).cloned().collect()
    }

    /// Forgets all that has ended. Call numbers go on.
    pub(crate) fn reset(&self) {
        let mut pages = self.pages();
        let old = std::mem::take(&mut pages.calls);
        let Calls { open, held, running, .. } = old;
        pages.calls = Calls { open, held, running, ..Calls::default() };
        pages.requests.clear();
    }
}

// === impl Pages ===

impl Pages {
    fn request(&mut self, call: u64) -> Option<&mut Request> {
        self.requests.iter_mut().rev().find(|request| request.call == call)
    }
}

// === impl Calls ===

impl Calls {
    fn of_prompt(&mut self, prompt: &str) -> Option<&mut OfPrompt> {
        let known = self.by_prompt.contains_key(prompt) || self.by_prompt.len() < PROMPTS_KEPT;
        (known && !prompt.is_empty()).then(|| self.by_prompt.entry(prompt.to_owned()).or_default())
    }
}

// === impl Open ===

impl Open {
    /// Says how the call ended.
    pub(crate) fn end(mut self, outcome: &str) {
        self.ended = true;
        self.count(outcome);
    }

    /// Says what a whole answer tells of usage.
    pub(crate) fn tells(&self, usage: Option<&Usage>) {
        if let Some(request) = self.journal.pages().request(self.call) {
            request.usage = usage.cloned();
        }
    }

    /// Says that so much more of the body was sent.
    pub(crate) fn sent(&self, bytes: usize, ends_event: bool) {
        if let Some(running) = self.journal.pages().calls.running.get_mut(&self.call) {
            running.bytes += bytes;
            running.events += u64::from(ends_event);
        }
    }

    /// Says that the call waits, at a gate or without one.
    #[must_use]
    pub(crate) fn waits(&self, gate: Option<&str>) -> Waiting<'_> {
        let mut pages = self.journal.pages();
        pages.calls.held += 1;
        if let Some(running) = pages.calls.running.get_mut(&self.call) {
            running.waits = true;
            running.gate = gate.map(str::to_owned);
        }
        Waiting(self)
    }

    fn count(&self, outcome: &str) {
        let mut pages = self.journal.pages();
        if let Some(request) = pages.request(self.call) {
            request.outcome = Some(outcome.to_owned());
        }
        let calls = &mut pages.calls;
        calls.open = calls.open.saturating_sub(1);
        *calls.by_outcome.entry(outcome.to_owned()).or_default() += 1;
        let Some(running) = calls.running.remove(&self.call) else { return };
        if let Some(of_prompt) = calls.of_prompt(&running.prompt) {
            of_prompt.open = of_prompt.open.saturating_sub(1);
            *of_prompt.by_outcome.entry(outcome.to_owned()).or_default() += 1;
        }
    }
}

// === impl Waiting ===

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut pages = self.0.journal.pages();
        pages.calls.held = pages.calls.held.saturating_sub(1);
        if let Some(running) = pages.calls.running.get_mut(&self.0.call) {
            running.waits = false;
            running.gate = None;
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.ended {
            self.count("client_left");
        }
    }
}

// === impl Request ===

impl Request {
    fn new(call: u64, method: &Method, parts: &http::request::Parts, body: &[u8]) -> Self {
        Self {
            call,
            method: method.to_string(),
            path: parts.uri.to_string(),
            headers: lossy(&parts.headers),
            body_bytes: body.len(),
            body_sha256: Sha256::digest(body).iter().map(|byte| format!("{byte:02x}")).collect(),
            usage: None,
            outcome: None,
        }
    }
}

/// The credential of a request, wherever a dialect has it.
#[must_use]
pub(crate) fn credential(headers: &HeaderMap) -> Option<String> {
    let text = |name| Some(headers.get(name)?.to_str().ok()?.to_owned());
    let bearer = text("authorization").map(|value| value.trim_start_matches("Bearer ").to_owned());
    bearer.or_else(|| text("x-api-key")).or_else(|| text("api-key"))
}

fn lossy(headers: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> http::request::Parts {
        http::Request::post("/v1/x").body(()).unwrap().into_parts().0
    }

    fn enter(journal: &Journal, prompt: &str) -> (u64, Open) {
        journal.enter(&parts(), b"", Topic { model: Some("m"), prompt })
    }

    #[test]
    fn a_call_dropped_without_a_word_was_left_by_its_client() {
        let journal = Journal::default();
        let (_, open) = enter(&journal, "hello");
        assert_eq!(journal.calls().open, 1);
        drop(open);
        assert_eq!(journal.calls().open, 0);
        assert_eq!(journal.calls().by_outcome.get("client_left"), Some(&1));
        assert_eq!(journal.calls().by_prompt["hello"].by_outcome["client_left"], 1);
    }

    #[test]
    fn numbers_go_on_after_a_reset() {
        let journal = Journal::default();
        let (first, open) = enter(&journal, "");
        open.end("ok");
        journal.reset();
        let (second, open) = enter(&journal, "");
        open.end("ok");
        assert!(second > first);
        assert_eq!(journal.calls().total, 1);
    }

    #[test]
    fn a_running_call_says_how_far_it_is_and_where_it_waits() {
        let journal = Journal::default();
        let (call, open) = enter(&journal, "hello");
        open.sent(10, false);
        open.sent(5, true);
        let waiting = open.waits(Some("a"));
        let running = journal.calls().running[&call].clone();
        assert_eq!((running.events, running.bytes, running.waits), (1, 15, true));
        assert_eq!((running.gate.as_deref(), journal.calls().held), (Some("a"), 1));
        drop(waiting);
        assert_eq!((journal.calls().running[&call].waits, journal.calls().held), (false, 0));
        open.end("ok");
        assert!(journal.calls().running.is_empty());
    }

    #[test]
    fn a_request_says_what_its_answer_tells_and_how_it_ended() {
        let journal = Journal::default();
        let of = |number: u64| serde_json::json!(number);
        let usage = Usage { input: of(1), output: of(2), total: of(3), reasoning: 0 };
        let (first, open) = enter(&journal, "hello");
        open.tells(Some(&usage));
        let (_, second) = enter(&journal, "hello");
        second.end("cut");
        assert_eq!(journal.requests(0)[0].outcome, None);
        open.end("ok");
        let requests = journal.requests(0);
        assert_eq!(
            (&requests[0].usage, requests[0].outcome.as_deref()),
            (&Some(usage), Some("ok"))
        );
        assert_eq!((&requests[1].usage, requests[1].outcome.as_deref()), (&None, Some("cut")));
        assert_eq!(journal.requests(first).len(), 1);
    }

    #[test]
    fn a_credential_is_found_in_the_header_of_each_dialect() {
        for (name, value) in
            [("authorization", "Bearer made-up"), ("x-api-key", "made-up"), ("api-key", "made-up")]
        {
            let request = http::Request::get("/").header(name, value).body(()).unwrap();
            assert_eq!(credential(request.headers()).as_deref(), Some("made-up"), "{name}");
        }
    }
}
