//! Lives of a worker as `kt_filter_core::script` decodes them: any bytes are one, and most of it makes sense, so that
//! a fuzzer comes far. They are played into the core here; the tests of `tests/filter-host` play the corpus into the
//! built module as well, and compare.
//!
//! A step is answered once at most and forwarded once at most, and not forwarded after it was answered; no line end
//! gets into a head; and who plays the same script again sees the same.

use kt_filter_core::script::{Call, Fields, Native, Script, Turned};

/// More calls than any step can need: a poll after a silence tells the most counters.
const CALLS_MAX: usize = 200;

/// Takes any bytes.
pub fn check(bytes: &[u8]) {
    let script = Script::decode(bytes);
    let mut players = [player(), player()];
    for step in &script.steps {
        let [turned, again] = players.each_mut().map(|player| player.play(step));
        assert_eq!(turned, again, "{step:?}");
        check_turn(&turned);
    }
}

fn player() -> Native {
    let mut count = 0_u8;
    Native::start(move |bytes| {
        for byte in bytes {
            count = count.wrapping_add(1);
            *byte = count;
        }
    })
}

fn check_turn(turned: &Turned) {
    assert!(turned.calls.len() <= CALLS_MAX, "{} calls", turned.calls.len());
    let mut replies = 0;
    let mut forwards = 0;
    for call in &turned.calls {
        match call {
            Call::Reply { status, fields, body: _ } => {
                assert!((200..600).contains(status), "status {status}");
                check_fields(fields);
                replies += 1;
            }
            Call::SetRequestHead(fields) => {
                assert_eq!(replies, 0, "forwarded after a reply");
                check_fields(fields);
                forwards += 1;
            }
            Call::SetResponseHeader(_, value) => check_value(value),
            Call::Callout { body, .. } => {
                assert!(serde_json::from_slice::<serde_json::Value>(body).is_ok());
            }
            Call::SetRequestBody(body) => {
                assert_eq!(replies, 0, "replaced after a reply");
                assert!(serde_json::from_slice::<serde_json::Value>(body).is_ok());
            }
            Call::ClearTrailers
            | Call::RemoveResponseHeader(_)
            | Call::Property(..)
            | Call::Resume
            | Call::Count(..) => {}
        }
    }
    assert!(replies <= 1 && forwards <= 1, "{replies} replies, {forwards} forwards");
}

fn check_fields(fields: &Fields) {
    for (name, value) in fields {
        check_value(name);
        check_value(value);
    }
}

fn check_value(value: &[u8]) {
    assert!(!value.iter().any(|byte| b"\r\n\0".contains(byte)), "{}", value.escape_ascii());
}
