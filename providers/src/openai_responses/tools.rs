//! Which requests let the provider act. A tool that a client runs itself, or that only reads, gives an answer
//! like any other. MCP servers and hosted code do things, once for each request: their answer is for the one
//! who asked, and it is neither stored nor shared. So is that of a tool which nobody here knows.

use kt_contract::json::Node;
use kt_contract::outcome::Reason;

/// Tools that act nowhere but at the client, or only look something up.
const HARMLESS: &[&str] = &[
    "apply_patch",
    "computer",
    "computer_use_preview",
    "custom",
    "file_search",
    "function",
    "image_generation",
    "local_shell",
    "namespace",
    "programmatic_tool_calling",
    "tool_search",
    "web_search",
    "web_search_2025_08_26",
    "web_search_preview",
    "web_search_preview_2025_03_11",
];

/// Why the answer is nobody else's, if it is.
pub(super) fn bypass(body: &Node<'_>) -> Option<Reason> {
    let items = body.field("input").and_then(Node::as_array).unwrap_or_default();
    let acts = std::iter::once(body).chain(items).any(has_acting_tool);
    acts.then_some(Reason::SideEffects)
}

fn has_acting_tool(of: &Node<'_>) -> bool {
    let tools = of.field("tools").and_then(Node::as_array).unwrap_or_default();
    tools.iter().any(|tool| acts(tool) || has_acting_tool(tool))
}

fn acts(tool: &Node<'_>) -> bool {
    match tool.field("type").and_then(Node::as_str) {
        Some("shell") => {
            let room = tool.field("environment").and_then(|room| room.field("type"));
            room.and_then(Node::as_str) != Some("local")
        }
        Some(kind) => !HARMLESS.contains(&kind),
        None => true,
    }
}
