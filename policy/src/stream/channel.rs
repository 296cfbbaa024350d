//! One text of a stream: from its pieces to what is found in it, and back to the events that hold it.

use std::collections::VecDeque;
use std::ops::Range;

use kt_contract::policy::Decision;

use crate::chain::{Chain, Hit, Inner, escape_rest};
use crate::json::{Decoded, Edit, Written};
use crate::{Settled, Window};

/// How much a match that goes on and on may hold back.
const GROWING_BYTES_MAX: usize = 16 << 10;
/// How much of what has passed is looked at again: for words, what stands before them; for a text's tone, its last
/// sentences.
const CONTEXT_BYTES: usize = 512;

/// What stands for the part of a number whose rest stays: its sign may have gone on before, and with it this is a number.
const DIGIT: &str = "0";

/// A text that comes in pieces. Offsets are those of the whole text, from its beginning.
#[derive(Debug)]
pub(super) struct Channel {
    window: Window,
    /// For what is only watched.
    watch: Window,
    is_json: bool,
    inner: Inner,
    pieces: VecDeque<Placed>,
    /// How much has come.
    came: usize,
    /// How much cannot be changed any more: nothing is found in it but what is known.
    passed: usize,
    /// Where it begins to be its own: what is before that has gone on before, and is only looked at.
    own_from: usize,
    /// What the window has settled, from a little before what has passed.
    recent: String,
    /// Where `recent` begins.
    recent_from: usize,
    /// In their order.
    redactions: Vec<Redaction>,
}

/// A piece, and where it stands.
#[derive(Debug)]
struct Placed {
    event: u64,
    /// In the text.
    range: Range<usize>,
    /// In the event.
    raw_start: usize,
    says: Decoded<'static>,
}

/// What is replaced in the text.
#[derive(Clone, Debug)]
struct Redaction {
    range: Range<usize>,
    placeholder: &'static str,
    /// How, once the text before it has passed.
    written: Option<Written>,
}

/// The end of a text that may go on later: how much of it what comes then is read with, and where that leads in JSON.
#[derive(Debug)]
pub(super) struct Said {
    text: String,
    inner: Inner,
}

/// What a piece, or the end, has brought about.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) hits: Vec<Hit>,
    /// What has begun in what had gone on before.
    pub(super) begun: Vec<Hit>,
    /// By the number of their event.
    pub(super) edits: Vec<(u64, Edit)>,
    /// The events of which one piece is settled.
    pub(super) settled: Vec<u64>,
}

// === impl Said ===

impl Said {
    /// How long it is.
    pub(super) const fn bytes(&self) -> usize {
        self.text.len()
    }
}

// === impl Channel ===

impl Channel {
    pub(super) fn new(chain: &Chain, is_json: bool) -> Self {
        let [wanted, watched] = chain.wanted();
        Self {
            window: Window::new(wanted),
            watch: Window::new(watched),
            is_json,
            inner: Inner::default(),
            pieces: VecDeque::new(),
            came: 0,
            passed: 0,
            own_from: 0,
            recent: String::new(),
            recent_from: 0,
            redactions: Vec::new(),
        }
    }

    /// A text that goes on behind what was said of it.
    pub(super) fn resumed(chain: &Chain, is_json: bool, said: Said) -> Self {
        let Said { text, inner } = said;
        let mut channel = Self { inner, ..Self::new(chain, is_json) };
        (channel.came, channel.passed, channel.own_from) = (text.len(), text.len(), text.len());
        let settled = [channel.window.push(&text), channel.watch.push(&text)];
        // What is found in it was found when it was said.
        let _: Found = channel.take(chain, settled, false);
        channel
    }

    /// Takes the next piece, which stands at `raw_start` of event number `event`.
    pub(super) fn push(
        &mut self,
        chain: &Chain,
        (event, raw_start): (u64, usize),
        says: Decoded<'static>,
    ) -> Found {
        let settled = self.window.push(says.text());
        let watched = self.watch.push(says.text());
        let range = self.came..self.came + says.text().len();
        self.came = range.end;
        self.pieces.push_back(Placed { event, range, raw_start, says });
        self.take(chain, [settled, watched], false)
    }

    /// Something else is said: nothing of it waits for what may come later.
    pub(super) fn suspend(mut self, chain: &Chain) -> (Found, Said) {
        let found = self.end(chain);
        (found, Said { text: self.recent, inner: self.inner })
    }

    /// Nothing more will come.
    pub(super) fn end(&mut self, chain: &Chain) -> Found {
        let settled = [self.window.end(), self.watch.end()];
        self.take(chain, settled, true)
    }

    fn take(&mut self, chain: &Chain, settled: [Settled; 2], is_end: bool) -> Found {
        let mut found = Found::default();
        let [settled, watched] = settled;
        found.hits.extend(watched.findings.into_iter().filter_map(|it| chain.decide(it)));
        let base = self.recent_from + self.recent.len();
        self.recent.push_str(&settled.text);
        for finding in settled.findings {
            let Some(hit) = chain.decide(finding) else { continue };
            self.find(hit, base, &mut found);
        }
        self.pass(chain, is_end, &mut found);
        self.settle(&mut found);
        if !is_end {
            self.forget();
        }
        found
    }

    /// Takes what was found at a place that is told from `base` on.
    fn find(&mut self, hit: Hit, base: usize, found: &mut Found) {
        let Some((start, end, _)) = hit.place else { return found.hits.push(hit) };
        if base + start >= self.own_from {
            self.redact(&hit, base);
            found.hits.push(hit);
        } else if base + end > self.own_from {
            found.begun.push(hit);
        }
    }

