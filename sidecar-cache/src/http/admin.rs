//! The admin socket: status, gateway keys, explain, the cache, wallets. Whoever can open the socket is the operator.

mod audit_log;
mod savings;
mod wallet;

use std::sync::Arc;
use std::time::Duration;

use http::{Request, StatusCode, request};
use hyper::body::Incoming;
use kt_contract::wire::admin::endpoint::{Endpoint, Found};
use kt_contract::wire::admin::openapi;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Answer, json, problem, read};
use crate::service::{Failure, Sidecar};
use wallet::Asked;

/// Answers one request. What it changes is changed, and told to everybody, whether or not its client stays: it is a task
/// of its own.
pub(super) async fn answer(sidecar: Arc<Sidecar>, request: Request<Incoming>) -> Answer {
    match tokio::spawn(answered(sidecar, request)).await {
        Ok(answer) => answer,
        Err(error) => problem::broke_off(&error),
    }
}

async fn answered(sidecar: Arc<Sidecar>, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    match Endpoint::find(head.method.as_str(), head.uri.path()) {
        Found::Endpoint(endpoint, name) => answer_at(&sidecar, (endpoint, name), &head, body).await,
        Found::WrongMethod => problem::wrong_method(),
        Found::Nothing => problem::unknown_path(),
    }
}

async fn answer_at(
    sidecar: &Arc<Sidecar>,
    (endpoint, name): (Endpoint, Option<&str>),
    head: &request::Parts,
    body: Incoming,
) -> Answer {
    let idle = sidecar.timeouts.upload_idle;
    let asked = Asked { sidecar, head, org: wallet::org(name) };
    match endpoint {
        Endpoint::Status => json(StatusCode::OK, &sidecar.status()),
        Endpoint::OpenApi => json(StatusCode::OK, &openapi::document()),
        Endpoint::ConfigVersions => reply(StatusCode::OK, sidecar.config_versions().await),
        Endpoint::ConfigVersion => {
            let name = name.unwrap_or_default();
            reply(StatusCode::OK, sidecar.config_version(name).await)
        }
        Endpoint::ApplyConfig => match message(body, idle).await {
            Ok(message) => reply(StatusCode::OK, sidecar.apply_config(message).await),
            Err(answer) => *answer,
        },
        Endpoint::RollbackConfig => match message(body, idle).await {
            Ok(message) => reply(StatusCode::OK, sidecar.rollback_config(message).await),
            Err(answer) => *answer,
        },
        Endpoint::ListKeys => reply(StatusCode::OK, sidecar.list_keys().await),
        Endpoint::CreateKey => match message(body, idle).await {
            Ok(message) => reply(StatusCode::CREATED, sidecar.create_key(message).await),
            Err(answer) => *answer,
        },
        Endpoint::RevokeKey => {
            reply(StatusCode::OK, sidecar.revoke_key(name.unwrap_or_default()).await)
        }
        Endpoint::RotateKey => rotate(&asked, name.unwrap_or_default(), body).await,
        Endpoint::Explain => match message(body, idle).await {
            Ok(message) => reply(StatusCode::OK, sidecar.explain(&message).await),
            Err(answer) => *answer,
        },
        Endpoint::CacheStats => json(StatusCode::OK, &sidecar.cache_stats()),
        Endpoint::CacheEntry => match message(body, idle).await {
            Ok(message) => reply(StatusCode::OK, sidecar.entry_of(message).await),
            Err(answer) => *answer,
        },
        Endpoint::Invalidate => match message(body, idle).await {
            Ok(message) => reply(StatusCode::OK, sidecar.invalidate(message).await),
            Err(answer) => *answer,
        },
        Endpoint::Audit => reply(StatusCode::OK, sidecar.audit_whole().await),
        Endpoint::LastAudit => reply(StatusCode::OK, sidecar.last_audit()),
        Endpoint::WalletBalance => wallet::reply(asked.balance().await),
        Endpoint::WalletFund => wallet::reply(asked.fund(body).await),
        Endpoint::WalletAdjust => wallet::reply(asked.adjust(body).await),
        Endpoint::WalletAllocate => wallet::reply(asked.allocate(body).await),
        Endpoint::WalletRefund => wallet::reply(asked.refund(body).await),
        Endpoint::WalletFreeze => wallet::reply(asked.freeze(body).await),
        Endpoint::WalletUnfreeze => wallet::reply(asked.unfreeze().await),
        Endpoint::WalletHistory => wallet::reply(asked.history().await),
        Endpoint::WalletExport => asked.export().await,
        Endpoint::WalletHolds => wallet::reply(asked.holds().await),
        Endpoint::AuditHeads => reply(StatusCode::OK, sidecar.audit_heads().await),
        Endpoint::AuditVerify => match message(body, idle).await {
            Ok(message) => reply(StatusCode::OK, sidecar.verify_audit_log(message).await),
            Err(answer) => *answer,
        },
        Endpoint::AuditRecords => audit_log::records(sidecar, head).await,
        Endpoint::Savings => reply(StatusCode::OK, sidecar.savings(savings::asked(head)).await),
    }
}

async fn rotate(asked: &Asked<'_>, key_id: &str, body: Incoming) -> Answer {
    let sidecar = asked.sidecar;
    match (message(body, sidecar.timeouts.upload_idle).await, asked.key_if_any()) {
        (Ok(message), Ok(key)) => {
            reply(StatusCode::CREATED, sidecar.rotate_key(key_id, &message, key).await)
        }
        (Err(answer), _) => *answer,
        (_, Err(failure)) => problem::failed(&failure),
    }
}

async fn message<T: DeserializeOwned>(body: Incoming, idle: Duration) -> Result<T, Box<Answer>> {
    read::message(body, idle).await.map_err(|unread| Box::new(problem::bad_message(&unread)))
}

fn reply(status: StatusCode, result: Result<impl Serialize, Failure>) -> Answer {
    match result {
        Ok(message) => json(status, &message),
        Err(failure) => problem::failed(&failure),
    }
}
