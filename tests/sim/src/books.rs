//! Money on the side of a sidecar: what is set aside before a call, grows with it and ends with it; and asking the
//! ledger until it answers, with the same ids.

use std::rc::Rc;

use kt_contract::json::{self, Bounds};
use kt_contract::limits::{JSON_DEPTH_MAX, JSON_NODES_MAX};
use kt_contract::money::{MicroUsd, Tokens};
use kt_contract::pricing::{Billable, cost};
use kt_contract::time::Millis;
use kt_providers::{Delivered, Dialect, Usage};
use sidecar_cache::attempt::{Due, Fate, due};
use sidecar_cache::flight::{Cause, Ending, LEASE_TTL};
use sidecar_cache::ledger::account::Scope;
use sidecar_cache::ledger::request::{Budget, CallOf, Extend, Funding, Purpose, Reserve};
use sidecar_cache::ledger::window::{Period, Zone};
use sidecar_cache::ledger::{Made, Operation, Receipt, Refused, Short, TransferId};
use sidecar_cache::reserve;

use crate::event::{Asked, Event, Link, Timer};
use crate::fixture::MODEL;
use crate::flight::{After, Bill, End, Failure, Fault, Phase};
use crate::lane::Grant;
use crate::moves::Move;
use crate::plant::Plant;
use crate::swarm::Purse;
use crate::world::World;

/// How long money stays set aside without a sign of life from the call.
pub(crate) const HOLD_TTL: Millis = Millis(LEASE_TTL.0 + 60_000);
/// How often a sign of life is given.
const EXTEND_EVERY: Millis = Millis(20_000);
/// How long a client's request waits for the ledger.
const ANSWER_MAX: Millis = Millis(2_000);
/// How long is waited before it is asked again, at first and at last.
const AGAIN: (u64, u64) = (100, 10_000);
/// What is set aside for the output of who sets no limit.
const DEFAULT_OUTPUT: Tokens = Tokens(150);
/// Few tokens are shorter.
const BYTES_PER_TOKEN: u64 = 3;

/// Something that the ledger was asked.
#[derive(Debug)]
pub(crate) struct LedgerAsk {
    operation: Rc<Operation>,
    then: Then,
    /// How long is waited before it is asked again; `None`: somebody waits for it.
    again: Option<u64>,
    /// Until when it is asked again.
    until: Option<u64>,
}

/// What its answer is for.
#[derive(Clone, Copy, Debug)]
enum Then {
    Reserved { flight: usize, attempt: u32 },
    Extended { flight: usize },
    Ended { flight: usize, attempt: u32 },
    Moved(Move),
    Nothing,
}

// === impl World ===

