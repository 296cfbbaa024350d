//! What has come of one attempt's answer: its pieces, in two views, and where it ends.

use std::collections::VecDeque;

use bytes::Bytes;

use super::charge::Charge;

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
    /// For what is kept of the pieces.
    charge: Charge,
}

#[derive(Debug)]
pub(super) struct Kept {
    pub(super) piece: Piece,
    /// How many bytes are before it.
    pub(super) from: u64,
}

// === impl Text ===

impl<H, E> Text<H, E> {
    pub(super) const fn new(charge: Charge) -> Self {
        Self { head: None, pieces: VecDeque::new(), base: 0, bytes: 0, end: None, charge }
    }

    /// What has come is another's; what comes from now on is kept here.
    pub(super) fn begin_anew(&mut self) -> Self {
        let anew = Self::new(self.charge.beside());
        std::mem::replace(self, anew)
    }

    pub(super) fn push(&mut self, piece: Piece) {
        let from = self.bytes;
        self.bytes += piece.all.len() as u64;
        self.charge.grow(piece.kept());
        self.pieces.push_back(Kept { piece, from });
    }

    /// Drops pieces from the front, as long as they are meant.
    pub(super) fn drop_first(&mut self, is_meant: impl Fn(&Self, &Kept) -> bool) {
        while self.pieces.front().is_some_and(|first| is_meant(self, first)) {
            let first = self.pieces.pop_front();
            self.charge.shrink(first.map_or(0, |first| first.piece.kept()));
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

    /// Whether all logs together keep more than they may.
    pub(super) fn is_crowded(&self) -> bool {
        self.charge.total().is_exceeded()
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

    /// How many bytes are kept of it: most often both views are the same ones.
    fn kept(&self) -> u64 {
        let is_same = self.all.as_ptr() == self.shown.as_ptr();
        let shown = if is_same { 0 } else { self.shown.len() };
        (self.all.len() + shown) as u64
    }
}
