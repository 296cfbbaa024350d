//! The input policy on one request: what goes on of it, or why it does not.

use kt_contract::identify::REQUEST_LIMITS;
use kt_contract::json::Node;
use kt_contract::policy::{Decision, Phase, RequestShape};
use kt_contract::problem::Problem;

use crate::chain::{Blocked, Chain, Triggered};
use crate::json::Edit;

/// How much is replaced in one request at most: each has its place in the memory of a worker.
const EDITS_MAX: usize = 10_000;
/// Fields with a list of what is said.
const SAID: [&str; 2] = ["messages", "input"];
/// The field of a text that is gone on with, or a list of them.
const PROMPT: &str = "prompt";
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

/// A request as it came.
#[derive(Clone, Copy)]
pub struct Request<'a> {
    /// Its body.
    pub body: &'a [u8],
    /// The same, as it was read.
    pub node: &'a Node<'a>,
    /// How many tokens of input that is, about. Asked for only where it is bounded.
    pub input_tokens: &'a dyn Fn() -> u64,
    /// How many answers it makes the provider give, shown or not.
    pub answers: &'a dyn Fn() -> u64,
}

/// What the policies say of a request.
///
/// # Errors
/// The policy that refuses it.
pub fn check(
    chain: &Chain,
    shape: Option<&RequestShape>,
    request: Request<'_>,
) -> Result<Passed, Refused> {
    let mut triggered = Vec::new();
    for beyond in shape.map(|shape| beyond(shape, request)).unwrap_or_default() {
        let Beyond { decision, found, what } = beyond;
        triggered.push(Triggered { policy: REQUEST_LIMITS, found, decision });
        if decision.enforces() {
            return Err(Refused { triggered, policy: REQUEST_LIMITS, what });
        }
    }
    let verdict = chain.read_within(request.body, EDITS_MAX);
    triggered.extend(verdict.triggered);
    if verdict.has_more_edits {
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

/// One bound that a request is beyond.
struct Beyond {
    decision: Decision,
    /// What there is too much of.
    found: &'static str,
    /// The same in words.
    what: String,
}

/// What a request asks for beyond its bounds.
fn beyond(shape: &RequestShape, request: Request<'_>) -> Vec<Beyond> {
    let RequestShape { decision, messages_max, tools_max, input_tokens_max, output_tokens_max } =
        *shape;
    let items = |fields: &[&str]| -> u64 {
        let lists = fields.iter().filter_map(|field| request.node.field(field)?.as_array());
        lists.map(|items| items.len() as u64).sum()
    };
    // A list of tokens is one prompt, and no list of them.
    let prompts = || match request.node.field(PROMPT).and_then(Node::as_array) {
        Some([Node::Number(_), ..]) | None => 0,
        Some(prompts) => prompts.len() as u64,
    };
    let output = || {
        let asked = OUTPUT_MAX.iter().filter_map(|field| bound(request.node.field(field)?));
        let of_one = asked.max().unwrap_or(0);
        if of_one == 0 { 0 } else { of_one.saturating_mul((request.answers)()) }
    };
    let mut all = Vec::new();
    let mut bound = |found, max: Option<u64>, has: &dyn Fn() -> u64, verb: &str, of: &str| {
        let Some(max) = max else { return };
        let has = has();
        if has > max {
            let what = format!("the request {verb} {has} {of}, and {max} are allowed");
            all.push(Beyond { decision, found, what });
        }
    };
    bound("messages", messages_max, &|| items(&SAID) + prompts(), "has", "messages");
    bound("tools", tools_max, &|| items(&TOOLS), "offers", "tools");
    let about = "tokens of input by its length";
    bound("input_tokens", input_tokens_max, request.input_tokens, "has", about);
    bound("output_tokens", output_tokens_max, &output, "asks for", "tokens of output");
    all
}

/// How long an answer may be at most, as a field says. A negative number is no bound to some servers.
fn bound(said: &Node<'_>) -> Option<u64> {
    said.as_count().or_else(|| matches!(said, Node::Number(_)).then_some(u64::MAX))
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

    const NO_BOUND: RequestShape = RequestShape::new(Decision::Block);

    fn checked(chain: &Chain, shape: &RequestShape, body: &str) -> Result<Passed, Refused> {
        let body = body.as_bytes();
        let node = json::parse(body, Bounds { depth_max: 9, nodes_max: 99 }).unwrap();
        let input_tokens = || body.len() as u64 / 4;
        let answers = || node.field("n").and_then(Node::as_u64).unwrap_or(1);
        let (input_tokens, answers): (&dyn Fn() -> u64, &dyn Fn() -> u64) =
            (&input_tokens, &answers);
        check(chain, Some(shape), Request { body, node: &node, input_tokens, answers })
    }

    fn refused(shape: &RequestShape, body: &str) -> Option<String> {
        let passed = checked(&Chain::default(), shape, body);
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
        let refused = checked(&chain, &NO_BOUND, &body).unwrap_err();
        assert_eq!(refused.policy, "secret-detector");
        assert_eq!(refused.triggered.len(), 2, "{:?}", refused.triggered);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_request_may_ask_for_as_much_as_is_allowed_and_no_more() {
        let shape = RequestShape {
            messages_max: Some(2),
            tools_max: Some(0),
            input_tokens_max: Some(15),
            output_tokens_max: Some(100),
            ..NO_BOUND
        };
        for body in [
            "{}",
            r#"{"messages":[1,2],"tools":[],"max_tokens":100}"#,
            r#"{"prompt":[1,2,3],"n":9}"#,
            r#"{"input":"one text is no list","max_output_tokens":null}"#,
        ] {
            assert_eq!(refused(&shape, body), None, "{body}");
        }
        for (body, what) in [
            (r#"{"messages":[1,2,3]}"#, "has 3 messages, and 2 are allowed"),
            (r#"{"input":[1,2,3]}"#, "has 3 messages, and 2 are allowed"),
            (r#"{"prompt":["a","b","c"]}"#, "has 3 messages, and 2 are allowed"),
            (
                r#"{"max_tokens":100,"n":128}"#,
                "asks for 12800 tokens of output, and 100 are allowed",
            ),
            (r#"{"tools":[1]}"#, "offers 1 tools, and 0 are allowed"),
            (
                r#"{"input":"some words more than there may be, and all of them in one text"}"#,
                "has 18 tokens of input by its length, and 15 are allowed",
            ),
            (r#"{"max_tokens":101}"#, "asks for 101 tokens of output, and 100 are allowed"),
            (
                r#"{"max_tokens":-1}"#,
                "asks for 18446744073709551615 tokens of output, and 100 are allowed",
            ),
            (r#"{"max_tokens":"101"}"#, "asks for 101 tokens of output, and 100 are allowed"),
            (
                r#"{"max_tokens":1,"max_completion_tokens":1e9}"#,
                "asks for 1000000000 tokens of output, and 100 are allowed",
            ),
        ] {
            let expected = format!("Refused by policy 'request-limits': the request {what}.");
            assert_eq!(refused(&shape, body), Some(expected), "{body}");
        }
        assert_eq!(refused(&NO_BOUND, r#"{"messages":[1,2,3]}"#), None);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn bounds_that_only_watch_tell_all_that_is_beyond_them() {
        let decision = Decision::Monitor;
        let bounds = RequestShape::new(decision);
        let shape = RequestShape { messages_max: Some(1), tools_max: Some(0), ..bounds };
        let body = r#"{"messages":[1,2],"tools":[1]}"#;
        let told = |found| Triggered { policy: REQUEST_LIMITS, found, decision };
        let triggered = vec![told("messages"), told("tools")];
        let passed = Passed { triggered, edits: Vec::new() };
        assert_eq!(checked(&Chain::default(), &shape, body), Ok(passed));
    }
}
