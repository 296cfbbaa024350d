//! The form in which a request asks for its answer, and what of the answer must have it: JSON, a JSON that fits a
//! schema, and the arguments of tools that are called strictly.

use std::collections::HashMap;
use std::sync::Arc;

use kt_contract::json::{self, Bounds};
use kt_contract::limits::JSON_NODES_MAX;
use serde_json::Value;

use crate::Dialect;

/// How long a schema may be; larger ones are not applied.
const SCHEMA_BYTES_MAX: usize = 256 << 10;
/// How many parts of an answer may be looked at.
const PARTS_MAX: usize = 1_024;
/// What is read at all: no deeper than the values that come of it may be.
const BOUNDS: Bounds = Bounds { depth_max: 127, nodes_max: JSON_NODES_MAX };

/// A part of an answer that must have a form.
#[derive(Clone, Debug, PartialEq)]
pub struct Formed {
    /// What it is.
    pub part: Part,
    /// What it must be.
    pub form: Form,
    /// What was said there.
    pub said: Said,
}

/// What a part must be.
#[derive(Clone, Debug, PartialEq)]
pub enum Form {
    /// A JSON object.
    Object,
    /// What fits this schema.
    Schema(Arc<Value>),
    /// What fits a schema that is too long to be applied.
    LongSchema,
}

/// Why nobody can say which parts of an answer must have a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unread {
    /// The request is no JSON that two readers would read alike.
    Request,
    /// The answer is none.
    Answer,
    /// It has more parts than are looked at.
    Parts,
}

/// Which part of an answer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Its text.
    Text,
    /// The arguments of a tool's call.
    Arguments,
}

/// What was said.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// A text that must be JSON.
    Text(String),
    /// JSON already.
    Json(Value),
}

/// What a request asks for.
#[derive(Debug, Default)]
struct Asked {
    /// The form of the text.
    text: Option<Form>,
    /// The forms of the strict tools.
    tools: HashMap<String, Form>,
}

/// A JSON that everybody reads alike: no name twice, no number that has no value, nothing deeper than is read here.
#[must_use]
pub fn read_strictly(text: &[u8]) -> Option<Value> {
    json::parse(text, BOUNDS).ok()?;
    serde_json::from_slice(text).ok()
}

// === impl Dialect ===

impl Dialect {
    /// Whether a request asks for a form, or nobody can say.
    #[must_use]
    pub fn asks_for_form(self, request: &[u8]) -> bool {
        self.asked(request).is_none_or(|asked| asked.asks())
    }

    /// The parts of a JSON answer that must have a form, because its request has asked for it.
    ///
    /// # Errors
    /// Where one of the two cannot be read, or there are too many parts.
    pub fn formed(self, request: &[u8], answer: &[u8]) -> Result<Vec<Formed>, Unread> {
        let asked = self.asked(request).ok_or(Unread::Request)?;
        if !asked.asks() {
            return Ok(Vec::new());
        }
        let answer = read_strictly(answer).ok_or(Unread::Answer)?;
        let mut formed = Vec::new();
        match self {
            Self::OpenAiChat => {
                items(&answer, "choices")
                    .try_for_each(|choice| asked.of_choice(choice, &mut formed))?;
            }
            Self::OpenAiResponses => {
                items(&answer, "output").try_for_each(|item| asked.of_item(item, &mut formed))?;
            }
            Self::AnthropicMessages => asked.of_message(&answer, &mut formed)?,
            Self::OpenAiCompletions | Self::OpenAiEmbeddings => {}
        }
        Ok(formed)
    }

