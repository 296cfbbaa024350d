//! What a request asks for. It reads only what kt itself must know; everything else is the provider's to judge.

use kt_contract::json::Node;
use kt_contract::problem::Problem;
use kt_contract::wire::admit::ReplyShape;

use super::tools;
use crate::dialect::Asked;
use crate::openai::request::{has_number, invalid, is_there, model, object_id, truth};

/// Where a request names an object or a state that lives in one provider account.
const IN_ONE_ACCOUNT: &[&[&str]] = &[
    &["container"],
    &["thread"],
    &["diagnostics", "previous_message_id"],
    &["fallback_credit_token"],
];

/// Reads model, shape and length limit, and refuses what only one provider account could resolve.
pub(crate) fn read(body: &Node<'_>) -> Result<Asked, Problem> {
    let model = model(body)?;
    let Some(messages) = body.field("messages").and_then(Node::as_array) else {
        return Err(invalid("messages", "must be an array"));
    };
    refuse_account_state(body)?;
    for (at, message) in messages.iter().enumerate() {
        refuse_file_ids(message.field("content"), &format!("messages[{at}].content"))?;
    }
    // The provider insists on a limit; a server that does not must not pass its own for the client's.
    let client_limited = has_number(body, &["max_tokens"]);
    Ok(Asked { model, reply: reply_shape(body)?, client_limited, bypass: tools::bypass(body) })
}

/// A stream of this dialect always has usage, asked for or not.
fn reply_shape(body: &Node<'_>) -> Result<ReplyShape, Problem> {
    Ok(match truth(body.field("stream"), "stream")? {
        true => ReplyShape::Sse { include_usage: true },
        false => ReplyShape::Json,
    })
}

fn refuse_account_state(body: &Node<'_>) -> Result<(), Problem> {
    for path in IN_ONE_ACCOUNT {
        let named = path.iter().try_fold(body, |node, name| node.field(name));
        if is_there(named) {
            return Err(object_id(path.join(".")));
        }
    }
    Ok(())
}

/// Files stand in blocks (`file_id`), in the sources of images and documents (`source.file_id`), and in the
/// content of tool results and documents, which are blocks again. What a tool is called with is not looked
/// into: those are the client's own words.
fn refuse_file_ids(content: Option<&Node<'_>>, field: &str) -> Result<(), Problem> {
    match content {
        Some(Node::Array(blocks)) => {
            for (at, block) in blocks.iter().enumerate() {
                refuse_file_ids_of_block(block, &format!("{field}[{at}]"))?;
            }
            Ok(())
        }
        Some(block @ Node::Object(_)) => refuse_file_ids_of_block(block, field),
        Some(Node::Null | Node::Bool(_) | Node::Number(_) | Node::String(_)) | None => Ok(()),
    }
}

fn refuse_file_ids_of_block(block: &Node<'_>, field: &str) -> Result<(), Problem> {
    if is_there(block.field("file_id")) {
        return Err(object_id(format!("{field}.file_id")));
    }
    let source = block.field("source");
    if is_there(source.and_then(|source| source.field("file_id"))) {
        return Err(object_id(format!("{field}.source.file_id")));
    }
    let inner = source.and_then(|source| source.field("content"));
    refuse_file_ids(inner, &format!("{field}.source.content"))?;
    refuse_file_ids(block.field("content"), &format!("{field}.content"))
}

#[cfg(test)]
mod tests {
    use kt_contract::json::{Bounds, parse};
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn asked(body: &str) -> Result<Asked, Problem> {
        let bounds = Bounds { depth_max: 64, nodes_max: 1_000 };
        read(&parse(body.as_bytes(), bounds).unwrap())
    }

