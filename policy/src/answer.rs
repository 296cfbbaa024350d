//! The output policy on one whole answer.

use crate::chain::{Chain, Verdict};
use crate::json::{self, Edit, splice};

/// What becomes of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policed {
    /// What was found in it, and whether it goes on.
    pub verdict: Verdict,
    /// What goes on in its place, where something is replaced.
    pub replaced: Option<Vec<u8>>,
}

/// Reads an answer, a JSON body, and replaces in it what is to be replaced.
#[must_use]
pub fn police(chain: &Chain, body: &[u8]) -> Policed {
    let mut verdict = chain.read(body);
    if verdict.edits.is_empty() {
        return Policed { verdict, replaced: None };
    }
    hide_alternatives(body, &mut verdict.edits);
    let replaced = Some(splice(body, &verdict.edits));
    Policed { verdict, replaced }
}

/// What a model nearly said instead of a word would tell what was replaced.
pub(crate) fn hide_alternatives(json: &[u8], edits: &mut Vec<Edit>) {
    edits.extend(json::field_values(json, "logprobs").into_iter().map(Edit::null));
    edits.sort_by_key(|edit| edit.raw.start);
}

#[cfg(test)]
mod tests {
    use kt_contract::policy::{self, Check, Decision, Entities, Entity, Phase, Step};
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn chain() -> Chain {
        let found = Entities([(Entity::Email, Decision::Redact)].into());
        let step = Step { phases: [Phase::Output].into(), check: Check::PiiDetector(found) };
        Chain::compile(&policy::Chain { steps: vec![step] }, Phase::Output).unwrap()
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn an_answer_is_redacted_with_what_nearly_was_said() {
        let body = br#"{"choices":[{"message":{"content":"to me@x.org"},"logprobs":{"content":[{"token":"me"}]}}],"usage":{"total_tokens":3}}"#;
        let expected = br#"{"choices":[{"message":{"content":"to [EMAIL]"},"logprobs":null}],"usage":{"total_tokens":3}}"#;
        let policed = police(&chain(), body);
        assert_eq!(policed.replaced.as_deref(), Some(expected.as_slice()));
        assert_eq!(policed.verdict.triggered.len(), 1);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_a_tool_calls_logprobs_stays() {
        let body = br#"{"content":[{"type":"text","text":"me@x.org"},{"type":"tool_use","input":{"logprobs":true,"to":"me@x.org"}}],"logprobs":[1]}"#;
        let expected = br#"{"content":[{"type":"text","text":"[EMAIL]"},{"type":"tool_use","input":{"logprobs":true,"to":"[EMAIL]"}}],"logprobs":null}"#;
        let replaced = police(&chain(), body).replaced.unwrap();
        assert_eq!(String::from_utf8_lossy(&replaced), String::from_utf8_lossy(expected));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn an_answer_in_which_nothing_is_found_is_not_copied() {
        let body = br#"{"choices":[{"message":{"content":"hi"},"logprobs":{"content":[]}}]}"#;
        assert_eq!(police(&chain(), body), Policed::default());
    }
}
