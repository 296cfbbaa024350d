//! What is written down of each upstream call when it is over, whoever reads its answer by then: its log line, from which
//! spending is added up, and its span.

use std::io::Write;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kt_contract::trace::TraceParent;
use serde_json::{Value, json};
use sidecar_cache::service::lane::Reply;
use sidecar_cache::service::traces::{Export, Traces};
use sidecar_cache::store::ledger::LedgerStore;
use sidecar_cache::trace::{Ratio, Span, SpanKind};
use tokio::sync::mpsc::Receiver;

use crate::support::*;
use crate::wallet::{COST, FUNDS, Paying, chat, paying};

/// What is logged on this thread while it is there: the tests' tasks run on no other.
pub(crate) struct Lines {
    text: Arc<Mutex<Vec<u8>>>,
    _listens: tracing::subscriber::DefaultGuard,
}

/// With these two, whether anybody wants a line is asked of all who listen. Of a single one it would be asked on the thread
/// that comes first, where perhaps nobody listens, and that would hold for all.
static ASKED_TOO: LazyLock<[tracing::Dispatch; 2]> = LazyLock::new(|| {
    [(); 2].map(|()| tracing_subscriber::fmt().with_writer(std::io::sink).finish().into())
});

/// Where lines are gathered.
struct Gathered(Arc<Mutex<Vec<u8>>>);

// === impl Lines ===

impl Lines {
    pub(crate) fn listen() -> Self {
        LazyLock::force(&ASKED_TOO);
        let text = Arc::<Mutex<Vec<u8>>>::default();
        let to = Arc::clone(&text);
        let subscriber = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_writer(move || Gathered(Arc::clone(&to)))
            .finish();
        Self { text, _listens: tracing::subscriber::set_default(subscriber) }
    }

