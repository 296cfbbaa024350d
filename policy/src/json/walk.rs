//! Finding the texts of a body of any dialect, a request's or an answer's, by the names of its fields.

use std::borrow::Cow;
use std::ops::Range;

use crate::bytes::find_any;

use super::{Author, Decoded, Form, Text};

/// Fields whose strings are no texts where they look like it ([`is_machines`]): names that machines give. A finding in
/// them would be chance, and replacing it would break what they are for. Within what people and models make up
/// themselves ([`FREE`]) there are none.
const MACHINE: &[&str] = &[
    "call_id",
    "detail",
    "file_id",
    "finish_reason",
    "format",
    "id",
    "item_id",
    "media_type",
    "model",
    "object",
    "obfuscation",
    "previous_response_id",
    "role",
    "service_tier",
    "status",
    "stop_reason",
    "system_fingerprint",
    "tool_call_id",
    "tool_use_id",
    "type",
];
/// Fields with nothing of a text in them, however deep.
const NO_TEXT: &[&str] = &["logprobs"];
/// Fields that hold bytes, where their value is nothing but base64. None within [`FREE`], where a model gives the names.
const BYTES: &[&str] = &["b64_json", "data", "encrypted_content", "file_data", "signature"];
/// Fields that may hold a file within a URL. None within [`FREE`] either.
const URLS: &[&str] = &["file_data", "file_url", "image_url", "url"];
/// Fields whose inside is made up by whoever asks or answers: arguments, and schemas.
const FREE: &[&str] =
    &["arguments", "definition", "input", "input_schema", "parameters", "properties", "schema"];
/// Fields of the outermost object with what people and models say, numbers included. Strings of a field that is on no
/// list are anybody's too: servers read more than the dialects have.
const CONTENT: &[&str] = &[
    "choices",
    "content",
    "contents",
    "documents",
    "input",
    "messages",
    "metadata",
    "output",
    "prediction",
    "prompt",
    "suffix",
];
/// The field of the outermost object in which whoever asks gives the names.
const METADATA: &str = "metadata";
/// Fields of the outermost object with what developers say.
const DEVELOPERS: &[&str] = &[
    "functions",
    "instructions",
    "output_config",
    "output_format",
    "response_format",
    "system",
    "text",
    "tools",
];
/// Fields of the outermost object with messages, whose roles are the dialect's. No other field of this name is one.
const MESSAGES: &[&str] = &["input", "messages"];
/// How deep the fields of a message stand: in an object of a list of the outermost object.
const MESSAGE_DEPTH: usize = 3;
/// The authors of messages who are developers.
const DEVELOPER_ROLES: &[&str] = &["developer", "system"];
/// Fields that hold JSON as a text.
const JSON_TEXTS: &[&str] = &["arguments", "partial_json"];
/// The longest name that a machine gives.
const MACHINE_BYTES_MAX: usize = 512;
/// The shortest number that could be anybody's.
const NUMBER_BYTES_MIN: usize = 7;
/// How a file within a URL begins.
const EMBEDDED: &str = "data:";
/// The longest name of a kind of file.
const KIND_BYTES_MAX: usize = 128;
/// The shortest base64 that is taken for a file: cards, accounts and keys are shorter, and spelled in the same letters.
const FILE_BYTES_MIN: usize = 256;
/// The deepest nesting that is followed; the strict reader allows no more.
const DEPTH_MAX: usize = 1_024;

/// What is known of a place in the body.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// Nothing in here is a text.
    has_no_text: bool,
    /// A string in here is a machine's.
    is_machine: bool,
    /// A string in here may be bytes.
    may_be_bytes: bool,
    /// A string in here may be a file within a URL.
    may_be_url: bool,
    /// An item in here is a message.
    is_of_messages: bool,
    /// What is in here has names that somebody made up.
    is_free: bool,
    /// Numbers in here are content.
    is_content: bool,
    /// A string in here is JSON.
    is_json: bool,
    author: Author,
}

/// An object or an array that is open.
#[derive(Debug)]
struct Open {
    is_object: bool,
    /// Where the field stands that is being read, or this array's items.
    place: Place,
    /// The texts found before it.
    texts_before: usize,
    /// Whether its role says that a developer wrote it.
    is_developers: bool,
    /// Whether the field that is being read is its role.
    is_role: bool,
}

struct Walk<'a> {
    text: &'a str,
    at: usize,
    open: Vec<Open>,
    found: Vec<Text<'a>>,
}

