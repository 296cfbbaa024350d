//! Refuses ids of objects at the provider (earlier responses, conversations, stored prompts, files, containers,
//! …), by the place where they stand. An item that is sent whole is no such id, although it has one: agents
//! send the items of an answer back as they came.

use kt_contract::json::Node;
use kt_contract::problem::Problem;

use crate::openai::request::{is_there, object_id};

/// Outermost fields that name an object, or are one.
const OUTERMOST: &[&str] = &["previous_response_id", "conversation", "prompt"];

/// Whether an object at the provider stands where the input would: what is wrong is not that it is missing.
pub(super) fn replaces_input(body: &Node<'_>) -> bool {
    OUTERMOST.iter().any(|field| is_there(body.field(field)))
}

/// Refuses the first that is there.
pub(super) fn refuse(body: &Node<'_>) -> Result<(), Problem> {
    for field in OUTERMOST {
        refuse_id(body, "", field)?;
    }
    if let Some(options) = body.field("prompt_cache_options") {
        refuse_id(options, "prompt_cache_options.", "comparison_response_id")?;
    }
    in_tools(body, "")?;
    let items = body.field("input").and_then(Node::as_array).unwrap_or_default();
    for (at, item) in items.iter().enumerate() {
        in_item(item, &format!("input[{at}]."))?;
    }
    Ok(())
}

/// Refuses what `field` of `node` says, if it says anything.
fn refuse_id(node: &Node<'_>, path: &str, field: &str) -> Result<(), Problem> {
    match node.field(field) {
        Some(Node::Array(ids)) if ids.is_empty() => Ok(()),
        found if is_there(found) => Err(object_id(format!("{path}{field}"))),
        _ => Ok(()),
    }
}

fn in_item(item: &Node<'_>, path: &str) -> Result<(), Problem> {
    let kind = item.field("type").and_then(Node::as_str);
    // A reference may come without its type; a message has a role.
    let is_bare = !is_there(item.field("type")) && !is_there(item.field("role"));
    if kind == Some("item_reference") || is_bare {
        refuse_id(item, path, "id")?;
    }
    for field in ["content", "output"] {
        match item.field(field) {
            Some(Node::Array(parts)) => {
                for (at, part) in parts.iter().enumerate() {
                    refuse_id(part, &format!("{path}{field}[{at}]."), "file_id")?;
                }
            }
            // A screenshot.
            Some(part @ Node::Object(_)) => refuse_id(part, &format!("{path}{field}."), "file_id")?,
            None | Some(Node::Null | Node::Bool(_) | Node::Number(_) | Node::String(_)) => {}
        }
    }
    in_tools(item, path)
}

/// In the tools of a request, an item, or a namespace of tools.
fn in_tools(of: &Node<'_>, path: &str) -> Result<(), Problem> {
    let tools = of.field("tools").and_then(Node::as_array).unwrap_or_default();
    for (at, tool) in tools.iter().enumerate() {
        let path = format!("{path}tools[{at}].");
        for field in ["vector_store_ids", "tunnel_id"] {
            refuse_id(tool, &path, field)?;
        }
        if let Some(Node::String(_)) = tool.field("container") {
            refuse_id(tool, &path, "container")?;
        }
        if let Some(mask) = tool.field("input_image_mask") {
            refuse_id(mask, &format!("{path}input_image_mask."), "file_id")?;
        }
        for field in ["container", "environment"] {
            if let Some(room) = tool.field(field) {
                in_room(room, &format!("{path}{field}."))?;
            }
        }
        // Depth is bounded by the reader of the body.
        in_tools(tool, &path)?;
    }
    Ok(())
}

/// In what a hosted tool works in.
fn in_room(room: &Node<'_>, path: &str) -> Result<(), Problem> {
    for field in ["container_id", "file_ids"] {
        refuse_id(room, path, field)?;
    }
    let skills = room.field("skills").and_then(Node::as_array).unwrap_or_default();
    for (at, skill) in skills.iter().enumerate() {
        refuse_id(skill, &format!("{path}skills[{at}]."), "skill_id")?;
    }
    Ok(())
}
