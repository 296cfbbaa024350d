//! The export of spans: OTLP over HTTP in its JSON encoding, to a collector near the sidecar. In batches, each sent once: a
//! collector that is away costs spans, which are counted, and nothing else.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout, timeout_at};

use super::egress::USER_AGENT;
use crate::metrics::Metrics;
use crate::service::traces::Export;
use crate::trace::{Span, otlp};

/// How many spans go together at most.
const BATCH_MAX: usize = 512;
/// How long the first of them waits for others.
const BATCH_WITHIN: Duration = Duration::from_secs(1);
/// How long an export may take.
const EXPORT_MAX: Duration = Duration::from_secs(5);
/// How much of what it answers is read.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Where a collector takes traces, below its address (the OTLP specification, "OTLP/HTTP Request").
const PATH: &str = "/v1/traces";

/// Where a collector takes traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collector(Uri);

/// A text that is no address of a collector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "expected http://HOST:PORT of a collector that takes OTLP over HTTP; for TLS put one beside the sidecar"
)]
pub struct NoCollector;

// === impl Collector ===

impl FromStr for Collector {
    type Err = NoCollector;

    /// The base address, as `OTEL_EXPORTER_OTLP_ENDPOINT` has it.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut parts = text.parse::<Uri>().map_err(|_| NoCollector)?.into_parts();
        let is_http = parts.scheme.as_ref().is_some_and(|scheme| scheme.as_str() == "http");
        let has_query = parts.path_and_query.as_ref().is_some_and(|path| path.query().is_some());
        // It would be said in the log, and not be sent.
        let has_login = parts.authority.as_ref().is_some_and(|host| host.as_str().contains('@'));
        if !is_http || has_query || has_login {
            return Err(NoCollector);
        }
        let base = parts.path_and_query.as_ref().map_or("", PathAndQuery::path);
        let path = format!("{}{PATH}", base.trim_end_matches('/'));
        parts.path_and_query = Some(path.parse().map_err(|_| NoCollector)?);
        Uri::from_parts(parts).map(Self).map_err(|_| NoCollector)
    }
}

impl fmt::Display for Collector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Exports what comes, for as long as anything may come.
pub async fn export(
    collector: Collector,
    service: String,
    mut exports: Receiver<Export>,
    metrics: Arc<Metrics>,
) {
    let client = Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .build::<_, Full<Bytes>>(HttpConnector::new());
    let mut is_away = false;
    while let Some(first) = exports.recv().await {
        let mut flushes = Vec::new();
        let spans = batch(first, &mut exports, &mut flushes).await;
        if !spans.is_empty() {
            let request = request(&collector, otlp::request(&service, &spans));
            let sent = timeout(EXPORT_MAX, send(&client, request)).await;
            let problem = match sent {
                Ok(Ok(status)) if status.is_success() => None,
                Ok(Ok(status)) => Some(format!("it answers {}", status.as_u16())),
                Ok(Err(error)) => Some(error.to_string()),
                Err(_) => Some("it does not answer".to_owned()),
            };
            let result = if problem.is_none() { "exported" } else { "lost" };
            metrics.spans_exported(result, spans.len() as u64);
            // Once for each time that it goes away.
            if let Some(problem) = problem.as_ref().filter(|_| !is_away) {
                tracing::warn!(%collector, problem, "the collector does not take spans; they are lost");
            }
            is_away = problem.is_some();
        }
        for done in flushes {
            let _: Result<(), ()> = done.send(());
        }
    }
}

/// Sends an export. The answer is read to its end, or the connection could carry no other.
async fn send(
    client: &Client<HttpConnector, Full<Bytes>>,
    request: Request<Full<Bytes>>,
) -> Result<StatusCode, hyper_util::client::legacy::Error> {
    let answer = client.request(request).await?;
    let status = answer.status();
    // What it says beside its status changes nothing, nor does that it breaks off.
    let _ = Limited::new(answer.into_body(), ANSWER_BYTES_MAX).collect().await;
    Ok(status)
}

/// The spans that go with the first: those that come until it has waited long enough, or somebody wants all of them sent.
async fn batch(
    first: Export,
    exports: &mut Receiver<Export>,
    flushes: &mut Vec<tokio::sync::oneshot::Sender<()>>,
) -> Vec<Span> {
    let (mut spans, until) = (Vec::new(), Instant::now() + BATCH_WITHIN);
    let mut next = Some(first);
    while let Some(export) = next {
        match export {
            Export::Span(span) => spans.push(*span),
            Export::Flush(done) => {
                flushes.push(done);
                break;
            }
        }
        next = match spans.len() < BATCH_MAX {
            true => timeout_at(until, exports.recv()).await.ok().flatten(),
            false => None,
        };
    }
    spans
}

fn request(collector: &Collector, body: Vec<u8>) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::new(Bytes::from(body)));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = collector.0.clone();
    let map = request.headers_mut();
    map.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    map.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collector_is_named_by_its_base_address() {
        for (text, expected) in [
            ("http://localhost:4318", "http://localhost:4318/v1/traces"),
            ("http://localhost:4318/", "http://localhost:4318/v1/traces"),
            ("http://collector.mesh:80/otlp/", "http://collector.mesh:80/otlp/v1/traces"),
        ] {
            assert_eq!(text.parse::<Collector>().unwrap().to_string(), expected);
        }
        for bad in [
            "",
            "localhost:4318",
            "https://localhost:4318",
            "http://a/?b",
            "http://ada:made-up@a",
            "/v1/traces",
        ] {
            assert_eq!(bad.parse::<Collector>(), Err(NoCollector), "{bad}");
        }
    }
}
