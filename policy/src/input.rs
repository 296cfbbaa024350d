//! The input policy on one request: what goes on of it, or why it does not.

use kt_contract::json::Node;
use kt_contract::policy::{Decision, Phase, RequestShape};
use kt_contract::problem::Problem;

use crate::chain::{Blocked, Chain, Triggered};
use crate::json::Edit;

/// The policy that bounds what a request asks for.
const REQUEST_LIMITS: &str = "request-limits";
/// How much is replaced in one request at most: each has its place in the memory of a worker.
const EDITS_MAX: usize = 10_000;
/// Fields with a list of what is said.
const SAID: [&str; 2] = ["messages", "input"];
/// Fields with a list of what may be called.
const TOOLS: [&str; 2] = ["tools", "functions"];
/// Fields that say how long an answer may be.
const OUTPUT_MAX: [&str; 3] = ["max_tokens", "max_completion_tokens", "max_output_tokens"];

/// A request that goes on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passed {
    /// What was found in it.
    pub triggered: Vec<Triggered>,
    /// What is replaced in it, in order.
    pub edits: Vec<Edit>,
}

/// A request that does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// What was found in it.
    pub triggered: Vec<Triggered>,
    /// The policy that refuses it.
    pub policy: &'static str,
    /// Why, in words.
    pub what: String,
}

/// What the policies say of a request: `body` as it came, and `node` as it was read.
///
/// # Errors
/// The policy that refuses it.
pub fn check(
    chain: &Chain,
    shape: Option<&RequestShape>,
    body: &[u8],
    node: &Node<'_>,
) -> Result<Passed, Refused> {
    if let Some(what) = shape.and_then(|shape| beyond(shape, node)) {
        return Err(Refused { triggered: Vec::new(), policy: REQUEST_LIMITS, what });
    }
    let verdict = chain.read(body);
    let triggered = verdict.triggered;
    if verdict.edits.len() > EDITS_MAX {
        let redacts = |one: &&Triggered| one.decision == Decision::Redact;
        let policy = triggered.iter().find(redacts).map_or("", |one| one.policy);
        let what = format!("the request has more than {EDITS_MAX} things to redact");
        return Err(Refused { triggered, policy, what });
    }
    match verdict.blocked {
        None => Ok(Passed { triggered, edits: verdict.edits }),
        Some(blocked @ Blocked { policy, .. }) => {
            Err(Refused { triggered, policy, what: blocked.what(Phase::Input) })
        }
    }
}

/// What a request asks for beyond its bounds, if it does.
fn beyond(shape: &RequestShape, node: &Node<'_>) -> Option<String> {
    let RequestShape { messages_max, tools_max, output_tokens_max } = *shape;
    let items = |fields: &[&str]| -> u64 {
        let lists = fields.iter().filter_map(|field| node.field(field)?.as_array());
        lists.map(|items| items.len() as u64).sum()
    };
    let asked = || OUTPUT_MAX.iter().filter_map(|field| number(node.field(field)?)).max();
    let (messages, tools) = (items(&SAID), items(&TOOLS));
    if let Some(max) = messages_max.filter(|max| messages > *max) {
        Some(format!("the request has {messages} messages, and {max} are allowed"))
    } else if let Some(max) = tools_max.filter(|max| tools > *max) {
        Some(format!("the request offers {tools} tools, and {max} are allowed"))
    } else {
        let max = output_tokens_max?;
        let asked = asked().filter(|asked| *asked > max)?;
        Some(format!("the request asks for {asked} tokens of output, and {max} are allowed"))
    }
}

/// A number that is too large to be one counts as the largest.
fn number(node: &Node<'_>) -> Option<u64> {
    match node {
        Node::Number(lexeme) => Some(lexeme.parse().unwrap_or(u64::MAX)),
        Node::Null | Node::Bool(_) | Node::String(_) | Node::Array(_) | Node::Object(_) => None,
    }
}

// === impl Refused ===

impl Refused {
    /// As a client is told; `status` is the configured one of a block.
    #[must_use]
    pub fn problem(self, status: u16) -> Problem {
        Problem::PolicyBlocked { policy: self.policy.to_owned(), status, what: self.what }
    }
}

#[cfg(test)]
mod tests {
    use kt_contract::json::{self, Bounds};
    use kt_contract::policy::{self, Check, Entities, Entity, Step};
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn refused(shape: RequestShape, body: &str) -> Option<String> {
        let node = json::parse(body.as_bytes(), Bounds { depth_max: 9, nodes_max: 99 }).unwrap();
        let passed = check(&Chain::default(), Some(&shape), body.as_bytes(), &node);
        passed.err().map(|refused| refused.problem(409).to_string())
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn too_much_to_redact_is_refused_by_the_policy_that_redacts() {
        let entities = |entity, decision| Entities([(entity, decision)].into());
        let step = |check| Step { phases: [Phase::Input].into(), check };
        let watches = Check::PiiDetector(entities(Entity::Phone, Decision::Monitor));
        let redacts = Check::SecretDetector(entities(Entity::Email, Decision::Redact));
        let steps = vec![step(watches), step(redacts)];
        let chain = Chain::compile(&policy::Chain { steps }, Phase::Input).unwrap();
        let text = "a@b.co ".repeat(EDITS_MAX + 1);
        let body = format!(r#"{{"messages":[{{"content":"+1 212 555 0123, {text}"}}]}}"#);
        let node = json::parse(body.as_bytes(), Bounds { depth_max: 9, nodes_max: 99 }).unwrap();
        let refused = check(&chain, None, body.as_bytes(), &node).unwrap_err();
        assert_eq!(refused.policy, "secret-detector");
        assert_eq!(refused.triggered.len(), 2, "{:?}", refused.triggered);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_request_may_ask_for_as_much_as_is_allowed_and_no_more() {
        let shape = RequestShape {
            messages_max: Some(2),
            tools_max: Some(0),
            output_tokens_max: Some(100),
        };
        for body in [
            "{}",
            r#"{"messages":[1,2],"tools":[],"max_tokens":100}"#,
            r#"{"input":"one text is no list","max_output_tokens":null}"#,
        ] {
            assert_eq!(refused(shape, body), None, "{body}");
        }
        for (body, what) in [
            (r#"{"messages":[1,2,3]}"#, "has 3 messages, and 2 are allowed"),
            (r#"{"input":[1,2,3]}"#, "has 3 messages, and 2 are allowed"),
            (r#"{"tools":[1]}"#, "offers 1 tools, and 0 are allowed"),
            (r#"{"max_tokens":101}"#, "asks for 101 tokens of output, and 100 are allowed"),
            (
                r#"{"max_tokens":1,"max_completion_tokens":1e9}"#,
                "asks for 18446744073709551615 tokens of output, and 100 are allowed",
            ),
        ] {
            let expected = format!("Refused by policy 'request-limits': the request {what}.");
            assert_eq!(refused(shape, body), Some(expected), "{body}");
        }
        assert_eq!(refused(RequestShape::default(), r#"{"messages":[1,2,3]}"#), None);
    }
}
