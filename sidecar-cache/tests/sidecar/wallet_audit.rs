//! What does not add up is found, freezes the wallet that it is about, and is told wherever somebody looks.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kt_contract::time::{Millis, UnixMillis};
use serde_json::json;
use sidecar_cache::clock::Clock;
use sidecar_cache::ledger::audit::{Breach, Findings, Invariant};
use sidecar_cache::store::ledger::turns::Counted;
use sidecar_cache::store::sqlite::ledger::{Options, SqliteLedger};

use crate::support::{CHAT, JSON, Scripted, answers_json, pass};
use crate::wallet::{Mood, paying};
use crate::wallet_api::Office;

/// An office whose ledger is a file, which somebody with a shell can write to as well.
struct Audited {
    office: Office,
    path: PathBuf,
    _folder: tempfile::TempDir,
}

// === impl Audited ===

impl Audited {
    /// With money in the wallets of `acme` and `other`.
    async fn open() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("wallet.db");
        let clock = Clock::start();
        let timepiece = Box::new(move || clock.reading());
        let options = Options { path: path.clone(), timepiece, pages_max: None };
        let office = Office::over(Arc::new(SqliteLedger::open(options).unwrap())).await;
        office.fund("k", 1_000).await.ok();
        let body = r#"{"amount_micro_usd":7}"#;
        office.post("/v1/wallet/other/fund", Some("k"), body).await.ok();
        Self { office, path, _folder: folder }
    }

    /// Gives `acme` so much more than its transfers come to.
    fn plant(&self, more: i64) {
        let file = rusqlite::Connection::open(&self.path).unwrap();
        let sql = "UPDATE accounts SET credits_posted = credits_posted + ?1
                   WHERE org = 'acme' AND name = 'wallet'";
        assert_eq!(file.execute(sql, [more]).unwrap(), 1);
    }

    async fn frozen(&self, org: &str) -> Option<String> {
        let balance = self.office.get(&format!("/v1/wallet/{org}")).await.ok();
        balance["frozen"]["reason"].as_str().map(str::to_owned)
    }

    fn metric(&self, line: &str) -> bool {
        self.office.sidecar.render_metrics().lines().any(|found| found == line)
    }
}

#[tokio::test]
async fn a_ledger_that_adds_up_is_told_as_that() {
    let audited = Audited::open().await;
    audited.office.get("/v1/wallet/audit").await.refused(404, "not_found");
    let told = audited.office.post("/v1/wallet/audit", None, "").await.ok();
    let expected = (&json!(2), &json!(0), &json!([]));
    assert_eq!((&told["transfers"], &told["breaches_total"], &told["breaches"]), expected);
    assert_eq!(audited.office.get("/v1/wallet/audit").await.ok(), told);
    assert_eq!(audited.office.get("/v1/status").await.ok()["status"], "ok");
    assert!(audited.metric("kt_wallet_frozen 0"));
    assert!(audited.metric("kt_wallet_breaches_total{invariant=\"I6\"} 0"), "from 0 on");
    // An organization may have that name all the same.
    assert_eq!(audited.office.get("/v1/wallet/%61udit").await.ok()["org"], "audit");
}

#[tokio::test]
async fn a_breach_freezes_its_wallet_and_no_other_until_it_is_mended() {
    let audited = Audited::open().await;
    audited.plant(5);
    let told = audited.office.post("/v1/wallet/audit", None, "").await.ok();
    let breaches = told["breaches"].as_array().unwrap();
    assert_eq!(told["breaches_total"], breaches.len());
    assert!(breaches.iter().all(|breach| breach["org"] == "acme"), "{told}");
    let words = "I2 balances follow from transfers: wallet of acme: expected";
    let reason = audited.frozen("acme").await.unwrap();
    assert!(reason.starts_with(&format!("audit: {words}")), "{reason}");
    assert_eq!(audited.frozen("other").await, None);

    let status = audited.office.get("/v1/status").await.ok();
    assert_eq!(status["status"], "degraded");
    assert!(status["wallet_errors"][0].as_str().unwrap().contains(words), "{status}");
    assert!(audited.metric("kt_wallet_frozen 1"));
    assert!(audited.metric("kt_wallet_breaches_total{invariant=\"I2\"} 1"));
    assert!(audited.metric("kt_wallet_breaches_total{invariant=\"I1\"} 1"));

    let told = audited.office.post("/v1/wallet/acme/unfreeze", None, "").await;
    let message = told.refused(409, "breach_stands");
    assert!(message.contains(words), "{message}");
    assert!(audited.frozen("acme").await.is_some());
    assert!(audited.metric("kt_wallet_breaches_total{invariant=\"I2\"} 1"), "news once");

    audited.plant(-5);
    let thawed = audited.office.post("/v1/wallet/acme/unfreeze", None, "").await.ok();
    assert_eq!(thawed, json!({"org": "acme"}));
    assert_eq!(audited.office.get("/v1/status").await.ok()["status"], "ok");
    assert!(audited.metric("kt_wallet_frozen 0"));
}