impl World<'_> {
    /// Sets money aside for the call that is about to be made, where anybody counts it.
    pub(crate) fn reserves(&mut self, flight: usize) {
        let Some(flown) = self.flights.get_mut(flight) else { return };
        flown.phase = Phase::Reserving;
        let (at, seat, attempt) = (flown.sidecar, flown.seat, flown.attempt);
        let grant = Rc::clone(&flown.grant);
        if self.swarm.purse == Purse::None {
            return self.goes_out(flight);
        }
        let Some((mut planned, covers)) = self.planned(at, &grant) else {
            return self.cannot_pay(flight, 402, true);
        };
        let org = self.fixture.orgs.get(grant.org);
        let Some(lane) = self.lane_of(seat) else { return self.cannot_pay(flight, 503, false) };
        lane.calls += 1;
        planned.id = hold_id(org, &grant.request_id, lane.calls);
        let (hold, granted) = (planned.id, covers.amount);
        let bill = Bill { hold, covers, granted, fate: Fate::Unsent, meter: None };
        if let Some(flown) = self.flights.get_mut(flight) {
            flown.bill = Some(bill);
        }
        let then = Then::Reserved { flight, attempt };
        self.asks_ledger(at, Operation::Reserve(planned), then);
    }

    /// What a call is to set aside.
    fn planned(&mut self, at: usize, grant: &Grant) -> Option<(Reserve, reserve::Hold)> {
        let caller = self.fixture.callers.get(grant.caller)?;
        let bounds = Bounds { depth_max: JSON_DEPTH_MAX, nodes_max: JSON_NODES_MAX };
        let demand = Dialect::OpenAiChat.demand(&json::parse(grant.body.as_bytes(), bounds).ok()?);
        let expected = self.sidecars.get(at)?.lengths.expected(MODEL, &caller.principal.key_id);
        let covers = reserve::hold(reserve::Call {
            demand: &demand,
            body_bytes: u64::try_from(grant.body.len()).ok()?,
            price: &self.fixture.price,
            expected_output: expected,
            default_output: DEFAULT_OUTPUT,
        })
        .ok()?;
        let budget = self.swarm.budget.and_then(|limit| MicroUsd::new(limit).ok());
        let budgets =
            budget.map(|limit| Budget { scope: Scope::Org, period: Period::Daily, limit });
        let principal = &caller.principal;
        let reserve = Reserve {
            id: TransferId::from_128([0; 16]),
            org: principal.org.clone(),
            funding: match self.swarm.purse {
                Purse::Postpaid => Funding::Postpaid,
                Purse::None | Purse::Ample | Purse::Tight => Funding::Prepaid,
            },
            team: principal.team.clone(),
            purpose: Purpose::Call(CallOf {
                provider: "openai".to_owned(),
                model: MODEL.to_owned(),
                key_id: principal.key_id.clone(),
                request_id: grant.request_id.clone(),
                ..CallOf::default()
            }),
            amount: covers.amount,
            cost_max: covers.cost_max(&self.fixture.price),
            ttl: HOLD_TTL,
            budgets: budgets.into_iter().collect(),
            zone: Zone::utc(),
            prices: "v1".to_owned(),
        };
        Some((reserve, covers))
    }

    /// The ledger has said whether there is money; or nothing, in time.
    fn reserved(&mut self, flight: usize, answer: Option<Result<Receipt, Refused>>) {
        if self.has(Plant::CallUnpaid) {
            return self.goes_out(flight);
        }
        let refused = match answer {
            Some(Ok(Receipt { made: Made::Created, .. })) => return self.goes_out(flight),
            // Another one's, as far as this one knows.
            Some(Ok(Receipt { made: Made::Exists, .. })) => {
                return self.cannot_pay(flight, 503, false);
            }
            None => return self.cannot_pay(flight, 503, true),
            Some(Err(refused)) => refused,
        };
        match refused {
            Refused::Insufficient(Short::Wallet | Short::Budget { .. }) => {
                self.cannot_pay(flight, 402, true);
            }
            Refused::Insufficient(Short::Team(_)) => self.cannot_pay(flight, 402, false),
            Refused::Frozen | Refused::ClockSetBack => self.cannot_pay(flight, 503, true),
            Refused::ExistsDifferent
            | Refused::BadAmount
            | Refused::NotFound
            | Refused::AlreadySettled
            | Refused::AlreadyReleased
            | Refused::NotDue
            | Refused::NotExpired
            | Refused::Expired
            | Refused::NotSettled
            | Refused::ExceedsCharge => {
                self.breach("reserve", format!("refused for what never should be: {refused:?}"));
            }
        }
    }

    /// The money is there, or nobody counts it: the call is made, unless everybody has left meanwhile.
    fn goes_out(&mut self, flight: usize) {
        let Some(flown) = self.flights.get_mut(flight) else { return };
        let (at, attempt, has_bill) = (flown.sidecar, flown.attempt, flown.bill.is_some());
        flown.phase = Phase::Calling;
        self.is_deserted(flight);
        let goes_on = self
            .flights
            .get(flight)
            .is_some_and(|flown| flown.attempt == attempt && matches!(flown.phase, Phase::Calling));
        if !goes_on {
            return;
        }
        self.calls(flight);
        if has_bill {
            self.wake_in(at, EXTEND_EVERY, Timer::Extends { flight, attempt });
        }
    }

    fn cannot_pay(&mut self, flight: usize, status: u16, concerns_all: bool) {
        if let Some(flown) = self.flights.get_mut(flight) {
            flown.bill = None;
        }
        let failure = Failure::Problem(status);
        if concerns_all {
            let _ = self.ends(flight, Ending::Unpaid);
            self.finishes(flight, End::Failed(failure));
        } else {
            self.passes_on(flight, Fault { cause: Cause::Unpaid, ..Fault::of(failure) });
        }
    }

    /// A stream grows, and its hold with it.
    pub(crate) fn grows(&mut self, flight: usize) {
        let price = self.fixture.price;
        let Some(flown) = self.flights.get_mut(flight) else { return };
        let at = flown.sidecar;
        let Some(bill) = &mut flown.bill else { return };
        let bytes = bill.meter.as_ref().map_or(0, kt_providers::Meter::text_bytes);
        if let Some(Ok(grown)) = bill.covers.grown(Tokens(bytes / BYTES_PER_TOKEN), &price) {
            bill.covers = grown;
            let extend = Extend { hold: bill.hold, total: grown.amount, ttl: HOLD_TTL };
            self.asks_ledger(at, Operation::Extend(extend), Then::Extended { flight });
        }
    }

    /// A sign of life.
    pub(crate) fn gives_time(&mut self, flight: usize, attempt: u32) {
        let Some(flown) = self.flights.get(flight) else { return };
        let at = flown.sidecar;
        let Some(bill) = flown.bill.as_ref().filter(|_| flown.attempt == attempt) else { return };
        let extend = Extend { hold: bill.hold, total: bill.granted, ttl: HOLD_TTL };
        self.asks_ledger(at, Operation::Extend(extend), Then::Extended { flight });
        self.wake_in(at, EXTEND_EVERY, Timer::Extends { flight, attempt });
    }

    /// Ends the money of an attempt, and then goes on.
    pub(crate) fn pays(&mut self, flight: usize, delivered: Option<Delivered>, after: After) {
        let is_left = matches!(after, After::Land);
        let Some(flown) = self.flights.get_mut(flight) else { return };
        let (at, attempt) = (flown.sidecar, flown.attempt);
        let Some(bill) = flown.bill.take() else { return self.paid(flight, after, true) };
        let bytes = flown.answer.produced.bytes;
        let hold = bill.hold;
        let operation = match due(bill.fate) {
            Due::Leave => return self.paid(flight, after, true),
            Due::Release => Operation::Release { hold },
            Due::Settle if is_left && self.has(Plant::ReleaseAnswered) => {
                Operation::Release { hold }
            }
            Due::Settle if self.has(Plant::DropSettle) && self.rng.u8(0..8) == 0 => {
                return self.paid(flight, after, true);
            }
            Due::Settle => {
                let delivered = delivered.or_else(|| bill.meter.map(kt_providers::Meter::finish));
                let delivered = believed(delivered.unwrap_or_default(), &bill.covers);
                let (used, estimated) = used(&delivered, bytes, &bill.covers);
                let actual = cost(used, &self.fixture.price).unwrap_or(bill.granted);
                Operation::Settle { hold, actual, estimated }
            }
        };
        if let Some(flown) = self.flights.get_mut(flight) {
            flown.phase = Phase::Settling(Box::new(after));
        }
        self.asks_ledger(at, operation, Then::Ended { flight, attempt });
    }

    fn ended(&mut self, flight: usize, attempt: u32, is_booked: bool) {
        let Some(flown) = self.flights.get_mut(flight) else { return };
        if flown.attempt != attempt || !matches!(flown.phase, Phase::Settling(_)) {
            return;
        }
        if let Phase::Settling(after) = std::mem::replace(&mut flown.phase, Phase::Over) {
            self.paid(flight, *after, is_booked);
        }
    }

    /// An answer that ended by itself was so long.
    pub(crate) fn was_long(&mut self, flight: usize, usage: Option<Usage>) {
        let Some(flown) = self.flights.get(flight) else { return };
        let (at, caller) = (flown.sidecar, flown.grant.caller);
        let Some(caller) = self.fixture.callers.get(caller) else { return };
        if let (Some(sidecar), Some(usage)) = (self.sidecars.get_mut(at), usage) {
            let output = Tokens(usage.output_tokens);
            sidecar.lengths.learn(MODEL, &caller.principal.key_id, output);
        }
    }

    fn asks_ledger(&mut self, at: usize, operation: Operation, then: Then) {
        let ask = self.rng.u64(..) >> 16;
        let asked = LedgerAsk { operation: Rc::new(operation), then, again: None, until: None };
        if let Some(sidecar) = self.sidecars.get_mut(at) {
            sidecar.asks.insert(ask, asked);
        }
        self.tells_ledger(at, ask);
        self.wake_in(at, ANSWER_MAX, Timer::LedgerSilent(ask));
    }

    fn tells_ledger(&mut self, at: usize, ask: u64) {
        let Some(sidecar) = self.sidecars.get(at) else { return };
        let Some(asked) = sidecar.asks.get(&ask) else { return };
        let (store, from) = (sidecar.store, (at, sidecar.life));
        let operation = Rc::clone(&asked.operation);
        let asked = Asked::Ledger { ask, operation };
        self.send(Link::Store(at), Event::Store { at: store, from, asked });
    }

    /// The ledger has answered; `None`: it has not, and nobody waits any longer.
    pub(crate) fn ledger_answers(
        &mut self,
        at: usize,
        ask: u64,
        answer: Option<Result<Receipt, Refused>>,
    ) {
        let asked = self.sidecars.get_mut(at).and_then(|sidecar| sidecar.asks.remove(&ask));
        let Some(LedgerAsk { then, .. }) = asked else { return };
        match then {
            Then::Reserved { flight, attempt } => {
                let is_due = self.flights.get(flight).is_some_and(|flown| {
                    flown.attempt == attempt && matches!(flown.phase, Phase::Reserving)
                });
                if is_due {
                    self.reserved(flight, answer);
                }
            }
            Then::Extended { flight } => {
                let bill = self.flights.get_mut(flight).and_then(|flown| flown.bill.as_mut());
                if let (Some(bill), Some(Ok(receipt))) = (bill, answer) {
                    bill.granted = bill.granted.max(receipt.amount);
                }
            }
            Then::Ended { flight, attempt } => {
                let is_booked = answer.is_some_and(|answer| answer.is_ok());
                self.ended(flight, attempt, is_booked);
            }
            Then::Moved(what) => self.tally.add(match answer {
                Some(Ok(Receipt { made: Made::Created, .. })) => what.as_str(),
                Some(Ok(Receipt { made: Made::Exists, .. })) | None => "moves: made before",
                Some(Err(_)) => "moves: refused",
            }),
            Then::Nothing => {}
        }
    }

    /// Money is moved beside calls: the ledger is asked until it answers, or whoever asks has had enough.
    pub(crate) fn moves_money(&mut self, at: usize, operation: Rc<Operation>, what: Move) {
        let (ask, until) = (self.rng.u64(..) >> 16, Some(self.now + HOLD_TTL.0));
        let asked = LedgerAsk { operation, then: Then::Moved(what), again: Some(AGAIN.0), until };
        let Some(sidecar) = self.sidecars.get_mut(at).filter(|sidecar| sidecar.is_up) else {
            return;
        };
        sidecar.asks.insert(ask, asked);
        self.tells_ledger(at, ask);
        self.wake_in(at, Millis(AGAIN.0), Timer::LedgerAgain(ask));
    }

    /// The ledger has not answered in time.
    pub(crate) fn ledger_is_silent(&mut self, at: usize, ask: u64) {
        let Some(asked) = self.sidecars.get(at).and_then(|sidecar| sidecar.asks.get(&ask)) else {
            return;
        };
        if asked.again.is_some() {
            return;
        }
        let until = self.now + HOLD_TTL.0;
        let again = match (asked.then, asked.operation.as_ref()) {
            // It may have been set aside; nobody will make that call.
            (Then::Reserved { .. }, Operation::Reserve(reserve)) => {
                Some((Rc::new(Operation::Release { hold: reserve.id }), Some(until)))
            }
            (Then::Ended { .. }, _) => Some((Rc::clone(&asked.operation), None)),
            (Then::Reserved { .. } | Then::Extended { .. } | Then::Moved(_) | Then::Nothing, _) => {
                None
            }
        };
        self.ledger_answers(at, ask, None);
        self.tally.add("ledger answers that did not come");
        let Some((operation, until)) = again else { return };
        let ask = self.rng.u64(..) >> 16;
        let asked = LedgerAsk { operation, then: Then::Nothing, again: Some(AGAIN.0), until };
        if let Some(sidecar) = self.sidecars.get_mut(at) {
            sidecar.asks.insert(ask, asked);
        }
        self.wake_in(at, Millis(AGAIN.0), Timer::LedgerAgain(ask));
    }

    pub(crate) fn asks_ledger_again(&mut self, at: usize, ask: u64) {
        let now = self.now;
        let Some(sidecar) = self.sidecars.get_mut(at) else { return };
        let Some(asked) = sidecar.asks.get_mut(&ask) else { return };
        if asked.until.is_some_and(|until| until <= now) {
            sidecar.asks.remove(&ask);
            return;
        }
        let pause = asked.again.map_or(AGAIN.1, |pause| (pause * 2).min(AGAIN.1));
        asked.again = Some(pause);
        self.tells_ledger(at, ask);
        self.wake_in(at, Millis(pause), Timer::LedgerAgain(ask));
    }

    /// Expires what is due, and returns what has lain in suspense for its time.
    pub(crate) fn reaps(&mut self, at: usize) {
        let Some(store) = self.sidecars.get(at).map(|sidecar| sidecar.store) else { return };
        let (clock, now) = (self.clock_of(store), self.now);
        // By a clock that goes as fast as any does here.
        let ttl_min = HOLD_TTL.0 * 1_000 / 1_055;
        let Some(kept) = self.stores.get_mut(store) else { return };
        let (_, early) = kept.book.expire_due((clock.reading(now), now), ttl_min);
        if let Some((rule, what)) = kept.book.wrong() {
            self.breach(rule, what);
        }
        if let Some(hold) = early {
            self.breach("expiry", format!("hold {} has expired early", hold.0.to_hex()));
        }
    }

    /// What a careless service would ask of who follows.
    pub(crate) fn charges_follower(&mut self, at: usize, attempt: usize) {
        if self.swarm.purse == Purse::None || !self.has(Plant::FollowerPays) {
            return;
        }
        let Some(grant) = self.grant(attempt) else { return };
        let Some((mut planned, covers)) = self.planned(at, &grant) else { return };
        planned.id = hold_id(self.fixture.orgs.get(grant.org), &grant.request_id, 1_000);
        let (hold, store) = (planned.id, self.sidecars.get(at).map_or(0, |sidecar| sidecar.store));
        if self.operate(store, &Operation::Reserve(planned)).is_ok() {
            let settle = Operation::Settle { hold, actual: covers.amount, estimated: false };
            let _ = self.operate(store, &settle);
        }
    }
}

