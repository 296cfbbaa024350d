//! The dialects, as one closed set: each question of the crate's users, dispatched to the dialect's file.

use kt_contract::json::Node;
use kt_contract::money::Tokens;
use kt_contract::outcome::Reason;
use kt_contract::problem::Problem;
use kt_contract::wire::admit::ReplyShape;

use crate::answer::{CannotReplay, Complete, Incomplete, Recorded, Replay, Terms};
use crate::anthropic_messages;
use crate::countable::{self, Countable};
use crate::delivered::{self, Delivered, Meter};
use crate::demand::{self, Demand};
use crate::openai::{self, UsageHider};
use crate::spoken::{self, Spoken};
use crate::{openai_chat, openai_completions, openai_embeddings, openai_responses};

/// A language that clients and providers speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// OpenAI chat completions.
    OpenAiChat,
    /// OpenAI completions.
    OpenAiCompletions,
    /// OpenAI responses.
    OpenAiResponses,
    /// OpenAI embeddings.
    OpenAiEmbeddings,
    /// Anthropic messages.
    AnthropicMessages,
}

/// What a request asks for, apart from its content.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    /// The model as the client names it.
    pub model: String,
    /// The shape in which the client wants the answer.
    pub reply: ReplyShape,
    /// Whether the client set the length limit itself, so that an answer ended by it is complete.
    pub client_limited: bool,
    /// Why nobody else may be given the answer, and this client nobody else's, if so.
    pub bypass: Option<Reason>,
}

// === impl Dialect ===

impl Dialect {
    /// Every dialect.
    pub const ALL: &[Self] = &[
        Self::OpenAiChat,
        Self::OpenAiCompletions,
        Self::OpenAiResponses,
        Self::OpenAiEmbeddings,
        Self::AnthropicMessages,
    ];

