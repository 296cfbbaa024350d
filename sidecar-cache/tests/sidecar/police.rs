//! The output policy in a flight: what it replaces is replaced for everybody and in the store, what it blocks is blocked
//! for everybody, paid for, not stored and not tried again.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kt_contract::idempotency::IdempotencyKey;
use kt_contract::key::OrgKeys;
use kt_contract::limits::{ENTRY_BYTES_MAX, JSON_NODES_MAX};
use kt_contract::outcome::{Outcome, Reason};
use kt_contract::problem::Problem;
use kt_contract::wire::admit::{AdmitRequest, Admitted};
use kt_providers::Dialect;
use sidecar_cache::clock::Clock;
use sidecar_cache::ledger::Kind;
use sidecar_cache::ledger::clock::Reading;
use sidecar_cache::service::audit_log::Export;
use sidecar_cache::service::lane::{Refusal, Reply};
use sidecar_cache::service::reader::Piece;
use sidecar_cache::service::settings::Settings;
use sidecar_cache::store::audit_log::{AuditStore, MemoryAuditLog};
use sidecar_cache::store::ledger::LedgerStore;
use sidecar_cache::store::ledger::memory::MemoryLedger;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use crate::support::*;

pub(crate) const REDACTS: &str = "policies: {chain: [pii-detector]}\n";
const BLOCKS: &str = "policies: {chain: [pii-detector], policy: {pii-detector: {action: block}}}\n";
pub(crate) const WATCHES: &str =
    "policies: {chain: [pii-detector], policy: {pii-detector: {action: monitor}}}\n";

/// A sidecar whose file has policies, and requests that name them.
pub(crate) struct Policed {
    pub(crate) group: &'static Group,
    settings: Settings,
    key: Key,
}

pub(crate) fn says(text: &str) -> String {
    JSON.replace("hello", text)
}

fn bytes_of(act: &Act) -> Vec<u8> {
    if let Act::Bytes(bytes) = act { bytes.to_vec() } else { vec![] }
}

/// A stream that says so, in pieces.
pub(crate) fn streams(pieces: &[&str]) -> Vec<Act> {
    let chunk = |piece: &str| {
        let piece = serde_json::Value::from(piece);
        format!(
            "data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":{piece}}},\"finish_reason\":null}}]}}\n\n"
        )
    };
    let role = "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n";
    let end = "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n";
    let said = pieces.iter().map(|piece| chunk(piece));
    let all = std::iter::once(role.to_owned()).chain(said);
    let all = all.chain([end, USAGE_CHUNK, DONE].map(str::to_owned));
    all.map(|event| bytes(&event)).collect()
}

/// What a client puts together of a stream.
pub(crate) fn told(body: &[u8]) -> String {
    let text = std::str::from_utf8(body).unwrap();
    text.split("\n\n")
        .filter_map(|event| event.strip_prefix("data: ").filter(|data| *data != "[DONE]"))
        .map(|data| {
            let event: serde_json::Value = serde_json::from_str(data).unwrap();
            event["choices"][0]["delta"]["content"].as_str().unwrap_or_default().to_owned()
        })
        .collect()
}

pub(crate) fn blocked(refusal: &Refusal) -> (String, u16) {
    let Problem::PolicyBlocked { policy, .. } = &refusal.problem else {
        panic!("no block: {:?}", refusal.problem)
    };
    assert!(refusal.problem.is_final(), "nobody is to try it again");
    (policy.clone(), refusal.problem.status())
}

pub(crate) async fn policed(more: &str) -> Policed {
    policed_with(more, None).await
}

pub(crate) async fn policed_with(more: &str, ledger: Option<Arc<dyn LedgerStore>>) -> Policed {
    policed_of(settings_with(more), ledger).await
}

pub(crate) async fn policed_of(
    settings: Settings,
    ledger: Option<Arc<dyn LedgerStore>>,
) -> Policed {
    let group = group_of(settings.clone(), Clock::start(), ledger);
    group.poll().await;
    let group: &'static Group = Box::leak(Box::new(group));
    Policed { group, settings, key: group.key().await }
}

// === impl Policed ===

impl Policed {
    pub(crate) fn ask(&self, body: &str) -> AdmitRequest {
        self.planned(self.group.ask(&self.key, body))
    }

