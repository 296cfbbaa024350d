//! The admin API's messages.

use wasm_bindgen_test::wasm_bindgen_test;

use super::*;
use crate::time::UnixMillis;
use crate::wire::admin::audit_log::{
    AuditHead, AuditHeads, AuditNotes, AuditRecord, AuditVerified, BrokenChain, VerifiedChain,
};
use crate::wire::admin::savings::{By, SavingsReply, SavingsRow, SavingsSums};
use crate::wire::admin::versions::{
    ApplyReply, ApplyRequest, ConfigStatus, RollbackRequest, Source, VersionEntry, VersionReply,
    VersionsReply,
};
use crate::wire::admin::{
    CacheStatsReply, Condition, EntryReply, EntryRequest, ErrorBody, ErrorReply, GatewayStatus,
    InvalidateReply, InvalidateRequest, KeyCreated, KeyEntry, KeyList, KeyRequest, KeyRotated,
    KeyRotation, OrgEntries, Presence, StatusReply, StoreKind, StoreStatus, StoredShape,
    StoredUsage,
};

fn principal() -> Principal {
    Principal {
        key_id: "gk_7Yb2".into(),
        lineage: None,
        org: "acme".into(),
        team: None,
        user: None,
        agent: None,
        group: None,
        codebases: BTreeSet::new(),
        entitlements: BTreeSet::new(),
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn savings_replies() {
    let sums = SavingsSums {
        calls: 2,
        billed_micro_usd: 1_500,
        estimated_micro_usd: 500,
        charged_back_micro_usd: 1_000,
        hits: 3,
        coalesced: 4,
        saved_micro_usd: 5_250,
    };
    let reply = SavingsReply {
        since: "2026-11-01".into(),
        until: "2026-11-29".into(),
        time_zone: "Europe/Berlin".into(),
        own_time_zones: true,
        by: By::Team,
        rows: vec![SavingsRow { name: None, sums }, SavingsRow { name: Some("core".into()), sums }],
        total: sums,
    };
    let rest = [By::Org, By::User, By::Model, By::Codebase];
    let others = rest.map(|by| SavingsReply { by, rows: Vec::new(), ..reply.clone() });
    golden!(strict "savings-reply", [vec![reply], others.into()].concat());
}

#[wasm_bindgen_test(unsupported = test)]
fn status_replies() {
    let reply = StatusReply {
        status: Condition::Degraded,
        version: "0.1.0".into(),
        epoch: "e-9a41".into(),
        config: ConfigStatus {
            version: "89abcdef01234567".into(),
            live_ms: 60_000,
            refused: Some(refused_version()),
        },
        snapshot: "0123456789abcdef".into(),
        config_errors: vec!["policy-config.yaml:3: gateway.port: 0 is not …".into()],
        tenants: Some(2),
        tenant_errors: vec!["tenants/globex.yaml:3: gateway: is the host's to say, …".into()],
        wallet_errors: vec!["audit: I2 balances follow from transfers: wallet of acme: …".into()],
        database_errors: vec!["database: it has not answered for 7 s: …".into()],
        store_errors: vec!["redis at cache:6379 is away since 12 s: no answer in time".into()],
        stores: vec![
            StoreStatus {
                store: StoreKind::Redis,
                place: "redis at cache:6379".into(),
                fault: None,
                says: Some("version 7.0.15, maxmemory 1048576 bytes, noeviction".into()),
                advice: Some("it evicts nothing: …".into()),
            },
            StoreStatus {
                store: StoreKind::Postgres,
                place: "the shared database".into(),
                fault: Some("the shared database has not answered for 7 s".into()),
                says: None,
                advice: None,
            },
        ],
        cache_enabled: true,
        tier: Tier::OrgShared,
        fabric_attached: false,
        entries: 2,
        entry_bytes: 2_048,
        gateways: vec![
            GatewayStatus {
                gateway: gateway(),
                snapshot: Some("0123456789abcdef".into()),
                config: Some("89abcdef01234567".into()),
                workers: 2,
                workers_behind: 1,
                state: Presence::Live,
                last_seen_ms: 120,
            },
            GatewayStatus {
                gateway: gateway(),
                snapshot: None,
                config: None,
                workers: 0,
                workers_behind: 0,
                state: Presence::Lost,
                last_seen_ms: 6_120,
            },
        ],
    };
    golden!("status-reply", [reply]);
}

fn refused_version() -> VersionEntry {
    VersionEntry {
        number: 3,
        version: Some("0011223344556677".into()),
        snapshot: None,
        at: UnixMillis(1_780_000_000_000),
        source: Source::File,
        by: None,
        errors: vec!["policy-config.yaml:3: gateway.port: 0 is not …".into()],
        is_live: false,
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn config_versions() {
    let apply =
        ApplyRequest { text: "pack: {name: a}\n".into(), by: Some("ada".into()), dry_run: false };
    golden!(strict "config-apply-request", [
        apply.clone(),
        ApplyRequest { by: None, dry_run: true, ..apply },
    ]);
    golden!(strict "config-rollback-request", [
        RollbackRequest { version: Some("2".into()), by: Some("ada".into()) },
        RollbackRequest::default(),
    ]);
    let reply = ApplyReply {
        version: "89abcdef01234567".into(),
        before: "8899aabbccddeeff".into(),
        warnings: vec!["policy-config.yaml:9: fabric: …".into()],
        set_aside: Some("/etc/kt/policy-config.yaml.replaced".into()),
    };
    let plain = ApplyReply { warnings: Vec::new(), set_aside: None, ..reply.clone() };
    golden!(strict "config-apply-reply", [reply, plain]);
    let rest = [Source::Start, Source::Apply, Source::Rollback];
    let live = rest.map(|source| VersionEntry {
        snapshot: Some("0123456789abcdef".into()),
        source,
        by: Some("ada".into()),
        errors: Vec::new(),
        is_live: true,
        ..refused_version()
    });
    let reply = VersionsReply {
        live: "0011223344556677".into(),
        versions: [vec![refused_version()], live.into()].concat(),
    };
    golden!(strict "config-versions-reply", [reply]);
    golden!(strict "config-version-reply", [VersionReply {
        version: "89abcdef01234567".into(),
        text: "pack: {name: a}\n".into(),
    }]);
}

#[wasm_bindgen_test(unsupported = test)]
fn key_requests() {
    let least = KeyRequest {
        org: "acme".into(),
        team: None,
        user: None,
        agent: None,
        group: None,
        codebases: Vec::new(),
        entitlements: Vec::new(),
    };
    let whole = KeyRequest {
        team: Some("platform".into()),
        user: Some("ada".into()),
        agent: Some("triage".into()),
        group: Some("support".into()),
        codebases: vec!["acme/web".into()],
        entitlements: vec!["residency:eu".into()],
        ..least.clone()
    };
    golden!(strict "key-request", [least, whole]);
}

#[wasm_bindgen_test(unsupported = test)]
fn created_keys() {
    golden!(
        "key-created",
        [KeyCreated { key_id: "gk_7Yb2".into(), key: "kt_gk_(shown once)".into() }]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn key_lists() {
    let entry = |revoked_at| KeyEntry {
        principal: principal(),
        created_at: UnixMillis(1_763_700_000_000),
        revoked_at,
        ends_at: None,
        successor: None,
    };
    let rotated = KeyEntry {
        ends_at: Some(UnixMillis(1_763_786_400_000)),
        successor: Some("gk_8Zc3".into()),
        ..entry(None)
    };
    let successor =
        Principal { key_id: "gk_8Zc3".into(), lineage: Some(principal().key_id), ..principal() };
    let successor = KeyEntry { principal: successor, ..entry(None) };
    golden!(
        "key-list",
        [KeyList {
            keys: vec![entry(None), entry(Some(UnixMillis(1_763_700_060_000))), rotated, successor]
        }]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn key_rotations() {
    golden!(strict "key-rotation", [KeyRotation { overlap_seconds: 3_600 }]);
    golden!(
        "key-rotated",
        [KeyRotated {
            key_id: "gk_8Zc3".into(),
            key: "kt_gk_(shown once)".into(),
            replaces: "gk_7Yb2".into(),
            ends_at: UnixMillis(1_763_786_400_000),
        }]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn invalidations() {
    let of = |request| InvalidateRequest { org: "acme".into(), ..request };
    let none = InvalidateRequest::default();
    golden!(
        strict "invalidate-request",
        [
            of(InvalidateRequest { codebase: Some("acme/web".into()), ..none.clone() }),
            of(InvalidateRequest { fabric: Some("f-7".into()), ..none.clone() }),
            of(InvalidateRequest { model: Some("gpt-4o".into()), ..none.clone() }),
            of(InvalidateRequest { policy: Some("05".repeat(32)), ..none.clone() }),
            of(InvalidateRequest { key: Some("06".repeat(32)), ..none.clone() }),
            of(InvalidateRequest { all: true, ..none }),
        ]
    );
    let reply = InvalidateReply {
        org: "acme".into(),
        kind: "model".into(),
        name: Some("gpt-4o".into()),
        generation: 7,
        entries_dropped: 0,
        entries_held: 3,
    };
    let all =
        InvalidateReply { kind: "org".into(), name: None, entries_dropped: 3, ..reply.clone() };
    golden!(strict "invalidate-reply", [reply, InvalidateReply { entries_held: 0, ..all }]);
}

#[wasm_bindgen_test(unsupported = test)]
fn what_the_cache_holds() {
    let orgs = vec![OrgEntries { org: "acme".into(), entries: 2, entry_bytes: 2_048 }];
    golden!(
        strict "cache-stats-reply",
        [CacheStatsReply {
            entries: 2,
            entry_bytes: 2_048,
            evicted: 1,
            expired: 4,
            hits: 30,
            misses: 7,
            flights: 1,
            invalidated_tags: 2,
            generation: 7,
            orgs,
        }]
    );
}

#[wasm_bindgen_test(unsupported = test)]
fn entries() {
    let request = EntryRequest { org: "acme".into(), key: "06".repeat(32), body: false };
    golden!(strict "entry-request", [request.clone(), EntryRequest { body: true, ..request }]);
    let least = EntryReply {
        key: CacheKey(digest(6)),
        gates: gates(),
        is_current: true,
        generations: vec![0, 7, 0, 0, 3],
        created_at: UnixMillis(1_763_700_000_000),
        age_ms: 12_000,
        fresh_ms: 80_000_000,
        stale_ms: 0,
        shape: StoredShape::Json,
        usage: None,
        served_by: "openai/gpt-4o".into(),
        body_bytes: 2,
        body: None,
    };
    let whole = EntryReply {
        is_current: false,
        fresh_ms: 0,
        stale_ms: 5_000,
        shape: StoredShape::Sse,
        usage: Some(StoredUsage {
            input_tokens: 11,
            cache_read_tokens: 4,
            cache_write_tokens: 3,
            output_tokens: 5,
        }),
        body: Some("{}".into()),
        ..least.clone()
    };
    golden!(strict "entry-reply", [least, whole]);
}

#[wasm_bindgen_test(unsupported = test)]
fn what_is_on_record() {
    let head = |org: &str, seq| {
        let hash = digest(7);
        AuditHead { org: org.into(), seq, hash, removed_through: seq - 1 }
    };
    let at = UnixMillis(1_763_700_000_000);
    golden!(strict "audit-heads", [AuditHeads { at, chains: vec![head("", 1), head("acme", 9)] }]);
    let all = AuditNotes::default();
    let one = AuditNotes { org: Some("acme".into()), heads: vec![head("acme", 9)] };
    golden!(strict "audit-notes", [all, one]);
    let (org, hash) = ("acme".to_owned(), digest(7));
    let holds = VerifiedChain { org, records: 5, removed_through: 4, seq: 9, hash, confirmed: 1 };
    let message = "its bytes are no record".to_owned();
    let broken = BrokenChain { org: "umbrella".into(), seq: 3, code: "unreadable".into(), message };
    golden!(strict "audit-verified", [AuditVerified { verified: vec![holds], broken: vec![broken] }]);
    let record = |kind: &str| AuditRecord {
        kind: kind.into(),
        ..AuditRecord::new(9, at, "acme".into(), digest(7))
    };
    let checkpoint = AuditRecord {
        removed_through: Some(4),
        removed_hash: Some(digest(6)),
        ..record("checkpoint")
    };
    let ended = AuditRecord {
        request_id: Some("00112233445566778899aabbccddeeff".into()),
        gateway: Some("gw-a".into()),
        key_id: Some("gk_1".into()),
        team: Some("core".into()),
        user: Some("ada".into()),
        agent: Some("coder".into()),
        model: Some("gpt-4o".into()),
        provider: Some("openai".into()),
        outcome: Some("blocked".into()),
        reason: Some("request".into()),
        status: Some(409),
        code: Some("policy_blocked".into()),
        policies: vec!["pii-detector:email:block".into()],
        cost_micro_usd: Some(12),
        times: 1,
        ..record("ended")
    };
    golden!(strict "audit-record", [checkpoint, ended]);
}

#[wasm_bindgen_test(unsupported = test)]
fn refusals() {
    let error = ErrorBody { code: "unknown_key".into(), message: "There is no such key.".into() };
    golden!("error-reply", [ErrorReply { error }]);
}

/// Made from what the sidecar routes by and from what it reads and writes; the committed one is what people find.
#[cfg(feature = "config")]
#[wasm_bindgen_test(unsupported = test)]
fn the_openapi_document_is_the_committed_one() {
    let embedded =
        include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/reference/openapi.json"));
    let document = crate::wire::admin::openapi::document();
    golden::check("../../docs/reference/openapi.json", embedded, &golden::pretty(&document));
}
