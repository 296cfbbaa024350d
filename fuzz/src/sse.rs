//! The SSE codec: it reads what a plain reading of the standard reads, however the bytes are split; it counts
//! every byte to exactly one event; and it holds a bounded part of a stream that never ends an event.

use kt_contract::limits::SSE_LINE_BYTES_MAX;
use kt_providers::sse::{Data, Reader};

use crate::choices::Choices;

/// A line, a name and the data of an event, each in a vector that may be twice as large.
const HELD_BYTES_MAX: usize = 8 * SSE_LINE_BYTES_MAX;
/// One input of so many becomes an endless one.
const ENDLESS_ONE_IN: usize = 4_096;
const ENDLESS_BYTES: usize = 3 * HELD_BYTES_MAX;

/// An event that outlives its reader.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Read {
    name: Vec<u8>,
    /// `None`: absent.
    data: Option<Vec<u8>>,
    end: usize,
}

/// Takes any stream.
pub fn check(stream: &[u8]) {
    let mut choices = Choices::of(stream);
    let (whole, is_between) = read(&[stream]);
    assert_eq!(whole, plainly(stream));
    let single: Vec<_> = stream.chunks(1).collect();
    for pieces in [single, choices.pieces(stream)] {
        let (split, is_split_between) = read(&pieces);
        assert_eq!(is_between, is_split_between);
        assert_eq!(whole.len(), split.len());
        for (one, other) in whole.iter().zip(split) {
            // The LF of a blank CRLF counts to the next event if a split parts them.
            let is_late = stream.get(other.end) == Some(&b'\n') && other.end + 1 == one.end;
            let end = if is_late { one.end } else { other.end };
            assert_eq!(*one, Read { end, ..other });
        }
    }
    if !stream.is_empty() && choices.below(ENDLESS_ONE_IN) == 0 {
        check_endless(stream, &mut choices);
    }
}

/// Repeats the input until every bound is passed.
fn check_endless(stream: &[u8], choices: &mut Choices) {
    let stream = stream.repeat(ENDLESS_BYTES / stream.len());
    let mut reader = Reader::default();
    let mut rest = stream.as_slice();
    while !rest.is_empty() {
        let (mut piece, after) = rest.split_at((1 + choices.below(256 << 10)).min(rest.len()));
        rest = after;
        while let Some(event) = reader.next(&mut piece) {
            if let Data::Whole(data) = event.data {
                assert!(data.len() < 2 * SSE_LINE_BYTES_MAX);
            }
        }
        assert!(reader.held_bytes() <= HELD_BYTES_MAX);
    }
}

fn read(pieces: &[&[u8]]) -> (Vec<Read>, bool) {
    let mut reader = Reader::default();
    let mut events = Vec::new();
    let mut position = 0;
    for piece in pieces {
        let mut rest = *piece;
        loop {
            let before = rest.len();
            let event = reader.next(&mut rest);
            position += before - rest.len();
            let Some(event) = event else { break };
            assert_eq!(event.end, position as u64);
            let data = match event.data {
                Data::Absent => None,
                Data::Whole(data) => Some(data.to_vec()),
                Data::TooLong => panic!("no input of a fuzzer is that long"),
            };
            events.push(Read { name: event.name.to_vec(), data, end: position });
        }
        assert!(rest.is_empty());
    }
    (events, reader.is_between_events())
}

/// The standard, read on a whole stream: lines first, then fields.
fn plainly(stream: &[u8]) -> Vec<Read> {
    let mut events = Vec::new();
    let mut event = Read { name: Vec::new(), data: None, end: 0 };
    let mut at = if stream.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 };
    while let Some(length) = stream[at..].iter().position(|byte| b"\r\n".contains(byte)) {
        let line = &stream[at..at + length];
        at += length + if stream[at + length..].starts_with(b"\r\n") { 2 } else { 1 };
        if line.is_empty() {
            event.end = at;
            events.push(event);
            event = Read { name: Vec::new(), data: None, end: 0 };
            continue;
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let value = colon.map_or(&b""[..], |colon| &line[colon + 1..]);
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match &line[..colon.unwrap_or(line.len())] {
            b"data" => {
                event.data = Some(match event.data.take() {
                    Some(data) => [&data, &b"\n"[..], value].concat(),
                    None => value.to_vec(),
                });
            }
            b"event" => event.name = value.to_vec(),
            _ => {}
        }
    }
    events
}
