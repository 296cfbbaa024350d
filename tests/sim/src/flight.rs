//! A flight: one answer that is being made, the log of it, and those who read. The product's log is exercised by its
//! own model test; this one keeps its rules and nothing of its memory management.

use std::collections::BTreeMap;
use std::rc::Rc;

use bytes::Bytes;
use kt_contract::key::CacheKey;
use kt_contract::money::MicroUsd;
use kt_contract::wire::admit::ReplyShape;
use kt_providers::{Meter, Recorded, UsageHider};
use sidecar_cache::attempt::{Fate, Verdict};
use sidecar_cache::flight::{Cause, FlightId, Produced};
use sidecar_cache::generation::Vector;
use sidecar_cache::ledger::TransferId;
use sidecar_cache::reserve;

use crate::lane::Grant;
use crate::leases::Leased;
use crate::shelf::Hit;

/// A flight.
#[derive(Debug)]
pub(crate) struct Flight {
    pub(crate) sidecar: usize,
    pub(crate) life: u32,
    pub(crate) key: CacheKey,
    /// `None` where nothing will be stored, and nobody else may join.
    pub(crate) lease: Option<LocalLease>,
    /// The lease of the store that all sidecars share.
    pub(crate) shared: Option<Leased>,
    /// In whose name the call is made.
    pub(crate) seat: usize,
    pub(crate) grant: Rc<Grant>,
    /// The leader's place, if it still has one.
    pub(crate) leader: Option<usize>,
    pub(crate) asked: Recorded,
    pub(crate) text: Text,
    pub(crate) slots: BTreeMap<usize, Slot>,
    /// What the entry belongs to, as it was when the attempt began, and whether that was known for certain.
    pub(crate) generations: Vector,
    pub(crate) is_known: bool,
    pub(crate) under_at: u64,
    /// The number of the attempt; what was meant for another one is dropped.
    pub(crate) attempt: u32,
    pub(crate) phase: Phase,
    pub(crate) call: Option<usize>,
    pub(crate) calls: u32,
    /// How many who followed it have gone for themselves.
    pub(crate) overflows: u64,
    pub(crate) bill: Option<Bill>,
    pub(crate) answer: Answer,
    pub(crate) is_detached: bool,
}

/// The lease of a flight in its own sidecar.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LocalLease {
    /// `None` between two attempts, and after the end.
    pub(crate) leased: Option<Leased>,
    pub(crate) id: FlightId,
}

/// What a flight is waiting for.
#[derive(Debug)]
pub(crate) enum Phase {
    /// The shared lease store's answer.
    Leasing(u32),
    /// What another sidecar is making.
    Elsewhere,
    /// The ledger's word that there is money.
    Reserving,
    /// The provider.
    Calling,
    /// The ledger's word that the call is booked.
    Settling(Box<After>),
    /// The shared store's word that the entry is stored.
    Filling(Box<Concluded>),
    /// The next attempt.
    BackingOff,
    /// Nothing any more.
    Over,
}

/// What happens once the money of an attempt has ended.
#[derive(Debug)]
pub(crate) enum After {
    /// An answer that was judged.
    Conclude(Concluded),
    /// A refusal of the provider.
    Refused { status: u16, body: Bytes, retry_after: Option<u64> },
    /// A failure.
    Fail(Fault),
    /// Nobody wants it.
    Land,
}

/// An answer that was judged.
#[derive(Debug)]
pub(crate) struct Concluded {
    pub(crate) verdict: Verdict,
    pub(crate) recorded: Recorded,
    pub(crate) body: Bytes,
    pub(crate) reached: Reached,
    pub(crate) call: usize,
}

/// How a failed attempt ends for whom.
#[derive(Debug)]
pub(crate) struct Fault {
    /// For those who get nothing else.
    pub(crate) failure: Failure,
    /// For those who have begun to read; `None`: the failure.
    pub(crate) begun: Option<End>,
    /// For the leader, if it has not begun.
    pub(crate) leader: Option<End>,
    pub(crate) retry_after: Option<u64>,
    pub(crate) cause: Cause,
}

/// How an answer ended.
#[derive(Clone, Debug)]
pub(crate) enum End {
    /// All of it came.
    Clean,
    /// All of it came, and it is no answer.
    Faulty,
    /// All of it came, and is kept for those who want it in another shape.
    Whole { recorded: Recorded, body: Bytes },
    /// It has no end.
    Cut,
    /// It failed.
    Failed(Failure),
    /// It was there already.
    Found(Rc<Hit>),
    /// It was invalidated while it was made, and failed.
    Voided,
}

/// An answer that is none.
#[derive(Clone, Debug)]
pub(crate) enum Failure {
    /// Our own words.
    Problem(u16),
    /// The provider's.
    Answer(u16, Bytes),
}

/// What has come of the attempt's answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) may_store: bool,
    pub(crate) body: Vec<u8>,
    /// The last event, which is shown when all is stored.
    pub(crate) held: Option<Bytes>,
    pub(crate) reached: Reached,
    pub(crate) produced: Produced,
    pub(crate) hider: Option<UsageHider>,
    /// Whether the provider has begun.
    pub(crate) has_begun: bool,
    /// How often something was heard.
    pub(crate) heard: usize,
}

/// How far a stream has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reached {
    /// Somewhere.
    Events,
    /// Its last event.
    Done,
    /// The provider's word that it failed.
    Failed,
}

/// The money of a call.
#[derive(Debug)]
pub(crate) struct Bill {
    pub(crate) hold: TransferId,
    pub(crate) covers: reserve::Hold,
    pub(crate) granted: MicroUsd,
    pub(crate) fate: Fate,
    pub(crate) meter: Option<Meter>,
}

