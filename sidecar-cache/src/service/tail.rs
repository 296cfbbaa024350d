//! Holds back the end of a stream: the event that says "done" reaches the client only when the answer has
//! been judged and stored. A client that has seen it may ask again at once, and leave at once.

use kt_contract::limits::SSE_LINE_BYTES_MAX;
use kt_providers::Dialect;
use kt_providers::sse::{Data, Event, Reader};

/// An event longer than this passes while it is still coming. The last one of a response holds the whole answer;
/// a line beyond what readers take is not stored anyhow.
const HELD_BYTES_MAX: usize = SSE_LINE_BYTES_MAX + 1_024;

/// How much may follow the last event before the transport ends. Nothing does, at good providers.
const BEHIND_BYTES_MAX: usize = 64 << 10;

/// How far a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reached {
    /// Between two events, or in one that is held back.
    Events,
    /// In an event too long to be held back: its start has passed.
    LongEvent,
    /// The last event has come.
    Done,
    /// The last event has come, and more behind it than anybody keeps.
    Overrun,
    /// The provider has said that it failed. That has passed, and nothing behind it will.
    Failed,
}

/// What an event does to its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    More,
    Done,
    Failed,
}

/// The end of one stream.
#[derive(Debug)]
pub(super) struct Tail {
    dialect: Dialect,
    reader: Reader,
    /// The start of an event whose end has not come; once done, everything from the last event on.
    held: Vec<u8>,
    reached: Reached,
    /// Events with data.
    events: u64,
    /// Where in `held` the last event ends.
    behind_from: usize,
}

// === impl Tail ===

impl Tail {
    pub(super) fn new(dialect: Dialect) -> Self {
        let (reader, held) = (Reader::default(), Vec::new());
        Self { dialect, reader, held, reached: Reached::Events, events: 0, behind_from: 0 }
    }

    /// How far it has come.
    pub(super) const fn reached(&self) -> Reached {
        self.reached
    }

    /// How many events with data have ended, however their lines end.
    pub(super) const fn events(&self) -> u64 {
        self.events
    }

    /// Takes the next bytes and appends to `out` what may go on.
    pub(super) fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = bytes;
        loop {
            match self.reached {
                Reached::Events | Reached::LongEvent => {}
                Reached::Done => return self.keep_behind(rest),
                Reached::Overrun | Reached::Failed => return,
            }
            let before = rest;
            let event = self.reader.next(&mut rest);
            let told = event.map(|event| told(self.dialect, event));
            let has_data = event.is_some_and(|event| event.data != Data::Absent);
            self.events += u64::from(has_data);
            let taken = before.get(..before.len().saturating_sub(rest.len())).unwrap_or_default();
            self.held.extend_from_slice(taken);
            match told {
                Some(Told::Done) => {
                    self.reached = Reached::Done;
                    self.behind_from = self.held.len();
                }
                Some(Told::Failed) => {
                    self.reached = Reached::Failed;
                    return out.append(&mut self.held);
                }
                Some(Told::More) => {
                    self.reached = Reached::Events;
                    out.append(&mut self.held);
                }
                None if self.held.len() <= HELD_BYTES_MAX => return,
                None => {
                    self.reached = Reached::LongEvent;
                    return out.append(&mut self.held);
                }
            }
        }
    }

    fn keep_behind(&mut self, bytes: &[u8]) {
        let room = (self.behind_from + BEHIND_BYTES_MAX).saturating_sub(self.held.len());
        match bytes.get(..room) {
            Some(fitting) if fitting.len() < bytes.len() => {
                self.held.extend_from_slice(fitting);
                self.reached = Reached::Overrun;
            }
            Some(_) | None => self.held.extend_from_slice(bytes),
        }
    }

    /// What is held back.
    pub(super) fn held(&self) -> &[u8] {
        &self.held
    }

    /// What was held back.
    pub(super) fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }
}

