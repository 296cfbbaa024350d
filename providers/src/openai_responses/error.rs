//! How a stream says that it has failed.

use kt_contract::problem::Problem;
use serde_json::{Value, json};

use crate::openai::error_body;

/// The `error` event, with its fields where the reference has them and the envelope beside: official SDKs
/// raise only what has the envelope. It has no `sequence_number`: whoever words it has not counted.
pub(crate) fn error_event(problem: &Problem) -> Vec<u8> {
    let envelope: Value = serde_json::from_slice(&error_body(problem)).unwrap_or_default();
    let event = json!({
        "type": "error",
        "code": problem.code(),
        "message": problem.to_string(),
        "param": problem.param(),
        "error": envelope.get("error"),
    });
    format!("event: error\ndata: {event}\n\n").into_bytes()
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn an_error_event_says_it_for_every_reader() {
        let problem = Problem::InvalidField { field: "a\nb".into(), what: "is\r\nodd".into() };
        let event = String::from_utf8(error_event(&problem)).unwrap();
        let data =
            event.strip_prefix("event: error\ndata: ").unwrap().strip_suffix("\n\n").unwrap();
        assert!(!data.contains(['\n', '\r']));
        let data: Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["type"], "error");
        for of in [&data, &data["error"]] {
            assert_eq!(of["message"], problem.to_string());
            assert_eq!(of["code"], "invalid_field");
            assert_eq!(of["param"], "a\nb");
        }
    }
}
