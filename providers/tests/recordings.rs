//! The crate over recorded exchanges with real providers, which are not part of the project: they are looked
//! for beside the repository, or where `KT_RECORDINGS` says. Where there are none, one line says so; the
//! fixtures of the unit tests cover the same shapes.
#![cfg(not(target_family = "wasm"))]
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "helpers of tests are tests too"
)]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Once;

use kt_contract::wire::admit::ReplyShape;
use kt_providers::{CannotReplay, Dialect, Incomplete, Recorded, Terms};
use serde_json::Value;

const CHAT: Dialect = Dialect::OpenAiChat;
const COMPLETIONS: Dialect = Dialect::OpenAiCompletions;
const RESPONSES: Dialect = Dialect::OpenAiResponses;
const EMBEDDINGS: Dialect = Dialect::OpenAiEmbeddings;

/// The terms of a client that set no length limit, and of one that did.
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

/// Name and body of the recordings whose name starts with `kind` and ends with `ending`.
fn recordings(kind: &str, ending: &str) -> Vec<(String, Vec<u8>)> {
    static TOLD: Once = Once::new();
    let Some(folder) = folder() else {
        // Not `eprintln!`, which a passing test swallows.
        let missing = "no KT_RECORDINGS: the recorded set was not run\n";
        TOLD.call_once(|| std::io::stderr().write_all(missing.as_bytes()).unwrap());
        return Vec::new();
    };
    let files = fs::read_dir(&folder).unwrap_or_else(|why| panic!("{}: {why}", folder.display()));
    let mut found: Vec<_> = files
        .map(|file| file.unwrap())
        .map(|file| (file.file_name().into_string().unwrap(), file.path()))
        .filter(|(name, _)| name.starts_with(kind) && name.ends_with(ending))
        .map(|(name, path)| (name, fs::read(path).unwrap()))
        .collect();
    found.sort();
    assert!(!found.is_empty(), "{} has no {kind}*{ending}", folder.display());
    found
}

fn streams() -> Vec<(String, Vec<u8>)> {
    recordings("openai-chat-sse-ok", ".sse")
}

/// Refused is every cut of a recording: after each line and within it; every single byte would take minutes
/// and is done on a fixture.
fn no_cut_is_complete(dialect: Dialect, name: &str, body: &[u8]) {
    let ends = (0..body.len()).filter(|at| body[*at] == b'\n');
    let cuts = ends.flat_map(|end| [end.saturating_sub(9), end, end + 1]);
    for cut in cuts.chain(body.len() - 16..body.len()).filter(|cut| *cut < body.len()) {
        let judged = dialect.judge(Recorded::Sse, &body[..cut], LIMITED);
        assert!(judged.is_err(), "{name} cut at {cut}");
    }
}

/// What a client sees of a stream that comes in pieces.
fn hidden(dialect: Dialect, body: &[u8]) -> Vec<u8> {
    let mut seen = Vec::new();
    let mut hider = dialect.hider(ReplyShape::Sse { include_usage: false }).unwrap();
    for piece in body.chunks(7) {
        hider.push(piece, &mut seen);
    }
    hider.finish(&mut seen);
    seen
}

#[test]
fn every_recorded_stream_is_complete_and_no_cut_of_it_is() {
    for (name, body) in streams() {
        CHAT.judge(Recorded::Sse, &body, FREE).unwrap_or_else(|why| panic!("{name}: {why}"));
        no_cut_is_complete(CHAT, &name, &body);
    }
}

#[test]
fn recorded_streams_are_told_as_json_where_usage_is_known() {
    for (name, body) in streams() {
        let complete = CHAT.judge(Recorded::Sse, &body, FREE).unwrap();
        let told = CHAT.replay(Recorded::Sse, &body, ReplyShape::Json);
        if complete.usage.is_none() {
            assert_eq!(told, Err(CannotReplay::NoUsage), "{name}");
            continue;
        }
        let answer = told.unwrap().body.into_owned();
        let again = CHAT.judge(Recorded::Json, &answer, FREE).unwrap();
        assert_eq!(again, complete, "{name}");
    }
}

/// With usage asked for, as the gateway always does, each of them would have had it.
#[test]
fn recorded_streams_with_usage_added_say_as_json_what_they_said() {
    for (name, body) in streams() {
        let text = String::from_utf8(body).unwrap();
        let usage =
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n";
        if text.contains("\"usage\":{") {
            continue;
        }
        let live = text.replace("data: [DONE]", &format!("{usage}data: [DONE]"));
        let told = CHAT.replay(Recorded::Sse, live.as_bytes(), ReplyShape::Json).unwrap();
        let answer: Value = serde_json::from_slice(&told.body).unwrap();
        let said: String = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
            .filter_map(|chunk| Some(chunk["choices"][0]["delta"]["content"].as_str()?.to_owned()))
            .collect();
        assert!(!said.is_empty(), "{name}");
        assert_eq!(answer["choices"][0]["message"]["content"], said.as_str(), "{name}");

        let seen = hidden(CHAT, live.as_bytes());
        assert_eq!(seen, text.as_bytes(), "{name}: hidden, the stream is what it was");
    }
}

