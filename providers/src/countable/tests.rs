//! Which words of a request count, and which do not.

use kt_contract::json::{Bounds, parse};
use wasm_bindgen_test::wasm_bindgen_test;

use super::*;
use crate::Dialect;

fn countable(dialect: Dialect, body: &str) -> Countable {
    let bounds = Bounds { depth_max: 64, nodes_max: 10_000 };
    dialect.countable(&parse(body.as_bytes(), bounds).unwrap())
}

#[wasm_bindgen_test(unsupported = test)]
fn the_words_of_messages_count_and_what_carries_them_does_not() {
    let found = countable(
        Dialect::OpenAiChat,
        r#"{"model":"m","user":"u","messages":[
            {"role":"system","content":"be kind"},
            {"role":"user","name":"ada","content":[
                {"type":"text","text":"what is it?"},
                {"type":"image_url","image_url":{"url":"data:image/png;base64,AAAA","detail":"low"}}]},
            {"role":"assistant","content":null,"tool_calls":[
                {"id":"call_1","type":"function","function":{"name":"look","arguments":"{\"x\":1}"}}]},
            {"role":"tool","tool_call_id":"call_1","content":"a cat"}]}"#,
    );
    assert_eq!((found.messages, found.calls, found.has_tools), (4, 1, false));
    let words = ["be kind", "what is it?", "ada", r#"{"x":1}"#, "look", "a cat"];
    assert_eq!(found.pieces, words);
}

#[wasm_bindgen_test(unsupported = test)]
fn what_describes_tools_and_forms_is_written_out() {
    let found = countable(
        Dialect::OpenAiChat,
        r#"{"messages":[],"tools":[{"type":"function", "function":{"name":"f","parameters":{"n":1.50}}}]}"#,
    );
    assert!(found.has_tools);
    assert_eq!(
        found.pieces,
        [r#"[{"function":{"name":"f","parameters":{"n":1.50}},"type":"function"}]"#]
    );
    let found = countable(Dialect::OpenAiResponses, r#"{"input":"hi","instructions":"be kind"}"#);
    assert_eq!((found.pieces, found.messages), (vec!["hi".to_owned(), "be kind".to_owned()], 1));
}

#[wasm_bindgen_test(unsupported = test)]
fn a_conversation_with_tools_counts_in_anthropics_dialect() {
    let found = countable(
        Dialect::AnthropicMessages,
        r#"{"system":[{"type":"text","text":"be kind","cache_control":{"type":"ephemeral"}}],"messages":[
            {"role":"user","content":"look"},
            {"role":"assistant","content":[
                {"type":"thinking","thinking":"hm","signature":"AAAA"},
                {"type":"tool_use","id":"t","name":"look","input":{"id":"a","x":[1,true]}}]},
            {"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[
                {"type":"text","text":"a cat"},
                {"type":"image","source":{"type":"base64","media_type":"image/png","data":"AAAA"}}]}]}]}"#,
    );
    let words = ["be kind", "look", "hm", r#"{"id":"a","x":[1,true]}"#, "look", "a cat"];
    assert_eq!((found.messages, found.calls), (4, 1));
    assert_eq!(found.pieces, words);
}

#[wasm_bindgen_test(unsupported = test)]
fn no_id_and_no_word_for_a_provider_counts_in_responses() {
    let found = countable(
        Dialect::OpenAiResponses,
        r#"{"input":[
            {"type":"message","id":"m_1","status":"completed","role":"user","content":[
                {"type":"input_text","text":"look"},
                {"type":"input_image","image_url":"data:image/png;base64,AAAA","file_id":null}]},
            {"type":"reasoning","id":"r_1","encrypted_content":"AAAA","summary":[
                {"type":"summary_text","text":"hm"}]},
            {"type":"function_call","id":"f_1","call_id":"c_1","name":"see","arguments":"{}"},
            {"type":"function_call_output","call_id":"c_1","output":"a cat"}]}"#,
    );
    assert_eq!(found.pieces, ["look", "hm", "{}", "see", "a cat"]);
}

#[wasm_bindgen_test(unsupported = test)]
fn a_prompt_is_text_or_tokens_or_lists_of_either() {
    let completions = Dialect::OpenAiCompletions;
    for (prompt, pieces, tokens) in [
        (r#""a""#, vec!["a"], 0),
        (r#"["a","b"]"#, vec!["a", "b"], 0),
        ("[1,2,3]", vec![], 3),
        ("[[1,2],[3]]", vec![], 3),
        ("null", vec![], 0),
    ] {
        let found = countable(completions, &format!(r#"{{"prompt":{prompt}}}"#));
        assert_eq!(
            (found.pieces, found.tokens),
            (pieces.into_iter().map(str::to_owned).collect(), tokens)
        );
        assert_eq!(found.messages, 0);
    }
}
