//! What must hold: at every answer, fill and call, and in the end. The provider's journal and the ledger's own audit
//! are the witnesses; nothing that is judged is asked for its opinion.

use std::collections::BTreeSet;

use bytes::Bytes;
use kt_contract::key::CacheKey;
use kt_contract::money::Tokens;
use kt_contract::pricing::{Billable, cost};
use kt_providers::Recorded;
use sidecar_cache::entry::Entry;
use sidecar_cache::flight::{HIT_FOR_MISS, TAKEOVERS_MAX};
use sidecar_cache::ledger::{Hold, State, TransferId};

use crate::client::AskState;
use crate::flight::Phase;
use crate::lane::Grant;
use crate::provider::{Made, Manner, call_of};
use crate::sidecar::GENERATIONS_MS_MAX;
use crate::swarm::{Purse, Sharing};
use crate::world::World;

/// How long a gateway's own memory may not have heard of an invalidation, with a clock that is a little slow.
const FEED_MS_MAX: u64 = 1_100;
/// How long after all faults have ended everything must have.
const LIVENESS_MS_MAX: u64 = 300_000;
/// A day and more, by the slowest clock, after which nothing lies in suspense any more.
const SUSPENSE_MS: u64 = 27 * 60 * 60 * 1_000;

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    /// Which rule.
    pub rule: &'static str,
    /// What was found.
    pub what: String,
    /// When.
    pub at_ms: u64,
}

// === impl World ===

