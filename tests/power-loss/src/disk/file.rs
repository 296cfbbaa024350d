//! The bytes of a file.

use super::history::{Content, Touched};

/// What a disk writes at once.
pub const PAGE_BYTES: usize = 4_096;

#[derive(Clone, Debug, Default)]
pub(super) struct Bytes(Vec<u8>);

#[derive(Clone, Debug)]
pub(super) enum Change {
    /// Within one page.
    Write { at: usize, bytes: Vec<u8> },
    /// Cut off, or filled up with zeros.
    Resize { len: usize },
}

// === impl Bytes ===

impl Bytes {
    pub(super) const fn len(&self) -> usize {
        self.0.len()
    }

    /// Fewer than `len` at the end of the file.
    pub(super) fn read(&self, at: usize, len: usize) -> &[u8] {
        let end = at.saturating_add(len).min(self.0.len());
        self.0.get(at..end).unwrap_or_default()
    }
}

impl Content for Bytes {
    type Change = Change;
    type Cell = usize;

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Write { at, bytes } => {
                let end = at.saturating_add(bytes.len());
                if self.0.len() < end {
                    self.0.resize(end, 0);
                }
                if let Some(place) = self.0.get_mut(*at..end) {
                    place.copy_from_slice(bytes);
                }
            }
            Change::Resize { len } => self.0.resize(*len, 0),
        }
    }

    fn touched(change: &Change) -> Touched<usize> {
        match change {
            Change::Write { at, .. } => Touched::One(at / PAGE_BYTES),
            Change::Resize { .. } => Touched::All,
        }
    }
}

/// A write as the changes that it is to the disk: one to each page.
pub(super) fn pages(at: usize, bytes: &[u8]) -> impl Iterator<Item = Change> {
    let first = (PAGE_BYTES - at % PAGE_BYTES).min(bytes.len());
    let (head, rest) = bytes.split_at_checked(first).unwrap_or((bytes, &[]));
    let pieces = Some(head).into_iter().chain(rest.chunks(PAGE_BYTES));
    pieces.scan(at, |at, piece| {
        let change = Change::Write { at: *at, bytes: piece.to_vec() };
        *at += piece.len();
        Some(change)
    })
}
