//! The provider: what it will say to a call is decided when the call comes, and its journal is the truth about money
//! and answers.

use bytes::Bytes;
use fastrand::Rng;
use kt_contract::key::CacheKey;
use kt_contract::wire::admit::ReplyShape;
use kt_providers::{Dialect, Recorded};
use sidecar_cache::ledger::TransferId;

use crate::event::{Event, Hears, Told};
use crate::leases::Leased;
use crate::swarm::Swarm;
use crate::world::World;

/// What Envoy says where it broke before an answer.
const LOST: &str = "upstream_reset_before_response_started{connection_termination}";

/// The number of a call in the journal.
pub(crate) type CallNo = usize;

/// A call as the journal has it.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Who made it.
    pub made: Made,
    /// When it came; `None`: it never did.
    pub came_at: Option<u64>,
    /// What is said.
    pub says: Says,
    /// How many steps of that were told, or went onto the way.
    pub told: usize,
    /// Whether the caller has hung up.
    pub is_left: bool,
    /// Whether the caller has read the head of the answer.
    pub is_head_read: bool,
    /// Whether the caller has read all of it.
    pub is_read: bool,
}

/// Who made a call, and for what.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    /// By which sidecar, in which of its lives.
    pub by: (usize, u32),
    /// In whose name.
    pub attempt: usize,
    /// Of which flight.
    pub flight: usize,
    /// For which key.
    pub key: CacheKey,
    /// Under which lease of its own sidecar.
    pub leased: Option<(usize, Leased)>,
    /// Under which lease that all share.
    pub shared: Option<Leased>,
    /// What pays for it.
    pub hold: Option<TransferId>,
    /// When its attempt began, in true time.
    pub under_at: u64,
    /// The question.
    pub question: u32,
    /// In which shape the answer is asked for.
    pub asked: Recorded,
}

/// What is said to a call.
#[derive(Clone, Debug)]
pub(crate) struct Says {
    /// How it is.
    pub manner: Manner,
    /// The status.
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u64>,
    /// Whether the answer may be stored.
    pub no_store: bool,
    /// The body, in pieces.
    pub pieces: Vec<Bytes>,
    /// How long it takes to begin, and from piece to piece.
    pub pace: (u64, u64),
    /// The usage that it tells, if it can be believed.
    pub usage: Option<(u64, u64)>,
}

/// How a call is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Manner {
    /// A whole answer.
    Whole,
    /// A whole answer of a kind that is not kept: too long, or with an end that is none.
    Unkept,
    /// It breaks off, or ends without its end.
    CutShort,
    /// All of it comes, and then the connection breaks where it should end.
    Broken,
    /// It says that it failed.
    InBand,
    /// Another status than 200.
    Refused,
    /// Nothing is ever said.
    Silent,
}

// === impl Call ===

impl Call {
    /// The whole body.
    #[must_use]
    pub(crate) fn body(&self) -> Vec<u8> {
        self.says.pieces.concat()
    }

    /// Whether the provider has generated tokens.
    #[must_use]
    pub(crate) const fn is_answered(&self) -> bool {
        self.came_at.is_some()
            && matches!(
                self.says.manner,
                Manner::Whole | Manner::Unkept | Manner::CutShort | Manner::Broken | Manner::InBand
            )
    }

    /// What a client of this shape may have of it as a whole answer: as it came, or told anew.
    #[must_use]
    pub(crate) fn told_as(&self, want: ReplyShape) -> Vec<Vec<u8>> {
        let (dialect, body) = (Dialect::OpenAiChat, self.body());
        let mut forms = Vec::new();
        let is_stream = matches!(want, ReplyShape::Sse { .. });
        if is_stream == (self.made.asked == Recorded::Sse) {
            let shown = dialect.hider(want).map(|mut hider| {
                let mut shown = Vec::new();
                hider.push(&body, &mut shown);
                hider.finish(&mut shown);
                shown
            });
            forms.push(shown.unwrap_or_else(|| body.clone()));
        }
        if let Ok(replay) = dialect.replay(self.made.asked, &body, want) {
            forms.push(replay.body.into_owned());
        }
        forms
    }
}

// === impl Says ===