    /// The word in the model gate, in logs and in metric labels.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OpenAiChat => "openai_chat",
            Self::OpenAiCompletions => "openai_completions",
            Self::OpenAiResponses => "openai_responses",
            Self::OpenAiEmbeddings => "openai_embeddings",
            Self::AnthropicMessages => "anthropic_messages",
        }
    }

    /// The path that speaks it, here and at the provider.
    #[must_use]
    pub const fn path(self) -> &'static str {
        match self {
            Self::OpenAiChat => openai_chat::PATH,
            Self::OpenAiCompletions => openai_completions::PATH,
            Self::OpenAiResponses => openai_responses::PATH,
            Self::OpenAiEmbeddings => openai_embeddings::PATH,
            Self::AnthropicMessages => anthropic_messages::PATH,
        }
    }

    /// The outermost fields of a request that are not in the key (DESIGN, section 4): they cannot change
    /// the answer, or another gate has them.
    #[must_use]
    pub const fn left_out(self) -> &'static [&'static str] {
        match self {
            Self::OpenAiChat => openai_chat::LEFT_OUT,
            Self::OpenAiCompletions => openai_completions::LEFT_OUT,
            Self::OpenAiResponses => openai_responses::LEFT_OUT,
            Self::OpenAiEmbeddings => openai_embeddings::LEFT_OUT,
            Self::AnthropicMessages => anthropic_messages::LEFT_OUT,
        }
    }

    /// The request headers that can change the answer: they are in the key, and forwarded. Lower case.
    #[must_use]
    pub const fn semantic_headers(self) -> &'static [&'static str] {
        match self {
            Self::OpenAiChat
            | Self::OpenAiCompletions
            | Self::OpenAiResponses
            | Self::OpenAiEmbeddings => openai::SEMANTIC_HEADERS,
            Self::AnthropicMessages => anthropic_messages::SEMANTIC_HEADERS,
        }
    }

    /// Reads what a request asks for.
    ///
    /// # Errors
    /// The field that is missing, of the wrong type, or names an object that lives at the provider.
    pub fn read(self, body: &Node<'_>) -> Result<Asked, Problem> {
        match self {
            Self::OpenAiChat => openai_chat::read(body),
            Self::OpenAiCompletions => openai_completions::read(body),
            Self::OpenAiResponses => openai_responses::read(body),
            Self::OpenAiEmbeddings => openai_embeddings::read(body),
            Self::AnthropicMessages => anthropic_messages::read(body),
        }
    }

    /// The body of a refusal, as the dialect's clients expect it.
    #[must_use]
    pub fn error_body(self, problem: &Problem) -> Vec<u8> {
        match self {
            Self::OpenAiChat
            | Self::OpenAiCompletions
            | Self::OpenAiResponses
            | Self::OpenAiEmbeddings => openai::error_body(problem),
            Self::AnthropicMessages => anthropic_messages::error_body(problem),
        }
    }

    /// The event that ends a stream which has failed after its first byte.
    #[must_use]
    pub fn error_event(self, problem: &Problem) -> Vec<u8> {
        match self {
            Self::OpenAiChat | Self::OpenAiCompletions | Self::OpenAiEmbeddings => {
                openai::error_event(problem)
            }
            Self::OpenAiResponses => openai_responses::error_event(problem),
            Self::AnthropicMessages => anthropic_messages::error_event(problem),
        }
    }

    /// Whether an event's data is the last word of a stream: what comes before it is the whole answer.
    #[must_use]
    pub fn ends_stream(self, data: &[u8]) -> bool {
        match self {
            Self::OpenAiChat | Self::OpenAiCompletions => openai::judge::is_done(data),
            Self::OpenAiResponses => openai_responses::ends_stream(data),
            // There is no stream that could end.
            Self::OpenAiEmbeddings => false,
            Self::AnthropicMessages => anthropic_messages::ends_stream(data),
        }
    }

    /// Whether an event says that the stream has failed: there is no answer, whatever else comes.
    #[must_use]
    pub fn fails_stream(self, name: &[u8], data: &[u8]) -> bool {
        match self {
            Self::OpenAiChat | Self::OpenAiCompletions => openai::judge::is_error(name, data),
            Self::OpenAiResponses => openai_responses::fails_stream(name, data),
            // There is no stream that could fail.
            Self::OpenAiEmbeddings => false,
            Self::AnthropicMessages => anthropic_messages::fails_stream(name, data),
        }
    }

    /// What an event's data says that other events go on with.
    #[must_use]
    pub fn spoken(self, data: &[u8]) -> Spoken {
        match self {
            Self::OpenAiChat | Self::OpenAiCompletions => spoken::of_choices(data),
            Self::OpenAiResponses => spoken::of_items(data),
            // There is no stream.
            Self::OpenAiEmbeddings => Spoken::default(),
            Self::AnthropicMessages => spoken::of_blocks(data),
        }
    }

    /// How many answers a request asks for, read from its bytes; `None` where that cannot be said.
    #[must_use]
    pub fn answers_asked(self, request: &[u8]) -> Option<u64> {
        match self {
            Self::OpenAiChat => openai::count::choices(request),
            Self::OpenAiCompletions => openai::count::completions(request),
            Self::OpenAiEmbeddings => openai::count::embeddings(request),
            // Always one.
            Self::OpenAiResponses | Self::AnthropicMessages => None,
        }
    }

    /// What a request demands that costs.
    #[must_use]
    pub fn demand(self, body: &Node<'_>) -> Demand {
        let (manner, answers) = match self {
            Self::OpenAiChat => (openai_chat::MANNER, demand::count(body, "n")),
            Self::OpenAiCompletions => {
                (openai_completions::MANNER, openai_completions::answers_made(body))
            }
            Self::OpenAiResponses => (openai_responses::MANNER, 1),
            Self::OpenAiEmbeddings => {
                let none = Some(Tokens(0));
                return Demand {
                    output_max: none,
                    ..demand::read(&openai_embeddings::MANNER, 1, body)
                };
            }
            Self::AnthropicMessages => (anthropic_messages::MANNER, 1),
        };
        demand::read(&manner, answers, body)
    }

    /// The text of a request that a tokenizer counts.
    #[must_use]
    pub fn countable(self, body: &Node<'_>) -> Countable {
        match self {
            Self::OpenAiChat => countable::of_request(openai_chat::MANNER.content, body),
            Self::OpenAiCompletions => countable::of_prompt(body.field("prompt")),
            Self::OpenAiResponses => countable::of_request(openai_responses::MANNER.content, body),
            Self::OpenAiEmbeddings => countable::of_prompt(body.field("input")),
            Self::AnthropicMessages => {
                countable::of_request(anthropic_messages::MANNER.content, body)
            }
        }
    }

    /// What has come of an answer, whole or cut.
    #[must_use]
    pub fn delivered(self, recorded: Recorded, body: &[u8]) -> Delivered {
        match self {
            Self::OpenAiChat | Self::OpenAiCompletions => {
                delivered::read::<openai::delivered::Choices>(recorded, body)
            }
            Self::OpenAiResponses => delivered::read::<openai_responses::Response>(recorded, body),
            Self::OpenAiEmbeddings => {
                delivered::read::<openai::delivered::Embeddings>(recorded, body)
            }
            Self::AnthropicMessages => {
                delivered::read::<anthropic_messages::Message>(recorded, body)
            }
        }
    }

    /// Reads a stream as it comes.
    #[must_use]
    pub fn meter(self) -> Meter {
        match self {
            Self::OpenAiChat | Self::OpenAiCompletions => Meter::of::<openai::delivered::Choices>(),
            Self::OpenAiResponses => Meter::of::<openai_responses::Response>(),
            Self::OpenAiEmbeddings => Meter::of::<openai::delivered::Embeddings>(),
            Self::AnthropicMessages => Meter::of::<anthropic_messages::Message>(),
        }
    }

    /// The body's part of the write rule (SEMANTICS, section 3). `body` is all that came, after a clean end
    /// of the transport; `terms` are the request's.
    ///
    /// # Errors
    /// Why the answer must not be stored.
    pub fn judge(
        self,
        recorded: Recorded,
        body: &[u8],
        terms: Terms,
    ) -> Result<Complete, Incomplete> {
        match self {
            Self::OpenAiChat => openai_chat::judge(recorded, body, terms),
            Self::OpenAiCompletions => openai_completions::judge(recorded, body, terms),
            Self::OpenAiResponses => openai_responses::judge(recorded, body, terms),
            Self::OpenAiEmbeddings => openai_embeddings::judge(recorded, body, terms),
            Self::AnthropicMessages => anthropic_messages::judge(recorded, body, terms),
        }
    }

    /// Tells a stored answer in the shape that a client wants.
    ///
    /// # Errors
    /// Why it cannot be told so that an SDK would take it for a live answer.
    pub fn replay(
        self,
        recorded: Recorded,
        body: &[u8],
        want: ReplyShape,
    ) -> Result<Replay<'_>, CannotReplay> {
        match self {
            Self::OpenAiChat => openai_chat::replay(recorded, body, want),
            Self::OpenAiCompletions => openai_completions::replay(recorded, body, want),
            Self::OpenAiResponses => openai_responses::replay(recorded, body, want),
            Self::OpenAiEmbeddings => openai_embeddings::replay(recorded, body, want),
            Self::AnthropicMessages => anthropic_messages::replay(recorded, body, want),
        }
    }

    /// What a stream that has come to its end says, as the dialect's JSON answer would say it; usage is whatever came.
    /// `None` where it cannot be told without a guess.
    #[must_use]
    pub fn assembled(self, stream: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::OpenAiChat => openai_chat::assembled(stream),
            Self::OpenAiCompletions => openai_completions::assembled(stream),
            Self::OpenAiResponses => openai_responses::assembled(stream),
            Self::AnthropicMessages => anthropic_messages::assembled(stream),
            // They are told in JSON alone.
            Self::OpenAiEmbeddings => None,
        }
    }

    /// The request as it goes upstream so that a stream tells its usage; every other byte stays. `None`
    /// where nothing is to be changed: it asks for usage already, or for no stream.
    #[must_use]
    pub fn with_usage(self, body: &[u8]) -> Option<Vec<u8>> {
        match self {
            Self::OpenAiChat | Self::OpenAiCompletions => openai::with_usage(body),
            Self::OpenAiResponses | Self::OpenAiEmbeddings | Self::AnthropicMessages => None,
        }
    }

    /// Hides the usage that [`Self::with_usage`] asked for, where the client of this shape did not.
    #[must_use]
    pub fn hider(self, reply: ReplyShape) -> Option<UsageHider> {
        let hides = match self {
            Self::OpenAiChat | Self::OpenAiCompletions => true,
            Self::OpenAiResponses | Self::OpenAiEmbeddings | Self::AnthropicMessages => false,
        };
        let not_asked = reply == ReplyShape::Sse { include_usage: false };
        (hides && not_asked).then(UsageHider::default)
    }
}

#[cfg(test)]
mod tests;
