//! Wallets on the admin socket, over HTTP as `kt` and other programs ask.

use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use kt_contract::money::MicroUsd;
use kt_contract::time::Millis;
use serde_json::{Value, json};
use sidecar_cache::clock::Clock;
use sidecar_cache::http::closing::Closing;
use sidecar_cache::http::serve;
use sidecar_cache::http::socket::Listening;
use sidecar_cache::ledger::account::Scope;
use sidecar_cache::ledger::request::{Budget, CallOf, Funding, Purpose, Reserve};
use sidecar_cache::ledger::window::{Period, Zone};
use sidecar_cache::ledger::{Operation, TransferId};
use sidecar_cache::service::Sidecar;
use sidecar_cache::store::ledger::LedgerStore;
use sidecar_cache::store::ledger::memory::MemoryLedger;
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::support::*;

/// A sidecar's admin socket, and the ledger behind it.
pub(crate) struct Office {
    pub(crate) sidecar: Arc<Sidecar>,
    ledger: Arc<dyn LedgerStore>,
    socket: PathBuf,
    _serving: JoinSet<()>,
    _connections: Closing,
    _folder: tempfile::TempDir,
}

/// An answer, as whoever asked sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    status: StatusCode,
    body: String,
}

// === impl Office ===

impl Office {
    async fn open() -> Self {
        let clock = Clock::start();
        Self::over(Arc::new(MemoryLedger::new(Box::new(move || clock.reading())))).await
    }

    pub(crate) async fn over(ledger: Arc<dyn LedgerStore>) -> Self {
        let settings = settings_with(
            "wallet: {}
budgets:
  organization: {monthly_limit_usd: 100}
  teams: {web: {daily_limit_usd: 1.5}}
  users: {default_daily_usd: 2}
",
        );
        let group = group_of(settings, Clock::start(), Some(Arc::clone(&ledger)));
        Self::around(group.sidecar, ledger).await
    }

    async fn around(sidecar: Arc<Sidecar>, ledger: Arc<dyn LedgerStore>) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("s.sock.admin");
        let listening = Listening::on(&socket).await.unwrap();
        let connections = Closing::default();
        let mut serving = JoinSet::new();
        serving.spawn(serve::admin(Arc::clone(&sidecar), listening, connections.open()));
        Self {
            sidecar,
            ledger,
            socket,
            _serving: serving,
            _connections: connections,
            _folder: folder,
        }
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Told {
        let stream = TokioIo::new(UnixStream::connect(&self.socket).await.unwrap());
        let (mut sender, connection) = hyper::client::conn::http1::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        let response = sender.send_request(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Told { status, body: String::from_utf8(body.to_vec()).unwrap() }
    }

    pub(crate) async fn get(&self, path: &str) -> Told {
        self.send(Request::get(path).body(Full::default()).unwrap()).await
    }

    pub(crate) async fn post(&self, path: &str, key: Option<&str>, body: &str) -> Told {
        let mut request = Request::post(path);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        self.send(request.body(Full::from(body.to_owned())).unwrap()).await
    }

    pub(crate) async fn fund(&self, key: &str, amount: u64) -> Told {
        let body = json!({"amount_micro_usd": amount}).to_string();
        self.post("/v1/wallet/acme/fund", Some(key), &body).await
    }

    /// A call of `acme` that runs; its hold.
    async fn calling(&self, nth: u8, amount: u64, team: Option<&str>) -> TransferId {
        let id = TransferId::of_reserve("acme", [nth; 16], 1);
        let amount = MicroUsd::new(amount).unwrap();
        let call = CallOf {
            provider: "openai".to_owned(),
            model: "gpt-4o".to_owned(),
            user: Some("ada".to_owned()),
            ..CallOf::default()
        };
        let budget = |scope, period| Budget { scope, period, limit: MicroUsd::MAX };
        let reserve = Operation::Reserve(Reserve {
            id,
            org: "acme".to_owned(),
            funding: Funding::Prepaid,
            team: team.map(str::to_owned),
            purpose: Purpose::Call(call),
            amount,
            cost_max: MicroUsd::new(amount.micros() * 2).unwrap(),
            ttl: Millis(60_000),
            budgets: vec![
                budget(Scope::Org, Period::Monthly),
                budget(Scope::User("ada".to_owned()), Period::Daily),
            ],
            zone: Zone::utc(),
            prices: "v1".to_owned(),
        });
        self.ledger.operate(reserve).await.unwrap().unwrap();
        id
    }

    /// A call of `acme` that has ended at a cost; its hold.
    async fn called(&self, nth: u8, amount: u64) -> String {
        let hold = self.calling(nth, amount, None).await;
        let actual = MicroUsd::new(amount).unwrap();
        let settle = Operation::Settle { hold, actual, estimated: false };
        self.ledger.operate(settle).await.unwrap().unwrap();
        hold.0.to_hex()
    }
}

// === impl Told ===

impl Told {
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert_eq!(self.status, StatusCode::OK, "{}", self.body);
        serde_json::from_str(&self.body).unwrap()
    }