    /// `None` where the request cannot be read.
    fn asked(self, request: &[u8]) -> Option<Asked> {
        match self {
            Self::OpenAiChat | Self::OpenAiResponses | Self::AnthropicMessages => {}
            Self::OpenAiCompletions | Self::OpenAiEmbeddings => return Some(Asked::default()),
        }
        let request = read_strictly(request)?;
        Some(match self {
            Self::OpenAiChat => Asked {
                text: text_form(at(&request, "response_format"), "/json_schema/schema"),
                tools: strict(&request, |tool| (at(tool, "function"), "parameters")),
            },
            Self::OpenAiResponses => Asked {
                text: text_form(at(at(&request, "text"), "format"), "/schema"),
                tools: strict(&request, |tool| (tool, "parameters")),
            },
            Self::AnthropicMessages => {
                let forms =
                    [at(at(&request, "output_config"), "format"), at(&request, "output_format")];
                Asked {
                    text: forms.into_iter().find_map(|form| text_form(form, "/schema")),
                    tools: strict(&request, |tool| (tool, "input_schema")),
                }
            }
            Self::OpenAiCompletions | Self::OpenAiEmbeddings => Asked::default(),
        })
    }
}

/// The form of a text, where one is asked for.
fn text_form(format: &Value, schema: &str) -> Option<Form> {
    match at(format, "type").as_str() {
        Some("json_object") => Some(Form::Object),
        Some("json_schema") => Some(format.pointer(schema).map_or(Form::Object, Form::of)),
        Some(_) | None => None,
    }
}

fn strict<'a>(
    request: &'a Value,
    of: impl Fn(&'a Value) -> (&'a Value, &'static str),
) -> HashMap<String, Form> {
    let mut forms = HashMap::new();
    for (tool, schema) in items(request, "tools").map(of) {
        let (name, schema) = (at(tool, "name").as_str(), tool.get(schema));
        if at(tool, "strict") == true
            && let (Some(name), Some(schema)) = (name, schema)
        {
            forms.entry(name.to_owned()).or_insert_with(|| Form::of(schema));
        }
    }
    forms
}

/// The value of a field, or null.
fn at<'a>(value: &'a Value, name: &str) -> &'a Value {
    const NULL: &Value = &Value::Null;
    value.get(name).unwrap_or(NULL)
}

fn items<'a>(value: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    at(value, name).as_array().into_iter().flatten()
}

fn is_of(value: &Value, kind: &str) -> bool {
    at(value, "type") == kind
}

// === impl Form ===

impl Form {
    /// Looked at once, however many parts must have it.
    fn of(schema: &Value) -> Self {
        if schema.to_string().len() > SCHEMA_BYTES_MAX {
            return Self::LongSchema;
        }
        Self::Schema(Arc::new(schema.clone()))
    }
}

// === impl Asked ===

impl Asked {
    fn asks(&self) -> bool {
        self.text.is_some() || !self.tools.is_empty()
    }

    /// Of chat completions. One that refuses, or calls tools and says nothing, has no text.
    fn of_choice(&self, choice: &Value, formed: &mut Vec<Formed>) -> Result<(), Unread> {
        let message = at(choice, "message");
        for call in items(message, "tool_calls") {
            let function = at(call, "function");
            let arguments = at(function, "arguments").as_str().unwrap_or_default().to_owned();
            self.arguments(at(function, "name"), Said::Text(arguments), formed)?;
        }
        let calls = items(message, "tool_calls").next().is_some();
        let text = at(message, "content").as_str().unwrap_or_default();
        self.text(text, calls, at(message, "refusal").is_string(), formed)
    }

    /// Of responses: an item is a message or a call.
    fn of_item(&self, item: &Value, formed: &mut Vec<Formed>) -> Result<(), Unread> {
        if is_of(item, "function_call") {
            let arguments = at(item, "arguments").as_str().unwrap_or_default().to_owned();
            self.arguments(at(item, "name"), Said::Text(arguments), formed)?;
        } else if is_of(item, "message") {
            let refuses = items(item, "content").any(|part| is_of(part, "refusal"));
            let texts = items(item, "content").filter(|part| is_of(part, "output_text"));
            let text: String = texts.filter_map(|part| at(part, "text").as_str()).collect();
            self.text(&text, false, refuses, formed)?;
        }
        Ok(())
    }

