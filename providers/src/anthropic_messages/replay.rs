//! Tells a stored answer in the shape that a client wants. Where recording and wish have the same shape, the
//! recorded bytes are the answer; the two conversions are in [`super::assemble`] and [`super::stream`].

use kt_contract::wire::admit::ReplyShape;

use super::{assemble, judge, stream};
use crate::answer::{CannotReplay, Recorded, Replay, Terms};

/// See [`crate::Dialect::replay`].
pub(crate) fn replay(
    recorded: Recorded,
    body: &[u8],
    want: ReplyShape,
) -> Result<Replay<'_>, CannotReplay> {
    let after = |tell: fn(&[u8]) -> Result<Vec<u8>, CannotReplay>| {
        move |body: &[u8]| expect_usage(recorded, body).and_then(|()| tell(body))
    };
    Replay::of((recorded, body), want, after(assemble::assemble), after(stream::stream))
}

/// Both shapes always have usage, and SDKs hand it on.
fn expect_usage(recorded: Recorded, body: &[u8]) -> Result<(), CannotReplay> {
    let complete = judge(recorded, body, Terms::STORED)?;
    complete.usage.map(|_| ()).ok_or(CannotReplay::NoUsage)
}