#[test]
fn recorded_json_answers_are_complete_or_filtered() {
    for (name, body) in recordings("openai-chat-json-ok", ".body.json") {
        let filtered =
            String::from_utf8_lossy(&body).contains("\"finish_reason\":\"content_filter\"");
        match CHAT.judge(Recorded::Json, &body, FREE) {
            Ok(complete) => assert!(!filtered && complete.usage.is_some(), "{name}"),
            Err(Incomplete::FinishReason { .. }) => assert!(filtered, "{name}"),
            Err(why) => panic!("{name}: {why}"),
        }
    }
}

#[test]
fn recorded_json_answers_say_as_a_stream_what_they_said() {
    for (name, body) in recordings("openai-chat-json-ok", ".body.json") {
        if CHAT.judge(Recorded::Json, &body, FREE).is_err() {
            continue;
        }
        let want = ReplyShape::Sse { include_usage: true };
        let stream = CHAT.replay(Recorded::Json, &body, want).unwrap().body.into_owned();
        let back = CHAT.replay(Recorded::Sse, &stream, ReplyShape::Json).unwrap();
        let [said, again]: [Value; 2] =
            [&body[..], &back.body].map(|bytes| serde_json::from_slice(bytes).unwrap());
        assert_eq!(again, said, "{name}");
    }
}

#[test]
fn recorded_errors_are_never_complete() {
    for (name, body) in recordings("openai-chat-json-error", ".body.json") {
        let judged = CHAT.judge(Recorded::Json, &body, LIMITED);
        assert_eq!(judged, Err(Incomplete::ErrorInBand), "{name}");
    }
}

/// Most of them were cut by OpenAI's own limit of 16 tokens, which no client has set.
#[test]
fn recorded_completions_are_complete_or_ended_by_a_limit_of_the_provider() {
    let mut complete = 0;
    let streams = recordings("openai-completions-sse-ok", ".sse");
    let answers = recordings("openai-completions-json-ok", ".body.json");
    let streams = streams.into_iter().map(|found| (Recorded::Sse, found));
    let answers = answers.into_iter().map(|found| (Recorded::Json, found));
    for (recorded, (name, body)) in streams.chain(answers) {
        let by_length = String::from_utf8_lossy(&body).contains("\"finish_reason\":\"length\"");
        match COMPLETIONS.judge(recorded, &body, FREE) {
            Ok(_) => {
                assert!(!by_length, "{name}");
                complete += 1;
            }
            Err(Incomplete::FinishReason { reason }) => {
                assert!(by_length && reason == "length", "{name}: {reason}");
            }
            Err(why) => panic!("{name}: {why}"),
        }
        assert!(COMPLETIONS.judge(recorded, &body, LIMITED).is_ok(), "{name}");
        if recorded == Recorded::Sse {
            no_cut_is_complete(COMPLETIONS, &name, &body);
        }
    }
    assert!(complete > 0 || folder().is_none());
}

#[test]
fn recorded_completions_with_usage_added_say_as_json_what_they_said() {
    for (name, body) in recordings("openai-completions-sse-ok", ".sse") {
        let text = String::from_utf8(body).unwrap();
        let usage =
            "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":2}}\n\n";
        let live = text.replace("data: [DONE]", &format!("{usage}data: [DONE]"));
        let told = COMPLETIONS.replay(Recorded::Sse, live.as_bytes(), ReplyShape::Json).unwrap();
        let answer: Value = serde_json::from_slice(&told.body).unwrap();
        let said: String = text
            .lines()
            .filter_map(|line| serde_json::from_str::<Value>(line.strip_prefix("data: ")?).ok())
            .filter_map(|chunk| Some(chunk["choices"][0]["text"].as_str()?.to_owned()))
            .collect();
        assert_eq!(answer["choices"][0]["text"], said.as_str(), "{name}");
        let seen = hidden(COMPLETIONS, live.as_bytes());
        assert_eq!(seen, text.as_bytes(), "{name}: hidden, the stream is what it was");
    }
}

#[test]
fn recorded_json_completions_say_as_a_stream_what_they_said() {
    for (name, body) in recordings("openai-completions-json-ok", ".body.json") {
        let want = ReplyShape::Sse { include_usage: true };
        let stream = COMPLETIONS.replay(Recorded::Json, &body, want).unwrap().body.into_owned();
        let back = COMPLETIONS.replay(Recorded::Sse, &stream, ReplyShape::Json).unwrap();
        let [said, again]: [Value; 2] =
            [&body[..], &back.body].map(|bytes| serde_json::from_slice(bytes).unwrap());
        assert_eq!(again, said, "{name}");
    }
}

