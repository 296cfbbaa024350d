//! Whether a request lets the provider act: run code, or call servers with whatever rights the request hands it.
//! What has been done once for one client is no answer for another. Tools that the client runs itself, and those
//! that only look something up, are content like any other.

use kt_contract::json::Node;
use kt_contract::outcome::Reason;

/// Kinds of tools that change nothing at the provider, without their date.
const HARMLESS: &[&str] = &[
    "bash",
    "computer",
    "custom",
    "memory",
    "text_editor",
    "tool_search_tool_bm25",
    "tool_search_tool_regex",
    "web_fetch",
    "web_search",
];

/// Why the answer is nobody else's, if so.
pub(super) fn bypass(body: &Node<'_>) -> Option<Reason> {
    let has_servers = match body.field("mcp_servers") {
        None | Some(Node::Null) => false,
        Some(servers) => servers.as_array().is_none_or(|servers| !servers.is_empty()),
    };
    let tools = body.field("tools").and_then(Node::as_array).unwrap_or_default();
    (has_servers || !tools.iter().all(is_harmless)).then_some(Reason::SideEffects)
}

fn is_harmless(tool: &Node<'_>) -> bool {
    match tool.field("type") {
        // A tool of the client's own needs no type.
        None | Some(Node::Null) => tool.as_object().is_some(),
        Some(kind) => kind.as_str().is_some_and(|kind| HARMLESS.contains(&without_date(kind))),
    }
}

/// `web_search` of `web_search_20250305`.
fn without_date(kind: &str) -> &str {
    match kind.rsplit_once('_') {
        Some((name, date)) if date.len() == 8 && date.bytes().all(|it| it.is_ascii_digit()) => name,
        Some(_) | None => kind,
    }
}

#[cfg(test)]
mod tests {
    use kt_contract::json::{Bounds, parse};
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn of(fields: &str) -> Option<Reason> {
        let bounds = Bounds { depth_max: 9, nodes_max: 99 };
        bypass(&parse(format!("{{{fields}}}").as_bytes(), bounds).unwrap())
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_the_client_runs_and_what_only_looks_up_is_content() {
        for fields in [
            "",
            r#""tools":[]"#,
            r#""tools":null,"mcp_servers":null"#,
            r#""mcp_servers":[]"#,
            r#""tools":[{"name":"f","input_schema":{}},{"type":"custom","name":"g"}]"#,
            r#""tools":[{"type":"bash_20250124"},{"type":"text_editor_20250728"}]"#,
            r#""tools":[{"type":"web_search_20250305"},{"type":"tool_search_tool_regex"}]"#,
        ] {
            assert_eq!(of(fields), None, "{fields}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn where_the_provider_acts_the_answer_is_nobody_elses() {
        for fields in [
            r#""mcp_servers":[{"type":"url","url":"https://example.com"}]"#,
            r#""mcp_servers":{}"#,
            r#""tools":[{"type":"code_execution_20250825","name":"code_execution"}]"#,
            r#""tools":[{"name":"f"},{"type":"mcp_toolset"}]"#,
            r#""tools":[{"type":"computer_toolset_20260801"}]"#,
            r#""tools":[{"type":"tool_of_tomorrow"}]"#,
            r#""tools":[{"type":7}]"#,
            r#""tools":["odd"]"#,
        ] {
            assert_eq!(of(fields), Some(Reason::SideEffects), "{fields}");
        }
    }
}