/// Every text of a body, in its order. Whatever is not the JSON that it should be ends it.
#[must_use]
pub(crate) fn texts(body: &[u8]) -> Vec<Text<'_>> {
    let Ok(text) = std::str::from_utf8(body) else { return Vec::new() };
    let mut walk = Walk { text, at: 0, open: Vec::new(), found: Vec::new() };
    while walk.step().is_some() {}
    walk.found
}

/// Where the values of the fields of this name stand, wherever they are but within what somebody made up ([`FREE`]).
pub(crate) fn field_values(body: &[u8], name: &str) -> Vec<Range<usize>> {
    let Ok(text) = std::str::from_utf8(body) else { return Vec::new() };
    let mut walk = Walk { text, at: 0, open: Vec::new(), found: Vec::new() };
    let (mut values, mut depth) = (Vec::new(), 0_usize);
    while let Some(byte) = walk.byte() {
        if byte != b'"' {
            match byte {
                b'{' | b'[' => depth += 1,
                b'}' | b']' => depth = depth.saturating_sub(1),
                _ => {}
            }
            walk.at += 1;
            continue;
        }
        let Some(range) = walk.quoted() else { break };
        let Some(written) = text.get(range) else { break };
        // The outermost names are the dialect's.
        let said = called(written);
        let is_free = depth > 1 && has(FREE, &said);
        if (said == name || is_free) && walk.is_name() {
            let rest = text.get(walk.at..).unwrap_or_default();
            let spaces = rest.len() - rest.trim_start_matches([' ', '\t', '\r', '\n', ':']).len();
            let start = walk.at + spaces;
            walk.at = start;
            walk.skip_value();
            if !is_free {
                values.push(start..walk.at);
            }
        }
    }
    values
}

/// What a name says: whoever else reads it takes its escapes for what they stand for.
fn called(written: &str) -> Cow<'_, str> {
    if !written.contains('\\') {
        return Cow::Borrowed(written);
    }
    Cow::Owned(Decoded::of(written).text().to_owned())
}

/// Whether this may be what a machine calls something. Whoever hides a text there has to do without spaces and `@`.
fn is_machines(written: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"_.:/;=+-".contains(&byte);
    written.len() <= MACHINE_BYTES_MAX && written.bytes().all(is_of_name)
}

fn has(list: &[&str], name: &str) -> bool {
    list.contains(&name)
}

// === impl Place ===

impl Place {
    const OUTSIDE: Self = Self {
        has_no_text: false,
        is_machine: false,
        may_be_bytes: false,
        may_be_url: false,
        is_of_messages: false,
        is_free: false,
        is_content: false,
        is_json: false,
        author: Author::Developer,
    };

    /// The place of a field of the outermost object.
    fn outermost(name: &str) -> Self {
        let is_developers = has(DEVELOPERS, name);
        let author = if is_developers { Author::Developer } else { Author::Anybody };
        Self {
            has_no_text: has(NO_TEXT, name),
            is_machine: has(MACHINE, name),
            may_be_bytes: has(BYTES, name),
            may_be_url: has(URLS, name),
            is_of_messages: has(MESSAGES, name),
            is_free: name == METADATA,
            is_content: is_developers || has(CONTENT, name),
            is_json: has(JSON_TEXTS, name),
            author,
        }
    }

    /// The place of a field further in.
    fn field(self, name: &str) -> Self {
        Self {
            has_no_text: self.has_no_text || !self.is_free && has(NO_TEXT, name),
            is_machine: !self.is_free && has(MACHINE, name),
            may_be_bytes: !self.is_free && has(BYTES, name),
            may_be_url: !self.is_free && has(URLS, name),
            is_free: self.is_free || has(FREE, name),
            is_json: has(JSON_TEXTS, name),
            ..self
        }
    }
}

// === impl Walk ===

impl<'a> Walk<'a> {
    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// Takes the next token. `None` at the end.
    fn step(&mut self) -> Option<()> {
        match self.byte()? {
            b'{' => self.enter(true)?,
            b'[' => self.enter(false)?,
            b'}' | b']' => self.leave()?,
            b'"' => self.string()?,
            b'-' | b'0'..=b'9' => self.number(),
            _ => self.at += 1,
        }
        Some(())
    }

