//! How many answers a request asks for. It reads the bytes that were sent and looks at nothing else in them;
//! where it cannot say, it says nothing, and nothing is refused for it.

use std::fmt;

use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

/// The fields that decide. `prompt` and `input` are one text, tokens of one, or a list of either.
#[derive(Deserialize)]
struct Counts {
    #[serde(default)]
    n: Option<u64>,
    #[serde(default)]
    prompt: Option<Texts>,
    #[serde(default)]
    input: Option<Texts>,
}

/// How many texts there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Texts(u64);

/// Choices of a chat: `n`.
pub(crate) fn choices(request: &[u8]) -> Option<u64> {
    Some(read(request)?.n.unwrap_or(1))
}

/// Choices of a completion: `n` for each prompt.
pub(crate) fn completions(request: &[u8]) -> Option<u64> {
    let Counts { n, prompt, input: _ } = read(request)?;
    n.unwrap_or(1).checked_mul(prompt.map_or(1, |texts| texts.0))
}

/// Embeddings: one for each text.
pub(crate) fn embeddings(request: &[u8]) -> Option<u64> {
    Some(read(request)?.input?.0)
}

fn read(request: &[u8]) -> Option<Counts> {
    // serde would fill a struct from an array just as well.
    request.trim_ascii_start().strip_prefix(b"{")?;
    serde_json::from_slice(request).ok()
}

// === impl Texts ===

impl<'de> Deserialize<'de> for Texts {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(TextsVisitor)
    }
}

struct TextsVisitor;

impl<'de> Visitor<'de> for TextsVisitor {
    type Value = Texts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text, tokens, or a list of either")
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Texts, E> {
        Ok(Texts(1))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Texts, A::Error> {
        let Some(first) = items.next_element::<Item>()? else {
            return Err(A::Error::invalid_length(0, &self));
        };
        let mut count = 1_u64;
        while items.next_element::<IgnoredAny>()?.is_some() {
            count = count.saturating_add(1);
        }
        Ok(Texts(if first.is_token { 1 } else { count }))
    }
}

/// One member of a list: a token of one text, or a text.
struct Item {
    is_token: bool,
}

impl<'de> Deserialize<'de> for Item {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(ItemVisitor)
    }
}

struct ItemVisitor;

impl<'de> Visitor<'de> for ItemVisitor {
    type Value = Item;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a token, a text, or tokens")
    }

    fn visit_u64<E: Error>(self, _: u64) -> Result<Item, E> {
        Ok(Item { is_token: true })
    }

    fn visit_str<E: Error>(self, _: &str) -> Result<Item, E> {
        Ok(Item { is_token: false })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Item, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Item { is_token: false })
    }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    #[wasm_bindgen_test(unsupported = test)]
    fn a_chat_has_as_many_choices_as_n_says() {
        for (request, expected) in [
            (r#"{"messages":[]}"#, Some(1)),
            (r#"{"n":null}"#, Some(1)),
            (r#"{"x":{"n":9},"n":3}"#, Some(3)),
            (r#"{"n":3.0}"#, None),
            (r#"{"n":-1}"#, None),
            (r#"{"n":"3"}"#, None),
            ("[3]", None),
            ("", None),
        ] {
            assert_eq!(choices(request.as_bytes()), expected, "{request}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn prompts_and_inputs_are_one_text_or_a_list() {
        for (texts, expected) in [
            (r#""one""#, Some(1)),
            (r#""one \"escaped\" é""#, Some(1)),
            (r#"["one"]"#, Some(1)),
            (r#"["one","two"]"#, Some(2)),
            ("[15496,995]", Some(1)),
            ("[[15496,995],[1],[2]]", Some(3)),
            ("[]", None),
            ("[null]", None),
            ("[1.5]", None),
            ("{}", None),
            ("7", None),
        ] {
            let request = format!(r#"{{"input":{texts}}}"#);
            assert_eq!(embeddings(request.as_bytes()), expected, "{texts}");
            let request = format!(r#"{{"n":2,"prompt":{texts}}}"#);
            assert_eq!(completions(request.as_bytes()), expected.map(|count| 2 * count), "{texts}");
        }
        assert_eq!(completions(b"{}"), Some(1), "no prompt is one, at the start of a document");
        assert_eq!(embeddings(b"{}"), None);
        assert_eq!(completions(br#"{"n":18446744073709551615,"prompt":["a","b"]}"#), None);
    }
}
