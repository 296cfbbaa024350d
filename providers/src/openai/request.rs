//! What the dialects read of a request in the same way.

use kt_contract::json::Node;
use kt_contract::problem::Problem;
use kt_contract::wire::admit::ReplyShape;

/// The model, of a body that must be an object.
pub(crate) fn model(body: &Node<'_>) -> Result<String, Problem> {
    if body.as_object().is_none() {
        return Err(Problem::InvalidBody { what: "it must be an object".into() });
    }
    match body.field("model").and_then(Node::as_str) {
        Some(model) if !model.is_empty() => Ok(model.to_owned()),
        Some(_) | None => Err(invalid("model", "must be a non-empty string")),
    }
}

/// The shape that `stream` and `stream_options` ask for, where usage comes in a chunk of its own.
pub(crate) fn reply_shape(body: &Node<'_>) -> Result<ReplyShape, Problem> {
    let options = match body.field("stream_options") {
        None | Some(Node::Null) => None,
        Some(options @ Node::Object(_)) => options.field("include_usage"),
        Some(_) => return Err(invalid("stream_options", "must be an object or null")),
    };
    let include_usage = truth(options, "stream_options.include_usage")?;
    Ok(match truth(body.field("stream"), "stream")? {
        true => ReplyShape::Sse { include_usage },
        false => ReplyShape::Json,
    })
}

/// A boolean that may be absent or null, which both mean false.
pub(crate) fn truth(node: Option<&Node<'_>>, field: &str) -> Result<bool, Problem> {
    match node {
        None | Some(Node::Null) => Ok(false),
        Some(Node::Bool(truth)) => Ok(*truth),
        Some(_) => Err(invalid(field, "must be a boolean or null")),
    }
}

/// Whether one of these fields is a number.
pub(crate) fn has_number(body: &Node<'_>, fields: &[&str]) -> bool {
    fields.iter().any(|field| matches!(body.field(field), Some(Node::Number(_))))
}

/// Whether a field says anything.
pub(crate) const fn is_there(node: Option<&Node<'_>>) -> bool {
    !matches!(node, None | Some(Node::Null))
}

/// An id of an object at the provider means something in one provider account only; the answers of a group
/// must not depend on whose account that is.
pub(crate) fn object_id(field: String) -> Problem {
    let what = "names an object stored at the provider, which a shared gateway cannot resolve; \
                send the content itself";
    Problem::InvalidField { field, what: what.into() }
}

pub(crate) fn invalid(field: &str, what: &str) -> Problem {
    Problem::InvalidField { field: field.into(), what: what.into() }
}
