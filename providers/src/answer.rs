//! What is said about a recorded answer, in every dialect: whether it is complete, what it used, and how it
//! is told again.

use std::borrow::Cow;

use kt_contract::money::Tokens;
use kt_contract::outcome::Reason;
use kt_contract::pricing::Billable;
use kt_contract::wire::admit::{ReplyShape, SavedTokens};

/// The content type of an answer that is told in this shape.
pub(crate) const CONTENT_TYPE_JSON: &str = "application/json";
pub(crate) const CONTENT_TYPE_SSE: &str = "text/event-stream; charset=utf-8";

/// The shape in which the provider answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Recorded {
    /// One JSON object.
    Json,
    /// A server-sent event stream.
    Sse,
}

/// What of a request decides whether its answer is complete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// Whether the client set the length limit itself, so that an answer ended by it is complete.
    pub client_limited: bool,
    /// How many answers were asked for (choices, embeddings), where that is known.
    pub answers: Option<u64>,
}

/// An answer that may be stored, as far as its own content goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complete {
    /// The tokens it took; `None` where the provider told none, or none that can be believed.
    pub usage: Option<Usage>,
    /// The model that the provider says has answered.
    pub model: Option<String>,
}

/// Tokens of one answer, as its provider told them and as they could be believed. Each token is in one count
/// only: what an answer costs is the sum of the counts, each times its own price. In sum at most 2^53−1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Tokens of the prompt at the full price of input: the provider's prompt cache neither had nor took them.
    pub uncached_input_tokens: u64,
    /// Tokens of the prompt that the provider's prompt cache had.
    pub cache_read_tokens: u64,
    /// Tokens of the prompt that it took, to keep them for as long as it does by default: 5 minutes at
    /// Anthropic, 30 at OpenAI.
    pub cache_write_tokens: u64,
    /// Tokens of the prompt that it took for the longer time that a request may ask for: an hour at Anthropic,
    /// 12 at OpenAI.
    pub cache_write_long_tokens: u64,
    /// Tokens of the answer, hidden reasoning included.
    pub output_tokens: u64,
}

/// Why an answer must not be stored.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Incomplete {
    /// It ends before its end: no `[DONE]`, a line or an event without its end, JSON without its end.
    #[error("the answer is cut short")]
    CutShort,
    /// Something in it is not the JSON that it should be.
    #[error("the answer is malformed")]
    Malformed,
    /// A line of the stream is longer than `SSE_LINE_BYTES_MAX`, or an event beyond its bound.
    #[error("an event of the stream is too long")]
    EventTooLong,
    /// It carries an error, whatever its status says.
    #[error("the answer carries an error")]
    ErrorInBand,
    /// It has no choices.
    #[error("the answer has no choices")]
    NoChoices,
    /// It has no output items, or no embeddings.
    #[error("the answer is empty")]
    NoOutput,
    /// A choice has no end, or is missing between others.
    #[error("choice {index} has no finish_reason")]
    ChoiceUnfinished {
        /// The index of the choice.
        index: u64,
    },
    /// A choice ended for a reason that is not stored.
    #[error("a choice ended with finish_reason '{reason}'")]
    FinishReason {
        /// The provider's word, shortened.
        reason: String,
    },
    /// A response says of itself that it is neither completed nor ended.
    #[error("the response has status '{status}'")]
    Status {
        /// The provider's word, shortened; empty where there was none.
        status: String,
    },
    /// An output item has no end, or failed.
    #[error("output item {index} is not completed")]
    ItemUnfinished {
        /// The index of the item.
        index: u64,
    },
    /// There are more or fewer answers than the request asked for.
    #[error("{told} answers came where {asked} were asked for")]
    AnswerCount {
        /// What the request asked for.
        asked: u64,
        /// What came.
        told: u64,
    },
    /// A content block has no end, or is missing between others.
    #[error("content block {index} is not closed")]
    BlockUnfinished {
        /// The index of the block.
        index: u64,
    },
    /// A message has not said why it ended.
    #[error("the answer has no stop_reason")]
    NoStopReason,
    /// Something follows the stream's last event.
    #[error("the stream goes on after its end")]
    AfterDone,
}

/// An entry, told again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay<'a> {
    /// The content type of `body`.
    pub content_type: &'static str,
    /// The whole body; borrowed where it is the recorded one, byte for byte.
    pub body: Cow<'a, [u8]>,
}