    /// As a filter with this policy has it.
    fn planned(&self, mut ask: AdmitRequest) -> AdmitRequest {
        ask.plan.gates.policy = self.settings.snapshot.policy.digest;
        ask.plan.snapshot = self.settings.snapshot.version.clone();
        let keys = OrgKeys::derive(&ask.plan.gates.org);
        ask.plan.key = keys.cache_key(&ask.plan.gates, &ask.plan.request);
        ask.plan.check = keys.check_hash(&ask.plan.gates, &ask.plan.request);
        ask
    }

    /// The same sidecar, asked by another organization.
    pub(crate) async fn for_org(&self, org: &str) -> Self {
        let key = self.group.key_with(|key| key.org = org.to_owned()).await;
        Self { group: self.group, settings: self.settings.clone(), key }
    }

    pub(crate) async fn lane(&self, body: &str) -> Result<Reply, Refusal> {
        let (ticket, _) = self.group.ticket(self.ask(body)).await;
        self.group.lane(&ticket, body).await
    }

    pub(crate) async fn fetch(&self, body: &str) -> Result<Seen, Refusal> {
        Ok(read(self.lane(body).await?).await)
    }

    pub(crate) async fn fetch_keyed(&self, key: &str, body: &str) -> Result<Seen, Refusal> {
        let ask = AdmitRequest { is_keyed: true, ..self.ask(body) };
        let (ticket, _) = self.group.ticket(ask).await;
        let name = IdempotencyKey::read([key.as_bytes()].into_iter()).unwrap();
        let entered = self.group.sidecar.enter(Some(&ticket), &holder())?.keyed(name);
        let body = Bytes::copy_from_slice(body.as_bytes());
        Ok(read(self.group.sidecar.serve(entered, Vec::new(), body).await?).await)
    }

    /// So many clients that ask the same, and wait.
    pub(crate) async fn clients(
        &self,
        body: &'static str,
        count: usize,
    ) -> Vec<JoinHandle<Result<Seen, Refusal>>> {
        let mut clients = Vec::new();
        for _ in 0..count {
            let (ticket, _) = self.group.ticket(self.ask(body)).await;
            let group = self.group;
            clients.push(tokio::spawn(
                async move { Ok(read(group.lane(&ticket, body).await?).await) },
            ));
            tokio::task::yield_now().await;
        }
        clients
    }

