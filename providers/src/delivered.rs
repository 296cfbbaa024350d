//! What has come of an answer, whole or cut, stored or refused: its text, and the usage as far as it was told.
//! Other than a judgement it never says no: money has been spent on what came, whatever it is worth.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use crate::answer::{Recorded, Usage};
use crate::countable::{Countable, Growing};
use crate::openai::judge::is_done;
use crate::sse::{Data, Reader};

/// What has come of an answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Delivered {
    /// The text that has come.
    pub text: Countable,
    /// The usage that was told and could be believed. Unless it is final, its output is what the provider had
    /// counted at some moment before.
    pub usage: Option<Usage>,
    /// Whether the usage is that of the whole answer.
    pub is_final: bool,
}

/// How a dialect tells usage.
pub(crate) trait Telling: Default {
    /// Takes what the next event, or the JSON answer, says.
    fn take(&mut self, told: &Told<'_>, is_json: bool);

    /// The usage, and whether it is final.
    fn usage(&self) -> (Option<Usage>, bool);

    /// The words of an event, or of the JSON answer.
    fn words(event: &Value, into: &mut Growing);
}

/// Where usage stands in events of one dialect or another.
#[derive(Debug, Deserialize)]
pub(crate) struct Told<'a> {
    #[serde(borrow)]
    pub(crate) usage: Option<&'a RawValue>,
    #[serde(borrow)]
    pub(crate) message: Option<Within<'a>>,
    #[serde(borrow)]
    pub(crate) response: Option<Within<'a>>,
    /// Whether there are choices in the event.
    pub(crate) choices: Option<Vec<serde::de::IgnoredAny>>,
}

/// Usage within something that an event has.
#[derive(Debug, Deserialize)]
pub(crate) struct Within<'a> {
    #[serde(borrow)]
    pub(crate) usage: Option<&'a RawValue>,
}

/// Reads a stream as it comes, and can say at any moment what has come of it, however long it is.
pub struct Meter(Box<dyn Metering>);

trait Metering: Send {
    fn push(&mut self, bytes: &[u8]);
    fn text_bytes(&self) -> u64;
    fn finish(self: Box<Self>) -> Delivered;
}

/// What has come of an answer so far.
#[derive(Default)]
struct Coming<T> {
    telling: T,
    words: Growing,
    reader: Reader,
    is_done_told: bool,
}

/// Reads what has come.
pub(crate) fn read<T: Telling + Send>(recorded: Recorded, body: &[u8]) -> Delivered {
    let mut coming = Coming::<T>::default();
    match recorded {
        Recorded::Json => coming.take(body, true),
        Recorded::Sse => coming.push(body),
    }
    Box::new(coming).finish()
}

// === impl Meter ===

impl Meter {
    pub(crate) fn of<T: Telling + Send + 'static>() -> Self {
        Self(Box::new(Coming::<T>::default()))
    }

    /// Takes the next bytes of the stream.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.push(bytes);
    }

    /// How many bytes of text for a tokenizer have come.
    #[must_use]
    pub fn text_bytes(&self) -> u64 {
        self.0.text_bytes()
    }

    /// What has come.
    #[must_use]
    pub fn finish(self) -> Delivered {
        self.0.finish()
    }
}

impl fmt::Debug for Meter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Meter").field("text_bytes", &self.text_bytes()).finish()
    }
}

// === impl Coming ===

impl<T: Telling> Coming<T> {
    fn take(&mut self, data: &[u8], is_json: bool) {
        if let Ok(told) = serde_json::from_slice(data) {
            self.telling.take(&told, is_json);
        }
        if let Ok(event) = serde_json::from_slice(data) {
            T::words(&event, &mut self.words);
        }
    }
}

impl<T: Telling + Send> Metering for Coming<T> {
    fn push(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        // Taken out, because an event borrows from it.
        let mut reader = std::mem::take(&mut self.reader);
        while let Some(event) = reader.next(&mut rest) {
            match event.data {
                Data::Whole(data) if is_done(data) => self.is_done_told = true,
                Data::Whole(data) => self.take(data, false),
                Data::Absent | Data::TooLong => {}
            }
        }
        self.reader = reader;
    }

    fn text_bytes(&self) -> u64 {
        self.words.bytes()
    }

    fn finish(self: Box<Self>) -> Delivered {
        let (usage, is_final) = self.telling.usage();
        let is_final = usage.is_some() && (is_final || self.is_done_told);
        Delivered { text: self.words.finish(), usage, is_final }
    }
}

#[cfg(test)]
mod tests;