    fn with(rest: &str) -> Result<Asked, Problem> {
        asked(&format!(r#"{{"model":"m","max_tokens":9,"messages":[]{rest}}}"#))
    }

    fn with_content(content: &str) -> Result<Asked, Problem> {
        asked(&format!(
            r#"{{"model":"m","max_tokens":9,"messages":[{{"role":"user","content":{content}}}]}}"#
        ))
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn the_smallest_request_asks_for_json() {
        let expected = Asked {
            model: "m".into(),
            reply: ReplyShape::Json,
            client_limited: true,
            bypass: None,
        };
        assert_eq!(with(""), Ok(expected));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn stream_decides_the_shape_and_a_stream_has_usage() {
        let sse = ReplyShape::Sse { include_usage: true };
        for (rest, expected) in [
            (r#","stream":false"#, ReplyShape::Json),
            (r#","stream":null"#, ReplyShape::Json),
            (r#","stream":true"#, sse),
        ] {
            assert_eq!(with(rest).map(|asked| asked.reply), Ok(expected), "{rest}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_length_limit_is_a_number_of_the_client() {
        for (body, expected) in [
            (r#"{"model":"m","messages":[],"max_tokens":1}"#, true),
            (r#"{"model":"m","messages":[],"max_tokens":"1"}"#, false),
            (r#"{"model":"m","messages":[]}"#, false),
        ] {
            assert_eq!(asked(body).map(|asked| asked.client_limited), Ok(expected), "{body}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_refusal_names_the_field() {
        for (body, field) in [
            (r#"{"messages":[]}"#, "model"),
            (r#"{"model":"","messages":[]}"#, "model"),
            (r#"{"model":4,"messages":[]}"#, "model"),
            (r#"{"model":"m"}"#, "messages"),
            (r#"{"model":"m","messages":{}}"#, "messages"),
            (r#"{"model":"m","messages":[],"stream":"true"}"#, "stream"),
        ] {
            let problem = asked(body).unwrap_err();
            assert_eq!((problem.param(), problem.status()), (Some(field), 400), "{body}");
        }
        for body in ["null", "[]", "\"model\"", "1"] {
            assert!(matches!(asked(body), Err(Problem::InvalidBody { .. })), "{body}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_lives_in_one_account_is_refused_by_its_place() {
        for (rest, field) in [
            (r#","container":"container_1""#, "container"),
            (r#","container":{"skills":[]}"#, "container"),
            (r#","thread":{"type":"create"}"#, "thread"),
            (
                r#","diagnostics":{"previous_message_id":"msg_1"}"#,
                "diagnostics.previous_message_id",
            ),
            (r#","fallback_credit_token":"t""#, "fallback_credit_token"),
        ] {
            assert_eq!(with(rest).unwrap_err().param(), Some(field));
        }
        for (content, field) in [
            (
                r#"[{"type":"text","text":"t"},{"type":"container_upload","file_id":"file_1"}]"#,
                "messages[0].content[1].file_id",
            ),
            (
                r#"[{"type":"document","source":{"type":"file","file_id":"file_1"}}]"#,
                "messages[0].content[0].source.file_id",
            ),
            (
                r#"[{"type":"tool_result","content":[{"type":"image","source":{"file_id":"f"}}]}]"#,
                "messages[0].content[0].content[0].source.file_id",
            ),
            (
                r#"[{"type":"document","source":{"type":"content","content":[{"file_id":"f"}]}}]"#,
                "messages[0].content[0].source.content[0].file_id",
            ),
            (
                r#"[{"type":"code_execution_tool_result","content":{"content":[{"file_id":"f"}]}}]"#,
                "messages[0].content[0].content.content[0].file_id",
            ),
        ] {
            assert_eq!(with_content(content).unwrap_err().param(), Some(field));
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn content_that_travels_in_the_request_is_fine() {
        assert!(with(r#","container":null,"diagnostics":{"previous_message_id":null}"#).is_ok());
        for content in [
            r#""file_id""#,
            "null",
            r#"[7,"odd",{"type":"image","source":{"type":"base64","data":"QQ==","file_id":null}}]"#,
            // A tool of the client's own may well speak of files.
            r#"[{"type":"tool_use","id":"t","name":"open","input":{"file_id":"f"}}]"#,
        ] {
            assert!(with_content(content).is_ok(), "{content}");
        }
    }
}
