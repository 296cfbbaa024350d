//! The reader against the standard's cases, and against a slow reference that sees the whole stream at once.

use kt_contract::limits::SSE_LINE_BYTES_MAX;
use wasm_bindgen_test::wasm_bindgen_test;

use super::{Data, EVENT_BYTES_MAX, Reader};

/// What a client of the standard would see: name and data of each event.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Event { name: Vec<u8>, data: Vec<u8> },
    TooLong,
}

fn event(name: &str, data: &str) -> Seen {
    Seen::Event { name: name.into(), data: data.into() }
}

/// What the reader sees when the stream comes in these pieces, and whether it may end there. Checks on the
/// way that every byte is taken once.
fn seen<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> (Vec<Seen>, bool) {
    let mut reader = Reader::default();
    let mut events = Vec::new();
    let mut taken = 0;
    for piece in pieces {
        let mut rest = piece;
        let before = taken;
        while let Some(event) = reader.next(&mut rest) {
            taken = before + (piece.len() - rest.len()) as u64;
            assert_eq!(event.end, taken, "an event ends where its bytes end");
            match event.data {
                Data::Absent => {}
                Data::TooLong => events.push(Seen::TooLong),
                Data::Whole(data) => {
                    events.push(Seen::Event { name: event.name.into(), data: data.into() });
                }
            }
        }
        assert!(rest.is_empty(), "without an event, the input is used up");
        taken = before + piece.len() as u64;
    }
    (events, reader.is_between_events())
}

fn events(stream: &[u8]) -> Vec<Seen> {
    seen([stream]).0
}

