//! The policies that judge as a whole, within a flight: the request before anything is paid for it, the answer behind
//! the policies that read it as it comes. What they block ends the flight for everybody; what one of them was to judge
//! and has not is served where the configuration says so, and never stored.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use kt_contract::config::{Judge, OnFailure};
use kt_contract::limits::ENTRY_BYTES_MAX;
use kt_contract::outcome::Reason;
use kt_contract::policy::{Decision, Phase};
use kt_providers::Dialect;

use super::call::read;
use super::external::{Matter, Said, Silence};
use super::fault::{Failed, Unkept};
use super::form;
use super::log::Charge;
use super::pilot::Pilot;
use super::police::Stopped;
use super::recording::Recording;

/// The longest request or answer that is read in passing.
pub(super) const READ_IN_PASSING_BYTES_MAX: usize = 64 << 10;

/// What has been judged of a flight.
#[derive(Debug, Default)]
pub(super) struct Judging {
    request: Judged,
    answer: Judged,
    /// Whether some policy has a word on an answer to this request, and may block it. Read once for a flight.
    may_block: OnceLock<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Judged {
    #[default]
    NotYet,
    /// By everybody who was to.
    Whole,
    /// Somebody has said nothing, and it went on all the same.
    WithGaps,
}

/// What a policy says of something that does not go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Sentence {
    pub(super) policy: String,
    pub(super) phase: Phase,
    /// Why, in words for the client.
    pub(super) what: String,
}

/// A stream that is shown to nobody before it has been judged.
pub(super) struct KeptBack {
    bytes: usize,
    charge: Charge,
}

/// What one policy says.
pub(super) enum Word {
    Passes,
    /// It has found something: what, in a word for logs, and in words for the client.
    Finds(String, String),
    /// The answer comes in a form that it cannot read.
    Unreadable,
    /// It was to say something, and has not.
    Silent(OnFailure),
}

// === impl Pilot ===

impl Pilot {
    /// Whether some policy may change or block an answer, and so has to have read it before anybody else does.
    pub(super) fn may_change_answers(&self) -> bool {
        self.output_chain().is_some_and(|chain| chain.enforces()) || self.blocks_answers()
    }

    /// Whether some policy may block an answer once it has seen the whole of it.
    fn blocks_answers(&self) -> bool {
        let read = || {
            let grant = &self.seat.grant;
            may_block(&grant.settings.judges, grant.dialect, &self.sent().body)
        };
        !self.standing.role.follows() && *self.judging.may_block.get_or_init(read)
    }

    /// Reads a long request for what is asked of its answer, where nobody else waits for the thread.
    async fn reads_request(&mut self) -> Result<(), Failed> {
        let (grant, body) = (&self.seat.grant, self.sent().body.clone());
        let (settings, dialect) = (Arc::clone(&grant.settings), grant.dialect);
        let mut judges = settings.judges.iter();
        let is_read = self.judging.may_block.get().is_some()
            || body.len() <= READ_IN_PASSING_BYTES_MAX
            || !judges.any(|judge| is_strict(judge) && reads_requests(judge));
        if is_read || self.standing.role.follows() {
            return Ok(());
        }
        let read = move || may_block(&settings.judges, dialect, &body);
        let read = self.apart(read).await?;
        self.judging.may_block.get_or_init(|| read.unwrap_or(true));
        Ok(())
    }

    /// Reads something long where nobody else waits for the thread. `None`: it could not be read.
    pub(super) async fn apart<T: Send + 'static>(
        &mut self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Option<T>, Failed> {
        let (sidecar, seat) = (Arc::clone(&self.sidecar), Arc::clone(&self.seat));
        self.over(sidecar.checks(&seat.grant.caller.principal.org, read)).await
    }

    /// What is to be said of a request before it goes on. Once for a flight, whoever leads it: all ask for the same.
    pub(super) async fn judges_request(&mut self) -> Result<Result<(), Stopped>, Failed> {
        self.reads_request().await?;
        if self.judging.request != Judged::NotYet {
            return Ok(Ok(()));
        }
        let request = self.sent().body.clone();
        let matter = Matter { phase: Phase::Input, request, answer: None };
        let judged = self.judges(matter).await?;
        Ok(judged.map(|judged| self.judging.request = judged))
    }

