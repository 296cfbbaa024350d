//! The bodies of answers: whole ones, and streams that end only when they were ended.

use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

use crate::service::once::Keeping;
use crate::service::reader::{Piece, Reader};

/// How long a break waits behind the bytes before it: a reset would overtake what a gateway has not written yet,
/// the error event among it. Far longer than that takes, also where two hundred readers are told at once on a busy machine.
const FLUSH: Duration = Duration::from_millis(500);

/// The body of an answer.
#[derive(Debug)]
pub struct ReplyBody(Inner);

#[derive(Debug)]
enum Inner {
    Whole(Bytes),
    Stream(Box<Reader>),
    Kept(Box<Keeping>),
    Breaking(Pin<Box<Sleep>>),
    Ended,
}

/// The stream broke off: the connection must show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the answer broke off")]
pub struct BrokeOff;

// === impl ReplyBody ===

impl ReplyBody {
    /// A body that is there.
    #[must_use]
    pub const fn whole(bytes: Bytes) -> Self {
        Self(Inner::Whole(bytes))
    }

    /// A body as its pieces come.
    #[must_use]
    pub fn stream(reader: Reader) -> Self {
        Self(Inner::Stream(Box::new(reader)))
    }

    /// The same of a body that is remembered.
    #[must_use]
    pub const fn kept(keeping: Box<Keeping>) -> Self {
        Self(Inner::Kept(keeping))
    }
}

impl Body for ReplyBody {
    type Data = Bytes;
    type Error = BrokeOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BrokeOff>>> {
        loop {
            let piece = match &mut self.0 {
                Inner::Stream(reader) => ready!(reader.poll_piece(context)),
                Inner::Kept(keeping) => ready!(keeping.poll_piece(context)),
                Inner::Whole(bytes) => {
                    let bytes = std::mem::take(bytes);
                    self.0 = Inner::Ended;
                    if !bytes.is_empty() {
                        return Poll::Ready(Some(Ok(Frame::data(bytes))));
                    }
                    continue;
                }
                Inner::Breaking(flushed) => {
                    ready!(flushed.as_mut().poll(context));
                    self.0 = Inner::Ended;
                    return Poll::Ready(Some(Err(BrokeOff)));
                }
                Inner::Ended => return Poll::Ready(None),
            };
            match piece {
                Some(Piece::Bytes(bytes)) => return Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Some(Piece::End) => self.0 = Inner::Ended,
                None => self.0 = Inner::Breaking(Box::pin(sleep(FLUSH))),
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.0 {
            Inner::Whole(bytes) => bytes.is_empty(),
            Inner::Stream(_) | Inner::Kept(_) | Inner::Breaking(_) => false,
            Inner::Ended => true,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Inner::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Inner::Stream(_) | Inner::Kept(_) | Inner::Breaking(_) => SizeHint::default(),
            Inner::Ended => SizeHint::with_exact(0),
        }
    }
}
