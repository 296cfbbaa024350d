//! Counts tokens where the provider has told none, or not of the whole: with the model's own tokenizer where
//! there is one, else with a margin above one that is near. What comes of it is an estimate, and is marked so.
//!
//! A tokenizer is loaded when it is first needed (half a second, 50 MB) and takes up to 0.4 s for a megabyte:
//! not for the hot path, nor for a thread that others wait for.

use kt_contract::money::Tokens;
use kt_contract::pricing::Billable;
use kt_contract::provider::Provider;
use kt_providers::{Countable, Delivered};
use tiktoken_rs::tokenizer::{Tokenizer as Known, get_tokenizer};
use tiktoken_rs::{CoreBPE, cl100k_base_singleton, o200k_base_singleton};

/// How much of a text is tokenized at once. The tokenizer's pattern runs back over white space and panics
/// where that is hundreds of kilobytes long, and its time grows faster than the text. A cut costs a token more
/// at most.
const CHUNK_BYTES_MAX: usize = 16 << 10;

/// What stands around words, in tokens.
struct Frames {
    /// A message, its role included.
    message: u64,
    /// What opens the answer, after the messages.
    opening: u64,
    /// What ends a part of an answer.
    part: u64,
    /// A call of a tool.
    call: u64,
    /// The explanation of tools beyond their own words.
    tools: u64,
}

/// In OpenAI's format. That of calls and tools is not published.
const OPENAI: Frames = Frames { message: 4, opening: 3, part: 1, call: 8, tools: 16 };
/// Measured at recorded answers, and 346 tokens that Anthropic tells of for tools, with a margin.
const UNPUBLISHED: Frames = Frames { message: 6, opening: 5, part: 3, call: 40, tools: 400 };

/// Whose tokens are counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tokenizer {
    /// OpenAI's from GPT-4o on.
    O200k,
    /// OpenAI's before.
    Cl100k,
    /// One that is not published. Half as many tokens again as [`Self::O200k`] has, and never more than bytes.
    Unpublished,
}

/// What a call has used, as far as can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// Its tokens.
    pub tokens: Billable,
    /// Whether something of it was counted here, or told before the end.
    pub is_estimated: bool,
}

/// What a call has used: what the provider told in the end, or else the more of what it told on the way and
/// what is counted here. `input` counts the request, where nothing was told of it.
pub fn used(
    delivered: &Delivered,
    tokenizer: Tokenizer,
    input: impl FnOnce(Tokenizer) -> Tokens,
) -> Used {
    if let (Some(usage), true) = (delivered.usage, delivered.is_final) {
        return Used { tokens: usage.into(), is_estimated: false };
    }
    let told = match delivered.usage {
        Some(usage) => Billable::from(usage),
        None => Billable { input: input(tokenizer), ..Billable::default() },
    };
    let output = told.output.max(tokenizer.count(&delivered.text));
    Used { tokens: Billable { output, ..told }, is_estimated: true }
}

// === impl Tokenizer ===

impl Tokenizer {
    /// The tokenizer of a model. One of OpenAI that is not known by its name has the newest; of a deployment
    /// in Azure, whose name says nothing, likewise.
    #[must_use]
    pub fn of(provider: Provider, model: &str) -> Self {
        match provider {
            Provider::Anthropic => Self::Unpublished,
            Provider::Azure => Self::O200k,
            Provider::OpenAi => match get_tokenizer(model) {
                Some(
                    Known::Cl100kBase
                    | Known::P50kBase
                    | Known::P50kEdit
                    | Known::R50kBase
                    | Known::Gpt2,
                ) => Self::Cl100k,
                Some(Known::O200kBase | Known::O200kHarmony) | None => Self::O200k,
            },
        }
    }

    /// The tokens of a request or an answer, with what frames them.
    #[must_use]
    pub fn count(self, text: &Countable) -> Tokens {
        let frames = match self {
            Self::O200k | Self::Cl100k => OPENAI,
            Self::Unpublished => UNPUBLISHED,
        };
        let words = text.pieces.iter().map(|piece| self.count_text(piece));
        let around = [
            text.tokens,
            text.messages.saturating_mul(frames.message),
            if text.messages > 0 { frames.opening } else { 0 },
            text.parts.saturating_mul(frames.part),
            text.calls.saturating_mul(frames.call),
            if text.has_tools { frames.tools } else { 0 },
        ];
        Tokens(words.chain(around).fold(0, u64::saturating_add))
    }

    fn count_text(self, text: &str) -> u64 {
        let tokens = chunks(text).fold(0, |sum: u64, chunk| {
            sum.saturating_add(self.published().count_ordinary(chunk) as u64)
        });
        let tokens = match self {
            Self::O200k | Self::Cl100k => tokens,
            Self::Unpublished => tokens.saturating_add(tokens.div_ceil(2)),
        };
        // No token stands for less than a byte.
        tokens.min(text.len() as u64)
    }

    fn published(self) -> &'static CoreBPE {
        match self {
            Self::Cl100k => cl100k_base_singleton(),
            Self::O200k | Self::Unpublished => o200k_base_singleton(),
        }
    }
}

/// The text in parts of bounded length, cut between characters.
fn chunks(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let cut = rest.floor_char_boundary(CHUNK_BYTES_MAX);
        let (chunk, behind) = rest.split_at_checked(cut).unwrap_or((rest, ""));
        rest = behind;
        Some(chunk)
    })
}

#[cfg(test)]
mod tests;