#[test]
fn recorded_embeddings_are_complete_and_no_cut_of_them_is() {
    for (name, body) in recordings("openai-embeddings-json-ok", ".body.json") {
        let one = Terms { client_limited: false, answers: Some(1) };
        let complete = EMBEDDINGS.judge(Recorded::Json, &body, one);
        let usage = complete.unwrap_or_else(|why| panic!("{name}: {why}")).usage.unwrap();
        assert!(usage.input_tokens() > 0 && usage.output_tokens == 0, "{name}");
        for cut in (0..body.trim_ascii_end().len()).step_by(101) {
            assert!(EMBEDDINGS.judge(Recorded::Json, &body[..cut], one).is_err(), "{name} {cut}");
        }
    }
    for (name, body) in recordings("openai-embeddings-json-error", ".body.json") {
        let judged = EMBEDDINGS.judge(Recorded::Json, &body, FREE);
        assert_eq!(judged, Err(Incomplete::ErrorInBand), "{name}");
    }
}

#[test]
fn recorded_responses_are_complete_and_no_cut_of_them_is() {
    for (name, body) in recordings("openai-responses-sse-ok", ".sse") {
        let complete = RESPONSES.judge(Recorded::Sse, &body, FREE);
        let complete = complete.unwrap_or_else(|why| panic!("{name}: {why}"));
        assert!(complete.usage.is_some() && complete.model.is_some(), "{name}");
        no_cut_is_complete(RESPONSES, &name, &body);
        assert!(RESPONSES.hider(ReplyShape::Sse { include_usage: true }).is_none());
    }
}

/// The events of a stream, without the numbers and the padding of the wire, and with neighboring pieces of one
/// text put together.
fn condensed(stream: &[u8]) -> Vec<Value> {
    let stream = std::str::from_utf8(stream).unwrap();
    let events = stream.lines().filter_map(|line| line.strip_prefix("data: "));
    let mut condensed: Vec<Value> = Vec::new();
    for event in events {
        let mut event: Value = serde_json::from_str(event).unwrap();
        let fields = event.as_object_mut().unwrap();
        for field in ["sequence_number", "obfuscation"] {
            fields.remove(field);
        }
        // What the provider decided on the way stands only in the last event.
        if let Some(Value::Object(response)) = fields.get_mut("response") {
            response.remove("service_tier");
        }
        match condensed.last_mut() {
            Some(last) if event["delta"].is_string() && last["type"] == event["type"] => {
                let text = [&last["delta"], &event["delta"]].map(|piece| piece.as_str().unwrap());
                last["delta"] = text.concat().into();
            }
            _ => condensed.push(event),
        }
    }
    condensed
}

#[test]
fn recorded_responses_are_told_as_json_and_back_as_they_were() {
    for (name, body) in recordings("openai-responses-sse-ok", ".sse") {
        let answer = RESPONSES.replay(Recorded::Sse, &body, ReplyShape::Json).unwrap();
        let [whole, last]: [Value; 2] =
            [serde_json::from_slice(&answer.body).unwrap(), condensed(&body).pop().unwrap()];
        assert_eq!(whole["output"], last["response"]["output"], "{name}");
        assert_eq!(
            RESPONSES.judge(Recorded::Json, &answer.body, FREE),
            RESPONSES.judge(Recorded::Sse, &body, FREE),
            "{name}"
        );
        let want = ReplyShape::Sse { include_usage: true };
        let told = RESPONSES.replay(Recorded::Json, &answer.body, want).unwrap();
        assert_eq!(condensed(&told.body), condensed(&body), "{name}");
        let again = RESPONSES.replay(Recorded::Sse, &told.body, ReplyShape::Json).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&again.body).unwrap(), whole, "{name}");
    }
}

#[test]
fn the_last_event_of_a_recorded_stream_and_no_other_ends_it() {
    for (dialect, kind) in [
        (CHAT, "openai-chat-sse-ok"),
        (COMPLETIONS, "openai-completions-sse-ok"),
        (RESPONSES, "openai-responses-sse-ok"),
    ] {
        for (name, body) in recordings(kind, ".sse") {
            let text = String::from_utf8(body).unwrap();
            let data: Vec<_> =
                text.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
            let ends = data.iter().map(|data| dialect.ends_stream(data.as_bytes()));
            let places = ends.enumerate().filter(|(_, ends)| *ends).map(|(at, _)| at);
            assert!(places.eq([data.len() - 1]), "{name}");
        }
    }
}