/// Why an entry cannot be told in the shape that was asked for: an SDK could tell the replay from a live
/// answer, so a live answer it must be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CannotReplay {
    /// The shape has usage and the recording has none.
    #[error("the recorded answer has no usage")]
    NoUsage,
    /// The dialect has no streams.
    #[error("answers of this dialect are never streamed")]
    NoStream,
    /// Pieces of the answer have no one meaning once they are put together: `what` names the field.
    #[error("the recorded answer cannot be put together: {what}")]
    Ambiguous {
        /// The field at fault.
        what: String,
    },
    /// The recording is not a complete answer. An entry never is that; it is refused all the same.
    #[error("the recorded answer is not complete")]
    Incomplete(#[from] Incomplete),
}

// === impl Usage ===

impl Usage {
    /// All tokens of the prompt, whatever the provider's prompt cache did with them.
    #[must_use]
    pub const fn input_tokens(self) -> u64 {
        self.uncached_input_tokens
            .saturating_add(self.cache_read_tokens)
            .saturating_add(self.written_tokens())
    }

    /// All tokens that the provider's prompt cache took, for however long.
    #[must_use]
    pub const fn written_tokens(self) -> u64 {
        self.cache_write_tokens.saturating_add(self.cache_write_long_tokens)
    }
}

impl From<Usage> for SavedTokens {
    fn from(usage: Usage) -> Self {
        Self { input: usage.input_tokens(), output: usage.output_tokens }
    }
}

impl From<Usage> for Billable {
    fn from(usage: Usage) -> Self {
        let Usage {
            uncached_input_tokens,
            cache_read_tokens,
            cache_write_tokens,
            cache_write_long_tokens,
            output_tokens,
        } = usage;
        Self {
            input: Tokens(uncached_input_tokens),
            cached_input: Tokens(cache_read_tokens),
            cache_write: Tokens(cache_write_tokens),
            cache_write_long: Tokens(cache_write_long_tokens),
            output: Tokens(output_tokens),
        }
    }
}

// === impl Replay ===

impl<'a> Replay<'a> {
    /// The recorded bytes where recording and wish have one shape; otherwise what is made of them.
    pub(crate) fn of(
        (recorded, body): (Recorded, &'a [u8]),
        want: ReplyShape,
        to_json: impl FnOnce(&[u8]) -> Result<Vec<u8>, CannotReplay>,
        to_sse: impl FnOnce(&[u8]) -> Result<Vec<u8>, CannotReplay>,
    ) -> Result<Self, CannotReplay> {
        let content_type = match want {
            ReplyShape::Json => CONTENT_TYPE_JSON,
            ReplyShape::Sse { .. } => CONTENT_TYPE_SSE,
        };
        let body = match (recorded, want) {
            (Recorded::Json, ReplyShape::Json) | (Recorded::Sse, ReplyShape::Sse { .. }) => {
                Cow::Borrowed(body)
            }
            (Recorded::Sse, ReplyShape::Json) => Cow::Owned(to_json(body)?),
            (Recorded::Json, ReplyShape::Sse { .. }) => Cow::Owned(to_sse(body)?),
        };
        Ok(Self { content_type, body })
    }
}

// === impl Terms ===

impl Terms {
    /// The terms of an answer that was stored: they were looked at then, and are in its key.
    pub(crate) const STORED: Self = Self { client_limited: true, answers: None };

    /// Holds the number of answers against what was asked for.
    pub(crate) fn check(self, told: u64) -> Result<(), Incomplete> {
        match self.answers {
            Some(asked) if asked != told => Err(Incomplete::AnswerCount { asked, told }),
            Some(_) | None => Ok(()),
        }
    }
}

// === impl Incomplete ===

impl Incomplete {
    /// The reason for headers, logs and metrics.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::FinishReason { .. } => Reason::FinishReason,
            Self::CutShort
            | Self::Malformed
            | Self::EventTooLong
            | Self::ErrorInBand
            | Self::NoChoices
            | Self::NoOutput
            | Self::ChoiceUnfinished { .. }
            | Self::Status { .. }
            | Self::ItemUnfinished { .. }
            | Self::AnswerCount { .. }
            | Self::BlockUnfinished { .. }
            | Self::NoStopReason
            | Self::AfterDone => Reason::Incomplete,
        }
    }
}

// === impl CannotReplay ===

impl CannotReplay {
    /// The reason for headers, logs and metrics.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        match self {
            Self::NoUsage | Self::NoStream | Self::Ambiguous { .. } => Reason::Shape,
            Self::Incomplete(_) => Reason::Corrupt,
        }
    }
}
