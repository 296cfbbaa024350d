//! What was asked and how it ended: counts since the last reset, and the last requests in full.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use http::{HeaderMap, Method};
use serde::Serialize;
use sha2::{Digest, Sha256};

const REQUESTS_KEPT: usize = 1000;

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
    pub body_sha256: String,
}

/// The duty to say how one call ended. Dropped without a word, the client has left.
#[derive(Debug)]
pub(crate) struct Open {
    journal: Journal,
    ended: bool,
}

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
        model: Option<&str>,
    ) -> (u64, Open) {
        let path = parts.uri.path().to_owned();
        let mut pages = self.pages();
        pages.last_call += 1;
        let call = pages.last_call;
        pages.calls.total += 1;
        pages.calls.open += 1;
        *pages.calls.by_path.entry(path).or_default() += 1;
        if let Some(model) = model {
            *pages.calls.by_model.entry(model.to_owned()).or_default() += 1;
        }
        if pages.requests.len() == REQUESTS_KEPT {
            pages.requests.pop_front();
        }
        pages.requests.push_back(Request::new(call, &parts.method, parts, body));
        (call, Open { journal: self.clone(), ended: false })
    }

    /// The counts.
    #[must_use]
    pub(crate) fn calls(&self) -> Calls {
        self.pages().calls.clone()
    }

    /// The last requests, oldest first.
    #[must_use]
    pub(crate) fn requests(&self) -> Vec<Request> {
        self.pages().requests.iter().cloned().collect()
    }

    /// Forgets all that has ended. Call numbers go on.
    pub(crate) fn reset(&self) {
        let mut pages = self.pages();
        let (open, held) = (pages.calls.open, pages.calls.held);
        pages.calls = Calls { open, held, ..Calls::default() };
        pages.requests.clear();
    }

    /// One more, or one less, waits for the release.
    pub(crate) fn held(&self, waits: bool) {
        let held = &mut self.pages().calls.held;
        *held = if waits { held.saturating_add(1) } else { held.saturating_sub(1) };
    }
}

// === impl Open ===

impl Open {
    /// Says how the call ended.
    pub(crate) fn end(mut self, outcome: &str) {
        self.ended = true;
        self.count(outcome);
    }

    fn count(&self, outcome: &str) {
        let mut pages = self.journal.pages();
        pages.calls.open = pages.calls.open.saturating_sub(1);
        *pages.calls.by_outcome.entry(outcome.to_owned()).or_default() += 1;
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
        }
    }
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

    #[test]
    fn a_call_dropped_without_a_word_was_left_by_its_client() {
        let journal = Journal::default();
        let (_, open) = journal.enter(&parts(), b"", Some("m"));
        assert_eq!(journal.calls().open, 1);
        drop(open);
        assert_eq!(journal.calls().open, 0);
        assert_eq!(journal.calls().by_outcome.get("client_left"), Some(&1));
    }

    #[test]
    fn numbers_go_on_after_a_reset() {
        let journal = Journal::default();
        let (first, open) = journal.enter(&parts(), b"", None);
        open.end("ok");
        journal.reset();
        let (second, open) = journal.enter(&parts(), b"", None);
        open.end("ok");
        assert!(second > first);
        assert_eq!(journal.calls().total, 1);
    }
}
