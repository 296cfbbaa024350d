//! What holds for every answer in the OpenAI dialects: told as a stream and put together again it is the same, and no
//! part of a stream is complete.
#![cfg(not(target_family = "wasm"))]
#![expect(clippy::indexing_slicing, reason = "helpers of tests are tests too")]

use kt_contract::wire::admit::ReplyShape;
use kt_providers::{Dialect, Incomplete, Recorded, Terms};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

const SSE: ReplyShape = ReplyShape::Sse { include_usage: true };
const LIMITED: Terms = Terms { client_limited: true, answers: None };

/// Text with what a stream could stumble over.
fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => select(vec![
            "\n",
            "\r",
            "\r\n\n",
            "data: [DONE]",
            "\"",
            "\\",
            "\u{0}",
            "\u{2028}",
            "é",
            "😀",
            "{",
            " ",
            "event: error",
            "response.completed",
            "[]",
            "\u{feff}",
        ])
        .prop_map(str::to_owned),
        8 => "[a-z ]{1,8}",
        1 => (1_usize..40_000).prop_map(|length| "x".repeat(length)),
    ];
    vec(piece, 0..6).prop_map(|pieces| pieces.concat())
}

fn id() -> impl Strategy<Value = String> {
    "[a-z]{1,6}_[0-9]{1,6}"
}

fn tokens() -> impl Strategy<Value = u64> {
    prop_oneof![0_u64..100_000, Just((1 << 53) - 1)]
}

fn logprob() -> impl Strategy<Value = Value> {
    (text(), -30.0_f64..0.0).prop_map(|(token, logprob)| {
        json!({"token": token, "logprob": logprob, "bytes": token.as_bytes(), "top_logprobs": []})
    })
}

