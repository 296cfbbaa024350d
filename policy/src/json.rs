//! The texts of a JSON body: where they stand, what they say, and how some of their bytes are replaced so that the
//! body stays the JSON that it was. The body has been read strictly before; what is no JSON has no texts.

mod decoded;
mod splice;
mod walk;

use std::ops::Range;

pub(crate) use decoded::Decoded;
pub use splice::{Edit, Written, splice};
pub(crate) use walk::{field_values, texts};

/// A text of a body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Text<'a> {
    /// What stands there.
    pub(crate) form: Form,
    /// Whether it is itself JSON: the arguments of a call, as a text.
    pub(crate) is_json: bool,
    /// Who wrote it.
    pub(crate) author: Author,
    /// Its bytes in the body: what is between the quotes, or the whole number.
    pub(crate) raw: Range<usize>,
    /// What it says.
    pub(crate) says: Decoded<'a>,
}

/// What a body of any dialect says, a request or an answer: every string that policies read, in its order.
#[must_use]
pub fn said(body: &[u8]) -> Vec<String> {
    let strings = texts(body).into_iter().filter(|text| text.form == Form::String);
    strings.map(|text| text.says.text().to_owned()).collect()
}

/// What stands in a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// A string.
    String,
    /// The name of a field. Nothing but a block can come of what is found in it.
    Name,
    /// A number among the content. What replaces it is a string.
    Number,
}

/// Who wrote a text, as far as it matters to what may be an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Author {
    /// Whoever built the application: system prompts, tools.
    Developer,
    /// Whoever talks to it, and whatever it has read.
    Anybody,
}