#[tokio::test]
async fn mending_alone_does_not_unfreeze() {
    let audited = Audited::open().await;
    audited.plant(5);
    audited.office.post("/v1/wallet/audit", None, "").await.ok();
    audited.plant(-5);
    let told = audited.office.post("/v1/wallet/audit", None, "").await.ok();
    assert_eq!(told["breaches_total"], 0);
    assert!(audited.frozen("acme").await.is_some(), "a person has to have looked at it");
    assert!(audited.metric("kt_wallet_frozen 1"));
}

#[tokio::test(start_paused = true)]
async fn a_breach_is_found_without_anybody_asking() {
    let audited = Audited::open().await;
    let sidecar = Arc::clone(&audited.office.sidecar);
    let keeping = tokio::spawn(async move { sidecar.keep_audited().await });
    audited.plant(5);
    pass(Duration::from_secs(59)).await;
    audited.office.get("/v1/wallet/audit").await.refused(404, "not_found");
    // The audit reads a real file, which takes time that no test clock knows: each look here is as real.
    for _ in 0..20_000 {
        if audited.frozen("acme").await.is_some() {
            return keeping.abort();
        }
        pass(Duration::from_secs(1)).await;
    }
    panic!("hours later nobody has found it");
}

#[tokio::test(start_paused = true)]
async fn what_another_sidecar_finds_is_known_within_a_minute_however_long_it_counts() {
    let paying = paying("wallet: {}\n", 100_000).await;
    let counted = |breaches| Counted {
        at: UnixMillis(1),
        took: Millis(300_000),
        findings: Findings { breaches, ..Findings::default() },
        breaches_total: 0,
    };
    paying.ledger.is_counted_by_others(counted(Vec::new()));
    let sidecar = Arc::clone(&paying.group.sidecar);
    sidecar.audit_first().await.unwrap();
    paying.ledger.is_counted_by_others(counted(vec![overdrawn()]));
    let keeping = tokio::spawn(async move { sidecar.keep_audited().await });
    pass(Duration::from_secs(61)).await;
    let told = paying.group.sidecar.status().wallet_errors;
    assert!(told.iter().any(|error| error.contains("I5")), "{told:?}");
    keeping.abort();
}

#[tokio::test(start_paused = true)]
async fn what_another_finds_is_known_as_soon_though_looking_calls_up_takes_long() {
    let paying = paying("wallet: {}\n", 100_000).await;
    let key = paying.group.key().await;
    let counted = |breaches| Counted {
        at: UnixMillis(1),
        took: Millis(1),
        findings: Findings { breaches, ..Findings::default() },
        breaches_total: 0,
    };
    paying.ledger.is_counted_by_others(counted(Vec::new()));
    let slow = Scripted { head_after: Duration::from_secs(1_000), ..answers_json(JSON) };
    paying.group.provider.next(slow);
    let _asking = paying.crowd(&[&key], CHAT).await;
    // Ten seconds for each lookup.
    paying.ledger.is(Mood::Slow);
    let sidecar = Arc::clone(&paying.group.sidecar);
    let keeping = tokio::spawn(async move { sidecar.keep_audited().await });
    pass(Duration::from_secs(75)).await;
    assert_eq!(paying.ledger.lookups(), 1);
    paying.ledger.is_counted_by_others(counted(vec![overdrawn()]));
    pass(Duration::from_secs(75)).await;
    let told = paying.group.sidecar.status().wallet_errors;
    assert!(told.iter().any(|error| error.contains("I5")), "{told:?}");
    keeping.abort();
}

fn overdrawn() -> Breach {
    Breach {
        invariant: Invariant::NeverOverdrawn,
        org: "acme".to_owned(),
        account: "wallet".to_owned(),
        expected: "0".to_owned(),
        found: "-1".to_owned(),
    }
}
