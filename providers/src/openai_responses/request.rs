//! What a request asks for. It reads only what kt itself must know; everything else is the provider's to judge.

use kt_contract::json::Node;
use kt_contract::problem::Problem;
use kt_contract::wire::admit::ReplyShape;

use super::{objects, tools};
use crate::dialect::Asked;
use crate::openai::request::{has_number, invalid, model, truth};

/// Reads model, shape and length limit, and refuses what only one provider account could resolve.
///
/// `store` is no such thing, although it is on where nothing is said: it asks the provider for a side effect
/// whose fruit cannot be fetched here. It stays in the key, because the answer repeats it.
pub(crate) fn read(body: &Node<'_>) -> Result<Asked, Problem> {
    let model = model(body)?;
    match body.field("input") {
        Some(Node::String(_) | Node::Array(_)) => {}
        None | Some(Node::Null) if objects::replaces_input(body) => {}
        None | Some(Node::Null | Node::Bool(_) | Node::Number(_) | Node::Object(_)) => {
            return Err(invalid("input", "must be a string or an array"));
        }
    }
    if truth(body.field("background"), "background")? {
        let what = "must be false: a shared gateway cannot fetch the answer later by its id";
        return Err(invalid("background", what));
    }
    objects::refuse(body)?;
    let client_limited = has_number(body, &["max_output_tokens"]);
    Ok(Asked { model, reply: reply_shape(body)?, client_limited, bypass: tools::bypass(body) })
}

/// A stream always tells its usage, in its last event.
fn reply_shape(body: &Node<'_>) -> Result<ReplyShape, Problem> {
    match body.field("stream_options") {
        None | Some(Node::Null | Node::Object(_)) => {}
        Some(Node::Bool(_) | Node::Number(_) | Node::String(_) | Node::Array(_)) => {
            return Err(invalid("stream_options", "must be an object or null"));
        }
    }
    Ok(match truth(body.field("stream"), "stream")? {
        true => ReplyShape::Sse { include_usage: true },
        false => ReplyShape::Json,
    })
}