    #[track_caller]
    pub(crate) fn refused(&self, status: u16, code: &str) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap();
        let found = (self.status.as_u16(), body["error"]["code"].as_str().unwrap());
        assert_eq!(found, (status, code), "{body}");
        body["error"]["message"].as_str().unwrap().to_owned()
    }
}

#[tokio::test]
async fn money_that_is_put_in_is_there_once() {
    let office = Office::open().await;
    let first = office.fund("k1", 25_000_000).await.ok();
    assert_eq!(first["created"], true);
    let again = office.fund("k1", 25_000_000).await.ok();
    assert_eq!(again["created"], false);
    for field in ["id", "kind", "amount_micro_usd"] {
        assert_eq!(first[field], again[field], "the same answer but for whether it is news");
    }
    let message = office.fund("k1", 26_000_000).await.refused(422, "idempotency_key_reused");
    assert!(message.contains("a new key"), "{message}");
    let noted = r#"{"amount_micro_usd":25000000,"note":"another"}"#;
    let told = office.post("/v1/wallet/acme/fund", Some("k1"), noted).await;
    told.refused(422, "idempotency_key_reused");
    office.fund("k2", 1).await.ok();
    let balance = office.get("/v1/wallet/acme").await.ok();
    assert_eq!(balance["available_micro_usd"], 25_000_001);
    assert_eq!(balance["is_prepaid"], true);
    assert_eq!(office.get("/v1/wallet/other").await.ok()["available_micro_usd"], 0);
    // The key is one of this organization and this operation.
    let body = r#"{"amount_micro_usd":5}"#;
    assert_eq!(office.post("/v1/wallet/other/fund", Some("k1"), body).await.ok()["created"], true);
    let body = r#"{"amount_micro_usd":1,"direction":"debit"}"#;
    assert_eq!(office.post("/v1/wallet/acme/adjust", Some("k1"), body).await.ok()["created"], true);
}

#[tokio::test]
async fn what_is_no_amount_is_told_what_one_is() {
    let office = Office::open().await;
    for amount in [
        "0",
        "-1",
        "9007199254740992",
        "18446744073709551616",
        "1.5",
        "1.0",
        "1e3",
        "\"25\"",
        "NaN",
        "null",
        "true",
        "[1]",
        "1, \"amount_micro_usd\": 2",
        "1, \"amuont\": 2",
    ] {
        let body = format!("{{\"amount_micro_usd\": {amount}}}");
        let told = office.post("/v1/wallet/acme/fund", Some("k"), &body).await;
        let message = told.refused(400, "invalid_message");
        let is = "An amount is a whole number of micro-US-dollars from 1 to 9007199254740991";
        assert!(message.ends_with(is), "{amount}: {message}");
    }
    for body in ["[5000000, \"n\"]", " []", "5000000", "\"25\"", ""] {
        let told = office.post("/v1/wallet/acme/fund", Some("k"), body).await;
        told.refused(400, "invalid_message");
    }
    assert_eq!(office.fund("k", 9_007_199_254_740_991).await.ok()["created"], true);
}

