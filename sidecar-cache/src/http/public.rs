//! The TCP listener: health and metrics, and nothing else. A pod shares its loopback, so it is no trust
//! boundary.

use http::{HeaderValue, Method, Request, StatusCode, header};
use hyper::body::Incoming;
use kt_contract::wire::admin::Condition;
use serde::Serialize;

use super::serve::Stage;
use super::{Answer, json, problem, with_type};
use crate::metrics::classic;
use crate::service::Sidecar;

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const CLASSIC: &str = "text/plain; version=0.0.4; charset=utf-8";

#[derive(Serialize)]
struct Health {
    status: Condition,
    snapshot: String,
    /// Stores that are away, by their names: where they are is nobody's business here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stores_away: Vec<&'static str>,
}

/// What is said of one that serves nobody yet.
#[derive(Serialize)]
struct NotYet {
    status: &'static str,
}

/// Answers one request.
pub(super) fn answer(sidecar: &Sidecar, stage: Stage, request: &Request<Incoming>) -> Answer {
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/health") => match stage {
            Stage::Starting => {
                json(StatusCode::SERVICE_UNAVAILABLE, &NotYet { status: "starting" })
            }
            Stage::Serving => health(sidecar),
        },
        (&Method::GET | &Method::HEAD, "/metrics") => {
            sidecar.metrics.starting(stage == Stage::Starting);
            metrics(sidecar, request)
        }
        (_, "/health" | "/metrics") => problem::wrong_method(),
        _ => problem::unknown_path(),
    }
}

/// In the format that was asked for: Prometheus asks for OpenMetrics, and who asks for nothing reads its own text.
fn metrics(sidecar: &Sidecar, request: &Request<Incoming>) -> Answer {
    let accepts = request.headers().get_all(header::ACCEPT).iter();
    let is_open = accepts
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("application/openmetrics-text"));
    let text = sidecar.render_metrics();
    let (content_type, text) =
        if is_open { (OPENMETRICS, text) } else { (CLASSIC, classic(&text)) };
    with_type(StatusCode::OK, HeaderValue::from_static(content_type), text.into())
}

/// A sidecar with a bad file still serves; one that drains wants no more traffic.
fn health(sidecar: &Sidecar) -> Answer {
    let status = sidecar.condition();
    let code = match status {
        Condition::Ok | Condition::Degraded => StatusCode::OK,
        Condition::Draining => StatusCode::SERVICE_UNAVAILABLE,
    };
    let snapshot = sidecar.snapshot_version();
    json(code, &Health { status, snapshot, stores_away: sidecar.stores_away() })
}