    /// A whole JSON answer, as it goes on: through the policies that read it, and those that judge it.
    pub(super) async fn passes(&mut self, body: Vec<u8>) -> Result<Result<Bytes, Stopped>, Failed> {
        let body = match self.polices(body).await? {
            Ok(body) => body,
            Err(stopped) => return Ok(Err(stopped)),
        };
        let judged = self.judges_answer(body.clone()).await?;
        if judged.is_err() {
            let delivered = read(self.seat.grant.dialect, &body);
            // What is not booked is not stored, and this is not stored anyway.
            self.pays(delivered).await;
        }
        Ok(judged.map(|()| body))
    }

    /// A stream that must not be shown before its end is kept here.
    pub(super) fn keeps_back(&self) -> Option<KeptBack> {
        let org = &self.seat.grant.caller.principal.org;
        self.blocks_answers().then(|| KeptBack { bytes: 0, charge: self.sidecar.logs.charge(org) })
    }

    /// A stream that is whole, and the part of it that nobody has been shown.
    pub(super) async fn judges_stream(
        &mut self,
        recording: &Recording,
    ) -> Result<Result<(), Stopped>, Failed> {
        let settings = &self.seat.grant.settings;
        if !settings.judges.iter().any(|judge| judge.judges(Phase::Output)) {
            return Ok(Ok(()));
        }
        let shown = self.flight.log.whole();
        let whole = shown.map(|mut whole| {
            whole.extend_from_slice(&recording.out);
            whole.extend_from_slice(recording.tail.held());
            whole
        });
        let answer = whole.and_then(|whole| self.seat.grant.dialect.assembled(&whole));
        match answer {
            Some(answer) => self.judges_answer(answer.into()).await,
            // Nobody can judge it.
            None if self.blocks_answers() => Ok(Err(Stopped::Unreadable)),
            None => Ok(Ok(())),
        }
    }

    /// Another sidecar's answer comes: whether all have judged it who were to, only that one knows.
    pub(super) fn may_be_unjudged(&self) {
        let may_pass_by = |judge: &Judge| match judge {
            Judge::External(external) => {
                external.decision == Decision::Block && external.on_failure == OnFailure::Allow
            }
            Judge::FormatCheck(_) | Judge::HallucinationDetection(_) => false,
        };
        if self.seat.grant.settings.judges.iter().any(may_pass_by) {
            self.flight.goes_unjudged();
        }
    }

    /// An answer as JSON.
    async fn judges_answer(&mut self, answer: Bytes) -> Result<Result<(), Stopped>, Failed> {
        match self.seat.grant.dialect {
            // Nothing is said in numbers.
            Dialect::OpenAiEmbeddings => return Ok(Ok(())),
            Dialect::OpenAiChat
            | Dialect::OpenAiCompletions
            | Dialect::OpenAiResponses
            | Dialect::AnthropicMessages => {}
        }
        if self.blocks_answers() && !form::is_readable(&answer) {
            return Ok(Err(Stopped::Unreadable));
        }
        let request = self.sent().body.clone();
        let matter = Matter { phase: Phase::Output, request, answer: Some(answer) };
        let judged = self.judges(matter).await?;
        Ok(judged.map(|judged| self.judging.answer = judged))
    }

    /// All who judge it, one after the other; the first that blocks is the last.
    async fn judges(&mut self, matter: Matter) -> Result<Result<Judged, Stopped>, Failed> {
        let mut judged = Judged::Whole;
        if self.standing.role.follows() {
            // It was judged where the call was made.
            return Ok(Ok(judged));
        }
        let (settings, phase) = (Arc::clone(&self.seat.grant.settings), matter.phase);
        for judge in settings.judges.iter().filter(|judge| judge.judges(phase)) {
            let blocks = judge.decision() == Decision::Block;
            let what = match self.word_of(judge, matter.clone()).await? {
                Word::Passes => continue,
                Word::Finds(found, what) => {
                    self.finds(judge, phase, &found);
                    what
                }
                Word::Unreadable if blocks => return Ok(Err(Stopped::Unreadable)),
                Word::Unreadable => continue,
                Word::Silent(OnFailure::Block) => "it could not be asked".to_owned(),
                Word::Silent(OnFailure::Allow) => {
                    if blocks {
                        judged = Judged::WithGaps;
                        self.flight.goes_unjudged();
                    }
                    continue;
                }
            };
            if blocks {
                let policy = judge.policy().to_owned();
                return Ok(Err(Stopped::Judged(Sentence { policy, phase, what })));
            }
        }
        Ok(Ok(judged))
    }

