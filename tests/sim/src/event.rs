//! What happens next, and to whom. Every event that is a message can be lost, doubled, delayed and overtaken.

use std::rc::Rc;

use bytes::Bytes;
use kt_contract::key::CacheKey;
use kt_contract::principal::KeyHash;
use sidecar_cache::flight::Ending;
use sidecar_cache::generation::{Generation, Tag};
use sidecar_cache::ledger::{Operation, Receipt, Refused};

use crate::leases::Leased;
use crate::moves::Move;

/// Something that happens.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    /// A client asks, perhaps again.
    Asks(usize),
    /// A client leaves this try.
    Leaves(usize),
    /// A callout of a try has ended; nothing: its time is over.
    CalloutEnds { attempt: usize, serial: u32, spoken: Option<Rc<Spoken>> },
    /// A poll of a gateway has ended.
    PollEnds { gateway: usize, serial: u32, spoken: Option<Rc<Spoken>> },
    /// It is time for a gateway to poll again.
    Polls(usize),
    /// The lane of a try is lost: Envoy says so.
    LaneBreaks(usize),
    /// A sidecar has something to do. With a life: only in that one.
    Sidecar { at: usize, life: Option<u32>, hears: Hears },
    /// A store has something to do.
    Store { at: usize, from: (usize, u32), asked: Asked },
    /// A call has come to the provider.
    CallComes(usize),
    /// The provider has the next thing to say to a call.
    CallGoesOn(usize),
    /// Something goes wrong, or right again.
    Fault(Fault),
}

/// What a sidecar says to a filter.
#[derive(Clone, Debug)]
pub(crate) struct Spoken {
    /// The decision, where it is one.
    pub decision: String,
    /// The body.
    pub body: Bytes,
}

/// What a sidecar hears.
#[derive(Clone, Debug)]
pub(crate) enum Hears {
    /// Who is this?
    Principal { attempt: usize, serial: u32, key: KeyHash },
    /// May this be served?
    Admit { attempt: usize, serial: u32, body: Rc<[u8]> },
    /// Is there something new?
    Poll { gateway: usize, serial: u32, body: Rc<[u8]> },
    /// There was not; by now?
    PollHeld { gateway: usize, serial: u32, body: Rc<[u8]> },
    /// A request on the lane.
    Lane { attempt: usize, ticket: Rc<str>, is_copy: bool },
    /// The client of a try has hung up.
    Left(usize),
    /// Something of a call's answer.
    Told { call: usize, told: Told },
    /// The ledger has answered.
    Ledger { ask: u64, answer: Result<Receipt, Refused> },
    /// The lease store has answered.
    Lease { flight: usize, attempt: u32, answer: LeaseAnswer },
    /// It is time.
    Timer(Timer),
}

/// What comes of a call.
#[derive(Clone, Debug)]
pub(crate) enum Told {
    /// Envoy says that it did not get through, or that it broke; with its details.
    Unreached(&'static str),
    /// Its head.
    Head,
    /// More of its body.
    Bytes(Bytes),
    /// Its end, as announced.
    End,
    /// It broke off.
    Broken,
}

/// What a sidecar wakes up for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Timer {
    /// A reader takes its next piece.
    Reads(usize),
    /// A follower has waited long enough.
    Waited { attempt: usize, flight: usize },
    /// A lease is renewed.
    Renews(usize),
    /// A hold is given more time.
    Extends { flight: usize, attempt: u32 },
    /// The provider has not begun, or nothing more has come.
    Idle { flight: usize, attempt: u32, heard: usize },
    /// A takeover is due.
    TakesOver { flight: usize, attempt: u32 },
    /// A flight that nobody reads has gone on for long enough.
    Detached { flight: usize, attempt: u32 },
    /// The lease store is asked again.
    LeaseAgain { flight: usize, attempt: u32 },
    /// The lease store has not answered.
    LeaseSilent { flight: usize, attempt: u32, asked: u32 },
    /// The ledger has not answered.
    LedgerSilent(u64),
    /// The ledger is asked again.
    LedgerAgain(u64),
    /// What is due is expired and returned.
    Reaps,
}

/// What a store is asked.
#[derive(Clone, Debug)]
pub(crate) enum Asked {
    /// To do an operation.
    Ledger { ask: u64, operation: Rc<Operation> },
    /// About the lease of a flight's key.
    Lease { flight: usize, attempt: u32, key: CacheKey, question: LeaseQuestion },
}

/// What the shared lease store is asked.
#[derive(Clone, Debug)]
pub(crate) enum LeaseQuestion {
    /// For the lease, by somebody to whom this is the newest generation.
    Acquire(Generation),
    /// For more time.
    Renew(Leased),
    /// To store an entry and end the lease, in one step.
    Fill { leased: Leased, bytes: Rc<[u8]>, call: usize },
    /// To end the lease without an entry.
    End { leased: Leased, how: Ending, under: Generation },
}

/// What the shared lease store says.
#[derive(Clone, Copy, Debug)]
pub(crate) enum LeaseAnswer {
    /// The lease is the asker's.
    Lead(Leased),
    /// Somebody else has it.
    Follow,
    /// Everybody calls.
    HitForMiss,
    /// An entry was stored, or not.
    Filled(bool),
}

