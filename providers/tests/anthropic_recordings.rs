//! The messages dialect over recorded streams of the real API, which are not part of the project: they are
//! looked for beside the repository, or where `KT_RECORDINGS` says. Where there are none, one line says so; the
//! fixtures of the unit tests cover the same shapes.
#![cfg(not(target_family = "wasm"))]
#![expect(clippy::unwrap_used, reason = "helpers of tests are tests too")]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Once;

use kt_contract::wire::admit::ReplyShape;
use kt_providers::sse::{Data, Reader};
use kt_providers::{Dialect, Recorded, Terms};
use serde_json::{Value, json};

const MESSAGES: Dialect = Dialect::AnthropicMessages;
const SSE: ReplyShape = ReplyShape::Sse { include_usage: true };
const FREE: Terms = Terms { client_limited: false, answers: None };
const LIMITED: Terms = Terms { client_limited: true, answers: None };

/// Where the recordings are, if they are.
#[expect(clippy::disallowed_methods, reason = "the one place of this test binary")]
fn folder() -> Option<PathBuf> {
    if let Ok(named) = std::env::var("KT_RECORDINGS") {
        return Some(named.into());
    }
    let beside = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/provider-recordings");
    let beside = PathBuf::from(beside);
    beside.is_dir().then_some(beside)
}

/// Name and body of every recorded stream.
fn streams() -> Vec<(String, Vec<u8>)> {
    static TOLD: Once = Once::new();
    let Some(folder) = folder() else {
        // Not `eprintln!`, which a passing test swallows.
        let missing = b"no KT_RECORDINGS: the recorded set was not run\n";
        TOLD.call_once(|| std::io::stderr().write_all(missing).unwrap());
        return Vec::new();
    };
    let files = fs::read_dir(&folder).unwrap().map(|file| file.unwrap());
    let mut found: Vec<_> = files
        .map(|file| (file.file_name().into_string().unwrap(), file.path()))
        .filter(|(name, _)| name.starts_with("anthropic-messages-sse") && name.ends_with(".sse"))
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "{} has no streams of the messages dialect", folder.display());
    found
}

/// The data of a stream's events, and where each ends.
fn events(stream: &[u8]) -> Vec<(Value, usize)> {
    let mut reader = Reader::default();
    let mut rest = stream;
    let mut events = Vec::new();
    while let Some(event) = reader.next(&mut rest) {
        if let Data::Whole(data) = event.data {
            let end = usize::try_from(event.end).unwrap();
            events.push((serde_json::from_slice(data).unwrap(), end));
        }
    }
    events
}

#[test]
fn every_recorded_stream_is_complete_and_no_cut_of_it_is() {
    for (name, body) in streams() {
        let complete = MESSAGES.judge(Recorded::Sse, &body, FREE);
        assert!(complete.is_ok_and(|it| it.usage.is_some() && it.model.is_some()), "{name}");
        let mut ends: Vec<usize> = events(&body).into_iter().map(|(_, end)| end).collect();
        let last = ends.pop().unwrap();
        assert_eq!(last, body.trim_ascii_end().len() + 2, "{name}");
        // At each end of an event, after each line, and near both.
        let lines = (0..last).filter(|at| body[*at] == b'\n');
        let cuts =
            ends.iter().copied().chain(lines.flat_map(|at| [at.saturating_sub(9), at, at + 1]));
        for cut in cuts.chain(last - 16..last).filter(|cut| *cut < last) {
            let judged = MESSAGES.judge(Recorded::Sse, &body[..cut], LIMITED);
            assert!(judged.is_err(), "{name} cut at {cut}");
        }
    }
}

#[test]
fn the_last_event_of_a_recorded_stream_and_no_other_ends_it() {
    for (name, body) in streams() {
        let mut ends: Vec<bool> = events(&body)
            .into_iter()
            .map(|(data, _)| MESSAGES.ends_stream(data.to_string().as_bytes()))
            .collect();
        assert_eq!(ends.pop(), Some(true), "{name}");
        assert!(!ends.contains(&true), "{name}");
    }
}

#[test]
fn recorded_streams_say_as_json_what_they_said() {
    for (name, body) in streams() {
        let told = MESSAGES.replay(Recorded::Sse, &body, ReplyShape::Json).unwrap();
        let answer: Value = serde_json::from_slice(&told.body).unwrap();
        let events = events(&body);
        let said = |at: usize, field: &str| -> String {
            let of_block = events.iter().filter(|(event, _)| event["index"] == json!(at));
            of_block.filter_map(|(event, _)| event["delta"][field].as_str()).collect()
        };
        for (at, block) in answer["content"].as_array().unwrap().iter().enumerate() {
            match block["type"].as_str().unwrap() {
                "text" => assert_eq!(block["text"], said(at, "text"), "{name}"),
                "tool_use" => {
                    let input: Value = serde_json::from_str(&said(at, "partial_json")).unwrap();
                    assert_eq!(block["input"], input, "{name}");
                }
                other => assert_eq!(other, "text", "{name}: look at it"),
            }
        }
        let judged = MESSAGES.judge(Recorded::Json, &told.body, FREE);
        assert_eq!(judged, MESSAGES.judge(Recorded::Sse, &body, FREE), "{name}");
    }
}

#[test]
fn recorded_answers_survive_the_way_to_a_stream_and_back() {
    for (name, body) in streams() {
        let answer = MESSAGES.replay(Recorded::Sse, &body, ReplyShape::Json).unwrap();
        let stream = MESSAGES.replay(Recorded::Json, &answer.body, SSE).unwrap();
        let back = MESSAGES.replay(Recorded::Sse, &stream.body, ReplyShape::Json).unwrap();
        let [said, again]: [Value; 2] =
            [&answer.body, &back.body].map(|bytes| serde_json::from_slice(bytes).unwrap());
        assert_eq!(again, said, "{name}");
        assert_eq!(MESSAGES.replay(Recorded::Sse, &body, SSE).unwrap().body, body, "{name}");
    }
}
