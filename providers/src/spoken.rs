//! What an event of a stream says that other events go on with: where in it the pieces of longer texts stand, and
//! which texts are over. Whoever reads what a model says has to read it across events.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use serde_json::value::RawValue;

/// What an event says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Spoken {
    /// The pieces in it, in no order.
    pub pieces: Vec<Piece>,
    /// The texts that are over, by how their names begin.
    pub ends: Vec<String>,
}

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which text of the answer it belongs to.
    pub text: String,
    /// Its bytes in the event's data, without the quotes.
    pub raw: Range<usize>,
    /// Whether the text is itself JSON: the arguments of a call.
    pub is_json: bool,
}

/// Fields of a delta that say it all in one event.
const WHOLE: &[&str] = &["role", "id", "type", "name", "signature", "stop_reason", "stop_sequence"];

/// What the names of texts have in them that are JSON.
const JSON_TEXTS: [&str; 3] = ["arguments", "partial_json", "function_call"];

/// A JSON object, with its values unread.
type Fields<'a> = BTreeMap<&'a str, &'a RawValue>;

#[derive(Deserialize)]
struct Chunk<'a> {
    #[serde(borrow, default)]
    choices: Vec<Choice<'a>>,
}

#[derive(Deserialize)]
struct Choice<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
    #[serde(borrow)]
    text: Option<&'a RawValue>,
    finish_reason: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct ToolCall<'a> {
    index: Option<u64>,
    #[serde(borrow)]
    function: Option<Fields<'a>>,
    #[serde(borrow)]
    custom: Option<Fields<'a>>,
}

#[derive(Deserialize)]
struct BlockEvent<'a> {
    #[serde(borrow, rename = "type")]
    kind: &'a str,
    #[serde(default)]
    index: u64,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct ItemEvent<'a> {
    #[serde(borrow, rename = "type")]
    kind: &'a str,
    #[serde(default)]
    output_index: u64,
    content_index: Option<u64>,
    summary_index: Option<u64>,
    #[serde(borrow)]
    delta: Option<&'a RawValue>,
}

/// Of chat completions and completions.
pub(crate) fn of_choices(data: &[u8]) -> Spoken {
    let mut spoken = Spoken::default();
    let Ok(Chunk { choices }) = serde_json::from_slice(data) else { return spoken };
    for Choice { index, delta, text, finish_reason } in choices {
        let index = index.unwrap_or_default();
        spoken.piece(data, format!("{index}/text"), text);
        let fields: Fields<'_> = delta.and_then(read).unwrap_or_default();
        for (name, value) in fields {
            match name {
                "tool_calls" => {
                    let calls: Vec<ToolCall<'_>> = read(value).unwrap_or_default();
                    for ToolCall { index: call, function, custom } in calls {
                        let call = call.unwrap_or_default();
                        let parts = function.into_iter().chain(custom).flatten();
                        for (part, value) in parts.filter(|(part, _)| !WHOLE.contains(part)) {
                            spoken.piece(data, format!("{index}/call/{call}/{part}"), Some(value));
                        }
                    }
                }
                "function_call" => {
                    let parts: Fields<'_> = read(value).unwrap_or_default();
                    let arguments = parts.get("arguments").copied();
                    spoken.piece(data, format!("{index}/function_call"), arguments);
                }
                name if WHOLE.contains(&name) => {}
                name => spoken.pieces_in(data, format!("{index}/{name}"), value),
            }
        }
        if finish_reason.is_some() {
            spoken.ends.push(format!("{index}/"));
        }
    }
    spoken
}

/// Of messages.
pub(crate) fn of_blocks(data: &[u8]) -> Spoken {
    let mut spoken = Spoken::default();
    let Ok(BlockEvent { kind, index, delta }) = serde_json::from_slice(data) else { return spoken };
    match kind {
        "content_block_delta" => {
            let fields: Fields<'_> = delta.and_then(read).unwrap_or_default();
            for (name, value) in fields.into_iter().filter(|(name, _)| !WHOLE.contains(name)) {
                spoken.piece(data, format!("{index}/{name}"), Some(value));
            }
        }
        "content_block_stop" => spoken.ends.push(format!("{index}/")),
        _ => {}
    }
    spoken
}

/// Of responses.
pub(crate) fn of_items(data: &[u8]) -> Spoken {
    let mut spoken = Spoken::default();
    let Ok(event) = serde_json::from_slice(data) else { return spoken };
    let ItemEvent { kind, output_index, content_index, summary_index, delta } = event;
    let part = content_index.or(summary_index).unwrap_or_default();
    let text = |kind: &str| format!("{output_index}/{part}/{kind}/");
    if let Some(kind) = kind.strip_suffix(".delta") {
        spoken.piece(data, text(kind), delta);
    } else if let Some(kind) = kind.strip_suffix(".done") {
        spoken.ends.push(if kind == "response.output_item" {
            format!("{output_index}/")
        } else {
            text(kind)
        });
    }
    spoken
}

fn read<'a, T: Deserialize<'a>>(value: &'a RawValue) -> Option<T> {
    serde_json::from_str(value.get()).ok()
}

// === impl Spoken ===

