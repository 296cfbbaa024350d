//! What the fake answers: a text that depends on the conversation alone, under an id that depends on the
//! call alone, so that a test can tell which call made the answer it holds. Knows no shape and no HTTP.

use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::dialect::Dialect;
use crate::directive::{Directive, UsageKind};
use crate::request::{Ask, Function};

/// An answer, before it takes a shape.
#[derive(Debug)]
pub(crate) struct Answer {
    /// `chatcmpl-<call>`, or what the dialect calls it.
    pub(crate) id: String,
    /// The number of the call.
    pub(crate) call: u64,
    /// Seconds since 1970.
    pub(crate) created: u64,
    /// The dated name under which a provider serves a model.
    pub(crate) model: String,
    /// One or more.
    pub(crate) choices: Vec<Choice>,
    /// `None` where there shall be none.
    pub(crate) usage: Option<Usage>,
    /// What is told after it, in the dialects that can tell two.
    pub(crate) usage_again: Option<Usage>,
}

/// What was used. Values, because some are told that are no numbers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Usage {
    /// Of the request.
    pub(crate) input: Value,
    /// Of the answer.
    pub(crate) output: Value,
    /// Both.
    pub(crate) total: Value,
    /// Reasoning, which is in the output.
    pub(crate) reasoning: usize,
}

/// One choice.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    /// What was thought before, cut as it will be streamed.
    pub(crate) reasoning: Vec<String>,
    /// The content, cut as it will be streamed.
    pub(crate) pieces: Vec<String>,
    /// Calls instead of content.
    pub(crate) tool_calls: Vec<ToolCall>,
    /// Why it ended, in the words of chat completions.
    pub(crate) finish: &'static str,
    /// Why it ended, as the directive wants it told.
    pub(crate) finish_told: Option<String>,
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
    pub(crate) fn new(ask: &Ask, directive: &Directive, call: u64, created: u64) -> Self {
        // Several answers are for chat completions and completions; embeddings count their inputs.
        let several = !matches!(ask.dialect, Dialect::Responses | Dialect::Messages);
        let choices: Vec<Choice> = (0..if several { ask.n } else { 1 })
            .map(|index| {
                if ask.called.is_empty() {
                    text_choice(ask, directive, index)
                } else {
                    tool_choice(&ask.called, directive, call, index)
                }
            })
            .collect();
        let output = choices.iter().map(Choice::tokens).sum();
        let reasoning = choices.iter().map(|choice| choice.reasoning.len()).sum();
        let is_twice = directive.usage == UsageKind::Twice;
        let again = is_twice.then(|| usage(UsageKind::Good, ask.prompt_tokens + 1, 0, 0)).flatten();
        Self {
            id: format!("{}{call}", ask.dialect.id_prefix()),
            call,
            created,
            model: dated(&ask.model),
            choices,
            usage: usage(directive.usage, ask.prompt_tokens, output, reasoning),
            usage_again: again,
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
        self.reasoning.len() + self.pieces.len() + called.sum::<usize>()
    }

    /// Why it ended, in the words of chat completions or of the directive.
    #[must_use]
    pub(crate) fn finish(&self) -> &str {
        self.finish_told.as_deref().unwrap_or(self.finish)
    }
}

fn text_choice(request: &Ask, directive: &Directive, index: usize) -> Choice {
    let mut pieces = match (&directive.says, directive.size) {
        (Some(says), _) => cut(says),
        (None, Some(size)) => sized(size),
        (None, None) => words(request, directive.words.unwrap_or(WORDS_DEFAULT), index),
    };
    if directive.invalid_utf8 {
        pieces.push(INVALID_UTF8_MARK.to_owned());
    }
    let limited = request.tokens_max.is_some_and(|max| max < pieces.len());
    pieces.truncate(request.tokens_max.unwrap_or(usize::MAX));
    Choice {
        reasoning: reasoning(directive),
        pieces,
        tool_calls: Vec::new(),
        finish: if limited { "length" } else { "stop" },
        finish_told: directive.finish.clone(),
        logprobs: request.logprobs,
    }
}

fn tool_choice(called: &[Function], directive: &Directive, call: u64, index: usize) -> Choice {
    let tool_calls = called.iter().enumerate().map(|(at, function)| ToolCall {
        id: format!("call_{call}_{index}_{at}"),
        name: function.name.clone(),
        arguments: directive
            .says
            .clone()
            .unwrap_or_else(|| arguments(function.parameters.as_ref())),
    });
    Choice {
        reasoning: reasoning(directive),
        pieces: Vec::new(),
        tool_calls: tool_calls.collect(),
        finish: "tool_calls",
        finish_told: directive.finish.clone(),
        logprobs: false,
    }
}

fn reasoning(directive: &Directive) -> Vec<String> {
    (0..directive.reasoning).map(|at| format!("Thought {at}. ")).collect()
}

/// A text as a tokenizer might cut it: now and then within a word.
fn cut(text: &str) -> Vec<String> {
    const LENGTHS: [usize; 5] = [3, 1, 4, 7, 2];
    let mut pieces = Vec::new();
    let mut rest = text.chars().peekable();
    for length in LENGTHS.into_iter().cycle() {
        if rest.peek().is_none() {
            break;
        }
        pieces.push(rest.by_ref().take(length).collect());
    }
    pieces
}

/// A digest of the conversation, and words that follow from it.
fn words(request: &Ask, count: usize, index: usize) -> Vec<String> {
    let mut hasher = Sha256::new();
    hasher.update(request.model.as_bytes());
    hasher.update(request.prompt.as_bytes());
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
        "claude-sonnet-4-5" => "claude-sonnet-4-5-20250929".to_owned(),
        "gpt-4o-mini" => "gpt-4o-mini-2024-07-18".to_owned(),
        other => other.to_owned(),
    }
}

fn usage(kind: UsageKind, input: usize, output: usize, reasoning: usize) -> Option<Usage> {
    let of = |input, output, total| Some(Usage { input, output, total, reasoning });
    match kind {
        UsageKind::Good | UsageKind::Twice => {
            of(json!(input), json!(output), json!(input + output))
        }
        UsageKind::Missing => None,
        UsageKind::Negative => of(json!(-1), json!(-5), json!(-6)),
        UsageKind::Text => of(json!("12"), json!("many"), json!("12abc")),
        UsageKind::Absurd => of(json!(1e30), json!(1e30), json!(2e30)),
        UsageKind::Float => of(json!(12.5), json!(7.25), json!(19.75)),
        UsageKind::Beyond => of(json!(1_u64 << 53), json!(1_u64 << 53), json!(1_u64 << 54)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(body: Value) -> Ask {
        Ask::read(Dialect::Chat, None, body.to_string().as_bytes()).unwrap()
    }

    fn hello() -> Ask {
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
