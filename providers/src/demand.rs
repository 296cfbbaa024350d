//! What a request demands that costs: how long its answers may become, what of its input is no text, what the
//! provider's prompt cache may be made to keep, and whether it asks for other prices than the ordinary ones.
//! It looks where content and tools stand, and never into what a client's own tools are called with.

use kt_contract::json::Node;
use kt_contract::money::Tokens;
use kt_contract::pricing::CacheWrites;

/// How many bytes of a request are taken for a token before anybody has counted them.
const BYTES_PER_TOKEN: u64 = 4;
/// For how many tokens a picture is taken, however many bytes it has.
const TOKENS_PER_PICTURE: u64 = 1_000;

/// What a request demands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Demand {
    /// The longest that the client lets one answer become.
    pub output_max: Option<Tokens>,
    /// How many answers are made, shown or not.
    pub answers: u64,
    /// How many pictures are in the input.
    pub pictures: u64,
    /// The bytes of the body in which they are written: no text.
    pub picture_bytes: u64,
    /// Whether the provider takes more in than the body shows: documents, what its own tools find.
    pub has_unseen_input: bool,
    /// How many tools there are that the provider describes to the model in words of its own.
    pub hidden_tools: u64,
    /// Whether there are tools at all, which the provider explains to the model.
    pub has_tools: bool,
    /// The most that the provider's prompt cache may be made to keep.
    pub cache_writes: CacheWrites,
    /// The field that asks for other prices than the ordinary ones of the model, if one does.
    pub priced_apart: Option<&'static str>,
}

/// Where a dialect has what [`Demand`] is about.
pub(crate) struct Manner {
    /// The fields that hold content.
    pub(crate) content: &'static [&'static str],
    /// The fields that limit an answer. Where there are several, the largest counts.
    pub(crate) limits: &'static [&'static str],
    /// What the provider's prompt cache may keep of a request that says nothing about it.
    pub(crate) cache_writes: CacheWrites,
}

/// Fields that ask for other prices, but with one of these words.
const ORDINARY: &[(&str, &[&str])] = &[
    ("service_tier", &["auto", "default", "standard", "standard_only"]),
    ("speed", &["standard"]),
    ("inference_geo", &["global"]),
];
/// Fields whose being there asks for other prices.
const APART: &[&str] = &["audio", "web_search_options", "mcp_servers"];
/// Tools of the client's own, described in the request.
const OWN_TOOLS: &[&str] = &["function", "custom", "namespace"];
/// What the names of tools begin with that the client runs and the provider describes.
const HIDDEN_TOOLS: &[&str] =
    &["bash", "computer", "text_editor", "memory", "apply_patch", "local_shell", "tool_search"];

/// Reads a request.
pub(crate) fn read(manner: &Manner, answers: u64, body: &Node<'_>) -> Demand {
    let limits = manner.limits.iter().filter_map(|field| body.field(field)?.as_u64());
    let mut demand = Demand {
        output_max: limits.max().map(Tokens),
        answers,
        cache_writes: manner.cache_writes,
        priced_apart: priced_apart(body),
        ..Demand::default()
    };
    demand.cache_field(body);
    for field in manner.content {
        demand.content(body.field(field));
    }
    demand.tools(body);
    demand
}

/// A count of answers that is said, one where nothing is.
pub(crate) fn count(body: &Node<'_>, field: &str) -> u64 {
    body.field(field).and_then(Node::as_count).unwrap_or(1).max(1)
}

