//! The form in which a request asks for its answer, and what of the answer must have it: JSON, a JSON that fits a
//! schema, and the arguments of tools that are called strictly.

use serde_json::Value;

use crate::Dialect;

/// A part of an answer that must have a form.
#[derive(Clone, Debug, PartialEq)]
pub struct Formed {
    /// What it is.
    pub part: Part,
    /// The schema that it must fit; `None`: it must be a JSON object.
    pub schema: Option<Value>,
    /// What was said there.
    pub said: Said,
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
    /// The form of the text: of any JSON, or of a schema.
    text: Option<Option<Value>>,
    /// The strict tools, with their schemas.
    tools: Vec<(String, Value)>,
}

// === impl Dialect ===

impl Dialect {
    /// Whether a request asks for a form.
    #[must_use]
    pub fn asks_for_form(self, request: &[u8]) -> bool {
        let Asked { text, tools } = self.asked(request);
        text.is_some() || !tools.is_empty()
    }

    /// The parts of a JSON answer that must have a form, because its request has asked for it.
    #[must_use]
    pub fn formed(self, request: &[u8], answer: &[u8]) -> Vec<Formed> {
        let asked = self.asked(request);
        if asked.text.is_none() && asked.tools.is_empty() {
            return Vec::new();
        }
        let Ok(answer) = serde_json::from_slice::<Value>(answer) else { return Vec::new() };
        let mut formed = Vec::new();
        match self {
            Self::OpenAiChat => {
                items(&answer, "choices").for_each(|choice| asked.of_choice(choice, &mut formed));
            }
            Self::OpenAiResponses => {
                items(&answer, "output").for_each(|item| asked.of_item(item, &mut formed));
            }
            Self::AnthropicMessages => asked.of_message(&answer, &mut formed),
            Self::OpenAiCompletions | Self::OpenAiEmbeddings => {}
        }
        formed
    }

    fn asked(self, request: &[u8]) -> Asked {
        let Ok(request) = serde_json::from_slice::<Value>(request) else { return Asked::default() };
        match self {
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
        }
    }
}

/// The form of a text, where one is asked for.
fn text_form(format: &Value, schema: &str) -> Option<Option<Value>> {
    match at(format, "type").as_str() {
        Some("json_object") => Some(None),
        Some("json_schema") => Some(format.pointer(schema).cloned()),
        Some(_) | None => None,
    }
}

fn strict<'a>(
    request: &'a Value,
    of: impl Fn(&'a Value) -> (&'a Value, &'static str),
) -> Vec<(String, Value)> {
    let tools = items(request, "tools").map(of).filter(|(tool, _)| at(tool, "strict") == true);
    tools
        .filter_map(|(tool, schema)| {
            Some((at(tool, "name").as_str()?.to_owned(), tool.get(schema)?.clone()))
        })
        .collect()
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

// === impl Asked ===

impl Asked {
    /// Of chat completions. One that refuses, or calls tools and says nothing, has no text.
    fn of_choice(&self, choice: &Value, formed: &mut Vec<Formed>) {
        let message = at(choice, "message");
        for call in items(message, "tool_calls") {
            let function = at(call, "function");
            let arguments = at(function, "arguments").as_str().unwrap_or_default().to_owned();
            self.arguments(at(function, "name"), Said::Text(arguments), formed);
        }
        let calls = items(message, "tool_calls").next().is_some();
        let text = at(message, "content").as_str().unwrap_or_default();
        self.text(text, calls, at(message, "refusal").is_string(), formed);
    }

    /// Of responses: an item is a message or a call.
    fn of_item(&self, item: &Value, formed: &mut Vec<Formed>) {
        if is_of(item, "function_call") {
            let arguments = at(item, "arguments").as_str().unwrap_or_default().to_owned();
            self.arguments(at(item, "name"), Said::Text(arguments), formed);
        } else if is_of(item, "message") {
            let refuses = items(item, "content").any(|part| is_of(part, "refusal"));
            let texts = items(item, "content").filter(|part| is_of(part, "output_text"));
            let text: String = texts.filter_map(|part| at(part, "text").as_str()).collect();
            self.text(&text, false, refuses, formed);
        }
    }

    /// Of messages.
    fn of_message(&self, message: &Value, formed: &mut Vec<Formed>) {
        let mut calls = false;
        for block in items(message, "content").filter(|block| is_of(block, "tool_use")) {
            calls = true;
            self.arguments(at(block, "name"), Said::Json(at(block, "input").clone()), formed);
        }
        let texts = items(message, "content").filter(|block| is_of(block, "text"));
        let text: String = texts.filter_map(|block| at(block, "text").as_str()).collect();
        self.text(&text, calls, at(message, "stop_reason") == "refusal", formed);
    }

    fn text(&self, text: &str, calls: bool, refuses: bool, formed: &mut Vec<Formed>) {
        let Some(schema) = &self.text else { return };
        if refuses || calls && text.is_empty() {
            return;
        }
        let said = Said::Text(text.to_owned());
        formed.push(Formed { part: Part::Text, schema: schema.clone(), said });
    }

    fn arguments(&self, name: &Value, said: Said, formed: &mut Vec<Formed>) {
        let tool = self.tools.iter().find(|(tool, _)| name == tool.as_str());
        if let Some((_, schema)) = tool {
            formed.push(Formed { part: Part::Arguments, schema: Some(schema.clone()), said });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn formed(dialect: Dialect, request: &Value, answer: &Value) -> Vec<Formed> {
        let (request, answer) = (request.to_string(), answer.to_string());
        let formed = dialect.formed(request.as_bytes(), answer.as_bytes());
        assert!(formed.is_empty() || dialect.asks_for_form(request.as_bytes()));
        formed
    }

    fn text(schema: Option<Value>, said: &str) -> Formed {
        Formed { part: Part::Text, schema, said: Said::Text(said.to_owned()) }
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
        let arguments = |said| Formed { part: Part::Arguments, schema: Some(schema.clone()), said };
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
}
