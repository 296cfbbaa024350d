//! What a sidecar that leads a flight tells the others in the flight's log: for whom the flight is, how its answer
//! begins, and how an attempt ends. Between the two lie the answer's bytes, as the provider sent them.
//!
//! ```text
//! head:   {"v":1, "gates":…, "check":…, "began":[…], "streams":…, "span":…}
//! pieces: {"answer":{"status":200, …}} or {"trouble":"…"}, then bytes; events of a stream are not torn
//! end:    {"whole":…, "last":…, "again_after_ms":…, "cost_micro_usd":…}
//! ```
//!
//! A head of another version is nobody's: whoever reads it makes its own call. All of it is sealed
//! ([`flight_seal`](crate::flight_seal)).

use bytes::Bytes;
use kt_contract::gates::Gates;
use kt_contract::key::CheckHash;
use kt_contract::money::MicroUsd;
use kt_contract::time::Millis;
use kt_contract::trace::TraceParent;
use kt_providers::Recorded;
use serde::{Deserialize, Serialize};

use crate::entry::Mismatch;
use crate::generation::{Generation, Vector};

const VERSION: u16 = 1;

/// For whom a flight is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// All that a reader's gates must equal.
    pub gates: Gates,
    /// The independent hash of gates and request.
    pub check: CheckHash,
    /// The generations under which the attempt began.
    pub began: Vector,
    /// The shape in which the answer was asked for.
    pub asked: Recorded,
    /// The span of the request that leads, where it has one: the spans of those who follow link to it.
    pub span: Option<TraceParent>,
}

/// How an answer begins: the first piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Opening {
    /// As the provider began it.
    Answer(Answer),
    /// There is none.
    Trouble(Trouble),
}

/// The head of a provider's answer, as far as it goes on to clients.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The content type.
    pub content_type: Option<String>,
    /// The content encoding.
    pub content_encoding: Option<String>,
    /// `Retry-After`.
    pub after: Option<String>,
    /// `Retry-After-Ms`.
    pub after_ms: Option<String>,
    /// `X-Should-Retry`.
    pub should: Option<String>,
}

/// Why there is no answer of a provider.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trouble {
    /// It was not reached.
    Unreachable,
    /// It refused the gateway's credential.
    Unauthorized,
    /// It did not answer in time, or broke off.
    CutShort,
    /// No gateway of the leader's took the call.
    NoGateway,
    /// A policy does not let it pass.
    Blocked(Blocked),
}

/// A policy's word on an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Blocked {
    /// The policy's name.
    pub policy: String,
    /// The status of a block.
    pub status: u16,
    /// Why, in words.
    pub what: String,
}

/// How an attempt ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Whether all that was to come has come: the transport had its end.
    pub is_whole: bool,
    /// Whether no other attempt follows: what was told is for everybody.
    pub is_last: bool,
    /// Where one follows: not before so long from now.
    pub again_after: Millis,
    /// What the call has cost, where that is known.
    pub cost: Option<MicroUsd>,
}

/// What a reader makes of a head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// The answer is for it.
    Mine,
    /// It is for somebody else: no accident.
    Others(Mismatch),
    /// The attempt began before something was invalidated.
    Old,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct HeadText {
    v: u16,
    gates: Gates,
    check: CheckHash,
    began: Vec<u64>,
    streams: bool,
    /// Only where there is one: a sidecar that does not know the field reads no head that has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    span: Option<TraceParent>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct EndText {
    whole: bool,
    last: bool,
    #[serde(default)]
    again_after_ms: u64,
    #[serde(default)]
    cost_micro_usd: Option<u64>,
}

// === impl Head ===

impl Head {
    /// The head as bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let Self { gates, check, began, asked, span } = self;
        text(&HeadText {
            v: VERSION,
            gates: gates.clone(),
            check: *check,
            began: began.numbers().iter().map(|generation| generation.0).collect(),
            streams: *asked == Recorded::Sse,
            span: *span,
        })
    }

    /// Reads a head; `None` where it is none, or of another version.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let HeadText { v, gates, check, began, streams, span } =
            serde_json::from_slice(bytes).ok()?;
        let began = Vector::from_numbers(began.into_iter().map(Generation).collect());
        let asked = if streams { Recorded::Sse } else { Recorded::Json };
        (v == VERSION).then_some(Self { gates, check, began, asked, span })
    }

    /// What whoever has these gates, and knows of these generations, makes of it. An attempt that began under
    /// newer ones than it knows of serves it too.
    #[must_use]
    pub fn read_by(&self, gates: &Gates, check: &CheckHash, known: &Vector) -> Reading {
        if let Some(reason) = gates.first_difference(&self.gates) {
            return Reading::Others(Mismatch::Gate(reason));
        }
        if self.check != *check {
            return Reading::Others(Mismatch::Check);
        }
        let (began, known) = (self.began.numbers(), known.numbers());
        let is_as_new = began.len() == known.len()
            && began.iter().zip(known).all(|(began, known)| began >= known);
        if is_as_new { Reading::Mine } else { Reading::Old }
    }
}

// === impl Opening ===

impl Opening {
    /// The opening as bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        text(self)
    }

    /// Reads an opening; `None` where it is none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }
}

// === impl End ===

