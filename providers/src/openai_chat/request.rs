//! What a request asks for. It reads only what kt itself must know; everything else is the provider's to judge.

use kt_contract::json::Node;
use kt_contract::problem::Problem;

use crate::dialect::Asked;
use crate::openai::request::{has_number, invalid, is_there, model, object_id, reply_shape};

/// Reads model, shape and length limit, and refuses what only one provider account could resolve.
pub(crate) fn read(body: &Node<'_>) -> Result<Asked, Problem> {
    let model = model(body)?;
    let Some(messages) = body.field("messages").and_then(Node::as_array) else {
        return Err(invalid("messages", "must be an array"));
    };
    refuse_object_ids(body, messages)?;
    let client_limited = has_number(body, &["max_tokens", "max_completion_tokens"]);
    Ok(Asked { model, reply: reply_shape(body)?, client_limited, bypass: None })
}

fn refuse_object_ids(body: &Node<'_>, messages: &[Node<'_>]) -> Result<(), Problem> {
    if is_there(body.field("previous_response_id")) {
        return Err(object_id("previous_response_id".into()));
    }
    for (at, message) in messages.iter().enumerate() {
        // An assistant's earlier spoken answer, by its id.
        if is_there(message.field("audio").and_then(|audio| audio.field("id"))) {
            return Err(object_id(format!("messages[{at}].audio.id")));
        }
        let parts = message.field("content").and_then(Node::as_array).unwrap_or_default();
        for (part_at, part) in parts.iter().enumerate() {
            if is_there(part.field("file").and_then(|file| file.field("file_id"))) {
                return Err(object_id(format!("messages[{at}].content[{part_at}].file.file_id")));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kt_contract::json::{Bounds, parse};
    use kt_contract::wire::admit::ReplyShape;
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn asked(body: &str) -> Result<Asked, Problem> {
        let bounds = Bounds { depth_max: 64, nodes_max: 1_000 };
        read(&parse(body.as_bytes(), bounds).unwrap())
    }

    fn with(rest: &str) -> Result<Asked, Problem> {
        asked(&format!(r#"{{"model":"m","messages":[]{rest}}}"#))
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn the_smallest_request_asks_for_json() {
        let (model, reply) = ("m".into(), ReplyShape::Json);
        let expected = Asked { model, reply, client_limited: false, bypass: None };
        assert_eq!(with(""), Ok(expected));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn stream_and_its_options_decide_the_shape() {
        let sse = |include_usage| ReplyShape::Sse { include_usage };
        for (rest, expected) in [
            (r#","stream":false"#, ReplyShape::Json),
            (r#","stream":null"#, ReplyShape::Json),
            (r#","stream":true"#, sse(false)),
            (r#","stream":true,"stream_options":null"#, sse(false)),
            (r#","stream":true,"stream_options":{}"#, sse(false)),
            (r#","stream":true,"stream_options":{"include_usage":null}"#, sse(false)),
            (r#","stream":true,"stream_options":{"include_usage":false}"#, sse(false)),
            (r#","stream":true,"stream_options":{"include_usage":true}"#, sse(true)),
            (r#","stream_options":{"include_usage":true}"#, ReplyShape::Json),
        ] {
            assert_eq!(with(rest).map(|asked| asked.reply), Ok(expected), "{rest}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_length_limit_is_a_number_of_the_client() {
        for (rest, expected) in [
            ("", false),
            (r#","max_tokens":null"#, false),
            (r#","max_tokens":"5""#, false),
            (r#","max_tokens":5"#, true),
            (r#","max_completion_tokens":5"#, true),
        ] {
            assert_eq!(with(rest).map(|asked| asked.client_limited), Ok(expected), "{rest}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_refusal_names_the_field() {
        for (body, field) in [
            (r#"{"messages":[]}"#, "model"),
            (r#"{"model":"","messages":[]}"#, "model"),
            (r#"{"model":4,"messages":[]}"#, "model"),
            (r#"{"model":null,"messages":[]}"#, "model"),
            (r#"{"model":"m"}"#, "messages"),
            (r#"{"model":"m","messages":{}}"#, "messages"),
            (r#"{"model":"m","messages":[],"stream":"true"}"#, "stream"),
            (r#"{"model":"m","messages":[],"stream":1}"#, "stream"),
            (r#"{"model":"m","messages":[],"stream_options":[]}"#, "stream_options"),
            (
                r#"{"model":"m","messages":[],"stream_options":{"include_usage":"yes"}}"#,
                "stream_options.include_usage",
            ),
        ] {
            let problem = asked(body).unwrap_err();
            assert_eq!((problem.param(), problem.status()), (Some(field), 400), "{body}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_body_that_is_no_object_is_refused() {
        for body in ["null", "[]", "\"model\"", "1"] {
            assert!(matches!(asked(body), Err(Problem::InvalidBody { .. })), "{body}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn ids_of_objects_at_the_provider_are_refused_by_their_place() {
        for (body, field) in [
            (
                r#"{"model":"m","messages":[],"previous_response_id":"resp_1"}"#,
                "previous_response_id",
            ),
            (
                r#"{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":"t"},
                    {"type":"file","file":{"file_id":"file-1"}}]}]}"#,
                "messages[0].content[1].file.file_id",
            ),
            (
                r#"{"model":"m","messages":[{"role":"user"},{"role":"assistant","audio":{"id":"a"}}]}"#,
                "messages[1].audio.id",
            ),
        ] {
            assert_eq!(asked(body).unwrap_err().param(), Some(field));
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn content_that_travels_in_the_request_is_fine() {
        let body = r#"{"model":"m","messages":[{"role":"user","content":[
            {"type":"file","file":{"file_data":"data:…","filename":"a.pdf","file_id":null}},
            {"type":"image_url","image_url":{"url":"data:…"}}, 7]}, "odd", {"content":null}]}"#;
        assert!(asked(body).is_ok());
    }
}
