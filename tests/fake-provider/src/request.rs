//! The part of a request that the fake reads, whatever its dialect. Everything else is ignored, as a lenient
//! provider would.

use serde::Deserialize;
use serde_json::Value;

use crate::dialect::Dialect;

/// What was asked.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    /// How.
    pub(crate) dialect: Dialect,
    /// Of which model.
    pub(crate) model: String,
    /// The last text of a user, where directives and tool calls are asked for.
    pub(crate) prompt: String,
    /// Words in all texts, which pass for tokens here.
    pub(crate) prompt_tokens: usize,
    /// Whether to stream.
    pub(crate) stream: bool,
    /// Whether the stream tells its usage, where the dialect lets the client choose.
    pub(crate) includes_usage: bool,
    /// How many choices; for embeddings, how many inputs.
    pub(crate) n: usize,
    /// Whether to tell probabilities.
    pub(crate) logprobs: bool,
    /// Whether vectors are sent as base64.
    pub(crate) base64: bool,
    /// The functions whose names the prompt has behind the word `call`: "please call `get_weather`".
    pub(crate) called: Vec<Function>,
    /// The client's own limit on the length of an answer.
    pub(crate) tokens_max: Option<usize>,
}

/// A function that may be called.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The JSON schema of its arguments.
    pub(crate) parameters: Option<Value>,
}

/// The fields of all dialects on one heap: none has two meanings.
#[derive(Debug, Deserialize)]
struct Raw {
    model: Option<String>,
    messages: Option<Vec<Value>>,
    prompt: Option<Value>,
    input: Option<Value>,
    stream: Option<bool>,
    stream_options: Option<StreamOptions>,
    n: Option<usize>,
    logprobs: Option<Value>,
    encoding_format: Option<String>,
    tools: Option<Vec<Value>>,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
    max_output_tokens: Option<usize>,
}

#[derive(Debug, Deserialize)]
struct StreamOptions {
    include_usage: Option<bool>,
}

// === impl Ask ===

impl Ask {
    /// Reads the body of a request; `deployment` is the model that its path names.
    ///
    /// # Errors
    /// Says what is missing, in the words of the provider.
    pub(crate) fn read(
        dialect: Dialect,
        deployment: Option<&str>,
        body: &[u8],
    ) -> Result<Self, String> {
        let raw: Raw = serde_json::from_slice(body).map_err(|problem| problem.to_string())?;
        let model = deployment.map(str::to_owned).or_else(|| raw.model.clone());
        let model = model.ok_or("you must provide a model parameter")?;
        let source = match dialect {
            Dialect::Chat | Dialect::Messages => raw.messages.clone().map(Value::Array),
            Dialect::Completions => raw.prompt.clone(),
            Dialect::Responses | Dialect::Embeddings => raw.input.clone(),
        };
        let source = source.ok_or("Missing required parameter: the prompt of this dialect")?;
        if dialect == Dialect::Messages && raw.max_tokens.is_none() {
            return Err("max_tokens: Field required".to_owned());
        }
        let prompt = prompt(&source);
        let tools = raw.tools.iter().flatten().filter_map(Function::read);
        Ok(Self {
            dialect,
            model,
            prompt_tokens: texts(&source).join(" ").split_whitespace().count(),
            stream: raw.stream.unwrap_or(false) && dialect != Dialect::Embeddings,
            includes_usage: raw.stream_options.and_then(|o| o.include_usage).unwrap_or(false),
            n: match (dialect, &source) {
                (Dialect::Embeddings, Value::Array(inputs)) => inputs.len(),
                _ => raw.n.unwrap_or(1).clamp(1, 16),
            },
            logprobs: raw.logprobs.is_some_and(|value| value != false && !value.is_null()),
            base64: raw.encoding_format.as_deref() == Some("base64"),
            called: tools.filter(|f| prompt.contains(&format!("call {}", f.name))).collect(),
            tokens_max: raw.max_completion_tokens.or(raw.max_tokens).or(raw.max_output_tokens),
            prompt,
        })
    }
}

/// The text of the last user, or all of what is no conversation.
fn prompt(source: &Value) -> String {
    let users = source.as_array().into_iter().flatten().rev();
    let mut users = users.filter(|message| message.get("role").is_some_and(|role| role == "user"));
    match users.next() {
        Some(message) => texts(message).join("\n"),
        None => texts(source).join("\n"),
    }
}

/// Every text in a message, a list of messages, a list of parts, or a bare string.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(values) => values.iter().flat_map(texts).collect(),
        Value::Object(fields) => {
            let of = |name: &str| fields.get(name).map(texts).unwrap_or_default();
            [of("content"), of("text")].concat()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) => Vec::new(),
    }
}

// === impl Function ===

impl Function {
    /// A tool as chat completions wrap it, as responses or as messages have it.
    fn read(tool: &Value) -> Option<Self> {
        let function = tool.get("function").unwrap_or(tool);
        let parameters = function.get("parameters").or_else(|| function.get("input_schema"));
        let name = function.get("name")?.as_str()?.to_owned();
        Some(Self { name, parameters: parameters.cloned() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(dialect: Dialect, body: &Value) -> Ask {
        Ask::read(dialect, None, body.to_string().as_bytes()).unwrap()
    }

    #[test]
    fn each_dialect_keeps_its_prompt_somewhere_else() {
        let talk = json!([{"role": "user", "content": "old"}, {"role": "assistant", "content": "x"},
            {"role": "user", "content": [{"type": "text", "text": "hello"}]}]);
        for (dialect, body) in [
            (Dialect::Chat, json!({"model": "m", "messages": talk})),
            (Dialect::Messages, json!({"model": "m", "max_tokens": 9, "messages": talk})),
            (Dialect::Completions, json!({"model": "m", "prompt": "hello"})),
            (Dialect::Responses, json!({"model": "m", "input": "hello"})),
            (Dialect::Responses, json!({"model": "m", "input": talk})),
            (Dialect::Embeddings, json!({"model": "m", "input": ["hello"]})),
        ] {
            assert_eq!(read(dialect, &body).prompt, "hello", "{dialect:?}");
        }
    }

    #[test]
    fn a_tool_is_found_in_the_shape_of_each_dialect() {
        for (dialect, tool, field) in [
            (Dialect::Chat, json!({"type": "function", "function": {"name": "f"}}), "messages"),
            (Dialect::Messages, json!({"name": "f", "input_schema": {}}), "messages"),
            (Dialect::Responses, json!({"type": "function", "name": "f"}), "input"),
        ] {
            let mut body = json!({"model": "m", "max_tokens": 9, "tools": [tool]});
            body[field] = json!([{"role": "user", "content": "call f"}]);
            assert_eq!(read(dialect, &body).called[0].name, "f", "{dialect:?}");
        }
    }

    #[test]
    fn what_a_provider_insists_on_is_insisted_on() {
        for (dialect, body) in [
            (Dialect::Chat, json!({"messages": []})),
            (Dialect::Chat, json!({"model": "m"})),
            (Dialect::Messages, json!({"model": "m", "messages": []})),
            (Dialect::Responses, json!({"model": "m", "messages": []})),
        ] {
            let read = Ask::read(dialect, None, body.to_string().as_bytes());
            assert!(read.is_err(), "{body}");
        }
        let body = br#"{"messages": []}"#;
        assert_eq!(Ask::read(Dialect::Chat, Some("d"), body).unwrap().model, "d");
    }
}
