//! The lane in HTTP: the ticket's header, the whole body, then the answer with everything that the client
//! will see.

use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use hyper::body::Incoming;
use kt_contract::idempotency::IdempotencyKey;
use kt_contract::outcome::{Reason, cache_status};
use kt_contract::wire::headers;
use kt_providers::Dialect;

use super::{Answer, ReplyBody, problem, put, read, text};
use crate::service::Sidecar;
use crate::service::lane::{Head, Refusal, Reply};
use crate::service::savings::Costs;
use crate::ticket::{Holder, Peer};

/// Answers a request that carries a ticket.
pub(super) async fn answer(
    sidecar: Arc<Sidecar>,
    peer: Peer,
    request: Request<Incoming>,
) -> Answer {
    match serve(&sidecar, peer, request).await {
        Ok(Reply::Whole(head, body)) => with_head(&head, ReplyBody::whole(body)),
        Ok(Reply::Stream(head, reader)) => with_head(&head, ReplyBody::stream(reader)),
        Ok(Reply::Kept(head, keeping)) => with_head(&head, ReplyBody::kept(keeping)),
        Err(refusal) => problem::refused(&refusal),
    }
}

async fn serve(
    sidecar: &Arc<Sidecar>,
    peer: Peer,
    request: Request<Incoming>,
) -> Result<Reply, Refusal> {
    let (head, body) = request.into_parts();
    let request_id = text(&head.headers, headers::REQUEST_ID).unwrap_or_default().to_owned();
    let holder = Holder { request_id, peer };
    let entered = sidecar.enter(text(&head.headers, headers::TICKET), &holder)?;
    let key = head.headers.get_all(headers::IDEMPOTENCY_KEY).iter().map(HeaderValue::as_bytes);
    let mut entered = match IdempotencyKey::read(key) {
        Ok(key) => entered.keyed(key),
        Err(problem) => return Err(entered.refuse(problem)),
    };
    let semantic = semantic(entered.dialect(), &head.headers);
    let bytes_max = entered.request_bytes_max();
    let has_room = |bytes| entered.has_room(bytes);
    match read::whole_in(body, bytes_max, sidecar.timeouts.upload_idle, has_room).await {
        Ok(body) => sidecar.serve(entered, semantic, body).await,
        Err(unread) => {
            let problem = entered.no_room().unwrap_or_else(|| problem::unread(&unread));
            Err(entered.refuse(problem))
        }
    }
}

/// The headers that are in the key.
fn semantic(dialect: Dialect, map: &HeaderMap) -> Vec<(String, Vec<u8>)> {
    dialect
        .semantic_headers()
        .iter()
        .flat_map(|name| map.get_all(*name).iter().map(|value| (*name, value)))
        .map(|(name, value)| (name.to_owned(), value.as_bytes().to_vec()))
        .collect()
}

fn with_head(head: &Head, body: ReplyBody) -> Answer {
    let mut answer = Answer::new(body);
    *answer.status_mut() = StatusCode::from_u16(head.status).unwrap_or(StatusCode::BAD_GATEWAY);
    let map = answer.headers_mut();
    let [content_type, content_encoding, after, after_ms, should] = headers::FROM_PROVIDER;
    for (name, value) in [
        (content_type, &head.content_type),
        (content_encoding, &head.content_encoding),
        (after, &head.advice.after),
        (after_ms, &head.advice.after_ms),
        (should, &head.advice.should),
        (headers::SERVED_BY, &head.served_by),
    ] {
        if let Some(value) = value
            && let Ok(value) = HeaderValue::from_str(value)
        {
            map.insert(http::HeaderName::from_static(name), value);
        }
    }
    let Costs { cost, saved } = head.costs;
    for (name, amount) in [(headers::COST_USD, cost), (headers::SAVED_USD, saved)] {
        if let Some(amount) = amount {
            put(map, name, &amount.to_string());
        }
    }
    let (outcome, reason) = head.cache;
    let ttl_s = head.age_and_ttl_s.map(|(_, ttl_s)| ttl_s);
    put(map, headers::CACHE_STATUS_SHORT, outcome.as_str());
    put(map, headers::CACHE_STATUS, &cache_status(outcome, reason, ttl_s));
    put(map, headers::FABRIC_ATTACHED, "false");
    put(map, headers::REQUEST_ID, &head.request_id);
    if reason == Reason::Replayed {
        put(map, headers::IDEMPOTENT_REPLAYED, "true");
    }
    if let Some((age_s, _)) = head.age_and_ttl_s {
        map.insert(header::AGE, HeaderValue::from(age_s));
    }
    answer
}
