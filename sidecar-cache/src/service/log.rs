//! The log of a flight: what has come of an answer, and who reads it, each with its own cursor. One task
//! writes; readers are polled by whoever carries their bytes, and park their wakers here. Nobody waits for a
//! reader as long as everything is kept; once the answer has outgrown that, the writer waits for the fastest.
//!
//! It knows nothing of what heads and ends mean, nor of clocks: milliseconds are arguments.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::sync::Mutex;
pub(crate) use charge::{Charge, Total};
use text::{Kept, Text};
pub(crate) use text::{Piece, View};

// By their paths, for the model test reads this file from elsewhere.
#[path = "log/charge.rs"]
mod charge;
#[path = "log/text.rs"]
mod text;

/// How much is kept for those who read slowly once an answer has outgrown what is kept whole.
pub(crate) const KEPT_BYTES_MAX: u64 = 8 << 20;
/// How far the writer may be ahead of the fastest reader by then.
pub(crate) const WINDOW_BYTES: u64 = 1 << 20;
/// Both of it where all logs together keep more than they may: a piece or two.
pub(crate) const CROWDED_BYTES: u64 = 64 << 10;

/// What has come of one answer, with its readers. `S` is who reads, `H` how the answer begins, `E` how it ends.
#[derive(Debug)]
pub(crate) struct Log<S, H, E> {
    inner: Mutex<Inner<S, H, E>>,
}

/// A reader's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ReaderId(u64);

/// The answer to [`Log::poll_begin`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Begun<H, E> {
    /// There is something to read.
    Live(H),
    /// It has ended, and there is nothing to read before the end.
    Ended(E),
    /// It cannot be read as it comes, and will not be kept whole.
    Apart,
    /// The reader was too slow.
    Behind,
}

/// The answer to [`Log::poll_next`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Next<E> {
    /// A piece; with it the end, where nothing else comes before that.
    Piece(Bytes, Option<E>),
    /// The end.
    End(E),
    /// The reader was too slow.
    Behind,
}

/// How a failed attempt ends for those who do not wait for another one.
#[derive(Clone, Debug)]
pub(crate) struct Failing<E, W> {
    /// For those who have begun to read.
    pub(crate) begun: E,
    /// For the leader, if it has not begun; `None`: it reads what there is.
    pub(crate) leader: Option<E>,
    /// Who of those that wait fares like the leader.
    pub(crate) with_leader: W,
}

#[derive(Debug)]
struct Inner<S, H, E> {
    current: Text<H, E>,
    /// Whether what everybody has read is dropped.
    has_outgrown: bool,
    slots: BTreeMap<ReaderId, Slot<S, H, E>>,
    next_id: u64,
    writer: Option<Waker>,
    /// Whether the writer waits for the fastest reader.
    awaits_room: bool,
    /// Who was the slowest when that was last looked at. While it has not moved, nothing can be dropped, and
    /// nobody looks at all the others.
    slowest: Option<ReaderId>,
}

#[derive(Debug)]
struct Slot<S, H, E> {
    seat: S,
    /// The number of the next piece.
    at: u64,
    /// Set once something is about to be read.
    begun: Option<View>,
    parked: Option<Waker>,
    moved_at: u64,
    fate: Fate<H, E>,
}

#[derive(Debug)]
enum Fate<H, E> {
    /// Reads what is written.
    With,
    /// Reads what was written before its attempt failed.
    Rest(Arc<Text<H, E>>),
    /// Has nothing to read.
    Over(E),
}

// === impl Log ===

