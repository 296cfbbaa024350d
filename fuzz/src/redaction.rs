//! Redaction, by a chain that redacts whatever it finds: what comes out is JSON of the same fields and types, but for numbers
//! that became strings, and an answer stays JSON; nothing of what was found is left in a text; and a text that comes in pieces is told as the
//! whole is.

use std::sync::Arc;

use kt_contract::json::{self, Bounds};
use kt_contract::policy::{self, Check, Decision, Entities, Entity, Phase, Step};
use kt_policy::{Chain, EntitySet, Event, Piece, Stream, police, said, scan, splice};
use serde_json::{Value, json};

use crate::choices::Choices;

const BOUNDS: Bounds = Bounds { depth_max: 64, nodes_max: 10_000 };
/// How much of a finding may be the rest of an escape that has begun before it, `u` and its digits.
const ESCAPE_BYTES: usize = 5;

/// Takes any bytes: a body, and what is said in one, by a person and in the arguments of a call.
pub fn check(input: &[u8]) {
    let chain = chain(Phase::Input);
    check_body(&chain, input);
    check_answer(input);
    let text = String::from_utf8_lossy(input);
    let of = |message: Value| json!({ "messages": [message] }).to_string();
    let call = json!({ "tool_calls": [{ "function": { "arguments": text } }] });
    let user = of(json!({ "role": "user", "content": text }));
    check_body(&chain, of(call).as_bytes());
    let whole = check_body(&chain, user.as_bytes()).map(|out| said(&out).concat());
    assert_eq!(Some(in_pieces(&text, &mut Choices::of(input))), whole, "in pieces, and whole");
}

fn chain(phase: Phase) -> Chain {
    let all = Entity::ALL.into_iter().map(|entity| (entity, Decision::Redact));
    let check = Check::PiiDetector(Entities(all.collect()));
    let steps = vec![Step { phases: [phase].into(), check }];
    Chain::compile(&policy::Chain { steps }, phase).unwrap()
}

/// The body as it goes on, if it is JSON and does.
fn check_body(chain: &Chain, body: &[u8]) -> Option<Vec<u8>> {
    json::parse(body, BOUNDS).ok()?;
    let verdict = chain.read(body);
    if verdict.blocked.is_some() {
        return None;
    }
    let out = splice(body, &verdict.edits);
    assert!(json::parse(&out, BOUNDS).is_ok(), "no JSON any more");
    if let [Ok(before), Ok(after)] = [body, &out].map(serde_json::from_slice) {
        check_shape(&before, &after);
    }
    let (before, after) = (said(body), said(&out));
    // A number that became a string is a text that was none.
    if before.len() == after.len() {
        before.iter().zip(&after).for_each(|(before, after)| check_text(before, after));
    }
    Some(out)
}

/// The same as an answer, of which what nearly was said goes, too.
fn check_answer(body: &[u8]) {
    if json::parse(body, BOUNDS).is_ok() {
        let replaced = police(&chain(Phase::Output), body).replaced;
        assert!(replaced.is_none_or(|out| json::parse(&out, BOUNDS).is_ok()), "no JSON any more");
    }
}

fn check_shape(before: &Value, after: &Value) {
    match (before, after) {
        (Value::Array(before), Value::Array(after)) => {
            assert_eq!(before.len(), after.len());
            before.iter().zip(after).for_each(|(before, after)| check_shape(before, after));
        }
        (Value::Object(before), Value::Object(after)) => {
            assert!(before.keys().eq(after.keys()), "other fields");
            before.values().zip(after.values()).for_each(|(one, other)| check_shape(one, other));
        }
        (Value::String(_) | Value::Number(_), Value::String(_)) => {}
        (before, after) => assert_eq!(before, after, "something else changed"),
    }
}

/// Whatever is told stood in the text, and not in what was found.
fn check_text(before: &str, after: &str) {
    let mut found = Vec::new();
    scan(before, EntitySet::all(), &mut found);
    let (mut kept, mut at) = (String::new(), 0);
    for one in found {
        kept.push_str(&before[at..one.start]);
        if kept.ends_with('\\') {
            kept.extend(before[one.start..one.end].chars().take(ESCAPE_BYTES));
        }
        at = one.end;
    }
    kept.push_str(&before[at..]);
    let told = Entity::ALL.iter().fold(after.to_owned(), |told, entity| {
        let placeholder = entity.placeholder();
        told.replace(&format!("\"{placeholder}\""), "").replace(placeholder, "")
    });
    let mut kept = kept.chars();
    assert!(told.chars().all(|char| kept.any(|other| other == char)), "{before:?} as {after:?}");
}

/// What is told of a text that comes in pieces.
fn in_pieces(text: &str, choices: &mut Choices) -> String {
    let mut stream = Stream::new(Arc::new(chain(Phase::Output)));
    let mut out = Vec::new();
    for piece in choices.pieces_of_text(text) {
        assert_eq!(stream.push(event(piece), &mut out), Ok(()));
    }
    assert_eq!(stream.end(&mut out), Ok(()));
    let lines = std::str::from_utf8(&out).unwrap().lines();
    let told = lines.map(|line| serde_json::from_str::<Value>(line).unwrap());
    told.map(|event| event["content"].as_str().unwrap().to_owned()).collect()
}

/// An event with a piece of the one text, on a line.
fn event(piece: &str) -> Event {
    let head = r#"{"content":""#;
    let quoted = Value::from(piece).to_string();
    let raw = head.len()..head.len() + quoted.len() - 2;
    let data = format!("{head}{}}}", &quoted[1..]);
    let pieces = vec![Piece { channel: "0/c".to_owned(), raw, is_json: false }];
    Event { data: 0..data.len(), bytes: format!("{data}\n").into_bytes(), pieces, ends: vec![] }
}