    pub(crate) fn metric(&self, name: &str) -> String {
        self.group.metric(name)
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_redacted_is_redacted_for_leader_follower_store_and_replay() {
    for (body, scripted) in [
        (CHAT, answers_json(&says("to jane@example.com"))),
        (CHAT_STREAM, answers_sse(streams(&["to ja", "ne@exam", "ple.com", " ."]))),
    ] {
        let policed = policed(REDACTS).await;
        let head_after = Duration::from_secs(3);
        policed.group.provider.next(Scripted { head_after, ..scripted });
        for client in policed.clients(body, 3).await {
            let seen = client.await.unwrap().unwrap();
            assert!(seen.has_end);
            let text = String::from_utf8(seen.body).unwrap();
            assert!(text.contains("[EMAIL]") && !text.contains("jane"), "{text}");
            assert!(!text.contains("ple.com"), "{text}");
        }
        settle().await;
        let stored = String::from_utf8_lossy(&policed.group.entries.last().1).into_owned();
        assert!(stored.contains("[EMAIL]") && !stored.contains("jane"), "{stored}");
        // Told in both shapes.
        for body in [CHAT, CHAT_STREAM] {
            let hit = policed.group.hit(policed.ask(body)).await;
            assert!(String::from_utf8(hit.to_vec()).unwrap().contains("[EMAIL]"));
        }
        assert_eq!(policed.group.provider.count(), 1);
        let name = "kt_guardrail_findings_total{policy=\"pii-detector\",phase=\"output\",action=\"redact\"}";
        assert_eq!(policed.metric(name), "1");
    }
}

#[tokio::test(start_paused = true)]
async fn a_blocked_answer_is_blocked_for_everybody_and_not_tried_again() {
    for (body, scripted) in [
        (CHAT, answers_json(&says("to jane@example.com"))),
        (CHAT_STREAM, answers_sse(streams(&["jane@example.com", " ."]))),
    ] {
        let policed = policed(BLOCKS).await;
        let head_after = Duration::from_secs(3);
        policed.group.provider.next(Scripted { head_after, ..scripted });
        for client in policed.clients(body, 5).await {
            let refusal = client.await.unwrap().unwrap_err();
            assert_eq!(blocked(&refusal), ("pii-detector".to_owned(), 409));
        }
        assert_eq!(policed.group.provider.count(), 1);
        assert!(!policed.group.entries.is_filled());
        assert_eq!(policed.metric("kt_flight_endings_total{ending=\"blocked\"}"), "1");
        let name = "llm_guardrail_blocks_total{policy=\"pii-detector\",phase=\"output\"}";
        assert_eq!(policed.metric(name), "1");
        settle().await;
        assert_eq!(
            (policed.metric("kt_flights"), policed.metric("kt_flight_followers")),
            ("0".to_owned(), "0".to_owned())
        );
    }
}

#[tokio::test(start_paused = true)]
async fn who_shares_a_blocked_answer_has_the_policy_on_record_as_who_asked_for_it() {
    let settings = settings_with(
        "policies: {chain: [audit-logger, pii-detector], policy: {pii-detector: {action: block}}}\n",
    );
    let log = Arc::new(MemoryAuditLog::default());
    let group = group_recording(settings.clone(), Arc::clone(&log) as Arc<dyn AuditStore>);
    group.poll().await;
    let group: &'static Group = Box::leak(Box::new(group));
    let policed = Policed { group, settings, key: group.key().await };
    let answer = answers_json(&says("to jane@example.com"));
    group.provider.next(Scripted { head_after: Duration::from_secs(3), ..answer });
    for client in policed.clients(CHAT, 3).await {
        assert_eq!(blocked(&client.await.unwrap().unwrap_err()).0, "pii-detector");
    }
    group.sidecar.audit_log_flushed().await;
    let asked = Export { org: "acme".to_owned(), ..Export::default() };
    let records = group.sidecar.export_audit_log(asked).await.unwrap();
    let mut rules: Vec<&str> =
        records.iter().flat_map(|record| &record.policies).map(String::as_str).collect();
    rules.sort_unstable();
    assert_eq!(
        rules,
        ["pii-detector:any:block", "pii-detector:any:block", "pii-detector:email:block"],
        "{records:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_only_watched_is_served_and_stored_as_it_came() {
    let policed = policed(WATCHES).await;
    let answer = says("to jane@example.com");
    policed.group.provider.next(answers_json(&answer));
    assert_eq!(policed.fetch(CHAT).await.unwrap().body, answer.as_bytes());
    assert_eq!(policed.group.hit(policed.ask(CHAT)).await, answer.as_bytes());
    let name =
        "kt_guardrail_findings_total{policy=\"pii-detector\",phase=\"output\",action=\"monitor\"}";
    assert_eq!(policed.metric(name), "1");
}

#[tokio::test(start_paused = true)]
async fn what_is_blocked_later_ends_a_stream_with_an_error_and_without_an_end() {
    let policed = policed(BLOCKS).await;
    let goes_on = Arc::new(Notify::new());
    let mut acts = streams(&["all is well, ", "and then", " jane@example.com", " and more"]);
    acts.insert(3, Act::Until(Arc::clone(&goes_on)));
    policed.group.provider.next(answers_sse(acts));
    let Reply::Stream(_, mut pieces) = policed.lane(CHAT_STREAM).await.unwrap() else {
        panic!("no stream")
    };
    let mut body = Vec::new();
    let Some(Piece::Bytes(first)) = pieces.recv().await else { panic!("nothing") };
    body.extend_from_slice(&first);
    // A late one reads along, and shares the end.
    let late = policed.clients(CHAT_STREAM, 1).await;
    goes_on.notify_one();
    assert!(!read_on(&mut pieces, &mut body).await);
    let late = late.into_iter().next().unwrap().await.unwrap().unwrap();
    assert!(!late.has_end);
    for body in [body, late.body] {
        let text = String::from_utf8(body).unwrap();
        assert!(text.contains("all is well") && !text.contains("jane"), "{text}");
        let last = text.trim_end().rsplit("\n\n").next().unwrap();
        assert!(last.contains("policy_blocked"), "{last}");
    }
    settle().await;
    assert!(!policed.group.entries.is_filled());
    assert_eq!(policed.group.provider.count(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_blocked_is_paid_for() {
    for (body, scripted) in [
        (CHAT, answers_json(&says("to jane@example.com"))),
        (CHAT_STREAM, answers_sse(streams(&["jane@example.com", " ."]))),
    ] {
        let clock = Clock::start();
        let reading = move || Reading { mono: clock.mono(), wall: clock.wall() };
        let ledger = Arc::new(MemoryLedger::new(Box::new(reading)));
        let more = format!("{BLOCKS}budgets: {{organization: {{daily_limit_usd: 10}}}}\n");
        let policed = policed_with(&more, Some(Arc::<MemoryLedger>::clone(&ledger))).await;
        policed.group.provider.next(scripted);
        assert!(policed.fetch(body).await.is_err());
        settle().await;
        let rows = ledger.transfers("acme".to_owned(), 0, 100).await.unwrap();
        let kinds: Vec<_> = rows.iter().map(|(_, row)| row.kind).collect();
        assert_eq!(kinds, [Kind::Pending, Kind::Post]);
        assert!(!rows[1].1.amount.is_zero());
        let cost = "llm_cost_usd_total{model=\"gpt-4o-mini\",provider=\"openai\"}";
        assert_ne!(policed.metric(cost), "0");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_redacted_however_its_bytes_are_split() {
    let whole: Vec<u8> =
        streams(&["to ja", "ne@exam", "ple.com", ", bye"]).iter().flat_map(bytes_of).collect();
    for size in [1, 7, 64, 100_000] {
        let policed = policed(REDACTS).await;
        let acts = whole.chunks(size).map(|part| Act::Bytes(part.to_vec().into())).collect();
        policed.group.provider.next(answers_sse(acts));
        let seen = policed.fetch(CHAT_STREAM).await.unwrap();
        assert!(seen.has_end);
        assert_eq!(told(&seen.body), "to [EMAIL], bye", "in pieces of {size}");
        settle().await;
        assert!(policed.group.entries.is_filled(), "in pieces of {size}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_no_policy_can_read_does_not_pass() {
    for (body, scripted) in [
        (CHAT, Scripted { content_type: "text/html", ..answers_json("jane@example.com") }),
        (CHAT, answers_json("{\"choices\":")),
        (CHAT, Scripted { content_encoding: Some("br"), ..answers_json("xx") }),
    ] {
        let policed = policed(REDACTS).await;
        policed.group.provider.next(scripted);
        let refusal = policed.fetch(body).await.unwrap_err();
        assert_eq!(blocked(&refusal), ("output".to_owned(), 409));
        assert!(!policed.group.entries.is_filled());
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_cannot_be_read_goes_on_where_policies_only_watch_and_is_told_of() {
    let long = says(&"x".repeat(ENTRY_BYTES_MAX));
    for scripted in [
        Scripted { content_type: "text/html", ..answers_json("jane@example.com") },
        Scripted { content_encoding: Some("br"), ..answers_json("xx") },
        answers_json(&long),
    ] {
        let expected: Vec<u8> = scripted.acts.iter().flat_map(bytes_of).collect();
        let policed = policed(WATCHES).await;
        policed.group.provider.next(scripted);
        let seen = policed.fetch(CHAT).await.unwrap();
        assert!(seen.head.status == 200 && seen.body == expected);
        let name =
            "kt_guardrail_findings_total{policy=\"output\",phase=\"output\",action=\"monitor\"}";
        assert_eq!(policed.metric(name), "1");
        assert!(!policed.group.entries.is_filled());
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_goes_on_unread_behind_what_was_read_of_it() {
    let policed = policed(WATCHES).await;
    let mut acts = streams(&["to jane@exam", "ple.com"]);
    acts.insert(3, bytes("data: {\"choices\":\n\n"));
    let came: Vec<u8> = acts.iter().flat_map(bytes_of).collect();
    policed.group.provider.next(answers_sse(acts));
    let told = String::from_utf8(policed.fetch(CHAT_STREAM).await.unwrap().body).unwrap();
    // But for the usage, which the client has not asked for.
    assert_eq!(told, String::from_utf8(came).unwrap().replace(USAGE_CHUNK, ""));
}

#[tokio::test(start_paused = true)]
async fn embeddings_are_served_however_many_numbers_they_have() {
    let numbers = "0.25,".repeat(JSON_NODES_MAX + 1);
    for answer in [
        format!(r#"{{"data":[{{"embedding":[{numbers}1]}}],"usage":{{"prompt_tokens":1}}}}"#),
        format!(r#"{{"data":[{{"embedding":"{}"}}]}}"#, "AAAA".repeat(ENTRY_BYTES_MAX / 4)),
    ] {
        let policed = policed(REDACTS).await;
        let body = r#"{"model":"gpt-4o","input":"hi"}"#;
        let snapshot = policed.group.snapshot();
        let asked = ask_in(Dialect::OpenAiEmbeddings, &snapshot, &gateway(), &policed.key, body);
        policed.group.provider.next(answers_json(&answer));
        let (ticket, _) = policed.group.ticket(policed.planned(asked)).await;
        let seen = read(policed.group.lane(&ticket, body).await.unwrap()).await;
        assert_eq!((seen.head.status, seen.body.len()), (200, answer.len()));
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_was_planned_by_policies_that_nobody_here_knows_is_asked_to_come_again() {
    let input = |check: &str| {
        format!(
            "policies: {{chain: [{check}], policy: {{{check}: {{action: block, apply_to: [input]}}}}}}\n"
        )
    };
    // The last two block requests only: no key could tell.
    for more in [REDACTS, BLOCKS, &input("prompt-injection"), &input("secret-detector")] {
        let policed = policed(more).await;
        // A filter that has not heard of the policy of a sidecar that has just started.
        let ask = policed.group.ask(&policed.key, CHAT);
        assert_eq!(policed.group.admit(ask).await, Admitted::Draining, "{more}");
        assert_eq!(policed.metric("kt_outdated_plans_total"), "1");
        assert!(policed.fetch(CHAT).await.is_ok(), "one that has heard of it");
        assert_eq!(policed.group.provider.count(), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn a_filter_that_names_another_policy_than_its_snapshot_has_is_told_nothing_of_it() {
    let watched = policed(WATCHES).await;
    watched.fetch(CHAT).await.unwrap();
    let strict = settings_with(REDACTS);
    watched.group.sidecar.reconfigure(Ok(strict.clone())).await;
    let mut lies = watched.ask(CHAT);
    lies.plan.snapshot.clone_from(&strict.snapshot.version);
    assert_eq!(watched.group.admit(lies).await, Admitted::Draining);
}

#[tokio::test(start_paused = true)]
async fn what_an_older_policy_has_stored_is_not_shown_under_a_stricter_one_and_is_again_under_the_old()
 {
    let policed = policed(WATCHES).await;
    let answer = says("to jane@example.com");
    policed.group.provider.next(answers_json(&answer));
    policed.fetch(CHAT).await.unwrap();
    let strict = settings_with(REDACTS);
    policed.group.sidecar.reconfigure(Ok(strict.clone())).await;
    let stricter = Policed { group: policed.group, settings: strict, key: policed.key.clone() };
    let (_, reason) = policed.group.ticket(stricter.ask(CHAT)).await;
    assert_eq!(reason, Reason::Policy);
    policed.group.sidecar.reconfigure(Ok(policed.settings.clone())).await;
    assert_eq!(policed.group.hit(policed.ask(CHAT)).await, answer.as_bytes());
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_provider_is_redacted_too() {
    let policed = policed(REDACTS).await;
    let body = r#"{"error":{"message":"jane@example.com is no model"}}"#;
    policed.group.provider.next(Scripted { status: 400, ..answers_json(body) });
    let seen = policed.fetch(CHAT).await.unwrap();
    assert_eq!(seen.head.status, 400);
    assert_eq!(
        String::from_utf8(seen.body).unwrap(),
        r#"{"error":{"message":"[EMAIL] is no model"}}"#
    );
    assert_eq!(seen.head.cache.0, Outcome::Miss);
    let found =
        "kt_guardrail_findings_total{policy=\"pii-detector\",phase=\"output\",action=\"redact\"}";
    assert_eq!(policed.metric(found), "1");
}

#[tokio::test(start_paused = true)]
async fn what_comes_with_another_status_of_success_is_an_answer_for_everybody_and_policed_like_one()
{
    let created = |body: &str| Scripted { status: 201, ..answers_json(body) };
    let policed_one = policed(BLOCKS).await;
    policed_one.group.provider.next(created(&says("to jane@example.com")));
    let refusal = policed_one.fetch(CHAT).await.unwrap_err();
    assert_eq!(blocked(&refusal), ("pii-detector".to_owned(), 409));
    let policed_one = policed(BLOCKS).await;
    let head_after = Duration::from_secs(3);
    policed_one.group.provider.next(Scripted { head_after, ..created(JSON) });
    for client in policed_one.clients(CHAT, 3).await {
        let seen = client.await.unwrap().unwrap();
        assert_eq!((seen.head.status, seen.body.as_slice()), (201, JSON.as_bytes()));
    }
    assert_eq!(policed_one.group.provider.count(), 1);
    assert_eq!(policed_one.metric("kt_flight_endings_total{ending=\"uncacheable\"}"), "1");
    assert!(!policed_one.group.entries.is_filled());
}
