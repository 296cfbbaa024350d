//! Holds back the end of a stream: the event that says "done" reaches the client only when the answer has
//! been judged and stored. A client that has seen it may ask again at once, and leave at once.

use kt_providers::Dialect;
use kt_providers::sse::{Data, Reader};

/// An event longer than this passes while it is still coming; the last one is far shorter.
const HELD_BYTES_MAX: usize = 64 << 10;

/// The end of one stream.
#[derive(Debug)]
pub(super) struct Tail {
    dialect: Dialect,
    reader: Reader,
    /// The start of an event whose end has not come; once done, everything from the last event on.
    held: Vec<u8>,
    is_done: bool,
}

// === impl Tail ===

impl Tail {
    pub(super) fn new(dialect: Dialect) -> Self {
        Self { dialect, reader: Reader::default(), held: Vec::new(), is_done: false }
    }

    /// Whether the last event has come.
    pub(super) const fn is_done(&self) -> bool {
        self.is_done
    }

    /// Takes the next bytes and appends to `out` what may go on.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        while !self.is_done {
            let before = rest;
            let event = self.reader.next(&mut rest);
            let ended = event.map(|event| match event.data {
                Data::Whole(data) => self.dialect.ends_stream(data),
                Data::Absent | Data::TooLong => false,
            });
            let taken = before.get(..before.len().saturating_sub(rest.len())).unwrap_or_default();
            self.held.extend_from_slice(taken);
            match ended {
                Some(is_last) => self.is_done = is_last,
                None if self.held.len() <= HELD_BYTES_MAX => return,
                None => return out.append(&mut self.held),
            }
            if !self.is_done {
                out.append(&mut self.held);
            }
        }
        self.held.extend_from_slice(rest);
    }

    /// What was held back.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        b": hello\n\ndata: {\"a\":1}\r\n\r\ndata: [DONE].\n\ndata: [DONE]\n\nmore";
    const BEFORE: &[u8] = b": hello\n\ndata: {\"a\":1}\r\n\r\ndata: [DONE].\n\n";

    #[test]
    fn everything_before_the_last_event_passes_however_it_is_split() {
        for split in 0..STREAM.len() {
            let mut tail = Tail::new(Dialect::OpenAiChat);
            let mut out = Vec::new();
            let (head, rest) = STREAM.split_at(split);
            tail.push(head, &mut out);
            assert!(BEFORE.starts_with(&out), "split at {split}");
            tail.push(rest, &mut out);
            assert!(tail.is_done());
            let passed = out.len();
            assert!(
                passed.abs_diff(BEFORE.len()) <= 1,
                "an LF may wait: {passed}, split at {split}"
            );
            tail.finish(&mut out);
            assert_eq!(out, STREAM, "split at {split}");
        }
    }

    #[test]
    fn a_stream_without_its_last_event_is_not_done() {
        let mut tail = Tail::new(Dialect::OpenAiChat);
        let mut out = Vec::new();
        tail.push(b"data: {}\n\ndata: [DONE]\n", &mut out);
        assert!(!tail.is_done());
        assert_eq!(out, b"data: {}\n\n");
    }

    #[test]
    fn a_long_event_is_not_held() {
        let mut tail = Tail::new(Dialect::OpenAiChat);
        let mut out = Vec::new();
        let long = [b"data: ".as_slice(), &[b'x'; 2 * HELD_BYTES_MAX]].concat();
        tail.push(&long, &mut out);
        assert_eq!(out, long);
    }
}
