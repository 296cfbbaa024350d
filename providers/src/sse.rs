//! Server-sent events as the WHATWG standard reads them: LF, CRLF and CR, comments, a byte order mark,
//! `data` with and without a space, several `data` lines, splits at any byte.
//!
//! It reads bytes, not text: what is no UTF-8 is the business of whoever reads the data. It never changes a
//! byte and never loses count: what a call took from its input is what belongs to the event that it returns.
//! `id` and `retry` mean something to a client that reconnects, and nothing here.

use kt_contract::limits::SSE_LINE_BYTES_MAX;

/// The most that the `data` lines of one event may hold together.
const EVENT_BYTES_MAX: usize = 2 * SSE_LINE_BYTES_MAX;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// What a blank line ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event<'a> {
    /// The value of the last `event` field; empty where there was none.
    pub name: &'a [u8],
    /// What its `data` lines hold.
    pub data: Data<'a>,
    /// The offset behind the event, blank line included, from the start of the stream. Where a split parts
    /// the CR and the LF of the blank line, the LF counts to the next event.
    pub end: u64,
}

/// The data of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Data<'a> {
    /// No `data` line: comments, or a stray blank line. The standard dispatches nothing here.
    Absent,
    /// The lines, joined with LF.
    Whole(&'a [u8]),
    /// A line beyond `SSE_LINE_BYTES_MAX`, or data beyond twice that; it has not been kept.
    TooLong,
}

/// Reads a stream piece by piece. Holds at most one line and one event, both bounded.
#[derive(Debug, Default)]
pub struct Reader {
    /// The start of a line whose end has not come.
    line: Vec<u8>,
    /// The rest of this line is skipped: it is too long.
    is_skipping: bool,
    name: Vec<u8>,
    data: Vec<u8>,
    has_data: bool,
    is_too_long: bool,
    /// Something came since the last blank line.
    is_open: bool,
    /// The last byte was a CR: an LF that follows belongs to it.
    is_after_cr: bool,
    is_past_first_line: bool,
    /// The event of the last call has been read by the caller.
    is_told: bool,
    position: u64,
}

// === impl Reader ===

impl Reader {
    /// Takes bytes from the front of `input` until an event ends and returns it; `None` when the input is
    /// used up before that.
    pub fn next<'s>(&'s mut self, input: &mut &[u8]) -> Option<Event<'s>> {
        if std::mem::take(&mut self.is_told) {
            self.forget_event();
        }
        if self.is_after_cr && !input.is_empty() {
            self.is_after_cr = false;
            if input.first() == Some(&b'\n') {
                self.advance(input, 1);
            }
        }
        while let Some(at) = input.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let is_blank = self.end_line(input.get(..at).unwrap_or_default());
            self.advance(input, at);
            self.take_line_end(input);
            if is_blank {
                self.is_told = true;
                return Some(self.event());
            }
        }
        self.keep(input);
        self.advance(input, input.len());
        None
    }

    /// Whether nothing is pending: the stream may end here.
    #[must_use]
    pub fn is_between_events(&self) -> bool {
        // A byte order mark begins the stream; it is not yet a line.
        let is_at_start = !self.is_past_first_line && self.line == BYTE_ORDER_MARK;
        !self.is_open && !self.is_skipping && (self.line.is_empty() || is_at_start)
    }

    /// How many bytes it holds, whatever they are for: bounded, however long the stream.
    #[must_use]
    pub const fn held_bytes(&self) -> usize {
        self.line.capacity() + self.name.capacity() + self.data.capacity()
    }

    fn event(&self) -> Event<'_> {
        let data = match (self.is_too_long, self.has_data) {
            (true, _) => Data::TooLong,
            (false, true) => Data::Whole(&self.data),
            (false, false) => Data::Absent,
        };
        Event { name: &self.name, data, end: self.position }
    }

    fn forget_event(&mut self) {
        self.name.clear();
        self.data.clear();
        self.has_data = false;
        self.is_too_long = false;
    }

    fn advance(&mut self, input: &mut &[u8], count: usize) {
        *input = input.get(count..).unwrap_or_default();
        self.position = self.position.saturating_add(count as u64);
    }

    fn take_line_end(&mut self, input: &mut &[u8]) {
        match input {
            [b'\r', b'\n', ..] => self.advance(input, 2),
            [b'\r'] => {
                self.is_after_cr = true;
                self.advance(input, 1);
            }
            [b'\n' | b'\r', ..] => self.advance(input, 1),
            [] | [_, ..] => {}
        }
    }

    /// Keeps a piece of a line whose end is still to come.
    fn keep(&mut self, piece: &[u8]) {
        if self.is_skipping {
            return;
        }
        if self.line.len().saturating_add(piece.len()) > SSE_LINE_BYTES_MAX {
            self.line = Vec::new();
            self.is_skipping = true;
            self.is_too_long = true;
        } else {
            self.line.extend_from_slice(piece);
        }
    }

    /// Reads the line that ends with `piece` and says whether it is the blank one that ends an event.
    fn end_line(&mut self, piece: &[u8]) -> bool {
        // Most lines come whole and are read where they lie.
        if self.line.is_empty() && !self.is_skipping && piece.len() <= SSE_LINE_BYTES_MAX {
            return self.whole_line(piece);
        }
        self.keep(piece);
        if std::mem::take(&mut self.is_skipping) {
            self.is_past_first_line = true;
            self.is_open = true;
            return false;
        }
        let mut line = std::mem::take(&mut self.line);
        let is_blank = self.whole_line(&line);
        line.clear();
        self.line = line;
        is_blank
    }

    fn whole_line(&mut self, line: &[u8]) -> bool {
        let is_first = !std::mem::replace(&mut self.is_past_first_line, true);
        let line = if is_first { line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line) } else { line };
        self.is_open = !line.is_empty();
        if self.is_open {
            self.field(line);
        }
        !self.is_open
    }

    fn field(&mut self, line: &[u8]) {
        let mut halves = line.splitn(2, |byte| *byte == b':');
        let name = halves.next().unwrap_or_default();
        let value = halves.next().unwrap_or_default();
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match name {
            b"data" => self.add_data(value),
            b"event" => {
                self.name.clear();
                self.name.extend_from_slice(value);
            }
            // A comment has an empty name. Unknown names are to be ignored.
            _ => {}
        }
    }

    fn add_data(&mut self, value: &[u8]) {
        if self.data.len().saturating_add(value.len()) >= EVENT_BYTES_MAX {
            self.is_too_long = true;
        }
        if self.is_too_long {
            self.data = Vec::new();
            return;
        }
        if std::mem::replace(&mut self.has_data, true) {
            self.data.push(b'\n');
        }
        self.data.extend_from_slice(value);
    }
}

#[cfg(test)]
mod tests;
