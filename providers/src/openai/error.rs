//! How refusals are worded: OpenAI's error envelope, as a body and as the last event of a broken stream.

use kt_contract::problem::Problem;
use kt_contract::rate::Measure;
use serde_json::json;

/// `{"error":{"message","type","param","code"}}`
pub(crate) fn error_body(problem: &Problem) -> Vec<u8> {
    let envelope = json!({
        "error": {
            "message": problem.to_string(),
            "type": kind(problem),
            "param": problem.param(),
            "code": problem.code(),
        }
    });
    envelope.to_string().into_bytes()
}

/// The same envelope as an event: SDKs raise it when a `data` line holds a non-null `error`.
pub(crate) fn error_event(problem: &Problem) -> Vec<u8> {
    let mut event = b"data: ".to_vec();
    event.extend_from_slice(&error_body(problem));
    event.extend_from_slice(b"\n\n");
    event
}

/// OpenAI's own words.
fn kind(problem: &Problem) -> &'static str {
    if matches!(problem, Problem::Unpaid(unpaid) if unpaid.is_out_of_funds()) {
        return "insufficient_quota";
    }
    if let Problem::RateLimited(limited) = problem {
        return limited.measure.as_str();
    }
    if matches!(problem, Problem::OrganizationFull(_)) {
        return Measure::Requests.as_str();
    }
    // For everything that the request is at fault for, unknown keys included.
    if problem.status() < 500 { "invalid_request_error" } else { "server_error" }
}

#[cfg(test)]
mod tests {
    use kt_contract::rate::{RateLimited, Scope};
    use kt_contract::time::Millis;
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn parsed(bytes: &[u8]) -> serde_json::Value {
        serde_json::from_slice(bytes).unwrap()
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_refusal_has_openais_four_fields() {
        let problem = Problem::ModelNotFound { model: "gpt-\"9\"".into() };
        let body = parsed(&error_body(&problem));
        assert_eq!(body["error"]["message"], problem.to_string());
        assert_eq!(body["error"]["type"], "invalid_request_error");
        assert_eq!(body["error"]["param"], "model");
        assert_eq!(body["error"]["code"], "model_not_found");
        assert_eq!(body["error"].as_object().unwrap().len(), 4);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_refusal_without_a_field_has_a_null_param() {
        assert!(parsed(&error_body(&Problem::MissingKey))["error"]["param"].is_null());
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_comes_too_soon_is_worded_as_openai_words_it() {
        for (measure, kind) in [(Measure::Requests, "requests"), (Measure::Tokens, "tokens")] {
            let (wait, reset) = (Millis(1), Millis(2));
            let (scope, per_minute, remaining) = (Scope::Key, 3, 0);
            let limited = RateLimited { scope, measure, per_minute, remaining, wait, reset };
            let body = parsed(&error_body(&Problem::RateLimited(limited)));
            assert_eq!(body["error"]["type"], kind);
            assert_eq!(body["error"]["code"], "rate_limit_exceeded");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn our_own_faults_are_server_errors() {
        let body = parsed(&error_body(&Problem::SidecarUnavailable));
        assert_eq!(body["error"]["type"], "server_error");
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn an_error_event_is_one_line_of_data_whatever_the_message_holds() {
        let problem = Problem::InvalidField { field: "a\nb\r\n".into(), what: "is\n\nodd".into() };
        let event = error_event(&problem);
        let text = std::str::from_utf8(&event).unwrap();
        let data = text.strip_prefix("data: ").unwrap().strip_suffix("\n\n").unwrap();
        assert!(!data.contains(['\n', '\r']));
        assert_eq!(parsed(data.as_bytes()), parsed(&error_body(&problem)));
    }
}
