//! What holds for every answer, not only for those that somebody thought of.

use kt_contract::wire::admit::ReplyShape;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::answer::{Recorded, Terms};
use crate::anthropic_messages::{ends_stream, judge, replay};
use crate::sse::{Data, Reader};

const SSE: ReplyShape = ReplyShape::Sse { include_usage: true };
const TERMS: Terms = Terms { client_limited: true, answers: None };

fn input() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    let tree = leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(".{0,6}", inner, 0..4)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    });
    proptest::collection::btree_map(".{0,6}", tree, 0..4)
        .prop_map(|fields| Value::Object(fields.into_iter().collect()))
}

fn block() -> impl Strategy<Value = Value> {
    prop_oneof![
        ".{0,40}".prop_map(|text| json!({"type": "text", "text": text})),
        (".{0,9}", vec(input(), 0..3)).prop_map(|(text, citations)| {
            json!({"type": "text", "text": text, "citations": citations})
        }),
        (".{0,40}", "[a-z+/=]{0,9}").prop_map(|(thought, signature)| {
            json!({"type": "thinking", "thinking": thought, "signature": signature})
        }),
        input().prop_map(
            |input| json!({"type": "tool_use", "id": "toolu_1", "name": "f", "input": input})
        ),
        input().prop_map(|content| json!({"type": "web_search_tool_result", "content": [content]})),
    ]
}

fn answer() -> impl Strategy<Value = Value> {
    let tokens = 0_u64..1 << 53;
    let reason = prop_oneof![Just("end_turn"), Just("tool_use"), Just("max_tokens")];
    (vec(block(), 0..5), reason, tokens).prop_map(|(content, reason, tokens)| {
        json!({"id": "msg_1", "type": "message", "role": "assistant", "model": "m",
            "content": content, "stop_reason": reason, "stop_sequence": null,
            "usage": {"input_tokens": 3, "cache_read_input_tokens": 4, "output_tokens": tokens}})
    })
}

/// Where the events of a stream end.
fn ends(stream: &[u8]) -> Vec<usize> {
    let mut reader = Reader::default();
    let mut rest = stream;
    let mut ends = Vec::new();
    while let Some(event) = reader.next(&mut rest) {
        ends.push(usize::try_from(event.end).unwrap());
    }
    ends
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_answer_survives_the_way_to_a_stream_and_back(answer in answer()) {
        let body = answer.to_string();
        let stream = replay(Recorded::Json, body.as_bytes(), SSE).unwrap().body.into_owned();
        let judged = judge(Recorded::Sse, &stream, TERMS);
        prop_assert_eq!(&judged, &judge(Recorded::Json, body.as_bytes(), TERMS));
        let back = replay(Recorded::Sse, &stream, ReplyShape::Json).unwrap();
        prop_assert_eq!(serde_json::from_slice::<Value>(&back.body).unwrap(), answer);
    }

    #[test]
    fn no_stream_is_complete_before_its_last_event(answer in answer()) {
        let body = answer.to_string();
        let stream = replay(Recorded::Json, body.as_bytes(), SSE).unwrap().body.into_owned();
        let mut ends = ends(&stream);
        prop_assert_eq!(ends.pop(), Some(stream.len()));
        for end in ends.into_iter().chain([0]) {
            prop_assert!(judge(Recorded::Sse, &stream[..end], TERMS).is_err(), "cut at {end}");
        }
    }

    #[test]
    fn the_last_event_and_no_other_ends_a_stream(answer in answer()) {
        let body = answer.to_string();
        let stream = replay(Recorded::Json, body.as_bytes(), SSE).unwrap().body.into_owned();
        let mut reader = Reader::default();
        let mut rest = &stream[..];
        let mut last = Vec::new();
        while let Some(event) = reader.next(&mut rest) {
            if let Data::Whole(data) = event.data {
                last.push(ends_stream(data));
            }
        }
        prop_assert_eq!(last.pop(), Some(true));
        prop_assert!(!last.contains(&true));
    }

    #[test]
    fn no_bytes_do_any_harm(bytes in vec(any::<u8>(), 0..400)) {
        for recorded in [Recorded::Json, Recorded::Sse] {
            let _ = judge(recorded, &bytes, TERMS);
            let _ = replay(recorded, &bytes, SSE);
            let _ = replay(recorded, &bytes, ReplyShape::Json);
        }
    }
}
