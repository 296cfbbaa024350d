//! The part of a chat completions request that the fake reads. Everything else is ignored, as a lenient
//! provider would.

use serde::Deserialize;
use serde_json::Value;

/// A chat completions request.
#[derive(Debug, Deserialize)]
pub(crate) struct ChatRequest {
    /// The model.
    pub(crate) model: String,
    /// The conversation.
    pub(crate) messages: Vec<Message>,
    /// Whether to stream.
    pub(crate) stream: Option<bool>,
    /// How to stream.
    pub(crate) stream_options: Option<StreamOptions>,
    /// How many choices.
    pub(crate) n: Option<usize>,
    /// Whether to tell probabilities.
    pub(crate) logprobs: Option<bool>,
    /// What may be called.
    pub(crate) tools: Option<Vec<Tool>>,
    /// The older length limit.
    pub(crate) max_tokens: Option<usize>,
    /// The newer length limit.
    pub(crate) max_completion_tokens: Option<usize>,
}

/// One message.
#[derive(Debug, Deserialize)]
pub(crate) struct Message {
    /// Who speaks.
    pub(crate) role: String,
    /// What is said.
    pub(crate) content: Option<Content>,
}

/// The two shapes of a message's content.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Content {
    /// Just text.
    Text(String),
    /// Text and other things.
    Parts(Vec<Part>),
}

/// One part of a message.
#[derive(Debug, Deserialize)]
pub(crate) struct Part {
    /// Its text, if it is one.
    pub(crate) text: Option<String>,
}

/// How to stream.
#[derive(Debug, Deserialize)]
pub(crate) struct StreamOptions {
    /// Whether to end with a usage chunk.
    pub(crate) include_usage: Option<bool>,
}

/// A tool.
#[derive(Debug, Deserialize)]
pub(crate) struct Tool {
    /// The function, where the tool is one.
    pub(crate) function: Option<Function>,
}

/// A function that may be called.
#[derive(Debug, Deserialize)]
pub(crate) struct Function {
    /// Its name.
    pub(crate) name: String,
    /// The JSON schema of its arguments.
    pub(crate) parameters: Option<Value>,
}

// === impl ChatRequest ===

impl ChatRequest {
    /// The text of the last user message, where directives and tool calls are asked for.
    #[must_use]
    pub(crate) fn prompt(&self) -> String {
        self.messages
            .iter()
            .rev()
            .find(|message| message.role == "user")
            .and_then(|message| message.content.as_ref())
            .map(Content::text)
            .unwrap_or_default()
    }

    /// Whether the client asked for a stream.
    #[must_use]
    pub(crate) fn streams(&self) -> bool {
        self.stream.unwrap_or(false)
    }

    /// Whether the stream tells its usage.
    #[must_use]
    pub(crate) fn includes_usage(&self) -> bool {
        self.stream_options.as_ref().and_then(|options| options.include_usage).unwrap_or(false)
    }

    /// The functions whose names the prompt has behind the word `call`: "please call `get_weather`".
    #[must_use]
    pub(crate) fn called_functions(&self) -> Vec<&Function> {
        let prompt = self.prompt();
        self.tools
            .iter()
            .flatten()
            .filter_map(|tool| tool.function.as_ref())
            .filter(|function| prompt.contains(&format!("call {}", function.name)))
            .collect()
    }

    /// Words in all messages, which pass for tokens here.
    #[must_use]
    pub(crate) fn prompt_tokens(&self) -> usize {
        let texts = self.messages.iter().filter_map(|message| message.content.as_ref());
        texts.map(|content| content.text().split_whitespace().count()).sum()
    }

    /// The client's own limit on the length of an answer.
    #[must_use]
    pub(crate) fn tokens_max(&self) -> Option<usize> {
        self.max_completion_tokens.or(self.max_tokens)
    }
}

// === impl Content ===

impl Content {
    fn text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Parts(parts) => {
                let texts: Vec<&str> =
                    parts.iter().filter_map(|part| part.text.as_deref()).collect();
                texts.join("\n")
            }
        }
    }
}
