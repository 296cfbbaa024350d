//! What Envoy itself refuses, in the client's error shape and with the codes of `docs/reference/errors.md`.
//! Messages name no addresses and no reasons of Envoy's; its details stand in the request log.

use serde_json::{Value, json};

use super::bootstrap::values;
use super::template::{Template, TemplateError};

const LOCAL_REPLY: Template =
    Template::new("local-reply.yaml", include_str!("../../../envoy/local-reply.yaml"));

/// Which of Envoy's replies, and what becomes of it. `%…%` in a message is Envoy's to fill in.
struct Mapper {
    /// In CEL, about a reply that is Envoy's own.
    when: &'static str,
    /// The status, where Envoy's would mislead.
    status: Option<u16>,
    code: &'static str,
    /// What Anthropic's API calls an error of this kind.
    kind_of_anthropic: &'static str,
    message: &'static str,
    advice: Advice,
}

/// Whose error shape.
#[derive(Clone, Copy)]
enum Shape {
    OpenAi,
    Anthropic,
}

/// Whether to try again.
#[derive(Clone, Copy)]
enum Advice {
    Final,
    Retry,
}

/// Requests of Anthropic's clients: by their path, or by the header that they send everywhere.
const OF_ANTHROPIC: &str =
    "(request.path.startsWith('/v1/messages') || 'anthropic-version' in request.headers)";

/// The first that matches counts.
const MAPPERS: &[Mapper] = &[
    Mapper {
        when: "response.code == 413",
        status: None,
        code: "request_too_large",
        kind_of_anthropic: "request_too_large",
        message: "The request body is larger than this gateway takes.",
        advice: Advice::Final,
    },
    Mapper {
        // The credential injector's: the target's credential is missing, not the client's.
        when: "response.code == 401",
        status: Some(502),
        code: "upstream_unreachable",
        kind_of_anthropic: "api_error",
        message: "The gateway has no credential for the provider target.",
        advice: Advice::Final,
    },
    Mapper {
        when: "response.code_details.startsWith('rbac_access_denied')",
        status: Some(400),
        code: "gateway_error",
        kind_of_anthropic: "invalid_request_error",
        message: "The gateway cannot take this request: it has two Host fields.",
        advice: Advice::Final,
    },
    Mapper {
        // A Transfer-Encoding that is not read here will not be read the next time either.
        when: "(response.code < 500 || response.code == 501)",
        status: None,
        code: "gateway_error",
        kind_of_anthropic: "invalid_request_error",
        message: "The gateway cannot take this request: %RESPONSE_CODE_DETAILS%.",
        advice: Advice::Final,
    },
    Mapper {
        when: "xds.route_name == 'lane_sidecar'",
        status: Some(503),
        code: "sidecar_unavailable",
        kind_of_anthropic: "overloaded_error",
        message: "The gateway's sidecar cannot be reached. Try again in a moment.",
        advice: Advice::Retry,
    },
    Mapper {
        when: "xds.route_name.startsWith('direct_')",
        status: Some(502),
        code: "upstream_unreachable",
        kind_of_anthropic: "api_error",
        message: "The provider could not be reached. Try again in a moment.",
        advice: Advice::Retry,
    },
    Mapper {
        when: "true",
        status: None,
        code: "gateway_error",
        kind_of_anthropic: "api_error",
        message: "The gateway could not finish this request. Try again in a moment.",
        advice: Advice::Retry,
    },
];

/// The mappers of ingress.
pub(super) fn mappers() -> Result<Value, TemplateError> {
    let shapes = [Shape::Anthropic, Shape::OpenAi];
    let all = shapes.into_iter().flat_map(|shape| MAPPERS.iter().map(move |it| it.fill(shape)));
    all.collect::<Result<Vec<_>, _>>().map(Value::Array)
}

// === impl Mapper ===

impl Mapper {
    fn fill(&self, shape: Shape) -> Result<Value, TemplateError> {
        let Self { when, status, code, kind_of_anthropic, message, advice } = self;
        let (advice, advice_value, kind) = match advice {
            Advice::Final => ("x-should-retry", "false", "invalid_request_error"),
            Advice::Retry => ("retry-after", "1", "server_error"),
        };
        let kind = if status.is_some_and(|it| it >= 500) { "server_error" } else { kind };
        let (whose, format) = match shape {
            Shape::OpenAi => (
                String::new(),
                json!({"error": {"message": message, "type": kind, "param": null, "code": code}}),
            ),
            Shape::Anthropic => (
                format!("{OF_ANTHROPIC} && "),
                json!({"type": "error", "error": {"type": kind_of_anthropic, "message": message,
                    "code": code, "param": null}}),
            ),
        };
        LOCAL_REPLY.fill(&values([
            ("expression", json!(format!("response.code_details != '' && {whose}{when}"))),
            ("status", json!(status)),
            ("format", format),
            ("advice", json!(advice)),
            ("advice_value", json!(advice_value)),
        ]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mapper_leaves_the_filters_own_replies_alone() {
        for mapper in mappers().unwrap().as_array().unwrap() {
            let expression = mapper.pointer("/filter/extension_filter/typed_config/expression");
            let expression = expression.and_then(Value::as_str).unwrap();
            assert!(expression.starts_with("response.code_details != '' && "), "{expression}");
        }
    }

    #[test]
    fn clients_of_anthropic_are_told_in_its_shape_and_all_others_in_openais() {
        let mappers = mappers().unwrap();
        for mapper in mappers.as_array().unwrap() {
            let expression = mapper.pointer("/filter/extension_filter/typed_config/expression");
            let is_anthropics = expression.unwrap().as_str().unwrap().contains(OF_ANTHROPIC);
            let format = &mapper["body_format_override"]["json_format"];
            assert_eq!(format["type"] == "error", is_anthropics, "{mapper}");
            for field in ["type", "message", "code"] {
                assert!(format["error"][field].is_string(), "{mapper}");
            }
        }
        assert_eq!(mappers.as_array().unwrap().len(), 2 * MAPPERS.len());
    }

    #[test]
    fn every_code_is_documented() {
        let page = include_str!("../../../docs/reference/errors.md");
        for mapper in MAPPERS {
            assert!(page.contains(&format!("`{}`", mapper.code)), "{}", mapper.code);
        }
    }
}