impl World<'_> {
    /// A client has all of a 200: it must be one whole answer to its own question, behind its own gates.
    pub(crate) fn judge_answer(&mut self, attempt: usize) {
        let Some(tried) = self.tries.get(attempt) else { return };
        let Some(asked) = self.asks.get(tried.ask) else { return };
        let Some(key) = tried.key else {
            return self.breach("answer", format!("try {attempt} has an answer and no key"));
        };
        let said_by = call_of(&tried.got).and_then(|call| self.calls.get(call));
        let Some(call) = said_by else {
            return self.breach("answer", format!("try {attempt} has what nobody said"));
        };
        let is_whole = match call.says.manner {
            Manner::Whole | Manner::Unkept => true,
            // Who asked as it came is told what the provider said.
            Manner::InBand => call.made.asked == Recorded::Json,
            Manner::CutShort | Manner::Broken | Manner::Refused | Manner::Silent => false,
        };
        let is_the_bytes = call.told_as(asked.want).contains(&tried.got)
            || call.says.manner == Manner::InBand && call.body() == tried.got;
        let org = self.fixture.callers.get(asked.caller).map(|caller| caller.org);
        let slack = match self.swarm.sharing {
            Sharing::Own => FEED_MS_MAX,
            Sharing::Shared => FEED_MS_MAX + GENERATIONS_MS_MAX * 1_100 / 1_000,
        };
        let is_old = self.invalidated.iter().any(|(at, of)| {
            Some(*of) == org && call.made.under_at < *at && at + slack < tried.sent_at
        });
        let rule = if call.made.key != key {
            "key"
        } else if !is_whole {
            "whole"
        } else if !is_the_bytes {
            "bytes"
        } else if is_old && !tried.is_replayed {
            "invalidated"
        } else {
            return;
        };
        let (manner, want) = (call.says.manner, asked.want);
        let got = String::from_utf8_lossy(&tried.got).into_owned();
        self.breach(
            rule,
            format!("try {attempt} wants {want:?}, and has all of a 200 of a call that was {manner:?}: {got}"),
        );
    }

    /// An entry is about to be stored.
    pub(crate) fn judge_fill(
        &mut self,
        (key, bytes): (CacheKey, &[u8]),
        call: usize,
        is_current: bool,
    ) {
        let Some(called) = self.calls.get(call) else { return };
        let org = self.flights.get(called.made.flight).map_or(0, |flown| flown.grant.org);
        let Some(keys) = self.fixture.keys_of(org) else { return };
        let body = Entry::decode(&Bytes::copy_from_slice(bytes), keys).map(|entry| entry.body);
        let is_whole = called.says.manner == Manner::Whole
            && called.says.status == 200
            && !called.says.no_store
            && called.is_read
            && body.is_ok_and(|body| body == called.body());
        let was_invalidated = self.swarm.sharing == Sharing::Own
            && self.invalidated.iter().any(|(at, of)| *of == org && called.made.under_at < *at);
        let rule = if !is_current {
            "G4"
        } else if called.made.key != key {
            "stored under its key"
        } else if !is_whole {
            "stored whole"
        } else if was_invalidated {
            "stored and not invalidated"
        } else {
            return;
        };
        let manner = called.says.manner;
        self.breach(rule, format!("the answer of call {call}, which was {manner:?}, is stored"));
    }

    /// A call is about to be made.
    pub(crate) fn judge_call(&mut self, call: usize, made: &Made) {
        let is_same = |other: &crate::provider::Call| {
            let same_local = made.leased.is_some()
                && other.made.leased == made.leased
                && other.made.by == made.by;
            let same_shared = made.shared.is_some() && other.made.shared == made.shared;
            same_local || same_shared
        };
        if self.calls.iter().any(is_same) {
            return self.breach("G1", format!("call {call} is the second under its lease"));
        }
        let calls = self.flights.get(made.flight).map_or(0, |flown| flown.calls);
        if calls > 1 + TAKEOVERS_MAX {
            return self.breach("G3", format!("call {call} is number {calls} of its flight"));
        }
        let is_paid_twice =
            made.hold.is_some() && self.calls.iter().any(|other| other.made.hold == made.hold);
        let store = self.sidecars.get(made.by.0).and_then(|sidecar| self.stores.get(sidecar.store));
        let is_paid = match made.hold {
            None => self.swarm.purse == Purse::None,
            Some(hold) => store.is_some_and(|store| store.book.hold(hold).is_some()),
        };
        if is_paid_twice || !is_paid {
            return self.breach("I6", format!("call {call} is made without a reserve of its own"));
        }
        let name =
            self.tries.get(made.attempt).and_then(|tried| tried.lane.as_ref()?.claim.as_ref());
        if let (Some(name), Some(store)) = (name, store)
            && store.replies.contains_key(name)
        {
            self.breach("idempotency", format!("call {call} is made again for {}", name.1));
        }
    }

    /// Somebody who has waited too long makes a call beside its flight's.
    pub(crate) fn judge_overflow(&mut self, flight: usize) {
        let limit = self.swarm.overflow;
        let Some(flown) = self.flights.get_mut(flight) else { return };
        flown.overflows += 1;
        let overflows = flown.overflows;
        if limit.is_some_and(|limit| overflows > limit) {
            self.breach("G3", format!("{overflows} have gone beside flight {flight}"));
        }
    }

    /// A key is not coalesced: for no longer than its time, and not after what was found of it was invalidated.
    pub(crate) fn judge_hit_for_miss(&mut self, at: usize, grant: &Grant) {
        let found = self.sidecars.get(at).and_then(|sidecar| sidecar.unstorable.get(&grant.key));
        let Some((under_at, ended_at)) = found.copied() else {
            return self.breach("hit-for-miss", "for a key of which nothing was found".to_owned());
        };
        let was_invalidated = self.swarm.sharing == Sharing::Own
            && self.invalidated.iter().any(|(at, of)| *of == grant.org && under_at < *at);
        if was_invalidated || self.now > ended_at + HIT_FOR_MISS.0 * 1_060 / 1_000 {
            self.breach("hit-for-miss", format!("of what was found at {ended_at} ms"));
        }
    }

    /// Nothing happens any more.
    pub(crate) fn judge_the_end(&mut self) {
        let waiting = self.asks.iter().filter(|asked| asked.state == AskState::Waits).count();
        if waiting > 0 {
            return self.breach("liveness", format!("{waiting} requests never end"));
        }
        let last = self.ended_at;
        if self.healed_at.is_some_and(|healed| last > healed.max(self.swarm.span) + LIVENESS_MS_MAX)
        {
            return self.breach("liveness", format!("the last request ended at {last} ms"));
        }
        self.judge_memory();
        for store in 0..self.stores.len() {
            self.judge_book(store);
        }
        self.judge_money();
    }

    fn judge_memory(&mut self) {
        let left = self.sidecars.iter().position(|sidecar| {
            sidecar.leases.count() != (0, 0)
                || !sidecar.joinable.is_empty()
                || !sidecar.claims.is_empty()
                || !sidecar.asks.is_empty()
        });
        if let Some(at) = left {
            let count = self.sidecars.get(at).map(|sidecar| sidecar.leases.count());
            return self.breach("memory", format!("sidecar {at} holds something: {count:?}"));
        }
        let is_alive =
            |by: (usize, u32)| self.sidecars.get(by.0).is_some_and(|sidecar| sidecar.life == by.1);
        let flies = self.flights.iter().position(|flown| {
            let is_over = matches!(flown.phase, Phase::Over) && flown.slots.is_empty();
            is_alive((flown.sidecar, flown.life)) && (!is_over || flown.bill.is_some())
        });
        if let Some(flight) = flies {
            self.breach("memory", format!("flight {flight} never ends"));
        }
    }

    /// The book, now and when time has closed all.
    fn judge_book(&mut self, at: usize) {
        let (clock, now) = (self.clock_of(at), self.now);
        for passed in [0, 70_000, SUSPENSE_MS] {
            let moment = (clock.reading(now + passed), now + passed);
            let Some(store) = self.stores.get_mut(at) else { return };
            if passed > 0 {
                let _ = store.book.expire_due(moment, 0);
            }
            if let Some((rule, what)) = store.book.wrong() {
                return self.breach(rule, what);
            }
            let findings = store.book.audit(moment);
            let open = store.book.open_and_suspended();
            if let Some(breach) = findings.breaches.first() {
                let what = breach.to_string();
                return self.breach("audit", what);
            }
            if passed == SUSPENSE_MS && open != (0, 0) {
                return self.breach("I7", format!("{open:?} holds are open and in suspense"));
            }
        }
    }

    /// Every call has one reserve and one end, and every end has its call.
    fn judge_money(&mut self) {
        if self.swarm.purse == Purse::None {
            return;
        }
        let mut explained = BTreeSet::new();
        for call in 0..self.calls.len() {
            let Some(hold) = self.calls.get(call).and_then(|called| called.made.hold) else {
                continue;
            };
            explained.insert(hold);
            if let Some((hold, is_estimated)) = self.hold_of(hold) {
                self.tally.add(end_of(&hold, is_estimated));
            }
            let found = self.hold_of(hold).map(|(hold, is_estimated)| {
                self.ends_right(call, &hold, is_estimated).then_some(()).ok_or(hold.state)
            });
            match found {
                Some(Ok(())) => {}
                Some(Err(state)) => {
                    return self
                        .breach("I6", format!("the hold of call {call} ended as {state:?}"));
                }
                None => return self.breach("I6", format!("call {call} has no hold")),
            }
        }
        let unexplained = self
            .stores
            .iter()
            .flat_map(|store| store.book.holds())
            // A call that was drawn from an allotment is told by its draw.
            .filter(|hold| hold.terms.drawn.is_none())
            .find(|hold| hold.charged().is_some() && !explained.contains(&hold.id));
        if let Some(hold) = unexplained {
            let what = format!("hold {} was charged for no call", hold.id.0.to_hex());
            self.breach("I6", what);
        }
    }

    fn hold_of(&self, hold: TransferId) -> Option<(Hold, bool)> {
        let book =
            self.stores.iter().map(|store| &store.book).find(|book| book.hold(hold).is_some())?;
        Some((book.hold(hold)?.clone(), book.is_estimated(hold)))
    }

    /// Whether what became of a hold is what may become of the hold of this call.
    fn ends_right(&self, call: usize, hold: &Hold, is_estimated: bool) -> bool {
        let Some(called) = self.calls.get(call) else { return false };
        let by = called.made.by;
        let is_alive = self.sidecars.get(by.0).is_some_and(|sidecar| sidecar.life == by.1);
        let is_known = called.is_head_read && is_alive;
        let told = called.says.usage.filter(|_| called.is_read).map(|(input, output)| {
            let used =
                Billable { input: Tokens(input), output: Tokens(output), ..Billable::default() };
            cost(used, &self.fixture.price).ok()
        });
        match hold.state {
            State::Settled { actual } | State::LateSettled { actual } => match (told, is_known) {
                (Some(cost), true) if called.says.status == 200 => {
                    Some(actual) == cost && !is_estimated
                }
                (Some(_) | None, _) => called.is_answered() || is_estimated,
            },
            State::Released | State::LateReleased => !called.is_answered(),
            // Nobody could say how it ended: the sidecar had gone, or the connection.
            State::Returned | State::Expired { .. } | State::Open { .. } => !is_known,
        }
    }
}

/// How a hold has ended, in words.
const fn end_of(hold: &Hold, is_estimated: bool) -> &'static str {
    match (hold.state, is_estimated) {
        (State::Settled { .. }, false) => "holds settled as told",
        (State::Settled { .. }, true) => "holds settled as counted",
        (State::LateSettled { .. }, _) => "holds settled late",
        (State::Released, _) => "holds released",
        (State::LateReleased, _) => "holds released late",
        (State::Returned, _) => "holds returned from suspense",
        (State::Open { .. } | State::Expired { .. }, _) => "holds open",
    }
}
