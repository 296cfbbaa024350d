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
    message: &'static str,
    advice: Advice,
}

/// Whether to try again.
#[derive(Clone, Copy)]
enum Advice {
    Final,
    Retry,
}

/// The first that matches counts.
const MAPPERS: &[Mapper] = &[
    Mapper {
        when: "response.code == 413",
        status: None,
        code: "request_too_large",
        message: "The request body is larger than this gateway takes.",
        advice: Advice::Final,
    },
    Mapper {
        // The credential injector's: the target's credential is missing, not the client's.
        when: "response.code == 401",
        status: Some(502),
        code: "upstream_unreachable",
        message: "The gateway has no credential for the provider target.",
        advice: Advice::Final,
    },
    Mapper {
        when: "response.code_details.startsWith('rbac_access_denied')",
        status: Some(400),
        code: "gateway_error",
        message: "The gateway cannot take this request: it has two Host fields.",
        advice: Advice::Final,
    },
    Mapper {
        when: "response.code < 500",
        status: None,
        code: "gateway_error",
        message: "The gateway cannot take this request: %RESPONSE_CODE_DETAILS%.",
        advice: Advice::Final,
    },
    Mapper {
        when: "xds.route_name == 'lane_sidecar'",
        status: Some(503),
        code: "sidecar_unavailable",
        message: "The gateway's sidecar cannot be reached. Try again in a moment.",
        advice: Advice::Retry,
    },
    Mapper {
        when: "xds.route_name.startsWith('direct_')",
        status: Some(502),
        code: "upstream_unreachable",
        message: "The provider could not be reached. Try again in a moment.",
        advice: Advice::Retry,
    },
    Mapper {
        when: "true",
        status: None,
        code: "gateway_error",
        message: "The gateway could not finish this request. Try again in a moment.",
        advice: Advice::Retry,
    },
];

/// The mappers of ingress.
pub(super) fn mappers() -> Result<Value, TemplateError> {
    MAPPERS.iter().map(Mapper::fill).collect::<Result<Vec<_>, _>>().map(Value::Array)
}

// === impl Mapper ===

impl Mapper {
    fn fill(&self) -> Result<Value, TemplateError> {
        let Self { when, status, code, message, advice } = self;
        let (advice, advice_value, kind) = match advice {
            Advice::Final => ("x-should-retry", "false", "invalid_request_error"),
            Advice::Retry => ("retry-after", "1", "server_error"),
        };
        let kind = if status.is_some_and(|it| it >= 500) { "server_error" } else { kind };
        LOCAL_REPLY.fill(&values([
            ("expression", json!(format!("response.code_details != '' && {when}"))),
            ("status", json!(status)),
            ("message", json!(message)),
            ("type", json!(kind)),
            ("code", json!(code)),
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
    fn every_code_is_documented() {
        let page = include_str!("../../../docs/reference/errors.md");
        for mapper in MAPPERS {
            assert!(page.contains(&format!("`{}`", mapper.code)), "{}", mapper.code);
        }
    }
}
