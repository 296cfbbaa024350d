//! What a client sees of a live stream for which the gateway has asked for usage.

use wasm_bindgen_test::wasm_bindgen_test;

use super::{PAIRS, PLAIN};
use crate::openai::UsageHider;

/// What comes out when the stream goes in in these pieces.
fn hidden<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut hider = UsageHider::default();
    let mut out = Vec::new();
    for piece in pieces {
        hider.push(piece, &mut out);
    }
    hider.finish(&mut out);
    out
}

/// The stream without its last event but one, if that has usage and no choices.
fn without_usage_chunk(whole: &str, blank_line: &str) -> String {
    let is_usage =
        |event: &&str| event.contains("\"choices\":[],") && event.contains("\"usage\":{");
    whole.split_inclusive(blank_line).filter(|event| !is_usage(event)).collect()
}

#[wasm_bindgen_test(unsupported = test)]
fn the_usage_chunk_is_dropped_and_nothing_else() {
    for (name, whole, _) in PAIRS {
        let expected = without_usage_chunk(whole, "\n\n");
        // DeepSeek tells usage with its last content, which nobody may take away.
        assert_eq!(expected.len() == whole.len(), *name == "reasoning", "{name}");
        let out = hidden([whole.as_bytes()]);
        assert_eq!(String::from_utf8(out).unwrap(), expected, "{name}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn any_split_gives_the_same_bytes() {
    for (line_end, blank_line) in [("\n", "\n\n"), ("\r\n", "\r\n\r\n"), ("\r", "\r\r")] {
        let whole = PLAIN.replace('\n', line_end);
        let expected = without_usage_chunk(&whole, blank_line);
        assert!(expected.len() < whole.len());
        for at in 0..=whole.len() {
            let (left, right) = whole.as_bytes().split_at(at);
            assert_eq!(hidden([left, right]), expected.as_bytes(), "{line_end:?} at {at}");
        }
        assert_eq!(hidden(whole.as_bytes().chunks(1)), expected.as_bytes(), "byte by byte");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn an_event_passes_with_its_blank_line() {
    let mut hider = UsageHider::default();
    let mut out = Vec::new();
    for event in [": keep-alive\n\n", "data: {\"choices\":[{}]}\n\n", "\n", "data: [DONE]\n\n"] {
        out.clear();
        hider.push(event.as_bytes(), &mut out);
        assert_eq!(out, event.as_bytes());
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn what_is_no_usage_chunk_stays() {
    for body in [
        "data: {\"choices\":[],\"usage\":null}\n\n",
        "data: {\"choices\":[]}\n\n",
        "data: {\"usage\":{}}\n\n",
        "data: {\"choices\":[{\"index\":0}],\"usage\":{}}\n\n",
        "data: {\"choices\":[],\"usage\":{}\n\n",
        "data: [DONE]\n\n",
        "data: \"usage\"\n\n",
        "data: {\"choices\":[],\"usage\":{}}",
        "data: {\"choices\":[],\"usage\":{}}\n",
    ] {
        assert_eq!(hidden([body.as_bytes()]), body.as_bytes(), "{body}");
    }
    let bytes = b"\xff\xfe: \xc3\n\ndata: \xff\n\n\x00";
    assert_eq!(hidden([bytes.as_slice()]), bytes, "no UTF-8");
}

#[wasm_bindgen_test(unsupported = test)]
fn an_event_without_end_is_not_held_without_end() {
    let mut hider = UsageHider::default();
    let mut out = Vec::new();
    hider.push(b"data: {\"choices\":[],\"usage\":{\"a\":\"", &mut out);
    let piece = [b'x'; 4_096];
    for pushed in 1..1_000_usize {
        hider.push(&piece, &mut out);
        let held = pushed * piece.len() - out.len().min(pushed * piece.len());
        assert!(held <= 65 << 10, "{held} bytes held");
    }
    hider.push(b"\"}}\n\n", &mut out);
    let kept = out.len();
    hider.push(b"data: {\"choices\":[],\"usage\":{}}\n\n", &mut out);
    assert_eq!(out.len(), kept, "the next event is its own");
}

#[cfg(not(target_family = "wasm"))]
mod against_the_slow_way {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use crate::openai::hide::is_usage;
    use crate::openai::outline::Outline;
    use crate::outline;

    /// What is said of a chunk that is read whole, whatever it looks like.
    fn slow(data: &[u8]) -> bool {
        outline::read(data).is_ok_and(|chunk: Outline| chunk.is_usage_only())
    }

    /// White space, JSON's and other.
    fn space() -> impl Strategy<Value = &'static str> {
        prop_oneof![4 => Just(""), 1 => prop::sample::select(vec![" ", "\n", "\t\r ", "\u{c}", "\u{a0}"])]
    }

    /// Chunks, usage chunks and what nearly is one, out of the pieces that matter.
    fn chunk() -> impl Strategy<Value = String> {
        let choices = prop::sample::select(vec![
            r#""choices""#,
            r#""choices""#,
            r#""\u0063hoices""#,
            r#""choice""#,
            r#""a":"[]","choices""#,
        ]);
        let usage = prop::sample::select(vec![
            r#""usage":{}"#,
            r#""usage" : {"prompt_tokens":1,"completion_tokens":[]}"#,
            r#""us\u0061ge":{"a":1}"#,
            r#""usage":null"#,
            r#""usage":[]"#,
            r#""model":"m""#,
        ]);
        let member = prop::sample::select(vec!["", "", "", "{}", r#"{"index":0}"#, "[]", "]", "["]);
        (choices, usage, member, any::<bool>(), vec(space(), 6)).prop_map(
            |(choices, usage, member, usage_first, space)| {
                let [a, b, c, d, e, f] = <[&str; 6]>::try_from(space).unwrap();
                let choices = format!("{choices}{a}:{b}[{c}{member}{d}]");
                let (one, two) = if usage_first { (usage, &*choices) } else { (&*choices, usage) };
                format!("{{{e}{one},{two}{f}}}")
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn a_glance_takes_no_usage_chunk_for_another(chunk in chunk()) {
            prop_assert_eq!(is_usage(chunk.as_bytes()), slow(chunk.as_bytes()), "{}", chunk);
        }

        #[test]
        fn a_glance_at_a_mangled_chunk_says_the_same(
            chunk in chunk(),
            at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let mut chunk = chunk.into_bytes();
            let at = at.index(chunk.len());
            chunk[at] = byte;
            prop_assert_eq!(is_usage(&chunk), slow(&chunk));
        }
    }

    #[test]
    fn usage_chunks_are_among_what_is_tried() {
        for chunk in
            [r#"{"choices":[ ],"usage":{}}"#, r#"{"\u0063hoices":[],"us\u0061ge":{"a":1}}"#]
        {
            assert!(slow(chunk.as_bytes()) && is_usage(chunk.as_bytes()), "{chunk}");
        }
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn a_line_end_at_the_start_of_a_piece_stays_where_it_is() {
    let pieces: [&[u8]; 2] = [b"data: a\n\rdata: b", b"\n\ndata: c\n\n"];
    assert_eq!(hidden(pieces), pieces.concat());
}
