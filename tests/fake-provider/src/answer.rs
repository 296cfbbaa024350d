//! What the fake answers: a text that depends on the conversation alone, under an id that depends on the
//! call alone, so that a test can tell which call made the answer it holds. Knows no shape and no HTTP.

use sha2::{Digest, Sha256};

use serde_json::{Map, Value, json};

use crate::directive::{Directive, UsageKind};
use crate::request::{ChatRequest, Function};

/// An answer, before it takes a shape.
#[derive(Debug)]
pub(crate) struct Answer {
    /// `chatcmpl-<call>`.
    pub(crate) id: String,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// The dated name under which a provider serves a model.
    pub(crate) model: String,
    /// One or more.
    pub(crate) choices: Vec<Choice>,
    /// `None` where there shall be none.
    pub(crate) usage: Option<Value>,
}

/// One choice.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// The content, cut as it will be streamed.
    pub(crate) pieces: Vec<String>,
    /// Calls instead of content.
    pub(crate) tool_calls: Vec<ToolCall>,
    /// Why it ended.
    pub(crate) finish: String,
    /// Whether to tell probabilities.
    pub(crate) logprobs: bool,
}

/// One tool call.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ToolCall {
    /// Its id, unique to the call.
    pub(crate) id: String,
    /// The function.
    pub(crate) name: String,
    /// The arguments as JSON text.
    pub(crate) arguments: String,
}

/// Among them what a careless codec would break: quotes, a line break, a separator of events, wide characters.
const WORDS: [&str; 16] = [
    "token",
    "cache",
    "flight",
    "naïve",
    "😄",
    "\"quoted\"",
    "line\nbreak",
    "blank\n\nline",
    "ledger",
    "данные",
    "\\",
    "data: [DONE]",
    "</html>",
    "\u{2028}",
    "gateway",
    "{\"a\":1}",
];
const WORDS_DEFAULT: usize = 12;
const PIECE_BYTES: usize = 4096;
/// Stands where a byte that is no UTF-8 will be put.
pub(crate) const INVALID_UTF8_MARK: &str = "\u{FFFD}";

// === impl Answer ===

impl Answer {
    /// Builds the answer of call number `call`.
    #[must_use]
    pub(crate) fn new(
        request: &ChatRequest,
        directive: &Directive,
        call: u64,
        created: u64,
    ) -> Self {
        let called = request.called_functions();
        let choices: Vec<Choice> = (0..request.n.unwrap_or(1).clamp(1, 16))
            .map(|index| {
                if called.is_empty() {
                    text_choice(request, directive, index)
                } else {
                    tool_choice(&called, directive, call, index)
                }
            })
            .collect();
        let completion_tokens = choices.iter().map(Choice::tokens).sum();
        Self {
            id: format!("chatcmpl-{call}"),
            created,
            model: dated(&request.model),
            choices,
            usage: usage(directive.usage, request.prompt_tokens(), completion_tokens),
        }
    }
}

// === impl Choice ===

impl Choice {
    /// The whole content.
    #[must_use]
    pub(crate) fn content(&self) -> String {
        self.pieces.concat()
    }

    fn tokens(&self) -> usize {
        let called = self.tool_calls.iter().map(|call| call.arguments.split(',').count());
        self.pieces.len() + called.sum::<usize>()
    }
}

fn text_choice(request: &ChatRequest, directive: &Directive, index: usize) -> Choice {
    let mut pieces = match directive.size {
        Some(size) => sized(size),
        None => words(request, directive.words.unwrap_or(WORDS_DEFAULT), index),
    };
    if directive.invalid_utf8 {
        pieces.push(INVALID_UTF8_MARK.to_owned());
    }
    let limited = request.tokens_max().is_some_and(|max| max < pieces.len());
    pieces.truncate(request.tokens_max().unwrap_or(usize::MAX));
    let finish = if limited { "length" } else { "stop" };
    Choice {
        pieces,
        tool_calls: Vec::new(),
        finish: directive.finish.clone().unwrap_or_else(|| finish.to_owned()),
        logprobs: request.logprobs.unwrap_or(false),
    }
}

fn tool_choice(called: &[&Function], directive: &Directive, call: u64, index: usize) -> Choice {
    let tool_calls = called.iter().enumerate().map(|(at, function)| ToolCall {
        id: format!("call_{call}_{index}_{at}"),
        name: function.name.clone(),
        arguments: arguments(function.parameters.as_ref()),
    });
    Choice {
        pieces: Vec::new(),
        tool_calls: tool_calls.collect(),
        finish: directive.finish.clone().unwrap_or_else(|| "tool_calls".to_owned()),
        logprobs: false,
    }
}

/// A digest of the conversation, and words that follow from it.
fn words(request: &ChatRequest, count: usize, index: usize) -> Vec<String> {
    let mut hasher = Sha256::new();
    hasher.update(request.model.as_bytes());
    hasher.update(request.prompt().as_bytes());
    hasher.update(index.to_string().as_bytes());
    let digest = hasher.finalize();
    let name: String = digest.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    let mut pieces = vec![format!("Answer {name}:")];
    let picks = digest.iter().cycle().zip(0_usize..).take(count.saturating_sub(1));
    pieces.extend(picks.filter_map(|(byte, at)| {
        let word = WORDS.get((usize::from(*byte) + at) % WORDS.len())?;
        Some(format!(" {word}"))
    }));
    pieces
}