    async fn word_of(&mut self, judge: &Judge, matter: Matter) -> Result<Word, Failed> {
        let (phase, sidecar) = (matter.phase, Arc::clone(&self.sidecar));
        let seat = Arc::clone(&self.seat);
        let org = seat.grant.caller.principal.org.as_str();
        let unchecked = Word::Silent(OnFailure::Block);
        Ok(match judge {
            Judge::External(external) => {
                let on_failure = external.on_failure;
                match self.over(sidecar.asks(external.clone(), Arc::clone(&seat), matter)).await? {
                    Said::Allows => Word::Passes,
                    Said::Blocks(categories) => refused(phase, &categories),
                    // Whoever asks has made it too long: they do not choose to go unjudged.
                    Said::Nothing(Silence::QuestionTooLong) => unchecked,
                    Said::Nothing(_) => Word::Silent(on_failure),
                }
            }
            Judge::FormatCheck(_) => {
                let dialect = self.seat.grant.dialect;
                let check = sidecar.checks(org, move || form::format(dialect, &matter));
                self.over(check).await?.unwrap_or(unchecked)
            }
            Judge::HallucinationDetection(groundedness) => {
                let groundedness = *groundedness;
                let check = sidecar.checks(org, move || form::grounding(groundedness, &matter));
                self.over(check).await?.unwrap_or(unchecked)
            }
        })
    }

    fn finds(&mut self, judge: &Judge, phase: Phase, found: &str) {
        let (policy, decision) = (judge.policy(), judge.decision());
        self.sidecar.metrics.guardrail(policy, phase, decision);
        let triggered = format!("{policy}:{found}:{}", decision.as_str());
        self.seat.note(|exchange| exchange.triggered(triggered));
    }
}

/// Whether it may block answers.
fn is_strict(judge: &Judge) -> bool {
    judge.judges(Phase::Output) && judge.decision() == Decision::Block
}

/// Whether it depends on the request whether it has a word on the answer.
const fn reads_requests(judge: &Judge) -> bool {
    match judge {
        Judge::FormatCheck(_) | Judge::HallucinationDetection(_) => true,
        Judge::External(_) => false,
    }
}

/// Whether one of these policies has a word on the answer to a request, and may block it.
fn may_block(judges: &[Judge], dialect: Dialect, request: &[u8]) -> bool {
    // Nothing is said in numbers, and so nothing is judged.
    let says_something = dialect != Dialect::OpenAiEmbeddings;
    says_something
        && judges.iter().filter(|judge| is_strict(judge)).any(|judge| match judge {
            Judge::FormatCheck(_) => dialect.asks_for_form(request),
            Judge::HallucinationDetection(groundedness) => {
                form::carries_context(*groundedness, request)
            }
            Judge::External(_) => true,
        })
}

/// In what a service says of it.
fn refused(phase: Phase, categories: &[String]) -> Word {
    let matter = match phase {
        Phase::Input => "the request",
        Phase::Output => "the model's answer",
    };
    match categories.first() {
        None => Word::Finds("refused".to_owned(), format!("its service refuses {matter}")),
        Some(first) => {
            let all = categories.join(", ");
            Word::Finds(first.clone(), format!("its service refuses {matter}: {all}"))
        }
    }
}

// === impl Judging ===

impl Judging {
    /// What comes is the answer of another call.
    pub(super) const fn begins_anew(&mut self) {
        self.answer = Judged::NotYet;
    }

    /// Whether something went on that somebody was to judge and has not.
    pub(super) fn has_gaps(&self) -> bool {
        [self.request, self.answer].contains(&Judged::WithGaps)
    }
}

// === impl KeptBack ===

impl KeptBack {
    /// So much of it has come. Why it cannot be kept back, if it is too much.
    pub(super) fn grows_to(&mut self, recording: &Recording) -> Result<(), Unkept> {
        let bytes = recording.out.len();
        self.charge.grow(bytes.saturating_sub(self.bytes) as u64);
        self.bytes = bytes;
        if bytes > ENTRY_BYTES_MAX {
            return Err(Unkept::Unstorable(Reason::EntryTooLarge));
        }
        Ok(())
    }
}