    fn enter(&mut self, is_object: bool) -> Option<()> {
        let around = self.open.last().map_or(Place::OUTSIDE, |open| open.place);
        let place = Place {
            is_json: false,
            is_machine: false,
            may_be_bytes: false,
            may_be_url: false,
            ..around
        };
        let texts_before = self.found.len();
        self.open.push(Open {
            is_object,
            place,
            texts_before,
            is_developers: false,
            is_role: false,
        });
        self.at += 1;
        (self.open.len() <= DEPTH_MAX).then_some(())
    }

    fn leave(&mut self) -> Option<()> {
        let closed = self.open.pop()?;
        if closed.is_developers {
            let texts = self.found.get_mut(closed.texts_before..).unwrap_or_default();
            texts.iter_mut().for_each(|text| text.author = Author::Developer);
        }
        self.at += 1;
        Some(())
    }

    /// The bytes of the string that begins here, without its quotes.
    fn quoted(&mut self) -> Option<Range<usize>> {
        let start = self.at + 1;
        let bytes = self.text.as_bytes();
        let mut at = start;
        loop {
            let found = find_any(bytes, at, [b'"', b'\\'])?;
            if bytes.get(found) == Some(&b'"') {
                self.at = found + 1;
                return Some(start..found);
            }
            at = found + 2;
        }
    }

    /// Whether a colon follows: then what was read is the name of a field.
    fn is_name(&self) -> bool {
        let rest = self.text.as_bytes().get(self.at..).unwrap_or_default();
        rest.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b':')
    }

    fn string(&mut self) -> Option<()> {
        let raw = self.quoted()?;
        let written = self.text.get(raw.clone())?;
        let in_object = self.open.last().is_some_and(|open| open.is_object);
        if in_object && self.is_name() {
            self.name(raw, written);
            return Some(());
        }
        let place = self.open.last().map_or(Place::OUTSIDE, |open| open.place);
        if let Some(open) = self.open.last_mut()
            && std::mem::take(&mut open.is_role)
        {
            open.is_developers = has(DEVELOPER_ROLES, written);
        }
        let is_file = place.may_be_bytes && is_file(written);
        if place.has_no_text || place.is_machine && is_machines(written) || is_file {
            return Some(());
        }
        let kind = if place.may_be_url { kind_of_file(written) } else { None };
        match kind {
            Some(kind) => {
                let start = raw.start + EMBEDDED.len();
                self.find(Form::String, place, start..start + kind.len(), kind);
            }
            None => self.find(Form::String, place, raw, written),
        }
        Some(())
    }

    fn name(&mut self, raw: Range<usize>, written: &'a str) {
        let depth = self.open.len();
        let outer = depth.checked_sub(2).and_then(|at| self.open.get(at)).map(|open| open.place);
        let name = called(written);
        let place = match outer {
            None => Place::outermost(&name),
            Some(around) => around.field(&name),
        };
        let is_role = name == "role" && self.is_in_message();
        if let Some(open) = self.open.last_mut() {
            open.place = place;
            open.is_role = is_role;
        }
        // The outermost names are the dialect's, and so are most within; those of arguments are the model's.
        if depth > 1 && !place.has_no_text {
            self.find(Form::Name, Place { is_json: false, ..place }, raw, written);
        }
    }

    /// Whether the object that is open is a message: an item of a list of them.
    fn is_in_message(&self) -> bool {
        let list = MESSAGE_DEPTH.checked_sub(2).and_then(|at| self.open.get(at));
        self.open.len() == MESSAGE_DEPTH
            && list.is_some_and(|list| !list.is_object && list.place.is_of_messages)
    }

    /// Passes the value that begins here.
    fn skip_value(&mut self) {
        let mut depth = 0_usize;
        while let Some(byte) = self.byte() {
            match byte {
                b'"' => {
                    if self.quoted().is_none() {
                        self.at = self.text.len();
                    }
                }
                b'{' | b'[' => {
                    depth += 1;
                    self.at += 1;
                }
                b'}' | b']' if depth > 0 => {
                    depth -= 1;
                    self.at += 1;
                }
                b',' | b'}' | b']' if depth == 0 => return,
                _ => self.at += 1,
            }
            if depth == 0 && matches!(byte, b'"' | b'}' | b']') {
                return;
            }
        }
    }

    fn number(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or_default();
        let length = rest
            .bytes()
            .position(|byte| !matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))
            .unwrap_or(rest.len());
        let raw = self.at..self.at + length;
        let written = rest.get(..length).unwrap_or_default();
        self.at = raw.end;
        let place = self.open.last().map_or(Place::OUTSIDE, |open| open.place);
        if place.is_content && !place.has_no_text && length >= NUMBER_BYTES_MIN {
            self.find(Form::Number, place, raw, written);
        }
    }

    fn find(&mut self, form: Form, place: Place, raw: Range<usize>, written: &'a str) {
        if written.is_empty() {
            return;
        }
        let is_json = place.is_json && form == Form::String;
        let says = Decoded::of(written);
        self.found.push(Text { form, is_json, author: place.author, raw, says });
    }
}