impl End {
    /// The end as bytes.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let Self { is_whole, is_last, again_after, cost } = *self;
        text(&EndText {
            whole: is_whole,
            last: is_last,
            again_after_ms: again_after.0,
            cost_micro_usd: cost.map(MicroUsd::micros),
        })
    }

    /// Reads an end; `None` where it is none.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let EndText { whole, last, again_after_ms, cost_micro_usd } =
            serde_json::from_slice(bytes).ok()?;
        let cost = match cost_micro_usd {
            None => None,
            // More than any amount is none that was told.
            Some(micros) => Some(MicroUsd::new(micros).ok()?),
        };
        let again_after = Millis(again_after_ms);
        Some(Self { is_whole: whole, is_last: last, again_after, cost })
    }
}

fn text(of: &impl Serialize) -> Bytes {
    // Names, numbers and texts: there is nothing in it that cannot be written.
    serde_json::to_vec(of).unwrap_or_default().into()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kt_contract::gates::{ModelGate, Scope};
    use kt_contract::hex::Digest;
    use kt_contract::outcome::Reason;

    use super::*;

    const CHECK: CheckHash = CheckHash(Digest([3; 32]));

    fn gates() -> Gates {
        Gates {
            org: "acme".to_owned(),
            scope: Scope::OrgShared { group: None },
            codebases: BTreeSet::from(["acme/web".to_owned()]),
            fabric: None,
            policy: Digest([5; 32]),
            model: ModelGate {
                dialect: "openai_chat".to_owned(),
                path: "/v1/chat/completions".to_owned(),
                provider: "openai".to_owned(),
                upstream: "https://api.openai.com".to_owned(),
                served_model: "gpt-4o".to_owned(),
                version: None,
            },
            entitlements: BTreeSet::new(),
        }
    }

    fn vector(numbers: &[u64]) -> Vector {
        Vector::from_numbers(numbers.iter().copied().map(Generation).collect())
    }

    fn head() -> Head {
        let began = vector(&[0, u64::MAX, 7]);
        Head { gates: gates(), check: CHECK, began, asked: Recorded::Sse, span: None }
    }

    fn amount(micros: u64) -> Option<MicroUsd> {
        MicroUsd::new(micros).ok()
    }

    #[test]
    fn what_is_written_is_read() {
        let leader = TraceParent { trace_id: [1; 16], span_id: [2; 8], is_sampled: true };
        for (asked, span) in [(Recorded::Sse, None), (Recorded::Json, Some(leader))] {
            let head = Head { asked, span, ..head() };
            assert_eq!(Head::decode(&head.encode()), Some(head));
        }
        let text = |text: &str| Some(text.to_owned());
        let answer = Answer {
            status: 429,
            content_type: text("application/json"),
            content_encoding: text("br"),
            after: text("3"),
            after_ms: text("2900"),
            should: text("true"),
        };
        let troubles =
            [Trouble::Unreachable, Trouble::Unauthorized, Trouble::CutShort, Trouble::NoGateway];
        let openings = [Opening::Answer(answer), Opening::Answer(Answer::default())]
            .into_iter()
            .chain(troubles.map(Opening::Trouble));
        for opening in openings {
            assert_eq!(Opening::decode(&opening.encode()), Some(opening));
        }
        for is_whole in [true, false] {
            for is_last in [true, false] {
                for (after, cost) in [(0, None), (400, amount(0)), (u64::MAX, amount(1_234_567))] {
                    let again_after = Millis(after);
                    let end = End { is_whole, is_last, again_after, cost };
                    assert_eq!(End::decode(&end.encode()), Some(end));
                }
            }
        }
    }

    #[test]
    fn what_somebody_else_wrote_is_not_misread() {
        let later = String::from_utf8(head().encode().to_vec()).unwrap();
        let later = later.replace("\"v\":1", "\"v\":2");
        assert!(later.contains("\"v\":2"));
        assert_eq!(Head::decode(later.as_bytes()), None, "another version");
        let more = "{\"whole\":true,\"last\":true,\"and\":1}";
        let absurd = "{\"whole\":true,\"last\":true,\"cost_micro_usd\":9007199254740992}";
        for text in ["", "{}", "null", "data: x\n\n", "{\"answer\":{}}", more, absurd] {
            assert_eq!(Head::decode(text.as_bytes()), None, "{text}");
            assert_eq!(Opening::decode(text.as_bytes()), None, "{text}");
            assert_eq!(End::decode(text.as_bytes()), None, "{text}");
        }
    }

    #[test]
    fn a_head_is_for_whoever_has_the_same_gates_and_check_hash_and_knows_of_nothing_newer() {
        let (head, mine) = (head(), gates());
        let known = vector(&[0, u64::MAX, 7]);
        assert_eq!(head.read_by(&mine, &CHECK, &known), Reading::Mine);
        let others = Gates { org: "globex".to_owned(), ..gates() };
        let gate = Reading::Others(Mismatch::Gate(Reason::Org));
        assert_eq!(head.read_by(&others, &CHECK, &known), gate);
        let check = CheckHash(Digest([4; 32]));
        assert_eq!(head.read_by(&mine, &check, &known), Reading::Others(Mismatch::Check));
        for (known, expected) in [
            (vector(&[0, 3, 7]), Reading::Mine),
            (vector(&[1, u64::MAX, 7]), Reading::Old),
            (vector(&[0, u64::MAX, 8]), Reading::Old),
            (vector(&[0, u64::MAX]), Reading::Old),
        ] {
            assert_eq!(head.read_by(&mine, &CHECK, &known), expected, "{known:?}");
        }
    }
}
