//! Requests, in every dialect. The first line says which; the rest is the body. No body makes the
//! reading panic; asking for usage changes nothing else, least of all the key; refusals are worded so that
//! clients can read them; what is counted of a body is no more than there is in it.

use kt_contract::json::{self, Bounds};
use kt_contract::key::OrgKeys;
use kt_contract::problem::Problem;
use kt_contract::wire::admit::ReplyShape;
use kt_providers::sse::Reader;
use kt_providers::{Asked, Dialect, recognize};
use serde_json::Value;

use crate::text::{dialect, halves};

const BOUNDS: Bounds = Bounds { depth_max: 64, nodes_max: 10_000 };

/// Takes any bytes.
pub fn check(input: &[u8]) {
    let (name, body) = halves(input, b'\n');
    let _ = recognize(b"POST", name);
    let Some(dialect) = dialect(name) else { return };
    let _ = dialect.answers_asked(body);
    check_length(dialect, body);
    let asked = read(dialect, body);
    if let Err(problem) = &asked {
        check_wording(dialect, problem);
    }
    if let Some(spliced) = dialect.with_usage(body) {
        check_splice(dialect, body, &spliced, asked);
    }
}

fn read(dialect: Dialect, body: &[u8]) -> Result<Asked, Problem> {
    let node = json::parse(body, BOUNDS)
        .map_err(|refused| Problem::InvalidBody { what: refused.to_string() })?;
    dialect.read(&node)
}

/// Whatever is looked for in a body is no longer than it, or a bound that starts from its length would not hold.
fn check_length(dialect: Dialect, body: &[u8]) {
    let Ok(node) = json::parse(body, BOUNDS) else { return };
    let countable = dialect.countable(&node);
    let length = countable.pieces.iter().map(String::len).sum::<usize>() as u64;
    assert!(length + countable.tokens <= body.len() as u64, "more text than there is");
    let demand = dialect.demand(&node);
    assert!(demand.picture_bytes + length <= body.len() as u64, "a picture is counted as text");
    assert!(demand.answers > 0);
}

fn check_splice(dialect: Dialect, body: &[u8], spliced: &[u8], asked: Result<Asked, Problem>) {
    assert_eq!(dialect.with_usage(spliced), None, "asked for twice");
    let [before, after] = [body, spliced].map(serde_json::from_slice::<Value>);
    let (Ok(mut before), Ok(mut after)) = (before, after) else {
        // The splice reads fields it knows; a number beyond serde_json's is for the provider to refuse.
        return assert!(json::parse(body, BOUNDS).is_ok() == json::parse(spliced, BOUNDS).is_ok());
    };
    assert_eq!(after["stream_options"]["include_usage"], true);
    for request in [&mut before, &mut after] {
        if let Some(fields) = request.as_object_mut() {
            let options = fields.shift_remove("stream_options");
            let kept = options.as_ref().and_then(Value::as_object).cloned().unwrap_or_default();
            fields.extend(
                kept.into_iter()
                    .filter(|(name, _)| name != "include_usage")
                    .map(|(name, value)| (format!("stream_options.{name}"), value)),
            );
        }
    }
    assert_eq!(before, after, "something else changed");
    let Ok(asked) = asked else { return };
    let reply = ReplyShape::Sse { include_usage: true };
    assert_eq!(read(dialect, spliced), Ok(Asked { reply, ..asked }));
    assert_eq!(digests(dialect, body), digests(dialect, spliced));
}

fn digests(dialect: Dialect, body: &[u8]) -> kt_contract::key::RequestDigests {
    let node = json::parse(body, BOUNDS).unwrap();
    OrgKeys::derive("acme").request_digests(&node, dialect.left_out(), &[])
}

fn check_wording(dialect: Dialect, problem: &Problem) {
    let body = dialect.error_body(problem);
    assert!(serde_json::from_slice::<Value>(&body).is_ok());
    let event = dialect.error_event(problem);
    let mut reader = Reader::default();
    let mut rest = event.as_slice();
    assert!(reader.next(&mut rest).is_some());
    while reader.next(&mut rest).is_some() {}
    assert!(reader.is_between_events(), "half an event");
}