    /// How many of them begin like that.
    pub(crate) fn saying(&self, begins: &str) -> usize {
        let text = String::from_utf8(self.text.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
        let says = |line: &Value| {
            line["message"].as_str().is_some_and(|message| message.starts_with(begins))
        };
        lines.filter(says).count()
    }

    /// The lines of calls that are over.
    fn calls(&self) -> Vec<Value> {
        let text = String::from_utf8(self.text.lock().unwrap().clone()).unwrap();
        let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
        lines.filter(|line: &Value| line["target"] == "kt::call").collect()
    }

    /// The only one.
    fn call(&self) -> Value {
        let mut calls = self.calls();
        assert_eq!(calls.len(), 1, "{calls:?}");
        calls.remove(0)
    }
}

impl Write for Gathered {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// A group with money, and the way that its spans take.
async fn traced() -> (&'static Paying, Receiver<Export>) {
    let paying = paying("wallet: {}\n", FUNDS).await;
    let (traces, exports) = Traces::new(Ratio::ALL);
    paying.group.sidecar.trace_to(traces);
    (paying, exports)
}

/// The spans of calls.
fn client_spans(exports: &mut Receiver<Export>) -> Vec<Span> {
    let mut spans = Vec::new();
    while let Ok(export) = exports.try_recv() {
        let Export::Span(span) = export else { continue };
        if span.kind == SpanKind::Client {
            spans.push(*span);
        }
    }
    spans
}

/// These fields of a line.
fn of<const N: usize>(line: &Value, fields: [&str; N]) -> Value {
    fields.iter().map(|field| line[field].clone()).collect()
}

/// Some values.
fn attributes<const N: usize>(span: &Span, names: [&str; N]) -> Vec<String> {
    let value = |name: &&str| {
        let found = span.attributes.iter().find(|(of, _)| of == name);
        found.map_or_else(|| "none".to_owned(), |(_, value)| format!("{value:?}"))
    };
    names.iter().map(value).collect()
}

#[tokio::test(start_paused = true)]
async fn the_line_of_a_whole_call_says_in_whose_name_it_was_made_and_what_it_has_cost() {
    let paying = paying("wallet: {}\n", FUNDS).await;
    let key = paying.group.key().await;
    let lines = Lines::listen();
    let slow = Scripted { head_after: Duration::from_secs(3), ..answers_json(JSON) };
    paying.group.provider.next(Scripted {
        acts: vec![bytes(&JSON[..20]), Act::Wait(Duration::from_secs(2)), bytes(&JSON[20..])],
        ..slow
    });
    let asking = paying.crowd(&[&key, &key], CHAT).await;
    let holds = paying.ledger.holds("acme".to_owned()).await.unwrap();
    let [hold] = &holds[..] else { panic!("one is set aside") };
    let hold = hold.id.0.to_hex();
    for asked in asking {
        assert!(asked.await.unwrap().unwrap().has_end);
    }
    settle().await;
    let line = lines.call();
    let whose = ["request_id", "attempt", "gateway", "org", "user_id", "key_id", "target_id"];
    let first = format!("{:032x}", 1);
    let key_id = key.principal.key_id;
    assert_eq!(
        of(&line, whose),
        json!([first, 1, "gw-a", "acme", "ada", key_id, "openai-1"]),
        "{line}"
    );
    let came = ["http_status", "first_byte_ms", "latency_ms", "answer_bytes", "readers", "end"];
    assert_eq!(of(&line, came), json!([200, 3_000, 5_000, JSON.len(), 2, "served"]), "{line}");
    let cost = ["hold", "cost_micro_usd", "cost_estimated", "input_tokens", "output_tokens"];
    assert_eq!(of(&line, cost), json!([hold, COST, false, 5, 7]), "{line}");
    assert_eq!(of(&line, ["stored", "not_stored"]), json!([true, null]), "{line}");
}

#[tokio::test(start_paused = true)]
async fn the_line_of_a_call_that_failed_or_was_left_says_so_and_why_nothing_is_kept() {
    let refused = Scripted { status: 500, ..answers_json("{}") };
    let paying = paying("wallet: {}\n", FUNDS).await;
    let key = paying.group.key().await;
    let lines = Lines::listen();
    paying.group.provider.next(refused);
    let _ = paying.fetch(&key, CHAT).await;
    settle().await;
    let line = lines.call();
    let fields = ["http_status", "end", "stored", "not_stored", "readers", "cost_micro_usd"];
    assert_eq!(of(&line, fields), json!([500, "failed", false, "status", 1, null]), "{line}");
    assert!(line["hold"].is_string(), "{line}");

    let lines = Lines::listen();
    let acts = vec![bytes(CHUNKS), Act::Wait(Duration::from_secs(60))];
    paying.group.provider.next(answers_sse(acts));
    let body = chat("another").replacen('{', r#"{"stream":true,"#, 1);
    let Ok(Reply::Stream(_, mut reader)) = paying.ask(&key, &body).await else {
        panic!("it is a stream")
    };
    let _ = reader.recv().await;
    drop(reader);
    settle().await;
    let line = lines.call();
    let fields = ["http_status", "end", "stored", "not_stored", "readers", "cost_estimated"];
    assert_eq!(
        of(&line, fields),
        json!([200, "cancelled", false, "client-left", 0, true]),
        "{line}"
    );
    assert_eq!(line["answer_bytes"], CHUNKS.len(), "{line}");
    assert!(line["cost_micro_usd"].as_u64().is_some_and(|cost| cost > 0), "{line}");
}

#[tokio::test(start_paused = true)]
async fn the_line_of_a_call_that_nobody_accounts_for_has_its_cost_and_no_hold() {
    let paying = paying("", 0).await;
    let key = paying.group.key().await;
    let lines = Lines::listen();
    assert!(paying.fetch(&key, CHAT).await.unwrap().has_end);
    settle().await;
    let line = lines.call();
    let fields = ["hold", "cost_micro_usd", "cost_estimated"];
    assert_eq!(of(&line, fields), json!([null, COST, false]), "{line}");
    let told = "llm_cost_usd_total{model=\"gpt-4o-mini\",provider=\"openai\"}";
    assert_eq!(paying.group.metric(told).parse(), Ok(COST as f64 / 1e6));
}

#[tokio::test(start_paused = true)]
async fn the_span_of_a_call_is_part_of_its_requests_and_the_providers_parent() {
    let (paying, mut exports) = traced().await;
    let key = paying.group.key().await;
    let client = TraceParent { trace_id: [7; 16], span_id: [9; 8], is_sampled: true };
    for (nth, (scripted, error, status)) in [
        (answers_json(JSON), None, "Number(200)"),
        (Scripted { status: 400, ..answers_json("{}") }, Some("400"), "Number(400)"),
        (Scripted { status: 503, ..answers_json("{}") }, Some("503"), "Number(503)"),
        (Scripted { acts: vec![Act::Break], ..answers_json("") }, Some("failed"), "Number(200)"),
    ]
    .into_iter()
    .enumerate()
    {
        let (id, body) = (format!("{:032x}", 100 + nth), chat(&format!("question {nth}")));
        let mut ask = paying.group.ask(&key, &body);
        (ask.request_id, ask.trace) = (id.clone(), Some(client));
        let (ticket, _) = paying.group.ticket(ask).await;
        let entered = paying.group.sidecar.enter(Some(&ticket), &holder_of(&id)).unwrap();
        paying.group.provider.next(scripted);
        let body = Bytes::copy_from_slice(body.as_bytes());
        if let Ok(reply) = paying.group.sidecar.serve(entered, Vec::new(), body).await {
            let _ = read(reply).await;
        }
        settle().await;
        let spans = client_spans(&mut exports);
        let [span] = &spans[..] else { panic!("one call: {spans:?}") };
        assert_eq!(span.at.trace_id, client.trace_id);
        let sent = paying.group.provider.calls().last().unwrap().trace.unwrap();
        assert_eq!((sent.trace_id, sent.span_id), (span.at.trace_id, span.at.span_id));
        assert_eq!(span.error.as_deref(), error);
        assert_eq!(attributes(span, ["http.response.status_code"]), [status]);
    }
}