impl<S: Clone, H: Clone, E: Clone> Log<S, H, E> {
    pub(crate) fn new(charge: Charge) -> Self {
        let inner = Inner {
            current: Text::new(charge),
            has_outgrown: false,
            slots: BTreeMap::new(),
            next_id: 0,
            writer: None,
            awaits_room: false,
            slowest: None,
        };
        Self { inner: Mutex::new(inner) }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Inner<S, H, E>) -> T) -> T {
        work(&mut self.inner.lock().unwrap_or_else(PoisonError::into_inner))
    }

    // --- readers ---

    /// A new reader, at the start.
    pub(crate) fn attach(&self, seat: S, now: u64) -> ReaderId {
        self.with(|inner| {
            let id = ReaderId(inner.next_id);
            inner.next_id += 1;
            let (at, begun, parked, fate) = (0, None, None, Fate::With);
            inner.slots.insert(id, Slot { seat, at, begun, parked, moved_at: now, fate });
            id
        })
    }

    /// A reader leaves.
    pub(crate) fn detach(&self, id: ReaderId) {
        let (slot, writer) = self.with(|inner| {
            let slot = inner.slots.remove(&id);
            inner.forget();
            (slot, inner.writer.take())
        });
        // Without the lock: who knows what hangs on a seat.
        drop(slot);
        writer.into_iter().for_each(Waker::wake);
    }

    /// Waits for something to read, or for the end. `view` says how an answer with this head may be read
    /// while it comes, if at all.
    pub(crate) fn poll_begin(
        &self,
        id: ReaderId,
        view: impl FnOnce(&H) -> Option<View>,
        now: u64,
        context: &mut Context<'_>,
    ) -> Poll<Begun<H, E>> {
        self.with(|inner| {
            let has_outgrown = inner.has_outgrown;
            let Some(slot) = inner.slots.get_mut(&id) else { return Poll::Ready(Begun::Behind) };
            let text = match &slot.fate {
                Fate::With => &inner.current,
                Fate::Rest(rest) => rest.as_ref(),
                Fate::Over(end) => return Poll::Ready(Begun::Ended(end.clone())),
            };
            let begun = match (&text.head, text.head.as_ref().map(view)) {
                (Some(_), Some(Some(_))) if slot.at < text.base => Some(Begun::Behind),
                (Some(head), Some(Some(view))) if text.first(slot.at, view).is_some() => {
                    slot.begun = Some(view);
                    Some(Begun::Live(head.clone()))
                }
                (Some(_), Some(None)) if has_outgrown => Some(Begun::Apart),
                (Some(_) | None, Some(_) | None) => text.end.clone().map(Begun::Ended),
            };
            slot.moved_at = now;
            match begun {
                Some(begun) => Poll::Ready(begun),
                None => slot.park(context),
            }
        })
    }

    /// The next piece, for a reader that has begun.
    pub(crate) fn poll_next(
        &self,
        id: ReaderId,
        now: u64,
        context: &mut Context<'_>,
    ) -> Poll<Next<E>> {
        let (next, writer) = self.with(|inner| {
            let next = inner.next(id, now, context);
            inner.forget();
            let makes_room = inner.awaits_room && inner.is_near(id);
            (next, if makes_room { inner.writer.take() } else { None })
        });
        writer.into_iter().for_each(Waker::wake);
        next
    }

    // --- the writer ---

    /// How the answer begins. Readers begin with the first piece.
    pub(crate) fn open(&self, head: H) {
        self.with(|inner| inner.current.head = Some(head));
    }

    /// The next piece.
    pub(crate) fn append(&self, piece: Piece, now: u64) {
        self.waking(now, |inner| {
            inner.current.push(piece);
            inner.trim();
        });
    }

    /// From now on what everybody has read is dropped.
    pub(crate) fn outgrow(&self, now: u64) {
        self.waking(now, |inner| {
            inner.has_outgrown = true;
            inner.trim();
        });
    }

    /// The last pieces and the end, for everybody who still reads what is written.
    pub(crate) fn finish(&self, last: impl Iterator<Item = Piece>, end: E, now: u64) {
        self.waking(now, |inner| {
            last.for_each(|piece| inner.current.push(piece));
            inner.current.end = Some(end);
        });
    }

    /// The attempt has failed: whoever has read of it reads to its end; of the others only the leader, and who
    /// fares like it, is told anything. Returns how many wait for another attempt.
    pub(crate) fn fail(
        &self,
        leader: Option<ReaderId>,
        failing: Failing<E, impl Fn(&S) -> bool>,
        now: u64,
    ) -> usize {
        self.waking(now, |inner| {
            let Failing { begun, leader: to_leader, with_leader } = failing;
            let mut rest = inner.current.begin_anew();
            rest.end = Some(begun);
            let rest = Arc::new(rest);
            inner.has_outgrown = false;
            let mut waiting = 0;
            for (id, slot) in &mut inner.slots {
                if !matches!(slot.fate, Fate::With) {
                    continue;
                }
                let is_leader = Some(*id) == leader || with_leader(&slot.seat);
                slot.fate = match &to_leader {
                    Some(end) if is_leader && slot.begun.is_none() => Fate::Over(end.clone()),
                    Some(_) | None if is_leader || slot.begun.is_some() => {
                        Fate::Rest(Arc::clone(&rest))
                    }
                    Some(_) | None => {
                        waiting += 1;
                        Fate::With
                    }
                };
            }
            waiting
        })
    }

    /// The one that has waited longest, to lead the next attempt.
    pub(crate) fn promote(&self) -> Option<(ReaderId, S)> {
        self.with(|inner| {
            inner
                .slots
                .iter()
                .find(|(_, slot)| matches!(slot.fate, Fate::With) && slot.begun.is_none())
                .map(|(id, slot)| (*id, slot.seat.clone()))
        })
    }

    /// How many read, or wait.
    pub(crate) fn readers(&self) -> usize {
        self.with(|inner| inner.slots.len())
    }

    /// Waits until nobody reads.
    pub(crate) fn poll_deserted(&self, context: &mut Context<'_>) -> Poll<()> {
        self.with(
            |inner| {
                if inner.slots.is_empty() { Poll::Ready(()) } else { inner.park_writer(context) }
            },
        )
    }

    /// Waits until the fastest reader is near enough.
    pub(crate) fn poll_room(&self, context: &mut Context<'_>) -> Poll<()> {
        self.with(|inner| {
            let ahead = inner.fastest().map_or(0, |read| inner.current.bytes.saturating_sub(read));
            let has_room = !inner.has_outgrown || ahead < inner.window();
            inner.awaits_room = !has_room;
            if has_room { Poll::Ready(()) } else { inner.park_writer(context) }
        })
    }

    /// Removes the readers that could have read something for as long as `idle` and have not. Returns them,
    /// and when to look again.
    pub(crate) fn sweep(&self, idle: u64, now: u64) -> (Vec<S>, u64) {
        self.with(|inner| {
            let mut again = now.saturating_add(idle);
            let mut gone = Vec::new();
            inner.slots.retain(|_, slot| {
                let due = slot.moved_at.saturating_add(idle);
                if slot.parked.is_some() {
                    return true;
                }
                if due <= now {
                    gone.push(slot.seat.clone());
                    return false;
                }
                again = again.min(due);
                true
            });
            inner.forget();
            (gone, again)
        })
    }

    /// Removes all readers and what is kept for them. Returns them.
    pub(crate) fn dismiss(&self) -> Vec<S> {
        let gone = self.with(|inner| {
            let (kept, slots) = (inner.current.begin_anew(), std::mem::take(&mut inner.slots));
            (kept, slots, inner.writer.take())
        });
        let (kept, gone, writer) = gone;
        // Without the lock: an end may be the last to hold an answer.
        drop(kept);
        writer.into_iter().for_each(Waker::wake);
        // One that waits learns it, too.
        let (seats, parked): (Vec<_>, Vec<_>) =
            gone.into_values().map(|slot| (slot.seat, slot.parked)).unzip();
        parked.into_iter().flatten().for_each(Waker::wake);
        seats
    }

    /// All that has come, as long as it is kept whole.
    pub(crate) fn whole(&self) -> Option<Vec<u8>> {
        self.with(|inner| {
            let Text { pieces, base: 0, bytes, .. } = &inner.current else { return None };
            if inner.has_outgrown {
                return None;
            }
            let mut whole = Vec::with_capacity(usize::try_from(*bytes).ok()?);
            pieces.iter().for_each(|kept| whole.extend_from_slice(&kept.piece.all));
            Some(whole)
        })
    }

    /// Changes what is there and wakes those who wait for it, once the lock is free.
    fn waking<T>(&self, now: u64, change: impl FnOnce(&mut Inner<S, H, E>) -> T) -> T {
        let (done, wakers) = self.with(|inner| {
            let done = change(inner);
            let parked = inner.slots.values_mut().filter_map(|slot| slot.unpark(now));
            (done, parked.collect::<Vec<_>>())
        });
        wakers.into_iter().for_each(Waker::wake);
        done
    }
}

