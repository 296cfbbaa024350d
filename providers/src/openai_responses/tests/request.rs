//! What is asked for, what is refused, and what is for the one who asked.

use kt_contract::json::{Bounds, parse};
use kt_contract::outcome::Reason;
use kt_contract::problem::Problem;
use kt_contract::wire::admit::ReplyShape;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::Dialect;
use crate::dialect::Asked;
use crate::openai_responses::read;

fn asked(body: &str) -> Result<Asked, Problem> {
    let bounds = Bounds { depth_max: 64, nodes_max: 1_000 };
    read(&parse(body.as_bytes(), bounds).unwrap())
}

fn with(rest: &str) -> Result<Asked, Problem> {
    asked(&format!(r#"{{"model":"m","input":"x"{rest}}}"#))
}

#[wasm_bindgen_test(unsupported = test)]
fn model_shape_and_limit_are_read() {
    let sse = ReplyShape::Sse { include_usage: true };
    for (rest, reply, client_limited) in [
        ("", ReplyShape::Json, false),
        (r#","stream":true"#, sse, false),
        (r#","stream":true,"stream_options":{"include_obfuscation":false}"#, sse, false),
        (r#","stream":null,"stream_options":null"#, ReplyShape::Json, false),
        (r#","max_output_tokens":16"#, ReplyShape::Json, true),
        (r#","max_output_tokens":null,"max_tokens":16"#, ReplyShape::Json, false),
        (
            r#","store":true,"background":false,"previous_response_id":null"#,
            ReplyShape::Json,
            false,
        ),
    ] {
        let expected = Asked { model: "m".into(), reply, client_limited, bypass: None };
        assert_eq!(with(rest), Ok(expected), "{rest}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_refusal_names_the_field() {
    for (body, field) in [
        (r#"{"input":"x"}"#, "model"),
        (r#"{"model":"m"}"#, "input"),
        (r#"{"model":"m","input":null}"#, "input"),
        (r#"{"model":"m","input":{"role":"user"}}"#, "input"),
        (r#"{"model":"m","input":"x","stream":1}"#, "stream"),
        (r#"{"model":"m","input":"x","stream_options":[]}"#, "stream_options"),
        (r#"{"model":"m","input":"x","background":true}"#, "background"),
        (r#"{"model":"m","input":"x","background":"no"}"#, "background"),
        (r#"{"model":"m","input":"x","previous_response_id":"resp_1"}"#, "previous_response_id"),
        (r#"{"model":"m","input":"x","conversation":"conv_1"}"#, "conversation"),
        (r#"{"model":"m","input":"x","conversation":{"id":"conv_1"}}"#, "conversation"),
        (r#"{"model":"m","prompt":{"id":"pmpt_1"}}"#, "prompt"),
        (
            r#"{"model":"m","input":"x","prompt_cache_options":{"comparison_response_id":"r"}}"#,
            "prompt_cache_options.comparison_response_id",
        ),
    ] {
        let problem = asked(body).unwrap_err();
        assert_eq!((problem.param(), problem.status()), (Some(field), 400), "{body}");
    }
    assert!(matches!(asked("[]"), Err(Problem::InvalidBody { .. })));
}

#[wasm_bindgen_test(unsupported = test)]
fn ids_of_objects_at_the_provider_are_refused_by_their_place() {
    for (item, field) in [
        (r#"{"type":"item_reference","id":"msg_1"}"#, "input[1].id"),
        (r#"{"id":"msg_1"}"#, "input[1].id"),
        (r#"{"type":null,"id":"msg_1"}"#, "input[1].id"),
        (
            r#"{"role":"user","content":[{"type":"input_text"},{"type":"input_file","file_id":"f"}]}"#,
            "input[1].content[1].file_id",
        ),
        (
            r#"{"role":"user","content":[{"type":"input_image","file_id":"f"}]}"#,
            "input[1].content[0].file_id",
        ),
        (
            r#"{"type":"function_call_output","output":[{"type":"input_file","file_id":"f"}]}"#,
            "input[1].output[0].file_id",
        ),
        (
            r#"{"type":"computer_call_output","output":{"type":"computer_screenshot","file_id":"f"}}"#,
            "input[1].output.file_id",
        ),
        (
            r#"{"type":"additional_tools","role":"developer","tools":[{"type":"file_search","vector_store_ids":["v"]}]}"#,
            "input[1].tools[0].vector_store_ids",
        ),
    ] {
        let body = format!(r#"{{"model":"m","input":[{{"role":"user"}},{item}]}}"#);
        assert_eq!(asked(&body).unwrap_err().param(), Some(field), "{item}");
    }
    for (tool, field) in [
        (r#"{"type":"file_search","vector_store_ids":["vs_1"]}"#, "vector_store_ids"),
        (r#"{"type":"code_interpreter","container":"cntr_1"}"#, "container"),
        (
            r#"{"type":"code_interpreter","container":{"type":"auto","file_ids":["f"]}}"#,
            "container.file_ids",
        ),
        (
            r#"{"type":"shell","environment":{"type":"container_reference","container_id":"c"}}"#,
            "environment.container_id",
        ),
        (
            r#"{"type":"shell","environment":{"type":"container_auto","skills":[{"type":"inline"},{"skill_id":"s"}]}}"#,
            "environment.skills[1].skill_id",
        ),
        (
            r#"{"type":"image_generation","input_image_mask":{"file_id":"f"}}"#,
            "input_image_mask.file_id",
        ),
        (r#"{"type":"mcp","tunnel_id":"t"}"#, "tunnel_id"),
        (
            r#"{"type":"namespace","tools":[{"type":"file_search","vector_store_ids":["v"]}]}"#,
            "tools[0].vector_store_ids",
        ),
    ] {
        let problem = with(&format!(r#","tools":[{{"type":"function"}},{tool}]"#)).unwrap_err();
        assert_eq!(problem.param(), Some(format!("tools[1].{field}").as_str()), "{tool}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn what_is_sent_whole_is_fine_whatever_ids_it_has() {
    for input in [
        r#"{"type":"message","id":"msg_1","role":"assistant","content":[{"type":"output_text",
            "text":"x","annotations":[{"type":"file_citation","file_id":"f"}]}]}"#,
        r#"{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA"}"#,
        r#"{"type":"function_call","id":"fc_1","call_id":"c","arguments":"{\"file_id\":\"f\"}"}"#,
        r#"{"type":"function_call_output","call_id":"c","output":"{\"file_id\":\"f\"}"}"#,
        r#"{"role":"user","content":[{"type":"input_file","file_data":"…","file_id":null},7]}"#,
        r#""odd""#,
    ] {
        assert!(asked(&format!(r#"{{"model":"m","input":[{input}]}}"#)).is_ok(), "{input}");
    }
    for tool in [
        r#"{"type":"function","parameters":{"properties":{"file_id":{"type":"string"}}}}"#,
        r#"{"type":"code_interpreter","container":{"type":"auto","file_ids":[]}}"#,
    ] {
        assert!(with(&format!(r#","tools":[{tool}]"#)).is_ok(), "{tool}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_request_that_lets_the_provider_act_is_for_the_one_who_asked() {
    for (tool, bypass) in [
        (r#"{"type":"function"}"#, None),
        (r#"{"type":"custom"}"#, None),
        (r#"{"type":"web_search"}"#, None),
        (r#"{"type":"namespace","tools":[{"type":"function"}]}"#, None),
        (r#"{"type":"shell","environment":{"type":"local"}}"#, None),
        (r#"{"type":"shell"}"#, Some(Reason::SideEffects)),
        (r#"{"type":"shell","environment":{"type":"container_auto"}}"#, Some(Reason::SideEffects)),
        (r#"{"type":"mcp","server_url":"https://example.com"}"#, Some(Reason::SideEffects)),
        (r#"{"type":"code_interpreter","container":{"type":"auto"}}"#, Some(Reason::SideEffects)),
        (r#"{"type":"namespace","tools":[{"type":"mcp"}]}"#, Some(Reason::SideEffects)),
        (r#"{"type":"tool_of_tomorrow"}"#, Some(Reason::SideEffects)),
        ("{}", Some(Reason::SideEffects)),
    ] {
        let body = format!(r#","tools":[{{"type":"function"}},{tool}]"#);
        assert_eq!(with(&body).unwrap().bypass, bypass, "{tool}");
        let item = format!(r#"{{"type":"additional_tools","tools":[{tool}]}}"#);
        let body = format!(r#"{{"model":"m","input":[{item}]}}"#);
        assert_eq!(asked(&body).unwrap().bypass, bypass, "{item}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn what_a_response_repeats_is_in_the_key() {
    let left_out = Dialect::OpenAiResponses.left_out();
    for field in ["user", "metadata", "safety_identifier", "prompt_cache_key", "store"] {
        assert!(!left_out.contains(&field), "{field}");
    }
}
