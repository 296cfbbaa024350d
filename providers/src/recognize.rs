//! Whose request is it? By method and path alone, before a byte of the body is read.

use crate::endpoint::{BadQuery, Endpoint};

/// The path that lists the models of a key.
const PATH_MODELS: &str = "/v1/models";
/// The path of the gateway's own health.
const PATH_HEALTH: &str = "/health";

/// What a method and a path mean here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Recognized {
    /// A request for an answer, at this endpoint.
    Ours(Endpoint),
    /// `GET /v1/models`.
    Models,
    /// `GET /health`.
    Health,
    /// A known path with a method that it does not take.
    WrongMethod {
        /// The method that it takes.
        allow: &'static str,
    },
    /// A path of ours with an `api-version` that readers could take for different ones.
    BadVersion,
    /// No dialect knows the path.
    Unknown,
}

/// Says what a request is. `target` is its path with its query. The path is compared exactly, because one that
/// is almost ours (another case, a trailing slash) is not one that the provider would take either.
#[must_use]
pub fn recognize(method: &[u8], target: &[u8]) -> Recognized {
    let mut parts = target.splitn(2, |byte| *byte == b'?');
    let Ok(path) = std::str::from_utf8(parts.next().unwrap_or_default()) else {
        return Recognized::Unknown;
    };
    // What is no text in it is in nothing that is kept.
    let query = parts.next().map(String::from_utf8_lossy);
    let (allow, ours) = match path {
        PATH_MODELS => ("GET", Recognized::Models),
        PATH_HEALTH => ("GET", Recognized::Health),
        other => match Endpoint::find(other, query.as_deref()) {
            Some(Ok(endpoint)) => ("POST", Recognized::Ours(endpoint)),
            Some(Err(BadQuery)) => ("POST", Recognized::BadVersion),
            None => return Recognized::Unknown,
        },
    };
    if method == allow.as_bytes() { ours } else { Recognized::WrongMethod { allow } }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;
    use crate::Dialect;

    #[wasm_bindgen_test(unsupported = test)]
    fn method_and_path_decide_whose_request_it_is() {
        let chat = Recognized::Ours(Endpoint::of(Dialect::OpenAiChat));
        let messages = Recognized::Ours(Endpoint::of(Dialect::AnthropicMessages));
        for (method, path, expected) in [
            ("POST", "/v1/chat/completions", chat.clone()),
            ("POST", "/v1/chat/completions?x=1", chat.clone()),
            ("POST", "/v1/chat/completions?", chat),
            ("POST", "/v1/messages?beta", messages),
            ("POST", "/v1/messages/count_tokens", Recognized::Unknown),
            (
                "POST",
                "/openai/v1/chat/completions?api-version=1&api-version=2",
                Recognized::BadVersion,
            ),
            ("GET", "/v1/models?limit=2", Recognized::Models),
            ("GET", "/v1/chat/completions", Recognized::WrongMethod { allow: "POST" }),
            ("OPTIONS", "/v1/chat/completions", Recognized::WrongMethod { allow: "POST" }),
            ("post", "/v1/chat/completions", Recognized::WrongMethod { allow: "POST" }),
            ("POST", "/v1/chat/completions/", Recognized::Unknown),
            ("POST", "/V1/chat/completions", Recognized::Unknown),
            ("POST", "/chat/completions", Recognized::Unknown),
            ("GET", "/v1/models", Recognized::Models),
            ("POST", "/v1/models", Recognized::WrongMethod { allow: "GET" }),
            ("GET", "/v1/models/gpt-4o", Recognized::Unknown),
            ("GET", "/health", Recognized::Health),
            ("HEAD", "/health", Recognized::WrongMethod { allow: "GET" }),
            ("GET", "/", Recognized::Unknown),
            ("GET", "", Recognized::Unknown),
        ] {
            assert_eq!(recognize(method.as_bytes(), path.as_bytes()), expected, "{method} {path}");
        }
        let chat = Recognized::Ours(Endpoint::of(Dialect::OpenAiChat));
        assert_eq!(recognize(b"POST", b"/v1/chat/completions?\xff"), chat);
        assert_eq!(recognize(b"POST", b"/v1/chat/completions\xff"), Recognized::Unknown);
        let azure = b"/openai/v1/embeddings?api-version=\xff";
        assert_eq!(recognize(b"POST", azure), Recognized::BadVersion);
    }
}