/// Of a file within a URL, and nothing but that, what kind it is said to be. Whatever else stands there is no kind.
fn kind_of_file(written: &str) -> Option<&str> {
    let (kind, file) = written.strip_prefix(EMBEDDED)?.split_once(";base64,")?;
    let is_of_kind = |byte: u8| byte.is_ascii_alphanumeric() || b".+/;=-".contains(&byte);
    let is_kind = kind.len() <= KIND_BYTES_MAX && kind.bytes().all(is_of_kind);
    (is_kind && is_file(file)).then_some(kind)
}

/// Base64, and as much of it as no word has.
fn is_file(written: &str) -> bool {
    let is_of_file = |byte: u8| byte.is_ascii_alphanumeric() || b"+/_-".contains(&byte);
    written.len() >= FILE_BYTES_MIN && written.trim_end_matches('=').bytes().all(is_of_file)
}

#[cfg(test)]
mod tests {
    use wasm_bindgen_test::wasm_bindgen_test;

    use super::*;

    fn said(body: &str) -> Vec<(Form, Author, String)> {
        texts(body.as_bytes())
            .iter()
            .map(|text| (text.form, text.author, text.says.text().to_owned()))
            .collect()
    }

    /// As much base64 as a file has at least.
    fn file() -> String {
        format!("{}==", "QUJD+/_-".repeat(FILE_BYTES_MIN / 8))
    }