/// What was written of one attempt.
#[derive(Debug, Default)]
pub(crate) struct Text {
    /// The status and the shape, once it has begun.
    pub(crate) head: Option<(u16, Recorded)>,
    pub(crate) pieces: Vec<Piece>,
    pub(crate) end: Option<End>,
}

/// Some bytes, in both views.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) all: Bytes,
    pub(crate) shown: Bytes,
}

/// A reader's place.
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) at: usize,
    pub(crate) has_begun: bool,
    pub(crate) fate: SlotFate,
    pub(crate) is_parked: bool,
}

/// What a reader reads.
#[derive(Clone, Debug)]
pub(crate) enum SlotFate {
    /// What is written.
    With,
    /// What there is of an attempt that has failed.
    Rest(Rc<Text>),
    /// Nothing but this end.
    Over(End),
}

/// What a reader gets next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Bytes, of an answer that begins with this status where it does.
    Piece(Option<u16>, Bytes),
    /// The end, for somebody who has begun or has not.
    End(End),
    /// Nothing yet.
    Wait,
}

// === impl Flight ===

impl Flight {
    /// Whether an answer as it comes can be read by somebody who wants this.
    fn fits(&self, want: ReplyShape) -> bool {
        asked(want) == self.asked
    }

    /// What a reader gets next.
    pub(crate) fn next(&mut self, reader: usize, want: ReplyShape) -> Next {
        let fits = self.fits(want);
        let hides = want == ReplyShape::Sse { include_usage: false };
        let Some(slot) = self.slots.get_mut(&reader) else { return Next::Wait };
        let text = match &slot.fate {
            SlotFate::With => &self.text,
            SlotFate::Rest(rest) => rest.as_ref(),
            SlotFate::Over(end) => return Next::End(end.clone()),
        };
        if let (Some((status, _)), true) = (text.head, fits) {
            while let Some(piece) = text.pieces.get(slot.at) {
                slot.at += 1;
                let bytes = if hides { &piece.shown } else { &piece.all };
                if !bytes.is_empty() {
                    let begins = (!slot.has_begun).then_some(status);
                    slot.has_begun = true;
                    return Next::Piece(begins, bytes.clone());
                }
            }
        }
        match &text.end {
            Some(end) => Next::End(end.clone()),
            None => {
                slot.is_parked = true;
                Next::Wait
            }
        }
    }

    /// The attempt has failed: whoever has read of it reads to its end. Returns how many wait for another one.
    pub(crate) fn fail(&mut self, begun: End, to_leader: Option<&End>) -> usize {
        let mut rest = std::mem::take(&mut self.text);
        rest.end = Some(begun);
        let rest = Rc::new(rest);
        let mut waiting = 0;
        for (reader, slot) in &mut self.slots {
            if !matches!(slot.fate, SlotFate::With) {
                continue;
            }
            let is_leader = Some(*reader) == self.leader;
            slot.fate = match to_leader {
                Some(end) if is_leader && !slot.has_begun => SlotFate::Over(end.clone()),
                Some(_) | None if is_leader || slot.has_begun => SlotFate::Rest(Rc::clone(&rest)),
                Some(_) | None => {
                    waiting += 1;
                    slot.at = 0;
                    SlotFate::With
                }
            };
        }
        waiting
    }

    /// The one that has waited longest.
    pub(crate) fn promote(&self) -> Option<usize> {
        let waits = |slot: &Slot| matches!(slot.fate, SlotFate::With) && !slot.has_begun;
        self.slots.iter().find(|(_, slot)| waits(slot)).map(|(reader, _)| *reader)
    }

    /// Somebody reads.
    pub(crate) fn attach(&mut self, reader: usize) {
        let slot = Slot { at: 0, has_begun: false, fate: SlotFate::With, is_parked: false };
        self.slots.insert(reader, slot);
        self.is_detached = false;
    }

    /// Whether it can end for want of readers at this moment.
    pub(crate) const fn may_be_deserted(&self) -> bool {
        match self.phase {
            Phase::Leasing(_) | Phase::Elsewhere | Phase::Calling | Phase::BackingOff => true,
            Phase::Reserving | Phase::Settling(_) | Phase::Filling(_) | Phase::Over => false,
        }
    }
}

// === impl Fault ===

impl Fault {
    /// Everybody is told the same.
    pub(crate) fn of(failure: Failure) -> Self {
        let leader = Some(End::Failed(failure.clone()));
        Self { failure, begun: None, leader, retry_after: None, cause: Cause::Call }
    }

    /// Our own words, for everybody.
    pub(crate) fn problem(status: u16) -> Self {
        Self::of(Failure::Problem(status))
    }
}

// === impl Answer ===

impl Answer {
    /// Nothing yet.
    pub(crate) fn new(asked: Recorded) -> Self {
        // As everybody sees it who has not asked for the usage.
        let hidden = ReplyShape::Sse { include_usage: false };
        let hider = kt_providers::Dialect::OpenAiChat.hider(hidden);
        Self {
            status: 0,
            may_store: true,
            body: Vec::new(),
            held: None,
            reached: Reached::Events,
            produced: Produced::default(),
            hider: hider.filter(|_| asked == Recorded::Sse),
            has_begun: false,
            heard: 0,
        }
    }
}

/// The shape that is asked of the provider for somebody who wants this.
pub(crate) const fn asked(want: ReplyShape) -> Recorded {
    match want {
        ReplyShape::Json => Recorded::Json,
        ReplyShape::Sse { .. } => Recorded::Sse,
    }
}
