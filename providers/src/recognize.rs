//! Whose request is it? By method and path alone, before a byte of the body is read.

use crate::Dialect;

/// The path that lists the models of a key.
const PATH_MODELS: &[u8] = b"/v1/models";
/// The path of the gateway's own health.
const PATH_HEALTH: &[u8] = b"/health";

/// What a method and a path mean here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognized {
    /// A request for an answer, in this dialect.
    Ours(Dialect),
    /// `GET /v1/models`.
    Models,
    /// `GET /health`.
    Health,
    /// A known path with a method that it does not take.
    WrongMethod {
        /// The method that it takes.
        allow: &'static str,
    },
    /// No dialect knows the path.
    Unknown,
}

/// Says what a request is. `path` comes without its query; the comparison is exact, because a path that is
/// almost ours (another case, a trailing slash) is not one that the provider would take either.
#[must_use]
pub fn recognize(method: &[u8], path: &[u8]) -> Recognized {
    let (allow, ours) = match path {
        PATH_MODELS => ("GET", Recognized::Models),
        PATH_HEALTH => ("GET", Recognized::Health),
        other => match Dialect::ALL.iter().find(|dialect| dialect.path().as_bytes() == other) {
            Some(dialect) => ("POST", Recognized::Ours(*dialect)),
            None => return Recognized::Unknown,
        },
    };
    if method == allow.as_bytes() { ours } else { Recognized::WrongMethod { allow } }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn method_and_path_decide_whose_request_it_is() {
        let chat = Recognized::Ours(Dialect::OpenAiChat);
        for (method, path, expected) in [
            ("POST", "/v1/chat/completions", chat),
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
    }
}
