//! The admin API as an OpenAPI 3.1 document, made from the endpoints that the sidecar routes by and the types that it
//! reads and writes: it cannot say anything else than they do.

use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::audit_log::{AuditHeads, AuditNotes, AuditRecord, AuditVerified, RECORDS_MAX};
use super::endpoint::Endpoint;
use super::savings::SavingsReply;
use super::versions::{ApplyReply, ApplyRequest, RollbackRequest, VersionReply, VersionsReply};
use super::wallet::{
    AdjustRequest, AllocateRequest, AuditReply, BalanceReply, FreezeRequest, FrozenReply,
    FundRequest, HistoryReply, HoldsReply, IDEMPOTENCY_KEY_CHARS_MAX, RefundRequest, TRANSFERS_MAX,
    TransferEntry, TransferReply,
};
use super::{
    CacheStatsReply, EntryReply, EntryRequest, ErrorReply, InvalidateReply, InvalidateRequest,
    KeyCreated, KeyEntry, KeyList, KeyRequest, KeyRotated, KeyRotation, StatusReply,
};
use crate::wire::explain::{ExplainReply, ExplainRequest};

/// What an endpoint answers with where all is well.
enum Reply {
    Json(u16, Value),
    /// A value of this kind on each line.
    Lines(Value),
}

/// The document.
#[must_use]
pub fn document() -> Value {
    let settings = SchemaSettings::draft2020_12()
        .with(|settings| settings.definitions_path = "/components/schemas".into());
    let mut types = settings.into_generator();
    let mut paths: Map<String, Value> = Map::new();
    let refusal = types.subschema_for::<ErrorReply>().to_value();
    for endpoint in Endpoint::ALL {
        let (method, path) = endpoint.pattern();
        let operation = operation(endpoint, path, &mut types, &refusal);
        let entry = paths.entry(path).or_insert_with(|| json!({}));
        if let Value::Object(entry) = entry {
            entry.insert(method.to_lowercase(), operation);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "The admin API of a kt sidecar",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "On the sidecar's admin socket, over HTTP/1.1. Whoever can open it is the operator.",
        },
        "paths": paths,
        "components": {"schemas": types.take_definitions(true)},
    })
}

fn operation(
    endpoint: Endpoint,
    path: &str,
    types: &mut SchemaGenerator,
    refusal: &Value,
) -> Value {
    let summary = summary(endpoint);
    let (status, kind, schema) = match reply(endpoint, types) {
        Reply::Json(status, schema) => (status, "application/json", schema),
        Reply::Lines(schema) => (200, "application/x-ndjson", schema),
    };
    let mut operation = Map::new();
    operation.insert("operationId".to_owned(), json!(format!("{endpoint:?}")));
    operation.insert("summary".to_owned(), json!(summary));
    operation.insert("parameters".to_owned(), json!(parameters(endpoint, path)));
    if let Some(schema) = request(endpoint, types) {
        let body = json!({"required": true, "content": {"application/json": {"schema": schema}}});
        operation.insert("requestBody".to_owned(), body);
    }
    let responses = json!({
        status.to_string(): {"description": summary, "content": {kind: {"schema": schema}}},
        "default": {"description": "A refusal.", "content": {"application/json": {"schema": refusal}}},
    });
    operation.insert("responses".to_owned(), responses);
    Value::Object(operation)
}

fn parameters(endpoint: Endpoint, path: &str) -> Vec<Value> {
    let mut parameters: Vec<Value> = Vec::new();
    if let Some(name) = path.split_once('{').and_then(|(_, rest)| rest.split_once('}')) {
        let schema = json!({"type": "string"});
        parameters.push(json!({"name": name.0, "in": "path", "required": true, "schema": schema}));
    }
    for (name, description) in query(endpoint) {
        let schema = match *name {
            "after" | "before" | "count" => json!({"type": "integer", "minimum": 0}),
            _ => json!({"type": "string"}),
        };
        let (name, place) = (json!(name), json!("query"));
        parameters
            .push(json!({"name": name, "in": place, "description": description, "schema": schema}));
    }
    if endpoint == Endpoint::RotateKey {
        let what = "Which rotation it is: asked again with the same key and body within ten minutes, it is answered again and not made again.";
        parameters.push(idempotency_key(false, what));
    }
    if moves_money(endpoint) {
        let what = "Which movement it is: asked again with the same key and body, it is answered again and not made again.";
        parameters.push(idempotency_key(true, what));
    }
    parameters
}

fn idempotency_key(is_required: bool, what: &str) -> Value {
    json!({
        "name": "Idempotency-Key",
        "in": "header",
        "required": is_required,
        "description": what,
        "schema": {"type": "string", "minLength": 1, "maxLength": IDEMPOTENCY_KEY_CHARS_MAX},
    })
}