    /// Of messages.
    fn of_message(&self, message: &Value, formed: &mut Vec<Formed>) -> Result<(), Unread> {
        let mut calls = false;
        for block in items(message, "content").filter(|block| is_of(block, "tool_use")) {
            calls = true;
            self.arguments(at(block, "name"), Said::Json(at(block, "input").clone()), formed)?;
        }
        let texts = items(message, "content").filter(|block| is_of(block, "text"));
        let text: String = texts.filter_map(|block| at(block, "text").as_str()).collect();
        self.text(&text, calls, at(message, "stop_reason") == "refusal", formed)
    }

    fn text(
        &self,
        text: &str,
        calls: bool,
        refuses: bool,
        formed: &mut Vec<Formed>,
    ) -> Result<(), Unread> {
        match &self.text {
            Some(form) if !(refuses || calls && text.is_empty()) => {
                let (part, form, said) = (Part::Text, form.clone(), Said::Text(text.to_owned()));
                add(Formed { part, form, said }, formed)
            }
            Some(_) | None => Ok(()),
        }
    }

    fn arguments(&self, name: &Value, said: Said, formed: &mut Vec<Formed>) -> Result<(), Unread> {
        match name.as_str().and_then(|name| self.tools.get(name)) {
            Some(form) => add(Formed { part: Part::Arguments, form: form.clone(), said }, formed),
            None => Ok(()),
        }
    }
}

