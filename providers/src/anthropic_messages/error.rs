//! How refusals are worded: Anthropic's error envelope, as a body and as the last event of a broken stream.

use kt_contract::problem::Problem;
use serde_json::json;

/// `{"type":"error","error":{"type","message","code","param"}}`: the API's envelope, and in it our own stable
/// code, which SDKs hand on with the body (`error.body` in Python, `error.error` in JavaScript).
pub(crate) fn error_body(problem: &Problem) -> Vec<u8> {
    let envelope = json!({
        "type": "error",
        "error": {
            "type": kind(problem.status()),
            "message": problem.to_string(),
            "code": problem.code(),
            "param": problem.param(),
        }
    });
    envelope.to_string().into_bytes()
}

/// The same envelope as an event: SDKs raise it by the event's name.
pub(crate) fn error_event(problem: &Problem) -> Vec<u8> {
    let mut event = b"event: error\ndata: ".to_vec();
    event.extend_from_slice(&error_body(problem));
    event.extend_from_slice(b"\n\n");
    event
}

/// The API's own word for a status.
const fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 => "overloaded_error",
        504 => "timeout_error",
        0..=499 => "invalid_request_error",
        500.. => "api_error",
    }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn parsed(bytes: &[u8]) -> serde_json::Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_refusal_has_anthropics_envelope_and_our_code() {
        let problem = Problem::ModelNotFound { model: "claude-\"9\"".into() };
        let body = parsed(&error_body(&problem));
        assert_eq!(body["type"], "error");
        assert_eq!(body["error"]["type"], "not_found_error");
        assert_eq!(body["error"]["message"], problem.to_string());
        assert_eq!(body["error"]["code"], "model_not_found");
        assert_eq!(body["error"]["param"], "model");
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn each_refusal_has_the_apis_word_for_its_status() {
        let field = || ("f".to_owned(), "w".to_owned());
        for (problem, kind) in [
            (Problem::MissingKey, "authentication_error"),
            (Problem::CodebaseNotAllowed { codebase: "c".into() }, "permission_error"),
            (Problem::UnknownPath { path: "/".into() }, "not_found_error"),
            (Problem::InvalidField { field: field().0, what: field().1 }, "invalid_request_error"),
            (Problem::TooLarge { bytes_max: 1 }, "request_too_large"),
            (
                Problem::PolicyBlocked { policy: "p".into(), status: 409, what: "w".into() },
                "invalid_request_error",
            ),
            (Problem::SidecarUnavailable, "overloaded_error"),
            (Problem::AuditUnavailable, "overloaded_error"),
            (Problem::UpstreamUnreachable { target: "t".into() }, "api_error"),
            (Problem::Internal, "api_error"),
        ] {
            assert_eq!(parsed(&error_body(&problem))["error"]["type"], kind, "{problem:?}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn an_error_event_has_its_name_and_one_line_of_data_whatever_the_message_holds() {
        let problem = Problem::InvalidField { field: "a\nb\r\n".into(), what: "is\n\nodd".into() };
        let event = error_event(&problem);
        let text = std::str::from_utf8(&event).unwrap();
        let data = text.strip_prefix("event: error\ndata: ").unwrap().strip_suffix("\n\n").unwrap();
        assert!(!data.contains(['\n', '\r']));
        assert_eq!(parsed(data.as_bytes()), parsed(&error_body(&problem)));
    }
}
