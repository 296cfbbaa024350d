//! What a request's head says, read once and kept while the body comes in. Everything that can be refused
//! without the body is refused here.

use std::rc::Rc;

use kt_contract::idempotency::IdempotencyKey;
use kt_contract::problem::Problem;
use kt_contract::trace::TraceParent;
use kt_contract::wire::headers;
use kt_providers::{Dialect, Endpoint};

use crate::cache_control::Wish;
use crate::head::{Head, members, trimmed};
use crate::identity::{self, Who};
use crate::quoted::quoted_bytes;
use crate::request_id::RequestId;

/// A request for an answer, without its body.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) request_id: RequestId,
    /// Dialect and path; the model, where the path names it.
    pub(crate) endpoint: Endpoint,
    pub(crate) who: Who,
    /// The codebase to which the client narrows its key.
    pub(crate) codebase: Option<Rc<str>>,
    /// The headers that are in the key, in the dialect's order.
    pub(crate) semantic: Vec<(&'static str, Box<[u8]>)>,
    /// What the client wants of the cache.
    pub(crate) wish: Wish,
    /// The client's own name for the request: only the sidecar answers it.
    pub(crate) idempotency: Option<Rc<IdempotencyKey>>,
    /// The client's span that it is part of.
    pub(crate) trace: Option<TraceParent>,
}

// === impl Ask ===

impl Ask {
    /// Reads the head of a request to `endpoint` whose body may have `bytes_max`.
    pub(crate) fn read(
        head: Head<'_>,
        who: Who,
        request_id: RequestId,
        endpoint: Endpoint,
        bytes_max: u64,
    ) -> Result<Self, Problem> {
        json_uncompressed(head)?;
        within(head, bytes_max)?;
        let semantic = endpoint
            .dialect()
            .semantic_headers()
            .iter()
            .flat_map(|name| head.all(name).map(|value| (*name, Box::from(value))))
            .collect();
        Ok(Self {
            request_id,
            endpoint,
            who,
            codebase: identity::codebase(head)?.map(Rc::from),
            semantic,
            wish: Wish::read(head),
            idempotency: IdempotencyKey::read(head.all(headers::IDEMPOTENCY_KEY))?.map(Rc::new),
            trace: trace(head),
        })
    }

    /// The dialect of the request.
    pub(crate) const fn dialect(&self) -> Dialect {
        self.endpoint.dialect()
    }
}

/// The client's span, where it names one. What cannot be read, or is there twice, counts as absent: that is no reason to
/// refuse a request.
fn trace(head: Head<'_>) -> Option<TraceParent> {
    let mut values = head.all(headers::TRACE_PARENT);
    let one = values.next().filter(|_| values.next().is_none())?;
    TraceParent::parse(trimmed(one)).ok()
}

/// Only JSON is read, and only as it is: what a policy has to see must not hide in a compressed body.
fn json_uncompressed(head: Head<'_>) -> Result<(), Problem> {
    let refused = |what: &str, value: &[u8], instead: &str| Problem::UnsupportedMedia {
        what: format!("The {what} '{}' is not read here; send {instead}.", quoted_bytes(value)),
    };
    for value in head.all("content-type") {
        let media = value.split(|byte| *byte == b';').next().unwrap_or_default();
        if !trimmed(media).eq_ignore_ascii_case(b"application/json") {
            return Err(refused("content type", value, "application/json"));
        }
    }
    for value in head.all("content-encoding") {
        if !members(value)
            .all(|member| member.is_empty() || member.eq_ignore_ascii_case(b"identity"))
        {
            return Err(refused("content encoding", value, "the body uncompressed"));
        }
    }
    Ok(())
}

/// A body that says itself that it is too large is not waited for.
fn within(head: Head<'_>, bytes_max: u64) -> Result<(), Problem> {
    let announced = head.all("content-length").filter_map(|value| {
        let text = std::str::from_utf8(trimmed(value)).ok()?;
        text.parse::<u64>().ok()
    });
    if announced.max().is_some_and(|bytes| bytes > bytes_max) {
        return Err(Problem::TooLarge { bytes_max });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kt_contract::gateway_key::GatewayKey;
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;
    use crate::peer::Peer;

    fn read(more: &[(&str, &str)]) -> Result<Ask, Problem> {
        let key = GatewayKey::from_random(&[1; 32]).reveal().to_owned();
        let fields: Vec<(&[u8], &[u8])> = [("x-api-key", key.as_str())]
            .iter()
            .chain(more)
            .map(|(name, value)| (name.as_bytes(), value.as_bytes()))
            .collect();
        let id = RequestId::mint([0; 16]);
        let who = Who::read(Head::new(&fields), Peer::default(), None).unwrap();
        Ask::read(Head::new(&fields), who, id, Endpoint::of(Dialect::OpenAiChat), 1_000)
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn only_uncompressed_json_is_read() {
        for good in [
            &[][..],
            &[("content-type", "application/json")],
            &[
                ("content-type", "Application/JSON ; charset=utf-8"),
                ("content-encoding", "identity"),
            ],
        ] {
            assert!(read(good).is_ok(), "{good:?}");
        }
        for bad in [
            &[("content-type", "text/plain")][..],
            &[("content-type", "application/json"), ("content-type", "multipart/form-data")],
            &[("content-type", "")],
            &[("content-encoding", "gzip")],
            &[("content-encoding", "identity, br")],
        ] {
            assert_eq!(read(bad).unwrap_err().status(), 415, "{bad:?}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn an_announced_length_over_the_bound_is_refused_at_once() {
        assert!(read(&[("content-length", "1000")]).is_ok());
        let over = read(&[("content-length", "1001")]).unwrap_err();
        assert_eq!(over, Problem::TooLarge { bytes_max: 1_000 });
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn an_idempotency_key_that_cannot_be_remembered_is_refused() {
        let key = |value: &str| read(&[("idempotency-key", value)]);
        assert!(read(&[]).unwrap().idempotency.is_none());
        assert!(key("").unwrap().idempotency.is_none());
        let kept = key(&"k".repeat(255)).unwrap().idempotency.unwrap();
        assert_eq!(kept.as_bytes().len(), 255);
        let twice = read(&[("idempotency-key", ""), ("idempotency-key", "k")]);
        for refused in [key(&"k".repeat(256)), twice] {
            let problem = refused.unwrap_err();
            assert_eq!((problem.status(), problem.param()), (400, Some("Idempotency-Key")));
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_span_is_taken_where_there_is_one_and_it_can_be_read() {
        let span = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let taken = |more: &[(&str, &str)]| read(more).unwrap().trace.map(|it| it.to_string());
        assert_eq!(taken(&[("traceparent", span)]).as_deref(), Some(span));
        assert_eq!(taken(&[]), None);
        assert_eq!(taken(&[("traceparent", "of my own")]), None);
        assert_eq!(taken(&[("traceparent", span), ("traceparent", span)]), None);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn every_value_of_a_semantic_header_is_kept() {
        let ask = read(&[("openai-beta", "a"), ("x-other", "c"), ("openai-beta", "b")]).unwrap();
        let kept: Vec<_> = ask.semantic.iter().map(|(name, value)| (*name, &value[..])).collect();
        assert_eq!(kept, [("openai-beta", &b"a"[..]), ("openai-beta", b"b")]);
    }
}
