//! The dialects that the fake speaks, and the paths by which it is asked: its own and Azure's.

use std::borrow::Cow;

/// A way to ask a provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// OpenAI chat completions.
    Chat,
    /// OpenAI's older completions.
    Completions,
    /// OpenAI responses.
    Responses,
    /// OpenAI embeddings.
    Embeddings,
    /// Anthropic messages.
    Messages,
}

// === impl Dialect ===

impl Dialect {
    /// The dialect of a path, and the model where the path names it.
    #[must_use]
    pub(crate) fn of_path(path: &str) -> Option<(Self, Option<Cow<'_, str>>)> {
        if let Some(rest) = path.strip_prefix("/openai/deployments/") {
            let (deployment, rest) = rest.split_once('/')?;
            let dialect = Self::of_name(rest).filter(|dialect| *dialect != Self::Messages)?;
            return Some((dialect, Some(Cow::Borrowed(deployment))));
        }
        let name = path.strip_prefix("/openai/v1/").or_else(|| path.strip_prefix("/v1/"))?;
        Some((Self::of_name(name)?, None))
    }

    fn of_name(name: &str) -> Option<Self> {
        match name {
            "chat/completions" => Some(Self::Chat),
            "completions" => Some(Self::Completions),
            "responses" => Some(Self::Responses),
            "embeddings" => Some(Self::Embeddings),
            "messages" => Some(Self::Messages),
            _ => None,
        }
    }

    /// What the id of its answers begins with.
    #[must_use]
    pub(crate) fn id_prefix(self) -> &'static str {
        match self {
            Self::Chat => "chatcmpl-",
            Self::Completions => "cmpl-",
            Self::Responses => "resp_",
            Self::Embeddings => "embd-",
            Self::Messages => "msg_",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn azures_paths_are_the_same_dialects() {
        for (path, dialect, model) in [
            ("/v1/chat/completions", Dialect::Chat, None),
            ("/v1/messages", Dialect::Messages, None),
            ("/openai/v1/responses", Dialect::Responses, None),
            ("/openai/deployments/gpt-4o/chat/completions", Dialect::Chat, Some("gpt-4o")),
            ("/openai/deployments/e5/embeddings", Dialect::Embeddings, Some("e5")),
        ] {
            assert_eq!(Dialect::of_path(path), Some((dialect, model.map(Cow::Borrowed))), "{path}");
        }
        for path in ["/v1/models", "/v2/messages", "/openai/deployments/gpt-4o", "/v1/"] {
            assert_eq!(Dialect::of_path(path), None, "{path}");
        }
    }
}
