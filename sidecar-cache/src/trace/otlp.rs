//! Spans as OTLP wants them, in its JSON encoding (opentelemetry-proto, `trace/v1`, and the rules of "JSON Protobuf Encoding"
//! in the OTLP specification): ids in hexadecimal digits, 64-bit numbers as texts, enumerations as numbers.

use kt_contract::time::UnixMillis;
use kt_contract::trace::TraceParent;
use serde_json::{Value as Json, json};

use super::{Span, SpanKind, Value};
use crate::random::to_hex;

/// The name of what makes these spans.
const SCOPE: &str = "kt";

/// One export: all `spans`, of the service with that name.
#[must_use]
pub fn request(service: &str, spans: &[Span]) -> Vec<u8> {
    let spans: Vec<Json> = spans.iter().map(span).collect();
    let version = env!("CARGO_PKG_VERSION");
    let resource = [
        attribute("service.name", &Value::from(service)),
        attribute("service.version", &Value::from(version)),
    ];
    let export = json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{"scope": {"name": SCOPE, "version": version}, "spans": spans}],
    }]});
    export.to_string().into_bytes()
}

fn span(span: &Span) -> Json {
    let Span { at, name, kind, ended, attributes, link, error } = span;
    let mut told = json!({
        "traceId": to_hex(&at.trace_id),
        "spanId": to_hex(&at.span_id),
        "parentSpanId": at.parent.map_or_else(String::new, |parent| to_hex(&parent)),
        "name": name,
        "kind": match kind {
            SpanKind::Server => 2,
            SpanKind::Client => 3,
        },
        "startTimeUnixNano": nanos(at.started),
        "endTimeUnixNano": nanos(*ended),
        "attributes": attributes.iter().map(|(key, value)| attribute(key, value)).collect::<Vec<_>>(),
        "links": link.iter().map(linked).collect::<Vec<_>>(),
    });
    if let (Some(error), Some(fields)) = (error, told.as_object_mut()) {
        fields.insert("status".to_owned(), json!({"code": 2, "message": error}));
    }
    told
}

fn linked(to: &TraceParent) -> Json {
    json!({"traceId": to_hex(&to.trace_id), "spanId": to_hex(&to.span_id)})
}

fn attribute(key: &str, value: &Value) -> Json {
    let value = match value {
        Value::Text(text) => json!({"stringValue": text}),
        Value::Number(number) => json!({"intValue": number.to_string()}),
        Value::Flag(flag) => json!({"boolValue": flag}),
    };
    json!({"key": key, "value": value})
}

fn nanos(at: UnixMillis) -> String {
    (u128::from(at.0) * 1_000_000).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Traced;

    #[test]
    fn a_span_is_encoded_as_the_protocol_has_it() {
        let at = Traced {
            trace_id: [0xab; 16],
            span_id: [0xcd; 8],
            parent: None,
            started: UnixMillis(1_764_000_000_123),
        };
        let failed = Span {
            at,
            name: "chat gpt-4o".to_owned(),
            kind: SpanKind::Client,
            ended: UnixMillis(1_764_000_000_200),
            attributes: vec![
                ("gen_ai.request.model", Value::from("gpt-4o")),
                ("gen_ai.usage.input_tokens", Value::from(u64::MAX)),
                ("kt.stored", Value::from(false)),
            ],
            link: Some(TraceParent { trace_id: [1; 16], span_id: [2; 8], is_sampled: true }),
            error: Some("upstream_cut_short".to_owned()),
        };
        let sent: Json = serde_json::from_slice(&request("kt-sidecar", &[failed])).unwrap();
        let of = |pointer: &str| sent.pointer(pointer).unwrap().clone();
        assert_eq!(of("/resourceSpans/0/resource/attributes/0/value/stringValue"), "kt-sidecar");
        let span = of("/resourceSpans/0/scopeSpans/0/spans/0");
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(
            of("/resourceSpans/0/scopeSpans/0/scope"),
            json!({"name": "kt", "version": version})
        );
        assert_eq!(
            span,
            json!({
                "traceId": "ab".repeat(16), "spanId": "cd".repeat(8), "parentSpanId": "",
                "name": "chat gpt-4o", "kind": 3,
                "startTimeUnixNano": "1764000000123000000", "endTimeUnixNano": "1764000000200000000",
                "attributes": [
                    {"key": "gen_ai.request.model", "value": {"stringValue": "gpt-4o"}},
                    {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "18446744073709551615"}},
                    {"key": "kt.stored", "value": {"boolValue": false}},
                ],
                "links": [{"traceId": "01".repeat(16), "spanId": "02".repeat(8)}],
                "status": {"code": 2, "message": "upstream_cut_short"},
            })
        );
    }
}