impl Spoken {
    /// Every string in a value is a piece, of the text that its place names.
    fn pieces_in(&mut self, data: &[u8], text: String, value: &RawValue) {
        if let Some(fields) = read::<Fields<'_>>(value) {
            for (name, value) in fields.into_iter().filter(|(name, _)| !WHOLE.contains(name)) {
                self.pieces_in(data, format!("{text}/{name}"), value);
            }
        } else if let Some(items) = read::<Vec<&RawValue>>(value) {
            for (at, value) in items.into_iter().enumerate() {
                self.pieces_in(data, format!("{text}/{at}"), value);
            }
        } else {
            self.piece(data, text, Some(value));
        }
    }

    /// A value that is a string and not empty is a piece.
    fn piece(&mut self, data: &[u8], text: String, value: Option<&RawValue>) {
        let Some(written) = value.map(RawValue::get) else { return };
        let inside = written.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        let Some(inside) = inside.filter(|inside| !inside.is_empty()) else { return };
        // Both point into the same bytes: what was read has not been copied.
        let offset = (inside.as_ptr() as usize).checked_sub(data.as_ptr() as usize);
        let raw = offset.map(|start| start..start + inside.len());
        if let Some(raw) = raw.filter(|raw| data.get(raw.clone()) == Some(inside.as_bytes())) {
            let is_json = JSON_TEXTS.iter().any(|name| text.contains(name));
            self.pieces.push(Piece { text, raw, is_json });
        }
    }
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn said(data: &str, spoken: Spoken) -> Vec<(String, &str)> {
        spoken.pieces.into_iter().map(|piece| (piece.text, &data[piece.raw])).collect()
    }

    fn of(texts: &[(&str, &'static str)]) -> Vec<(String, &'static str)> {
        texts.iter().map(|(text, says)| ((*text).to_owned(), *says)).collect()
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn the_pieces_of_a_chunk_of_chat() {
        let data = r#"{"id":"x","choices":[{"index":0,"delta":{"role":"assistant","content":"Hi \"you\"","reasoning_content":"hm","refusal":null}},
            {"index":1,"delta":{"tool_calls":[{"index":2,"id":"call","function":{"name":"f","arguments":"{\"a\""}}]},"finish_reason":null},
            {"index":2,"delta":{"content":""},"finish_reason":"stop"}]}"#;
        let spoken = of_choices(data.as_bytes());
        assert_eq!(spoken.ends, ["2/"]);
        assert_eq!(
            said(data, spoken),
            of(&[
                ("0/content", r#"Hi \"you\""#),
                ("0/reasoning_content", "hm"),
                ("1/call/2/arguments", r#"{\"a\""#)
            ])
        );
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_is_nested_in_a_delta_is_a_piece_too() {
        let data = r#"{"choices":[{"index":null,"delta":{"reasoning_details":[{"type":"x","text":"hm"}],
            "audio":{"transcript":"so"},"content":[{"type":"text","text":"Hi"}]}}]}"#;
        let mut said = said(data, of_choices(data.as_bytes()));
        said.sort();
        let expected = of(&[
            ("0/audio/transcript", "so"),
            ("0/content/0/text", "Hi"),
            ("0/reasoning_details/0/text", "hm"),
        ]);
        assert_eq!(said, expected);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn the_pieces_of_a_completion() {
        let data = r#"{"choices":[{"text":" and","index":1,"finish_reason":"length"}]}"#;
        let spoken = of_choices(data.as_bytes());
        assert_eq!(spoken.ends, ["1/"]);
        assert_eq!(said(data, spoken), of(&[("1/text", " and")]));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn the_pieces_of_a_message() {
        for (data, pieces, ends) in [
            (
                r#"{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hi"}}"#,
                of(&[("0/text", "Hi")]),
                vec![],
            ),
            (
                r#"{"type":"content_block_delta","index":1,"delta":{"type":"input_json_delta","partial_json":"{\"a"}}"#,
                of(&[("1/partial_json", r#"{\"a"#)]),
                vec![],
            ),
            (
                r#"{"type":"content_block_delta","index":1,"delta":{"type":"signature_delta","signature":"x"}}"#,
                vec![],
                vec![],
            ),
            (r#"{"type":"content_block_stop","index":1}"#, vec![], vec!["1/".to_owned()]),
            (r#"{"type":"ping"}"#, vec![], vec![]),
        ] {
            let spoken = of_blocks(data.as_bytes());
            assert_eq!(spoken.ends, ends, "{data}");
            assert_eq!(said(data, spoken), pieces, "{data}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn the_pieces_of_a_response() {
        for (data, pieces, ends) in [
            (
                r#"{"type":"response.output_text.delta","output_index":1,"content_index":0,"delta":"Hi"}"#,
                of(&[("1/0/response.output_text/", "Hi")]),
                vec![],
            ),
            (
                r#"{"type":"response.output_text.done","output_index":1,"content_index":0,"text":"Hi"}"#,
                vec![],
                vec!["1/0/response.output_text/".to_owned()],
            ),
            (
                r#"{"type":"response.output_item.done","output_index":1,"item":{}}"#,
                vec![],
                vec!["1/".to_owned()],
            ),
            (r#"{"type":"response.completed","response":{}}"#, vec![], vec![]),
        ] {
            let spoken = of_items(data.as_bytes());
            assert_eq!(spoken.ends, ends, "{data}");
            assert_eq!(said(data, spoken), pieces, "{data}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_is_no_event_says_nothing() {
        for data in ["", "[DONE]", "{", "[]", "null", r#"{"choices":1}"#, r#"{"type":1}"#] {
            for read in [of_choices, of_blocks, of_items] {
                assert_eq!(read(data.as_bytes()), Spoken::default(), "{data}");
            }
        }
    }
}