fn told(dialect: Dialect, event: Event<'_>) -> Told {
    match event.data {
        Data::Whole(data) if dialect.fails_stream(event.name, data) => Told::Failed,
        Data::Whole(data) if dialect.ends_stream(data) => Told::Done,
        Data::Whole(_) | Data::TooLong | Data::Absent => Told::More,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] =
        b": hello\n\ndata: {\"a\":1}\r\n\r\ndata: [DONE].\n\ndata: [DONE]\n\nmore";
    const BEFORE: &[u8] = b": hello\n\ndata: {\"a\":1}\r\n\r\ndata: [DONE].\n\n";

    #[test]
    fn events_count_however_their_lines_end() {
        for line_end in ["\n", "\r\n", "\r"] {
            let stream =
                ": hello||data: 1||event: x|data: 2||id: 3||data: 4".replace('|', line_end);
            let mut tail = Tail::new(Dialect::OpenAiChat);
            tail.push(stream.as_bytes(), &mut Vec::new());
            assert_eq!(tail.events(), 2, "{line_end:?}: the last has not ended");
        }
    }

    #[test]
    fn everything_before_the_last_event_passes_however_it_is_split() {
        for split in 0..STREAM.len() {
            let mut tail = Tail::new(Dialect::OpenAiChat);
            let mut out = Vec::new();
            let (head, rest) = STREAM.split_at(split);
            tail.push(head, &mut out);
            assert!(BEFORE.starts_with(&out), "split at {split}");
            tail.push(rest, &mut out);
            assert_eq!(tail.reached(), Reached::Done);
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
        assert_eq!(tail.reached(), Reached::Events);
        assert_eq!(out, b"data: {}\n\n");
    }

    #[test]
    fn a_providers_error_is_the_last_that_passes_however_it_is_split() {
        let chat: &[&str] =
            &["data: {}\n\n", "data: {\"error\":{\"code\":1}}\n\n", "data: [DONE]\n\n"];
        let messages: &[&str] = &[
            "event: ping\ndata: {}\n\n",
            "event: error\ndata: {}\n\n",
            "data: {\"type\":\"message_stop\"}\n\n",
        ];
        let responses: &[&str] =
            &["data: {}\r\n\r\n", "data: {\"type\":\"error\"}\r\n\r\n", "data: [DONE]\r\n\r\n"];
        for (dialect, events) in [
            (Dialect::OpenAiChat, chat),
            (Dialect::AnthropicMessages, messages),
            (Dialect::OpenAiResponses, responses),
        ] {
            let (stream, shown) = (events.concat(), events[..2].concat());
            for split in 0..=stream.len() {
                let mut tail = Tail::new(dialect);
                let mut out = Vec::new();
                let (head, rest) = stream.as_bytes().split_at(split);
                tail.push(head, &mut out);
                tail.push(rest, &mut out);
                assert_eq!(tail.reached(), Reached::Failed, "{dialect:?} split at {split}");
                tail.finish(&mut out);
                // The LF behind a CR may be missing: the event has ended all the same.
                assert!(shown.as_bytes().starts_with(&out), "{dialect:?} split at {split}");
                assert!(out.len() + 1 >= shown.len(), "{dialect:?} split at {split}");
            }
        }
    }

    #[test]
    fn a_long_event_is_not_held() {
        let mut tail = Tail::new(Dialect::OpenAiChat);
        let mut out = Vec::new();
        let long = [b"data: ".as_slice(), &[b'x'; 2 * HELD_BYTES_MAX]].concat();
        tail.push(&long, &mut out);
        assert_eq!(out, long);
        assert_eq!(tail.reached(), Reached::LongEvent);
        tail.push(b"\n\ndata: ", &mut out);
        assert_eq!(tail.reached(), Reached::Events, "the next one is held back again");
    }

    #[test]
    fn what_follows_the_last_event_is_kept_within_a_bound() {
        const LAST: &[u8] = b"data: [DONE]\n\n";
        for (behind, reached) in [
            (0, Reached::Done),
            (BEHIND_BYTES_MAX, Reached::Done),
            (BEHIND_BYTES_MAX + 1, Reached::Overrun),
            (9 * BEHIND_BYTES_MAX, Reached::Overrun),
        ] {
            for piece in [1_000, usize::MAX] {
                let mut tail = Tail::new(Dialect::OpenAiChat);
                let mut out = Vec::new();
                let bytes = [LAST, &vec![b'\n'; behind]].concat();
                bytes.chunks(piece.min(bytes.len())).for_each(|part| tail.push(part, &mut out));
                assert_eq!(tail.reached(), reached, "{behind} in pieces of {piece}");
                tail.finish(&mut out);
                assert_eq!(out.len(), LAST.len() + behind.min(BEHIND_BYTES_MAX), "{behind}");
            }
        }
    }
}