impl Says {
    /// What is said to the next call.
    #[must_use]
    pub(crate) fn new(
        rng: &mut Rng,
        swarm: &Swarm,
        call: CallNo,
        question: u32,
        asked: Recorded,
    ) -> Self {
        let pace = (rng.u64(1..=swarm.latency_max), rng.u64(0..=swarm.latency_max / 4 + 1));
        let chance = |rng: &mut Rng, chance: u32| rng.u32(0..1_000) < chance;
        let refusal = |status: u16, retry_after: Option<u64>| Self {
            manner: Manner::Refused,
            status,
            retry_after,
            no_store: false,
            pieces: vec![Bytes::from_static(br#"{"error":{"message":"no","type":"provider"}}"#)],
            pace,
            usage: None,
        };
        if chance(rng, swarm.silent) {
            return Self { manner: Manner::Silent, ..refusal(0, None) };
        }
        if chance(rng, swarm.errors) {
            let status = crate::swarm::pick(rng, &[429, 500, 503, 529, 408]).unwrap_or(500);
            let retry_after = crate::swarm::pick(rng, &[None, None, Some(1), Some(30)]).flatten();
            return refusal(status, retry_after);
        }
        if chance(rng, swarm.refusals) {
            let status = crate::swarm::pick(rng, &[400, 404, 422, 401, 403]).unwrap_or(400);
            return refusal(status, None);
        }
        let mut manner = Manner::Whole;
        let mut no_store = false;
        let mut usage = Some((rng.u64(1..40), rng.u64(1..200)));
        let mut tells = usage;
        let mut finish = "stop";
        if chance(rng, swarm.uncacheable) {
            match rng.u32(0..3) {
                0 => no_store = true,
                1 => (manner, finish) = (Manner::Unkept, "content_filter"),
                _ => {
                    manner = Manner::Unkept;
                    usage = Some((5, crate::fixture::ENTRY_TOKENS_MAX + 1));
                    tells = usage;
                }
            }
        }
        if chance(rng, swarm.usage_noise) && manner == Manner::Whole {
            usage = None;
            tells = rng.bool().then_some((3, 9_000_000_000));
        }
        let mut pieces = match asked {
            Recorded::Json => answer(call, question, finish, tells),
            Recorded::Sse => stream(rng, (call, question), finish, tells),
        };
        if chance(rng, swarm.in_band) {
            manner = Manner::InBand;
            usage = None;
            fail((call, asked), &mut pieces);
        } else if chance(rng, swarm.truncated) {
            usage = None;
            if rng.u8(0..4) == 0 {
                manner = Manner::Broken;
            } else {
                manner = Manner::CutShort;
                cut(rng, &mut pieces);
            }
        }
        Self { manner, status: 200, retry_after: None, no_store, pieces, pace, usage }
    }
}

// === impl World ===

impl World<'_> {
    /// Something of an answer goes to its caller.
    pub(crate) fn tells_in(&mut self, length: u64, call: usize, told: Told) {
        let Some((at, life)) = self.calls.get(call).map(|call| call.made.by) else { return };
        let hears = Hears::Told { call, told };
        self.push_in(length, Event::Sidecar { at, life: Some(life), hears });
    }

    /// A call has come to the provider.
    pub(crate) fn call_comes(&mut self, call: usize) {
        let now = self.now;
        let is_lost = self.chance(self.swarm.loss / 5);
        let Some(called) = self.calls.get_mut(call).filter(|called| !called.is_left) else {
            return;
        };
        called.came_at = Some(now);
        let (begins_in, manner) = (called.says.pace.0, called.says.manner);
        if manner == Manner::Silent {
            return;
        }
        if is_lost {
            called.is_left = true;
            return self.tells_in(begins_in, call, Told::Unreached(LOST));
        }
        self.push_in(begins_in, Event::CallGoesOn(call));
    }

    /// The provider has the next thing to say.
    pub(crate) fn call_goes_on(&mut self, call: usize) {
        let Some(called) = self.calls.get_mut(call).filter(|called| !called.is_left) else {
            return;
        };
        let step = called.told;
        called.told += 1;
        let pace = called.says.pace.1;
        let told = match step.checked_sub(1) {
            None => Told::Head,
            Some(piece) => match called.says.pieces.get(piece) {
                Some(piece) => Told::Bytes(piece.clone()),
                None if called.says.manner == Manner::Broken => Told::Broken,
                None if called.says.manner == Manner::CutShort && call.is_multiple_of(2) => {
                    Told::Broken
                }
                None => Told::End,
            },
        };
        if !matches!(told, Told::End | Told::Broken) {
            self.push_in(pace, Event::CallGoesOn(call));
        }
        self.tells_in(1, call, told);
    }
}

/// Which call's answer this is: it says so itself.
#[must_use]
pub(crate) fn call_of(body: &[u8]) -> Option<CallNo> {
    const MARK: &[u8] = b"chatcmpl-";
    let at = body.windows(MARK.len()).position(|window| window == MARK)?;
    let digits = body.get(at + MARK.len()..)?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}

fn told_usage(tells: Option<(u64, u64)>) -> String {
    tells.map_or_else(String::new, |(input, output)| {
        let total = input + output;
        format!(
            r#","usage":{{"prompt_tokens":{input},"completion_tokens":{output},"total_tokens":{total}}}"#
        )
    })
}

fn answer(call: CallNo, question: u32, finish: &str, tells: Option<(u64, u64)>) -> Vec<Bytes> {
    let usage = told_usage(tells);
    let body = format!(
        r#"{{"id":"chatcmpl-{call}","object":"chat.completion","created":1,"model":"gpt-4o-1","choices":[{{"index":0,"message":{{"role":"assistant","content":"answer to {question}"}},"finish_reason":"{finish}"}}]{usage}}}"#
    );
    let body = Bytes::from(body);
    let half = body.len() / 2;
    vec![body.slice(..half), body.slice(half..)]
}

fn stream(
    rng: &mut Rng,
    (call, question): (CallNo, u32),
    finish: &str,
    tells: Option<(u64, u64)>,
) -> Vec<Bytes> {
    let head = format!(
        r#""id":"chatcmpl-{call}","object":"chat.completion.chunk","created":1,"model":"gpt-4o-1""#
    );
    let chunk = |delta: &str, finish: &str| {
        let text = format!(
            "data: {{{head},\"choices\":[{{\"index\":0,\"delta\":{delta},\"finish_reason\":{finish}}}]}}\n\n"
        );
        Bytes::from(text)
    };
    let mut pieces = vec![chunk(r#"{"role":"assistant","content":""}"#, "null")];
    for nth in 0..rng.u32(1..=3) {
        // Some outgrow what was set aside for them.
        let words = if rng.u8(0..6) == 0 { rng.usize(20..120) } else { 1 };
        let text = format!("word {nth} of {question} ").repeat(words);
        pieces.push(chunk(&format!(r#"{{"content":"{text}"}}"#), "null"));
    }
    pieces.push(chunk("{}", &format!("\"{finish}\"")));
    if tells.is_some() {
        let usage = told_usage(tells);
        pieces.push(Bytes::from(format!("data: {{{head},\"choices\":[]{usage}}}\n\n")));
    }
    pieces.push(Bytes::from_static(b"data: [DONE]\n\n"));
    pieces
}

/// An error where the answer, or its rest, should be.
fn fail((call, asked): (CallNo, Recorded), pieces: &mut Vec<Bytes>) {
    let error = format!(
        r#"{{"error":{{"message":"chatcmpl-{call} is overloaded","type":"server_error"}}}}"#
    );
    match asked {
        Recorded::Json => *pieces = vec![Bytes::from(error)],
        Recorded::Sse => {
            pieces.truncate(2);
            pieces.push(Bytes::from(format!("data: {error}\n\n")));
            pieces.push(Bytes::from_static(b"data: [DONE]\n\n"));
        }
    }
}

/// The body ends somewhere before its end.
fn cut(rng: &mut Rng, pieces: &mut Vec<Bytes>) {
    let kept = rng.usize(0..pieces.len().max(1));
    pieces.truncate(kept + 1);
    if let Some(last) = pieces.last_mut() {
        let length = rng.usize(0..last.len().max(1));
        last.truncate(length);
    }
    pieces.retain(|piece| !piece.is_empty());
}