#[wasm_bindgen_test(unsupported = test)]
fn fields_are_read_as_the_standard_says() {
    for (stream, expected) in [
        ("data: a\n\n", vec![event("", "a")]),
        ("data:a\n\n", vec![event("", "a")]),
        ("data:  a \n\n", vec![event("", " a ")]),
        ("data\n\n", vec![event("", "")]),
        ("data:\n\n", vec![event("", "")]),
        ("data\ndata\n\n", vec![event("", "\n")]),
        ("data: a\ndata:b\ndata: c\n\n", vec![event("", "a\nb\nc")]),
        ("data: a: b\n\n", vec![event("", "a: b")]),
        ("event: ping\ndata: {}\n\n", vec![event("ping", "{}")]),
        ("data: {}\nevent:ping\n\n", vec![event("ping", "{}")]),
        ("event: a\nevent: b\ndata: x\n\ndata: y\n\n", vec![event("b", "x"), event("", "y")]),
        ("event: lost\n\ndata: x\n\n", vec![event("", "x")]),
        (": comment\n\n:\n\n", vec![]),
        (": comment\ndata: a\n: comment\n\n", vec![event("", "a")]),
        ("id: 1\nretry: 10\ndata: a\n\n", vec![event("", "a")]),
        ("Data: a\n data: b\ndata : c\n\n", vec![]),
        ("unknown\nunknown: x\ndata: a\n\n", vec![event("", "a")]),
        ("\n\n\ndata: a\n\n\n\ndata: b\n\n", vec![event("", "a"), event("", "b")]),
        ("\u{feff}data: a\n\n", vec![event("", "a")]),
        ("\u{feff}\u{feff}data: a\n\n", vec![]),
        ("data: a\n\n\u{feff}data: b\n\n", vec![event("", "a")]),
        ("data: a", vec![]),
        ("data: a\n", vec![]),
        ("", vec![]),
    ] {
        assert_eq!(events(stream.as_bytes()), expected, "{stream:?}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn lines_end_with_lf_crlf_or_cr_as_they_like() {
    let expected = vec![event("n", "a\nb"), event("", "c")];
    for stream in [
        "event: n\ndata: a\ndata: b\n\ndata: c\n\n",
        "event: n\r\ndata: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n",
        "event: n\rdata: a\rdata: b\r\rdata: c\r\r",
        "event: n\rdata: a\r\ndata: b\n\r\ndata: c\r\n\r",
        "event: n\ndata: a\rdata: b\r\n\ndata: c\n\r",
    ] {
        assert_eq!(events(stream.as_bytes()), expected, "{stream:?}");
    }
    assert_eq!(events(b"data: a\n\rdata: b\n\r"), vec![event("", "a"), event("", "b")]);
}

#[wasm_bindgen_test(unsupported = test)]
fn bytes_that_are_no_utf8_pass_through() {
    let stream = b"event: \xff\ndata: \xc3\xfe\x00\ndata: \xed\xa0\x80\n: \xff\n\n";
    let expected = Seen::Event { name: b"\xff".into(), data: b"\xc3\xfe\x00\n\xed\xa0\x80".into() };
    assert_eq!(events(stream), vec![expected]);
}

#[wasm_bindgen_test(unsupported = test)]
fn an_event_is_told_as_soon_as_its_blank_line_starts_to_end() {
    let mut reader = Reader::default();
    assert!(reader.next(&mut b"data: a\r\n\r".as_slice()).is_some());
    assert!(reader.next(&mut b"\n".as_slice()).is_none(), "the LF is the same line's end");
    assert!(reader.is_between_events());
}

#[wasm_bindgen_test(unsupported = test)]
fn a_stream_may_end_only_after_a_blank_line() {
    for (stream, expected) in [
        ("", true),
        ("\u{feff}", true),
        ("\u{feff}\u{feff}", false),
        ("\n", true),
        ("data: a\n\n", true),
        (": a\r\r", true),
        ("data: a\n\n\n", true),
        ("d", false),
        ("\n:", false),
        ("data: a\n", false),
        ("id: 1\n", false),
        ("data: a\r\n\r\n: bye\r\n", false),
    ] {
        assert_eq!(seen([stream.as_bytes()]).1, expected, "{stream:?}");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn the_longest_line_is_taken_and_a_longer_one_is_told() {
    for (excess, expected) in [(0, false), (1, true)] {
        let value = "x".repeat(SSE_LINE_BYTES_MAX - "data: ".len() + excess);
        let stream = format!("data: {value}\n\ndata: next\n\n");
        let first = if expected { Seen::TooLong } else { event("", &value) };
        let expected = (vec![first, event("", "next")], true);
        assert_eq!(seen([stream.as_bytes()]), expected, "whole, {excess} over");
        assert_eq!(seen(stream.as_bytes().chunks(4_096)), expected, "in pieces, {excess} over");
    }
}

#[wasm_bindgen_test(unsupported = test)]
fn an_event_of_many_lines_is_bounded_too() {
    let line = format!("data: {}\n", "x".repeat(1 << 19));
    let fits = line.repeat(EVENT_BYTES_MAX / (1 << 19) - 1) + "\ndata: next\n\n";
    assert_eq!(events(fits.as_bytes()).len(), 2);
    assert_ne!(events(fits.as_bytes()).first(), Some(&Seen::TooLong));
    let too_long = line.repeat(EVENT_BYTES_MAX / (1 << 19)) + "\ndata: next\n\n";
    assert_eq!(events(too_long.as_bytes()), vec![Seen::TooLong, event("", "next")]);
}

#[wasm_bindgen_test(unsupported = test)]
fn a_line_without_end_holds_no_more_than_the_bound() {
    let mut reader = Reader::default();
    let piece = [b'x'; 1 << 16];
    for _ in 0..64 {
        assert!(reader.next(&mut piece.as_slice()).is_none());
        assert!(reader.line.capacity() <= 2 * SSE_LINE_BYTES_MAX);
    }
    assert!(!reader.is_between_events());
}

#[wasm_bindgen_test(unsupported = test)]
fn ten_thousand_single_bytes_are_one_stream() {
    let stream = "data: 0123456789\r\n\r\n".repeat(500);
    let (events, may_end) = seen(stream.as_bytes().chunks(1));
    assert_eq!(events, vec![event("", "0123456789"); 500]);
    assert!(may_end);
}

#[cfg(not(target_family = "wasm"))]
mod against_the_reference {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::{Seen, seen};

    /// The standard's rules, line by line over the whole stream, with nothing incremental about it.
    fn reference(stream: &[u8]) -> (Vec<Seen>, bool) {
        let stream = stream.strip_prefix(b"\xef\xbb\xbf").unwrap_or(stream);
        let mut lines = vec![Vec::new()];
        let mut at = 0;
        while at < stream.len() {
            let is_crlf = stream[at..].starts_with(b"\r\n");
            match stream[at] {
                b'\r' | b'\n' => lines.push(Vec::new()),
                byte => lines.last_mut().unwrap().push(byte),
            }
            at += 1 + usize::from(is_crlf);
        }
        let unended = lines.pop().unwrap();
        let may_end = unended.is_empty() && lines.last().is_none_or(Vec::is_empty);
        let (mut seen, mut name, mut data) = (Vec::new(), Vec::new(), Vec::<Vec<u8>>::new());
        for line in lines {
            if line.is_empty() {
                let (name, data) = (std::mem::take(&mut name), std::mem::take(&mut data));
                if !data.is_empty() {
                    seen.push(Seen::Event { name, data: data.join(&b'\n') });
                }
                continue;
            }
            let colon = line.iter().position(|byte| *byte == b':');
            let value = colon.map(|at| &line[at + 1..]).unwrap_or_default();
            let value = value.strip_prefix(b" ").unwrap_or(value).to_vec();
            match &line[..colon.unwrap_or(line.len())] {
                b"data" => data.push(value),
                b"event" => name = value,
                _ => {}
            }
        }
        (seen, may_end)
    }

    /// Streams out of the pieces that matter, now and then with bytes of any kind.
    fn stream() -> impl Strategy<Value = Vec<u8>> {
        let piece = prop_oneof![
            8 => prop::sample::select(vec![
                "data", "data:", "data: ", "event", "event:", ": ", ":", "id: 1", "retry: 5",
                "\n", "\n", "\r", "\r", "\r\n", "\r\n", "\n\n", " ", "x", "{\"a\":1}", "\u{feff}", "é",
            ]).prop_map(|text| text.as_bytes().to_vec()),
            1 => vec(any::<u8>(), 0..4),
        ];
        vec(piece, 0..40).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #[test]
        fn any_stream_in_any_pieces_is_what_the_standard_says(
            stream in stream(),
            cuts in vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
            cuts.extend([0, stream.len()]);
            cuts.sort_unstable();
            let pieces = cuts.windows(2).map(|ends| &stream[ends[0]..ends[1]]);
            prop_assert_eq!(seen(pieces), reference(&stream));
        }

        #[test]
        fn a_split_at_every_byte_changes_nothing(stream in stream()) {
            let expected = reference(&stream);
            for at in 0..=stream.len() {
                let (left, right) = stream.split_at(at);
                prop_assert_eq!(seen([left, right]), expected.clone());
            }
        }
    }
}