fn answer(object: &'static str, choices: Vec<Value>, (input, output): (u64, u64)) -> Value {
    let numbered: Vec<Value> = (0_u64..)
        .zip(choices)
        .map(|(index, mut choice)| {
            choice["index"] = index.into();
            choice
        })
        .collect();
    json!({"id": "x-1", "object": object, "created": 1_767_225_600, "model": "m", "choices": numbered,
        "usage": {"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output},
        "system_fingerprint": null})
}

prop_compose! {
    fn tool_call()(id in id(), name in id(), arguments in text(), custom in any::<bool>()) -> Value {
        match custom {
            true => json!({"id": id, "type": "custom", "custom": {"name": name, "input": arguments}}),
            false => json!({"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}),
        }
    }
}

prop_compose! {
    fn chat_choice()(
        content in option::of(text()),
        refusal in option::of(text()),
        reasoning in option::of(text()),
        calls in vec(tool_call(), 0..3),
        logprobs in option::of(option::of(vec(logprob(), 0..3))),
        reason in select(vec!["stop", "tool_calls", "length"]),
    ) -> Value {
        let mut message = json!({"role": "assistant", "content": content});
        if let Some(refusal) = refusal {
            message["refusal"] = refusal.into();
        }
        if let Some(reasoning) = reasoning {
            message["reasoning_content"] = reasoning.into();
        }
        if !calls.is_empty() {
            message["tool_calls"] = calls.into();
        }
        let mut choice = json!({"message": message, "finish_reason": reason});
        if let Some(logprobs) = logprobs {
            choice["logprobs"] = logprobs.map_or(Value::Null, |told| json!({"content": told, "refusal": null}));
        }
        choice
    }
}

prop_compose! {
    fn completion_choice()(
        text in text(),
        tokens in option::of(vec((text(), -30.0_f64..0.0), 0..3)),
        reason in select(vec!["stop", "length"]),
    ) -> Value {
        let logprobs = tokens.map(|tokens| {
            let (tokens, logprobs): (Vec<_>, Vec<_>) = tokens.into_iter().unzip();
            json!({"tokens": tokens, "token_logprobs": logprobs, "top_logprobs": null})
        });
        json!({"text": text, "logprobs": logprobs, "finish_reason": reason})
    }
}

fn part() -> impl Strategy<Value = Value> {
    let output = (text(), option::of(vec(logprob(), 0..3)), vec(text(), 0..3));
    prop_oneof![
        output.prop_map(|(text, logprobs, urls)| {
            let citation =
                |url| json!({"type": "url_citation", "start_index": 0, "end_index": 1, "url": url});
            let urls: Vec<_> = urls.into_iter().map(citation).collect();
            let mut part = json!({"type": "output_text", "annotations": urls, "text": text});
            if let Some(logprobs) = logprobs {
                part["logprobs"] = logprobs.into();
            }
            part
        }),
        text().prop_map(|text| json!({"type": "refusal", "refusal": text})),
        text().prop_map(|text| json!({"type": "part_of_tomorrow", "what": text})),
    ]
}

fn item() -> impl Strategy<Value = Value> {
    let summary = vec(text(), 0..3);
    prop_oneof![
        (id(), vec(part(), 0..3)).prop_map(|(id, parts)| {
            json!({"id": id, "type": "message", "status": "completed", "role": "assistant", "content": parts})
        }),
        (id(), summary, option::of(text())).prop_map(|(id, summary, secret)| {
            let part = |text| json!({"type": "summary_text", "text": text});
            let summary: Vec<_> = summary.into_iter().map(part).collect();
            json!({"id": id, "type": "reasoning", "summary": summary, "encrypted_content": secret})
        }),
        (id(), text()).prop_map(|(id, text)| {
            json!({"id": id, "type": "function_call", "status": "completed", "call_id": "c", "arguments": text})
        }),
        (id(), text()).prop_map(|(id, text)| {
            json!({"id": id, "type": "custom_tool_call", "status": "completed", "call_id": "c", "input": text})
        }),
        (id(), text()).prop_map(|(id, query)| {
            json!({"id": id, "type": "web_search_call", "status": "completed", "action": {"query": query}})
        }),
        (id(), text()).prop_map(|(id, what)| json!({"id": id, "type": "item_of_tomorrow", "what": what})),
    ]
}

prop_compose! {
    fn response()(items in vec(item(), 1..4), input in tokens(), output in tokens(), metadata in text()) -> Value {
        json!({"id": "resp_1", "object": "response", "status": "completed", "error": null,
            "incomplete_details": null, "model": "m", "output": items, "metadata": {"a": metadata},
            "usage": {"input_tokens": input, "output_tokens": output}})
    }
}

/// An answer in one of the dialects that have streams, and how many choices it has.
fn told() -> impl Strategy<Value = (Dialect, Value, Option<u64>)> {
    let usage = || (0_u64..1_000, 0_u64..1_000);
    prop_oneof![
        (vec(chat_choice(), 1..4), usage()).prop_map(|(choices, usage)| {
            let count = choices.len() as u64;
            (Dialect::OpenAiChat, answer("chat.completion", choices, usage), Some(count))
        }),
        (vec(completion_choice(), 1..4), usage()).prop_map(|(choices, usage)| {
            let count = choices.len() as u64;
            (Dialect::OpenAiCompletions, answer("text_completion", choices, usage), Some(count))
        }),
        response().prop_map(|response| (Dialect::OpenAiResponses, response, None)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn an_answer_told_as_a_stream_says_the_same_again_as_json((dialect, answer, _) in told()) {
        let body = answer.to_string().into_bytes();
        let complete = dialect.judge(Recorded::Json, &body, LIMITED).unwrap();
        let stream = dialect.replay(Recorded::Json, &body, SSE).unwrap().body;
        prop_assert_eq!(dialect.judge(Recorded::Sse, &stream, LIMITED).unwrap(), complete);
        let back = dialect.replay(Recorded::Sse, &stream, ReplyShape::Json).unwrap().body;
        prop_assert_eq!(serde_json::from_slice::<Value>(&back).unwrap(), answer);
    }

    #[test]
    fn no_part_of_a_stream_or_of_an_answer_is_complete(
        (dialect, answer, _) in told(),
        cuts in vec(any::<Index>(), 8),
    ) {
        let body = answer.to_string().into_bytes();
        let stream = dialect.replay(Recorded::Json, &body, SSE).unwrap().body.into_owned();
        for (recorded, whole) in [(Recorded::Json, body), (Recorded::Sse, stream)] {
            let events = whole.windows(2).enumerate().filter(|(_, pair)| *pair == b"\n\n");
            let events = events.map(|(at, _)| at + 2);
            let cuts = cuts.iter().map(|cut| cut.index(whole.len()));
            for cut in cuts.chain(events).filter(|cut| *cut < whole.len()) {
                let judged = dialect.judge(recorded, &whole[..cut], LIMITED);
                prop_assert!(judged.is_err(), "{:?} cut at {}", recorded, cut);
            }
        }
    }

    #[test]
    fn more_or_fewer_choices_than_asked_for_are_not_complete((dialect, answer, count) in told()) {
        let body = answer.to_string().into_bytes();
        let stream = dialect.replay(Recorded::Json, &body, SSE).unwrap().body;
        for asked in count.into_iter().flat_map(|count| [count - 1, count, count + 1]) {
            let terms = Terms { client_limited: true, answers: Some(asked) };
            for (recorded, body) in [(Recorded::Json, &body[..]), (Recorded::Sse, &stream)] {
                match dialect.judge(recorded, body, terms) {
                    Ok(_) => prop_assert_eq!(Some(asked), count),
                    Err(refused) => {
                        let told = count.unwrap();
                        prop_assert_eq!(refused, Incomplete::AnswerCount { asked, told });
                    }
                }
            }
        }
    }

    #[test]
    fn only_the_last_event_of_a_told_stream_ends_it((dialect, answer, _) in told()) {
        let body = answer.to_string().into_bytes();
        let stream = dialect.replay(Recorded::Json, &body, SSE).unwrap().body.into_owned();
        let stream = String::from_utf8(stream).unwrap();
        let data: Vec<_> = stream.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        let ends = data.iter().map(|data| dialect.ends_stream(data.as_bytes()));
        let places = ends.enumerate().filter(|(_, ends)| *ends).map(|(at, _)| at);
        prop_assert!(places.eq([data.len() - 1]));
    }
}
