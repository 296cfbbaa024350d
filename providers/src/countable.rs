//! The text of a request and of an answer that a tokenizer counts, where the provider does not: in the pieces
//! in which the provider tokenizes it, because a token does not end where an event does. What is no text for
//! the model (ids, types, signatures, pictures) is left out.

use std::collections::{BTreeMap, BTreeSet};

use kt_contract::json::Node;
use serde_json::Value;

/// Text to count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Countable {
    /// Texts, each tokenized for itself.
    pub pieces: Vec<String>,
    /// How many messages of a request frame them.
    pub messages: u64,
    /// How many parts of an answer (choices, items, blocks) end with them.
    pub parts: u64,
    /// How many calls of tools are among them, which have frames of their own.
    pub calls: u64,
    /// Whether there are tools, which the provider explains to the model.
    pub has_tools: bool,
    /// Tokens that came as numbers, already counted.
    pub tokens: u64,
}

/// Fields that hold no words for a model, wherever they stand.
const NO_TEXT: &[&str] = &[
    "annotations",
    "cache_control",
    "call_id",
    "citations",
    "data",
    "detail",
    "encrypted_content",
    "file_data",
    "file_id",
    "format",
    "id",
    "image_url",
    "logprobs",
    "media_type",
    "obfuscation",
    "object",
    "role",
    "signature",
    "status",
    "tool_call_id",
    "tool_use_id",
    "type",
    "url",
];
/// Fields beside the content that are written out for the model.
const WRITTEN_OUT: &[&str] =
    &["instructions", "tools", "functions", "response_format", "text", "output_config"];

/// How much text of an answer is kept to be counted: more than any model says. Of what comes beyond it four bytes
/// count as a token.
const GROWING_BYTES_MAX: u64 = 4 << 20;

/// The texts of an answer while its pieces come, by their place.
#[derive(Debug, Default)]
pub(crate) struct Growing {
    texts: BTreeMap<String, String>,
    bytes: u64,
    /// Bytes beyond those that are kept.
    beyond: u64,
}

/// The text of a request whose content is in these fields.
pub(crate) fn of_request(content: &[&str], body: &Node<'_>) -> Countable {
    let mut found = Countable::default();
    for field in content {
        match body.field(field) {
            Some(Node::String(text)) => {
                found.messages = found.messages.saturating_add(1);
                found.pieces.push(text.to_string());
            }
            Some(node @ Node::Array(items)) => {
                let messages = items.iter().filter(|item| item.as_object().is_some()).count();
                found.messages = found.messages.saturating_add(messages as u64);
                found.collect("", node);
            }
            None | Some(Node::Null | Node::Bool(_) | Node::Number(_) | Node::Object(_)) => {}
        }
    }
    found.has_tools = ["tools", "functions"]
        .iter()
        .any(|field| body.field(field).and_then(Node::as_array).is_some_and(|it| !it.is_empty()));
    for field in WRITTEN_OUT {
        match body.field(field) {
            Some(Node::String(text)) => found.pieces.push(text.to_string()),
            Some(node @ (Node::Array(_) | Node::Object(_))) => found.pieces.push(written(node)),
            None | Some(Node::Null | Node::Bool(_) | Node::Number(_)) => {}
        }
    }
    found
}

/// The text of what is given to be gone on with or embedded: texts, tokens, or lists of either. No message
/// frames it.
pub(crate) fn of_prompt(prompt: Option<&Node<'_>>) -> Countable {
    let mut found = Countable::default();
    if let Some(prompt) = prompt {
        found.prompt(prompt);
    }
    found
}

/// JSON as short as it can be.
fn written(node: &Node<'_>) -> String {
    let mut text = String::new();
    write(node, &mut text);
    text
}