    fn redact(&mut self, hit: &Hit, base: usize) {
        if let (Decision::Redact, Some((start, end, placeholder))) = (hit.decision, hit.place) {
            let range = base + start..base + end;
            let at = self.redactions.partition_point(|before| before.range.start <= range.start);
            self.redactions.insert(at, Redaction { range, placeholder, written: None });
        }
    }

    /// Looks for words in what is settled, and says how far it has passed.
    fn pass(&mut self, chain: &Chain, is_end: bool, found: &mut Found) {
        let mut hits = Vec::new();
        chain.find_words(&self.recent, &mut |hit| hits.push(hit));
        let until = self.recent.len();
        let hold = if is_end { 0 } else { chain.hold_bytes() };
        let mut pass_to = floor_boundary(&self.recent, until.saturating_sub(hold));
        let places = || hits.iter().filter_map(|hit| hit.place.map(|(start, end, _)| start..end));
        let redacted = self.redactions.iter().map(|it| self.local(&it.range));
        // What crosses the mark is not parted; nor is a number of JSON that may go on behind it.
        let goes_on = |it: &Range<usize>| self.is_json && !is_end && it.end == until;
        let crossing = places()
            .chain(redacted)
            .filter(|it| it.start < pass_to && (pass_to < it.end || goes_on(it)));
        pass_to =
            crossing.map(|it| it.start).min().unwrap_or(pass_to).max(self.local_at(self.passed));
        if until.saturating_sub(pass_to) > GROWING_BYTES_MAX.max(hold) {
            // A match that has no end: what it has by now is it.
            pass_to = until;
        }
        let from = self.local_at(self.passed);
        let own_from = self.local_at(self.own_from);
        for hit in hits {
            // Found before, or found again when more of it has come.
            let is_new = hit
                .place
                .is_none_or(|(start, ..)| start < own_from || (from..pass_to).contains(&start));
            if is_new {
                self.find(hit, self.recent_from, found);
            }
        }
        self.write(pass_to);
    }

    /// Says how each redaction up to there is written.
    fn write(&mut self, pass_to: usize) {
        let mut at = self.local_at(self.passed);
        let (from, recent) = (self.recent_from, self.recent.as_bytes());
        for redaction in &mut self.redactions {
            let start = redaction.range.start.saturating_sub(from);
            if redaction.written.is_some() || start >= pass_to {
                continue;
            }
            let before = recent.get(at..start).unwrap_or_default();
            before.iter().for_each(|byte| self.inner.push(*byte));
            at = at.max(start);
            let is_value = self.is_json && !self.inner.is_in_string();
            let end = redaction.range.end.saturating_sub(from);
            redaction.written = Some(if is_value && is_part_of_number(recent, start..end) {
                Written::Within(DIGIT)
            } else if is_value {
                Written::ValueInString(redaction.placeholder)
            } else {
                let (before, rest) = recent.split_at_checked(start).unwrap_or_default();
                redaction.range.start += escape_rest(before, rest);
                Written::Within(redaction.placeholder)
            });
        }
        let rest = recent.get(at..pass_to).unwrap_or_default();
        rest.iter().for_each(|byte| self.inner.push(*byte));
        self.passed = from + pass_to;
    }

    /// The pieces that have passed, with what is replaced in them.
    fn settle(&mut self, found: &mut Found) {
        while let Some(piece) = self.pieces.pop_front_if(|piece| piece.range.end <= self.passed) {
            let mut from = piece.range.start;
            for redaction in &self.redactions {
                let start = redaction.range.start.max(from);
                let end = redaction.range.end.min(piece.range.end);
                if start >= end {
                    continue;
                }
                let raw_at =
                    |at: usize| piece.raw_start + piece.says.raw_at(at - piece.range.start);
                let begins_here = redaction.range.start >= piece.range.start;
                let written = redaction.written.filter(|_| begins_here).unwrap_or(Written::Nothing);
                found.edits.push((piece.event, Edit { raw: raw_at(start)..raw_at(end), written }));
                from = end;
            }
            found.settled.push(piece.event);
        }
    }

    /// Lets go of what is needed no more.
    fn forget(&mut self) {
        let needed_from = self.pieces.front().map_or(self.passed, |piece| piece.range.start);
        self.redactions.retain(|it| it.range.end > needed_from.min(self.passed));
        let keep_from = self.local_at(self.passed).saturating_sub(CONTEXT_BYTES);
        let keep_from = floor_boundary(&self.recent, keep_from);
        self.recent.drain(..keep_from);
        self.recent_from += keep_from;
    }

    const fn local_at(&self, at: usize) -> usize {
        at.saturating_sub(self.recent_from)
    }

    const fn local(&self, range: &Range<usize>) -> Range<usize> {
        self.local_at(range.start)..self.local_at(range.end)
    }
}

/// Whether what stands there in JSON, outside of its strings, is a number with more before or behind it.
fn is_part_of_number(json: &[u8], at: Range<usize>) -> bool {
    let before = at.start.checked_sub(1).and_then(|before| json.get(before));
    let is_of_number = |byte: &u8| byte.is_ascii_digit() || b"+-.eE".contains(byte);
    before.into_iter().chain(json.get(at.end)).any(is_of_number)
}

/// The last start of a character that is not beyond `at`.
fn floor_boundary(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}