// === impl Inner ===

impl<S, H, E: Clone> Inner<S, H, E> {
    fn next(&mut self, id: ReaderId, now: u64, context: &mut Context<'_>) -> Poll<Next<E>> {
        let Some(slot) = self.slots.get_mut(&id) else { return Poll::Ready(Next::Behind) };
        let text = match &slot.fate {
            Fate::With => &self.current,
            Fate::Rest(rest) => rest.as_ref(),
            Fate::Over(end) => return Poll::Ready(Next::End(end.clone())),
        };
        let view = slot.begun.unwrap_or(View::All);
        slot.moved_at = now;
        if slot.at < text.base {
            return Poll::Ready(Next::Behind);
        }
        let Some((at, bytes)) = text.first(slot.at, view) else {
            slot.at = text.next();
            return match &text.end {
                Some(end) => Poll::Ready(Next::End(end.clone())),
                None => slot.park(context),
            };
        };
        slot.at = at + 1;
        let is_last = text.first(slot.at, view).is_none();
        Poll::Ready(Next::Piece(bytes, text.end.clone().filter(|_| is_last)))
    }

    /// How far the fastest reader is, in bytes.
    fn fastest(&self) -> Option<u64> {
        let with = self.slots.values().filter(|slot| matches!(slot.fate, Fate::With));
        with.map(|slot| self.current.bytes_before(slot.at)).max()
    }