// The reader has bounded the depth, so recursion is bounded too.
fn write(node: &Node<'_>, text: &mut String) {
    let quoted = |words: &str| Value::from(words).to_string();
    match node {
        Node::Null => text.push_str("null"),
        Node::Bool(truth) => text.push_str(if *truth { "true" } else { "false" }),
        Node::Number(lexeme) => text.push_str(lexeme),
        Node::String(words) => text.push_str(&quoted(words)),
        Node::Array(items) => {
            text.push('[');
            for (at, item) in items.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { "," });
                write(item, text);
            }
            text.push(']');
        }
        Node::Object(fields) => {
            text.push('{');
            for (at, (name, value)) in fields.iter().enumerate() {
                text.push_str(if at == 0 { "" } else { "," });
                text.push_str(&quoted(name));
                text.push(':');
                write(value, text);
            }
            text.push('}');
        }
    }
}

// === impl Countable ===

impl Countable {
    fn collect(&mut self, name: &str, node: &Node<'_>) {
        match node {
            Node::String(text) => self.pieces.push(text.to_string()),
            Node::Array(items) => items.iter().for_each(|item| self.collect(name, item)),
            // What a tool was called with.
            Node::Object(_) if name == "input" => self.pieces.push(written(node)),
            Node::Object(fields) => {
                let has = |name| node.field(name).is_some();
                if has("name") && (has("arguments") || has("input")) {
                    self.calls = self.calls.saturating_add(1);
                }
                for (name, value) in fields {
                    if !NO_TEXT.contains(&name.as_ref()) {
                        self.collect(name, value);
                    }
                }
            }
            Node::Null | Node::Bool(_) | Node::Number(_) => {}
        }
    }

    fn prompt(&mut self, node: &Node<'_>) {
        match node {
            Node::String(text) => self.pieces.push(text.to_string()),
            Node::Number(_) => self.tokens = self.tokens.saturating_add(1),
            Node::Array(items) => items.iter().for_each(|item| self.prompt(item)),
            Node::Null | Node::Bool(_) | Node::Object(_) => {}
        }
    }
}

// === impl Growing ===

impl Growing {
    /// Takes the words of `value`, which stands at `place`; those of the same place go on.
    pub(crate) fn take(&mut self, place: &str, value: &Value) {
        match value {
            Value::String(text) if !text.is_empty() => {
                self.push(place, text);
            }
            Value::Array(items) => {
                for (at, item) in items.iter().enumerate() {
                    // Pieces of a call say which call they are of.
                    let at = item.get("index").and_then(Value::as_u64).unwrap_or(at as u64);
                    self.take(&format!("{place}[{at}]"), item);
                }
            }
            Value::Object(_) if place.ends_with(".input") => {
                self.push(place, &value.to_string());
            }
            Value::Object(fields) => {
                for (name, value) in fields {
                    if !NO_TEXT.contains(&name.as_str()) {
                        self.take(&format!("{place}.{name}"), value);
                    }
                }
            }
            Value::String(_) | Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    fn push(&mut self, place: &str, text: &str) {
        let length = text.len() as u64;
        if self.bytes.saturating_add(length) > GROWING_BYTES_MAX {
            self.beyond = self.beyond.saturating_add(length);
            return;
        }
        self.bytes = self.bytes.saturating_add(length);
        match self.texts.get_mut(place) {
            Some(texts) => texts.push_str(text),
            None => {
                self.texts.insert(place.to_owned(), text.to_owned());
            }
        }
    }

    /// How many bytes of text have come.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes.saturating_add(self.beyond)
    }

    pub(crate) fn finish(self) -> Countable {
        let Self { texts, bytes: _, beyond } = self;
        let parts: BTreeSet<&str> =
            texts.keys().filter_map(|place| place.split('.').next()).collect();
        let calls = texts.keys().filter(|place| place.ends_with(".name")).count();
        let (parts, calls) = (parts.len() as u64, calls as u64);
        let pieces = texts.into_values().collect();
        Countable { pieces, parts, calls, tokens: beyond.div_ceil(4), ..Countable::default() }
    }
}

#[cfg(test)]
mod tests;
