//! What a request asks for. It reads only what kt itself must know; everything else is the provider's to judge.

use kt_contract::json::Node;
use kt_contract::problem::Problem;

use crate::demand;
use crate::dialect::Asked;
use crate::openai::request::{has_number, invalid, model, reply_shape};

/// Reads model, shape and length limit. A completion names no objects at the provider: its prompt is text or
/// tokens. Where it has no limit, OpenAI's own is 16 tokens; what that one cuts is not stored.
pub(crate) fn read(body: &Node<'_>) -> Result<Asked, Problem> {
    let model = model(body)?;
    match body.field("prompt") {
        // Without a prompt the model starts a document of its own.
        None | Some(Node::Null | Node::String(_) | Node::Array(_)) => {}
        Some(Node::Bool(_) | Node::Number(_) | Node::Object(_)) => {
            return Err(invalid("prompt", "must be a string or an array"));
        }
    }
    let client_limited = has_number(body, &["max_tokens"]);
    Ok(Asked { model, reply: reply_shape(body)?, client_limited, bypass: None })
}

/// How many texts are made: of `best_of` for each prompt all but `n` are thrown away, and cost as well.
pub(crate) fn answers_made(body: &Node<'_>) -> u64 {
    let prompts = match body.field("prompt").and_then(Node::as_array) {
        // Tokens are one prompt.
        Some([Node::Number(_), ..] | []) | None => 1,
        Some(prompts) => prompts.len() as u64,
    };
    demand::count(body, "n").max(demand::count(body, "best_of")).saturating_mul(prompts)
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

    #[wasm_bindgen_test(unsupported = test)]
    fn model_shape_and_limit_are_read() {
        let sse = |include_usage| ReplyShape::Sse { include_usage };
        for (rest, reply, client_limited) in [
            ("", ReplyShape::Json, false),
            (r#","prompt":"x","max_tokens":5"#, ReplyShape::Json, true),
            (r#","prompt":["x","y"],"max_tokens":null,"stream":true"#, sse(false), false),
            (r#","prompt":[[1,2],[3]],"max_completion_tokens":5"#, ReplyShape::Json, false),
            (
                r#","prompt":null,"stream":true,"stream_options":{"include_usage":true}"#,
                sse(true),
                false,
            ),
        ] {
            let expected = Asked { model: "m".into(), reply, client_limited, bypass: None };
            assert_eq!(asked(&format!(r#"{{"model":"m"{rest}}}"#)), Ok(expected), "{rest}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_refusal_names_the_field() {
        for (body, field) in [
            (r#"{"prompt":"x"}"#, "model"),
            (r#"{"model":"m","prompt":7}"#, "prompt"),
            (r#"{"model":"m","prompt":{}}"#, "prompt"),
            (r#"{"model":"m","prompt":"x","stream":"yes"}"#, "stream"),
        ] {
            let problem = asked(body).unwrap_err();
            assert_eq!((problem.param(), problem.status()), (Some(field), 400), "{body}");
        }
        assert!(matches!(asked("[]"), Err(Problem::InvalidBody { .. })));
    }
}