    /// Whether a reader is as near as the writer waits for.
    fn is_near(&self, id: ReaderId) -> bool {
        let with = self.slots.get(&id).filter(|slot| matches!(slot.fate, Fate::With));
        let read = with.map(|slot| self.current.bytes_before(slot.at));
        read.is_some_and(|read| self.current.bytes.saturating_sub(read) < self.window())
    }

    /// How far the writer may be ahead.
    fn window(&self) -> u64 {
        if self.current.is_crowded() { CROWDED_BYTES } else { WINDOW_BYTES }
    }

    /// Drops what everybody has read.
    fn forget(&mut self) {
        let is_with = |slot: &&Slot<S, H, E>| matches!(slot.fate, Fate::With);
        let known = self.slowest.and_then(|id| self.slots.get(&id)).filter(is_with);
        if !self.has_outgrown || known.is_some_and(|slot| slot.at <= self.current.base) {
            return;
        }
        let with = self.slots.iter().filter(|(_, slot)| is_with(slot));
        // Of several the last: where they read in turn, it is the last to move.
        let slowest = with.min_by_key(|(id, slot)| (slot.at, Reverse(**id)));
        self.slowest = slowest.map(|(id, _)| *id);
        let at = slowest.map_or(u64::MAX, |(_, slot)| slot.at);
        self.current.drop_first(|text, _| text.base < at);
    }

    /// Drops what nobody may be so far behind for, too. Only when there is more to come: whoever has just
    /// been woken gets a turn before others have read on.
    fn trim(&mut self) {
        if !self.has_outgrown {
            return;
        }
        self.forget();
        let with = self.slots.values().filter(|slot| matches!(slot.fate, Fate::With));
        // What the fastest has not read is what the writer waits for.
        let fastest = with.map(|slot| slot.at).max().unwrap_or(u64::MAX);
        let kept_max = if self.current.is_crowded() { CROWDED_BYTES } else { KEPT_BYTES_MAX };
        let is_behind = |text: &Text<H, E>, first: &Kept| {
            text.base < fastest && text.bytes - first.from > kept_max
        };
        self.current.drop_first(is_behind);
    }

    fn park_writer<T>(&mut self, context: &Context<'_>) -> Poll<T> {
        self.writer = Some(context.waker().clone());
        Poll::Pending
    }
}

// === impl Slot ===

impl<S, H, E> Slot<S, H, E> {
    fn park<T>(&mut self, context: &Context<'_>) -> Poll<T> {
        self.parked = Some(context.waker().clone());
        Poll::Pending
    }

    fn unpark(&mut self, now: u64) -> Option<Waker> {
        let waker = self.parked.take()?;
        self.moved_at = now;
        Some(waker)
    }
}
