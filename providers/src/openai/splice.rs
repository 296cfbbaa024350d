//! Asks for usage on the client's behalf: `stream_options.include_usage` becomes true, and every other byte
//! of the request stays, because providers' own prompt caches depend on the bytes.

use std::ops::Range;

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

const INCLUDE_USAGE: &str = r#""include_usage":true"#;

/// The outermost fields, as they are written.
#[derive(Deserialize)]
struct Written<'a> {
    #[serde(borrow, default, deserialize_with = "raw")]
    stream: Option<&'a RawValue>,
    #[serde(borrow, default, deserialize_with = "raw")]
    stream_options: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct WrittenOptions<'a> {
    #[serde(borrow, default, deserialize_with = "raw")]
    include_usage: Option<&'a RawValue>,
}

/// A present value, null included; plain `Option` would lose where a null stands.
fn raw<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&'a RawValue>::deserialize(from).map(Some)
}

/// See [`crate::Dialect::with_usage`]. `None` also for what is no such request at all: it goes as it came.
pub(crate) fn with_usage(body: &[u8]) -> Option<Vec<u8>> {
    let body = std::str::from_utf8(body).ok()?;
    // serde would fill a struct from an array just as well.
    body.trim_ascii_start().strip_prefix('{')?;
    let Written { stream, stream_options } = serde_json::from_str(body).ok()?;
    let stream = stream.filter(|written| written.get() == "true")?;
    let Some(options) = stream_options else {
        let end = span(body, stream.get())?.end;
        return splice(body, end..end, &format!(r#","stream_options":{{{INCLUDE_USAGE}}}"#));
    };
    if options.get() == "null" {
        return splice(body, span(body, options.get())?, &format!("{{{INCLUDE_USAGE}}}"));
    }
    let inside = options.get().strip_prefix('{')?;
    let WrittenOptions { include_usage } = serde_json::from_str(options.get()).ok()?;
    match include_usage.map(RawValue::get) {
        Some("true") => None,
        Some(other) => splice(body, span(body, other)?, "true"),
        None => {
            let comma = if inside.trim_start().starts_with('}') { "" } else { "," };
            let start = span(body, inside)?.start;
            splice(body, start..start, &format!("{INCLUDE_USAGE}{comma}"))
        }
    }
}

/// Where `part`, which borrows from `body`, lies in it.
fn span(body: &str, part: &str) -> Option<Range<usize>> {
    let start = part.as_ptr().addr().checked_sub(body.as_ptr().addr())?;
    let end = start.checked_add(part.len())?;
    (body.get(start..end)? == part).then_some(start..end)
}

fn splice(body: &str, at: Range<usize>, new: &str) -> Option<Vec<u8>> {
    let (before, after) = (body.get(..at.start)?, body.get(at.end..)?);
    Some([before, new, after].concat().into_bytes())
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn spliced(body: &str) -> Option<String> {
        with_usage(body.as_bytes()).map(|bytes| String::from_utf8(bytes).unwrap())
    }

    const CASES: &[(&str, &str)] = &[
        (r#"{"stream":true}"#, r#"{"stream":true,"stream_options":{"include_usage":true}}"#),
        (
            "{ \"stream\" : true ,\n \"n\":1.0}",
            "{ \"stream\" : true,\"stream_options\":{\"include_usage\":true} ,\n \"n\":1.0}",
        ),
        (
            r#"{"stream":true,"stream_options":null,"a":"é"}"#,
            r#"{"stream":true,"stream_options":{"include_usage":true},"a":"é"}"#,
        ),
        (
            r#"{"stream_options":{},"stream":true}"#,
            r#"{"stream_options":{"include_usage":true},"stream":true}"#,
        ),
        (
            "{\"stream_options\":{ \n},\"stream\":true}",
            "{\"stream_options\":{\"include_usage\":true \n},\"stream\":true}",
        ),
        (
            r#"{"stream_options":{ "include_obfuscation":false},"stream":true}"#,
            r#"{"stream_options":{"include_usage":true, "include_obfuscation":false},"stream":true}"#,
        ),
        (
            r#"{"stream":true,"stream_options":{"a":1,"include_usage": false }}"#,
            r#"{"stream":true,"stream_options":{"a":1,"include_usage": true }}"#,
        ),
        (
            r#"{"stream":true,"stream_options":{"include_usage":null}}"#,
            r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
        ),
        (
            r#"{"str\u0065am":true}"#,
            r#"{"str\u0065am":true,"stream_options":{"include_usage":true}}"#,
        ),
        (
            r#"{"x":{"stream_options":{"include_usage":true}},"stream":true}"#,
            r#"{"x":{"stream_options":{"include_usage":true}},"stream":true,"stream_options":{"include_usage":true}}"#,
        ),
    ];

    #[wasm_bindgen_test(unsupported = test)]
    fn usage_is_asked_for_with_the_smallest_change() {
        for (body, expected) in CASES {
            assert_eq!(spliced(body).as_deref(), Some(*expected));
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn apart_from_the_one_field_the_request_says_the_same() {
        for (body, _) in CASES {
            let mut before: Value = serde_json::from_str(body).unwrap();
            let after: Value = serde_json::from_str(&spliced(body).unwrap()).unwrap();
            if !before["stream_options"].is_object() {
                before["stream_options"] = serde_json::json!({});
            }
            before["stream_options"]["include_usage"] = true.into();
            assert_eq!(before, after);
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn asking_twice_changes_nothing_more() {
        for (body, _) in CASES {
            assert_eq!(spliced(&spliced(body).unwrap()), None, "{body}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_needs_no_change_gets_none() {
        for body in [
            "{}",
            r#"{"stream":false}"#,
            r#"{"stream":null,"stream_options":null}"#,
            r#"{"stream":"true"}"#,
            r#"{"stream":true,"stream_options":{"include_usage":true}}"#,
            r#"{"stream":true,"stream_options":7}"#,
            r#"{"stream":true,"stream":true}"#,
            r#"{"stream":true"#,
            "",
            "[]",
            "[true]",
        ] {
            assert_eq!(spliced(body), None, "{body}");
        }
        assert_eq!(with_usage(b"{\"stream\":true,\"a\":\"\xff\"}"), None, "not UTF-8");
    }
}