const fn summary(endpoint: Endpoint) -> &'static str {
    match endpoint {
        Endpoint::Status => "How the sidecar is, and its gateways.",
        Endpoint::OpenApi => "This document.",
        Endpoint::ConfigVersions => "Which versions of the configuration there were, newest first.",
        Endpoint::ConfigVersion => {
            "The text of a version: by number, by digest, or what is `live` or in the `file`."
        }
        Endpoint::ApplyConfig => "Another configuration, in the file and live.",
        Endpoint::RollbackConfig => "The way back to an earlier configuration.",
        Endpoint::ListKeys => "All gateway keys there ever were.",
        Endpoint::CreateKey => "A new gateway key, shown this once.",
        Endpoint::RevokeKey => "The end of a gateway key.",
        Endpoint::RotateKey => {
            "Another key in the place of one, which stays valid for a while. Shown this once."
        }
        Endpoint::Explain => "What the cache would do for a request. Changes nothing.",
        Endpoint::CacheStats => "What the cache holds.",
        Endpoint::CacheEntry => "One entry of the cache. Changes nothing.",
        Endpoint::Invalidate => "What is not to be served any more.",
        Endpoint::Audit => "A count of everything that the ledger holds.",
        Endpoint::LastAudit => "What the last audit found.",
        Endpoint::WalletBalance => "How a wallet stands.",
        Endpoint::WalletFund => "Money for a wallet.",
        Endpoint::WalletAdjust => "A correction of a wallet by hand.",
        Endpoint::WalletAllocate => "Money for the purse of a team, or back from it.",
        Endpoint::WalletRefund => "Something of what a call was charged, given back.",
        Endpoint::WalletFreeze => "A stop for a wallet; what runs still ends.",
        Endpoint::WalletUnfreeze => "Its end, unless an audit finds something wrong.",
        Endpoint::WalletHistory => "A wallet's transfers, newest first.",
        Endpoint::WalletExport => "A wallet's transfers, oldest first, one on each line.",
        Endpoint::WalletHolds => "What is set aside from a wallet.",
        Endpoint::Savings => "What calls were charged, and what the cache saved.",
        Endpoint::AuditHeads => "The newest record of every chain of the audit log.",
        Endpoint::AuditVerify => "Whether the audit log holds, and where it does not.",
        Endpoint::AuditRecords => {
            "An organization's records in the audit log, oldest first, one on each line."
        }
    }
}

const fn query(endpoint: Endpoint) -> &'static [(&'static str, &'static str)] {
    match endpoint {
        Endpoint::WalletHistory => &[
            ("before", "Only what is older than the transfer of this number."),
            ("count", "How many at most: 100 where nobody says, 1000 at most."),
        ],
        Endpoint::WalletExport => &[
            ("after", "Only what is newer than the transfer of this number."),
            ("count", "How many at most: 1000 where nobody says, and at most."),
        ],
        Endpoint::Savings => &[
            ("org", "Of one organization; of all where nobody says."),
            ("by", "By org, team, user, model or codebase; by org where nobody says."),
            (
                "since",
                "From this day on: 2026-11-28, 2026-11 for its first, 7d for seven days ago.",
            ),
            ("until", "Before this day; before tomorrow where nobody says."),
        ],
        Endpoint::AuditRecords => &[
            ("org", "Needed: whose. Empty for requests of which nobody knows whose they are."),
            ("after", "Only what is newer than the record of this number."),
            ("count", "How many at most: 1000 where nobody says, and at most."),
            (
                "since",
                "From this day on, in UTC: 2026-11-28, 2026-11 for its first, 7d for seven days ago.",
            ),
            ("until", "Before this day; before tomorrow where nobody says."),
        ],
        Endpoint::Status
        | Endpoint::AuditHeads
        | Endpoint::AuditVerify
        | Endpoint::OpenApi
        | Endpoint::ConfigVersions
        | Endpoint::ConfigVersion
        | Endpoint::ApplyConfig
        | Endpoint::RollbackConfig
        | Endpoint::ListKeys
        | Endpoint::CreateKey
        | Endpoint::RevokeKey
        | Endpoint::RotateKey
        | Endpoint::Explain
        | Endpoint::CacheStats
        | Endpoint::CacheEntry
        | Endpoint::Invalidate
        | Endpoint::Audit
        | Endpoint::LastAudit
        | Endpoint::WalletBalance
        | Endpoint::WalletFund
        | Endpoint::WalletAdjust
        | Endpoint::WalletAllocate
        | Endpoint::WalletRefund
        | Endpoint::WalletFreeze
        | Endpoint::WalletUnfreeze
        | Endpoint::WalletHolds => &[],
    }
}

