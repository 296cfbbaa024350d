//! Hides the usage chunk, which the gateway asks for and the client may not have asked for. Everything else
//! passes byte for byte, comments included; an event is held only until its blank line.

use super::outline::Outline;
use crate::outline;
use crate::sse::{Data, Reader};

/// What is held back at most. A usage chunk has a few hundred bytes; a longer event is let through while it
/// is still coming.
const HELD_BYTES_MAX: usize = 64 << 10;

/// Drops the usage chunk of a stream for a client that did not ask for it. Takes the stream in pieces, split
/// at any byte.
#[derive(Debug, Default)]
pub struct UsageHider {
    reader: Reader,
    /// The start of an event whose end has not come.
    held: Vec<u8>,
    /// The event under way is too long to be held; it passes.
    is_passing: bool,
    /// The last bytes ended an event with a CR: an LF that follows shares the event's fate.
    after_cr: Option<Fate>,
}

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Passed,
    Dropped,
}

// === impl UsageHider ===

impl UsageHider {
    /// Takes the next bytes of the stream and appends to `out` what the client may have.
    pub fn push(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        let mut rest = self.take_late_lf(bytes, out);
        loop {
            let before = rest;
            let event = self.reader.next(&mut rest);
            let ended =
                event.map(|event| matches!(event.data, Data::Whole(data) if is_usage(data)));
            let taken = before.len().saturating_sub(rest.len());
            let taken = before.get(..taken).unwrap_or_default();
            match ended {
                Some(is_usage) => self.end_event(is_usage, taken, out),
                None => return self.hold(taken, out),
            }
        }
    }

    /// Takes the end of the stream and appends to `out` what was held back.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        out.append(&mut self.held);
    }

    fn end_event(&mut self, is_usage: bool, taken: &[u8], out: &mut Vec<u8>) {
        let was_passing = std::mem::take(&mut self.is_passing);
        let fate = if is_usage && !was_passing { Fate::Dropped } else { Fate::Passed };
        match fate {
            Fate::Dropped => self.held.clear(),
            Fate::Passed => {
                out.append(&mut self.held);
                out.extend_from_slice(taken);
            }
        }
        self.after_cr = taken.ends_with(b"\r").then_some(fate);
    }

    fn hold(&mut self, taken: &[u8], out: &mut Vec<u8>) {
        if !taken.is_empty() {
            // The next byte does not follow the CR of an event any more.
            self.after_cr = None;
        }
        self.held.extend_from_slice(taken);
        if self.is_passing || self.held.len() > HELD_BYTES_MAX {
            self.is_passing = true;
            out.append(&mut self.held);
        }
    }

    /// Takes the LF of a blank line whose CR came with the bytes before. The reader would count it to the
    /// next event, which may have another fate.
    fn take_late_lf<'a>(&mut self, bytes: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
        let Some((mut first, rest)) = bytes.split_at_checked(1) else { return bytes };
        match self.after_cr.take() {
            Some(fate) if first == b"\n" => {
                if fate == Fate::Passed {
                    out.extend_from_slice(first);
                }
                // No event ends here: the reader has seen this line's end.
                self.reader.next(&mut first);
                rest
            }
            Some(_) | None => bytes,
        }
    }
}

pub(crate) fn is_usage(data: &[u8]) -> bool {
    has_empty_array(data) && outline::read(data).is_ok_and(|chunk: Outline| chunk.is_usage_only())
}

/// Whether an array without members can be in there, as a usage chunk's `choices` are. Most chunks have none,
/// and reading them as JSON would cost more than all else that is done with them. Names may be spelled with
/// escapes, brackets may not.
fn has_empty_array(data: &[u8]) -> bool {
    data.split(|byte| *byte == b'[')
        .skip(1)
        .any(|rest| rest.trim_ascii_start().first() == Some(&b']'))
}