    fn strings(body: &str) -> Vec<String> {
        let found = said(body).into_iter();
        found.filter(|(form, ..)| *form == Form::String).map(|(.., text)| text).collect()
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn every_text_is_found_and_leads_back_to_its_bytes() {
        let body = r#"{ "model":"gpt-4o", "user" : "u\n1",
            "messages":[{"role":"user","content":[{"type":"text","text":"a \"b\""}]},
                        {"content":"c","role":"system"}], "seed": 12345678 }"#;
        for text in texts(body.as_bytes()) {
            let raw = &body[text.raw.clone()];
            assert_eq!(Decoded::of(raw), text.says);
        }
        assert_eq!(strings(body), ["u\n1", "a \"b\"", "c"]);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn who_wrote_a_message_is_known_wherever_its_role_stands() {
        let body = r#"{"messages":[{"content":"a","role":"system"},{"role":"developer","content":"b"},
            {"role":"user","content":"c"},{"content":[{"text":"d"}],"role":"tool"}],
            "system":"e","instructions":"f","tools":[{"function":{"description":"g"}}],
            "prompt":"h","input":[{"type":"function_call_output","output":"i"}]}"#;
        let developers: String = said(body)
            .into_iter()
            .filter(|(form, author, _)| *form == Form::String && *author == Author::Developer)
            .map(|(.., text)| text)
            .collect();
        assert_eq!(developers, "abefg");
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_machines_write_is_no_text() {
        for body in [
            r#"{"id":"x","object":"x","model":"x"}"#,
            r#"{"messages":[{"role":"x","tool_call_id":"x"}]}"#,
            r#"{"content":[{"type":"x","source":{"type":"x","media_type":"x","data":"FILE"}}]}"#,
            r#"{"messages":[{"file":{"file_data":"FILE"}}]}"#,
            r#"{"choices":[{"logprobs":{"content":[{"token":"x","bytes":[1234567]}]}}]}"#,
            r#"{"content":[{"signature":"FILE"}]}"#,
        ] {
            let body = body.replace("FILE", &file());
            assert_eq!(strings(&body), Vec::<String>::new(), "{body}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn nothing_is_no_text_for_its_name_alone() {
        for body in [
            r#"{"messages":[{"content":"data:x;base64, me@x.org"}]}"#,
            r#"{"messages":[{"content":"data:me@x.org;base64,FILE"}]}"#,
            r#"{"messages":[{"content":"data:to me@x.org, now;base64,FILE"}]}"#,
            r#"{"messages":[{"content":"data:x;base64,me@x.org"}]}"#,
            r#"{"choices":[{"message":{"content":"data:me@x.org;base64,FILE"}}]}"#,
            r#"{"messages":[{"image_url":{"url":"data:me@x.org;base64,FILE"}}]}"#,
            r#"{"messages":[{"image_url":{"url":"data:x;base64,FILE me@x.org"}}]}"#,
            r#"{"messages":[{"content":[{"source":{"type":"text","data":"to me@x.org"}}]}]}"#,
            r#"{"content":[{"input":{"data":"me@x.org"}}]}"#,
            r#"{"content":[{"input":{"id":"me@x.org","status":"s p"}}]}"#,
            r#"{"tools":[{"function":{"parameters":{"properties":{"id":{"type":"me@x.org"}}}}}]}"#,
            r#"{"text":{"format":{"schema":{"description":"me@x.org"}}}}"#,
            r#"{"metadata":{"id":"me@x.org"}}"#,
            r#"{"metadata":{"logprobs":"me@x.org"}}"#,
            r#"{"messages":[{"role":"user\nto me@x.org","content":"x"}]}"#,
            r#"{"messages":[{"content":[{"cache_control":{"ttl":"me@x.org"}}]}]}"#,
            r#"{"model":"me@x.org"}"#,
        ] {
            let body = body.replace("FILE", &file());
            assert!(strings(&body).iter().any(|text| text.contains("me@x.org")), "{body}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_base64_can_spell_is_read_where_it_is_no_file() {
        for body in [
            r#"{"messages":[{"content":"data:x;base64,WORD"}]}"#,
            r#"{"messages":[{"content":"data:x;base64,WORDFILE"}]}"#,
            r#"{"messages":[{"image_url":{"url":"data:x;base64,WORD"}}]}"#,
            r#"{"messages":[{"image_url":{"url":"data:WORD;base64,FILE"}}]}"#,
            r#"{"content":[{"input":{"url":"data:x;base64,WORDFILE"}}]}"#,
            r#"{"content":[{"input":{"data":"WORD"}}]}"#,
            r#"{"content":[{"input":{"signature":"WORDFILE"}}]}"#,
            r#"{"content":[{"input":{"deep":[{"file_data":"WORDFILE"}]}}]}"#,
            r#"{"messages":[{"content":[{"source":{"type":"text","data":"WORD"}}]}]}"#,
            r#"{"messages":[{"content":[{"source":{"type":"text","data":"WORD==FILE"}}]}]}"#,
        ] {
            let body = body.replace("WORD", "4111111111111111").replace("FILE", &file());
            let is_read = strings(&body).iter().any(|text| text.contains("4111111111111111"));
            assert!(is_read, "{body}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn of_a_file_within_a_url_its_kind_is_read_alone() {
        let url = format!("data:image/svg+xml;charset=utf-8;base64,{}", file());
        for body in [
            format!(r#"{{"messages":[{{"content":[{{"image_url":{{"url":"{url}"}}}}]}}]}}"#),
            format!(r#"{{"input":[{{"content":[{{"image_url":"{url}"}}]}}]}}"#),
            format!(r#"{{"input":[{{"content":[{{"file_data":"{url}"}}]}}]}}"#),
        ] {
            assert_eq!(strings(&body), ["image/svg+xml;charset=utf-8"], "{body}");
            let raw = texts(body.as_bytes()).into_iter().find(|it| it.form == Form::String);
            assert_eq!(&body[raw.unwrap().raw], "image/svg+xml;charset=utf-8");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn numbers_and_names_of_the_content_are_found_and_those_of_the_request_are_not() {
        let body = r#"{"seed":4111111111111111,"created":1700000000,
            "content":[{"input":{"card":4111111111111111,"n":12,"me@x.org":1}}]}"#;
        let found: Vec<(Form, String)> = said(body)
            .into_iter()
            .filter(|(form, ..)| *form != Form::String)
            .map(|(form, _, text)| (form, text))
            .collect();
        let expected = [
            (Form::Name, "input"),
            (Form::Name, "card"),
            (Form::Number, "4111111111111111"),
            (Form::Name, "n"),
            (Form::Name, "me@x.org"),
        ];
        assert_eq!(found, expected.map(|(form, text)| (form, text.to_owned())));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_field_on_no_list_is_not_the_developers() {
        for field in ["suffix", "documents", "prediction", "metadata", "anything"] {
            let body = format!(r#"{{"{field}":{{"a":["b"]}}}}"#);
            let found = said(&body).into_iter().find(|(form, ..)| *form == Form::String);
            assert_eq!(found, Some((Form::String, Author::Anybody, "b".to_owned())), "{field}");
        }
    }

    /// As one who hides a name from who compares its bytes.
    fn with_escaped_names(body: &str) -> String {
        let mut escaped = String::new();
        let mut walk = Walk { text: body, at: 0, open: Vec::new(), found: Vec::new() };
        while let Some(byte) = walk.byte() {
            if byte != b'"' {
                escaped.push(char::from(byte));
                walk.at += 1;
                continue;
            }
            let said = &body[walk.quoted().unwrap()];
            match said.split_at_checked(1) {
                Some((first, rest)) if walk.is_name() && first.is_ascii() && first != "\\" => {
                    escaped.push_str(&format!("\"\\u{:04x}{rest}\"", first.as_bytes()[0]));
                }
                _ => escaped.push_str(&format!("\"{said}\"")),
            }
        }
        escaped
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_name_is_what_it_says_however_it_is_escaped() {
        for body in [
            r#"{"model":"m","messages":[{"role":"user","content":"a"},{"content":"b","role":"system"}]}"#,
            r#"{"system":"a","tools":[{"function":{"description":"b","parameters":{"properties":{"id":{"type":"c d"}}}}}]}"#,
            r#"{"messages":[{"content":[{"type":"tool_use","id":"x","input":{"id":"a@b","card":4111111111111111}}]}]}"#,
            r#"{"messages":[{"tool_calls":[{"function":{"name":"f","arguments":"{\"a\":1}"}}]}]}"#,
            r#"{"prompt":"a","suffix":"b","metadata":{"id":"c d"},"seed":4111111111111111}"#,
            r#"{"choices":[{"logprobs":{"content":[{"token":"x"}]},"message":{"content":"y"}}]}"#,
        ] {
            let escaped = with_escaped_names(body);
            assert_ne!(escaped, body);
            let read = |body: &str| -> Vec<(Form, Author, bool, String)> {
                let found = texts(body.as_bytes()).into_iter();
                let text = |it: &Text<'_>| it.says.text().to_owned();
                found.map(|it| (it.form, it.author, it.is_json, text(&it))).collect()
            };
            assert_eq!(read(&escaped), read(body), "{escaped}");
            let values = |body: &str| field_values(body.as_bytes(), "logprobs").len();
            assert_eq!(values(&escaped), values(body), "{escaped}");
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn the_arguments_of_a_call_are_known_to_be_json() {
        let body =
            r#"{"messages":[{"tool_calls":[{"function":{"name":"f","arguments":"{\"a\":1}"}}]}]}"#;
        let json: Vec<(bool, String)> = texts(body.as_bytes())
            .iter()
            .filter(|text| text.form == Form::String)
            .map(|text| (text.is_json, text.says.text().to_owned()))
            .collect();
        assert_eq!(json, [(false, "f".to_owned()), (true, "{\"a\":1}".to_owned())]);
        let object = r#"{"content":[{"arguments":{"a":"b"}}]}"#;
        assert!(texts(object.as_bytes()).iter().all(|text| !text.is_json), "an object is no text");
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn the_values_of_a_field_are_found_whole_wherever_they_stand() {
        let body = r#"{"a":{"logprobs" : {"x":[1,"}"]}},"b":[{"logprobs":null},{"logprobs":"s"}],"c":"logprobs"}"#;
        let found: Vec<&str> = field_values(body.as_bytes(), "logprobs")
            .into_iter()
            .map(|range| &body[range])
            .collect();
        assert_eq!(found, [r#"{"x":[1,"}"]}"#, "null", "\"s\""]);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn what_is_no_json_ends_the_walk() {
        for body in ["", "\"", "{\"a", "{\"a\":\"b", "]", "nonsense", "{\"a\":\"b\\", "\u{feff}{"] {
            let _ = texts(body.as_bytes());
        }
        assert_eq!(texts(&[0xff, b'"', b'a', b'"']), []);
        let deep = "[".repeat(100_000);
        assert_eq!(texts(deep.as_bytes()), []);
    }
}
