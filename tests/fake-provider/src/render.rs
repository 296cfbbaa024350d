//! An answer in the shapes of its dialect: one JSON object, or the events of a stream. One file per dialect;
//! here is what they share.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::answer::{Answer, INVALID_UTF8_MARK, Usage};
use crate::dialect::Dialect;
use crate::request::Ask;

mod chat;
mod completions;
mod embeddings;
mod messages;
mod responses;

/// How many characters of a call's arguments stand in one delta.
const ARGUMENT_CHARS: usize = 6;

/// The whole answer as one object.
#[must_use]
pub(crate) fn object(ask: &Ask, answer: &Answer) -> Bytes {
    let body = match ask.dialect {
        Dialect::Chat => chat::object(answer),
        Dialect::Completions => completions::object(answer),
        Dialect::Responses => responses::object(answer),
        Dialect::Embeddings => embeddings::object(ask, answer),
        Dialect::Messages => messages::object(answer),
    };
    let mut text = body.to_string();
    if let (Dialect::Chat | Dialect::Completions, Some(again)) = (ask.dialect, &answer.usage_again)
    {
        // A second field of the same name, which no value can hold.
        text.pop();
        text.push_str(&format!(",\"usage\":{}}}", usage_of(again)));
    }
    spoiled(&text)
}

/// The answer as the events of a stream, from the first to the one that ends it.
#[must_use]
pub(crate) fn events(ask: &Ask, answer: &Answer) -> Vec<Bytes> {
    let events = match ask.dialect {
        Dialect::Chat => done(chat::chunks(answer, ask.includes_usage)),
        Dialect::Completions => done(completions::chunks(answer, ask.includes_usage)),
        Dialect::Responses => named(&responses::events(answer)),
        Dialect::Messages => named(&messages::events(answer)),
        // Does not stream; `Ask` never says that it shall.
        Dialect::Embeddings => Vec::new(),
    };
    events.iter().map(|event| spoiled(event)).collect()
}

/// An error as the provider words it.
#[must_use]
pub(crate) fn error(dialect: Dialect, status: u16, message: &str) -> Value {
    match dialect {
        Dialect::Messages => messages::error(status, message),
        Dialect::Chat | Dialect::Completions | Dialect::Responses | Dialect::Embeddings => {
            chat::error(status, message)
        }
    }
}

/// How a stream tells an error, and what still follows.
#[must_use]
pub(crate) fn error_events(dialect: Dialect, message: &str) -> Vec<Bytes> {
    let error = error(dialect, 500, message);
    let events = match dialect {
        Dialect::Messages => named(&[error]),
        Dialect::Responses => named(&[json!({
            "type": "error", "code": "server_error", "message": message, "param": null, "sequence_number": 99,
        })]),
        Dialect::Chat | Dialect::Completions | Dialect::Embeddings => done(vec![error]),
    };
    events.into_iter().map(Bytes::from).collect()
}

/// The events of OpenAI's older streams, `[DONE]` included.
fn done(chunks: Vec<Value>) -> Vec<String> {
    let chunks = chunks.iter().map(|chunk| format!("data: {chunk}\n\n"));
    chunks.chain(["data: [DONE]\n\n".to_owned()]).collect()
}

/// The events of streams that name each by its type.
fn named(values: &[Value]) -> Vec<String> {
    let kind = |value: &Value| text(value, "type").unwrap_or_default().to_owned();
    values.iter().map(|value| format!("event: {}\ndata: {value}\n\n", kind(value))).collect()
}

/// `text` in the pieces in which arguments are streamed.
fn argument_pieces(text: &str) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    chars.chunks(ARGUMENT_CHARS).map(|piece| piece.iter().collect()).collect()
}

/// Usage as chat completions and completions tell it.
fn usage(answer: &Answer) -> Option<Value> {
    answer.usage.as_ref().map(usage_of)
}

/// All that a stream of theirs tells of usage, in order.
fn usages(answer: &Answer) -> impl Iterator<Item = Value> {
    answer.usage.iter().chain(&answer.usage_again).map(usage_of)
}

fn usage_of(usage: &Usage) -> Value {
    json!({
        "prompt_tokens": usage.input,
        "completion_tokens": usage.output,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning, "audio_tokens": 0},
    })
}

/// A field that is text.
fn text<'a>(object: &'a Value, name: &str) -> Option<&'a str> {
    object.get(name).and_then(Value::as_str)
}

/// Puts a field at the end of an object.
fn put(object: &mut Value, name: &str, value: Value) {
    if let Some(fields) = object.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}

/// The bytes of `text`, with the mark replaced by a byte that no UTF-8 has.
fn spoiled(text: &str) -> Bytes {
    let mut parts = text.split(INVALID_UTF8_MARK);
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        bytes.push(0xFF);
        bytes.extend_from_slice(part.as_bytes());
    }
    Bytes::from(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directive::Directive;

    const STREAMED: [Dialect; 4] =
        [Dialect::Chat, Dialect::Completions, Dialect::Responses, Dialect::Messages];

    fn ask(dialect: Dialect) -> Ask {
        let talk = json!([{"role": "user", "content": "hello"}]);
        let body = json!({"model": "m", "max_tokens": 99, "prompt": "hello", "input": "hello", "messages": talk});
        Ask::read(dialect, None, body.to_string().as_bytes()).unwrap()
    }

    fn answer(ask: &Ask, directive: &str) -> Answer {
        Answer::new(ask, &Directive::in_prompt(directive).unwrap(), 7, 1_700_000_000)
    }

    #[test]
    fn each_dialect_ends_its_streams_in_its_own_way() {
        for (dialect, end) in [
            (Dialect::Chat, "data: [DONE]\n\n"),
            (Dialect::Completions, "data: [DONE]\n\n"),
            (Dialect::Responses, "event: response.completed\n"),
            (Dialect::Messages, "event: message_stop\n"),
        ] {
            let ask = ask(dialect);
            let events = events(&ask, &answer(&ask, ""));
            assert!(events.last().unwrap().starts_with(end.as_bytes()), "{dialect:?}");
            assert!(events.iter().all(|event| event.ends_with(b"\n\n")), "{dialect:?}");
        }
    }

    #[test]
    fn a_byte_that_is_no_utf8_is_in_every_shape() {
        for dialect in STREAMED {
            let ask = ask(dialect);
            let answer = answer(&ask, "[[fake: invalid_utf8]]");
            assert!(object(&ask, &answer).contains(&0xFF), "{dialect:?}");
            let events = events(&ask, &answer);
            assert!(events.iter().any(|event| event.contains(&0xFF)), "{dialect:?}");
        }
    }

    #[test]
    fn a_missing_usage_is_missing_in_every_dialect() {
        for dialect in STREAMED {
            let ask = ask(dialect);
            let answer = answer(&ask, "[[fake: usage=none]]");
            let text = String::from_utf8(object(&ask, &answer).to_vec()).unwrap();
            for field in ["\"prompt_tokens\"", "\"output_tokens\"", "\"total_tokens\""] {
                assert!(!text.contains(field), "{text}");
            }
        }
    }
}
