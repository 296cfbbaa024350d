//! An answer that comes as a stream: its texts come in pieces, spread over events. An event goes on when nothing that
//! may still come can change what is found in its texts; until then it and all behind it are held, which in prose is
//! about a word. Events keep their order and their bytes, but for those that are replaced.

mod channel;

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Bound, Range};
use std::sync::Arc;

use channel::{Channel, Found, Said};

use crate::answer::hide_alternatives;
use crate::chain::{Blocked, Chain, Irreplaceable, Tally, Triggered};
use crate::json::{Edit, Form, splice, texts};

/// How many texts of one event go on beside each other. Where there are more, each ends the one before.
const TOGETHER_MAX: usize = 64;
/// What is reckoned for a text that may go on, beside what was said of it.
const SAID_BYTES: usize = 256;

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
    /// The texts that something else of their choice has ended, and that may go on all the same.
    over: BTreeMap<String, Said>,
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
            over: BTreeMap::new(),
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
        let Event { bytes, data, mut pieces, ends } = event;
        pieces.sort_by_key(|piece| piece.raw.start);
        let number = self.first + self.held.len() as u64;
        let mut held = Held { bytes, edits: Vec::new(), open: 0, has_text: false, data };
        let json = held.bytes.get(held.data.clone()).unwrap_or_default();
        let mut said = Vec::new();
        for text in texts(json) {
            let at = pieces.binary_search_by_key(&text.raw.start, |piece| piece.raw.start);
            let piece = at.ok().and_then(|at| pieces.get(at)).filter(|it| it.raw == text.raw);
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
        let mut together: Vec<String> = said.iter().map(|(name, ..)| name.clone()).collect();
        if together.len() > TOGETHER_MAX {
            together.clear();
        }
        for (name, raw_start, says, is_json) in said {
            self.suspend_others(&name, &together);
            let (chain, over) = (&self.chain, &mut self.over);
            let channel =
                self.channels.entry(name).or_insert_with_key(|name| match over.remove(name) {
                    Some(said) => Channel::resumed(chain, is_json, said),
                    None => Channel::new(chain, is_json),
                });
            let found = channel.push(chain, (number, raw_start), says);
            self.take(found);
        }
        for beginning in ends {
            for name in names(&self.channels, &beginning) {
                let ended = self.channels.remove(&name).map(|mut channel| channel.end(&self.chain));
                ended.into_iter().for_each(|found| self.take(found));
            }
            for name in names(&self.over, &beginning) {
                self.over.remove(&name);
            }
        }
        self.pass(out)
    }

    /// A choice, or a block, says one thing after the other: what it has said before is over, but for what comes
    /// together with it. Whether it goes on later nobody can know: then it is read on where it has stopped.
    fn suspend_others(&mut self, name: &str, together: &[String]) {
        let group = name.split_inclusive('/').next().unwrap_or(name);
        let mut others = names(&self.channels, group);
        others.retain(|other| other != name && !together.contains(other));
        for other in others {
            let Some(channel) = self.channels.remove(&other) else { continue };
            let (found, said) = channel.suspend(&self.chain);
            self.take(found);
            self.over.insert(other, said);
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
        self.over.clear();
        self.has_passed = true;
        self.pass(out)
    }

    /// What was found so far.
    #[must_use]
    pub fn triggered(&self) -> Vec<Triggered> {
        self.tally.triggered(&self.chain)
    }

    /// How many bytes are held: of events, and of texts that may go on.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        let events: usize = self.held.iter().map(|held| held.bytes.len()).sum();
        let said = self.over.iter().map(|(name, said)| SAID_BYTES + name.len() + said.bytes());
        events + said.sum::<usize>()
    }

    fn take(&mut self, found: Found) {
        found.hits.iter().for_each(|hit| self.tally.count(hit, None));
        let begun = Some(Irreplaceable::Begun);
        found.begun.iter().for_each(|hit| self.tally.count(hit, begun));
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
            self.over.clear();
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

/// The texts whose names begin so.
fn names<T>(of: &BTreeMap<String, T>, beginning: &str) -> Vec<String> {
    let from = (Bound::Included(beginning), Bound::Unbounded);
    let names = of.range::<str, _>(from).map(|(name, _)| name);
    names.take_while(|name| name.starts_with(beginning)).cloned().collect()
}

#[cfg(test)]
mod tests;
