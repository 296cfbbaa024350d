//! What a client's `Idempotency-Key` is worth: whether its request is made, told again or refused, and what of
//! an answer is remembered. Pure: what is known comes in, a decision goes out.
//!
//! A key is free, in flight or done. What does not end with an answer that would come again frees it: the retry
//! is then the first request of its kind.

pub mod record;

use kt_contract::hex::Digest;
use kt_contract::limits::ENTRY_BYTES_MAX;
use kt_contract::problem::Repeated;
use kt_contract::time::Millis;

/// How long an answer is told again.
pub const KEPT: Millis = Millis(24 * 60 * 60 * 1_000);

/// The largest answer that is kept: as large as an entry may ever be.
pub const REPLY_BYTES_MAX: u64 = ENTRY_BYTES_MAX as u64;

/// How many answers of one organization are kept, and their bytes; beyond it the oldest go. An organization that
/// needs more has its keys forgotten sooner, and nobody else's.
pub const ORG_BOUNDS: OrgBounds = OrgBounds { replies: 100_000, bytes: 256 << 20 };

/// How much is kept for one organization.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OrgBounds {
    /// Answers.
    pub replies: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// Which key of which caller: a digest, so that neither lies on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ReplyId(pub Digest);

/// What a request is, so that another one is found out: a digest of its gates, its path, its semantic headers and the
/// bytes of its body. Of the bytes, and not of what they mean: whoever tries again sends the same ones, and no
/// field can be changed without being noticed, the shape of the answer included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fingerprint(pub Digest);

/// What is known of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing: never used, or free again.
    Free,
    /// A request is being answered.
    InFlight(Fingerprint),
    /// It was answered.
    Done(Fingerprint, Kept),
}

/// What is there of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kept {
    /// All of it.
    Whole,
    /// It was too large: only how many bytes it had.
    Length(u64),
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is made, as the first of its key.
    Make,
    /// The answer of the first is told again.
    Replay,
    /// It is refused.
    Refuse(Repeated),
}

/// How an answer ended for the client whose request it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// All of it is there.
    Whole {
        /// Its status.
        status: u16,
        /// Whether it is what was asked for, as far as its status does not say: a success may hold an error.
        is_faulty: bool,
        /// The length of its body.
        bytes: u64,
    },
    /// All of it is there, and a policy that was to judge it has not.
    Unjudged,
    /// There is none, it broke off, or its client left before its end.
    Failed,
}

/// What is remembered of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Memory {
    /// That it was given, and all of it or its length.
    Keep(Kept),
    /// Nothing: the key is free.
    Free,
}

/// Decides about a request.
#[must_use]
pub fn verdict(known: Known, asked: Fingerprint) -> Verdict {
    match known {
        Known::Free => Verdict::Make,
        // Before anything else: what is in flight, or was too large, is not what this client has asked.
        Known::InFlight(first) | Known::Done(first, _) if first != asked => {
            Verdict::Refuse(Repeated::OtherRequest)
        }
        Known::InFlight(_) => Verdict::Refuse(Repeated::InFlight),
        Known::Done(_, Kept::Whole) => Verdict::Replay,
        Known::Done(_, Kept::Length(bytes)) => Verdict::Refuse(Repeated::TooLarge { bytes }),
    }
}

/// Decides what of an answer is remembered: what would come again, and has been paid for.
#[must_use]
pub const fn memory(ending: Ending) -> Memory {
    match ending {
        Ending::Whole { status, is_faulty, bytes } if would_come_again(status, is_faulty) => {
            let is_small = bytes <= REPLY_BYTES_MAX;
            Memory::Keep(if is_small { Kept::Whole } else { Kept::Length(bytes) })
        }
        Ending::Whole { .. } | Ending::Unjudged | Ending::Failed => Memory::Free,
    }
}

const fn would_come_again(status: u16, is_faulty: bool) -> bool {
    match status {
        200..=299 => !is_faulty,
        // About credentials, money, time or load, and not about the request: they pass.
        401..=403 | 408 | 409 | 425 | 429 => false,
        400..=499 => true,
        0..=199 | 300..=399 | 500.. => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAME: Fingerprint = Fingerprint(Digest([1; 32]));
    const OTHER: Fingerprint = Fingerprint(Digest([2; 32]));

    #[test]
    fn every_request_with_every_state_of_its_key() {
        use Repeated::{InFlight, OtherRequest, TooLarge};
        let too_large = Kept::Length(9_000_000);
        for (known, same, other) in [
            (Known::Free, Verdict::Make, Verdict::Make),
            (Known::InFlight(SAME), Verdict::Refuse(InFlight), Verdict::Refuse(OtherRequest)),
            (Known::Done(SAME, Kept::Whole), Verdict::Replay, Verdict::Refuse(OtherRequest)),
            (
                Known::Done(SAME, too_large),
                Verdict::Refuse(TooLarge { bytes: 9_000_000 }),
                Verdict::Refuse(OtherRequest),
            ),
        ] {
            assert_eq!((verdict(known, SAME), verdict(known, OTHER)), (same, other), "{known:?}");
        }
    }

    #[test]
    fn only_what_would_come_again_is_remembered() {
        let whole = |status, is_faulty| Ending::Whole { status, is_faulty, bytes: 10 };
        for status in [200, 201, 204, 400, 404, 405, 410, 413, 415, 422, 451, 499] {
            assert_eq!(memory(whole(status, false)), Memory::Keep(Kept::Whole), "{status}");
        }
        for status in [0, 101, 301, 304, 401, 402, 403, 408, 409, 425, 429, 500, 502, 503, 504, 529]
        {
            assert_eq!(memory(whole(status, false)), Memory::Free, "{status}");
        }
        assert_eq!(memory(whole(200, true)), Memory::Free, "an error with the status of a success");
        assert_eq!(memory(Ending::Failed), Memory::Free);
    }

    #[test]
    fn of_what_is_too_large_only_the_length_is_remembered() {
        for (bytes, kept) in [
            (0, Kept::Whole),
            (REPLY_BYTES_MAX, Kept::Whole),
            (REPLY_BYTES_MAX + 1, Kept::Length(REPLY_BYTES_MAX + 1)),
        ] {
            let ending = Ending::Whole { status: 200, is_faulty: false, bytes };
            assert_eq!(memory(ending), Memory::Keep(kept), "{bytes}");
        }
        let failed = Ending::Whole { status: 500, is_faulty: false, bytes: u64::MAX };
        assert_eq!(memory(failed), Memory::Free);
    }
}
