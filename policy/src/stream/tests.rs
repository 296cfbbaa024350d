//! What a chain does to streams, however they are split.

use kt_contract::policy::{self, Check, Decision, Entities, Entity, Phase, Step, WordList};
use wasm_bindgen_test::wasm_bindgen_test;

use super::*;

fn chain(checks: Vec<Check>) -> Arc<Chain> {
    let of = |check| Step { phases: [Phase::Output].into(), check };
    let chain = policy::Chain { steps: checks.into_iter().map(of).collect() };
    Arc::new(Chain::compile(&chain, Phase::Output).unwrap())
}

fn pii(decision: Decision) -> Check {
    let all = [Entity::Email, Entity::CreditCard, Entity::Phone];
    Check::PiiDetector(Entities(all.into_iter().map(|entity| (entity, decision)).collect()))
}

fn terms(decision: Decision, of: &[&str]) -> Check {
    let terms = of.iter().map(|it| (*it).to_owned()).collect();
    Check::ContentPolicy(WordList { decision, terms, patterns: Vec::new() })
}

/// An event with a piece of one text, and something behind it.
fn event(channel: &str, field: &str, piece: &str) -> Event {
    let piece = serde_json::Value::from(piece).to_string();
    let data = format!(r#"{{"n":1,"choices":[{{"delta":{{"{field}":{piece}}}}}],"logprobs":[1]}}"#);
    let start = data.find(r#""delta":{"#).unwrap() + 13 + field.len();
    let raw = start..start + piece.len() - 2;
    let pieces = if raw.is_empty() {
        vec![]
    } else {
        vec![Piece { channel: channel.to_owned(), raw, is_json: field == "arguments" }]
    };
    let bytes = format!("data: {data}\n\n").into_bytes();
    Event { data: 6..6 + data.len(), bytes, pieces, ends: Vec::new() }
}

fn end_of(channel: &str) -> Event {
    let bytes = b"data: {}\n\n".to_vec();
    Event { bytes, data: 6..8, pieces: Vec::new(), ends: vec![channel.to_owned()] }
}

/// What a client would put together from events of one text.
fn told(out: &[u8], field: &str) -> String {
    let text = std::str::from_utf8(out).unwrap();
    text.split("\n\n")
        .filter_map(|event| event.strip_prefix("data: "))
        .map(|data| {
            let event: serde_json::Value = serde_json::from_str(data).unwrap();
            event["choices"][0]["delta"][field].as_str().unwrap_or_default().to_owned()
        })
        .collect()
}

/// The text of a stream after the chain, in the pieces that are given.
fn run(chain: &Arc<Chain>, field: &str, pieces: &[&str]) -> Result<String, Blocked> {
    let (mut stream, mut out) = (Stream::new(Arc::clone(chain)), Vec::new());
    for piece in pieces {
        stream.push(event("0/c", field, piece), &mut out)?;
    }
    stream.end(&mut out)?;
    assert_eq!(stream.held_bytes(), 0);
    assert_eq!(out.windows(2).filter(|pair| pair == b"\n\n").count(), pieces.len());
    Ok(told(&out, field))
}

/// Every way to part a text in three.
fn splits(text: &str) -> impl Iterator<Item = [&str; 3]> {
    let bounds: Vec<usize> = (0..=text.len()).filter(|at| text.is_char_boundary(*at)).collect();
    let pairs: Vec<(usize, usize)> = bounds
        .iter()
        .flat_map(|a| bounds.iter().filter(move |b| a <= b).map(move |b| (*a, *b)))
        .collect();
    pairs.into_iter().map(move |(a, b)| [&text[..a], &text[a..b], &text[b..]])
}

#[wasm_bindgen_test(unsupported = test)]
fn what_is_redacted_is_the_same_however_it_is_split() {
    let chain = chain(vec![pii(Decision::Redact), terms(Decision::Redact, &["red fox"])]);
    let text = "é to jane@example.com, \"4111 1111 1111 1111\"\n a Red  Fox.";
    let expected = "é to [EMAIL], \"[CREDIT_CARD]\"\n a [REDACTED].";
    assert_eq!(run(&chain, "content", &[text]).unwrap(), expected);
    for pieces in splits(text) {
        assert_eq!(run(&chain, "content", &pieces).unwrap(), expected, "{pieces:?}");
    }
    let each: Vec<String> = text.chars().map(String::from).collect();
    let each: Vec<&str> = each.iter().map(String::as_str).collect();
    assert_eq!(run(&chain, "content", &each).unwrap(), expected);
}

#[wasm_bindgen_test(unsupported = test)]
fn the_arguments_of_a_call_stay_json_however_they_are_split() {
    let chain = chain(vec![pii(Decision::Redact)]);
    let text = r#"{"to":"x\njane@example.com","card":4111111111111111,"n":[1]}"#;
    let expected = r#"{"to":"x\n[EMAIL]","card":"[CREDIT_CARD]","n":[1]}"#;
    for pieces in splits(text) {
        assert_eq!(run(&chain, "arguments", &pieces).unwrap(), expected, "{pieces:?}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_number_with_a_sign_stays_json_however_it_is_split() {
    let chain = chain(vec![pii(Decision::Redact)]);
    let text = r#"{"a":-4111111111111111,"b":[4111111111111111],"c":4111111111111111}"#;
    let expected = r#"{"a":-0,"b":["[CREDIT_CARD]"],"c":"[CREDIT_CARD]"}"#;
    for pieces in splits(text) {
        assert_eq!(run(&chain, "arguments", &pieces).unwrap(), expected, "{pieces:?}");
    }
    let number = ["-4111111111111111"];
    assert_eq!(run(&chain, "arguments", &number).unwrap(), "-0", "the end of the text is one");
}

#[wasm_bindgen_test(unsupported = test)]
fn of_what_is_blocked_nothing_is_ever_shown() {
    let chain = chain(vec![pii(Decision::Block), terms(Decision::Block, &["red fox"])]);
    for (text, shown) in [("say jane@example.com now", "say "), ("the red fox jumps", "the ")] {
        for pieces in splits(text) {
            let (mut stream, mut out) = (Stream::new(Arc::clone(&chain)), Vec::new());
            let mut ended = Ok(());
            for piece in pieces {
                ended = ended.and_then(|()| stream.push(event("0/c", "content", piece), &mut out));
            }
            let ended = ended.and_then(|()| stream.end(&mut out));
            assert!(ended.is_err(), "{pieces:?}");
            assert!(shown.starts_with(&told(&out, "content")), "{pieces:?}");
            assert_eq!(stream.held_bytes(), 0);
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn prose_is_held_for_no_longer_than_a_word() {
    let chain = chain(vec![pii(Decision::Redact)]);
    let (mut stream, mut out) = (Stream::new(chain), Vec::new());
    let pieces = ["The", " quick", " brown", " fox", " jumps"];
    let mut shown = Vec::new();
    for piece in pieces {
        stream.push(event("0/c", "content", piece), &mut out).unwrap();
        shown.push(told(&out, "content"));
    }
    for (at, shown) in shown.iter().enumerate() {
        let before = pieces[..at].concat();
        assert!(shown.len() >= before.len(), "after {at}: {shown:?}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn events_keep_their_order_and_those_without_text_their_bytes() {
    let chain = chain(vec![pii(Decision::Redact)]);
    let (mut stream, mut out) = (Stream::new(chain), Vec::new());
    let opening = Event { bytes: b": hi\n\n".to_vec(), ..Event::default() };
    stream.push(opening.clone(), &mut out).unwrap();
    assert!(out.is_empty(), "nothing goes on before the first words have passed");
    let first = event("0/c", "content", "a jane@");
    let second = event("1/c", "content", "whole words here.");
    stream.push(first.clone(), &mut out).unwrap();
    stream.push(second.clone(), &mut out).unwrap();
    let end = end_of("0/");
    stream.push(end.clone(), &mut out).unwrap();
    let mut expected = opening.bytes;
    expected.extend([first.bytes].concat());
    assert!(out.starts_with(&expected), "what ended without becoming an address goes on");
    stream.end(&mut out).unwrap();
    expected.extend([second.bytes, end.bytes].concat());
    assert_eq!(out, expected);
}

#[wasm_bindgen_test(unsupported = test)]
fn whole_texts_in_an_event_are_read_at_once_and_what_nearly_was_said_is_not_told() {
    let chain = chain(vec![pii(Decision::Redact)]);
    let (mut stream, mut out) = (Stream::new(chain), Vec::new());
    let data = r#"{"text":"jane@example.com","logprobs":{"content":[{"token":"jane"}]}}"#;
    let bytes = format!("event: x\ndata: {data}\n\n").into_bytes();
    let event = Event { data: 15..15 + data.len(), bytes, ..Event::default() };
    stream.push(event, &mut out).unwrap();
    stream.end(&mut out).unwrap();
    let expected = "event: x\ndata: {\"text\":\"[EMAIL]\",\"logprobs\":null}\n\n";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    let told: Vec<String> = stream.triggered().iter().map(ToString::to_string).collect();
    assert_eq!(told, ["pii-detector:email:redact"]);
}

#[wasm_bindgen_test(unsupported = test)]
fn what_was_said_before_is_over_when_something_else_of_its_choice_begins() {
    let chain = chain(vec![pii(Decision::Redact)]);
    let (mut stream, mut out) = (Stream::new(chain), Vec::new());
    stream.push(event("0/reasoning", "content", "it may be ja"), &mut out).unwrap();
    stream.push(event("0/content", "content", "so it is. "), &mut out).unwrap();
    stream.push(event("0/content", "content", "And more"), &mut out).unwrap();
    assert_eq!(told(&out, "content"), "it may be jaso it is. ", "nothing waits for the end");
}

/// The bytes of a stream of pieces of several texts, each piece an event.
fn taken(chain: &Arc<Chain>, pieces: &[(&str, &str)]) -> Result<String, Blocked> {
    let (mut stream, mut out) = (Stream::new(Arc::clone(chain)), Vec::new());
    for (channel, piece) in pieces {
        let field = channel.rsplit('/').next().unwrap();
        stream.push(event(channel, field, piece), &mut out)?;
    }
    stream.end(&mut out)?;
    Ok(String::from_utf8(out).unwrap())
}

#[wasm_bindgen_test(unsupported = test)]
fn what_calls_say_in_turns_is_read_as_each_of_them_says_it() {
    let (one, other) = ("0/call/0/arguments", "0/call/1/arguments");
    let card = ["{\"n\":4111111111", "{}", "111111}"];
    let email = ["jane.roe@exam", "{", "ple.com"];
    for (pieces, found) in [(email, "email"), (card, "credit-card")] {
        let [first, between, last] = pieces;
        let pieces = [(one, first), (other, between), (one, last)];
        for decision in [Decision::Redact, Decision::Block] {
            let blocked = taken(&chain(vec![pii(decision)]), &pieces).unwrap_err();
            let begun = Some(Irreplaceable::Begun).filter(|_| decision == Decision::Redact);
            let expected = Blocked { policy: "pii-detector", found, irreplaceable: begun };
            assert_eq!(blocked, expected, "{pieces:?}");
        }
        let watched = chain(vec![pii(Decision::Monitor)]);
        let (mut stream, mut out) = (Stream::new(watched), Vec::new());
        for (channel, piece) in pieces {
            stream.push(event(channel, "arguments", piece), &mut out).unwrap();
        }
        stream.end(&mut out).unwrap();
        let told: Vec<String> = stream.triggered().iter().map(ToString::to_string).collect();
        assert_eq!(told, [format!("pii-detector:{found}:monitor")]);
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn what_is_redacted_of_texts_in_turns_is_redacted_where_all_of_it_is_still_there() {
    let chain = chain(vec![pii(Decision::Redact), terms(Decision::Redact, &["red fox"])]);
    let (one, other) = ("0/call/0/arguments", "0/call/1/arguments");
    let email = "jane.roe@example.com";
    for (first, last, expected) in [
        ("{\"a\":\"to ", "jane.roe@example.com\"}", "[EMAIL]\\\"}"),
        ("{\"a\":\"jane.roe@example.com", " it is\"}", " it is\\\"}"),
        ("{\"a\":\"x\",\"n\"", ":4111111111111111}", ":\\\"[CREDIT_CARD]\\\"}"),
        ("{\"a\":\"the red", " hen, a red fox\"}", " hen, a [REDACTED]\\\"}"),
    ] {
        let pieces = [(one, first), (other, "{"), (one, last), (other, email), (one, " ")];
        let out = taken(&chain, &pieces).unwrap();
        assert!(out.contains(expected), "{pieces:?}: {out}");
        assert!(!out.contains("jane") && !out.contains("4111"), "{out}");
    }
    let blocked = taken(&chain, &[(one, "a red"), (other, "{"), (one, " fox")]).unwrap_err();
    assert_eq!((blocked.policy, blocked.found), ("content-policy", "words"));
    let why = "the model's answer has words that this gateway does not pass in parts, with something else between them";
    assert_eq!(blocked.what(Phase::Output), why);
}

#[wasm_bindgen_test(unsupported = test)]
fn a_long_secret_in_turns_with_something_else_is_found_from_its_beginning() {
    let secrets = Entities([(Entity::PrivateKey, Decision::Redact)].into());
    let chain = chain(vec![Check::SecretDetector(secrets)]);
    let line = format!("{}\n", "MIIEvQIBADANBgkqhkiG9w0BAQEFAASC".repeat(2));
    let key = format!("-----BEGIN PRIVATE {}-----\n{}", "KEY", line.repeat(20));
    let pieces = [("0/thinking", key.as_str()), ("0/text", "Hm."), ("0/thinking", line.as_str())];
    let blocked = taken(&chain, &pieces).unwrap_err();
    assert_eq!((blocked.policy, blocked.found), ("secret-detector", "private-key"));
}

#[wasm_bindgen_test(unsupported = test)]
fn texts_that_come_together_do_not_end_each_other() {
    let chain = chain(vec![pii(Decision::Redact)]);
    let (mut stream, mut out) = (Stream::new(chain), Vec::new());
    for piece in ["to jane.roe@exam", "ple.com", " now"] {
        let data = format!(r#"{{"reasoning":"{piece}","details":[{{"text":"{piece}"}}]}}"#);
        let mut at = data.match_indices(piece).map(|(at, _)| at..at + piece.len());
        let mut of = |channel: &str| Piece {
            channel: channel.to_owned(),
            raw: at.next().unwrap(),
            is_json: false,
        };
        let mut pieces = vec![of("0/reasoning"), of("0/details/0/text")];
        pieces.reverse();
        let bytes = format!("data: {data}\n\n").into_bytes();
        let event = Event { data: 6..6 + data.len(), bytes, pieces, ends: Vec::new() };
        stream.push(event, &mut out).unwrap();
    }
    stream.end(&mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert_eq!(out.matches("[EMAIL]").count(), 2, "{out}");
    assert!(!out.contains("jane") && !out.contains("ple.com"), "{out}");
}

#[wasm_bindgen_test(unsupported = test)]
fn what_may_go_on_is_reckoned_until_its_choice_is_over() {
    let chain = chain(vec![pii(Decision::Redact)]);
    let (mut stream, mut out) = (Stream::new(chain), Vec::new());
    for call in 0..100 {
        let name = format!("0/call/{call}/arguments");
        stream.push(event(&name, "arguments", "{\"a\":1}"), &mut out).unwrap();
    }
    assert!(stream.held_bytes() > 99 * 256, "{}", stream.held_bytes());
    stream.push(end_of("0/"), &mut out).unwrap();
    assert_eq!(stream.held_bytes(), 0);
}

#[wasm_bindgen_test(unsupported = test)]
fn a_match_that_has_gone_by_hides_no_other() {
    let patterns = vec![r"BEGIN[\s\S]*?END".to_owned()];
    let words = WordList { decision: Decision::Block, terms: Vec::new(), patterns };
    let chain = chain(vec![Check::ContentPolicy(words)]);
    // Longer than what is held back, and so not seen.
    let long = format!("BEGIN {} END ", "word ".repeat(70));
    let pieces: Vec<&str> = long.split_inclusive(' ').collect();
    assert!(run(&chain, "content", &pieces).is_ok());
    let more = [pieces.as_slice(), &["and ", "BEGIN ", "secret ", "END ", "is it"]].concat();
    assert!(run(&chain, "content", &more).is_err());
}

#[wasm_bindgen_test(unsupported = test)]
fn a_match_without_an_end_holds_no_more_than_a_bound() {
    let patterns = vec!["secret.*".to_owned()];
    let words = WordList { decision: Decision::Redact, terms: Vec::new(), patterns };
    let chain = chain(vec![Check::ContentPolicy(words)]);
    let (mut stream, mut out) = (Stream::new(chain), Vec::new());
    stream.push(event("0/c", "content", "a secret: "), &mut out).unwrap();
    for _ in 0..400 {
        stream.push(event("0/c", "content", &"xyz ".repeat(25)), &mut out).unwrap();
        assert!(stream.held_bytes() < 80_000, "{}", stream.held_bytes());
    }
    stream.end(&mut out).unwrap();
    assert!(told(&out, "content").starts_with("a [REDACTED]"));
}
