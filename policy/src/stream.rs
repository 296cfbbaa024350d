//! An answer that comes as a stream: its texts come in pieces, spread over events. An event goes on when nothing that
//! may still come can change what is found in its texts; until then it and all behind it are held, which in prose is
//! about a word. Events keep their order and their bytes, but for those that are replaced.

mod channel;

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use channel::{Channel, Found};

use crate::answer::hide_alternatives;
use crate::chain::{Blocked, Chain, Tally, Triggered};
use crate::json::{Edit, Form, splice, texts};

/// An event of a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// All of its bytes.
    pub bytes: Vec<u8>,
    /// The JSON in it; empty where there is none.
    pub data: Range<usize>,
    /// The strings in it that go on in later events.
    pub pieces: Vec<Piece>,
    /// The texts that are over with it, by how the names of their channels begin.
    pub ends: Vec<String>,
}

/// A string that is a piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Which text it is a piece of.
    pub channel: String,
    /// Where it stands in [`Event::data`], without its quotes.
    pub raw: Range<usize>,
    /// Whether the text is itself JSON.
    pub is_json: bool,
}

/// What a chain does to a stream.
#[derive(Debug)]
pub struct Stream {
    chain: Arc<Chain>,
    channels: BTreeMap<String, Channel>,
    held: VecDeque<Held>,
    /// The number of the first event that is held.
    first: u64,
    /// Whether some text has passed: before that nothing goes on, so that an answer that is blocked in its first words
    /// can be refused as a whole.
    has_passed: bool,
    tally: Tally,
}

/// An event that is held.
#[derive(Debug)]
struct Held {
    bytes: Vec<u8>,
    edits: Vec<Edit>,
    /// How many of its pieces are not settled.
    open: usize,
    has_text: bool,
    data: Range<usize>,
}

// === impl Stream ===

impl Stream {
    /// What `chain` does to a stream that begins.
    #[must_use]
    pub fn new(chain: Arc<Chain>) -> Self {
        Self {
            chain,
            channels: BTreeMap::new(),
            held: VecDeque::new(),
            first: 0,
            has_passed: false,
            tally: Tally::default(),
        }
    }

    /// Takes the next event, and appends to `out` the bytes that may go on.
    ///
    /// # Errors
    /// The answer does not go on. Nothing of what is held may.
    pub fn push(&mut self, event: Event, out: &mut Vec<u8>) -> Result<(), Blocked> {
        let Event { bytes, data, pieces, ends } = event;
        let number = self.first + self.held.len() as u64;
        let mut held = Held { bytes, edits: Vec::new(), open: 0, has_text: false, data };
        let json = held.bytes.get(held.data.clone()).unwrap_or_default();
        let mut said = Vec::new();
        for text in texts(json) {
            let piece = pieces.iter().find(|piece| piece.raw == text.raw);
            held.has_text |= text.form == Form::String;
            match piece {
                Some(Piece { channel, is_json, .. }) => {
                    held.open += 1;
                    let says = text.says.into_owned();
                    said.push((channel.clone(), text.raw.start, says, *is_json || text.is_json));
                }
                None => self.chain.read_text(&text, &mut self.tally),
            }
        }
        held.edits.append(&mut self.tally.edits);
        self.held.push_back(held);
        for (name, raw_start, says, is_json) in said {
            self.end_others(&name);
            let begin = || Channel::new(&self.chain, is_json);
            let channel = self.channels.entry(name).or_insert_with(begin);
            let found = channel.push(&self.chain, (number, raw_start), says);
            self.take(found);
        }
        for beginning in ends {
            let over: Vec<String> = self
                .channels
                .range(beginning.clone()..)
                .map(|(name, _)| name.clone())
                .take_while(|name| name.starts_with(&beginning))
                .collect();
            for name in over {
                let ended = self.channels.remove(&name).map(|mut channel| channel.end(&self.chain));
                ended.into_iter().for_each(|found| self.take(found));
            }
        }
        self.pass(out)
    }

    /// A choice, or a block, says one thing after the other: what it has said before is over.
    fn end_others(&mut self, name: &str) {
        let group = name.split_inclusive('/').next().unwrap_or(name);
        let range = self.channels.range(group.to_owned()..).map(|(other, _)| other);
        let others: Vec<String> = range
            .take_while(|other| other.starts_with(group))
            .filter(|other| *other != name)
            .cloned()
            .collect();
        for other in others {
            let ended = self.channels.remove(&other).map(|mut channel| channel.end(&self.chain));
            ended.into_iter().for_each(|found| self.take(found));
        }
    }

    /// Nothing more will come: appends what is left.
    ///
    /// # Errors
    /// The answer does not go on.
    pub fn end(&mut self, out: &mut Vec<u8>) -> Result<(), Blocked> {
        for (_, mut channel) in std::mem::take(&mut self.channels) {
            let found = channel.end(&self.chain);
            self.take(found);
        }
        self.has_passed = true;
        self.pass(out)
    }

    /// What was found so far.
    #[must_use]
    pub fn triggered(&self) -> Vec<Triggered> {
        self.tally.triggered(&self.chain)
    }

    /// How many bytes are held.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held.iter().map(|held| held.bytes.len()).sum()
    }

    fn take(&mut self, found: Found) {
        for hit in &found.hits {
            self.tally.count(hit, Form::String);
        }
        for (number, edit) in found.edits {
            if let Some(held) = self.event(number) {
                held.edits.push(edit);
            }
        }
        for number in found.settled {
            if let Some(held) = self.event(number) {
                held.open = held.open.saturating_sub(1);
            }
        }
    }

    fn event(&mut self, number: u64) -> Option<&mut Held> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.held.get_mut(at)
    }

    fn pass(&mut self, out: &mut Vec<u8>) -> Result<(), Blocked> {
        if let Some(blocked) = self.tally.blocked(&self.chain) {
            self.held.clear();
            return Err(blocked);
        }
        let is_settled = |held: &Held| held.open == 0;
        self.has_passed |=
            self.held.iter().take_while(|held| is_settled(held)).any(|held| held.has_text);
        while self.has_passed && self.held.front().is_some_and(is_settled) {
            if let Some(held) = self.held.pop_front() {
                self.first += 1;
                held.write(out);
            }
        }
        Ok(())
    }
}

// === impl Held ===

impl Held {
    fn write(self, out: &mut Vec<u8>) {
        let Self { bytes, mut edits, data, .. } = self;
        if edits.is_empty() {
            return out.extend_from_slice(&bytes);
        }
        let json = bytes.get(data.clone()).unwrap_or_default();
        hide_alternatives(json, &mut edits);
        out.extend_from_slice(bytes.get(..data.start).unwrap_or_default());
        out.extend_from_slice(&splice(json, &edits));
        out.extend_from_slice(bytes.get(data.end..).unwrap_or_default());
    }
}

#[cfg(test)]
mod tests;
