//! The language of the scripts: one line, one step.

use kt_contract::outcome::Reason;
use kt_contract::wire::admit::Admitted;

use crate::text::halves;

/// Header fields as a line has them: `name=value` between tabs.
pub(super) type Fields<'a> = Vec<(&'a [u8], &'a [u8])>;

/// What happens next.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    /// `n`: the exchange in hand is forgotten, another one begins.
    New,
    /// `o`: the other exchange is in hand.
    Other,
    /// `h`, `H`: the head of a good request, and more fields; the large letter ends it.
    Head { more: &'a [u8], end: bool },
    /// `g`, `G`: a head of nothing but these fields.
    RawHead { fields: &'a [u8], end: bool },
    /// `b`, `B`: so many bytes of the body are there.
    Body { bytes: u64, end: bool },
    /// `t`
    Trailers,
    /// `r`: the body is read.
    Read(&'a [u8]),
    /// `l`: the callout is lost.
    Lost,
    /// `a`: the sidecar answers with this decision, and after a tab the body.
    Admit { decision: &'a [u8], body: &'a [u8] },
    /// `q`: somebody answers with these fields, and this body after an empty field.
    Came { fields: &'a [u8] },
    /// `k`: the caller is known.
    Known,
    /// `i`: a hit with this body; `I`: one that is fresh for no time.
    Hit { body: &'a [u8], fresh_ms: u64 },
    /// `L`, `N`, `D`, `U`: decisions of the sidecar.
    Decided(Decision),
    /// `s`, `S`: the response's head, the large letter from Envoy.
    Response { fields: &'a [u8], by_envoy: bool },
    /// `x`
    HostRefused,
    /// `d`
    Done,
    /// `w`: so many milliseconds pass.
    Wait { ms: u64 },
    /// The feed is polled.
    Feed(Feed<'a>),
}

/// What a poll of the feed brings.
#[derive(Clone, Copy, Debug)]
pub(super) enum Feed<'a> {
    /// `f`: these bytes.
    Bytes(&'a [u8]),
    /// `f` alone: nothing new.
    Heartbeat,
    /// `m`: a snapshot; `M`: one without the cache that refuses when the sidecar is lost.
    Snapshot { direct: bool },
    /// `p`: the word of a purge.
    Purged,
    /// `F`: no answer.
    Lost,
}

/// A decision without content of its own.
#[derive(Clone, Copy, Debug)]
pub(super) enum Decision {
    Lane,
    NotCached,
    Draining,
    Unauthenticated,
}

// === impl Step ===

impl<'a> Step<'a> {
    pub(super) fn read(line: &'a [u8]) -> Option<Self> {
        let (letter, rest) = line.split_first()?;
        Some(match letter {
            b'n' => Self::New,
            b'o' => Self::Other,
            b'h' | b'H' => Self::Head { more: rest, end: *letter == b'H' },
            b'g' | b'G' => Self::RawHead { fields: rest, end: *letter == b'G' },
            b'b' | b'B' => Self::Body { bytes: number(rest), end: *letter == b'B' },
            b't' => Self::Trailers,
            b'r' => Self::Read(rest),
            b'l' => Self::Lost,
            b'a' => {
                let (decision, body) = halves(rest, b'\t');
                Self::Admit { decision, body }
            }
            b'q' => Self::Came { fields: rest },
            b'k' => Self::Known,
            b'i' => Self::Hit { body: rest, fresh_ms: 60_000 },
            b'I' => Self::Hit { body: rest, fresh_ms: 0 },
            b'L' => Self::Decided(Decision::Lane),
            b'N' => Self::Decided(Decision::NotCached),
            b'D' => Self::Decided(Decision::Draining),
            b'U' => Self::Decided(Decision::Unauthenticated),
            b's' | b'S' => Self::Response { fields: rest, by_envoy: *letter == b'S' },
            b'x' => Self::HostRefused,
            b'd' => Self::Done,
            b'w' => Self::Wait { ms: number(rest) },
            b'f' if rest.is_empty() => Self::Feed(Feed::Heartbeat),
            b'f' => Self::Feed(Feed::Bytes(rest)),
            b'm' | b'M' => Self::Feed(Feed::Snapshot { direct: *letter == b'm' }),
            b'p' => Self::Feed(Feed::Purged),
            b'F' => Self::Feed(Feed::Lost),
            _ => return None,
        })
    }
}

// === impl Decision ===

impl Decision {
    pub(super) fn admitted(self) -> Admitted {
        match self {
            Self::Lane => Admitted::Lane { ticket: "t".to_owned(), reason: Reason::Request },
            Self::NotCached => Admitted::NotCached { reason: Reason::Expired },
            Self::Draining => Admitted::Draining,
            Self::Unauthenticated => Admitted::Unauthenticated { revoked: true },
        }
    }
}

/// Fields between tabs; what has no `=` has an empty value.
pub(super) fn fields(line: &[u8]) -> Fields<'_> {
    line.split(|byte| *byte == b'\t')
        .filter(|field| !field.is_empty())
        .map(|field| halves(field, b'='))
        .collect()
}

/// A number as it is written; one that is none is how long it is.
fn number(text: &[u8]) -> u64 {
    let read = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    read.unwrap_or(text.len() as u64)
}