/// The id of what is set aside for a request's `nth` call.
fn hold_id(org: Option<&&str>, request_id: &str, nth: u32) -> TransferId {
    let mut short = [0; 16];
    if let Ok(request) = TransferId::from_hex(request_id) {
        short.iter_mut().zip(request.0.0).for_each(|(to, from)| *to = from);
    }
    TransferId::of_reserve(org.copied().unwrap_or_default(), short, nth)
}

/// What was delivered, without a usage that cannot be true.
fn believed(mut delivered: Delivered, covers: &reserve::Hold) -> Delivered {
    let is_absurd = delivered.usage.is_some_and(|usage| {
        usage.input_tokens() > covers.input.0.saturating_mul(2)
            || covers.output_max.is_some_and(|most| usage.output_tokens > most.0.saturating_mul(2))
    });
    if is_absurd {
        (delivered.usage, delivered.is_final) = (None, false);
    }
    delivered
}

/// What a call has used. Without a tokenizer, four bytes are taken for a token.
fn used(delivered: &Delivered, bytes: u64, covers: &reserve::Hold) -> (Billable, bool) {
    match delivered.usage {
        Some(usage) if delivered.is_final => (usage.into(), false),
        told => {
            let told = told
                .map_or(Billable { input: covers.input, ..Billable::default() }, Billable::from);
            let output = told.output.max(Tokens(bytes.div_ceil(4)));
            (Billable { output, ..told }, true)
        }
    }
}
