//! Tells a stored answer in the shape that a client wants; the two conversions are in [`super::assemble`] and
//! [`super::stream`].

use kt_contract::wire::admit::ReplyShape;

use super::{assemble, judge, stream};
use crate::answer::{CannotReplay, Recorded, Replay};
use crate::openai::replay::{self, Tongue};

const TONGUE: Tongue = Tongue { judge, assemble: assemble::assemble, stream: stream::stream };

/// See [`crate::Dialect::replay`].
pub(crate) fn replay(
    recorded: Recorded,
    body: &[u8],
    want: ReplyShape,
) -> Result<Replay<'_>, CannotReplay> {
    replay::replay(TONGUE, recorded, body, want)
}
