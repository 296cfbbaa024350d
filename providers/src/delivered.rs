//! What has come of an answer, whole or cut, stored or refused: its text, and the usage as far as it was told.
//! Other than a judgement it never says no: money has been spent on what came, whatever it is worth.

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

/// Reads what has come.
pub(crate) fn read<T: Telling>(recorded: Recorded, body: &[u8]) -> Delivered {
    let mut telling = T::default();
    let mut words = Growing::default();
    let mut is_done_told = false;
    let mut take = |data: &[u8], is_json: bool| {
        if let Ok(told) = serde_json::from_slice(data) {
            telling.take(&told, is_json);
        }
        if let Ok(event) = serde_json::from_slice(data) {
            T::words(&event, &mut words);
        }
    };
    match recorded {
        Recorded::Json => take(body, true),
        Recorded::Sse => {
            let mut reader = Reader::default();
            let mut rest = body;
            while let Some(event) = reader.next(&mut rest) {
                match event.data {
                    Data::Whole(data) if is_done(data) => is_done_told = true,
                    Data::Whole(data) => take(data, false),
                    Data::Absent | Data::TooLong => {}
                }
            }
        }
    }
    let (usage, is_final) = telling.usage();
    let is_final = usage.is_some() && (is_final || is_done_told);
    Delivered { text: words.finish(), usage, is_final }
}

#[cfg(test)]
mod tests;