fn priced_apart(body: &Node<'_>) -> Option<&'static str> {
    let by_word = ORDINARY.iter().find(|(field, words)| match body.field(field) {
        None | Some(Node::Null) => false,
        Some(said) => said.as_str().is_none_or(|said| !words.contains(&said)),
    });
    let by_field = APART.iter().find(|field| !matches!(body.field(field), None | Some(Node::Null)));
    by_word.map(|(field, _)| *field).or(by_field.copied())
}

// === impl Demand ===

impl Demand {
    /// The tokens of a request of so many bytes, as far as its length tells them: before anybody has counted, and where
    /// nobody pays for the difference.
    #[must_use]
    pub const fn input_tokens(&self, body_bytes: u64) -> u64 {
        let text = body_bytes.saturating_sub(self.picture_bytes).div_ceil(BYTES_PER_TOKEN);
        let tokens = text.saturating_add(self.pictures.saturating_mul(TOKENS_PER_PICTURE));
        if tokens == 0 { 1 } else { tokens }
    }

    /// A part of content, a list of them, or a message that has some.
    // The reader has bounded the depth, so recursion is bounded too.
    fn content(&mut self, node: Option<&Node<'_>>) {
        match node {
            Some(Node::Array(parts)) => parts.iter().for_each(|part| self.content(Some(part))),
            Some(part @ Node::Object(_)) => self.part(part),
            None | Some(Node::Null | Node::Bool(_) | Node::Number(_) | Node::String(_)) => {}
        }
    }

    fn part(&mut self, part: &Node<'_>) {
        self.cache_field(part);
        let source = part.field("source");
        match part.field("type").and_then(Node::as_str) {
            Some("image_url" | "input_image" | "image" | "computer_screenshot") => {
                self.pictures = self.pictures.saturating_add(1);
                self.picture_bytes = self.picture_bytes.saturating_add(picture_bytes(part));
            }
            // A document that is text is as long as it looks.
            Some("document")
                if matches!(kind_of(source), Some("text" | "content"))
                    && part.field("file_id").is_none() =>
            {
                self.content(source.and_then(|source| source.field("content")));
            }
            Some("document" | "file" | "input_file") => self.has_unseen_input = true,
            Some("input_audio") => self.apart("input_audio"),
            // Items that stand for something that the provider has.
            Some("item_reference" | "compaction" | "container_upload") => {
                self.has_unseen_input = true;
            }
            Some(_) | None => {}
        }
        self.content(part.field("content"));
        self.content(part.field("output"));
        self.tools(part);
    }

    fn tools(&mut self, of: &Node<'_>) {
        for tool in of.field("tools").and_then(Node::as_array).unwrap_or_default() {
            self.has_tools = true;
            self.cache_field(tool);
            match tool.field("type").and_then(Node::as_str) {
                None => {}
                Some(kind) if OWN_TOOLS.contains(&kind) => self.tools(tool),
                Some(kind) if HIDDEN_TOOLS.iter().any(|own| kind.starts_with(own)) => {
                    self.hidden_tools = self.hidden_tools.saturating_add(1);
                }
                // It runs at the provider, for a fee, and what it finds becomes input.
                Some(_) => {
                    self.has_unseen_input = true;
                    self.apart("tools");
                }
            }
        }
        self.has_tools |= of.field("functions").and_then(Node::as_array).is_some();
    }

    fn cache_field(&mut self, of: &Node<'_>) {
        let asked = match of.field("cache_control") {
            None | Some(Node::Null) => CacheWrites::None,
            Some(control) => match control.field("ttl").and_then(Node::as_str) {
                None | Some("5m") => CacheWrites::Short,
                Some(_) => CacheWrites::Long,
            },
        };
        let retained = ["prompt_cache_retention", "prompt_cache_options"].iter().any(|field| {
            let said = of.field(field);
            !matches!(said, None | Some(Node::Null))
                && said.and_then(Node::as_str) != Some("in_memory")
        });
        let retained = if retained { CacheWrites::Long } else { CacheWrites::None };
        self.cache_writes = self.cache_writes.max(asked).max(retained);
    }

    fn apart(&mut self, field: &'static str) {
        self.priced_apart.get_or_insert(field);
    }
}

fn kind_of<'n>(node: Option<&'n Node<'_>>) -> Option<&'n str> {
    node?.field("type").and_then(Node::as_str)
}

/// The bytes of a picture that is written into the request, as they are in its JSON at least.
fn picture_bytes(part: &Node<'_>) -> u64 {
    let url = part.field("image_url");
    let written = [
        url.and_then(Node::as_str),
        url.and_then(|url| url.field("url")).and_then(Node::as_str),
        part.field("source").and_then(|source| source.field("data")).and_then(Node::as_str),
    ];
    written.into_iter().flatten().fold(0, |sum: u64, text| sum.saturating_add(text.len() as u64))
}

#[cfg(test)]
mod tests {
    use kt_contract::json::{Bounds, parse};
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;
    use crate::Dialect;

    const CHAT: Dialect = Dialect::OpenAiChat;
    const RESPONSES: Dialect = Dialect::OpenAiResponses;
    const MESSAGES: Dialect = Dialect::AnthropicMessages;

    fn demand(dialect: Dialect, body: &str) -> Demand {
        let bounds = Bounds { depth_max: 64, nodes_max: 10_000 };
        dialect.demand(&parse(body.as_bytes(), bounds).unwrap())
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_limit_is_the_clients_own_and_the_largest_counts() {
        for (dialect, body, expected) in [
            (CHAT, r#"{"max_tokens":7}"#, Some(7)),
            (CHAT, r#"{"max_tokens":7,"max_completion_tokens":9}"#, Some(9)),
            (CHAT, r#"{"max_output_tokens":7}"#, None),
            (CHAT, r#"{"max_tokens":"7"}"#, None),
            (CHAT, r#"{"max_tokens":-7}"#, None),
            (CHAT, r#"{"messages":[{"max_tokens":7}]}"#, None),
            (RESPONSES, r#"{"max_output_tokens":8}"#, Some(8)),
            (MESSAGES, r#"{"max_tokens":9}"#, Some(9)),
            (Dialect::OpenAiCompletions, r#"{"max_tokens":9}"#, Some(9)),
            (Dialect::OpenAiEmbeddings, r#"{"max_tokens":9}"#, Some(0)),
        ] {
            assert_eq!(demand(dialect, body).output_max, expected.map(Tokens), "{body}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn answers_that_are_made_count_whether_they_are_shown_or_not() {
        let completions = Dialect::OpenAiCompletions;
        for (dialect, body, expected) in [
            (CHAT, "{}", 1),
            (CHAT, r#"{"n":3}"#, 3),
            (CHAT, r#"{"n":0}"#, 1),
            (CHAT, r#"{"n":128.0}"#, 128),
            (CHAT, r#"{"n":-3}"#, 1),
            (CHAT, r#"{"n":[3]}"#, 1),
            (completions, r#"{"prompt":"a","n":2}"#, 2),
            (completions, r#"{"prompt":["a","b"],"n":2}"#, 4),
            (completions, r#"{"prompt":["a","b"],"n":2,"best_of":5}"#, 10),
            (completions, r#"{"prompt":[[1],[2],[3]]}"#, 3),
            (completions, r#"{"prompt":[1,2,3]}"#, 1),
            (RESPONSES, r#"{"n":9}"#, 1),
            (MESSAGES, r#"{"n":9}"#, 1),
        ] {
            assert_eq!(demand(dialect, body).answers, expected, "{body}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn pictures_are_counted_and_their_bytes_are_no_text() {
        let picture = "data:image/png;base64,AAAA";
        for (dialect, content) in [
            (CHAT, format!(r#"{{"type":"image_url","image_url":{{"url":"{picture}"}}}}"#)),
            (RESPONSES, format!(r#"{{"type":"input_image","image_url":"{picture}"}}"#)),
            (
                MESSAGES,
                format!(r#"{{"type":"image","source":{{"type":"base64","data":"{picture}"}}}}"#),
            ),
        ] {
            let field = if dialect == RESPONSES { "input" } else { "messages" };
            let text = r#"{"type":"text","text":"t"}"#;
            let message = format!(r#"{{"role":"user","content":[{text},{content},{content}]}}"#);
            let found = demand(dialect, &format!(r#"{{"{field}":[{message}]}}"#));
            assert_eq!((found.pictures, found.picture_bytes), (2, 52), "{content}");
            assert!(!found.has_unseen_input);
        }
        let in_result = r#"{"messages":[{"role":"user","content":[{"type":"tool_result","content":[
            {"type":"image","source":{"type":"url","url":"https://x"}}]}]}]}"#;
        let found = demand(MESSAGES, in_result);
        assert_eq!((found.pictures, found.picture_bytes), (1, 0));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_a_tool_is_called_with_is_text_whatever_it_looks_like() {
        let body = r#"{"messages":[{"role":"assistant","content":[{"type":"tool_use","input":
            {"content":[{"type":"image","source":{"data":"AAAA"}}],"cache_control":{"ttl":"1h"}}}]}]}"#;
        let found = demand(MESSAGES, body);
        assert_eq!((found.pictures, found.picture_bytes), (0, 0));
        assert_eq!(found.cache_writes, CacheWrites::None);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn input_that_the_body_does_not_show_is_told() {
        for (dialect, body, expected) in [
            (CHAT, r#"{"messages":[{"content":[{"type":"file","file":{}}]}]}"#, true),
            (CHAT, r#"{"messages":[{"content":[{"type":"text","text":"file"}]}]}"#, false),
            (RESPONSES, r#"{"input":[{"content":[{"type":"input_file"}]}]}"#, true),
            (RESPONSES, r#"{"input":[{"type":"item_reference"}]}"#, true),
            (
                MESSAGES,
                r#"{"messages":[{"content":[{"type":"document","source":{"type":"base64"}}]}]}"#,
                true,
            ),
            (
                MESSAGES,
                r#"{"messages":[{"content":[{"type":"document","source":{"type":"text"}}]}]}"#,
                false,
            ),
            (MESSAGES, r#"{"tools":[{"type":"web_search_20250305"}]}"#, true),
            (MESSAGES, r#"{"tools":[{"type":"bash_20250124"}]}"#, false),
            (RESPONSES, r#"{"tools":[{"type":"file_search"}]}"#, true),
            (RESPONSES, r#"{"tools":[{"type":"function"}]}"#, false),
        ] {
            assert_eq!(demand(dialect, body).has_unseen_input, expected, "{body}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn tools_are_the_clients_own_or_described_by_the_provider() {
        let tools = r#"{"tools":[{"name":"mine"},{"type":"custom"},{"type":"text_editor_20250728"},
            {"type":"computer_20250124"}]}"#;
        let found = demand(MESSAGES, tools);
        assert_eq!((found.has_tools, found.hidden_tools), (true, 2));
        assert!(!demand(MESSAGES, r#"{"tools":[]}"#).has_tools);
        assert!(demand(CHAT, r#"{"functions":[{"name":"f"}]}"#).has_tools);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_the_prompt_cache_is_to_keep_is_the_longest_that_is_asked_for() {
        let control = |ttl: &str| format!(r#""cache_control":{{"type":"ephemeral"{ttl}}}"#);
        let (short, long) = (control(""), control(r#","ttl":"1h""#));
        for (dialect, body, expected) in [
            (MESSAGES, "{}".to_owned(), CacheWrites::None),
            (MESSAGES, r#"{"cache_control":null}"#.to_owned(), CacheWrites::None),
            (MESSAGES, format!("{{{short}}}"), CacheWrites::Short),
            (MESSAGES, format!(r#"{{"system":[{{{long}}}]}}"#), CacheWrites::Long),
            (MESSAGES, format!(r#"{{"tools":[{{{short}}}]}}"#), CacheWrites::Short),
            (
                MESSAGES,
                format!(r#"{{{short},"messages":[{{"content":[{{{long}}}]}}]}}"#),
                CacheWrites::Long,
            ),
            (CHAT, "{}".to_owned(), CacheWrites::Short),
            (CHAT, r#"{"prompt_cache_retention":"in_memory"}"#.to_owned(), CacheWrites::Short),
            (CHAT, r#"{"prompt_cache_retention":"24h"}"#.to_owned(), CacheWrites::Long),
            (RESPONSES, r#"{"prompt_cache_options":{}}"#.to_owned(), CacheWrites::Long),
        ] {
            assert_eq!(demand(dialect, &body).cache_writes, expected, "{body}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_field_that_asks_for_other_prices_is_named() {
        for (body, expected) in [
            (r#"{"service_tier":"auto"}"#, None),
            (r#"{"service_tier":null}"#, None),
            (r#"{"service_tier":"standard_only"}"#, None),
            (r#"{"service_tier":"priority"}"#, Some("service_tier")),
            (r#"{"service_tier":"flex"}"#, Some("service_tier")),
            (r#"{"service_tier":7}"#, Some("service_tier")),
            (r#"{"speed":"fast"}"#, Some("speed")),
            (r#"{"inference_geo":"us"}"#, Some("inference_geo")),
            (r#"{"web_search_options":{}}"#, Some("web_search_options")),
            (r#"{"audio":{"voice":"v"}}"#, Some("audio")),
            (r#"{"tools":[{"type":"web_search"}]}"#, Some("tools")),
            (r#"{"messages":[{"content":[{"type":"input_audio"}]}]}"#, Some("input_audio")),
        ] {
            assert_eq!(demand(CHAT, body).priced_apart, expected, "{body}");
        }
    }
}
