//! What has come of one attempt's answer: its pieces, in two views, and where it ends.

use std::collections::VecDeque;

use bytes::Bytes;

/// A piece of an answer, in two views.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    /// As the provider sent it.
    pub(crate) all: Bytes,
    /// Without the usage that the client has not asked for; may be empty.
    pub(crate) shown: Bytes,
}

/// Which view of the pieces a reader wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum View {
    All,
    Shown,
}

/// An attempt's answer so far.
#[derive(Debug)]
pub(super) struct Text<H, E> {
    pub(super) head: Option<H>,
    pub(super) pieces: VecDeque<Kept>,
    /// The number of the first piece that is kept.
    pub(super) base: u64,
    /// Of all pieces, those included that are not kept any more.
    pub(super) bytes: u64,
    pub(super) end: Option<E>,
}

#[derive(Debug)]
pub(super) struct Kept {
    pub(super) piece: Piece,
    /// How many bytes are before it.
    pub(super) from: u64,
}

// === impl Text ===

impl<H, E> Text<H, E> {
    pub(super) const fn new() -> Self {
        Self { head: None, pieces: VecDeque::new(), base: 0, bytes: 0, end: None }
    }

    pub(super) fn push(&mut self, piece: Piece) {
        let from = self.bytes;
        self.bytes += piece.all.len() as u64;
        self.pieces.push_back(Kept { piece, from });
    }

    /// Drops pieces from the front, as long as they are meant.
    pub(super) fn drop_first(&mut self, is_meant: impl Fn(&Self, &Kept) -> bool) {
        while self.pieces.front().is_some_and(|first| is_meant(self, first)) {
            self.pieces.pop_front();
            self.base += 1;
        }
    }

    /// The number that the next piece will have.
    pub(super) fn next(&self) -> u64 {
        self.base + self.pieces.len() as u64
    }

    /// The first piece from `at` on that has something in this view.
    pub(super) fn first(&self, at: u64, view: View) -> Option<(u64, Bytes)> {
        let from = usize::try_from(at.saturating_sub(self.base)).ok()?;
        let mut pieces = (at.max(self.base)..).zip(self.pieces.iter().skip(from));
        pieces.find_map(|(at, kept)| {
            let bytes = kept.piece.seen(view);
            (!bytes.is_empty()).then(|| (at, bytes.clone()))
        })
    }

    /// How many bytes are kept.
    pub(super) fn kept(&self) -> u64 {
        self.pieces.front().map_or(0, |first| self.bytes - first.from)
    }

    pub(super) fn bytes_before(&self, at: u64) -> u64 {
        let index = usize::try_from(at.saturating_sub(self.base)).ok();
        index.and_then(|index| self.pieces.get(index)).map_or(self.bytes, |kept| kept.from)
    }
}

// === impl Piece ===

impl Piece {
    pub(super) const fn seen(&self, view: View) -> &Bytes {
        match view {
            View::All => &self.all,
            View::Shown => &self.shown,
        }
    }
}
