//! The admin socket: status, gateway keys, explain, the cache. Whoever can open the socket is the operator.

use std::sync::Arc;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use kt_contract::wire::admin::{
    PATH_ENTRY, PATH_EXPLAIN, PATH_INVALIDATE, PATH_KEYS, PATH_STATS, PATH_STATUS,
};
use serde::Serialize;

use super::{Answer, json, problem, read};
use crate::service::{Failure, Sidecar};

/// Answers one request.
pub(super) async fn answer(sidecar: Arc<Sidecar>, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    let idle = sidecar.timeouts.upload_idle;
    let path = head.uri.path();
    let revoked = path
        .strip_prefix(PATH_KEYS)
        .and_then(|rest| rest.strip_prefix('/'))
        .and_then(|rest| rest.strip_suffix("/revoke"));
    match (&head.method, path, revoked) {
        (&Method::GET, PATH_STATUS, _) => json(StatusCode::OK, &sidecar.status()),
        (&Method::GET, PATH_KEYS, _) => reply(StatusCode::OK, sidecar.list_keys().await),
        (&Method::POST, PATH_KEYS, _) => match read::message(body, idle).await {
            Ok(message) => reply(StatusCode::CREATED, sidecar.create_key(message).await),
            Err(unread) => problem::bad_message(&unread),
        },
        (&Method::POST, PATH_EXPLAIN, _) => match read::message(body, idle).await {
            Ok(message) => reply(StatusCode::OK, sidecar.explain(&message).await),
            Err(unread) => problem::bad_message(&unread),
        },
        (&Method::GET, PATH_STATS, _) => json(StatusCode::OK, &sidecar.cache_stats()),
        (&Method::POST, PATH_INVALIDATE, _) => match read::message(body, idle).await {
            Ok(message) => reply(StatusCode::OK, sidecar.invalidate(message).await),
            Err(unread) => problem::bad_message(&unread),
        },
        (&Method::POST, PATH_ENTRY, _) => match read::message(body, idle).await {
            Ok(message) => reply(StatusCode::OK, sidecar.entry_of(message).await),
            Err(unread) => problem::bad_message(&unread),
        },
        (&Method::POST, _, Some(key_id)) => reply(StatusCode::OK, sidecar.revoke_key(key_id).await),
        (
            _,
            PATH_STATUS | PATH_KEYS | PATH_EXPLAIN | PATH_STATS | PATH_INVALIDATE | PATH_ENTRY,
            _,
        )
        | (_, _, Some(_)) => problem::wrong_method(),
        _ => problem::unknown_path(),
    }
}

fn reply(status: StatusCode, result: Result<impl Serialize, Failure>) -> Answer {
    match result {
        Ok(message) => json(status, &message),
        Err(failure) => problem::failed(&failure),
    }
}
