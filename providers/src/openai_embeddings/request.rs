//! What a request asks for. It reads only what kt itself must know; everything else is the provider's to judge.

use kt_contract::json::Node;
use kt_contract::problem::Problem;
use kt_contract::wire::admit::ReplyShape;

use crate::dialect::Asked;
use crate::openai::request::{invalid, model};

/// Reads the model. There is one shape, and no limit that an answer could end by.
pub(crate) fn read(body: &Node<'_>) -> Result<Asked, Problem> {
    let model = model(body)?;
    match body.field("input") {
        Some(Node::String(_) | Node::Array(_)) => {}
        None | Some(Node::Null | Node::Bool(_) | Node::Number(_) | Node::Object(_)) => {
            return Err(invalid("input", "must be a string or an array"));
        }
    }
    Ok(Asked { model, reply: ReplyShape::Json, client_limited: false, bypass: None })
}