/// What goes wrong, or right again.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// A sidecar is gone, for so long.
    Crash { sidecar: usize, down_ms: u64 },
    /// It is back.
    Restart(usize),
    /// It stands still, for so long.
    Pause { sidecar: usize, length_ms: u64 },
    /// Its wall clock is so far behind from now on.
    Jump { sidecar: usize, behind_ms: u64 },
    /// A link is cut, for so long.
    Cut { link: Link, length_ms: u64 },
    /// A lease store loses its memory.
    EpochLost(usize),
    /// Something of an organization is invalidated.
    Invalidate { store: usize, org: usize, tag: Tag },
    /// The other configuration is in force.
    Configure,
    /// Somebody pays in.
    Fund { store: usize, org: usize, amount: u64, nth: u32 },
    /// Somebody moves money.
    Moves { sidecar: usize, what: Move, nth: u32 },
    /// Somebody asks for it again.
    MovesAgain { sidecar: usize, what: Move, operation: Rc<Operation> },
    /// Somebody asks for another end of a hold that has ended for good.
    Meddle { store: usize, which: usize },
    /// Nothing goes wrong any more.
    Heal,
}

/// A way of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Link {
    /// Between a gateway and its sidecar.
    Gateway(usize),
    /// Between a sidecar and its store.
    Store(usize),
}

// === impl Event ===

impl Event {
    /// It in a few words.
    pub(crate) fn words(&self) -> String {
        match self {
            Self::CalloutEnds { attempt, .. } => {
                format!("the answer to a callout of try {attempt}")
            }
            Self::PollEnds { gateway, .. } => format!("the answer to a poll of gateway {gateway}"),
            Self::Sidecar { at, hears: Hears::Poll { gateway, .. }, .. } => {
                format!("a poll of gateway {gateway} to sidecar {at}")
            }
            Self::Sidecar { at, hears: Hears::Admit { attempt, .. }, .. } => {
                format!("try {attempt} asks sidecar {at} to be admitted")
            }
            Self::Sidecar { at, hears, .. } => format!("to sidecar {at}: {hears:?}"),
            Self::Store { at, from, asked } => {
                format!("from sidecar {} to store {at}: {asked:?}", from.0)
            }
            Self::Asks(_)
            | Self::Polls(_)
            | Self::Leaves(_)
            | Self::LaneBreaks(_)
            | Self::CallComes(_)
            | Self::CallGoesOn(_)
            | Self::Fault(_) => format!("{self:?}"),
        }
    }

    /// What of it enters the hash of a trace.
    #[must_use]
    pub(crate) fn mark(&self) -> (u8, usize, usize) {
        match self {
            Self::Asks(ask) => (0, *ask, 0),
            Self::Leaves(attempt) => (1, *attempt, 0),
            Self::CalloutEnds { attempt, spoken, .. } => (2, *attempt, length(spoken.as_deref())),
            Self::PollEnds { gateway, spoken, .. } => (3, *gateway, length(spoken.as_deref())),
            Self::LaneBreaks(attempt) => (4, *attempt, 0),
            Self::Polls(gateway) => (34, *gateway, 0),
            Self::Sidecar { at, hears, .. } => (5 + hears.tag(), *at, hears.subject()),
            Self::Store { at, from, .. } => (30, *at, from.0),
            Self::CallComes(call) => (31, *call, 0),
            Self::CallGoesOn(call) => (32, *call, 0),
            Self::Fault(_) => (33, 0, 0),
        }
    }
}

fn length(spoken: Option<&Spoken>) -> usize {
    spoken.map_or(0, |spoken| 1 + spoken.decision.len() + spoken.body.len())
}

// === impl Hears ===

impl Hears {
    const fn tag(&self) -> u8 {
        match self {
            Self::Principal { .. } => 0,
            Self::Admit { .. } => 1,
            Self::Poll { .. } => 2,
            Self::PollHeld { .. } => 3,
            Self::Lane { .. } => 4,
            Self::Left(_) => 5,
            Self::Told { .. } => 6,
            Self::Ledger { .. } => 7,
            Self::Lease { .. } => 8,
            Self::Timer(_) => 9,
        }
    }

    fn subject(&self) -> usize {
        match self {
            Self::Principal { attempt, .. }
            | Self::Admit { attempt, .. }
            | Self::Lane { attempt, .. }
            | Self::Left(attempt) => *attempt,
            Self::Poll { gateway, .. } | Self::PollHeld { gateway, .. } => *gateway,
            Self::Told { call, told } => call * 8 + told.tag(),
            Self::Ledger { ask, answer } => {
                usize::try_from(*ask).unwrap_or(0) * 2 + usize::from(answer.is_ok())
            }
            Self::Lease { flight, .. } => *flight,
            Self::Timer(timer) => timer.subject(),
        }
    }
}

// === impl Told ===

impl Told {
    const fn tag(&self) -> usize {
        match self {
            Self::Unreached(_) => 0,
            Self::Head => 1,
            Self::Bytes(_) => 2,
            Self::End => 3,
            Self::Broken => 4,
        }
    }
}

// === impl Timer ===

impl Timer {
    fn subject(self) -> usize {
        match self {
            Self::Reads(attempt) | Self::Waited { attempt, .. } => attempt,
            Self::Renews(flight)
            | Self::Extends { flight, .. }
            | Self::Idle { flight, .. }
            | Self::TakesOver { flight, .. }
            | Self::Detached { flight, .. }
            | Self::LeaseAgain { flight, .. }
            | Self::LeaseSilent { flight, .. } => flight,
            Self::LedgerSilent(ask) | Self::LedgerAgain(ask) => usize::try_from(ask).unwrap_or(0),
            Self::Reaps => 0,
        }
    }
}