fn add(part: Formed, formed: &mut Vec<Formed>) -> Result<(), Unread> {
    if formed.len() >= PARTS_MAX {
        return Err(Unread::Parts);
    }
    formed.push(part);
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn formed(dialect: Dialect, request: &Value, answer: &Value) -> Vec<Formed> {
        let (request, answer) = (request.to_string(), answer.to_string());
        let formed = dialect.formed(request.as_bytes(), answer.as_bytes()).unwrap();
        assert!(formed.is_empty() || dialect.asks_for_form(request.as_bytes()));
        formed
    }

    fn text(schema: Option<Value>, said: &str) -> Formed {
        let form = schema.map_or(Form::Object, |schema| Form::Schema(Arc::new(schema)));
        Formed { part: Part::Text, form, said: Said::Text(said.to_owned()) }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn the_text_of_every_dialect_has_the_form_that_was_asked_for() {
        let schema = json!({"type": "object"});
        let chat =
            json!({"choices": [{"message": {"content": "{}"}}, {"message": {"content": "x"}}]});
        let asked =
            json!({"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}});
        let some = Some(schema.clone());
        assert_eq!(
            formed(Dialect::OpenAiChat, &asked, &chat),
            [text(some.clone(), "{}"), text(some.clone(), "x")]
        );
        let any = json!({"response_format": {"type": "json_object"}});
        assert_eq!(formed(Dialect::OpenAiChat, &any, &chat)[0], text(None, "{}"));

        let responses = json!({"output": [{"type": "reasoning"}, {"type": "message", "content": [
            {"type": "output_text", "text": "{"}, {"type": "output_text", "text": "}"}]}]});
        let asked = json!({"text": {"format": {"type": "json_schema", "schema": schema}}});
        assert_eq!(
            formed(Dialect::OpenAiResponses, &asked, &responses),
            [text(some.clone(), "{}")]
        );

        let message =
            json!({"content": [{"type": "text", "text": "{}"}], "stop_reason": "end_turn"});
        for asked in [
            json!({"output_config": {"format": {"type": "json_schema", "schema": schema}}}),
            json!({"output_format": {"type": "json_schema", "schema": schema}}),
        ] {
            assert_eq!(
                formed(Dialect::AnthropicMessages, &asked, &message),
                [text(some.clone(), "{}")]
            );
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_asks_for_no_form_and_what_has_no_text_is_free() {
        let asked = json!({"response_format": {"type": "json_object"}});
        let calls = json!([{"function": {"name": "f", "arguments": "{"}}]);
        for (request, answer) in [
            (json!({}), json!({"choices": [{"message": {"content": "x"}}]})),
            (
                json!({"response_format": {"type": "text"}}),
                json!({"choices": [{"message": {"content": "x"}}]}),
            ),
            (asked.clone(), json!({"choices": [{"message": {"content": null, "refusal": "no"}}]})),
            (
                asked.clone(),
                json!({"choices": [{"message": {"content": null, "tool_calls": calls}}]}),
            ),
        ] {
            assert_eq!(formed(Dialect::OpenAiChat, &request, &answer), []);
        }
        let silent = json!({"choices": [{"message": {"content": null}}]});
        assert_eq!(formed(Dialect::OpenAiChat, &asked, &silent), [text(None, "")]);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn the_arguments_of_a_strict_tool_fit_its_schema_and_those_of_another_need_not() {
        let schema = json!({"type": "object"});
        let form = Form::Schema(Arc::new(schema.clone()));
        let arguments = |said| Formed { part: Part::Arguments, form: form.clone(), said };
        let tool = |name: &str, strict: bool| json!({"name": name, "strict": strict, "parameters": schema});
        let request =
            json!({"tools": [{"function": tool("f", true)}, {"function": tool("g", false)}]});
        let call = |name: &str| json!({"function": {"name": name, "arguments": "{}"}});
        let answer = json!({"choices": [{"message": {"tool_calls": [call("f"), call("g")]}}]});
        assert_eq!(
            formed(Dialect::OpenAiChat, &request, &answer),
            [arguments(Said::Text("{}".to_owned()))]
        );
        let request = json!({"tools": [tool("f", true)]});
        let answer = json!({"output": [{"type": "function_call", "name": "f", "arguments": "{}"}]});
        assert_eq!(
            formed(Dialect::OpenAiResponses, &request, &answer),
            [arguments(Said::Text("{}".to_owned()))]
        );
        let request = json!({"tools": [{"name": "f", "strict": true, "input_schema": schema}]});
        let answer = json!({"content": [{"type": "tool_use", "name": "f", "input": {"a": 1}}]});
        assert_eq!(
            formed(Dialect::AnthropicMessages, &request, &answer),
            [arguments(Said::Json(json!({"a": 1})))]
        );
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_two_readers_may_read_differently_is_not_read() {
        let dialect = Dialect::OpenAiChat;
        let request = br#"{"response_format": {"type": "json_object"}}"#;
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        for unread in [r#"{"a": 1e999}"#, r#"{"a": 1, "a": 2}"#, &deep, "{", ""] {
            let unread = unread.as_bytes();
            assert_eq!(dialect.formed(request, unread), Err(Unread::Answer));
            assert_eq!(dialect.formed(unread, b"{}"), Err(Unread::Request));
            assert!(dialect.asks_for_form(unread), "nobody can say that it does not");
            assert_eq!(dialect.formed(b"{}", unread), Ok(Vec::new()), "nothing was asked for");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_schema_is_held_once_for_all_parts_and_of_those_only_so_many() {
        let schema = |bytes: usize| {
            let schema = json!({"description": "x".repeat(bytes)});
            json!({"response_format": {"type": "json_schema", "json_schema": {"schema": schema}}})
        };
        let answer = |choices: usize| json!({"choices": vec![json!({"message": {"content": "1"}}); choices]});
        let parts = formed(Dialect::OpenAiChat, &schema(10), &answer(PARTS_MAX));
        let [Formed { form: Form::Schema(first), .. }, .., Formed { form: Form::Schema(last), .. }] =
            parts.as_slice()
        else {
            panic!("no schema")
        };
        assert!(Arc::ptr_eq(first, last));
        let too_many = answer(PARTS_MAX + 1).to_string();
        let request = schema(10).to_string();
        let parts = Dialect::OpenAiChat.formed(request.as_bytes(), too_many.as_bytes());
        assert_eq!(parts, Err(Unread::Parts));
        let long = formed(Dialect::OpenAiChat, &schema(SCHEMA_BYTES_MAX), &answer(1));
        assert_eq!(long[0].form, Form::LongSchema);
    }
}