fn sized(size: usize) -> Vec<String> {
    let whole = std::iter::repeat_n(PIECE_BYTES, size / PIECE_BYTES);
    whole.chain([size % PIECE_BYTES]).filter(|len| *len > 0).map(|len| "x".repeat(len)).collect()
}

/// Arguments that a schema's properties would take.
fn arguments(schema: Option<&Value>) -> String {
    let properties = schema.and_then(|schema| schema.get("properties")).and_then(Value::as_object);
    let filled: Map<String, Value> = properties
        .into_iter()
        .flatten()
        .map(|(name, property)| {
            let value = match property.get("type").and_then(Value::as_str) {
                Some("integer" | "number") => json!(7),
                Some("boolean") => json!(true),
                Some("array") => json!([]),
                _ => json!(format!("a {name} with \"quotes\" and ü")),
            };
            (name.clone(), value)
        })
        .collect();
    Value::Object(filled).to_string()
}

/// Providers answer an alias with the dated model behind it.
fn dated(model: &str) -> String {
    match model {
        "gpt-4o" => "gpt-4o-2024-08-06".to_owned(),
        "gpt-4o-mini" => "gpt-4o-mini-2024-07-18".to_owned(),
        other => other.to_owned(),
    }
}

fn usage(kind: UsageKind, prompt: usize, completion: usize) -> Option<Value> {
    let of = |prompt: Value, completion: Value, total: Value| {
        Some(json!({
            "prompt_tokens": prompt,
            "completion_tokens": completion,
            "total_tokens": total,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0, "audio_tokens": 0},
        }))
    };
    match kind {
        UsageKind::Good => of(json!(prompt), json!(completion), json!(prompt + completion)),
        UsageKind::Missing => None,
        UsageKind::Negative => of(json!(-1), json!(-5), json!(-6)),
        UsageKind::Text => of(json!("12"), json!("many"), json!("12abc")),
        UsageKind::Absurd => of(json!(1e30), json!(1e30), json!(2e30)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: Value) -> ChatRequest {
        serde_json::from_value(body).unwrap()
    }

    fn hello() -> ChatRequest {
        request(json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}))
    }

    #[test]
    fn the_text_follows_from_the_conversation_and_the_id_from_the_call() {
        let first = Answer::new(&hello(), &Directive::default(), 1, 0);
        let second = Answer::new(&hello(), &Directive::default(), 2, 0);
        assert_eq!(first.choices, second.choices);
        assert_eq!((first.id.as_str(), second.id.as_str()), ("chatcmpl-1", "chatcmpl-2"));
        let other =
            request(json!({"model": "gpt-4o", "messages": [{"role": "user", "content": "bye"}]}));
        assert_ne!(Answer::new(&other, &Directive::default(), 1, 0).choices, first.choices);
    }

    #[test]
    fn choices_differ_from_each_other() {
        let body =
            json!({"model": "m", "n": 2, "messages": [{"role": "user", "content": "hello"}]});
        let answer = Answer::new(&request(body), &Directive::default(), 1, 0);
        assert_eq!(answer.choices.len(), 2);
        assert_ne!(answer.choices[0].content(), answer.choices[1].content());
    }

    #[test]
    fn a_function_is_called_where_the_prompt_says_so() {
        let body = |prompt: &str| {
            request(json!({
                "model": "m",
                "messages": [{"role": "user", "content": prompt}],
                "tools": [{"type": "function", "function": {"name": "get_weather", "parameters":
                    {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}}}}],
            }))
        };
        let asked = Answer::new(&body("please call get_weather"), &Directive::default(), 3, 0);
        let call = &asked.choices[0].tool_calls[0];
        assert_eq!((call.id.as_str(), call.name.as_str()), ("call_3_0_0", "get_weather"));
        let arguments: Value = serde_json::from_str(&call.arguments).unwrap();
        assert_eq!(arguments["days"], 7);
        let not_asked = Answer::new(&body("hello"), &Directive::default(), 3, 0);
        assert!(not_asked.choices[0].tool_calls.is_empty());
    }

    #[test]
    fn a_size_is_met_to_the_byte() {
        for size in [0, 1, PIECE_BYTES, 3 * PIECE_BYTES + 5] {
            let directive = Directive { size: Some(size), ..Directive::default() };
            let answer = Answer::new(&hello(), &directive, 1, 0);
            assert_eq!(answer.choices[0].content().len(), size);
        }
    }

    #[test]
    fn the_clients_own_limit_ends_the_answer() {
        let body = json!({"model": "m", "max_tokens": 2, "messages": [{"role": "user", "content": "hello"}]});
        let answer = Answer::new(&request(body), &Directive::default(), 1, 0);
        assert_eq!(answer.choices[0].pieces.len(), 2);
        assert_eq!(answer.choices[0].finish, "length");
    }
}