#[tokio::test]
async fn what_moves_money_says_which_movement_it_is() {
    let office = Office::open().await;
    let long = "k".repeat(256);
    for key in [None, Some(""), Some(long.as_str()), Some("schl\u{fc}ssel")] {
        for (path, body) in [
            ("fund", r#"{"amount_micro_usd":1}"#),
            ("adjust", r#"{"amount_micro_usd":1,"direction":"credit"}"#),
            ("refund", r#"{"amount_micro_usd":1,"hold":"00"}"#),
        ] {
            let told = office.post(&format!("/v1/wallet/acme/{path}"), key, body).await;
            let message = told.refused(400, "no_idempotency_key");
            assert!(message.contains("Idempotency-Key"), "{message}");
        }
    }
    let two = Request::post("/v1/wallet/acme/fund")
        .header("Idempotency-Key", "one")
        .header("Idempotency-Key", "another")
        .body(Full::from(r#"{"amount_micro_usd":1}"#.to_owned()));
    office.send(two.unwrap()).await.refused(400, "no_idempotency_key");
    assert_eq!(office.fund(&long[1..], 1).await.ok()["created"], true);
}

#[tokio::test]
async fn a_note_is_one_line_of_at_most_500_characters() {
    let office = Office::open().await;
    let noting = async |key: &str, note: &str| {
        let body = json!({"amount_micro_usd": 1, "note": note}).to_string();
        office.post("/v1/wallet/acme/fund", Some(key), &body).await
    };
    let longest = "\u{fc}".repeat(500);
    assert_eq!(noting("longest", &longest).await.ok()["created"], true);
    for note in ["x".repeat(501), "x".repeat(600), "two\nlines".to_owned()] {
        noting("none", &note).await.refused(400, "invalid_field");
    }
    let history = office.get("/v1/wallet/acme/history").await.ok();
    assert_eq!(history["transfers"][0]["note"], longest);
    assert_eq!(history["transfers"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn what_the_ledger_refuses_has_its_code_and_a_fitting_status() {
    let office = Office::open().await;
    let debit = r#"{"amount_micro_usd":10,"direction":"debit","note":"a mistake"}"#;
    let told = office.post("/v1/wallet/acme/adjust", Some("a"), debit).await;
    told.refused(402, "insufficient:wallet");
    office.fund("k", 1_000).await.ok();
    let hold = office.called(1, 300).await;
    let refund = |amount: u64| json!({"hold": hold, "amount_micro_usd": amount}).to_string();
    let path = "/v1/wallet/acme/refund";
    office.post(path, Some("r1"), &refund(301)).await.refused(422, "exceeds_charge");
    assert_eq!(office.post(path, Some("r2"), &refund(300)).await.ok()["kind"], "refund");
    assert_eq!(office.post(path, Some("r2"), &refund(300)).await.ok()["created"], false);
    office.post(path, Some("r3"), &refund(1)).await.refused(422, "exceeds_charge");
    // Another organization's hold is nobody's.
    office.post("/v1/wallet/other/refund", Some("r4"), &refund(1)).await.refused(404, "not_found");
    assert_eq!(office.get("/v1/wallet/acme").await.ok()["available_micro_usd"], 1_000);
}

#[tokio::test]
async fn a_team_pays_from_what_it_was_given() {
    let office = Office::open().await;
    office.fund("k", 1_000).await.ok();
    let path = "/v1/wallet/acme/allocate";
    let give = |amount: u64, direction: &str| {
        json!({"team": "web", "amount_micro_usd": amount, "direction": direction}).to_string()
    };
    office.post(path, Some("a1"), &give(1_001, "credit")).await.refused(402, "insufficient:wallet");
    let given = office.post(path, Some("a2"), &give(600, "credit")).await.ok();
    assert_eq!((&given["kind"], &given["created"]), (&json!("allocate"), &json!(true)));
    assert_eq!(office.post(path, Some("a2"), &give(600, "credit")).await.ok()["created"], false);
    let told = office.post(path, Some("a3"), &give(601, "debit")).await;
    let message = told.refused(402, "insufficient:purse:web");
    assert_eq!(message, "the purse of team 'web' has less than that available");
    office.calling(1, 100, Some("web")).await;
    office.post(path, Some("a4"), &give(200, "debit")).await.ok();
    let balance = office.get("/v1/wallet/acme").await.ok();
    assert_eq!(balance["available_micro_usd"], 600);
    let purse = json!({"team": "web", "available_micro_usd": 300, "posted_micro_usd": 400,
        "pending_micro_usd": 100});
    assert_eq!(balance["purses"], json!([purse]));
    let nobody = r#"{"team":"","amount_micro_usd":1,"direction":"credit"}"#;
    office.post(path, Some("a5"), nobody).await.refused(400, "invalid_field");
}

#[tokio::test]
async fn a_balance_says_how_much_of_each_budget_is_spent() {
    let office = Office::open().await;
    office.fund("k", 1_000).await.ok();
    office.called(1, 300).await;
    office.calling(2, 50, None).await;
    let balance = office.get("/v1/wallet/acme").await.ok();
    let budgets = balance["budgets"].as_array().unwrap();
    let told: Vec<_> = budgets
        .iter()
        .map(|budget| {
            let number = |field: &str| budget[field].as_i64().unwrap();
            let scope = budget["scope"].as_str().unwrap();
            (
                scope,
                number("spent_micro_usd"),
                number("pending_micro_usd"),
                number("limit_micro_usd"),
            )
        })
        .collect();
    let expected = [
        ("org", 300, 50, 100_000_000),
        ("team:web", 0, 0, 1_500_000),
        ("user:ada", 300, 50, 2_000_000),
    ];
    assert_eq!(told, expected);
    assert_eq!(balance["pending_micro_usd"], 50);
    assert_eq!(balance["shortfall_max_micro_usd"], 50);
}

#[tokio::test]
async fn what_is_set_aside_says_for_whom_and_until_when() {
    let office = Office::open().await;
    office.fund("k", 1_000).await.ok();
    office.called(1, 300).await;
    let open = office.calling(2, 50, None).await.0.to_hex();
    let told = office.get("/v1/wallet/acme/holds").await.ok();
    let [hold] = told["holds"].as_array().unwrap().as_slice() else { panic!("{told}") };
    assert_eq!((&hold["id"], &hold["state"]), (&json!(open), &json!("open")));
    assert_eq!(hold["held_micro_usd"], 50);
    assert_eq!(hold["terms"]["cost_max_micro_usd"], 100);
    assert_eq!(hold["terms"]["payer"], "wallet");
    assert_eq!(hold["terms"]["call"]["model"], "gpt-4o");
    let history = office.get("/v1/wallet/acme/history").await.ok();
    assert_eq!(history["transfers"][0]["terms"], hold["terms"], "the row says the same");
}

#[tokio::test]
async fn a_frozen_wallet_says_since_when_and_why_and_takes_money() {
    let office = Office::open().await;
    let path = "/v1/wallet/acme/freeze";
    office.post(path, None, r#"{"reason":""}"#).await.refused(400, "invalid_field");
    let frozen = office.post(path, None, r#"{"reason":"looked into"}"#).await.ok();
    assert_eq!(frozen["frozen"]["reason"], "looked into");
    let again = office.post(path, None, r#"{"reason":"another"}"#).await.ok();
    assert_eq!(again, frozen, "the first reason stays");
    assert_eq!(office.get("/v1/wallet/acme").await.ok()["frozen"], frozen["frozen"]);
    office.fund("k", 5).await.ok();
    let thawed = office.post("/v1/wallet/acme/unfreeze", None, "").await.ok();
    assert_eq!(thawed, json!({"org": "acme"}));
}

#[tokio::test]
async fn every_transfer_is_told_once_in_pages_from_either_end() {
    let office = Office::open().await;
    for nth in 1..=5 {
        office.fund(&format!("k{nth}"), nth).await.ok();
    }
    let body = r#"{"amount_micro_usd":9,"note":"rent"}"#;
    office.post("/v1/wallet/acme%2Feu/fund", Some("k"), body).await.ok();
    let mut newest_first = Vec::new();
    let mut path = "/v1/wallet/acme/history?count=2".to_owned();
    loop {
        let page = office.get(&path).await.ok();
        newest_first.extend(page["transfers"].as_array().unwrap().iter().cloned());
        let Some(before) = page["before"].as_u64() else { break };
        path = format!("/v1/wallet/acme/history?before={before}&count=2");
    }
    let amounts: Vec<_> =
        newest_first.iter().map(|row| row["amount_micro_usd"].as_u64().unwrap()).collect();
    assert_eq!(amounts, [5, 4, 3, 2, 1]);
    let mut oldest_first: Vec<Value> = Vec::new();
    loop {
        let after = oldest_first.last().map_or(0, |row| row["number"].as_u64().unwrap());
        let page = office.get(&format!("/v1/wallet/acme/export?after={after}&count=2")).await;
        let lines: Vec<Value> =
            page.body.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        if lines.is_empty() {
            break;
        }
        oldest_first.extend(lines);
    }
    newest_first.reverse();
    assert_eq!(oldest_first, newest_first);
    let other = office.get("/v1/wallet/acme%2Feu/history").await.ok();
    assert_eq!(other["transfers"][0]["note"], "rent");
    for query in ["count=x", "before=-1"] {
        let told = office.get(&format!("/v1/wallet/acme/history?{query}")).await;
        told.refused(400, "invalid_field");
    }
}

#[tokio::test]
async fn a_name_that_no_organization_has_is_refused() {
    let office = Office::open().await;
    for org in ["a%20b", "%FF", "%", "a%00"] {
        office.get(&format!("/v1/wallet/{org}")).await.refused(400, "invalid_field");
    }
}

#[tokio::test]
async fn without_a_ledger_the_answer_is_how_to_get_one() {
    let office = Office::open().await;
    let without = Office::around(group_without_gateway().sidecar, office.ledger).await;
    for told in [without.get("/v1/wallet/acme").await, without.fund("k", 1).await] {
        let message = told.refused(409, "no_ledger");
        assert!(message.contains("'wallet: {}'"), "{message}");
    }
}

#[tokio::test]
async fn every_question_of_the_document_is_answered() {
    let office = Office::open().await;
    let document = office.get("/openapi.json").await.ok();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() > 10, "{document}");
    for (path, operations) in paths {
        let path = path.replace("{org}", "acme").replace("{key_id}", "gk_1");
        for method in operations.as_object().unwrap().keys() {
            let request = Request::builder().method(method.to_uppercase().as_str()).uri(&path);
            let told = office.send(request.body(Full::default()).unwrap()).await;
            let body: Value = serde_json::from_str(&told.body).unwrap_or_default();
            let code = body["error"]["code"].as_str().unwrap_or_default();
            assert!(!["unknown_path", "method_not_allowed"].contains(&code), "{method} {path}");
        }
    }
}