/// Whether it has a key that tells one movement of money from another.
const fn moves_money(endpoint: Endpoint) -> bool {
    matches!(
        endpoint,
        Endpoint::WalletFund
            | Endpoint::WalletAdjust
            | Endpoint::WalletAllocate
            | Endpoint::WalletRefund
    )
}

fn request(endpoint: Endpoint, types: &mut SchemaGenerator) -> Option<Value> {
    Some(match endpoint {
        Endpoint::ApplyConfig => schema::<ApplyRequest>(types),
        Endpoint::RollbackConfig => schema::<RollbackRequest>(types),
        Endpoint::CreateKey => schema::<KeyRequest>(types),
        Endpoint::RotateKey => schema::<KeyRotation>(types),
        Endpoint::AuditVerify => schema::<AuditNotes>(types),
        Endpoint::Explain => schema::<ExplainRequest>(types),
        Endpoint::CacheEntry => schema::<EntryRequest>(types),
        Endpoint::Invalidate => schema::<InvalidateRequest>(types),
        Endpoint::WalletFund => schema::<FundRequest>(types),
        Endpoint::WalletAdjust => schema::<AdjustRequest>(types),
        Endpoint::WalletAllocate => schema::<AllocateRequest>(types),
        Endpoint::WalletRefund => schema::<RefundRequest>(types),
        Endpoint::WalletFreeze => schema::<FreezeRequest>(types),
        Endpoint::Status
        | Endpoint::OpenApi
        | Endpoint::ConfigVersions
        | Endpoint::ConfigVersion
        | Endpoint::ListKeys
        | Endpoint::RevokeKey
        | Endpoint::CacheStats
        | Endpoint::Audit
        | Endpoint::LastAudit
        | Endpoint::WalletBalance
        | Endpoint::WalletUnfreeze
        | Endpoint::WalletHistory
        | Endpoint::WalletExport
        | Endpoint::WalletHolds
        | Endpoint::Savings
        | Endpoint::AuditHeads
        | Endpoint::AuditRecords => return None,
    })
}

fn reply(endpoint: Endpoint, types: &mut SchemaGenerator) -> Reply {
    let schema = match endpoint {
        Endpoint::CreateKey => return Reply::Json(201, schema::<KeyCreated>(types)),
        Endpoint::RotateKey => return Reply::Json(201, schema::<KeyRotated>(types)),
        Endpoint::WalletExport => return Reply::Lines(schema::<TransferEntry>(types)),
        Endpoint::AuditRecords => return Reply::Lines(schema::<AuditRecord>(types)),
        Endpoint::OpenApi => json!({"type": "object"}),
        Endpoint::Status => schema::<StatusReply>(types),
        Endpoint::ConfigVersions => schema::<VersionsReply>(types),
        Endpoint::ConfigVersion => schema::<VersionReply>(types),
        Endpoint::ApplyConfig | Endpoint::RollbackConfig => schema::<ApplyReply>(types),
        Endpoint::ListKeys => schema::<KeyList>(types),
        Endpoint::RevokeKey => schema::<KeyEntry>(types),
        Endpoint::Explain => schema::<ExplainReply>(types),
        Endpoint::CacheStats => schema::<CacheStatsReply>(types),
        Endpoint::CacheEntry => schema::<EntryReply>(types),
        Endpoint::Invalidate => schema::<InvalidateReply>(types),
        Endpoint::Audit | Endpoint::LastAudit => schema::<AuditReply>(types),
        Endpoint::WalletBalance => schema::<BalanceReply>(types),
        Endpoint::WalletFund
        | Endpoint::WalletAdjust
        | Endpoint::WalletAllocate
        | Endpoint::WalletRefund => schema::<TransferReply>(types),
        Endpoint::WalletFreeze | Endpoint::WalletUnfreeze => schema::<FrozenReply>(types),
        Endpoint::WalletHistory => schema::<HistoryReply>(types),
        Endpoint::WalletHolds => schema::<HoldsReply>(types),
        Endpoint::Savings => schema::<SavingsReply>(types),
        Endpoint::AuditHeads => schema::<AuditHeads>(types),
        Endpoint::AuditVerify => schema::<AuditVerified>(types),
    };
    Reply::Json(200, schema)
}

fn schema<T: JsonSchema>(types: &mut SchemaGenerator) -> Value {
    types.subschema_for::<T>().to_value()
}

const _: () =
    assert!(TRANSFERS_MAX == 1_000 && RECORDS_MAX == 1_000, "the descriptions of 'count' say so");
